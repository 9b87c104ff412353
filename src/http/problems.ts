import { HEADER } from '../contract/http.ts'
import { randomUUID } from 'node:crypto'
import { STATUS_CODES } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { HeadwayError, type ErrorCode, type ErrorDetails } from '../contract/errors.ts'

/** Refusals of the transport, before there is a request. */
type TransportCode = 'malformed_request' | 'request_timeout' | 'headers_too_large' | 'expectation_failed'

export type ProblemCode = ErrorCode | TransportCode

/** The one table from codes to HTTP statuses. Clients branch on the code; the title is for people. */
export const PROBLEMS: Readonly<Record<ProblemCode, { status: number; title: string }>> = {
  malformed_request: { status: 400, title: 'The request is not valid HTTP' },
  validation_failed: { status: 400, title: 'The request is not valid' },
  unauthenticated: { status: 401, title: 'Authentication is needed' },
  forbidden: { status: 403, title: 'Not allowed' },
  job_not_found: { status: 404, title: 'No such job' },
  parent_not_found: { status: 404, title: 'No such parent job' },
  webhook_not_found: { status: 404, title: 'No such webhook' },
  delivery_not_found: { status: 404, title: 'No such delivery' },
  badge_not_found: { status: 404, title: 'No such badge' },
  route_not_found: { status: 404, title: 'No such path' },
  method_not_allowed: { status: 405, title: 'Method not allowed' },
  not_acceptable: { status: 406, title: 'No acceptable representation' },
  request_timeout: { status: 408, title: 'The request took too long to arrive' },
  already_finished: { status: 409, title: 'The job has already finished' },
  not_finished: { status: 409, title: 'The job has not finished' },
  not_retryable: { status: 409, title: 'The job cannot be retried' },
  not_cancellable: { status: 409, title: 'The job cannot be cancelled' },
  superseded: { status: 409, title: 'Another attempt has taken over' },
  is_batch: { status: 409, title: 'The job is a batch' },
  is_partition: { status: 409, title: 'The job is a partition' },
  parent_finished: { status: 409, title: 'The parent job has already finished' },
  webhook_disabled: { status: 409, title: 'The webhook is disabled' },
  destination_unavailable: { status: 409, title: 'The service lacks a setting for this destination' },
  payload_too_large: { status: 413, title: 'The body is too large' },
  unsupported_media_type: { status: 415, title: 'Unsupported media type' },
  expectation_failed: { status: 417, title: 'Expectation failed' },
  misdirected_request: { status: 421, title: 'Misdirected request' },
  too_many_workers: { status: 422, title: 'Too many workers' },
  meta_too_large: { status: 422, title: 'The metadata is too large' },
  unknown_stage: { status: 422, title: 'Unknown stage' },
  invalid_stages: { status: 422, title: 'Invalid stages' },
  invalid_partition: { status: 422, title: 'Invalid partition' },
  idempotency_key_reused: { status: 422, title: 'The idempotency key belongs to another request' },
  too_many_webhooks: { status: 422, title: 'Too many webhooks' },
  too_many_badges: { status: 422, title: 'Too many badges' },
  too_many_streams: { status: 429, title: 'Too many streams' },
  too_much_in_flight: { status: 429, title: 'Too much at once' },
  rate_limited: { status: 429, title: 'Too many requests' },
  headers_too_large: { status: 431, title: 'The request headers are too large' },
  internal_error: { status: 500, title: 'Internal error' },
  overloaded: { status: 503, title: 'Overloaded' },
  shutting_down: { status: 503, title: 'Shutting down' },
  database_unavailable: { status: 503, title: 'The database is unavailable' },
  keys_unavailable: { status: 503, title: 'The keys for tokens are unavailable' },
  outcome_unknown: { status: 503, title: 'The outcome is unknown' },
}

/** An error answer in the form of RFC 9457, with the stable `code`. */
interface ProblemDocument extends Pick<ErrorDetails, 'errors' | 'jobStatus' | 'reason' | 'retryAfterSeconds'> {
  type: string
  title: string
  status: number
  detail: string
  code: ProblemCode
  requestId: string
}

export const problemDocument = (
  code: ProblemCode,
  detail: string,
  requestId: string,
  { errors, jobStatus, reason, retryAfterSeconds }: ErrorDetails = {},
): ProblemDocument => ({
  type: `urn:headway:problem:${code}`,
  ...PROBLEMS[code],
  detail,
  code,
  requestId,
  ...(errors && { errors }),
  ...(jobStatus !== undefined && { jobStatus }),
  ...(reason !== undefined && { reason }),
  ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
})

export const sendProblem = (reply: FastifyReply, error: HeadwayError): FastifyReply => {
  const { code, message, details } = error
  if (details.retryAfterSeconds !== undefined) reply.header('retry-after', Math.ceil(details.retryAfterSeconds))
  const document = JSON.stringify(problemDocument(code, message, reply.request.id, details))
  // As bytes: to a text Fastify would add a charset, which this media type does not have.
  return reply
    .code(PROBLEMS[code].status)
    .header('content-type', 'application/problem+json')
    .send(Buffer.from(document))
}

/** The refusal for an error of Fastify itself; null for any other error, which is a bug of the service. */
const fromFramework = (error: FastifyError): HeadwayError | null => {
  switch (error.code) {
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new HeadwayError('unsupported_media_type', 'The content-type header names no media type.')
    case 'FST_ERR_BAD_URL':
      return new HeadwayError('validation_failed', 'The path is not valid percent-encoded text.')
    case 'FST_ERR_MAX_PARAM_LENGTH':
      return new HeadwayError('route_not_found', 'A part of the path is too long.')
    // The client left while it was sending the body. Nobody reads the answer, but it is no bug of the service.
    case 'ECONNRESET':
      return new HeadwayError('validation_failed', 'The body ended too early.')
    default:
      return null
  }
}

/**
 * Answers with a problem document. An error that is not a refusal is logged with its stack, and the caller only learns the
 * request id.
 */
export const handleError = (error: Error, request: FastifyRequest, reply: FastifyReply): FastifyReply => {
  const refusal = error instanceof HeadwayError ? error : fromFramework(error as FastifyError)
  if (refusal) {
    if (refusal.cause !== undefined) request.log.warn({ err: refusal }, 'refused')
    return sendProblem(reply, refusal)
  }
  request.log.error({ err: error }, 'request failed')
  return sendProblem(
    reply,
    new HeadwayError('internal_error', `Something went wrong here. The log has it under request id ${request.id}.`),
  )
}

const CLIENT_ERRORS: Record<string, { code: TransportCode; detail: string }> = {
  HPE_HEADER_OVERFLOW: { code: 'headers_too_large', detail: 'Path and headers may have at most 16 KB together.' },
  ERR_HTTP_REQUEST_TIMEOUT: { code: 'request_timeout', detail: 'The request did not arrive in time: send it again.' },
}

const transportProblem = (code: TransportCode, detail: string) => {
  const requestId = randomUUID()
  const body = JSON.stringify(problemDocument(code, detail, requestId))
  const headers = {
    'content-type': 'application/problem+json',
    'x-content-type-options': 'nosniff',
    [HEADER.requestId]: requestId,
    'content-length': Buffer.byteLength(body),
    // The next bytes on this connection may be the body of the refused request.
    connection: 'close',
  }
  return { status: PROBLEMS[code].status, headers, body }
}

/** Answers an `Expect` other than `100-continue`. Node would refuse it with an empty answer before any route is called. */
export const refuseExpectation = (_request: IncomingMessage, response: ServerResponse): void => {
  const { status, headers, body } = transportProblem(
    'expectation_failed',
    'The only expectation that can be met is 100-continue: send the request without the header Expect.',
  )
  response.writeHead(status, headers).end(body)
}

/**
 * Answers bytes that the HTTP parser refuses. There is no request then, only a socket, and Node no longer watches it: a client
 * that neither closes it nor stops sending would keep the socket, and the bytes that it has sent, for ever. So the socket is
 * closed after `lingerMs`, in which the client can read the answer.
 */
export const clientErrorHandler =
  ({ lingerMs }: { lingerMs: number }) =>
  (error: NodeJS.ErrnoException, socket: Socket): void => {
    // After a reset by the peer nobody reads an answer. If an answer has begun, no other one may follow it.
    if (error.code === 'ECONNRESET' || !socket.writable || socket.bytesWritten > 0) {
      socket.destroy()
      return
    }
    const { code, detail } = CLIENT_ERRORS[error.code ?? ''] ?? {
      code: 'malformed_request',
      detail: 'What arrived is not an HTTP/1.1 request.',
    }
    const { status, headers, body } = transportProblem(code, detail)
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
    const timer = setTimeout(() => socket.destroy(), lingerMs)
    socket.once('close', () => clearTimeout(timer))
    socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines.join('')}\r\n${body}`)
  }
