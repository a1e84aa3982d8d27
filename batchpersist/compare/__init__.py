"""Comparing ways to persist the same runs: how long each takes, and whether they write the same files."""
