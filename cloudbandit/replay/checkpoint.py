"""A comparison's checkpoint: one line per finished cell."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, cast

from cloudbandit.core.errors import UsageError
from cloudbandit.core.outputs import check_file, check_folder
from cloudbandit.replay.cells import FrontRun, Outcome, Run
from cloudbandit.replay.methods import Method
from cloudbandit.tables.table import Table


class Work(Protocol):
    """What a line of a checkpoint is of: a dataclass of everything its outcome depends on, but for the table's content."""

    @property
    def table(self) -> str: ...

    @property
    def workload(self) -> str: ...

    @property
    def method(self) -> Method: ...

    def run(self, table: Table) -> Outcome: ...


def keys(cells: Sequence[Work], table: Table) -> list[str]:
    """The same for the same work: the table's content, and the content of an optimizer from a file, included.

    Raises:
        UsageError: an optimizer is neither a name nor from a file, so that nobody could tell whether it is still the same.
    """
    code = {cell.method.label: _code(cell.method.how) for cell in cells}
    shared = (repr(table.manifest), table.fingerprint)
    texts = [repr((asdict(cast(Any, cell)), *shared, code[cell.method.label])) for cell in cells]
    return [hashlib.sha256(text.encode()).hexdigest()[:24] for text in texts]


def _code(how: object) -> str:
    if not isinstance(how, str):
        raise UsageError(
            f"a checkpoint cannot tell whether {how!r} is still the same optimizer; cure: path.py:Class, or no checkpoint"
        )
    if ".py:" not in how:
        return ""
    path = Path(how.split(".py:")[0].rpartition("cloudbandit:")[2] + ".py")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def line(key: str, outcome: Outcome) -> str:
    """One finished cell."""
    return json.dumps({"key": key, "suggest_s": outcome.suggest_s, "runs": [asdict(run) for run in outcome.runs]})


def read(path: Path | None) -> dict[str, Outcome]:
    """What is finished, by key.

    Raises:
        UsageError: the file is no checkpoint.
    """
    if path is None or not path.exists():
        return {}
    out = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no checkpoint ({error}); cure: name another checkpoint file") from error
    for number, text in enumerate(lines, start=1):
        try:
            data = json.loads(text)
            runs = tuple((FrontRun if "hypervolume_share" in run else Run)(**run) for run in data["runs"])
            key, outcome = data["key"], Outcome(runs, data["suggest_s"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if number == len(lines):
                continue  # cut short by a crash: that cell is computed again
            raise UsageError(f"{path} line {number} is no finished cell; cure: name another checkpoint file") from error
        out[key] = outcome
    return out


@contextlib.contextmanager
def append(path: Path | None) -> Iterator[Callable[[str], None]]:
    """Adds lines that are durable when the call returns.

    Raises:
        UsageError: the file cannot be written.
    """
    if path is None:
        yield lambda text: None
        return
    check_folder(path.parent, "the checkpoint")
    check_file(path, "the checkpoint")
    if path.exists() and not path.read_bytes().endswith(b"\n"):  # a line cut short by a crash
        kept = path.read_bytes()
        path.write_bytes(kept[: kept.rfind(b"\n") + 1])
    with path.open("a", encoding="utf-8") as file:

        def keep(text: str) -> None:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())

        yield keep
