CREATE TABLE "public"."type_histories" (
	"tenant_id" uuid NOT NULL,
	"job_type" text NOT NULL,
	"is_partition" boolean NOT NULL,
	"expected_seconds" double precision,
	"shape" smallint[],
	"long_seconds" double precision,
	"newest_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "type_histories_pkey" PRIMARY KEY("tenant_id","job_type","is_partition")
);
--> statement-breakpoint
ALTER TABLE "public"."job_progress" DROP CONSTRAINT "job_progress_rate";--> statement-breakpoint
ALTER TABLE "public"."job_progress" ADD COLUMN "rate_units" double precision DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "public"."job_progress" ADD COLUMN "rate_seconds" double precision DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "public"."job_progress" ADD COLUMN "rate_error" real;--> statement-breakpoint
ALTER TABLE "public"."job_progress" ADD COLUMN "pace_units" double precision DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "public"."job_progress" ADD COLUMN "pace_seconds" double precision DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "public"."job_progress" ADD COLUMN "pace_path" real[] DEFAULT '{0}' NOT NULL;--> statement-breakpoint
ALTER TABLE "public"."job_progress" ADD COLUMN "pace_step" double precision DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "public"."job_progress" ADD COLUMN "longest_gap" double precision DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "public"."job_progress" ADD COLUMN "second_gap" double precision DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "public"."job_progress" ADD COLUMN "left_out" double precision DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "public"."progress_jobs" ADD COLUMN "eta_spread" real;--> statement-breakpoint
ALTER TABLE "public"."progress_jobs" ADD COLUMN "shape" smallint[];--> statement-breakpoint
ALTER TABLE "public"."progress_jobs" ADD COLUMN "long_seconds" double precision;--> statement-breakpoint
ALTER TABLE "public"."progress_jobs" ADD COLUMN "share_path" real[];--> statement-breakpoint
ALTER TABLE "public"."progress_jobs" ADD COLUMN "share_step" double precision;--> statement-breakpoint
ALTER TABLE "public"."progress_jobs" ADD COLUMN "shape_odds" real;--> statement-breakpoint
ALTER TABLE "public"."job_progress" ADD CONSTRAINT "job_progress_rate" CHECK (rate_whole >= 0 AND rate_whole < 'infinity' AND rate_recent >= 0 AND rate_recent < 'infinity'
        AND rate_units >= 0 AND rate_units < 'infinity' AND rate_seconds >= 0 AND rate_seconds < 'infinity');