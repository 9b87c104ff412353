import { useCallback, useEffect, useMemo, useRef, useState, useSyncExternalStore } from 'react'
import { isFinished } from '../contract/states.ts'
import { followTogether } from '../browser-client/together.ts'
import type { ConnectionState, HeadwayClient, HeadwayState, JobFilter, TokenSource } from '../browser-client/types.ts'
import type { LiveJob } from '../contract/live-job.ts'

/** How long what has finished counts as recent, by the clock of the service. */
const RECENT_MS = 30_000

export interface UseProgressOptions {
  /** Where the service is; that of the page by default. */
  url?: string
  /** A token, or what gives one. A new function with each render is no new source. */
  token?: TokenSource
  /** Top-level jobs by default. */
  filter?: JobFilter
}

export interface UseProgressResult {
  /** Pending and running jobs, the newest first. */
  activeJobs: readonly LiveJob[]
  /** Those that finished within the last 30 seconds, the last one first. */
  recentlyCompleted: readonly LiveJob[]
  /** Nothing has arrived yet. */
  isLoading: boolean
  /** Why what is shown may be old; null while it is not. */
  error: string | null
  connection: ConnectionState
  /** Tries to connect at once, where it waits for the next attempt. */
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

/** The jobs of a service, live, for as long as the component is mounted. All tabs and components share one connection. */
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

  // By what they say: objects and functions are new with each render.
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
