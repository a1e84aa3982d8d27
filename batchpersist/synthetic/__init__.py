"""Made-up completed runs, to try and measure with."""
