"""`recommend` on today's engines: what it offers, how it moves with the question, what measurements do to it."""

import json
import math
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from cloudbandit import Recommender
from cloudbandit.catalogue.models import GIB
from cloudbandit.catalogue.offers import USABLE_MEMORY
from cloudbandit.cli import app
from cloudbandit.core.curve import replicas_for
from cloudbandit.core.errors import UsageError
from cloudbandit.core.offer import Offer
from cloudbandit.recommend import (
    LoadTest,
    ModelSpec,
    Profile,
    RequestLengths,
    ServingOffer,
    catalogue_offers,
    find_gpu,
    recommend,
)
from cloudbandit.recommend.ranking import STEPS
from cloudbandit.surrogate.served import ENGINE_LOADS, TODAY, Served, derived, known_points
from cloudbandit.surrogate.serving import columns_of
from cloudbandit.surrogate.training import measured_models

TTFT_MS, TPOT_MS = 1000, 40
SLOS = [f"ttft_ms<={TTFT_MS}", f"tpot_ms<={TPOT_MS}"]
LLAMA_405B = {
    "model_type": "llama", "hidden_size": 16384, "intermediate_size": 53248, "num_hidden_layers": 126, "num_attention_heads": 128,
    "num_key_value_heads": 8, "vocab_size": 128256, "torch_dtype": "bfloat16", "_name_or_path": "llama-3.1-405b",
}  # fmt: skip


@lru_cache(maxsize=1)
def offers():
    return catalogue_offers()[0]


def model(name):
    return ModelSpec.from_config(LLAMA_405B) if name == "llama-3.1-405b" else measured_models()[0][name]


# ── ten well-known questions ──


def perfect(spec, users, precision):
    """USD/h of the cheapest fleet whose engines reach the datasheets' bandwidth and operations, and lose nothing in between."""
    served, costs = Served("vllm", precision), []
    for key, profile in {o.profile.key: o.profile for o in offers()}.items():
        if served.refusal(spec, profile, TODAY):
            continue
        c = columns_of([(served.deployment(spec, profile, TODAY), float(u)) for u in ENGINE_LOADS])
        step = np.maximum(
            (c.read_weights + c.read_cache) / (c.bandwidth * c.gpus), c.step_operations / (c.flops * c.gpus)
        )
        first = c.prompt_operations / (c.flops * c.gpus)
        ok = (1e3 * step <= TPOT_MS) & (1e3 * first <= TTFT_MS) & (c.users <= c.capacity)
        if ok.any():
            most = np.array(ENGINE_LOADS)[ok].max()
            costs += [
                float(replicas_for(users, most * o.engines)) * o.usd_per_h for o in offers() if o.profile.key == key
            ]
    return min(costs)


def bought_by_measurement(spec, users):
    """USD/h of the cheapest fleet of a deployment that was measured within the SLOs at like lengths, in any precision."""
    costs = []
    for m in known_points(spec):
        d = m.deployment
        like = 0.4 < d.input_tokens / TODAY.input_mean < 2.5 and 0.4 < d.output_tokens / TODAY.output_mean < 4.5
        within = m.metrics.get("tpot_p50_ms", math.inf) <= TPOT_MS and m.metrics.get("ttft_p50_ms", math.inf) <= TTFT_MS
        if like and within:
            costs += [
                float(replicas_for(users, m.users * o.engines)) * o.usd_per_h
                for o in offers()
                if o.profile.key == (d.gpu.part, d.gpus)
            ]
    return min(costs, default=math.inf)


TEN = [
    ("Llama-3.1-8B-Instruct", 1, None),
    ("Llama-3.1-8B-Instruct", 50, None),
    ("Llama-3.1-8B-Instruct", 200, None),
    ("Qwen3-32B", 1, None),
    ("Qwen3-32B", 50, "fp8"),
    ("Llama-3.1-70B", 50, "fp8"),
    ("Llama-3.1-70B", 200, "fp8"),
    ("llama-3.1-405b", 50, "fp8"),
    ("gpt-oss-120b", 200, None),
    ("DeepSeek-R1", 50, None),
]


@pytest.mark.parametrize(("name", "users", "precision"), TEN)
def test_ten_well_known_questions(name, users, precision):
    spec = model(name)
    best = recommend(spec, slo=SLOS, users=users, precision=precision).best
    assert best.p_meets_slo >= STEPS[0]
    assert best.replicas * best.users_per_replica >= users
    assert best.usd_per_h == pytest.approx(best.replicas * best.offer.usd_per_h)
    least, bought = perfect(spec, users, precision), bought_by_measurement(spec, users)
    most = 2 * bought if math.isfinite(bought) else 8 * least  # the 405B was measured by nobody
    assert least <= best.usd_per_h <= most
    assert best.medians["tpot_p50_ms"] <= TPOT_MS
    assert best.medians["ttft_p50_ms"] <= TTFT_MS


# ── laws ──

SIZES = st.sampled_from(
    [(2048, 24, 16, 8), (4096, 32, 32, 8), (5120, 64, 40, 8), (8192, 80, 64, 8), (16384, 126, 128, 8)]
)


@st.composite
def models(draw):
    width, layers, heads, kv = draw(SIZES)
    config = {
        "model_type": "llama", "hidden_size": width, "intermediate_size": draw(st.sampled_from([2, 3, 4])) * width,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": draw(st.sampled_from([kv, heads])),
        "vocab_size": 128256, "_name_or_path": "drawn",
    }  # fmt: skip
    return ModelSpec.from_config(config)


@lru_cache(maxsize=1)
def few():
    """Offers of three providers, for the sake of time."""
    return tuple(catalogue_offers(providers=["lambda", "azure", "runpod"])[0])


lengths = st.tuples(st.sampled_from([128, 1024, 8192]), st.sampled_from([32, 256, 2048]))


@pytest.mark.slow
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(models(), st.integers(1, 500), lengths, st.sampled_from([300, 1000, 3000]), st.sampled_from([20, 40, 80]))
def test_more_users_stricter_slos_and_higher_prices_never_cost_less(spec, users, tokens, ttft, tpot):
    """Three changes of each of a hundred questions. What is sure is compared first: where a looser SLO makes a safer answer
    possible, that one may cost more."""
    asked = Recommender(engine="vllm")
    dearer = [
        ServingOffer(
            Offer("x", "", o.name, 1.3 * o.usd_per_h, accelerator=o.profile.gpu.part), o.profile, o.engines, o.name
        )
        for o in few()
    ]

    def cost(users=users, ttft=ttft, tpot=tpot, machines=None):
        try:
            answer = asked.recommend(
                spec,
                machines or few(),
                [f"ttft_ms<={ttft}", f"tpot_ms<={tpot}"],
                users,
                workload=RequestLengths.fixed(*tokens),
            )
        except UsageError:  # nothing holds the model
            return (-1.0, 0.0)
        best = answer.best
        return (-math.inf, 0.0) if best is None else (-answer.p_wanted, best.usd_per_h)

    here = cost()
    assert cost(users=users + 17) >= here
    assert cost(ttft=1.5 * ttft, tpot=1.5 * tpot) <= here or here[0] == -math.inf
    assert cost(machines=dearer)[0] == here[0]
    assert cost(machines=dearer)[1] == pytest.approx(1.3 * here[1])


@settings(max_examples=30, deadline=None)
@given(models(), st.integers(1, 300), lengths, st.sampled_from([None, "fp8", "int4"]))
def test_what_is_offered_holds_the_model_and_computes_in_its_precision(spec, users, tokens, precision):
    workload = RequestLengths.fixed(*tokens)
    try:
        answer = recommend(spec, few(), workload, ["ttft_ms<=60000"], users, precision=precision)
    except UsageError:
        return
    served = spec.served(precision or "")
    for r in answer.ranking:
        r.offer.profile.gpu.check_precision(served.precision)
        usable = USABLE_MEMORY * r.offer.profile.gpus * r.offer.profile.gpu.memory_gib
        assert served.weights_gib + served.cache_bytes(workload.longest, "fp8") / GIB <= usable


@given(st.floats(1, 100), st.floats(1, 5000), st.integers(1, 512))
def test_metrics_of_a_closed_loop_agree_with_littles_law(tpot, ttft, users):
    out = derived(np.array([tpot]), np.array([ttft]), np.array([float(users)]), TODAY)
    e2e = ttft + 255 * tpot
    assert out["e2e_p50_ms"][0] == pytest.approx(e2e)
    assert out["requests_per_s"][0] * e2e / 1e3 == pytest.approx(users)
    assert out["output_tok_per_s"][0] == pytest.approx(256 * out["requests_per_s"][0])
    assert out["nttft_p50_ms"][0] * 1024 == pytest.approx(ttft)


# ── measurements ──


def test_what_another_engine_did_informs_and_never_counts_as_measured():
    config = {
        **LLAMA_405B,
        "hidden_size": 5120,
        "intermediate_size": 20480,
        "num_hidden_layers": 64,
        "num_attention_heads": 40,
    }
    spec, h100 = ModelSpec.from_config(config, "new"), Profile(find_gpu("H100-SXM5-80GB"), 4)
    machine = [ServingOffer(Offer("x", "", "four", 20.0, accelerator=h100.gpu.part, accelerators=4), h100)]

    def asked(engine, tpot):
        tests = [LoadTest("new", h100, u, {"tpot_p50_ms": tpot, "ttft_p50_ms": 10 * tpot}, engine) for u in (1, 64)]
        advisor = Recommender().advise(spec, machine, SLOS, 64, measurements=tests if tpot else (), risk=0.01)
        return advisor.recommend().best, float(
            np.median(advisor.samples()["tpot_p50_ms"][:, 0, ENGINE_LOADS.index(32)])
        )

    plain, before = asked("", 0)
    other, after = asked("sglang", 80.0)
    assert before < after < 80.0
    assert plain.source == other.source == "predicted"
    assert asked("", 80.0)[0] is None  # of the engine asked about: it is known not to do
    assert asked("vllm", 10.0)[0].source == "measured"
    assert asked("vllm", 10.0)[0].p_meets_slo == 1.0


def test_what_lies_between_two_measured_loads_is_bounded_by_them():
    spec, h100 = model("Qwen3-32B"), Profile(find_gpu("H100-SXM5-80GB"), 8)
    tests = [LoadTest(spec.name, h100, u, {"tpot_p50_ms": t, "ttft_p50_ms": 10 * t}) for u, t in ((4, 9.0), (64, 12.0))]
    advisor = Recommender().advise(spec, None, ["tpot_ms<=12"], 48, measurements=tests)
    row = next(i for i, p in enumerate(advisor.profiles) if p.key == h100.key)
    inside = [j for j, u in enumerate(advisor.loads) if 4 <= u <= 64]
    drawn = advisor.samples()["tpot_p50_ms"][:, row]
    assert (drawn[:, inside] >= 9.0).all()
    assert (drawn[:, inside] <= 12.0).all()
    assert (drawn[:, : inside[0]] <= 9.0).all()
    assert (drawn[:, inside[-1] + 1 :] >= 12.0).all()
    r = next(r for r in advisor.recommend().ranking if r.offer.profile.key == h100.key)
    assert (r.source, r.p_meets_slo, r.load_per_engine) == ("measured", 1.0, 48)


def test_a_question_names_what_its_answer_rests_on():
    answer = recommend("Llama-3.1-70B", slo=SLOS, users=10)
    assert answer.engine == "vllm"
    by = {r.offer.profile.gpu.part: r for r in answer.ranking}
    assert all(r.source == "predicted" for r in answer.ranking)
    assert "45 on this GPU" in by["H100-SXM5-80GB"].basis
    assert any(n.startswith("never measured, so from datasheets") for n in answer.notes)
    unknown = recommend(model("llama-3.1-405b"), slo=SLOS, users=10, precision="fp8")
    assert any("was never measured: predicted from what other models did" in n for n in unknown.notes)
    assert unknown.best.basis.startswith("the formula alone")


def test_where_nothing_is_sure_the_likeliest_is_ranked_and_says_so():
    answer = recommend("Llama-3.1-70B", slo=["tpot_ms<=10", "ttft_ms<=1000"], users=1)
    assert answer.p_wanted in STEPS[1:]
    assert answer.notes[0].startswith(f"nothing meets the SLOs with probability {STEPS[0]:g}")
    assert all(r.p_meets_slo >= answer.p_wanted for r in answer.ranking)
    strict = recommend("Llama-3.1-70B", slo=["tpot_ms<=10", "ttft_ms<=1000"], users=1, risk=0.9)
    assert not strict.ranking
    assert "with probability 0.9 (at most" in strict.explanation


def test_a_precision_or_engine_that_runs_nowhere_is_refused():
    with pytest.raises(UsageError, match="allowed: vllm, sglang, trtllm, tgis, openvino"):
        recommend("Llama-3.1-70B", slo=SLOS, users=1, engine="vlm")
    with pytest.raises(UsageError, match=r"runs on none of the offers .*openvino does not run on"):
        recommend("Llama-3.1-70B", slo=SLOS, users=1, engine="openvino")
    with pytest.raises(UsageError, match="measured in FP16 alone"):
        recommend("llama-13b", slo=SLOS, users=1, engine="tgis", precision="fp8")
    old = [o for o in offers() if o.profile.gpu.part.startswith("A100")]
    with pytest.raises(UsageError, match=r"cannot run fp8: it computes in fp16"):
        recommend("Llama-3.1-70B", old, slo=SLOS, users=1, precision="fp8")


# ── command line ──


def test_the_command_asks_the_catalogue_under_vllm_and_llm_pilots_offers_mean_its_engine():
    def ask(*more):
        result = CliRunner().invoke(app, ["recommend", "--users", "8", "--json", *more])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    today = ask("--model", "gpt-oss-120b", "--slo", "tpot_ms<=30")
    assert today["engine"] == "vllm"
    assert {r["provider"] for r in today["ranking"]} >= {"aws", "gcp", "azure"}
    assert today["ranking"][0]["basis"].startswith("the formula and 361 measurements")
    pilot = ask("--model", "llama-13b", "--slo", "itl_ms<=50", "--offers", "llm-pilot")
    assert pilot["engine"] == "tgis"
    assert pilot["ranking"][0]["source"] == "measured"
    assert ask("--model", "llama-13b", "--slo", "itl_ms<=50", "--engine", "tgis") == pilot
