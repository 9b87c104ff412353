-- Makes the calling transaction wait for the disk when it commits, even if the server's default is not to wait. What the
-- service answers as durable must be on disk. The service's own sessions are set up to wait (database/session.ts). The sessions
-- of a transaction pooler are shared with other programs, and there only this function ensures it. Stricter settings stay as
-- they are.
CREATE FUNCTION headway.commit_durably() RETURNS void LANGUAGE sql AS $$
  SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'
$$;
