"""What engines that load Hugging Face models have in common: where models come from, how a program is asked its version."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from cloudbandit.core.errors import DataError, UsageError
from cloudbandit.core.protocols import Host

OFFLINE: Mapping[str, str] = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def folder_or_name(model: str) -> str:
    """A folder's absolute path (it must hold a ``config.json``), or the name of a model on a hub as it is.

    Raises:
        DataError: neither.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise DataError(f"the model folder {path} has no config.json; allowed: a folder in Hugging Face's format")
        return str(path.resolve())
    if path.is_absolute() or model.startswith((".", "~")) or not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        raise DataError(
            f"the model {model!r} is no folder; allowed: a folder with a config.json, or a hub's owner/name"
        )
    return model


TOKEN = "HF_TOKEN"


def prepare(host: Host, model: str) -> str:
    """A folder is put on a host that is another machine; a hub's name is fetched there, by the engine.

    Raises:
        OSError: the machine's disk is too small for it.
    """
    found = folder_or_name(model)
    if not (getattr(host, "elsewhere", False) and Path(found).is_absolute()):
        return found
    host.put(Path(found), "model")
    return str(host.path("model"))


def environment(model: str) -> Mapping[str, str]:
    """Nothing is fetched for a model that lies in a folder. For another the user's token goes along, in the environment of the
    engine alone."""
    if Path(model).is_absolute():
        return OFFLINE
    token = os.environ.get(TOKEN, "")
    return {TOKEN: token} if token else {}


def version(host: Host, argv: list[str], cure: str) -> str:
    """The last line of a program's output that starts with a number.

    Raises:
        UsageError: it cannot be run; the message holds the cure.
    """
    done = host.run(argv, timeout_s=120)
    lines = [line for line in done.output.strip().splitlines() if line[:1].isdigit()]
    if done.code != 0 or not lines:
        raise UsageError(f"the program {argv[0]} cannot be run on the host. Cure: {cure}")
    return lines[-1]
