// Lets the programs that tests start show their warnings on every Node, because their users see them. On Node 26 and newer tap
// starts all programs with --no-warnings, for the sake of a compiler that the tests do not use.
import 'tap'

const options = process.env.NODE_OPTIONS?.replace(/(?:^| )--no-warnings$/, '') ?? ''
if (options === '') delete process.env.NODE_OPTIONS
else process.env.NODE_OPTIONS = options
