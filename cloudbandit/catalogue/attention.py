"""Attention over tokens that are kept: parameters of one layer, and what it keeps of them."""

from __future__ import annotations

from collections.abc import Mapping

from cloudbandit.catalogue.config_fields import Fields
from cloudbandit.catalogue.layers import CacheLayers


def heads(f: Fields, d_model: int) -> tuple[int, int, int]:
    """Query heads, key-value heads and the dimensions of a head. Multi-query flags win over head counts (Falcon-7B); of latent
    attention all heads share one entry of the cache."""
    count = f.needed("heads", "num_attention_heads", "num_heads", "n_head", "n_heads", "decoder_attention_heads")
    if f.whole("kv_lora_rank"):
        return count, 1, f.whole("qk_nope_head_dim") + f.whole("qk_rope_head_dim") or d_model // count
    dim = f.whole("head_dim", "attention_head_dim", "d_kv", "kv_channels")
    if not dim and d_model % count:
        raise f.wrong("num_attention_heads", count, f"it must divide hidden_size = {d_model}, or head_dim be given")
    dim = dim or d_model // count
    single = f.get("multi_query") and not f.get("new_decoder_architecture")
    kv = 1 if single else f.whole("num_key_value_heads", "num_kv_heads", "n_head_kv", "kv_n_heads")
    if f.get("multi_query_attention"):
        kv = f.whole("multi_query_group_num") or 1
    kv = kv or count
    if count % kv:
        raise f.wrong("num_key_value_heads", kv, f"it must divide the {count} attention heads")
    return count, kv, dim


def attention(f: Fields, d: int, *, windowed: bool) -> tuple[float, CacheLayers]:
    """Keys and values of heads: multi-head, grouped-query, multi-query; over all tokens or a window."""
    count, kv, dim = heads(f, d)
    window = f.needed("the window", "sliding_window", "attention_chunk_size") if windowed else 0
    value_dim, share_values = f.whole("v_head_dim") or dim, False
    if windowed:
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
    sparse = f.nested("sparse_attention_config")
    if sparse and sparse.get("use_sparse_attention"):
        index_dim = sparse.whole("sparse_index_dim")
        weights += d * index_dim * (sparse.whole("sparse_num_index_heads") + 1)
        read = sparse.whole("sparse_topk_blocks") * sparse.whole("sparse_block_size")
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


def latent(f: Fields, d: int, layer: int) -> tuple[float, CacheLayers]:
    """Multi-head latent attention (DeepSeek-V2, 2024, section 2.1): one latent vector per token stands for all heads."""
    count = f.needed("heads", "num_attention_heads")
    latent, rank = f.whole("kv_lora_rank"), f.whole("q_lora_rank")
    rope = f.needed("a rotary key's size", "qk_rope_head_dim")
    plain, value = f.needed("a key's size", "qk_nope_head_dim"), f.needed("a value's size", "v_head_dim")
    queries = count * (plain + rope)
    weights = float(rank * (d + queries) if rank else d * queries)
    weights += d * (latent + rope) + latent * count * (plain + value) + count * value * d
    index_bytes, read = 0.0, 0
    index_heads, index_dim = f.whole("index_n_heads"), f.whole("index_head_dim")
    types = f.words("indexer_types")
    if index_heads and (layer >= len(types) or types[layer] == "full"):  # others share the choice of an earlier layer
        weights += rank * index_heads * index_dim + d * (index_dim + index_heads)
        index_bytes = index_dim + 4.0  # in FP8, with a scale
    if index_heads:
        read = f.needed("tokens read", "index_topk")
    return weights, CacheLayers(
        1,
        float(latent + rope),
        index_bytes=index_bytes,
        read=read,
        decode_flops=2.0 * count * (2 * latent + rope),
        prefill_flops=2.0 * count * (plain + rope + value),
    )


def compressed(f: Fields, d: int, layer: int) -> tuple[float, tuple[CacheLayers, ...]]:
    """Attention of DeepSeek-V4: a window, and entries that each stand for several tokens."""
    count, dim, rank = (
        f.needed("heads", "num_attention_heads"),
        f.needed("head_dim", "head_dim"),
        f.needed("q_lora_rank", "q_lora_rank"),
    )
    groups, out_rank = f.needed("o_groups", "o_groups"), f.needed("o_lora_rank", "o_lora_rank")
    rates, types = f.get("compress_rates"), f.get("layer_types")
    if isinstance(rates, Mapping) and isinstance(types, list):
        ratio = Fields(rates, f"{f.name} (compress_rates)").whole(str(types[layer]))
    else:
        ratios = f.numbers("compress_ratios")
        if layer >= len(ratios):
            raise f.beyond("compress_ratios", f"a list of {len(ratios)} entries")
        ratio = ratios[layer]
    weights = float(rank * (d + count * dim) + d * dim + out_rank * (count * dim + groups * d))
    streams = f.whole("hc_mult")
    weights += 2 * streams**2 * (streams + 2) * d  # hyper-connections around attention and feed-forward network
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
    return weights, tuple(keeps)
