"""Small programs that tests run as processes of their own, to be killed."""

import os
import sys
import time
from pathlib import Path

from cloudbandit import Budget, Domain, Quote, Result, SLOGoal, Status, Store, Study, make_factory
from cloudbandit.core.trial import Trial

CAP_USD = 12.0


class Paid:
    """Every evaluation leaves a line in a file before it answers, so that a test can count what was really run."""

    def __init__(self, log: str, pause: float, hang_at: int | None = None):
        self.log, self.pause, self.hang_at = log, pause, hang_at

    def quote(self, candidate):
        return Quote(usd=1.0)

    def evaluate(self, trial: Trial, run):
        if trial.number == self.hang_at:
            Path(self.log + ".hanging").write_text(str(os.getpid()))
            time.sleep(60)
        time.sleep(self.pause)
        with open(self.log, "a") as log:
            log.write(f"{trial.number} {trial.candidate.key}\n")
        return Result(metrics={"loss": float(trial.candidate["x"])}, spent_usd=0.5)


class Patient(Paid):
    """The first trial ends at once; the others when they are cancelled."""

    def evaluate(self, trial: Trial, run):
        if trial.number:
            until = time.monotonic() + 30
            while not run.cancelled and time.monotonic() < until:
                time.sleep(0.05)
            if run.cancelled:
                return Result(Status.INTERRUPTED, reason="cancelled", spent_usd=0.25)
        return Result(metrics={"loss": 0.0}, spent_usd=0.5)


def domain():
    return Domain({arm: [{"x": i} for i in range(20)] for arm in "abc"})


def run(url, objective, pool=None, trials=11, optimizer="cloudbandit:exhaustive", on_trial=None):
    with Store(url) as store:
        return Study(
            domain(),
            objective,
            SLOGoal("loss"),
            make_factory(optimizer, trials),
            Budget(trials=trials, usd=CAP_USD),
            pool=pool,
            store=store,
            seed=3,
            identity={"optimizer": optimizer},
            on_trial=on_trial,
        ).run()


def main():
    url, log, hang_at, scheduler = sys.argv[1:5]
    pool = None
    if scheduler != "-":
        from cloudbandit.core.pools import Dask

        pool = Dask(scheduler, size=2)
    run(url, Paid(log, 0.01, int(hang_at)), pool)


if __name__ == "__main__":
    main()
