"""Comparing optimizers: regret, savings, statistics, plots. Imported by the CLI and the benchmarks only."""
