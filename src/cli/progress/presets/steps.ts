import { count, percent, type Preset } from './preset.ts'

/**
 * From which percent to which one the phases of git go. What the server counts and compresses before is not among them, and the
 * last phase is only written when it takes long.
 */
const GIT_PHASES: Readonly<Record<string, readonly [from: number, to: number]>> = {
  'Receiving objects': [0, 60],
  'Resolving deltas': [60, 90],
  'Updating files': [90, 100],
  'Filtering content': [90, 100],
}
const GIT = /^([A-Z][a-z]+ [a-z]+):\s+\d+% \((\d+)\/(\d+)\)/

export const git: Preset = {
  commands: ['git'],
  subcommands: /^(?:clone|fetch|pull|submodule)$/,
  read: () => line => {
    const [, phase = '', done, total] = GIT.exec(line) ?? []
    const range = Object.hasOwn(GIT_PHASES, phase) ? GIT_PHASES[phase] : undefined
    if (!range || Number(total) === 0) return null
    const [from, to] = range
    return percent(from + ((to - from) * Number(done)) / Number(total))
  },
}

/** The packages that are found. How many there will be is not known before the last one. */
export const pip: Preset = {
  commands: ['pip', 'pip3', 'pipx'],
  subcommands: /^(?:install|download|wheel)$/,
  unit: 'packages',
  read() {
    let packages = 0
    return line => (/^\s*(?:Collecting|Requirement already satisfied:) /.test(line) ? count(++packages) : null)
  },
}

const TERRAFORM_PLAN = /\bPlan: (?:(\d+) to import, )?(\d+) to add, (\d+) to change, (\d+) to destroy\b/
const TERRAFORM_DONE = /: (?:Creation|Modifications|Destruction|Import) complete\b/

export const terraform: Preset = {
  commands: ['terraform', 'tofu', 'terragrunt'],
  unit: 'changes',
  read() {
    let done = 0
    let total = 0
    return line => {
      const plan = TERRAFORM_PLAN.exec(line)
      if (plan) {
        done = 0
        total = plan.slice(1).reduce((sum, each) => sum + Number((each as string | undefined) ?? 0), 0)
      } else if (TERRAFORM_DONE.test(line)) done++
      else return null
      // A plan that was saved before is not written again.
      if (total === 0) return plan ? null : count(done)
      return done <= total ? count(done, total) : null
    }
  },
}

const APT_PLAN = /^\s*(?:\d+ (?:packages )?upgraded|Upgrading: \d+), /
const APT_INSTALLS =
  /(\d+) (?:packages )?(?:upgraded|newly|reinstalled|downgraded)|(?:Upgrading|Installing|Reinstalling|Downgrading): (\d+)/g
const APT_REMOVES = /(\d+) to remove|Removing: (\d+)/g

const sumOf = (line: string, pattern: RegExp): number =>
  [...line.matchAll(pattern)].reduce((sum, [, before, after]) => sum + Number(before ?? after), 0)

/**
 * Each package is fetched, unpacked and set up, or removed. A package that need not be fetched counts as fetched with the first
 * one that is unpacked. dpkg does not say how many there are.
 */
export const apt: Preset = {
  commands: ['apt', 'apt-get', 'aptitude', 'dpkg'],
  unit: 'steps',
  read() {
    let [installed, removed] = [0, 0]
    let [fetched, done] = [0, 0]
    return line => {
      const isPlan = APT_PLAN.test(line)
      if (isPlan) {
        const plan = line.replace(/ and \d+ not upgraded.*|, Not Upgrading.*/, '')
        installed = sumOf(plan, APT_INSTALLS)
        removed = sumOf(plan, APT_REMOVES)
        ;[fetched, done] = [0, 0]
      } else if (/^Get:\d+ /.test(line)) fetched++
      else if (/^(?:Unpacking|Setting up|Removing) \S+ \(/.test(line)) done++
      else return null
      const total = 3 * installed + removed
      if (total === 0) return isPlan || done === 0 ? null : count(done)
      return count(Math.min(total, (done > 0 ? installed : Math.min(fetched, installed)) + done), total)
    }
  },
}

/** Step 2 of 7 has begun, so one is done. Buildah writes the stages before it. */
const BUILD_STEP = /^(?:\[(\d+)\/(\d+)\] )?STEP (\d+)(?:\/(\d+))?\s?:/i

/** BuildKit: the number of a step, the name of its stage where there are several, and its place in the stage. */
const BUILDKIT_STEP = /^#(\d+) \[\s*(?:(\S.*?) +)?(\d+)\/(\d+)\] /
const BUILDKIT_DONE = /^#(\d+) (?:DONE|CACHED)\b/

export const build: Preset = {
  commands: ['docker', 'podman', 'buildah', 'buildctl', 'nerdctl'],
  subcommands: /^(?:build|bud|build-using-dockerfile)$/,
  unit: 'steps',
  read() {
    /** BuildKit works on several stages at once: the totals by stage, and the numbers of the steps that are known and done. */
    const totals = new Map<string, number>()
    const steps = new Set<string>()
    const done = new Set<string>()
    return line => {
      const [, stage, stages, step, of] = BUILD_STEP.exec(line) ?? []
      if (step !== undefined && of !== undefined) {
        const before = Number(step) - 1
        if (stages === undefined || Number(stages) === 1) return count(before, Number(of))
        return percent((100 * (Number(stage) - 1 + before / Number(of))) / Number(stages))
      }
      const [, number = '', name = '', , total] = BUILDKIT_STEP.exec(line) ?? []
      if (number !== '') {
        totals.set(name, Number(total))
        steps.add(number)
      } else {
        const [, finished = ''] = BUILDKIT_DONE.exec(line) ?? []
        if (!steps.has(finished)) return null
        done.add(finished)
      }
      const all = [...totals.values()].reduce((sum, each) => sum + each, 0)
      return all > 0 && done.size <= all ? count(done.size, all) : null
    }
  },
}
