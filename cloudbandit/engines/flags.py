"""Which flags an engine's program takes: of a pinned version as recorded, and of an installed one as its help says."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any

from cloudbandit.core.bundled import bundled
from cloudbandit.core.errors import UnknownNameError

RETIRED: Mapping[str, str] = {
    "scheduler_delay_factor": "gone since vLLM's V1 scheduler",
    "use_v2_block_manager": "gone: there is one block manager",
}
"""Knobs of SCOOT (WWW 2025, vLLM 0.5.5) that today's vLLM no longer has."""

_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9_-]*")


@cache
def recorded(engine: str) -> Mapping[str, Any]:
    """``version``, and ``flags``: name → type, default, maybe choices; see data/engine-flags.

    Raises:
        UnknownNameError: none were recorded of that engine.
    """
    folder = bundled() / "engine-flags"
    known = sorted(path.stem for path in folder.glob("*.json"))
    if engine not in known:
        raise UnknownNameError("engine with recorded flags", engine, known)
    found: Mapping[str, Any] = json.loads((folder / f"{engine}.json").read_text())
    return found


def of_help(text: str) -> set[str]:
    """The flags that a help text names, those of ``--[no-]flag`` in both forms."""
    switches = {name.removeprefix("--[no-]") for name in re.findall(r"--\[no-\][a-z0-9_-]+", text)}
    return {*_FLAG.findall(text), *(f"--{name}" for name in switches), *(f"--no-{name}" for name in switches)}


def unknown(argv: Sequence[str], flags: Collection[str]) -> list[str]:
    """The flags of a command line that are not among these; ``--no-x`` counts as ``--x``."""
    given = [word.partition("=")[0] for word in argv if word.startswith("--")]
    return [flag for flag in given if flag not in flags and f"--{flag.removeprefix('--no-')}" not in flags]
