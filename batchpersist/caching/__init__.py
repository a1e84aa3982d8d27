"""What the last batch learnt of unchanged sources and outputs: a cache and no more."""
