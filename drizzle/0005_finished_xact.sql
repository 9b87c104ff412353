ALTER TABLE "progress_jobs" ADD COLUMN "finished_xact" "xid8";--> statement-breakpoint
CREATE INDEX "progress_jobs_finished_xact" ON "progress_jobs" USING btree ("tenant_id","finished_xact") WHERE "progress_jobs"."finished_at" IS NOT NULL;
