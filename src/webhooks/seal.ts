import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto'

/** Secrets as they are stored. */
export interface Seal {
  /** Whether there is a key to encrypt with. */
  readonly canSeal: boolean
  /**
   * Encrypts a text for one place: a webhook and a column. Without a key it answers the text as it is, so the caller decides
   * whether that is allowed.
   */
  seal: (text: string, place: SealPlace) => string
  /** The text of a stored secret. Raises `SealError` when no key opens it. A secret from before there was a key is answered as it is. */
  open: (stored: string, place: SealPlace) => string
  /** Whether a stored secret should be encrypted anew: it is not encrypted, or not with the first key. */
  isOutdated: (stored: string) => boolean
}

/** Where a secret is stored. A secret that is copied to another row or column does not open there. */
export interface SealPlace {
  webhookId: string
  column: 'settings' | 'secret'
}

/** The stored secret does not open. The message names the key that is missing, and no part of the secret. */
export class SealError extends Error {
  override readonly name = 'SealError'
}

const CIPHER = 'aes-256-gcm'
/** NIST SP 800-38D, section 8.2: 96 random bits serve for 2^32 texts with one key. */
const IV_BYTES = 12
const TAG_BYTES = 16

/** `sealed.`, the id of the key, and the rest in base64url: nonce, tag, ciphertext. A signing secret begins with `whsec_`. */
const SEALED = /^sealed\.([\da-f]{8})\.([\w-]+)$/

/** Names a key without telling anything of it. */
const idOf = (key: Buffer): string => createHash('sha256').update('headway key').update(key).digest('hex').slice(0, 8)

const boundTo = ({ webhookId, column }: SealPlace): Buffer => Buffer.from(`headway:webhooks:${webhookId}:${column}`)

/** `keys` have 32 bytes each. The first one encrypts, and all of them decrypt. */
export const createSeal = (keys: readonly Buffer[]): Seal => {
  const byId = new Map(keys.map(key => [idOf(key), key]))
  const [first] = keys
  const firstId = first && idOf(first)
  return {
    canSeal: first !== undefined,
    seal(text, place) {
      if (first === undefined || firstId === undefined) return text
      const iv = randomBytes(IV_BYTES)
      const cipher = createCipheriv(CIPHER, first, iv, { authTagLength: TAG_BYTES }).setAAD(boundTo(place))
      const ciphertext = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()])
      return `sealed.${firstId}.${Buffer.concat([iv, cipher.getAuthTag(), ciphertext]).toString('base64url')}`
    },
    open(stored, place) {
      const [, id, sealed] = SEALED.exec(stored) ?? []
      if (id === undefined || sealed === undefined) return stored
      const key = byId.get(id)
      if (key === undefined) throw new SealError(`The secret cannot be read: ENCRYPTION_KEYS lacks its key, ${id}`)
      const bytes = Buffer.from(sealed, 'base64url')
      try {
        const decipher = createDecipheriv(CIPHER, key, bytes.subarray(0, IV_BYTES), { authTagLength: TAG_BYTES })
          .setAAD(boundTo(place))
          .setAuthTag(bytes.subarray(IV_BYTES, IV_BYTES + TAG_BYTES))
        return Buffer.concat([decipher.update(bytes.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]).toString('utf8')
      } catch {
        // The error of the cipher says nothing more.
        throw new SealError(`The secret cannot be read: it was changed, or belongs to another webhook (key ${id})`)
      }
    },
    isOutdated: stored => stored !== '' && first !== undefined && SEALED.exec(stored)?.[1] !== firstId,
  }
}
