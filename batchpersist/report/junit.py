"""The report of a batch as JUnit XML, as CI systems read it.

The batch itself is a test case, which passes if the batch did what it was asked to; each run that failed
is one in its task's suite, each line that is not a run one in the suite ``invalid input``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from msgspec.structs import asdict

from ..foreign_text import printable
from ..models import place_of
from .document import BatchDocument, FailedRun

INVALID = "invalid input"


def render_junit(document: BatchDocument) -> str:
    """The report as XML: well-formed whatever ids and messages contain, since controls are escaped."""
    name = document.batch_id or "batch"
    root = Element("testsuites", name=printable(name))
    _batch_suite(root, document, name)
    for suite, runs in _by_suite(document.failed_runs).items():
        element = _suite(root, suite, document)
        for run in runs:
            _run_case(element, suite, run)
        _total(element)
    _total(root)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n"


def _batch_suite(root: Element, document: BatchDocument, name: str) -> None:
    suite = _suite(root, "batch", document)
    properties = SubElement(suite, "properties")
    for key, value in (asdict(document.counts) if document.counts else {}).items():
        SubElement(properties, "property", name=key, value=str(value))
    if document.failed_runs_omitted:
        SubElement(
            properties, "property", name="failed_runs_omitted", value=str(document.failed_runs_omitted)
        )
    seconds = document.timing.wall_seconds if document.timing else 0.0
    case = SubElement(
        suite, "testcase", classname="batchpersist", name=printable(name), time=f"{seconds:.3f}"
    )
    if document.verdict.level == "busy":
        SubElement(case, "skipped", message=printable(document.verdict.text))
    elif document.verdict.level != "good":
        _failure(case, document.state, document.verdict.text, [document.verdict.advice, *document.notes])
    _total(suite)


def _by_suite(runs: Iterable[FailedRun]) -> dict[str, list[FailedRun]]:
    suites: dict[str, list[FailedRun]] = {}
    for run in runs:
        suites.setdefault(INVALID if run.task_id is None else run.task_id, []).append(run)
    return suites


def _suite(root: Element, name: str, document: BatchDocument) -> Element:
    suite = SubElement(root, "testsuite", name=printable(name))
    if document.started_at:
        suite.set("timestamp", document.started_at[:19])
    if document.host:
        suite.set("hostname", printable(document.host))
    return suite


def _run_case(suite: Element, name: str, run: FailedRun) -> None:
    place = place_of(run.source, run.line)
    title = place if run.run_id is None else run.run_id
    case = SubElement(suite, "testcase", classname=printable(name), name=printable(title), time="0")
    details = [
        f"{each.stage}: {each.message}" + (f": {each.detail}" if each.detail else "") for each in run.failures
    ]
    first = run.failures[0]
    _failure(case, first.type, first.message, [*details, place])


def _failure(case: Element, kind: str, message: str, details: Sequence[str]) -> None:
    failure = SubElement(case, "failure", type=printable(kind), message=printable(message))
    failure.text = "\n".join(map(printable, details))


def _total(element: Element) -> None:
    """The counts that every reader wants to have as attributes."""
    cases = list(element.iter("testcase"))
    element.set("tests", str(len(cases)))
    for name, result in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(name, str(sum(case.find(result) is not None for case in cases)))
    element.set("time", f"{sum(float(case.get('time', 0)) for case in cases):.3f}")
