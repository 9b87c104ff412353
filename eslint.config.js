import js from '@eslint/js'
import tseslint from 'typescript-eslint'

// Data walks in one direction: http → webhooks → jobs → database. `live` knows neither http nor the use cases, and nobody knows
// the metrics. What calls a service from outside (api-client, worker, cli, demo) is used by none of its parts. Types may be
// named anywhere.
const OUTSIDE = ['api-client', 'worker', 'cli', 'demo']
const INSIDE = ['http', 'webhooks', 'jobs', 'live', 'database', 'metrics']

const direction = (folder, forbidden) => ({
  files: [`src/${folder}/**/*.ts`],
  rules: {
    '@typescript-eslint/no-restricted-imports': [
      'error',
      {
        patterns: forbidden.map(name => ({
          group: [`**/${name}/**`],
          allowTypeImports: true,
          message: `src/${folder} must not import from src/${name}: see "Layout" in the README.`,
        })),
      },
    ],
  },
})

export default tseslint.config(
  { ignores: ['dist', 'dist-*', 'node_modules', '.tap', '.headway', 'drizzle'] },
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
  direction('database', ['http', 'jobs', 'webhooks', 'live', 'metrics', ...OUTSIDE]),
  direction('live', ['http', 'jobs', 'webhooks', 'database', 'metrics', ...OUTSIDE]),
  direction('jobs', ['http', 'webhooks', 'live', 'metrics', ...OUTSIDE]),
  direction('webhooks', ['http', 'live', 'metrics', ...OUTSIDE]),
  direction('http', ['database', 'live', 'metrics', ...OUTSIDE]),
  direction('metrics', ['http', 'jobs', 'webhooks', 'live', 'database', ...OUTSIDE]),
  direction('terminal', [...INSIDE, ...OUTSIDE]),
  direction('api-client', [...INSIDE, 'worker', 'cli', 'demo', 'terminal']),
  direction('worker', [...INSIDE, 'cli', 'demo', 'terminal']),
  direction('demo', [...INSIDE, 'cli']),
)
