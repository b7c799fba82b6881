"""HTTP on loopback in front of a fake cloud: real SDKs speak to it. A lost answer is a connection closed without a word."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

from cloudbandit.testing.fakecloud.cloud import Trouble


@dataclass(frozen=True)
class Request:
    """What a client asked."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    base: str


@dataclass(frozen=True)
class Reply:
    """What it is told."""

    status: int = 200
    body: bytes = b""
    kind: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class Front(Protocol):
    """Speaks one cloud's API."""

    def reply(self, request: Request) -> Reply:
        """The answer; a `Trouble` that is lost closes the connection."""


class Server:
    """Serves a front until it is closed.

    Attributes:
        url: its address.
        requests: what was asked, for tests.
    """

    def __init__(self, front: Front) -> None:
        requests: list[Request] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 16  # one packet an answer: two would wait for each other

            def answer(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                query = {key: values[0] for key, values in parse_qs(parts.query).items()}
                headers = {key.lower(): value for key, value in self.headers.items()}
                request = Request(self.command, parts.path, query, headers, body, f"http://{self.headers['Host']}")
                requests.append(request)
                try:
                    reply = front.reply(request)
                except Trouble:
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                for key, value in {"Content-Type": reply.kind, **reply.headers}.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = answer

            def log_message(self, format: str, *args: object) -> None:
                """Nothing is logged."""

        self.requests = requests
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
