ALTER TABLE "public"."service_processes" ADD COLUMN "heard_until" timestamp (3) with time zone;--> statement-breakpoint
ALTER TABLE "public"."service_processes" ADD COLUMN "waiting_job_ids" uuid[];