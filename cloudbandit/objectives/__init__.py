"""Objectives: what turns a trial into a result."""
