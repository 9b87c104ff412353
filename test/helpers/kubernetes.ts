import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** Where `kubernetes-types` has the types of an API group. They are generated from the OpenAPI document of Kubernetes' API. */
const MODULES: Record<string, string> = {
  v1: 'core/v1',
  'apps/v1': 'apps/v1',
  'networking.k8s.io/v1': 'networking/v1',
  'policy/v1': 'policy/v1',
}

export interface Manifest {
  apiVersion: string
  kind: string
  metadata: { name: string; annotations?: Record<string, string> }
}

/**
 * What the API of Kubernetes would refuse in these manifests: fields that it does not know, wrong types, missing fields. The
 * compiler reads each manifest as a literal of its type, so that it reports unknown fields at any depth, as `kubectl
 * --validate=strict` does.
 */
export const findBadFields = (manifests: Manifest[]): string[] => {
  const file = `${ROOT}manifests.ts`
  const text = manifests
    .map(manifest => {
      const module = MODULES[manifest.apiVersion]
      if (module === undefined)
        throw new Error(`${manifest.apiVersion} is new here: say in MODULES where its types are`)
      const type = `import('kubernetes-types/${module}').${manifest.kind}`
      return `(${JSON.stringify(manifest)}) satisfies ${type}`
    })
    .join('\n')
  const options: ts.CompilerOptions = {
    noEmit: true,
    strict: true,
    skipLibCheck: true,
    target: ts.ScriptTarget.ES2022,
    module: ts.ModuleKind.NodeNext,
    types: [],
  }
  const host = ts.createCompilerHost(options)
  const readFromDisk = host.getSourceFile.bind(host)
  host.getSourceFile = (name, ...rest) =>
    name === file ? ts.createSourceFile(name, text, ts.ScriptTarget.ES2022) : readFromDisk(name, ...rest)
  return ts
    .getPreEmitDiagnostics(ts.createProgram([file], options, host))
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))
}
