"""The site, built by Sphinx from the Markdown that also reads well in the repository: ``tox -e docs``.

The source folder is the repository's root, so that links between README, docs/ and other pages are the same
here and there. Nothing is fetched, neither when it is built nor when it is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import batchpersist

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "batchpersist"
author = copyright = "the batchpersist maintainers"
version = release = batchpersist.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/*.md",
    "docs/**/*.md",
    "benchmarks/*.md",
]
exclude_patterns = [".*", "batchpersist", "build", "dist", "fixtures", "tests"]
root_doc = "README"
smartquotes = False  # `--option` keeps its two dashes

myst_heading_anchors = 4
autodoc_typehints = "signature"
# A field may have the name of a built-in type (``Metrics.bytes``): Sphinx cannot tell which one is meant.
suppress_warnings = ["ref.python"]
autodoc_member_order = "bysource"

html_theme = "furo"
html_title = f"batchpersist {release}"
html_additional_pages = {"index": "index.html"}
html_static_path = ["_static"]
html_css_files = ["site.css"]
templates_path = ["_templates"]
html_copy_source = False

CONTENTS = {
    "Begin": ["docs/tutorial"],
    "How to": [
        "docs/howto/backfill",
        "docs/nightly",
        "docs/troubleshooting",
        "docs/compare",
        "docs/audit",
        "docs/scaling",
        "docs/locks",
        "docs/configuration",
        "docs/library",
    ],
    "Reference": [
        "docs/reference/commands",
        "docs/reference/api",
        "docs/reference/metrics",
        "docs/metrics",
        "docs/report",
        "docs/sources",
        "docs/batches",
        "docs/formats",
        "docs/glossary",
    ],
    "Explanation": [
        "docs/architecture",
        "docs/reliability",
        "docs/performance",
        "docs/decisions/README",
        "docs/decisions/0*",
    ],
    "Project": ["CONTRIBUTING", "CHANGELOG", "benchmarks/README"],
}


def add_contents(_app: Sphinx, name: str, text: list[str]) -> None:
    """The table of contents belongs to the site: in the repository the README has its own."""
    if name == root_doc:
        trees = (
            "\n".join(["```{toctree}", ":hidden:", ":glob:", f":caption: {caption}", "", *pages, "```"])
            for caption, pages in CONTENTS.items()
        )
        text[0] += "\n" + "\n\n".join(trees)


def setup(app: Sphinx) -> None:
    app.connect("source-read", add_contents)
