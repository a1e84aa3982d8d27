"""What an operator does beside running batches: see how they are, try again, look at locks, check input."""
