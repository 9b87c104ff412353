import { chooseLanguage } from './words.ts'

await chooseLanguage(navigator.languages)
// Only now: what is rendered has its words.
await import('./views/shell.ts')
