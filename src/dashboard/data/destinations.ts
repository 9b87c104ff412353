import { HeadwayProblem } from '../../browser-client/index.ts'
import { readProblem, unreachable } from '../../browser-client/problem.ts'
import type { DestinationKind, DestinationSettings } from '../../contract/destinations.ts'
import { BASE_PATH } from '../../contract/http.ts'
import type { DeliveryDocument, DeliveryPage, WebhookDocument, WebhookWithSecret } from '../../contract/webhook.ts'
import { ROOT } from '../root.ts'
import { readToken } from '../session.ts'

/** What the form of a new destination sends. */
export interface NewDestination {
  kind: DestinationKind
  /** Only of the kind `webhook`. */
  url?: string
  /** Of all other kinds. */
  settings?: DestinationSettings
  language?: string
  description: string | null
  events: readonly string[]
  jobType: string | null
  progressIntervalSeconds: number | null
}

const SHOWN = 20
/** As many as the service answers at once: a test must be found among what is sent meanwhile. */
const LOOKED_THROUGH = 100

const call = async <Body>(method: string, path: string, body?: object, signal?: AbortSignal): Promise<Body> => {
  const token = readToken()
  const headers = {
    accept: 'application/json',
    ...(token !== null && { authorization: `Bearer ${token}` }),
    ...(body !== undefined && { 'content-type': 'application/json' }),
  }
  const init = { method, headers, ...(body !== undefined && { body: JSON.stringify(body) }), ...(signal && { signal }) }
  try {
    const response = await fetch(`${ROOT.href}${BASE_PATH.slice(1)}/webhooks${path}`, { cache: 'no-store', ...init })
    if (!response.ok) throw await readProblem(response)
    return (response.status === 204 ? null : await response.json()) as Body
  } catch (error) {
    if (error instanceof HeadwayProblem || signal?.aborted === true) throw error
    throw unreachable(error)
  }
}

const readDeliveries = async (id: string, pageSize: number, signal: AbortSignal): Promise<DeliveryDocument[]> =>
  (await call<DeliveryPage>('GET', `/${id}/deliveries?pageSize=${pageSize}`, undefined, signal)).items

/** The calls on destinations, which are the service's webhooks. All raise `HeadwayProblem`. */
export const destinations = {
  list: async (signal: AbortSignal): Promise<WebhookDocument[]> =>
    (await call<{ items: WebhookDocument[] }>('GET', '', undefined, signal)).items,
  create: (fields: NewDestination) => call<WebhookWithSecret>('POST', '', fields),
  /** Nothing is queued or sent while it is paused. */
  pause: (id: string, isPaused: boolean) => call<WebhookDocument>('PUT', `/${id}`, { enabled: !isPaused }),
  remove: (id: string) => call<null>('DELETE', `/${id}`),
  test: (id: string) => call<DeliveryDocument>('POST', `/${id}/test`),
  /** The newest ones. */
  deliveries: (id: string, signal: AbortSignal) => readDeliveries(id, SHOWN, signal),
  /** One of the newest, as it is now; null: it is no longer among them. */
  delivery: async (id: string, deliveryId: string, signal: AbortSignal): Promise<DeliveryDocument | null> =>
    (await readDeliveries(id, LOOKED_THROUGH, signal)).find(each => each.id === deliveryId) ?? null,
}
