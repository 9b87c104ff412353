import { z } from 'zod'
import type { DestinationSettings, ShownSettings } from '../../contract/destinations.ts'
import { text } from './primitives.ts'

const MAX_URL_LENGTH = 2_000
const MAX_TOKEN_LENGTH = 1_000
const MAX_NAME_LENGTH = 255
/** RFC 5321, section 4.5.3.1: 64 characters, the @, and 255 of the domain. */
const MAX_ADDRESS_LENGTH = 320
const MAX_ADDRESSES = 20

const URL_SENTENCE = 'must be a URL such as https://hooks.example.com/headway'

/** The address in the form in which it is called: host and port have one spelling. */
export const receiverUrl = text(1, MAX_URL_LENGTH)
  .superRefine((value, context) => {
    const url = URL.canParse(value) ? new URL(value) : null
    if (!url || !/^https?:$/.test(url.protocol)) context.addIssue(URL_SENTENCE)
    else if (url.username !== '' || url.password !== '') {
      context.addIssue('must not hold a user or a password: check the signature instead')
    } else if (url.hash !== '') context.addIssue('must not have a fragment: it would not be sent')
  })
  .overwrite(value => (URL.canParse(value) ? new URL(value).href : value))
  .meta({ format: 'uri', examples: ['https://hooks.example.com/headway'] })

/** A secret is sent in a header or in a path, and must not end it. */
const token = text(1, MAX_TOKEN_LENGTH).regex(/^[\x21-\x7e]*$/, 'must have visible ASCII characters only')

/** One address and nothing around it. A name, a comma or a line end could add receivers or headers. */
const mailAddress = text(3, MAX_ADDRESS_LENGTH).regex(
  /^[^\s@<>()[\],;:\\"\p{C}]+@[^\s@<>()[\],;:\\"\p{C}]+$/u,
  'must be an address such as team@example.com',
)

const shown = {
  channel: text(1, MAX_NAME_LENGTH).exactOptional().describe('slack: the id of a channel.'),
  chatId: text(1, MAX_NAME_LENGTH)
    .regex(/^(?:-?\d+|@\w+)$/, 'must be a number, or the @name of a channel')
    .exactOptional()
    .describe('telegram: the number of a chat.'),
  homeserver: receiverUrl.exactOptional().describe('matrix: the URL of the server.'),
  roomId: text(1, MAX_NAME_LENGTH).exactOptional().describe('matrix: the id of a room.'),
  to: z
    .array(mailAddress, 'must be a list of addresses')
    .min(1, 'must have an address')
    .max(MAX_ADDRESSES, `must have at most ${MAX_ADDRESSES} addresses`)
    .exactOptional()
    .describe('email: who gets it.'),
}

export const settings = z
  .strictObject({
    token: token.exactOptional().describe('slack, telegram, matrix: of the bot or account.'),
    url: receiverUrl.exactOptional().describe('discord, teams: the address made for the channel.'),
    ...shown,
  })
  .meta({ id: 'DestinationSettings' }) satisfies z.ZodType<DestinationSettings>

export const shownSettings = z
  .object({
    channel: z.string().exactOptional(),
    chatId: z.string().exactOptional(),
    homeserver: z.string().exactOptional(),
    roomId: z.string().exactOptional(),
    to: z.array(z.string()).exactOptional(),
  })
  .meta({ id: 'ShownSettings' }) satisfies z.ZodType<ShownSettings>
