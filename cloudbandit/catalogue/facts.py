"""What is known of an offer before any trial: its own facts, and its accelerator's datasheet."""

from __future__ import annotations

from collections.abc import Mapping

from cloudbandit.catalogue.gpus import GPU, find_gpu
from cloudbandit.core.errors import UnknownNameError
from cloudbandit.core.offer import Offer


def facts(offer: Offer, gpus: dict[str, GPU] | None = None) -> Mapping[str, float | str]:
    """`Offer.facts`, and of a known accelerator its datasheet: numbers of one accelerator, units in the names, and labels.

    Args:
        gpus: datasheets; by default the bundled ones. An accelerator without one adds nothing.
    """
    known = dict(offer.facts())
    try:
        gpu = find_gpu(offer.accelerator, gpus)
    except UnknownNameError:
        return known
    rates = {"fp8": gpu.fp8_dense_tflops, "fp4": gpu.fp4_dense_tflops}
    return {
        **known,
        **{f"accelerator_{name}_dense_tflops": rate for name, rate in rates.items() if rate is not None},
        "accelerator": gpu.part,
        "architecture": gpu.architecture,
        "compute_capability": gpu.compute_capability,
        "accelerator_memory_gib": gpu.memory_gib,
        "accelerator_bandwidth_gb_per_s": gpu.bandwidth_gb_per_s,
        "accelerator_fp16_dense_tflops": gpu.fp16_dense_tflops,
        "accelerator_link_gb_per_s": gpu.link_gb_per_s,
    }
