"""Optimizers, one method a file. Names resolve in `cloudbandit.optimizers.registry`."""
