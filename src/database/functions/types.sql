-- The types that functions take and answer. The service creates them first, then the functions in the order of their files.

-- A change of another job than the one that was asked for. The caller announces it. `event` is the kind of a lifecycle change,
-- and null for every other change.
CREATE TYPE headway.change AS (
  tenant_id uuid, job_id uuid, revision bigint, lifecycle boolean, is_batch boolean, job_type text, event text);

-- One heartbeat of a batch of heartbeats, as the service sends it to headway.flush in JSON. `i` is its number in the batch.
-- After that come the job and worker, then what the caller may see, then the fields that src/jobs/heartbeats/fields.ts names.
-- `clears` are the columns that the heartbeat sets to null. `keep_higher` says that the heartbeat may be written late or twice,
-- so it must not lower a count.
CREATE TYPE headway.heartbeat AS (
  i integer, job_id uuid, worker_id text,
  tenant_id uuid, all_organizations boolean, organization_id uuid, scope_job_id uuid, actor text,
  keep_higher boolean, clears text[],
  processed_count bigint, increment bigint, total_count bigint, progress_percent smallint, unit text,
  throughput_per_second float8, eta_seconds bigint, stage text, message text, payload jsonb, meta jsonb, due jsonb,
  reported_at timestamptz, attempt integer
);

-- The results of heartbeats. `items` are their numbers in the batch. Heartbeats with the same result share a row, because the
-- cost of an answer grows with its rows. Values that differ between them are in arrays of the same order as `items`. `code` is
-- null, or says why they were refused. A row without `items` lists in `others` the batches that changed with their partitions.
CREATE TYPE headway.heartbeat_answers AS (
  items integer[], code text, status text, cancel_requested boolean, progress_percents integer[], revisions bigint[],
  applied boolean[], heartbeat_timeout_seconds integer, changed boolean, lifecycle_changed boolean, others json
);

-- The history of a type of job (history.sql): the usual duration in seconds, the shape, and how long a job takes that takes
-- longer than usual.
CREATE TYPE headway.type_history AS (expected_seconds float8, shape smallint[], long_seconds float8, newest_at timestamptz);

-- How a job's share of the work grew, and the odds that it follows the shape of its type.
CREATE TYPE headway.followed_shape AS (path real[], step float8, odds real);

-- What a worker's rate is measured from: the columns of job_progress.
CREATE TYPE headway.worker_pace AS (rate_units float8, rate_seconds float8, rate_error real, pace_units float8, pace_seconds float8,
  pace_path real[], pace_step float8, longest_gap float8, second_gap float8, left_out float8, paused_seconds float8, after_pause boolean);

-- What follows from a path that has grown: the path, the units and seconds of the rate, and how wrong such rates were.
CREATE TYPE headway.pace AS (path real[], step float8, units float8, seconds float8, error real);
