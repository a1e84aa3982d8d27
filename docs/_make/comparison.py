"""batchpersist/compare.schema.json: the JSON Schema of compare.json, from its declaration."""

from __future__ import annotations

import json

from batchpersist.compare import document


def schema() -> str:
    return json.dumps(document.schema(), indent=2, ensure_ascii=False) + "\n"
