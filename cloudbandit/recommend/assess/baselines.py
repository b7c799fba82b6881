"""Other methods of the field, written again behind the same interface: RF, PARIS and Selecta.

Each predicts the curves of a held-out LLM, as one sample, so that the same decision and the same scores apply. Hyperparameters
are chosen by leaving out, in turn, each of the other LLMs, by mean absolute percentage error, as LLM-Pilot does for all methods.
They differ from its artifact in the features (a model's and a GPU's specification here), in smaller grids, and Selecta in
factorising log latency by alternating least squares.

Sources, as LLM-Pilot's artifact has them: PARIS (Yadwadkar et al., SoCC 2017), Selecta (Klimovic et al., ATC 2018).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cloudbandit.core.errors import UnknownNameError, need
from cloudbandit.recommend.assess.evaluation import ITL, NTTFT, Truth
from cloudbandit.recommend.assess.published import REFERENCES
from cloudbandit.surrogate.loads import LOADS, LoadTest, LoadTests

Floats = npt.NDArray[np.float64]

TARGETS = (NTTFT, ITL)
_FINGERPRINT = (NTTFT, ITL, "output_tok_per_s")
_FOREST_GRID = tuple(itertools.product((100,), (8, 15), (True, False)))  # trees, depth, bootstrap
_FACTOR_GRID = tuple(itertools.product((2, 5), (0.1, 1.0)))  # factors, regularisation
_MISSING = -1.0


def specification(test: LoadTest, tests: LoadTests) -> list[float]:
    """What is known of a load test before it is run: the model's and the GPU's plain figures, and the users."""
    m, p = tests.models[test.model], test.profile
    g = p.gpu
    return [
        float(test.users),
        m.parameters,
        m.layers,
        m.encoder_layers,
        m.d_model,
        m.heads,
        m.kv_heads,
        m.head_dim,
        m.vocab,
        float(m.flash),
        p.gpus,
        p.memory_gib,
        g.memory_gib,
        g.bandwidth_gb_per_s,
        g.fp16_dense_tflops,
        g.link_gb_per_s,
        g.compute_capability,
    ]


def _references(tests: LoadTests, model: str) -> list[LoadTest]:
    from cloudbandit.catalogue.offers import paper_offers

    keys = {o.profile.key for o in paper_offers() if o.name in REFERENCES}
    return [t for t in tests.of(model) if t.profile.key in keys]


def _fingerprint(tests: LoadTests, model: str) -> list[float]:
    """The curves on the two reference profiles; −1 where the LLM does not fit."""
    from cloudbandit.catalogue.offers import paper_offers

    by = {(t.profile.key, t.users): t for t in _references(tests, model)}
    keys = [o.profile.key for o in paper_offers() if o.name in REFERENCES]
    return [
        by[key, u].metrics.get(m, _MISSING) if (key, u) in by else _MISSING
        for key in keys
        for m in _FINGERPRINT
        for u in LOADS
    ]


def _mape(predicted: Floats, real: Floats) -> float:
    return float((np.abs(predicted - real) / np.abs(real)).mean())


def _targets(rows: Iterable[LoadTest]) -> Floats:
    return np.array([[t.metrics[m] for m in TARGETS] for t in rows])


class _Forest:
    """A random forest on raw milliseconds; with ``fingerprints`` it is PARIS."""

    def __init__(self, tests: LoadTests, fingerprints: bool, seed: int = 0) -> None:
        self.tests, self.seed = tests, seed
        marks = {m: _fingerprint(tests, m) if fingerprints else [] for m in tests.names}
        self.x = {id(t): [*specification(t, tests), *marks[t.model]] for t in tests.tests}

    def predict(self, train: Sequence[LoadTest], rows: Sequence[LoadTest], params: tuple[Any, ...]) -> Floats:
        ensemble = need("sklearn.ensemble", "recommend", "the random forest baseline")
        trees, depth, bootstrap = params
        model = ensemble.RandomForestRegressor(
            trees, max_depth=depth, bootstrap=bootstrap, random_state=self.seed, n_jobs=1
        )
        model.fit(np.array([self.x[id(t)] for t in train]), _targets(train))
        return np.asarray(model.predict(np.array([self.x[id(t)] for t in rows])), float)


class _Factors:
    """Selecta: per metric and number of users, the matrix LLM × profile completed by biased matrix factorisation of log latency;
    the held-out LLM's reference profiles are in the matrix."""

    def __init__(self, tests: LoadTests, seed: int = 0) -> None:
        self.tests, self.seed = tests, seed
        self.models = tests.names
        self.profiles = sorted({t.profile.key for t in tests.tests})

    def predict(self, train: Sequence[LoadTest], rows: Sequence[LoadTest], params: tuple[Any, ...]) -> Floats:
        factors, penalty = params
        out = np.empty((len(rows), len(TARGETS)))
        for users in sorted({t.users for t in rows}):
            here = [t for t in train if t.users == users]
            for k, metric in enumerate(TARGETS):
                table = np.full((len(self.models), len(self.profiles)), np.nan)
                for t in here:
                    table[self.models.index(t.model), self.profiles.index(t.profile.key)] = np.log(t.metrics[metric])
                filled = complete(table, factors, penalty, self.seed)
                for i, t in enumerate(rows):
                    if t.users == users:
                        place = self.models.index(t.model), self.profiles.index(t.profile.key)
                        out[i, k] = np.exp(filled[place])
        return out


def complete(table: Floats, factors: int, penalty: float, seed: int = 0, steps: int = 20) -> Floats:
    """Fill in a matrix with missing cells (NaN): mean + row bias + column bias + factors, each penalised, by alternating least
    squares."""
    known = np.isfinite(table)
    mean = float(table[known].mean())
    rest = np.where(known, table - mean, 0.0)
    rng = np.random.default_rng(seed)
    rows, columns = table.shape
    # A row's last but one entry meets a constant 1 (its bias), and its last is a constant 1 (the column's bias).
    left = np.column_stack([rng.normal(0, 0.1, (rows, factors)), np.zeros(rows), np.ones(rows)])
    right = np.column_stack([rng.normal(0, 0.1, (columns, factors)), np.ones(columns), np.zeros(columns)])
    for _ in range(steps):
        for mine, other, mask, target, free in (
            (left, right, known, rest, [*range(factors), factors]),
            (right, left, known.T, rest.T, [*range(factors), factors + 1]),
        ):
            fixed = factors + 1 if free[-1] == factors else factors
            for i in range(len(mine)):
                seen = other[mask[i]]
                y = target[i][mask[i]] - seen[:, fixed] * mine[i, fixed]
                a = seen[:, free]
                mine[i, free] = np.linalg.solve(a.T @ a + penalty * np.eye(len(free)), a.T @ y)
    out: Floats = mean + left @ right.T
    return out


BASELINES = ("RF", "PARIS", "Selecta")


def predictions(method: str, tests: LoadTests, truth: Sequence[Truth]) -> dict[str, dict[str, Floats]]:
    """Per held-out LLM: metric → (1, profiles, loads), for `evaluation.from_samples`.

    Raises:
        UnknownNameError: not one of `BASELINES`.
        MissingExtraError: scikit-learn is not installed.
    """
    if method not in BASELINES:
        raise UnknownNameError("baseline", method, BASELINES)
    model = _Factors(tests) if method == "Selecta" else _Forest(tests, method == "PARIS")
    grid: Sequence[tuple[Any, ...]] = _FACTOR_GRID if method == "Selecta" else _FOREST_GRID
    two_shot = method != "RF"
    out = {}
    for t in truth:
        others = [m for m in tests.names if m != t.model]
        params = min(grid, key=lambda p: (_inner_error(model, tests, others, method, p), grid.index(p)))
        rows = tests.of(t.model)
        known = _references(tests, t.model) if two_shot else []
        train = [r for r in tests.tests if r.model != t.model] + (known if method == "Selecta" else [])
        out[t.model] = _curves(t, rows, model.predict(train, rows, params), known)
    return out


def _inner_error(
    model: _Forest | _Factors, tests: LoadTests, models: Sequence[str], method: str, params: tuple[Any, ...]
) -> float:
    errors = []
    for held in models:
        rows = tests.of(held)
        train = [r for r in tests.tests if r.model in models and r.model != held]
        train += _references(tests, held) if method == "Selecta" else []
        errors.append(_mape(model.predict(train, rows, params), _targets(rows)))
    return float(np.mean(errors))


def _curves(truth: Truth, rows: Sequence[LoadTest], predicted: Floats, known: Sequence[LoadTest]) -> dict[str, Floats]:
    index = {o.profile.key: i for i, o in enumerate(truth.offers)}
    values = {m: np.full((1, len(truth.offers), len(LOADS)), np.nan) for m in TARGETS}
    measured: Mapping[tuple[tuple[str, int], int], LoadTest] = {(t.profile.key, t.users): t for t in known}
    for i, t in enumerate(rows):
        for k, m in enumerate(TARGETS):
            reference = measured.get((t.profile.key, t.users))
            value = reference.metrics[m] if reference else predicted[i, k]
            values[m][0, index[t.profile.key], LOADS.index(t.users)] = value
    return values
