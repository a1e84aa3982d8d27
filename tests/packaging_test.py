"""The distribution: its metadata, its files, and the versions that tox tests."""

from __future__ import annotations

import configparser
import re
from importlib import metadata, resources
from pathlib import Path

from packaging.version import Version

import batchpersist

ROOT = Path(__file__).resolve().parent.parent


def config(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / name)
    return parser


def versions(requirements: str) -> dict[str, Version]:
    """Name -> version, from lines such as ``name>=1.2`` and ``name==1.2``."""
    found = re.findall(r"^([\w-]+)(?:\[\w+\])?[>=]=([\d.]+)$", requirements, re.MULTILINE)
    return {name: Version(version) for name, version in found}


def test_version_is_written_once() -> None:
    assert config("setup.cfg")["metadata"]["version"] == "attr: batchpersist.__version__"
    assert metadata.version("batchpersist") == batchpersist.__version__
    written = re.compile(rf"""["']{re.escape(batchpersist.__version__)}["']""")
    sources = [
        path for path in (ROOT / "batchpersist").rglob("*.py") if written.search(path.read_text("utf-8"))
    ]
    assert [path.name for path in sources] == ["__init__.py"]


def test_changelog_begins_with_this_version_or_unreleased_changes() -> None:
    headings = re.findall(r"^## \[?([^\]\s]+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert batchpersist.__version__ in headings[:2]


def test_data_files_of_the_package_are_shipped() -> None:
    patterns = config("setup.cfg")["options.package_data"]["batchpersist"].split()
    package = ROOT / "batchpersist"
    others = {path for path in package.rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
    assert {package / "py.typed", package / "metrics.schema.json"} <= others
    assert others == {path for pattern in patterns for path in package.glob(pattern)}
    shipped = resources.files("batchpersist")
    assert all(shipped.joinpath(*path.relative_to(package).parts).is_file() for path in others)


def test_each_folder_of_the_package_has_an_init() -> None:
    folders = {path.parent for path in (ROOT / "batchpersist").rglob("*.py")}
    assert [folder for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_command_is_declared() -> None:
    (script,) = metadata.entry_points(group="console_scripts", name="batchpersist")
    assert callable(script.load())


def test_each_requirement_has_a_lower_bound_or_a_pin() -> None:
    setup = config("setup.cfg")
    declared = setup["options"]["install_requires"] + "\n".join(setup["options.extras_require"].values())
    lines = [line.strip() for line in declared.splitlines()]
    requirements = [line for line in lines if line and not line.startswith(("#", "batchpersist["))]
    assert len(requirements) > 5
    assert [line for line in requirements if not re.search(r"[>=]=", line)] == []


def test_lowest_allowed_versions_are_tested() -> None:
    """The quick form, one of the default environments, pins each requirement of the package itself."""
    setup, tox = config("setup.cfg"), config("tox.ini")
    assert "lowest-quick" in tox["tox"]["envlist"].split(", ")
    pins = tox["testenv:lowest{,-quick}"]["deps"].split("\n")
    always = [pin for pin in pins if not pin.startswith(("!quick: ", "#"))]
    needed = setup["options"]["install_requires"]
    declared = versions(needed + "\n" + "\n".join(setup["options.extras_require"].values()))
    assert versions(needed).keys() <= versions("\n".join(always)).keys()
    tested = versions("\n".join(pins).replace("!quick: ", ""))
    assert {name: tested[name] for name in tested if name in declared} == {
        name: declared[name] for name in tested if name in declared
    }


def test_tox_and_developers_use_the_same_linters() -> None:
    tox, dev = config("tox.ini"), config("setup.cfg")["options.extras_require"]["dev"].split()
    for env in ("testenv:lint", "testenv:types"):
        assert tox[env]["deps"] in dev


def test_readme_names_the_declared_licence_and_python() -> None:
    setup = config("setup.cfg")
    assert (ROOT / "LICENSE").read_text("utf-8").startswith(f"{setup['metadata']['license']} License")
    lowest = setup["options"]["python_requires"].removeprefix(">=")
    assert f"Python {lowest} or newer" in (ROOT / "README.md").read_text("utf-8")


def test_each_declared_python_is_tested() -> None:
    declared = re.findall(
        r"Python :: 3\.(\d+)$", config("setup.cfg")["metadata"]["classifiers"], re.MULTILINE
    )
    quick = re.search(r"py3\{([\d,]+)\}-quick", config("tox.ini")["tox"]["envlist"])
    assert quick
    assert {*declared} == {*quick[1].split(","), "11"}  # the suite's own


def test_tests_that_tox_names_exist() -> None:
    named = set(re.findall(r"tests/[\w/]+\.py", (ROOT / "tox.ini").read_text("utf-8")))
    assert len(named) > 10
    assert sorted(path for path in named if not (ROOT / path).exists()) == []
