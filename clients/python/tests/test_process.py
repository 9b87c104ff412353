"""How processes end, and how they fork."""

import signal
import subprocess
import sys
import threading
import unittest

from support import Case, Service

BEGIN = "job = headway.job({name!r}, total=9); job.advance(4)\n"


class DeathTest(Case):
    def setUp(self):
        self.service = Service()

    def die(self, source, begin=BEGIN):
        name = self.name()
        result = self.run_program(self.service.url, begin.format(name=name) + source)
        return (*result, self.service.find(name))

    def test_a_process_that_dies_of_an_error_ends_its_jobs_as_failed_with_it(self):
        code, _, err, job = self.die("raise TypeError('no such row')")
        self.assertEqual(code, 1)
        self.assertIn("TypeError: no such row", err)
        self.assertEqual(
            (job["status"], job["errorMessage"], job["processedCount"]),
            ("failed", "no such row", 4),
        )
        self.assertIn("Traceback", job["errorStack"])

    def test_a_process_that_exits_or_forgets_its_job_ends_it_as_failed(self):
        for source, code, message in (
            ("import sys; sys.exit(3)", 3, "The process ended before the job had ended."),
            ("", 0, "The process ended before the job had ended."),
            ("with job:\n import sys; sys.exit(3)", 3, "The process ended with code 3 before the"),
            ("with job:\n import sys; sys.exit('no input')", 1, "no input"),
            ("with job:\n raise KeyboardInterrupt", -2, "The process was interrupted"),
        ):
            with self.subTest(source):
                ended, _, _, job = self.die(source)
                self.assertEqual(ended, code)
                self.assertEqual((job["status"], job["processedCount"]), ("failed", 4))
                self.assertTrue(job["errorMessage"].startswith(message), job["errorMessage"])

    def test_a_loop_that_an_error_leaves_fails_with_the_error_when_the_process_dies_of_it(self):
        begin = "for row in headway.track([1, 2, 3], name={name!r}):\n"
        code, _, _, job = self.die("    if row == 2: raise ValueError('row 2')", begin)
        self.assertEqual(code, 1)
        self.assertEqual(
            (job["status"], job["errorMessage"], job["processedCount"]), ("failed", "row 2", 1)
        )

    def signalled(self, source, begin=BEGIN, number=signal.SIGTERM):
        name = self.name()
        process = self.program(self.service.url, begin.format(name=name) + source)
        process.stdout.readline()
        process.send_signal(number)
        process.wait(30)
        return process.returncode, self.service.find(name)

    def test_a_process_that_a_signal_ends_says_so_and_dies_of_it(self):
        for number in (signal.SIGTERM, signal.SIGHUP):
            code, job = self.signalled(
                "print(1, flush=True)\nimport time\ntime.sleep(60)", number=number
            )
            self.assertEqual(code, -number)
            self.assertEqual(
                (job["status"], job["errorMessage"], job["processedCount"]),
                ("failed", f"The process was ended by {number.name}.", 4),
            )

    def test_jobs_of_other_threads_say_so_where_the_main_thread_has_made_the_worker(self):
        code, job = self.signalled(
            """
import threading, time
worker = headway.Worker()
threading.Thread(target=lambda: work(worker), daemon=True).start()
time.sleep(60)""",
            """
def work(worker):
    job = worker.job({name!r})
    print(1, flush=True)
    time.sleep(60)
""",
        )
        self.assertEqual((code, job["status"]), (-15, "failed"))

    def test_a_signal_that_arrives_while_the_job_is_counting_or_ending_is_no_deadlock(self):
        for source in (
            "print(1, flush=True)\nwhile True: job.advance(0); job.report('x')",
            "print(1, flush=True)\nwhile True: headway.job('x').complete()",
        ):
            code, job = self.signalled(source)
            self.assertEqual((code, job["status"]), (-15, "failed"))

    def test_a_program_that_handles_signals_itself_decides(self):
        code, job = self.signalled(
            """
import signal, sys, time
def stop(*_):
    job.complete({"early": True})
    sys.exit(5)
signal.signal(signal.SIGTERM, stop)
print(1, flush=True)
time.sleep(60)"""
        )
        self.assertEqual((code, job["status"]), (5, "completed"))

    def test_a_signal_that_the_program_ignores_stays_ignored(self):
        name = self.name()
        source = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with headway.job({name!r}):
    print(1, flush=True)
    input()
"""
        process = self.program_with_input(source.format(name=name))
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        process.communicate("\n", timeout=30)
        self.assertEqual(process.returncode, 0)
        self.assertEqual(self.service.find(name)["status"], "completed")

    def program_with_input(self, source):
        process = subprocess.Popen(
            [sys.executable, "-c", "import headway\n" + source],
            env=self.environment(self.service.url),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.kill)
        return process

    def test_an_end_that_was_not_heard_yet_is_said_again(self):
        service = self.fake()
        held = []

        def script(received):
            if received.call == "complete" and not held:
                held.append(1)
                raise ConnectionError()

        service.script = script
        code, _, _ = self.run_program(
            service.url,
            """
worker = headway.Worker(patience_seconds=0)
job = worker.job('unheard'); job.advance(2); job.complete({'rows': 2})
""",
        )
        self.assertEqual(code, 0)
        self.assertEqual(service.calls()[-1], "complete")
        self.assertEqual(service.bodies("complete")[-1]["resultSummary"], {"rows": 2})
        self.assertNotIn("fail", service.calls())

    def test_a_service_that_never_answers_keeps_no_process_alive(self):
        service = self.fake()
        stop = threading.Event()
        self.addCleanup(stop.set)
        service.script = lambda received: (
            None if received.call == "/jobs" else stop.wait(60) and None
        )
        code, _, _ = self.run_program(service.url, "headway.job('hangs').advance()")
        self.assertEqual(code, 0)
        self.assertFalse(stop.is_set())

    def test_a_closed_stdout_and_stderr_disturb_nothing(self):
        name = self.name()
        code, _, _ = self.run_program(
            self.service.url,
            f"""
import os, sys
os.close(1); os.close(2); sys.stdout = sys.stderr = None
lost = headway.Worker("http://127.0.0.1:1", patience_seconds=0).job("lost")
lost.complete()
with headway.job({name!r}) as job: job.advance()
""",
        )
        self.assertEqual(code, 0)
        self.assertEqual(self.service.find(name)["status"], "completed")

    def test_a_worker_that_does_not_watch_death_leaves_its_jobs_as_they_are(self):
        _, _, _, job = self.die(
            "", "job = headway.Worker(watch_death=False).job({name!r}, cancellable=False)\n"
        )
        self.assertIn(job["status"], ("pending", "running"))
        self.assertFalse(job["cancellable"])


class ForkTest(Case):
    def setUp(self):
        self.service = Service()

    def environment(self, url, **more):
        # Python 3.12 and later warn of each fork of a process with threads.
        return super().environment(url, PYTHONWARNINGS="ignore::DeprecationWarning", **more)

    def test_a_child_never_reports_as_its_parent_and_may_have_jobs_of_its_own(self):
        name = self.name()
        code, out, err = self.run_program(
            self.service.url,
            f"""
import os, sys, time
job = headway.job({name!r}, total=100)
job.advance(1)
for number in range(3):
    pid = os.fork()
    if pid == 0:
        job.advance(50)
        job.report("I am the child")
        assert not job.complete() and not job.fail("no"), "the job is the parent's"
        with headway.job({name!r} + f" child {{number}}") as own:
            own.advance(number)
        sys.exit(0)  # With atexit.
    _, status = os.waitpid(pid, 0)
    assert status == 0, status
    job.advance(1)
job.complete()
""",
        )
        self.assertEqual((code, err), (0, ""))
        job = self.service.find(name)
        self.assertEqual(
            (job["status"], job["processedCount"], job["message"]), ("completed", 4, None)
        )
        for number in range(3):
            child = self.service.find(f"{name} child {number}")
            self.assertEqual((child["status"], child["processedCount"]), ("completed", number))

    def test_a_fork_while_other_threads_report_leaves_no_lock_behind(self):
        name = self.name()
        code, out, err = self.run_program(
            self.service.url,
            f"""
import os, sys, threading
stop = threading.Event()
jobs = [headway.job(f"busy {{each}}") for each in range(4)]
def count(job):
    while not stop.is_set():
        job.advance(); job.report("x"); job.cancelled.is_set()
threads = [threading.Thread(target=count, args=[each]) for each in jobs]
for each in threads: each.start()
for number in range(15):
    pid = os.fork()
    if pid == 0:
        for job in jobs:
            job.advance(); job.report("child"); job.cancelled.wait(0); job.cancelled.set()
        with headway.job({name!r} + f" {{number}}") as own: own.advance()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
for each in threads: each.join()
for each in jobs: each.complete()
""",
        )
        self.assertEqual((code, err), (0, ""))
        for number in (0, 14):
            self.assertEqual(self.service.find(f"{name} {number}")["status"], "completed")

    def test_processes_of_a_pool_and_of_a_server_that_forks_have_their_own_jobs(self):
        name = self.name()
        code, _, err = self.run_program(
            self.service.url,
            f"""
import multiprocessing, os
worker = headway.Worker()  # Made before the fork, as an application that is loaded first does.
with worker.job({name!r}, total=2) as job:
    def work(number):
        with worker.job({name!r} + f" {{number}}") as own:
            own.advance(number)
        return job.has_ended
    context = multiprocessing.get_context("fork")
    with context.Pool(2) as pool:
        for ended in pool.imap(work, [1, 2]):
            assert ended, "a child cannot end it"
            job.advance()
""",
        )
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(self.service.find(name)["processedCount"], 2)
        for number in (1, 2):
            self.assertEqual(self.service.find(f"{name} {number}")["processedCount"], number)

    def test_a_child_of_multiprocessing_that_dies_ends_its_own_jobs_as_failed(self):
        name = self.name()
        self.run_program(
            self.service.url,
            f"""
import multiprocessing
with headway.job({name!r}) as job:
    def work():
        headway.job({name!r} + " forgotten").advance(3)
    child = multiprocessing.get_context("fork").Process(target=work)
    child.start(); child.join()
""",
        )
        child = self.service.find(name + " forgotten")
        self.assertEqual((child["status"], child["processedCount"]), ("failed", 3))
        self.assertEqual(self.service.find(name)["status"], "completed")

    def test_a_child_that_dies_of_a_signal_says_nothing_about_the_jobs_of_its_parent(self):
        name = self.name()
        # Many times: a signal may arrive before the child has set itself up.
        code, _, err = self.run_program(
            self.service.url,
            f"""
import os, signal, time
with headway.job({name!r}) as job:
    for _ in range(50):
        pid = os.fork()
        if pid == 0:
            time.sleep(10)
            os._exit(1)
        os.kill(pid, signal.SIGTERM)
        assert os.waitpid(pid, 0)[1] == signal.SIGTERM
    job.advance()
""",
        )
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(self.service.find(name)["status"], "completed")


if __name__ == "__main__":
    unittest.main()
