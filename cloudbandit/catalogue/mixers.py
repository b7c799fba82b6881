"""Which layers of a model attend to everything, to a window or to a state, and what one of each kind weighs and keeps."""

from __future__ import annotations

from dataclasses import dataclass

from cloudbandit.catalogue.attention import attention, compressed, latent
from cloudbandit.catalogue.config_fields import Fields
from cloudbandit.catalogue.layers import CacheLayers
from cloudbandit.catalogue.recurrent import linear_attention, mamba, short_convolution

FULL, SLIDING, LINEAR, MAMBA, CONV, BOTH = "full", "sliding", "linear", "mamba", "conv", "attention and mamba"
DENSE_ALONE, EXPERTS_ALONE = "dense alone", "experts alone"
"""Layers of a model whose mixers and feed-forward networks are layers of their own (Nemotron-H)."""
_WORDS = {
    "full_attention": FULL,
    "attention": FULL,
    "sparse": FULL,  # attention of a sparse choice: all is kept
    "minimax_m3_sparse": FULL,
    "indexed_attention": FULL,
    "compressed_sparse_attention": FULL,  # what they keep is read from compress_ratios
    "heavily_compressed_attention": FULL,
    "sliding_attention": SLIDING,
    "chunked_attention": SLIDING,
    "linear_attention": LINEAR,
    "mamba": MAMBA,
    "mamba2": MAMBA,
    "conv": CONV,
    "moe": EXPERTS_ALONE,
    "mlp": DENSE_ALONE,
    "M": MAMBA,
    "*": FULL,
    "E": EXPERTS_ALONE,
    "-": DENSE_ALONE,
}
_STATES = {LINEAR: linear_attention, MAMBA: mamba, CONV: short_convolution}


@dataclass(frozen=True, slots=True)
class Mixer:
    """What mixes tokens in one layer: its parameters by part, and what it keeps."""

    attention: float
    linear: float
    keeps: tuple[CacheLayers, ...]


def kinds(f: Fields, layers: int) -> list[str]:
    """What each layer mixes tokens with.

    Raises:
        DataError: the layers are described in a way that is not understood; the message names the field.
    """
    found = _listed(f, layers)
    if found is None:
        found = _by_rule(f, layers)
    if len(found) < layers:
        raise f.wrong("layer_types", found, f"it must name {layers} layers")
    if f.family == "falcon_h1":
        return [BOTH] * layers
    return found[:layers]


def _listed(f: Fields, layers: int) -> list[str] | None:
    for key in ("layer_types", "layers_block_type", "hybrid_override_pattern"):
        value = f.get(key)
        if isinstance(value, list | str):
            words = [w for w in value if w != "|"]
            odd = [w for w in words if not isinstance(w, str) or w not in _WORDS]
            if odd:
                raise f.beyond(key, f"a layer of kind {odd[0]!r}")
            recurrent = MAMBA if f.whole("mamba_d_state", "ssm_state_size") else LINEAR
            return [recurrent if _WORDS[w] == LINEAR else _WORDS[w] for w in words]
    if f.get("hybrid_layer_pattern"):
        return [SLIDING if v else FULL for v in f.numbers("hybrid_layer_pattern")]
    if f.get("attn_type_list"):
        return [FULL if v else LINEAR for v in f.numbers("attn_type_list")]
    linear = f.nested("linear_attn_config")
    if linear:
        full = set(linear.numbers("full_attn_layers"))  # counted from 1
        return [FULL if i + 1 in full else LINEAR for i in range(layers)]
    for key, others in (("full_attn_idxs", CONV), ("attn_layer_indices", MAMBA)):
        if f.known(key):
            full = set(f.numbers(key))
            return [FULL if i in full else others for i in range(layers)]
    return None


def _by_rule(f: Fields, layers: int) -> list[str]:
    if f.whole("attn_layer_period"):
        period, offset = f.whole("attn_layer_period"), f.whole("attn_layer_offset")
        return [FULL if i % period == offset else MAMBA for i in range(layers)]
    if f.whole("full_attention_interval"):
        every = f.whole("full_attention_interval")
        return [LINEAR if (i + 1) % every else FULL for i in range(layers)]
    if f.whole("attention_chunk_size") and f.whole("no_rope_layer_interval"):
        every = f.whole("no_rope_layer_interval")  # layers without positions attend to everything
        return [SLIDING if (i + 1) % every else FULL for i in range(layers)]
    if not f.whole("sliding_window") or _window_off(f):
        return [FULL] * layers
    pattern = f.get("sliding_window_pattern", "_sliding_window_pattern")
    if isinstance(pattern, str):
        return [FULL if pattern[i % len(pattern)] == "G" or i == layers - 1 else SLIDING for i in range(layers)]
    if pattern:
        every = f.needed("the windows", "sliding_window_pattern", "_sliding_window_pattern")
        return [SLIDING if (i + 1) % every else FULL for i in range(layers)]
    first = f.whole("max_window_layers") if f.family.startswith("qwen") else 0
    return [FULL] * first + [SLIDING] * (layers - first)


def _window_off(f: Fields) -> bool:
    if f.known("use_sliding_window"):
        return not f.get("use_sliding_window")
    return f.family.startswith(("qwen", "smollm3", "mimo"))  # off unless it is asked for


def mixer(f: Fields, kind: str, d_model: int, layer: int) -> Mixer:
    """Of one layer.

    Raises:
        DataError: a field is missing or impossible.
    """
    if kind in (DENSE_ALONE, EXPERTS_ALONE):
        return Mixer(0.0, 0.0, ())
    if kind in _STATES:
        weights, state = _STATES[kind](f, d_model)
        return Mixer(0.0, weights, (CacheLayers(1, 0.0, state_bytes=state),))
    if kind == BOTH:
        weights, state = mamba(f, d_model)
        attends, keeps = attention(f, d_model, windowed=False)
        return Mixer(attends, weights, (keeps, CacheLayers(1, 0.0, state_bytes=state)))
    if f.get("compress_ratios", "compress_rates"):
        attends, several = compressed(f, d_model, layer)
        return Mixer(attends, 0.0, several)
    if f.whole("kv_lora_rank"):
        attends, keeps = latent(f, d_model, layer)
    else:
        attends, keeps = attention(f, d_model, windowed=kind == SLIDING)
    return Mixer(attends, 0.0, (keeps,))
