"""Reports: a batch or a comparison, shown to people, programs, CI systems and monitoring (docs/report.md).

``inputs`` finds the files of a batch, ``build`` makes one document of them, ``formats`` renders that: every
format shows the same figures. ``outcome_text`` has the sentences with which a batch ends, and which its
report repeats.
"""

__all__ = [
    "formats",
    "inputs",
    "outcome_text",
    "terminal",
]
