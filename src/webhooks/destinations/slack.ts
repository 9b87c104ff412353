import { slackMessage } from '../message/render.ts'
import type { Request } from '../request.ts'
import { jsonOf, nameOf, pauseOf, wordOf, type Chat, type ChatAnswer, type ChatCall } from './chat.ts'

/** The message is gone, or no longer ours to edit (https://docs.slack.dev/reference/methods/chat.update). */
const MISSING = new Set(['message_not_found', 'cant_update_message', 'edit_window_closed'])
/** The token is not valid, and will not become so (https://docs.slack.dev/reference/methods/chat.postMessage). */
const REVOKED = new Set(['invalid_auth', 'not_authed', 'token_revoked', 'token_expired', 'account_inactive'])
const LIMITED = new Set(['ratelimited', 'rate_limited'])

interface Reference {
  channel: string
  ts: string
}

/** `chat.update` is of tier 3, 50 calls a minute and workspace, and a channel takes about one message a second. */
const PACE_SECONDS = 1.2

/** Slack has no key that makes a post happen once: after a crash between a post and its record, there are two messages. */
export const createSlack = ({ request, origin }: { request: Request; origin: string }): Chat => {
  const call = async (method: string, { settings, signal }: ChatCall, fields: object): Promise<ChatAnswer> => {
    const answer = await request(
      {
        method: 'POST',
        url: `${origin}/api/${method}`,
        headers: {
          'content-type': 'application/json; charset=utf-8',
          authorization: `Bearer ${settings.token ?? ''}`,
        },
        body: JSON.stringify(fields),
      },
      signal,
    )
    if (answer.status === null) return { result: 'unanswered', answer }
    const { status, retryAfterSeconds } = answer
    const body = jsonOf(answer.text)
    if (status === 429) return { result: 'limited', status, seconds: pauseOf(retryAfterSeconds) }
    if (status === 200 && body?.['ok'] === true) {
      const channel = nameOf(body['channel'])
      const ts = nameOf(body['ts'])
      if (channel !== null && ts !== null)
        return { result: 'sent', status, reference: JSON.stringify({ channel, ts } satisfies Reference) }
    }
    const error = wordOf(body?.['error'])
    if (LIMITED.has(error)) return { result: 'limited', status, seconds: pauseOf(retryAfterSeconds) }
    if (method === 'chat.update' && MISSING.has(error)) return { result: 'missing' }
    if (REVOKED.has(error)) return { result: 'revoked', status, error: `Slack refused the token (${error})` }
    return { result: 'refused', status, error: `Slack did not take it: ${error}` }
  }
  return {
    paceSeconds: PACE_SECONDS,
    post: chatCall =>
      call('chat.postMessage', chatCall, {
        channel: chatCall.settings.channel,
        ...slackMessage(chatCall.message),
        unfurl_links: false,
        unfurl_media: false,
      }),
    edit: (reference, chatCall) =>
      call('chat.update', chatCall, { ...(JSON.parse(reference) as Reference), ...slackMessage(chatCall.message) }),
  }
}
