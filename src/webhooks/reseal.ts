import type { Logger } from 'pino'
import type { StoredSecrets, WebhookRepository } from './repository.ts'
import { SealError, type Seal } from './seal.ts'

export interface ResealOptions {
  repository: Pick<WebhookRepository, 'listSecrets' | 'replaceSecrets'>
  seal: Seal
  isClosing: () => boolean
  log: Logger
}

const READ_AT_ONCE = 100
const FIRST_ID = '00000000-0000-0000-0000-000000000000'

/**
 * Encrypts all secrets with the first key that are not: those from before there was a key, and those of an earlier key. When it has
 * run, an earlier key is needed no more.
 */
export const createReseal = ({ repository, seal, isClosing, log }: ResealOptions) => {
  const again = (stored: string, webhookId: string, column: 'settings' | 'secret'): string => {
    const place = { webhookId, column }
    return seal.isOutdated(stored) ? seal.seal(seal.open(stored, place), place) : stored
  }
  const resealOne = async (from: StoredSecrets): Promise<void> => {
    const { id, secret, previousSecret, sealedSettings } = from
    const to: StoredSecrets = {
      id,
      secret: again(secret, id, 'secret'),
      previousSecret: previousSecret === null ? null : again(previousSecret, id, 'secret'),
      sealedSettings: sealedSettings === null ? null : again(sealedSettings, id, 'settings'),
    }
    const isSame = to.secret === secret && to.previousSecret === previousSecret && to.sealedSettings === sealedSettings
    if (!isSame) await repository.replaceSecrets(from, to)
  }
  return async (): Promise<void> => {
    if (!seal.canSeal) return
    for (let after = FIRST_ID; !isClosing();) {
      const found = await repository.listSecrets(after, READ_AT_ONCE)
      for (const stored of found) {
        try {
          await resealOne(stored)
        } catch (error) {
          if (!(error instanceof SealError)) throw error
          log.warn({ webhookId: stored.id, error: error.message }, 'a secret of a webhook cannot be read')
        }
      }
      const last = found.at(-1)
      if (last === undefined || found.length < READ_AT_ONCE) return
      after = last.id
    }
  }
}
