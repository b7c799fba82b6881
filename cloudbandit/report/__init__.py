"""Figures. Only the command line and notebooks import it."""
