"""What every fast optimizer recommends, pinned: a change here is a change of behaviour, and belongs in the changelog.

Regenerate with ``python tests/test_golden.py``.
"""

import csv
from pathlib import Path

import pytest

from cloudbandit.core.goal import SLO
from cloudbandit.replay.task import Task, replay
from cloudbandit.tables import load_table

PATH = Path(__file__).parent / "golden.csv"
WORKLOADS = ("llama-3.1-8b|chat|500tok|spot", "qwen3-32b|rag|2000tok|spot")
OPTIMIZERS = (
    "random",
    "random-wor",
    "exhaustive",
    "coordinate",
    "gp",
    "gp-ard",
    "gp-lcb",
    "joint",
    "cloudbandit:random",
    "cloudbandit:gp",
    "cloudbandit:gp-ard",
)
SLOS = {"none": (), "ttft": (SLO("ttft_ms", 1000.0),)}


def recommendations():
    table = load_table("llm-serving")
    for workload in WORKLOADS:
        for slo, slos in SLOS.items():
            task = Task(table, workload, "usd_per_h", slos)
            for optimizer in OPTIMIZERS:
                report = replay(task, optimizer, 22, seed=1)
                yield {
                    "workload": workload,
                    "slo": slo,
                    "optimizer": optimizer,
                    "first": report.observations[0].candidate.key,
                    "last": report.observations[-1].candidate.key,
                    "recommended": report.incumbent.candidate.key if report.incumbent else "",
                }


@pytest.mark.slow
def test_recommendations_are_the_recorded_ones():
    with PATH.open(newline="") as file:
        recorded = list(csv.DictReader(file))
    for found, wanted in zip(recommendations(), recorded, strict=True):
        assert found == wanted


if __name__ == "__main__":
    rows = list(recommendations())
    with PATH.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
