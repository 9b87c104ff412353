// test/bench/results.md, from what each line found when it was last run in full: kept as results.json beside it.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'

const JSON_FILE = new URL('../results.json', import.meta.url)
const MARKDOWN_FILE = new URL('../results.md', import.meta.url)

export const readResults = () => (existsSync(JSON_FILE) ? JSON.parse(readFileSync(JSON_FILE, 'utf8')) : {})

const verdict = met => (met === null ? '' : met ? 'yes' : '**no**')

const HEADER = ['what', 'against', 'target', 'reached', 'met', 'medians']
const cellsOf = row => [row.what, row.against, row.target, row.reached, verdict(row.met), row.figures]

/** A table that looks the same before and after Prettier. */
export const table = (header, rows) => {
  const widths = header.map((name, n) => Math.max(3, name.length, ...rows.map(row => row[n].length)))
  const line = cells => `| ${cells.map((cell, n) => cell.padEnd(widths[n])).join(' | ')} |`
  return [line(header), `| ${widths.map(width => '-'.repeat(width)).join(' | ')} |`, ...rows.map(line)].join('\n')
}

export const printTable = rows =>
  console.log(
    `\n${table(
      HEADER,
      rows.map(row => cellsOf(row)),
    )}\n`,
  )

const machineSentence = ({ cores, memoryGb, cpu, system }) =>
  `${cores} cores (${cpu}), ${memoryGb} GB of memory, ${system}; load generators included.`

const versionsSentence = versions =>
  `${Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(', ')}.`

/** Who shares the machine waits longer at each hand-over: it hits most what has many (client, service, database, disk). */
const BUSY_PERCENT = 20
const busySentence = ({ lines }) => {
  const busy = Object.entries(lines).filter(([, { busyBefore }]) => busyBefore > BUSY_PERCENT)
  if (busy.length === 0) return []
  const names = busy.map(([name]) => `\`${name}\``).join(', ')
  return [
    `**The machine was busy with other work for ${names}.** ` +
      'Rates and latencies of these lines say little, and unequally little: run them again on a quiet machine. The CPU that an operation takes is more reliable.',
  ]
}

const growthSection = ({ tables, date, busyBefore }) => [
  '## Growth',
  `Measured on ${date}; cores ${busyBefore} % busy before.`,
  ...tables.flatMap(({ title, header, rows, plot }) => [
    `### ${title}`,
    table(header, rows),
    ...(plot ? [`![${title}](plots/${plot})`] : []),
  ]),
]

const steadySection = ({ minutes, date, busyBefore, header, rows, verdict: sentence, plots }) => [
  '## Steady state',
  `${minutes} minutes on ${date}; cores ${busyBefore} % busy before. ${sentence}`,
  table(header, rows),
  ...plots.map(({ title, file }) => `![${title}](plots/${file})`),
]

const studySection = (heading, { sentence, date, busyBefore, tables }) => [
  `## ${heading}`,
  `Measured on ${date}; cores ${busyBefore} % busy before. ${sentence}`,
  ...tables.flatMap(({ title, header, rows }) => [`### ${title}`, table(header, rows)]),
]

const toMarkdown = ({ machine, versions, lines = {}, fleet, growth, steady, year }) =>
  [
    '# Benchmark results',
    'Written by `npm run bench`. Contestants take turns within one run; figures are medians of the rounds. Ratios are comparable from machine to machine, absolute figures are not.',
    machineSentence(machine),
    versionsSentence(versions),
    '## Lines',
    table(
      HEADER,
      Object.values(lines).flatMap(({ rows }) => rows.map(cellsOf)),
    ),
    table(
      ['line', 'date', 'rounds', 'seconds each', 'cores busy before'],
      Object.entries(lines).map(([name, { date, rounds, seconds, busyBefore }]) => [
        `\`${name}\``,
        date,
        String(rounds),
        String(seconds),
        `${busyBefore} %`,
      ]),
    ),
    ...busySentence({ machine, lines }),
    ...(fleet ? studySection('Fleet', fleet) : []),
    ...(growth ? growthSection(growth) : []),
    ...(steady ? steadySection(steady) : []),
    ...(year ? studySection('A year', year) : []),
  ].join('\n\n') + '\n'

/** Adds what was found to the file, and writes it anew. */
export const writeResults = found => {
  const before = readResults()
  const results = { ...before, ...found, lines: { ...before.lines, ...found.lines } }
  writeFileSync(JSON_FILE, `${JSON.stringify(results, null, 2)}\n`)
  writeFileSync(MARKDOWN_FILE, toMarkdown(results))
}
