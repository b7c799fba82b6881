"""Engines by name; another package's are found by its entry points in the group ``cloudbandit.engines``."""

from cloudbandit.core.names import Names

ENGINES = Names(
    "engine",
    "cloudbandit.engines",
    {
        "openvino": "cloudbandit.engines.openvino:OpenVINO",
        "vllm": "cloudbandit.engines.vllm:VLLM",
        "transformers": "cloudbandit.engines.transformers:Transformers",
    },
)
