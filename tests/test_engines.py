"""Engines as data: knobs, command lines, models, logs. None is started here."""

import json

import pytest
from scripted_engine import Scripted

from cloudbandit import Domain
from cloudbandit.core.errors import DataError, UnknownNameError, UsageError
from cloudbandit.engines.knobs import Knob
from cloudbandit.engines.openvino import OpenVINO
from cloudbandit.engines.running import telling
from cloudbandit.engines.transformers import Transformers
from cloudbandit.engines.vllm import VLLM
from cloudbandit.providers.local import LocalHost


def test_knobs_are_a_space_with_conditions_and_known_constraints():
    for engine in (Scripted(), OpenVINO()):
        configs = engine.space().configs()
        assert len({json.dumps(c, sort_keys=True) for c in configs}) == len(configs)
        assert all(engine.why_not(c) is None for c in configs)
        bridge = Domain({"a": engine.space().to_configspace()}).candidates
        assert {json.dumps(dict(c.config), sort_keys=True) for c in bridge} == {
            json.dumps(c, sort_keys=True) for c in configs
        }
    assert len(Scripted().space().configs()) == 5 + 3 + 3  # batch 2 exceeds itl_ms 1, and is absent unless ready


def test_configs_outside_the_space_say_why():
    engine = OpenVINO()
    assert "no knob 'speed'" in engine.why_not({"speed": 1})
    assert "allowed: 32, 64" in engine.why_not({"max_num_batched_tokens": 7})
    assert "only where dynamic_split_fuse = False" in engine.why_not({"dynamic_split_fuse": True, "max_num_seqs": 4})
    both = {"dynamic_split_fuse": False, "max_num_seqs": 128, "max_num_batched_tokens": 32}
    assert "exceeds" in engine.why_not(both)
    assert OpenVINO(threads=2).space().configs()[0]["threads"] == 2
    with pytest.raises(UnknownNameError, match="knob of openvino"):
        OpenVINO(speed=1)
    with pytest.raises(UsageError, match="allowed: 1, 2"):
        OpenVINO(threads=[2, 64])
    with pytest.raises(UsageError, match="default"):
        Knob("x", (1, 2), 3)


def test_vllm_is_started_as_its_documentation_says(tmp_path):
    engine = VLLM(dummy=True, max_model_len=2048, tensor_parallel_size=1)
    config = {"max_num_seqs": 64, "max_num_batched_tokens": 512, "enable_chunked_prefill": False, "enforce_eager": True}
    argv = engine.argv(None, config, 8101, "m")
    assert argv[:3] == ["vllm", "serve", "m"]
    text = " ".join(argv)
    for part in (
        "--port 8101",
        "--served-model-name m",
        "--max-num-seqs 64",
        "--max-num-batched-tokens 512",
        "--no-enable-chunked-prefill",
        "--enable-prefix-caching",
        "--enforce-eager",
        "--gpu-memory-utilization 0.9",
        "--load-format dummy",
        "--max-model-len 2048",
    ):
        assert part in text
    assert "VLLM_CPU_KVCACHE_SPACE" not in engine.env({}, "a/b")
    on_cpu = VLLM(device="cpu", kv_cache_gib=3, program="/opt/vllm")
    assert on_cpu.argv(None, {}, 1, "m")[0] == "/opt/vllm"
    assert "--gpu-memory-utilization" not in on_cpu.argv(None, {}, 1, "m")
    assert on_cpu.env({}, str(tmp_path)) == {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "3",
    }
    with pytest.raises(UsageError, match="allowed: gpu, cpu"):
        VLLM(device="tpu")
    host = LocalHost()
    try:
        with pytest.raises(UsageError, match="pip install vllm"):
            VLLM(program=str(tmp_path / "vllm")).version(host)
    finally:
        host.close()


def test_vllm_knows_what_it_would_refuse():
    engine = VLLM(device="cpu", max_model_len=2048, block_size=32, tensor_parallel_size=1, enforce_eager=True)
    assert "exceeds" in engine.why_not({"max_num_seqs": 1024, "max_num_batched_tokens": 512})
    whole = {"enable_chunked_prefill": False, "max_num_batched_tokens": 1024}
    assert (
        engine.why_not(whole) == "the engine refuses enable_chunked_prefill = False with max_num_batched_tokens = 1024"
    )
    assert engine.why_not({**whole, "max_num_batched_tokens": 2048}) is None
    assert VLLM(device="cpu").why_not(whole) is None  # where the context length is not known, nothing is
    configs = engine.space().configs()
    assert not any(not c["enable_chunked_prefill"] and c["max_num_batched_tokens"] < 2048 for c in configs)


def test_transformers_is_started_as_its_documentation_says():
    text = " ".join(Transformers().argv(None, {"num_blocks": 16}, 8122, "m"))
    assert text.startswith("transformers serve m --host 127.0.0.1 --port 8122 --device cpu --continuous-batching")
    assert "--cb-num-blocks 16 --cb-block-size 32 --cb-max-batch-tokens 512" in text


def test_a_model_is_a_folder_with_a_config_or_a_name_on_a_hub(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    for wrong in (str(tmp_path / "model"), "./model", "model", str(tmp_path / "none"), "~/none", "a/b/c"):
        with pytest.raises(DataError, match=r"config\.json"):
            Transformers().find(wrong)
    (tmp_path / "model" / "config.json").write_text("{}")
    assert VLLM().prepare(None, "model") == str(tmp_path / "model")
    assert VLLM().prepare(None, "meta-llama/Llama-3.1-8B") == "meta-llama/Llama-3.1-8B"
    assert Transformers().env({}, "meta-llama/Llama-3.1-8B") == {}


def test_the_kept_lines_of_a_log_hold_the_error_that_came_first():
    noise = [f"line {i}" for i in range(100)]
    log = "\n".join(["ready soon", "ValueError: block size 16 is no multiple of 32", *noise])
    kept = telling(log).splitlines()
    assert kept[0] == "ValueError: block size 16 is no multiple of 32"
    assert kept[1] == "…"
    assert kept[2:] == noise[-30:]
    assert telling("short\nlog") == "short\nlog"
    assert len(telling("\n".join(f"E{i}Error: x" for i in range(500))).splitlines()) == 10 + 1 + 30
