"""A whole study over fake clouds with the real SDKs: launch, SSH, a real engine, load, destroy; one bill; no secret anywhere."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import rigs

from cloudbandit import Store
from cloudbandit.cli import main
from cloudbandit.core.leases import LeaseState

pytest.importorskip("asyncssh")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
CLOUDS = [name for name in ("aws", "gcp", "azure") if name in rigs.TYPES]
OURS = {"cloudbandit": "1"}
SOAK = bool(os.environ.get("CLOUDBANDIT_SOAK"))
HF_TOKEN = "hf_planted" + "0123456789" * 2
STUDY = """
[study]
name = "three-clouds"
minimize = "usd_per_million_output_tokens"
optimizer = "cloudbandit:random-wor"
trials = {trials}
usd = 50
seed = 2
{providers}
[engine]
name = "{engine}"
model = "{model}"
{knobs}
[workload]
lengths = "fixed"
input_tokens = 24
output_tokens = 8
[load]
users = 2
requests = 6
trial_limit_s = 60
"""


@pytest.fixture
def clouds(tmp_path, monkeypatch):
    """A rig per cloud, quick, with planted secrets; and a study file over all of them."""
    for name in CLOUDS:
        pytest.importorskip(rigs.SDK[name])
    monkeypatch.setattr("cloudbandit.providers.cloud.CloudProvider.lag_s", 0.05)
    monkeypatch.setattr("cloudbandit.providers.cloud.CloudProvider.gone_s", 20.0)
    monkeypatch.setattr("cloudbandit.live.giving_back._PAUSE_S", 0.02)
    monkeypatch.setattr("cloudbandit.providers.cloud._POLL_S", 0.05)
    monkeypatch.setenv("HF_TOKEN", HF_TOKEN)
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "nvidia-smi").write_text("#!/bin/sh\necho 'GPU 0: Tesla T4'\n")
    (folder / "nvidia-smi").chmod(0o755)
    environment = {"PATH": f"{folder}:{os.environ['PATH']}"}
    with contextlib.ExitStack() as stack:
        yield {
            name: stack.enter_context(
                rigs.rig(name, tmp_path, monkeypatch, ssh=True, environment=environment, delete_s=0.05)
            )
            for name in CLOUDS
        }


def write(tmp_path, clouds, trials, engine="openvino", model="tiny-llama", knobs=None):
    sections = []
    for name, rig in clouds.items():
        settings = {**rig.settings, "instance_types": [rigs.TYPES[name]], "purchase": ["on-demand"]}
        sections += [f"[providers.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in settings.items())]
    knobs = (
        knobs or "knobs = { threads = 2, kv_cache_precision = 'u8', num_kv_blocks = 256, dynamic_split_fuse = true }"
    )
    path = tmp_path / "study.toml"
    path.write_text(STUDY.format(trials=trials, providers="\n".join(sections), engine=engine, model=model, knobs=knobs))
    return path


def call(capsys, *words, code=0):
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    assert int(stopped.value.code or 0) == code, (out, err)
    return out, err


def test_a_study_over_every_cloud_pays_what_the_clouds_bill_and_shows_no_secret(clouds, tmp_path, capsys, monkeypatch):
    pytest.importorskip("openvino_genai")
    path, url = write(tmp_path, clouds, len(clouds) + 1), tmp_path / "s.db"
    seen = []
    keep = subprocess.Popen([sys.executable, "-c", WATCH, str(tmp_path / "processes")])
    try:
        seen += call(capsys, "run", path, "--store", url, "--json")
    finally:
        keep.kill()
        keep.wait()
    report = json.loads(seen[0])
    assert report["evaluations"] == len(clouds) + 1
    billed = sum(rig.cloud.usd(**OURS) for rig in clouds.values())
    assert report["trials_usd"] + report["hosts_usd"] == pytest.approx(billed, abs=0.01 * report["evaluations"])
    for rig in clouds.values():
        assert rig.cloud.standing(**OURS) == []
        assert [r for r in rig.cloud.resources if r.kind == "machine"], "every cloud had a trial"
        assert all(r.gone is not None for r in rig.cloud.resources)
    with Store(url) as store:
        assert {row.state for row in store.leases.rows()} == {LeaseState.GONE}
        results = [stored.result for stored in store.trials("three-clouds")]
    assert all(result.metrics["failure_rate"] == 0 for result in results)
    assert all(result.metrics["price_usd_per_h"] == rigs.ON_DEMAND for result in results)
    seen += call(capsys, "show", "--store", url)
    seen += call(capsys, "export", "--store", url, "--to", tmp_path / "table", "--licence", "Apache-2.0")
    for rig in clouds.values():
        rigs.reject(rig, monkeypatch)
    seen += call(capsys, "run", write(tmp_path, clouds, 9), "--store", tmp_path / "other.db", code=2)
    texts = {f"output {i}": text.encode() for i, text in enumerate(seen)}
    for file in [*tmp_path.glob("*.db*"), *(tmp_path / "table").rglob("*"), tmp_path / "processes"]:
        texts[str(file)] = file.read_bytes()
    sent = [request for rig in clouds.values() for request in rig.server.requests]
    assert len(texts["output 0"]) > 100
    for secret in (HF_TOKEN, *rigs.secrets(tmp_path)):
        assert [where for where, text in texts.items() if secret.encode() in text] == [], "a secret shows"
        assert not any(secret.encode() in request.body for request in sent)
    assert b"client.py" in texts[str(tmp_path / "processes")], "process lists were looked at"


WATCH = """
import sys, time, pathlib
with open(sys.argv[1], "ab") as file:
    while True:
        for one in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            try: file.write(one.read_bytes() + b"\\n")
            except OSError: pass
        file.flush(); time.sleep(0.05)
"""


@pytest.mark.parametrize("name", CLOUDS)
def test_killed_for_real_between_any_two_calls_then_resumed_nothing_is_left_or_paid_twice(
    name, clouds, tmp_path, capsys
):
    """kill -9 of the program itself after its n-th call to the provider."""
    rig = clouds[name]
    path = write(tmp_path, {name: rig}, 2, "toy", "good", "knobs = { gpus = 1 }")
    plugins = f"{Path(__file__).parent / 'plugins'}:{Path(__file__).parent.parent}"
    code = KILL.format(quick=QUICK)
    kills = 0
    for n in range(1, 60) if SOAK else (6, 14):  # 6: while the launch is being answered, at AWS
        url = tmp_path / f"{n}.db"
        argv = [sys.executable, "-c", code, str(path), str(url)]
        already = len(rig.server.requests)
        with subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": plugins}, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and len(rig.server.requests) < already + n:
                time.sleep(0.001)
            ended = process.poll() is not None
            if not ended:
                os.kill(process.pid, signal.SIGKILL)
        if ended:
            break
        kills += 1
        subprocess.run([*argv], env={**os.environ, "PYTHONPATH": plugins}, check=True, capture_output=True)
        assert rig.cloud.standing(**OURS) == [], f"killed after {n} calls"
        with Store(url) as store:
            assert store.leases.standing() == []
            told = store.trials("three-clouds")
            assert sum(stored.result.status == "ok" for stored in told) == 2
            keys = [row.key for row in store.leases.rows()]
        mine = [r for r in rig.cloud.resources if r.kind == "machine" and r.tags["cloudbandit-key"] in keys]
        assert len(mine) == len({r.tags["cloudbandit-key"] for r in mine})
    assert kills >= 2


QUICK = """
from cloudbandit.providers import cloud
from cloudbandit.live import giving_back
cloud.CloudProvider.lag_s, cloud.CloudProvider.gone_s, cloud._POLL_S, giving_back._PAUSE_S = 0.05, 20.0, 0.05, 0.02
"""
KILL = """
import sys
{quick}
from cloudbandit.cli import main
main(["run", sys.argv[1], "--store", sys.argv[2], "--json"])
"""
