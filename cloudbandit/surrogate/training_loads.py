"""An engine of another year beside those of today: TGIS of 2023, from LLM-Pilot's load tests.

What is common to all engines stays as today's points taught it; TGIS gets ratios of its own, and errors of its own, those of LLMs
left out, because it served other models on other GPUs than any of today's points."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from cloudbandit.surrogate.constants import Constants, fit_engine
from cloudbandit.surrogate.deployment import Deployment
from cloudbandit.surrogate.formula import Columns, Floats
from cloudbandit.surrogate.loads import llm_pilot
from cloudbandit.surrogate.points_known import llm_pilot_points
from cloudbandit.surrogate.serving import Serving, columns_of

ENGINE = "tgis"
_MOST = 2.0
"""Of an error's logarithm, so that no odd row decides on a variance."""


def tgis_points() -> tuple[Columns, Floats, np.ndarray[Any, Any]]:
    """Columns, (N, 2) log TPOT and TTFT in ms, and (N,) LLMs of LLM-Pilot's load tests. Their first tokens exclude the wait for
    acceptance, 9 ms in the median."""
    specs = {m.name: m for m in llm_pilot().models.values()}
    points = llm_pilot_points()
    rows = [
        (Deployment(specs[p.model], p.gpu, p.gpus, p.engine, p.precision, p.input_tokens, p.output_tokens), p.users)
        for p in points
    ]
    names = ("tpot_p50_ms", "ttft_excl_accept_p50_ms")
    times = np.log(np.array([[p.metrics.get(m, np.nan) for m in names] for p in points], float))
    return columns_of(rows), times, np.array([p.model for p in points])


def errors_of_llms_left_out(constants: Constants) -> Floats:
    """(N, 2): log measured − log predicted of every load test, ratios learnt without its LLM."""
    c, times, llms = tgis_points()
    out = np.full_like(times, np.nan)
    for llm in np.unique(llms):
        held = llms == llm
        learnt = fit_engine(constants, ENGINE, c[~held], times[~held], list(llms[~held]))
        out[held] = times[held] - np.column_stack(learnt.log_times_ms(c[held]))
    return out


def with_tgis(serving: Serving) -> Serving:
    """The same, with TGIS among the engines: those that were measured answer as before; one that nobody measured may be as unlike
    them as TGIS is, so what leaving it out shows counts among what leaving the others out shows."""
    c, times, llms = tgis_points()
    own = _squares(errors_of_llms_left_out(serving.constants), llms)
    as_new = times - np.column_stack(serving.constants.log_times_ms(replace(c, engine=np.full(len(c), -1))))
    more = np.maximum(0.0, _squares(as_new, llms) - serving.errors.variance)
    others, added = len(serving.seen["engines"]), serving.errors.added
    added = {**added, "engine": (others * added["engine"] + more) / (others + 1)}
    return replace(
        serving,
        constants=fit_engine(serving.constants, ENGINE, c, times, list(llms)),
        errors=replace(serving.errors, own={**serving.errors.own, ENGINE: own}, added=added),
        seen={**serving.seen, "engines": serving.seen["engines"] | {ENGINE}},
    )


def _squares(errors: Floats, llms: np.ndarray[Any, Any]) -> Floats:
    """(2,): mean squares, every LLM alike."""
    each = [np.nanmean(np.clip(errors[llms == llm], -_MOST, _MOST) ** 2, axis=0) for llm in np.unique(llms)]
    return np.asarray(np.mean(each, axis=0))
