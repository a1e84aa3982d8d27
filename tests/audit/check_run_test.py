"""The check of one run: its status, its findings, and the first difference in the log."""

from __future__ import annotations

import logging

import pytest
from support.audits import audit
from support.drift import Tree, make_run

from batchpersist.audit import RunStatus
from batchpersist.audit.check_run import UNREADABLE, RunTexts, compare_texts
from batchpersist.contract.json_text import encode
from batchpersist.paths import Layout

RUN = encode(make_run("mail", 1))
LONGER = encode(make_run("mail", 1, more=1))
OTHER = encode(make_run("mail", 1, notes="other"))


@pytest.mark.parametrize(
    ("texts", "status", "kinds"),
    [
        (RunTexts(None, None, RUN, RUN), "=", []),
        (RunTexts(RUN, RUN, RUN, RUN), "=", []),
        (RunTexts(None, None, RUN, LONGER), "~", ["enriched"]),
        (RunTexts(RUN, None, None, None), "+", ["not-persisted"]),
        (RunTexts(None, RUN, None, None), "-", ["missing-in-snapshot", "missing-manifest"]),
        (RunTexts(None, None, RUN, None), "-", ["missing-manifest"]),
        (RunTexts(None, None, None, RUN), "-", ["missing-in-snapshot"]),
        (RunTexts(None, None, OTHER, LONGER), "*", ["content-differs"]),
        (RunTexts(OTHER, None, RUN, None), "*", ["content-differs", "missing-manifest"]),
        (RunTexts(None, None, RUN, UNREADABLE), "!", []),
        (RunTexts(OTHER, None, RUN, UNREADABLE), "!", ["content-differs"]),
        (RunTexts(None, None, UNREADABLE, UNREADABLE), "!", []),
    ],
)
def test_the_status_follows_from_the_texts(texts: RunTexts, status: str, kinds: list[str]) -> None:
    found = compare_texts(texts, "mail", "mail-1", Layout("out", "runs"))
    assert (found[0], [finding.kind.value for finding in found[1]]) == (RunStatus(status), kinds)


@pytest.mark.parametrize(
    ("texts", "detail"),
    [
        (RunTexts(OTHER, None, RUN, RUN), "source differs from snapshot and manifest"),
        (RunTexts(RUN, RUN, RUN, OTHER), "manifest differs from source, summary and snapshot"),
        (RunTexts(None, None, RUN, OTHER), "snapshot and manifest differ"),
        (RunTexts(LONGER, None, RUN, OTHER), "source, snapshot and manifest all differ"),
        (RunTexts(None, LONGER, RUN, RUN), "more members in summary than in snapshot and manifest"),
    ],
)
def test_the_detail_names_the_sides(texts: RunTexts, detail: str) -> None:
    (finding,) = compare_texts(texts, "mail", "mail-1", Layout("out", "runs"))[1]
    assert finding.detail == detail


def test_a_run_that_no_side_has_is_nowhere() -> None:
    assert RunTexts(None, None, UNREADABLE, None).is_nowhere
    assert not RunTexts(None, None, None, UNREADABLE).is_nowhere


def test_the_log_shows_the_first_difference(tree: Tree, caplog: pytest.LogCaptureFixture) -> None:
    snapshot = tree.read("mail")
    snapshot["runs"][1]["notes"] = "changed"
    tree.write("mail", snapshot)
    with caplog.at_level(logging.DEBUG, "batchpersist.audit"):
        audit(tree)
    line = next(line for line in caplog.messages if line.startswith("mail/mail-1: the texts differ"))
    assert "from line 5 of the run on" in line
    assert '"notes": "changed"' in line
