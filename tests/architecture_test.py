"""The architecture: levels, packages and their public names, held against what the modules really import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "batchpersist"

LEVELS = (
    # 0 plain data, options, errors, and small things that all may use
    "__init__ arrow_tables context errors events exit_codes foreign_text memory_limit models options paths "
    "option_checks partition processes profiling system_limits timestamps wording",
    # 1 what the orchestrator prescribes, and files
    "contract storage",
    # 2 what is read, locked and kept
    "batch_job locks plan records snapshots sources synthetic",
    # 3 a shard of pairs
    "persist",
    # 4 who does the work, and what became of it
    "cache index metrics workers",
    # 5 whole jobs
    "audit batch compare repair report",
    # 6 the command
    "cli __main__",
)
LEVEL = {package: level for level, packages in enumerate(LEVELS) for package in packages.split()}
"""Of each package, and of each module beside the packages."""


def package_of(module: str) -> str:
    return module.partition(".")[0]


def level_of(module: str) -> int:
    return LEVEL[package_of(module)]


def name_of(path: Path) -> str:
    """``batchpersist/sources/walk.py`` -> ``sources.walk``; an ``__init__`` has its package's name."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


PATHS = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_bytes()) for name, path in PATHS.items()}
PACKAGES = {name for name, path in PATHS.items() if path.name == "__init__.py" and name != "__init__"}


def imported_names(module: str) -> Iterator[tuple[str, str]]:
    """Each name that a module imports from this package: the module that it names, and the name."""
    folder = PATHS[module].relative_to(PACKAGE).parent.parts
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = folder[: len(folder) - node.level + 1]
            base = ".".join([*above, *([node.module] if node.module else [])])
            for name in node.names:
                yield base or "__init__", name.name


def own_imports(module: str) -> set[str]:
    """The modules of this package that a module imports, anywhere in it and for whatever reason."""
    found = set()
    for base, name in imported_names(module):
        inner = name if base == "__init__" else f"{base}.{name}"
        found.add(inner if inner in TREES else base)
    return found


def public_names(package: str) -> set[str]:
    """What a package's ``__init__`` offers to others: ``__all__``."""
    for node in TREES[package].body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return set()


def past_the_public_names(module: str) -> Iterator[str]:
    """Imports of a module from other packages that these do not offer."""
    for base, name in imported_names(module):
        package, _, inner = base.partition(".")
        if package in PACKAGES and package != package_of(module):
            offered = inner if inner else name
            if offered not in public_names(package) or name.startswith("_"):
                yield f"{module} imports {name} from {base}"


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


def test_table_names_each_package_once() -> None:
    assert sorted(LEVEL) == sorted(set(map(package_of, TREES)))
    assert sum(len(packages.split()) for packages in LEVELS) == len(LEVEL), "a package is on two levels"


PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def test_architecture_page_shows_the_same_table() -> None:
    rows = re.findall(r"^\| (\d) \| (`.+) \| .+ \|$", PAGE, re.MULTILINE)
    shown = {
        name.rstrip("/"): int(level) for level, names in rows for name in re.findall(r"`([^`]+)`", names)
    }
    assert shown == {name: level for name, level in LEVEL.items() if name not in {"__init__", "__main__"}}


def test_architecture_page_names_modules_that_exist() -> None:
    named = set(re.findall(r"`(\w+/\w+)`", PAGE))
    assert len(named) > 40
    assert sorted(name for name in named if name.replace("/", ".") not in TREES) == []


def test_each_package_says_what_it_is_for() -> None:
    assert PACKAGES
    assert sorted(name for name in PACKAGES if len(ast.get_docstring(TREES[name]) or "") < 80) == []


def test_packages_import_public_names_of_others_only() -> None:
    assert [problem for module in TREES for problem in past_the_public_names(module)] == []


def test_public_names_exist_and_are_used() -> None:
    used: dict[str, set[str]] = {}
    for module in TREES:
        for base, name in imported_names(module):
            package, _, inner = base.partition(".")
            if package != package_of(module):
                used.setdefault(package, set()).add(inner if inner else name)
    homes = ast.unparse(TREES["__init__"])
    unused = {
        f"{package}.{name}"
        for package in PACKAGES - {"cli"}
        for name in public_names(package) - used.get(package, set())
        if f"'{name}'" not in homes and f"'{package}.{name}'" not in homes
    }
    assert sorted(unused) == []


def test_imports_go_downwards_or_sideways() -> None:
    upwards = [
        f"{module} ({level_of(module)}) imports {imported} ({level_of(imported)})"
        for module in TREES
        for imported in own_imports(module)
        if level_of(imported) > level_of(module)
    ]
    assert upwards == []


def test_modules_do_not_import_in_a_circle() -> None:
    graph = {module: own_imports(module) - ({package_of(module)} & PACKAGES) for module in TREES}
    TopologicalSorter(graph).prepare()


def test_packages_do_not_import_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for module in TREES:
        packages = set(map(package_of, own_imports(module))) - {package_of(module), "__init__"}
        graph.setdefault(package_of(module), set()).update(packages)
    TopologicalSorter(graph).prepare()


def test_imports_of_each_form_are_found() -> None:
    assert {"errors", "contract.json_text"} <= own_imports("contract.run_parser")
    assert {"errors", "sources.source"} <= own_imports("sources.walk")
    assert {"locks.lock_file"} <= own_imports("locks.task_lock")
    assert {"__init__"} <= own_imports("batch.session")  # from .. import __version__
    assert "prohibited" not in public_names("locks")


@pytest.mark.parametrize("package", ["click", "tqdm"])
def test_packages_of_the_terminal_are_for_the_command_alone(package: str) -> None:
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
        ("batch.run", {"pyarrow", "tqdm", "click"}),
        ("persist.worker", {"pyarrow", "tqdm", "click", "multiprocessing"}),
        ("index.scan_worker", {"pyarrow", "tqdm", "click", "multiprocessing"}),
    ],
)
def test_fast_starts_import_little(module: str, unwanted: set[str]) -> None:
    program = f"import sys, batchpersist.{module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert unwanted & set(result.stdout.split()) == set()
