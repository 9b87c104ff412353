/**
 * A table whose first column is headed by a percent sign, such as the meter of curl: the rows below hold it without one.
 *
 *       % Total    % Received % Xferd  Average Speed
 *      45 10.5M   45 4838k    0     0  1204k      0 …
 */
export class PercentColumn {
  #isBelow = false

  /** The row with its percent written out; any other line as it is. */
  read(line: string): string {
    if (/^\s*%\s+\p{L}/u.test(line)) {
      this.#isBelow = true
      return ''
    }
    const [, digits, rest = ''] = (this.#isBelow && /^\s*(\d{1,3})((?:\s+\S+){5,})$/.exec(line)) || []
    return digits === undefined || /%/.test(rest) ? line : `${digits}%`
  }
}
