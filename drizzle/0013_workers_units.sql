ALTER TABLE "public"."job_progress" ADD COLUMN "unit" text;--> statement-breakpoint
ALTER TABLE "public"."job_progress" ADD CONSTRAINT "job_progress_unit" CHECK (length(unit) BETWEEN 1 AND 30);