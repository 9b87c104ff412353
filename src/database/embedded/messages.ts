import type { Socket } from 'node:net'
import type { Place } from './place.ts'
import type { Programs } from './binaries.ts'

/** How clients reach the server: a unix socket, or 127.0.0.1 where there are none. */
export type Transport = 'socket' | 'tcp'

/** What a guard is started with, as JSON in its first argument. */
export interface GuardOptions {
  place: Place
  programs: Programs
  transport: Transport
  /** Server settings by name, over those of Headway. */
  settings: Record<string, string>
}

/** What a guard tells its users, one JSON document per line. */
export type GuardMessage =
  { type: 'ready'; host: string; port: number } | { type: 'failed'; reason: string } | { type: 'log'; text: string }

/** What a user tells the guard before it closes the connection, if it can: "tell me when you are done with me". */
export const LEAVE = 'leave\n'

/** Calls `onMessage` for each complete line. */
export const readMessages = (socket: Socket, onMessage: (message: GuardMessage) => void): void => {
  let rest = ''
  socket.setEncoding('utf8')
  socket.on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) onMessage(JSON.parse(line) as GuardMessage)
  })
}

/** Resolves when the connection has closed, be it by an error: the other side may be killed at any time. */
export const whenClosed = (socket: Socket): Promise<void> =>
  new Promise(resolve => {
    if (socket.closed) resolve()
    else socket.once('close', () => resolve())
  })
