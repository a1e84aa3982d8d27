"""The command line: the only place that prints, exits, or imports click and tqdm."""
