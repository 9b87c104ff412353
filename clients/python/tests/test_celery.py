"""Tasks of a real Celery with a real Redis."""

import gc
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

from support import Case, Service, wait_for

try:
    import celery
except ImportError:
    celery = None
if shutil.which("redis-server") is None:
    celery = None


@unittest.skipIf(
    celery is None, "NO CELERY: apt-get install -y python3-celery python3-redis redis-server"
)
class CeleryTest(Case):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="headway-celery-")
        cls.addClassCleanup(shutil.rmtree, cls.directory, ignore_errors=True)
        socket = os.path.join(cls.directory, "redis.sock")
        cls.start_process(
            [
                "redis-server",
                "--port",
                "0",
                "--unixsocket",
                socket,
                "--save",
                "",
                "--dir",
                cls.directory,
            ],
            {},
        )
        wait_for(lambda: os.path.exists(socket))
        os.environ["TEST_BROKER"] = f"redis+socket://{socket}"
        from celery_app import app

        cls.app = app
        # Results say goodbye to Redis: while it is there.
        cls.addClassCleanup(gc.collect)
        cls.start_worker("prefork", "-P", "prefork", "-c", "2")
        cls.start_worker("terminate", "-P", "prefork", "-c", "1", TEST_TERMINATE="1")
        cls.start_worker("threads", "-P", "threads", "-c", "4")
        wait_for(lambda: len(app.control.ping(timeout=1, limit=3)) == 3)

    @classmethod
    def start_worker(cls, queue, *options, **environment):
        environment = {"HEADWAY_URL": Service().url, "HEADWAY_TOKEN": "", **environment}
        node = f"{queue}@localhost"
        command = [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "-n", node]
        command += ["-Q", queue, "-l", "warning", "--without-gossip", "--without-mingle", *options]
        cls.start_process(command, environment)

    @classmethod
    def start_process(cls, command, environment):
        process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            cwd=os.path.dirname(os.path.abspath(__file__)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

        def stop():
            try:
                os.killpg(process.pid, 9)
            except ProcessLookupError:
                pass
            process.wait()

        cls.addClassCleanup(stop)

    def setUp(self):
        self.service = Service()

    def send(self, task, queue="prefork"):
        name = self.name()
        return name, self.app.tasks[f"celery_app.{task}"].apply_async(
            kwargs={"name": name}, queue=queue
        )

    def test_a_task_is_a_job_with_its_progress_and_its_result(self):
        name, result = self.send("works")
        self.assertEqual(result.get(timeout=30), {"rows": 4})
        job = self.service.finished(name)
        self.assertEqual(
            (job["status"], job["processedCount"], job["totalCount"], job["message"]),
            ("completed", 4, 4, "Row 3"),
        )
        self.assertEqual(job["resultSummary"], {"rows": 4})
        self.assertEqual(job["jobType"], "celery_app.works")
        self.assertEqual(job["meta"], {"taskId": result.id})

    def test_a_task_that_fails_is_a_job_that_failed_with_its_error(self):
        name, result = self.send("fails")
        with self.assertRaises(ValueError):
            result.get(timeout=30)
        job = self.service.finished(name)
        self.assertEqual(
            (job["status"], job["errorMessage"], job["processedCount"]),
            ("failed", "no such row", 1),
        )
        self.assertIn("celery_app.py", job["errorStack"])

    def test_retries_are_attempts_of_the_same_job(self):
        name, result = self.send("retries")
        self.assertEqual(result.get(timeout=30), "at last")
        wait_for(lambda: self.service.find(name)["status"] == "completed")
        job = self.service.find(name)
        self.assertEqual((job["attempt"], job["resultSummary"]), (3, {"result": "at last"}))

    def test_a_task_whose_process_was_killed_is_the_next_attempt_when_it_is_delivered_again(self):
        name, result = self.send("dies")
        self.assertEqual(result.get(timeout=30), {"attempt": 2})
        wait_for(lambda: self.service.find(name)["status"] == "completed")

    def test_cancelling_the_job_revokes_a_task_that_reports_and_is_not_retried(self):
        name, result = self.send("endless")
        self.service.cancel(self.service.running(name)["id"])
        self.assertEqual(self.service.finished(name)["status"], "cancelled")
        wait_for(lambda: result.state == "REVOKED")
        self.assertEqual(self.service.find(name)["attempt"], 1)

    def test_with_terminate_cancelling_the_job_ends_a_task_that_does_not_look(self):
        name, result = self.send("sleeps", "terminate")
        self.service.cancel(self.service.running(name)["id"])
        self.assertEqual(self.service.finished(name)["status"], "cancelled")
        wait_for(lambda: result.state == "REVOKED")
        name, result = self.send("sleeps", "terminate")
        self.service.running(name)
        self.app.control.revoke(result.id, terminate=True)
        self.assertEqual(self.service.finished(name)["status"], "failed", "not by Headway")
        name, result = self.send("works", "terminate")
        self.assertEqual(result.get(timeout=30), {"rows": 4})

    def test_tasks_of_a_pool_of_threads_have_their_own_jobs(self):
        sent = [self.send("works", "threads") for _ in range(6)]
        for name, result in sent:
            result.get(timeout=30)
            job = self.service.finished(name)
            self.assertEqual((job["status"], job["processedCount"]), ("completed", 4))

    def test_tasks_that_are_not_included_are_no_jobs(self):
        name, result = self.send("quiet")
        self.assertEqual(result.get(timeout=30), 1)
        self.assertIsNone(self.service.find(name))


if __name__ == "__main__":
    unittest.main()
