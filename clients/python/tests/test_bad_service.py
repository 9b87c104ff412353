"""What a service that is slow, away, busy or confused does to the work: nothing."""

import datetime
import logging
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest

import headway
from support import Answer, Case, FakeService, backoffs_of, heartbeat_answer, wait_for


def problem(code, status, **more):
    return Answer({"code": code, "detail": f"It is {code}.", **more}, status)


def sent_at(body):
    """When the client sent a report, in seconds."""
    return datetime.datetime.fromisoformat(body["reportedAt"].replace("Z", "+00:00")).timestamp()


class BadServiceTest(Case):
    def setUp(self):
        # How long the client waits between tries is a test of its own.
        self.addCleanup(backoffs_of(0.01))
        self.service = self.fake()
        self.client, self.problems = self.worker(self.service)

    def codes(self):
        return [getattr(each, "code", "away") for each in self.problems]

    def test_reports_are_few_the_first_at_once_then_one_a_second_and_the_last_always(self):
        with self.client.job("busy") as job:
            while len(self.service.of("heartbeat")) < 3:
                job.advance()
                time.sleep(0.001)
            first, second, third = map(sent_at, self.service.bodies("heartbeat")[:3])
            self.assertGreaterEqual(second - first, 0.95)
            self.assertGreaterEqual(third - second, 0.95)
            job.advance(5)
            count = job._progress.processed
        self.assertEqual(self.service.calls()[-2:], ["heartbeat", "complete"])
        self.assertEqual(self.service.bodies("heartbeat")[-1]["processedCount"], count)
        counts = [each.get("processedCount", 0) for each in self.service.bodies("heartbeat")]
        self.assertEqual(counts, sorted(counts))
        times = [each["reportedAt"] for each in self.service.bodies("heartbeat")]
        self.assertEqual(times, sorted(times))
        self.assertEqual({each["attempt"] for each in self.service.bodies("heartbeat")}, {1})

    def test_heartbeats_follow_the_interval_that_the_service_asks_for(self):
        self.service.script = lambda received: (
            Answer(heartbeat_answer(heartbeatIntervalMs=60))
            if received.call == "heartbeat"
            else None
        )
        job = self.client.job("silent")
        self.service.until_call("heartbeat", 5)
        self.service.script = lambda received: None
        job.complete()

    def test_the_work_goes_on_while_the_service_is_away_and_the_newest_state_is_told_after(self):
        self.service.close()
        job = self.client.job("patient", total=5)
        self.assertIsNone(job.id)
        for _ in range(5):
            job.advance()
        job.report("first")
        job.report("second")
        wait_for(lambda: self.problems)
        self.service.listen()
        self.assertTrue(job.complete())
        self.assertEqual(self.service.calls(), ["/jobs", "heartbeat", "complete"])
        (body,) = self.service.bodies("heartbeat")
        self.assertEqual((body["processedCount"], body["message"]), (5, "second"))
        self.assertEqual(self.codes(), ["away"])

    def test_a_service_that_was_busy_restarted_or_answered_nonsense_gets_everything_in_the_end(
        self,
    ):
        def cut(_):
            raise ConnectionError()

        scripts = {
            call: [
                cut,
                lambda _: problem("overloaded", 503),
                lambda _: problem("rate_limited", 429),
                lambda _: Answer(b"<h1>502</h1>", 502),
                lambda _: Answer(b"<h1>hello</h1>"),
                lambda _: Answer(b"[1, 2]"),
                lambda _: Answer(b"\xff\x00", 200),
                lambda _: Answer(b"<h1>not found</h1>", 404),
                lambda _: Answer({"error": "no route"}, 404),
                lambda _: Answer({}, 408),
                lambda _: Answer({}, 500),
            ]
            for call in ("/jobs", "heartbeat", "complete")
        }
        # These are also no answers to a call of their kind.
        scripts["/jobs"].append(lambda _: Answer({"id": 7}))
        scripts["heartbeat"].append(lambda _: Answer({"durable": "yes"}))

        def script(received):
            left = scripts[received.call]
            return left.pop(0)(received) if left else None

        self.service.script = script
        job = self.client.job("tried", total=9)
        job.advance(7)
        wait_for(lambda: not scripts["heartbeat"])
        self.assertTrue(job.complete({"done": 7}))
        self.assertFalse(job.cancelled.is_set(), "a 404 of a proxy says nothing about the job")
        self.assertEqual(self.service.bodies("heartbeat")[-1]["processedCount"], 7)
        self.assertEqual(self.service.bodies("complete")[-1]["resultSummary"], {"done": 7})
        keys = {each.headers["idempotency-key"] for each in self.service.of("/jobs")}
        self.assertEqual(len(keys), 1)

    def test_a_time_that_the_service_names_is_waited_for_by_all_jobs(self):
        refused = []

        def script(received):
            if received.call == "/jobs" and not refused:
                refused.append(time.monotonic())
                return Answer({"code": "rate_limited"}, 429, {"retry-after": "1"})
            return None

        self.service.script = script
        one = self.client.job("one")
        other = self.client.job("other")
        self.assertTrue(one.complete() and other.complete())
        later = [each.at for each in self.service.received[1:]]
        self.assertGreaterEqual(min(later) - refused[0], 0.95)

    def test_an_end_does_not_overtake_a_report_that_is_only_in_memory(self):
        kept = [1, 1]

        def script(received):
            if received.call == "heartbeat" and received.body.get("processedCount") == 3 and kept:
                kept.pop()
                answer = heartbeat_answer(durable=False, status=None, cancelRequested=None)
                return Answer(answer, 202)
            return None

        self.service.script = script
        job = self.client.job("buffered")
        job.report("three", processed_count=3)
        self.assertTrue(job.complete())
        self.assertEqual(self.service.calls()[-4:], ["heartbeat"] * 3 + ["complete"])
        for body in self.service.bodies("heartbeat")[-3:]:
            self.assertEqual((body["processedCount"], body["message"]), (3, "three"))

    def test_a_refusal_is_told_once_and_the_rest_is_sent_without_the_refused_fields(self):
        def script(received):
            if received.call == "heartbeat" and "stage" in received.body:
                return problem("unknown_stage", 422)
            if received.call == "complete" and "resultSummary" in received.body:
                return problem("payload_too_large", 413)
            return None

        self.service.script = script
        for name in ("one", "other"):
            job = self.client.job(name)
            job.report(stage="nowhere", processed_count=2)
            self.assertTrue(job.complete({"much": "x"}))
        self.assertEqual(self.codes(), ["unknown_stage", "payload_too_large"])
        self.assertEqual(self.service.bodies("heartbeat")[-1]["processedCount"], 2)
        self.assertEqual(self.service.bodies("complete")[-1], {"attempt": 1})

    def test_a_token_that_is_refused_costs_no_wait_and_is_tried_again_when_it_is_renewed(self):
        self.service.script = lambda received: problem("unauthenticated", 401)
        self.client, self.problems = self.worker(self.service, patience_seconds=600)
        job = self.client.job("stranger")
        self.assertTrue(job._reporter.begun.is_set(), "it was not the wait that ended")
        job.advance()
        self.assertFalse(job.complete())
        self.assertEqual(self.codes(), ["unauthenticated"])
        self.assertFalse(job.cancelled.is_set())
        # It does not hammer: one try for the start, and one for the end.
        self.assertLessEqual(len(self.service.received), 2)

    def test_a_job_that_is_gone_is_no_reason_to_stop_the_work(self):
        job = self.client.job("erased")
        self.service.until_call("heartbeat")
        self.service.script = lambda received: problem("job_not_found", 404)
        job.advance()
        wait_for(lambda: self.problems)
        count = len(self.service.received)
        self.assertFalse(job.cancelled.is_set())
        self.assertFalse(job.complete())
        self.assertEqual(len(self.service.received), count, "nothing more is sent for it")
        self.assertEqual(self.codes(), ["job_not_found"])

    def test_an_address_that_is_none_is_told_and_costs_nothing(self):
        for url in ("localhost:3000", "ftp://x", "http://", "http://[", "http://x:port", "://"):
            with self.subTest(url):
                worker, problems = self.worker(url)
                job = worker.job("lost")
                self.assertFalse(job.complete())
                self.assertEqual([each.code for each in problems], ["bad_url"])

    def test_an_outage_holds_a_program_up_once_and_is_told_once(self):
        self.service.close()
        worker, problems = self.worker(self.service, patience_seconds=1)
        self.assertFalse(worker.job("first").complete())
        began = time.monotonic()
        for number in range(10):
            self.assertEqual(list(worker.track([1, 2], f"loop {number}")), [1, 2])
        self.assertLess(time.monotonic() - began, 7)
        self.assertLessEqual(len(problems), 1)
        self.service.listen()
        self.service.until_call("complete", 11)

    def test_a_program_that_makes_jobs_all_the_time_does_not_grow_while_the_service_is_away(self):
        import headway._sender as sender

        self.addCleanup(setattr, sender, "_MAX_UNHEARD", sender._MAX_UNHEARD)
        sender._MAX_UNHEARD = 5
        self.service.close()
        worker, _ = self.worker(self.service, patience_seconds=0.1)
        jobs = [worker.job(f"short {number}") for number in range(20)]
        for job in jobs:
            job.complete()
        self.assertLessEqual(len(worker._service.sender.unfinished), 5)
        self.service.listen()
        self.service.until_call("complete", 5)
        last = [each["name"] for each in self.service.bodies("/jobs")]
        self.assertIn("short 19", last)
        self.assertNotIn("short 0", last)

    def test_answers_of_servers_that_close_their_connections_are_read(self):
        self.service.script = lambda received: close(self.service.good(received))

        def close(answer):
            answer.headers["connection"] = "close"
            return answer

        job = self.client.job("closed")
        job.advance(3)
        self.assertTrue(job.complete())
        self.assertEqual(self.client._service.outage.failures, 0)

    def test_a_service_behind_tls_is_reached_and_its_certificate_is_checked(self):
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        key, certificate = os.path.join(directory, "key"), os.path.join(directory, "certificate")
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
        command += ["ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", certificate]
        command += [
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-days",
            "1",
        ]
        subprocess.run(command, check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        secure = FakeService(context).listen()
        self.addCleanup(secure.close)
        url = secure.url.replace("http://127.0.0.1", "https://localhost")
        source = "with headway.job('secure') as job: job.advance(3)"
        code, _, err = self.run_program(url, source, SSL_CERT_FILE=certificate)
        self.assertEqual((code, err, secure.calls()[-1]), (0, "", "complete"))
        secure.received.clear()
        code, _, err = self.run_program(url, source)
        self.assertEqual((code, secure.calls()), (0, []))
        self.assertIn("The work goes on.", err)

    def test_a_service_that_answers_slowly_is_not_away(self):
        def slow(received):
            time.sleep(0.7)

        self.service.script = slow
        # Three calls, which together take longer than the patience of a short job.
        with self.client.job("slow") as job:
            job.advance()
        self.assertEqual(self.service.calls()[-1], "complete")
        self.assertEqual(self.problems, [])
        self.assertTrue(job._reporter.is_heard)

    def test_a_service_that_drips_its_answer_is_given_up_in_time(self):
        import headway._http as http

        before = http.TRY_TIMEOUT

        server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(server.close)
        stop = threading.Event()
        self.addCleanup(stop.set)

        def drip():
            connection, _ = server.accept()
            with connection:
                while not stop.wait(0.05):
                    try:
                        connection.sendall(b"H")
                    except OSError:
                        return

        threading.Thread(target=drip, daemon=True).start()
        client = http.Client(f"http://127.0.0.1:{server.getsockname()[1]}", "")
        with self.assertRaises(headway.UnavailableError):
            client.call("/jobs", {}, timeout=0.3)
        self.assertEqual(before, 10)

    def test_a_proxy_without_a_service_behind_it_and_a_service_without_its_database_are_away(self):
        for answer in (Answer(b"<h1>503</h1>", 503), problem("database_unavailable", 503)):
            self.service.script = lambda received: answer
            worker, _ = self.worker(self.service)
            began = time.monotonic()
            self.assertFalse(worker.job("away").complete())
            self.assertLess(time.monotonic() - began, 8)

    def test_a_service_that_was_away_long_is_tried_ever_more_rarely(self):
        import headway._http as http

        waits = [http.backoff(failures) for failures in range(1, 2000)]
        self.assertTrue(0.15 <= waits[0] <= 0.25 and 3.75 <= min(waits[10:]))
        self.assertLessEqual(max(waits), 6.25)

    def test_a_connection_that_was_closed_while_idle_is_made_anew_without_a_failure(self):
        job = self.client.job("idle")
        self.service.until_call("heartbeat")
        for each in self.service._sockets:
            each.shutdown(socket.SHUT_RDWR)
        self.assertTrue(job.complete())
        self.assertEqual(self.client._service.outage.failures, 0)

    def test_problems_are_warnings_of_a_logger_and_a_handler_that_raises_disturbs_nothing(self):
        self.service.script = lambda received: problem("validation_failed", 400)
        with self.assertLogs("headway", logging.WARNING) as logs:
            headway.Worker(self.service.url, "", watch_death=False).job("").complete()
        self.assertIn("The work goes on.", logs.output[0])

        def broken(_):
            raise RuntimeError("my handler")

        worker, _ = self.worker(self.service, on_problem=broken)
        self.assertFalse(worker.job("x").complete())


class ManyJobsTest(Case):
    def setUp(self):
        self.addCleanup(backoffs_of(0.01))
        self.service = self.fake()
        self.client, self.problems = self.worker(self.service)

    def start(self, count):
        jobs = [self.client.job(f"job {number}") for number in range(count)]
        self.service.until_call("heartbeat", count)
        return jobs

    def end(self, jobs):
        self.service.script = lambda received: None
        for job in jobs:
            job.complete()

    def test_all_running_jobs_share_one_thread_and_one_request_a_second(self):
        before = set(threading.enumerate())
        jobs = self.start(60)

        def begun():
            names = [each.name for each in set(threading.enumerate()) - before]
            return [name for name in names if name.startswith("headway")]

        # Those that helped with the beginning go.
        wait_for(lambda: begun() == ["headway"])
        for number, job in enumerate(jobs):
            job.advance(number + 1)
        self.service.until(
            lambda: [each for each in self.service.received if len(self.items(each)) == 60]
        )
        first = self.service.of("/heartbeats")[0]
        for job in jobs:
            job.advance()
        self.service.until_call("/heartbeats", 2)
        second = self.service.of("/heartbeats")[1]
        apart = sent_at(self.items(second)[0]) - sent_at(self.items(first)[0])
        self.assertGreaterEqual(apart, 0.95)
        sent = {each["jobId"]: each["processedCount"] for each in self.items(second)}
        self.assertEqual(sent, {job.id: number + 2 for number, job in enumerate(jobs)})
        self.assertEqual(len(self.service.of("heartbeat")), 60, "only the first of each alone")
        self.end(jobs)

    @staticmethod
    def items(received):
        return received.body.get("heartbeats", []) if received.call == "/heartbeats" else []

    def test_a_refusal_of_one_job_among_many_is_of_that_job_alone(self):
        jobs = self.start(4)
        lost, gone, busy, fine = jobs

        def script(received):
            if received.call != "/heartbeats":
                return None
            results = []
            for each in received.body["heartbeats"]:
                result = heartbeat_answer(each["jobId"])
                if each["jobId"] == lost.id:
                    result = {"code": "superseded", "detail": "It was retried."}
                elif each["jobId"] == gone.id:
                    result = {"code": "job_not_found", "detail": "There is none."}
                elif each["jobId"] == busy.id and not asked:
                    asked.append(each["jobId"])
                    result = {"code": "overloaded", "detail": "Too much."}
                results.append({"jobId": each["jobId"], **result})
            return Answer({"results": results})

        asked = []
        self.service.script = script
        for job in jobs:
            job.advance(3)
        self.assertTrue(lost.cancelled.wait(30))
        self.assertEqual(lost.stop_reason.code, "superseded")
        wait_for(lambda: [each.code for each in self.problems] == ["job_not_found"])

        def counts():
            return [
                each["processedCount"]
                for received in self.service.received
                for each in self.items(received)
                if each["jobId"] == busy.id
            ]

        self.service.until(lambda: len(counts()) > 1 or self.later(busy))
        self.assertFalse(fine.cancelled.is_set() or gone.cancelled.is_set())
        self.end([busy, fine])

    def later(self, job):
        return [
            each
            for each in self.service.received
            if each.call == "heartbeat" and job.id in each.path and "processedCount" in each.body
        ]

    def test_a_request_that_a_proxy_finds_too_large_is_sent_in_parts(self):
        jobs = self.start(5)
        self.service.script = lambda received: (
            Answer(b"too large", 413) if len(self.items(received)) > 2 else None
        )
        for number, job in enumerate(jobs):
            job.report("x" * 100, processed_count=number)

        def seen():
            found = {}
            for each in self.service.received:
                bodies = self.items(each) or ([each.body] if each.call == "heartbeat" else [])
                if each.call == "/heartbeats" and len(bodies) > 2:
                    continue
                for body in bodies:
                    if "message" in body:
                        found[body.get("jobId") or each.path.split("/")[2]] = body["processedCount"]
            return found == {job.id: number for number, job in enumerate(jobs)}

        self.service.until(seen)
        self.end(jobs)
        self.assertEqual(self.problems, [])

    def test_many_short_jobs_of_a_slow_service_do_not_wait_behind_each_other(self):
        # Each call is answered when three are in flight, or none are left to come.
        in_flight, most = [], []

        def slow(received):
            with self.service.changed:
                in_flight.append(1)
                most.append(len(in_flight))
                self.service.changed.notify_all()
                self.service.changed.wait_for(lambda: max(most) >= 3, 5)
                in_flight.pop()

        self.service.script = slow
        heard = []
        threads = [
            threading.Thread(target=lambda: heard.append(self.client.job("short").complete()))
            for _ in range(24)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        self.assertEqual(heard, [True] * 24)
        self.assertGreaterEqual(max(most), 3)
        wait_for(
            lambda: not [each for each in threading.enumerate() if each.name == "headway-helper"]
        )

    def test_the_end_of_a_job_does_not_wait_for_the_reports_of_others(self):
        jobs = self.start(3)
        held, asked = threading.Event(), threading.Event()
        self.addCleanup(held.set)

        def script(received):
            if received.call == "/heartbeats":
                asked.set()
                held.wait(30)

        self.service.script = script
        for job in jobs:
            job.advance()
        asked.wait(30)
        self.assertTrue(self.client.job("short").complete())
        self.assertFalse(held.is_set())
        held.set()
        self.end(jobs)

    def test_an_outage_with_many_jobs_is_tried_by_one_thread_only(self):
        jobs = self.start(20)
        self.service.close()
        for job in jobs:
            job.advance()
        wait_for(lambda: self.client._service.outage.failures > 2)
        helpers = [each for each in threading.enumerate() if each.name == "headway-helper"]
        self.assertEqual(helpers, [])
        self.service.listen()
        self.service.until_call("/heartbeats", 1)
        self.end(jobs)


if __name__ == "__main__":
    unittest.main()
