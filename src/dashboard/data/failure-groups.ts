import type { ListedJob } from '../../contract/job.ts'

/** What a part of a message is replaced by that differs between failures of the same kind. */
const ANY = '…'

/** Quoted parts. An apostrophe within a word quotes nothing. */
const QUOTED = [
  /"[^"]*"/gu,
  /“[^”]*”/gu,
  /„[^“”]*[“”]/gu,
  /«[^»]*»/gu,
  /‹[^›]*›/gu,
  /`[^`]*`/gu,
  /(?<![\p{L}\p{N}])'[^']*'(?![\p{L}\p{N}])/gu,
]

const UUID = /[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}/giu
/** Words with a digit in them: numbers, times, versions, addresses, ids. */
const WITH_DIGIT = /[\p{L}\p{N}_]*\p{N}[\p{L}\p{N}_]*/gu
/** Hexadecimal ids that happen to have no digit. */
const HEX = /\b[a-f]{8,}\b/giu
/** Several replaced parts with nothing but signs between them are one: `2026-01-31T12:00:00.000Z`, `10.0.0.1:5432`, `-3.5`. */
const RUN = /[-+]?…(?:[-+.,:/_@\s]*…)*/gu

/** No message is so long that more of it would tell failures apart, and patterns are then quick on any text. */
const LONGEST = 500

/**
 * What messages have in common that differ only in numbers, ids, times and quoted parts: `Row … of … is malformed`. A message of
 * nothing but such parts is its own kind.
 */
export const kindOfMessage = (message: string): string => {
  let kind = message.slice(0, LONGEST)
  for (const quoted of QUOTED) kind = kind.replaceAll(quoted, ANY)
  kind = kind
    .replaceAll(UUID, ANY)
    .replaceAll(HEX, ANY)
    .replaceAll(WITH_DIGIT, ANY)
    .replaceAll(RUN, ANY)
    .replaceAll(/\s+/gu, ' ')
    .trim()
  return kind === ANY ? message.trim() : kind
}

const longestOf = (parts: readonly string[]): string =>
  parts.reduce((longest, part) => (part.length > longest.length ? part : longest), '')

/**
 * The longest part of a kind that is in the message as it stands: a text by which the service finds the messages of the kind. ''
 * if there is none. Where a message has several spaces or lines in between, that is a word.
 */
export const searchTextOf = (kind: string, message: string): string => {
  const found = (parts: string[]) => longestOf(parts.map(part => part.trim()).filter(part => message.includes(part)))
  return (found(kind.split(ANY)) || found(kind.split(/[\s…]+/u))).slice(0, 100)
}

export interface FailureGroup {
  /** Unlike that of any other group. */
  key: string
  /** The text to show. */
  said: string
  /** A text that the errors of the group hold; '' if the service gave the reason, or they have nothing in common. */
  search: string
  /** The newest first. */
  jobs: ListedJob[]
  firstAt: string
  lastAt: string
  /** By name. */
  types: string[]
}

interface Said {
  /** The line that says what went wrong. */
  line: string
  /** Whether the service has ended the job by itself, and `line` is its reason in the visitor's language. */
  isOwn: boolean
}

/** Failures by what went wrong, the kind with most of them first. `said` tells what is known of one. */
export const groupFailures = (jobs: readonly ListedJob[], said: (job: ListedJob) => Said): FailureGroup[] => {
  const groups = new Map<string, { jobs: ListedJob[]; line: string; kind: string; isOwn: boolean }>()
  for (const job of jobs) {
    const { line, isOwn } = said(job)
    const kind = isOwn ? line : kindOfMessage(line)
    const key = `${isOwn ? 'own' : 'said'} ${kind}`
    const group = groups.get(key)
    if (group) group.jobs.push(job)
    else groups.set(key, { jobs: [job], line, kind, isOwn })
  }
  const endOf = ({ finishedAt, updatedAt }: ListedJob) => finishedAt ?? updatedAt
  return [...groups]
    .map(([key, { jobs: found, line, kind, isOwn }]) => {
      const members = found.toSorted((a, b) => (endOf(a) < endOf(b) ? 1 : -1))
      const [newest, oldest] = [members[0], members.at(-1)] as [ListedJob, ListedJob]
      const isSame = members.every(job => said(job).line === line)
      return {
        key,
        said: isSame ? line : kind,
        search: isOwn ? '' : searchTextOf(kind, newest.errorMessage ?? ''),
        jobs: members,
        firstAt: endOf(oldest),
        lastAt: endOf(newest),
        types: [...new Set(members.map(({ jobType }) => jobType))].sort(),
      }
    })
    .sort((a, b) => b.jobs.length - a.jobs.length || (a.lastAt < b.lastAt ? 1 : -1))
}
