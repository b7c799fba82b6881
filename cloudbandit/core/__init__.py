"""The core, in reading order: errors, trial, space, goal, protocols, base, bandit, budget, store, pools, study."""
