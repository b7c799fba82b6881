"""The command line: thin over the library.

Exit codes: 0 done; 2 wrong input; 3 no evaluated configuration meets the SLOs; 4 something that costs money may still stand;
130 stopped with Ctrl-C, SIGTERM or SIGHUP (resumable where a store was given); 1 a bug.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence
from typing import NoReturn

from cloudbandit.cli import compare, hosts, live, offers, plan, predict, recommend, replay, resume, stores, tables, tune
from cloudbandit.cli.common import LEFT, app, err
from cloudbandit.cli.text import plain
from cloudbandit.core.errors import CloudBanditError, LeaseStuck

__all__ = [
    "app",
    "compare",
    "hosts",
    "live",
    "main",
    "offers",
    "plan",
    "predict",
    "recommend",
    "replay",
    "resume",
    "stores",
    "tables",
    "tune",
]


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """The entry point of the ``cloudbandit`` program."""
    for name in ("SIGTERM", "SIGHUP"):  # end as Ctrl-C does: what is in flight is recorded, hosts are given back
        if hasattr(signal, name) and threading.current_thread() is threading.main_thread():
            signal.signal(getattr(signal, name), _interrupt)
    try:
        app(args=None if argv is None else list(argv), obj=argv, prog_name="cloudbandit")
    except CloudBanditError as error:
        err.print(plain(f"error: {error}"), style="red", markup=False, highlight=False, soft_wrap=True)
        for note in getattr(error, "__notes__", ()):  # e.g. a result that could not be recorded
            err.print(plain(note), style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(LEFT if isinstance(error, LeaseStuck) else 2)
    sys.exit(0)
