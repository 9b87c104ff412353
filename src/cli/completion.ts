import { Argument, type Command, type Option } from 'commander'
import type { Surroundings } from './surroundings.ts'

interface Word {
  name: string
  description: string
}

interface CompletedCommand extends Word {
  options: Word[]
}

const optionsOf = (command: Command): Word[] =>
  command
    .createHelp()
    .visibleOptions(command)
    .flatMap(({ long, description }: Option) => (long ? [{ name: long, description }] : []))

/** The commands to complete, read from the program itself, so that a new command needs no line here. */
const commandsOf = (program: Command): CompletedCommand[] =>
  program
    .createHelp()
    .visibleCommands(program)
    .map(command => ({ name: command.name(), description: command.description(), options: optionsOf(command) }))

const names = (words: readonly Word[]): string => words.map(({ name }) => name).join(' ')

/** A text in single quotes, which all three shells understand. */
const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`

const bash = (commands: readonly CompletedCommand[]): string => `# eval "$(headway completion bash)"
_headway() {
  local current=\${COMP_WORDS[COMP_CWORD]} words=
  if ((COMP_CWORD == 1)); then
    words=${quoted(names(commands))}
  else
    case \${COMP_WORDS[1]} in
${commands.map(({ name, options }) => `      ${name}) words=${quoted(names(options))} ;;`).join('\n')}
    esac
  fi
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -o default -F _headway headway
`

/** A colon separates a word from its description. */
const described = ({ name, description }: Word): string => quoted(`${name.replaceAll(':', '\\:')}:${description}`)

const zsh = (commands: readonly CompletedCommand[]): string => `#compdef headway
# eval "$(headway completion zsh)"
_headway() {
  local -a entries
  if ((CURRENT == 2)); then
    entries=(${commands.map(described).join(' ')})
    _describe command entries
    return
  fi
  case $words[2] in
${commands.map(({ name, options }) => `    ${name}) entries=(${options.map(described).join(' ')}) ;;`).join('\n')}
  esac
  _describe option entries
  _default
}
compdef _headway headway
`

/** In fish a backslash is an escape within single quotes as well. */
const fishQuoted = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`

const fish = (commands: readonly CompletedCommand[]): string => {
  const lines = commands.flatMap(({ name, description, options }) => [
    `complete -c headway -n __fish_use_subcommand -f -a ${name} -d ${fishQuoted(description)}`,
    ...options.map(
      option =>
        `complete -c headway -n '__fish_seen_subcommand_from ${name}' -l ${option.name.slice(2)} -d ${fishQuoted(option.description)}`,
    ),
  ])
  return `# headway completion fish | source\n${lines.join('\n')}\n`
}

const SHELLS = { bash, zsh, fish }

const EXAMPLES = `
Examples:
  eval "$(headway completion bash)"                                 in ~/.bashrc
  eval "$(headway completion zsh)"                                  in ~/.zshrc, after compinit
  headway completion fish > ~/.config/fish/completions/headway.fish
`

/** `headway completion`: prints a script by which a shell completes the words of this command. */
export const addCompletionCommand = (program: Command, { out }: Surroundings): void => {
  program
    .command('completion')
    .description('write a completion script for a shell')
    .addArgument(new Argument('<shell>', 'which shell').choices(Object.keys(SHELLS)))
    .addHelpText('after', EXAMPLES)
    .action((shell: keyof typeof SHELLS) => out(SHELLS[shell](commandsOf(program))))
}
