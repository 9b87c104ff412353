CREATE TABLE "public"."webhook_backlogs" (
	"webhook_id" uuid PRIMARY KEY NOT NULL,
	"tenant_id" uuid NOT NULL,
	"waiting" bigint NOT NULL,
	"counted_at" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
ALTER TABLE "public"."webhook_messages" ADD COLUMN "tenant_id" uuid DEFAULT '00000000-0000-0000-0000-000000000000' NOT NULL;--> statement-breakpoint
ALTER TABLE "public"."webhooks" ADD COLUMN "dropped_count" bigint DEFAULT 0 NOT NULL;--> statement-breakpoint
ALTER TABLE "public"."webhooks" ADD COLUMN "dropped_at" timestamp (3) with time zone;--> statement-breakpoint
CREATE INDEX "webhook_backlogs_tenant" ON "public"."webhook_backlogs" USING btree ("tenant_id");--> statement-breakpoint
CREATE INDEX "webhook_messages_tenant" ON "public"."webhook_messages" USING btree ("tenant_id","id");--> statement-breakpoint
CREATE INDEX "webhook_messages_job" ON "public"."webhook_messages" USING btree ("job_id");--> statement-breakpoint
CREATE INDEX "webhooks_enabled" ON "public"."webhooks" USING btree ("tenant_id") WHERE enabled;--> statement-breakpoint
CREATE INDEX "webhooks_progress" ON "public"."webhooks" USING btree ("tenant_id") WHERE enabled AND progress_interval_seconds IS NOT NULL;--> statement-breakpoint
ALTER TABLE "public"."webhooks" ADD CONSTRAINT "webhooks_dropped" CHECK ((dropped_at IS NULL) = (dropped_count = 0));