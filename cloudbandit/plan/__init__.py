"""Fleets over time: how many of which machines serve which workload, where, hour by hour (the question is SageServe's)."""
