import type { Socket } from 'node:net'
import type { Place } from './place.ts'
import type { Programs } from './binaries.ts'

/** How clients reach the server: by a unix socket, or at 127.0.0.1 on systems without them. */
export type Transport = 'socket' | 'tcp'

/** The guard's options, as JSON in its first argument. */
export interface GuardOptions {
  place: Place
  programs: Programs
  transport: Transport
  /** Server settings by name; they take precedence over Headway's own. */
  settings: Record<string, string>
}

/** Messages of a guard to its users, one JSON document per line. */
export type GuardMessage =
  { type: 'ready'; host: string; port: number } | { type: 'failed'; reason: string } | { type: 'log'; text: string }

/** The message with which a user leaves: the guard closes the connection when it has nothing more to do for the user. */
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

/** Resolves when the connection has closed, also by an error: the other process may be killed at any time. */
export const whenClosed = (socket: Socket): Promise<void> =>
  new Promise(resolve => {
    if (socket.closed) resolve()
    else socket.once('close', () => resolve())
  })
