"""Persist the completed runs of an agent orchestrator: snapshots and manifests, in pairs, in parallel."""

__version__ = "0.1.0"
