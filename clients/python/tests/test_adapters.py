"""Log lines as messages, and trainings."""

import logging
import threading
import unittest

import headway
import headway.keras
import headway.logging
import headway.loops
from support import Case, Service, wait_for


class LoggingTest(Case):
    def setUp(self):
        self.service = Service()
        self.client, self.problems = self.worker(self.service)
        self.log = logging.Logger(self.id())

    def test_the_last_log_line_becomes_the_message_of_the_job(self):
        with self.client.job(self.name()) as job:
            self.log.addHandler(headway.logging.Handler(job))
            self.log.info("Row %d\nand more", 1)
            self.log.debug("not shown")
            self.log.warning("Row %d is odd", 2)
        self.assertEqual(self.service.job(job.id)["message"], "Row 2 is odd")
        self.log.info("after the end")

    def test_without_a_job_it_is_that_of_the_thread_which_logs(self):
        self.log.addHandler(headway.logging.Handler())
        self.log.info("before any job")
        jobs = {}

        def work(number):
            with self.client.job(self.name()) as job:
                jobs[number] = job.id
                barrier.wait()
                with self.client.job(self.name()) as inner:
                    self.log.info("inner")
                self.log.info(f"thread {number}")
                jobs[f"inner {number}"] = inner.id

        barrier = threading.Barrier(2)
        threads = [threading.Thread(target=work, args=[number]) for number in (1, 2)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        for number in (1, 2):
            self.assertEqual(self.service.job(jobs[number])["message"], f"thread {number}")
            self.assertEqual(self.service.job(jobs[f"inner {number}"])["message"], "inner")

    def test_what_is_wrong_with_headway_is_no_message(self):
        with self.client.job(self.name()) as job:
            handler = headway.logging.Handler(job)
            handler.emit(logging.LogRecord("headway", 30, "", 0, "It is away.", None, None))
            broken = logging.LogRecord("x", 30, "", 0, "%d", ("no number",), None)
            logging.raiseExceptions, before = False, logging.raiseExceptions
            self.addCleanup(setattr, logging, "raiseExceptions", before)
            handler.emit(broken)
        self.assertIsNone(self.service.job(job.id)["message"])


class Scalar:
    """A number of a framework."""

    def __init__(self, value):
        self.value = value

    def __float__(self):
        return self.value


class Model:
    """Calls its callbacks as `fit` of Keras does."""

    stop_training = False

    def fit(self, callback, epochs, steps, after_batch=lambda: None):
        callback.set_params({"epochs": epochs, "steps": steps, "verbose": 0})
        callback.set_model(self)
        callback.on_train_begin({})
        for epoch in range(epochs):
            callback.on_epoch_begin(epoch, {})
            for batch in range(steps or 3):
                callback.on_train_batch_begin(batch, {})
                callback.on_train_batch_end(batch, {"loss": Scalar(1 / (batch + 1))})
                after_batch()
                if self.stop_training:
                    break
            callback.on_test_begin({})
            callback.on_epoch_end(epoch, {"loss": Scalar(0.25), "odd": object()})
            if self.stop_training:
                break
        callback.on_train_end({"loss": Scalar(0.25)})


class TrainingTest(Case):
    def setUp(self):
        self.service = Service()
        self.client, self.problems = self.worker(self.service)

    def test_a_keras_training_is_a_job_that_counts_its_batches(self):
        for steps, expected in ((4, (12, 12, "iterations")), (None, (3, 3, "epochs"))):
            name = self.name()
            callback = headway.keras.Callback(name, worker=self.client, job_type="training")
            Model().fit(callback, 3, steps)
            job = self.service.find(name)
            self.assertEqual((job["processedCount"], job["totalCount"], job["unit"]), expected)
            self.assertEqual((job["status"], job["jobType"]), ("completed", "training"))
            self.assertEqual(job["message"], "Epoch 3 of 3, loss 0.25")
            self.assertEqual(job["resultSummary"], {"loss": 0.25})
            self.assertEqual(job["workers"][0]["payload"], {"loss": 0.25})
        self.assertEqual(self.problems, [])

    def test_cancelling_stops_a_keras_training_after_its_batch(self):
        name = self.name()
        callback = headway.keras.Callback(name, worker=self.client)
        model = Model()

        def cancel():
            if not callback.job.cancelled.is_set():
                self.service.cancel(self.service.running(name)["id"])
                callback.job.cancelled.wait(30)

        model.fit(callback, 3, 4, cancel)
        self.assertTrue(model.stop_training)
        self.assertEqual(self.service.find(name)["status"], "cancelled")

    def test_a_loop_of_epochs_and_batches_is_a_job(self):
        name = self.name()
        training = headway.loops.Training(3, name, worker=self.client, job_type="training")
        seen = 0
        for epoch in training:
            for batch in training.batches(["a", "b", "c", "d"]):
                training.report(loss=Scalar(0.5), odd=object())
                seen += 1
                if seen == 6:
                    wait_for(lambda: self.service.find(name)["processedCount"] == 5)
                    message = self.service.find(name)["message"]
                    self.assertTrue(message.startswith("Epoch 2 of 3"), message)
        job = self.service.find(name)
        self.assertEqual(
            (job["status"], job["processedCount"], job["totalCount"], job["unit"]),
            ("completed", 12, 12, "iterations"),
        )

    def test_a_loader_without_a_length_counts_epochs(self):
        name = self.name()
        training = headway.loops.Training(2, name, worker=self.client)
        for _ in training:
            for _ in training.batches(iter([1, 2, 3])):
                pass
        job = self.service.find(name)
        self.assertEqual((job["processedCount"], job["unit"]), (2, "epochs"))

    def test_cancelling_is_raised_into_the_loop_of_batches(self):
        name = self.name()

        def endless():
            while True:
                yield 1

        with self.assertRaises(headway.Stopped):
            with headway.loops.Training(2, name, worker=self.client) as training:
                for _ in training:
                    for _ in training.batches(endless()):
                        if not training.job.cancelled.is_set():
                            self.service.cancel(self.service.running(name)["id"])
                            training.job.cancelled.wait(30)
        self.assertEqual(self.service.find(name)["status"], "cancelled")


if __name__ == "__main__":
    unittest.main()
