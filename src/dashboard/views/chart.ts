import uPlot from 'uplot'
import { day, hourAndMinute, timeOfDay } from '../words.ts'

export interface ChartOptions {
  /** The CSS variable with the colour of the line. */
  colour: string
  height: number
  /** Formats a value of the y axis. */
  write: (value: number) => string
  /** The upper end of the y axis, if it is fixed. */
  most?: number
  /** Called with the index of the point at the pointer, or the last one before it; null: none. */
  look: (index: number | null) => void
  /** Times to mark, in seconds. */
  marks: () => readonly { at: number; colour: string }[]
}

interface Line {
  times: number[]
  values: (number | null)[]
}

export interface Chart {
  /** Seconds, and values; `faint`, if there is one, is a line to compare with. */
  show(times: number[], values: (number | null)[], faint?: Line | null): void
  resize(width: number): void
  remove(): void
}

const FONT = '12px system-ui, sans-serif'
const DAY_SECONDS = 86_400
const MINUTE_SECONDS = 60
/** Distance between labels, in pixels. It is smaller on a narrow chart, so that there are some labels. */
const DISTANCE = { wide: 90, narrow: 68 }
const NARROW_PIXELS = 420
/** No steps below a second: labels within the same second would all be the same. */
const STEPS = [1, 5, 10, 15, 30, 60, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 14_400, 21_600, 28_800, 43_200, 86_400]
const LONG_STEPS = [2, 3, 5, 7, 14, 30, 60, 90, 180, 365].map(days => days * DAY_SECONDS)

/** Browsers do not apply the visitor's forced colours to a canvas. */
const FORCED = matchMedia('(forced-colors: active)')

const variable = (name: string): string =>
  FORCED.matches ? 'CanvasText' : getComputedStyle(document.documentElement).getPropertyValue(name).trim()

/** A time with the precision that the distance between two labels needs. */
const writeTime = (seconds: number, step: number): string => {
  if (step >= DAY_SECONDS / 2) return day(seconds * 1000)
  return step % MINUTE_SECONDS === 0 ? hourAndMinute(seconds * 1000) : timeOfDay(seconds * 1000)
}

/** The least width of the y axis, so that two charts above each other begin at the same place. */
const LEAST_ROOM = 62
const PIXELS_A_LETTER = 7

/**
 * The width of the longest label, in pixels. It is estimated from the letters, because measuring while drawing would force a
 * layout.
 */
const roomFor = (_: uPlot, labels: readonly string[] | null): number =>
  Math.max(LEAST_ROOM, ...(labels ?? []).map(label => 10 + PIXELS_A_LETTER * label.length))

/** A line over time, on a canvas. Its colours are those of the page when the chart is made. */
export const createChart = (place: HTMLElement, options: ChartOptions): Chart => {
  const line = variable(options.colour)
  const quiet = variable('--muted')
  const grid = { stroke: variable('--border-faint'), width: 1 }
  const axis = { stroke: quiet, grid, ticks: { show: false }, font: FONT }
  const drawMarks = (plot: uPlot): void => {
    const { ctx, bbox } = plot
    ctx.save()
    ctx.setLineDash([4, 4])
    for (const { at, colour } of options.marks()) {
      const x = Math.round(plot.valToPos(at, 'x', true)) + 0.5
      if (x < bbox.left || x > bbox.left + bbox.width) continue
      ctx.strokeStyle = variable(colour)
      ctx.beginPath()
      ctx.moveTo(x, bbox.top)
      ctx.lineTo(x, bbox.top + bbox.height)
      ctx.stroke()
    }
    ctx.restore()
  }
  /** For each place of the shared time axis, the index of the last own point until then; -1: there is none. */
  let ownIndexes: number[] = []
  const look = ({ cursor }: uPlot): void => {
    const own = ownIndexes[cursor.idx ?? -1] ?? -1
    options.look(own === -1 ? null : own)
  }
  const plot = new uPlot(
    {
      width: Math.max(200, place.clientWidth),
      height: options.height,
      padding: [8, 42, 0, 0],
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { size: 7 }, sync: { key: 'job' } },
      scales: { y: { range: (_, _min, max) => [0, options.most ?? (max > 0 ? max * 1.15 : 1)] } },
      axes: [
        {
          ...axis,
          size: 30,
          space: (_, _axis, _min, _max, pixels) => (pixels < NARROW_PIXELS ? DISTANCE.narrow : DISTANCE.wide),
          incrs: [...STEPS, ...LONG_STEPS],
          values: (_, splits, _axis, _space, step) => splits.map(at => writeTime(at, step)),
        },
        { ...axis, size: roomFor, space: 26, values: (_, splits) => splits.map(options.write) },
      ],
      series: [
        {},
        {
          stroke: line,
          width: 2,
          ...(!FORCED.matches && { fill: `${line}1f` }),
          spanGaps: true,
          points: { show: false },
        },
        { stroke: quiet, width: 1.5, dash: [2, 3], spanGaps: true, points: { show: false } },
      ],
      hooks: { draw: [drawMarks], setCursor: [look] },
    },
    [[], [], []],
    place,
  )
  return {
    show: (times, values, faint = null) => {
      const at = [...new Set([...times, ...(faint?.times ?? [])])].sort((a, b) => a - b)
      const own = new Map(times.map((time, index) => [time, index]))
      const other = new Map(faint?.times.map((time, index) => [time, faint.values[index] ?? null]))
      let last = -1
      ownIndexes = at.map(time => (last = own.get(time) ?? last))
      plot.setData([at, at.map(time => values[own.get(time) ?? -1] ?? null), at.map(time => other.get(time) ?? null)])
    },
    resize: width => plot.setSize({ width: Math.max(200, width), height: options.height }),
    remove: () => plot.destroy(),
  }
}
