// What the service may take, in counts: the same on every machine, however busy. One that grew is a regression, or a decision:
// then raise the limit here, and say in the commit what it buys.

/** At most. Where a count is a share of pages or rows, the limit leaves a little room above what was found. */
export const LIMITS = {
  'statements for a flush of one heartbeat': 1,
  'statements for a flush of 1,000 heartbeats': 1,
  'statements from one heartbeat to its event (flush, notify, read)': 3,
  'statements from 100 heartbeats of 100 jobs to their events': 3,
  'statements for GET of a job': 1,
  'statements for GET of its progress': 1,
  'statements for a list': 1,

  'rows of progress_jobs written per heartbeat': 1,
  'rows of job_progress written per heartbeat': 1,
  'rows of job_events written per 1,000 heartbeats': 0,
  // All rows of each page in one transaction, after they have grown: the worst case. In the long run it is under 5 %.
  'updates per 1,000 that are not HOT': 120,
  'rows of progress_jobs read per heartbeat': 2,
  'rows of job_progress read per heartbeat': 2,
  'pages of progress_jobs touched per heartbeat': 16,
  'pages of job_progress touched per heartbeat': 12,
  'rows of job_progress read per heartbeat of a job with 100 workers': 102,
  'rows of progress_jobs read per document': 1,
  // And those that finished in the last two minutes.
  'rows of progress_jobs read per job by reconcile': 1.01,
  'rows of progress_jobs read by a sweep of abandoned jobs, per active job': 1,
  'rows of progress_jobs read by a sweep of stalled jobs, per active job': 1,
  'rows of progress_jobs read by a sweep of unusual jobs, per active job': 1,
  'rows of progress_jobs read by a sweep of deadlines, where no job has one': 0,
  'rows of progress_jobs read by retention that has nothing to erase, per active job': 1,
  'rows of progress_jobs read by a list of 50': 60,
  // Once for the page, once for its documents, once for the total.
  'rows of progress_jobs read by a list of the 40 jobs that one user has begun': 130,
  // Once for the page, once for its documents; one more tells whether there is a next page.
  'rows of progress_jobs read by a page of finished jobs, per job of the page': 3,
  // The total is told by an index alone, of up to 10,000 entries.
  'pages of progress_jobs touched by a page of finished jobs and its total': 700,
  // It looks at 5,000 failed jobs and stops (jobs/list-errors.ts). Of the 8,000 that there are, the planner sorts all.
  'rows of progress_jobs read by a search of errors that finds none': 8_001,

  'statements for statistics': 1,
  // Of 57,600 jobs, those of the present hour and of the edges are read: a few hundred. All of them are on 2,000 pages.
  'pages of progress_jobs touched by statistics of 20 days that are rolled up': 60,

  'writes to a socket per subscriber and flush': 1,
  'serialisations per change': 1,
  'statements that read documents, per flush of two feeds': 1,
  // 50 of them are the range of the estimate: people should read it as it changes, and it narrows as the job goes on.
  'bytes of a frame': 670,
  'bytes of a heartbeat in the statement': 50,
  'bytes of a change in a notification': 60,

  'sequential scans of the tables of jobs': 0,
  'sequential scans by what sends webhooks': 0,
  'plans that cannot be as they should': 0,
  'rows of webhook_deliveries read by a claim of 200, per webhook': 2,
  'rows of webhook_deliveries read by a claim of one, per webhook': 2.5,
}
