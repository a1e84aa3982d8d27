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
    # 0 the plain data, and what can go wrong
    "__init__ errors extras memory models stamps",
    # 1 names, paths and bytes: ids, JSON text, atomic files and their durability, locks
    "identifiers partition layout jsonescapes jsontext rundocument runreader summaries"
    " phaseclock syncfs durability folders processes lockowner temporaries atomic lockfile stalelock"
    " keepalive locks batchlock heartbeat",
    # 2 what is read, and what is written of a task and of a run
    "sources sources.copying sources.discover sources.jsonfile sources.ndjson sources.objects sources.parts"
    " sources.reading sources.rows sources.spool sources.streams sources.tables sources.values sources.walk"
    " samples generate scanned scan columns index"
    " cataloguefile cataloguesources catalogue shards plan job payloads"
    " versions window snapshottext entries otherforms history historycache baseline"
    " merge composition draft commit snapshot manifest journal batchfolder casefolding"
    " progressfile",
    # 3 the pair: both writes together, one by one or a shard of them
    "events pairs coordinator sides snapshotside manifestside runtexts shardentry settle remote standing",
    # 4 many shards: who does the work, and what became of it
    "executors daskcluster watchdog dispatch scanning policy options outcomes catalogueoutputs"
    " cataloguesession retries timing counts groups metrics shardparts shardmetrics reporting resuming"
    " deadbatches batchsession batchreport unsettled"
    " monitoring monitoring.exposition monitoring.latency monitoring.textfile",
    # 5 the whole job
    "batch preview operations operations.retry operations.status operations.tasklocks operations.validate"
    " audit audit.confirm audit.files audit.findings audit.jobs audit.look audit.manifests audit.options"
    " audit.rooms audit.root audit.runcheck audit.snapshots audit.verdict audit.work"
    " repair repair.collecting repair.keeping repair.manifests repair.options repair.publishing"
    " repair.rebuild repair.remedies repair.report repair.root repair.salvage repair.strays repair.task"
    " compare compare.advice compare.child compare.comparing compare.document compare.histories compare.host"
    " compare.intervals compare.measuring compare.options compare.proof compare.sampling compare.scratch"
    " compare.supervisor compare.survey compare.trees compare.variants"
    " report report.alone report.build report.charts report.comparison report.comparisoncharts"
    " report.comparisontext report.document report.ended report.failures report.figures report.formats"
    " report.grid report.inputs report.junit report.page report.prometheus report.sentences"
    " report.shardrows report.shardtimes report.tables report.text report.unended report.wording",
    # 6 the command
    "cli cli.repair cli.repair_words cli.audit cli.audit_words cli.compare"
    " cli.completing cli.completion cli.config cli.configuration cli.defaults cli.executing cli.generate"
    " cli.main"
    " cli.options cli.options.batches cli.options.comparing cli.options.nightly cli.options.places"
    " cli.options.reading cli.options.sections cli.options.showing cli.options.types cli.options.working"
    " cli.locks cli.logfile cli.merge_metrics cli.onfailure cli.output cli.persisting cli.progress cli.report"
    " cli.retry cli.run cli.run_options cli.signals cli.status cli.validate cli.words __main__",
)
LEVEL = {module: level for level, modules in enumerate(LEVELS) for module in modules.split()}


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


def test_the_table_names_every_module_and_no_other() -> None:
    assert sorted(LEVEL) == sorted(TREES)
    assert sum(len(modules.split()) for modules in LEVELS) == len(LEVEL), "a module stands on two levels"


def test_the_walkthrough_shows_the_same_table() -> None:
    text = (PACKAGE.parent / "docs" / "walkthrough.md").read_text("utf-8")
    rows = re.findall(r"^\| (\d) \| [^|]+ \| (.+) \|$", text, re.MULTILINE)
    shown = {name: int(level) for level, names in rows for name in re.findall(r"`([^`]+)`", names)}
    folders = {name: name.partition(".")[0] + "/" for name in LEVEL if FOLDERS[name]}
    unnamed = {"__init__", "__main__"}
    assert shown == {folders.get(name, name): level for name, level in LEVEL.items() if name not in unnamed}


def test_the_walkthrough_passes_through_every_module() -> None:
    text = (PACKAGE.parent / "docs" / "walkthrough.md").read_text("utf-8").partition("## The levels")[0]
    passed = set(re.findall(r"`([\w.]+)`", text)) | {"cli", "sources", "__init__", "__main__", "models"}
    assert sorted(LEVEL.keys() - passed) == []


def test_imports_go_downwards_or_sideways() -> None:
    upwards = [
        f"{module} ({LEVEL[module]}) imports {imported} ({LEVEL[imported]})"
        for module in TREES
        for imported in own_imports(module)
        if LEVEL[imported] > LEVEL[module]
    ]
    assert upwards == []


def test_there_are_no_circles() -> None:
    TopologicalSorter({module: own_imports(module) for module in TREES}).prepare()


def test_this_file_sees_imports_of_every_form() -> None:
    assert {"errors", "jsontext"} <= own_imports("runreader")
    assert {"lockfile", "lockowner"} <= own_imports("locks")  # from . import lockfile
    assert {"errors", "sources.parts"} <= own_imports("sources.walk")  # from ..errors, from .parts
    assert {"__init__", "journal"} <= own_imports("batchsession")  # from . import __version__


@pytest.mark.parametrize("package", ["click", "tqdm"])
def test_the_terminal_s_packages_are_the_command_s_alone(package: str) -> None:
    users = {module for module, tree in TREES.items() if package in roots_imported(tree)}
    assert users
    assert {module for module in users if LEVEL[module] != LEVEL["cli"]} == set()


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
        if LEVEL[module] != LEVEL["cli"]
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
        ("settle", {"pyarrow", "tqdm", "click", "multiprocessing"}),
        ("scan", {"pyarrow", "tqdm", "click", "multiprocessing"}),
    ],
)
def test_what_starts_fast_imports_little(module: str, unwanted: set[str]) -> None:
    program = f"import sys, batchpersist.{module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert unwanted & set(result.stdout.split()) == set()
