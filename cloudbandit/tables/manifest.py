"""``table.toml``: what the columns of a recorded table mean. The format is documented in docs/tables.md."""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from cloudbandit.core.errors import TableError, hint
from cloudbandit.core.parameter import Kind
from cloudbandit.core.trial import Status

_KINDS = ("int", "float", "bool", "choice")
_SECTIONS: dict[str, set[str] | None] = {  # None: any key
    "table": {"file", "licence", "source", "context", "arm", "load", "name", "description", "citation", "estimates"},
    "params": None,
    "metrics": None,
    "spent": {"usd", "seconds"},
    "status": {"column", "reason", "otherwise", *(str(s) for s in Status)},
    "replay": {"repeats", "missing", "failed_seconds"},
    "facts": None,
}


@dataclass(frozen=True, slots=True)
class ParameterRule:
    """A column, or every column with a prefix: its kind, and the arm it belongs to (None: all)."""

    pattern: str
    kind: Kind
    arm: str | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric's column and unit."""

    column: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class StatusRule:
    """Which texts of the status column mean what; patterns as in a shell."""

    column: str
    patterns: Mapping[Status, tuple[str, ...]]
    otherwise: Status | None
    reason: str = ""

    def status(self, text: str) -> Status | None:
        """None: no rule covers it."""
        for status, patterns in self.patterns.items():
            if any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns):
                return status
        return self.otherwise


@dataclass(frozen=True, slots=True)
class Manifest:
    """A parsed ``table.toml``; see docs/tables.md for every key."""

    file: Path
    context: tuple[str, ...]
    arm: str
    params: tuple[ParameterRule, ...]
    metrics: Mapping[str, Metric]
    spent_usd: str = ""
    spent_seconds: str = ""
    status: StatusRule | None = None
    repeats: str = "mean"
    missing: str = "exclude"
    failed_seconds: float | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""
    source: str = ""
    description: str = ""
    estimates: bool = False
    load: str = ""
    """The column of concurrent users: rows that differ in it alone are one config's load curve."""


def read_manifest(path: Path, file: Path | None = None) -> Manifest:
    """Parse a ``table.toml``.

    Args:
        path: the manifest.
        file: where the data are, if not beside the manifest.

    Raises:
        TableError: malformed or self-contradictory; the message names the key, what it holds, and what it may hold.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TableError(f"{path} does not exist; a table is a folder with a table.toml (see docs/tables.md)") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TableError(f"{path} is not TOML: {error}") from error
    return _Reader(path, raw).manifest(file)


class _Reader:
    def __init__(self, path: Path, raw: Mapping[str, Any]) -> None:
        self.path, self.raw = path, raw

    def wrong(self, key: str, got: object, allowed: str) -> TableError:
        return TableError(f"{self.path}: {key} is {got!r}; allowed: {allowed}")

    def manifest(self, file: Path | None) -> Manifest:
        self.check_keys()
        table = self.section("table")
        for key in ("file", "context", "arm"):
            if key not in table:
                raise TableError(f"{self.path}: [table] lacks {key!r}; it needs file, context and arm")
        params, metrics = self.params(), self.metrics()
        context = self.strings("table.context", table["context"])
        arm = self.string("table.arm", table["arm"])
        load = self.string("table.load", table.get("load", ""))
        roles = [*context, arm, load, *(m.column for m in metrics.values())]
        for rule in params:
            for column in roles:
                if rule.pattern == column:
                    raise TableError(f"{self.path}: column {column!r} is a parameter and has another role too")
        spent, replay = self.section("spent", {}), self.section("replay", {})
        failed = replay.get("failed_seconds")
        if failed is not None and (isinstance(failed, bool) or not isinstance(failed, int | float) or failed <= 0):
            raise self.wrong("replay.failed_seconds", failed, "a number of seconds > 0")
        return Manifest(
            file or self.path.parent / self.string("table.file", table["file"]),
            context,
            arm,
            params,
            metrics,
            self.string("spent.usd", spent.get("usd", "")),
            self.string("spent.seconds", spent.get("seconds", "")),
            self.status(),
            self.one_of("replay.repeats", replay.get("repeats", "mean"), ("mean", "draw", "first")),
            self.one_of("replay.missing", replay.get("missing", "exclude"), ("exclude", "unavailable")),
            None if failed is None else float(failed),
            {str(k): self.string(f"facts.{k}", v) for k, v in self.section("facts", {}).items()},
            self.string("table.licence", table.get("licence", "")),
            self.string("table.source", table.get("source", "")),
            self.string("table.description", table.get("description", "")),
            bool(table.get("estimates", False)),
            load,
        )

    def check_keys(self) -> None:
        for name, content in self.raw.items():
            if name not in _SECTIONS:
                raise TableError(
                    f"{self.path}: unknown section [{name}]{hint(name, _SECTIONS)}; known: {', '.join(_SECTIONS)}"
                )
            allowed = _SECTIONS[name]
            if not isinstance(content, dict):
                raise self.wrong(name, content, f"a section [{name}]")
            for key in content:
                if allowed is not None and key not in allowed:
                    known = ", ".join(sorted(allowed))
                    raise TableError(
                        f"{self.path}: unknown key {key!r} in [{name}]{hint(key, allowed)}; known: {known}"
                    )

    def section(self, name: str, default: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        if name not in self.raw and default is None:
            raise TableError(f"{self.path} lacks the section [{name}]; it needs [table], [params] and [metrics]")
        return cast(Mapping[str, Any], self.raw.get(name, default))

    def string(self, key: str, value: object) -> str:
        if not isinstance(value, str):
            raise self.wrong(key, value, "a text")
        return value

    def strings(self, key: str, value: object) -> tuple[str, ...]:
        if isinstance(value, str):
            return (value,)
        if isinstance(value, Sequence) and value and all(isinstance(v, str) for v in value):
            return tuple(value)
        raise self.wrong(key, value, "a list of texts, at least one")

    def one_of(self, key: str, value: object, allowed: tuple[str, ...]) -> str:
        if value not in allowed:
            raise self.wrong(key, value, ", ".join(allowed))
        return str(value)

    def params(self) -> tuple[ParameterRule, ...]:
        rules = []
        for name, spec in self.section("params").items():
            kind, arm = spec, None
            if isinstance(spec, dict):
                extra = set(spec) - {"type", "arm"}
                if extra or "type" not in spec:
                    raise self.wrong(f"params.{name}", spec, '{ type = "choice", arm = "A" }')
                kind, arm = spec["type"], spec.get("arm")
                arm = None if arm is None else self.string(f"params.{name}.arm", arm)
            rules.append(ParameterRule(name, cast(Kind, self.one_of(f"params.{name}", kind, _KINDS)), arm))
        if not rules:
            raise TableError(f"{self.path}: [params] is empty; a table needs at least one parameter")
        return tuple(rules)

    def metrics(self) -> dict[str, Metric]:
        out = {}
        for name, spec in self.section("metrics").items():
            spec = {"column": spec} if isinstance(spec, str) else spec
            if not isinstance(spec, dict) or "column" not in spec or set(spec) - {"column", "unit"}:
                raise self.wrong(f"metrics.{name}", spec, '{ column = "target_cost", unit = "USD" }')
            column = self.string(f"metrics.{name}.column", spec["column"])
            out[name] = Metric(column, self.string(f"metrics.{name}.unit", spec.get("unit", "")))
        if not out:
            raise TableError(f"{self.path}: [metrics] is empty; a table needs at least one metric")
        return out

    def status(self) -> StatusRule | None:
        if "status" not in self.raw:
            return None
        section = self.section("status")
        if "column" not in section:
            raise TableError(f"{self.path}: [status] lacks 'column'")
        patterns = {s: self.strings(f"status.{s}", section[str(s)]) for s in Status if str(s) in section}
        if Status.OK not in patterns:
            raise TableError(f"{self.path}: [status] lacks 'ok', e.g. ok = [\"ok\"]; without it no row could succeed")
        otherwise = section.get("otherwise")
        if otherwise is not None:
            self.one_of("status.otherwise", otherwise, tuple(str(s) for s in Status))
        return StatusRule(
            self.string("status.column", section["column"]),
            patterns,
            None if otherwise is None else Status(otherwise),
            self.string("status.reason", section.get("reason", "")),
        )
