"""A store whose disk is full loses no measurement: it is waited for, and then the result is told."""

import json
import os
import subprocess
import threading
import time

import pytest
import sqlalchemy as sa

from cloudbandit import Domain, Quote, Result, SLOGoal, Store, Study, make_factory
from cloudbandit.core.errors import StoreFullError

LOG = "x" * 30_000


class Wordy:
    """Every result takes some pages of the store."""

    def quote(self, candidate):
        return Quote(usd=1.0)

    def evaluate(self, trial, run):
        return Result(metrics={"loss": float(trial.candidate["x"])}, spent_usd=0.5, error=LOG)


def run(store, trials=20):
    domain = Domain({"a": [{"x": i} for i in range(trials)]})
    return Study(domain, Wordy(), SLOGoal("loss"), make_factory("exhaustive"), trials, store=store).run()


def told(error):
    """The results in the notes of an error."""
    notes = [n for n in getattr(error, "__notes__", ()) if "could not be recorded" in n]
    return [Result.from_dict(json.loads(note.partition("its result: ")[2])) for note in notes]


def limited(store, pages):
    """SQLite says that the disk is full beyond so many pages."""
    limit = [pages]

    def narrow(connection):
        connection.exec_driver_sql(f"pragma max_page_count = {limit[0]}")

    sa.event.listen(store._database.engine, "begin", narrow)
    return limit


def test_a_full_disk_tells_the_result_and_the_rest_goes_on_later(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("cloudbandit.core.record.WRITE_LIMIT_S", 0.2)
    with Store(tmp_path / "s.db") as store:
        limited(store, 60)
        with pytest.raises(StoreFullError, match=r"no space is left .*Cure: make some, then resume") as stopped:
            run(store)
    (result,) = told(stopped.value)
    with Store(tmp_path / "s.db") as store:
        kept = len(store.trials("study"))
        assert 2 < kept < 20
        assert result == Result(metrics={"loss": float(kept)}, spent_usd=0.5, error=LOG)
        assert "trying again for 0.2 s" in caplog.text
        report = run(store)
        assert [o.trial.number for o in report.observations][:kept] == list(range(kept))
        assert report.observations[kept].result.status == "lost"
        assert report.evaluations == 20
        assert report.spent_usd == 20 * 0.5 + 1.0


def test_space_that_is_made_in_time_loses_nothing(tmp_path):
    with Store(tmp_path / "s.db") as store:
        limit = limited(store, 60)
        more = threading.Timer(0.6, lambda: limit.__setitem__(0, 100_000))
        more.start()
        report = run(store)
        more.join()
        assert report.evaluations == len(store.trials("study")) == 20
        assert all(o.result.status == "ok" for o in report.observations)


@pytest.mark.slow
def test_a_real_disk_that_is_full(tmp_path, monkeypatch):
    mounted = ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mounted, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting is not allowed here")
    monkeypatch.setattr("cloudbandit.core.record.WRITE_LIMIT_S", 1.0)
    evaluated, evaluate = [], Wordy.evaluate

    def counted(self, trial, run):
        evaluated.append(float(trial.candidate["x"]))
        return evaluate(self, trial, run)

    monkeypatch.setattr(Wordy, "evaluate", counted)
    try:
        with Store(tmp_path / "s.db") as store:
            with pytest.raises(StoreFullError) as stopped:
                run(store, 60)
            kept = len(store.trials("study"))
        assert evaluated == [float(x) for x in range(kept)] + [r.metrics["loss"] for r in told(stopped.value)]
        subprocess.run(["mount", "-o", "remount,size=20m", str(tmp_path)], check=True)
        with Store(tmp_path / "s.db") as store:
            assert run(store, 60).evaluations == 60
    finally:
        for _ in range(20):
            if subprocess.run(["umount", str(tmp_path)], check=False, capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
