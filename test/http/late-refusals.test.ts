import { Socket } from 'node:net'
import t from 'tap'
import { HeadwayError } from '../../src/contract/errors.ts'
import { createLateRefusals } from '../../src/http/limits/late-refusals.ts'

/** A request of a connection of its own. */
const from = (ip: string) => ({ ip, raw: { socket: new Socket() } })

const TOO_MANY = new HeadwayError('rate_limited', 'Too many.')

t.test('a caller that does not wait as told gets its next refusals late, and gets all of them', async t => {
  const refuse = createLateRefusals(() => 0)
  const told: unknown[] = []
  const tell = (error: Error) => told.push(error)
  for (let n = 0; n < 100; n += 1) refuse(TOO_MANY, from('192.0.2.1'), tell)
  t.equal(told.length, 100, 'a hundred at once')
  refuse(TOO_MANY, from('192.0.2.2'), tell)
  refuse(new HeadwayError('unauthenticated', 'No.'), from('192.0.2.1'), tell)
  t.equal(told.length, 102, 'another address, and another refusal')
  const begun = performance.now()
  const late = await new Promise(resolve => refuse(TOO_MANY, from('192.0.2.1'), resolve))
  t.equal(late, TOO_MANY)
  t.ok(performance.now() - begun >= 999, 'not before Retry-After')
})
