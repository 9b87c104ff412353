import { fileURLToPath } from 'node:url'
import ts from 'typescript'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

export interface Manifest {
  apiVersion: string
  kind: string
  metadata: { name: string; annotations?: Record<string, string> }
}

/** Where `kubernetes-models` has a kind: `kubernetes-models/apps/v1/Deployment`. */
const moduleOf = ({ apiVersion, kind }: Manifest): string => `kubernetes-models/${apiVersion}/${kind}`

/**
 * Fields that the API does not have, for each manifest. Its JSON schemas allow them, so the compiler reads each manifest as a literal
 * of its type: it reports unknown fields at any depth, as `kubectl --validate=strict` does.
 */
const findUnknownFields = (manifests: Manifest[]): string[][] => {
  const file = `${ROOT}manifests.ts`
  // A manifest to a line: the line of a diagnostic says which manifest it is about.
  const text = manifests
    .map(manifest => `(${JSON.stringify(manifest)}) satisfies import('${moduleOf(manifest)}').I${manifest.kind}`)
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
  const found: string[][] = manifests.map(() => [])
  for (const diagnostic of ts.getPreEmitDiagnostics(ts.createProgram([file], options, host))) {
    const line = diagnostic.file?.getLineAndCharacterOfPosition(diagnostic.start ?? 0).line ?? 0
    found[line]?.push(ts.flattenDiagnosticMessageText(diagnostic.messageText, '\n'))
  }
  return found
}

type Kind = new (data: Manifest) => { validate(): void }

/** What the JSON schema of its kind says against a manifest: wrong types, formats and values, missing fields. */
const findWrongValues = async (manifest: Manifest): Promise<string[]> => {
  const kinds = (await import(moduleOf(manifest))) as Record<string, Kind>
  const Model = kinds[manifest.kind]
  if (Model === undefined) throw new Error(`kubernetes-models has no ${manifest.kind}`)
  try {
    new Model(manifest).validate()
    return []
  } catch (error) {
    return [(error as Error).message]
  }
}

/**
 * What the API of Kubernetes would refuse, for each of these manifests. Both the types and the schemas of `kubernetes-models` are
 * generated from the OpenAPI document of that API.
 */
export const findBadFields = async (manifests: Manifest[]): Promise<string[][]> => {
  const values = await Promise.all(manifests.map(findWrongValues))
  return findUnknownFields(manifests).map((fields, index) => [...fields, ...(values[index] ?? [])])
}
