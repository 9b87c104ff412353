import { Counter, Gauge, type Registry } from 'prom-client'

/** Metrics of numbers that the parts keep anyway. They are read at each scrape, so a part only pays for an addition. */
export interface Readings {
  /** A number that only grows. */
  counter: (name: string, help: string, read: () => number) => void
  gauge: (name: string, help: string, read: () => number) => void
  /** One series per combination of labels, made anew at each scrape; none while `read` answers null. */
  series: <Label extends string>(name: string, help: string, labels: Label[], read: () => Series<Label>) => void
}

export type Series<Label extends string> = Values<Label> | Promise<Values<Label>>
type Values<Label extends string> = [labels: Record<Label, string>, value: number][]

export const createReadings = (registry: Registry): Readings => {
  const registers = [registry]
  return {
    counter(name, help, read) {
      new Counter({
        name,
        help,
        registers,
        collect() {
          this.reset()
          this.inc(read())
        },
      })
    },
    gauge(name, help, read) {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read())
        },
      })
    },
    series(name, help, labelNames, read) {
      new Gauge({
        name,
        help,
        registers,
        labelNames,
        async collect() {
          const values = await read()
          this.reset()
          // Removed, because an unlabelled gauge would otherwise have the value 0, which does not mean "unknown".
          if (labelNames.length === 0) this.remove()
          for (const [labels, value] of values) this.set(labels, value)
        },
      })
    },
  }
}
