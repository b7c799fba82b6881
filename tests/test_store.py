import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cloudbandit import Candidate, Result, Store, Trial
from cloudbandit.core.errors import (
    StoreBusyError,
    StoreCorruptError,
    StoreError,
    StoreVersionError,
    StudyMismatchError,
    StudyTakenError,
    UnknownNameError,
)

sys.path.insert(0, str(Path(__file__).parent))
import programs


def filled(path, trials=3):
    with Store(path) as store:
        record = store.open("study", {"seed": 1})
        for i in range(trials):
            trial = Trial(i, Candidate("a", {"x": i, "on": True, "name": "ä"}), seed=2**32 - 1, replicate=i)
            record.start(trial, 1.0)
            record.finish(trial, Result(metrics={"loss": 0.1 * i}, spent_usd=0.5, hosts_usd=0.25), 10.0 * i)
        record.close()
    return path


def test_what_was_kept_comes_back_unchanged(tmp_path):
    with Store(filled(tmp_path / "s.db")) as store:
        trials = store.trials("study")
        assert [t.trial.number for t in trials] == [0, 1, 2]
        assert trials[2].trial == Trial(2, Candidate("a", {"x": 2, "on": True, "name": "ä"}), 2**32 - 1, 2)
        assert trials[2].result == Result(metrics={"loss": 0.2}, spent_usd=0.5, hosts_usd=0.25)
        assert (trials[2].spent_usd, trials[2].hosts_usd) == (0.5, 0.25)
        assert store.studies() == ["study"]
        with pytest.raises(UnknownNameError, match=r"unknown study 'stdy'.*Did you mean 'study'"):
            store.trials("stdy")


def test_a_started_trial_without_an_end_becomes_lost_at_its_quote(tmp_path):
    with Store(tmp_path / "s.db") as store:
        record = store.open("study", {})
        record.start(Trial(0, Candidate("a", {})), 3.0)
        record.close()
        assert [t.number for t in store.in_flight("study")] == [0]
        record = store.open("study", {})
        (lost,) = record.history()
        assert (lost.result.status, lost.result.reason, lost.spent_usd) == ("lost", "crash", 3.0)
        assert len(record.history()) == 1
        record.close()


def test_another_study_of_the_same_name_is_refused(tmp_path):
    with Store(filled(tmp_path / "s.db")) as store, pytest.raises(StudyMismatchError, match="seed: stored 1, now 2"):
        store.open("study", {"seed": 2})


def test_one_process_at_a_time_runs_a_study(tmp_path):
    with Store(filled(tmp_path / "s.db")) as store:
        record = store.open("study", {"seed": 1})
        with pytest.raises(StoreBusyError, match="another process"):
            store.open("study", {"seed": 1})
        other = store.open("other", {})
        other.close()
        record.close()
        store.open("study", {"seed": 1}).close()


def test_many_studies_write_at_once(tmp_path):
    def work(name):
        with Store(tmp_path / "s.db") as store:
            record = store.open(name, {})
            for i in range(15):
                record.start(Trial(i, Candidate("a", {"x": i})), 1.0)
                record.finish(Trial(i, Candidate("a", {"x": i})), Result(metrics={"loss": 1.0}), 1.0)
            record.close()

    threads = [threading.Thread(target=work, args=(f"study {i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Store(tmp_path / "s.db") as store:
        assert [len(store.trials(name)) for name in sorted(store.studies())] == [15] * 4


def test_writes_are_durable_in_wal_mode(tmp_path):
    with Store(tmp_path / "s.db") as store, store._database.write() as connection:
        assert connection.exec_driver_sql("pragma journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("pragma synchronous").scalar() == 2, "full"


# ── bad input ──


def test_another_schema_version_is_refused_and_left_alone(tmp_path):
    path = filled(tmp_path / "s.db")
    with sqlite3.connect(path) as connection:
        connection.execute("update cloudbandit_meta set value = '99'")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreVersionError, match=r"schema version 99.*reads version 3"):
        Store(path)
    assert path.read_bytes() == before


VERSION_1 = """
create table cloudbandit_meta (key varchar(64) not null primary key, value varchar(255) not null);
create table cloudbandit_studies (id integer not null primary key autoincrement, name varchar(255) not null unique,
  identity text not null, spec text not null, created_at float not null);
create table cloudbandit_trials (study_id integer not null, number integer not null, candidate text not null,
  seed bigint not null, replicate integer not null, quote_usd float not null, started_at float not null,
  finished_at float, told integer, clock_s float, spent_usd float, result text,
  primary key (study_id, number), foreign key(study_id) references cloudbandit_studies (id));
insert into cloudbandit_meta values ('schema_version', '1');
insert into cloudbandit_studies values (1, 'old', '{"seed": 0}', '{}', 0.0);
insert into cloudbandit_trials values (1, 0, '[["a"],{"x":1}]', 5, 0, 1.0, 0.0, 1.0, 0, 2.0, 0.5, '{"status": "ok",
  "metrics": {"loss": 1.0}, "stderr": {}, "spent_usd": 0.5, "seconds": 2.0, "source": "measured", "reason": "", "rows": [],
  "artifacts": {}, "error": ""}');
insert into cloudbandit_trials values (1, 1, '[["a"],{"x":2}]', 6, 0, 1.0, 3.0, null, null, null, null, null);
"""


def test_a_store_of_version_1_is_migrated_in_place_and_resumes(tmp_path):
    path = tmp_path / "s.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(VERSION_1)
    connection.close()
    with Store(path) as store:
        (kept,) = store.trials("old")
        assert (kept.spent_usd, kept.hosts_usd, kept.result.hosts_usd) == (0.5, 0.0, 0.0)
        record = store.open("old", {"seed": 0})
        assert [(t.result.status, t.spent_usd, t.hosts_usd) for t in record.history()] == [
            ("ok", 0.5, 0.0),
            ("lost", 1.0, 0.0),
        ]
        record.start(Trial(2, Candidate("a", {"x": 3})), 1.0)
        record.finish(Trial(2, Candidate("a", {"x": 3})), Result(metrics={"loss": 1.0}, hosts_usd=0.125), 4.0)
        record.close()
        first = store.id
    with Store(path) as store:
        assert store.trials("old")[2].hosts_usd == 0.125
        assert store.id == first


def test_a_store_has_an_id_of_its_own(tmp_path):
    ids = []
    for name in ("a", "b", "a"):
        with Store(tmp_path / name) as store:
            ids.append(store.id)
    assert ids[0] == ids[2] != ids[1]
    assert re.fullmatch("[0-9a-f]{8}", ids[0])


def test_a_reader_does_not_make_a_writer_fail(tmp_path, monkeypatch):
    monkeypatch.setattr("cloudbandit.core.database.BUSY_SECONDS", 0.1)
    path = filled(tmp_path / "s.db")
    with Store(path) as writer, Store(path) as reader, reader._database.read() as looking:
        assert looking.exec_driver_sql("select count(*) from cloudbandit_trials").scalar() == 3
        record = writer.open("study", {"seed": 1})
        record.start(Trial(3, Candidate("a", {"x": 9})), 1.0)
        record.finish(Trial(3, Candidate("a", {"x": 9})), Result(metrics={"loss": 1.0}), 1.0)
        record.close()
        assert looking.exec_driver_sql("select count(*) from cloudbandit_trials").scalar() == 3, (
            "one state of the store"
        )


def test_a_write_is_tried_again_while_another_program_holds_the_store(tmp_path, monkeypatch):
    monkeypatch.setattr("cloudbandit.core.database.BUSY_SECONDS", 0.05)
    path = filled(tmp_path / "s.db")
    with Store(path) as store:
        record = store.open("study", {"seed": 1})
        holder = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        holder.execute("begin immediate")
        threading.Timer(0.4, lambda: (holder.rollback(), holder.close())).start()
        record.start(Trial(3, Candidate("a", {"x": 9})), 1.0)
        record.close()
        assert [t.number for t in store.in_flight("study")] == [3]


def test_and_given_up_after_the_stated_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("cloudbandit.core.database.BUSY_SECONDS", 0.05)
    monkeypatch.setattr("cloudbandit.core.record.WRITE_LIMIT_S", 0.2)
    path = filled(tmp_path / "s.db")
    with Store(path) as store:
        record = store.open("study", {"seed": 1})
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("begin immediate")
        with pytest.raises(StoreBusyError, match="stayed locked"):
            record.start(Trial(3, Candidate("a", {"x": 9})), 1.0)
        holder.close()
        record.close()


def test_who_was_taken_over_writes_no_more(tmp_path):
    path = filled(tmp_path / "s.db")
    with Store(path) as store:
        record = store.open("study", {"seed": 1})
        with sqlite3.connect(path) as connection:  # e.g. the lock file was removed, and another process began
            connection.execute("update cloudbandit_studies set claim = 'somebody else'")
        connection.close()
        with pytest.raises(StudyTakenError, match="taken over the study 'study'"):
            record.start(Trial(3, Candidate("a", {"x": 9})), 1.0)
        record.close()
        assert not store.in_flight("study")


@pytest.mark.parametrize("replaced", [False, True])
def test_a_store_that_is_removed_while_it_is_used_stops_the_study(tmp_path, replaced):
    path = filled(tmp_path / "s.db")
    with Store(path) as store:
        record = store.open("study", {"seed": 1})
        path.unlink()
        if replaced:
            path.write_bytes(b"")
        with pytest.raises(StoreError, match="was replaced" if replaced else "was removed"):
            record.start(Trial(3, Candidate("a", {"x": 9})), 1.0)
        record.close()


@pytest.mark.parametrize(
    "damage",
    [
        "result = 'not json'",
        "result = '{}'",
        "result = '[1]'",
        """result = '{"status": "perfect", "rows": []}'""",
        """result = replace(result, '"spent_usd"', '"spent_eur"')""",
        "candidate = '[]'",
        "candidate = '{\"a\": 1}'",
        "quote_usd = 'dear', result = null",
    ],
)
def test_a_damaged_row_is_named(tmp_path, damage):
    path = filled(tmp_path / "s.db")
    with sqlite3.connect(path) as connection:
        connection.execute(f"update cloudbandit_trials set {damage} where number = 1")
    connection.close()
    with Store(path) as store, pytest.raises(StoreCorruptError, match=r"trial 1 in .* is damaged"):
        store.trials("study")


def test_the_spec_of_the_latest_run_counts(tmp_path):
    with Store(tmp_path / "s.db") as store:
        store.open("study", {"a": {"x": 1, "y": 2}}, {"trials": 11}).close()
        store.open("study", {"a": {"y": 2, "x": 1}}, {"trials": 66}).close()
        assert store.spec("study") == {"trials": 66}
        store.open("study", {"a": {"x": 1, "y": 2}}).close()
        assert store.spec("study") == {"trials": 66}


def test_what_is_known_of_both_must_agree(tmp_path):
    with Store(tmp_path / "s.db") as store:
        store.open("study", {"seed": 1}, where_known={"engine": "vllm 0.32", "machine": None}).close()
        store.open("study", {"seed": 1}, where_known={"engine": None, "machine": "another"}).close()
        store.open("study", {"seed": 1}).close()
        with pytest.raises(StudyMismatchError, match=r"engine: stored 'vllm 0\.32', now 'vllm 0\.33'"):
            store.open("study", {"seed": 1}, where_known={"engine": "vllm 0.33"})


def test_one_trial_is_found_among_many(tmp_path):
    with Store(filled(tmp_path / "s.db")) as store:
        assert store.trial("study", 2) == store.trials("study")[2]
        assert store.trial("study", 9) is None


def test_a_file_that_is_no_store(tmp_path):
    path = tmp_path / "s.db"
    path.write_text("this is no database, and it is long enough to be looked at " * 20)
    with pytest.raises(StoreCorruptError, match=r"not a usable store.*backup"):
        Store(path)


@pytest.mark.slow
def test_a_truncated_store(tmp_path):
    path = filled(tmp_path / "s.db", trials=300)
    with sqlite3.connect(path) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(StoreCorruptError, match="not a usable store"), Store(path) as store:
        store.trials("study")


def test_a_database_of_another_program(tmp_path):
    path = tmp_path / "s.db"
    with sqlite3.connect(path) as connection:
        connection.execute("create table photos (id int)")
    connection.close()
    with pytest.raises(StoreCorruptError, match=r"another program.*photos"):
        Store(path)


def test_a_locked_store_says_so(tmp_path, monkeypatch):
    path = filled(tmp_path / "s.db")
    monkeypatch.setattr("cloudbandit.core.database.BUSY_SECONDS", 0.1)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("begin immediate")
    with Store(path) as store:
        assert len(store.trials("study")) == 3, "who reads waits for no writer"
        with pytest.raises(StoreBusyError, match=r"stayed locked for 0\.1 s"):
            store.open("study", {"seed": 1})
    holder.rollback()
    holder.close()
    Store(path).close()


def test_addresses(tmp_path):
    with pytest.raises(StoreError, match="is a folder"):
        Store(tmp_path)
    with pytest.raises(StoreError, match="SQLite or PostgreSQL"):
        Store("mysql://u:secret@host/db")
    with pytest.raises(StoreError, match="failed") as caught:
        Store("postgresql://someone:hunter2@127.0.0.1:1/db")
    assert "hunter2" not in str(caught.value)


# ── kill -9 ──


def _run_until_hanging(tmp_path, url, hang_at, scheduler="-"):
    log = tmp_path / "log"
    program = subprocess.Popen([sys.executable, programs.__file__, url, str(log), str(hang_at), scheduler])
    deadline = time.monotonic() + 60
    while not Path(f"{log}.hanging").exists():
        assert program.poll() is None, "the program ended early"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return program, log


def check_killed_and_resumed(url, log, hang_at, pool=None):
    """No finished trial is lost or run again; the one in flight is LOST, and its hold is settled."""
    with Store(url) as store:
        before = store.trials("study")
        assert hang_at in [t.number for t in store.in_flight("study")]
    report = programs.run(url, programs.Paid(str(log), 0.0), pool)
    statuses = {o.trial.number: o.result.status for o in report.observations}
    assert statuses[hang_at] == "lost"
    assert [o.trial.number for o in report.observations[: len(before)]] == [t.trial.number for t in before]
    ran = [line.split(" ", 1)[0] for line in Path(log).read_text().splitlines()]
    assert len(ran) == len(set(ran)), "no trial number ran twice"
    kept = [o.candidate for o in report.observations if o.score is not None]
    assert len(set(kept)) == len(kept) == 11, "no finished candidate ran again"
    lost = sum(status == "lost" for status in statuses.values())
    assert report.spent_usd == pytest.approx(11 * 0.5 + lost * 1.0)
    assert report.spent_usd <= programs.CAP_USD
    return report


@pytest.mark.slow
@pytest.mark.parametrize("hang_at", [0, 5, 10])
def test_kill_9_then_resume(tmp_path, hang_at):
    url = str(tmp_path / "s.db")
    program, log = _run_until_hanging(tmp_path, url, hang_at)
    os.kill(program.pid, signal.SIGKILL)
    program.wait()
    report = check_killed_and_resumed(url, log, hang_at)
    uninterrupted = programs.run(str(tmp_path / "t.db"), programs.Paid(str(log), 0.0))
    informative = [o.candidate for o in report.observations if o.score is not None]
    assert informative == [o.candidate for o in uninterrupted.observations], "the lost candidate was asked again"
