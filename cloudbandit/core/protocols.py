"""The seams: an optimizer proposes, an objective evaluates, a pool decides where evaluations run; live trials run on a host of a
provider.

Anything with these methods fits; nothing needs to inherit from anything. `cloudbandit.core.base.BaseOptimizer` saves
an optimizer's author the bookkeeping.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Protocol, runtime_checkable

from cloudbandit.core.goal import Goal
from cloudbandit.core.known import Estimate, Facts, History, no_facts
from cloudbandit.core.offer import Bill, Offer
from cloudbandit.core.rented import Fate, Receipt, Rented
from cloudbandit.core.space import Domain
from cloudbandit.core.trial import Candidate, Observation, Result, Trial


@dataclass(frozen=True, slots=True)
class Problem:
    """What an optimizer is given.

    Args:
        domain: what may be asked.
        goal: what is good.
        seed: determines every draw the optimizer makes.
        facts: what is known of a candidate free of charge: numbers (``price_usd_per_h``, ``gpus``) and labels (``accelerator``).
        history: earlier studies by name, e.g. of other workloads; they use up no budget.
        estimates: by name, what claims to predict metrics of a candidate beforehand.
        whole: where ``domain`` is a part, the domain it is a part of; see `within`.
    """

    domain: Domain
    goal: Goal
    seed: int = 0
    facts: Facts = no_facts
    history: Mapping[str, History] = field(default_factory=dict)
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    whole: Domain | None = None

    def within(self, domain: Domain, seed: int) -> Problem:
        """The same problem on a part of the domain, with a seed of its own: what an inner optimizer is given."""
        return replace(self, domain=domain, seed=seed, whole=self.domain if self.whole is None else self.whole)


class Optimizer(Protocol):
    """Two verbs. What an implementation may also declare, with the value assumed otherwise:

    ``repeats = False``: may ask for the same config twice in a finite space.
    ``exact_resume = True``: a fresh instance told the history asks exactly what this one would.
    ``anytime = True``: the first n suggestions do not depend on the budget.
    ``listen(observation)``: learns from an informative trial in another part of the whole domain; CloudBandit tells its inner
    optimizers so of one another's.
    """

    def ask(self, n: int = 1) -> list[Candidate]:
        """At most ``n`` candidates; ``[]`` with trials pending means wait, with none pending: finished."""

    def tell(self, observations: Sequence[Observation]) -> None: ...


Factory = Callable[[Problem], Optimizer]


@dataclass(frozen=True, slots=True)
class Quote:
    """The worst case of one evaluation, known before spending anything; ``candidate``: of what, where a study asks on."""

    usd: float = 0.0
    seconds: float = 0.0
    candidate: Candidate | None = None


class Run(Protocol):
    """How an evaluation talks to the study that pays for it."""

    @property
    def cancelled(self) -> bool:
        """The study wants its hosts back: stop soon, return what is known."""

    @property
    def deadline(self) -> float | None:
        """On the pool's clock, in seconds; None: no limit."""

    def report(self, partial: Mapping[str, float]) -> bool:
        """Metrics so far; returns whether to go on."""

    def log(self, message: str) -> None: ...


class Objective(Protocol):
    """Turns a trial into a result. ``facts(candidate)`` may be defined too, see `Problem`; and ``units``, metric → unit where the
    name does not tell it; and ``attended()``, a context in which a study runs from when it has claimed its store until it lets go
    of it: what an earlier run left is cleared there."""

    def quote(self, candidate: Candidate) -> Quote: ...

    def evaluate(self, trial: Trial, run: Run) -> Result:
        """Raises only for bugs, never for a bad config: that is a result with a status."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a pool hands back: a result, or the exception a bug raised. ``lost`` marks a trial that died with its
    worker: neither."""

    trial: Trial
    result: Result | None = None
    error: BaseException | None = None
    lost: str = ""


@runtime_checkable
class Pool(Protocol):
    """Where evaluations run. ``size`` evaluations may be in flight."""

    @property
    def size(self) -> int: ...

    def submit(self, objective: Objective, trial: Trial, run: Run) -> None: ...

    def wait(self) -> list[Outcome]:
        """Block until at least one evaluation is done; outcomes in the order they ended."""

    def sleep(self, seconds: float) -> None:
        """Let time pass on the pool's clock, with nothing in flight."""

    def clock(self) -> float:
        """Seconds since the pool was made: wall clock, or virtual."""

    def close(self) -> None:
        """Idempotent."""


# ── where live trials run ──


@dataclass(frozen=True, slots=True)
class Finished:
    """A program that ended: its exit code (None: it was stopped for taking too long) and the end of its output."""

    code: int | None
    output: str


class Process(Protocol):
    """A program on a host. It never outlives the host, nor whoever started it."""

    @property
    def pid(self) -> int:
        """On its host: of the program, or of a process above it."""

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""

    def tail(self, lines: int = 30) -> str:
        """The last lines of its output."""

    def stop(self) -> int:
        """Interrupt, wait, kill, with all its descendants; idempotent; returns the exit code."""


class Host(Protocol):
    """A machine that is up. Engines and load generators see nothing else, so that they run on any. ``elsewhere = True`` says that
    it is not this one: what lies here has to be put there. Whatever is asked of a host that went away raises `HostLost`."""

    @property
    def name(self) -> str: ...

    @property
    def python(self) -> str:
        """An interpreter on the host."""

    def run(self, argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str] | None = None) -> Finished:
        """Run to the end, in the host's folder."""

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        log: str = "engine.log",
        grace_s: float = 5.0,
    ) -> Process:
        """Start in the background; output goes to ``log`` in the host's folder."""

    def path(self, remote: str) -> PurePath:
        """Where a path of the host's folder lies, absolute."""

    def put(self, local: Path, remote: str) -> None:
        """Copy a file, or a folder with all that is in it; ``remote`` is relative to the host's folder."""

    def get(self, remote: str, local: Path) -> None:
        """Copy a file back."""

    def free_port(self) -> int: ...

    def forward(self, port: int) -> str:
        """The base URL under which this process reaches a port of the host."""

    def close(self) -> None:
        """Stop everything on it; idempotent."""


class Provider(Protocol):
    """Who rents hosts out. `cloudbandit.live.lease.Lease` is the only caller of ``launch``.

    ``free_host() -> Host`` may be defined too, by whoever has one that costs nothing (this machine): an engine's version is
    asked there before the first trial. ``elsewhere = True`` says that no host is this machine. ``permissions`` names the calls an
    account has to allow; ``available(offers)`` asks it which are to be had; ``interrupted(key)`` says whether the provider took a
    machine back.
    """

    @property
    def name(self) -> str: ...

    @property
    def boot_s(self) -> float:
        """The longest a launch, asked for again where need be, may take until the host is up; part of what a trial holds."""

    @property
    def lag_s(self) -> float:
        """What a call did shows in every listing after at most so long, also where its answer was lost."""

    @property
    def gone_s(self) -> float:
        """The longest that something takes to go; after that it is stuck. The quote covers it where it is billed."""

    def offers(self) -> Sequence[Offer]:
        """What can be launched; labels differ."""

    def quote(self, offer: Offer, seconds: float) -> float:
        """The most a lease of at most so many seconds, boot included, and ``gone_s`` more where they are billed, can cost, in USD
        and by the provider's own tariff."""

    def launch(self, offer: Offer, *, run: str, key: str, expires: float) -> Receipt:
        """Ask for a machine, tagged with ``run``, ``key`` and ``expires`` (seconds since 1970), which goes by itself then as far
        as the provider can see to it. Returns once that is accepted; asking for a key again finds its machine.

        Raises:
            NoCapacity: refused: there is none to be had now, or (`OfferBarred`) ever.
            ProviderError: anything else; whether there is a machine is then not known.
        """

    def connect(self, receipt: Receipt, *, timeout_s: float) -> Host:
        """Wait, at most so long, until the machine can be used.

        Raises:
            HostLost: it went away, or cannot be reached in time.
        """

    def destroy(self, key: str) -> Fate:
        """Tell everything of this key to go, and look. Works from the key alone, idempotent; a key that nothing was launched
        under is GONE.

        Raises:
            ProviderError: nobody can tell.
        """

    def bill(self, key: str) -> Bill:
        """What the lease of that key costs so far, and once it is destroyed in all; nothing for a key never launched."""

    def rented(self, run: str | None = None) -> Sequence[Rented]:
        """Every billable thing with our tag that is not gone, wherever the account may have it and whoever launched it; of one
        run, or of all."""
