"""The other end of an SSH connection: what a host is asked to do. Standard library only; Linux, Python ≥ 3.9.

`LOADER` reads it from standard input, where one line of JSON that says what to do follows, so that neither an argument nor an
environment variable of ours ever stands in a process list. Standard input stays open: when it closes, whoever asked is gone.

* ``hold``: make the host's folder, print where it is, wait until standard input closes or the time is over, remove it.
* ``start``: print a process id and become the guard of a program (`cloudbandit.providers.guard`), whose output goes to a log.
* ``port``: print a port that nobody listens on just now.
"""

import contextlib
import json
import os
import select
import shutil
import socket
import sys
import tempfile
import time
from typing import Any

LOADER = (
    "import io;f=io.FileIO(0,closefd=False);b=bytearray();"
    "[b.extend(f.read({size}-len(b))) for _ in iter(lambda:len(b)<{size},False)];exec(bytes(b))"
)
"""Reads exactly so many bytes of a program and runs it; what follows is left in the pipe."""
REMOVE_S = 10.0
_GUARD = ".guard.py"


def _line() -> Any:
    """One line of standard input, and not a byte more: the rest is for whoever comes after."""
    read = b""
    while not read.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            raise SystemExit(0)
        read += byte
    return json.loads(read)


def _say(**words: object) -> None:
    os.write(1, json.dumps(words).encode() + b"\n")


def hold(asked: Any) -> None:
    """A folder for as long as somebody holds the pipe; and for at most ``seconds``, by this machine's own clock. ``alone``: one
    at a time of this user, because two loads at once would measure each other."""
    where = asked["where"] or os.environ.get("TMPDIR") or ("/var/tmp" if os.access("/var/tmp", os.W_OK) else None)
    if asked["alone"]:  # a name in the kernel, which goes with this process: no file is left
        alone = socket.socket(socket.AF_UNIX)
        try:
            alone.bind(f"\0cloudbandit-{os.getuid()}-{where or tempfile.gettempdir()}")
        except OSError:
            _say(busy=True)
            return
    folder = tempfile.mkdtemp(prefix="cloudbandit-", dir=where)
    try:
        with open(os.path.join(folder, _GUARD), "w") as file:
            file.write(asked["guard"])
        _say(folder=folder, python=sys.executable, free_bytes=shutil.disk_usage(folder).free)
        until = time.time() + asked["seconds"]
        while time.time() < until:
            ready, _, _ = select.select([0], [], [], min(60.0, max(0.0, until - time.time())))
            if ready and not os.read(0, 4096):
                break
    finally:
        until = time.monotonic() + REMOVE_S
        while os.path.exists(folder) and time.monotonic() < until:
            shutil.rmtree(folder, ignore_errors=True)
            time.sleep(0.05)  # a guard may still be ending what writes there


def start(asked: Any) -> None:
    """Become the guard; the process id stays."""
    os.chdir(asked["folder"])
    os.makedirs(os.path.dirname(os.path.abspath(asked["log"])), exist_ok=True)
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    grace, until = {"GUARD_GRACE_S": str(asked["grace_s"])}, {"GUARD_EXPIRES": str(time.time() + asked["seconds"])}
    _say(pid=os.getpid())
    os.dup2(log, 1)
    os.dup2(log, 2)
    guard = [sys.executable, "-I", "-S", os.path.join(asked["folder"], _GUARD), *asked["argv"]]
    os.execve(sys.executable, guard, {**os.environ, **asked["env"], **grace, **until})


def port(asked: Any) -> None:
    """For an engine that binds to loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        _say(port=probe.getsockname()[1])


if __name__ == "__main__":
    _asked = _line()
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        {"hold": hold, "start": start, "port": port}[_asked["do"]](_asked)
