"""How a CSV file is written, told from its beginning: encoding, separator, decimal sign."""

from __future__ import annotations

import codecs
import csv
import gzip
import lzma
import re
from dataclasses import dataclass
from pathlib import Path

from cloudbandit.core.errors import TableError

_BEGINNING = 1 << 18  # bytes
_SEPARATORS = (",", ";", "\t", "|")
_MARKS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")
_POINT = re.compile(r"\s*[-+]?\d*\.\d+\s*")


@dataclass(frozen=True, slots=True)
class Format:
    """As the keys of ``[table]``."""

    encoding: str = "utf-8"
    separator: str = ","
    decimal: str = "."


def sniff(path: Path) -> Format:
    """The format of a CSV file.

    Raises:
        TableError: there is no such file, or it is empty.
    """
    opened = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    try:
        with opened(path, "rb") as file:  # type: ignore[operator]
            data: bytes = file.read(_BEGINNING)
    except FileNotFoundError:
        raise TableError(f"there is no file {path}; cure: the path of a CSV file") from None
    except (OSError, lzma.LZMAError) as error:
        raise TableError(f"{path} cannot be read: {error}") from error
    encoding = _encoding(data)
    text = data.decode(encoding, errors="ignore").lstrip("\ufeff")
    if not text.strip():
        raise TableError(f"{path} is empty; cure: a header line, and a line per run")
    lines = text.splitlines()[: 200 if len(data) < _BEGINNING else -1][:200]
    separator = max(_SEPARATORS, key=lambda s: _fit(lines, s))
    fields = [field for row in csv.reader(lines[1:], delimiter=separator) for field in row]
    commas, points = (sum(bool(p.fullmatch(f)) for f in fields) for p in (_COMMA, _POINT))
    return Format(encoding, separator, "," if commas > points else ".")


def _encoding(data: bytes) -> str:
    """By its mark; else UTF-16 by its zeros, UTF-8 where it is valid, and Western European as the last resort."""
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name
    for name, zeros in (("utf-16-le", data[1::2]), ("utf-16-be", data[::2])):
        if zeros and zeros.count(0) > 0.6 * len(zeros):
            return name
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(data)  # the last character may be cut
    except UnicodeDecodeError:
        return "cp1252" if not any(byte in data for byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D)) else "latin-1"
    return "utf-8"


def _fit(lines: list[str], separator: str) -> tuple[float, int]:
    """How many of the lines have as many fields as the header, and how many fields those are."""
    rows = [row for row in csv.reader(lines, delimiter=separator) if row]
    width = len(rows[0])
    return (sum(len(row) == width for row in rows) / len(rows) if width > 1 else 0.0), width
