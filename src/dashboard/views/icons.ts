import { html, svg } from 'lit'
import type { SVGTemplateResult, TemplateResult } from 'lit'
import type { Condition } from '../../browser-client/condition.ts'

const icon = (shape: SVGTemplateResult): TemplateResult =>
  html`<svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">${shape}</svg>`

/** Each condition has its own shape, so that the colour is not needed to tell them apart. */
const SHAPES: Readonly<Record<Condition, SVGTemplateResult>> = {
  pending: svg`<circle cx="8" cy="8" r="5.75" class="line" stroke-dasharray="2.4 2.1" />`,
  running: svg`<circle cx="8" cy="8" r="6.25" class="line faint" /><path d="M6.2 4.9v6.2L11.2 8z" class="solid" />`,
  stalled: svg`<path d="M8 1.6 15 14H1z" class="solid" /><path d="M8 6v4M8 11.6v.8" class="cut" />`,
  not_advancing: svg`<circle cx="8" cy="8" r="6.25" class="line" /><path d="M6.2 5.4v5.2M9.8 5.4v5.2" class="line" />`,
  partly_stalled: svg`<path d="M8 1.6 15 14H1z" class="line" /><path d="M8 6v4M8 11.6v.8" class="line" />`,
  cancelling: svg`<circle cx="8" cy="8" r="6.25" class="line" stroke-dasharray="3 2" /><rect x="5.5" y="5.5" width="5" height="5" rx="1" class="solid" />`,
  completed: svg`<circle cx="8" cy="8" r="7" class="solid" /><path d="m4.9 8.2 2.2 2.2 4.1-4.6" class="cut" />`,
  failed: svg`<circle cx="8" cy="8" r="7" class="solid" /><path d="m5.6 5.6 4.8 4.8M10.4 5.6l-4.8 4.8" class="cut" />`,
  cancelled: svg`<circle cx="8" cy="8" r="6.25" class="line" /><path d="m3.8 12.2 8.4-8.4" class="line" />`,
}

export const conditionIcon = (condition: Condition): TemplateResult =>
  html`<span class="mark" data-condition=${condition}>${icon(SHAPES[condition])}</span>`

export const chevron = icon(svg`<path d="m6 3.5 4.5 4.5L6 12.5" class="line" />`)
export const search = icon(
  svg`<circle cx="7" cy="7" r="4.5" class="line" /><path d="m10.4 10.4 3.6 3.6" class="line" />`,
)
/** A stop sign: an octagon. */
export const stop = icon(
  svg`<path d="M5.4 1.8h5.2l3.6 3.6v5.2l-3.6 3.6H5.4l-3.6-3.6V5.4z" class="line" /><path d="M5.2 8h5.6" class="line" />`,
)
/** Points upwards for an ascending order. */
export const sorted = icon(svg`<path d="m4.5 9.5 3.5-4 3.5 4" class="line" />`)
export const again = icon(svg`<path d="M12.9 9.5A5.2 5.2 0 1 1 12 4.6l1.2 1.2M13.4 2.6v3.4H10" class="line" />`)
export const close = icon(svg`<path d="m4 4 8 8M12 4l-8 8" class="line" />`)
export const sun = icon(
  svg`<circle cx="8" cy="8" r="2.8" class="line" /><path d="M8 1v1.6M8 13.4V15M1 8h1.6M13.4 8H15M3 3l1.2 1.2M11.8 11.8 13 13M13 3l-1.2 1.2M4.2 11.8 3 13" class="line" />`,
)
export const moon = icon(svg`<path d="M13.5 9.8A6 6 0 0 1 6.2 2.5a6 6 0 1 0 7.3 7.3z" class="line" />`)
export const half = icon(
  svg`<circle cx="8" cy="8" r="6" class="line" /><path d="M8 2a6 6 0 0 1 0 12z" class="solid" />`,
)
export const key = icon(
  svg`<circle cx="5" cy="11" r="2.8" class="line" /><path d="m7 9 6.5-6.5M11 5l2 2" class="line" />`,
)

const BELL = svg`<path d="M3.2 11.6c1.1-1 1.3-2.1 1.3-4.4a3.5 3.5 0 0 1 7 0c0 2.3.2 3.4 1.3 4.4z" class="line" /><path d="M6.6 13.6a1.5 1.5 0 0 0 2.8 0" class="line" />`
export const bell = icon(BELL)
/** A filled bell, so that the colour is not needed to tell that it is on. */
export const bellOn = icon(
  svg`<path d="M3.2 11.6c1.1-1 1.3-2.1 1.3-4.4a3.5 3.5 0 0 1 7 0c0 2.3.2 3.4 1.3 4.4z" class="solid" />${BELL}`,
)

export const logo = html`<svg class="logo" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
  <rect width="32" height="32" rx="8" class="ground" />
  <path d="M8 10h16M8 16h16M8 22h16" class="rail" />
  <path d="M8 10h12M8 16h6.5M8 22h9.5" class="way" />
</svg>`

const CONNECTION_SHAPES: Readonly<Record<string, SVGTemplateResult>> = {
  live: svg`<circle cx="8" cy="8" r="4" class="solid" /><circle cx="8" cy="8" r="6.6" class="line faint pulse" />`,
  polling: svg`<circle cx="8" cy="8" r="5.6" class="line" /><path d="M8 4.8V8l2.3 1.5" class="line" />`,
  reconnecting: svg`<path d="M12.9 9.5A5.2 5.2 0 1 1 12 4.6l1.2 1.2M13.4 2.6v3.4H10" class="line turn" />`,
  connecting: svg`<circle cx="8" cy="8" r="5.6" class="line turn" stroke-dasharray="22 14" />`,
  unauthorized: svg`<rect x="3.5" y="7" width="9" height="6.5" rx="1.2" class="solid" /><path d="M5.5 7V5a2.5 2.5 0 0 1 5 0v2" class="line" />`,
  closed: svg`<circle cx="8" cy="8" r="5.6" class="line" />`,
}

export const connectionIcon = (state: string): TemplateResult => icon(CONNECTION_SHAPES[state] ?? svg``)
