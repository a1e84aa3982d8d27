"""A report as one self-contained HTML file (docs/report.md).

Jinja2 escapes whatever a template shows, after ``printable`` has taken the controls from it. The page's
only script is ours, named by its hash in the content security policy: no other one would run.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import TYPE_CHECKING, Any

from .. import __version__, wording
from ..compare.document import PHASES, Comparison
from ..errors import require
from ..foreign_text import printable
from . import terminal
from .document import BatchDocument
from .outcome_text import work_done

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = resources.files(__package__) / "templates"


def render_batch_page(document: BatchDocument) -> str:
    """Raises UsageError where the extra is not installed."""
    require("report", "jinja2", "matplotlib")
    from . import charts

    pictures = {
        "throughput": document.throughput and charts.draw_throughput(document.throughput),
        "latency": document.latency and charts.draw_latency(document.latency),
        "workers": document.workers and charts.draw_workers(document.workers),
    }
    return _render_page("batch.html", document=document, pictures=pictures)


def render_comparison_page(comparison: Comparison) -> str:
    """Raises UsageError where the extra is not installed."""
    require("report", "jinja2", "matplotlib")
    from . import charts

    drawn = [
        {
            "speedup": charts.draw_speedups(answer.question, answer.variants),
            "scaling": charts.draw_scaling(answer.question, answer.variants),
            "phases": charts.draw_phases(answer.question, answer.variants),
        }
        for answer in comparison.questions
    ]
    words = {
        "questions": terminal.QUESTIONS,
        "recommended": terminal.recommendation(comparison),
    }
    return _render_page("comparison.html", comparison=comparison, drawn=drawn, **words)


def _render_page(template: str, **content: Any) -> str:
    script, style = (_read_template(name) for name in ("page.js", "page.css"))
    policy = f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
    page = _environment().get_template(template)
    return page.render(script=script, style=style, policy=policy, generator=__version__, **content)


def _read_template(name: str) -> str:
    return (_TEMPLATES / name).read_text("utf-8")


def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    environment = Environment(
        autoescape=True,
        finalize=shown,
        loader=FunctionLoader(lambda name: _read_template(f"{name}.j2")),
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "count": wording.count,
        "duration": wording.duration,
        "interval": terminal.interval,
        "moment": wording.moment,
        "size": wording.size,
    }
    environment.globals |= {
        "work_done": work_done,
        "phases": PHASES,
        "share": wording.share,
        "percent": _percent,
        "words": _words,
    }
    return environment


def _percent(part: float, whole: float) -> str:
    """The width of a bar in CSS."""
    return f"{100 * part / whole if whole else 0:.2f}%"


def _words(value: Any) -> str:
    """A value of the configuration in words."""
    if isinstance(value, list):
        return " ".join(map(_words, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
