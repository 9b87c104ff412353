import { Counter, Gauge, type Registry } from 'prom-client'

/** Metrics of numbers that the parts keep anyway: read at each scrape, so that a part pays an addition and knows no metrics. */
export interface Readings {
  /** A number that only grows. */
  counter: (name: string, help: string, read: () => number) => void
  gauge: (name: string, help: string, read: () => number) => void
  /** One series per combination of labels, made anew at each scrape; none while `read` has nothing to say. */
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
          // An unlabelled gauge is never without a value otherwise, and 0 is not "unknown".
          if (labelNames.length === 0) this.remove()
          for (const [labels, value] of values) this.set(labels, value)
        },
      })
    },
  }
}
