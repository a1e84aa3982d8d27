"""Reports: a batch or a comparison, shown to people, programs, CI systems and monitoring (docs/report.md).

``inputs`` finds what there is, ``build`` makes one document of it, ``formats`` shows it. Its
modules are its public names.
"""

__all__ = [
    "formats",
    "inputs",
    "outcome_text",
    "terminal",
]
