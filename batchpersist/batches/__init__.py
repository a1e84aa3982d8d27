"""A batch as its folder knows it: begun, journaled, continued, ended."""
