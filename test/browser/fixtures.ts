import type { JobDocument } from '../../src/contract/job.ts'
import type { Service } from '../helpers/service.ts'

interface Fields extends Record<string, unknown> {
  jobType: string
  name: string
}

/** How far a job is when it is looked at, and how it got there. */
interface Course {
  /** How long ago it began. */
  secondsAgo: number
  processed: number
  workers?: number
  message?: string
  /** The total that the workers share. Each names its part. */
  total?: number
  /** The percent of a job with stages. */
  percent?: number
}

const SAMPLES = 90

/** Lets the measurements of a job be older than they are, as if so much time had passed since. */
export const passTime = async (service: Service, jobId: string, seconds: number): Promise<void> => {
  const { pool } = service.database
  await pool.query(
    `UPDATE job_progress SET rate_since = rate_since - make_interval(secs => $2), rate_at = rate_at - make_interval(secs => $2),
       advanced_at = advanced_at - make_interval(secs => $2), created_at = created_at - make_interval(secs => $2)
     WHERE job_id = $1`,
    [jobId, seconds],
  )
  await pool.query(
    `UPDATE progress_jobs SET started_at = started_at - make_interval(secs => $2), created_at = created_at - make_interval(secs => $2),
       advanced_at = advanced_at - make_interval(secs => $2)
     WHERE id = $1`,
    [jobId, seconds],
  )
}

/** A speed that looks like work: not quite even, and slower now and then. */
const paceAt = (share: number): number =>
  1 + 0.25 * Math.sin(share * 9) + 0.12 * Math.sin(share * 41) - (share > 0.42 && share < 0.5 ? 0.55 : 0)

/** Puts the beginning of a job, and the history that it would have by now, into the past. */
export const backdate = async (service: Service, jobId: string, { secondsAgo, processed, percent }: Course) => {
  const { pool } = service.database
  const { totalCount } = await service.job(jobId)
  await pool.query(
    `UPDATE progress_jobs SET started_at = now() - make_interval(secs => $2), revision = revision + 1,
       created_at = now() - make_interval(secs => $2 + 2) WHERE id = $1`,
    [jobId, secondsAgo],
  )
  // Creation and start come first, and the rest follows evenly.
  await pool.query(
    `UPDATE job_events e SET at = now() - make_interval(secs => $2 * (1 - n.place))
     FROM (SELECT id, greatest(0, row_number() OVER (ORDER BY id) - 2) / count(*) OVER ()::float8 AS place FROM job_events
           WHERE job_id = $1 AND type <> 'progress') n
     WHERE e.id = n.id`,
    [jobId, secondsAgo],
  )
  await pool.query(`DELETE FROM job_events WHERE job_id = $1 AND type = 'progress'`, [jobId])
  const paces = Array.from({ length: SAMPLES }, (_, index) => paceAt(index / SAMPLES))
  const whole = paces.reduce((sum, pace) => sum + pace, 0)
  let done = 0
  const samples = paces.map((pace, index) => {
    done += pace / whole
    const ofTotal = totalCount === null ? 0 : (100 * done * processed) / totalCount
    return {
      seconds: secondsAgo * (1 - (index + 1) / SAMPLES),
      data: {
        progressPercent: Math.min(99, Math.floor(percent === undefined ? ofTotal : percent * done)),
        processedCount: Math.round(processed * done),
        totalCount,
        throughputPerSecond: (processed * pace * SAMPLES) / whole / secondsAgo,
      },
    }
  })
  await pool.query(
    `INSERT INTO job_events (job_id, type, at, attempt, data)
     SELECT j.id, 'progress', now() - make_interval(secs => s.seconds), j.attempt, s.data
     FROM progress_jobs j, jsonb_to_recordset($2::jsonb) AS s (seconds float8, data jsonb) WHERE j.id = $1`,
    [jobId, JSON.stringify(samples)],
  )
}

/** No two workers are equally fast; together they do as much as if they were. */
const evenness = (index: number, workers: number): number => 1 + (0.3 * (index - (workers - 1) / 2)) / workers

/** Reports as the workers of a job would have while it ran: their clocks say when, and so how fast they are. */
export const work = async (service: Service, jobId: string, course: Course): Promise<void> => {
  const { secondsAgo, processed, workers = 1, message } = course
  const shares = [0, 0.2, 0.4, 0.6, 0.8, 1]
  for (const share of shares) {
    if (share > 0) await passTime(service, jobId, secondsAgo / (shares.length - 1))
    await Promise.all(
      Array.from({ length: workers }, (_, index) =>
        service.heartbeat(jobId, {
          workerId: workers === 1 ? 'default' : `worker-${index + 1}`,
          ...(processed > 0 && {
            processedCount: share === 0 ? 0 : Math.floor(((processed * share) / workers) * evenness(index, workers)),
          }),
          ...(message !== undefined && { message }),
          ...(course.total !== undefined && { totalCount: course.total / workers }),
        }),
      ),
    )
  }
  await backdate(service, jobId, course)
}

/** A job that has been running for a while. */
export const runningJob = async (service: Service, fields: Fields, course: Course): Promise<JobDocument> => {
  const job = await service.createJob(fields)
  await work(service, job.id, course)
  return job
}

/** A job that has ended some time ago, and took exactly as long as it says, however long the calls took. */
export const finishedJob = async (
  service: Service,
  fields: Fields,
  end: { secondsAgo: number; took: number; processed: number; how: 'complete' | 'fail' | 'cancelled'; body?: object },
): Promise<JobDocument> => {
  const { secondsAgo, took, processed, how, body } = end
  const job = await runningJob(service, { cancellable: true, ...fields }, { secondsAgo: took, processed })
  const reply = await service.call('POST', `/jobs/${job.id}/${how}`, body ?? {})
  if (reply.status !== 200) throw new Error(JSON.stringify(reply.body))
  await service.age(job.id, secondsAgo)
  await service.database.pool.query(
    'UPDATE progress_jobs SET started_at = finished_at - make_interval(secs => $2) WHERE id = $1',
    [job.id, took],
  )
  await service.database.pool.query('UPDATE job_events SET at = at - make_interval(secs => $2) WHERE job_id = $1', [
    job.id,
    secondsAgo,
  ])
  return job
}
