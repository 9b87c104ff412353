import { StdioServerTransport } from '@modelcontextprotocol/sdk/server/stdio.js'
import type { JSONRPCMessage, RequestId } from '@modelcontextprotocol/sdk/types.js'
import { EventSourceParserStream } from 'eventsource-parser/stream'

export interface BridgeOptions {
  /** Address of /mcp. */
  url: URL
  /** The headers with the token. */
  headers: Record<string, string>
}

/** JSON-RPC reserves -32000 to -32099 for servers. */
const SERVICE_FAILED = -32_000

const idOf = (message: JSONRPCMessage): RequestId | null => ('method' in message && 'id' in message ? message.id : null)

/** The id of the request that a notification cancels. */
const cancelledBy = (message: JSONRPCMessage): RequestId | null => {
  if (!('method' in message) || message.method !== 'notifications/cancelled') return null
  return (message.params as { requestId?: RequestId } | undefined)?.requestId ?? null
}

/** The sentence of a problem document, or a sentence about the status. */
const explain = async (response: Response): Promise<string> => {
  const problem = (await response.json().catch(() => null)) as { code?: string; detail?: string } | null
  return problem?.code === undefined
    ? `The service answered ${response.status}: is HEADWAY_URL right?`
    : `${problem.code}: ${problem.detail ?? ''}`
}

/**
 * Passes messages between standard input and output and the service until the input ends. The service implements the tools, and
 * the bridge knows nothing about them. Each request is one POST, whose answer may contain notifications of progress first. When
 * a client cancels a request, its POST is aborted, so that the service does not wait for it any longer.
 */
export const runBridge = ({ url, headers }: BridgeOptions): Promise<void> => {
  const stdio = new StdioServerTransport()
  const underWay = new Map<RequestId, AbortController>()
  /** The version that was agreed on at initialization; every later message names it. */
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
      // The client does not expect an answer to a cancelled request.
      if (call.signal.aborted) return
      const reason = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error)
      await fail(`The service cannot be reached at ${url.origin} (${reason}): start it, or correct HEADWAY_URL.`)
    } finally {
      if (id !== null) underWay.delete(id)
    }
  }

  return new Promise(resolve => {
    stdio.onmessage = message => void pass(message)
    stdio.onerror = error => process.stderr.write(`The input is not a message of MCP: ${error.message}\n`)
    // The client has ended, and does not expect any more answers.
    process.stdin.once('end', () => {
      for (const call of underWay.values()) call.abort()
      void stdio.close().then(resolve)
    })
    void stdio.start()
  })
}
