DROP INDEX "public"."progress_jobs_idempotency";--> statement-breakpoint
DROP INDEX "public"."progress_jobs_active";--> statement-breakpoint
DROP INDEX "public"."progress_jobs_finished";--> statement-breakpoint
DROP INDEX "public"."progress_jobs_finished_at";--> statement-breakpoint
DROP INDEX "public"."webhook_deliveries_finished";--> statement-breakpoint
ALTER TABLE "public"."service_processes" ADD COLUMN "heard_until" timestamp (3) with time zone;--> statement-breakpoint
ALTER TABLE "public"."service_processes" ADD COLUMN "waiting_job_ids" uuid[];--> statement-breakpoint
CREATE UNIQUE INDEX "progress_jobs_idempotency" ON "public"."progress_jobs" USING btree ("tenant_id",coalesce("organization_id", '00000000-0000-0000-0000-000000000000'),"idempotency_key") WHERE "public"."progress_jobs"."idempotency_key" IS NOT NULL;--> statement-breakpoint
CREATE INDEX "progress_jobs_active" ON "public"."progress_jobs" USING btree ("tenant_id","created_at") WHERE "public"."progress_jobs"."finished_at" IS NULL;--> statement-breakpoint
CREATE INDEX "progress_jobs_finished" ON "public"."progress_jobs" USING btree ("tenant_id","finished_at","job_type","organization_id","parent_job_id","failure_reason","completed_seconds","completed_count") WHERE "public"."progress_jobs"."finished_at" IS NOT NULL;--> statement-breakpoint
CREATE INDEX "progress_jobs_finished_at" ON "public"."progress_jobs" USING btree ("finished_at") WHERE "public"."progress_jobs"."finished_at" IS NOT NULL;--> statement-breakpoint
CREATE INDEX "webhook_deliveries_finished" ON "public"."webhook_deliveries" USING btree ("finished_at") WHERE "public"."webhook_deliveries"."finished_at" IS NOT NULL;