CREATE TABLE "public"."chat_messages" (
	"webhook_id" uuid NOT NULL,
	"job_id" uuid NOT NULL,
	"job_attempt" integer NOT NULL,
	"reference" text NOT NULL,
	"posts" integer NOT NULL,
	"revision" bigint NOT NULL,
	"updated_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "chat_messages_pkey" PRIMARY KEY("webhook_id","job_id","job_attempt"),
	CONSTRAINT "chat_messages_posts" CHECK (posts >= 1)
);
--> statement-breakpoint
ALTER TABLE "public"."webhooks" ALTER COLUMN "url" DROP NOT NULL;--> statement-breakpoint
ALTER TABLE "public"."webhook_deliveries" ADD COLUMN "job_attempt" integer;--> statement-breakpoint
ALTER TABLE "public"."webhooks" ADD COLUMN "kind" text DEFAULT 'webhook' NOT NULL;--> statement-breakpoint
ALTER TABLE "public"."webhooks" ADD COLUMN "settings" jsonb DEFAULT '{}'::jsonb NOT NULL;--> statement-breakpoint
ALTER TABLE "public"."webhooks" ADD COLUMN "sealed_settings" text;--> statement-breakpoint
ALTER TABLE "public"."webhooks" ADD COLUMN "language" text DEFAULT 'en' NOT NULL;--> statement-breakpoint
CREATE INDEX "chat_messages_updated" ON "public"."chat_messages" USING btree ("updated_at");--> statement-breakpoint
ALTER TABLE "public"."webhooks" ADD CONSTRAINT "webhooks_kind" CHECK (kind IN ('webhook', 'slack', 'discord', 'telegram', 'matrix', 'teams', 'email'));--> statement-breakpoint
ALTER TABLE "public"."webhooks" ADD CONSTRAINT "webhooks_url" CHECK ((kind = 'webhook') = (url IS NOT NULL));--> statement-breakpoint
ALTER TABLE "public"."webhooks" ADD CONSTRAINT "webhooks_language" CHECK (language IN ('en', 'de', 'fr'));