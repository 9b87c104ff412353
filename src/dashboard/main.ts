import { chooseLanguage } from './words.ts'

// Browsers load the icon again when the address changes, and would then resolve it relative to another page.
const icon = document.querySelector<HTMLLinkElement>('link[rel=icon]')
icon?.setAttribute('href', icon.href)

await chooseLanguage(navigator.languages)
// Imported now, because the texts are only loaded at this point.
await import('./views/shell.ts')
