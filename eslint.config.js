import js from '@eslint/js'
import tseslint from 'typescript-eslint'

// Data walks in one direction: http → jobs → database. `live` knows neither http nor the use cases, and nobody knows the
// metrics. What runs in browsers and what runs in the service know each other by the API alone. Types may be named anywhere.
const SERVICE = ['http', 'jobs', 'live', 'database', 'metrics', 'cli', 'demo']
const BROWSER = ['client', 'elements', 'react', 'messages', 'dashboard']
const others = (folders, ...except) => folders.filter(folder => !except.includes(folder))

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
  direction('database', [...others(SERVICE, 'database'), ...BROWSER]),
  direction('live', [...others(SERVICE, 'live'), ...BROWSER]),
  direction('jobs', [...others(SERVICE, 'jobs', 'database'), ...BROWSER]),
  direction('http', [...others(SERVICE, 'http', 'jobs'), ...BROWSER]),
  direction('metrics', [...others(SERVICE, 'metrics'), ...BROWSER]),
  direction('messages', [...SERVICE, ...others(BROWSER, 'messages')]),
  direction('client', [...SERVICE, ...others(BROWSER, 'client')]),
  direction('elements', [...SERVICE, 'react', 'dashboard']),
  direction('react', [...SERVICE, 'elements', 'dashboard']),
  direction('dashboard', [...SERVICE, 'elements', 'react']),
)
