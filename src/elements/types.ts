import type { TokenSource } from '../browser-client/types.ts'

interface HeadwayElement extends HTMLElement {
  /** The address of the service; by default the one that the file of the elements was loaded from. */
  url: string | undefined
  /** A token, or a function that gives one. It is called again when a token has expired. */
  token: TokenSource | undefined
}

/** `<headway-progress>` */
export interface HeadwayProgressElement extends HeadwayElement {
  jobId: string | undefined
  /** Only the bar. */
  plain: boolean | undefined
}

/** `<headway-job-card>` */
export interface HeadwayJobCardElement extends HeadwayElement {
  jobId: string | undefined
  /** Whether the card has a button by which the browser says how the job ended. */
  notify: boolean | undefined
}

/** `<headway-top-bar>` */
export interface HeadwayTopBarElement extends HeadwayElement {
  jobType: string | undefined
  organizationId: string | undefined
  /** Whether the bar is unfolded. */
  expanded: boolean
}

/**
 * Attributes by element, for pages that are written in JSX. A function for `token` must be set as a property, as React 19 does.
 */
export interface HeadwayElementAttributes {
  'headway-progress': { url?: string; token?: TokenSource; 'job-id'?: string; plain?: boolean }
  'headway-job-card': { url?: string; token?: TokenSource; 'job-id'?: string; notify?: boolean }
  'headway-top-bar': {
    url?: string
    token?: TokenSource
    'job-type'?: string
    'organization-id'?: string
    expanded?: boolean
  }
}

declare global {
  interface HTMLElementTagNameMap {
    'headway-progress': HeadwayProgressElement
    'headway-job-card': HeadwayJobCardElement
    'headway-top-bar': HeadwayTopBarElement
  }
}
