// Compresses what browsers load, once: `name.js.br` and `name.js.gz` beside `name.js`.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'

const TEXTS = /\.(html|js|css|svg)$/

const CODINGS = {
  br: content =>
    brotliCompressSync(content, {
      params: {
        [constants.BROTLI_PARAM_MODE]: constants.BROTLI_MODE_TEXT,
        [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
        [constants.BROTLI_PARAM_SIZE_HINT]: content.length,
      },
    }),
  gz: content => gzipSync(content, { level: constants.Z_BEST_COMPRESSION }),
}

/** Compresses each text of a folder. A file that would not be smaller is left out. */
export const compressTexts = directory => {
  for (const name of readdirSync(directory).filter(name => TEXTS.test(name))) {
    const content = readFileSync(`${directory}/${name}`)
    for (const [ending, compress] of Object.entries(CODINGS)) {
      const compressed = compress(content)
      if (compressed.length < content.length) writeFileSync(`${directory}/${name}.${ending}`, compressed)
    }
  }
}
