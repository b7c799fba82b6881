"""What an LLM is, as far as serving it costs: parameters, layers, heads, and bytes per token of its KV cache.

A `ModelSpec` is read from a Hugging Face ``config.json`` (a file; nothing is downloaded) or made from named fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cloudbandit.core.errors import DataError
from cloudbandit.core.files import read_json

GIB = 2**30
_MOST = 1_000_000_000
_NAMES = {  # a field → the keys that mean it, in the order tried
    "d_model": ("hidden_size", "d_model", "n_embd"),
    "layers": ("num_hidden_layers", "num_decoder_layers", "num_layers", "n_layer", "n_layers", "decoder_layers"),
    "heads": ("num_attention_heads", "num_heads", "n_head", "n_heads", "decoder_attention_heads"),
    "vocab": ("vocab_size",),
}
_D_FF = ("intermediate_size", "d_ff", "n_inner", "ffn_dim", "ffn_hidden_size", "decoder_ffn_dim")
_EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")
_GATED = (
    "llama",
    "mistral",
    "mixtral",
    "qwen",
    "gemma",
    "phi3",
    "olmo",
    "cohere",
    "deepseek",
    "granite",
    "yi",
    "internlm",
)
_GATED_ACTIVATIONS = ("gated", "swiglu", "geglu")
_TIED_BY_DEFAULT = ("gpt2", "gpt_bigcode", "gemma", "mpt", "falcon", "bloom", "opt")
_DTYPE_BYTES = {"float32": 2.0, "float16": 2.0, "bfloat16": 2.0, "float8": 1.0, "fp8": 1.0, "int8": 1.0, "int4": 0.5}


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """An LLM's public architecture facts.

    Args:
        name: how it is called in answers.
        parameters: of the whole model (count, not billions).
        layers: that hold a KV cache: of the decoder.
        d_model: width.
        heads, kv_heads, head_dim: of attention; fewer KV heads than heads is grouped-query attention.
        vocab: tokens.
        encoder_parameters: of the encoder, 0 for decoder-only models; they work on the prompt alone.
        encoder_layers: 0 for decoder-only models.
        active_parameters: used per token; fewer than ``parameters`` in a mixture of experts (0: all).
        flash: served with a flash-attention kernel.
        bytes_per_parameter: as served; 2 is FP16 or BF16 (checkpoints in FP32 are served in FP16).
        family: ``model_type`` of its config.
    """

    name: str
    parameters: float
    layers: int
    d_model: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    encoder_parameters: float = 0.0
    encoder_layers: int = 0
    active_parameters: float = 0.0
    flash: bool = True
    bytes_per_parameter: float = 2.0
    family: str = ""

    def __post_init__(self) -> None:
        for field in (
            "parameters",
            "layers",
            "d_model",
            "heads",
            "kv_heads",
            "head_dim",
            "vocab",
            "bytes_per_parameter",
        ):
            value = getattr(self, field)
            if not (isinstance(value, int | float) and 0 < value < float("inf")):
                raise DataError(f"the model {self.name!r} has {field} = {value!r}; it must be a number > 0")

    @property
    def encoder_decoder(self) -> bool:
        return self.encoder_parameters > 0

    @property
    def weights_gib(self) -> float:
        return self.parameters * self.bytes_per_parameter / GIB

    @property
    def kv_bytes_per_token(self) -> float:
        """Keys and values of one token in every layer, in FP16; an encoder-decoder keeps the prompt's as well (cross
        attention), which is the same size per token."""
        return 2 * 2.0 * self.layers * self.kv_heads * self.head_dim

    @property
    def decode_parameters(self) -> float:
        """Parameters read for every generated token."""
        return (self.active_parameters or self.parameters) - self.encoder_parameters

    @property
    def prefill_parameters(self) -> float:
        """Parameters every prompt token passes through."""
        return self.encoder_parameters or self.active_parameters or self.parameters

    @classmethod
    def from_config(cls, config: Mapping[str, Any], name: str = "", **overrides: Any) -> ModelSpec:
        """From the fields of a Hugging Face ``config.json``; parameters are counted from the shapes (biases and norms left
        out: under 1 %).

        Args:
            config: its fields. ``text_config`` of a multimodal model is used where there is one.
            name: by default the config's ``_name_or_path``.
            overrides: named fields of `ModelSpec` that win over what was read.

        Raises:
            DataError: fields are missing; the message names them and the keys that would do.
        """
        inner = config.get("text_config")
        c: dict[str, Any] = {**config, **inner} if isinstance(inner, Mapping) else dict(config)
        name = name or str(c.get("_name_or_path") or c.get("model_type") or "model")
        found: dict[str, Any] = {
            field: next((c[k] for k in keys if _positive(c.get(k))), None) for field, keys in _NAMES.items()
        }
        missing = {f: keys for f, keys in _NAMES.items() if found[f] is None and f not in overrides}
        if missing:
            listed = "; ".join(f"{f} ({' or '.join(keys)})" for f, keys in missing.items())
            raise DataError(
                f"the config of {name!r} lacks {listed}; it has {', '.join(sorted(map(str, c))) or 'no fields'}. "
                "Cure: add the field to the file"
            )
        family = str(c.get("model_type") or "")
        values = {f: int(overrides.get(f) or _count(c, *_NAMES[f])) for f in found}
        d, heads = values["d_model"], values["heads"]
        head_dim = _count(c, "head_dim", "d_kv") or d // heads
        kv_heads = _kv_heads(c, heads)
        counted = _parameters(c, family, values, head_dim, kv_heads)
        spec: dict[str, Any] = {
            **values,
            **counted,
            "head_dim": head_dim,
            "kv_heads": kv_heads,
            "family": family,
            "flash": not counted["encoder_layers"],
            "bytes_per_parameter": _served_bytes(c),
        }
        return cls(name=name, **{**spec, **overrides})

    @classmethod
    def load(cls, path: str | Path, **overrides: Any) -> ModelSpec:
        """From a ``config.json`` or a folder that holds one. The model is named by its config, not by its folder, which may be
        anything: by ``_name_or_path`` (of a path, the last part), else by its type and size, e.g. ``llama-8.0B``. A file of
        another name than ``config.json`` names it instead of the latter.

        Raises:
            DataError: no such file, not a JSON object, or fields are missing.
        """
        path = Path(path).expanduser()
        path = path / "config.json" if path.is_dir() else path
        config = read_json(path, f"there is no config.json at {path}", DataError)
        if not isinstance(config, dict):
            raise DataError(f"{path} holds a {type(config).__name__}; a config.json is an object of fields")
        name = _said_name(config) or ("" if path.name == "config.json" else path.stem)
        spec = cls.from_config(config, name, **overrides)
        return spec if name else replace(spec, name=f"{spec.family or 'model'}-{spec.parameters / 1e9:.1f}B")


def _said_name(config: Mapping[str, Any]) -> str:
    """``org/name`` as it is; of a path on somebody's machine the last part."""
    said = str(config.get("_name_or_path") or "").rstrip("/")
    return said if said.count("/") <= 1 and not said.startswith(("/", ".", "~")) else said.rpartition("/")[2]


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _count(c: Mapping[str, Any], *keys: str) -> int:
    """The first of the fields that is there; 0: none is.

    Raises:
        DataError: it is no whole number, or larger than anything of a model.
    """
    key = next((k for k in keys if _positive(c.get(k))), None)
    if key is None:
        return 0
    value = c[key]
    if not (value <= _MOST and value % 1 == 0):
        raise DataError(f"{key} of the config is {str(value)[:20]}; it must be a whole number from 1 to {_MOST}")
    return int(value)


def _kv_heads(c: Mapping[str, Any], heads: int) -> int:
    return _count(c, "num_key_value_heads", "num_kv_heads", "n_head_kv") or (1 if c.get("multi_query") else heads)


def _served_bytes(c: Mapping[str, Any]) -> float:
    quantized = c.get("quantization_config")
    if isinstance(quantized, Mapping):
        bits = quantized.get("bits") or (8 if "8" in str(quantized.get("quant_method")) else None)
        if isinstance(bits, int | float) and 0 < bits <= 64:
            return float(bits) / 8
    return _DTYPE_BYTES.get(str(c.get("torch_dtype") or c.get("dtype") or "float16"), 2.0)


def _parameters(
    c: Mapping[str, Any], family: str, values: Mapping[str, int], head_dim: int, kv_heads: int
) -> dict[str, float | int]:
    """Parameters of all, of the encoder, and those active per token."""
    d, layers, heads = values["d_model"], values["layers"], values["heads"]
    d_ff = _count(c, *_D_FF) or d * (_count(c, "expansion_ratio") or 4)
    activation = str(c.get("feed_forward_proj") or c.get("hidden_act") or c.get("activation_function") or "")
    gated = family.startswith(_GATED) or any(word in activation for word in _GATED_ACTIVATIONS)
    matrices = 3 if gated else 2
    attention = d * head_dim * (2 * heads + 2 * kv_heads)
    dense = matrices * d * d_ff
    experts = _count(c, *_EXPERTS)
    mlp = active_mlp = float(dense)
    if experts:
        size = matrices * d * (_count(c, "moe_intermediate_size") or d_ff)
        shared = size * _count(c, "n_shared_experts")
        mlp = experts * size + shared
        active_mlp = (_count(c, "num_experts_per_tok") or 1) * size + shared
    tied = c.get("tie_word_embeddings", family.startswith(_TIED_BY_DEFAULT))
    embedding = values["vocab"] * d * (1 if tied else 2)
    encoder_layers = 0
    if c.get("is_encoder_decoder"):
        encoder_layers = _count(c, "encoder_layers", "num_layers", "n_layer") or layers
    encoder = encoder_layers * (attention + dense)
    cross = attention if encoder_layers else 0
    total = layers * (attention + cross + mlp) + encoder + embedding
    return {
        "parameters": float(total),
        "encoder_parameters": float(encoder),
        "encoder_layers": encoder_layers,
        "active_parameters": float(total - layers * (mlp - active_mlp)) if experts else 0.0,
    }
