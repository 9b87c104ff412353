// Line charts as SVG: small texts that a repository can keep.
import { mkdirSync, writeFileSync } from 'node:fs'

const PLOTS = new URL('../plots/', import.meta.url)
const WIDTH = 720
const HEIGHT = 320
const MARGIN = { top: 40, right: 170, bottom: 50, left: 80 }
const COLOURS = ['#1f77b4', '#d62728', '#2ca02c', '#9467bd', '#ff7f0e', '#17becf']

const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 })

const escape = text => text.replace(/[&<>]/g, character => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[character])

/** 1, 2 or 5 times a power of ten, so that about five of them reach `max`. */
const stepFor = max => {
  const raw = max / 5
  const power = 10 ** Math.floor(Math.log10(raw))
  return power * ([1, 2, 5, 10].find(factor => factor * power >= raw) ?? 10)
}

const ticksTo = max => {
  const step = stepFor(max)
  return Array.from({ length: Math.ceil(max / step) + 1 }, (_, n) => n * step)
}

const text = (x, y, content, extra = '') =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${extra}>${escape(String(content))}</text>`

const scaleX = (xs, logarithmic) => {
  const map = logarithmic ? Math.log10 : x => x
  const [from, to] = [map(Math.min(...xs)), map(Math.max(...xs))]
  const width = WIDTH - MARGIN.left - MARGIN.right
  return x => MARGIN.left + (to === from ? width / 2 : ((map(x) - from) / (to - from)) * width)
}

const drawSeries = ({ name, points }, n, x, y) => {
  const colour = COLOURS[n % COLOURS.length]
  const path = points.map(([px, py], at) => `${at === 0 ? 'M' : 'L'}${x(px).toFixed(1)} ${y(py).toFixed(1)}`).join(' ')
  const dots = points.length > 20 ? [] : points
  return [
    `<path d="${path}" fill="none" stroke="${colour}" stroke-width="2"/>`,
    ...dots.map(([px, py]) => `<circle cx="${x(px).toFixed(1)}" cy="${y(py).toFixed(1)}" r="3" fill="${colour}"/>`),
    text(WIDTH - MARGIN.right + 14, MARGIN.top + 12 + n * 18, name, `fill="${colour}"`),
  ]
}

/**
 * Writes plots/`file`. `series` is `[{ name, points: [[x, y], …] }, …]`; the y axis begins at 0, or it would make noise look
 * like growth.
 */
export const writePlot = (file, { title, xTitle, yTitle, series, logarithmic = false }) => {
  const points = series.flatMap(each => each.points)
  const xs = [...new Set(points.map(([x]) => x))].sort((a, b) => a - b)
  const ticks = ticksTo(Math.max(1e-9, ...points.map(([, y]) => y)))
  const top = ticks.at(-1)
  const x = scaleX(xs, logarithmic)
  const y = value => HEIGHT - MARGIN.bottom - (value / top) * (HEIGHT - MARGIN.top - MARGIN.bottom)
  const xTicks = xs.length <= 8 ? xs : ticksTo(xs.at(-1)).filter(tick => tick >= xs[0] && tick <= xs.at(-1))
  const lines = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12" fill="#333">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
    text(MARGIN.left, 22, title, 'font-size="14" font-weight="bold"'),
    ...ticks.flatMap(tick => [
      `<line x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${y(tick).toFixed(1)}" y2="${y(tick).toFixed(1)}" stroke="#ddd"/>`,
      text(MARGIN.left - 8, y(tick) + 4, compact.format(tick), 'text-anchor="end"'),
    ]),
    ...xTicks.map(tick => text(x(tick), HEIGHT - MARGIN.bottom + 18, compact.format(tick), 'text-anchor="middle"')),
    text((MARGIN.left + WIDTH - MARGIN.right) / 2, HEIGHT - 12, xTitle, 'text-anchor="middle"'),
    text(16, MARGIN.top - 10, yTitle),
    ...series.flatMap((each, n) => drawSeries(each, n, x, y)),
    '</svg>',
  ]
  mkdirSync(PLOTS, { recursive: true })
  writeFileSync(new URL(file, PLOTS), `${lines.join('\n')}\n`)
}
