ALTER TABLE "public"."progress_jobs" ADD COLUMN "percent_at" timestamp (3) with time zone;--> statement-breakpoint
ALTER TABLE "public"."job_progress" ADD COLUMN "paused_seconds" double precision DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "public"."job_progress" ADD COLUMN "after_pause" boolean DEFAULT false NOT NULL;