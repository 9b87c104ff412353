import { z } from 'zod'
import { PROBLEMS } from '../problems.ts'
import type { ProblemCode } from '../problems.ts'

const fieldError = z
  .object({
    path: z.string().describe('Where: `processedCount`, `heartbeats[3].workerId`; empty for the body as a whole.'),
    message: z.string(),
  })
  .meta({ id: 'FieldError' })

export const errorCode = z.enum(Object.keys(PROBLEMS) as [ProblemCode, ...ProblemCode[]]).meta({ id: 'ErrorCode' })

/** Registered under the name that every error answer refers to. */
export const problem = z
  .looseObject({
    type: z.string().describe('The code as a URN.'),
    title: z.string(),
    status: z.int(),
    detail: z.string().describe('A sentence for people: what to do about it.'),
    code: errorCode.describe('Stable: branch on this.'),
    requestId: z.string(),
    errors: z.array(fieldError).exactOptional().describe('Every bad field.'),
    jobStatus: z.string().exactOptional().describe('With `already_finished`: what the job ended as.'),
    reason: z
      .string()
      .exactOptional()
      .describe('Of `/readyz`: `database`, `statements`, `read_only` or `heartbeats`, whatever is not in order.'),
    retryAfterSeconds: z.number().exactOptional(),
  })
  .meta({
    id: 'Problem',
    description: 'An error, as RFC 9457 has it.',
    examples: [
      {
        type: 'urn:headway:problem:validation_failed',
        title: PROBLEMS.validation_failed.title,
        status: 400,
        detail: 'processedCount must be a whole number from 0 to 9007199254740991.',
        code: 'validation_failed',
        requestId: '6f6f1c5e-8f0f-4b7e-9a51-0f5c3f0f8f11',
        errors: [{ path: 'processedCount', message: 'must be a whole number from 0 to 9007199254740991' }],
      },
    ],
  })

export { fieldError }
