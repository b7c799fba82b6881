"""Somebody else's provider and engine, by name, from a study file: nothing in the package knows them."""

import json
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cloudbandit import Store
from cloudbandit.cli import app
from cloudbandit.core.errors import UnknownNameError, UsageError
from cloudbandit.core.names import Names
from cloudbandit.engines.registry import ENGINES
from cloudbandit.live.studyfile import LiveStudy, load
from cloudbandit.providers.registry import PROVIDERS

PLUGINS = str(Path(__file__).parent / "plugins")
STUDY = """
[study]
name = "toys"
minimize = "usd_per_million_output_tokens"
slos = ["failure_rate<=0"]
optimizer = "exhaustive"
trials = 3

[providers.dear]
name = "toy"
usd_per_h = 8.0
minimum_s = 60.0

[providers.toy]
no_capacity = ["eu-west/toy.2x"]
granularity_s = 0

[engine]
name = "toy"
knobs = { batch = 1, gpus = [1, 2, 4] }

[workload]
lengths = "fixed"
input_tokens = 5
output_tokens = 4

[load]
users = 2
requests = 4
"""


@pytest.fixture
def plugins(monkeypatch):
    monkeypatch.setattr(sys, "path", [PLUGINS, *(p for p in sys.path if p != PLUGINS)])


@pytest.fixture
def path(tmp_path):
    (tmp_path / "study.toml").write_text(STUDY)
    return tmp_path / "study.toml"


@pytest.mark.slow
def test_a_study_runs_on_plugins_found_by_name(plugins, path, tmp_path):
    url = str(tmp_path / "s.db")
    ran = CliRunner().invoke(app, ["run", str(path), "--store", url])
    assert ran.exit_code == 0, ran.output
    assert "of it for hosts beside the trials" in ran.output
    with Store(url) as store:
        trials = store.trials("toys")
    assert [t.result.status for t in trials] == ["ok"] * 3
    assert {t.trial.candidate.arm[0] for t in trials} == {"dear"}  # in the order of the file
    assert all(t.hosts_usd > t.spent_usd > 0 for t in trials)  # a minute is billed, and a second or so used
    engines = {t.trial.candidate["gpus"]: t.result.metrics["engines"] for t in trials}
    assert engines == {1: 2, 2: 1}
    shown = CliRunner().invoke(app, ["show", "--store", url])
    assert "USD for hosts" in shown.output
    exported = CliRunner().invoke(app, ["export", "--store", url, "--to", str(tmp_path / "table")])
    assert exported.exit_code == 0, exported.output
    assert "spent_usd,hosts_usd" in (tmp_path / "table" / "runs.csv").read_text().splitlines()[0]


def test_offers_of_one_instance_type_are_arms_of_their_own(plugins, path):
    domain = LiveStudy.of(load(path)).objective.domain()
    labels = ["us-east/toy.2x", "us-east/toy.2x/spot", "eu-west/toy.2x"]
    assert list(domain.leaves) == [(name, label) for name in ("dear", "toy") for label in labels]
    facts = [LiveStudy.of(load(path)).objective.facts(c) for c in domain.candidates]
    assert sorted({f["price_usd_per_h"] for f in facts}) == [0.5, 2.0, 4.0, 8.0, 16.0]
    assert {f["purchase"] for f in facts} == {"on-demand", "spot"}
    assert {c["gpus"] for c in domain.candidates} == {1, 2}  # no offer has four


def test_what_a_provider_does_not_take_is_refused_with_what_it_takes(plugins, path):
    for change, why in (
        (
            ("minimum_s = 60.0", "minimum = 60.0"),
            r"unknown key 'minimum' in \[providers\.dear\] \(did you mean 'minimum_s'",
        ),
        (("[providers.toy]", "[providers.other]"), "unknown provider 'other'; known: .*local.*, toy"),
        (("[providers.toy]", "[provider]\nname = 'toy'"), "is the form for one"),
        (("[providers.toy]", "[study.toy]"), r"unknown key 'toy' in \[study\]"),
        (('name = "toy"\nknobs', 'name = "toi"\nknobs'), "unknown engine 'toi'.*Did you mean 'toy'"),
        (("batch = 1", "bach = 1"), "knob of toy 'bach'"),
        (("knobs =", "options = { batch = 2 }\nknobs ="), "engine.options and in engine.knobs"),
    ):
        path.write_text(STUDY.replace(*change))
        with pytest.raises(UsageError, match=why):
            load(path)
    path.write_text(STUDY.replace("[providers.dear]", "[providers]\nx = 3\n[providers.dear]"))
    with pytest.raises(UsageError, match=r"providers\.x is 3; allowed: a table"):
        load(path)


def test_the_same_plugin_needs_no_name_of_its_own_and_provider_is_the_form_for_one(plugins, path):
    one = STUDY[: STUDY.index("[providers.dear]")] + STUDY[STUDY.index("[providers.toy]") :]
    path.write_text(one)
    several = LiveStudy.of(load(path)).objective.domain()
    path.write_text(one.replace("[providers.toy]", "[provider]\nname = 'toy'"))
    assert LiveStudy.of(load(path)).objective.domain().fingerprint == several.fingerprint
    assert several.names == ("toy",)


def test_names_are_built_in_ones_then_entry_points(plugins):
    assert ENGINES.known() == ["openvino", "vllm", "transformers", "toy"]
    assert PROVIDERS.known()[0] == "local"
    assert PROVIDERS.known()[-1] == "toy"
    assert PROVIDERS.load("toy").__module__ == "toycloud"
    own = Names("provider", PROVIDERS.group, {"toy": "cloudbandit.providers.local:LocalProvider"})
    assert own.load("toy").__module__ == "cloudbandit.providers.local"  # a built-in name cannot be taken
    with pytest.raises(
        UnknownNameError, match=r"unknown engine 'vlm'.*vllm.*entry point of the group cloudbandit\.engines"
    ):
        ENGINES.load("vlm")


def test_without_its_package_a_plugin_is_unknown(monkeypatch, path):
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != PLUGINS])
    assert not entry_points(group="cloudbandit.engines", name="toy")
    with pytest.raises(UnknownNameError, match="unknown provider 'toy'"):
        load(path)


def needs(a, *, b=1):
    return a, b


def test_a_factory_is_called_with_what_it_takes():
    things = Names("thing", "cloudbandit.nothing", {"x": f"{__name__}:needs"})
    assert things.make("x", {"a": 1, "b": 2}, "[here]") == (1, 2)
    with pytest.raises(UsageError, match=r"\[here\] lacks 'a', which the thing x needs"):
        things.make("x", {"b": 2}, "[here]")
    with pytest.raises(UsageError, match=r"unknown key 'c' in \[here\].*takes: a, b"):
        things.make("x", {"a": 1, "c": 2}, "[here]")


def test_an_unavailable_offer_is_recorded_with_the_providers_code(plugins, path, tmp_path):
    only = STUDY[: STUDY.index("[providers.dear]")] + STUDY[STUDY.index("[providers.toy]") :]
    only = only.replace("trials = 3", "trials = 3\nwait_s = 0")
    gone = '["eu-west/toy.2x", "us-east/toy.2x", "us-east/toy.2x/spot"]'
    path.write_text(only.replace('["eu-west/toy.2x"]', gone))
    url = str(tmp_path / "s.db")
    ran = CliRunner().invoke(app, ["run", str(path), "--store", url, "--json"])
    assert ran.exit_code == 3
    assert json.loads(ran.stdout)["stop_reason"] == "unavailable"
    with Store(url) as store:
        assert {t.result.reason for t in store.trials("toys")} == {"InsufficientInstanceCapacity"}
