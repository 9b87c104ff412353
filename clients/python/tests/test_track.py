"""Loops as jobs."""

import asyncio
import sys
import tempfile
import threading
import unittest

import headway
from support import Case, Service


async def asynchronous(items):
    for each in items:
        await asyncio.sleep(0)
        yield each


class TrackTest(Case):
    def setUp(self):
        self.service = Service()
        self.client, self.problems = self.worker(self.service)

    def test_a_loop_is_a_job_that_completes_with_all_of_its_items(self):
        file = tempfile.TemporaryFile("w+")
        self.addCleanup(file.close)
        file.write("one\ntwo\n")
        file.seek(0)
        cases = {
            "a list": ([1, 2, 3], [1, 2, 3], 3),
            "a set": ({1}, [1], 1),
            "a dict": ({"a": 1, "b": 2}, ["a", "b"], 2),
            "a range": (range(4), [0, 1, 2, 3], 4),
            "an empty list": ([], [], 0),
            "a text": ("für", ["f", "ü", "r"], 3),
            "a generator": ((each for each in (1, 2)), [1, 2], None),
            "a file": (file, ["one\n", "two\n"], None),
            "a map": (map(str, [1, 2]), ["1", "2"], None),
        }
        for kind, (items, expected, total) in cases.items():
            with self.subTest(kind):
                name = self.name()
                self.assertEqual(list(self.client.track(items, name)), expected)
                job = self.service.find(name)
                self.assertEqual(
                    (job["status"], job["processedCount"] or 0, job["totalCount"]),
                    ("completed", len(expected), total),
                )
        name = self.name()
        for _ in self.client.track(iter([1, 2]), name, total=2, unit="rows", job_type="import"):
            pass
        job = self.service.find(name)
        self.assertEqual((job["totalCount"], job["unit"], job["jobType"]), (2, "rows", "import"))

    def test_an_asynchronous_loop_is_a_job_too(self):
        name = self.name()

        async def main():
            seen = []
            async for each in self.client.track(asynchronous([1, 2, 3]), name, total=3):
                seen.append(each)
            return seen

        self.assertEqual(asyncio.run(main()), [1, 2, 3])
        job = self.service.find(name)
        self.assertEqual((job["status"], job["processedCount"]), ("completed", 3))

    def test_what_cannot_be_iterated_is_refused_with_a_type_error_before_anything_is_made(self):
        name = self.name()
        for items in (7, None, lambda: [1], object()):
            with self.assertRaises(TypeError):
                self.client.track(items, name)
        with self.assertRaises(TypeError):
            self.client.track([1], name, no_such_option=1)

        async def main():
            async for _ in self.client.track([1], name):
                pass

        with self.assertRaises(TypeError):
            asyncio.run(main())
        self.assertIsNone(self.service.find(name))

    def test_nothing_is_made_before_the_loop_begins(self):
        name = self.name()
        items = self.client.track([1, 2], name)
        self.assertIsNone(items.job)
        self.assertEqual(len(items), 2)
        iter(items)
        self.assertIsNone(self.service.find(name))
        self.assertEqual(next(items), 1)
        self.assertEqual(list(items), [2])
        self.assertEqual(self.service.find(name)["processedCount"], 2)

    def test_a_loop_that_is_left_early_fails_its_job_at_once(self):
        name = self.name()
        for each in self.client.track([1, 2, 3], name):
            if each == 2:
                break
        job = self.service.finished(name)
        self.assertEqual((job["status"], job["processedCount"]), ("failed", 1))
        self.assertEqual(
            job["errorMessage"], "The loop was left after 1 of 3, by break, return or an error."
        )

    def test_an_error_that_is_caught_around_a_loop_can_be_given_as_the_reason(self):
        name = self.name()
        rows = self.client.track([1, 2, 3], name)
        try:
            for each in rows:
                raise ValueError("row 1 is wrong")
        except ValueError as error:
            rows.job.fail(error)
        self.assertEqual(self.service.find(name)["errorMessage"], "row 1 is wrong")

    def test_an_asynchronous_loop_that_is_left_early_fails_its_job(self):
        name = self.name()

        async def main():
            async for each in self.client.track(asynchronous([1, 2, 3]), name):
                if each == 2:
                    break

        asyncio.run(main())
        self.assertEqual(self.service.finished(name)["status"], "failed")

    def test_a_loop_that_says_so_before_it_is_left_has_completed(self):
        name = self.name()
        rows = self.client.track([1, 2, 3], name)
        for each in rows:
            if each == 2:
                rows.job.complete({"found": each})
                break
        self.assertEqual(self.service.find(name)["resultSummary"], {"found": 2})

    def test_a_with_block_tells_a_break_from_an_error(self):
        name = self.name()
        with self.client.track([1, 2, 3], name) as rows:
            for each in rows:
                if each == 2:
                    break
        self.assertEqual(self.service.find(name)["status"], "completed")
        name = self.name()
        with self.assertRaises(ZeroDivisionError):
            with self.client.track([1, 2, 3], name) as rows:
                for each in rows:
                    each / 0
        failed = self.service.find(name)
        self.assertEqual((failed["status"], failed["errorMessage"]), ("failed", "division by zero"))

    def test_an_error_of_the_items_is_the_error_of_the_job_and_reaches_the_loop(self):
        def broken():
            yield 1
            raise OSError("the file ends here")

        async def broken_later():
            yield 1
            raise OSError("the file ends here")

        async def main(name):
            async for _ in self.client.track(broken_later(), name):
                pass

        def run(name):
            for _ in self.client.track(broken(), name):
                pass

        for kind, call in (("for", run), ("async for", lambda name: asyncio.run(main(name)))):
            with self.subTest(kind):
                name = self.name()
                with self.assertRaisesRegex(OSError, "the file ends here"):
                    call(name)
                job = self.service.find(name)
                self.assertEqual(
                    (job["status"], job["errorMessage"], job["processedCount"]),
                    ("failed", "the file ends here", 1),
                )

    def cancel_when_running(self, name):
        def cancel():
            self.service.cancel(self.service.running(name)["id"])

        thread = threading.Thread(target=cancel)
        thread.start()
        self.addCleanup(thread.join)

    def test_a_cancellation_is_raised_into_a_loop_without_pauses_and_acknowledged(self):
        closed = []

        def endless():
            try:
                while True:
                    yield 1
            finally:
                closed.append(True)

        name = self.name()
        self.cancel_when_running(name)
        with self.assertRaises(headway.Stopped) as raised:
            for _ in self.client.track(endless(), name):
                pass
        self.assertEqual(raised.exception.code, "cancel_requested")
        self.assertEqual(closed, [True])
        self.assertEqual(self.service.find(name)["status"], "cancelled")

    def test_a_cancellation_reaches_an_asynchronous_loop_that_waits_for_its_next_item(self):
        closed = []

        async def silent():
            try:
                yield 1
                await asyncio.Event().wait()
            finally:
                closed.append(True)

        async def main(name):
            try:
                async for _ in self.client.track(silent(), name):
                    pass
            except headway.Stopped as stopped:
                # The task itself was not cancelled, and can go on.
                await asyncio.sleep(0)
                return stopped.code

        name = self.name()
        self.cancel_when_running(name)
        self.assertEqual(asyncio.run(main(name)), "cancel_requested")
        self.assertEqual(closed, [True])
        self.assertEqual(self.service.find(name)["status"], "cancelled")

    def test_a_task_that_is_cancelled_by_others_stays_cancelled(self):
        name = self.name()

        async def silent():
            yield 1
            await asyncio.Event().wait()

        async def main():
            async def loop():
                async for _ in self.client.track(silent(), name):
                    begun.set()

            begun = asyncio.Event()
            task = asyncio.create_task(loop())
            await begun.wait()
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        self.assertEqual(self.service.finished(name)["status"], "failed")

    @unittest.skipIf(
        sys.version_info < (3, 11), "tasks of older Pythons do not count cancellations"
    )
    def test_a_task_that_others_cancel_together_with_its_job_stays_cancelled(self):
        name = self.name()

        async def silent():
            yield 1
            await asyncio.Event().wait()

        async def main():
            async def loop():
                rows = self.client.track(silent(), name)
                async for _ in rows:
                    here, task = asyncio.get_running_loop(), asyncio.current_task()
                    rows.job.on_stop(lambda: here.call_soon_threadsafe(task.cancel))

            with self.assertRaises(asyncio.CancelledError):
                await asyncio.create_task(loop())

        self.cancel_when_running(name)
        asyncio.run(main())
        self.assertEqual(self.service.finished(name)["status"], "cancelled")

    def test_a_loop_counts_beside_what_is_counted_by_hand(self):
        name = self.name()
        rows = self.client.track([1, 2, 3], name)
        for each in rows:
            if each == 2:
                rows.job.report(processed_count=10)
            rows.job.advance(0)
        self.assertEqual(self.service.find(name)["processedCount"], 12)

    def test_the_default_worker_has_the_settings_of_the_environment(self):
        name = self.name()
        code, out, err = self.run_program(
            self.service.url,
            f"""
for each in headway.track([1, 2], name={name!r}): pass
with headway.job({name + " 2"!r}, total=2) as job: job.advance(2)
headway.configure("http://127.0.0.1:1/prefix/")
print(headway.default_worker().url)
""",
        )
        self.assertEqual((code, out, err), (0, "http://127.0.0.1:1/prefix\n", ""))
        self.assertEqual(
            self.service.job(self.service.find(name + " 2")["id"])["jobType"], "script"
        )


if __name__ == "__main__":
    unittest.main()
