"""SCOOT: its parts against what is published of them, and the whole on small problems."""

import numpy as np
import pytest

from cloudbandit import Domain, Problem, Result, SLOGoal, Status
from cloudbandit.core.front import nondominated
from cloudbandit.core.trial import Observation, Trial
from cloudbandit.optimizers.evolution import NSGA2Optimizer, crowding
from cloudbandit.optimizers.hidden import threshold
from cloudbandit.optimizers.repair import Repair
from cloudbandit.optimizers.scoot import Scoot
from cloudbandit.testing import drive, listed_problem, memory_engine, sampled_problem
from cloudbandit.testing.problems import candidates


@pytest.mark.parametrize(
    ("served", "delta"),
    [
        ([], 0.5),
        ([False], 0.55),
        ([False] * 9, 0.75),
        ([True] * 4, 0.5),
        ([True] * 5, 0.45),
        ([True] * 4 + [False] + [True] * 4, 0.55),
        ([True] * 60, 0.25),
        ([True] * 60 + [False], 0.5),  # a failure restores caution at once
        ([False] * 9 + [True] * 10, 0.65),
    ],
)
def test_the_threshold_adapts_as_published(served, delta):
    assert threshold(served) == pytest.approx(delta)


def test_a_point_that_encodes_a_candidate_decodes_to_it():
    for problem in (listed_problem(), sampled_problem()):
        repair = Repair(NSGA2Optimizer(problem))
        domain = problem.domain
        some = domain.candidates if domain.enumerable else domain.sample(np.random.default_rng(0), 40)
        for candidate in some:
            decoded = repair.decode(repair.encode(candidate).tolist())
            assert decoded.arm == candidate.arm
            assert set(decoded.config) == set(candidate.config)
            for name, value in candidate.config.items():
                assert decoded[name] == pytest.approx(value) if isinstance(value, float) else decoded[name] == value


def test_what_the_space_lacks_is_repaired_to_the_nearest_free_of_its_arm():
    listing = [{"x": x, "y": y} for x in range(4) for y in range(4) if x <= y]
    problem = Problem(Domain({"a": listing, "b": [{"x": 3, "y": 0}]}), SLOGoal("loss"))
    repair = Repair(NSGA2Optimizer(problem))
    wanted = repair.decode([0.1, 0.99, 0.3])  # x = 3, y = 1, which is not there
    assert wanted.config == {"x": 3, "y": 1}
    found = repair.free(wanted)
    assert found.arm == ("a",)
    distance = [(c["x"] - 3) ** 2 + (c["y"] - 1) ** 2 for c in problem.domain.candidates[:-1]]
    assert (found["x"] - 3) ** 2 + (found["y"] - 1) ** 2 == min(distance)


def crashing(candidate, number=0):
    if candidate["x"] >= 5:
        return Result(Status.FAILED, reason="out_of_memory")
    return Result(metrics={"loss": 10.0 + (candidate["x"] - 4) ** 2 + candidate["y"]})


@pytest.mark.slow
def test_the_design_goes_on_until_enough_succeeded_and_failures_are_then_avoided():
    problem = Problem(Domain({"a": [{"x": x, "y": y} for x in range(12) for y in range(12)]}), SLOGoal("loss"))
    learning, blind = [], []
    for seed in range(2):
        for hidden, failed in ((True, learning), (False, blind)):
            told = drive(Scoot(Problem(problem.domain, problem.goal, seed), hidden=hidden), problem, 24, crashing)
            good = [o.result.status is Status.OK for o in told]
            design = int(np.searchsorted(np.cumsum(good), 3) + 1)
            failed.append(good[design:].count(False))
    assert sum(learning) <= 0.5 * sum(blind)


@pytest.mark.slow
def test_the_first_trial_is_the_reference_of_the_hypervolume():
    """Nothing is sought that is worse than the default in an objective."""
    engine = memory_engine(0)
    goal = SLOGoal(("ttft_p95_ms", "tpot_p50_ms"))
    problem = Problem(engine.domain, goal)

    default = engine.truth(engine.default)
    scoot = Scoot(problem)
    scoot.tell(Observation(Trial(0, engine.default), default, goal.score(default)))
    told = drive(scoot, problem, 14, lambda c, n: engine.truth(c), start=1)
    positions = [problem.domain.index[c.key] for c in [engine.default, *candidates(told)]]
    seen = scoot._seen(problem.domain.features, (positions, []))
    first = seen.values[0]
    assert (seen.reference >= first - 1e-9).all()
    assert np.allclose(seen.reference, np.maximum(first, seen.values.min(axis=0) + 1e-6))


@pytest.mark.slow
def test_parallel_suggestions_differ_and_wait():
    problem = listed_problem()
    scoot = Scoot(problem, initial=4)
    drive(scoot, problem, 8)
    asked = scoot.ask(4)
    assert len(set(asked)) == 4


def test_crowding_by_hand():
    values = np.array([[0.0, 4.0], [1.0, 2.0], [3.0, 1.0], [4.0, 0.0]])
    found = crowding(values)
    assert np.isinf(found[[0, 3]]).all()
    assert found[1:3] == pytest.approx([3 / 4 + 3 / 4, 3 / 4 + 2 / 4])


def test_nsga2_keeps_the_front_as_parents_and_failures_last():
    engine = memory_engine(1)
    problem = Problem(engine.domain, SLOGoal(("ttft_p95_ms", "tpot_p50_ms")))
    made = NSGA2Optimizer(problem, population=6)
    drive(made, problem, 25, lambda c, n: engine.truth(c))
    served = [i for i, o in enumerate(made.observations) if o.score.feasible]
    values = np.array([made.observations[i].score.values for i in served])
    front = {served[i] for i in np.flatnonzero(nondominated(values))}
    parents = made._parents()
    assert set(parents[: len(front)]) <= front if len(front) >= 6 else front <= set(parents)
