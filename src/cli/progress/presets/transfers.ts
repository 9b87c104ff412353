import { factorOf, parseNumber } from '../numbers.ts'
import { bytes, count, percent, type Preset } from './preset.ts'

/** A size such as `9765k` or `1.30M` of curl and wget, whose letters are powers of 1024. */
const sizeOf = (text: string): number => {
  const [, digits = '', letter = ''] = /^([\d.]+)([kKMGTP]?)/.exec(text) ?? []
  return Number(digits) * (letter === '' ? 1 : factorOf(`${letter}i`))
}

/** `0:00:04`, `--:--:--`, `3d 04h`. */
const CURL_TIMES = String.raw`(?:\s+(?:[\d:-]+|\d+d(?: \d\dh)?)){3}\s+\S+\s*$`
const CURL_ROW = new RegExp(
  String.raw`^\s*(\d{1,3})\s+\S+\s+(\d{1,3})\s+(\S+)\s+(\d{1,3})\s+(\S+)\s+\S+\s+\S+${CURL_TIMES}`,
)
const CURL_PARALLEL_ROW = new RegExp(
  String.raw`^\s*(\d{1,3}|--)\s+(\d{1,3}|--)\s+(\S+)\s+(\S+)\s+\d+\s+\d+${CURL_TIMES}`,
)
const CURL_BAR = /^[#\s]*\s(\d{1,3}\.\d)%\s*$/

export const curl: Preset = {
  commands: ['curl'],
  isPerFile: true,
  read: () => line => {
    const [, all, received, in_ = '', sent, out = ''] = CURL_ROW.exec(line) ?? []
    if (all !== undefined) {
      const moved = sizeOf(in_) + sizeOf(out)
      if (moved === 0) return null
      // Without a known length all is 100 % at once, and of what is received and sent it is 0 %.
      const isLengthUnknown = Number(all) === 100 && Number(received) === 0 && Number(sent) === 0
      return isLengthUnknown ? bytes(moved) : percent(Number(all))
    }
    const [, down, up, downBytes = '', upBytes = ''] = CURL_PARALLEL_ROW.exec(line) ?? []
    const known = [down, up].find(each => each !== undefined && each !== '--')
    if (known !== undefined) return percent(Number(known))
    if (down !== undefined) {
      const moved = sizeOf(downBytes) + sizeOf(upBytes)
      return moved > 0 ? bytes(moved) : null
    }
    const [, shown] = CURL_BAR.exec(line) ?? []
    return shown === undefined ? null : percent(Number(shown))
  },
}

/** A line of dots begins with how much was there before it, in KiB, and ends with its speed. */
const WGET_DOTS = /^\s*(\d+)K[ .,]*?\s(?:(\d{1,3})%)?\s+[\d.]+[KMG]?(?:=\S+|\s+\S+)?\s*$/
const WGET_BAR = /(?:^|\s)(\d{1,3})%\s?\[[=+> ]*\]/
const WGET_BAR_WITHOUT_LENGTH = /\[[ <=>]*\]\s+([\d.]+[KMG]?)\s/

export const wget: Preset = {
  commands: ['wget', 'wget2'],
  isPerFile: true,
  read: () => line => {
    const [, before, dots] = WGET_DOTS.exec(line) ?? []
    const shown = dots ?? WGET_BAR.exec(line)?.[1]
    if (shown !== undefined) return percent(Number(shown))
    const [, size] = WGET_BAR_WITHOUT_LENGTH.exec(line) ?? []
    const moved = size === undefined ? Number(before ?? 0) * 1024 : sizeOf(size)
    return moved > 0 ? bytes(moved) : null
  },
}

const RSYNC = /^\s*[\d.,]+[KMGTP]?\s+(\d{1,3})%\s.*?(?:\((?:xfr|xfer)#\d+, (?:to|ir)-ch(?:k|eck)=(\d+)\/(\d+)\))?\s*$/

/**
 * `--info=progress2` writes the percent of the whole, and `--progress` or `-P` the percent of a file. They are told apart by the
 * first line with a count of files: a file is at 100 % there. Until then, the percent counts.
 */
export const rsync: Preset = {
  commands: ['rsync'],
  read() {
    let isOfWhole = false
    let files = 0
    let checked = 0
    return line => {
      const [, shown, left, total] = RSYNC.exec(line) ?? []
      if (shown === undefined) return null
      const value = Number(shown)
      if (total !== undefined) {
        isOfWhole ||= value < 100
        files = Number(total)
        checked = files - Number(left)
      }
      if (isOfWhole || files === 0) return percent(value)
      return percent((100 * (checked + (total === undefined ? value / 100 : 0))) / files)
    }
  },
}

/** Percent if the size is known; `-n` writes nothing else. Otherwise what has passed. */
export const pv: Preset = {
  commands: ['pv'],
  read: () => line => {
    const [, shown] = /^(\d{1,3})$/.exec(line) ?? /(?:^|\s)(\d{1,3})%(?:\s|$)/.exec(line) ?? []
    if (shown !== undefined) return Number(shown) <= 100 ? percent(Number(shown)) : null
    const [, number = '', unit = ''] = /^(?:\s*[^\s:]+:)?\s*([\d.,]+)\s?([KMGTPE]?i?B)\s/i.exec(line) ?? []
    return number === '' ? null : bytes(parseNumber(number) * factorOf(unit))
  },
}

export const dd: Preset = {
  commands: ['dd'],
  read: () => line => {
    const [, done] = /^(\d+) bytes? (?:\(.*\) )?copied,/.exec(line) ?? []
    return done === undefined ? null : bytes(Number(done))
  },
}

/** A record of tar, unless `--blocking-factor` says otherwise. */
const TAR_RECORD_BYTES = 20 * 512

/** The names of files that `-v` writes, or else the records that `--checkpoint` has counted. */
export const tar: Preset = {
  commands: ['tar', 'bsdtar'],
  unit: 'files',
  read() {
    let files = 0
    return line => {
      const [, records] = /^tar: (?:Read|Write) checkpoint (\d+)/.exec(line) ?? []
      if (records !== undefined && files === 0) return bytes(Number(records) * TAR_RECORD_BYTES)
      if (/^\s*(?:bsd)?tar: |^Total bytes |^\s*$/.test(line)) return null
      files++
      return count(files)
    }
  },
}
