#!/usr/bin/env node
import '../node-version.ts'

// Not loaded by a Node that is too old for it.
const { runProgram } = await import('./program.ts')

// Whoever reads the output may go away (`| head`).
process.stdout.on('error', () => undefined)

const code = await runProgram(process.argv.slice(2), {
  environment: process.env,
  out: text => process.stdout.write(text),
  err: text => process.stderr.write(text),
  // Not before it is wanted: the other commands need neither its parts nor its signals.
  serve: async () => (await import('../serve.ts')).runService(),
})
process.exitCode = code
