"""From outcomes to counts, timings and metrics.json."""
