"""Optimizers by name: one table, then entry points (group ``cloudbandit.optimizers``), then ``path.py:Class``.

``cloudbandit:NAME`` is CloudBandit with the inner optimizer NAME, which may itself be any of these.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal

from cloudbandit.core.bandit import CloudBandit
from cloudbandit.core.errors import UnknownNameError, UsageError
from cloudbandit.core.protocols import Factory, Optimizer, Problem
from cloudbandit.optimizers import BANDIT, INNER

GROUP = "cloudbandit.optimizers"


@dataclass(frozen=True)
class Entry:
    """How to make one optimizer.

    Attributes:
        target: ``module:attribute``, something called with the problem.
        inner: the name of the optimizer that is its second argument, if it takes one.
        budget: whether it takes the budget as a keyword.
        objectives: ``"several"`` where it searches a front, ``"one"`` where it refuses a goal with several objectives.
        history: what it must be told of other workloads: ``""`` nothing, ``"others"`` all of them, ``"itself"`` the answer.
    """

    name: str
    target: str
    summary: str
    source: str
    options: dict[str, Any] = field(default_factory=dict)
    extra: str = ""
    inner: str = ""
    budget: bool = False
    history: str = ""
    objectives: Literal["one", "several"] = "one"

    def load(self) -> Callable[..., Optimizer]:
        module, _, attribute = self.target.partition(":")
        made: Callable[..., Optimizer] = getattr(importlib.import_module(module), attribute)
        return made


_OWN = "cloudbandit.optimizers"
BUILT_IN: dict[str, Entry] = {
    e.name: e
    for e in [
        Entry(
            "random",
            f"{_OWN}.random_search:RandomSearch",
            "uniform draws with replacement, arm first",
            "notebook of the CloudBandit data set (IBM, Apache-2.0)",
            objectives="several",
        ),
        Entry(
            "random-wor",
            f"{_OWN}.random_search:RandomWithoutReplacement",
            "uniform draws without replacement",
            "folklore",
            objectives="several",
        ),
        Entry("exhaustive", f"{_OWN}.exhaustive:Exhaustive", "every config once", "folklore", objectives="several"),
        Entry(
            "coordinate",
            f"{_OWN}.coordinate:CoordinateDescent",
            "coordinate descent with random restarts",
            "baseline of Lazuka et al., IEEE CLOUD 2022",
        ),
        Entry(
            "gp",
            f"{_OWN}.gp:GPOptimizer",
            "exact Gaussian process over the listed configs, expected improvement",
            "Jones et al. 1998; Rasmussen & Williams 2006; Snoek et al. 2012",
            objectives="several",
        ),
        Entry(
            "gp-ard",
            f"{_OWN}.gp:GPOptimizer",
            "gp with a length scale per parameter, integrated by importance sampling",
            "Rasmussen & Williams 2006, section 5.1; Snoek et al. 2012",
            {"relevance": True},
            objectives="several",
        ),
        Entry(
            "joint",
            f"{_OWN}.joint:Joint",
            "one Gaussian process over all arms; facts, prices, estimates and history as hypotheses weighed by evidence",
            "Rasmussen & Williams 2006; Hoeting et al. 1999; Duvenaud et al., NIPS 2011",
            objectives="several",
        ),
        Entry(
            "joint-forest",
            f"{_OWN}.joint_forest:JointForest",
            "joint, and a forest that learns which configs serve: what `cloudbandit tune` searches with",
            "joint's; Hinton 2002; SCOOT, WWW 2025, for the forest",
            extra="tune",
            objectives="several",
        ),
        Entry(
            "gp-lcb",
            f"{_OWN}.gp:GPOptimizer",
            "the same model, lower confidence bound (κ = 2)",
            "Srinivas et al., ICML 2010",
            {"acquisition": "lcb"},
            objectives="several",
        ),
        Entry(
            "gp-x3",
            f"{_OWN}.per_arm:PerArm",
            "one gp per provider, in turns",
            "Lazuka et al., IEEE CLOUD 2022 (x3)",
            inner="gp",
            objectives="several",
        ),
        Entry(
            "cherrypick",
            f"{_OWN}.gp:GPOptimizer",
            "Gaussian process on raw values, expected improvement, all providers flattened (x1)",
            "Alipourfard et al., NSDI 2017 (second-hand); without its stopping rule",
            {"log": False, "initial": 3},
        ),
        Entry(
            "cherrypick-stop",
            f"{_OWN}.gp:GPOptimizer",
            "cherrypick with its stopping rule: expected improvement below 10 % after 6 trials",
            "Alipourfard et al., NSDI 2017 (second-hand)",
            {"log": False, "initial": 3, "stop": 0.1},
        ),
        Entry(
            "cherrypick-x3",
            f"{_OWN}.per_arm:PerArm",
            "one cherrypick per provider, in turns",
            "Lazuka et al., IEEE CLOUD 2022 (x3)",
            inner="cherrypick",
        ),
        Entry(
            "bilal",
            f"{_OWN}.skopt_bo:bilal",
            "Bayesian optimization with trees: gradient boosting for cost, random forest for time (x1)",
            "Bilal et al., PVLDB 13(11), 2020 (choice per objective second-hand)",
            extra="skopt",
        ),
        Entry(
            "bilal-x3",
            f"{_OWN}.per_arm:PerArm",
            "one bilal per provider, in turns",
            "Lazuka et al., IEEE CLOUD 2022 (x3)",
            extra="skopt",
            inner="bilal",
        ),
        Entry(
            "rbf",
            f"{_OWN}.rbf:RBFOptimizer",
            "cubic radial basis functions over the listed configs, MSRSM",
            "Regis & Shoemaker 2007; Gutmann 2001; Costa & Nannicini 2018",
            objectives="several",
        ),
        Entry(
            "rising-bandits",
            f"{_OWN}.per_arm:RisingBandits",
            "an arm goes when its extrapolated best cannot win; gp inside",
            "Li et al., AAAI 2020 (second-hand)",
            inner="gp",
            budget=True,
        ),
        Entry(
            "skopt",
            f"{_OWN}.skopt_bo:SkoptOptimizer",
            "scikit-optimize's Gaussian process, seen configs masked",
            "scikit-optimize",
            extra="skopt",
        ),
        Entry(
            "skopt-forest",
            f"{_OWN}.skopt_bo:SkoptOptimizer",
            "scikit-optimize's random forest, seen configs masked",
            "scikit-optimize",
            {"estimator": "RF"},
            extra="skopt",
        ),
        Entry(
            "scoot",
            f"{_OWN}.scoot:Scoot",
            "Sobol design, forest against hidden failures, MACE's portfolio; of several objectives EHVI",
            "Cheng et al., SCOOT, WWW 2025 (second-hand); Lyu et al., ICML 2018",
            extra="tune",
            objectives="several",
        ),
        Entry(
            "nsga2",
            f"{_OWN}.evolution:NSGA2Optimizer",
            "NSGA-II, a trial at a time, children repaired to configs not tried",
            "Deb et al., IEEE TEC 6(2), 2002",
            objectives="several",
        ),
        Entry(
            "grid",
            f"{_OWN}.grid:Grid",
            "every combination of two knobs, the others as in the first trial",
            "vLLM's auto_tune (second-hand)",
            objectives="several",
        ),
        Entry(
            "smac",
            f"{_OWN}.smac_bo:SMACOptimizer",
            "SMAC3 (random forest, expected improvement), seen configs masked",
            "Lindauer et al., JMLR 2022",
            extra="smac",
        ),
        Entry(
            "optuna",
            f"{_OWN}.optuna_tpe:OptunaOptimizer",
            "Optuna's tree-structured Parzen estimator, de-duplicated",
            "Akiba et al., KDD 2019; Bergstra et al., NeurIPS 2011",
            extra="optuna",
        ),
        Entry(
            "hyperopt",
            f"{_OWN}.hyperopt_tpe:HyperoptOptimizer",
            "HyperOpt's tree-structured Parzen estimator, hierarchical, de-duplicated",
            "Bergstra et al., NeurIPS 2011",
            extra="hyperopt",
        ),
        Entry(
            "linear",
            f"{_OWN}.donors:LinearPredictor",
            "linear regression trained on other workloads",
            "in the manner of Ernest (Venkataraman et al., NSDI 2016; second-hand)",
            history="others",
        ),
        Entry(
            "forest",
            f"{_OWN}.donors:ForestPredictor",
            "random forest trained on other workloads, with a fingerprint of this one",
            "in the manner of PARIS (Yadwadkar et al., SoCC 2017; second-hand)",
            extra="skopt",
            history="others",
        ),
        Entry(
            "price-order",
            f"{_OWN}.donors:PriceOrder",
            "control: ascending list price, no learning",
            "control",
        ),
        Entry(
            "single-arm",
            f"{_OWN}.donors:SingleArm",
            "control: gp on the provider that wins most other workloads",
            "control",
            inner="gp",
            history="others",
        ),
        Entry(
            "portfolio",
            f"{_OWN}.donors:Portfolio",
            "control: the best fixed sequence for the other workloads",
            "control",
            history="others",
        ),
        Entry("oracle", f"{_OWN}.donors:Oracle", "control: knows the answer", "control", history="itself"),
    ]
}

_BANDIT_ENTRY = Entry(
    "cloudbandit:<inner>",
    "cloudbandit.core.bandit:CloudBandit",
    "best-arm identification over providers, any of the others inside",
    "Lazuka et al., IEEE CLOUD 2022",
    objectives="several",
)


def entries() -> list[Entry]:
    """Every optimizer with a name, CloudBandit first."""
    return [_BANDIT_ENTRY, *BUILT_IN.values(), *_plugins().values()]


def _plugins() -> dict[str, Entry]:
    found = {}
    for point in entry_points(group=GROUP):
        summary = f"from the package {point.dist.name}" if point.dist else "from another package"
        found[point.name] = Entry(point.name, point.value, summary, point.value, objectives="several")
    return found


def make_factory(name: str, budget: int | None = None, *, growth: float = 2.0) -> Factory:
    """The factory a name stands for.

    Args:
        name: a name of `entries`, ``cloudbandit:NAME``, or ``path.py:Class``.
        budget: informative trials, for methods that plan with it (CloudBandit).
        growth: CloudBandit's η.

    Raises:
        UnknownNameError: nobody knows the name.
        UsageError: ``path.py:Class`` cannot be loaded; from the factory: several objectives for a method that aims at one.
    """
    if name == BANDIT or name.startswith(f"{BANDIT}:"):
        inner = make_factory(name.partition(":")[2] or INNER, None)

        def bandit(problem: Problem) -> Optimizer:
            if budget is None:
                return CloudBandit(problem, inner, growth=growth)
            return CloudBandit.for_budget(problem, inner, budget, growth=growth)

        return bandit
    entry = BUILT_IN.get(name) or _plugins().get(name)
    if entry is not None:
        made = entry.load()
        options = entry.options | ({"budget": budget} if entry.budget else {})
        arguments = [make_factory(entry.inner)] if entry.inner else []

        def named(problem: Problem) -> Optimizer:
            if entry.objectives == "one" and len(problem.goal.metrics) > 1:
                several = [e.name for e in entries() if e.objectives == "several"]
                raise UsageError(
                    f"the optimizer {entry.name} aims at one objective, and the goal has "
                    f"{', '.join(problem.goal.metrics)}; cure: one that searches a front ({', '.join(several)}), "
                    "or one of the metrics with SLOs on the others"
                )
            return made(problem, *arguments, **options)

        return named
    if ".py:" in name:
        return _from_file(name)
    known = [*BUILT_IN, *_plugins(), f"{BANDIT}:<inner>"]
    raise UnknownNameError("optimizer", name, known, "Or write path.py:Class for one of your own.")


def is_file(name: str) -> bool:
    """Whether the name stands for code in a file (``path.py:Class``, or CloudBandit around it), not for what is installed."""
    while name.startswith(f"{BANDIT}:"):
        name = name.partition(":")[2]
    return ".py:" in name and name not in BUILT_IN and name not in _plugins()


def history_of(name: str) -> str:
    """What the optimizer must be told of other workloads; see `Entry.history`."""
    while name.startswith(f"{BANDIT}:"):
        name = name.partition(":")[2]
    entry = BUILT_IN.get(name)
    return entry.history if entry else ""


def objectives_of(name: str) -> Literal["one", "several"]:
    """Whether the optimizer searches a front; see `Entry.objectives`. CloudBandit does where its inner optimizer does; one from a
    file is taken to, and may refuse."""
    while name.startswith(f"{BANDIT}:"):
        name = name.partition(":")[2]
    entry = BUILT_IN.get(name)
    return entry.objectives if entry else "several"


def all_names() -> list[str]:
    """Every built-in method by name, CloudBandit around each of the searching ones."""
    searching = ["random-wor", "coordinate", "gp", "gp-ard", "joint", "rbf", "skopt", "smac", "optuna", "hyperopt"]
    return [*BUILT_IN, "cloudbandit:random", *(f"{BANDIT}:{name}" for name in searching)]


def _from_file(name: str) -> Factory:
    text, _, attribute = name.rpartition(":")
    path = Path(text).expanduser().resolve()
    if not path.is_file():
        raise UsageError(f"the optimizer {name!r} names the file {path}, which does not exist")
    label = f"cloudbandit_user_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    module = sys.modules.get(label)
    if module is None:
        spec = importlib.util.spec_from_file_location(label, path)
        if spec is None or spec.loader is None:
            raise UsageError(f"{path} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[label] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[label]
            raise
    made: Factory | None = getattr(module, attribute, None)
    if not callable(made):
        public = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise UnknownNameError(f"class in {path.name}", attribute, public)
    return made
