// Takes the place of what only a browser has, in the bundle: a server that renders pages must be able to load it. The elements
// are made in the browser, and nothing of this is used there.

export const HTMLElement = (globalThis.HTMLElement as typeof globalThis.HTMLElement | undefined) ?? Object

export const document =
  (globalThis.document as Document | undefined) ?? ({ createTreeWalker: () => ({}) } as unknown as Document)
