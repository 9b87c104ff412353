import type { PropertyDeclarations, PropertyValues } from 'lit'
import { isFinished } from '../client/documents.ts'
import type { Headway, LiveJob } from '../client/types.ts'
import { followJob } from './connections.ts'
import { HeadwayElement } from './element.ts'

/** An element that shows one job: the one of its `job-id`, or one that it is given with the client that follows it. */
export abstract class JobElement extends HeadwayElement {
  static override properties: PropertyDeclarations = {
    ...HeadwayElement.properties,
    jobId: { attribute: 'job-id' },
    job: { attribute: false },
    client: { attribute: false },
  }

  declare jobId: string | undefined
  /** The job to show, for whoever follows it already. */
  declare job: LiveJob | undefined
  declare client: Headway | undefined

  #stop: (() => void) | null = null
  #unsubscribe: (() => void) | null = null

  override connectedCallback(): void {
    super.connectedCallback()
    this.#follow()
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback()
    this.#unfollow()
  }

  protected override willUpdate(changed: PropertyValues): void {
    // On the first update it has just begun to follow what it was made with.
    if (this.hasUpdated && ['jobId', 'url', 'token'].some(name => changed.has(name))) {
      this.#unfollow()
      this.#follow()
    }
    this.tickWhile(this.job !== undefined && !isFinished(this.job) && this.job.etaSeconds !== null)
  }

  #follow(): void {
    const { jobId } = this
    if (this.#stop || !this.isConnected || jobId === undefined || jobId === '') return
    this.#stop = followJob(this.source, { jobId: jobId.toLowerCase(), onClient: client => this.#use(client) })
  }

  #unfollow(): void {
    if (!this.#stop) return
    this.#stop()
    this.#stop = null
    this.#unsubscribe?.()
    this.#unsubscribe = null
    this.job = undefined
    this.client = undefined
  }

  #use(client: Headway): void {
    this.#unsubscribe?.()
    this.client = client
    const id = this.jobId?.toLowerCase() ?? ''
    const look = () => {
      // A finished job is let go by the client after a while; whoever shows it still does.
      this.job = client.job(id) ?? this.job
      // Loaded or not, connected or not.
      this.requestUpdate()
    }
    this.#unsubscribe = client.subscribe(look)
    look()
  }
}
