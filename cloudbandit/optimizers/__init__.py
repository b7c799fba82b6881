"""Optimizers: one method a file; `registry` knows them by name."""

BANDIT = "cloudbandit"
INNER = "gp-ard"
DEFAULT = f"{BANDIT}:{INNER}"
"""The default optimizer, of everything: CloudBandit around `INNER`."""
