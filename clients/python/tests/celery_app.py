"""The app of test_celery.py: its worker is a process of its own."""

import os
import time

from celery import Celery

import headway.celery

app = Celery("tests", broker=os.environ["TEST_BROKER"], backend=os.environ["TEST_BROKER"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_track_started=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    broker_connection_retry_on_startup=True,
)
job_of = headway.celery.report(
    app,
    include=lambda task: task.name != "celery_app.quiet",
    options=lambda task: {"name": task.request.kwargs["name"]},
    terminate=os.environ.get("TEST_TERMINATE") == "1",
)


@app.task(bind=True)
def works(self, name):
    for row in range(4):
        self.update_state(
            state="PROGRESS", meta={"current": row + 1, "total": 4, "message": f"Row {row}"}
        )
    return {"rows": 4}


@app.task(bind=True)
def fails(self, name):
    self.update_state(state="PROGRESS", meta={"current": 1, "total": 4})
    raise ValueError("no such row")


@app.task(bind=True, max_retries=2)
def retries(self, name):
    if self.request.retries < 2:
        raise self.retry(exc=OSError(f"try {self.request.retries}"), countdown=0)
    return "at last"


@app.task(bind=True, autoretry_for=(Exception,), retry_backoff=False, default_retry_delay=0)
def endless(self, name):
    while True:
        self.update_state(state="PROGRESS", meta={"current": 1, "total": 9})
        time.sleep(0.02)


@app.task(bind=True)
def sleeps(self, name):
    while True:
        time.sleep(0.1)


@app.task(bind=True)
def dies(self, name):
    if job_of(self.request.id).attempt == 1:
        os.kill(os.getpid(), 9)
    return {"attempt": job_of(self.request.id).attempt}


@app.task
def quiet(name):
    return 1
