// For `node --import`: with each SIGWINCH this process collects its garbage, so that what it still holds can be measured.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc')
process.on('SIGWINCH', () => collect())
