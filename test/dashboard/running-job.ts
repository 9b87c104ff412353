// Times and a job for tests of what the dashboard shows, in seconds since one moment.

const START = Date.UTC(2026, 0, 31, 12)
export const at = (seconds: number): string => new Date(START + 1000 * seconds).toISOString()
export const now = (seconds: number): number => START + 1000 * seconds

/** Running for a minute when it last advanced, with every second item done. */
export const running = {
  status: 'running' as const,
  liveness: 'ok' as const,
  cancelRequestedAt: null,
  startedAt: at(0),
  advancedAt: at(60),
  processedCount: 30,
  progressPercent: 30,
  totalCount: 100,
  stage: null,
  etaSeconds: 140,
  updatedAt: at(60),
  children: null,
}
