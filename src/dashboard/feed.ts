import type { ReactiveController, ReactiveControllerHost } from 'lit'
import { createClient } from '../browser-client/index.ts'
import { ShownClock } from '../browser-client/shown-clock.ts'
import { ROOT } from './root.ts'
import { readToken } from './session.ts'

/** The one connection of this page. Batches come without their partitions: those are asked for where they are looked at. */
export const headway = createClient({ url: ROOT.href, token: readToken, filter: { topLevel: true } })

const clock = new ShownClock()

/** The time that what is shown is of, by the service's clock. */
export const shownNow = (): number => clock.read(headway.connection, headway.now())

/** When the connection was last good; null: not yet. */
export const lastConnectedMs = (): number | null => clock.lastMs

const SECOND_MS = 1_000

/** Called when what a frame was asked for has been rendered. */
export const settled = new Set<() => void>()

/** What reads the layout does so at the beginning of a frame, when nothing has been written yet: it then forces none. */
export const measures = new Set<() => void>()

const hosts = new Set<ReactiveControllerHost>()
let asked = false

/**
 * Renders everything that is shown once more, at the next frame. However much happens until then, the browser lays the page
 * out once; of a tab that nobody sees it asks for no frame at all.
 */
export const redraw = (): void => {
  if (asked) return
  asked = true
  requestAnimationFrame(() => {
    asked = false
    for (const measure of measures) measure()
    for (const host of hosts) host.requestUpdate()
    // Elements render in microtasks, those within them in later ones.
    setTimeout(() => {
      for (const then of settled) then()
    })
  })
}

/** Lets an element follow the jobs, the connection and the clock. */
export class Live implements ReactiveController {
  readonly #host: ReactiveControllerHost

  constructor(host: ReactiveControllerHost) {
    this.#host = host
    host.addController(this)
  }

  hostConnected(): void {
    hosts.add(this.#host)
  }

  hostDisconnected(): void {
    hosts.delete(this.#host)
  }
}

/** A tab that nobody sees draws nothing, and must know all the same until when it was connected. */
const look = (): void => {
  shownNow()
  redraw()
}

headway.subscribe(look)
// What counts down does so between two changes as well.
setInterval(look, SECOND_MS)
