"""Points of what is measured already: the bundled ones, load tests, and live studies."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache

from cloudbandit.catalogue.gpus import Profile
from cloudbandit.core.bundled import bundled
from cloudbandit.core.curve import USERS
from cloudbandit.core.errors import DataError
from cloudbandit.core.fleet import SERVING
from cloudbandit.core.store import Store
from cloudbandit.core.trial import Candidate, Status
from cloudbandit.surrogate.loads import LoadTest, LoadTests, RequestLengths, llm_pilot
from cloudbandit.surrogate.points import Point, Points, users_by_littles_law
from cloudbandit.surrogate.points_file import read_points


@lru_cache(maxsize=1)
def silicon_points() -> Points:
    """What others measured on Hopper and Blackwell in 2025 and 2026 (data/silicon-points; Apache-2.0)."""
    return read_points(bundled() / "silicon-points" / "points.csv.xz")


def llm_pilot_points(tests: LoadTests | None = None) -> Points:
    """LLM-Pilot's load tests (TGIS, FP16, 2023), by default all of them. Their TTFT excludes the wait for acceptance, and their
    lengths vary from request to request: the point has the means."""
    known = llm_pilot() if tests is None else tests
    return points_of_loads(
        known.tests, known.workload, engine="tgis", precision="fp16", source="LLM-Pilot", date="2023"
    )


def points_of_loads(
    tests: Iterable[LoadTest],
    workload: RequestLengths,
    *,
    engine: str,
    precision: str,
    source: str = "",
    date: str = "",
    engine_version: str = "",
) -> Points:
    """Points of load tests, e.g. of `cloudbandit.surrogate.loads.read_measurements`: one each."""
    return Points(
        tuple(
            Point(
                t.model,
                t.profile,
                engine,
                precision,
                workload.input_mean,
                workload.output_mean,
                float(t.users),
                t.metrics,
                source,
                date,
                engine_version,
            )
            for t in tests
        )
    )


def points_of_study(
    store: Store,
    study: str,
    *,
    model: str,
    profile: Profile | Callable[[Candidate], Profile],
    engine: str,
    precision: str,
    workload: RequestLengths,
    only: Callable[[Candidate], bool] = lambda _: True,
    source: str | None = None,
    date: str = "",
    engine_version: str = "",
) -> Points:
    """Points of a live study: one per finished trial and load, metrics of `SERVING` alone.

    Under an open loop the users are those in flight, by Little's law. Loads of a trial that was cut short count as well; of one
    that failed none does.

    Args:
        profile: the GPUs of one engine; of a candidate, where they are tuned too.
        workload: lengths of the requests that were sent.
        only: which candidates, e.g. those with the engine's defaults: points know no knobs.
        source: by default the study's name.

    Raises:
        UnknownNameError: the store has no such study.
        DataError: none of its trials has a row per load.
    """
    points = []
    for stored in store.trials(study):
        candidate, result = stored.trial.candidate, stored.result
        if result.status not in (Status.OK, Status.STOPPED) or not only(candidate):
            continue
        for row in result.rows:
            metrics = {m: float(v) for m, v in row.items() if m in SERVING}
            users = row.get(USERS) or users_by_littles_law(
                metrics.get("requests_per_s", 0.0), metrics, workload.output_mean
            )
            if users and metrics:
                points.append(
                    Point(
                        model,
                        profile if isinstance(profile, Profile) else profile(candidate),
                        engine,
                        precision,
                        workload.input_mean,
                        workload.output_mean,
                        float(users),
                        metrics,
                        study if source is None else source,
                        date,
                        engine_version,
                    )
                )
    if not points:
        raise DataError(
            f"no trial of the study {study!r} in {store.url} gives a point: each needs a row per load with metrics, and users or "
            "requests_per_s. Cure: measure under loads (a live study does), or choose other candidates"
        )
    return Points(tuple(points))
