"""Files that people write, read so that whatever is wrong with one is an error of ours that names it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cloudbandit.core.errors import CloudBanditError


def read_text(path: Path, missing: str, error: type[CloudBanditError]) -> str:
    """A UTF-8 text, with or without a byte order mark.

    Args:
        missing: what to say where there is no such file.
        error: the type of what is raised.

    Raises:
        CloudBanditError: of the type ``error``: there is no such file, it is a folder, unreadable, or no UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise error(missing) from None
    except UnicodeDecodeError as wrong:
        raise error(f"{path} is no UTF-8 text (byte {wrong.start}: {wrong.reason}); cure: save it as UTF-8") from None
    except (OSError, ValueError) as wrong:  # ValueError: no name of a file
        raise error(f"{path} cannot be read: {getattr(wrong, 'strerror', None) or wrong}") from None


def read_json(path: Path, missing: str, error: type[CloudBanditError]) -> Any:
    """A JSON file's content.

    Raises:
        CloudBanditError: of the type ``error``: see `read_text`; or it is no JSON, or nested too deeply.
    """
    text = read_text(path, missing, error)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as wrong:
        raise error(f"{path} cannot be read as JSON: {wrong}") from None


def read_csv(
    path: Path, columns: Sequence[str], missing: str, error: type[CloudBanditError]
) -> list[tuple[int, dict[str, str]]]:
    """A CSV file's rows, each with its line and a text per column.

    Args:
        columns: those it must have.

    Raises:
        CloudBanditError: of the type ``error``: see `read_text`; or it is no CSV, lacks a column, has one twice, or a row with
            more or fewer fields than there are columns.
    """
    reader = csv.reader(io.StringIO(read_text(path, missing, error), newline=""))
    try:
        header = next(reader, [])
        lacking = [c for c in columns if c not in header]
        if lacking:
            raise error(f"{path} lacks the columns {', '.join(lacking)}; it has {', '.join(header) or 'none'}")
        twice = next((c for c in header if header.count(c) > 1), None)
        if twice is not None:
            raise error(f"{path} has the column {twice!r} twice; cure: leave one out")
        rows = []
        for fields in reader:
            if fields and len(fields) != len(header):
                raise error(f"{path} line {reader.line_num}: {len(fields)} fields, and there are {len(header)} columns")
            if fields:
                rows.append((reader.line_num, dict(zip(header, fields, strict=True))))
    except csv.Error as wrong:
        raise error(f"{path} line {reader.line_num} is no CSV: {wrong}") from None
    return rows
