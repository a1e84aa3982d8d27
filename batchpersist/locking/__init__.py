"""The task lock that is shared with the orchestrator, and the batch's own."""
