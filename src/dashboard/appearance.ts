// Runs before anything is painted, so that a page that is to be dark does not begin with a white flash. A classic script, which
// exports nothing: views/appearance-switch.ts stores what a visitor chooses, and says so by an event.
{
  const system = matchMedia('(prefers-color-scheme: dark)')

  const chosen = (): string | null => {
    try {
      return localStorage.getItem('headway.appearance')
    } catch {
      // Storage may be forbidden to the page: it then looks as the system does.
      return null
    }
  }

  const apply = (): void => {
    document.documentElement.dataset['appearance'] = chosen() ?? (system.matches ? 'dark' : 'light')
  }

  apply()
  system.addEventListener('change', apply)
  addEventListener('headway:appearance', apply)
}
