import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import type { Test } from 'tap'

/** A web site that is not Headway's, with pages that embed it. */
export interface Host {
  url: string
  /** Makes a page with this body; `script` is a module. It may load scripts of `service`, and no inline style. */
  page(path: string, page: { service: string; body?: string; script?: string }): void
}

export const startHost = async (t: Test): Promise<Host> => {
  const files = new Map<string, { type: string; policy?: string; content: string }>()
  const server = createServer((request, response) => {
    const file = files.get(request.url?.split('?')[0] ?? '')
    if (!file) {
      response.writeHead(request.url === '/favicon.ico' ? 204 : 404).end()
      return
    }
    response
      .writeHead(200, {
        'content-type': file.type,
        ...(file.policy !== undefined && { 'content-security-policy': file.policy }),
      })
      .end(file.content)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    page: (path, { service, body = '', script = '' }) => {
      files.set(`${path}.js`, { type: 'text/javascript', content: script })
      files.set(path, {
        type: 'text/html; charset=utf-8',
        policy: `default-src 'none'; script-src 'self' ${service}; style-src 'self'; connect-src ${service}`,
        content:
          `<!doctype html><html lang="en"><title>${path}</title><main><h1>A page</h1>${body}</main>` +
          `<script type="module" src="${path}.js"></script></html>`,
      })
    },
  }
}

/** The bundle of a module that imports the published @headway/client, React or Vue. */
export const bundle = async (source: string, { react = 18 }: { react?: 18 | 19 } = {}): Promise<string> => {
  const root = fileURLToPath(new URL('../..', import.meta.url))
  const { outputFiles } = await build({
    stdin: { contents: source, resolveDir: root, loader: 'tsx' },
    alias: {
      ...(react === 19 && {
        react: `${root}test/react-19/node_modules/react`,
        'react-dom': `${root}test/react-19/node_modules/react-dom`,
      }),
      vue: 'vue/dist/vue.runtime.esm-bundler.js',
    },
    define: {
      'process.env.NODE_ENV': '"development"',
      __VUE_OPTIONS_API__: 'true',
      __VUE_PROD_DEVTOOLS__: 'false',
      __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: 'false',
    },
    jsx: 'automatic',
    bundle: true,
    format: 'esm',
    write: false,
    logLevel: 'error',
  })
  return outputFiles[0]?.text ?? ''
}
