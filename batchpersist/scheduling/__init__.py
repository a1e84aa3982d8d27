"""Who settles what, where, and what happens when a worker dies."""
