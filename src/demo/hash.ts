import { createHash } from 'node:crypto'
import { open } from 'node:fs/promises'
import { join } from 'node:path'

const CHUNK_BYTES = 256 * 1024
const DIGEST_BYTES = 32

/** SHA-256 of the path and the content of one file. A file of any size takes one buffer; `signal` ends it between two reads. */
export const createFileHasher = (folder: string) => {
  const buffer = Buffer.allocUnsafe(CHUNK_BYTES)
  return async (path: string, onBytes: (bytes: number) => void, signal: AbortSignal): Promise<Buffer> => {
    const file = await open(join(folder, path))
    try {
      const hash = createHash('sha256').update(path.replaceAll('\\', '/')).update('\0')
      for (;;) {
        signal.throwIfAborted()
        const { bytesRead } = await file.read(buffer, 0, CHUNK_BYTES)
        if (bytesRead === 0) return hash.digest()
        hash.update(buffer.subarray(0, bytesRead))
        onBytes(bytesRead)
      }
    } finally {
      await file.close()
    }
  }
}

/** Combines digests into one that does not depend on their order: it is the same however the files were shared out. */
export const createFingerprint = () => {
  const sum = Buffer.alloc(DIGEST_BYTES)
  return {
    add(digest: Buffer): void {
      for (const [index, byte] of digest.entries()) sum[index] = (sum[index] ?? 0) ^ byte
    },
    toHex: (): string => sum.toString('hex'),
  }
}
