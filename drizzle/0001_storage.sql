-- A heartbeat rewrites one row of each of these two tables. Half-empty pages let the new version stay on the page of the
-- old one (HOT), so that no index is touched and the page cleans itself. Early vacuums keep what HOT cannot clean small.
ALTER TABLE "public"."progress_jobs" SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
--> statement-breakpoint
ALTER TABLE "public"."job_progress" SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
