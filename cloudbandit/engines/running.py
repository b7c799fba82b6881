"""Start an engine, see it become ready, stop it: with every way this can fail told apart."""

from __future__ import annotations

import contextlib
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cloudbandit.core.errors import CloudBanditError
from cloudbandit.core.protocols import Host, Process
from cloudbandit.core.trial import Config
from cloudbandit.engines.engine import Engine

_POLL_S = 0.05
LOG_LINES = 30
_LOOKED_AT = 1000
_ERROR = re.compile(r"\b\w*(Error|Exception)\b: |\b(CRITICAL|FATAL)\b")
_ERRORS = 10


class StartFailed(CloudBanditError):
    """An engine did not become ready. ``reason``: ``start_crash`` or ``start_timeout``; ``log``: its last lines."""

    def __init__(self, reason: str, text: str, log: str) -> None:
        super().__init__(text)
        self.reason, self.log = reason, log


@dataclass(frozen=True)
class Running:
    """An engine that is ready."""

    url: str
    model: str
    process: Process
    start_s: float

    def tail(self) -> str:
        return telling(self.process.tail(_LOOKED_AT))


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
        cancelled: asked while waiting; true ends the wait as a timeout.

    Raises:
        StartFailed: it exited, or was not ready in time.
    """
    limit = engine.start_timeout_s if timeout_s is None else timeout_s
    port = host.free_port()
    began = time.monotonic()
    argv, env = engine.argv(host, config, port, model), engine.env(config, model)
    process = host.start(argv, env=env, log=f"{engine.name}.log")
    try:
        url = host.forward(port)
        while not _answers(url + engine.ready_path):
            code = process.poll()
            if code is not None:
                raise StartFailed(
                    "start_crash",
                    f"{engine.name} exited with {code} before it was ready",
                    telling(process.tail(_LOOKED_AT)),
                )
            if time.monotonic() - began > limit or cancelled():
                raise StartFailed(
                    "start_timeout", f"{engine.name} was not ready after {limit:g} s", telling(process.tail(_LOOKED_AT))
                )
            time.sleep(_POLL_S)
        yield Running(url, model, process, time.monotonic() - began)
    finally:
        process.stop()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2.0) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError, ValueError):
        return False
