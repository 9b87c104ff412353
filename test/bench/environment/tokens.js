// Tokens for a service that is measured with authentication.
import { Buffer } from 'node:buffer'
import { SignJWT } from 'jose'

export const SECRET = 'the secret of a benchmark, with more than 32 bytes'

export const mint = (tenantId, sub, features) =>
  new SignJWT({ tenant_id: tenantId, sub, features })
    .setProtectedHeader({ alg: 'HS256' })
    .setExpirationTime('6h')
    .sign(Buffer.from(SECRET))
