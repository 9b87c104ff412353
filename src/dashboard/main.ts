// First, so that the requests are under way while the other modules run.
import { opened } from './data/opening.ts'
import { chooseLanguage } from './words.ts'

// Browsers load the icon again when the address changes, and would then resolve it relative to another page.
const icon = document.querySelector<HTMLLinkElement>('link[rel=icon]')
icon?.setAttribute('href', icon.href)

await chooseLanguage(navigator.languages)
// Imported now, because the texts are only loaded at this point.
const { HeadwayDashboard } = await import('./views/shell.ts')
await opened
customElements.define('headway-dashboard', HeadwayDashboard)
