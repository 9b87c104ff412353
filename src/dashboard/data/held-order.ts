/** How long an order is kept. Rows that change their places with every report cannot be read. */
const REST_MS = 5_000

/** Keeps the order of a sorted list for a few seconds while its values change; what is new comes last. */
export class HeldOrder<Item> {
  readonly #keyOf: (item: Item) => string
  #sort = ''
  #atMs = -Infinity
  #places: ReadonlyMap<string, number> = new Map()

  constructor(keyOf: (item: Item) => string) {
    this.#keyOf = keyOf
  }

  /** `sort` names the order that `order` makes: another one is made at once. */
  apply(items: readonly Item[], sort: string, order: (items: readonly Item[]) => Item[], nowMs: number): Item[] {
    if (sort !== this.#sort || this.#places.size === 0 || nowMs - this.#atMs >= REST_MS) {
      const inOrder = order(items)
      this.#sort = sort
      this.#atMs = nowMs
      this.#places = new Map(inOrder.map((item, place) => [this.#keyOf(item), place]))
      return inOrder
    }
    const placeOf = (item: Item) => this.#places.get(this.#keyOf(item)) ?? Number.MAX_VALUE
    return items.toSorted((a, b) => placeOf(a) - placeOf(b))
  }
}
