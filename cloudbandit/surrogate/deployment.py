"""What is asked about: one engine with a model on GPUs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from cloudbandit.catalogue.gpus import GPU
from cloudbandit.catalogue.models import GIB, ModelSpec
from cloudbandit.catalogue.offers import USABLE_MEMORY
from cloudbandit.catalogue.precision import find_precision


@dataclass(frozen=True, slots=True)
class Deployment:
    """One engine: a model on ``gpus`` GPUs of one part.

    Args:
        engine: ``vllm``, ``sglang``, ``trtllm``, or another one.
        precision: of the weights; see `cloudbandit.catalogue.precision`.
        input_tokens, output_tokens: means over requests.
    """

    model: ModelSpec
    gpu: GPU
    gpus: int
    engine: str
    precision: str
    input_tokens: float
    output_tokens: float

    @property
    def served(self) -> ModelSpec:
        """The model in the deployment's precision."""
        return served_in(self.model, self.precision)

    @property
    def weights_gib(self) -> float:
        return self.served.weights_gib

    @property
    def request_bytes(self) -> float:
        """Of cache, of a request at its mean length."""
        return float(self.served.cache_bytes(self.input_tokens + self.output_tokens / 2))

    @property
    def free_gib(self) -> float:
        """For the cache; below 0 the weights do not fit."""
        return USABLE_MEMORY * self.gpus * self.gpu.memory_gib - self.weights_gib

    @property
    def capacity(self) -> float:
        """Requests whose cache fits, by their mean length."""
        return max(0.0, self.free_gib * GIB / max(self.request_bytes, 1.0))

    def streaming_ms(self, requests: float) -> float:
        """Of a step of so many requests (at most those that fit): its weights and cache at the memory's full speed."""
        running = min(requests, max(1.0, self.capacity))
        context = self.input_tokens + self.output_tokens / 2
        read = self.served.touched_weight_bytes(running) + running * self.served.cache_read_bytes(context)
        return float(read / (self.gpus * self.gpu.bandwidth_gb_per_s * 1e6))

    @property
    def label(self) -> tuple[str, str, int, str, str]:
        """What measurements of one deployment share."""
        return self.model.name, self.gpu.part, self.gpus, self.engine, find_precision(self.precision).name


@lru_cache(maxsize=256)
def served_in(model: ModelSpec, precision: str) -> ModelSpec:
    """A model with its weights in a precision; with 8 or 4 bits the cache takes 8."""
    cache = "fp8" if find_precision(precision).compute in ("fp8", "fp4") else ""
    return model.served(precision, cache)
