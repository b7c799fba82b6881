"""Simulated engines: what is known of them, brute-forced."""

from dataclasses import replace

import numpy as np
import pytest

from cloudbandit import SLOGoal, Status
from cloudbandit.core.front import nondominated
from cloudbandit.core.trial import Trial
from cloudbandit.live.trial import Unattended
from cloudbandit.replay.task import Task
from cloudbandit.testing import memory_engine, queueing_engine, recorded

ENGINES = pytest.mark.parametrize("make", [memory_engine, queueing_engine])


def truths(engine):
    return [engine.truth(c) for c in engine.domain.candidates]


@ENGINES
def test_a_good_part_crashes_hidden_from_the_known_constraints_and_the_default_runs(make):
    for seed in range(5):
        engine = make(seed)
        assert 500 <= len(engine.domain) <= 800
        assert all(c["max_num_seqs"] <= c["max_num_batched_tokens"] for c in engine.domain.candidates)
        reasons = {r.reason for r in truths(engine)} - {""}
        assert len(reasons) >= 3, "several ways to crash"
        assert 0.3 <= np.mean([r.status is not Status.OK for r in truths(engine)]) <= 0.75
        assert engine.truth(engine.default).status is Status.OK


@ENGINES
def test_no_config_is_best_in_everything(make):
    for seed in range(5):
        ran = [r.metrics for r in truths(make(seed)) if r.metrics]
        values = np.array([(m["ttft_p95_ms"], m["tpot_p50_ms"], -m["output_tok_per_s"]) for m in ran])
        assert (values[:, :2] > 0).all()
        assert nondominated(values).sum() >= 3


@ENGINES
def test_the_optimum_is_the_best_of_all_and_better_than_the_default(make):
    for seed in range(5):
        engine = make(seed)
        (slo,) = engine.goal.slos
        met = [r.metrics for r in truths(engine) if r.metrics and r.metrics["ttft_p95_ms"] <= slo.limit]
        found = engine.truth(engine.optimum()).metrics["tpot_p50_ms"]
        assert found == min(m["tpot_p50_ms"] for m in met)
        assert found < 0.8 * engine.truth(engine.default).metrics["tpot_p50_ms"]
        free = engine.truth(engine.optimum(SLOGoal("tpot_p50_ms"))).metrics["tpot_p50_ms"]
        assert free <= found


@ENGINES
def test_the_seed_decides(make):
    assert truths(make(3)) == truths(make(3))
    assert truths(make(3)) != truths(make(4))


def test_noise_is_drawn_with_the_trials_seed_around_the_truth():
    engine = memory_engine(0, noise=0.05)
    trials = [Trial(i, engine.default, seed=i) for i in range(200)]
    logs = [np.log(engine.evaluate(t, Unattended()).metrics["tpot_p50_ms"]) for t in trials]
    assert np.mean(logs) == pytest.approx(np.log(engine.truth(engine.default).metrics["tpot_p50_ms"]), abs=0.015)
    assert np.std(logs) == pytest.approx(0.05, rel=0.25)
    assert engine.evaluate(trials[0], Unattended()) == engine.evaluate(replace(trials[0]), Unattended())
    failing = next(c for c in engine.domain.candidates if engine.truth(c).status is not Status.OK)
    assert engine.evaluate(Trial(0, failing, seed=1), Unattended()) == engine.truth(failing)


def test_as_a_recorded_table_it_says_the_same():
    engines = [queueing_engine(0), queueing_engine(1)]
    table = recorded(engines)
    assert table.workloads == ("queueing-0", "queueing-1")
    for engine in engines:
        task = Task(table, engine.name, engine.goal.minimize, engine.goal.slos)
        assert task.best_value == pytest.approx(engine.truth(engine.optimum()).metrics["tpot_p50_ms"])
        candidate = engine.domain.candidates[17]
        assert task.objective.true_result(candidate).status == engine.truth(candidate).status
