/** Lifecycle changes: what the history keeps for ever and the live stream names its events after. The service and browsers share them. */
export const LIFECYCLES = [
  'created',
  'started',
  'cancel_requested',
  'cancelled',
  'completed',
  'failed',
  'stalled',
  'recovered',
  'retried',
] as const
export type Lifecycle = (typeof LIFECYCLES)[number]
