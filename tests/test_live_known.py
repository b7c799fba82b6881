"""What a live study knows before its first trial: its hardware, earlier searches, the formula's claims; and when it stops."""

import json

import pytest

from cloudbandit import (
    VLLM,
    Benchmark,
    Candidate,
    LiveObjective,
    Offer,
    Profit,
    Result,
    SLOGoal,
    Store,
    Trial,
    loadgen,
    remember,
)
from cloudbandit.core.errors import CloudBanditError, NoBeliefError, UsageError
from cloudbandit.live.estimates import serving
from cloudbandit.live.studyfile import LiveStudy, load

CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "torch_dtype": "bfloat16",
    "max_position_embeddings": 131072,
}
STUDY = """
[study]
name = "now"
minimize = "usd_per_million_output_tokens"
optimizer = "{optimizer}"
trials = 4
{more}

[providers.local]
usd_per_h = 0.05

[engine]
name = "openvino"
model = "tiny-llama"
knobs = {{ threads = 2, kv_cache_precision = "u8", num_kv_blocks = 256 }}

[workload]

[load]
users = 4
"""


class Renting:
    """A provider with offers, and no machines."""

    name, boot_s = "cloud", 60.0

    def offers(self):
        gpu = {"accelerator": "H100-SXM5-80GB", "accelerators": 8, "vcpus": 192}
        return [
            Offer("cloud", "here", "gpu.8x", 80.0, **gpu),
            Offer("cloud", "here", "odd.8x", 80.0, accelerator="X1", accelerators=8),
        ]


@pytest.fixture
def objective(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    lengths = loadgen.Workload(loadgen.Fixed(1024, 256))
    return LiveObjective(Renting(), VLLM(), Benchmark(str(tmp_path), lengths, [loadgen.Closed(64)]))


def at(offer, **config):
    return Candidate(("cloud", f"here/{offer}"), config)


def test_facts_are_the_offers_and_its_gpus(objective):
    known = objective.facts(at("gpu.8x"))
    assert (known["price_usd_per_h"], known["vcpus"], known["accelerators"]) == (80.0, 192.0, 8.0)
    assert (known["architecture"], known["accelerator_bandwidth_gb_per_s"]) == ("Hopper", 3350.0)
    assert "architecture" not in objective.facts(at("odd.8x"))


def test_the_formula_claims_times_of_what_it_knows(objective):
    estimate = serving(objective)
    one, four = (estimate(at("gpu.8x", tensor_parallel_size=n)) for n in (1, 4))
    assert four["tpot_p50_ms"] < one["tpot_p50_ms"]
    assert one["usd_per_million_output_tokens"] == pytest.approx(80.0 / (one["output_tok_per_s"] * 3600) * 1e6)
    few = estimate(at("gpu.8x", tensor_parallel_size=1, max_num_seqs=4))
    assert few["output_tok_per_s"] < one["output_tok_per_s"]
    assert estimate(at("odd.8x", tensor_parallel_size=1)) == {}


def test_without_a_config_or_a_number_of_users_there_is_nothing_to_claim(objective):
    objective.benchmark.loads = [loadgen.Open(2.0)]
    with pytest.raises(UsageError, match="estimates a number of users; cure"):
        serving(objective)
    objective.benchmark.loads, objective.benchmark.model = [loadgen.Closed(1)], "meta-llama/Llama-3.1-8B"
    with pytest.raises(UsageError, match=r"reads the model's config\.json .*; cure: a folder"):
        serving(objective)


def study(tmp_path, more="", optimizer="joint"):
    path = tmp_path / "study.toml"
    path.write_text(STUDY.format(more=more, optimizer=optimizer))
    return LiveStudy.of(load(path))


def test_a_study_file_says_when_to_stop(tmp_path):
    assert study(tmp_path).stop is None
    assert study(tmp_path, 'stop = "profit"\nproduction_runs = 500').stop == Profit(500)
    for more, said in (
        ('stop = "profit"', "needs one of production_runs and production_hours"),
        ("production_runs = 4", "goes with the rule that uses it"),
        ('stop = "profits"\nproduction_runs = 4', "study.stop is 'profits'"),
        ('stop = "profit"\nproduction_runs = 0', "study.production_runs is 0"),
        ('estimates = ["serving"]', r"reads the model's config\.json"),
        ('estimates = ["guess"]', "study.estimates"),
    ):
        with pytest.raises(UsageError, match=said):
            study(tmp_path, more)
    with pytest.raises(NoBeliefError, match="joint"):
        study(tmp_path, 'stop = "profit"\nproduction_runs = 4', "gp-ard").run(None)


def test_an_earlier_live_study_is_remembered_with_its_hardware(tmp_path):
    url = str(tmp_path / "past.db")
    candidate = Candidate(("local", "local"), {"threads": 2})
    goal = SLOGoal("usd_per_million_output_tokens")
    with Store(url) as store:
        live = study(tmp_path)
        label = next(iter(live.objective.domain().leaves))
        candidate = Candidate(label, {"threads": 2})
        record = store.open("then", {}, live.spec)
        for number, value in enumerate((2.0, 1.0)):
            record.start(Trial(number, candidate), 0.1)
            result = Result(metrics={"usd_per_million_output_tokens": value}, spent_usd=0.1)
            record.finish(Trial(number, candidate), result, 1.0)
        record.close()
    ((name, history),) = remember([url], goal).items()
    assert name == f"{url}/then"
    assert [o.score.values for o in history] == [(2.0,), (1.0,)]
    assert history.facts(candidate)["price_usd_per_h"] == 0.05
    assert history.facts(Candidate(("gone", "x"), {})) == {}
    with pytest.raises(CloudBanditError, match="no tpot_p50_ms"):
        remember([url], SLOGoal("tpot_p50_ms"))
