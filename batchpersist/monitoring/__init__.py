"""What a batch leaves for the monitoring (docs/report.md)."""
