"""The fields of a Hugging Face ``config.json``, read with a check: what is missing or impossible is named.

A published config leaves out what its family's class has as a default; `_DEFAULTS` are those of such fields that matter here
(transformers 5.24). Sizes have none, except where published configs rely on it (Gemma 3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cloudbandit.core.errors import DataError

_FLAT = ("attn_config", "ffn_config")  # nested parts of MPT and DBRX
_ALTERNATING = {"sliding_window_pattern": 2}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "gemma": {"head_dim": 256},
    "gemma2": {"head_dim": 256, "sliding_window": 4096, **_ALTERNATING},
    "gemma3_text": {
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "vocab_size": 262208,
        "sliding_window_pattern": 6,
        "sliding_window": 4096,
    },
    "gpt_oss": {"sliding_window": 128, **_ALTERNATING},
    "cohere2": {"sliding_window": 4096, "sliding_window_pattern": 4},
    "olmo3": {"sliding_window": 4096, "sliding_window_pattern": 4},
    "llama4_text": {"n_shared_experts": 1, "no_rope_layer_interval": 4, "attention_chunk_size": 8192},
    "qwen3_next": {"attn_output_gate": True, "full_attention_interval": 4},
    "falcon": {"multi_query": True},
    "gpt_bigcode": {"multi_query": True},
    "mt5": {"feed_forward_proj": "gated-gelu"},
}
_TIED_BY_DEFAULT = (
    *(
        "bart",
        "bloom",
        "cohere",
        "ernie4_5",
        "falcon",
        "gemma",
        "gpt2",
        "gpt_bigcode",
        "gpt_neo",
        "lfm",
        "mbart",
        "minicpm3",
    ),
    *(
        "mpt",
        "opt",
        "pegasus",
        "recurrent_gemma",
        "smollm3",
        "starcoder2",
        "t5",
        "mt5",
        "umt5",
        "vaultgemma",
        "xglm",
        "zamba",
    ),
)
_UNTIED = ("falcon_h1", "falcon_mamba", "gpt_neox")
_GATED_WHATEVER = (
    "gemma",
    "recurrent_gemma",
    "vaultgemma",
    "grok",
    "bitnet",
)  # GeGLU named by its GELU; squared ReLU, gated
_PLAIN = ("gelu", "relu", "quick_gelu", "xielu")
_SILU_BY_DEFAULT = (
    *(
        "baichuan",
        "bamba",
        "chatglm",
        "cohere",
        "deepseek",
        "dbrx",
        "ernie4_5",
        "exaone",
        "falcon_h1",
        "glm",
        "gpt_oss",
        "granite",
    ),
    *(
        "hunyuan",
        "internlm",
        "jamba",
        "kimi",
        "lfm2",
        "llama",
        "mimo",
        "minimax",
        "ministral",
        "mistral",
        "mixtral",
        "olmo",
    ),
    *("phi3", "phimoe", "qwen", "seed_oss", "smollm3", "stablelm", "step3", "yi"),
)
_GELU_BY_DEFAULT = (
    "bloom",
    "codegen",
    "falcon",
    "gpt",
    "mpt",
    "phi",
    "starcoder2",
    "opt",
    "t5",
    "umt5",
)  # opt, t5: ReLU, plain too


class Fields:
    """The fields of a config, the inner ``text_config`` and the family's defaults merged.

    Args:
        config: its fields.
        name: the model's, for messages.
        given: fields that win over the config's.
    """

    def __init__(self, config: Mapping[str, Any], name: str, given: Mapping[str, Any] | None = None) -> None:
        texts = (config.get(k) for k in ("text_config", "llm_config"))
        inner: Mapping[str, Any] = next((t for t in texts if isinstance(t, Mapping)), {})
        merged = {**config, **inner}
        for key in _FLAT:
            if isinstance(merged.get(key), Mapping):
                merged = {**merged[key], **merged, "model_type": merged.get("model_type")}
        self.family = str(merged.get("model_type") or "")
        defaults = {**_DEFAULTS.get(str(config.get("model_type") or ""), {}), **_DEFAULTS.get(self.family, {})}
        self.outer = str(config.get("model_type") or "")
        self.name = name
        self.notes: list[str] = []
        self._c = {**defaults, **{k: v for k, v in merged.items() if v is not None}, **(given or {})}

    def get(self, *keys: str) -> Any:
        """The first that is there and says something (not None, not empty, not False, not 0)."""
        return next((self._c[k] for k in keys if self._c.get(k)), None)

    def known(self, key: str) -> bool:
        return key in self._c

    def wrong(self, key: str, value: object, allowed: str) -> DataError:
        return DataError(f"the config of {self.name!r} has {key} = {value!r}; {allowed}. Cure: correct the file")

    def beyond(self, key: str, what: str) -> DataError:
        return DataError(
            f"the config of {self.name!r} has {key} = {str(self._c.get(key))[:60]}: {what} is not understood. "
            "Cure: describe the model by ModelSpec(…) with its published parameters"
        )

    def whole(self, *keys: str) -> int:
        """A whole number > 0, or 0 where none of the keys is set.

        Raises:
            DataError: it is something else; the message names the field.
        """
        for key in keys:
            value = self._c.get(key)
            if isinstance(value, list) and value and all(v == value[0] for v in value):
                value = value[0]  # one entry a layer, all alike
            if value is None or value is False or value == 0 or value == []:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise self.wrong(key, value, "it must be a whole number > 0")
            if value < 0 or value != int(value):
                raise self.wrong(key, value, "it must be a whole number > 0")
            return int(value)
        return 0

    def needed(self, what: str, *keys: str) -> int:
        """As `whole`, and it must be there.

        Raises:
            DataError: none of the keys is set; the message names them.
        """
        for key in keys:
            if self._c.get(key) is not None:
                value = self.whole(key)
                if not value:
                    raise self.wrong(key, self._c[key], "it must be a whole number > 0")
                return value
        raise self.lacks({what: keys})

    def lacks(self, missing: Mapping[str, tuple[str, ...]]) -> DataError:
        listed = "; ".join(f"{what} ({' or '.join(keys)})" for what, keys in missing.items())
        return DataError(
            f"the config of {self.name!r} lacks {listed}; it has {', '.join(sorted(map(str, self._c))) or 'no fields'}. "
            "Cure: add the field to the file"
        )

    def require(self, wanted: Mapping[str, tuple[str, ...]]) -> None:
        """Every one of several numbers is there.

        Raises:
            DataError: some are not; the message names all of them.
        """
        missing = {what: keys for what, keys in wanted.items() if all(self._c.get(k) is None for k in keys)}
        if missing:
            raise self.lacks(missing)

    def numbers(self, key: str) -> list[int]:
        """A list of whole numbers; empty where there is none."""
        value = self._c.get(key) or []
        if not isinstance(value, list | tuple) or not all(isinstance(v, int) for v in value):
            raise self.wrong(key, value, "it must be a list of whole numbers")
        return [int(v) for v in value]

    def gated(self) -> bool:
        """Whether the feed-forward network has a gate (three matrices, not two): said by its activation.

        Raises:
            DataError: the activation is missing, or not known to be either.
        """
        keys = (
            "feed_forward_proj",
            "mlp_hidden_act",
            "hidden_act",
            "hidden_activation",
            "activation_function",
            "ffn_act_fn",
        )
        value = self.get(*keys)
        key = next((k for k in keys if self.get(k)), "hidden_act")
        word = str(value.get("name") if isinstance(value, Mapping) else value or "").lower()
        if not word:
            word = "silu" if self.family.startswith(_SILU_BY_DEFAULT) else "gelu"
            if not self.family.startswith((*_SILU_BY_DEFAULT, *_GELU_BY_DEFAULT, *_GATED_WHATEVER)):
                raise self.lacks({"the activation": ("hidden_act", "activation_function")})
        if self.family.startswith(_GATED_WHATEVER) or word.startswith(("gated", "silu", "swish")) or "glu" in word:
            return True
        if word.startswith(_PLAIN):
            return False
        raise self.beyond(key, "that activation")

    def tied(self) -> bool:
        """Whether the output matrix is the embedding; where neither the config nor its family says so: no."""
        default = self.family.startswith(_TIED_BY_DEFAULT) and not self.family.startswith(_UNTIED)
        return bool(self._c.get("tie_word_embeddings", default))
