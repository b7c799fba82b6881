"""Start an engine, see it become ready, stop it: with every way this can fail told apart."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cloudbandit.core.errors import CloudBanditError
from cloudbandit.core.protocols import Host, Process
from cloudbandit.core.trial import Config
from cloudbandit.engines import listener
from cloudbandit.engines.engine import Engine

_LISTENER = Path(listener.__file__).read_text()
_POLL_S = 0.05
_ANSWER_S = 2.0
_LISTENER_S = 5.0
_EXIT_S = 1.0
LOG_LINES = 30
_LOOKED_AT = 1000
_ERROR = re.compile(r"\b\w*(Error|Exception)\b: |\b(CRITICAL|FATAL)\b")
_ERRORS = 10


class StartFailed(CloudBanditError):
    """An engine did not become ready. ``reason``: ``start_crash``, ``start_timeout``, ``cancelled``, or ``engine_died`` where
    something else answers on its port; ``log``: its last lines."""

    def __init__(self, reason: str, text: str, log: str) -> None:
        super().__init__(text)
        self.reason, self.log = reason, log


@dataclass(frozen=True)
class Running:
    """An engine that is ready.

    ``url``: where this process reaches it, through a tunnel where the host is another machine: for health checks alone.
    ``listens``: whether it was seen to listen on its port itself; false where that cannot be told.
    """

    url: str
    model: str
    process: Process
    start_s: float
    host: Host
    port: int
    listens: bool = False

    @property
    def url_on_host(self) -> str:
        """Where programs on the host reach it: the load is sent from there, so that no tunnel is measured."""
        return f"http://127.0.0.1:{self.port}"

    def tail(self) -> str:
        return telling(self.process.tail(_LOOKED_AT))

    def why_not_it(self, left_s: float, refused: bool = False) -> str:
        """Why it is not, or no longer, this engine that answers on its port; empty where it is, or where that cannot be told.

        Args:
            left_s: for asking.
            refused: whether connections were: then an exit that is not yet seen is waited for.
        """
        who = _listener(self.host, self.port, self.process, left_s)
        gone = self.listens and who == "nobody"
        until = time.monotonic() + (min(left_s, _EXIT_S) if gone or (refused and who != "ours") else 0.0)
        while (code := self.process.poll()) is None and time.monotonic() < until:
            time.sleep(_POLL_S)
        if who == "another":
            return "something else has its port"
        if code is not None:
            return f"it exited with {code}"
        return "it no longer listens on its port" if gone else ""


def telling(log: str) -> str:
    """The last lines, and before them earlier ones that name an error: an engine of several processes ends with the word that one
    of them has failed, and the reason stands far above."""
    lines = log.splitlines()
    earlier = [line for line in lines[:-LOG_LINES] if _ERROR.search(line)]
    shown = list(dict.fromkeys(earlier))[-_ERRORS:]
    return "\n".join([*shown, *(["…"] if shown else []), *lines[-LOG_LINES:]])


@contextlib.contextmanager
def running(
    host: Host,
    engine: Engine,
    config: Config,
    model: str,
    *,
    timeout_s: float | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Running]:
    """An engine serving ``model`` with these knobs, stopped at the end whatever happens.

    Args:
        timeout_s: until it is ready; by default the engine's own.
        cancelled: asked while waiting.

    Raises:
        StartFailed: it exited, was not ready in time, the wait was cancelled, or it is not the one that answers.
    """
    limit = engine.start_timeout_s if timeout_s is None else timeout_s
    port = host.free_port()
    began = time.monotonic()
    argv, env = engine.argv(host, config, port, model), engine.env(config, model)
    process = host.start(argv, env=env, log=f"{engine.name}.log")

    def failed(reason: str, text: str) -> StartFailed:
        return StartFailed(reason, f"{engine.name} {text}", telling(process.tail(_LOOKED_AT)))

    try:
        url = host.forward(port)
        while not _answers(url, engine.ready_path, min(_ANSWER_S, max(_POLL_S, began + limit - time.monotonic()))):
            code = process.poll()
            if code is not None:
                raise failed("start_crash", f"exited with {code} before it was ready")
            if cancelled():
                raise failed("cancelled", "was not ready when the study wanted its host back")
            if time.monotonic() - began > limit:
                raise failed("start_timeout", f"was not ready after {limit:g} s")
            time.sleep(_POLL_S)
        start_s = time.monotonic() - began
        who = _listener(host, port, process, began + limit - time.monotonic())
        if who == "another":
            raise failed("engine_died", "is not what answers: something else has its port")
        yield Running(url, model, process, start_s, host, port, who == "ours")
    finally:
        process.stop()


def _answers(url: str, path: str, timeout_s: float) -> bool:
    """Whether a GET is answered with 200 in time; no proxy is asked, and a server that trickles does not extend the time."""
    until = time.monotonic() + timeout_s
    parts = urlsplit(url)
    request = f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 80), timeout_s) as connection:
            connection.sendall(request.encode())
            answer = b""
            while b"\n" not in answer and (left := until - time.monotonic()) > 0:
                connection.settimeout(left)
                received = connection.recv(4096)
                if not received:
                    break
                answer += received
    except (OSError, ValueError):
        return False
    return re.match(rb"HTTP/1\.\d 200\b", answer) is not None


def _listener(host: Host, port: int, process: Process, left_s: float) -> str:
    """See `cloudbandit.engines.listener`; empty where there is no time left to ask."""
    if left_s <= 0:
        return ""
    argv = [host.python, "-I", "-S", "-c", _LISTENER, str(port), str(process.pid)]
    done = host.run(argv, timeout_s=min(left_s, _LISTENER_S))
    return done.output.strip() if done.code == 0 else ""
