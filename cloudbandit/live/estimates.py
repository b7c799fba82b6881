"""What the serving formula claims beforehand of a live study's candidates: times and throughput of their engines.

A claim, not a measurement: an optimizer believes it as far as its own trials bear it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np

from cloudbandit.catalogue.gpus import GPU, find_gpu
from cloudbandit.catalogue.models import ModelSpec
from cloudbandit.core.errors import DataError, UnknownNameError, UsageError
from cloudbandit.core.known import Estimate
from cloudbandit.core.trial import Candidate
from cloudbandit.live.objective import LiveObjective
from cloudbandit.loadgen.workloads import Closed, Lengths
from cloudbandit.surrogate.deployment import Deployment
from cloudbandit.surrogate.serving import bundled_serving

SERVING = "serving"
_DRAWN = 1_000
_BATCH = "max_num_seqs"


def serving(objective: LiveObjective) -> Estimate:
    """The formula's medians for a candidate's engine under the study's last load; nothing where the offer's GPU has no datasheet,
    or the model does not fit.

    Raises:
        UsageError: the load is no number of users, or there is no config of the model to read.
    """
    benchmark = objective.benchmark
    load = benchmark.loads[-1]
    if not isinstance(load, Closed):
        raise UsageError('study.estimates = ["serving"] estimates a number of users; cure: load.users, or no estimates')
    try:
        spec = ModelSpec.load(benchmark.model)
    except DataError as error:
        raise UsageError(
            f'study.estimates = ["serving"] reads the model\'s config.json ({error}); cure: a folder that holds it, or no '
            "estimates"
        ) from error
    inputs, outputs = _mean_tokens(benchmark.workload.lengths)

    @cache
    def times(gpu: GPU, gpus: int, running: int) -> Mapping[str, float]:
        asked = Deployment(spec, gpu, gpus, objective.engine.name, spec.precision, inputs, outputs)
        try:
            (rows,) = bundled_serving().predict([(asked, float(running))])
        except (UsageError, DataError):  # it cannot serve there: nothing is believed, the trial will tell
            return {}
        return {metric: estimate.median for metric, estimate in rows.items()}

    def estimate(candidate: Candidate) -> Mapping[str, float]:
        offer, config = objective.offer(candidate), candidate.config
        gpus = objective.engine.accelerators(config)
        try:
            gpu = find_gpu(offer.accelerator) if offer.accelerator and gpus else None
        except UnknownNameError:
            gpu = None
        if gpu is None:
            return {}
        batch = config.get(_BATCH, load.users)
        known = dict(times(gpu, gpus, min(load.users, int(batch))))
        tokens = known.get("output_tok_per_s", 0.0)
        if tokens > 0:
            known["usd_per_million_output_tokens"] = offer.usd_per_h / (tokens * 3600) * 1e6
        return known

    return estimate


def _mean_tokens(lengths: Lengths) -> tuple[float, float]:
    inputs, outputs = lengths.draw(_DRAWN, np.random.default_rng(0))
    return float(np.mean(inputs)), float(np.mean(outputs))
