import type { Database } from '../database/connection.ts'
import { FUNCTIONS } from '../database/functions.ts'

/** A message in a chat belongs to one attempt of one job. */
export interface ChatPlace {
  webhookId: string
  jobId: string
  jobAttempt: number
}

export interface ShownMessage {
  /** What the platform calls the message. */
  reference: string
  /** How often it was posted. */
  posts: number
  /** The job's revision that it shows. */
  revision: number
}

/** Which message of a chat belongs to a job. */
export interface ChatMessages {
  find(place: ChatPlace): Promise<ShownMessage | null>
  /** An older revision does not replace a newer one. */
  record(place: ChatPlace, shown: ShownMessage): Promise<void>
}

export const createChatMessages = (database: Database): ChatMessages => ({
  async find({ webhookId, jobId, jobAttempt }) {
    const rows = await database.query<ShownMessage>(
      'headway_find_chat_message',
      `SELECT reference, posts, revision FROM public.chat_messages
       WHERE webhook_id = $1 AND job_id = $2 AND job_attempt = $3`,
      [webhookId, jobId, jobAttempt],
    )
    return rows[0] ?? null
  },

  async record({ webhookId, jobId, jobAttempt }, { reference, posts, revision }) {
    await database.query(
      'headway_record_chat_message',
      `INSERT INTO public.chat_messages AS c (webhook_id, job_id, job_attempt, reference, posts, revision, updated_at)
       VALUES ($1, $2, $3, $4, $5, $6, ${FUNCTIONS}.clock())
       ON CONFLICT (webhook_id, job_id, job_attempt) DO UPDATE SET
         reference = excluded.reference, posts = excluded.posts, revision = excluded.revision, updated_at = excluded.updated_at
       WHERE c.revision < excluded.revision`,
      [webhookId, jobId, jobAttempt, reference, posts, revision],
    )
  },
})
