/** The states by which partitions are counted: their status, and whether a running one is stalled. */
export const PARTITION_STATES = ['running', 'stalled', 'pending', 'failed', 'completed', 'cancelled'] as const
export type PartitionState = (typeof PARTITION_STATES)[number]
