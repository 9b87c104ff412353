/**
 * A table whose first column has a percent sign as heading, such as curl's meter. The rows below have numbers without a sign.
 *
 *       % Total    % Received % Xferd  Average Speed
 *      45 10.5M   45 4838k    0     0  1204k      0 …
 */
export class PercentColumn {
  #isBelow = false

  /** The percent of a row, with its sign. The heading becomes an empty line, and any other line stays as it is. */
  read(line: string): string {
    if (/^\s*%\s+\p{L}/u.test(line)) {
      this.#isBelow = true
      return ''
    }
    const [, digits, rest = ''] = (this.#isBelow && /^\s*(\d{1,3})((?:\s+\S+){5,})$/.exec(line)) || []
    return digits === undefined || /%/.test(rest) ? line : `${digits}%`
  }
}
