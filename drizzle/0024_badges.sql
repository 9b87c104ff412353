CREATE TABLE "public"."badges" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"tenant_id" uuid NOT NULL,
	"organization_id" uuid,
	"job_type" text NOT NULL,
	"token_hash" text NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT date_trunc('milliseconds', now()) NOT NULL
);
--> statement-breakpoint
CREATE INDEX "badges_tenant" ON "public"."badges" USING btree ("tenant_id");--> statement-breakpoint
CREATE UNIQUE INDEX "badges_token" ON "public"."badges" USING btree ("token_hash");