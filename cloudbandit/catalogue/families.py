"""What a published config leaves unsaid, because its family's class has it as a default (transformers 5.24).

Only fields that decide shapes. Sizes have no default here, except where published configs rely on it (Gemma 3).
"""

from __future__ import annotations

from typing import Any

DEFAULTS: dict[str, dict[str, Any]] = {
    "gemma": {"head_dim": 256},
    "gemma2": {"head_dim": 256, "sliding_window": 4096, "sliding_window_pattern": 2},
    "gemma3_text": {
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 262208,
        "sliding_window_pattern": 6,
        "sliding_window": 4096,
    },
    "gpt_oss": {"sliding_window": 128, "sliding_window_pattern": 2},
    "cohere2": {"sliding_window": 4096, "sliding_window_pattern": 4},
    "olmo3": {"sliding_window": 4096, "sliding_window_pattern": 4},
    "llama4_text": {"n_shared_experts": 1, "no_rope_layer_interval": 4, "attention_chunk_size": 8192},
    "qwen3_next": {"attn_output_gate": True, "full_attention_interval": 4},
    "bamba": {"attn_layer_indices": []},
    "falcon": {"multi_query": True},
    "gpt_bigcode": {"multi_query": True},
    "mt5": {"feed_forward_proj": "gated-gelu"},
}
"""model_type → fields."""

# Below, a family is any model_type that begins so.
# fmt: off
TIED = (
    "bart", "bloom", "cohere", "ernie4_5", "falcon", "gemma", "gpt2", "gpt_bigcode", "gpt_neo", "lfm", "mbart", "minicpm3", "mpt",
    "mt5", "opt", "pegasus", "recurrent_gemma", "smollm3", "starcoder2", "t5", "umt5", "vaultgemma", "xglm", "zamba",
)
UNTIED = ("falcon_h1", "falcon_mamba", "gpt_neox")
"""Of those that begin as a tied one."""
SILU = (
    "baichuan", "bamba", "chatglm", "cohere", "dbrx", "deepseek", "ernie4_5", "exaone", "falcon_h1", "glm", "gpt_oss", "granite",
    "hunyuan", "internlm", "jamba", "kimi", "lfm2", "llama", "mimo", "minimax", "ministral", "mistral", "mixtral", "olmo", "phi3",
    "phimoe", "qwen", "seed_oss", "smollm3", "stablelm", "step3", "yi",
)
"""Gated by default."""
PLAIN = ("bloom", "codegen", "falcon", "gpt", "mpt", "opt", "phi", "starcoder2", "t5", "umt5")
"""GELU or ReLU without a gate by default; `SILU` goes first."""
GATED = ("bitnet", "gemma", "grok", "recurrent_gemma", "vaultgemma")
"""Gated under the name of an activation that is plain elsewhere."""
BEYOND = frozenset((
    "bert", "big_bird", "bigbird_pegasus", "dory", "electra", "falcon_mamba", "git", "hrm_text", "jetmoe", "mamba", "mamba2",
    "modernbert-decoder", "moshi", "phi4_multimodal", "recurrent_gemma", "rembert", "roberta", "roc_bert", "rwkv", "t5gemma",
    "t5gemma2", "whisper", "xlnet", "xlstm", "xmod", "zamba", "zamba2",
))
"""Exactly these: their layers are built in a way that is not read."""
# fmt: on
