import { en } from './en.ts'
import type { Messages } from './en.ts'

export const de: Messages = { ...en }
