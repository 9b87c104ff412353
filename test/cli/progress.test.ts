import t from 'tap'
import { splitLines } from '../../src/cli/command/output.ts'
import { PercentColumn } from '../../src/cli/progress/column.ts'
import { Course, type CourseOptions } from '../../src/cli/progress/course.ts'
import { parseAmount, parseNumber } from '../../src/cli/progress/numbers.ts'
import { problemOf } from '../../src/cli/progress/pattern.ts'
import { readLine } from '../../src/cli/progress/read-line.ts'
import { patternReader } from '../../src/cli/progress/readers.ts'
import type { Report } from '../../src/worker/headway.ts'

/** The percents that the service shows, line by line, and the last report. */
const through = (lines: readonly string[], options: CourseOptions = {}) => {
  const course = new Course(options)
  const column = new PercentColumn()
  let total = options.total ?? null
  let shown = 0
  let last: Report | null = null
  const percents = lines.map(line => {
    const report = course.read(readLine(column.read(line)))
    if (!report) return shown
    last = report
    const [done, of] = [report.processedCount ?? 0, report.totalCount ?? 0]
    const percent = Math.min(99, Math.floor((100 * done) / of))
    // The rule of the service: a bar falls only where the total has grown.
    shown = total !== null && of > total ? percent : Math.max(shown, percent)
    total = of
    return shown
  })
  return { percents, last }
}

const counts = (processedCount: number, totalCount: number, unit?: string) => {
  return { processedCount, totalCount, ...(unit !== undefined && { unit }) }
}

t.test('a progress line of a program is read as counts, total and percent', async t => {
  const cases: [line: string, report: object | null][] = [
    ['42/100', counts(42, 100)],
    ['file 3 of 7 done', counts(3, 7)],
    ['3 out of 7 hosts', counts(3, 7)],
    ['42 %', counts(42, 100)],
    ['12,5 % erledigt', counts(12, 100)],
    ['第3/7页', counts(3, 7)],
    // Sizes, and thousands as they are written anywhere.
    ['1.2/10.5 MB 5.5 MB/s eta 0:00:02', counts(1_200_000, 10_500_000, 'bytes')],
    ['1,2/10,5 MB', counts(1_200_000, 10_500_000, 'bytes')],
    ['a1b2c3: Downloading [==>    ]  12.3MB/45.6MB', counts(12_300_000, 45_600_000, 'bytes')],
    ['Completed 1.2 MiB/10.5 MiB (2.3 MiB/s) with 1 file(s) remaining', counts(1_258_291, 11_010_048, 'bytes')],
    ['950 kB of 1.2 GB', counts(950_000, 1_200_000_000, 'bytes')],
    ['1,200 of 5,000 rows', counts(1200, 5000)],
    ['1 200/5 000 rows', counts(1200, 5000)],
    ['200/5 000 rows', counts(200, 5000)],
    ["1'200/5'000", counts(1200, 5000)],
    ['1\u202f200/5\u202f000', counts(1200, 5000)],
    ['1.200/5.000', counts(1200, 5000)],
    ['3/7 120 files each', counts(3, 7)],
    // Lines of known tools.
    [' 42%|████▏     | 42/100 [00:01<00:02, 29.3it/s]', counts(42, 100)],
    [' 45%|████▌     | 1.20M/2.65M [00:01<00:01, 1.1MB/s]', counts(1_200_000, 2_650_000)],
    ['Receiving objects:  45% (524/1165), 1.20 MiB | 2.00 MiB/s', counts(524, 1165)],
    ['Resolving deltas: 100% (345/345), done.', counts(345, 345)],
    ['    1,238,099  45%  146.38kB/s    0:00:08 (xfr#5, to-chk=524/1041)', counts(45, 100)],
    [' 23456/104857 kB (22%), 0/1 tablespace', counts(23_456_000, 104_857_000, 'bytes')],
    ['Encoding: task 1 of 1, 23.45 % (120.55 fps, avg 110.22 fps, ETA 00h05m12s)', counts(23, 100)],
    ['a.iso   45%[====>      ]  54.2M  12.3MB/s    eta 5s', counts(45, 100)],
    ['  1000K .......... .......... ..........  45% 1.2M 5s', counts(45, 100)],
    ['######################                45.3%', counts(45, 100)],
    ['[download]  45.3% of   10.50MiB at  1.2MiB/s ETA 00:05', counts(45, 100)],
    ['[0:12] 45.20%  1234 / 2730 files', counts(1234, 2730)],
    ['45.0% Extracting: home/me/x', counts(45, 100)],
    [
      'Transferred:   \t   1.234 GiB / 10.5 GiB, 12%, 5.5 MiB/s, ETA 28m',
      counts(1_324_997_410, 11_274_289_152, 'bytes'),
    ],
    ['  23.2 %   10.5 MiB / 23.2 MiB = 0.452   5.5 MiB/s   0:02', counts(23, 100)],
    [' 45% 12 + file.txt', counts(45, 100)],
    ['1.20GiB 0:00:05 [ 247MiB/s] [====>   ] 45% ETA 0:00:06', counts(45, 100)],
    ['12% [3 Packages 1,234 kB/8,786 kB 14%]', counts(12, 100)],
    ['Progress: [ 45%] [######....]', counts(45, 100)],
    ['#5 [2/7] RUN apt-get update', counts(2, 7)],
    ['[3/120] Building CXX object src/foo.cc.o', counts(3, 120)],
    ['[ 12%] Building C object CMakeFiles/x.dir/1/2.c.o', counts(12, 100)],
    ['   Building [=====>     ] 120/345: serde, syn', counts(120, 345)],
    ['tests/test_12/test_3.py::test_y PASSED [ 45%]', counts(45, 100)],
    ['120/938 [==>...........................] - ETA: 12s - loss: 0.4512', counts(120, 938)],
    ['Epoch 2:  45%|████▌     | 424/938 [00:10<00:12, 42.4it/s, loss=0.3, v_num=12]', counts(424, 938)],
    ['Writing inode tables:  12/160', counts(12, 160)],
    ['/dev/sda1: |==========          | 45.3%', counts(45, 100)],
    ['12.34% done, 0:12 elapsed. (0/0/0 errors)', counts(12, 100)],
    ['45% building 120/345 modules', counts(45, 100)],
    ['<=====-------> 45% EXECUTING [5s]', counts(45, 100)],
    ['[INFO] Building module-a 1.0                       [3/12]', counts(3, 12)],
    ['Progress (1): 1.2/10.5 MB', counts(1_200_000, 10_500_000, 'bytes')],
    ['3 of 120 steps (2.5%) done', counts(3, 120)],
    ['yarn: [2/4] Fetching packages...', counts(2, 4)],
    ['file.iso   45%  120MB  12.3MB/s   00:10 ETA', counts(45, 100)],
    ['Waiting for rollout to finish: 1 of 3 updated replicas are available...', counts(1, 3)],
    ['Loading...3/7. (page:4/7)', counts(4, 7)],
    ['0%...10%...20%...30%', counts(30, 100)],
    // Lines without progress.
    ['31/12 of the year, 250 %', null],
    ['12.5/20, 11/25/2026, 10:12/20:00, /v1/2/300, 3/4.5', null],
    ['11/27 03:10 started', null],
    ['[11/27 03:10:12] started', null],
    ['2026/11/27 12:00 TLS 1.2/1.3 HTTP/1.1 10.0.0.1/24 2001:db8::1/64', null],
    ['fe80::1/64 up, eth0/1 down, sda1/2, python3/3', null],
    ['dir12/345.txt, 12/345.txt, ../12/34/x, C:\\1/2', null],
    ['GET /a%20b?c=100%25 HTTP', null],
    ['12 MB/3 s, 5 of the 7, 0/1 tablespace, 1/1', null],
    ['247483648 bytes (247 MB, 236 MiB) copied, 5 s, 49.5 MB/s', null],
    ['pg_dump: dumping contents of table "public.part_2024_01"', null],
    ['12:00:05   1.20G   tank/data@snap', null],
    ['[M::mem_process_seqs] Processed 100000 reads in 12.3 CPU sec', null],
    ['aws_instance.web: Still creating... [10s elapsed]', null],
    ['nothing', null],
  ]
  for (const [line, report] of cases) t.same(through([line]).last, report, line)
})

t.test('of several values in a line the leading one is chosen', async t => {
  const cases: [name: string, lines: string[], percents: number[]][] = [
    [
      'a percent against a fraction',
      ['0% (to-chk=1041/1041)', '45% (to-chk=524/1041)', '50% (to-chk=520/1041)'],
      [0, 45, 50],
    ],
    ['a fraction that does not come again', ['attempt 1/3', '5%', '6%', '50%'], [33, 5, 6, 50]],
    ['one of another shape', ['page=1/9', '5 %', '50 %'], [11, 5, 50]],
    ['one between percents', ['5%', 'retry 2/3', '6%'], [5, 5, 6]],
    ['one that comes again', ['1/4', '3 of 4'], [25, 75]],
    ['work that is found on the way', ['500/1200', '510/1300', '650/1300'], [41, 39, 50]],
    ['wget of three files', ['3%', '50%', '100%', '0%', '40%', '100%', '1%', '50%'], [3, 50, 99, 50, 70, 99, 67, 83]],
    ['a next file that is seen late', ['3%', '98%', '20%'], [3, 98, 60]],
    ['sizes of two files', ['1.2/10 MB', '10/10 MB', '0.1/5 MB', '0.2/5 MB', '5/5 MB'], [12, 99, 99, 68, 99]],
    [
      'git clone',
      ['Receiving:  45% (524/1165)', 'Receiving: 100% (1165/1165)', 'Resolving:   0% (0/345)'],
      [44, 99, 50],
    ],
    [
      'epochs of Keras',
      [
        'Epoch 1/10',
        '1/938 [.]',
        '120/938 [=]',
        '938/938 [=]',
        'Epoch 2/10',
        '1/938 [.]',
        '469/938 [=]',
        '938/938 [=]',
        'Epoch 3/10',
        '1/938 [.]',
      ],
      [10, 10, 12, 99, 99, 10, 15, 20, 20, 20],
    ],
    [
      'bars of tqdm in each other',
      [
        ' 0%| | 0/10 [',
        ' 0%| | 0/938 [',
        ' 1%| | 10/938 [',
        '50%|#| 469/938 [',
        '100%|#| 938/938 [',
        ' 10%|#| 1/10 [',
        ' 0%| | 0/938 [',
        '50%|#| 469/938 [',
      ],
      [0, 0, 0, 5, 10, 10, 10, 15],
    ],
    [
      'two counts in a line',
      ['epoch 1/10, batch 1/938', 'epoch 1/10, batch 2/938', 'epoch 2/10, batch 469/938'],
      [0, 0, 15],
    ],
    [
      'items of yt-dlp',
      [
        'item 1 of 3',
        '0.0% of 10MiB',
        '45.3% of 10MiB',
        '100% of 10MiB',
        'item 2 of 3',
        '0.0% of 9MiB',
        '50.0% of 9MiB',
      ],
      [33, 0, 45, 99, 99, 33, 50],
    ],
    [
      'tasks of HandBrake',
      ['task 1 of 2, 3.00 %', 'task 1 of 2, 99.45 %', 'task 2 of 2, 0.45 %', 'task 2 of 2, 20.45 %'],
      [3, 99, 50, 60],
    ],
    [
      'blocks of rclone',
      [
        '1.19 GiB / 10 GiB, 12%',
        'Checks: 10 / 10, 100%',
        'Files: 3 / 25, 12%',
        '2 GiB / 10 GiB, 20%',
        'Checks: 10 / 10, 100%',
        'Files: 5 / 25, 20%',
      ],
      [11, 11, 11, 20, 20, 20],
    ],
    ['a percent of something else', ['Disk is 87% full', '[3/500] a', '[4/500] b', '[5/500] c'], [87, 87, 87, 1]],
    ['two percents in turn', ['45%', '12%', '46%', '13%'], [45, 45, 46, 46]],
    [
      'a fraction that agrees with the percent by chance at first',
      ['5.0% of ~ 58MiB (frag 3/61)', '45.0% of ~ 58MiB (frag 28/61)', '99.0% of ~ 58MiB (frag 60/61)'],
      [4, 45, 99],
    ],
    [
      'a load beside a count',
      [
        'cpu 45% done 10/100',
        'cpu 65% done 20/100',
        'cpu 15% done 30/100',
        'cpu 9% done 40/100',
        'cpu 80% done 50/100',
      ],
      [45, 65, 65, 40, 50],
    ],
    [
      'a ratio beside a size',
      ['33.3% (1 MiB / 90 MiB)', '33.1% (2 MiB / 90 MiB)', '32.8% (9 MiB / 90 MiB)', '33.2% (80 MiB / 90 MiB)'],
      [33, 33, 10, 88],
    ],
    ['percents of what is left', ['90% of test remaining', '60% of test remaining', '10% remaining'], [10, 40, 90]],
    ['the same before the number', ['Remaining: 80 %', 'Remaining: 25 %'], [20, 75]],
    ['a download that begins anew', ['10%', '45%', '0%', '2%', '10%'], [10, 45, 45, 2, 10]],
    ['what is left', ['left: 10/10', 'left: 9/10', 'left: 8/10', '5%', '6%'], [99, 99, 99, 5, 6]],
    [
      'the meter of curl',
      [
        '  % Total    % Received % Xferd  Average Speed   Time',
        ' 45 10.5M   45 4838k    0     0  1204k      0  0:00:08  0:00:04  0:00:04 1204k',
      ],
      [0, 45],
    ],
  ]
  for (const [name, lines, percents] of cases) t.same(through(lines).percents, percents, name)
  t.same(
    through(['42 %'], { total: 1200, unit: 'rows' }).last,
    counts(504, 1200),
    'a percent of the total that is given',
  )
  t.same(through(['42 %'], { unit: 'rows' }).last, counts(42, 100, 'unknown'), 'a percent counts no rows')
})

t.test('misread lines leave the counts within their limits, and no line takes long to read', async t => {
  // Falls and other totals without end: counts stay within the limits of the service.
  const lines = Array.from({ length: 3000 }, (_, index) => `${(index * 7919) % 101}% ${index % 13}/${(index % 7) + 13}`)
  const { last } = through(lines)
  t.ok(Number.isSafeInteger((last as Report | null)?.totalCount))
  for (const unit of ['1/', '1/2 ', '1.', '1 ', '1 of ', '::', '1%', '1 000', 'a-1/2:', '\u202f1'])
    t.doesNotThrow(() => through(Array<string>(20).fill(unit.repeat(4096 / unit.length))), unit)
})

t.test('numbers are read as people write them', async t => {
  const numbers: [text: string, number: number][] = [
    ['1200', 1200],
    ['1,200', 1200],
    ['1,200,300', 1_200_300],
    ['1 200', 1200],
    ["1'200", 1200],
    ['1_200', 1200],
    ['1.200.300', 1_200_300],
    ['42.5', 42.5],
    ['42,5', 42.5],
    ['0,125', 0.125],
    ['1,234.5', 1234.5],
    ['1.234,5', 1234.5],
    ['', NaN],
    ['x', NaN],
    ['1-2', NaN],
    ['-5', NaN],
  ]
  for (const [text, number] of numbers) t.same(parseNumber(text), number, text)
  t.same(['1.5 MB', '2KiB', '7', '3 s', 'MB'].map(parseAmount), [1_500_000, 2048, 7, 3, NaN])
})

/** The reports that a pattern makes of some lines. */
const byPattern = async (pattern: string, lines: readonly string[], options: CourseOptions = {}) => {
  const reports: Report[] = []
  const problems: string[] = []
  const reader = patternReader({
    pattern,
    ...options,
    onReport: report => reports.push(report),
    onProblem: problem => problems.push(problem),
  })
  for (const line of lines) reader.read(line)
  await reader.end()
  return { reports, problems }
}

t.test('a pattern of the user finds counts, totals and percents', async t => {
  const cases: [pattern: string, line: string, report: object | undefined][] = [
    ['Row (\\d+)', 'Row 812: ok', { processedCount: 812 }],
    ['Row ([\\d,]+)', 'Row 1,200: ok', { processedCount: 1200 }],
    ['(\\S+) done', '42,5 done', { processedCount: 42 }],
    ['(\\d+) .* (\\d+)', '3 out of 9', counts(3, 9)],
    ['([\\d ]+) von ([\\d ]+)', '1 200 von 5 000', counts(1200, 5000)],
    ['(?<percent>[\\d,]+) percent', 'at 7,5 percent', counts(7, 100, undefined)],
    ['(?<total>\\d+) rows, (?<done>\\d+)', '9 rows, 3', counts(3, 9)],
    ['(?:Row (\\d+)|Item (\\d+))', 'Item 5', { processedCount: 5 }],
    ['([\\d.]+ ?[KMG]iB) of ([\\d.]+ ?[KMG]iB)', '1 MiB of 1 GiB', counts(2 ** 20, 2 ** 30)],
    ['Row (\\d+)', 'no', undefined],
    ['Row (\\S+)', 'Row nine', undefined],
  ]
  const found = await Promise.all(cases.map(([pattern, line]) => byPattern(pattern, [line])))
  for (const [index, [pattern, line, report]] of cases.entries())
    t.same(found[index]?.reports[0], report, `${pattern} in ${line}`)
})

t.test('a pattern that can find nothing is refused with a sentence', async t => {
  t.equal(problemOf('(\\d+)'), null)
  t.equal(problemOf('(?<done>\\d+)/(?<total>\\d+)|(?<percent>\\d+)%'), null)
  t.match(problemOf('Row \\d+'), /has no group/)
  t.match(problemOf('(?:Row|Item) \\(\\d+\\)'), /has no group/)
  t.match(problemOf('(?<count>\\d+)'), /The group count is none of done, total and percent/)
  t.match(problemOf('('), /Unterminated group/)
})

t.test('a pattern is given up for a line on which it takes too long, and used for the other lines', async t => {
  const evil = `${'a'.repeat(40)}!`
  const [hard, mixed] = await Promise.all([
    byPattern('^(a+)+$', Array<string>(350).fill(evil)),
    byPattern('^(?:(?:a+)+|Row (\\d+))$', [evil, ...Array<string>(150).fill('Row 7')]),
  ])
  t.match(hard.problems, [/more than a second for a line/, /progress is not read any more/])
  t.match(mixed.problems, [/more than a second/])
  t.same(mixed.reports.at(-1), { processedCount: 7 })
})

t.test('a line ends with a line feed, a carriage return, backspaces or an escape sequence', async t => {
  const lines: string[] = []
  const splitter = splitLines(line => lines.push(line))
  for (const part of [
    '\x1b[31m1',
    '/3\r2/3\r\n\n3',
    '/3\x1b[2K\x1b[1G4',
    '/5\b\b\b',
    '5/5',
    '\x1b[1',
    'A6/\x1b[2C9\x1b[3;1H7/9',
  ])
    splitter.write(part)
  splitter.end()
  t.same(lines, ['1/3', '2/3', '3/3', '4/5', '5/5', '6/ 9', '7/9'])
  const [part] = await Promise.all([
    new Promise(resolve => splitLines(() => undefined, resolve).write('10 %...20 %')),
    // Nothing else keeps this process alive.
    new Promise(resolve => setTimeout(resolve, 500)),
  ])
  t.equal(part, '10 %...20 %', 'a line that is not ended is read when nothing is added to it')
})
