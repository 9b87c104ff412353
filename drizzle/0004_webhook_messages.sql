CREATE TABLE "public"."webhook_messages" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "webhook_messages_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"webhook_ids" uuid[] NOT NULL,
	"job_id" uuid NOT NULL,
	"type" text NOT NULL,
	"revision" bigint NOT NULL,
	"body" text NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT date_trunc('milliseconds', now()) NOT NULL
);
--> statement-breakpoint
ALTER TABLE "public"."webhooks" ADD COLUMN "failing_since" timestamp (3) with time zone;--> statement-breakpoint
UPDATE "public"."webhooks" SET "failing_since" = date_trunc('milliseconds', now()) WHERE "consecutive_failures" > 0;--> statement-breakpoint
ALTER TABLE "public"."webhooks" ADD CONSTRAINT "webhooks_failing_since" CHECK ((failing_since IS NULL) = (consecutive_failures = 0));