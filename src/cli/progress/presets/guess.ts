import { basename } from 'node:path'
import type { Preset } from './preset.ts'
import { presetOf } from './table.ts'

interface Wrapper {
  /** Its options that take the next word as a value. */
  options: RegExp
  /** How many words of its own come before the command, such as a duration. */
  words: number
}

const wrapper = (options: RegExp, words = 0): Wrapper => {
  return { options, words }
}

/** Commands that run another one. */
const WRAPPERS: Readonly<Record<string, Wrapper>> = {
  sudo: wrapper(
    /^(?:-[CDghpRrTtUu]|--(?:user|group|host|prompt|chdir|chroot|role|type|other-user|close-from|command-timeout))$/,
  ),
  doas: wrapper(/^-[Cu]$/),
  env: wrapper(/^(?:-[uC]|--unset|--chdir)$/),
  nice: wrapper(/^(?:-n|--adjustment)$/),
  ionice: wrapper(/^(?:-[cn]|--class|--classdata)$/),
  time: wrapper(/^(?:-[fo]|--format|--output)$/),
  timeout: wrapper(/^(?:-[ks]|--kill-after|--signal)$/, 1),
  flock: wrapper(/^(?:-[wE]|--timeout|--wait|--conflict-exit-code)$/, 1),
  taskset: wrapper(/^$/, 1),
  chrt: wrapper(/^(?:-[TPD]|--sched-\w+)$/, 1),
  stdbuf: wrapper(/^(?:-[ioe]|--input|--output|--error)$/),
  nohup: wrapper(/^$/),
  setsid: wrapper(/^$/),
  unbuffer: wrapper(/^$/),
}

/** The words of the command that a wrapper runs. */
const unwrapped = ({ options, words: own }: Wrapper, words: readonly string[]): readonly string[] => {
  let at = 0
  while (at < words.length) {
    const word = words[at] ?? ''
    if (word === '--') return words.slice(at + 1 + own)
    if (word.startsWith('-')) at += options.test(word) ? 2 : 1
    else if (/^\w+=/.test(word)) at++
    else break
  }
  return words.slice(at + own)
}

/** The name of a program without its version: `pip3.11` is pip, and `ffmpeg-6` is ffmpeg. */
const nameOf = (path: string): string => basename(path).replace(/(?<=[a-z]\d?)[\d.]*\.\d+$|-\d[\d.]*$/, '')

/** Commands of Docker that have subcommands of their own. */
const GROUPS = /^(?:buildx|builder|image|compose)$/

/** Whether the first word that is no option and no value of one is such a subcommand: `git -C directory clone`. */
const hasSubcommand = (words: readonly string[], subcommands: RegExp): boolean => {
  let mayBeValue = false
  for (const word of words) {
    const isOption = word.startsWith('-')
    if (!isOption && subcommands.test(word)) return true
    if (!isOption && !mayBeValue && !GROUPS.test(word)) return false
    mayBeValue = isOption && !word.includes('=')
  }
  return false
}

/**
 * The preset for a command, from its name, also behind commands that run another one, such as sudo. Null: the usual forms are
 * read. What a shell is given as a script is not looked into.
 */
export const guessPreset = (words: readonly string[]): Preset | null => {
  const [command = '', ...rest] = words
  const name = nameOf(command)
  const outer = Object.hasOwn(WRAPPERS, name) ? WRAPPERS[name] : undefined
  if (outer) return guessPreset(unwrapped(outer, rest))
  if (/^python\d?$/.test(name)) {
    const module = rest.indexOf('-m')
    const isFirst = rest.slice(0, Math.max(0, module)).every(word => word.startsWith('-'))
    return module >= 0 && isFirst && rest[module + 1] === 'pip' ? guessPreset(rest.slice(module + 1)) : null
  }
  const preset = presetOf(name)
  if (!preset?.subcommands) return preset
  return hasSubcommand(rest, preset.subcommands) ? preset : null
}
