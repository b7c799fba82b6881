"""Predictions of today's engines: laws of the formula, intervals, corrections by measurements, the command."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudbandit.catalogue.gpus import find_gpu, load_gpus
from cloudbandit.catalogue.models import GIB, ModelSpec
from cloudbandit.cli import main
from cloudbandit.core.bundled import bundled
from cloudbandit.core.errors import DataError, UsageError
from cloudbandit.surrogate import sources
from cloudbandit.surrogate.against import Held, report
from cloudbandit.surrogate.deployment import Deployment
from cloudbandit.surrogate.errors import METRICS
from cloudbandit.surrogate.formula import Columns, step_s
from cloudbandit.surrogate.points import Points
from cloudbandit.surrogate.points_file import write_points
from cloudbandit.surrogate.points_known import silicon_points
from cloudbandit.surrogate.points_runs import speculative
from cloudbandit.surrogate.question import hold_against, predict
from cloudbandit.surrogate.ratios import NAMES
from cloudbandit.surrogate.ratios_known import ratio_points
from cloudbandit.surrogate.serving import (
    TIMES,
    Estimate,
    Measured,
    Serving,
    bundled_serving,
    columns_of,
)
from cloudbandit.surrogate.sources import serving_at_hand
from cloudbandit.surrogate.training import measured_models, train, training_points
from cloudbandit.surrogate.training_loads import with_tgis

LLAMA_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
SPECULATIVE_DATES = ("2026-01-14", "2026-02-05", "2026-02-06")
SPEC = ModelSpec.from_config(LLAMA_8B, "mine-8B")
MOE = measured_models()[0]["Qwen3-235B-A22B-FP8"]


@pytest.fixture(autouse=True)
def _without_extras(monkeypatch):
    """As installed without extras, whatever this machine has."""
    monkeypatch.setattr(sources, "installed", lambda: False)
    serving_at_hand.cache_clear()
    yield
    serving_at_hand.cache_clear()


def deployment(model=SPEC, gpu="H100", gpus=1, engine="vllm", precision="bf16", inputs=1000.0, outputs=200.0):
    return Deployment(model, find_gpu(gpu), gpus, engine, precision, inputs, outputs)


def predicted(d, users, *measured):
    return bundled_serving().predict([(d, float(users))], measured)[0]


deployments = st.builds(
    deployment,
    model=st.sampled_from([SPEC, measured_models()[0]["Llama-3.1-70B"], MOE]),
    gpu=st.sampled_from(["H100", "H200", "B200", "MI300X", "GB200"]),
    gpus=st.sampled_from([4, 8]),
    engine=st.sampled_from(["vllm", "sglang", "another"]),
    precision=st.sampled_from(["bf16", "fp8"]),
    inputs=st.floats(16, 20_000),
    outputs=st.floats(2, 4_000),
)


@given(deployments, st.lists(st.integers(1, 600), min_size=2, max_size=2, unique=True))
@settings(max_examples=80)
def test_more_users_never_make_an_answer_faster(d, users):
    if d.capacity < 1:
        return
    few, many = bundled_serving().predict([(d, float(u)) for u in sorted(users)])
    for name in ("ttft_p50_ms", "tpot_p50_ms", "e2e_p50_ms"):
        assert few[name].median <= many[name].median * (1 + 1e-9)


@given(deployments, st.integers(1, 600))
@settings(max_examples=50)
def test_intervals_hold_their_median_and_throughput_obeys_littles_law(d, users):
    if d.capacity < 1:
        return
    found = predicted(d, users)
    assert tuple(found) == TIMES
    assert all(0 < e.low <= e.median <= e.high < math.inf for e in found.values())
    in_flight = found["output_tok_per_s"].median * found["e2e_p50_ms"].median / 1e3 / d.output_tokens
    assert in_flight == pytest.approx(users)
    assert found["e2e_p50_ms"].median == pytest.approx(
        found["ttft_p50_ms"].median + (d.output_tokens - 1) * found["tpot_p50_ms"].median
    )


def test_a_step_is_the_sum_that_it_says():
    """One user, one GPU, by hand: weights and cache over bandwidth, operations, the prompt's share, overhead per layer."""
    d = deployment(gpus=1)
    c, v = columns_of([(d, 1.0)]), bundled_serving().constants.step
    weights = 2 * (SPEC.parameters - 128256 * 4096)  # an embedding is looked up, not read
    cache = 1100 * 2 * 32 * 8 * 128 * 2
    assert c.read_weights[0] == pytest.approx(weights, rel=0.01)
    assert c.read_cache[0] == pytest.approx(cache, rel=0.01)
    by_hand = c.read_weights[0] / (3350e9 * v["e_b"]) + c.read_cache[0] / (3350e9 * v["e_k"])
    by_hand += c.step_operations[0] / (989e12 * v["e_c"]) + 32 * v["o"] * v["o_vllm"]
    by_hand += v["x"] * c.prompt_operations[0] / (989e12 * v["e_p"]) / 200
    assert step_s(v, c)[0] == pytest.approx(by_hand)


def test_nothing_is_faster_than_its_weights_stream():
    for gpu in ("H100", "H200", "B200"):
        d = deployment(gpu=gpu)
        floor = 1e3 * d.weights_gib * GIB / (d.gpu.bandwidth_gb_per_s * 1e9)
        assert predicted(d, 1)["tpot_p50_ms"].median > 0.85 * floor  # of which the embedding is not read


def test_more_gpus_shorten_a_large_model_and_fp8_beats_bf16():
    big = measured_models()[0]["Llama-3.1-70B"]
    times = [predicted(deployment(big, gpus=n, precision="fp8"), 16)["tpot_p50_ms"].median for n in (2, 4, 8)]
    assert times == sorted(times, reverse=True)
    assert times[1] < predicted(deployment(big, gpus=4), 16)["tpot_p50_ms"].median


def test_a_gpu_and_an_engine_that_nobody_measured_widen_the_interval():
    def width(name, **facts):
        e = predicted(deployment(**facts), 16)[name]
        return e.high / e.low

    for name in METRICS:
        known = width(name)
        assert width(name, gpu="A100-SXM4-80GB") > known
        assert width(name, engine="mine") > known
        assert width(name, gpu="A100-SXM4-80GB", engine="mine") > width(name, engine="mine")
        seen = predicted(deployment(measured_models()[0]["Llama-3.1-8B-Instruct"]), 16)[name]
        assert seen.high / seen.low < known


def test_a_measurement_moves_and_narrows_what_is_near_it_most():
    d = deployment()
    before = predicted(d, 16)
    told = Measured(d, 16.0, {name: 2 * before[name].median for name in METRICS})
    same, far, other = predicted(d, 16, told), predicted(d, 400, told), predicted(deployment(gpus=2), 16, told)
    plain_other = predicted(deployment(gpus=2), 16)
    for name in METRICS:
        assert same[name].median == pytest.approx(2 * before[name].median, rel=0.1)
        assert same[name].high / same[name].low < before[name].high / before[name].low
        moved_far = far[name].median / predicted(d, 400)[name].median
        moved_other = other[name].median / plain_other[name].median
        assert 1.0 < moved_other < moved_far < same[name].median / before[name].median


def test_only_one_metric_measured_leaves_the_other_alone():
    d = deployment()
    before = predicted(d, 4)
    after = predicted(d, 4, Measured(d, 4.0, {"tpot_p50_ms": 50.0}))
    assert after["ttft_p50_ms"].median == pytest.approx(before["ttft_p50_ms"].median)
    assert after["tpot_p50_ms"].median == pytest.approx(50.0, rel=0.15)


@pytest.mark.parametrize(
    ("facts", "error", "message"),
    [
        ({"model": MOE, "gpu": "T4"}, UsageError, "T4-16GB.*cannot run.*fp8"),
        ({"gpu": "T4", "inputs": 20_000}, DataError, r"does not fit on 1 × T4-16GB.*GiB per GPU are lacking"),
        ({"precision": "nvfp4"}, UsageError, "H100-SXM5-80GB.*cannot run nvfp4"),
        ({"gpu": "MI300X", "engine": "trtllm"}, UsageError, "trtllm does not run on MI300X"),
        ({"engine": "openvino"}, UsageError, "openvino does not run on H100"),
    ],
)
def test_what_cannot_be_served_is_refused(facts, error, message):
    precision = facts.pop("precision", "fp8" if "model" in facts else "bf16")
    with pytest.raises(error, match=message):
        predicted(deployment(precision=precision, **facts), 1)


def test_the_last_gib_decides():
    """Exactly as much memory as weights and one request need is enough; a byte less is not."""
    d = deployment()
    need = (d.weights_gib + d.request_bytes / GIB) / 0.9

    def on(memory_gib):
        gpu = load_gpus()["H100-SXM5-80GB"]
        parts = {f: getattr(gpu, f) for f in gpu.__dataclass_fields__} | {"memory_gib": memory_gib}
        return Deployment(SPEC, type(gpu)(**parts), 1, "vllm", "bf16", 1000.0, 200.0)

    predicted(on(need * 1.0001), 1)
    with pytest.raises(DataError, match="does not fit"):
        predicted(on(need * 0.9999), 1)


def test_constants_survive_their_file_and_other_files_are_refused(tmp_path):
    path = tmp_path / "constants.json"
    path.write_text(json.dumps(bundled_serving().to_dict()))
    again = Serving.load(path)
    d = deployment()
    assert again.predict([(d, 8.0)]) == bundled_serving().predict([(d, 8.0)])
    path.write_text('{"step": {}}')
    with pytest.raises(DataError, match="holds no constants"):
        Serving.load(path)
    with pytest.raises(DataError):
        Serving.load(tmp_path / "nowhere.json")


@pytest.mark.slow
def test_the_shipped_constants_are_those_of_the_shipped_points():
    learnt, shipped = with_tgis(train(training_points())).to_dict(), bundled_serving().to_dict()
    assert learnt["seen"] == shipped["seen"]
    for part in ("step", "first"):
        for name, value in shipped[part].items():
            assert learnt[part][name] == pytest.approx(value, rel=0.02), name
    pairs = [np.array(x["errors"]["pairs"]) for x in (learnt, shipped)]
    assert np.allclose(*pairs, atol=0.03)
    for engine, trust in shipped["opinion"].items():
        assert learnt["opinion"][engine] == pytest.approx(trust, abs=0.02), engine
    again, ratios = ratio_points().learn(), bundled_serving().ratios
    assert set(again.known) == set(ratios.known) == set(NAMES)
    for name, r in again.known.items():
        assert np.allclose(r.errors, ratios.known[name].errors, atol=1e-3), name


def test_the_bundled_points_are_predicted_within_their_stated_error():
    """Not a test of skill, the constants were learnt on them: a slip of units or columns would show."""
    points = training_points()
    some = list(range(0, len(points), 40))
    rows = [points.rows[i] for i in some]
    ratios = [
        p["tpot_p50_ms"].median / math.exp(points.times[i, 0])
        for i, p in zip(some, bundled_serving().predict(rows), strict=True)
    ]
    assert 0.9 < np.median(ratios) < 1.1
    assert np.mean(np.abs(np.log(ratios))) < 0.25


def test_a_report_counts_as_defined():
    estimate = Estimate(10.0, 8.0, 12.0)
    held = [
        Held({"model": "m", "gpu": "g", "engine": "e"}, {"tpot_p50_ms": 8.0}, {"tpot_p50_ms": estimate}),
        Held({"model": "m", "gpu": "h", "engine": "e"}, {"tpot_p50_ms": 20.0}, {"tpot_p50_ms": estimate}),
        Held({"model": "n", "gpu": "h", "engine": "e"}, {"tpot_p50_ms": 5.0}, {}),
    ]
    found = report(held)
    assert (found["n"], found["refused"]) == (2, 1)
    m = found["metrics"]["tpot_p50_ms"]
    assert (m["n"], m["mape_percent"], m["coverage_percent"]) == (2, pytest.approx(37.5), 50.0)
    assert m["median_ratio"] == pytest.approx((1.25 + 0.5) / 2)
    assert m["median_high_over_low"] == 1.5
    assert found["groups"][0]["name"] == "h"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "models").mkdir()
    data = json.loads((bundled() / "silicon-points" / "models.json").read_text())["models"]
    for name, entry in data.items():
        (tmp_path / "models" / f"{name}.json").write_text(json.dumps(entry["config"]))
    write_points(silicon_points()[::100], tmp_path / "points.csv")
    return tmp_path


def test_predict_against_points(folder, capsys):
    plot = folder / "against.png"
    with pytest.raises(SystemExit) as stopped:
        main(
            [
                "predict",
                "--against",
                f"{folder}/points.csv",
                "--models",
                f"{folder}/models",
                "--json",
                "--plot",
                str(plot),
            ]
        )
    assert not stopped.value.code
    found = json.loads(capsys.readouterr().out)
    assert found["n"] + found["refused"] == 28
    assert set(found["metrics"]) >= {"ttft_p50_ms", "tpot_p50_ms", "e2e_p50_ms"}
    assert {g["by"] for g in found["groups"]} == {"model", "gpu", "engine"}
    worst = [max(m["mape_percent"] for m in g["metrics"].values()) for g in found["groups"]]
    assert worst == sorted(worst, reverse=True)
    assert plot.stat().st_size > 10_000
    with pytest.raises(SystemExit):
        main(["predict", "--against", f"{folder}/points.csv", "--models", f"{folder}/models"])
    assert "points predicted" in capsys.readouterr().out


def test_a_model_without_a_config_is_named(folder):
    (folder / "models" / "gpt-oss-120b.json").unlink()
    with pytest.raises(DataError, match=r"no gpt-oss-120b.json in .*it holds .*GLM-5"):
        hold_against(folder / "points.csv", folder / "models")


def test_predict_a_question(tmp_path, capsys):
    config = tmp_path / "mine.json"
    config.write_text(json.dumps(LLAMA_8B))
    question = ["predict", "--model", str(config), "--gpu", "L40S", "--users", "1,8"]
    with pytest.raises(SystemExit):
        main([*question, "--json"])
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"model", "rows", "source", "nearest", "warnings"}
    assert found["model"]["name"] == "mine"
    assert found["model"]["parameters"] == pytest.approx(8.03e9, rel=0.01)
    assert found["model"]["kv_bytes_per_token"] == 2 * 32 * 8 * 128 * 2
    assert [row["users"] for row in found["rows"]] == [1, 8]
    assert set(found["rows"][0]["metrics"]["ttft_p50_ms"]) == {"median", "low", "high"}
    assert any("L40S" in w for w in found["warnings"])
    with pytest.raises(SystemExit):
        main(question)
    shown = capsys.readouterr().out
    assert "mine on 1 × L40S-48GB, vllm" in shown
    assert "never measured" in shown


def test_measurements_of_ones_own_correct_an_answer(tmp_path):
    before = predict(SPEC, "H100", users=(16,)).rows[0][1]["tpot_p50_ms"].median
    path = tmp_path / "mine.csv"
    header = "gpu,gpus,engine,precision,input_tokens,output_tokens,users,tpot_p50_ms"
    path.write_text(f"{header}\nH100-SXM5-80GB,1,vllm,bf16,1024,256,16,{3 * before}\n")
    after = predict(SPEC, "H100", users=(16,), measured=path)
    assert after.rows[0][1]["tpot_p50_ms"].median == pytest.approx(3 * before, rel=0.25)
    assert "1 measurements" in after.source


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--against", "x.csv"], "--against needs --models"),
        (["--gpu", "H100"], "predict needs --model"),
        (["--model", "MINE", "--gpu", "H100", "--gpus", "0"], "must be ≥ 1"),
        (["--model", "MINE", "--gpu", "H100", "--users", "0"], "must be ≥ 1"),
        (["--model", "MINE", "--gpu", "H100", "--input-tokens", "nan"], "must be ≥ 1"),
        (["--model", "MINE", "--gpu", "ABC1"], "ABC1"),
        (["--model", "MINE", "--gpu", "H100", "--precision", "int3"], "int3"),
        (["--model", "nowhere.json", "--gpu", "H100"], "nowhere.json"),
    ],
)
def test_a_wrong_question_says_what_is_wrong(tmp_path, capsys, arguments, message):
    config = tmp_path / "mine.json"
    config.write_text(json.dumps(LLAMA_8B))
    with pytest.raises(SystemExit) as stopped:
        main(["predict", *(str(config) if a == "MINE" else a for a in arguments)])
    assert stopped.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_columns_are_rows_of_the_same_length():
    c = columns_of([(deployment(), 1.0), (deployment(MOE, gpus=8, precision="fp8"), 64.0)])
    assert isinstance(c, Columns)
    assert len(c) == 2
    assert list(c.moe) == [0.0, 1.0]
    assert c[1:].read_weights[0] == c.read_weights[1]


# ── what is not what it says ──


def test_campaigns_of_several_tokens_a_step_are_told_by_equal_loads():
    points = silicon_points()
    doubted = points.where(lambda p: p.model == "DeepSeek-R1" and p.engine == "trtllm" and p.date in SPECULATIVE_DATES)
    assert speculative(points).sum() == len(doubted) == 99
    assert all(speculative(points) == [p in doubted for p in points])
    faster_in_all = [replace(p, metrics={m: 0.6 * v for m, v in p.metrics.items()}, date="2027-01-01") for p in points]
    assert (
        speculative([*points, *faster_in_all])[len(points) :].sum() == 0
    )  # a faster machine has an earlier first token


def test_points_in_other_units_or_of_other_machines_are_doubted(folder):
    rows = [replace(p, metrics={m: v / 1000 for m, v in p.metrics.items()}) for p in silicon_points()[::200]]
    write_points(Points(tuple(rows)), folder / "points.csv")
    warnings = hold_against(folder / "points.csv", folder / "models")[1]["warnings"]
    assert any("seconds" in w for w in warnings)
    assert any("stream at full bandwidth" in w for w in warnings)
    as_they_are = [p for p in silicon_points()[::50] if p.users < 512]
    write_points(Points(tuple(as_they_are)), folder / "points.csv")
    assert not hold_against(folder / "points.csv", folder / "models")[1]["warnings"]
