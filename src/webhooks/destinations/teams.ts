import { TEST_TYPE } from '../../contract/webhook.ts'
import { messageOf, testMessageOf, type MessageContext, type MessageJob } from '../message/message.ts'
import { teamsMessage } from '../message/render.ts'
import type { ClaimedDelivery } from '../outbox.ts'
import type { Request } from '../request.ts'
import type { Seal } from '../seal.ts'
import { openSettings, resultsOf, type Send } from '../send.ts'

export interface TeamsSendOptions {
  request: Request
  seal: Seal
  publicUrl: string | null
  random: () => number
}

/** The message for one delivery of a destination that edits nothing: it shows the job as of the change. */
export const singleMessageOf = ({ type, body }: Pick<ClaimedDelivery, 'type' | 'body'>, context: MessageContext) =>
  type === TEST_TYPE ? testMessageOf(context) : messageOf((JSON.parse(body) as { data: MessageJob }).data, context)

/** Posts a card for each change to the address of a workflow, which answers 202. */
export const createTeamsSend =
  ({ request, seal, publicUrl, random }: TeamsSendOptions): Send =>
  async (delivery, signal) => {
    const results = resultsOf(delivery, random)
    const { url = '' } = openSettings(delivery, seal)
    const message = singleMessageOf(delivery, { language: delivery.language, publicUrl, nowMs: Date.now() })
    const headers = { 'content-type': 'application/json' }
    const answer = await request({ method: 'POST', url, headers, body: JSON.stringify(teamsMessage(message)) }, signal)
    if (answer.status === null) return results.unanswered(answer)
    const { status, retryAfterSeconds } = answer
    if (status >= 200 && status < 300) return results.delivered(status)
    if (status === 410) return results.gone(status, 'The workflow is gone: the destination was disabled')
    return results.failed(status, 'Teams did not take it', { pauseSeconds: retryAfterSeconds ?? 0 })
  }
