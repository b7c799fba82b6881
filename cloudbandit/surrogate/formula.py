"""What arithmetic says of a batch on a GPU, with a few constants that measurements teach: one step, and the first token.

One step of a batch on n GPUs takes, in seconds,

    T = W/(bw·n·e_b) + K/(bw·n·e_k) + C/(F·n·e_c) + x·B·P/(F·n·e_p·out) + X/(link·e_l) + L·(o + c·log2 n + m·[MoE])

W, K: bytes of weights and of cache that the step reads (a mixture of experts reads those that its batch picks); C: operations
of the step; P: operations of a prompt, B/out of which fall into each step; X: bytes that the layers exchange, two all-reduces
a layer within a machine, tokens to experts beyond eight GPUs; F: operations per second at the precision; L: layers. The first
token takes

    P' + k + d·(B − 1)·P'·ρ^q + u·T + w·waiting,    P' = (P₁ + a·P₂)/(F·n·e) + X'/(link·e_l') + L·o',    ρ = B·P'/(B·P' + out·T)

P₁, P₂: operations of the prompt's matrices and of its attention. The term in d is the queue of prompts: at most the B − 1 others
of a closed loop, when all send at once; the smaller a share ρ of the time prompts take, the more their arrivals scatter.
Where the cache holds fewer requests than there are users, the others wait for each batch before theirs.

An engine is told apart by what its host does, not by its kernels: the overhead o of a layer, and how it lets prompts in, k and d.
What is common to all engines is learned beside each one's ratio to it, which is 1 for an engine that nobody measured.
Constants are learned on a log scale (`constants`), and carry an error (`errors`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Integers = np.ndarray[Any, np.dtype[np.int64]]

ENGINES = ("trtllm", "vllm", "sglang", "tgis")
"""Engines with ratios of their own; another one has what they have in common, and a wider interval."""
_WITHIN_A_MACHINE = 8


@dataclass(frozen=True)
class Columns:
    """Rows to predict for, one array of length N per fact.

    Args:
        read_weights, read_cache: bytes that a step of the running batch reads.
        step_operations, prompt_operations, attention_operations: of a step; of a prompt's matrices, and of its attention.
        moe: 1 for a mixture of experts. layers, width: of the decoder.
        gpus, bandwidth, flops, link: number; bytes/s, operations/s at the precision, and bytes/s to another GPU, each of one GPU.
        inputs, outputs: tokens of a request. users: in a closed loop.
        running, capacity: requests in the batch; requests whose cache fits.
        engine: position in `ENGINES`, −1: another one.
        computed_in: 0: 16 bits, 1: 8 bits, 2: 4 bits.
    """

    read_weights: Floats
    read_cache: Floats
    step_operations: Floats
    prompt_operations: Floats
    attention_operations: Floats
    moe: Floats
    layers: Floats
    width: Floats
    gpus: Floats
    bandwidth: Floats
    flops: Floats
    link: Floats
    inputs: Floats
    outputs: Floats
    users: Floats
    running: Floats
    capacity: Floats
    engine: Integers
    computed_in: Integers

    def __len__(self) -> int:
        return len(self.users)

    def __getitem__(self, rows: Any) -> Columns:
        return Columns(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def exchanged_bytes(self, tokens: Floats) -> Floats:
        """What the layers exchange for so many tokens, (N,): ring all-reduces of 16-bit activations within a machine; beyond it
        tokens travel to experts instead."""
        n = self.gpus
        share = np.where(n <= _WITHIN_A_MACHINE, (n - 1) / n, _WITHIN_A_MACHINE / n)
        return np.where(n > 1, 2 * self.layers * self.width * 4.0 * tokens * share, 0.0)


_RATIOS_OF_A_STEP, _RATIOS_OF_THE_FIRST = ("o",), ("k", "d")


def _ratios(stems: tuple[str, ...]) -> dict[str, float]:
    return {f"{stem}_{engine}": 1.0 for stem in stems for engine in ENGINES}


STEP_START: Mapping[str, float] = {
    "e_b": 0.63,
    "e_k": 0.5,
    "o": 14e-6,
    "c": 10e-6,
    "m": 39e-6,
    "e_c": 0.8,
    "e_p": 0.48,
    "x": 0.85,
    "e_l": 0.3,
    **_ratios(_RATIOS_OF_A_STEP),
}
"""Constants of a step: where learning starts, and the centre of its weak prior."""
FIRST_START: Mapping[str, float] = {
    "e_16": 0.3,
    "e_8": 0.7,
    "e_4": 1.0,
    "e_moe": 0.23,
    "o'": 200e-6,
    "k": 20e-3,
    "d": 0.1,
    "q": 0.5,
    "u": 1.8,
    "a": 1.0,
    "e_l'": 0.33,
    "w": 0.9,
    **_ratios(_RATIOS_OF_THE_FIRST),
}
"""Constants of the first token."""


def _of_engine(v: Mapping[str, float], stem: str, engine: Integers) -> Floats:
    ratios = np.array([*(v[f"{stem}_{name}"] for name in ENGINES), 1.0])
    return np.asarray(v[stem] * ratios[engine])


def step_s(v: Mapping[str, float], c: Columns) -> Floats:
    """Seconds of one step, (N,)."""
    bandwidth, flops = c.bandwidth * c.gpus, c.flops * c.gpus
    weights = c.read_weights / (bandwidth * v["e_b"])
    cache = c.read_cache / (bandwidth * v["e_k"])
    compute = c.step_operations / (flops * v["e_c"])
    prefill = v["x"] * c.running * c.prompt_operations / (flops * v["e_p"]) / c.outputs
    exchange = c.exchanged_bytes(c.running * (1 + c.inputs / c.outputs)) / (c.link * v["e_l"])
    overhead = c.layers * (_of_engine(v, "o", c.engine) + v["c"] * np.log2(c.gpus) + v["m"] * c.moe)
    return np.asarray(weights + cache + compute + prefill + exchange + overhead)


def first_token_s(v: Mapping[str, float], c: Columns, step: Floats) -> Floats:
    """Seconds to the first token, (N,), given those of a step."""
    efficiency = np.array([v["e_16"], v["e_8"], v["e_4"]])[c.computed_in] * np.where(c.moe > 0, v["e_moe"], 1.0)
    alone = (c.prompt_operations + v["a"] * c.attention_operations) / (c.flops * c.gpus * efficiency)
    alone = alone + c.exchanged_bytes(c.inputs) / (c.link * v["e_l'"]) + c.layers * v["o'"]
    prompts_share = c.running * alone / (c.running * alone + c.outputs * step)
    queue = _of_engine(v, "d", c.engine) * (c.running - 1) * alone * prompts_share ** v["q"]
    served = alone + _of_engine(v, "k", c.engine) + queue + v["u"] * step
    waiting = np.maximum(0.0, c.users / np.maximum(c.capacity, 1.0) - 1.0) * (alone + c.outputs * step)
    return np.asarray(served + v["w"] * waiting)
