"""Load for OpenAI-compatible servers: what is sent and when (`workloads`), sending it (`client`), what it measured
(`metrics`)."""

from cloudbandit.loadgen.client import run
from cloudbandit.loadgen.metrics import LoadSummary, summarize
from cloudbandit.loadgen.workloads import Closed, Empirical, Fixed, LogNormal, Open, Trace, Workload, plan

__all__ = [
    "Closed",
    "Empirical",
    "Fixed",
    "LogNormal",
    "Open",
    "LoadSummary",
    "Trace",
    "Workload",
    "plan",
    "run",
    "summarize",
]
