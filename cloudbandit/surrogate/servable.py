"""What cannot be served at all: weights that do not fit, formats a GPU does not compute in, engines that do not run on a part."""

from __future__ import annotations

from cloudbandit.catalogue.models import GIB
from cloudbandit.core.errors import DataError, UsageError
from cloudbandit.surrogate.deployment import Deployment

_AMD = ("CDNA", "RDNA")
_NVIDIA = ("Volta", "Turing", "Ampere", "Ada", "Hopper", "Blackwell")
_NOT_ON = {"trtllm": _AMD, "openvino": (*_AMD, *_NVIDIA), "tgis": _AMD}
"""Engine → architectures for which it has no kernels."""


def check(d: Deployment) -> None:
    """That a deployment can serve a request.

    Raises:
        UsageError: the engine does not support the part, or its matrices do not compute in the precision.
        DataError: the weights and one request do not fit; the message says by how many GiB per GPU.
    """
    if d.gpu.architecture.startswith(_NOT_ON.get(d.engine, ())):
        raise UsageError(
            f"{d.engine} does not run on {d.gpu.part} ({d.gpu.architecture}). Cure: another engine, e.g. vllm, or another part"
        )
    d.gpu.check_precision(d.served.precision)
    if d.capacity < 1:
        missing = d.request_bytes / GIB - d.free_gib
        raise DataError(
            f"{d.model.name} does not fit on {d.gpus} × {d.gpu.part} in {d.precision}: its weights take {d.weights_gib:.1f} GiB, "
            f"and {max(missing, 0.01) / d.gpus:.1f} GiB per GPU are lacking for a request. Cure: more or larger GPUs, fewer bits"
        )
