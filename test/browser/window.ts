import { setTimeout as delay } from 'node:timers/promises'
import type { Browser } from 'playwright-core'
import { waitFor } from '../helpers/wait.ts'

/** A page that is left, or crashes, answers nothing that it was asked before. */
const UNANSWERED_MS = 500

interface Message {
  id?: number
  method?: string
  result?: { result?: { value?: unknown } }
}

/** One tab of a window. */
export interface WindowTab {
  /** Undefined also where it does not answer. */
  evaluate: (expression: string) => Promise<unknown>
  /** Stops it as a browser stops tabs that nobody has looked at for long. */
  freeze: () => Promise<unknown>
  thaw: () => Promise<unknown>
  crash: () => Promise<unknown>
}

/**
 * A window with tabs of which only the last one is seen. Pages of Playwright all believe that somebody looks at them, and a
 * browser freezes only those at which nobody does; so these are driven without it.
 */
export const openWindow = async (browser: Browser): Promise<(url: string) => Promise<WindowTab>> => {
  const debug = await browser.newBrowserCDPSession()
  const { browserContextId } = await debug.send('Target.createBrowserContext')
  const answers = new Map<number, (answer: Message) => void>()
  const crashes = new Map<string, () => void>()
  debug.on('Target.receivedMessageFromTarget', ({ sessionId, message }) => {
    const { id, ...answer } = JSON.parse(message) as Message
    if (id !== undefined) answers.get(id)?.(answer)
    else if (answer.method === 'Inspector.targetCrashed') crashes.get(sessionId)?.()
  })
  let last = 0
  return async url => {
    const { targetId } = await debug.send('Target.createTarget', { url, browserContextId })
    const { sessionId } = await debug.send('Target.attachToTarget', { targetId, flatten: false })
    const send = async (method: string, params: object): Promise<Message> => {
      const id = ++last
      const answer = new Promise<Message>(resolve => answers.set(id, resolve))
      await debug.send('Target.sendMessageToTarget', { sessionId, message: JSON.stringify({ id, method, params }) })
      return Promise.race([answer, delay(UNANSWERED_MS, {})])
    }
    const evaluate: WindowTab['evaluate'] = async expression => {
      const answer = await send('Runtime.evaluate', { expression, returnByValue: true })
      return answer.result?.result?.value
    }
    await waitFor(() => evaluate("document.readyState === 'complete' && location.href !== 'about:blank'"))
    return {
      evaluate,
      freeze: () => send('Page.setWebLifecycleState', { state: 'frozen' }),
      thaw: () => send('Page.setWebLifecycleState', { state: 'active' }),
      crash: () => {
        const crashed = new Promise<void>(resolve => crashes.set(sessionId, resolve))
        // It does not live to answer.
        void send('Page.crash', {})
        return crashed
      },
    }
  }
}
