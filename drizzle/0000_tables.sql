CREATE TABLE "public"."job_events" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "job_events_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"job_id" uuid NOT NULL,
	"type" text NOT NULL,
	"at" timestamp (3) with time zone NOT NULL,
	"actor" text,
	"attempt" integer NOT NULL,
	"data" jsonb DEFAULT '{}'::jsonb NOT NULL
);
--> statement-breakpoint
CREATE TABLE "public"."job_progress" (
	"job_id" uuid NOT NULL,
	"worker_id" text NOT NULL,
	"attempt" integer NOT NULL,
	"processed_count" bigint DEFAULT 0 NOT NULL,
	"total_count" bigint,
	"progress_percent" smallint,
	"stage" text,
	"message" text,
	"payload" jsonb,
	"throughput_per_second" double precision,
	"eta_at" timestamp (3) with time zone,
	"reported_at" timestamp (3) with time zone,
	"heartbeat_at" timestamp (3) with time zone NOT NULL,
	"created_at" timestamp (3) with time zone NOT NULL,
	"advanced_at" timestamp (3) with time zone,
	"heartbeats" bigint DEFAULT 1 NOT NULL,
	"advances" bigint DEFAULT 0 NOT NULL,
	"rate_since" timestamp (3) with time zone NOT NULL,
	"rate_at" timestamp (3) with time zone NOT NULL,
	"rate_reported_at" timestamp (3) with time zone,
	"rate_whole" double precision DEFAULT 0 NOT NULL,
	"rate_recent" double precision DEFAULT 0 NOT NULL,
	CONSTRAINT "job_progress_pkey" PRIMARY KEY("job_id","worker_id"),
	CONSTRAINT "job_progress_counts" CHECK (processed_count BETWEEN 0 AND 9007199254740991 AND total_count BETWEEN 0 AND 9007199254740991),
	CONSTRAINT "job_progress_percent" CHECK (progress_percent BETWEEN 0 AND 100),
	CONSTRAINT "job_progress_throughput" CHECK (throughput_per_second BETWEEN 0 AND 1e15),
	CONSTRAINT "job_progress_rate" CHECK (rate_whole >= 0 AND rate_whole < 'infinity' AND rate_recent >= 0 AND rate_recent < 'infinity')
);
--> statement-breakpoint
CREATE TABLE "public"."progress_jobs" (
	"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
	"tenant_id" uuid NOT NULL,
	"organization_id" uuid,
	"job_type" text NOT NULL,
	"name" text NOT NULL,
	"description" text,
	"status" text DEFAULT 'pending' NOT NULL,
	"progress_percent" smallint DEFAULT 0 NOT NULL,
	"processed_count" bigint DEFAULT 0 NOT NULL,
	"total_count" bigint,
	"own_total_count" bigint,
	"remaining_count" bigint GENERATED ALWAYS AS (CASE WHEN finished_at IS NOT NULL THEN 0 WHEN total_count < processed_count THEN 0 ELSE total_count - processed_count END) STORED,
	"unit" text DEFAULT 'unknown' NOT NULL,
	"throughput_per_second" double precision,
	"eta_seconds" bigint,
	"eta_source" text,
	"stage" text,
	"stages" jsonb,
	"message" text,
	"liveness" text,
	"advanced_at" timestamp (3) with time zone,
	"started_by_user_id" text,
	"cancelled_by_user_id" text,
	"started_at" timestamp (3) with time zone,
	"heartbeat_at" timestamp (3) with time zone,
	"finished_at" timestamp (3) with time zone,
	"created_at" timestamp (3) with time zone DEFAULT date_trunc('milliseconds', now()) NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT date_trunc('milliseconds', now()) NOT NULL,
	"result_summary" jsonb,
	"error_message" text,
	"error_stack" text,
	"failure_reason" text,
	"meta" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"cancellable" boolean DEFAULT false NOT NULL,
	"cancel_requested_at" timestamp (3) with time zone,
	"priority" integer DEFAULT 0 NOT NULL,
	"attempt" integer DEFAULT 1 NOT NULL,
	"heartbeat_timeout_seconds" integer NOT NULL,
	"pending_timeout_seconds" integer,
	"parent_job_id" uuid,
	"partition_index" integer,
	"partition_count" integer,
	"children" jsonb,
	"completed_count" bigint GENERATED ALWAYS AS (CASE WHEN status = 'completed' THEN processed_count END) STORED,
	"completed_seconds" double precision GENERATED ALWAYS AS (CASE WHEN status = 'completed' THEN date_part('epoch', finished_at - started_at) END) STORED,
	"revision" bigint DEFAULT 1 NOT NULL,
	"lifecycle" text DEFAULT 'created' NOT NULL,
	"lifecycle_revision" bigint DEFAULT 1 NOT NULL,
	"idempotency_key" text,
	"idempotency_hash" text,
	CONSTRAINT "progress_jobs_status" CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled')),
	CONSTRAINT "progress_jobs_unit" CHECK (unit IN ('items', 'files', 'rows', 'bytes', 'records', 'chunks', 'unknown')),
	CONSTRAINT "progress_jobs_percent" CHECK (progress_percent BETWEEN 0 AND 100),
	CONSTRAINT "progress_jobs_percent_100_is_completed" CHECK (progress_percent < 100 OR status = 'completed'),
	CONSTRAINT "progress_jobs_counts" CHECK (processed_count BETWEEN 0 AND 9007199254740991 AND total_count BETWEEN 0 AND 9007199254740991
        AND own_total_count BETWEEN 0 AND 9007199254740991 AND eta_seconds BETWEEN 0 AND 9007199254740991),
	CONSTRAINT "progress_jobs_throughput" CHECK (throughput_per_second >= 0 AND throughput_per_second < 'infinity'),
	CONSTRAINT "progress_jobs_eta_source" CHECK (eta_source IN ('rate', 'history', 'worker')),
	CONSTRAINT "progress_jobs_finished" CHECK ((finished_at IS NOT NULL) = (status IN ('completed', 'failed', 'cancelled'))),
	CONSTRAINT "progress_jobs_started" CHECK (started_at IS NOT NULL OR status IN ('pending', 'cancelled', 'failed')),
	CONSTRAINT "progress_jobs_heartbeat" CHECK (heartbeat_at IS NOT NULL OR status <> 'running' OR children IS NOT NULL),
	CONSTRAINT "progress_jobs_liveness" CHECK ((liveness IS NOT NULL) = (status = 'running') AND liveness IN ('ok', 'stalled')),
	CONSTRAINT "progress_jobs_failure" CHECK ((failure_reason IS NOT NULL) = (status = 'failed')),
	CONSTRAINT "progress_jobs_failure_reason" CHECK (failure_reason IN ('worker', 'stale', 'partitions', 'never_started')),
	CONSTRAINT "progress_jobs_attempt" CHECK (attempt >= 1),
	CONSTRAINT "progress_jobs_timeouts" CHECK (heartbeat_timeout_seconds BETWEEN 0 AND 86400 AND (pending_timeout_seconds IS NULL OR pending_timeout_seconds >= 1)),
	CONSTRAINT "progress_jobs_partition_place" CHECK ((parent_job_id IS NULL) = (partition_index IS NULL) AND partition_index >= 0 AND (parent_job_id IS NULL OR children IS NULL)),
	CONSTRAINT "progress_jobs_revision" CHECK (revision >= 1 AND lifecycle_revision BETWEEN 1 AND revision),
	CONSTRAINT "progress_jobs_lifecycle" CHECK (lifecycle IN ('created', 'started', 'cancel_requested', 'cancelled', 'completed', 'failed', 'stalled', 'recovered', 'retried')),
	CONSTRAINT "progress_jobs_idempotency_pair" CHECK ((idempotency_key IS NULL) = (idempotency_hash IS NULL))
);
--> statement-breakpoint
CREATE TABLE "public"."service_processes" (
	"id" uuid PRIMARY KEY NOT NULL,
	"started_at" timestamp (3) with time zone NOT NULL,
	"seen_at" timestamp (3) with time zone NOT NULL,
	"healthy_since" timestamp (3) with time zone NOT NULL
);
--> statement-breakpoint
ALTER TABLE "public"."job_events" ADD CONSTRAINT "job_events_job" FOREIGN KEY ("job_id") REFERENCES "public"."progress_jobs"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "public"."job_progress" ADD CONSTRAINT "job_progress_job" FOREIGN KEY ("job_id") REFERENCES "public"."progress_jobs"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "public"."progress_jobs" ADD CONSTRAINT "progress_jobs_parent" FOREIGN KEY ("parent_job_id") REFERENCES "public"."progress_jobs"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "job_events_history" ON "public"."job_events" USING btree ("job_id","id");--> statement-breakpoint
CREATE INDEX "job_events_stale" ON "public"."job_events" USING btree ("at","job_id","attempt","id") WHERE type = 'failed' AND data ->> 'failureReason' = 'stale';--> statement-breakpoint
CREATE UNIQUE INDEX "progress_jobs_partition" ON "public"."progress_jobs" USING btree ("parent_job_id","partition_index");--> statement-breakpoint
CREATE UNIQUE INDEX "progress_jobs_idempotency" ON "public"."progress_jobs" USING btree ("tenant_id",coalesce("organization_id", '00000000-0000-0000-0000-000000000000'),"idempotency_key") WHERE "public"."progress_jobs"."idempotency_key" IS NOT NULL;--> statement-breakpoint
CREATE INDEX "progress_jobs_active" ON "public"."progress_jobs" USING btree ("tenant_id","created_at") WHERE "public"."progress_jobs"."finished_at" IS NULL;--> statement-breakpoint
CREATE INDEX "progress_jobs_finished" ON "public"."progress_jobs" USING btree ("tenant_id","finished_at","job_type","organization_id","parent_job_id","failure_reason","completed_seconds","completed_count") WHERE "public"."progress_jobs"."finished_at" IS NOT NULL;--> statement-breakpoint
CREATE INDEX "progress_jobs_finished_at" ON "public"."progress_jobs" USING btree ("finished_at") WHERE "public"."progress_jobs"."finished_at" IS NOT NULL;--> statement-breakpoint
CREATE INDEX "progress_jobs_created" ON "public"."progress_jobs" USING btree ("tenant_id","created_at");