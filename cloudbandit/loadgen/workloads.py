"""What is sent, and when: lengths of requests, shared prefixes, arrivals. A seed determines all of it.

A `Workload` draws requests; a load (`Closed` or `Open`) says when they are sent; `plan` puts both into what `client.run` takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt

from cloudbandit.core.errors import DataError, UsageError
from cloudbandit.core.files import read_csv

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class Lengths(Protocol):
    """Where input and output lengths come from."""

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """n input and n output lengths in tokens, each ≥ 1."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """Every request has these lengths."""

    input_tokens: int
    output_tokens: int

    def __post_init__(self) -> None:
        _at_least_one(self.input_tokens, self.output_tokens)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        return np.full(n, self.input_tokens), np.full(n, self.output_tokens)


@dataclass(frozen=True, slots=True)
class LogNormal:
    """Independent log-normal lengths with these medians; ``sigma`` is the standard deviation of the logarithm."""

    input_median: float
    output_median: float
    input_sigma: float = 0.6
    output_sigma: float = 0.6
    longest: int = 4096

    def __post_init__(self) -> None:
        _at_least_one(self.input_median, self.output_median)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        def one(median: float, sigma: float) -> Ints:
            return np.clip(np.rint(median * np.exp(sigma * rng.standard_normal(n))), 1, self.longest).astype(np.int64)

        return one(self.input_median, self.input_sigma), one(self.output_median, self.output_sigma)


@dataclass(frozen=True)
class Empirical:
    """Pairs of lengths as they occurred, drawn together: long prompts keep their long answers."""

    pairs: Ints
    """(requests, 2): input, output."""

    def __post_init__(self) -> None:
        if self.pairs.ndim != 2 or self.pairs.shape[1] != 2 or not len(self.pairs) or self.pairs.min() < 1:
            raise UsageError(f"empirical lengths are an array of (input, output) ≥ 1, got shape {self.pairs.shape}")

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        chosen = self.pairs[rng.integers(len(self.pairs), size=n)]
        return chosen[:, 0], chosen[:, 1]

    @classmethod
    def load(cls, path: str | Path) -> Empirical:
        """From a CSV file with the columns ``input_tokens`` and ``output_tokens`` (``data/llm-pilot/requests.csv``).

        Raises:
            DataError: a column is missing or a row is no pair of whole numbers ≥ 1.
        """
        return cls(np.array([row[1:] for row in _rows(path)], np.int64))


def _at_least_one(*lengths: float) -> None:
    if not all(math.isfinite(v) and v >= 1 for v in lengths):
        raise UsageError(f"lengths are numbers of tokens ≥ 1, got {', '.join(map(str, lengths))}")


_LONGEST = 1_000_000_000
_COLUMNS = {
    "at": ("at_s", "TIMESTAMP", "timestamp"),
    "input": ("input_tokens", "ContextTokens", "input_length"),
    "output": ("output_tokens", "GeneratedTokens", "output_length"),
}


def _rows(path: str | Path, *, timed: bool = False) -> list[tuple[float, int, int]]:
    path = Path(path).expanduser()
    rows = read_csv(path, (), f"there is no file at {path}", DataError)
    if not rows:
        raise DataError(f"{path} holds no request")
    columns = list(rows[0][1])
    found = {k: next((c for c in names if c in columns), None) for k, names in _COLUMNS.items()}
    missing = [k for k in (("at", "input", "output") if timed else ("input", "output")) if found[k] is None]
    if missing:
        raise DataError(f"{path} lacks {', '.join(' or '.join(_COLUMNS[k]) for k in missing)}; it has {columns}")
    out = []
    for line, row in rows:
        try:
            at = _seconds(row[found["at"]]) if timed and found["at"] else 0.0
            pair = int(float(row[found["input"] or ""])), int(float(row[found["output"] or ""]))
        except (ValueError, OverflowError):
            raise DataError(f"{path} line {line}: {row} is not a time and two whole numbers") from None
        if not (math.isfinite(at) and min(pair) >= 1 and max(pair) <= _LONGEST):
            raise DataError(f"{path} line {line}: lengths must be ≥ 1 and ≤ {_LONGEST}, times finite; got {at}, {pair}")
        out.append((at, *pair))
    return out


def _seconds(text: str) -> float:
    """Plain seconds, or a date and time (up to 100 ns, as in the Azure traces)."""
    try:
        return float(text)
    except ValueError:
        whole, _, fraction = text.partition(".")
        return datetime.fromisoformat(whole).timestamp() + (float(f"0.{fraction}") if fraction else 0.0)


# ── arrivals ──


@dataclass(frozen=True, slots=True)
class Closed:
    """So many users, one request in flight each. They start spread over ``ramp_s``."""

    users: int
    think_s: float = 0.0
    ramp_s: float = 0.0

    def __post_init__(self) -> None:
        if self.users < 1 or self.think_s < 0 or self.ramp_s < 0:
            raise UsageError(f"a closed loop needs users ≥ 1 and times ≥ 0, got {self}")


@dataclass(frozen=True, slots=True)
class Open:
    """Arrivals at a rate, whatever the server does.

    Args:
        rate_per_s: mean arrivals per second, at the end of the ramp if there is one.
        burstiness: coefficient of variation of the gaps: 1 is a Poisson process, 0 constant gaps, above 1 bursts (gamma gaps).
        ramp_from_per_s: the rate grows linearly from here to ``rate_per_s`` over the ``ramp_s`` first seconds.
    """

    rate_per_s: float
    burstiness: float = 1.0
    ramp_from_per_s: float | None = None
    ramp_s: float = 0.0

    def __post_init__(self) -> None:
        if (
            not (0 < self.rate_per_s < math.inf)
            or self.burstiness < 0
            or self.ramp_s < 0
            or (self.ramp_from_per_s or 0) < 0
        ):
            raise UsageError(f"an open loop needs a rate > 0 and no negative figure, got {self}")

    def times(self, n: int, rng: np.random.Generator) -> Floats:
        """n arrival times in seconds, increasing."""
        if self.burstiness == 0:
            gaps = np.ones(n)
        else:
            shape = 1.0 / self.burstiness**2
            gaps = rng.gamma(shape, 1.0 / shape, size=n)
        work = np.cumsum(gaps) - gaps[0]  # in units of expected arrivals; the first comes at 0
        start = self.rate_per_s if self.ramp_from_per_s is None else self.ramp_from_per_s
        if self.ramp_s == 0 or start == self.rate_per_s:
            steady: Floats = work / self.rate_per_s
            return steady
        # the integral of a linearly growing rate, inverted
        slope = (self.rate_per_s - start) / self.ramp_s
        during = (start + self.rate_per_s) / 2 * self.ramp_s
        root = (-start + np.sqrt(np.maximum(start**2 + 2 * slope * np.minimum(work, during), 0.0))) / slope
        out: Floats = np.where(work <= during, root, self.ramp_s + (work - during) / self.rate_per_s)
        return out


@dataclass(frozen=True)
class Trace:
    """Arrivals and lengths as they were recorded, e.g. the Azure LLM inference traces.

    Args:
        at_s: times from the first request on.
        pairs: input and output tokens.
        speed: 2 replays twice as fast.
    """

    at_s: Floats
    pairs: Ints
    speed: float = 1.0

    @classmethod
    def load(cls, path: str | Path, speed: float = 1.0) -> Trace:
        """From a CSV file with a time and two lengths per row: ``at_s, input_tokens, output_tokens``, or the columns of the Azure
        traces (``TIMESTAMP, ContextTokens, GeneratedTokens``).

        Raises:
            DataError: the file is not like that.
        """
        if not (0 < speed < math.inf):
            raise UsageError(f"speed must be > 0, got {speed}")
        rows = sorted(_rows(path, timed=True))
        at = np.array([r[0] for r in rows])
        return cls(at - at[0], np.array([r[1:] for r in rows], np.int64), speed)


# ── requests ──

# Words that tokenizers have as one token each.
_WORDS = (
    *("time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state"),
    *("family", "student", "group", "country", "problem", "hand", "part", "place", "case", "week", "company", "system"),
    *("program", "question", "work", "government", "number", "night", "point", "home", "water", "room", "mother"),
    *("area", "money", "story", "fact", "month", "lot", "right", "study", "book", "eye", "job", "word", "business"),
    *("issue", "side", "kind", "head", "house", "service", "friend", "father", "power", "hour", "game", "line"),
)


@dataclass(frozen=True)
class Workload:
    """What requests look like.

    Args:
        lengths: of inputs and outputs.
        shared_prefix_tokens: the first tokens of every prompt that has more, common to all that share a prefix.
        prefixes: how many different prefixes there are.
        vocabulary: token ids are drawn from this range; the low ids are often special.
        text: prompts as words instead of token ids, because chat endpoints and some servers take text only. The words are so
            common that tokenizers have each as one token; how many input tokens a request really had is in its record.
    """

    lengths: Lengths
    shared_prefix_tokens: int = 0
    prefixes: int = 1
    vocabulary: tuple[int, int] = (10, 250)
    text: bool = False

    def __post_init__(self) -> None:
        low, high = self.vocabulary
        if not 0 <= low < high or self.shared_prefix_tokens < 0 or self.prefixes < 1:
            raise UsageError(f"a workload needs a vocabulary low < high, a prefix ≥ 0 and prefixes ≥ 1, got {self}")

    def requests(self, n: int, rng: np.random.Generator, pairs: Ints | None = None) -> list[dict[str, Any]]:
        """n requests for a plan; ``pairs`` fixes their lengths."""
        inputs, outputs = self.lengths.draw(n, rng) if pairs is None else (pairs[:, 0], pairs[:, 1])
        low, high = self.vocabulary
        shared = rng.integers(low, high, size=(self.prefixes, self.shared_prefix_tokens))
        out = []
        for i in range(n):
            own = rng.integers(low, high, size=int(inputs[i]))
            prefix = shared[int(rng.integers(self.prefixes))][: max(0, int(inputs[i]) - 1)]
            own[: len(prefix)] = prefix
            tokens = own.tolist()
            prompt: Any = " ".join(_WORDS[t % len(_WORDS)] for t in tokens) if self.text else tokens
            out.append({"id": i, "prompt": prompt, "max_tokens": int(outputs[i])})
        return out


def plan(
    workload: Workload,
    load: Closed | Open | Trace,
    *,
    url: str,
    model: str,
    seed: int,
    requests: int,
    duration_s: float | None = None,
    timeout_s: float = 60.0,
    chat: bool = False,
    extra: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What `client.run` takes; JSON-able.

    It has ``url`` (scheme, host and port count), ``path``, ``headers``, ``timeout_s`` (of a request, from when it is scheduled to
    its end, connecting included), ``body`` (fields common to all requests), ``requests`` (``id``, ``body``, ``max_tokens``, and
    in an open loop ``at_s``), and in a closed loop ``users``, ``ramp_s`` (they start spread over it) and ``think_s``.

    Args:
        requests: how many at most.
        duration_s: no request is started later.
        chat: use the chat endpoint (the workload must then be text).
        extra: fields of every request body, e.g. ``{"ignore_eos": True}``.
        headers: e.g. an authorization; they are in the plan, so keep it where secrets may be.

    Raises:
        UsageError: no request, a url that is none, or token ids for a chat endpoint.
    """
    if requests < 1:
        raise UsageError(f"requests is {requests}; it must be at least 1")
    if chat and not workload.text:
        raise UsageError("a chat endpoint takes text; cure: Workload(…, text=True)")
    try:
        address = urlsplit(url)
        whole = address.scheme in ("http", "https") and address.hostname and address.port != 0
    except ValueError:  # a port that is none
        whole = False
    if not whole:
        raise UsageError(f"the url is {url!r}; it must read http://host:port")
    rng = np.random.default_rng(seed)
    out: dict[str, Any] = {
        "url": url,
        "path": address.path.rstrip("/") + ("/v1/chat/completions" if chat else "/v1/completions"),
        "headers": {"Host": address.netloc.rpartition("@")[2], "Content-Type": "application/json", **(headers or {})},
        "timeout_s": timeout_s,
        "body": {"model": model, "stream": True, "stream_options": {"include_usage": True}, **(extra or {})},
    }
    if duration_s is not None:
        out["duration_s"] = duration_s
    if isinstance(load, Closed):
        out |= {"users": load.users, "think_s": load.think_s, "ramp_s": load.ramp_s}
        times, pairs = None, None
    elif isinstance(load, Trace):
        requests = min(requests, len(load.at_s))
        times, pairs = load.at_s[:requests] / load.speed, load.pairs[:requests]
    else:
        times, pairs = load.times(requests, rng), None
    out["requests"] = []
    for i, made in enumerate(workload.requests(requests, rng, pairs)):
        said = {"messages": [{"role": "user", "content": made["prompt"]}]} if chat else {"prompt": made["prompt"]}
        request = {
            "id": made["id"],
            "max_tokens": made["max_tokens"],
            "body": {**said, "max_tokens": made["max_tokens"]},
        }
        out["requests"].append(request if times is None else {**request, "at_s": float(times[i])})
    return out
