"""A trial on a real engine: lease a host, start the engine, try one request, put it under load, stop everything.

However a trial ends, its config's fault or not, the outcome is one of a few stable reasons, the engine's last log lines are kept
with it, and nothing is left running.
"""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cloudbandit.core.errors import UsageError
from cloudbandit.core.goal import SLO
from cloudbandit.core.listing import Listing
from cloudbandit.core.offer import Offer
from cloudbandit.core.protocols import Host, Provider, Quote, Run
from cloudbandit.core.space import Domain
from cloudbandit.core.trial import Candidate, Config, Result, Status, Trial
from cloudbandit.engines.engine import Engine
from cloudbandit.engines.running import Running, StartFailed, running
from cloudbandit.live.lease import lease
from cloudbandit.loadgen import client
from cloudbandit.loadgen.metrics import LoadSummary, check_request_slos, summarize
from cloudbandit.loadgen.workloads import Closed, Open, Trace, Workload, plan

REASONS = {
    "known_constraint": "the config contradicts itself; nothing was started",
    "start_crash": "the engine exited before it was ready",
    "start_timeout": "the engine was not ready in time",
    "engine_died": "the engine exited under requests",
    "request_error": "the first request failed, or all of the load did",
    "request_timeout": "the same, by not ending in time",
    "empty_output": "the same, by ending without a token",
    "too_short": "the load was over before the warm-up was",
    "disk_full": "the machine has no space left: not the config's doing",
    "cancelled": "the study wanted its host back",
}
_OF_STATUS = {"empty": "empty_output", "timeout": "request_timeout"}
_CLIENT = "client.py"
_STOP_S = 15.0
"""Stopping an engine takes no longer."""


class _Failed(Exception):
    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class Unattended:
    """A `cloudbandit.core.protocols.Run` nobody watches: for a trial outside a study."""

    cancelled = False
    deadline: float | None = None

    def report(self, partial: Mapping[str, float]) -> bool:
        return True

    def log(self, message: str) -> None: ...


@dataclass
class LiveObjective:
    """Measures configs of an engine.

    A trial's metrics are those of the last load, and ``start_s``; with several loads there is a row per load, so that a load
    curve can be judged. Only requests after the warm-up count. Each trial draws its requests anew (its own seed), so that
    repeats differ as they would in production, and a prefix cache does not see whole prompts again.

    Args:
        provider, engine, model: where, what, and what it serves.
        workload: what requests look like.
        loads: one after the other on the same engine.
        requests: per load.
        limit_s: a trial is stopped after so long, the start of the engine included; what it can cost is this and stopping.
        timeout_s: of one request.
        slos: on single requests, for the goodput.
        keep: a folder where every request's record is kept.
        run: tags the hosts of this study.
        trust: start also what the engine's known constraints rule out (to record how it fails).
    """

    provider: Provider
    engine: Engine
    model: str
    workload: Workload
    loads: Sequence[Closed | Open | Trace]
    requests: int = 64
    warmup_s: float = 0.0
    limit_s: float = 180.0
    timeout_s: float = 30.0
    slos: Sequence[SLO] = ()
    keep: Path | None = None
    run: str = "cloudbandit"
    trust: bool = False
    _offers: dict[str, Offer] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.loads or self.requests < 1:
            raise UsageError("a live trial needs at least one load and one request")
        check_request_slos(self.slos)
        offers = list(self.provider.offers())
        self._offers = {o.instance_type: o for o in offers}

    def domain(self) -> Domain:
        """An arm per offer, the engine's knobs in each; inactive knobs are absent."""
        configs = self.engine.configs()
        fitting = {
            name: [c for c in configs if self._too_small(offer, c) is None] for name, offer in self._offers.items()
        }
        if not any(fitting.values()):
            raise UsageError(
                f"no offer has the accelerators that any config of {self.engine.name} takes; narrow its knobs"
            )
        return Domain({name: Listing(some) for name, some in fitting.items() if some})

    def _too_small(self, offer: Offer, config: Config) -> str | None:
        """None where the offer has the accelerators a config takes, or nobody knows how many it has."""
        taken = self.engine.accelerators(config)
        if not 0 < offer.accelerators < taken:
            return None
        return f"the config takes {taken} accelerators; {offer.instance_type} has {offer.accelerators}"

    def facts(self, candidate: Candidate) -> Mapping[str, float]:
        """The price of the arm's offer."""
        return {"price_usd_per_h": self._offers[candidate.arm[0]].usd_per_h}

    def quote(self, candidate: Candidate) -> Quote:
        """The price for the longest a trial may take."""
        usd_per_h = self._offers[candidate.arm[0]].usd_per_h
        seconds = self.limit_s + _STOP_S
        return Quote(usd_per_h * seconds / 3600, seconds)

    def evaluate(self, trial: Trial, run: Run) -> Result:
        """See `cloudbandit.core.protocols.Objective.evaluate`."""
        offer = self._offers[trial.candidate.arm[0]]
        config = trial.candidate.config
        why = None if self.trust else self.engine.why_not(config) or self._too_small(offer, config)
        if why is not None:
            return Result(Status.FAILED, reason="known_constraint", error=why)
        key = f"{self.run}-{trial.number}-{trial.seed}"
        began = time.monotonic()
        try:
            with lease(self.provider, offer, run=self.run, key=key, seconds=self.limit_s + _STOP_S) as host:
                result = self._on(host, trial, run, began + self.limit_s)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            result = {"status": Status.UNAVAILABLE, "reason": "disk_full", "error": str(error)}
        seconds = time.monotonic() - began
        return Result(seconds=seconds, spent_usd=offer.usd_per_h * seconds / 3600, **result)

    def _on(self, host: Host, trial: Trial, run: Run, until: float) -> dict[str, Any]:
        log = ""
        config = trial.candidate.config
        try:
            model = self.engine.prepare(host, self.model)
            host.put(Path(client.__file__), _CLIENT)
            start_s = min(self.engine.start_timeout_s, max(0.0, until - time.monotonic()))
            with running(
                host, self.engine, config, model, timeout_s=start_s, cancelled=lambda: run.cancelled
            ) as engine:
                try:
                    self._canary(host, engine, trial, until)
                    return self._loads(host, engine, trial, run, until)
                finally:
                    log = engine.tail()
        except StartFailed as failed:
            return {"status": Status.FAILED, "reason": failed.reason, "error": f"{failed}\n{failed.log}"}
        except _Failed as failed:
            status = Status.INTERRUPTED if failed.reason == "cancelled" else Status.FAILED
            return {"status": status, "reason": failed.reason, "error": f"{failed}\n{log}"}

    def _canary(self, host: Host, engine: Running, trial: Trial, until: float) -> None:
        """One request: readiness is no promise that an engine can answer."""
        records = self._send(host, engine, Closed(1), 1, trial.seed + 1, "canary", until)
        self._check(records, engine)

    def _loads(self, host: Host, engine: Running, trial: Trial, run: Run, until: float) -> dict[str, Any]:
        rows, summary = [], None
        artifacts: dict[str, str] = {}
        for i, load in enumerate(self.loads):
            if run.cancelled:
                raise _Failed("cancelled", "stopped between two loads")
            records = self._send(host, engine, load, self.requests, trial.seed + 100 * (i + 1), f"load-{i}", until)
            self._check(records, engine)
            if self.warmup_s and max(r["scheduled_s"] for r in records) <= self.warmup_s:
                raise _Failed("too_short", f"no request was sent after the warm-up of {self.warmup_s:g} s; send more")
            summary = summarize(records, warmup_s=self.warmup_s, slos=self.slos)
            rows.append({**_level(load), **summary.metrics})
            if self.keep is not None:
                artifacts[f"records_{i}"] = str(self._kept(records, trial, i))
            run.log(f"{load}: {_short(summary)}")
        if engine.process.poll() is not None:
            text = "the engine exited although requests were answered: it crashed at the end, or something else has its port"
            raise _Failed("engine_died", text)
        assert summary is not None
        metrics = {**summary.metrics, "start_s": engine.start_s}
        tokens = metrics.get("output_tok_per_s", 0.0)
        if tokens > 0:
            price = self._offers[trial.candidate.arm[0]].usd_per_h
            metrics["usd_per_million_output_tokens"] = price / (tokens * 3600) * 1e6
        return {"metrics": metrics, "stderr": summary.stderr, "rows": rows, "artifacts": artifacts}

    def _send(
        self, host: Host, engine: Running, load: Closed | Open | Trace, n: int, seed: int, name: str, until: float
    ) -> list[dict[str, Any]]:
        workload = replace(self.workload, text=self.engine.text_prompts, vocabulary=self.engine.vocabulary)
        made = plan(
            workload,
            load,
            url=engine.url,
            model=engine.model,
            seed=seed,
            requests=n,
            timeout_s=self.timeout_s,
            extra=self.engine.extra,
        )
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder) / "plan.json"
            local.write_text(json.dumps(made))
            host.put(local, f"{name}.json")
            left = max(0.0, until - time.monotonic())
            done = host.run([host.python, "-I", "-S", _CLIENT, f"{name}.json", f"{name}.jsonl"], timeout_s=left)
            if done.code is None:
                raise _Failed("request_timeout", f"the trial was not over after {self.limit_s:g} s")
            if done.code != 0:
                raise RuntimeError(f"the load generator ended with {done.code}: {done.output}")
            back = Path(folder) / "records.jsonl"
            host.get(f"{name}.jsonl", back)
            return [json.loads(line) for line in back.read_text().splitlines()]

    def _check(self, records: Sequence[Mapping[str, Any]], engine: Running) -> None:
        """Raise where not a single request succeeded."""
        if any(r["status"] == client.OK for r in records):
            return
        kind, count = Counter(r["status"] for r in records).most_common(1)[0]
        text = f"{count} of {len(records)} requests ended {kind}: {records[0].get('error', '')}"
        died = kind in ("refused", "truncated") and engine.process.poll() is not None
        raise _Failed("engine_died" if died else _OF_STATUS.get(kind, "request_error"), text)

    def _kept(self, records: Sequence[Mapping[str, Any]], trial: Trial, i: int) -> Path:
        assert self.keep is not None
        self.keep.mkdir(parents=True, exist_ok=True)
        path = self.keep / f"trial-{trial.number}-{trial.replicate}-{i}.jsonl"
        with tempfile.NamedTemporaryFile("w", dir=self.keep, delete=False) as file:
            file.writelines(json.dumps(r) + "\n" for r in records)
        shutil.move(file.name, path)
        return path


def _level(load: Closed | Open | Trace) -> dict[str, float]:
    if isinstance(load, Closed):
        return {"users": float(load.users)}
    return {"rate_per_s": load.rate_per_s} if isinstance(load, Open) else {"speed": load.speed}


def _short(summary: LoadSummary) -> str:
    shown = ("ttft_p50_ms", "tpot_p50_ms", "output_tok_per_s", "failure_rate")
    return ", ".join(f"{m} {summary.metrics[m]:.4g}" for m in shown if m in summary.metrics)
