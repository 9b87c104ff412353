import { hasStayed, navigate, withQuery } from '../router.ts'

/** Which cells of a picture, and which of the rows below it, a visitor wants to see. The address keeps it; '': all. */
export class CellFilter<Filter extends string> {
  readonly #parameter: string
  readonly #filters: readonly Filter[]

  constructor(parameter: string, filters: readonly Filter[]) {
    this.#parameter = parameter
    this.#filters = filters
  }

  of(query: URLSearchParams): Filter | '' {
    return this.#filters.find(each => each === query.get(this.#parameter)) ?? ''
  }

  readonly choose = (filter: Filter | ''): void => {
    navigate(withQuery({ [this.#parameter]: filter }), { replace: true })
  }

  /** Leads a visitor who has followed a link to some of its cells to the picture, and not one who chooses in it. */
  leadTo(picture: Element, filter: Filter | ''): void {
    if (filter === '' || hasStayed()) return
    picture.firstElementChild?.scrollIntoView()
    const heading = picture.querySelector<HTMLElement>('h2')
    if (heading === null) return
    heading.tabIndex = -1
    heading.focus({ preventScroll: true })
  }
}
