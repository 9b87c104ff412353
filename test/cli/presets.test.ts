import { readFileSync } from 'node:fs'
import t from 'tap'
import { splitLines } from '../../src/cli/command/output.ts'
import type { CourseOptions } from '../../src/cli/progress/course.ts'
import { formFor, problemOfForm } from '../../src/cli/progress/presets/choose.ts'
import { readerOf } from '../../src/cli/progress/readers.ts'
import type { Report } from '../../src/worker/headway.ts'

/** What a form makes of output: the percents that the service shows, or the counts where there is no total. */
const through = (form: string, output: string, options: CourseOptions = {}) => {
  const shown: (number | string)[] = []
  let now = 0
  let total: number | null = null
  let last: Report = {}
  const onReport = (report: Report): void => {
    last = { ...last, ...report }
    const { processedCount: done = 0, totalCount: of } = report
    if (of === undefined || of === null) {
      shown.push(`${done} ${last.unit ?? ''}`.trim())
      return
    }
    const percent = Math.min(99, Math.floor((100 * done) / of))
    // The rule of the service: a bar falls only where the total has grown.
    now = total !== null && of > total ? percent : Math.max(now, percent)
    total = of
    if (shown.at(-1) !== now) shown.push(now)
  }
  const reader = readerOf(formFor(form, []), { ...options, onReport, onProblem: problem => t.fail(problem) })
  const lines = splitLines(line => reader.read(line))
  lines.write(output)
  lines.end()
  return { shown, last }
}

/** `test/cli/programs` holds what the programs of Debian 12, and Terraform 1.11, have written into a pipe; `-tty` on a terminal. */
const recorded = (name: string): string =>
  readFileSync(new URL(`../../test/cli/programs/${name}.txt`, import.meta.url), 'utf8')

const steps = (first: number, last: number, by: number): number[] =>
  Array.from({ length: Math.floor((last - first) / by) + 1 }, (_, index) => first + index * by)

t.test('what a program has written is read by its preset', async t => {
  const cases: [name: string, preset: string, shown: (number | string)[]][] = [
    ['curl', 'curl', [13, 33, 56, 80, 99]],
    // The second of two files is the second part: curl does not say before how many there are.
    ['curl-two', 'curl', [13, 33, 56, 76, 99, 61, 71, 83, 95, 99]],
    // curl writes 100 % from the first row on where the server gives no length.
    [
      'curl-nolen',
      'curl',
      ['1333248 bytes', '3665920 bytes', '5665792 bytes', '7999488 bytes', '9999360 bytes', '9999360 bytes'],
    ],
    ['curl-upload', 'curl', [99]],
    [
      'wget-two',
      'wget',
      [5, 10, 15, 20, 25, 30, 35, 40, 46, 51, 56, 61, 66, 71, 76, 81, 87, 92, 97, 99, 55, ...steps(60, 90, 5), 96, 99],
    ],
    ['wget-mega', 'wget', [31, 62, 94, 99]],
    ['wget-tty', 'wget', [0, 6, 13, 20, 26, 33, 40, 46, 53, 60, 66, 73, 80, 86, 93, 99]],
    ['ffmpeg', 'ffmpeg', [0, 44, 81, 99]],
    ['ffmpeg-progress', 'ffmpeg', [0, 19, 43, 56, 93, 99]],
    // Two inputs, one after the other.
    ['ffmpeg-two', 'ffmpeg', [0, 58, 87, 99]],
    ['ffmpeg-nodur', 'ffmpeg', ['0', '7']],
    ['rsync-progress2', 'rsync', [0, 8, 16, 25, 33, 36, 41, 50, 58, 66, 72, 75, 83, 91, 99]],
    ['rsync-progress2-h', 'rsync', [0, 8, 16, 25, 33, 36, 41, 50, 58, 66, 71, 75, 83, 91, 99]],
    ['rsync-P', 'rsync', [2, 15, 23, 30, 38, 40, 46, 53, 54, 61, 69, 73, 76, 77, 84, 92, 99]],
    ['pip', 'pip', ['1', '2', '3']],
    ['terraform-apply', 'terraform', [0, 16, 33, 50, 66, 83, 99]],
    ['terraform-change', 'terraform', [0, 16, 33, 50, 66, 83, 99]],
    ['terraform-some', 'terraform', [0, 20, 40, 60, 80, 99]],
    ['apt-get', 'apt', [0, 5, 11, 16, 22, 27, 33, 38, 44, 50, 55, 61, 66, 72, 77, 83, 88, 94, 99]],
    ['apt-get-remove', 'apt', [0, 20, 40, 60, 80, 99]],
    ['apt-tty', 'apt', [0, 6, 13, 20, 26, 33, 40, 46, 53, 60, 66, 73, 80, 86, 93, 99]],
    ['buildah', 'docker', [0, 16, 33, 50, 60, 70, 80, 90]],
    ['podman', 'podman', [0, 16, 33, 50, 60, 70, 80, 90]],
    ['git', 'git', steps(0, 90, 1)],
    ['pv', 'pv', [26, 53, 80, 99]],
    ['pv-n', 'pv', [26, 53, 80, 99]],
    ['pv-nosize', 'pv', ['8000634 bytes', '16043212 bytes', '24012390 bytes', '29989273 bytes']],
    ['dd', 'dd', ['8396800 bytes', '16793600 bytes', '25190400 bytes', '30000000 bytes']],
    ['tar-v', 'tar', Array.from({ length: 13 }, (_, index) => `${index + 1}`)],
  ]
  for (const [name, preset, shown] of cases) t.same(through(preset, recorded(name)).shown, shown, name)
  t.match(through('curl', recorded('curl-parallel')), {
    last: { processedCount: 100, totalCount: 100, unit: 'unknown' },
  })
  t.match(through('wget', recorded('wget-nolen')).last, { processedCount: 972_800, unit: 'bytes' })
  t.match(through('wget', recorded('wget-bar-nolen')).last, { processedCount: 10_003_415, unit: 'bytes' })
  t.match(through('tar', recorded('tar')).last, { processedCount: 45_056_000, unit: 'bytes' })
  t.same(through('curl', recorded('curl-bar')).shown.length, 29)
})

t.test('the steps of BuildKit count as they are done, over all stages', async t => {
  // From the documentation of `docker buildx build --progress=plain`, and not recorded.
  const output = [
    '#1 [internal] load build definition from Dockerfile',
    '#1 DONE 0.1s',
    '#4 [build 1/3] FROM docker.io/library/golang:1.21',
    '#4 CACHED',
    '#5 [stage-1 1/2] FROM docker.io/library/alpine',
    '#5 sha256:9f6cb2cd 12.3MB / 24.6MB 0.4s',
    '#6 [build 2/3] COPY . .',
    '#6 DONE 0.3s',
    '#5 DONE 1.1s',
    '#7 [build 3/3] RUN go build ./...',
    '#7 0.812 90% of 12/40 packages',
    '#7 DONE 9.3s',
    '#8 [stage-1 2/2] COPY --from=build /bin/app /bin/app',
    '#8 DONE 0.1s',
    '#9 exporting to image',
    '#9 DONE 0.2s',
  ]
  t.same(through('docker', output.join('\n')).shown, [0, 33, 20, 40, 60, 80, 99])
  t.same(through('docker', 'Step 1/4 : FROM scratch\n 50%\nStep 3/4 : RUN x\n').shown, [0, 50])
})

t.test('a preset reads the forms that a program has in other versions and for other sizes', async t => {
  // From documentation and sources, and not recorded.
  const cases: [preset: string, output: string, shown: (number | string)[]][] = [
    ['curl', '  0 95.3G    0  512M    0     0  2687k      0 10:20:30  0:03:00 10:17:30 2684k\n', [0]],
    ['curl', ' 12 95.3T   12 11.4T    0     0  2687k      0  412d 03h 12:03:00  362d 01h 2684k\n', [12]],
    ['wget', 'a.iso                45% [======>       ]   12.30M    1.20MB/s\n', [45]],
    ['rsync', '  1,238,099 100%  146.38kB/s    0:00:08 (xfer#5, to-check=3/12)\n', [75]],
    [
      'ffmpeg',
      '  Duration: 02:00:00.00, start\nsize= 1KiB time=00:30:00.50 bitrate=1 speed=2x elapsed=0:12:00.00\n',
      [25],
    ],
    [
      'apt',
      '0 upgraded, 0 newly installed, 1 reinstalled, 1 downgraded, 0 to remove and 3 not upgraded.\nUnpacking a (1) over (1) ...\n',
      [0, 50],
    ],
    ['apt', '  Upgrading: 1, Installing: 0, Removing: 1, Not Upgrading: 3\nRemoving b (1) ...\n', [0, 50]],
    ['dpkg', 'Unpacking a (1) ...\nSetting up a (1) ...\n', ['1', '2']],
    ['docker', '#5 [ 2/12] RUN x\n#5 DONE 1.0s\n#6 [ 3/12] RUN y\n', [0, 8]],
    ['terraform', 'x: Creation complete after 1s\ny: Destruction complete after 1s\n', ['1', '2']],
  ]
  for (const [preset, output, shown] of cases) t.same(through(preset, output).shown, shown, output)
})

t.test('what a program writes beside its progress is not read by its preset', async t => {
  const cases: [preset: string, output: string][] = [
    ['curl', 'a body with 42% and 3/7\n'],
    ['wget', '--2026-11-27--  http://127.0.0.1/50%/x\nLength: 1000 (1.0K)\nsale: 50% off\n'],
    ['ffmpeg', 'Stream #0:0: 3/7, 42%\nframe=    1 size=N/A time=N/A bitrate=N/A\n'],
    ['rsync', 'sending incremental file list\nbackup 42%\n'],
    ['terraform', 'No changes. 3/7, 42%\nx: Creating...\nPlan: 0 to add, 0 to change, 0 to destroy.\n'],
    ['apt', 'Reading package lists... 92%\n(Reading database ... 45%\nGet:1 http://x y [1 B]\n'],
    ['docker', 'STEP 1: FROM scratch\nrow 2/4\nload 90%\n#7 DONE 1s\n'],
    ['git', 'remote: Counting objects:  45% (4/9)\n'],
    ['pip', 'Downloading x.whl\n  ━━━ 3.0/3.0 MB 1.9 MB/s\n'],
    ['pv', '250\n'],
    ['dd', '292+1 records in\n'],
  ]
  for (const [preset, output] of cases) t.same(through(preset, output).shown, [], preset)
})

t.test('a total of the user makes percents of what a program only counts', async t => {
  t.same(through('dd', recorded('dd'), { total: 30_000_000 }).shown, [27, 55, 83, 99])
  t.same(through('tar', recorded('tar-v'), { total: 26 }).shown.at(-1), 50)
  t.same(through('curl', recorded('curl'), { total: 500 }).last, { processedCount: 500, totalCount: 500 })
})

t.test('--parse takes the preset of the command, also behind commands that run another one', async t => {
  const preset = (...words: string[]): string | null => {
    const form = formFor(true, words)
    return typeof form === 'object' && 'preset' in form ? form.preset.commands[0] : null
  }
  const cases: [command: string, preset: string | null][] = [
    ['/usr/bin/ffmpeg -i a b', 'ffmpeg'],
    ['sudo -u backup -- rsync -a a b', 'rsync'],
    ['sudo --user=backup LC_ALL=C nice -n 10 ionice -c 3 rsync a b', 'rsync'],
    ['env A=1 B=2 timeout -k 5 10m curl -O x', 'curl'],
    ['time -f %e wget x', 'wget'],
    ['stdbuf -oL tofu apply', 'terraform'],
    ['flock -w 10 /run/lock/backup rsync a b', 'rsync'],
    ['taskset -c 0-3 ffmpeg -i a b', 'ffmpeg'],
    ['pip3.11 install x', 'pip'],
    ['python3 -u -m pip install x', 'pip'],
    ['python3 -m pip list', null],
    ['python3 train.py -m pip install', null],
    ['git -C directory -c a.b=c clone x', 'git'],
    ['git gc', null],
    ['docker build .', 'docker'],
    ['docker --context far buildx build .', 'docker'],
    ['docker compose build', 'docker'],
    ['docker run -it image build', null],
    ['timeout 10 python3 x.py curl', null],
    ['sudo', null],
    ['', null],
    ['constructor', null],
  ]
  for (const [command, name] of cases) t.equal(preset(...command.split(' ')), name, command)
})

t.test('a name of a program is told from a pattern by its brackets', async t => {
  t.same(formFor('(ffmpeg) (\\d+)', []), { pattern: '(ffmpeg) (\\d+)' })
  for (const name of ['ffmpeg', 'apt-get', 'buildah', 'usual']) t.equal(problemOfForm(name), null, name)
  t.equal(formFor('usual', ['curl']), 'usual', 'which leaves the preset of the command out')
  t.match(
    problemOfForm('ffmpg'),
    /^It is none of apt, docker, curl, .*usual, and as a pattern: The pattern has no group/,
  )
  t.match(problemOfForm('Row \\d+'), /^The pattern has no group/)
})
