// Replaces parts that only a browser has, in the bundle, so that a server that renders pages can load it. The elements are made
// in the browser, and nothing from this file is used there.

export const HTMLElement = (globalThis.HTMLElement as typeof globalThis.HTMLElement | undefined) ?? Object

export const document =
  (globalThis.document as Document | undefined) ?? ({ createTreeWalker: () => ({}) } as unknown as Document)
