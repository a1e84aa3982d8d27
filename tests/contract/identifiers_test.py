from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchpersist.contract.identifiers import JAVASCRIPT_WHITESPACE, check_run_id, check_task_id
from batchpersist.errors import InvalidRunError, UnsafeIdentifierError

CHECKS = (check_task_id, check_run_id)

SAFE = (
    "a",
    "task-1",
    "2024-01-01T00-00-00.000Z",
    "with space",
    "größe-任务-😀",
    "a.b.c",
    "-",
    "~",
    "_x",
    "%2e",
    "a..b",
    " leading space",
    "a\u2028b",
    "a\x80b",  # C1 controls are not in the contract's list
    "CONSOLE",
    "CON1",
    "COM",
    "COM0",
    "COM10",
    "COM\u2074",  # superscript four is no digit to Windows
    "LPT",
    "NULL",
    "nul-1",
    "x.CON",
    "CON\u0130N$",  # an I with a dot is not the letter I
    "CON\x85.x",  # white space to Python only
    "CON-.txt",
)

UNSAFE = {
    "is empty": ("",),
    "contains a control character": ("a\x00b", "a\nb", "\x1f", "a\x7f", "tail\n"),
    "contains a character that is not allowed in file names": (
        *(f"a{character}b" for character in '<>:"|?*/\\'),
        "/",
        "x/../y",
        "C:",
    ),
    "contains a lone surrogate": ("a\ud800", "\udfffb"),
    "begins with a dot": (".", "..", ".hidden", ".batchpersist", "...a"),
    "ends with a dot or a space": ("a.", "a ", "run-2024.", " ", "CON "),
    "is a Windows device name": (
        *("CON", "prn", "Aux", "NUL", "com1", "COM9", "LPT1", "lpt9", "CONIN$", "conout$"),
        *("COM\xb9", "com\xb2", "LPT\xb3"),
        "con\u0131n$",  # JavaScript's upper case of a dotless i is the letter I
        *("con\u00a0.txt", "lpt1\u3000", "aux\ufeff.x", "nul \u2003"),
        *("NUL.txt", "nul.tar.gz", "CON .txt", "CON   .x", "com1.a.b", "CONIN$.x"),
    ),
}


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("value", SAFE)
def test_safe(check, value):
    check(value)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("rule", "value"), [(rule, value) for rule, values in UNSAFE.items() for value in values]
)
def test_unsafe_names_the_rule(check, rule, value):
    for _ in range(2):  # a refusal is not forgotten by a cache
        with pytest.raises(UnsafeIdentifierError) as caught:
            check(value)
        assert caught.value.message.endswith(rule)
        assert caught.value.detail.isascii()
        assert caught.value.detail.isprintable()


@pytest.mark.parametrize(
    ("check", "limit"), [(check_task_id, 255 - len(".lock.acquire")), (check_run_id, 255)]
)
@pytest.mark.parametrize("character", ["x", "é", "任", "😀"])
def test_the_longest_name_is_counted_in_bytes(check, limit, character):
    fitting = character * (limit // len(character.encode()))
    check(fitting)
    with pytest.raises(UnsafeIdentifierError, match=f"longer than {limit} bytes") as caught:
        check(fitting + character)
    assert len(str(caught.value)) < 1100


@pytest.mark.parametrize("check", CHECKS)
def test_what_fits_can_be_made(check, tmp_path):
    longest = "x" * (242 if check is check_task_id else 255)
    check(longest)
    (tmp_path / longest).mkdir()
    if check is check_task_id:
        (tmp_path / (longest + ".lock.acquire")).touch()


def test_the_message_says_which_id():
    with pytest.raises(UnsafeIdentifierError, match=r"^task id is empty: ''$"):
        check_task_id("")
    with pytest.raises(UnsafeIdentifierError, match=r"^run id is empty: ''$"):
        check_run_id("")


def test_an_unsafe_id_is_an_invalid_run_and_can_be_pickled():
    with pytest.raises(InvalidRunError) as caught:
        check_run_id("a\ud800")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def obviously_safe(value: str, longest: int) -> bool:
    """docs/formats.md, "Identifiers", sentence by sentence."""
    devices = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}
    devices |= {f"{port}{digit}" for port in ("COM", "LPT") for digit in "123456789\xb9\xb2\xb3"}
    stem = value.split(".", maxsplit=1)[0].rstrip(JAVASCRIPT_WHITESPACE)
    return not (
        value == ""
        or any(ord(character) <= 0x1F or ord(character) == 0x7F for character in value)
        or any(character in '<>:"|?*/\\' for character in value)
        or any(0xD800 <= ord(character) <= 0xDFFF for character in value)
        or value[0] == "."
        or value[-1] in ". "
        or stem.upper() in devices
        or len(value.encode()) > longest
    )


PIECES = st.sampled_from(
    [
        "CON",
        "nul",
        "Com",
        "LPT",
        "IN$",
        "1",
        "\xb2",
        "\u0131",
        "\u00a0",
        "\ufeff",
        "\x85",
        ".",
        " ",
        "-",
        "_",
        "/",
        ":",
        "\n",
        "\x7f",
        "a" * 90,
    ]
)
IDS = st.one_of(
    st.text(st.characters(), max_size=12),
    st.lists(st.one_of(PIECES, st.characters(codec=None)), max_size=5).map("".join),
)


@given(IDS)
def test_like_the_obvious_model(value):
    for check, longest in ((check_task_id, 242), (check_run_id, 255)):
        try:
            check(value)
            accepted = True
        except UnsafeIdentifierError:
            accepted = False
        assert accepted == obviously_safe(value, longest), ascii(value)


@pytest.mark.parametrize("task_id", ["a.lock", "a.LOCK", "a.lock.acquire", "lock.lock"])
def test_a_task_folder_is_not_in_the_place_of_another_tasks_lock(task_id: str) -> None:
    with pytest.raises(UnsafeIdentifierError, match="ends like a lock file's name"):
        check_task_id(task_id)
    check_run_id(task_id)


@pytest.mark.parametrize("task_id", ["lock", "a.locks", "a-lock", "a.lock.acquired"])
def test_other_names_with_lock_in_them_are_safe(task_id: str) -> None:
    check_task_id(task_id)
