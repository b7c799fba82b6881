"""Where results will go, checked before anything is paid for: no trial should be followed by an error about a folder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from cloudbandit.core.errors import UsageError


def check_folder(path: Path, what: str) -> None:
    """Files can be made in the folder; it is made where it is lacking.

    Args:
        what: names it in messages, e.g. ``--to``.

    Raises:
        UsageError: they cannot.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        _try(path)
    except OSError as error:
        raise UsageError(f"{what} cannot be written to the folder {path}: {_why(error)}; cure: name another") from error


def check_file(path: Path, what: str) -> None:
    """The file can be written; its folder is there.

    Raises:
        UsageError: it cannot, or it is not.
    """
    if path.is_dir():
        raise UsageError(f"{what} cannot be written to {path}, which is a folder; cure: name a file in it")
    try:
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(None, "the file is read-only")
        _try(path.parent)
    except OSError as error:
        raise UsageError(f"{what} cannot be written to {path}: {_why(error)}; cure: name another file") from error


def _try(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder):
        pass


def _why(error: OSError) -> str:
    return error.strerror or str(error)
