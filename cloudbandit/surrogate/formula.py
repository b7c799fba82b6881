"""What arithmetic says of a batch on a GPU, with a few constants that measurements teach: one step, and the first token.

One step of a batch of B requests on n GPUs takes, in seconds,

    T = W/(bw·n·e_b) + K/(bw·n·e_k) + 2·A·B/(F·n·e_c) + x·B·P/out + C/(link·e_l) + L·(o + c·log2 n + m·[MoE])

W: bytes of the weights that the batch touches (of a mixture of experts, T·(1 − (1 − A/T)^(B^0.86)) parameters); K: bytes of
cache that are read; A, T: active and all parameters; F: operations per second at the precision; P = 2·A·in/(F·n·e_p): a
prompt's prefill, x·B·P/out of which falls into each step; C: bytes that the layers exchange, two all-reduces a layer within a
machine, expert exchange beyond eight GPUs; L: layers. The first token takes

    P' + k + d·(B − 1)·P' + u·T,    P' = (2·A·in + a·attention)/(F·n·e) + C'/(link·e_l') + L·o'

The term in d is the queue at the start of a closed loop, when all users send at once. Where the cache holds fewer requests
than there are users, the others wait: w times what a request takes, for each batch before theirs. Constants are learned on a
log scale (`constants`), and carry an error (`serving`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]

ENGINES = ("trtllm", "vllm", "sglang")
"""Engines with constants of their own; another one has the mean of theirs, and a wider interval."""
PRECISIONS = ("bf16", "int8", "int4", "fp8", "fp4")
BYTES = {"bf16": 2.0, "int8": 1.0, "int4": 0.53, "fp8": 1.0, "fp4": 0.5625}
"""Per parameter, scales of blocks included."""
_WITHIN_A_MACHINE = 8
_TOUCHED = 0.86


@dataclass(frozen=True)
class Columns:
    """Rows to predict for, one array of length N per fact.

    Args:
        total, active: parameters. moe: 1 for a mixture of experts.
        layers, width: of the decoder.
        cache_elements: of one token, all layers, at the mean context of a request.
        weight_bytes, cache_bytes: per parameter and per cache element.
        gpus, bandwidth, flops, link: number; bytes/s, operations/s at the precision, and bytes/s to another GPU, each of one GPU.
        inputs, outputs: tokens of a request. users: in a closed loop.
        capacity: requests whose cache fits.
        engine: position in `ENGINES`, −1: another one.
        low_precision: 0: 16 bits, 1: 8 bits, 2: 4 bits are computed with.
    """

    total: Floats
    active: Floats
    moe: Floats
    layers: Floats
    width: Floats
    cache_elements: Floats
    weight_bytes: Floats
    cache_bytes: Floats
    gpus: Floats
    bandwidth: Floats
    flops: Floats
    link: Floats
    inputs: Floats
    outputs: Floats
    users: Floats
    capacity: Floats
    engine: np.ndarray[Any, np.dtype[np.int64]]
    low_precision: np.ndarray[Any, np.dtype[np.int64]]

    def __len__(self) -> int:
        return len(self.total)

    def __getitem__(self, rows: Any) -> Columns:
        return Columns(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @property
    def running(self) -> Floats:
        """Requests in the batch."""
        return np.maximum(1.0, np.minimum(self.users, self.capacity))

    def exchanged_bytes(self, tokens: Floats) -> Floats:
        """What the layers exchange for so many tokens, (N,): ring all-reduces of 16-bit activations within a machine; beyond it
        tokens travel to experts instead."""
        n = self.gpus
        share = np.where(n <= _WITHIN_A_MACHINE, (n - 1) / n, _WITHIN_A_MACHINE / n)
        return np.where(n > 1, 2 * self.layers * self.width * 4.0 * tokens * share, 0.0)


STEP_START: Mapping[str, float] = {
    "e_b_trtllm": 0.72,
    "e_b_vllm": 0.61,
    "e_b_sglang": 0.56,
    "e_k": 0.8,
    "o_trtllm": 13e-6,
    "o_vllm": 12e-6,
    "o_sglang": 18e-6,
    "c": 10e-6,
    "m": 39e-6,
    "e_c": 0.8,
    "e_p": 0.48,
    "x": 0.85,
    "e_l": 0.3,
}
"""Constants of a step: where learning starts, and the centre of its weak prior."""
FIRST_START: Mapping[str, float] = {
    "e_16": 0.3,
    "e_8": 0.7,
    "e_4": 1.0,
    "e_moe": 0.23,
    "o'": 200e-6,
    "k_trtllm": 30e-3,
    "k_vllm": 10e-3,
    "k_sglang": 30e-3,
    "d": 0.05,
    "u": 1.8,
    "a": 1.0,
    "e_l'": 0.33,
    "w": 0.3,
}
"""Constants of the first token."""


def _of_engine(v: Mapping[str, float], stem: str, engine: np.ndarray[Any, Any]) -> Floats:
    known = np.array([v[f"{stem}_{name}"] for name in ENGINES])
    return np.append(known, np.exp(np.log(known).mean()))[engine]


def step_s(v: Mapping[str, float], c: Columns) -> Floats:
    """Seconds of one step, (N,)."""
    running = c.running
    touched = np.where(c.moe > 0, 1 - (1 - np.minimum(c.active / c.total, 1.0)) ** (running**_TOUCHED), 1.0)
    bandwidth, flops = c.bandwidth * c.gpus, c.flops * c.gpus
    weights = c.total * c.weight_bytes * touched / (bandwidth * _of_engine(v, "e_b", c.engine))
    cache = running * (c.inputs + c.outputs / 2) * c.cache_elements * c.cache_bytes / (bandwidth * v["e_k"])
    compute = 2 * c.active * running / (flops * v["e_c"])
    prefill = v["x"] * running * 2 * c.active * c.inputs / (flops * v["e_p"]) / c.outputs
    tokens = running * (1 + c.inputs / c.outputs)
    exchange = c.exchanged_bytes(tokens) / (c.link * v["e_l"])
    overhead = c.layers * (_of_engine(v, "o", c.engine) + v["c"] * np.log2(c.gpus) + v["m"] * c.moe)
    out: Floats = weights + cache + compute + prefill + exchange + overhead
    return out


def first_token_s(v: Mapping[str, float], c: Columns, step: Floats) -> Floats:
    """Seconds to the first token, (N,), given those of a step."""
    efficiency = np.array([v["e_16"], v["e_8"], v["e_4"]])[c.low_precision] * np.where(c.moe > 0, v["e_moe"], 1.0)
    operations = 2 * c.active * c.inputs + v["a"] * 2 * c.layers * c.width * c.inputs**2
    alone = operations / (c.flops * c.gpus * efficiency)
    alone = alone + c.exchanged_bytes(c.inputs) / (c.link * v["e_l'"]) + c.layers * v["o'"]
    served = alone + _of_engine(v, "k", c.engine) + v["d"] * (c.running - 1) * alone + v["u"] * step
    waiting = np.maximum(0.0, c.users / np.maximum(c.capacity, 1.0) - 1.0) * (alone + c.outputs * step)
    out: Floats = served + v["w"] * waiting
    return out
