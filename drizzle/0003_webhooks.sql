CREATE TABLE "public"."webhook_deliveries" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "webhook_deliveries_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"message_id" uuid DEFAULT gen_random_uuid() NOT NULL,
	"webhook_id" uuid NOT NULL,
	"job_id" uuid,
	"type" text NOT NULL,
	"revision" bigint,
	"body" text NOT NULL,
	"status" text DEFAULT 'waiting' NOT NULL,
	"attempts" integer DEFAULT 0 NOT NULL,
	"claim" uuid,
	"due_at" timestamp (3) with time zone NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT date_trunc('milliseconds', now()) NOT NULL,
	"expires_at" timestamp (3) with time zone NOT NULL,
	"attempted_at" timestamp (3) with time zone,
	"finished_at" timestamp (3) with time zone,
	"response_status" smallint,
	"error" text,
	CONSTRAINT "webhook_deliveries_status" CHECK (status IN ('waiting', 'delivered', 'dead')),
	CONSTRAINT "webhook_deliveries_finished_at" CHECK ((finished_at IS NULL) = (status = 'waiting')),
	CONSTRAINT "webhook_deliveries_claim" CHECK (claim IS NULL OR status = 'waiting'),
	CONSTRAINT "webhook_deliveries_attempts" CHECK (attempts >= 0)
);
--> statement-breakpoint
CREATE TABLE "public"."webhooks" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"tenant_id" uuid NOT NULL,
	"url" text NOT NULL,
	"description" text,
	"events" text[] NOT NULL,
	"job_type" text,
	"organization_id" uuid,
	"top_level" boolean DEFAULT true NOT NULL,
	"progress_interval_seconds" integer,
	"progress_checked_at" timestamp (3) with time zone,
	"enabled" boolean DEFAULT true NOT NULL,
	"gone" boolean DEFAULT false NOT NULL,
	"secret" text NOT NULL,
	"previous_secret" text,
	"previous_secret_until" timestamp (3) with time zone,
	"consecutive_failures" integer DEFAULT 0 NOT NULL,
	"paused_until" timestamp (3) with time zone,
	"delivered_at" timestamp (3) with time zone,
	"created_at" timestamp (3) with time zone DEFAULT date_trunc('milliseconds', now()) NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT date_trunc('milliseconds', now()) NOT NULL,
	CONSTRAINT "webhooks_progress_interval" CHECK (progress_interval_seconds BETWEEN 1 AND 86400),
	CONSTRAINT "webhooks_gone" CHECK (NOT (gone AND enabled)),
	CONSTRAINT "webhooks_previous_secret" CHECK ((previous_secret IS NULL) = (previous_secret_until IS NULL)),
	CONSTRAINT "webhooks_failures" CHECK (consecutive_failures >= 0)
);
--> statement-breakpoint
CREATE UNIQUE INDEX "webhook_deliveries_message" ON "public"."webhook_deliveries" USING btree ("message_id");--> statement-breakpoint
CREATE INDEX "webhook_deliveries_due" ON "public"."webhook_deliveries" USING btree ("webhook_id","due_at") WHERE status = 'waiting';--> statement-breakpoint
CREATE INDEX "webhook_deliveries_claimed" ON "public"."webhook_deliveries" USING btree ("webhook_id") WHERE claim IS NOT NULL;--> statement-breakpoint
CREATE INDEX "webhook_deliveries_waiting" ON "public"."webhook_deliveries" USING btree ("webhook_id","job_id","id") WHERE status = 'waiting';--> statement-breakpoint
CREATE INDEX "webhook_deliveries_job" ON "public"."webhook_deliveries" USING btree ("webhook_id","job_id","id");--> statement-breakpoint
CREATE INDEX "webhook_deliveries_record" ON "public"."webhook_deliveries" USING btree ("webhook_id","id");--> statement-breakpoint
CREATE INDEX "webhook_deliveries_finished" ON "public"."webhook_deliveries" USING btree ("finished_at") WHERE "public"."webhook_deliveries"."finished_at" IS NOT NULL;--> statement-breakpoint
CREATE INDEX "webhooks_tenant" ON "public"."webhooks" USING btree ("tenant_id");