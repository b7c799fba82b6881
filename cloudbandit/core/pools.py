"""Where evaluations run: here, in threads, in simulated time, or on a Dask cluster."""

from __future__ import annotations

import heapq
import queue
import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cloudbandit.core.errors import UsageError, need
from cloudbandit.core.protocols import Objective, Outcome, Run
from cloudbandit.core.trial import Result, Trial


def _evaluate(objective: Objective, trial: Trial, run: Run) -> Outcome:
    try:
        result = objective.evaluate(trial, run)
        if not isinstance(result, Result):
            raise UsageError(f"{type(objective).__name__}.evaluate returned {result!r}; it must return a Result")
        return Outcome(trial, result)
    except Exception as error:  # a bug: the study records it, settles the money and raises it again
        return Outcome(trial, error=error)


def _check_size(size: int) -> int:
    if size < 1:
        raise UsageError(f"a pool needs at least one worker, got {size}")
    return size


class Serial:
    """One evaluation at a time, in this thread."""

    size = 1

    def __init__(self) -> None:
        self._waiting: deque[tuple[Objective, Trial, Run]] = deque()
        self._start = time.monotonic()

    def submit(self, objective: Objective, trial: Trial, run: Run) -> None:
        self._waiting.append((objective, trial, run))

    def wait(self) -> list[Outcome]:
        return [_evaluate(*self._waiting.popleft())]

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def clock(self) -> float:
        return time.monotonic() - self._start

    def close(self) -> None:
        self._waiting.clear()


class Threads:
    """``size`` evaluations at a time, in threads of this process: right for evaluations that wait for machines."""

    def __init__(self, size: int) -> None:
        self.size = _check_size(size)
        self._executor = ThreadPoolExecutor(self.size, thread_name_prefix="cloudbandit")
        self._done: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._start = time.monotonic()

    def submit(self, objective: Objective, trial: Trial, run: Run) -> None:
        self._executor.submit(lambda: self._done.put(_evaluate(objective, trial, run)))

    def wait(self) -> list[Outcome]:
        # A timeout in a loop keeps Ctrl-C working while the queue is empty (Windows blocks it otherwise).
        while True:
            try:
                return [self._done.get(timeout=1.0)]
            except queue.Empty:
                continue

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def clock(self) -> float:
        return time.monotonic() - self._start

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)


class Simulated:
    """``size`` evaluations at a time on a virtual clock that ``result.seconds`` advances: replay of parallel runs."""

    def __init__(self, size: int = 1) -> None:
        self.size = _check_size(size)
        self._now = 0.0
        self._running: list[tuple[float, int, Outcome]] = []

    def submit(self, objective: Objective, trial: Trial, run: Run) -> None:
        outcome = _evaluate(objective, trial, run)
        seconds = outcome.result.seconds if outcome.result else 0.0
        heapq.heappush(self._running, (self._now + seconds, trial.number, outcome))

    def wait(self) -> list[Outcome]:
        self._now, _, outcome = heapq.heappop(self._running)
        return [outcome]

    def sleep(self, seconds: float) -> None:
        self._now += seconds

    def clock(self) -> float:
        return self._now

    def close(self) -> None:
        self._running.clear()


_RUNNING, _CANCELLED = "running", "cancelled"
_ASK_EVERY_S = 0.5


class _RemoteRun:
    """What crosses the wire of a `Run`: whether it is cancelled. Its deadline and its partial results do not."""

    deadline: float | None = None

    def __init__(self, client: Any, token: str) -> None:
        self._client, self._token = client, token
        self._cancelled, self._asked = False, time.monotonic()

    @property
    def cancelled(self) -> bool:
        """Asked of the scheduler, not more often than twice a second."""
        if not self._cancelled and time.monotonic() >= self._asked + _ASK_EVERY_S:
            self._cancelled = self._client.get_metadata([self._token], default=None) == _CANCELLED
            self._asked = time.monotonic()
        return self._cancelled

    def report(self, partial: Mapping[str, float]) -> bool:
        return True

    def log(self, message: str) -> None:
        pass


def _evaluate_once(token: str, trial: Trial, pickled: bytes) -> Outcome:
    """On a worker. Dask runs a task again when its worker died; a paid trial must not be: the first attempt leaves a
    mark with the scheduler, and a second one finds it. The objective travels pickled, so that the scheduler, which
    unpickles every task, needs none of its modules."""
    import pickle

    from distributed import get_worker

    objective: Objective = pickle.loads(pickled)
    client = get_worker()._get_client()
    mark = client.get_metadata([token], default=None)
    if mark == _CANCELLED:
        return Outcome(trial)
    if mark is not None:
        return Outcome(trial, lost="its worker died")
    client.set_metadata([token], _RUNNING)
    return _evaluate(objective, trial, _RemoteRun(client, token))


class Dask:
    """Evaluations on a Dask cluster.

    Args:
        client: a ``distributed.Client``, or a scheduler's address.
        size: evaluations in flight; by default as many as the cluster has threads.

    A trial whose worker dies becomes LOST; it is never run a second time behind the study's back. Of its `Run` an evaluation
    sees ``cancelled``; ``deadline`` is None there, and ``report`` always says to go on.
    """

    def __init__(self, client: Any, size: int | None = None) -> None:
        distributed = need("distributed", "dask", "the Dask pool")
        self._own = isinstance(client, str)
        self._client = distributed.Client(client, set_as_default=False) if self._own else client
        threads = sum(self._client.nthreads().values())
        self.size = _check_size(threads if size is None else size)
        self._completed = distributed.as_completed(loop=self._client.loop)
        self._flying: dict[str, tuple[Trial, Run]] = {}
        self._start = time.monotonic()

    def submit(self, objective: Objective, trial: Trial, run: Run) -> None:
        import uuid

        token = f"cloudbandit-{uuid.uuid4().hex}"  # a name on the cluster; no result depends on it
        pickled = need("cloudpickle", "dask", "the Dask pool").dumps(objective)
        future = self._client.submit(_evaluate_once, token, trial, pickled, key=token, pure=False, retries=0)
        self._flying[future.key] = (trial, run)
        self._completed.add(future)

    def wait(self) -> list[Outcome]:
        for token, (_, run) in self._flying.items():
            if run.cancelled:
                self._client.set_metadata([token], _CANCELLED)
        future = next(self._completed)
        trial, _ = self._flying.pop(future.key)
        if future.status == "finished":
            outcome: Outcome = future.result()
            return [outcome]
        error = future.exception() if future.status == "error" else None
        if error is None or type(error).__name__ in ("KilledWorker", "CommClosedError"):
            return [Outcome(trial, lost=f"the cluster lost it ({error or future.status})")]
        return [Outcome(trial, error=error)]

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def clock(self) -> float:
        return time.monotonic() - self._start

    def close(self) -> None:
        if self._own:
            self._client.close()
