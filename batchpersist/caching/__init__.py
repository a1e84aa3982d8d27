"""What is known of files that have not changed since the last batch: ``sources`` that were scanned, and
``outputs`` that hold their runs; the ``store`` keeps both in one file. A cache and no more."""
