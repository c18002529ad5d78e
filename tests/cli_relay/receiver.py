"""A webhook's receiver, in this process: it answers as a test says, and keeps what it took."""

import json
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from tests.support import DEADLINE


class Taken(NamedTuple):
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """The CloudEvent in it."""
        event: dict[str, Any] = json.loads(self.body)
        return event


class Receiver:
    """Where a relay posts to. `answers` are the statuses (with a Retry-After) of the next requests; then it is 204."""

    def __init__(self) -> None:
        self.answers: deque[tuple[int, str]] = deque()
        self.requests: list[Taken] = []
        self.taken: list[Taken] = []
        self.changed = threading.Condition()
        self.url = ""

    def answer(self, taken: Taken) -> tuple[int, str]:
        """Note a request, and return the answer to it."""
        with self.changed:
            status, retry_after = self.answers.popleft() if self.answers else (204, "")
            self.requests.append(taken)
            if status == 204:
                self.taken.append(taken)
            self.changed.notify_all()
        return status, retry_after

    def wait(self, count: int) -> list[Taken]:
        """Wait until so many requests were taken, and return them."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.taken) >= count, DEADLINE), self.requests
            return list(self.taken)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a receiver on this machine."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:  # as http.server has it
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, retry_after = receiver.answer(Taken(self.path, headers, body))
            self.send_response(status)
            if retry_after:
                self.send_header("retry-after", retry_after)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}/hook?a=b"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
