"""What an LLM is, as far as serving it costs: the parts of its weights, and what its layers keep of a request.

A `ModelSpec` is read from a Hugging Face ``config.json`` (a file; nothing is downloaded) or made from named fields.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cloudbandit.catalogue.layers import NOT_DECODING, Amount, CacheLayers, WeightPart
from cloudbandit.catalogue.model_config import read
from cloudbandit.catalogue.precision import FP4, FP16, PRECISIONS, find_precision
from cloudbandit.core.errors import DataError

GIB = 2**30
_COUNTED = ("parameters", "active_parameters", "encoder_parameters", "bytes_per_parameter")
_SHAPES = ("d_model", "layers", "heads", "vocab", "head_dim", "kv_heads")
_NOT_LINEAR = ("embedding", "head", "router", "vision")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """An LLM's public architecture facts.

    Args:
        name: how it is called in answers.
        parameters: of the whole model (count, not billions).
        layers: of the decoder.
        d_model: width.
        heads, kv_heads, head_dim: of attention; fewer KV heads than heads is grouped-query attention.
        vocab: tokens.
        encoder_parameters: of the encoder, 0 for decoder-only models; they work on the prompt alone.
        encoder_layers: 0 for decoder-only models.
        active_parameters: used per token; fewer than ``parameters`` in a mixture of experts (by default all).
        flash: served with a flash-attention kernel.
        bytes_per_parameter: as served, on average over the parts; 2 is FP16 or BF16 (checkpoints in FP32 are served in FP16).
        family: ``model_type`` of its config.
        parts: of the weights; by default one, of all parameters.
        cache: layers by what they keep of a request; by default all keep keys and values of every token.
        experts, experts_per_token, shared_experts: of a mixture of experts, else 0; shared ones work on every token.
        dense_layers: without a mixture of experts; by default all.
        cache_precision: of keys and values.
        notes: what was assumed or left out, a sentence each.

    Raises:
        DataError: a size is not a number > 0, or more parameters are active than there are.
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
    parts: tuple[WeightPart, ...] = ()
    cache: tuple[CacheLayers, ...] = ()
    experts: int = 0
    experts_per_token: int = 0
    shared_experts: int = 0
    dense_layers: int = 0
    cache_precision: str = FP16
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in ("parameters", "layers", *(s for s in _SHAPES if s != "layers"), "bytes_per_parameter"):
            value = getattr(self, field)
            if not (isinstance(value, int | float) and 0 < value < float("inf")):
                raise DataError(f"the model {self.name!r} has {field} = {value!r}; it must be a number > 0")
        if self.active_parameters > self.parameters:
            raise DataError(
                f"the model {self.name!r} has active_parameters = {self.active_parameters:g}; it must be at most its "
                f"parameters = {self.parameters:g}"
            )

        def default(field: str, value: object) -> None:
            if not getattr(self, field):
                object.__setattr__(self, field, value)

        default("active_parameters", self.parameters)
        default("dense_layers", self.layers)
        size, active, encoder = self.parameters, self.active_parameters, self.encoder_parameters
        if not self.parts:
            plain = replace(PRECISIONS[FP16], bytes=self.bytes_per_parameter)
            rest = [
                WeightPart("mlp", active - encoder, active - encoder, plain),
                WeightPart("encoder", encoder, encoder, plain),
            ]
            rest.append(WeightPart("experts", size - active, 0.0, plain))
            object.__setattr__(self, "parts", tuple(p for p in rest if p.parameters))
        flops = 4.0 * self.heads * self.head_dim
        keys = CacheLayers(self.layers, 2.0 * self.kv_heads * self.head_dim, decode_flops=flops, prefill_flops=flops)
        default("cache", (keys,))
        find_precision(self.cache_precision)

    @property
    def encoder_decoder(self) -> bool:
        return self.encoder_parameters > 0

    @property
    def weights_gib(self) -> float:
        return self.weights_bytes() / GIB

    @property
    def kv_bytes_per_token(self) -> float:
        """What a token adds to the cache, in all layers, while it lies within every layer's window; an encoder-decoder keeps
        the prompt's as well (cross attention), which is the same size per token."""
        size = find_precision(self.cache_precision).bytes
        return sum(group.bytes_per_token(size) for group in self.cache)

    @property
    def decode_parameters(self) -> float:
        """Parameters read for every generated token."""
        return self.active_parameters - self.encoder_parameters

    @property
    def prefill_parameters(self) -> float:
        """Parameters every prompt token passes through."""
        return self.encoder_parameters or self.active_parameters

    @property
    def precision(self) -> str:
        """The number format that most of the weights of its matrices are in, e.g. ``fp16``, ``fp8``, ``nvfp4``, ``int4``: what
        `cloudbandit.catalogue.gpus.GPU.check_precision` wants to know."""
        return max(self._linear() or self.parts, key=lambda p: p.parameters).precision.name

    @property
    def compute(self) -> dict[str, float]:
        """Active parameters by the format they are multiplied in (fp16, int8, fp8, fp4); an untied embedding multiplies
        nothing."""
        out: dict[str, float] = {}
        for part in self.parts:
            if part.kind not in (*NOT_DECODING, "embedding"):
                out[part.precision.compute] = out.get(part.precision.compute, 0.0) + part.active
        return out

    def weights_bytes(self, precision: str = "") -> float:
        """Of all weights, as stored or as `served` in another precision."""
        return sum(p.weights_bytes for p in (self.served(precision) if precision else self).parts)

    def touched_weight_bytes(self, batch: Amount, precision: str = "") -> Amount:
        """Read by one decoding step of so many requests: of experts, those that any of them picks; of an untied embedding and
        of an encoder, nothing."""
        parts = (self.served(precision) if precision else self).parts
        return sum((p.touched_bytes(batch) for p in parts), start=batch * 0.0)

    def cache_bytes(self, tokens: Amount, precision: str = "") -> Amount:
        """Kept of one request of so many tokens (prompt and answer so far): windows and constant states included."""
        size = find_precision(precision or self.cache_precision).bytes
        return sum((group.bytes(tokens, size) for group in self.cache), start=tokens * 0.0)

    def cache_read_bytes(self, tokens: Amount, precision: str = "") -> Amount:
        """Read of it for one generated token: all that is kept, except where attention is sparse."""
        size = find_precision(precision or self.cache_precision).bytes
        return sum((group.read_bytes(tokens, size) for group in self.cache), start=tokens * 0.0)

    def attention_flops(self, tokens: Amount) -> Amount:
        """Floating-point operations of attention for one generated token by a request of so many tokens; the matrices'
        2 × `decode_parameters` come on top."""
        return sum((group.flops(tokens) for group in self.cache), start=tokens * 0.0)

    def prompt_attention_flops(self, tokens: Amount) -> Amount:
        """Of attention for a prompt of so many tokens, in all."""
        return sum((group.prompt_flops(tokens) for group in self.cache), start=tokens * 0.0)

    def served(self, precision: str = "", cache_precision: str = "") -> ModelSpec:
        """The same model with the matrices of its layers in another precision, or its cache; embeddings, output matrix and
        router stay. A checkpoint whose experts are in 4-bit floats is already what ``fp4`` asks for.

        Raises:
            UnknownNameError: no precision is called so.
        """
        spec = replace(self, cache_precision=find_precision(cache_precision).name) if cache_precision else self
        if not precision:
            return spec
        wanted = find_precision(precision)
        if wanted.compute == FP4 and self.precision in ("mxfp4", "nvfp4"):
            return spec
        parts = tuple(p if p.kind in _NOT_LINEAR else replace(p, precision=wanted) for p in self.parts)
        return replace(spec, parts=parts, bytes_per_parameter=sum(p.weights_bytes for p in parts) / self.parameters)

    def _linear(self) -> list[WeightPart]:
        return [p for p in self.parts if p.kind not in _NOT_LINEAR]

    @classmethod
    def from_config(cls, config: Mapping[str, Any], name: str = "", **overrides: Any) -> ModelSpec:
        """From the fields of a Hugging Face ``config.json``; parameters are counted from the shapes (biases and norms left
        out: under 1 %).

        Args:
            config: its fields. ``text_config`` of a multimodal model is used where there is one.
            name: by default the config's ``_name_or_path``.
            overrides: named fields of `ModelSpec` that win over what was read.

        Raises:
            DataError: fields are missing, impossible or not understood; the message names them.
        """
        name = name or str(config.get("_name_or_path") or config.get("model_type") or "model")
        found = read(config, name, {k: v for k, v in overrides.items() if k in _SHAPES})
        size = sum(p.parameters for p in found.parts)
        spec: dict[str, Any] = {
            "parameters": size,
            "active_parameters": sum(p.active for p in found.parts if p.kind != "vision"),
            "encoder_parameters": sum(p.parameters for p in found.parts if p.kind == "encoder"),
            "bytes_per_parameter": sum(p.weights_bytes for p in found.parts) / size,
            "flash": not found.encoder_layers,
            "experts": found.experts.experts,
            "experts_per_token": found.experts.per_token,
            "shared_experts": found.experts.shared,
            "cache_precision": found.cache_precision.name,
            **{k: getattr(found, k) for k in (*_SHAPES, "encoder_layers", "dense_layers", "family", "cache", "notes")},
        }
        if not any(k in overrides for k in _COUNTED):
            spec["parts"] = found.parts
        return cls(name=name, **{**spec, **overrides})

    @classmethod
    def load(cls, path: str | Path, **overrides: Any) -> ModelSpec:
        """From a ``config.json`` or a folder that holds one; a ``hf_quant_config.json`` beside it says how it is quantised
        where the config does not. The folder's name is the model's, unless the file says it.

        Raises:
            DataError: no such file, not a JSON object, or see `from_config`.
        """
        path = Path(path).expanduser()
        path = path / "config.json" if path.is_dir() else path
        config = _object(path)
        beside = path.with_name(path.name.replace("config.json", "hf_quant_config.json"))
        if "quantization_config" not in config and beside != path and beside.is_file():
            config["quantization_config"] = _object(beside)
        name = str(
            config.get("_name_or_path") or (path.parent.resolve().name if path.name == "config.json" else path.stem)
        )
        return cls.from_config(config, name, **overrides)


def _object(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"there is no config.json at {path}") from None
    except (ValueError, OSError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(config, dict):
        raise DataError(f"{path} holds a {type(config).__name__}; a config.json is an object of fields")
    return config
