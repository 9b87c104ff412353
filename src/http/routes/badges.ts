import { createHash } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FastifyPluginAsyncZod } from 'fastify-type-provider-zod'
import { HeadwayError, type ErrorCode } from '../../contract/errors.ts'
import type { Feature } from '../../contract/tokens.ts'
import type { BadgeState, Badges } from '../../jobs/badges/badges.ts'
import type { Jobs } from '../../jobs/use-cases.ts'
import { badgeSvg } from '../badge-svg.ts'
import { hasTag } from '../conditional.ts'
import type { Guesses } from '../limits/guesses.ts'
import type { ProblemCode } from '../problems.ts'
import { badgeList, badgeParams, badgeQuery, badgeToken, badgeWithToken, newBadge } from '../schemas/badge.ts'
import { CHANGE_REFUSALS, operation, type Answer } from '../schemas/operation.ts'
import { nothing } from '../schemas/primitives.ts'
import { jobParams } from '../schemas/requests.ts'

/** For how many seconds caches may show a picture: less than a reader of a wiki looks away. */
const MAX_AGE_SECONDS = 15

const PICTURE: Answer['content'] = { 'image/svg+xml': { schema: { type: 'string' }, example: '<svg/>' } }

const pictures = (notFound: string): Record<number, Answer> => ({
  200: { description: 'The picture.', content: PICTURE, headers: { etag: { type: 'string', description: 'Of it.' } } },
  304: { description: 'The caller has it.' },
  404: { description: `${notFound}: a grey picture that says "no job".`, content: PICTURE },
})

/** The picture by itself, opened in a tab, may load and run nothing. Pages of any site may show it. */
const protect = (reply: FastifyReply): FastifyReply =>
  reply
    .header('content-security-policy', "default-src 'none'; style-src 'none'; sandbox")
    .header('cross-origin-resource-policy', 'cross-origin')

/** Sends a picture, or 304 if the caller has it. Pages show pictures of any status, so what is missing has one as well. */
const sendPicture = (
  request: FastifyRequest,
  reply: FastifyReply,
  { job, label, caching }: { job: BadgeState | null; label: string; caching: string },
  status: number,
): void => {
  const svg = badgeSvg(job, label)
  protect(reply).header('cache-control', caching)
  if (status === 200) {
    const etag = `W/"${createHash('sha256').update(svg).digest('base64url').slice(0, 22)}"`
    reply.header('etag', etag)
    if (hasTag(request.headers['if-none-match'], etag)) {
      reply.code(304).send()
      return
    }
  }
  reply.code(status).type('image/svg+xml; charset=utf-8').send(Buffer.from(svg))
}

/** The state that `read` finds; undefined where it raises `missing`. */
const orMissing = async (
  read: Promise<BadgeState | null>,
  missing: ErrorCode,
): Promise<BadgeState | null | undefined> => {
  try {
    return await read
  } catch (error) {
    if (error instanceof HeadwayError && error.code === missing) return undefined
    throw error
  }
}

interface Shown {
  read: Promise<BadgeState | null>
  /** What `read` raises where there is nothing to show. */
  missing: ErrorCode
  label: string
  /** Whether caches that many share may keep the picture. */
  isPublic: boolean
}

/** Sends what `read` finds, or the picture of what is missing. Resolves with whether it was there. */
const show = async (
  request: FastifyRequest,
  reply: FastifyReply,
  { read, missing, label, isPublic }: Shown,
): Promise<boolean> => {
  const job = await orMissing(read, missing)
  const isThere = job !== undefined
  // What is missing is kept as well, so that a page with a revoked badge does not ask for it with each reader.
  const caching = `${isPublic ? 'public' : 'private'}, max-age=${MAX_AGE_SECONDS}`
  sendPicture(request, reply, { job: job ?? null, label, caching }, isThere ? 200 : 404)
  return isThere
}

/** The badge of a type, for everyone who has its token. It is outside of the API, because pages that show it send no token. */
export const badgePictureRoutes: FastifyPluginAsyncZod<{ badges: Badges; guesses: Guesses }> = async (
  app,
  { badges, guesses },
) => {
  app.route({
    method: 'GET',
    url: '/badges/:token.svg',
    schema: {
      ...operation({
        id: 'showBadge',
        summary: 'Show the newest job of a type',
        description: 'For READMEs and wikis. It tells the percent or the outcome, and nothing else.',
        tag: 'badges',
        takesNoToken: true,
        answers: pictures('No such badge'),
        refusals: ['rate_limited', 'overloaded', 'database_unavailable'],
      }),
      params: badgeToken,
      querystring: badgeQuery,
    },
    handler: async (request, reply) => {
      const { params, query, ip } = request
      // Counted before the database is asked, and taken back unless the token was a guess.
      guesses.count(ip)
      let isGuess = false
      try {
        isGuess = !(await show(request, reply, {
          read: badges.newest(params.token),
          missing: 'badge_not_found',
          label: query.label,
          isPublic: true,
        }))
      } finally {
        if (!isGuess) guesses.takeBack(ip)
      }
      return reply
    },
  })
}

const MANAGE: { feature: Feature } = { feature: 'progress.manage' }

const call = ({
  refusals = [],
  ...rest
}: {
  id: string
  summary: string
  description?: string
  answers: Record<number, Answer>
  refusals?: ProblemCode[]
}) => operation({ ...rest, tag: 'badges', refusals: ['database_unavailable', ...refusals] })

/** Routes that make, list and revoke badges of types, and that show the badge of one job. */
export const badgeRoutes: FastifyPluginAsyncZod<{ badges: Badges; jobs: Jobs }> = async (app, { badges, jobs }) => {
  app.route({
    method: 'GET',
    url: '/jobs/:id/badge.svg',
    config: { feature: 'progress.view' },
    schema: {
      ...call({ id: 'getJobBadge', summary: 'Show how far a job is', answers: pictures('No such job') }),
      params: jobParams,
      querystring: badgeQuery,
    },
    handler: async (request, reply) => {
      await show(request, reply, {
        read: jobs.progress(request.identity, request.params.id),
        missing: 'job_not_found',
        label: request.query.label,
        isPublic: false,
      })
      return reply
    },
  })
  app.route({
    method: 'POST',
    url: '/badges',
    config: MANAGE,
    schema: {
      ...call({
        id: 'createBadge',
        summary: 'Make a badge for a type of jobs',
        description: 'Everyone who has its token sees how far the newest job of the type is.',
        answers: {
          201: {
            description: 'The badge, and its token, which is shown only here.',
            schema: badgeWithToken,
            headers: { location: { type: 'string', description: 'Where the picture is, relative to this call.' } },
          },
        },
        refusals: [...CHANGE_REFUSALS, 'too_many_badges'],
      }),
      querystring: nothing,
      body: newBadge,
    },
    handler: async ({ identity, body }, reply) => {
      const created = await badges.create(identity, body)
      return reply.code(201).header('location', `../../badges/${created.token}.svg`).send(created)
    },
  })
  app.route({
    method: 'GET',
    url: '/badges',
    config: MANAGE,
    schema: {
      ...call({
        id: 'listBadges',
        summary: 'List badges',
        answers: { 200: { description: 'All of the tenant, without their tokens.', schema: badgeList } },
      }),
      querystring: nothing,
    },
    handler: async ({ identity }) => ({ items: await badges.list(identity) }),
  })
  app.route({
    method: 'DELETE',
    url: '/badges/:id',
    config: MANAGE,
    schema: {
      ...call({
        id: 'deleteBadge',
        summary: 'Revoke a badge',
        answers: { 204: { description: 'Its token shows nothing from now on, but for copies in caches.' } },
        refusals: [...CHANGE_REFUSALS, 'badge_not_found'],
      }),
      params: badgeParams,
      querystring: nothing,
      body: nothing,
    },
    handler: async ({ identity, params }, reply) => {
      await badges.remove(identity, params.id)
      return reply.code(204).send()
    },
  })
}
