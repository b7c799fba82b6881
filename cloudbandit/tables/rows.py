"""From the text of a file to typed rows, checked on the way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cloudbandit.core.errors import TableError
from cloudbandit.core.metrics import unit
from cloudbandit.core.parameter import Kind, Parameter
from cloudbandit.core.trial import Candidate, Status, Value
from cloudbandit.tables.cell import Cell, Row
from cloudbandit.tables.manifest import Manifest, ParameterRule

if TYPE_CHECKING:
    import pandas as pd


def read(path: Path) -> pd.DataFrame:
    """A file's cells as texts.

    Raises:
        TableError: it cannot be read.
    """
    import pandas as pd

    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path).astype(object).where(lambda x: x.notna(), "").astype(str)
        if path.name.endswith((".csv", ".csv.gz", ".csv.xz")):
            return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise TableError(
            f"the table's file {path} does not exist; cure: correct table.file in its table.toml"
        ) from None
    except ImportError as error:
        raise TableError(f"{path} is Parquet, which needs pyarrow. Cure: pip install 'cloudbandit[parquet]'") from error
    except (ValueError, OSError, UnicodeDecodeError) as error:  # pandas' parser errors are ValueErrors
        raise TableError(f"{path} cannot be read: {error}") from error
    raise TableError(f"{path.name}: a table's file ends in .csv, .csv.gz, .csv.xz or .parquet")


class Rows:
    """The text cells of a table under its manifest.

    Raises:
        TableError: a column is lacking, or a cell holds what the manifest rules out.
    """

    def __init__(self, manifest: Manifest, frame: pd.DataFrame) -> None:
        self.manifest, self.path = manifest, manifest.file
        self.columns: dict[str, list[str]] = {str(c): frame[c].tolist() for c in frame.columns}
        self.count = len(frame)
        self.rules = self._expand()
        self._check_columns()
        self.arms = tuple(sorted(set(self.columns[self.manifest.arm])))
        if "" in self.arms:
            line = self.columns[self.manifest.arm].index("") + 2
            raise TableError(f"{self.path} line {line}: the arm column {self.manifest.arm!r} is empty")
        for rule in self.manifest.params:
            if rule.arm is not None and rule.arm not in self.arms:
                raise TableError(
                    f"{self.path}: params.{rule.pattern} belongs to arm {rule.arm!r}, and the arms are {', '.join(self.arms)}"
                )
        self.parameters: dict[str, list[Parameter]] = {}

    def _expand(self) -> dict[str, ParameterRule]:
        """Column → rule. An exact name beats a prefix, and a prefix never takes a column that has another role."""
        taken = {column for column in self._roles().values() if column}
        exact = {rule.pattern for rule in self.manifest.params if not rule.pattern.endswith("*")}
        out: dict[str, ParameterRule] = {}
        for rule in self.manifest.params:
            if rule.pattern.endswith("*"):
                begun = [c for c in self.columns if c.startswith(rule.pattern[:-1])]
                hits = [c for c in begun if c not in taken and c not in exact]
                if begun and not hits:
                    raise TableError(
                        f"{self.path}: params.{rule.pattern} covers only columns that have another role, or a rule of their own: "
                        f"{', '.join(begun)}; cure: leave it out"
                    )
            else:
                hits = [c for c in self.columns if c == rule.pattern]
            if not hits:
                raise TableError(
                    f"{self.path} has no column for params.{rule.pattern!s}; its columns: {', '.join(self.columns)}"
                )
            for column in hits:
                if column in out:
                    raise TableError(
                        f"{self.path}: column {column!r} is covered by params.{out[column].pattern} and by params.{rule.pattern}; "
                        f"cure: longer prefixes, or a rule of its own, {column} = …"
                    )
                out[column] = rule
        return {c: out[c] for c in self.columns if c in out}

    def _roles(self) -> dict[str, str]:
        """The manifest's key → the column it names; empty where it names none."""
        m = self.manifest
        wanted = {"table.arm": m.arm, "table.load": m.load, "spent.usd": m.spent_usd, "spent.seconds": m.spent_seconds}
        wanted |= {f"table.context[{i}]": c for i, c in enumerate(m.context)}
        wanted |= {f"metrics.{k}": v.column for k, v in m.metrics.items()}
        wanted |= {f"facts.{k}": v for k, v in m.facts.items()}
        if m.status:
            wanted |= {"status.column": m.status.column, "status.reason": m.status.reason}
        return wanted

    def _check_columns(self) -> None:
        for key, column in self._roles().items():
            if column and column not in self.columns:
                raise TableError(
                    f"{self.path} has no column {column!r}, which {key} names; its columns: {', '.join(self.columns)}"
                )

    def cells(self) -> dict[str, dict[str, Cell]]:
        """Workload → candidate's key → cell; also fills ``parameters``, arm → its parameters."""
        m = self.manifest
        contexts = zip(*(self.columns[c] for c in m.context), strict=True)
        names = ["|".join(parts) for parts in contexts]
        arms = self.columns[m.arm]
        typed = {c: self._values(c, rule) for c, rule in self.rules.items()}
        values: dict[str, dict[str, list[Value]]] = {arm: {} for arm in self.arms}
        groups: dict[str, dict[str, list[Row]]] = {}
        made: dict[tuple[Any, ...], Candidate] = {}
        rows = self._rows()
        for i in range(self.count):
            arm = arms[i]
            key = (arm, *(typed[c][i] for c in typed))
            candidate = made.get(key)
            if candidate is None:
                config = {}
                for column, rule in self.rules.items():
                    value = typed[column][i]
                    if rule.arm is not None and rule.arm != arm:
                        if value is not None:
                            raise TableError(
                                f"{self.path} line {i + 2}: {column!r} belongs to arm {rule.arm!r} and is "
                                f"{value!r} in a row of arm {arm!r}; it must be empty there"
                            )
                    elif value is not None:
                        config[column] = value
                        values[arm].setdefault(column, []).append(value)
                candidate = made[key] = Candidate(arm, config)
            groups.setdefault(names[i], {}).setdefault(candidate.key, []).append(rows[i])
        self.parameters = {
            arm: [Parameter.listed(c, seen, self._kind(c)) for c, seen in by_column.items()]
            for arm, by_column in values.items()
        }
        by_key = {c.key: c for c in made.values()}
        return {
            name: {key: Cell(by_key[key], tuple(some)) for key, some in cells.items()} for name, cells in groups.items()
        }

    def _values(self, column: str, rule: ParameterRule) -> list[Value | None]:
        known: dict[str, Value | None] = {}
        for i, text in enumerate(self.columns[column]):
            if text not in known:
                known[text] = self._value(column, rule, i)
        return [known[text] for text in self.columns[column]]

    def _kind(self, column: str) -> Kind:
        return self.rules[column].kind

    def _value(self, column: str, rule: ParameterRule, i: int) -> Value | None:
        text = self.columns[column][i].strip()
        if not text:
            return None
        try:
            if rule.kind == "choice":
                return text
            if rule.kind == "bool":
                return {"true": True, "false": False, "1": True, "0": False}[text.lower()]
            number = float(text)
            if not math.isfinite(number) or (rule.kind == "int" and number != int(number)):
                raise ValueError
            return int(number) if rule.kind == "int" else number
        except (KeyError, ValueError):
            raise TableError(
                f"{self.path} line {i + 2}: parameter {column!r} is {text!r}, and its type is {rule.kind!r}; "
                "cure: correct the value, or declare the column as 'choice'"
            ) from None

    def _numbers(self, column: str, role: str, *, signed: bool = False) -> list[float | None]:
        """A column of numbers ≥ 0; an empty field is None."""
        if not column:
            return [None] * self.count
        import pandas as pd

        texts = pd.Series(self.columns[column], dtype=str).str.strip()
        numbers = pd.to_numeric(texts, errors="coerce").astype(float)
        empty = (texts == "").to_numpy()
        values = numbers.to_numpy()
        bad = ~empty & ~(np.isfinite(values) & (signed | (values >= 0)))
        if bad.any():
            i = int(np.flatnonzero(bad)[0])
            raise TableError(
                f"{self.path} line {i + 2}: {role} (column {column!r}) is {texts[i]!r}; "
                f"it must be a finite number{'' if signed else ' ≥ 0'}, or empty where the run failed"
            )
        return [None if e else v for e, v in zip(empty.tolist(), values.tolist(), strict=True)]

    def _facts(self, name: str, column: str) -> Sequence[float | str | None]:
        """Numbers; labels where one is none, unless the fact's name tells its unit."""
        texts = [text.strip() for text in self.columns[column]]
        if unit(name) or all(_is_number(text) for text in texts if text):
            return self._numbers(column, f"fact {name!r}", signed=True)
        return [text or None for text in texts]

    def _statuses(self) -> tuple[list[Status], list[str]]:
        rule = self.manifest.status
        if rule is None:
            return [Status.OK] * self.count, [""] * self.count
        known: dict[str, Status] = {}
        for i, text in enumerate(self.columns[rule.column]):
            if text not in known:
                status = rule.status(text)
                if status is None:
                    patterns = [p for some in rule.patterns.values() for p in some]
                    raise TableError(
                        f"{self.path} line {i + 2}: unknown status {text!r}; [status] covers {patterns}. "
                        'Cure: add a pattern, or otherwise = "failed"'
                    )
                known[text] = status
        texts = self.columns[rule.reason or rule.column]
        statuses = [known[text] for text in self.columns[rule.column]]
        return statuses, ["" if s is Status.OK else t for s, t in zip(statuses, texts, strict=True)]

    def _rows(self) -> list[Row]:
        m = self.manifest
        statuses, reasons = self._statuses()
        metrics = {k: self._numbers(v.column, f"metric {k!r}", signed=True) for k, v in m.metrics.items()}
        for name, column in metrics.items():
            charged = m.metrics[name].unit.upper() in ("USD", "S") or unit(name) in ("USD", "s", "ms")
            for i, value in enumerate(column):
                if statuses[i] is Status.OK and value is None:
                    raise TableError(f"{self.path} line {i + 2}: an ok run has no value for metric {name!r}")
                if value is not None and value < 0 and charged:
                    raise TableError(
                        f"{self.path} line {i + 2}: metric {name!r} is {value!r}; money and time cannot be negative"
                    )
        usd, seconds = self._numbers(m.spent_usd, "spent.usd"), self._numbers(m.spent_seconds, "spent.seconds")
        for role, column, given in (("spent.usd", usd, m.spent_usd), ("spent.seconds", seconds, m.spent_seconds)):
            for i, value in enumerate(column):
                if given and value is None and statuses[i] is Status.OK:
                    raise TableError(f"{self.path} line {i + 2}: {role} (column {given!r}) is empty in an ok run")
        facts = {k: self._facts(k, c) for k, c in m.facts.items()}
        loads = self._numbers(m.load, "table.load")
        for i, load in enumerate(loads if m.load else []):
            if load is None or load < 1 or load != int(load):
                raise TableError(
                    f"{self.path} line {i + 2}: table.load (column {m.load!r}) must be a whole number of users ≥ 1"
                )
        return [
            Row(
                i + 2,
                statuses[i],
                reasons[i],
                {k: v[i] for k, v in metrics.items() if v[i] is not None},  # type: ignore[misc]
                usd[i],
                seconds[i],
                {k: v[i] for k, v in facts.items() if v[i] is not None},  # type: ignore[misc]
                loads[i],
            )
            for i in range(self.count)
        ]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
