"""Optimizers, one method a file. Names resolve in :mod:`cloudbandit.optimizers.registry`."""
