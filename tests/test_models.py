"""Models: parameters, caches and traffic read from a config, against transformers' counts, published figures and arithmetic."""

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudbandit.catalogue.layers import CacheLayers
from cloudbandit.catalogue.models import GIB, ModelSpec
from cloudbandit.core.errors import DataError, UnknownNameError

COUNTED = json.loads((Path(__file__).parent / "data" / "models.json").read_text())["models"]
CONFIGS = {m["name"]: m["config"] for m in COUNTED}
LLAMA = CONFIGS["meta-llama/Meta-Llama-3.1-8B"]
MOE = "Qwen/Qwen3-30B-A3B"


def spec(name, **changes):
    return ModelSpec.from_config({**CONFIGS[name], **changes}, name)


@pytest.mark.parametrize("model", COUNTED, ids=[m["name"] for m in COUNTED])
def test_parameters_are_those_transformers_counts(model):
    found = ModelSpec.from_config(model["config"], model["name"])
    assert found.parameters == pytest.approx(model["parameters"], rel=0.005)
    assert found.active_parameters == pytest.approx(model["active_parameters"], rel=0.005)
    of_experts = sum(p.parameters for p in found.parts if p.kind == "experts")
    assert of_experts == pytest.approx(model["expert_parameters"], rel=0.005)
    assert sum(p.parameters for p in found.parts) == found.parameters


@pytest.mark.parametrize(
    ("name", "kv_bytes"),
    [
        ("meta-llama/Meta-Llama-3.1-8B", 2 * 32 * 8 * 128 * 2),
        ("deepseek-ai/DeepSeek-V3", 61 * (512 + 64) * 2),  # one latent vector and one rotary key, not 128 heads
        ("moonshotai/Kimi-K2.5", 61 * (512 + 64) * 2),
        ("tiiuae/falcon-7b", 2 * 32 * 1 * 64 * 2),  # multi-query, whatever num_kv_heads says
        ("tiiuae/falcon-40b", 2 * 60 * 8 * 64 * 2),
        ("Qwen/Qwen3.5-397B-A17B", 2 * 15 * 2 * 256 * 2),  # every fourth layer attends
        ("moonshotai/Kimi-Linear-48B-A3B-Instruct", 7 * (512 + 64) * 2),
        ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", 2 * 6 * 2 * 128 * 2),
        ("ai21labs/Jamba-v0.1", 2 * 4 * 8 * 128 * 2),
        ("google/gemma-4-26B-A4B", 2 * (25 * 8 * 256 + 5 * 2 * 512) * 2),
        ("XiaomiMiMo/MiMo-V2-Flash", (39 * 8 + 9 * 4) * (192 + 128) * 2),
    ],
)
def test_a_token_takes_what_its_layers_keep(name, kv_bytes):
    assert spec(name).kv_bytes_per_token == kv_bytes


@pytest.mark.parametrize(
    ("name", "full", "windowed", "window"),
    [
        ("google/gemma-3-27b-it", 10, 52, 1024),
        ("google/gemma-3-1b-it", 4, 22, 512),
        ("google/gemma-2-9b", 21, 21, 4096),
        ("openai/gpt-oss-120b", 18, 18, 128),
        ("CohereForAI/c4ai-command-r7b-12-2024", 8, 24, 4096),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", 12, 36, 8192),
        ("mistralai/Mistral-7B-v0.1", 0, 32, 4096),
        ("Qwen/Qwen2.5-7B-Instruct", 28, 0, 0),  # use_sliding_window is false
        ("XiaomiMiMo/MiMo-V2-Flash", 9, 39, 128),
    ],
)
def test_windowed_layers_are_told_from_full_ones(name, full, windowed, window):
    cache = spec(name).cache
    assert sum(c.layers for c in cache if not c.window) == full
    assert {c.window: c.layers for c in cache if c.window} == ({window: windowed} if windowed else {})


def test_a_window_bounds_the_cache_and_a_state_is_paid_once():
    gemma = spec("google/gemma-3-27b-it")
    per_layer = 2 * 16 * 128 * 2
    assert gemma.cache_bytes(20_000) == per_layer * (10 * 20_000 + 52 * 1024)
    assert gemma.cache_bytes(1_000) == 1_000 * gemma.kv_bytes_per_token
    qwen = spec("Qwen/Qwen3-Next-80B-A3B-Instruct")
    states = qwen.cache_bytes(0)
    assert states == 36 * (32 * 128 * 128 * 2 + (2 * 2048 + 4096) * 3 * 2)
    assert qwen.cache_bytes(5_000) == states + 5_000 * qwen.kv_bytes_per_token


def test_sparse_attention_keeps_all_and_reads_some():
    glm = spec("zai-org/GLM-5")
    latent, index = 78 * 576 * 2, 78 * (128 + 4)
    assert glm.cache_bytes(100_000) == 100_000 * (latent + index)
    assert glm.cache_read_bytes(100_000) == 2048 * latent + 100_000 * index
    assert glm.cache_read_bytes(1_000) == glm.cache_bytes(1_000)
    assert spec("zai-org/GLM-5.2").kv_bytes_per_token == latent + 21 * 132, "most layers share an earlier one's index"


def test_compressed_attention_grows_by_a_fraction_of_an_entry():
    v4 = spec("deepseek-ai/DeepSeek-V4-Flash")
    grows = v4.cache_bytes(100_000) - v4.cache_bytes(50_000)
    assert grows == pytest.approx(50_000 * (21 * (512 * 2 + 132) / 4 + 20 * 512 * 2 / 128))


@given(st.integers(0, 2**17), st.integers(0, 2**17), st.sampled_from(sorted(CONFIGS)))
def test_more_tokens_never_take_less(a, b, name):
    model = SPECS[name]
    short, long = sorted((a, b))
    for law in (model.cache_bytes, model.cache_read_bytes, model.attention_flops, model.prompt_attention_flops):
        assert 0 <= law(short) <= law(long)
    assert model.cache_read_bytes(long) <= model.cache_bytes(long) * (1 + 1e-12)


@given(st.floats(1, 4096), st.floats(1, 4096), st.sampled_from(sorted(CONFIGS)))
def test_a_larger_batch_touches_more_weights_but_never_all_twice(a, b, name):
    model = SPECS[name]
    small, large = sorted((a, b))
    assert 0 < model.touched_weight_bytes(small) <= model.touched_weight_bytes(large) <= model.weights_bytes()


SPECS = {name: ModelSpec.from_config(config, name) for name, config in CONFIGS.items()}


def test_one_request_touches_its_experts_and_a_crowd_touches_all():
    model = spec(MOE)
    embedding = 151_936 * 2048 * 2
    assert model.touched_weight_bytes(1.0) == pytest.approx(2 * model.active_parameters - embedding)
    assert model.touched_weight_bytes(1e6) == pytest.approx(2 * model.parameters - embedding)
    assert model.touched_weight_bytes(2.0) > 1.5 * model.touched_weight_bytes(1.0)
    assert (model.experts, model.experts_per_token, model.shared_experts, model.dense_layers) == (128, 8, 0, 0)
    v3 = spec("deepseek-ai/DeepSeek-V3")
    assert (v3.experts, v3.experts_per_token, v3.shared_experts, v3.dense_layers) == (256, 8, 1, 3)
    assert spec("google/gemma-4-26B-A4B").dense_layers == 0, "its dense networks stand beside the experts"


def test_the_experts_touched_are_those_of_a_lottery():
    rng = np.random.default_rng(0)
    share = np.mean([len({int(e) for _ in range(32) for e in rng.choice(128, 8, False)}) / 128 for _ in range(200)])
    experts = next(p for p in spec(MOE).parts if p.kind == "experts")
    assert experts.touched_bytes(32.0) / experts.weights_bytes == pytest.approx(share, abs=0.01)


def test_arrays_are_answered_by_arrays():
    tokens = np.array([0.0, 100.0, 10_000.0])
    for model in SPECS.values():
        for law in (model.cache_bytes, model.cache_read_bytes, model.attention_flops, model.prompt_attention_flops):
            np.testing.assert_allclose(law(tokens), [law(float(t)) for t in tokens])
        batch = np.array([1.0, 64.0])
        np.testing.assert_allclose(
            model.touched_weight_bytes(batch), [model.touched_weight_bytes(1.0), model.touched_weight_bytes(64.0)]
        )


@given(st.integers(1, 60), st.sampled_from([0, 1, 7, 30]), st.sampled_from([0, 5]))
def test_a_prompt_s_attention_is_the_sum_over_its_tokens(tokens, window, read):
    layers = CacheLayers(3, 1.0, window=window, read=read, prefill_flops=2.0)
    reach = min((r for r in (window, read) if r), default=tokens)
    assert layers.prompt_flops(tokens) == 3 * 2.0 * sum(min(i, reach) for i in range(1, tokens + 1))


def test_attention_flops_of_a_llama():
    model = spec("meta-llama/Meta-Llama-3.1-8B")
    assert model.attention_flops(1000) == 32 * 2 * 32 * (128 + 128) * 1000
    v3 = spec("deepseek-ai/DeepSeek-V3")
    assert v3.attention_flops(1000) == 61 * 2 * 128 * (576 + 512) * 1000, "decodes in the latent space"
    assert v3.prompt_attention_flops(1000) == 61 * 2 * 128 * (192 + 128) * 1000 * 1001 / 2


def test_named_fields_alone_make_a_dense_model_with_full_attention():
    plain = ModelSpec("x", 8e9, 32, 4096, 32, 8, 128, 128_256)
    assert plain.active_parameters == 8e9
    assert plain.weights_bytes() == 16e9 == plain.touched_weight_bytes(7.0)
    assert plain.cache_bytes(10) == 10 * 2 * 2 * 32 * 8 * 128 == 10 * plain.kv_bytes_per_token
    moe = ModelSpec("x", 8e9, 32, 4096, 32, 8, 128, 128_256, active_parameters=2e9, bytes_per_parameter=1.0)
    assert moe.weights_bytes() == 8e9
    assert moe.decode_parameters == 2e9


def test_overrides_win_and_are_counted_with():
    wide = ModelSpec.from_config(LLAMA, "x", layers=16)
    assert wide.layers == 16
    assert wide.parameters < 0.6 * ModelSpec.from_config(LLAMA, "x").parameters
    known = ModelSpec.from_config(LLAMA, "x", parameters=9e9, bytes_per_parameter=1.0)
    assert (known.parameters, known.weights_bytes()) == (9e9, 9e9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": None}, r"lacks d_model \(hidden_size or "),
        (
            {"vocab_size": None, "num_attention_heads": None},
            r"lacks heads \(num_attention_heads or .*; vocab \(vocab_size",
        ),
        ({"hidden_size": -4096}, "hidden_size = -4096; it must be a whole number > 0"),
        ({"num_hidden_layers": 0}, "num_hidden_layers = 0; it must be a whole number > 0"),
        ({"num_hidden_layers": 3.5}, "num_hidden_layers = 3.5"),
        ({"vocab_size": "many"}, "vocab_size = 'many'"),
        ({"intermediate_size": float("nan")}, "intermediate_size = nan"),
        ({"num_attention_heads": 31, "head_dim": None, "num_key_value_heads": 31}, "must divide hidden_size = 4096"),
        ({"num_key_value_heads": 64}, "num_key_value_heads = 64; it must divide the 32 attention heads"),
        ({"hidden_act": "situ"}, "hidden_act = situ: that activation is not understood"),
        ({"hidden_act": None, "model_type": "new"}, r"lacks the activation \(hidden_act or"),
        ({"layer_types": ["full_attention", "warp"]}, "layer_types.*a layer of kind 'warp' is not understood"),
        ({"layer_types": ["full_attention"]}, "layer_types.*must name 32 layers"),
        ({"layer_types": ["linear_attention"] * 32}, "this linear attention is not understood"),
        ({"layer_types": ["sliding_attention"] * 32}, r"lacks the window \(sliding_window"),
        ({"block_configs": [{}]}, "block_configs.*not understood"),
        ({"model_type": "rwkv"}, "model_type = rwkv"),
        ({"num_local_experts": 8}, r"lacks experts per token \(num_experts_per_tok"),
        (
            {"num_local_experts": 8, "num_experts_per_tok": 9},
            "num_experts_per_tok = 9; it must be at most the 8 experts",
        ),
        ({"torch_dtype": "posit16"}, "torch_dtype = posit16"),
        ({"kv_lora_rank": 512}, r"lacks a rotary key's size \(qk_rope_head_dim\)"),
    ],
)
def test_what_is_missing_impossible_or_not_understood_is_named(changes, message):
    config = {k: v for k, v in {**LLAMA, **changes}.items() if v is not None}
    with pytest.raises(DataError, match=message):
        ModelSpec.from_config(config, "odd")


def test_fields_that_contradict_each_other_are_refused():
    with pytest.raises(DataError, match=r"active_parameters = 9000000000\.0; it must be between 0 and 8e\+09"):
        ModelSpec("x", 8e9, 32, 4096, 32, 8, 128, 128_256, active_parameters=9e9)
    with pytest.raises(DataError, match=r"parameters = 1e\+10, and parts of 8\.03\d*e\+09 in all"):
        replace(ModelSpec.from_config(LLAMA, "x"), parameters=1e10)


def test_a_published_gemma_leaves_its_family_s_sizes_out():
    found = spec("google/gemma-3-4b-it")
    assert (found.heads, found.kv_heads, found.head_dim, found.vocab) == (8, 4, 256, 262_208)


def test_a_tower_for_images_is_weighed_and_noted():
    found = spec("google/gemma-3-4b-it")
    tower = next(p for p in found.parts if p.kind == "vision")
    assert tower.parameters / 1e9 == pytest.approx(0.42, rel=0.05)
    assert found.active_parameters == found.parameters - tower.parameters
    assert any("vision tower" in note for note in found.notes)
    assert not spec("meta-llama/Meta-Llama-3.1-8B").notes


def test_served_in_another_precision():
    model = spec("meta-llama/Meta-Llama-3.1-8B")
    outside = 2 * 128_256 * 4096
    assert model.weights_bytes("fp8") == (model.parameters - outside) + 2 * outside
    assert model.served("fp8").precision == "fp8"
    assert model.served("fp8").weights_gib == model.weights_bytes("fp8") / GIB
    assert model.served("fp8").bytes_per_parameter == pytest.approx(model.weights_bytes("fp8") / model.parameters)
    assert model.served(cache_precision="fp8").kv_bytes_per_token == model.kv_bytes_per_token / 2
    assert model.cache_bytes(10, "fp8") == model.cache_bytes(10) / 2
    assert model.touched_weight_bytes(1.0, "fp8") == model.weights_bytes("fp8") - 2 * outside / 2
    with pytest.raises(UnknownNameError, match=r"unknown precision 'fp3'; .*known: "):
        model.served("fp3")


def test_parameters_are_told_by_the_format_they_are_multiplied_in():
    v3 = spec("deepseek-ai/DeepSeek-V3", quantization_config={"quant_method": "fp8"})
    by = v3.compute
    assert by["fp8"] > 0.9 * v3.active_parameters
    assert sum(by.values()) == pytest.approx(v3.active_parameters - 129_280 * 7168)


def _spoilt(value):
    """Places of a config, nested ones too, as paths."""
    for key, inner in value.items():
        yield (key,)
        if isinstance(inner, dict):
            yield from ((key, *rest) for rest in _spoilt(inner))


PLACES = [(name, path) for name, config in sorted(CONFIGS.items()) for path in _spoilt(config)]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 300)
    | st.floats()
    | st.sampled_from(["", "silu", "full_attention", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["bits", "weights", "num_heads"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(PLACES), JSON)
def test_one_spoilt_field_is_refused_or_read_never_a_crash(place, value):
    name, path = place
    config = json.loads(json.dumps(CONFIGS[name]))
    inner = config
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with contextlib.suppress(DataError):
        found = ModelSpec.from_config(config, name)
        assert 0 < found.active_parameters <= found.parameters < float("inf")
