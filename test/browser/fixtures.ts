import type { JobDocument } from '../../src/jobs/job.ts'
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
  stage?: string
}

const SAMPLES = 90

/** A speed that looks like work: not quite even, and slower now and then. */
const paceAt = (share: number): number =>
  1 + 0.25 * Math.sin(share * 9) + 0.12 * Math.sin(share * 41) - (share > 0.42 && share < 0.5 ? 0.55 : 0)

/** Writes the history that a job would have by now, in place of that of the last second. */
const writeHistory = async (service: Service, jobId: string, { secondsAgo, processed }: Course): Promise<void> => {
  const { pool } = service.database
  const { totalCount } = await service.job(jobId)
  await pool.query(`DELETE FROM job_events WHERE job_id = $1 AND type = 'progress'`, [jobId])
  const paces = Array.from({ length: SAMPLES }, (_, index) => paceAt(index / SAMPLES))
  const whole = paces.reduce((sum, pace) => sum + pace, 0)
  let done = 0
  const samples = paces.map((pace, index) => {
    done += (processed * pace) / whole
    const count = Math.round(done)
    return {
      seconds: secondsAgo * (1 - (index + 1) / SAMPLES),
      data: {
        progressPercent: totalCount === null ? 0 : Math.min(99, Math.floor((100 * count) / totalCount)),
        processedCount: count,
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

/** A job that has been running for a while. */
export const runningJob = async (service: Service, fields: Fields, course: Course): Promise<JobDocument> => {
  const job = await service.createJob(fields)
  const { secondsAgo, processed, workers = 1, message, stage } = course
  const report = (share: number) =>
    Promise.all(
      Array.from({ length: workers }, (_, index) =>
        service.heartbeat(job.id, {
          workerId: workers === 1 ? 'default' : `worker-${index + 1}`,
          ...(processed > 0 && { processedCount: Math.floor((processed * share) / workers) }),
          ...(stage !== undefined && { stage }),
          ...(message !== undefined && { message }),
        }),
      ),
    )
  // Four reports, each a step into the past: the rate is then that of a job that has run for as long.
  for (const share of [0.25, 0.5, 0.75]) {
    await report(share)
    await service.age(job.id, secondsAgo / 4)
  }
  await report(1)
  await service.age(job.id, 0)
  await service.database.pool.query(
    `UPDATE progress_jobs SET started_at = now() - make_interval(secs => $2), created_at = now() - make_interval(secs => $2 + 2) WHERE id = $1`,
    [job.id, secondsAgo],
  )
  await service.database.pool.query(
    `UPDATE job_events SET at = now() - make_interval(secs => $2) WHERE job_id = $1 AND type IN ('created', 'started')`,
    [job.id, secondsAgo],
  )
  await writeHistory(service, job.id, course)
  return job
}

/** A job that has ended some time ago. */
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
  await service.database.pool.query('UPDATE job_events SET at = at - make_interval(secs => $2) WHERE job_id = $1', [
    job.id,
    secondsAgo,
  ])
  return job
}
