"""A batch or a comparison, told to a person, a program, a CI system, or the monitoring."""
