import js from '@eslint/js'
import tseslint from 'typescript-eslint'

// Data walks in one direction: http → webhooks → jobs → database. `live` knows neither http nor the use cases, and nobody knows
// the metrics. What calls a service from outside, in Node or in a browser, knows it by the API alone, and none of its parts
// knows of them. Types may be named anywhere.
const SERVICE = ['http', 'webhooks', 'jobs', 'live', 'database', 'metrics']
const OUTSIDE = ['api-client', 'worker', 'cli', 'demo']
const BROWSER = ['client', 'elements', 'react', 'messages', 'dashboard']
const ALL = [...SERVICE, ...OUTSIDE, ...BROWSER, 'terminal']
/** All but these. */
const but = (...folders) => ALL.filter(folder => !folders.includes(folder))

const direction = (folder, forbidden) => ({
  files: [`src/${folder}/**/*.ts`],
  rules: {
    '@typescript-eslint/no-restricted-imports': [
      'error',
      {
        patterns: forbidden.map(name => ({
          group: [`**/${name}/**`],
          allowTypeImports: true,
          message: `src/${folder} must not import from src/${name}: see docs/architecture/layout.md.`,
        })),
      },
    ],
  },
})

export default tseslint.config(
  { ignores: ['dist', 'dist-*', 'node_modules', '.tap', '.headway', 'drizzle', 'docs/.vitepress/{dist,cache}'] },
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
  direction('database', but('database')),
  direction('live', but('live', 'terminal')),
  direction('jobs', but('jobs', 'database')),
  direction('webhooks', but('webhooks', 'jobs', 'database')),
  direction('http', but('http', 'webhooks', 'jobs')),
  direction('metrics', but('metrics')),
  direction('terminal', but('terminal')),
  direction('api-client', but('api-client')),
  direction('worker', but('worker', 'api-client')),
  direction('demo', but('demo', 'worker', 'api-client', 'terminal')),
  direction('messages', but('messages')),
  direction('client', but('client')),
  direction('elements', but('elements', 'client', 'messages')),
  direction('react', but('react', 'client', 'messages')),
  direction('dashboard', but('dashboard', 'client', 'messages')),
)
