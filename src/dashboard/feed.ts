import type { ReactiveController, ReactiveControllerHost } from 'lit'
import { createClient } from '../browser-client/index.ts'
import { ShownClock } from '../browser-client/shown-clock.ts'
import { ROOT } from './root.ts'
import { readToken } from './session.ts'

/** The one connection of this page. It follows batches without their partitions, which are read where they are shown. */
export const headway = createClient({ url: ROOT.href, token: readToken, filter: { topLevel: true } })

const clock = new ShownClock()

/** The time, by the service's clock, at which the shown jobs were up to date. */
export const shownNow = (): number => clock.read(headway.connection, headway.now())

/** When the connection last worked; null: it has not worked yet. */
export const lastConnectedMs = (): number | null => clock.lastMs

const SECOND_MS = 1_000

/** Called when a frame has been rendered. */
export const settled = new Set<() => void>()

/**
 * Functions that read the layout. They run at the beginning of a frame, before anything is written, so that they force no extra
 * layout.
 */
export const measures = new Set<() => void>()

/** Whether the page hears of changes. */
export const isConnected = (): boolean => headway.connection === 'live' || headway.connection === 'polling'

const hosts = new Set<ReactiveControllerHost>()
let asked = false

/**
 * Renders everything that is shown once more, at the next frame. All changes until then cost one layout. A hidden tab requests
 * no frame.
 */
export const redraw = (): void => {
  // Before the first element there is nothing to render, and the first one finds what is new by itself.
  if (asked || hosts.size === 0) return
  asked = true
  requestAnimationFrame(() => {
    asked = false
    for (const measure of measures) measure()
    for (const host of hosts) host.requestUpdate()
    // Elements render in microtasks, and those within them in later ones.
    setTimeout(() => {
      for (const then of settled) then()
    })
  })
}

/** Renders an element again when the jobs, the connection or the clock change. */
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

/** A hidden tab renders nothing, but it must still record until when it was connected. */
const look = (): void => {
  shownNow()
  redraw()
}

headway.subscribe(look)
// Times count down between two changes.
setInterval(look, SECOND_MS)
