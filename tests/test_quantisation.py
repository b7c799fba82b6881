"""In which precision checkpoints are held: the quantization_config of every producer."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudbandit.catalogue.models import GIB, ModelSpec
from cloudbandit.catalogue.precision import PRECISIONS, find_precision, grouped
from cloudbandit.core.errors import DataError

CONFIGS = {
    m["name"]: m["config"] for m in json.loads((Path(__file__).parent / "data" / "models.json").read_text())["models"]
}
LLAMA, V3 = CONFIGS["meta-llama/Meta-Llama-3.1-70B"], CONFIGS["deepseek-ai/DeepSeek-V3"]
OUTSIDE = 2 * 128_256 * 8192
"""Embedding and output matrix of the Llama: 16 bits in all of these."""


def group(bits, kind, size=None, activations=True, targets=("Linear",), style=None):
    weights = {"num_bits": bits, "type": kind, "group_size": size}
    return {
        "targets": list(targets),
        "weights": weights,
        "input_activations": {"num_bits": bits, "type": kind} if activations else None,
        **({"format": style} if style else {}),
    }


def compressed(*groups, ignore=("lm_head",), **more):
    groups = {f"group_{i}": g for i, g in enumerate(groups)}
    return {"quant_method": "compressed-tensors", "config_groups": groups, "ignore": list(ignore), **more}


@pytest.mark.parametrize(
    ("quantized", "name", "bytes_each", "compute"),
    [
        ({"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}, "fp8", 1, "fp8"),
        ({"quant_method": "fbgemm_fp8", "modules_to_not_convert": ["lm_head"]}, "fp8", 1, "fp8"),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "fp8", 1, "fp8"),
        ({"quant_algo": "FP8", "producer": {"name": "modelopt"}}, "fp8", 1, "fp8"),
        ({"quantization": {"quant_algo": "FP8", "exclude_modules": ["lm_head"]}}, "fp8", 1, "fp8"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4", 4.5 / 8, "fp4"),
        (compressed(group(8, "float")), "fp8", 1, "fp8"),
        (compressed(group(8, "int")), "int8", 1, "int8"),
        (compressed(group(8, "int", activations=False)), "int8-weights", 1, "fp16"),
        (compressed(group(4, "int", 128, activations=False), format="pack-quantized"), "int4", 4.125 / 8, "fp16"),
        (compressed(group(4, "int", 32, activations=False)), "int4", 4.5 / 8, "fp16"),
        (compressed(group(4, "float", 16)), "nvfp4", 4.5 / 8, "fp4"),
        (compressed(group(4, "float", 16, activations=False)), "nvfp4", 4.5 / 8, "fp16"),
        (compressed(group(4, "float", 32, activations=False, style="mxfp4-pack-quantized")), "mxfp4", 4.25 / 8, "fp16"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "int4", 4.125 / 8, "fp16"),
        ({"quant_method": "gptq", "bits": 4, "group_size": -1}, "int4", 0.5, "fp16"),
        ({"quant_method": "gptq", "bits": 3, "group_size": 64}, "int3", 3.25 / 8, "fp16"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"}, "int4", 4.125 / 8, "fp16"),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, "int4", 4.25 / 8, "fp16"),
        ({"quant_method": "auto-round", "bits": 4, "group_size": 128}, "int4", 4.125 / 8, "fp16"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "nf4", 4.5 / 8, "fp16"),
        (
            {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True},
            "nf4",
            4.127 / 8,
            "fp16",
        ),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "int8-weights", 1, "fp16"),
        ({"quant_method": "mxfp4"}, "mxfp4", 4.25 / 8, "fp16"),
        ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp8_e4m3"}}}, "fp8", 1, "fp8"),
        (
            {"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp4", "group_size": 32}}},
            "mxfp4",
            4.25 / 8,
            "fp16",
        ),
        ({"quant_method": "torchao", "quant_type": "int4_weight_only"}, "int4", 4.125 / 8, "fp16"),
        (
            {
                "quant_method": "torchao",
                "quant_type": {"default": {"_type": "Float8DynamicActivationFloat8WeightConfig"}},
            },
            "fp8",
            1,
            "fp8",
        ),
        ({"quant_method": "quanto", "weights": "int8"}, "int8", 1, "int8"),
        ({"quant_method": "eetq"}, "int8-weights", 1, "fp16"),
    ],
)
def test_every_producer_s_format_is_weighed(quantized, name, bytes_each, compute):
    model = ModelSpec.from_config({**LLAMA, "quantization_config": quantized}, "70b")
    matrices = model.parameters - OUTSIDE
    assert model.weights_bytes() == pytest.approx(matrices * bytes_each + 2 * OUTSIDE, rel=1e-4)
    assert model.precision == name
    assert model.compute[compute] == pytest.approx(matrices + (OUTSIDE / 2 if compute == "fp16" else 0))


def test_a_70b_in_fp8_takes_half_of_one_in_16_bits():
    plain = ModelSpec.from_config(LLAMA, "70b")
    for quantized in (
        compressed(group(8, "float")),
        {"quant_method": "fp8"},
        {"quant_method": "modelopt", "quant_algo": "FP8"},
    ):
        fp8 = ModelSpec.from_config({**LLAMA, "quantization_config": quantized}, "70b")
        assert fp8.weights_gib == pytest.approx((plain.weights_gib + 2 * OUTSIDE / GIB) / 2)


PARTS = ("attention", "mlp", "experts", "shared_experts")


@pytest.mark.parametrize(
    ("quantized", "stored"),
    [
        ({"quant_method": "fp8"}, ("fp8", "fp8", "fp8", "fp8")),
        (
            compressed(
                group(4, "int", 32, activations=False),
                ignore=(
                    "lm_head",
                    "re:.*self_attn.*",
                    "re:.*shared_experts.*",
                    "re:.*mlp\\.(gate|up|gate_up|down)_proj.*",
                ),
            ),
            ("bf16", "bf16", "int4", "bf16"),
        ),
        (
            {
                "quant_method": "modelopt",
                "quant_algo": "NVFP4",
                "ignore": [
                    "lm_head",
                    *(f"model.layers.{i}.self_attn*" for i in range(61)),
                    "model.layers.0*",
                    "*shared_experts*",
                ],
            },
            ("bf16", "nvfp4", "nvfp4", "bf16"),
        ),
        (
            {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]},
            ("bf16", *["mxfp4"] * 3),
        ),
        (
            {"quant_method": "fp8", "modules_to_not_convert": ["gate", "lm_head"]},
            ("fp8", "fp8", "fp8", "fp8"),
        ),  # not gate_proj
        (
            {
                "quant_method": "fp8",
                "quant_algo": "MIXED_PRECISION",
                "quantized_layers": {f"layers.{i}.ffn.experts": {"quant_algo": "NVFP4"} for i in range(61)},
            },
            ("fp8", "fp8", "nvfp4", "fp8"),
        ),
        (
            compressed(
                group(4, "float", 16, targets=["re:.*experts.*"]),
                group(8, "float", targets=["re:.*self_attn.*", "re:.*mlp.*"]),
            ),
            ("fp8", "fp8", "nvfp4", "nvfp4"),
        ),
    ],
)
def test_parts_left_out_or_named_keep_their_own_format(quantized, stored):
    config = {**V3, "torch_dtype": "bfloat16", "quantization_config": quantized, "first_k_dense_replace": 3}
    model = ModelSpec.from_config(config, "v3")
    found = {p.kind: p.precision.name for p in model.parts}
    assert tuple(found[part] for part in PARTS) == stored
    assert {found[part] for part in ("embedding", "head", "router")} == {"bf16"}


def test_experts_of_the_fourth_deepseek_are_fp4_beside_fp8():
    config = {
        **CONFIGS["deepseek-ai/DeepSeek-V4-Flash"],
        "expert_dtype": "fp4",
        "quantization_config": {"quant_method": "fp8"},
    }
    found = {p.kind: p.precision.name for p in ModelSpec.from_config(config, "v4").parts}
    assert (found["experts"], found["attention"]) == ("mxfp4", "fp8")


@pytest.mark.parametrize(
    ("more", "cache"),
    [
        ({}, "fp16"),
        ({"kv_cache_scheme": {"num_bits": 8, "type": "float"}}, "fp8"),
        ({"kv_cache_scheme": "FP8"}, "fp8"),
        ({"kv_cache_quant_algo": "FP8"}, "fp8"),
        ({"kv_cache_quant_algo": "NVFP4"}, "nvfp4"),
    ],
)
def test_the_cache_has_a_precision_of_its_own(more, cache):
    model = ModelSpec.from_config({**LLAMA, "quantization_config": {"quant_method": "fp8", **more}}, "70b")
    assert model.cache_precision == cache
    assert model.kv_bytes_per_token == 2 * 80 * 8 * 128 * PRECISIONS[cache].bytes


@pytest.mark.parametrize("method", ["modelopt", "compressed-tensors"])
def test_the_cache_alone_may_be_quantised(method):
    quantized = {"quant_method": method, "quant_algo": None, "kv_cache_scheme": {"num_bits": 8}}
    model = ModelSpec.from_config({**LLAMA, "quantization_config": quantized}, "70b")
    assert (model.bytes_per_parameter, model.cache_precision) == (2.0, "fp8")


def test_a_quantisation_beside_the_config_is_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    assert ModelSpec.load(tmp_path).precision in ("fp16", "bf16")
    beside = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(beside))
    found = ModelSpec.load(tmp_path)
    assert (found.precision, found.cache_precision) == ("fp8", "fp8")


@pytest.mark.parametrize(
    "quantized",
    [
        {"quant_method": "aqlm"},
        {"quant_method": "gptq"},
        {"quant_method": "gptq", "bits": "four"},
        {"quant_method": "modelopt", "quant_algo": "FP3"},
        {"quant_method": "torchao", "quant_type": "intx"},
        compressed({"targets": ["Linear"], "weights": {"num_bits": None, "type": "int"}}),
        compressed(group(8, "float"), ignore=["re:(unclosed"]),
    ],
)
def test_an_unknown_format_is_refused_with_the_field(quantized):
    with pytest.raises(DataError, match="quantization_config"):
        ModelSpec.from_config({**LLAMA, "quantization_config": quantized}, "70b")


def test_served_in_fp4_leaves_what_is_in_4_bit_floats():
    oss = ModelSpec.from_config(
        {
            **CONFIGS["openai/gpt-oss-120b"],
            "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]},
        },
        "gpt-oss-120b",
    )
    assert oss.served("fp4") == oss
    assert oss.weights_gib == pytest.approx(60.8, rel=0.02), "as published, 60.8 GiB"
    assert ModelSpec.from_config(LLAMA, "70b").served("fp4").precision == "nvfp4"


@pytest.mark.parametrize(
    ("quantized", "asked"),
    [
        ({"quant_method": "fp8", "modules_to_not_convert": ["self_attn"]}, "fp8"),
        (compressed(group(4, "int", 32, activations=False), ignore=["re:.*self_attn.*"]), "int4"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["*self_attn*"]}, "fp4"),
    ],
)
def test_served_in_its_own_precision_a_checkpoint_stays_as_it_is(quantized, asked):
    model = ModelSpec.from_config({**V3, "quantization_config": quantized}, "v3")
    assert model.served(asked) == model
    assert model.served("bf16").bytes_per_parameter == 2.0
    assert model.served("int8").weights_bytes() > model.parameters


@given(st.sampled_from(sorted(PRECISIONS)))
def test_every_precision_is_found_by_its_name(name):
    assert find_precision(name.upper()) is PRECISIONS[name]


@given(st.sampled_from([2, 3, 4, 8]), st.sampled_from([None, 0, -1, 32, 64, 128]))
def test_integers_take_their_bits_and_a_share_of_a_scale(bits, size):
    found = grouped(bits, size)
    assert bits / 8 <= found.bytes <= bits / 8 + 2 / 32
    assert found.compute == "fp16"
