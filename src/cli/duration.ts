import { InvalidArgumentError } from 'commander'

const UNIT_SECONDS: Record<string, number> = { s: 1, m: 60, h: 3_600, d: 86_400, w: 604_800 }

/** Parses `90s`, `15m`, `1h`, `30d` or `8w` to seconds. */
export const parseDuration = (text: string): number => {
  const [, count, unit = ''] = /^([1-9]\d{0,5})([smhdw])$/.exec(text) ?? []
  const unitSeconds = UNIT_SECONDS[unit]
  if (count === undefined || unitSeconds === undefined) {
    throw new InvalidArgumentError('Write a number and a unit (s, m, h, d, w), such as 90s, 1h or 30d.')
  }
  return Number(count) * unitSeconds
}
