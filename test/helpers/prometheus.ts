/** One line of values. */
export interface Sample {
  name: string
  labels: Record<string, string>
  value: number
}

export interface MetricFamily {
  name: string
  type: string
  help: string
  samples: Sample[]
}

const HELP = /^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/
const TYPE = /^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram|summary|untyped)$/
const LABEL = '[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\\]|\\\\["\\\\n])*"'
const SAMPLE = new RegExp(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\\{(${LABEL}(?:,${LABEL})*)\\})? (\\S+)$`)
const NUMBER = /^(?:[+-]?(?:\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|Inf)|NaN|Nan)$/

/** Which samples a family of a type may have. */
const SUFFIXES: Record<string, string[]> = { histogram: ['_bucket', '_sum', '_count'] }

const readNumber = (text: string): number => {
  if (!NUMBER.test(text)) throw new Error(`not a number: ${text}`)
  return Number(text.replace('Inf', 'Infinity'))
}

const readLabels = (text: string): Record<string, string> =>
  Object.fromEntries(
    [...text.matchAll(new RegExp(LABEL, 'g'))].map(([label]) => {
      const equals = label.indexOf('=')
      return [label.slice(0, equals), JSON.parse(label.slice(equals + 1)) as string]
    }),
  )

/** Buckets count up, to one without an end that holds as many as `_count`. */
const checkHistogram = ({ name, samples }: MetricFamily): void => {
  const rest = ({ labels }: Sample) => JSON.stringify({ ...labels, le: undefined })
  const totals = samples.filter(sample => sample.name === `${name}_count`)
  for (const total of totals) {
    const buckets = samples.filter(sample => sample.name === `${name}_bucket` && rest(sample) === rest(total))
    const bounds = buckets.map(({ labels }) => readNumber(labels['le'] ?? ''))
    const grows = (values: number[]) => values.every((value, n) => n === 0 || value >= values[n - 1]!)
    if (!grows(bounds) || !grows(buckets.map(({ value }) => value))) throw new Error(`${name}: buckets out of order`)
    if (bounds.at(-1) !== Infinity || buckets.at(-1)?.value !== total.value) throw new Error(`${name}: no last bucket`)
  }
}

/**
 * Reads Prometheus's text format, version 0.0.4, and raises at everything that is not as its specification says
 * (https://prometheus.io/docs/instrumenting/exposition_formats/): a family without HELP and TYPE, a sample outside its
 * family, a series named twice, a histogram that does not add up.
 */
export const parseMetrics = (text: string): Map<string, MetricFamily> => {
  if (!text.endsWith('\n')) throw new Error('the last line has no end')
  const families = new Map<string, MetricFamily>()
  const seen = new Set<string>()
  let family: MetricFamily | null = null
  for (const line of text.split('\n')) {
    const [, helped, help = ''] = HELP.exec(line) ?? []
    const [, typed, type = ''] = TYPE.exec(line) ?? []
    if (line === '') continue
    if (helped !== undefined) {
      if (families.has(helped)) throw new Error(`${helped} comes twice`)
      family = { name: helped, type: '', help, samples: [] }
      families.set(helped, family)
    } else if (typed !== undefined) {
      if (family?.name !== typed || family.type !== '' || family.samples.length > 0) throw new Error(`stray: ${line}`)
      family.type = type
    } else {
      const [, name = '', labels = '', value = ''] = SAMPLE.exec(line) ?? []
      if (name === '') throw new Error(`not a sample: ${line}`)
      const allowed = (SUFFIXES[family?.type ?? ''] ?? ['']).map(suffix => `${family?.name}${suffix}`)
      if (!family?.type || !allowed.includes(name)) throw new Error(`not of the family before it: ${line}`)
      const series = `${name}{${labels}}`
      if (seen.has(series)) throw new Error(`${series} comes twice`)
      seen.add(series)
      family.samples.push({ name, labels: readLabels(labels), value: readNumber(value) })
    }
  }
  for (const one of families.values()) if (one.type === 'histogram') checkHistogram(one)
  return families
}

/** A scrape, as tests ask it. */
export class Scrape {
  readonly families: Map<string, MetricFamily>

  constructor(text: string) {
    this.families = parseMetrics(text)
  }

  get samples(): Sample[] {
    return [...this.families.values()].flatMap(({ samples }) => samples)
  }

  /** The value of the series with all these labels; the sum if there are several, undefined if there is none. */
  value(name: string, labels: Record<string, string> = {}): number | undefined {
    const found = this.samples.filter(
      sample =>
        sample.name === name && Object.entries(labels).every(([label, value]) => sample.labels[label] === value),
    )
    return found.length === 0 ? undefined : found.reduce((sum, { value }) => sum + value, 0)
  }
}

/** Reads /metrics of a service. */
export const scrape = async (url: string): Promise<Scrape> => {
  const response = await fetch(`${url}/metrics`)
  if (response.status !== 200) throw new Error(`/metrics answered ${response.status}`)
  return new Scrape(await response.text())
}
