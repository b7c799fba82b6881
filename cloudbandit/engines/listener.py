"""Who listens on a port: a program of the standard library alone, which the host's Python is given as ``-c``.

    python -c PROGRAM PORT PID

It prints ``ours`` where the process PID or a descendant of it listens there, ``another`` where somebody else of this user does,
``nobody``, or nothing where that cannot be told: no Linux, another user's process, another network namespace's.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

_LISTENS = "0A"
_LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F")
_ANY = ("00000000", "0" * 32)


def listeners(port: int, proc: Path = Path("/proc")) -> list[tuple[int, int]]:
    """Inode and user of each socket that takes connections to 127.0.0.1 at this port.

    Raises:
        OSError: this system does not say.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    lines = (proc / "net" / "tcp").read_text().splitlines()[1:]
    with contextlib.suppress(FileNotFoundError):
        lines += (proc / "net" / "tcp6").read_text().splitlines()[1:]
    for fields in map(str.split, lines):
        address, _, hexadecimal = fields[1].partition(":")
        if fields[3] == _LISTENS and int(hexadecimal, 16) == port:
            found.setdefault(address, []).append((int(fields[9]), int(fields[7])))
    exact = [socket for address in _LOOPBACK for socket in found.get(address, [])]
    return exact or [socket for address in _ANY for socket in found.get(address, [])]  # the more specific one gets them


def family(pid: int, proc: Path = Path("/proc")) -> list[int]:
    """The process and its descendants."""
    parents: dict[int, int] = {}
    for entry in proc.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def sockets(pids: list[int], proc: Path = Path("/proc")) -> set[int]:
    """The inodes of their sockets.

    Raises:
        PermissionError: one of them is another user's.
    """
    inodes = set()
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for descriptor in (proc / str(pid) / "fd").iterdir():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    kind, _, inode = os.readlink(descriptor).partition(":")
                    if kind == "socket":
                        inodes.add(int(inode.strip("[]")))
    return inodes


def who(port: int, pid: int) -> str:
    """``ours``, ``another``, ``nobody``, or an empty string."""
    try:
        listening = listeners(port)
        if not listening:
            return "nobody"
        ours = sockets(family(pid))
    except (OSError, ValueError, IndexError):
        return ""
    strangers = [user for inode, user in listening if inode not in ours]
    if not strangers:
        return "ours"
    return "another" if all(user == os.getuid() for user in strangers) else ""


if __name__ == "__main__":
    sys.stdout.write(who(int(sys.argv[1]), int(sys.argv[2])) + "\n")
