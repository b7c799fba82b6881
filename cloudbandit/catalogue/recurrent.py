"""Layers that keep a state of a constant size instead of a growing cache: linear attention, state-space, short convolutions.

Each function answers the parameters of one layer and the bytes of its state. States are in FP32 where the config says so
(``mamba_ssm_dtype``), else in 16 bits; the last inputs of convolutions are in 16 bits.
"""

from __future__ import annotations

from cloudbandit.catalogue.attention import heads
from cloudbandit.catalogue.config_fields import Fields


def short_convolution(f: Fields, d: int) -> tuple[float, float]:
    """LFM2's gated convolution."""
    kernel = f.needed("the convolution", "conv_L_cache", "conv_kernel")
    return float(4 * d * d + d * kernel), 2.0 * d * kernel


def linear_attention(f: Fields, d: int) -> tuple[float, float]:
    """Gated delta net (Qwen3-Next), Kimi delta attention, lightning attention (MiniMax-01).

    Raises:
        DataError: it is none of these.
    """
    if f.whole("linear_num_value_heads"):
        return _gated_delta(f, d)
    given = f.nested("linear_attn_config")
    if given:
        count, dim, kernel = (given.needed(k, k) for k in ("num_heads", "head_dim", "short_conv_kernel_size"))
        return _kimi_delta(d, count, dim, kernel)
    if f.whole("linear_num_heads"):
        count, dim, kernel = (f.whole(f"linear_{k}") for k in ("num_heads", "head_dim", "conv_kernel_dim"))
        return _kimi_delta(d, count, dim, kernel)
    if f.family.startswith("minimax"):
        count, _, dim = heads(f, d)
        return 5.0 * d * count * dim, count * dim * dim * 4.0
    raise f.beyond("layer_types", "this linear attention")


def _gated_delta(f: Fields, d: int) -> tuple[float, float]:
    values, value_dim = f.whole("linear_num_value_heads"), f.needed("a value's size", "linear_value_head_dim")
    key_dim = f.needed("a key's size", "linear_key_head_dim")
    keys = f.needed("key heads", "linear_num_key_heads") * key_dim
    kernel, inner = f.needed("the convolution", "linear_conv_kernel_dim"), values * value_dim
    weights = d * (2 * keys + 3 * inner + 2 * values) + (2 * keys + inner) * kernel
    return float(weights), values * key_dim * value_dim * _state_bytes(f) + (2 * keys + inner) * (kernel - 1) * 2.0


def _kimi_delta(d: int, count: int, dim: int, kernel: int) -> tuple[float, float]:
    inner = count * dim
    weights = d * (4 * inner + count + 2 * dim) + 2 * dim * inner + 3 * inner * kernel
    return float(weights), count * dim * dim * 4.0 + 3 * inner * (kernel - 1) * 2.0


def mamba(f: Fields, d: int) -> tuple[float, float]:
    """Mamba-2, or the first Mamba where no heads are given (Jamba)."""
    kernel = f.needed("the convolution", "conv_kernel", "mamba_d_conv")
    state = f.needed("the state", "ssm_state_size", "mamba_d_state")
    count = f.whole("mamba_num_heads", "mamba_n_heads")
    if not count:
        inner, rank = f.needed("the expansion", "mamba_expand") * d, f.whole("mamba_dt_rank") or -(-d // 16)
        weights = 3 * d * inner + inner * (kernel + 2 * rank + 3 * state)
        return float(weights), inner * (state * _state_bytes(f) + (kernel - 1) * 2.0)
    dim, groups = (
        f.needed("a head's size", "mamba_head_dim", "mamba_d_head"),
        f.whole("n_groups", "mamba_n_groups") or 1,
    )
    inner = count * dim
    mixed = inner + 2 * groups * state
    weights = d * (inner + mixed + count) + mixed * kernel + inner * d
    return float(weights), inner * state * _state_bytes(f) + mixed * (kernel - 1) * 2.0


def _state_bytes(f: Fields) -> float:
    return 4.0 if "float32" in (f.get("mamba_ssm_dtype"), f.get("mamba_ssm_cache_dtype")) else 2.0
