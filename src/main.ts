import { HeadwayError } from './errors.ts'
import { serve } from './serve.ts'

serve().catch((error: unknown) => {
  // A refusal is a sentence for the operator; anything else is a bug, with its stack.
  console.error(error instanceof HeadwayError ? error.message : error)
  process.exit(1)
})
