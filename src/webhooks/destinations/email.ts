import { TEST_TYPE } from '../../contract/webhook.ts'
import type { MessageJob } from '../message/message.ts'
import { mailContent } from '../message/render.ts'
import type { AttemptResult, ClaimedDelivery } from '../outbox.ts'
import type { Seal } from '../seal.ts'
import { openSettings, resultsOf, type Send } from '../send.ts'
import { singleMessageOf } from './teams.ts'

export interface MailSettings {
  /** `smtp:` or `smtps:`, with user and password. */
  url: string
  /** The sender. */
  from: string
}

export interface MailSendOptions {
  /** null: no mail is sent. */
  mail: MailSettings | null
  seal: Seal
  publicUrl: string | null
  timeoutMs: number
  random: () => number
}

/** The error of nodemailer, as far as it is told: its text may have the names and addresses of the operator's servers. */
interface MailError {
  code?: string
  responseCode?: number
}

const domainOf = (from: string): string => from.slice(from.lastIndexOf('@') + 1).replace(/>$/, '')

/** The ids that make all mails about one attempt of a job one thread (RFC 5322, section 3.6.4). */
const threadOf = ({ webhookId, messageId, type, body }: ClaimedDelivery, from: string) => {
  const id = (name: string) => `<${name}@${domainOf(from)}>`
  if (type === TEST_TYPE) return { messageId: id(messageId) }
  const { id: jobId, attempt } = (JSON.parse(body) as { data: MessageJob }).data
  const root = id(`${webhookId}.${jobId}.${attempt}`)
  // A retry has the same id, so that mailboxes keep one of two.
  return { messageId: id(messageId), inReplyTo: root, references: [root] }
}

/** Sends a mail for each change, through the server of the settings. */
export const createMailSend = ({ mail, seal, publicUrl, timeoutMs, random }: MailSendOptions): Send => {
  // Loaded for the first mail: most services send none, and their start needs no more memory for it.
  const openTransport = async ({ url }: MailSettings) => {
    const { createTransport } = await import('nodemailer')
    return createTransport({
      url,
      connectionTimeout: timeoutMs,
      greetingTimeout: timeoutMs,
      socketTimeout: timeoutMs,
      disableFileAccess: true,
      disableUrlAccess: true,
    })
  }
  let transport: ReturnType<typeof openTransport> | undefined
  return async (delivery, signal): Promise<AttemptResult> => {
    const results = resultsOf(delivery, random)
    if (mail === null) return results.failed(null, 'The service sends no mail: SMTP_URL is not set')
    const { to = [] } = openSettings(delivery, seal)
    const message = singleMessageOf(delivery, { language: delivery.language, publicUrl, nowMs: Date.now() })
    transport ??= openTransport(mail)
    const sending = (await transport)
      .sendMail({
        from: mail.from,
        to,
        ...threadOf(delivery, mail.from),
        ...mailContent(message),
        headers: { 'auto-submitted': 'auto-generated' },
      })
      .then(
        ({ rejected }): AttemptResult =>
          rejected.length === 0
            ? results.delivered(250)
            : results.delivered(250, { error: `The mail server refused ${rejected.length} of the addresses` }),
        (error: unknown): AttemptResult => {
          const { code, responseCode } = error as MailError
          return results.failed(
            responseCode ?? null,
            responseCode === undefined
              ? `No mail was sent: ${code ?? 'no reason given'}`
              : `The mail server answered ${responseCode}`,
          )
        },
      )
    // A mail that is under way cannot be called back: it may arrive, and then again, with the same id.
    let abort = () => {}
    const aborted = new Promise<AttemptResult>(resolve => {
      abort = () => resolve(results.unanswered({ status: null, error: '', aborted: true }))
    })
    signal.addEventListener('abort', abort)
    if (signal.aborted) abort()
    return Promise.race([sending, aborted]).finally(() => signal.removeEventListener('abort', abort))
  }
}
