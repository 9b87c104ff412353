'use client'

import type { DetailedHTMLProps, HTMLAttributes } from 'react'
import type { HeadwayElementAttributes } from '../elements/types.ts'

export { HeadwayProblem } from '../browser-client/index.ts'
export type * from '../browser-client/deprecated.ts'
export type * from '../browser-client/types.ts'
export { useProgress } from './use-progress.ts'
export type { UseProgressOptions, UseProgressResult } from './use-progress.ts'

type Elements = {
  [Name in keyof HeadwayElementAttributes]: DetailedHTMLProps<HTMLAttributes<HTMLElement>, HTMLElement> &
    HeadwayElementAttributes[Name]
}

// Lets pages in JSX use the elements.
declare module 'react' {
  // eslint-disable-next-line @typescript-eslint/no-namespace
  namespace JSX {
    // eslint-disable-next-line @typescript-eslint/no-empty-object-type
    interface IntrinsicElements extends Elements {}
  }
}
