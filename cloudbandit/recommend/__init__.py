"""The cheapest SLO-meeting hardware for an LLM, measured before or not.

`recommend` answers one question; an `Advisor` answers it again after each measurement. Reading order: `models`, `hardware`,
`loads` (what is known), `physics`, `means`, `residuals`, `surrogate` (what is believed), `decision`, `advisor`, `recommender`
(what is recommended), `fleet` (the same as a study), `evaluation`, `nested`, `published`, `baselines` (how good it is).
"""

from cloudbandit.recommend.advisor import Advisor, Measurement
from cloudbandit.recommend.answer import Answer, Recommendation
from cloudbandit.recommend.hardware import (
    GPU,
    Profile,
    ServingOffer,
    catalogue_offers,
    find_gpu,
    load_gpus,
    paper_offers,
)
from cloudbandit.recommend.loads import LoadTest, LoadTests, Workload, llm_pilot, read_measurements
from cloudbandit.recommend.models import ModelSpec
from cloudbandit.recommend.recommender import Recommender, recommend

__all__ = [
    "GPU",
    "Advisor",
    "Answer",
    "LoadTest",
    "LoadTests",
    "Measurement",
    "ModelSpec",
    "Profile",
    "Recommendation",
    "Recommender",
    "ServingOffer",
    "Workload",
    "catalogue_offers",
    "find_gpu",
    "llm_pilot",
    "load_gpus",
    "paper_offers",
    "read_measurements",
    "recommend",
]
