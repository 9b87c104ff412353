-- Has the transaction that calls it wait for the disk at its end, also where the server's default is not to: what the service
-- answers as durable must be. Its own sessions do by themselves (database/session.ts); those of a transaction pooler are
-- everybody's, and this alone holds in them. Stricter settings stay as they are.
CREATE FUNCTION headway.commit_durably() RETURNS void LANGUAGE sql AS $$
  SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'
$$;
