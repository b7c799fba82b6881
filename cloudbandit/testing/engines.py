"""Simulated serving engines: settings that crash, trade-offs, noise, and a known answer.

Nothing can be learnt from them about real engines; what is real is the shape of the problem. Each is a listing of some hundreds
of configs that meet the known constraints, of which some crash all the same, and an exact formula for the others. A seed draws
the constants, so that no method can be made for one instance.

`memory_engine`: GPU memory decides. Weights, a step's activations, captured graphs and the cache of keys and values must fit into
the share that the engine takes; what other programs hold must fit into the rest. What is too small for the longest request starts
and then answers nothing.

`queueing_engine`: waiting decides. Requests arrive at random; one server per group of GPUs works on batches. An unstable queue
times out; so does a scheduler that waits longer than clients do, and speculation whose draft model does not fit crashes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from cloudbandit.core.goal import SLO, SLOGoal
from cloudbandit.core.protocols import Quote, Run
from cloudbandit.core.space import Domain
from cloudbandit.core.trial import Candidate, Config, Result, Status, Trial, Value

if TYPE_CHECKING:
    from cloudbandit.tables.table import Table

ARM = "simulated"
_USD_PER_H = 2.0
_FAILED_S = 90.0  # until an engine that cannot work is given up
_TRIAL_S = 300.0
_MEET = 0.35

Formula = Callable[[Config, float], Mapping[str, float] | str]
"""The metrics of a config under a share of the load, or the reason why it fails."""


@dataclass(frozen=True)
class SimulatedEngine:
    """An objective over a listing; see the module's text.

    Attributes:
        name: of the engine.
        formula: what is true of a config.
        configs: all that meet the known constraints.
        default: what the engine is started with where nobody chose; it runs.
        goal: what is asked by default: throughput at an SLO, which the default may miss.
        noise: standard deviation of the logarithm of a measurement, beside the truth; 0: none.
        loads: shares of the whole load, increasing, the last 1: a trial measures one after the other, reports each, and takes as
            long for each.
    """

    name: str
    formula: Formula
    configs: Sequence[Config]
    default: Candidate
    goal: SLOGoal
    noise: float = 0.0
    loads: Sequence[float] = (1.0,)
    _truths: dict[str, Result] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def domain(self) -> Domain:
        """One arm."""
        return Domain({ARM: list(self.configs)})

    def truth(self, candidate: Candidate) -> Result:
        """What the config does, without noise."""
        found = self._truths.get(candidate.key)
        if found is None:
            metrics = self.formula(candidate.config, 1.0)
            if isinstance(metrics, str):
                status = Status.TIMEOUT if metrics == "request_timeout" else Status.FAILED
                found = Result(status, spent_usd=_USD_PER_H * _FAILED_S / 3600, seconds=_FAILED_S, reason=metrics)
            else:
                found = Result(metrics=metrics, spent_usd=_USD_PER_H * _TRIAL_S / 3600, seconds=_TRIAL_S)
            self._truths[candidate.key] = found
        return found

    def quote(self, candidate: Candidate) -> Quote:
        """A whole trial."""
        return Quote(_USD_PER_H * _TRIAL_S / 3600, _TRIAL_S)

    def evaluate(self, trial: Trial, run: Run) -> Result:
        """The truth, each metric times a log-normal error drawn with the trial's seed; after each load but the last the run may
        end it."""
        truth = self.truth(trial.candidate)
        if truth.status is not Status.OK:
            return truth
        rng, rows = np.random.default_rng(trial.seed), list[dict[str, float]]()
        for n, share in enumerate(self.loads, start=1):
            metrics = truth.metrics if share == 1.0 else self.formula(trial.candidate.config, share)
            assert not isinstance(metrics, str), "what stands the whole load stands a part of it"
            noisy = {m: x * math.exp(self.noise * float(rng.normal())) for m, x in sorted(metrics.items())}
            rows.append({"users": share, **noisy})
            part = n / len(self.loads)
            if n < len(self.loads) and not run.report(rows[-1]):
                spent, seconds = truth.spent_usd * part, truth.seconds * part
                return Result(
                    Status.STOPPED, noisy, spent_usd=spent, seconds=seconds, reason="hopeless", rows=tuple(rows)
                )
        several = tuple(rows) if len(rows) > 1 else ()
        return Result(metrics=noisy, spent_usd=truth.spent_usd, seconds=truth.seconds, rows=several)

    def optimum(self, goal: SLOGoal | None = None) -> Candidate:
        """The best config under the goal, by default the engine's own; the first of equals."""
        asked = goal or self.goal
        scores = [(asked.score(self.truth(c)), i) for i, c in enumerate(self.domain.candidates)]
        return self.domain.candidates[min((s, i) for s, i in scores if s is not None and s.feasible)[1]]

    def rows(self) -> Iterator[dict[str, object]]:
        """One per config: workload, arm, parameters, metrics, what a trial costs, and how it ended."""
        for candidate in self.domain.candidates:
            truth = self.truth(candidate)
            spent = {"usd": truth.spent_usd, "seconds": truth.seconds, "status": str(truth.status)}
            yield {"workload": self.name, "arm": ARM, **candidate.config, **truth.metrics, **spent}


def recorded(engines: Iterable[SimulatedEngine], name: str = "simulated") -> Table:
    """Engines with the same knobs as a recorded table, a workload each."""
    import pandas as pd

    from cloudbandit.tables.table import Table

    listed = list(engines)
    metrics = sorted(next(r.metrics for e in listed for c in e.domain.candidates if (r := e.truth(c)).metrics))
    spent = {"usd": "usd", "seconds": "seconds"}
    frame = pd.DataFrame([row for engine in listed for row in engine.rows()])
    return Table.from_frame(
        frame, metrics=metrics, arm="arm", context="workload", spent=spent, status="status", name=name
    )


def memory_engine(seed: int = 0, noise: float = 0.0, loads: Sequence[float] = (1.0,)) -> SimulatedEngine:
    """768 configs; see the module's text."""
    rng = np.random.default_rng((seed, 1))
    gpu_gib, others_gib = 40.0, float(rng.uniform(1.2, 3.2))
    weights_gib = float(rng.uniform(22.0, 26.0))
    kib_per_token, mib_per_batched = float(rng.uniform(110, 190)), float(rng.uniform(0.35, 0.65))
    mib_per_graph, longest, users, mean_tokens = float(rng.uniform(4, 9)), 8192, 96, 1400
    step_ms, ms_per_seq, us_per_kv = (
        float(rng.uniform(7, 11)),
        float(rng.uniform(0.06, 0.12)),
        float(rng.uniform(0.03, 0.07)),
    )
    us_per_prefill = float(rng.uniform(45, 75))

    def formula(config: Config, load: float) -> Mapping[str, float] | str:
        share, seqs = float(config["gpu_memory_utilization"]), int(config["max_num_seqs"])
        batched, block = int(config["max_num_batched_tokens"]), int(config["block_size"])
        fp8, caching = config["kv_cache_dtype"] == "fp8", bool(config["enable_prefix_caching"])
        activations = batched * mib_per_batched / 1024
        graphs = seqs * mib_per_graph / 1024
        cache_gib = gpu_gib * share - weights_gib - activations - graphs
        per_token = kib_per_token * (0.5 if fp8 else 1.0) / 1024**2
        tokens = max(0.0, cache_gib) / per_token
        if fp8 and block == 8:
            return "start_crash"  # no kernel
        if gpu_gib * (1 - share) < others_gib + 0.35 * activations:
            return "out_of_memory"
        if tokens < block:
            return "out_of_memory"
        if tokens < longest:
            return "empty_output"
        wasted = mean_tokens + 0.5 * block
        running = min(float(seqs), tokens / wasted, users * load)
        hit = 0.45 if caching else 0.0
        prefill = mean_tokens * 0.8 * (1 - hit)
        decode_ms = step_ms * (1.06 if fp8 else 1.0) + ms_per_seq * running + us_per_kv * running * mean_tokens / 1000
        decode_ms *= 1 + 0.04 * (block == 8) + (0.03 if caching else 0.0)
        chunk = min(batched, prefill * max(1.0, running / 16))
        answer = 0.2 * mean_tokens
        steps = prefill * running / answer / batched  # steps with a full chunk, per decoded token
        tpot = decode_ms + min(1.0, steps) * chunk * us_per_prefill / 1000 + 1.5 * steps
        alone_ms = prefill * us_per_prefill / 1000 + math.ceil(prefill / batched) * step_ms
        waiting = max(0.0, users * load / running - 1) * answer * tpot * 0.5
        ttft = alone_ms + waiting + 0.15 * running * math.ceil(prefill / batched)
        rate = 1000 * running / (tpot + alone_ms / answer)
        return _latencies(ttft, tpot, rate)

    knobs: Mapping[str, tuple[Value, ...]] = {
        "gpu_memory_utilization": (0.7, 0.8, 0.9, 0.95),
        "max_num_seqs": (8, 32, 64, 128, 512),
        "max_num_batched_tokens": (256, 1024, 4096, 8192, 16384),
        "block_size": (8, 16),
        "kv_cache_dtype": ("auto", "fp8"),
        "enable_prefix_caching": (False, True),
    }
    default: Config = {
        "gpu_memory_utilization": 0.9,
        "max_num_seqs": 64,
        "max_num_batched_tokens": 1024,
        "block_size": 16,
        "kv_cache_dtype": "auto",
        "enable_prefix_caching": False,
    }
    return _made(f"memory-{seed}", formula, knobs, default, noise, loads, lambda c: True)


def queueing_engine(seed: int = 0, noise: float = 0.0, loads: Sequence[float] = (1.0,)) -> SimulatedEngine:
    """675 configs; see the module's text."""
    rng = np.random.default_rng((seed, 2))
    gpus = 4
    per_s, answer, prompt = float(rng.uniform(17, 24)), 180.0, 700.0
    base_ms, ms_per_seq = float(rng.uniform(9, 14)), float(rng.uniform(0.10, 0.18))
    us_per_prefill, sharing = float(rng.uniform(60, 95)), float(rng.uniform(0.62, 0.78))
    accept, draft_ms = float(rng.uniform(0.55, 0.75)), float(rng.uniform(0.9, 1.8))

    def formula(config: Config, load: float) -> Mapping[str, float] | str:
        tp, seqs = int(config["tensor_parallel_size"]), int(config["max_num_seqs"])
        batched, delay = int(config["max_num_batched_tokens"]), float(config["scheduler_delay_factor"])
        guesses, chunked = int(config["num_speculative_tokens"]), bool(config["enable_chunked_prefill"])
        servers, speed = gpus // tp, float(tp**sharing)
        if guesses >= 4 and tp == 1:
            return "out_of_memory"  # the draft model beside the whole model
        if not chunked and guesses and tp == 4:
            return "start_crash"
        gained: float = sum(accept**k for k in range(guesses + 1))
        step = (base_ms + draft_ms * guesses) / speed

        def tpot_at(n: float) -> float:
            decode = step + ms_per_seq * n * (1 + 0.5 * guesses) / speed
            per_answer = prompt * us_per_prefill / 1000 / speed
            stall = per_answer * n / answer * (0.55 if chunked else 1.0)
            overhead = (0.25 * step * min(1.0, prompt * n / answer / batched)) if chunked else 0.0
            return (decode + overhead) / gained + stall

        arriving = per_s * load / servers
        full = float(seqs)
        capacity = 1000 * full / (answer * tpot_at(full))
        busy = arriving / capacity
        if busy >= 0.97:
            return "request_timeout"
        n = 1.0
        for _ in range(60):  # Little's law: what is running at once is arrivals × time in service
            n = 0.5 * n + 0.5 * min(full, max(1.0, arriving * answer * tpot_at(n) / 1000))
        tpot = tpot_at(n)
        prefill = prompt * us_per_prefill / 1000 / speed * (1.0 + 0.12 * math.log2(max(1.0, prompt / batched)))
        wait = busy ** math.sqrt(2 * (seqs / 8 + 1)) / (1 - busy) * answer * tpot / seqs * 3.0
        delayed = delay * prefill * (1.0 + 2.0 * busy)
        if delayed > 900.0 / speed:
            return "request_timeout"
        tpot *= 1.0 - 0.06 * min(delay, 1.0) * (0 if chunked else 1)
        return _latencies(
            prefill * (1.2 if chunked else 1.0) + wait + delayed, tpot, per_s * load * answer * (1 - busy**8)
        )

    knobs: Mapping[str, tuple[Value, ...]] = {
        "tensor_parallel_size": (1, 2, 4),
        "max_num_seqs": (8, 16, 32, 64, 256),
        "max_num_batched_tokens": (256, 1024, 4096),
        "scheduler_delay_factor": (0.0, 0.5, 2.0),
        "num_speculative_tokens": (0, 2, 4),
        "enable_chunked_prefill": (False, True),
    }
    default: Config = {
        "tensor_parallel_size": 2,
        "max_num_seqs": 64,
        "max_num_batched_tokens": 1024,
        "scheduler_delay_factor": 0.5,
        "num_speculative_tokens": 0,
        "enable_chunked_prefill": True,
    }
    return _made(f"queueing-{seed}", formula, knobs, default, noise, loads, _whole_prompts)


def _whole_prompts(config: Config) -> bool:
    """A known constraint: without chunked prefill a prompt must fit into a batch."""
    return bool(config["enable_chunked_prefill"]) or int(config["max_num_batched_tokens"]) >= 1024


def _latencies(ttft: float, tpot: float, tokens_per_s: float) -> dict[str, float]:
    return {"ttft_p95_ms": ttft, "tpot_p50_ms": tpot, "output_tok_per_s": tokens_per_s}


def _made(
    name: str,
    formula: Formula,
    knobs: Mapping[str, tuple[Value, ...]],
    default: Config,
    noise: float,
    loads: Sequence[float],
    fits: Callable[[Config], bool],
) -> SimulatedEngine:
    every = [dict(zip(knobs, values, strict=True)) for values in product(*knobs.values())]
    allowed = [c for c in every if int(c["max_num_seqs"]) <= int(c["max_num_batched_tokens"]) and fits(c)]
    return SimulatedEngine(name, formula, allowed, Candidate(ARM, default), _goal(formula, allowed), noise, loads)


def _goal(formula: Formula, configs: Sequence[Config]) -> SLOGoal:
    """Time per token at a time to first token that a third of the configs that run do meet."""
    ran = [metrics["ttft_p95_ms"] for c in configs if not isinstance(metrics := formula(c, 1.0), str)]
    return SLOGoal("tpot_p50_ms", (SLO("ttft_p95_ms", float(f"{np.quantile(ran, _MEET):.3g}")),))
