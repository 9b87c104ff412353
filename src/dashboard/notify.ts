import type { LiveJob } from '../contract/live-job.ts'
import { headway, isConnected, redraw } from './feed.ts'
import { ROOT } from './root.ts'
import { storedIds } from '../browser-client/stored-text.ts'
import { askPermission, showEnd, tellOnce } from '../browser-client/notifications.ts'

/**
 * "Notify me": the jobs whose end the visitor wants to be told of. The client remembers them in the browser, for each user on its
 * own and at most a hundred, and finds out how they ended, also after a reload.
 */

const KEY = `headway.told ${ROOT.pathname}`
/** So many ids are kept. */
const MAX_TOLD = 200
const SECOND_MS = 1_000

/** The ids of jobs of which no tab has to tell any more: one has, or the visitor has changed their mind. */
const told = storedIds(() => localStorage, KEY, MAX_TOLD)

const markTold = (id: string): void => told.write([...told.read().filter(other => other !== id), id])

/** The jobs that were watched a moment ago: another tab may have told of an end before this one hears of it. */
const lately = new Set<string>()

export const isWatched = (id: string): boolean => headway.waiting().includes(id)

/** Begins to watch a job. Resolves with whether the browser may say how it ended; otherwise only an open page does. */
export const watch = async (id: string): Promise<boolean> => {
  told.write(told.read().filter(other => other !== id))
  // The end is told by `tellEnds`. A rejection means that the job is no longer watched, or no longer there.
  headway.waitFor(id).catch(() => redraw())
  redraw()
  return askPermission()
}

export const unwatch = (id: string): void => {
  headway.forget(id)
  lately.delete(id)
  // The other tabs read it, and forget the job as well.
  markTold(id)
  redraw()
}

/** Unless a tab of this browser has told the end: stores that this one does, and shows it. */
const tellIfNew = (job: LiveJob, { words, onClick }: Telling): boolean => {
  if (told.read().includes(job.id)) return false
  markTold(job.id)
  showEnd(job, { ...words(job), onClick: () => onClick(job) })
  return true
}

export interface Telling {
  /** The title and the text of a notification. */
  words: (job: LiveJob) => { title: string; body: string }
  /** Called in every tab. */
  onEnd: (job: LiveJob) => void
  /** The visitor has clicked the notification. */
  onClick: (job: LiveJob) => void
}

/** Tells of the end of watched jobs: one tab by a notification of the browser, and each in its page. */
export const tellEnds = (telling: Telling): void => {
  /** The ends that this page has told. */
  const ends = new Set<string>()
  const tell = (job: LiveJob): void => {
    const end = `${job.id} ${job.attempt}`
    if (ends.has(end)) return
    ends.add(end)
    telling.onEnd(job)
    void tellOnce(`${KEY} ${end}`, () => tellIfNew(job, telling))
  }
  const look = (): void => {
    for (const id of headway.waiting()) lately.add(id)
  }
  headway.subscribe(look)
  setInterval(() => {
    lately.clear()
    look()
  }, SECOND_MS)
  headway.on('finished', job => {
    const wasWatched = lately.delete(job.id)
    if (wasWatched || isWatched(job.id)) tell(job)
  })
  addEventListener('storage', ({ key }) => {
    if (key !== KEY) return
    for (const id of told.read()) if (isWatched(id)) headway.forget(id)
    redraw()
  })
  // The client has begun before the page was drawn. It keeps an end of which nobody heard for whoever waits for that job.
  const isActive = (id: string): boolean => headway.job(id)?.finishedAt === null
  for (const id of isConnected() ? headway.waiting().filter(id => !isActive(id)) : [])
    headway.waitFor(id).then(tell, () => redraw())
}
