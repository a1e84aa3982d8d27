"""A task's history: read, merged, written beside and committed under the lock."""
