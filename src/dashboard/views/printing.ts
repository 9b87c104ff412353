import type { ReactiveController, ReactiveControllerHost } from 'lit'

const PRINT = matchMedia('print')

/**
 * Tells an element whether it is on paper. When that changes, `render` must render the element at once: the browser prints what
 * is there when the listeners of its event have returned.
 */
export class Printing implements ReactiveController {
  readonly #render: () => void
  #isPrinted = false

  constructor(host: ReactiveControllerHost, render: () => void) {
    this.#render = render
    host.addController(this)
  }

  get isOnPaper(): boolean {
    return this.#isPrinted || PRINT.matches
  }

  hostConnected(): void {
    addEventListener('beforeprint', this.#begin)
    addEventListener('afterprint', this.#end)
    PRINT.addEventListener('change', this.#render)
  }

  hostDisconnected(): void {
    removeEventListener('beforeprint', this.#begin)
    removeEventListener('afterprint', this.#end)
    PRINT.removeEventListener('change', this.#render)
  }

  readonly #begin = (): void => {
    this.#isPrinted = true
    this.#render()
  }

  readonly #end = (): void => {
    this.#isPrinted = false
    this.#render()
  }
}
