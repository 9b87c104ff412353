import uPlot from 'uplot'
import { day, hourAndMinute, timeOfDay } from '../words.ts'

export interface ChartOptions {
  /** The variable of the stylesheet that holds the colour of the line. */
  colour: string
  height: number
  /** Writes a value of the y axis. */
  write: (value: number) => string
  /** The top of the y axis, where it is known. */
  most?: number
  /** Moments to mark, in seconds. */
  marks: () => readonly { at: number; colour: string }[]
}

export interface Chart {
  /** Seconds, and values. */
  show(times: number[], values: (number | null)[]): void
  resize(width: number): void
  remove(): void
}

const FONT = '12px system-ui, sans-serif'
const DAY_SECONDS = 86_400
const MINUTES = 600

const variable = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim()

/** As exact as the distance between two labels needs. */
const writeTime = (seconds: number, step: number, span: number): string => {
  if (step >= DAY_SECONDS / 2) return day(seconds * 1000)
  return span < MINUTES ? timeOfDay(seconds * 1000) : hourAndMinute(seconds * 1000)
}

/** A line over time, on a canvas. Its colours are those of the page as it looks when the chart is made. */
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
          space: 90,
          values: (self, splits) => {
            const span = (self.scales['x']?.max ?? 0) - (self.scales['x']?.min ?? 0)
            const step = (splits[1] ?? 0) - (splits[0] ?? 0)
            return splits.map(at => writeTime(at, step, span))
          },
        },
        { ...axis, size: 62, space: 26, values: (_, splits) => splits.map(options.write) },
      ],
      series: [{}, { stroke: line, width: 2, fill: `${line}1f`, spanGaps: true, points: { show: false } }],
      hooks: { draw: [drawMarks] },
    },
    [[], []],
    place,
  )
  return {
    show: (times, values) => plot.setData([times, values]),
    resize: width => plot.setSize({ width: Math.max(200, width), height: options.height }),
    remove: () => plot.destroy(),
  }
}
