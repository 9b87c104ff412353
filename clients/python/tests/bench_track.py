"""What a tracked item costs: `python3 bench_track.py` in this folder, with HEADWAY_URL."""

import time

import headway

ITEMS = 5_000_000


def seconds(items: "object") -> float:
    began = time.perf_counter()
    for _ in items:  # type: ignore[attr-defined]
        pass
    return time.perf_counter() - began


bare = min(seconds(range(ITEMS)) for _ in range(3))
tracked = min(seconds(headway.track(range(ITEMS), name="bench")) for _ in range(3))
job = headway.job("bench", total=ITEMS)
began = time.perf_counter()
for _ in range(ITEMS):
    job.advance()
advanced = time.perf_counter() - began
job.complete()
print(
    f"track: {(tracked - bare) / ITEMS * 1e9:.0f} ns an item; advance: {(advanced - bare) / ITEMS * 1e9:.0f} ns a call"
)
