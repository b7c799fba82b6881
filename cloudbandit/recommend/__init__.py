"""The cheapest SLO-meeting hardware for an LLM, measured before or not.

`recommend` answers one question; an `Advisor` answers it again after each measurement. Reading order: `decision`, `beliefs`,
`answer`, `ranking`, `advisor`, `recommender` (what is recommended), `study` (the same as a study); `assess/` says how good it is.
"""

from cloudbandit.catalogue.gpus import GPU, Profile, find_gpu, load_gpus
from cloudbandit.catalogue.models import ModelSpec
from cloudbandit.catalogue.offers import ServingOffer, catalogue_offers, paper_offers
from cloudbandit.recommend.advisor import Advisor, Measurement
from cloudbandit.recommend.answer import Answer, Recommendation
from cloudbandit.recommend.recommender import Recommender, recommend
from cloudbandit.surrogate.loads import LoadTest, LoadTests, RequestLengths, llm_pilot, read_measurements

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
    "RequestLengths",
    "catalogue_offers",
    "find_gpu",
    "llm_pilot",
    "load_gpus",
    "paper_offers",
    "read_measurements",
    "recommend",
]
