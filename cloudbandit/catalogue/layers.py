"""What a model is made of, as far as serving it costs: parts of its weights, and layers with what each keeps of a request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from cloudbandit.catalogue.precision import PRECISIONS, Precision

Amount = TypeVar("Amount", float, npt.NDArray[np.float64])
"""A number, or an array of them: the answer has the same shape."""
NOT_DECODING = ("encoder", "vision")
"""Parts that work on the prompt alone."""


@dataclass(frozen=True, slots=True)
class WeightPart:
    """Weights that are stored and used alike.

    Args:
        kind: embedding, head (also a tied embedding), attention, linear_attention, mlp, router, experts, shared_experts,
            encoder or vision.
        parameters: count.
        active: of them, used by one token; fewer only of ``experts``.
        precision: as stored.
    """

    kind: str
    parameters: float
    active: float
    precision: Precision = PRECISIONS["fp16"]

    @property
    def weights_bytes(self) -> float:
        return self.parameters * self.precision.bytes

    def touched_bytes(self, batch: Amount) -> Amount:
        """What one decoding step of a batch reads. Of an embedding (untied) only rows are, of an encoder nothing; of
        experts those that at least one of ``batch`` tokens picks: 1 − (1 − active/all)^batch of them on average, if every
        expert is as likely as another."""
        if self.kind in (*NOT_DECODING, "embedding"):
            return batch * 0.0
        if self.active >= self.parameters:
            return batch * 0.0 + self.weights_bytes
        left_alone: Amount = (1 - self.active / self.parameters) ** batch
        return self.weights_bytes * (1 - left_alone)


@dataclass(frozen=True, slots=True)
class CacheLayers:
    """Layers that keep the same of a request.

    Args:
        layers: how many.
        elements: numbers per token and layer: keys and values, or the latent vector of multi-head latent attention (MLA).
        window: tokens that are kept at most; 0: all.
        tokens_per_entry: tokens that share one entry (compressed attention); 1 elsewhere.
        index_bytes: per token and layer beside them, in their own precision (keys of a sparse attention's indexer).
        state_bytes: per request and layer, whatever its length (linear attention, state-space and convolution layers).
        read: tokens that one query reads at most (sparse attention); 0: all that are kept.
        decode_flops, prefill_flops: per query token, token read and layer; MLA decodes in its latent space, which takes more.
    """

    layers: int
    elements: float
    window: int = 0
    tokens_per_entry: float = 1.0
    index_bytes: float = 0.0
    state_bytes: float = 0.0
    read: int = 0
    decode_flops: float = 0.0
    prefill_flops: float = 0.0

    def bytes_per_token(self, element_bytes: float) -> float:
        """In all these layers, of a token within the window."""
        return self.layers * (self.elements * element_bytes + self.index_bytes) / self.tokens_per_entry

    def bytes(self, tokens: Amount, element_bytes: float) -> Amount:
        """Of one request of so many tokens."""
        return _at_most(tokens, self.window) * self.bytes_per_token(element_bytes) + self.layers * self.state_bytes

    def read_bytes(self, tokens: Amount, element_bytes: float) -> Amount:
        """Read for one generated token by a request of so many tokens: keys and values that count, the index, the state."""
        entries = _at_most(_at_most(tokens, self.window) / self.tokens_per_entry, self.read)
        index = _at_most(tokens, self.window) / self.tokens_per_entry * self.index_bytes
        return self.layers * (entries * self.elements * element_bytes + index + self.state_bytes)

    def flops(self, tokens: Amount) -> Amount:
        """Of attention, for one generated token by a request of so many tokens."""
        read = _at_most(_at_most(tokens, self.window) / self.tokens_per_entry, self.read)
        return self.layers * self.decode_flops * read

    def prompt_flops(self, tokens: Amount) -> Amount:
        """Of attention, for a prompt: token i reads the i before it, as far as the window or the sparse choice reaches."""
        reach = min((r for r in (self.window, self.read * self.tokens_per_entry) if r), default=0)
        within = _at_most(tokens, reach)
        pairs = within * (within + 1) / 2 + (tokens - within) * within
        return self.layers * self.prefill_flops * pairs / self.tokens_per_entry


def _at_most(tokens: Amount, limit: float) -> Amount:
    if not limit:
        return tokens
    return np.minimum(tokens, limit) if isinstance(tokens, np.ndarray) else min(tokens, float(limit))
