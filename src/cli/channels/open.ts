import { TRAINER_VARIABLES } from '../../contract/trainer-status.ts'
import type { Channel, ChannelOptions } from './channel.ts'
import { openDescriptorChannel } from './descriptor.ts'
import { openFileChannel } from './file.ts'
import { withoutProxy } from './proxy.ts'
import { openTrainerChannel } from './trainer.ts'

const WAYS = [openFileChannel, openDescriptorChannel, openTrainerChannel]

/**
 * What a `headway run` has set for its command, as JSON. A `headway run` within that command sets all of it anew: what a command
 * tells is told to the innermost job, as HEADWAY_JOB_ID names it.
 */
const SET_BY_RUN = 'HEADWAY_RUN_SET'

/** The environment without the variables that an outer `headway run` has set and that still have its values. */
const withoutOuter = (environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv => {
  const outer = new Set<string>()
  try {
    for (const [name, value] of Object.entries(JSON.parse(environment[SET_BY_RUN] ?? '{}') as object)) {
      if (environment[name] === value) outer.add(name)
    }
  } catch {
    // Some other program has set the variable.
  }
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !outer.has(name)))
}

/** Opens every way by which the command may tell how far it is. One that cannot be opened is told, and left out. Never raises. */
export const openChannels = async (options: ChannelOptions): Promise<Required<Channel>> => {
  const channels: Channel[] = []
  const environment = withoutOuter(options.environment)
  for (const open of WAYS) {
    try {
      const channel = await open({ ...options, environment })
      if (channel) channels.push(channel)
    } catch (error) {
      options.onProblem(`What the command tells of itself is not read: ${(error as Error).message}`)
    }
  }
  const given = Object.assign({}, ...channels.map(channel => channel.environment)) as Record<string, string>
  return {
    environment: {
      ...given,
      [SET_BY_RUN]: JSON.stringify(given),
      ...(TRAINER_VARIABLES.url in given && withoutProxy(options.environment)),
    },
    onDescriptor(text) {
      for (const channel of channels) channel.onDescriptor?.(text)
    },
    async close() {
      await Promise.allSettled(channels.map(channel => channel.close()))
    },
  }
}
