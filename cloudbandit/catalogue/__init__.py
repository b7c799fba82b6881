"""What is known before any trial: GPUs by their datasheets, models by their config, offers, prices."""
