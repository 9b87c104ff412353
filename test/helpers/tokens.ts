import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import type { CryptoKey, JWK } from 'jose'
import type { Test } from 'tap'

export const SECRET = 'a secret of the tests, with more than 32 bytes'

/** Everything that a claims set of a test may hold, good or bad. */
export type TestClaims = Record<string, unknown>

export interface Signing {
  alg: string
  key: CryptoKey | Uint8Array
  kid?: string
}

const WITH_SECRET: Signing = { alg: 'HS256', key: Buffer.from(SECRET) }

/** A token of a new tenant with every feature, signed with `SECRET`, good for an hour. The given claims replace these. */
export const mint = (claims: TestClaims = {}, { alg, key, kid }: Signing = WITH_SECRET): Promise<string> => {
  const all = { tenant_id: randomUUID(), features: ['progress.*'], exp: secondsFromNow(3600), ...claims }
  // Read back from JSON, so that undefined takes a claim away.
  return new SignJWT(JSON.parse(JSON.stringify(all)) as TestClaims)
    .setProtectedHeader({ alg, ...(kid !== undefined && { kid }) })
    .sign(key)
}

export const secondsFromNow = (seconds: number): number => Date.now() / 1000 + seconds

export const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` })

/** A key pair of an issuer, and how its public half is published. */
export const makeKey = async (alg: string, kid?: string): Promise<Signing & { jwk: JWK; publicKey: CryptoKey }> => {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true })
  const jwk = { ...(await exportJWK(publicKey)), alg, use: 'sig', ...(kid !== undefined && { kid }) }
  return { alg, key: privateKey, publicKey, jwk, ...(kid !== undefined && { kid }) }
}

/** An issuer's key set on a real socket: answers what a test tells it to. */
export interface Issuer {
  url: string
  /** How often it was asked. */
  asked: number
  publish(...keys: JWK[]): void
  /** Until the next `publish`. */
  answer(handler: (response: ServerResponse) => void): void
}

export const startIssuer = async (t: Test): Promise<Issuer> => {
  let handler: (response: ServerResponse) => void = response => response.writeHead(500).end()
  const server = createServer((_request, response) => {
    issuer.asked++
    handler(response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  const issuer: Issuer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`,
    asked: 0,
    answer: next => (handler = next),
    publish(...keys) {
      handler = response => response.setHeader('content-type', 'application/json').end(JSON.stringify({ keys }))
    },
  }
  return issuer
}
