import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js'
import type { JSONRPCMessage, RequestId } from '@modelcontextprotocol/sdk/types.js'
import { EventSourceParserStream } from 'eventsource-parser/stream'

export interface BridgeOptions {
  /** Of /mcp. */
  url: URL
  /** What lets the caller in. */
  headers: Record<string, string>
}

/** JSON-RPC leaves -32000 to -32099 to servers. */
const SERVICE_FAILED = -32_000

const idOf = (message: JSONRPCMessage): RequestId | null => ('method' in message && 'id' in message ? message.id : null)

/** What a notification takes back: its answer is not wanted any more. */
const cancelledBy = (message: JSONRPCMessage): RequestId | null => {
  if (!('method' in message) || message.method !== 'notifications/cancelled') return null
  return (message.params as { requestId?: RequestId } | undefined)?.requestId ?? null
}

/** The sentence of a problem document, or what can be said without one. */
const explain = async (response: Response): Promise<string> => {
  const problem = (await response.json().catch(() => null)) as { code?: string; detail?: string } | null
  return problem?.code === undefined
    ? `The service answered ${response.status}: is HEADWAY_URL right?`
    : `${problem.code}: ${problem.detail ?? ''}`
}

/**
 * Passes messages between standard input and output and the service, until the input ends. There is one implementation of
 * the tools, that of the service: this knows nothing of them. Each request is one POST, whose answer may tell of progress
 * first. What a client takes back is broken off, so that the service need not go on waiting.
 */
export const runBridge = ({ url, headers }: BridgeOptions): Promise<void> => {
  const stdio = new StdioServerTransport()
  const underWay = new Map<RequestId, AbortController>()
  /** What was agreed on at initialization goes with each message from then on. */
  let protocolVersion: string | null = null

  const passBack = async (response: Response, id: RequestId | null): Promise<boolean> => {
    let answered = id === null
    const events = response.body?.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream())
    for await (const { data } of events ?? []) {
      const message = JSON.parse(data) as JSONRPCMessage
      if (!('method' in message)) {
        answered = true
        const { result } = message as { result?: { protocolVersion?: string } }
        protocolVersion = result?.protocolVersion ?? protocolVersion
      }
      await stdio.send(message)
    }
    return answered
  }

  const pass = async (message: JSONRPCMessage): Promise<void> => {
    const cancelled = cancelledBy(message)
    if (cancelled !== null) underWay.get(cancelled)?.abort()
    const id = idOf(message)
    const call = new AbortController()
    if (id !== null) underWay.set(id, call)
    const fail = async (sentence: string) => {
      if (id === null) process.stderr.write(`${sentence}\n`)
      else await stdio.send({ jsonrpc: '2.0', id, error: { code: SERVICE_FAILED, message: sentence } })
    }
    try {
      const response = await fetch(url, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          accept: 'application/json, text/event-stream',
          ...(protocolVersion !== null && { 'mcp-protocol-version': protocolVersion }),
          ...headers,
        },
        body: JSON.stringify(message),
        signal: call.signal,
      })
      if (!response.ok) await fail(await explain(response))
      else if (!(await passBack(response, id))) await fail('The connection to the service was lost: try again.')
    } catch (error) {
      // Nobody waits for the answer to what was taken back.
      if (call.signal.aborted) return
      const reason = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error)
      await fail(`The service cannot be reached at ${url.origin} (${reason}): start it, or correct HEADWAY_URL.`)
    } finally {
      if (id !== null) underWay.delete(id)
    }
  }

  return new Promise(resolve => {
    stdio.onmessage = message => void pass(message)
    stdio.onerror = error => process.stderr.write(`What arrived is no message of MCP: ${error.message}\n`)
    // The client has gone, and with it whoever waits for an answer.
    process.stdin.once('end', () => {
      for (const call of underWay.values()) call.abort()
      void stdio.close().then(resolve)
    })
    void stdio.start()
  })
}
