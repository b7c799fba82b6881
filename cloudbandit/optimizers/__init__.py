"""Optimizers: one method a file; `registry` knows them by name."""

BANDIT = "cloudbandit"
INNER = "gp-ard"
"""What ``cloudbandit`` alone has inside."""
DEFAULT = "joint"
"""The default optimizer, of everything."""
