// Builds a git dependency: npm runs only `prepare` before it packs one, and not `prepack`. It runs `prepare` after every installation
// of a checkout as well, which needs no build before its first start.
if (process.env.npm_package_resolved !== undefined) {
  process.argv.push('--if-stale')
  await import('./build.js')
}
