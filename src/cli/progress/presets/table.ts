import { ffmpeg } from './media.ts'
import type { Preset } from './preset.ts'
import { apt, build, git, pip, terraform } from './steps.ts'
import { curl, dd, pv, rsync, tar, wget } from './transfers.ts'

const PRESETS: readonly Preset[] = [apt, build, curl, dd, ffmpeg, git, pip, pv, rsync, tar, terraform, wget]

/** The name of the usual forms, for a program whose name has a preset that does not fit. */
export const USUAL = 'usual' as const

export const PRESET_NAMES: readonly string[] = [...PRESETS.map(({ commands }) => commands[0]), USUAL]

/** The preset of a command's name; null: there is none. */
export const presetOf = (command: string): Preset | null =>
  PRESETS.find(({ commands }) => commands.includes(command)) ?? null
