CREATE TABLE "public"."untold_changes" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "public"."untold_changes_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"tenant_id" uuid NOT NULL,
	"job_id" uuid NOT NULL,
	"job_type" text NOT NULL,
	"revision" bigint NOT NULL,
	"event" text
);
