"""Recorded tables: one study (`task`), optimizers side by side (`compare`, `statistics`)."""
