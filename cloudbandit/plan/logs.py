"""Access logs and traces of requests → demand: when each came, how many tokens went in and out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cloudbandit.core.errors import DataError, UsageError
from cloudbandit.core.files import read_csv
from cloudbandit.plan.demand import Demand, Key, seconds

Floats = npt.NDArray[np.float64]
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "time": ("time", "timestamp", "TIMESTAMP"),
    "input": ("input_tokens", "ContextTokens", "prompt_tokens"),
    "output": ("output_tokens", "GeneratedTokens", "completion_tokens"),
}
"""Names a column may have; the second set is that of the Azure LLM inference traces."""
MAX_DISORDER_S = 300.0
_BUSY = 20
_SILENT = 3


@dataclass(frozen=True)
class AccessLog:
    """Requests in the order in which they came.

    Args:
        times: (n,) seconds since 1970.
        inputs, outputs: (n,) tokens.
        keys: (n,) workload and source of each.
    """

    times: Floats
    inputs: Floats
    outputs: Floats
    keys: tuple[Key, ...]

    def lengths(self) -> dict[str, tuple[float, float]]:
        """Workload → mean tokens in and out: what capacity is to be asked for."""
        out = {}
        names = np.array([w for w, _ in self.keys])
        for name in dict.fromkeys(names.tolist()):
            mine = names == name
            out[name] = float(self.inputs[mine].mean()), float(self.outputs[mine].mean())
        return out

    def demand(self, step_s: float = 3600.0, unit: str = "requests_per_s", gaps: str = "refuse") -> Demand:
        """Load in equal steps, beginning with the first whole one; a step that the log covers in part is left out.

        Args:
            unit: ``requests_per_s`` or ``output_tok_per_s``.
            gaps: ``refuse``, or ``zero``: a silence of three steps or more in a busy log is no gap in it.

        Raises:
            UsageError: another unit, or a word that is none of these.
            DataError: the log covers no whole step, or is silent for long in the midst of much.
        """
        if unit not in ("requests_per_s", "output_tok_per_s") or gaps not in ("refuse", "zero"):
            raise UsageError(
                f"unit {unit!r}, gaps {gaps!r}: allowed are requests_per_s, output_tok_per_s; refuse, zero"
            )
        first, end = np.ceil(self.times[0] / step_s - 1e-9), np.floor(self.times[-1] / step_s + 1e-9)
        steps = int(end - first)
        if steps < 1:
            raise DataError(
                f"the log covers {self.times[-1] - self.times[0]:.0f} s, and no whole step of {step_s:g} s; cure: a shorter step"
            )
        place = np.floor(self.times / step_s).astype(np.int64) - int(first)
        inside = (place >= 0) & (place < steps)
        counts = np.bincount(place[inside], minlength=steps)
        if gaps == "refuse":
            _check_silence(counts, first * step_s, step_s)
        weights = np.ones(len(self.times)) if unit == "requests_per_s" else self.outputs
        load = {}
        for key in dict.fromkeys(self.keys):
            mine = inside & np.array([k == key for k in self.keys])
            load[key] = np.bincount(place[mine], weights[mine], steps) / step_s
        left_out = int((~inside).sum())
        notes = (f"{left_out} requests of steps that the log covers in part are left out",) if left_out else ()
        return Demand(datetime.fromtimestamp(first * step_s, UTC), step_s, load, notes)


def _check_silence(counts: npt.NDArray[np.int64], start: float, step_s: float) -> None:
    run = longest = at = 0
    for i, n in enumerate(counts):
        run = 0 if n else run + 1
        if run > longest:
            longest, at = run, i - run + 1
    if longest >= _SILENT and np.median(counts[counts > 0]) >= _BUSY:
        when = datetime.fromtimestamp(start + at * step_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        raise DataError(
            f"the log is silent for {longest} steps of {step_s:g} s from {when}, and busy elsewhere: is a part missing? "
            "Cure: add it, or say that nothing came (gaps = zero)"
        )


def read_log(path: str | Path, workload: str = "requests", source: str = "everywhere") -> AccessLog:
    """From a CSV file with a time and token counts per request (`COLUMNS`), and perhaps ``workload`` and ``source``.

    Args:
        workload, source: of requests that do not say.

    Raises:
        DataError: it is empty, a time or a count is wrong, or the clock jumps back by more than `MAX_DISORDER_S`.
    """
    path = Path(path)
    rows = read_csv(path, [], f"there is no access log at {path}", DataError)
    if not rows:
        raise DataError(f"{path} holds no requests")
    header = rows[0][1]
    names = {what: next((n for n in some if n in header), None) for what, some in COLUMNS.items()}
    lacking = next((what for what, name in names.items() if name is None), None)
    if lacking is not None:
        raise DataError(f"{path} has no column for {lacking}; it may be called {', '.join(COLUMNS[lacking])}")
    times, tokens, keys = np.zeros(len(rows)), np.zeros((2, len(rows))), []
    for i, (line, row) in enumerate(rows):
        times[i] = seconds(row[str(names["time"])], f"{path} line {line}")
        for j, what in enumerate(("input", "output")):
            text = row[str(names[what])]
            if not text.strip().isdecimal():
                raise DataError(f"{path} line {line}: {names[what]} is {text!r}; it must be a whole number ≥ 0")
            tokens[j, i] = float(text)
        keys.append((row.get("workload") or workload, row.get("source") or source))
    late = np.maximum.accumulate(times) - times
    if late.max() > MAX_DISORDER_S:
        line = rows[int(np.argmax(late))][0]
        raise DataError(
            f"{path} line {line}: the clock jumps back by {late.max():.0f} s; cure: times in UTC (no summer time), in order"
        )
    order = np.argsort(times, kind="stable")
    return AccessLog(times[order], tokens[0, order], tokens[1, order], tuple(keys[i] for i in order))
