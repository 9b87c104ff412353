ALTER TABLE "public"."progress_jobs" ADD COLUMN "expected_seconds" double precision;--> statement-breakpoint
ALTER TABLE "public"."progress_jobs" ADD COLUMN "sampled_at" timestamp (3) with time zone;--> statement-breakpoint
ALTER TABLE "public"."progress_jobs" ADD COLUMN "sampled_percent" smallint;--> statement-breakpoint
CREATE INDEX "progress_jobs_batch" ON "public"."progress_jobs" USING btree ("id","parent_job_id") WHERE partition_count IS NOT NULL;--> statement-breakpoint
CREATE INDEX "progress_jobs_durations" ON "public"."progress_jobs" USING btree ("tenant_id","job_type",(parent_job_id IS NULL),"finished_at","completed_seconds") WHERE completed_seconds IS NOT NULL;--> statement-breakpoint
ALTER TABLE "public"."progress_jobs" ADD CONSTRAINT "progress_jobs_partition_count" CHECK ((partition_count IS NOT NULL) = (parent_job_id IS NOT NULL OR children IS NOT NULL)
        AND partition_count BETWEEN 1 AND 1000 AND partition_index < partition_count);--> statement-breakpoint
ALTER TABLE "public"."progress_jobs" ADD CONSTRAINT "progress_jobs_sampled" CHECK ((sampled_at IS NULL) = (sampled_percent IS NULL));--> statement-breakpoint
ALTER TABLE "public"."progress_jobs" ADD CONSTRAINT "progress_jobs_expected" CHECK (expected_seconds >= 0 AND expected_seconds < 'infinity');