// Compiles test/ to dist-test/, beside dist/, so that the tests run as plain JavaScript: a loader for TypeScript costs
// each of their processes more than a second. They import dist/, which is what users run.
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const SOURCES = join(ROOT, 'test')
const OUTPUT = join(ROOT, 'dist-test')

/** Tests of what is not in dist/ file by file: pages, which the build bundles, and examples. */
const isBundled = source => /^(?:dashboard|messages|queues)[/\\]/.test(relative(SOURCES, source))

/** What a test says of its imports: dist/ lies beside dist-test/ as src/ does beside test/. */
const IMPORT_OF_SOURCE = /((?:\bfrom|\bimport) ?\(?["'](?:\.\.\/)+)src\//g

/** `test/jobs/x.test.ts` → the path of its compiled form. */
export const compiledPath = source => join(OUTPUT, relative(SOURCES, source).replace(/\.ts$/, '.js'))

/** What else decides how a source is compiled. */
const RULES = [join(ROOT, 'tsconfig.json'), fileURLToPath(import.meta.url)]

const isStale = source => {
  const output = compiledPath(source)
  if (!existsSync(output)) return true
  return [source, ...RULES].some(path => statSync(path).mtimeMs >= statSync(output).mtimeMs)
}

/** Renamed at the end, so that another run never reads half a file. */
const write = (path, text) => {
  const draft = `${path}.${process.pid}`
  writeFileSync(draft, text)
  renameSync(draft, path)
}

const compile = (ts, options, source) => {
  const output = compiledPath(source)
  const text = readFileSync(source, 'utf8')
  const { outputText, sourceMapText } = ts.transpileModule(text, { fileName: source, compilerOptions: options })
  const map = { ...JSON.parse(sourceMapText), sources: [relative(dirname(output), source)] }
  mkdirSync(dirname(output), { recursive: true })
  write(`${output}.map`, JSON.stringify(map))
  write(output, outputText.replace(IMPORT_OF_SOURCE, '$1dist/'))
}

/** The service is taken as it was built: it finds its own files beside itself, and is one with the tests that are not bundled. */
const builtService = {
  name: 'built service',
  setup: build =>
    build.onResolve({ filter: /\/src\/(?:(?:app|config)\.ts|(?:database|http|jobs|live|webhooks)\/)/ }, ({ path }) => ({
      path: join(ROOT, 'dist', path.slice(path.indexOf('/src/') + '/src/'.length).replace(/\.ts$/, '.js')),
      external: true,
    })),
}

const bundle = async sources => {
  const { build } = await import('esbuild')
  const options = {
    plugins: [builtService],
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    sourcemap: true,
  }
  await build({ ...options, entryPoints: sources, outdir: OUTPUT, outbase: SOURCES, logLevel: 'warning' })
}

/** Compiles what has changed, and takes away what has no source any more. Types are not checked: `npm run types` does. */
export const compileTests = async () => {
  const files = readdirSync(SOURCES, { recursive: true })
    .filter(name => !/^bench|^react-19/.test(name) && !name.endsWith('.d.ts'))
    .map(name => join(SOURCES, name))
    .filter(path => statSync(path).isFile())
  const sources = files.filter(path => path.endsWith('.ts'))
  // With all that they import, which may have changed as well.
  await bundle(sources.filter(isBundled))
  const stale = sources.filter(source => !isBundled(source) && isStale(source))
  if (stale.length > 0) {
    const { default: ts } = await import('typescript')
    const { config } = ts.readConfigFile(join(ROOT, 'tsconfig.json'), ts.sys.readFile)
    // One file at a time, the compiler does not look up package.json to learn that these are modules.
    const { options } = ts.convertCompilerOptionsFromJson({ ...config.compilerOptions, module: 'esnext' }, ROOT)
    for (const source of stale) compile(ts, options, source)
  }
  for (const plain of files.filter(path => !path.endsWith('.ts'))) cpSync(plain, compiledPath(plain))
  const expected = new Set(files.map(compiledPath))
  for (const name of readdirSync(OUTPUT, { recursive: true })) {
    const output = join(OUTPUT, name)
    if (!name.endsWith('.js') || expected.has(output)) continue
    rmSync(output)
    rmSync(`${output}.map`, { force: true })
  }
}
