"""Runs one program, and sees to it that nothing of it outlives whoever asked for it. Standard library only; Linux.

    python guard.py PROGRAM [ARG …]        (standard input: a pipe that the parent holds open)

When the parent writes to the pipe, or the time that ``GUARD_EXPIRES`` names (seconds since 1970) has come, every descendant is
interrupted, given the grace that ``GUARD_GRACE_S`` names, and killed. When the pipe closes unasked, the parent died: the grace is
then one second at most, so that nothing lives five seconds later, also not a program that is interrupted while it starts and
takes no notice. Descendants that left their group or lost their parent are found too: the guard is their reaper. Should the
guard itself be killed, the kernel kills the program.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_ORPHAN_GRACE_S = 1.0
KILL_S = 2.0
"""After the grace, so long is killed what is left; then the guard ends, whatever the kernel made of it."""


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def descendants(of: int | None = None) -> list[int]:
    """Process ids below this one, or another, children before grandchildren."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    parents[int(entry.name)] = int(fields[1])
    found = [os.getpid() if of is None else of]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


def signal_all(pids: list[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _reap(child: int, code: int | None) -> int | None:
    """Collect whoever ended; the child's exit code once it has one."""
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
    return code


def main(argv: list[str]) -> int:
    """Exit code of the program; 127 if it cannot be started."""
    grace_s = float(os.environ.get("GUARD_GRACE_S", "5"))
    expires = float(os.environ.get("GUARD_EXPIRES", "inf"))
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    guard = os.getpid()
    child = os.fork()
    if child == 0:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(1)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        try:
            os.execvp(argv[0], argv)
        except OSError as error:
            sys.stderr.write(f"{argv[0]}: {error}\n")
            os._exit(127)
    code: int | None = None
    while code is None and time.time() < expires:
        ready, _, _ = select.select([0], [], [], 0.05)
        if ready:
            if not os.read(0, 1):
                grace_s = min(grace_s, _ORPHAN_GRACE_S)
            break
        code = _reap(child, code)
    for number, seconds in ((signal.SIGINT, grace_s), (signal.SIGKILL, KILL_S)):
        until = time.monotonic() + seconds
        signal_all(descendants(), number)
        while time.monotonic() < until:
            code = _reap(child, code)
            if not descendants():
                break
            if number == signal.SIGKILL:
                signal_all(descendants(), number)
            time.sleep(0.02)
    return code if code is not None and code >= 0 else 128 - (code or -signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
