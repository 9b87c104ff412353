import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { createAddresses, type Resolve } from '../../src/webhooks/addresses.ts'
import { backoffSeconds, retryAfterSeconds } from '../../src/webhooks/backoff.ts'
import { createRequest } from '../../src/webhooks/request.ts'
import { startReceiver } from '../helpers/receiver.ts'
import { startService } from '../helpers/service.ts'
import { waitFor } from '../helpers/wait.ts'

const never = new AbortController().signal

const postTo = (
  url: string,
  { networks = ['127.0.0.1'], timeoutMs = 5_000, resolve = undefined as Resolve | undefined } = {},
) =>
  createRequest({
    addresses: createAddresses(networks),
    timeoutMs,
    answer: { bytes: 16 * 1024, ms: 1_000 },
    ...(resolve && { resolve }),
  })({ method: 'POST', url, headers: {}, body: '{}' }, never)

/** A socket that answers with bytes of a test's choosing. */
const startRaw = async (t: Test, onData: (write: (text: string) => void, socket: Socket) => void): Promise<string> => {
  const server: Server = createServer(socket => {
    socket.on('error', () => undefined)
    socket.once('data', () => onData(text => socket.write(text), socket))
    t.teardown(() => socket.destroy())
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

const PRIVATE = [
  '127.0.0.1', '127.9.9.9', '0.0.0.0', '10.1.2.3', '172.16.0.1', '172.31.255.255', '192.168.1.1', '169.254.169.254',
  '169.254.0.1', '100.64.0.1', '100.100.100.200', '168.63.129.16', '192.0.0.192', '192.0.2.1', '198.18.0.1', '198.51.100.1',
  '203.0.113.1', '224.0.0.1', '240.0.0.1', '255.255.255.255', '::', '::1', '::ffff:127.0.0.1', '::ffff:a9fe:a9fe',
  '::127.0.0.1', '::a00:1', '64:ff9b::7f00:1', '64:ff9b::8.8.8.8', '64:ff9b:1::a00:1', '2002:7f00:1::1', '2001:0:1::1',
  'fe80::1', 'fec0::1', 'fc00::1', 'fd00:ec2::254', 'ff02::1', '100::1', '2001:db8::1', 'not an address', '',
] // prettier-ignore

t.test('only public addresses and those of the setting are allowed', t => {
  const none = createAddresses([])
  for (const address of PRIVATE) t.notOk(none.isAllowed(address), address)
  for (const address of ['8.8.8.8', '172.32.0.1', '100.128.0.1', '2606:4700:4700::1111', '::ffff:8.8.8.8'])
    t.ok(none.isAllowed(address), address)
  const some = createAddresses(['10.0.0.0/8', '::1', '127.0.0.1'])
  for (const address of ['10.255.0.1', '::1', '127.0.0.1', '::ffff:10.0.0.1', '8.8.8.8'])
    t.ok(some.isAllowed(address), address)
  for (const address of ['11.0.0.1', '127.0.0.2', '192.168.0.1', '::2']) t.equal(some.isListed(address), false, address)
  t.notOk(some.isAllowed('192.168.0.1'))
  t.end()
})

t.test('a webhook to a private address in any spelling is refused', async t => {
  const service = await startService(t)
  const create = (url: string) => service.call('POST', '/webhooks', { url })
  const literals = [
    'https://127.0.0.1/', 'https://127.1/', 'https://2130706433/', 'https://0x7f000001/', 'https://0177.0.0.1/', 'https://0/',
    'https://１２７.0.0.1/', 'https://169.254.169.254/latest/meta-data', 'https://[::1]/', 'https://[::ffff:127.0.0.1]/',
    'https://[::ffff:7f00:1]/', 'https://[64:ff9b::a00:1]/', 'https://[fe80::1]/', 'https://10.0.0.1:8443/', 'https://127.0.0.1./',
  ] // prettier-ignore
  for (const url of literals) {
    const refused = await create(url)
    t.match(refused, { status: 400, body: { code: 'validation_failed', errors: [{ path: 'url' }] } }, url)
    t.match(refused.body.detail, /WEBHOOK_ALLOWED_NETWORKS/, url)
  }
  const bad = [
    'http://example.com/',
    'ftp://example.com/',
    'https://user:pass@example.com/',
    'https://example.com/#a',
    '/hook',
    'x',
    '',
    'https://',
  ]
  for (const url of bad) t.match(await create(url), { status: 400, body: { errors: [{ path: 'url' }] } }, url)
  t.match(await create('https://EXAMPLE.com:443/a b'), { status: 201, body: { url: 'https://example.com/a%20b' } })
  t.match(await service.call('POST', '/webhooks', { url: 'https://example.com', events: ['done'] }), { status: 400 })
  t.match(await service.call('POST', '/webhooks', { url: 'https://example.com', events: ['failed', 'failed'] }), {
    status: 400,
  })
  t.match(await service.call('POST', '/webhooks', { url: 'https://example.com', progressIntervalSeconds: 0 }), {
    status: 400,
  })
})

t.test('the address is checked at the connection, and not when the name is first looked up', async t => {
  const receiver = await startReceiver(t)
  const { port } = new URL(receiver.url)
  const url = `http://rebound.example:${port}/hook`
  const answers = [['127.0.0.1'], ['10.0.0.1', '169.254.169.254'], ['::ffff:10.0.0.1'], ['10.0.0.1', '127.0.0.1']]
  const resolve: Resolve = async () =>
    answers.shift()!.map(address => ({ address, family: address.includes(':') ? 6 : 4 }))
  t.match(await postTo(url, { resolve }), { status: 204 })
  for (let time = 0; time < 2; time++)
    t.match(await postTo(url, { resolve }), { status: null, error: /no address that is allowed/, aborted: false })
  t.match(await postTo(url, { resolve }), { status: 204 }, 'of several, the one that is allowed')
  t.equal(receiver.received.length, 2)
  for (const literal of [
    receiver.url,
    `http://[::ffff:127.0.0.1]:${port}/`,
    `http://127.1:${port}/`,
    `http://localhost:${port}/`,
  ])
    t.match(
      await postTo(literal, { networks: ['10.0.0.0/8'] }),
      { status: null, error: /no address that is allowed/ },
      literal,
    )
  t.match(
    await postTo('http://8.8.8.8/', {}),
    { status: null, error: /no address/ },
    'without encryption, only those of the setting',
  )
  t.equal(receiver.received.length, 2, 'nothing of it has connected')
})

t.test(
  'an attempt at a slow receiver ends after a limited time, and long answers are not read to their end',
  async t => {
    const silent = await startRaw(t, () => undefined)
    t.match(await postTo(silent, { timeoutMs: 100 }), { status: null, error: 'No answer within 0.1 s' })
    const trickling = await startRaw(t, write => write('HTTP/1.1 200 OK\r\n'))
    t.match(await postTo(trickling, { timeoutMs: 100 }), { status: null, error: 'No answer within 0.1 s' })
    let written = 0
    let stopped = false
    const flooding = await startRaw(t, write => {
      write('HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n')
      const flood = () => {
        if (stopped) return
        write('x'.repeat(65_536))
        written += 65_536
        setImmediate(flood)
      }
      flood()
    })
    t.match(await postTo(flooding), { status: 200 }, 'its status is all that matters')
    stopped = true
    t.ok(written > 0)
    t.match(await postTo('http://127.0.0.1:1/'), { status: null, error: 'No answer: ECONNREFUSED' })
    const garbage = await startRaw(t, write => write('this is not HTTP\r\n\r\n'))
    t.match(await postTo(garbage), { status: null, error: /No answer: HPE_/ })
  },
)

t.test('an attempt and its connection end whatever the receiver does', async t => {
  const open = new Set<Socket>()
  const startHostile = (answer: string) =>
    startRaw(t, (write, socket) => {
      open.add(socket)
      socket.once('close', () => open.delete(socket))
      write(answer)
    })
  const change = 'upgrade: x\r\nconnection: upgrade\r\n\r\n'
  const changing = await startHostile(`HTTP/1.1 101 Switching Protocols\r\n${change}`)
  t.match(await postTo(changing), { status: null, error: 'No answer: the connection was closed' })
  t.match(await postTo(await startHostile(`HTTP/1.1 200 OK\r\ncontent-length: 0\r\n${change}`)), { status: 200 })
  const hints = 'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(1000)
  t.match(await postTo(await startHostile(hints), { timeoutMs: 100 }), { error: 'No answer within 0.1 s' })
  const headers = Array.from({ length: 1000 }, (_, n) => `x-${n}: ${'a'.repeat(50)}\r\n`).join('')
  t.match(await postTo(await startHostile(`HTTP/1.1 200 OK\r\n${headers}`)), { error: /HPE_HEADER_OVERFLOW/ })
  const unfinished = await startHostile('HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n')
  const startedAt = performance.now()
  t.match(await postTo(unfinished), { status: 200 })
  t.ok(performance.now() - startedAt > 900, 'it has the time that a short answer may take')
  await waitFor(() => open.size === 0)
})

t.test('the pause between attempts grows from seconds to hours, and honours what the receiver says', t => {
  t.same(
    [1, 2, 3, 4, 5, 8, 9, 30].map(attempts => Math.round(backoffSeconds(attempts, 0.5))),
    [5, 15, 45, 135, 405, 10_935, 14_400, 14_400],
  )
  t.same([backoffSeconds(1, 0), backoffSeconds(1, 1)].map(Math.round), [4, 6])
  const now = Date.UTC(2026, 0, 1)
  t.equal(retryAfterSeconds('120', now), 120)
  t.equal(retryAfterSeconds('Thu, 01 Jan 2026 00:01:00 GMT', now), 60)
  t.equal(retryAfterSeconds('999999', now), 3_600)
  for (const none of [undefined, '', '0', '-5', 'soon', 'Thu, 01 Jan 2015 00:01:00 GMT'])
    t.equal(retryAfterSeconds(none, now), null)
  t.end()
})
