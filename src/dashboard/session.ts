import { ROOT } from './root.ts'
import { storedText } from '../browser-client/stored-text.ts'

/**
 * The token that was entered. It is kept in sessionStorage: it ends with the tab, the browser does not send it by itself, and
 * no other tab gets it. Scripts in this page could read it, which is why the page runs only its own files. An origin may have
 * several services at several paths, so the key contains the path: no service gets the token of another.
 */
const token = storedText(() => sessionStorage, `headway.token ${ROOT.pathname}`)

export const readToken = token.read
export const keepToken = token.write

type Feature = 'cancel' | 'create' | 'manage'

interface Claims {
  features?: unknown
}

const claimsOf = (jwt: string): Claims | null => {
  try {
    const payload = jwt.split('.')[1] ?? ''
    return JSON.parse(atob(payload.replaceAll('-', '+').replaceAll('_', '/'))) as Claims
  } catch {
    return null
  }
}

/**
 * Whether the token allows this; without a token everything is allowed. It only keeps the page from offering a button that
 * would be refused: the service decides.
 */
export const mayDo = (feature: Feature, jwt = readToken()): boolean => {
  if (jwt === null) return true
  const features = claimsOf(jwt)?.features
  const names = typeof features === 'string' ? features.split(' ') : Array.isArray(features) ? features : []
  return names.includes('progress.*') || names.includes(`progress.${feature}`)
}
