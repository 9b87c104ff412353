/**
 * The address of the service as this browser sees it, with a slash at the end. The bundle is in `dashboard/` below it. A proxy
 * may have put the service below a path that the service does not know.
 */
export const ROOT = new URL('..', import.meta.url)
