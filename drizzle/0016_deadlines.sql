ALTER TABLE "public"."progress_jobs" DROP CONSTRAINT "progress_jobs_lifecycle";--> statement-breakpoint
ALTER TABLE "public"."progress_jobs" ADD COLUMN "unusual" boolean DEFAULT false NOT NULL;--> statement-breakpoint
ALTER TABLE "public"."progress_jobs" ADD COLUMN "finish_by" timestamp (3) with time zone;--> statement-breakpoint
ALTER TABLE "public"."progress_jobs" ADD COLUMN "finish_within_seconds" integer;--> statement-breakpoint
ALTER TABLE "public"."progress_jobs" ADD COLUMN "deadline" text;--> statement-breakpoint
ALTER TABLE "public"."progress_jobs" ADD COLUMN "doubted_since" timestamp (3) with time zone;--> statement-breakpoint
ALTER TABLE "public"."progress_jobs" ADD COLUMN "calm_since" timestamp (3) with time zone;--> statement-breakpoint
ALTER TABLE "public"."progress_jobs" ADD COLUMN "late_seconds" double precision GENERATED ALWAYS AS (CASE WHEN finished_at IS NOT NULL THEN coalesce(date_part('epoch', finished_at - finish_by),
        date_part('epoch', finished_at - started_at) - finish_within_seconds) END) STORED;--> statement-breakpoint
CREATE INDEX "progress_jobs_deadlines" ON "public"."progress_jobs" USING btree ("id") WHERE finished_at IS NULL AND (finish_by IS NOT NULL OR finish_within_seconds IS NOT NULL) AND deadline IS DISTINCT FROM 'overdue';--> statement-breakpoint
CREATE INDEX "progress_jobs_late" ON "public"."progress_jobs" USING btree ("tenant_id","finished_at","job_type","organization_id","parent_job_id","late_seconds") WHERE late_seconds > 0;--> statement-breakpoint
ALTER TABLE "public"."progress_jobs" ADD CONSTRAINT "progress_jobs_deadline" CHECK (deadline IN ('on_time', 'at_risk', 'overdue') AND (finish_by IS NULL OR finish_within_seconds IS NULL)
        AND (finish_within_seconds IS NULL OR finish_within_seconds >= 1));--> statement-breakpoint
ALTER TABLE "public"."progress_jobs" ADD CONSTRAINT "progress_jobs_lifecycle" CHECK (lifecycle IN ('created', 'started', 'cancel_requested', 'cancelled', 'completed', 'failed', 'stalled', 'recovered', 'retried', 'at_risk', 'overdue'));