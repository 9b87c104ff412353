const hex = (bytes: ArrayBuffer): string =>
  Array.from(new Uint8Array(bytes), byte => byte.toString(16).padStart(2, '0')).join('')

/** FNV-1a, 32 bits: https://datatracker.ietf.org/doc/html/draft-eastlake-fnv */
const fnv1a = (text: string, seed: number): string => {
  let hash = seed
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0
  return hash.toString(16).padStart(8, '0')
}

/**
 * A name for values such as the user of a token. Names of locks, channels and storage keys are readable, so it does not show
 * the values. Pages without a secure context have no SHA-256. There it is only used for the storage of this origin, and FNV-1a
 * is enough.
 */
export const digest = async (parts: readonly unknown[]): Promise<string> => {
  const text = JSON.stringify(parts)
  // Missing where the context is not secure, although its type says otherwise.
  const subtle = globalThis.crypto.subtle as SubtleCrypto | undefined
  if (subtle) return hex(await subtle.digest('SHA-256', new TextEncoder().encode(text)))
  return fnv1a(text, 0x811c9dc5) + fnv1a(text, 0x01000193)
}
