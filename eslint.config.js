import { dirname, resolve } from 'node:path'
import js from '@eslint/js'
import tseslint from 'typescript-eslint'

// Which folders of src may import which: values and types alike. A folder always imports from itself. The contract imports
// nothing. The service is the second block; the callers, in Node and in browsers, know it by the contract alone.
const LAYERS = {
  contract: [],
  turns: ['contract'],

  database: ['contract', 'turns'],
  live: ['contract', 'turns', 'terminal'],
  jobs: ['contract', 'turns', 'database', 'live'],
  webhooks: ['contract', 'turns', 'database', 'jobs'],
  http: ['contract', 'turns', 'jobs', 'live', 'webhooks', 'config.ts', 'version.ts'],
  metrics: ['contract', 'database', 'jobs', 'live', 'webhooks', 'http', 'answers-within.ts'],

  terminal: ['contract'],
  'node-client': ['contract'],
  worker: ['contract', 'node-client'],
  demo: ['contract', 'node-client', 'worker', 'terminal'],
  cli: ['contract', 'node-client', 'worker', 'terminal', 'version.ts'],
  messages: ['contract'],
  'browser-client': ['contract'],
  elements: ['contract', 'browser-client', 'messages'],
  react: ['contract', 'browser-client', 'messages', 'elements'],
  dashboard: ['contract', 'browser-client', 'messages'],

  // The root puts the service together.
  'config.ts': ['contract', 'config-fields.ts'],
  'config-fields.ts': [],
  'log.ts': ['contract', 'database', 'readable-log.ts'],
  'readiness.ts': ['contract', 'database', 'http', 'answers-within.ts'],
  'app.ts': ['contract', 'turns', 'database', 'jobs', 'live', 'webhooks', 'http', 'metrics', 'config.ts', 'loop-delay.ts', 'readiness.ts', 'version.ts'],
  'serve.ts': ['contract', 'database', 'app.ts', 'config.ts', 'log.ts', 'mistyped.ts', 'signals.ts'],
  'node-version.ts': [],
  'main.ts': ['contract', 'node-version.ts', 'serve.ts'],
} // prettier-ignore

/** What is part of the service beside its folders: what starts it, migrates its database, or signs with its secret. */
const PARTS_OF_THE_SERVICE = {
  'cli/main.ts': ['node-version.ts', 'serve.ts'],
  'demo/service-process.ts': ['serve.ts'],
  'cli/database.ts': ['config.ts', 'database'],
  'cli/dump.ts': ['database'],
  'cli/migrate.ts': ['config.ts', 'database'],
  'cli/own-database.ts': ['config.ts', 'database'],
  'cli/restore.ts': ['database'],
  'cli/token.ts': ['config.ts', 'http'],
}

const SRC = `${import.meta.dirname}/src/`
/** `src/jobs/sweeper.ts` is of `jobs`, `src/app.ts` of itself. */
const layerOf = path => path.slice(SRC.length).split('/')[0]

/** What a literal or a template without holes says, or null. */
const textOf = node => {
  if (node.type === 'TemplateLiteral') return node.expressions.length === 0 ? node.quasis[0].value.cooked : null
  return typeof node.value === 'string' ? node.value : null
}

const layers = {
  create(context) {
    const file = context.filename
    const from = layerOf(file)
    const allowed = [from, ...(LAYERS[from] ?? []), ...(PARTS_OF_THE_SERVICE[file.slice(SRC.length)] ?? [])]
    const check = node => {
      if (!node) return
      const path = textOf(node)
      if (path !== null && !/^[./]/.test(path)) return
      const target = path !== null && resolve(dirname(file), path)
      if (target && target.startsWith(SRC) && allowed.includes(layerOf(target))) return
      const what = !target
        ? 'what is only known when it runs'
        : target.startsWith(SRC)
          ? `src/${layerOf(target)}`
          : path
      context.report({
        node,
        message: `src/${from} must not import from ${what}: see docs/architecture/layout.md.`,
      })
    }
    const checkSource = ({ source }) => check(source)
    return {
      ImportDeclaration: checkSource,
      ExportNamedDeclaration: checkSource,
      ExportAllDeclaration: checkSource,
      ImportExpression: checkSource,
      TSImportType: checkSource,
      TSExternalModuleReference: ({ expression }) => check(expression),
      "CallExpression[callee.name='require']": node => check(node.arguments[0]),
    }
  },
}

export default tseslint.config(
  {
    ignores: [
      'dist',
      'dist-*',
      'packages/*/dist*',
      'node_modules',
      '.tap',
      '.headway',
      'drizzle',
      'docs/.vitepress/{dist,cache}',
    ],
  },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      '@typescript-eslint/require-await': 'off',
      // Characters that combine with others are written as escapes, one by one.
      'no-misleading-character-class': ['error', { allowEscape: true }],
    },
  },
  // node --test style floating promises are real bugs here too, but tap's `t.test` returns a promise that tap itself awaits.
  {
    files: ['test/**/*.ts'],
    rules: {
      '@typescript-eslint/no-floating-promises': [
        'error',
        { allowForKnownSafeCalls: [{ from: 'package', package: '@tapjs/test', name: 'test' }] },
      ],
      '@typescript-eslint/no-non-null-assertion': 'off',
    },
  },
  {
    files: ['**/*.js'],
    languageOptions: {
      globals: {
        console: 'readonly',
        process: 'readonly',
        URL: 'readonly',
        fetch: 'readonly',
        setTimeout: 'readonly',
        AbortSignal: 'readonly',
      },
    },
  },
  {
    files: ['src/**/*.ts'],
    plugins: { headway: { rules: { layers } } },
    rules: { 'headway/layers': 'error' },
  },
  {
    files: ['src/**/*.ts'],
    rules: {
      '@typescript-eslint/no-restricted-imports': [
        'error',
        {
          patterns: [
            {
              group: ['drizzle-orm', 'drizzle-orm/*'],
              allowTypeImports: true,
              message: 'Values of Drizzle come from src/database/drizzle.ts, which says why.',
            },
          ],
        },
      ],
    },
  },
)
