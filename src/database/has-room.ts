import type { Transaction } from './connection.ts'
import { count, eq, sql } from './drizzle.ts'
import type { badges, webhooks } from './schema.ts'

/**
 * Whether a tenant has fewer than `most` rows in a table. Until the transaction ends, others that ask for the same tenant wait,
 * because two would each see room for one more. `lock` is any number that no other program uses, one for each table.
 */
export const hasRoom = async (
  transaction: Transaction,
  table: typeof badges | typeof webhooks,
  { tenantId, most, lock }: { tenantId: string; most: number; lock: number },
): Promise<boolean> => {
  await transaction.execute(sql`SELECT pg_advisory_xact_lock(${lock}, hashtext(${tenantId}))`)
  const [existing] = await transaction.select({ number: count() }).from(table).where(eq(table.tenantId, tenantId))
  return (existing?.number ?? 0) < most
}
