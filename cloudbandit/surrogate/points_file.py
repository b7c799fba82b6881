"""Points files: read with every fault told by its line, and written."""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudbandit.catalogue.gpus import GPU, Profile, find_gpu, load_gpus
from cloudbandit.catalogue.precision import find_precision
from cloudbandit.core.errors import DataError, UnknownNameError, UsageError, hint
from cloudbandit.core.fleet import SERVING, metric_name
from cloudbandit.core.metrics import DICTIONARY
from cloudbandit.surrogate.points import (
    OPTIONAL,
    PARALLELISM,
    REQUIRED,
    Point,
    Points,
    users_by_littles_law,
)
from cloudbandit.surrogate.points_doubts import doubts

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_RATE = "requests_per_s"


def read_points(
    path: str | Path,
    gpus: Mapping[str, GPU] | None = None,
    *,
    given: Mapping[str, str | float] | None = None,
    check: Callable[[Point], None] | None = None,
) -> Points:
    """Measured points from a CSV file (``.csv``, also ``.gz``, ``.xz``) or a JSON list of objects; columns as in docs/points.md.

    An empty cell was not measured. Columns that are neither of the format nor like a metric are left alone, with a warning.

    Args:
        gpus: datasheets by part name; by default those bundled.
        given: cells of columns that the file lacks, e.g. ``{"model": …, "engine": "vllm"}`` for load tests of one model.
        check: called with every point; what it refuses (by a `UsageError`) is told with its line.

    Raises:
        UsageError: ``given`` holds a column that the format does not know.
        DataError: the file cannot be read, a column is missing or none that a metric has, or a cell is wrong; the message says
            where, what it holds, and the cure.
    """
    path = Path(path).expanduser()
    for column in given or ():
        if column not in (*REQUIRED, *OPTIONAL):
            raise UnknownNameError("column", column, (*REQUIRED, *OPTIONAL))
    table = _Table(path, *_cells(path), dict(given or {}))
    parts = load_gpus() if gpus is None else gpus
    points = []
    for line, cells in table.rows:
        try:
            point = table.point(cells, parts)
            if check is not None:
                check(point)
        except UsageError as wrong:
            raise DataError(f"{path} {line}: {wrong}") from None
        points.append(point)
    if not points:
        raise DataError(f"{path} has no rows; a points file has one row per measured deployment and load")
    read = tuple(points)
    return Points(read, (*table.warnings, *(f"{path}: {d}" for d in doubts(read, table.spelled))))


def write_points(points: Points, path: str | Path) -> None:
    """As a CSV file (``.xz``: compressed); `read_points` gives the same points back. Empty optional columns are left out.

    Raises:
        UsageError: there are no points.
    """
    if not len(points):
        raise UsageError("there are no points to write")
    columns = [*REQUIRED, *points.metrics, *(c for c in OPTIONAL if any(p.value(c) not in (None, "") for p in points))]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([[_text(p.value(c)) for c in columns] for p in points])
    raw = text.getvalue().encode()
    Path(path).expanduser().write_bytes(lzma.compress(raw) if str(path).endswith(".xz") else raw)


def _text(value: str | float | None) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _cells(path: Path) -> tuple[list[str], Iterator[tuple[str, list[str]]]]:
    """A file's columns, and its rows as (where, cells)."""
    try:
        raw = path.read_bytes()
        if path.suffix == ".xz":
            raw = lzma.decompress(raw)
        elif path.suffix == ".gz":
            raw = gzip.decompress(raw)
        text = raw.decode("utf-8-sig")
        if path.suffix == ".json":
            return _json(json.loads(text))
        return _csv(path, text)
    except FileNotFoundError:
        raise DataError(f"there is no points file at {path}") from None
    except (OSError, EOFError, lzma.LZMAError, ValueError, RecursionError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}") from None


def _csv(path: Path, text: str) -> tuple[list[str], Iterator[tuple[str, list[str]]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns = [c.strip() for c in next(reader, [])]

    def rows() -> Iterator[tuple[str, list[str]]]:
        try:
            for cells in reader:
                if cells:
                    yield f"line {reader.line_num}", cells
        except csv.Error as error:
            raise DataError(f"{path} line {reader.line_num} cannot be read: {error}") from None

    return columns, rows()


def _json(objects: Any) -> tuple[list[str], Iterator[tuple[str, list[str]]]]:
    if not (isinstance(objects, list) and all(isinstance(o, dict) for o in objects)):
        raise ValueError("allowed: a list of objects, one per point")
    columns = list(dict.fromkeys(k for o in objects for k in o))
    rows = ([o.get(c) for c in columns] for o in objects)
    return columns, ((f"object {i}", ["" if v is None else str(v) for v in row]) for i, row in enumerate(rows, start=1))


@dataclass
class _Table:
    """The rows of a file under its columns."""

    path: Path
    columns: list[str]
    raw: Iterator[tuple[str, list[str]]]
    given: dict[str, str | float]

    def __post_init__(self) -> None:
        double = next((c for c in self.columns if self.columns.count(c) > 1), None)
        if double is not None:
            raise DataError(f"{self.path} has two columns {double!r}; cure: leave one out")
        self.spelled: dict[str, str] = {}
        """Metric → its column's name."""
        self.warnings: list[str] = []
        for column in self.columns:
            if column not in (*REQUIRED, *OPTIONAL):
                self._other(column)
        known = {*self.columns, *self.given}
        missing = [c for c in REQUIRED if c not in known and not (c == "users" and _RATE in self.spelled)]
        if missing:
            raise DataError(
                f"{self.path} lacks {', '.join(missing)}; a points file has {', '.join(REQUIRED)} (or {_RATE} in place of "
                f"users), and metrics such as ttft_p50_ms; its columns: {', '.join(self.columns) or 'none'}"
            )
        if not self.spelled:
            raise DataError(
                f"{self.path} has no metric; its columns: {', '.join(self.columns)}; known: {', '.join(SERVING)}"
            )

    def _other(self, column: str) -> None:
        """A column that is no fixed one: a metric, a fault, or somebody's own."""
        try:
            metric = metric_name(column)
        except UnknownNameError:
            entry = max((m for m in DICTIONARY if f"{column}_".startswith(f"{m}_")), key=len, default=None)
            if entry is not None and any(n in SERVING for n in DICTIONARY[entry].names):
                raise DataError(
                    f"{self.path}: the column {column!r} is no metric{hint(column, SERVING)}; {entry} is in "
                    f"{DICTIONARY[entry].unit}: {', '.join(DICTIONARY[entry].names)}. "
                    "Cure: convert the numbers, and rename the column"
                ) from None
            like = hint(column, (*REQUIRED, *OPTIONAL, *SERVING))
            self.warnings.append(f"{self.path}: the column {column!r} is none of the format{like}, and was left alone")
            return
        if metric in self.spelled:
            raise DataError(
                f"{self.path}: the columns {self.spelled[metric]!r} and {column!r} are one metric; cure: leave one out"
            )
        self.spelled[metric] = column

    @property
    def rows(self) -> Iterator[tuple[str, dict[str, str]]]:
        given = {c: str(v) for c, v in self.given.items() if c not in self.columns}
        for where, cells in self.raw:
            if len(cells) != len(self.columns):
                raise DataError(
                    f"{self.path} {where} has {len(cells)} cells, and there are {len(self.columns)} columns"
                )
            yield where, {**given, **{c: cell.strip() for c, cell in zip(self.columns, cells, strict=True)}}

    def point(self, cells: Mapping[str, str], gpus: Mapping[str, GPU]) -> Point:
        """One row.

        Raises:
            UsageError: a cell is wrong.
        """
        metrics = {m: v for m, column in self.spelled.items() if (v := _number(cells, column)) is not None}
        output_tokens = _needed(cells, "output_tokens")
        users = _number(cells, "users")
        if users is None:
            rate = metrics.get(_RATE)
            users = None if rate is None else users_by_littles_law(rate, metrics, output_tokens)
            if users is None:
                raise UsageError(
                    f"users is empty; cure: fill it in, or give {_RATE} and e2e_p50_ms (or ttft_p50_ms and tpot_p50_ms): users = "
                    "requests per second × time end to end"
                )
        share = _number(cells, "prefix_cached_share")
        return Point(
            cells["model"],
            Profile(find_gpu(cells["gpu"], dict(gpus), strict=True), _whole("gpus", _needed(cells, "gpus"))),
            cells["engine"].lower(),
            find_precision(cells["precision"]).name,
            _needed(cells, "input_tokens"),
            output_tokens,
            users,
            metrics,
            cells.get("source", ""),
            cells.get("date", ""),
            cells.get("engine_version", ""),
            share,
            *(None if (n := _number(cells, c)) is None else _whole(c, n) for c in PARALLELISM),
        )


def _number(cells: Mapping[str, str], column: str) -> float | None:
    """None: empty, so not measured."""
    text = cells.get(column, "")
    if not text:
        return None
    value = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not math.isfinite(value):
        raise UsageError(f"{column} is {text!r}; allowed: a finite number such as 12.5, or an empty cell: not measured")
    return value


def _needed(cells: Mapping[str, str], column: str) -> float:
    value = _number(cells, column)
    if value is None:
        raise UsageError(f"{column} is empty; allowed: a finite number > 0")
    return value


def _whole(column: str, value: float) -> int:
    if value != int(value) or value < 1:
        raise UsageError(f"{column} is {value:g}; allowed: a whole number ≥ 1")
    return int(value)
