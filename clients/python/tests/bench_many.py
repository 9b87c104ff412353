"""What many jobs of one process cost: `python3 bench_many.py` in this folder, with HEADWAY_URL.

2,000 jobs that all advance all the time, for ten seconds: requests and CPU of the process, with one
request for all jobs, and with one for each (`MAX_BULK` of 1).
"""

import sys
import time

import headway
import headway._http
import headway._reporter
import headway._sender

JOBS = 2_000
SECONDS = 10

if "--each" in sys.argv:
    headway._sender.MAX_BULK = 1

requests = 0
call = headway._http.Client.call


def counted(*args: object, **options: object) -> object:
    global requests
    requests += 1
    return call(*args, **options)  # type: ignore[arg-type]


began = time.perf_counter()
jobs = [headway.job(f"job {number}", total=1_000_000) for number in range(JOBS)]
print(f"{JOBS} jobs made in {time.perf_counter() - began:.1f} s")
headway._http.Client.call = counted  # type: ignore[assignment,method-assign]
cpu, began = time.process_time(), time.perf_counter()
while time.perf_counter() - began < SECONDS:
    for job in jobs:
        job.advance()
    time.sleep(0.2)
took, used = time.perf_counter() - began, time.process_time() - cpu
print(
    f"{requests / took:.1f} requests a second, {used / took:.3f} CPU seconds a second, "
    f"{used / took / JOBS * 1e6:.0f} us a second and job"
)
began = time.perf_counter()
for job in jobs:
    job.complete()
print(f"ended in {time.perf_counter() - began:.1f} s")
