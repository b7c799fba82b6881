"""``offers``, ``prices check`` and ``run --dry-run``."""

import json
import os
import runpy
from pathlib import Path

import pytest
import rigs

from cloudbandit.cli import main
from cloudbandit.live.studyfile import LiveStudy, load
from cloudbandit.providers import aws, azure, gcp

HEAD = rigs.HEAD
ROW = "aws,us-east-1,{kind},T4-16GB,1,4,16,{usd},{spot},2026-07-20,test\n"


@pytest.fixture
def call(capsys):
    def call(*words, code=0):
        with pytest.raises(SystemExit) as stopped:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert int(stopped.value.code or 0) == code, (out, err)
        return json.loads(out) if "--json" in words else out + err

    return call


def test_offers_are_filtered_sorted_and_sourced(call):
    found = call("offers", "--gpu", "h100", "--min-gpu-memory-gib", 80, "--purchase", "spot", "--json")["offers"]
    assert list(found[0]) == [
        *("provider", "region", "instance_type", "accelerator", "accelerators", "vcpus", "memory_gib", "purchase"),
        *("usd_per_h", "as_of", "source"),
    ]
    assert [o["usd_per_h"] for o in found] == sorted(o["usd_per_h"] for o in found)
    assert all(o["accelerator"].startswith("H100") and o["purchase"] == "spot" and o["source"] for o in found)
    l4 = call("offers", "--gpu", "L4", "--json")["offers"]
    assert {o["accelerator"] for o in l4} == {"L4-24GB"}
    aws_only = call("offers", "--provider", "aws", "--sort", "gpu-price", "--json")["offers"]
    each = [o["usd_per_h"] / o["accelerators"] for o in aws_only]
    assert each == sorted(each)
    assert "no such offer" in call("offers", "--gpu", "none")
    assert "offers" in call("offers", "--provider", "gcp")
    assert "allowed: price" in call("offers", "--sort", "x", code=2)
    assert "allowed: on-demand, spot" in call("offers", "--purchase", "x", code=2)
    assert "no offer is of provider" in call("offers", "--provider", "x", code=2)


def test_a_catalogue_is_checked(call, tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(HEAD + ROW.format(kind="a", usd=0.5, spot=0.2) + ROW.format(kind="b", usd=0.6, spot=""))
    told = call("prices", "check", path, "--json")
    assert (told["rows"], told["doubtful"], len(told["stale"])) == (2, [], 3)
    path.write_text(HEAD + ROW.format(kind="a", usd=0.5, spot=0.5) + ROW.format(kind="b", usd=700.0, spot=""))
    told = call("prices", "check", path, "--json", code=2)
    assert {doubt["what"] for doubt in told["doubtful"]} == {"spot", "offer"}
    assert "placeholder" in call("prices", "check", path, code=2)
    path.write_text(HEAD + ROW.format(kind="a", usd=-1, spot=""))
    assert "must be a finite number > 0" in call("prices", "check", path, code=2)


STUDY = """
[study]
minimize = "tpot_ms"
optimizer = "cloudbandit:random-wor"
trials = 6
{usd}
[providers.aws]
instance_types = ["g4dn.xlarge"]
[providers.gcp]
instance_types = ["g2-standard-4"]
regions = ["us-central1"]
[engine]
name = "vllm"
model = "owner/name"
[workload]
[load]
users = 4
"""


@pytest.mark.slow
def test_a_dry_run_says_what_would_be_paid_and_asks_nobody(call, tmp_path, monkeypatch):
    pytest.importorskip("asyncssh")
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("somebody was asked"))
    path = tmp_path / "study.toml"
    path.write_text(STUDY.format(usd="usd = 12.5"))
    told = call("run", path, "--dry-run", "--json")
    dearest = max(offer["trial_usd"] for offer in told["offers"])
    assert told["trials_usd"] == pytest.approx(6 * dearest)
    assert told["cap_usd"] == 12.5
    assert told["rounds"][0]["arms"] == 2
    assert {offer["provider"] for offer in told["offers"]} == {"aws", "gcp"}
    assert all(offer["trial_usd"] > offer["usd_per_h"] * offer["trial_s"] / 3600 for offer in told["offers"])
    assert told["permissions"] == {"aws": list(aws.PERMISSIONS), "gcp": list(gcp.PERMISSIONS)}
    text = call("run", path, "--dry-run")
    assert "nothing was launched" in text
    assert "2026-07-20" in text
    assert "g4dn.xlarge" in " ".join(told["quotas"]["aws"])
    path.write_text(STUDY.format(usd=""))
    assert "cure: study.usd" in call("run", path, "--dry-run")
    assert not list(Path(tmp_path).glob("*.db"))


def test_the_pages_policy_and_role_are_what_is_called():
    text = (Path(__file__).parent.parent / "docs" / "clouds.md").read_text()
    policy, role, azure_role = [block.split("```")[0] for block in text.split("```text\n")[1:]]
    allowed = [action for statement in json.loads(policy)["Statement"] for action in statement["Action"]]
    assert sorted(allowed) == sorted(aws.PERMISSIONS)
    assert sorted(role.split()) == sorted(gcp.PERMISSIONS)
    assert sorted(azure_role.split()) == sorted(azure.PERMISSIONS)


def test_the_study_of_the_page_is_read(tmp_path, monkeypatch):
    pytest.importorskip("asyncssh")
    text = (Path(__file__).parent.parent / "docs" / "clouds.md").read_text()
    (tmp_path / "study.toml").write_text(text.split("```toml\n")[1].split("```")[0])
    live = LiveStudy.of(load(tmp_path / "study.toml"))
    assert live.objective.domain().names == ("aws", "gcp", "azure")
    assert live.elsewhere


@pytest.mark.slow
@pytest.mark.parametrize("name", list(rigs.TYPES))
def test_the_smoke_test_for_real_accounts_works_on_the_fakes(name, tmp_path, monkeypatch, capsys):
    pytest.importorskip(rigs.SDK[name])
    smoke = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "live_smoke.py"))["main"]
    monkeypatch.setattr("cloudbandit.providers.cloud.CloudProvider.lag_s", 0.05)
    monkeypatch.setattr("cloudbandit.providers.cloud._POLL_S", 0.05)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: Tesla T4'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with rigs.rig(name, tmp_path, monkeypatch, ssh=True, environment=environment) as rig:
        settings = {**rig.settings, "instance_types": [rigs.TYPES[name]]}
        words = [word for key, value in settings.items() for word in ("--set", f"{key}={json.dumps(value)}")]
        assert smoke(["--provider", name, "--max-usd", "0.001", *words]) == 2
        assert rig.cloud.resources == []
        capsys.readouterr()
        assert smoke(["--provider", name, "--max-usd", "1", *words]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["verified"]
        assert told["gpus"] == "GPU 0: Tesla T4"
        assert rig.cloud.standing(cloudbandit="1") == []
        rigs.reject(rig, monkeypatch)
        assert smoke(["--provider", name, "--max-usd", "1", *words]) == 1
