"""A trial on a host: start the engine, try one request, put it under load, stop it.

However a trial ends, its config's fault or not, the outcome is one of a few stable reasons, the engine's last log lines are kept
with it, and nothing is left running. Who leases the host and pays for it is `cloudbandit.live.objective`.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from cloudbandit.core.errors import HostInterrupted, HostLost, UsageError
from cloudbandit.core.goal import SLO
from cloudbandit.core.metrics import names
from cloudbandit.core.protocols import Host, Run
from cloudbandit.core.trial import Result, Status, Trial
from cloudbandit.engines.engine import Engine
from cloudbandit.engines.running import Running, StartFailed, running
from cloudbandit.loadgen import client
from cloudbandit.loadgen.metrics import LoadSummary, check_request_slos, summarize
from cloudbandit.loadgen.workloads import Closed, Open, Trace, Workload, plan

Load = Closed | Open | Trace
T = TypeVar("T")
REASONS = {
    "known_constraint": "the config contradicts itself; nothing was started",
    "start_crash": "the engine exited before it was ready",
    "start_timeout": "the engine was not ready in time",
    "engine_died": "the engine exited under requests, whatever it had answered before, or something else has its port",
    "request_error": "the first request failed, or all of the load did",
    "request_timeout": "the same, by not ending in time",
    "empty_output": "the same, by ending without a token",
    "not_measured": "what the goal aims at was not measured: no request after the warm-up told it",
    "too_short": "the load was over before the warm-up was",
    "prepare_timeout": "the model was not on the machine in time: not the config's doing",
    "client_limit": "the load generator ran out of open files, ports or memory: not the config's doing",
    "disk_full": "the machine has no space left: not the config's doing",
    "cancelled": "the study wanted its host back",
    "hopeless": "cut short: what was measured so far says enough",
}
METRICS = names(
    *("ttft", "nttft", "itl", "tpot", "e2e"),
    *("output_tok_per_s", "requests_per_s", "failure_rate", "goodput_requests_per_s", "start_s"),
    *("usd_per_million_output_tokens", "price_usd_per_h"),
)
"""What a live trial measures, and what its machine costs."""
_OF_STATUS = {"empty": "empty_output", "timeout": "request_timeout"}
_CUT_OFF = ("refused", "truncated")
_GIVEN_BACK = {
    "cancelled": Status.INTERRUPTED,
    "prepare_timeout": Status.UNAVAILABLE,
    "client_limit": Status.UNAVAILABLE,
}
_LOOK_S = 0.1
_CLIENT = "client.py"
STOP_S = 15.0
"""Stopping the load generator and the engine takes no longer: `cloudbandit.providers.guard` sees to it here."""


class _Failed(Exception):
    """Ends a trial; the reason says how."""

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
class Benchmark:
    """What an engine has to do in a trial.

    A trial's metrics are those of the last load, and ``start_s``; with several loads there is a row per load, so that a load
    curve can be judged. Only requests after the warm-up count. Each trial draws its requests anew (its own seed), so that
    repeats differ as they would in production, and a prefix cache does not see whole prompts again.

    Args:
        model: what the engine serves.
        workload: what requests look like.
        loads: one after the other on the same engine.
        requests: per load.
        limit_s: a trial is stopped after so long on its host, the start of the engine included.
        timeout_s: of one request.
        slos: on single requests, for the goodput.
        keep: a folder where every request's record is kept.

    Raises:
        UsageError: no load, no request, or an SLO that single requests cannot be judged by.
    """

    model: str
    workload: Workload
    loads: Sequence[Load]
    requests: int = 64
    warmup_s: float = 0.0
    limit_s: float = 180.0
    timeout_s: float = 30.0
    slos: Sequence[SLO] = ()
    keep: Path | None = None

    def __post_init__(self) -> None:
        if not self.loads or self.requests < 1:
            raise UsageError("a live trial needs at least one load and one request")
        check_request_slos(self.slos)


def measure(host: Host, engine: Engine, benchmark: Benchmark, trial: Trial, run: Run) -> Result:
    """Start the engine with the trial's config, put it under every load, stop it.

    After each load the run is told its metrics (and its ``users`` or ``rate_per_s``); where it says no before the last load, the
    trial ends as STOPPED with the rows so far.

    Returns:
        the outcome, without money and time.

    Raises:
        OSError: the machine has no space left, or another fault that is not the config's.
    """
    return _Measurement(host, engine, benchmark, trial, run).result()


class _Measurement:
    """The state of one `measure`."""

    def __init__(self, host: Host, engine: Engine, benchmark: Benchmark, trial: Trial, run: Run) -> None:
        self.host, self.engine, self.benchmark, self.trial, self.run = host, engine, benchmark, trial, run
        self.until = time.monotonic() + benchmark.limit_s
        self.rows: list[dict[str, float]] = []
        self.metrics: dict[str, float] = {}
        self.stderr: Mapping[str, float] = {}
        self.artifacts: dict[str, str] = {}

    def left_s(self) -> float:
        return max(0.0, self.until - time.monotonic())

    def result(self) -> Result:
        log = ""
        try:
            model = self.within(self.put_there, "prepare_timeout")
            with running(
                self.host,
                self.engine,
                self.trial.candidate.config,
                model,
                timeout_s=min(self.engine.start_timeout_s, self.left_s()),
                cancelled=lambda: self.run.cancelled,
            ) as started:
                try:
                    self.canary(started)
                    return self.loads(started)
                finally:
                    log = started.tail()
        except StartFailed as failed:
            return self.ended(failed.reason, f"{failed}\n{failed.log}")
        except _Failed as failed:
            return self.ended(failed.reason, f"{failed}\n{log}")
        except HostLost as lost:  # not the config's doing; what was measured is kept
            status = Status.INTERRUPTED if isinstance(lost, HostInterrupted) else Status.UNAVAILABLE
            return self.outcome(status, lost.code, str(lost))

    def ended(self, reason: str, error: str) -> Result:
        """Badly. What failed once the study wanted its host back says nothing of the config."""
        reason = "cancelled" if self.run.cancelled else reason
        return Result(_GIVEN_BACK.get(reason, Status.FAILED), reason=reason, error=error)

    def put_there(self) -> str:
        """The model and the client; the model's path or name there."""
        model = self.engine.prepare(self.host, self.benchmark.model)
        self.host.put(Path(client.__file__), _CLIENT)
        return model

    def within(self, work: Callable[[], T], late: str) -> T:
        """What the work returns or raises, where it ends within the trial's time. Else it is left behind in its thread; the host
        it works on is closed.

        Args:
            late: the reason of a trial whose time is over.
        """
        future: Future[T] = Future()

        def do() -> None:
            try:
                future.set_result(work())
            except BaseException as error:  # also what only a thread would swallow
                future.set_exception(error)

        threading.Thread(target=do, daemon=True).start()
        while True:
            if self.run.cancelled:
                raise _Failed("cancelled", "the study wanted its host back")
            with contextlib.suppress(TimeoutError):
                return future.result(min(_LOOK_S, self.left_s()))
            if future.done():  # the work's own TimeoutError
                return future.result()
            if self.left_s() <= 0:
                raise _Failed(late, f"the trial was not over after {self.benchmark.limit_s:g} s")

    def canary(self, engine: Running) -> None:
        """One request: readiness is no promise that an engine can answer."""
        self.check(self.send(engine, Closed(1), 1, self.trial.seed + 1, "canary"), engine)

    def loads(self, engine: Running) -> Result:
        loads = self.benchmark.loads
        for i, load in enumerate(loads):
            if self.run.cancelled:
                raise _Failed("cancelled", "stopped between two loads")
            self.load(engine, i, load)
            go_on = self.run.report({**_level(load), **self.metrics})
            if not go_on and not self.run.cancelled and i + 1 < len(loads):
                text = f"cut short after {i + 1} of {len(loads)} loads"
                return self.outcome(Status.STOPPED, "hopeless", text)
        return self.outcome(Status.OK)

    def load(self, engine: Running, i: int, load: Load) -> None:
        """Put the engine under one load, and add its row."""
        benchmark = self.benchmark
        records = self.send(engine, load, benchmark.requests, self.trial.seed + 100 * (i + 1), f"load-{i}")
        self.check(records, engine, last=i + 1 == len(benchmark.loads))
        if benchmark.warmup_s and max(r["scheduled_s"] for r in records) <= benchmark.warmup_s:
            text = f"no request was sent after the warm-up of {benchmark.warmup_s:g} s; send more"
            raise _Failed("too_short", text)
        summary = summarize(records, warmup_s=benchmark.warmup_s, slos=benchmark.slos)
        self.rows.append({**_level(load), **summary.metrics})
        self.metrics, self.stderr = {**summary.metrics, "start_s": engine.start_s}, summary.stderr
        if benchmark.keep is not None:
            self.artifacts[f"records_{i}"] = str(_kept(benchmark.keep, records, self.trial, i))
        self.run.log(f"{load}: {_short(summary)}")

    def outcome(self, status: Status, reason: str = "", error: str = "") -> Result:
        return Result(
            status,
            self.metrics,
            self.stderr,
            reason=reason,
            rows=tuple(self.rows),
            artifacts=self.artifacts,
            error=error,
        )

    def send(self, engine: Running, load: Load, n: int, seed: int, name: str) -> list[dict[str, Any]]:
        benchmark = self.benchmark
        workload = replace(benchmark.workload, text=self.engine.text_prompts, vocabulary=self.engine.vocabulary)
        made = plan(
            workload,
            load,
            url=engine.url_on_host,
            model=engine.model,
            seed=seed,
            requests=n,
            timeout_s=benchmark.timeout_s,
            extra=self.engine.extra,
        )
        with tempfile.TemporaryDirectory() as folder:
            local = Path(folder) / "plan.json"
            local.write_text(json.dumps(made))
            self.within(lambda: self.host.put(local, f"{name}.json"), "request_timeout")
            argv = [self.host.python, "-I", "-S", _CLIENT, f"{name}.json", f"{name}.jsonl"]
            done = self.host.run(argv, timeout_s=self.left_s())
            if done.code is None:
                raise _Failed("request_timeout", f"the trial was not over after {benchmark.limit_s:g} s")
            if done.code == client.LIMIT_EXIT:
                raise _Failed("client_limit", f"the load generator could open no more connections: {done.output}")
            if done.code != 0:
                raise RuntimeError(f"the load generator ended with {done.code}: {done.output}")
            back = Path(folder) / "records.jsonl"
            self.within(lambda: self.host.get(f"{name}.jsonl", back), "request_timeout")
            return [json.loads(line) for line in back.read_text().splitlines()]

    def check(self, records: Sequence[Mapping[str, Any]], engine: Running, last: bool = False) -> None:
        """Raise where the engine exited, or not a single request succeeded. The one is looked for where it may be: after a failed
        request, and after the last load."""
        ends = Counter(r["status"] for r in records)
        kind, count = ends.most_common(1)[0]
        answered = client.OK in ends
        text = f"{count} of {len(records)} requests ended {kind}: {records[0].get('error', '')}"
        if (last or set(ends) != {client.OK}) and (answered or kind in _CUT_OFF):  # else it said itself what was wrong
            why = engine.why_not_it(self.left_s(), refused="refused" in ends)
            if why:
                raise _Failed("engine_died", f"{ends[client.OK]} of {len(records)} requests were answered, but {why}")
        if not answered:
            raise _Failed(_OF_STATUS.get(kind, "request_error"), text)


def _kept(folder: Path, records: Sequence[Mapping[str, Any]], trial: Trial, i: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"trial-{trial.number}-{trial.replicate}-{i}.jsonl"
    with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
        file.writelines(json.dumps(r) + "\n" for r in records)
    shutil.move(file.name, path)
    return path


def _level(load: Load) -> dict[str, float]:
    if isinstance(load, Closed):
        return {"users": float(load.users)}
    return {"rate_per_s": load.rate_per_s} if isinstance(load, Open) else {"speed": load.speed}


def _short(summary: LoadSummary) -> str:
    shown = ("ttft_p50_ms", "tpot_p50_ms", "output_tok_per_s", "failure_rate")
    return ", ".join(f"{m} {summary.metrics[m]:.4g}" for m in shown if m in summary.metrics)
