const RESULT = /^( *)(not )?ok \d+(?: - (.*?))?(?: # (time=\S+|SKIP.*|TODO.*))?(?: \{)?$/i
const SUBTEST = /^( *)# Subtest: (.*)$/
const SUMMARY = /^# \{ total: .* \}$/
const COMMENT_OR_PLAN = /^ *(?:#.*|\d+\.\.\d+.*|\}|TAP version \d+)?$/

const count = (summary, word) => Number(new RegExp(`\\b${word}: (\\d+)`).exec(summary)?.[1] ?? 0)

/**
 * Turns TAP into one line per test file, and each failed assertion with its diagnosis. Lines that are not TAP (the
 * coverage table) passes through. `print` gets the lines.
 */
export const createTapReader = print => {
  let summary = null
  /** Names of the subtests around the current line, by depth. */
  let path = []
  /** Depths whose next result fails because of a child that was reported: that need not be told again. */
  const failedBelow = new Set()
  /** Indentation of the diagnosis that is being read, and whether it is shown. */
  let diagnosis = null
  let showNext = false

  const readResult = ([, indent, not, name = '', remark = ''], line) => {
    const depth = indent.length / 4
    const isSkippedOrTodo = /^(SKIP|TODO)/i.test(remark)
    const failed = not !== undefined && !isSkippedOrTodo
    // In the buffered form, `not ok 1 - name {`, the children follow.
    const opens = line.endsWith('{')
    showNext = failed && !opens && !failedBelow.has(depth)
    if (opens) path = [...path.slice(0, depth), name]
    else failedBelow.delete(depth)
    if (showNext) {
      print(`  FAILED  ${[...path.slice(0, depth), name].join(' › ')}`)
      for (let parent = 0; parent < depth; parent += 1) failedBelow.add(parent)
    }
    if (depth === 0) print(`${failed ? 'not ok' : 'ok'}  ${name} ${remark}`.trimEnd())
  }

  const read = line => {
    if (diagnosis !== null) {
      if (showNext) print(`    ${line.slice(diagnosis.length)}`)
      if (line === `${diagnosis}...`) diagnosis = null
      return
    }
    const result = RESULT.exec(line)
    const subtest = SUBTEST.exec(line)
    if (SUMMARY.test(line)) summary = { passed: count(line, 'pass'), failed: count(line, 'fail') }
    else if (/^ *---$/.test(line)) diagnosis = line.slice(0, -3)
    else if (result !== null) readResult(result, line)
    else if (subtest !== null) path = [...path.slice(0, subtest[1].length / 4), subtest[2]]
    else if (!COMMENT_OR_PLAN.test(line)) print(line)
  }

  return { read, summary: () => summary }
}
