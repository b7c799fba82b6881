"""Which layers of a model attend to everything, to a window or to a state, and what each kind weighs and keeps of a request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cloudbandit.catalogue.config_fields import Fields
from cloudbandit.catalogue.layers import CacheLayers

FULL, SLIDING, LINEAR, MAMBA, CONV, BOTH = "full", "sliding", "linear", "mamba", "conv", "attention and mamba"
DENSE_ALONE, EXPERTS_ALONE = "dense alone", "experts alone"
"""Layers of a model whose mixers and feed-forward networks are layers of their own (Nemotron-H)."""
_WORDS = {
    "full_attention": FULL,
    "attention": FULL,
    "sparse": FULL,  # attention of a sparse choice: all is kept
    "minimax_m3_sparse": FULL,
    "deepseek_sparse_attention": FULL,
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
            odd = next((w for w in words if w not in _WORDS), None)
            if odd is not None:
                raise f.beyond(key, f"a layer of kind {odd!r}")
            return [_WORDS[w] for w in words]
    if f.get("hybrid_layer_pattern"):
        return [SLIDING if v else FULL for v in f.numbers("hybrid_layer_pattern")]
    if f.get("attn_type_list"):
        return [FULL if v else LINEAR for v in f.numbers("attn_type_list")]
    linear = f.get("linear_attn_config")
    if isinstance(linear, Mapping):
        full = set(linear.get("full_attn_layers") or [])  # counted from 1
        return [FULL if i + 1 in full else LINEAR for i in range(layers)]
    if f.get("full_attn_idxs"):
        full = set(f.numbers("full_attn_idxs"))
        return [FULL if i in full else CONV for i in range(layers)]
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
        return [SLIDING if (i + 1) % int(pattern) else FULL for i in range(layers)]
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
    if kind in (LINEAR, MAMBA, CONV):
        weights, state = _state(f, kind, d_model)
        return Mixer(0.0, weights, (CacheLayers(1, 0.0, state_bytes=state),))
    if kind == BOTH:
        weights, state = _state(f, MAMBA, d_model)
        attention, keeps = _attention(f, FULL, d_model)
        return Mixer(attention, weights, (keeps, CacheLayers(1, 0.0, state_bytes=state)))
    if f.get("compress_ratios", "compress_rates"):
        return _compressed(f, d_model, layer)
    attention, keeps = _latent(f, d_model, layer) if f.whole("kv_lora_rank") else _attention(f, kind, d_model)
    return Mixer(attention, 0.0, (keeps,))


def heads(f: Fields, d_model: int) -> tuple[int, int, int]:
    """Query heads, key-value heads and the dimensions of a head. Multi-query flags win over head counts (Falcon-7B)."""
    count = f.needed("heads", "num_attention_heads", "num_heads", "n_head", "n_heads", "decoder_attention_heads")
    dim = f.whole("head_dim", "attention_head_dim", "d_kv", "kv_channels")
    if not dim and d_model % count:
        raise f.wrong("num_attention_heads", count, f"it must divide hidden_size = {d_model}, or head_dim be given")
    dim = dim or d_model // count
    single = f.get("multi_query") and not f.get("new_decoder_architecture")
    kv = 1 if single else f.whole("num_key_value_heads", "num_kv_heads", "n_head_kv", "kv_n_heads")
    if f.get("multi_query_attention"):
        kv = f.whole("multi_query_group_num") or 1
    kv = kv or count
    if kv > count:
        raise f.wrong("num_key_value_heads", kv, f"it must be at most the {count} attention heads")
    return count, kv, dim


def _attention(f: Fields, kind: str, d: int) -> tuple[float, CacheLayers]:
    count, kv, dim = heads(f, d)
    window = f.needed("the window", "sliding_window", "attention_chunk_size") if kind == SLIDING else 0
    value_dim, share_values = f.whole("v_head_dim") or dim, False
    if kind == SLIDING:
        count, kv = f.whole("swa_num_attention_heads") or count, f.whole("swa_num_key_value_heads") or kv
        dim, value_dim = f.whole("swa_head_dim") or dim, f.whole("swa_v_head_dim", "swa_head_dim") or value_dim
    elif f.whole("global_head_dim"):
        dim = value_dim = f.whole("global_head_dim")
        kv = f.whole("num_global_key_value_heads") or kv
        share_values = bool(f.get("attention_k_eq_v"))
    queries = count * dim * (2 if f.get("attn_output_gate") else 1)
    weights = float(d * (queries + kv * dim + (0 if share_values else kv * value_dim) + count * value_dim))
    flops = 2.0 * count * (dim + value_dim)
    read, index_bytes = 0, 0.0
    sparse = f.get("sparse_attention_config")
    if isinstance(sparse, Mapping) and sparse.get("use_sparse_attention"):
        index_dim = int(sparse.get("sparse_index_dim") or 0)
        weights += d * index_dim * (int(sparse.get("sparse_num_index_heads") or 0) + 1)
        read = int(sparse.get("sparse_topk_blocks") or 0) * int(sparse.get("sparse_block_size") or 0)
        index_bytes = 2.0 * index_dim
    return weights, CacheLayers(
        1,
        float(kv * (dim + value_dim)),
        window,
        index_bytes=index_bytes,
        read=read,
        decode_flops=flops,
        prefill_flops=flops,
    )


def _latent(f: Fields, d: int, layer: int) -> tuple[float, CacheLayers]:
    """Multi-head latent attention (DeepSeek-V2, 2024, section 2.1): one latent vector per token stands for all heads."""
    count = f.needed("heads", "num_attention_heads")
    latent, rank = f.whole("kv_lora_rank"), f.whole("q_lora_rank")
    rope = f.needed("qk_rope_head_dim", "qk_rope_head_dim")
    plain, value = f.needed("qk_nope_head_dim", "qk_nope_head_dim"), f.needed("v_head_dim", "v_head_dim")
    queries = count * (plain + rope)
    weights = float(rank * (d + queries) if rank else d * queries)
    weights += d * (latent + rope) + latent * count * (plain + value) + count * value * d
    index_bytes, read = 0.0, 0
    index_heads, index_dim = f.whole("index_n_heads"), f.whole("index_head_dim")
    types = f.get("indexer_types") or []
    if index_heads and (layer >= len(types) or types[layer] == "full"):  # others share the choice of an earlier layer
        weights += rank * index_heads * index_dim + d * (index_dim + index_heads)
        index_bytes = index_dim + 4.0  # in FP8, with a scale
    if index_heads:
        read = f.needed("index_topk", "index_topk")
    return weights, CacheLayers(
        1,
        float(latent + rope),
        index_bytes=index_bytes,
        read=read,
        decode_flops=2.0 * count * (2 * latent + rope),
        prefill_flops=2.0 * count * (plain + rope + value),
    )


def _compressed(f: Fields, d: int, layer: int) -> Mixer:
    """Attention of DeepSeek-V4: a window, and entries that each stand for several tokens."""
    count, dim, rank = (
        f.needed("heads", "num_attention_heads"),
        f.needed("head_dim", "head_dim"),
        f.needed("q_lora_rank", "q_lora_rank"),
    )
    groups, out_rank = f.needed("o_groups", "o_groups"), f.needed("o_lora_rank", "o_lora_rank")
    ratios = f.numbers("compress_ratios")
    if layer >= len(ratios):
        raise f.beyond("compress_ratios", f"a list of {len(ratios)} entries")
    ratio = ratios[layer]
    weights = float(rank * (d + count * dim) + d * dim + out_rank * (count * dim + groups * d))
    weights += 2 * 4 * f.whole("hc_mult") ** 2 * d * 1.5  # hyper-connections
    flops = 4.0 * count * dim
    keeps = [
        CacheLayers(1, float(dim), f.needed("the window", "sliding_window"), decode_flops=flops, prefill_flops=flops)
    ]
    if ratio:
        index_heads, index_dim = f.whole("index_n_heads"), f.whole("index_head_dim")
        chosen = ratio <= 4  # the finer entries are chosen by an indexer, and overlap
        weights += 2 * d * dim * (2 if chosen else 1)
        if chosen:
            weights += 4 * d * index_dim + index_heads * (rank * index_dim + d)
        keeps.append(
            CacheLayers(
                1,
                float(dim),
                tokens_per_entry=float(ratio),
                index_bytes=index_dim + 4.0 if chosen else 0.0,
                read=f.whole("index_topk") if chosen else 0,
                decode_flops=flops,
                prefill_flops=flops,
            )
        )
    return Mixer(weights, 0.0, tuple(keeps))


def _state(f: Fields, kind: str, d: int) -> tuple[float, float]:
    """Parameters of a layer without a growing cache, and the bytes of its state (in FP32 where the config says so, else 16
    bits; convolutions in 16 bits)."""
    size = 4.0 if "float32" in (f.get("mamba_ssm_dtype"), f.get("mamba_ssm_cache_dtype")) else 2.0
    if kind == CONV:
        kernel = f.needed("the convolution", "conv_L_cache", "conv_kernel")
        return float(4 * d * d + d * kernel), 2.0 * d * kernel
    if kind == MAMBA:
        return _mamba(f, d, size)
    if f.whole("linear_num_value_heads"):  # gated delta net: Qwen3-Next, Qwen3.5
        values = f.whole("linear_num_value_heads")
        key_dim, value_dim = (
            f.needed("linear_key_head_dim", "linear_key_head_dim"),
            f.needed("linear_value_head_dim", "linear_value_head_dim"),
        )
        keys = f.needed("linear_num_key_heads", "linear_num_key_heads") * key_dim
        kernel, inner = f.needed("linear_conv_kernel_dim", "linear_conv_kernel_dim"), values * value_dim
        weights = d * (2 * keys + 3 * inner + 2 * values) + (2 * keys + inner) * kernel
        return float(weights), values * key_dim * value_dim * size + (2 * keys + inner) * (kernel - 1) * 2.0
    linear = f.get("linear_attn_config")
    if isinstance(linear, Mapping):  # Kimi delta attention
        count, dim, kernel = (int(linear.get(k) or 0) for k in ("num_heads", "head_dim", "short_conv_kernel_size"))
        inner = count * dim
        weights = d * (4 * inner + count + 2 * dim) + 2 * dim * inner + 3 * inner * kernel
        return float(weights), count * dim * dim * 4.0 + 3 * inner * (kernel - 1) * 2.0
    if f.family.startswith("minimax"):  # lightning attention
        count, _, dim = heads(f, d)
        return 5.0 * d * count * dim, count * dim * dim * 4.0
    raise f.beyond("layer_types", "this linear attention")


def _mamba(f: Fields, d: int, size: float) -> tuple[float, float]:
    kernel = f.needed("the convolution", "conv_kernel", "mamba_d_conv")
    state = f.needed("the state", "ssm_state_size", "mamba_d_state")
    count = f.whole("mamba_num_heads", "mamba_n_heads")
    if not count:  # the first Mamba (Jamba)
        inner, rank = f.needed("mamba_expand", "mamba_expand") * d, f.whole("mamba_dt_rank") or -(-d // 16)
        weights = 3 * d * inner + inner * (kernel + 2 * rank + 3 * state)
        return float(weights), inner * (state * size + (kernel - 1) * 2.0)
    dim, groups = (
        f.needed("mamba_head_dim", "mamba_head_dim", "mamba_d_head"),
        f.whole("n_groups", "mamba_n_groups") or 1,
    )
    inner = count * dim
    mixed = inner + 2 * groups * state
    weights = d * (2 * inner + mixed - inner + count) + mixed * kernel + inner * d
    return float(weights), inner * state * size + mixed * (kernel - 1) * 2.0
