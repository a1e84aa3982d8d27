"""The architecture as data, held against what the modules really import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "batchpersist"

LEVELS = (
    # 0 the plain data, what can go wrong, and small things that all may use
    "__init__ allocators columns context errors events exit_codes extras foreign_text layout limits memory "
    "models moments options phaseclock processes",
    # 1 ids and text, files, locks
    "runs files locking",
    # 2 what is read, what is to be done with it, what stands
    "sources ingest planning snapshots synthetic monitoring",
    # 3 the pair: both writes together, one by one or a shard of them
    "settling",
    # 4 many shards: who does the work, and what became of it
    "scheduling batches figures caching scanning",
    # 5 the whole job, and what is done beside it
    "unsettled settlement batch preview operations audit repair compare report",
    # 6 the command
    "cli __main__",
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms.split()}
"""A room is a folder of the package, or a module that stands beside the folders."""


def room_of(module: str) -> str:
    return module.partition(".")[0]


def level_of(module: str) -> int:
    return LEVEL[room_of(module)]


def name_of(path: Path) -> str:
    """``batchpersist/sources/walk.py`` -> ``sources.walk``; a package's own module has the package's name."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


TREES = {name_of(path): ast.parse(path.read_bytes()) for path in sorted(PACKAGE.rglob("*.py"))}
FOLDERS = {name_of(path): path.relative_to(PACKAGE).parent.parts for path in PACKAGE.rglob("*.py")}


def own_imports(module: str) -> set[str]:
    """Modules of this package that a module imports, anywhere in it and for whatever reason."""
    found = set()
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = FOLDERS[module][: len(FOLDERS[module]) - node.level + 1]
            base = ".".join([*folder, *([node.module] if node.module else [])])
            for name in node.names:
                inner = f"{base}.{name.name}" if base else name.name
                found.add(inner if inner in TREES else base or "__init__")
    return found


def roots_imported(tree: ast.AST) -> set[str]:
    """Top-level packages of others that are imported in a tree."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.partition(".")[0])
    return found


def at_import(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements of a module that run when it is imported by a program."""
    for node in tree.body:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node


def test_the_table_names_every_room_and_no_other() -> None:
    assert sorted(LEVEL) == sorted(set(map(room_of, TREES)))
    assert sum(len(rooms.split()) for rooms in LEVELS) == len(LEVEL), "a room stands on two levels"


def test_the_walkthrough_shows_the_same_table() -> None:
    text = (PACKAGE.parent / "docs" / "walkthrough.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d) \| (`.+) \| .+ \|$", text, re.MULTILINE)
    shown = {
        name.rstrip("/"): int(level) for level, names in rows for name in re.findall(r"`([^`]+)`", names)
    }
    assert shown == {room: level for room, level in LEVEL.items() if room not in {"__init__", "__main__"}}


def test_the_walkthrough_passes_through_every_room() -> None:
    text = (PACKAGE.parent / "docs" / "walkthrough.md").read_text("utf-8").partition("## The rooms")[0]
    passed = {room_of(word.replace("/", ".")) for word in re.findall(r"`([\w./]+)`", text)}
    assert sorted(LEVEL.keys() - passed - {"__init__", "__main__"}) == []


def test_every_room_says_what_it_is_for() -> None:
    packages = [name for name in TREES if (PACKAGE / name.replace(".", "/") / "__init__.py").exists()]
    assert packages
    assert [name for name in packages if not ast.get_docstring(TREES[name])] == []


def test_imports_go_downwards_or_sideways() -> None:
    upwards = [
        f"{module} ({level_of(module)}) imports {imported} ({level_of(imported)})"
        for module in TREES
        for imported in own_imports(module)
        if level_of(imported) > level_of(module)
    ]
    assert upwards == []


def test_there_are_no_circles() -> None:
    TopologicalSorter({module: own_imports(module) for module in TREES}).prepare()


def test_there_are_no_circles_of_rooms() -> None:
    graph: dict[str, set[str]] = {}
    for module in TREES:
        rooms = set(map(room_of, own_imports(module))) - {room_of(module), "__init__"}
        graph.setdefault(room_of(module), set()).update(rooms)
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("package", ["audit", "repair"])
def test_a_leaf_package_is_imported_through_its_face_alone(package: str) -> None:
    past_it = [
        f"{module} imports {imported}"
        for module in TREES
        if room_of(module) != package
        for imported in own_imports(module)
        if imported.startswith(f"{package}.")
    ]
    assert past_it == []


def test_this_file_sees_imports_of_every_form() -> None:
    assert {"errors", "runs.jsontext"} <= own_imports("runs.runreader")
    assert {"locking.lockfile", "locking.lockowner"} <= own_imports("locking.locks")  # from . import lockfile
    assert {"errors", "sources.pieces"} <= own_imports("sources.walk")  # from ..errors, from .pieces
    assert {"__init__", "settling.journal"} <= own_imports(
        "batches.batchsession"
    )  # from . import __version__


@pytest.mark.parametrize("package", ["click", "tqdm"])
def test_the_terminal_s_packages_are_the_command_s_alone(package: str) -> None:
    users = {module for module, tree in TREES.items() if package in roots_imported(tree)}
    assert users
    assert {module for module in users if level_of(module) != LEVEL["cli"]} == set()


@pytest.mark.parametrize("package", ["pyarrow", "tqdm", "prometheus_client", "jinja2", "matplotlib"])
def test_slow_packages_are_imported_where_they_are_used(package: str) -> None:
    at_once = [
        module
        for module, tree in TREES.items()
        if any(package in roots_imported(node) for node in at_import(tree))
    ]
    assert at_once == []


def test_only_the_command_prints_exits_or_reads_the_environment() -> None:
    forbidden = {"print", "input", "exit", "quit", "sys.exit", "os.environ", "os.getenv", "os.environb"}
    used = [
        f"{module}:{node.lineno}: {ast.unparse(node)}"
        for module, tree in TREES.items()
        if level_of(module) != LEVEL["cli"]
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute) and ast.unparse(node) in forbidden
    ]
    assert used == []


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("cli.main", {"pyarrow", "tqdm", "multiprocessing", "concurrent", "filelock", "msgspec"}),
        ("cli.run", {"pyarrow", "tqdm"}),
        ("batch", {"pyarrow", "tqdm", "click"}),
        ("settling.settle", {"pyarrow", "tqdm", "click", "multiprocessing"}),
        ("ingest.scan", {"pyarrow", "tqdm", "click", "multiprocessing"}),
    ],
)
def test_what_starts_fast_imports_little(module: str, unwanted: set[str]) -> None:
    program = f"import sys, batchpersist.{module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert unwanted & set(result.stdout.split()) == set()


def test_errors_are_matched_by_class_and_not_by_name() -> None:
    kinds = {
        node.name
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.name.endswith(("Error", "Errors"))
    }
    assert "TaskStateLockError" in kinds
    named = [
        f"{module}:{node.lineno}: {ast.unparse(node)}"
        for module, tree in TREES.items()
        if module != "__init__"
        for node in ast.walk(tree)
        if (isinstance(node, ast.Constant) and node.value in kinds)
        or (isinstance(node, ast.Attribute) and node.attr == "__name__" and ast.unparse(node.value) in kinds)
    ]
    assert named == []
