import { ROOT } from './root.ts'

/**
 * The page of the dashboard that a visitor is on. `query` has the filters, so that a filtered list can be bookmarked and
 * shared.
 */
export type Route = { query: URLSearchParams } & (
  | { page: 'jobs' }
  | { page: 'job'; id: string }
  | { page: 'type'; jobType: string }
  | { page: 'statistics' }
  | { page: 'notifications' }
)

/** The addresses of the pages, and of the documentation. */
export const ADDRESS = {
  jobs: ROOT.pathname,
  statistics: `${ROOT.pathname}statistics`,
  notifications: `${ROOT.pathname}notifications`,
  // With the slash, because without it the page would resolve its files from the root of the host.
  documentation: `${ROOT.pathname}docs/`,
  job: (id: string) => `${ROOT.pathname}jobs/${id}`,
  /** The runs of one type. The type is in the query, because proxies change some characters in paths. */
  type: (jobType: string, span: string | null = null) =>
    `${ROOT.pathname}types?${new URLSearchParams({ name: jobType, ...(span !== null && { span }) }).toString()}`,
  /** The page of a batch, with only the partitions in this state. */
  partitions: (id: string, state: string) =>
    `${ROOT.pathname}jobs/${id}?${new URLSearchParams({ partitions: state }).toString()}`,
  /** The page of a job, with only the workers in this state. */
  workers: (id: string, state: string) =>
    `${ROOT.pathname}jobs/${id}?${new URLSearchParams({ workers: state }).toString()}`,
  active: (filters: Record<string, string>) => `${ROOT.pathname}?${new URLSearchParams(filters).toString()}`,
  history: (filters: Record<string, string> = {}) =>
    `${ROOT.pathname}?${new URLSearchParams({ view: 'history', ...filters }).toString()}`,
}

/** null: no page of the dashboard. */
export const routeOf = (url: URL): Route | null => {
  if (!url.pathname.startsWith(ROOT.pathname)) return null
  const path = url.pathname.slice(ROOT.pathname.length)
  const query = url.searchParams
  if (path === '') return { page: 'jobs', query }
  if (path === 'statistics') return { page: 'statistics', query }
  if (path === 'notifications') return { page: 'notifications', query }
  if (path === 'types') return { page: 'type', jobType: query.get('name') ?? '', query }
  const id = /^jobs\/([^/]+)$/.exec(path)?.[1]
  return id === undefined ? null : { page: 'job', id: id.toLowerCase(), query }
}

/** The present page. The service only serves this document at addresses of the dashboard. */
export const currentRoute = (): Route => {
  const url = new URL(location.href)
  return routeOf(url) ?? { page: 'jobs', query: url.searchParams }
}

const MOVED = 'headway:moved'

let stayed = false

/** Whether the last move was a choice that only changes what the page shows, and no link and no button of the browser. */
export const hasStayed = (): boolean => stayed

/**
 * Goes to an address of the dashboard without loading a page. `replace`: the present address is not kept in the browser's
 * history.
 */
export const navigate = (address: string, { replace = false } = {}): void => {
  stayed = replace
  if (replace) history.replaceState(null, '', address)
  else history.pushState(null, '', address)
  dispatchEvent(new Event(MOVED))
}

const isPlainClick = (event: MouseEvent): boolean =>
  event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey && !event.defaultPrevented

/** Calls `moved` whenever the address changes: by a link of this page, by `navigate`, or by the browser's buttons. */
export const watchAddress = (moved: () => void): void => {
  addEventListener('popstate', () => {
    stayed = false
    moved()
  })
  addEventListener(MOVED, moved)
  document.addEventListener('click', event => {
    const link = event.composedPath().find((target): target is HTMLAnchorElement => target instanceof HTMLAnchorElement)
    if (!link || !isPlainClick(event) || link.target !== '' || link.origin !== location.origin) return
    if (link.hash !== '' || routeOf(new URL(link.href)) === null) return
    event.preventDefault()
    // A link that changes a part of the page leaves the rest where it is.
    const stays = 'stay' in link.dataset
    navigate(link.href, { replace: stays })
    if (!stays) scrollTo(0, 0)
  })
}

/** The present address with a changed query; null and '' remove a parameter. */
export const withQuery = (changes: Record<string, string | null>): string => {
  const url = new URL(location.href)
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === '') url.searchParams.delete(name)
    else url.searchParams.set(name, value)
  }
  return url.pathname + url.search
}
