"""Offers rest, for a while; an arm only while all its offers do."""

import pytest

from cloudbandit import Candidate, Domain, Observation, Problem, Result, Score, SLOGoal, Status, Trial, make_factory
from cloudbandit.core.rest import REST_AFTER, REST_TRIALS, Rests
from cloudbandit.testing.problems import drive

LEAVES = [("cloud", "east"), ("cloud", "west"), ("other",)]


def told(rests, offer, status):
    score = Score(0, 0.0, (1.0,)) if status is Status.OK else None
    rests.tell(Observation(Trial(0, Candidate(offer, {})), Result(status), score))


def unavailable(rests, offer, times=REST_AFTER):
    for _ in range(times):
        told(rests, offer, Status.UNAVAILABLE)


def test_an_offer_rests_after_three_in_a_row_and_an_arm_when_all_its_offers_do():
    rests = Rests()
    unavailable(rests, LEAVES[0], REST_AFTER - 1)
    told(rests, LEAVES[0], Status.INTERRUPTED)
    unavailable(rests, LEAVES[0], REST_AFTER - 1)
    assert not rests.offers
    unavailable(rests, LEAVES[0], 1)
    assert rests.offers == {LEAVES[0]}
    assert rests.arms(LEAVES) == frozenset(), "the west of the cloud is still to be had"
    unavailable(rests, LEAVES[1])
    assert rests.arms(LEAVES) == {"cloud"}
    assert rests.longest == LEAVES[0]


def test_a_rest_ends_after_so_many_informative_trials_and_one_more_failure_begins_it_anew():
    rests = Rests()
    unavailable(rests, LEAVES[0])
    for _ in range(REST_TRIALS - 1):
        told(rests, LEAVES[2], Status.OK)
    assert rests.offers
    told(rests, LEAVES[2], Status.LOST)
    assert rests.offers, "an outcome that says nothing passes no time"
    told(rests, LEAVES[2], Status.OK)
    assert not rests.offers
    unavailable(rests, LEAVES[0], 1)
    assert rests.offers == {LEAVES[0]}
    for _ in range(REST_TRIALS):
        told(rests, LEAVES[2], Status.OK)
    told(rests, LEAVES[0], Status.OK)
    unavailable(rests, LEAVES[0], REST_AFTER - 1)
    assert not rests.offers, "it answered in between"


def test_what_is_woken_may_be_asked_until_its_next_outcome():
    rests = Rests()
    unavailable(rests, LEAVES[0])
    rests.wake([LEAVES[0]])
    assert not rests.offers
    unavailable(rests, LEAVES[0], 1)
    assert rests.offers == {LEAVES[0]}


@pytest.mark.parametrize(
    "name",
    [
        "random",
        "random-wor",
        "exhaustive",
        "coordinate",
        "gp",
        "rbf",
        "gp-x3",
        "cloudbandit:random-wor",
        "cloudbandit:gp",
    ],
)
def test_one_offer_without_capacity_does_not_cost_its_cloud(name):
    """Three offers of a cloud in three regions, one of them sold out until the tenth trial."""
    regions = {r: [{"x": i} for i in range(8)] for r in ("east", "north", "west")}
    domain = Domain({"cloud": Domain(regions), "other": [{"x": i} for i in range(8)]})
    problem = Problem(domain, SLOGoal("cost_usd"), 3)
    asked = []

    def verdict(candidate, number):
        asked.append(candidate.arm)
        sold_out = candidate.arm == ("cloud", "east") and number < 10
        return Result(Status.UNAVAILABLE) if sold_out else Result(metrics={"cost_usd": 1.0 + candidate["x"]})

    trials = 64 if name == "random" else 32
    drive(make_factory(name, trials)(problem), problem, trials, verdict)
    assert ("cloud", "west") in asked
    assert asked[:10].count(("cloud", "east")) <= REST_AFTER + 2
    assert ("cloud", "east") in asked[10:], "it is asked again later"
