// Ends the process with a sentence where this Node is too old: the first import of a program, before anything that an old Node
// cannot load. scripts/supported-node.js is the same for what is run from a clone before it is built.
import { readFileSync } from 'node:fs'

const packageFile = new URL('../package.json', import.meta.url)
const { engines } = JSON.parse(readFileSync(packageFile, 'utf8')) as { engines: { node: string } }

/** Whether `version` is within `range`, of the form `^22.22 || >=24`. */
const satisfies = (version: string, range: string): boolean => {
  const [major = 0, minor = 0] = version.split('.').map(Number)
  return range.split('||').some(part => {
    const [, operator, leastMajor, leastMinor = '0'] = /^(\^|>=)(\d+)(?:\.(\d+))?$/.exec(part.trim()) ?? []
    if (major === Number(leastMajor)) return minor >= Number(leastMinor)
    return operator === '>=' && major > Number(leastMajor)
  })
}

/** What to do about a Node that is too old; null where it is not. */
export const explainNode = (version: string): string | null =>
  satisfies(version, engines.node)
    ? null
    : `Headway needs Node ${engines.node}, and this is Node ${version}: install a newer one, from https://nodejs.org or with \`nvm install\`.`

const explanation = explainNode(process.versions.node)
if (explanation !== null) {
  console.error(explanation)
  process.exit(1)
}
