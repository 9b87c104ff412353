const hex = (bytes: ArrayBuffer): string =>
  Array.from(new Uint8Array(bytes), byte => byte.toString(16).padStart(2, '0')).join('')

/** FNV-1a, 32 bits: https://datatracker.ietf.org/doc/html/draft-eastlake-fnv */
const fnv1a = (text: string, seed: number): string => {
  let hash = seed
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193) >>> 0
  return hash.toString(16).padStart(8, '0')
}

/**
 * A name for what must be told apart, such as whom a token speaks for, that does not show it: names of locks, channels and storage
 * are there to read. Pages without a secure context have no SHA-256; there it names nothing but the storage of this origin.
 */
export const digest = async (parts: readonly unknown[]): Promise<string> => {
  const text = JSON.stringify(parts)
  // Missing where the context is not secure, whatever its type says.
  const subtle = globalThis.crypto.subtle as SubtleCrypto | undefined
  if (subtle) return hex(await subtle.digest('SHA-256', new TextEncoder().encode(text)))
  return fnv1a(text, 0x811c9dc5) + fnv1a(text, 0x01000193)
}
