CREATE TABLE "public"."statistics_coverage" (
	"single" boolean PRIMARY KEY DEFAULT true NOT NULL,
	"days_from" timestamp (3) with time zone NOT NULL,
	"days_until" timestamp (3) with time zone NOT NULL,
	"hours_until" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "statistics_coverage_single" CHECK (single)
);
--> statement-breakpoint
CREATE TABLE "public"."statistics_marks" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "public"."statistics_marks_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"tenant_id" uuid NOT NULL,
	"hour" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
CREATE TABLE "public"."statistics_rollups" (
	"tenant_id" uuid NOT NULL,
	"level" text NOT NULL,
	"starts_at" timestamp (3) with time zone NOT NULL,
	"whose" smallint NOT NULL,
	"organization_id" uuid NOT NULL,
	"types" json NOT NULL,
	"total" json NOT NULL,
	CONSTRAINT "statistics_rollups_pkey" PRIMARY KEY("tenant_id","level","starts_at","whose","organization_id"),
	CONSTRAINT "statistics_rollups_level" CHECK (level IN ('hour', 'day', 'month')),
	CONSTRAINT "statistics_rollups_whose" CHECK (whose BETWEEN 0 AND 2)
);
--> statement-breakpoint
CREATE INDEX "statistics_marks_hour" ON "public"."statistics_marks" USING btree ("tenant_id","hour");