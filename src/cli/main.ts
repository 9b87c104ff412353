#!/usr/bin/env node
import '../node-version.ts'

// Not loaded by a Node that is too old for it.
const { runProgram } = await import('./program.ts')

// The reader of the output may go away (`| head`).
process.stdout.on('error', () => undefined)

const code = await runProgram(process.argv.slice(2), {
  environment: process.env,
  out: text => process.stdout.write(text),
  err: text => process.stderr.write(text),
  errIsTerminal: process.stderr.isTTY,
  // Imported only when needed: the other commands need neither the service's modules nor its signal handlers.
  serve: async () => (await import('../serve.ts')).runService(),
})
process.exitCode = code
