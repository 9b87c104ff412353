// How what runs in browsers is bundled.
export const BUNDLING = {
  bundle: true,
  format: 'esm',
  target: ['chrome111', 'firefox115', 'safari16.4'],
  conditions: ['production'],
  minify: true,
  legalComments: 'eof',
  logLevel: 'warning',
}
