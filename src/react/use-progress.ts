import { useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react'
import { isFinished } from '../contract/states.ts'
import { followTogether } from '../browser-client/together.ts'
import type { ConnectionState, HeadwayClient, HeadwayState, JobFilter, TokenSource } from '../browser-client/types.ts'
import type { LiveJob } from '../contract/live-job.ts'

/** How long a finished job counts as recent, by the service's clock. */
const RECENT_MS = 30_000

export interface UseProgressOptions {
  /** Address of the service; the page's own origin by default. */
  url?: string
  /** A token, or a function that gives one. A new function with each render is treated as the same one. */
  token?: TokenSource
  /** Top-level jobs by default. */
  filter?: JobFilter
}

export interface UseProgressResult {
  /** Pending and running jobs, newest first. */
  activeJobs: readonly LiveJob[]
  /** Jobs that finished within the last 30 seconds, the last one first. */
  recentlyCompleted: readonly LiveJob[]
  /** Nothing has arrived yet. */
  isLoading: boolean
  /** Why the shown jobs may be old; null while they are up to date. */
  error: string | null
  connection: ConnectionState
  /** Connects at once instead of waiting for the next attempt. */
  refresh: () => void
  cancel: (id: string) => Promise<LiveJob>
  retry: (id: string) => Promise<LiveJob>
}

const NOTHING: HeadwayState = { connection: 'connecting', jobs: [], loaded: false, truncated: false, problem: null }
const nothing = (): HeadwayState => NOTHING
const never = (): (() => void) => () => undefined

const unmounted = (): Promise<never> => Promise.reject(new Error('useProgress is not connected yet.'))

/** Renders again when the next finished job is no longer recent. */
const useForgetting = (finished: readonly LiveJob[], client: HeadwayClient | null): void => {
  const [, render] = useState(0)
  useEffect(() => {
    const ends = finished.map(job => Date.parse(job.finishedAt ?? '') + RECENT_MS - (client?.now() ?? 0))
    const next = Math.min(...ends.filter(ms => ms > 0))
    if (!Number.isFinite(next)) return
    const timer = setTimeout(() => render(count => count + 1), next + 50)
    return () => clearTimeout(timer)
  })
}

/** The jobs of a service, live, while the component is mounted. All tabs and components share one connection. */
export const useProgress = ({ url, token, filter }: UseProgressOptions = {}): UseProgressResult => {
  const [client, setClient] = useState<HeadwayClient | null>(null)
  const latestToken = useRef(token)
  useEffect(() => {
    latestToken.current = token
  })

  const ask = useCallback(
    () => (typeof latestToken.current === 'function' ? latestToken.current() : latestToken.current),
    [],
  )

  // Compared by their contents, because objects and functions are new with each render.
  const filterKey = JSON.stringify(filter ?? { topLevel: true })
  const source = typeof token === 'function' ? ask : token
  useEffect(() => {
    const options = {
      filter: JSON.parse(filterKey) as JobFilter,
      ...(url !== undefined && { url }),
      ...(source !== undefined && { token: source }),
    }
    const leave = followTogether(options, setClient)
    return () => {
      leave()
      setClient(null)
    }
  }, [url, source, filterKey])

  const { jobs, connection, loaded, problem } = useSyncExternalStore(
    client?.subscribe ?? never,
    client?.state ?? nothing,
    nothing,
  )
  const activeJobs = useMemo(() => jobs.filter(job => !isFinished(job)), [jobs])
  const finished = useMemo(() => jobs.filter(isFinished), [jobs])
  useForgetting(finished, client)
  const since = (client?.now() ?? 0) - RECENT_MS
  return {
    activeJobs,
    recentlyCompleted: finished.filter(job => Date.parse(job.finishedAt ?? '') > since),
    isLoading: !loaded && problem === null,
    error: problem?.detail ?? null,
    connection,
    refresh: useCallback(() => client?.reconnect(), [client]),
    cancel: useCallback((id: string) => client?.cancel(id) ?? unmounted(), [client]),
    retry: useCallback((id: string) => client?.retry(id) ?? unmounted(), [client]),
  }
}
