import { chooseLanguage } from './words.ts'

// Browsers ask for it again when the address changes, and would then look for it relative to another page.
const icon = document.querySelector<HTMLLinkElement>('link[rel=icon]')
icon?.setAttribute('href', icon.href)

await chooseLanguage(navigator.languages)
// Only now: what is rendered has its words.
await import('./views/shell.ts')
