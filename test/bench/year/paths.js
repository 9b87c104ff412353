// What people and programs ask a service for that has a year of jobs: [what, path], as the dashboard, the command, assistants and
// pages of others ask it.
import { Buffer } from 'node:buffer'

const DAY_MS = 86_400_000
const ago = days => new Date(Date.now() - days * DAY_MS).toISOString()

/** A page deep in a list, which no caller would find by leafing within minutes: the cursor of a job that finished then. */
const deep = (sort, days) =>
  `&cursor=${Buffer.from(JSON.stringify([1, sort, ago(days), '00000000-0000-0000-0000-000000000000'])).toString('base64url')}`

const HISTORY = '/jobs?status=completed&status=failed&status=cancelled&topLevel=true&sort=-finishedAt&pageSize=50'
const OUTCOME = '/jobs?topLevel=true&sort=-finishedAt&pageSize=50'
const ALL = '/jobs?includeCompleted=true&sort=-createdAt&pageSize=20'

/** Lists and pages of the dashboard. */
export const LISTS = [
  ['dashboard: active jobs', '/active?recentSeconds=3600'],
  ['dashboard: history', HISTORY],
  ['dashboard: history, 200 days deep', HISTORY + deep('-finishedAt', 200)],
  ['dashboard: completed', `${OUTCOME}&status=completed`],
  ['dashboard: failed', `${OUTCOME}&status=failed`],
  ['dashboard: cancelled', `${OUTCOME}&status=cancelled`],
  ['dashboard: late', `${HISTORY}&deadline=overdue`],
  ['dashboard: longer than usual', `${HISTORY}&unusual=true`],
  ['dashboard: a common type', `${HISTORY}&jobType=import`],
  ['dashboard: a rare type', `${HISTORY}&jobType=audit`],
  ['dashboard: a former type', `${HISTORY}&jobType=archive`],
  ['dashboard: a common type that failed long ago', `${OUTCOME}&status=failed&jobType=import`],
  ['command: list', '/jobs?sort=-createdAt&pageSize=20'],
  ['command: list --all', ALL],
  ['command: list --all, 200 days deep', ALL + deep('-createdAt', 200)],
  ['command: list --all --type archive', `${ALL}&jobType=archive`],
  ['command: list --all --started-by anna', `${ALL}&startedByUserId=anna`],
  ['API: all by -startedAt', '/jobs?includeCompleted=true&sort=-startedAt&pageSize=100'],
  [
    'API: all by -startedAt, 200 days deep',
    `/jobs?includeCompleted=true&sort=-startedAt&pageSize=100${deep('-startedAt', 200)}`,
  ],
  ['API: all by priority', '/jobs?includeCompleted=true&sort=priority&pageSize=100'],
  ['API: failed or cancelled', '/jobs?status=failed&status=cancelled&sort=-finishedAt&pageSize=100'],
  ['page: just finished', `/jobs?completedSince=${ago(1 / 24)}&sort=-createdAt&pageSize=100`],
]

const search = text => `${HISTORY}&search=${encodeURIComponent(text)}`

export const SEARCHES = [
  ['search: a common word', search('products')],
  ['search: a common word, 200 days deep', search('products') + deep('-finishedAt', 200)],
  ['search: a rare word', search('zeppelin')],
  ['search: part of two words', search('lobex 3c59')],
  ['search: four letters of a number', search('3c59')],
  ['search: a former word', search('archive of')],
  ['search: no such word', search('qqqqqq')],
  ['search: two letters, none', search('qq')],
  ['search: a day', search('-07-04')],
  ['search: a rare word, failed', `${OUTCOME}&status=failed&search=zeppelin`],
  ['search: a number, of a common type', `${search('3c59')}&jobType=import`],
  ['command: list --all --search zeppelin', `${ALL}&search=zeppelin`],
  ['command: list --all --search 3c59', `${ALL}&search=3c59`],
  ['command: list --all --search 3c59, 200 days deep', `${ALL}&search=3c59${deep('-createdAt', 200)}`],
]

export const STATISTICS = [
  ['statistics: a day', `/stats?since=${ago(1)}`],
  ['statistics: a week', `/stats?since=${ago(7)}`],
  ['statistics: 30 days', `/stats?since=${ago(30)}`],
  ['statistics: 90 days', `/stats?since=${ago(90)}`],
  ['statistics: 90 days by day', `/stats?since=${ago(90)}&bucket=day`],
  ['statistics: a year', `/stats?since=${ago(365)}`],
  ['statistics: a year by week', `/stats?since=${ago(365)}&bucket=week`],
]
