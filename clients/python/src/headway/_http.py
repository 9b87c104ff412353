"""Calls of one Headway service, over connections of each thread's own."""

import http.client
import io
import json
import os
import random
import socket
import threading
import time
from typing import Any, Callable, Mapping, Optional, Union
from urllib.parse import quote, urlsplit

from ._version import VERSION

BASE_PATH = "/api/progress"
DEFAULT_URL = "http://127.0.0.1:3000"
USER_AGENT = f"headway-progress/{VERSION} (Python)"

# The time for a single try (s). A try without an answer by then is repeated.
TRY_TIMEOUT = 10.0
# Time for the second and third packet of a connection if the first is lost (RFC 6298).
CONNECT_TIMEOUT = 4.0
# Services and proxies close connections that are idle for 5 s; one that may close is not used.
_IDLE = 3.0

_FIRST_BACKOFF = 0.2
_LONGEST_BACKOFF = 5.0
# The longest wait that `Retry-After` can ask for: a proxy may name an hour.
_LONGEST_RETRY_AFTER = 60.0
# Any program may answer at the address: more than this is not read.
_MAX_ANSWER_BYTES = 16 * 1024 * 1024

TokenSource = Union[str, Callable[[], str]]


class HeadwayError(Exception):
    """Something is wrong between this program and the service. It is told, and never raised."""


class RefusedError(HeadwayError):
    """The service has refused the call, and would refuse it again. `code` says why."""

    def __init__(
        self, code: str, status: int, detail: str, job_status: Optional[str] = None
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.status = status
        self.job_status = job_status

    @property
    def is_unauthorized(self) -> bool:
        return self.status in (401, 403)


class UnavailableError(HeadwayError):
    """The service is away or busy, or something else answers at its address."""

    def __init__(self, message: str, retry_after: float = 0.0, is_busy: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        # The service itself has answered that it has too much to do.
        self.is_busy = is_busy


def backoff(failures: int) -> float:
    """Seconds to wait after the nth failure in a row (0.2, 0.4, … 5), give or take a quarter, so
    that callers do not come back at the same time."""
    longest = min(_FIRST_BACKOFF * 2.0 ** min(failures - 1, 10), _LONGEST_BACKOFF)
    return longest * (0.75 + random.random() / 2)


_BUSY = ("overloaded", "rate_limited", "too_much_in_flight")


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text) if text else {}
    except ValueError:
        return None  # A proxy answers with a page of its own.


def error_of_answer(status: int, text: bytes, retry_after: Optional[str]) -> HeadwayError:
    """The error for an answer other than 2xx. Only an answer that the service itself has written
    counts as a refusal: a 404 of a proxy says nothing about a job."""
    parsed = _parse(text)
    problem = parsed if isinstance(parsed, dict) else {}
    code, detail, job_status = (problem.get(name) for name in ("code", "detail", "jobStatus"))
    if not isinstance(detail, str):
        detail = f"The answer with status {status} does not come from Headway."
    if status == 413:  # Any program that finds the body too large will find it too large again.
        return RefusedError("payload_too_large", status, detail)
    if isinstance(code, str) and 400 <= status < 500 and status not in (408, 429):
        known = job_status if isinstance(job_status, str) else None
        return RefusedError(code, status, detail, known)
    return UnavailableError(detail, _seconds(retry_after), code in _BUSY)


def _seconds(retry_after: Optional[str]) -> float:
    try:
        return max(0.0, min(float(retry_after or 0), _LONGEST_RETRY_AFTER))
    except ValueError:
        return 0.0


class _Deadlined(io.RawIOBase):
    """Reads a socket until a deadline. The time-out of a socket alone begins anew at each byte."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        super().__init__()
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Optional[int]:
        self._sock.settimeout(max(0.001, self._deadline - time.monotonic()))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlinedSocket:
    """What `http.client` reads an answer from."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Deadlined(self._sock, self._deadline))


class _Connection:
    """A connection that is kept between calls, of one thread."""

    def __init__(self, http_connection: http.client.HTTPConnection) -> None:
        self.http = http_connection
        self.used_at = 0.0

    @property
    def is_fresh(self) -> bool:
        return self.http.sock is not None and time.monotonic() - self.used_at < _IDLE


class Client:
    """Calls of one service. Each thread of each process has a connection of its own."""

    def __init__(self, url: str, token: TokenSource) -> None:
        self.url = url.rstrip("/")
        self._token = token
        # A token that was read from a file often ends with a line feed.
        self._last_token = token.strip() if isinstance(token, str) else ""
        self._local = threading.local()
        self._kept: "set[_Connection]" = set()

    def close(self) -> None:
        """Closes the connection of this thread."""
        kept: Optional[_Connection] = getattr(self._local, "connection", None)
        if kept is not None:
            self._local.connection = None
            self._kept.discard(kept)
            kept.http.close()

    def close_all(self) -> None:
        """Closes the connections of all threads: the process ends, or is a child that was forked
        and must not use its parent's."""
        kept, self._kept = self._kept, set()
        self._local = threading.local()
        for each in kept:
            each.http.close()

    def call(
        self,
        path: str,
        body: Mapping[str, Any],
        headers: Optional[Mapping[str, str]] = None,
        timeout: float = TRY_TIMEOUT,
        on_connected: Callable[[], None] = lambda: None,
        is_last_word: bool = False,
    ) -> "dict[str, Any]":
        """One try of `POST path`. Raises `UnavailableError` and `RefusedError`."""
        text = json.dumps(body).encode()
        try:
            all_headers = self._headers(is_last_word, headers)
            status, answer, retry_after = self._send(
                path, text, all_headers, time.monotonic() + timeout, on_connected
            )
        except HeadwayError:
            raise
        except Exception as error:
            raise UnavailableError(f"{self.url} cannot be reached ({_reason(error)}).") from error
        if not 200 <= status <= 299:
            raise error_of_answer(status, answer, retry_after)
        parsed = _parse(answer)
        if not isinstance(parsed, dict):
            raise UnavailableError(f"Another program than Headway answers at {self.url}.")
        return parsed

    def _headers(self, is_last_word: bool, more: Optional[Mapping[str, str]]) -> "dict[str, str]":
        # A process that dies has no time to ask for a token.
        if callable(self._token) and not is_last_word:
            self._last_token = self._token().strip()
        headers = {
            "accept": "application/json",
            "content-type": "application/json",
            "user-agent": USER_AGENT,
        }
        if self._last_token:
            headers["authorization"] = f"Bearer {self._last_token}"
        headers.update(more or {})
        return headers

    def _send(
        self,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        deadline: float,
        on_connected: Callable[[], None],
    ) -> "tuple[int, bytes, Optional[str]]":
        kept: Optional[_Connection] = getattr(self._local, "connection", None)
        if kept is not None and kept.is_fresh:
            try:
                return self._exchange(kept, path, body, headers, deadline, on_connected)
            except (http.client.BadStatusLine, ConnectionError):
                # The other side had closed it. All calls may be repeated, so this one is.
                pass
        self.close()
        made = _Connection(self._connection(deadline))
        self._local.connection = made
        self._kept.add(made)
        return self._exchange(made, path, body, headers, deadline, on_connected)

    def _connection(self, deadline: float) -> http.client.HTTPConnection:
        host, port, is_secure = self._address()
        kind: Any = http.client.HTTPSConnection if is_secure else http.client.HTTPConnection
        left = max(0.001, deadline - time.monotonic())
        made: http.client.HTTPConnection = kind(host, port, timeout=min(left, CONNECT_TIMEOUT))
        return made

    def _address(self) -> "tuple[str, Optional[int], bool]":
        try:
            parts = urlsplit(self.url)
            if parts.scheme in ("http", "https") and parts.hostname:
                return parts.hostname, parts.port, parts.scheme == "https"
        except ValueError:
            pass
        raise RefusedError(
            "bad_url", 0, f"{self.url} is no address of a service: write it as {DEFAULT_URL}."
        )

    def _exchange(
        self,
        connection: _Connection,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        deadline: float,
        on_connected: Callable[[], None],
    ) -> "tuple[int, bytes, Optional[str]]":
        made = connection.http
        try:
            if made.sock is None:
                made.connect()
            on_connected()
            sock: socket.socket = made.sock  # type: ignore[assignment]
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            made.request("POST", urlsplit(self.url).path + BASE_PATH + path, body, dict(headers))
            made.response_class = _answer_within(sock, deadline)
            with made.getresponse() as answer:
                text = answer.read(_MAX_ANSWER_BYTES + 1)
                if len(text) > _MAX_ANSWER_BYTES:
                    raise OSError("The answer is larger than any answer of Headway.")
                result = answer.status, text, answer.getheader("retry-after")
            connection.used_at = time.monotonic()
            return result
        except BaseException:
            made.close()
            raise


def _answer_within(sock: socket.socket, deadline: float) -> Any:
    def make(_: object, *args: Any, **options: Any) -> http.client.HTTPResponse:
        return http.client.HTTPResponse(_DeadlinedSocket(sock, deadline), *args, **options)  # type: ignore[arg-type]

    return make


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__


def job_path(job_id: object) -> str:
    """The path of a job. The service refuses a value that is not an id."""
    try:
        return f"/jobs/{quote(str(job_id), safe='') or '-'}"
    except Exception:
        return "/jobs/-"


def settings_of(url: Optional[str], token: Optional[TokenSource]) -> "tuple[str, TokenSource]":
    """The address and the token that are given, otherwise HEADWAY_URL and HEADWAY_TOKEN. An empty
    text counts as unset."""
    return (
        url or os.environ.get("HEADWAY_URL") or DEFAULT_URL,
        token if token is not None else os.environ.get("HEADWAY_TOKEN", ""),
    )
