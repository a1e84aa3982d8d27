"""The same runs in each shape that sources come in, made from a file of lines, a few at a time."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

_BATCH = 10_000


def reshaped(lines: Path, shape: str) -> Path:
    """The source in one of SHAPES, beside ``lines``; made once."""
    suffix, make = _MAKE[shape]
    path = lines.with_suffix(suffix)
    if not path.exists():
        make(lines, path)
    return path


def files(lines: Path, folder: Path, together: int = 1000) -> None:
    """One file for each run, in folders of a fixed number of files."""
    with lines.open("rb") as file:
        for number, line in enumerate(file):
            if number % together == 0:
                (inner := folder / f"{number // together:05}").mkdir(parents=True)
            (inner / f"{number:08}.json").write_bytes(line)


def manifests(lines: Path, folder: Path) -> None:
    """The runs-dir of an orchestrator."""
    with lines.open("rb") as file:
        for line in file:
            run = json.loads(line)
            run = run.get("payload", run)
            (inner := folder / run["taskId"] / run["runId"]).mkdir(parents=True)
            (inner / "manifest.json").write_bytes(line)


def gz(lines: Path, path: Path) -> None:
    with lines.open("rb") as file, gzip.open(path, "wb", compresslevel=1) as packed:
        shutil.copyfileobj(file, packed, 1 << 20)


def zst(lines: Path, path: Path) -> None:
    with lines.open("rb") as file, pa.CompressedOutputStream(str(path), "zstd") as packed:
        while block := file.read(1 << 20):
            packed.write(block)


def parquet(lines: Path, path: Path) -> None:
    """One column, of JSON texts."""
    schema = pa.schema([("json", pa.string())])
    with lines.open(encoding="utf-8") as file, pq.ParquetWriter(path, schema) as writer:
        for texts in _batches(file):
            writer.write_table(pa.table({"json": texts}, schema=schema))


def _batches(file: Iterator[str]) -> Iterator[list[str]]:
    while texts := [line.rstrip("\n") for line in islice(file, _BATCH)]:
        yield texts


_MAKE: dict[str, tuple[str, Callable[[Path, Path], None]]] = {
    "gz": (".jsonl.gz", gz),
    "zst": (".jsonl.zst", zst),
    "parquet": (".parquet", parquet),
    "files": (".files", files),
    "folder": (".folder", partial(files, together=sys.maxsize)),
    "manifests": (".manifests", manifests),
}

SHAPES = tuple(_MAKE)
