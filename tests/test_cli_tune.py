"""``cloudbandit tune`` on recorded tables, and what it refuses; on a real engine, marked slow."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cloudbandit.cli import app, main
from cloudbandit.core.errors import UsageError
from cloudbandit.tune.request import Request, alone_on_this_machine
from cloudbandit.tune.subject import recorded_subject

RECORDED = ["tune", "--on", "openvino-cpu", "--engine", "openvino", "--workload", "chat"]
AIM = ["--minimize", "tpot_ms", "--slo", "ttft_p95_ms<=300", "--slo", "failure_rate<=0"]
FEW = ["--budget", "6", "--repeats", "6", "--method", "random-wor"]


def call(*argv):
    done = CliRunner().invoke(app, list(argv))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


def test_json_says_everything():
    done = call(*RECORDED, *AIM, *FEW, "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 0
    for key in ("best", "default", "gain", "front", "importance", "failures", "spent_usd", "trials"):
        assert key in found
    assert set(found["best"]) >= {"config", "metrics", "command"}
    assert found["default"]["config"]["max_num_batched_tokens"] == 256
    gain = found["gain"]["tpot_p50_ms"]
    expected = 100 * (1 - found["winner"]["metrics"]["tpot_p50_ms"] / found["default"]["metrics"]["tpot_p50_ms"])
    assert gain["median"] == pytest.approx(expected)
    assert gain["low"] <= gain["median"] <= gain["high"]
    assert found["searched"] == 6
    assert found["trials"] == found["searched"] + found["repeated"]


@pytest.mark.slow
def test_the_text_names_knobs_the_setting_and_the_gain(tmp_path):
    plot = tmp_path / "t.png"
    done = call(*RECORDED, *AIM, *FEW, "--plot", str(plot))
    assert "searched: " in done.stderr
    assert "dynamic_split_fuse (False, True)" in done.stderr
    assert "6 trials with random-wor, then 6 repeats in turns" in done.stderr
    for word in ("chosen", "against the default", "6 searched", "what each knob was worth"):
        assert word in done.stdout
    assert plot.stat().st_size > 10_000


def test_a_front_is_printed_for_several_objectives():
    aim = ["--minimize", "ttft_ms,tpot_ms", "--reference", "60,9"]
    found = json.loads(call(*RECORDED, *aim, *FEW, "--json").stdout)
    assert found["reference"] == [60, 9]
    assert found["hypervolume"] > 0
    assert found["front"]
    assert "no other setting is better in all objectives" in call(*RECORDED, *aim, *FEW).stdout


def test_where_no_setting_meets_the_slos_the_nearest_is_shown_and_the_exit_code_is_3():
    done = call(*RECORDED, "--minimize", "tpot_ms", "--slo", "ttft_p95_ms<=50", *FEW, "--json")
    found = json.loads(done.stdout)
    assert done.exit_code == 3
    assert found["best"] is None
    assert list(found["nearest"]["violations"]) == ["ttft_p95_ms<=50"]
    assert "violates" in call(*RECORDED, "--minimize", "tpot_ms", "--slo", "ttft_p95_ms<=50", *FEW).stdout


@pytest.mark.slow
def test_a_stored_study_goes_on_and_says_how(tmp_path):
    store = ["--store", str(tmp_path / "t.db")]
    first = json.loads(call(*RECORDED, *AIM, *FEW, *store, "--json").stdout)
    again = json.loads(call(*RECORDED, *AIM, *FEW, *store, "--json").stdout)
    assert again["restored"] == first["trials"]
    assert {k: v for k, v in again.items() if k != "restored"} == {k: v for k, v in first.items() if k != "restored"}
    with pytest.raises(UsageError, match="goes on with the command that began it: cloudbandit"):
        call("resume", *store)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tune"], "nothing to tune"),
        (["tune", "--on", "openvino-cpu"], "needs --workload"),
        (["tune", "--on", "nowhere", "--engine", "openvino"], "provider"),
        (["tune", "--engine", "openvino", "--workload", "poetry"], "allowed: chat, prefix, code"),
        (["tune", "--engine", "llamafile"], "engine"),
        ([*RECORDED, *AIM, "--default", "threads"], "KNOB=VALUE"),
        ([*RECORDED, *AIM, "--default", "threads=2"], "was not recorded"),
        ([*RECORDED, *AIM, "--reference", "a"], "a number per objective"),
        ([*RECORDED, *AIM, "--reference", "1,2"], "one value per objective"),
        ([*RECORDED, *AIM, "--method", "magic"], "magic"),
        (["tune", "--engine", "openvino", "--parallel", "2"], "would measure each other"),
    ],
)
def test_bad_input_is_one_clear_message(words, said, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_without_a_default_nothing_is_compared():
    done = call("tune", "--on", "openvino-cpu", "--workload", "chat", *AIM, *FEW)
    assert "not compared: the default is not known" in done.stdout


def test_a_default_of_ones_own():
    config = {"dynamic_split_fuse": True, "enable_prefix_caching": False, "kv_cache_precision": "u8"}
    config |= {"max_num_batched_tokens": 32, "num_kv_blocks": 256, "threads": 2}
    subject = recorded_subject("openvino-cpu", "chat", ["tpot_ms"], default=config)
    assert dict(subject.default.config) == config


STUDY = """
[study]
minimize = "tpot_ms"
slos = ["failure_rate<=0"]
trials = 5

[engine]
name = "openvino"
knobs = { threads = 2 }

[workload]
lengths = "fixed"
input_tokens = 24
output_tokens = 8

[load]
users = 4
requests = 8

[tune]
repeats = 2
method = "random-wor"
default = { max_num_batched_tokens = 64 }
"""


def test_a_study_file_and_options_above_it(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(STUDY)
    subject, tuning, _ = Request(file=path, trials=7).made()
    assert (tuning.trials, tuning.repeats, tuning.method) == (7, 2, "random-wor")
    assert subject.default["max_num_batched_tokens"] == 64
    assert subject.fixed == {"threads": 2}
    command, _ = subject.command(subject.default)
    assert '"max_num_batched_tokens": 64' in command[-1]


@pytest.mark.slow
def test_two_studies_on_one_machine_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # a lock of its own
    path = tmp_path / "mine.toml"
    path.write_text(STUDY)
    subject, _, _ = Request(file=path).made()
    with alone_on_this_machine(subject):
        code = (
            "import sys; from pathlib import Path; from cloudbandit.tune.request import *\n"
            "with alone_on_this_machine(Request(file=Path(sys.argv[1])).made()[0]): pass"
        )
        other = subprocess.run(
            [sys.executable, "-c", code, str(path)],
            capture_output=True,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            check=False,
        )
    assert "another tuning study is running" in other.stderr


@pytest.mark.slow
def test_on_a_real_engine_killed_and_resumed(tmp_path):
    (tmp_path / "mine.toml").write_text(STUDY)
    argv = [sys.executable, "-m", "cloudbandit", "tune", "mine.toml", "--json", "--store", "t.db"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "TMPDIR": str(tmp_path)}
    first = subprocess.Popen(argv, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    time.sleep(12)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 3), done.stderr
    found = json.loads(done.stdout)
    assert found["searched"] == 5
    assert found["default"]["trials"] >= 1
    assert found["default"]["command"].startswith("python openvino_server.py")
