import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { join } from 'node:path'
import type { Test } from 'tap'

interface Pair {
  client: Socket
  server: Socket
}

/** What to do with a chunk on its way to the server; `cut` ends both sides instead of passing it on. */
export type Verdict = 'pass' | 'cut' | 'cut_after_answer'

/** A network between the service and its Postgres, with the faults of networks. */
export class Proxy {
  /** Everything on its way to the server is late by so much. */
  delayMs = 0
  /** Looks at the bytes on their way to the server. */
  judge: (chunk: Buffer) => Verdict = () => 'pass'
  readonly #pairs = new Set<Pair>()
  #silent = false

  get connections(): number {
    return this.#pairs.size
  }

  /** Drops everything silently until `heal`. Bytes that were sent meanwhile arrive then. */
  blackHole(): void {
    this.#silent = true
    for (const { client, server } of this.#pairs) {
      client.pause()
      server.pause()
    }
  }

  heal(): void {
    this.#silent = false
    for (const { client, server } of this.#pairs) {
      client.resume()
      server.resume()
    }
  }

  /** Nothing gets through any more on the connections that there are, and nobody is told. New ones are well. */
  forgetAll(): void {
    for (const { client, server } of this.#pairs) {
      client.pause()
      server.pause()
    }
  }

  cutAll(): void {
    for (const { client, server } of this.#pairs) {
      client.destroy()
      server.destroy()
    }
  }

  join(client: Socket, server: Socket): void {
    const pair = { client, server }
    this.#pairs.add(pair)
    const cut = () => {
      this.#pairs.delete(pair)
      client.destroy()
      server.destroy()
    }
    for (const socket of [client, server]) socket.on('error', cut).on('close', cut)
    let cutAtAnswer = false
    client.on('data', chunk => {
      const verdict = this.judge(chunk)
      if (verdict === 'cut') {
        cut()
        return
      }
      cutAtAnswer ||= verdict === 'cut_after_answer'
      // Timers of one length fire in the order in which they were set.
      if (this.delayMs > 0) setTimeout(() => server.write(chunk), this.delayMs)
      else server.write(chunk)
    })
    server.on('data', chunk => {
      if (cutAtAnswer) cut()
      else client.write(chunk)
    })
    if (this.#silent) this.blackHole()
  }
}

/** A proxy on 127.0.0.1 before the server of `databaseUrl` (a unix socket or TCP), and the same URL through it. */
export const startProxy = async (t: Test, databaseUrl: string): Promise<{ proxy: Proxy; url: string }> => {
  const target = new URL(databaseUrl)
  const port = target.port || '5432'
  const socketDir = target.searchParams.get('host')
  const proxy = new Proxy()
  const listener = createServer(client => {
    const server =
      socketDir === null ? connect(Number(port), target.hostname) : connect(join(socketDir, `.s.PGSQL.${port}`))
    proxy.join(client, server)
  })
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  t.teardown(() => {
    listener.close()
    proxy.cutAll()
  })
  const through = new URL(databaseUrl)
  through.searchParams.delete('host')
  through.hostname = '127.0.0.1'
  through.port = String((listener.address() as AddressInfo).port)
  return { proxy, url: through.href }
}
