"""From sources to an index: one row a run, no payloads."""
