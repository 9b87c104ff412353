/**
 * Where the service is, as this browser sees it, with a slash at the end. The bundle lies in `dashboard/` below it: a proxy may
 * have put the whole of it below a path, of which the service knows nothing.
 */
export const ROOT = new URL('..', import.meta.url)
