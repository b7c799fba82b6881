"""A Hugging Face ``config.json`` read as what a model is: parts of its weights and layers with their caches.

Parameters are counted from the shapes; biases, norms and learned positions are left out (under 1 %).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cloudbandit.catalogue import mixers
from cloudbandit.catalogue.config_fields import Fields
from cloudbandit.catalogue.feed_forward import Experts, experts, feed_forward, sparse_layers
from cloudbandit.catalogue.layers import CacheLayers, WeightPart
from cloudbandit.catalogue.mixers import DENSE_ALONE, EXPERTS_ALONE
from cloudbandit.catalogue.precision import Precision
from cloudbandit.catalogue.quantisation import cache_precision, precisions

_SIZES = {  # what is needed → the keys that mean it, in the order tried
    "d_model": ("hidden_size", "d_model", "n_embd"),
    "layers": ("num_hidden_layers", "num_decoder_layers", "num_layers", "n_layer", "n_layers", "decoder_layers"),
    "heads": ("num_attention_heads", "num_heads", "n_head", "n_heads", "decoder_attention_heads"),
    "vocab": ("vocab_size", "padded_vocab_size"),
}
_BEYOND = {  # fields that change what is counted, and are not understood
    "block_configs": "a width of each layer's own",
    "hidden_size_per_layer_input": "an embedding of each layer's own",
    "num_kv_shared_layers": "a cache shared by layers",
    "cross_attention_layers": "cross-attention to images",
    "routed_expert_hidden_size": "a width of the experts' own",
    "zero_expert_num": "experts that do nothing",
    "parallel_hybrid_mlp": "that layer",
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """What a config says, in the fields of `cloudbandit.catalogue.models.ModelSpec`."""

    layers: int
    d_model: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    encoder_layers: int
    parts: tuple[WeightPart, ...]
    cache: tuple[CacheLayers, ...]
    experts: Experts
    dense_layers: int
    cache_precision: Precision
    family: str
    notes: tuple[str, ...]


def read(config: Mapping[str, Any], name: str, given: Mapping[str, int] | None = None) -> Architecture:
    """The architecture a config describes.

    Args:
        config: the fields; ``text_config`` of a multimodal model is used where there is one.
        given: of ``d_model``, ``layers``, ``heads``, ``vocab``, ``head_dim``, ``kv_heads``: those that win over the config's.

    Raises:
        DataError: a field is missing, impossible or not understood; the message names it.
    """
    names = {**{k: keys[0] for k, keys in _SIZES.items()}, "head_dim": "head_dim", "kv_heads": "num_key_value_heads"}
    f = Fields(config, name, {names[k]: v for k, v in (given or {}).items() if k in names})
    blocks = f.get("hybrid_override_pattern", "layers_block_type")
    f.require({k: v for k, v in _SIZES.items() if not (k == "layers" and blocks)})
    for key, what in _BEYOND.items():
        if f.get(key):
            raise f.beyond(key, what)
    d, vocab = f.needed("d_model", *_SIZES["d_model"]), f.needed("vocab", *_SIZES["vocab"])
    layers = f.whole(*_SIZES["layers"]) or len(str(blocks) if isinstance(blocks, str) else list(blocks or []))
    if not layers:
        raise f.wrong(_SIZES["layers"][0], f.get(*_SIZES["layers"]), "it must be a whole number > 0")
    count, kv, dim = mixers.heads(f, d)
    mixture, matrices = experts(f), 3 if f.gated() else 2
    kinds = mixers.kinds(f, layers)
    sparse = sparse_layers(f, layers) if mixture.experts else [False] * layers
    sums: dict[str, float] = defaultdict(float)
    where: dict[str, list[int]] = defaultdict(list)
    keeps: Counter[CacheLayers] = Counter()
    encoder_layers = 0
    if f.get("is_encoder_decoder"):
        encoder_layers = f.whole("encoder_layers", "num_layers", "n_layer") or layers
    separate = DENSE_ALONE in kinds or EXPERTS_ALONE in kinds
    for i, kind in enumerate(kinds):
        mixer = mixers.mixer(f, kind, d, i)
        keeps.update(mixer.keeps)
        _add(sums, where, i, attention=mixer.attention * (2 if encoder_layers else 1), linear_attention=mixer.linear)
        if separate and kind not in (DENSE_ALONE, EXPERTS_ALONE):
            continue
        is_sparse = kind == EXPERTS_ALONE if separate else sparse[i]
        net = feed_forward(f, d, mixture, is_sparse, matrices)
        _add(sums, where, i, mlp=net.mlp, router=net.router, experts=net.experts, shared_experts=net.shared)
    if encoder_layers:
        one = mixers.mixer(f, mixers.FULL, d, 0).attention + feed_forward(f, d, Experts(), False, matrices).mlp
        sums["encoder"], where["encoder"] = encoder_layers * one, [0]
    if not f.tied():
        sums["embedding"] = float(vocab * d)
    sums["head"] = float(vocab * d)
    _see(f, config, d, sums)
    stored = precisions(f, {part: where.get(part, []) for part in sums})
    share = mixture.per_token / mixture.experts if mixture.experts else 1.0
    parts = tuple(
        WeightPart(part, total, total * share if part == "experts" else total, stored[part])
        for part, total in sums.items()
        if total
    )
    cache = tuple(replace(one, layers=n) for one, n in keeps.items())
    return Architecture(
        layers,
        d,
        count,
        kv,
        dim,
        vocab,
        encoder_layers,
        parts,
        cache,
        mixture,
        sum(1 for s, k in zip(sparse, kinds, strict=True) if not s and k != EXPERTS_ALONE)
        if mixture.experts
        else layers,
        cache_precision(f),
        f.family,
        tuple(f.notes),
    )


def _add(sums: dict[str, float], where: dict[str, list[int]], layer: int, **parts: float) -> None:
    for part, value in parts.items():
        if value:
            sums[part] += value
            where[part].append(layer)


def _see(f: Fields, config: Mapping[str, Any], d: int, sums: dict[str, float]) -> None:
    """The vision tower of a multimodal model: a transformer on patches, and a projection into the text's width."""
    vision = config.get("vision_config")
    if not isinstance(vision, Mapping) or not vision:
        return
    v = Fields(vision, f"{f.name} (vision_config)")
    width, depth = (
        v.whole("hidden_size", "embed_dim", "vt_hidden_size", "dim"),
        v.whole("num_hidden_layers", "depth", "num_layers", "vt_num_hidden_layers"),
    )
    if not (width and depth):
        f.notes.append("the vision tower is not counted: its size is not in vision_config")
        return
    inner = v.whole("intermediate_size", "vt_intermediate_size") or int(width * float(v.get("mlp_ratio") or 4))
    gated = any("silu" in str(v.get(k)) for k in ("hidden_act", "hidden_activation")) or v.family.startswith("gemma4")
    merged = width * (v.whole("spatial_merge_size") or 1) ** 2
    projection = merged * d + (merged * merged if merged > width else 0)
    mergers = 1 + len(v.get("deepstack_visual_indexes") or [])
    patch = 3 * v.whole("patch_size") ** 2 * (v.whole("temporal_patch_size") or 1) * width
    sums["vision"] = float(depth * (4 * width**2 + (3 if gated else 2) * width * inner) + mergers * projection + patch)
    f.notes.append("the vision tower is counted by its usual shape; what images cost to read is not predicted")
