"""vLLM: on GPUs, and on CPUs where such a build is installed on the host.

The command line and endpoints are those of ``vllm serve`` (0.32, 0.33). It was started for real with a CPU build of 0.32
(docs/live.md says how); on a GPU only its commands are tested.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from cloudbandit.core.errors import UsageError
from cloudbandit.core.protocols import Host
from cloudbandit.core.trial import Config, Value
from cloudbandit.engines import hugging_face
from cloudbandit.engines.engine import Engine
from cloudbandit.engines.flags import of_help, unknown
from cloudbandit.engines.knobs import Knob

_COMMON = (
    Knob("max_num_seqs", (4, 16, 64, 128, 256, 512, 1024), 256),
    Knob("max_num_batched_tokens", (64, 256, 512, 1024, 2048, 4096, 8192, 16384), 2048),
    Knob("enable_chunked_prefill", (True, False), True),
    Knob("enable_prefix_caching", (True, False), True),
    Knob("block_size", (16, 32, 64, 128), 32),
    Knob("tensor_parallel_size", (1, 2, 4, 8), 1),
    Knob("enforce_eager", (False, True), False),
)
_GPU = (
    Knob("gpu_memory_utilization", (0.8, 0.85, 0.9, 0.95), 0.9),
    Knob("kv_cache_dtype", ("auto", "fp8"), "auto"),
)
DEVICES = ("gpu", "cpu")


class VLLM(Engine):
    """``vllm serve``. Models: a folder, or a hub's ``owner/name`` that the host can load.

    Source of the knobs and known constraints: SCOOT (Cheng et al., WWW 2025), as far as today's vLLM still has them. Block
    sizes below 32 are a hidden constraint on CPUs.

    Args:
        program: where vLLM's command is; it may be in an environment of its own.
        device: ``gpu`` or ``cpu``: which knobs there are. What is used is up to the build that is installed.
        dummy: random weights instead of the model's own: speed without a download.
        max_model_len: context length; None: the model's. Where it is given, configs without chunked prefill that cannot batch
            a whole context are known to be refused.
        kv_cache_gib: of memory for keys and values, on a CPU.
        vocabulary: token ids that prompts may hold; smaller than the model's.
        fixed: see `Engine`.
    """

    name = "vllm"
    at_most: ClassVar[Sequence[tuple[str, str]]] = (("max_num_seqs", "max_num_batched_tokens"),)
    start_timeout_s = 900.0
    extra: ClassVar[Mapping[str, Any]] = {"ignore_eos": True, "temperature": 0}

    def __init__(
        self,
        *,
        program: str = "vllm",
        device: str = "gpu",
        dummy: bool = False,
        max_model_len: int | None = None,
        kv_cache_gib: int = 1,
        vocabulary: Sequence[int] = (100, 30_000),
        **fixed: Value | Sequence[Value],
    ) -> None:
        if device not in DEVICES:
            raise UsageError(f"the device of vllm is {device!r}; allowed: {', '.join(DEVICES)}")
        self.knobs = _COMMON + _GPU if device == "gpu" else _COMMON
        super().__init__(**fixed)
        self.program, self.device, self.dummy = program, device, dummy
        self.max_model_len, self.kv_cache_gib = max_model_len, kv_cache_gib
        self.vocabulary = (int(vocabulary[0]), int(vocabulary[1]))
        if max_model_len is not None:
            tokens = next(k.values for k in self.knobs if k.name == "max_num_batched_tokens")
            too_few = tuple(v for v in tokens if int(v) < max_model_len)
            self.forbidden = ({"enable_chunked_prefill": (False,), "max_num_batched_tokens": too_few},)

    def accelerators(self, config: Config) -> int:
        return int(config.get("tensor_parallel_size", 1)) if self.device == "gpu" else 0

    def find(self, model: str) -> str:
        return hugging_face.folder_or_name(model)

    def prepare(self, host: Host, model: str) -> str:
        return hugging_face.prepare(host, model)

    def argv(self, host: Host, config: Config, port: int, model: str) -> list[str]:
        out = [self.program, "serve", model, "--served-model-name", model]
        out += ["--host", "127.0.0.1", "--port", str(port)]
        for knob in self.knobs:
            value = config.get(knob.name, knob.default)
            flag = knob.name.replace("_", "-")
            if isinstance(value, bool):
                out.append(f"--{flag}" if value else f"--no-{flag}")
            else:
                out += [f"--{flag}", str(value)]
        if self.dummy:
            out += ["--load-format", "dummy"]
        if self.max_model_len is not None:
            out += ["--max-model-len", str(self.max_model_len)]
        return out

    def env(self, config: Config, model: str) -> Mapping[str, str]:
        quiet = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", **hugging_face.environment(model)}
        return quiet if self.device == "gpu" else {**quiet, "VLLM_CPU_KVCACHE_SPACE": str(self.kv_cache_gib)}

    def unknown_flags(self, host: Host, config: Config, model: str) -> list[str]:
        done = host.run([self.program, "serve", "--help=all"], timeout_s=180)
        known = of_help(done.output)
        return unknown(self.argv(host, config, 8000, model), known) if done.code == 0 and known else []

    def version(self, host: Host) -> str:
        return f"vllm {hugging_face.version(host, [self.program, '--version'], 'pip install vllm there')}"
