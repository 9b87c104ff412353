"""Bars of tqdm, with a job beside them."""

import io
import unittest

import headway
from support import Case, Service, wait_for

try:
    import tqdm as original
    from headway.tqdm import tqdm, trange
except ImportError:
    original = None


@unittest.skipIf(original is None, "NO TQDM: apt-get install -y python3-tqdm")
class TqdmTest(Case):
    def setUp(self):
        self.service = Service()
        self.client, self.problems = self.worker(self.service)
        self.file = io.StringIO()

    def bar(self, *args, **options):
        return tqdm(*args, worker=self.client, file=self.file, **options)

    def test_a_bar_is_drawn_as_ever_and_is_a_job(self):
        name = self.name()
        self.assertTrue(issubclass(tqdm, original.tqdm))
        self.assertEqual(list(self.bar(range(5), desc=name)), [0, 1, 2, 3, 4])
        plain = io.StringIO()
        list(original.tqdm(range(5), desc=name, file=plain))
        self.assertEqual(
            self.file.getvalue().split("|")[0].split(":")[0],
            plain.getvalue().split("|")[0].split(":")[0],
        )
        self.assertIn("100%", self.file.getvalue())
        job = self.service.find(name)
        self.assertEqual(
            (job["status"], job["processedCount"], job["totalCount"], job["unit"]),
            ("completed", 5, 5, "iterations"),
        )

    def test_the_outer_one_of_nested_bars_is_the_job(self):
        name = self.name()
        inner = f"{name} inner"
        for _ in self.bar(range(3), desc=name):
            for _ in self.bar(range(2), desc=inner, leave=False):
                pass
            with self.bar(total=4, desc=inner) as bar:
                bar.update(4)
        self.assertEqual(self.service.find(name)["processedCount"], 3)
        self.assertIsNone(self.service.find(inner))
        after = f"{name} after"
        list(self.bar(range(2), desc=after))
        self.assertEqual(self.service.find(after)["status"], "completed")

    def test_a_bar_that_is_updated_by_hand_is_a_job_that_ends_with_it(self):
        name = self.name()
        with self.bar(total=10, desc=name, unit="B", initial=2) as bar:
            bar.update(3)
            bar.total = 20
            bar.update()
            bar.set_postfix(file="a.csv")
            wait_for(lambda: self.service.job(bar.job.id)["message"])
        job = self.service.find(name)
        self.assertEqual(
            (job["status"], job["processedCount"], job["totalCount"], job["unit"]),
            ("completed", 6, 20, "bytes"),
        )
        self.assertEqual(job["message"], f"{name} file=a.csv")

    def test_an_error_fails_the_job_of_its_bar(self):
        def with_block(name):
            with self.bar(total=3, desc=name) as bar:
                bar.update()
                raise ValueError("row 2")

        def closed(name):
            bar = self.bar(total=3, desc=name)
            try:
                bar.update()
                raise ValueError("row 2")
            finally:
                bar.close()

        def items(name):
            def broken():
                yield 1
                raise ValueError("row 2")

            for _ in self.bar(broken(), desc=name):
                pass

        for run in (with_block, closed, items):
            with self.subTest(run.__name__):
                name = self.name()
                with self.assertRaises(ValueError):
                    run(name)
                job = self.service.find(name)
                self.assertEqual(
                    (job["status"], job["errorMessage"], job["processedCount"]),
                    ("failed", "row 2", 1),
                )

    def test_a_bar_that_closes_while_an_older_error_is_handled_has_completed(self):
        name = self.name()
        try:
            raise KeyError("first try")
        except KeyError:
            bar = self.bar(total=1, desc=name)
            bar.update()
            bar.close()
        self.assertEqual(self.service.find(name)["status"], "completed")

    def test_a_bar_that_is_left_or_dropped_has_failed(self):
        left, dropped = self.name(), self.name()
        for _ in self.bar(range(3), desc=left):
            break
        bar = self.bar(total=3, desc=dropped)
        bar.update()
        del bar
        for name in (left, dropped):
            self.assertEqual(self.service.finished(name)["status"], "failed")

    def test_a_cancellation_stops_a_loop_and_an_update(self):
        def loop(name):
            def endless():
                while True:
                    yield 1

            for _ in self.bar(endless(), desc=name):
                if not asked:
                    asked.append(self.service.cancel(self.service.running(name)["id"]))

        def update(name):
            with self.bar(desc=name) as bar:
                while True:
                    bar.update()
                    if not asked:
                        asked.append(self.service.cancel(self.service.running(name)["id"]))

        for run in (loop, update):
            with self.subTest(run.__name__):
                asked = []
                name = self.name()
                with self.assertRaises(headway.Stopped):
                    run(name)
                self.assertEqual(self.service.find(name)["status"], "cancelled")

    def test_a_disabled_bar_is_no_job_and_one_without_a_terminal_is_one(self):
        name = self.name()
        self.assertEqual(list(self.bar(range(2), desc=name, disable=True)), [0, 1])
        self.assertEqual(list(self.bar(range(2), desc=name, job=False)), [0, 1])
        self.assertIsNone(self.service.find(name))
        options = {"job_type": "quiet", "meta": {"from": "cron"}}
        before = self.file.getvalue()
        self.assertEqual(list(self.bar(range(2), desc=name, disable=None, job=options)), [0, 1])
        job = self.service.find(name)
        self.assertEqual((job["processedCount"], job["jobType"]), (2, "quiet"))
        self.assertEqual(self.file.getvalue(), before)

    def test_trange_and_the_other_ways_to_make_a_bar_work(self):
        code, out, err = self.run_program(
            self.service.url,
            """
from headway.tqdm import tqdm, trange
print([each for each in trange(1, 4, desc="tranges")])
with tqdm.wrapattr(open("/dev/null", "rb"), "read", total=0) as file: file.read()
""",
        )
        self.assertEqual((code, out), (0, "[1, 2, 3]\n"), err)


if __name__ == "__main__":
    unittest.main()
