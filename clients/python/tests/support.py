"""What the tests share: the real service, and a scripted one that behaves badly."""

import base64
import hashlib
import hmac
import http.server
import json
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
import unittest
import urllib.parse
import urllib.request
import uuid

import headway

JOB_ID = "0197a3c2-5b1e-7c44-9d0a-2f6b8e1d3a55"
LONGEST = 30.0


def wait_for(look, timeout=LONGEST):
    """What `look` returns, as soon as that is true."""
    deadline = time.monotonic() + timeout
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError("it did not happen in time")
        time.sleep(0.02)


class Service:
    """The real service."""

    def __init__(self, url=None, token=None):
        self.url = url or os.environ["HEADWAY_TEST_URL"]
        self.token = token

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"} if data is not None else {}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(
            self.url + "/api/progress" + path, data, headers, method=method
        )
        with urllib.request.urlopen(request, timeout=LONGEST) as answer:
            return json.load(answer)

    def job(self, job_id):
        return self.call("GET", f"/jobs/{job_id}")

    def find(self, name):
        """The job with this name; None while there is none."""
        query = urllib.parse.urlencode({"includeCompleted": "true", "search": name})
        items = [
            each for each in self.call("GET", f"/jobs?{query}")["items"] if each["name"] == name
        ]
        if len(items) > 1:
            raise AssertionError(f"there are {len(items)} jobs named {name}")
        return self.job(items[0]["id"]) if items else None

    def finished(self, name):
        """The job with this name, when it has finished."""
        done = ("completed", "failed", "cancelled")

        def look():
            job = self.find(name)
            return job if job and job["status"] in done else None

        return wait_for(look)

    def running(self, name):
        def look():
            job = self.find(name)
            return job if job and job["status"] == "running" else None

        return wait_for(look)

    def cancel(self, job_id):
        return self.call("POST", f"/jobs/{job_id}/cancel", {})

    def history(self, job_id):
        events = self.call("GET", f"/jobs/{job_id}/events?pageSize=1000")["items"]
        return [each["type"] for each in events if each["type"] != "progress"]


def mint(secret, features):
    """A token that the guarded service accepts."""

    def encode(value):
        text = json.dumps(value).encode() if isinstance(value, dict) else value
        return base64.urlsafe_b64encode(text).rstrip(b"=").decode()

    claims = {
        "sub": "tester",
        "tenant_id": str(uuid.uuid4()),
        "features": features,
        "exp": int(time.time()) + 600,
    }
    signed = f"{encode({'alg': 'HS256', 'typ': 'JWT'})}.{encode(claims)}"
    signature = hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{encode(signature)}"


class Received:
    def __init__(self, call, path, body, headers):
        self.call = call
        self.path = path
        self.body = body
        self.headers = headers
        self.at = time.monotonic()


def heartbeat_answer(job_id=JOB_ID, **over):
    answer = {
        "jobId": job_id,
        "workerId": "default",
        "status": "running",
        "cancelRequested": False,
        "progressPercent": 0,
        "revision": 1,
        "applied": True,
        "heartbeatIntervalMs": 5000,
        "durable": True,
    }
    return {**answer, **over}


class Answer:
    """What the scripted service answers: `body` is JSON, or a text as it is."""

    def __init__(self, body=None, status=200, headers=None):
        self.body = {} if body is None else body
        self.status = status
        self.headers = headers or {}


class FakeService:
    """Something on a socket that answers as a test tells it to, and remembers what it was told.

    `script(received)` returns an `Answer`, or None for what a good service says. It may wait, and
    raise `ConnectionError` to cut the connection.
    """

    def __init__(self, tls=None):
        self.tls = tls
        self.received = []
        self.script = lambda received: None
        self._server = None
        self._port = 0
        self._jobs = 0
        self._sockets = []
        self.changed = threading.Condition()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._port}"

    def listen(self):
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Without it, a delayed acknowledgement costs 40 ms with each answer.
            disable_nagle_algorithm = True

            def setup(self):
                if service.tls is not None:
                    self.request = service.tls.wrap_socket(self.request, server_side=True)
                super().setup()
                service._sockets.append(self.connection)

            def do_POST(self):
                service._handle(self)

            def log_message(self, *_):
                pass

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 128

            def handle_error(self, *_):
                pass

        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def close(self):
        if self._server is None:
            return
        self._server.shutdown()
        self._server.server_close()
        self._server = None
        for each in self._sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._sockets.clear()

    def _handle(self, handler):
        length = int(handler.headers.get("content-length") or 0)
        body = json.loads(handler.rfile.read(length) or b"{}")
        path = handler.path[len("/api/progress") :]
        last = path.rsplit("/", 1)[-1]
        received = Received(
            path if path in ("/jobs", "/heartbeats") else last, path, body, handler.headers
        )
        with self.changed:
            self.received.append(received)
            self.changed.notify_all()
        try:
            answer = self.script(received) or self.good(received)
        except ConnectionError:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        text = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text)

    def good(self, received):
        """What a good service says."""
        if received.call == "/jobs":
            with self.changed:
                self._jobs += 1
                number = self._jobs
            return Answer({"id": JOB_ID[:-6] + f"{number:06d}", "attempt": 1}, 201)
        if received.call == "/heartbeats":
            results = [heartbeat_answer(each["jobId"]) for each in received.body["heartbeats"]]
            return Answer({"results": results})
        if received.call == "heartbeat":
            return Answer(heartbeat_answer(received.path.split("/")[2]))
        return Answer({"id": received.path.split("/")[2], "attempt": 1})

    def calls(self):
        with self.changed:
            return [each.call for each in self.received]

    def of(self, call):
        """The calls of one kind."""
        with self.changed:
            return [each for each in self.received if each.call == call]

    def bodies(self, call):
        return [each.body for each in self.of(call)]

    def until(self, look):
        """Waits until `look` is true of what was received."""
        with self.changed:
            if not self.changed.wait_for(look, LONGEST):
                raise AssertionError(f"it did not come: {self.calls()}")

    def until_call(self, call, count=1):
        self.until(lambda: sum(1 for each in self.received if each.call == call) >= count)


class Case(unittest.TestCase):
    """A test with a worker, its problems, and services."""

    def fake(self):
        service = FakeService().listen()
        self.addCleanup(service.close)
        return service

    def worker(self, service, **options):
        problems = []
        options = {"on_problem": problems.append, "watch_death": False, **options}
        worker = headway.Worker(
            getattr(service, "url", service), options.pop("token", ""), **options
        )
        return worker, problems

    def name(self):
        """A name that no other test uses."""
        return f"{self.id().rsplit('.', 1)[-1][5:55]} {uuid.uuid4()}"

    def environment(self, url, **more):
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("HEADWAY_")
        }
        return {**environment, "HEADWAY_URL": url, **more}

    def program(self, url, source, **more):
        """A program in a process of its own."""
        process = subprocess.Popen(
            [sys.executable, "-c", "import headway\n" + source],
            env=self.environment(url, **more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

        def stop():
            process.kill()
            process.communicate()

        self.addCleanup(stop)
        return process

    def run_program(self, url, source, **more):
        """Runs a program to its end: its code, its output and its errors."""
        process = self.program(url, source, **more)
        out, err = process.communicate(timeout=LONGEST)
        return process.returncode, out, err


def backoffs_of(seconds):
    """Sets how long the client waits after failures; waiting itself is tested elsewhere."""
    import headway._sender as sender

    before = sender.backoff
    sender.backoff = lambda failures: seconds

    def restore():
        sender.backoff = before

    return restore
