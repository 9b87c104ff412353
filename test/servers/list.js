// The servers that the tests run on beside the embedded one, and which tests.
import { findInstalled, installFromNpm } from './programs.js'

/** What depends on the server: plans, locks, isolation, and functions that are written for several versions. */
const TESTS = [
  'test/database/jit.test.ts',
  'test/database/settings.test.ts',
  'test/jobs/batch-model.test.ts',
  'test/jobs/flush-statement.test.ts',
  'test/jobs/intake.test.ts',
  'test/jobs/liveness.test.ts',
  'test/webhooks',
]

/**
 * - `name`: for people, and to choose by on the command line.
 * - `programs`: gives the folder with `initdb` and `postgres`, or a sentence why there is none here.
 * - `settings`: of the server, for all of its databases and sessions.
 */
export const SERVERS = [
  {
    name: 'PostgreSQL 15 of Debian, with JIT, serializable by default',
    programs: () => findInstalled({ atLeast: 14, withJit: true }),
    settings: { default_transaction_isolation: 'serializable' },
    tests: TESTS,
  },
  {
    name: 'PostgreSQL 14',
    programs: () => installFromNpm('14.23.0-beta.17'),
    settings: {},
    tests: TESTS,
  },
]
