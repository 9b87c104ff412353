import type { PropertyDeclarations, PropertyValues } from 'lit'
import { isFinished } from '../contract/states.ts'
import type { HeadwayClient } from '../browser-client/types.ts'
import type { LiveJob } from '../contract/live-job.ts'
import { followJob, isJobId } from './connections.ts'
import { HeadwayElement } from './element.ts'

/** An element that shows one job: the one of its `job-id`, or one that it is given together with a client. */
export abstract class JobElement extends HeadwayElement {
  static override properties: PropertyDeclarations = {
    ...HeadwayElement.properties,
    jobId: { attribute: 'job-id' },
    job: { attribute: false },
    client: { attribute: false },
  }

  declare jobId: string | undefined
  /** The job to show, for an owner that follows it already. */
  declare job: LiveJob | undefined
  declare client: HeadwayClient | undefined

  protected readonly followed = ['jobId']
  #unsubscribe: (() => void) | null = null

  protected override willUpdate(changed: PropertyValues): void {
    super.willUpdate(changed)
    // The time left counts down, and a job that stops advancing must show it.
    this.tickWhile(this.job !== undefined && !isFinished(this.job))
  }

  /** Whether the text in `job-id` cannot be the id of a job. */
  protected get isNoJobId(): boolean {
    return this.jobId !== undefined && this.jobId !== '' && !isJobId(this.#id)
  }

  protected follow(): (() => void) | null {
    if (!isJobId(this.#id)) return null
    const stop = followJob(this.source, { jobId: this.#id, onClient: client => this.#use(client) })
    return () => {
      stop()
      this.#unsubscribe?.()
      this.#unsubscribe = null
      this.job = undefined
      this.client = undefined
    }
  }

  get #id(): string {
    return this.jobId?.toLowerCase() ?? ''
  }

  #use(client: HeadwayClient): void {
    this.#unsubscribe?.()
    this.client = client
    const id = this.#id
    const look = () => {
      // The client drops a finished job after a while; the element keeps showing it.
      this.job = client.job(id) ?? this.job
      // Also when only `loaded` or the connection has changed.
      this.requestUpdate()
    }
    this.#unsubscribe = client.subscribe(look)
    look()
  }
}
