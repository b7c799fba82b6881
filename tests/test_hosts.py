"""``hosts`` and ``reap``, and whole studies on a fake cloud: several trials in flight, one bill."""

import json
import subprocess
import sys
import time
from pathlib import Path

import fakes
import pytest

from cloudbandit import Store
from cloudbandit.cli import main
from cloudbandit.core.errors import UsageError
from cloudbandit.core.leases import LeaseRow, LeaseState
from cloudbandit.live.studyfile import LiveStudy, load
from cloudbandit.providers.registry import PROVIDERS
from cloudbandit.testing.fakecloud import FakeCloud, Fault
from cloudbandit.testing.fakecloud.provider import EXPIRES, KEY, OURS, RUN

sys.path.insert(0, str(Path(__file__).parent / "plugins"))

STUDY = """
[study]
name = "clouds"
minimize = "tpot_ms"
optimizer = "random-wor"
trials = {trials}
usd = {usd}
parallel = {parallel}
[providers.there]
name = "fake"
gone_s = 0.4
boot_s = 5.0
[engine]
name = "toy"
model = "good"
knobs = {{ gpus = 1 }}
[workload]
lengths = "fixed"
input_tokens = 5
output_tokens = 4
[load]
users = 1
requests = 2
trial_limit_s = 30
"""


@pytest.fixture
def cloud(monkeypatch):
    made = FakeCloud(lag_s=0.1, delete_s=0.05)
    monkeypatch.setitem(fakes.CLOUDS, "main", made)
    monkeypatch.setitem(PROVIDERS.built_in, "fake", "fakes:fake")
    monkeypatch.setattr("cloudbandit.live.giving_back._PAUSE_S", 0.02)
    return made


@pytest.fixture
def call(capsys):
    def call(*words, code=0):
        with pytest.raises(SystemExit) as stopped:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert int(stopped.value.code or 0) == code, (out, err)
        return json.loads(out) if "--json" in words else out + err

    return call


def rent(cloud, key, run="r", left_s=60.0):
    tags = {OURS: "1", RUN: run, KEY: key, EXPIRES: str(int(time.time() + left_s))}
    cloud.create(key, what="fake.1x", where="here-1", tags=tags, usd_per_h=3.6)


def test_hosts_lists_what_stands_with_or_without_a_ledger(cloud, call, tmp_path):
    assert "nothing stands" in call("hosts", "--provider", "fake")
    rent(cloud, "cb-1")
    cloud.create("theirs", what="x", where="y", tags={"owner": "them"}, usd_per_h=1.0)
    time.sleep(0.1)
    found = call("hosts", "--provider", "fake", "--json")
    assert [one["key"] for one in found["hosts"]] == ["cb-1"]
    assert found["usd_per_h"] == 3.6
    text = call("hosts", "--provider", "fake")
    assert "1 stand, 3.6 USD per hour" in text
    cloud.plan("listing", [Fault.FORBIDDEN])
    assert "could not be asked: Forbidden" in call("hosts", "--provider", "fake", code=4)
    assert "nowhere to look" in call("hosts", code=2)
    assert "unknown provider" in call("hosts", "--provider", "fakee", code=2)


def test_reap_takes_what_is_meant_and_nothing_else(cloud, call):
    for key, run, left_s in (("cb-old", "a", -10.0), ("cb-a", "a", 60.0), ("cb-b", "b", 60.0)):
        rent(cloud, key, run, left_s)
        cloud.resources[-1].gone = cloud.resources[-1].going = None  # its own switch failed
    theirs = cloud.create("theirs", what="x", where="y", tags={"owner": "them", RUN: "a"}, usd_per_h=1.0)

    def gone(*words):
        return [one["key"] for one in call("reap", "--provider", "fake", *words, "--json")["gone"]]

    assert gone() == ["cb-old"]
    assert [one["key"] for one in call("reap", "--provider", "fake", "--json")["spared"]] == ["cb-a", "cb-b"]
    assert "2 more stand with our tag" in call("reap", "--provider", "fake")
    assert gone("--run", "a") == ["cb-a"]
    assert gone("--run", "none") == []
    assert gone("--all") == ["cb-b"]
    assert theirs.going is None
    assert "nothing to reap" in call("reap", "--provider", "fake", "--all")


@pytest.mark.slow
def test_reap_exits_with_4_while_anything_is_left(cloud, call, monkeypatch):
    monkeypatch.setattr(fakes, "fake", lambda: fakes.FakeProvider(cloud, "fake", gone_s=0.2))
    rent(cloud, "cb-1")
    cloud.plan("delete", [Fault.IGNORED] * 1000)
    assert "still there" in call("reap", "--provider", "fake", "--all", code=4)
    cloud.faults.clear()
    assert "1 went" in call("reap", "--provider", "fake", "--all")
    cloud.plan("listing", [Fault.FORBIDDEN])
    assert "Forbidden" in call("reap", "--provider", "fake", "--all", code=4)


def study(tmp_path, trials=4, usd=5.0, parallel=1):
    path = tmp_path / "study.toml"
    path.write_text(STUDY.format(trials=trials, usd=usd, parallel=parallel))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [1, 3])
def test_trials_and_hosts_are_the_clouds_bill_to_the_cent(cloud, call, tmp_path, parallel):
    found = call("run", study(tmp_path, 3, parallel=parallel), "--store", tmp_path / "s.db", "--json")
    assert found["evaluations"] == 3
    assert found["trials_usd"] + found["hosts_usd"] == pytest.approx(cloud.usd(**{OURS: "1"}), abs=0.005)
    assert found["trials_usd"] + found["hosts_usd"] == pytest.approx(cloud.usd(**{OURS: "1"}), rel=1e-6)
    assert cloud.standing(**{OURS: "1"}) == []
    with Store(tmp_path / "s.db") as store:
        assert [row.state for row in store.leases.rows("clouds")] == [LeaseState.GONE] * 3
        assert sum(row.usd for row in store.leases.rows()) == pytest.approx(found["spent_usd"])


@pytest.mark.slow
def test_a_cap_holds_with_several_trials_in_flight(cloud, tmp_path):
    live = LiveStudy.of(load(study(tmp_path, 12, usd=0.2, parallel=4)))
    quotes = [live.objective.quote(c).usd for c in live.objective.domain().candidates]
    assert 0.2 / 4 < max(quotes) < 0.2, "four at once would not fit"
    report = live.run(None)
    assert report.stop_reason in ("usd", "trials", "finished")
    assert report.spent_usd <= 0.2
    assert report.overrun_usd == 0
    assert cloud.usd(**{OURS: "1"}) <= 0.2


def test_trials_on_this_machine_are_not_run_side_by_side(tmp_path):
    path = study(tmp_path, parallel=2)
    path.write_text(path.read_text().replace('"fake"\ngone_s = 0.4\nboot_s = 5.0', '"local"'))
    with pytest.raises(UsageError, match="would measure one another"):
        load(path)


@pytest.mark.slow
def test_a_store_is_swept_while_none_of_its_studies_runs(cloud, call, tmp_path):
    url = tmp_path / "s.db"
    spec = load(study(tmp_path))
    with Store(url) as store:
        running = store.open("clouds", {}, spec)
        for name, seconds in (("left", 60.0), ("never", 60.0)):
            key = f"cb-{store.id}-{name}-0"
            store.leases.intend(LeaseRow(key, "clouds", "there", "o", 0.1, time.time() + seconds))
        rent(cloud, f"cb-{store.id}-left-0", "clouds")
        rent(cloud, "cb-00000000-other-0", "clouds")
        assert "being run by another process" in call("reap", "--store", url, code=2)
        running.close()
        told = call("hosts", "--store", url, "--json")
        assert [row["key"] for row in told["ledger_only"]] == [f"cb-{store.id}-never-0"]
        assert [one["key"] for one in call("reap", "--store", url, "--json")["gone"]] == [f"cb-{store.id}-left-0"]
        assert store.leases.standing() == []
    assert [r.tags[KEY] for r in cloud.standing(**{OURS: "1"})] == ["cb-00000000-other-0"]


def test_a_provider_that_is_named_does_not_stand_for_a_studys_other_account(cloud, call, tmp_path, monkeypatch):
    monkeypatch.setitem(fakes.CLOUDS, "theirs", FakeCloud())
    path = study(tmp_path)
    path.write_text(path.read_text().replace("gone_s = 0.4", 'gone_s = 0.4\naccount = "theirs"'))
    url = tmp_path / "s.db"
    with Store(url) as store:
        store.open("clouds", {}, load(path)).close()
        key = f"cb-{store.id}-there-0"
        store.leases.intend(LeaseRow(key, "clouds", "there", "o", 0.1, time.time() + 60))
        rent(fakes.CLOUDS["theirs"], key, "clouds")
        assert [one["key"] for one in call("reap", "--store", url, "--provider", "fake", "--json")["gone"]] == [key]
        assert store.leases.standing() == []
    assert fakes.CLOUDS["theirs"].standing(**{OURS: "1"}) == []


def test_a_provider_that_is_named_is_looked_at_as_the_stores_studies_set_it_too(cloud, call, tmp_path, monkeypatch):
    """Else the study's account is passed over, and the ledger calls gone what stands there."""
    other = FakeCloud(lag_s=0.1, delete_s=0.05)
    monkeypatch.setitem(fakes.CLOUDS, "other", other)
    path = study(tmp_path)
    path.write_text(path.read_text().replace('name = "fake"', 'name = "fake"\naccount = "other"'))
    with Store(tmp_path / "s.db") as store:
        store.open("clouds", {}, load(path)).close()
        key = f"cb-{store.id}-left-0"
        store.leases.intend(LeaseRow(key, "clouds", "there", "o", 0.1, time.time() + 60.0))
        rent(other, key, "clouds")
        time.sleep(0.1)
        words = ("--provider", "fake", "--store", tmp_path / "s.db", "--json")
        assert [one["key"] for one in call("hosts", *words)["hosts"]] == [key]
        assert [one["key"] for one in call("reap", *words)["gone"]] == [key]
    assert other.standing(**{OURS: "1"}) == []


def test_one_account_that_is_asked_twice_costs_what_it_costs(cloud, call, tmp_path):
    with Store(tmp_path / "s.db") as store:
        store.open("clouds", {}, load(study(tmp_path))).close()
    rent(cloud, "cb-1")
    time.sleep(0.1)
    found = call("hosts", "--provider", "fake", "--store", tmp_path / "s.db", "--json")
    assert [one["key"] for one in found["hosts"]] == ["cb-1"]
    assert found["usd_per_h"] == 3.6


def test_a_provider_that_cannot_be_asked_keeps_no_other_from_being_swept(cloud, call, monkeypatch):
    monkeypatch.delenv("AZURE_SUBSCRIPTION_ID", raising=False)
    rent(cloud, "cb-1")
    time.sleep(0.1)
    both = ("--provider", "azure", "--provider", "fake")
    found = call("hosts", *both, "--json", code=4)
    assert [one["key"] for one in found["hosts"]] == ["cb-1"]
    assert list(found["errors"]) == ["azure"]
    text = call("hosts", "--provider", "azure", code=4)
    assert "could not be asked" in text
    assert "nothing stands" not in text
    swept = call("reap", *both, "--all", "--json", code=4)
    assert [one["key"] for one in swept["gone"]] == ["cb-1"]
    assert list(swept["errors"]) == ["azure"]


@pytest.mark.slow
def test_no_sdk_is_imported_before_a_provider_is_used():
    code = (
        "import sys; import cloudbandit.cli, cloudbandit.providers.registry as r\n"
        "[r.PROVIDERS.load(name) for name in ('aws', 'gcp', 'azure', 'ssh')]\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('boto3', 'botocore', 'google', 'azure', 'asyncssh')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
