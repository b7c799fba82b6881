"""The conformance suite fails on optimizers that break a law: one broken optimizer per law."""

import random

import numpy as np
import pytest

from cloudbandit import BaseOptimizer, Candidate, make_factory
from cloudbandit.optimizers.exhaustive import Exhaustive
from cloudbandit.testing import OptimizerLaws


class Stateful(BaseOptimizer):
    """Draws from a generator that remembers."""

    def __init__(self, problem):
        super().__init__(problem)
        self.generator = np.random.default_rng(problem.seed)

    def _suggest(self):
        free = self.free
        return self.domain.candidates[int(self.generator.choice(free))] if len(free) else None


class Unseeded(BaseOptimizer):
    def _suggest(self):
        free = self.free
        return self.domain.candidates[random.choice(free.tolist())] if len(free) else None


class Stray(BaseOptimizer):
    def _suggest(self):
        return Candidate("a", {"nodes": 99})


class Stubborn(BaseOptimizer):
    def _suggest(self):
        return self.domain.candidates[0]


class Impatient(Exhaustive):
    """Says it has finished, and then asks on."""

    def __init__(self, problem):
        super().__init__(problem)
        self.calls = 0

    def _suggest(self):
        self.calls += 1
        return None if self.calls % 2 == 0 else super()._suggest()


class Forgetful(Exhaustive):
    """Counts what it asked, not what it was told."""

    def __init__(self, problem):
        super().__init__(problem)
        self.asked = 0

    def _suggest(self):
        self.asked += 1
        return self.domain.candidates[self.asked - 1] if self.asked <= len(self.domain) else None


class Relentless(Exhaustive):
    """Asks for an offer that is UNAVAILABLE for ever."""

    def ask(self, n=1):
        self.wake(self.domain.leaves)
        return super().ask(n)


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (Stateful, "test_resume"),
        (Forgetful, "test_resume"),
        (Unseeded, "test_the_seed_determines_everything"),
        (Unseeded, "test_no_global_random_state_is_touched"),
        (Stray, "test_asks_inside_the_space"),
        (Stubborn, "test_never_asks_the_same_twice"),
        (Stubborn, "test_a_batch_holds_different_candidates"),
        (Impatient, "test_patience"),
        (Relentless, "test_when_every_arm_rests_it_is_finished"),
    ],
)
def test_the_law_catches(broken, law):
    class Laws(OptimizerLaws):
        listed_only = True

        def make(self, problem):
            return broken(problem)

    with pytest.raises(AssertionError):
        getattr(Laws(), law)()


def test_a_sound_optimizer_passes_the_same_laws():
    class Laws(OptimizerLaws):
        listed_only = True

        def make(self, problem):
            return make_factory("exhaustive")(problem)

    for law in [name for name in dir(Laws) if name.startswith("test_")]:
        getattr(Laws(), law)()
