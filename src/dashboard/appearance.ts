// Runs before anything is painted, so that a dark page does not begin with a white flash. It is a classic script and exports
// nothing: views/appearance-switch.ts stores the visitor's choice and dispatches an event.
{
  const system = matchMedia('(prefers-color-scheme: dark)')

  const chosen = (): string | null => {
    try {
      return localStorage.getItem('headway.appearance')
    } catch {
      // Storage may be forbidden: the page then looks like the system.
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
