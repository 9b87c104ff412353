import type { LiveJob } from '../contract/live-job.ts'

/** How long the tab that tells an end keeps the others from it, until each of them sees what it has stored. */
const CLAIM_MS = 10_000

/** Whether the browser can show notifications at all, and what the visitor has said to that. */
const permission = (): NotificationPermission => ('Notification' in globalThis ? Notification.permission : 'denied')

/**
 * Asks the visitor, who has just pressed a button: browsers refuse the question at any other time. Resolves with whether
 * notifications may be shown.
 */
export const askPermission = async (): Promise<boolean> => {
  if (permission() !== 'default') return permission() === 'granted'
  return (await Notification.requestPermission()) === 'granted'
}

/**
 * Calls `tellIfNew` in one tab of this browser at a time, for all that use `name`. It answers whether it has told, and stores
 * that for the other tabs.
 */
export const tellOnce = async (name: string, tellIfNew: () => boolean): Promise<void> => {
  // Browsers have locks only in pages with HTTPS, or on localhost.
  const { locks } = navigator as { locks?: LockManager }
  if (locks === undefined) {
    tellIfNew()
    return
  }
  try {
    await locks.request(name, { ifAvailable: true }, async lock => {
      // Another tab may not see for a moment what this one has stored, so the lock outlives the writing.
      if (lock !== null && tellIfNew()) await new Promise(resolve => setTimeout(resolve, CLAIM_MS))
    })
  } catch {
    // A frame without an origin of its own has no locks.
    tellIfNew()
  }
}

/** Shows how a job ended, where the visitor allows it. Two notifications of one attempt are one. */
export const showEnd = (
  { id, attempt }: LiveJob,
  { title, body, onClick }: { title: string; body: string; onClick: () => void },
): void => {
  if (permission() !== 'granted') return
  try {
    const shown = new Notification(title, { body, tag: `headway ${id} ${attempt}` })
    shown.onclick = () => {
      focus()
      onClick()
      shown.close()
    }
  } catch {
    // Browsers of phones let only service workers show notifications. The page has said it.
  }
}
