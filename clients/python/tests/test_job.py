"""Jobs of the real service."""

import asyncio
import os
import pickle
import threading
import time
import unittest

import headway
from headway._outage import patience_after
from support import Case, FakeService, Service, mint, wait_for


class JobTest(Case):
    def setUp(self):
        self.service = Service()
        self.client, self.problems = self.worker(self.service)

    def test_a_block_is_a_job_that_completes_with_its_final_counts(self):
        name = self.name()
        with self.client.job(name, total=10, job_type="import", unit="rows") as job:
            job.advance()
            job.advance(3)
            job.report("Row 4", payload={"file": "a"})
        done = self.service.find(name)
        self.assertEqual(
            (done["status"], done["processedCount"], done["totalCount"], done["unit"]),
            ("completed", 4, 10, "rows"),
        )
        self.assertEqual((done["message"], done["jobType"]), ("Row 4", "import"))
        self.assertEqual(done["workers"][0]["payload"], {"file": "a"})
        self.assertTrue(done["cancellable"])
        self.assertEqual(self.problems, [])

    def test_a_block_that_an_error_leaves_is_a_job_that_failed_with_it(self):
        name = self.name()
        with self.assertRaises(KeyError):
            with self.client.job(name) as job:
                job.advance(2)
                raise KeyError("row 2")
        failed = self.service.find(name)
        self.assertEqual(
            (failed["status"], failed["errorMessage"], failed["processedCount"]),
            ("failed", "'row 2'", 2),
        )
        self.assertIn("raise KeyError", failed["errorStack"])
        self.assertTrue(failed["errorStack"].rstrip().endswith("KeyError: 'row 2'"))

    def test_a_block_in_a_generator_that_is_left_is_a_job_that_failed(self):
        name = self.name()

        def generator():
            with self.client.job(name):
                yield 1

        for _ in generator():
            break
        self.assertEqual(
            self.service.finished(name)["errorMessage"], "The work was left before its end."
        )

    def test_the_first_ending_counts(self):
        name = self.name()
        with self.client.job(name) as job:
            self.assertTrue(job.complete({"rows": 7, "big": None}, message="Imported"))
            self.assertTrue(job.fail(ValueError("too late")))
        done = self.service.find(name)
        self.assertEqual(
            (done["status"], done["resultSummary"], done["message"], done["errorMessage"]),
            ("completed", {"rows": 7, "big": None}, "Imported", None),
        )

    def test_counts_are_absolute_and_go_on_while_reports_are_under_way(self):
        job = self.client.job(self.name(), total=4000)
        threads = [
            threading.Thread(target=lambda: [job.advance() for _ in range(1000)]) for _ in range(4)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        wait_for(lambda: self.service.job(job.id)["processedCount"] == 4000)
        job.report(processed_count=10)
        self.assertTrue(job.complete())
        self.assertEqual(self.service.job(job.id)["processedCount"], 10)

    def test_a_silent_job_has_heartbeats(self):
        job = self.client.job(self.name())
        first = wait_for(lambda: self.service.job(job.id)["heartbeatAt"])
        wait_for(lambda: self.service.job(job.id)["heartbeatAt"] > first)
        job.complete()

    def test_a_cancellation_sets_the_event_and_is_acknowledged_by_the_block_that_stops(self):
        stops = {
            "raises": lambda job: job.raise_if_cancelled(),
            "looks": lambda job: None,
        }
        for kind, stop in stops.items():
            with self.subTest(kind):
                name = self.name()
                try:
                    with self.client.job(name) as job:
                        wait_for(lambda: self.service.job(job.id)["status"] == "running")
                        self.service.cancel(job.id)
                        self.assertTrue(job.cancelled.wait(30))
                        self.assertIsInstance(job.cancelled, threading.Event)
                        stop(job)
                except headway.Stopped as stopped:
                    self.assertEqual((kind, stopped.code), ("raises", "cancel_requested"))
                self.assertEqual(self.service.find(name)["status"], "cancelled")
                self.assertEqual(
                    self.service.history(job.id),
                    ["created", "started", "cancel_requested", "cancelled"],
                )

    def test_a_job_that_finishes_although_it_was_cancelled_is_completed(self):
        for kind in ("says so", "has not seen it"):
            with self.subTest(kind):
                name = self.name()
                with self.client.job(name) as job:
                    wait_for(lambda: self.service.job(job.id)["status"] == "running")
                    self.service.cancel(job.id)
                    wait_for(lambda: job.stop_reason)
                    if kind == "says so":
                        job.complete()
                self.assertEqual(self.service.find(name)["status"], "completed")

    def test_an_error_after_a_cancellation_that_does_not_come_of_it_is_an_error(self):
        name = self.name()
        with self.assertRaises(OSError):
            with self.client.job(name) as job:
                wait_for(lambda: self.service.job(job.id)["status"] == "running")
                self.service.cancel(job.id)
                job.cancelled.wait(30)
                raise OSError("the disk is full")
        self.assertEqual(self.service.find(name)["status"], "failed")

    def test_a_worker_that_has_lost_its_job_is_told_so_and_sends_nothing_more(self):
        def retry(job_id):
            self.service.call("POST", f"/jobs/{job_id}/fail", {"errorMessage": "enough"})
            self.service.call("POST", f"/jobs/{job_id}/retry", {})

        def fail(job_id):
            self.service.call("POST", f"/jobs/{job_id}/fail", {"errorMessage": "enough"})

        for code, status, lose in (
            ("already_finished", "failed", fail),
            ("superseded", "pending", retry),
        ):
            with self.subTest(code):
                job = self.client.job(self.name())
                wait_for(lambda: self.service.job(job.id)["status"] == "running")
                lose(job.id)
                self.assertTrue(job.cancelled.wait(30))
                # Between its end and the next attempt the job is finished for a moment.
                self.assertIn(job.stop_reason.code, (code, "already_finished"))
                self.assertFalse(job.complete())
                self.assertEqual(self.service.job(job.id)["status"], status)

    def test_the_same_key_is_the_same_job_and_its_next_attempt_after_a_failure(self):
        name, key = self.name(), self.name()
        first = self.client.job(name, idempotency_key=key)
        first.advance(2)
        first.fail("no disk")
        second = self.client.job(name, idempotency_key=key)
        self.assertEqual((second.id, second.attempt), (first.id, 2))
        third = self.client.job(name, idempotency_key=key, restart=True)
        self.assertTrue(second.cancelled.wait(30))
        self.assertIn(second.stop_reason.code, ("superseded", "already_finished"))
        self.assertTrue(third.complete())
        self.assertEqual(self.service.job(first.id)["attempt"], 3)
        last = self.client.job(name, idempotency_key=key, restart=True)
        self.assertTrue(last.cancelled.wait(30))
        self.assertEqual(last.stop_reason.job_status, "completed")

    def test_a_worker_attaches_to_a_partition_and_leaves_it(self):
        batch = self.service.call(
            "POST",
            "/jobs",
            {"jobType": "reindex", "name": "batch", "partitions": [{"name": "A", "totalCount": 2}]},
        )
        partition = batch["partitions"][0]["id"]
        job = self.client.attach(partition, worker_id="one\u200b")
        job.advance(2)
        self.assertTrue(job.leave())
        seen = self.service.job(partition)
        self.assertEqual((seen["status"], seen["processedCount"]), ("running", 2))
        self.assertEqual(seen["workers"][0]["workerId"], "one")

    def test_a_new_stage_begins_its_count_anew(self):
        job = self.client.job(self.name(), stages=["load", ("store", 1)], total=5)
        job.report(stage="load", total=2)
        job.advance(2)
        job.report(stage="store", total=4)
        job.advance()
        wait_for(lambda: self.service.job(job.id)["stage"] == "store")
        seen = self.service.job(job.id)
        self.assertEqual(
            (seen["processedCount"], seen["totalCount"], seen["progressPercent"]), (1, 4, 62)
        )
        job.complete()

    def test_a_total_that_shrinks_below_the_count_is_taken_as_it_is(self):
        job = self.client.job(self.name(), total=100)
        job.advance(50)
        job.report("shrunk", total=20)
        self.assertTrue(job.complete())
        seen = self.service.job(job.id)
        self.assertEqual(
            (seen["processedCount"], seen["totalCount"], seen["message"]), (50, 20, "shrunk")
        )
        self.assertEqual(self.problems, [])

    def test_a_training_that_restarts_at_0_goes_on_reporting(self):
        job = self.client.job(self.name(), total=10)
        job.report(processed_count=8)
        wait_for(lambda: self.service.job(job.id)["processedCount"] == 8)
        job.report(processed_count=0)
        wait_for(lambda: self.service.job(job.id)["processedCount"] == 0)
        job.report(processed_count=3)
        self.assertTrue(job.complete())
        self.assertEqual(self.service.job(job.id)["processedCount"], 3)
        self.assertEqual(self.problems, [])

    def test_no_value_that_the_work_passes_makes_a_call_raise_or_costs_a_report(self):
        class Odd:
            def __str__(self):
                raise RuntimeError("unreadable")

            def __float__(self):
                raise RuntimeError("unreadable")

        endless = {}
        endless["self"] = endless
        odd = [
            Odd(),
            float("nan"),
            float("inf"),
            -1,
            10**30,
            "x",
            "\ud800\0",
            object(),
            [1],
            {1: 2},
        ]
        job = self.client.job(
            self.name(), total=Odd(), meta={"rows": 10**30, "odd": odd, "nan": float("nan")}
        )
        for each in odd:
            job.advance(each if each not in (-1, 10**30) else "nothing")
            job.report(each, total=each, progress_percent=each, eta_seconds=each, stage=each)
            job.report(payload={"value": each}, unit=each, throughput_per_second=each)
        job.report(payload=endless)
        job.report("x" * 499 + "🦊!\0", unit="x" * 29 + "🦊!")
        job.report(clear=["stage", "no such thing"])
        job.advance("3")
        job.advance(2.0)
        self.assertTrue(job.complete({"odd": odd, Odd(): 1}), self.problems)
        seen = self.service.job(job.id)
        self.assertEqual(
            (seen["processedCount"], seen["message"], seen["unit"]),
            (5, "x" * 499 + "🦊", "x" * 29 + "🦊"),
        )
        self.assertEqual(self.problems, [])
        self.assertTrue(self.client.job(Odd()).complete())
        self.assertTrue(self.client.job("\u200b\u202e", job_type="\n", unit=" ").fail(Odd()))

    def test_a_stop_can_be_passed_on_between_processes(self):
        passed = pickle.loads(pickle.dumps(headway.Stopped("already_finished", "failed")))
        self.assertEqual((passed.code, passed.job_status), ("already_finished", "failed"))

    def test_tokens_are_sent_and_a_function_is_asked_for_each_call(self):
        guarded = os.environ["HEADWAY_TEST_GUARDED_URL"]
        features = ["progress.create", "progress.update", "progress.view"]
        token = mint(os.environ["HEADWAY_TEST_SECRET"], features)
        asked = []
        worker, problems = self.worker(guarded, token=lambda: asked.append(1) or token + "\n")
        job = worker.job("with a token")
        self.assertTrue(job.complete())
        self.assertGreater(len(asked), 1)
        self.assertEqual(Service(guarded, token).job(job.id)["status"], "completed")
        stranger, problems = self.worker(guarded)
        self.assertIsNone(stranger.job("without").id)
        self.assertEqual([each.code for each in problems], ["unauthenticated"])

    def test_an_asynchronous_block_does_not_hold_up_its_loop(self):
        fake = FakeService().listen()
        self.addCleanup(fake.close)
        held = threading.Event()
        self.addCleanup(held.set)
        fake.script = lambda received: held.wait(30) and None
        worker, _ = self.worker(fake)

        async def main():
            ticks = 0

            async def tick():
                nonlocal ticks
                while ticks < 5:
                    await asyncio.sleep(0)
                    ticks += 1
                # The service answers only now: whoever waits for it in the loop waits in vain.
                held.set()

            ticking = asyncio.create_task(tick())
            async with worker.job("asynchronous") as job:
                await ticking
                job.advance(2)
            return job

        asyncio.run(main())
        self.assertEqual(fake.calls()[-1], "complete")
        self.assertEqual(fake.bodies("heartbeat")[-1]["processedCount"], 2)

    def test_the_end_of_work_waits_a_tenth_of_its_time_a_second_at_least_and_half_a_minute_at_most(
        self,
    ):
        self.assertEqual(
            [patience_after(worked) for worked in (0, 0.3, 10, 60, 300, 10_800)],
            [1, 1, 1, 6, 30, 30],
        )


if __name__ == "__main__":
    unittest.main()
