"""The pair: snapshot and manifest, started together and both awaited."""
