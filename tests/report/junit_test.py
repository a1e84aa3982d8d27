"""JUnit XML: what CI systems count, and that it is XML whatever stands in it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.outcomes import Row
from support.reports import HOSTILE, document_of, failing_rows, leave_batch

from batchpersist.foreign_text import printable
from batchpersist.models import Failure, Reject
from batchpersist.report.document import BatchDocument, FailedRun, SideFailure, Verdict
from batchpersist.report.junit import render_junit

ATTRIBUTES = {
    "testsuites": {"name", "tests", "failures", "errors", "skipped", "time"},
    "testsuite": {"name", "tests", "failures", "errors", "skipped", "time", "timestamp", "hostname"},
    "properties": set(),
    "property": {"name", "value"},
    "testcase": {"classname", "name", "time"},
    "failure": {"type", "message"},
    "skipped": {"message"},
}
"""What the schemas of Jenkins, GitLab and the like have in common."""


def parsed(document: BatchDocument) -> Element:
    root = ElementTree.fromstring(render_junit(document).encode())
    for element in root.iter():
        assert set(element.attrib) <= ATTRIBUTES[element.tag]
    for counted in [root, *root.iter("testsuite")]:
        cases = list(counted.iter("testcase"))
        assert int(counted.attrib["tests"]) == len(cases)
        assert int(counted.attrib["failures"]) == len(
            [case for case in cases if case.find("failure") is not None]
        )
    return root


def test_failed_runs_are_cases_of_their_tasks_and_invalid_lines_have_a_suite(tmp_path: Path) -> None:
    rejects = [Reject("a.jsonl", 7, Failure("InvalidRunError", "not JSON", "byte 3"))]
    leave_batch(tmp_path, failing_rows(["x", "y"]), rejects=rejects, exit_code=3)
    root = parsed(document_of(tmp_path))
    cases = [(case.get("classname"), case.get("name")) for case in root.iter("testcase")]
    assert cases[1:] == [("x", "x"), ("y", "y"), ("invalid input", "a.jsonl:7")]
    failure = root.findall("testsuite")[3].find("testcase/failure")
    assert failure is not None
    assert failure.attrib == {"type": "InvalidRunError", "message": "not JSON"}
    assert failure.text == "input: not JSON: byte 3\na.jsonl:7"
    assert root.attrib["tests"] == root.attrib["failures"] == "4"


def test_successful_batch_is_one_passing_case(tmp_path: Path) -> None:
    leave_batch(tmp_path, [Row("a", "1")])
    root = parsed(document_of(tmp_path))
    assert (root.get("tests"), root.get("failures"), root.get("time")) == ("1", "0", "4.500")
    figures = {item.get("name"): item.get("value") for item in root.iter("property")}
    assert figures["persisted"] == "1"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_read_back_as_text(tmp_path: Path, text: str) -> None:
    leave_batch(tmp_path, failing_rows([text]))
    case = list(parsed(document_of(tmp_path)).iter("testcase"))[1]
    assert case.get("name") == printable(text)


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_xml_is_well_formed_for_any_text(text: str) -> None:
    failed = FailedRun(text, text, text, 1, [SideFailure("manifest", text, text, text)])
    document = BatchDocument(
        batch_id=text,
        state="finished",
        verdict=Verdict("bad", text),
        host=text,
        failed_runs=[failed],
        notes=[text],
    )
    root = parsed(document)
    assert [case.get("name") for case in root.iter("testcase")] == [
        printable(text or "batch"),
        printable(text),
    ]
