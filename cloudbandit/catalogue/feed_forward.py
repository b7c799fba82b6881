"""Which layers of a model are dense and which are mixtures of experts, and what their feed-forward networks weigh."""

from __future__ import annotations

from dataclasses import dataclass

from cloudbandit.catalogue.config_fields import Fields

_WIDTHS = ("intermediate_size", "d_ff", "n_inner", "ffn_dim", "ffn_hidden_size", "decoder_ffn_dim", "block_ff_dim")


@dataclass(frozen=True, slots=True)
class Experts:
    """Of a mixture of experts; all 0 in a dense model."""

    experts: int = 0
    per_token: int = 0
    shared: int = 0


@dataclass(frozen=True, slots=True)
class FeedForward:
    """Parameters of one layer by part: ``mlp`` works on every token, of the ``experts`` each token picks some."""

    mlp: float = 0.0
    router: float = 0.0
    experts: float = 0.0
    shared: float = 0.0


def experts(f: Fields) -> Experts:
    """How many, how many of them per token, how many shared by all tokens.

    Raises:
        DataError: more per token than there are, or the number per token is missing.
    """
    count = f.whole("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts", "num_routed_experts")
    if count <= 1:
        return Experts()
    keys = (
        "num_experts_per_tok",
        "num_experts_per_token",
        "top_k_experts",
        "moe_topk",
        "moe_top_k",
        "moe_k",
        "experts_per_token",
    )
    chosen = f.needed("experts per token", *keys)
    if chosen > count:
        raise f.wrong(next(k for k in keys if f.get(k)), chosen, f"it must be at most the {count} experts")
    shared = f.whole("n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts")
    if not shared and f.whole("shared_expert_intermediate_size", "shared_intermediate_size"):
        shared = 1
    return Experts(count, chosen, shared)


def sparse_layers(f: Fields, layers: int) -> list[bool]:
    """Which layers hold experts, in a model that has some."""
    types = f.get("mlp_layer_types")
    if isinstance(types, list) and len(types) >= layers:
        return [t == "sparse" for t in types[:layers]]
    frequency = f.get("moe_layer_freq")
    if isinstance(frequency, list) and len(frequency) >= layers:
        return [bool(v) for v in frequency[:layers]]
    if f.get("moe_layers"):
        chosen = set(f.numbers("moe_layers"))
        return [i in chosen for i in range(layers)]
    if f.whole("interleave_moe_layer_step"):
        every = f.whole("interleave_moe_layer_step")
        return [(i + 1) % every == 0 for i in range(layers)]
    if f.whole("expert_layer_period"):
        period, offset = f.whole("expert_layer_period"), f.whole("expert_layer_offset")
        return [i % period == offset for i in range(layers)]
    if f.known("moe_layer_start_index"):
        first, every = f.whole("moe_layer_start_index"), f.whole("moe_layer_interval") or 1
        last = f.whole("moe_layer_end_index") or layers - 1
        return [first <= i <= last and (i + 1) % every == 0 for i in range(layers)]
    dense, every = (
        f.whole("first_k_dense_replace", "num_dense_layers"),
        f.whole("moe_layer_freq", "decoder_sparse_step") or 1,
    )
    if f.whole("decoder_sparse_step"):
        only_dense = set(f.numbers("mlp_only_layers"))
        return [i not in only_dense and (i + 1) % every == 0 for i in range(layers)]
    return [i >= dense and i % every == 0 for i in range(layers)]


def dense_width(f: Fields, d_model: int) -> int:
    """Of the feed-forward network of a dense layer; 4 × d_model where the config has none, as in GPT-2's time."""
    width = f.whole("intermediate_size_mlp", "dense_intermediate_size") or f.whole(*_WIDTHS)
    if f.family == "granitemoehybrid" and not f.whole("num_local_experts"):
        width = f.whole("shared_intermediate_size") or width
    if f.get("block_auto_adjust_ff_dim"):  # LFM2
        multiple = f.whole("block_multiple_of") or 1
        width = -(-int(2 * width / 3 * float(f.get("block_ffn_dim_multiplier") or 1)) // multiple) * multiple
    if f.family == "qwen":  # the first Qwen names gate and up together
        width //= 2
    return width or d_model * (f.whole("expansion_ratio") or 4)


def feed_forward(f: Fields, d_model: int, mixture: Experts, sparse: bool, matrices: int) -> FeedForward:
    """Of one layer."""
    if not sparse:
        return FeedForward(mlp=float(matrices * d_model * dense_width(f, d_model)))
    width = f.whole("moe_intermediate_size", "expert_intermediate_size") or f.whole(*_WIDTHS)
    if not width:
        raise f.lacks({"the width of an expert": ("moe_intermediate_size", "intermediate_size")})
    latent = f.whole("moe_latent_size")
    one = float(matrices * (latent or d_model) * width)
    total = f.whole("shared_expert_intermediate_size", "share_expert_dim")
    each = f.whole("moe_shared_expert_intermediate_size", "shared_intermediate_size") or width
    shared = float(matrices * d_model * (total or mixture.shared * each)) + 2.0 * d_model * latent
    beside = float(matrices * d_model * dense_width(f, d_model)) if f.get("enable_moe_block") else 0.0  # Gemma 4
    return FeedForward(beside, float(d_model * mixture.experts), mixture.experts * one, shared)
