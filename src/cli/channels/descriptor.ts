import { printable, shorten } from '../../terminal/text.ts'
import type { Channel, ChannelOptions } from './channel.ts'
import { MAX_LINE_LENGTH, reportOfLine } from './line.ts'

const SHOWN_WIDTH = 60

/** The ends of lines. The output of a command has more of them, but those may stand within a text in JSON. */
const LINE_END = /[\r\n]+/

/** Reads progress from file descriptor 3 of the command, a line each. */
export const openDescriptorChannel = ({ onReport, onProblem }: ChannelOptions): Promise<Channel> => {
  let isTold = false
  let rest = ''
  const read = (line: string): void => {
    const report = reportOfLine(line)
    if (report) onReport(report)
    else if (!isTold && line.trim() !== '') {
      isTold = true
      onProblem(
        `File descriptor 3 takes lines such as 42/100, 42 % and {"processedCount":42}, and not ${shorten(printable(line), SHOWN_WIDTH)}.`,
      )
    }
  }
  return Promise.resolve({
    environment: { HEADWAY_PROGRESS_FD: '3' },
    onDescriptor(text) {
      const lines = (rest + text).split(LINE_END)
      // Of a line without an end only the last part is kept.
      rest = (lines.pop() ?? '').slice(-MAX_LINE_LENGTH)
      for (const line of lines) read(line)
    },
    close() {
      read(rest)
      rest = ''
      return Promise.resolve()
    },
  })
}
