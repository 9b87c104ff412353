-- IF NOT EXISTS: on a large table the indexes are made before the upgrade, without holding up writes (docs/operate/upgrade.md).
-- Drops first: they wait for the strongest lock, and must not wait for it behind the lock of the first new index, which heartbeats
-- that have begun wait for as well.
DROP INDEX IF EXISTS "public"."progress_jobs_finished_at";--> statement-breakpoint
DROP INDEX IF EXISTS "public"."progress_jobs_list_failed";--> statement-breakpoint
DROP INDEX IF EXISTS "public"."progress_jobs_list_cancelled";--> statement-breakpoint
DROP INDEX IF EXISTS "public"."progress_jobs_list_type";--> statement-breakpoint
DROP INDEX IF EXISTS "public"."progress_jobs_list_organization";--> statement-breakpoint
CREATE INDEX IF NOT EXISTS "progress_jobs_retention" ON "public"."progress_jobs" USING btree ("finished_at" NULLS FIRST) WHERE "public"."progress_jobs"."finished_at" IS NOT NULL;--> statement-breakpoint
CREATE INDEX IF NOT EXISTS "progress_jobs_list_failed_place" ON "public"."progress_jobs" USING btree ("tenant_id","finished_at","id","parent_job_id") WHERE failure_reason IS NOT NULL;--> statement-breakpoint
CREATE INDEX IF NOT EXISTS "progress_jobs_list_failed_type" ON "public"."progress_jobs" USING btree ("tenant_id","job_type","finished_at","id","parent_job_id") WHERE failure_reason IS NOT NULL;--> statement-breakpoint
CREATE INDEX IF NOT EXISTS "progress_jobs_list_cancelled_place" ON "public"."progress_jobs" USING btree ("tenant_id","finished_at","id","parent_job_id") WHERE finished_at IS NOT NULL AND failure_reason IS NULL AND completed_seconds IS NULL;--> statement-breakpoint
CREATE INDEX IF NOT EXISTS "progress_jobs_list_type_place" ON "public"."progress_jobs" USING btree ("tenant_id","job_type","finished_at","id","parent_job_id") WHERE "public"."progress_jobs"."finished_at" IS NOT NULL;--> statement-breakpoint
CREATE INDEX IF NOT EXISTS "progress_jobs_list_organization_place" ON "public"."progress_jobs" USING btree ("tenant_id","organization_id","finished_at","id","parent_job_id") WHERE "public"."progress_jobs"."finished_at" IS NOT NULL AND "public"."progress_jobs"."organization_id" IS NOT NULL;--> statement-breakpoint
CREATE INDEX IF NOT EXISTS "progress_jobs_list_failed_created" ON "public"."progress_jobs" USING btree ("tenant_id","created_at","id") WHERE failure_reason IS NOT NULL;--> statement-breakpoint
CREATE INDEX IF NOT EXISTS "progress_jobs_list_cancelled_created" ON "public"."progress_jobs" USING btree ("tenant_id","created_at","id") WHERE finished_at IS NOT NULL AND failure_reason IS NULL AND completed_seconds IS NULL;--> statement-breakpoint
CREATE INDEX IF NOT EXISTS "progress_jobs_list_late_created" ON "public"."progress_jobs" USING btree ("tenant_id","created_at","id") WHERE late_seconds > 0;