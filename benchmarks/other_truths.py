"""Parts of `truth.py` that are not about today's points: percentiles by their ratio to the median, and an engine of 2023."""

from dataclasses import replace

import numpy as np

from cloudbandit.surrogate.errors import METRICS
from cloudbandit.surrogate.ratios_known import ratio_points
from cloudbandit.surrogate.training_loads import errors_of_llms_left_out, tgis_points

RATIO_DRAWS, EPS = 320, 1e-9


def ratios():
    """Each percentile's coverage and error, models left out in turn, means over models; given the measured median."""
    points, out = ratio_points(), {}
    learnt = {g: points.learn(points.groups != g) for g in np.unique(points.groups)}
    for name, logs in points.logs.items():
        inside, errors, widths = [], [], []
        for group, known in learnt.items():
            rows = np.flatnonzero((points.groups == group) & np.isfinite(logs))
            if len(rows):
                pairs = [known.draws(name, points.users[i], np.ones(RATIO_DRAWS)) for i in rows]
                ends = np.array([np.quantile(drawn, [0.1, 0.9]) for _, drawn in pairs])
                true = np.exp(logs[rows])
                inside.append(np.mean((ends[:, 0] <= true * (1 + EPS)) & (true <= ends[:, 1] * (1 + EPS))))
                errors.append(np.mean([abs(m / t - 1) for (m, _), t in zip(pairs, true, strict=True)]))
                widths += list(ends[:, 1] / ends[:, 0])
        out[name] = {
            "models": len(errors),
            "error_percent": round(100 * float(np.mean(errors)), 1),
            "coverage_percent": round(100 * float(np.mean(inside)), 1),
            "median_high_over_low": round(float(np.median(widths)), 2),
        }
    return out


def another_year(serving):
    """TGIS of 2023, LLM-Pilot's LLMs left out in turn; ``as_a_new_engine``: of which nothing is learnt."""
    c, times, llms = tgis_points()
    names = np.unique(llms)
    errors = errors_of_llms_left_out(serving.constants)
    plain = times - np.column_stack(serving.constants.log_times_ms(replace(c, engine=np.full(len(c), -1))))
    pairs, out = serving.errors.pairs, {}
    for what, e in (("llm_left_out", errors), ("as_a_new_engine", plain)):
        squares = {m: np.nanmean(np.clip(e[llms == m], -2, 2) ** 2, axis=0) for m in names}
        out[what], finite = {}, np.isfinite(e)
        for k, name in enumerate(METRICS):
            inside, widths = np.zeros(len(e), bool), np.zeros(len(e))
            for llm in names:
                held = llms == llm
                own = np.mean([squares[m][k] for m in names if m != llm])
                wider = serving.errors.widened(("family", "gpu", "architecture", "engine"))[k]
                if what == "llm_left_out":
                    as_tgis = replace(serving.errors, own={"tgis": np.full(2, own)})
                    wider = as_tgis.widened(("family", "architecture"), "tgis")[k]
                low, high = np.quantile(pairs[:, k] * wider, [0.1, 0.9])
                inside[held] = (low <= e[held, k]) & (e[held, k] <= high)
                widths[held] = np.exp(high - low)
            known = finite[:, k]
            out[what][name] = {
                "n": int(known.sum()),
                "error_percent": round(float(100 * np.abs(np.expm1(-e[known, k])).mean()), 1),
                "median_ratio": round(float(np.exp(-np.median(e[known, k]))), 2),
                "coverage_percent": round(100 * float(inside[known].mean()), 1),
                "median_high_over_low": round(float(np.median(widths)), 2),
            }
    return out
