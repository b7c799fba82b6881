"""What arithmetic says about an LLM on a GPU: the features of the surrogate.

A roofline: decoding streams the weights and the KV cache from memory once per step, prefilling is bound by compute. The rest
(kernels, schedulers, batch caps) is left to what is learned from measurements.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cloudbandit.catalogue.gpus import Profile
from cloudbandit.catalogue.models import GIB, ModelSpec
from cloudbandit.catalogue.offers import USABLE_MEMORY
from cloudbandit.surrogate.loads import RequestLengths

Floats = npt.NDArray[np.float64]

FEATURES = (
    "log_users",
    "log_users_per_capacity",
    "saturation",
    "log_roofline_itl_ms",
    "log_roofline_ttft_ms",
    # ↑ grow with users; ↓ do not depend on them
    "log_weight_stream_ms",
    "log_prefill_ms_per_token",
    "log_free_gib_per_gpu",
    "log_kv_mb_per_token",
    "log_capacity_requests",
    "log_gpus",
    "tensor_parallel",
    "log_layers",
    "encoder_decoder",
    "flash",
    "log_bandwidth",
    "log_tflops",
    "log_memory_per_gpu",
    "log_link",
    "compute_capability",
    "log_d_model",
    "log_parameters",
)
GROWING = 5
"""The first so many features grow with users; every latency is monotone in them."""
_LAYER_MS = 0.05
_SYNC_MS = 0.02
_MIN_FREE_GIB = 0.25


def features(model: ModelSpec, profile: Profile, loads: Sequence[int] | Floats, workload: RequestLengths) -> Floats:
    """One row per load, columns as in `FEATURES`; times in ms, natural logarithms."""
    users = np.asarray(loads, float)
    n, gpu = profile.gpus, profile.gpu
    bandwidth, flops = n * gpu.bandwidth_gb_per_s * 1e9, n * gpu.fp16_dense_tflops * 1e12
    tokens = workload.input_mean + workload.output_mean / 2  # in the cache of a request, on average over its life
    free = max(_MIN_FREE_GIB, USABLE_MEMORY * profile.memory_gib - model.weights_gib)
    capacity = free * GIB / (model.kv_bytes_per_token * tokens)
    stream_ms = model.decode_parameters * model.bytes_per_parameter / bandwidth * 1e3
    prefill_ms = 2 * model.prefill_parameters / flops * 1e3
    running = np.minimum(users, capacity)
    layers = model.layers + model.encoder_layers
    overhead_ms = model.layers * (_LAYER_MS + (_SYNC_MS * np.log2(n) if n > 1 else 0.0))
    step_ms = np.maximum(
        stream_ms + running * tokens * model.kv_bytes_per_token / bandwidth * 1e3,
        2 * model.decode_parameters * running / flops * 1e3,
    )
    itl_ms = step_ms + overhead_ms
    alone_ms = workload.input_mean * prefill_ms + itl_ms
    first_ms = workload.input_mean * prefill_ms + stream_ms + overhead_ms  # a single user's
    life_ms = alone_ms + workload.output_mean * itl_ms
    # In a closed loop, a prompt waits for the other users' prompts that fall into the life of a request, and, when the
    # cache is full, for a place in it.
    share = first_ms / (2 * first_ms + workload.output_mean * (stream_ms + overhead_ms))
    ttft_ms = alone_ms + users * workload.input_mean * prefill_ms * share
    ttft_ms = ttft_ms + life_ms * np.maximum(0.0, users / capacity - 1)
    growing = [
        np.log(users),
        np.log(users / capacity),
        np.log1p(users / capacity),
        np.log(itl_ms),
        np.log(ttft_ms),
    ]
    constant = [
        np.log(stream_ms),
        np.log(prefill_ms),
        np.log(free / n),
        np.log(model.kv_bytes_per_token / 1e6),
        np.log(capacity),
        np.log(n),
        float(n > 1),
        np.log(layers),
        float(model.encoder_decoder),
        float(model.flash),
        np.log(bandwidth),
        np.log(flops),
        np.log(gpu.memory_gib),
        np.log(gpu.link_gb_per_s),
        gpu.compute_capability,
        np.log(model.d_model),
        np.log(model.parameters),
    ]
    return np.column_stack([*growing, np.tile(constant, (len(users), 1))])


def workload_offset(metric: str, asked: RequestLengths, recorded: RequestLengths) -> float:
    """By how much the logarithm of a metric moves from the recorded workload to another one: time to first token goes with the
    input length, end to end with the sum of both phases; per-token metrics stay. An assumption, not a measurement."""
    if asked == recorded:
        return 0.0
    inputs = float(np.log(asked.input_mean / recorded.input_mean))
    outputs = float(np.log(asked.output_mean / recorded.output_mean))
    if metric.startswith("ttft"):
        return inputs
    longer = max(inputs, outputs) if metric.startswith(("e2e", "output_tok", "requests")) else 0.0
    if metric.startswith("e2e"):
        return longer
    if metric.startswith("output_tok"):
        return outputs - longer
    return -longer if metric.startswith("requests") else 0.0
