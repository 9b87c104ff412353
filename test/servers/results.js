// The results of runs on several servers and Nodes: each ends as 'passed', 'failed' or 'skipped'.

/** Prints a line for each run; the exit code of all of them. Nothing run is a failure, and with `isRequired` a skipped run is. */
export const conclude = (results, isRequired) => {
  if (results.length === 0) console.log('Nothing was chosen: nothing was tested.')
  for (const { name, result } of results) console.log(`${result}: ${name}`)
  const isBad = ({ result }) => result === 'failed' || (result === 'skipped' && isRequired)
  return results.length === 0 || results.some(isBad) ? 1 : 0
}

/** Says why a run is skipped. */
export const skip = (name, reason) => {
  console.log(`Skipped ${name}: ${reason}.`)
  return 'skipped'
}
