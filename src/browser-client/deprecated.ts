// Replaced names. They will be removed with the release after 0.2.
import { createClient } from './client.ts'
import type { HeadwayClient, HeadwayClientOptions } from './types.ts'

/** @deprecated Its name is `createClient`. */
export const createHeadway = createClient
/** @deprecated Its name is `HeadwayClient`. */
export type Headway = HeadwayClient
/** @deprecated Its name is `HeadwayClientOptions`. */
export type HeadwayOptions = HeadwayClientOptions
/** @deprecated It is `typeof createClient`. */
export type CreateHeadway = typeof createClient
