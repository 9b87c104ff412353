-- The types that functions take and answer. This file is read first, then the functions, in whatever order.

-- A change that was made beside the one that was asked for, for whoever announces it. `event` is the lifecycle change, null
-- where it was another one.
CREATE TYPE headway.change AS (
  tenant_id uuid, job_id uuid, revision bigint, lifecycle boolean, is_batch boolean, job_type text, event text);

-- One heartbeat of a batch as the service sends it to headway.flush, in JSON: `i` is its place there, then whom it is from and
-- what that caller may see, then what it says, as src/jobs/heartbeats/fields.ts names it. `clears` are the columns that it
-- sets to null; `keep_higher` says that it may be written late or twice, and must not lower a count.
CREATE TYPE headway.heartbeat AS (
  i integer, job_id uuid, worker_id text,
  tenant_id uuid, all_organizations boolean, organization_id uuid, scope_job_id uuid, actor text,
  keep_higher boolean, clears text[],
  processed_count bigint, increment bigint, total_count bigint, progress_percent smallint, unit text,
  throughput_per_second float8, eta_seconds bigint, stage text, message text, payload jsonb, meta jsonb,
  reported_at timestamptz, attempt integer
);

-- What became of heartbeats, by their places in the batch (`items`). Those that came to the same share a row, because rows
-- are what an answer costs; what differs between them is in arrays beside `items`. `code` is null or says why they were
-- refused. A row without items names in `others` the batches that changed with their partitions.
CREATE TYPE headway.heartbeat_answers AS (
  items integer[], code text, status text, cancel_requested boolean, progress_percents integer[], revisions bigint[],
  applied boolean[], heartbeat_timeout_seconds integer, changed boolean, lifecycle_changed boolean, others json
);
