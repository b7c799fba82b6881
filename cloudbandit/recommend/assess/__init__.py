"""How good the recommender is: `evaluation`, `nested`, `published`, `baselines`."""
