const OWN = '127.0.0.1'

/** Nothing needs to be added: every address is left out, or this one is already. */
const leavesOut = (value = ''): boolean => value.trim() === '*' || value.split(',').includes(OWN)

/**
 * The variables that keep a command from asking its proxy for addresses of this machine; what it already leaves out stays left
 * out. Nothing where no proxy is set. `*` alone leaves out every address, and most programs know it by itself only.
 */
export const withoutProxy = (environment: NodeJS.ProcessEnv): Record<string, string> => {
  const names = ['NO_PROXY', 'no_proxy'].filter(name => environment[name] !== undefined)
  const hasProxy = Object.keys(environment).some(name => /^(?:http|all)_proxy$/i.test(name))
  if (!hasProxy) return {}
  return Object.fromEntries(
    (names.length > 0 ? names : ['no_proxy'])
      .filter(name => !leavesOut(environment[name]))
      .map(name => [name, [environment[name], OWN].filter(Boolean).join(',')]),
  )
}
