"""Load curves of what was not measured: physics, what it misses, how wrong it is.

Reading order: `loads` (what is known), `physics`, `means`, `residuals`, `model` (what is believed).
"""
