"""Sources on object storage: servers of S3's and Google's protocols, and storage that fails."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import pickle
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import asdict
from pyarrow.fs import S3FileSystem
from support.engine import run, tree
from support.model import persist

from batchpersist.batch.run import run_batch
from batchpersist.batch_job import BatchJob
from batchpersist.cli.main import cli
from batchpersist.compare.options import CompareOptions
from batchpersist.compare.run import compare_batches
from batchpersist.errors import SourceMissingError, SourceUnreachableError, SourceUnreadableError, UsageError
from batchpersist.index import scan_worker
from batchpersist.models import DEFAULT_KEYS
from batchpersist.options import BatchOptions
from batchpersist.records.batch_folder import list_batches
from batchpersist.sources import object_store
from batchpersist.sources.discovery import discover, expand
from batchpersist.sources.scan_tasks import ScanTask
from batchpersist.sources.source import PackedSources
from batchpersist.sources.source_reader import SourceReader

RUNS = [run(f"task-{n % 4}", n) for n in range(12)]
LINES = [json.dumps(item).encode() + b"\n" for item in RUNS]


@contextmanager
def serving(command: list[str]) -> Iterator[str]:
    """Runs a server, whose port is its last argument; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([*command, str(port)], **quiet) as process:  # type: ignore[call-overload]
        deadline = time.monotonic() + 60
        while not answers(port):
            assert time.monotonic() < deadline, "the server does not start"
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
        process.kill()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an S3 server."""
    with serving([sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p"]) as address:
        yield address


def answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(object_store, "FIRST_DELAY", 0.001)
    for name, value in {
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)


class Bucket:
    """A bucket of the server, and how its objects are called."""

    def __init__(self, server: str, name: str) -> None:
        self.options = f"?endpoint_override={server}&scheme=http"
        self._files = S3FileSystem(endpoint_override=server, scheme="http", allow_bucket_creation=True)
        self._name = name
        self._files.create_dir(name)

    def put(self, key: str, data: bytes) -> None:
        with self._files.open_output_stream(f"{self._name}/{key}", compression=None) as stream:
            stream.write(data)

    def uri(self, key: str = "") -> str:
        return f"s3://{self._name}/{key}{self.options}"


@pytest.fixture
def bucket(server: str, request: pytest.FixtureRequest, account: None) -> Bucket:
    return Bucket(server, f"b{abs(hash(request.node.name))}")


def options(root: str = "root", **more: Any) -> BatchOptions:
    return BatchOptions(out_dir=f"{root}/out", runs_dir=f"{root}/runs", **more)


def invoke(*words: str) -> Result:
    return CliRunner().invoke(cli, ["run", *words], catch_exceptions=False)


def check_persisted(root: str = "root") -> None:
    persist(RUNS, Path("model/out"), Path("model/runs"))
    found = {name: data for name, data in tree(Path(root)).items() if name != "out/metrics.json"}
    assert found == tree(Path("model"))


def compressed_zstd(data: bytes) -> bytes:
    return pa.compress(data, "zstd", asbytes=True)  # type: ignore[no-any-return]


def parquet(lines: list[bytes]) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"json": [line.decode() for line in lines]}), sink)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def test_every_format_of_a_folder_in_the_order_of_names(bucket: Bucket) -> None:
    bucket.put("logs/a.jsonl", b"".join(LINES[:2]))
    bucket.put("logs/b/one.json", LINES[2])
    bucket.put("logs/b/list.json", b"[" + LINES[3] + b"]")
    bucket.put("logs/c.jsonl.gz", gzip.compress(b"".join(LINES[4:6])))
    bucket.put("logs/d.ndjson.zst", compressed_zstd(b"".join(LINES[6:8])))
    bucket.put("logs/e.parquet", parquet(LINES[8:10]))
    bucket.put("logs/odd name%20ü?#.jsonl", LINES[10])
    bucket.put("logs/z/deep/er.jsonl", LINES[11] + b"no run\n")
    bucket.put("logs/.hidden.jsonl", b"passed over\n")
    bucket.put("logs/.git/x.jsonl", b"passed over\n")
    bucket.put("logs/readme.txt", b"ignored")
    bucket.put("logs/t/cli/x/manifest.json", b"another kind")
    report = run_batch([bucket.uri("logs")], options())
    counts = report.metrics.counts
    assert (counts.discovered, counts.persisted, counts.invalid) == (13, 12, 1)
    passed_over = {name: count for name, count in asdict(report.metrics.passed_over).items() if count}
    assert passed_over == {"other_manifests": 1, "ignored_files": 1}
    assert report.metrics.unknown_suffixes == {".txt": 1}
    check_persisted()
    name = bucket.uri().partition("?")[0]
    sources = list(dict.fromkeys(report.outcomes.sort_by("timestamp")["source"].to_pylist()))
    wanted = ["a.jsonl", "b/one.json", "b/list.json", "c.jsonl.gz", "d.ndjson.zst", "e.parquet"]
    assert sources == [f"{name}logs/{each}" for each in [*wanted, "odd name%20ü?#.jsonl", "z/deep/er.jsonl"]]
    (sample,) = report.metrics.errors[0].samples
    assert (sample.source, sample.line) == (f"{name}logs/z/deep/er.jsonl", 2)
    assert report.metrics.bytes.read > 0


def test_the_order_is_that_of_the_same_local_folder(bucket: Bucket, tmp_path: Path) -> None:
    """A file, and a folder whose name begins alike: by name at each level, not by key."""
    keys = ["a.jsonl", "a/x.jsonl", "a-b.jsonl", "b/c/d.jsonl", "b/c.jsonl", "B.jsonl"]
    keys += ["a.jsonl.10", "a.jsonl.9", "b/c.jsonl-20260131"]
    for number, key in enumerate(keys):
        bucket.put(f"f/{key}", LINES[number])
        path = tmp_path / "f" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(LINES[number])
    orders = []
    for source in (bucket.uri("f"), str(tmp_path / "f")):
        report = run_batch([source], options(f"root{len(orders)}", cache=False))
        names = report.outcomes.sort_by("timestamp")
        placed = zip(names["source"].to_pylist(), names["run_id"].to_pylist(), strict=True)
        orders.append([source.name.rpartition("/f/")[2] for source in find_sources(source)])
        assert {name.rpartition("/f/")[2]: run_id for name, run_id in placed} == {
            key: f"run-{number}" for number, key in enumerate(keys)
        }
    assert orders[0] == orders[1]
    assert [key for key in orders[0] if key.startswith("a.jsonl")] == ["a.jsonl.10", "a.jsonl.9", "a.jsonl"]


ROOT = Path(__file__).parents[2] / "fixtures" / "orchestrator-root" / "source"


def test_a_root_of_the_orchestrator_is_recognised(bucket: Bucket, tmp_path: Path) -> None:
    for path in ROOT.rglob("*"):
        if path.is_file():  # a link's is its target's
            bucket.put(f"backup/.runs/{path.relative_to(ROOT).as_posix()}", path.read_bytes())
    bucket.put("backup/.runs/0101-alpha/cli/.old/run-summary.json", LINES[0])
    bucket.put("backup/log.jsonl", LINES[0])
    for name in ("run-summary.json", "control_auth.json", "events.jsonl", ".heartbeat"):
        bucket.put(f"backup/monday/one/cli/r1/{name}", LINES[1])
    bucket.put("backup/monday/one/cli/r2/.heartbeat", b"")
    bucket.put("backup/monday/one/metrics.json", b"")
    bucket.put("backup/monday/one/r0/manifest.json", LINES[2])
    counts = {"discovered": 4, "invalid": 0, "incomplete": 1, "other_events": 1, "ignored_files": 0}
    local = [source.name.removeprefix(f"{ROOT}/") for source in find_sources(str(ROOT))]
    for number, source in enumerate((".runs", ".runs/0102-beta/cli", ".runs/local-mcp/", "")):
        remote = bucket.uri(f"backup/{source}")
        report = run_batch([remote], options(f"root{number}"))
        found = asdict(report.metrics.counts) | asdict(report.metrics.passed_over)
        if number == 0:
            assert {name: found[name] for name in counts} == counts
            assert [source.name.partition("/.runs/")[2] for source in find_sources(remote)] == local
        elif number == 1:
            assert (found["persisted"], found["incomplete"], found["invalid"]) == (1, 1, 0)
        elif number == 3:  # .runs and monday
            assert (found["persisted"], found["incomplete"], found["invalid"]) == (7, 2, 0)


def find_sources(uri: str) -> list[Any]:
    return [
        source
        for part in discover([uri])
        for further in expand(part.number, part.sources)
        for source in further.sources
    ]


@pytest.mark.parametrize("ending", ["", "/"])
def test_a_whole_bucket_and_a_single_object(bucket: Bucket, ending: str) -> None:
    bucket.put("x/a.jsonl", b"".join(LINES))
    whole = bucket.uri().replace("/?", f"{ending}?")
    assert run_batch([whole], options()).metrics.counts.persisted == 12
    single = run_batch([bucket.uri("x/a.jsonl")], options())
    assert single.metrics.counts.unchanged == 12


def test_a_long_object_is_fetched_once_and_then_shared(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(scan_worker, "LONGEST_COPY", 500)
    monkeypatch.setattr(scan_worker, "SCAN_TASK_BYTES", 300)
    monkeypatch.setattr(object_store, "BLOCK", 256)
    bucket.put("long.jsonl", b"".join(LINES))
    (part,) = discover([bucket.uri("long.jsonl")], scan_task_bytes=100)
    left = scan_worker.run_scan_task(part, DEFAULT_KEYS, str(tmp_path))
    assert len(left.remaining) == -(-len(b"".join(LINES)) // 300) > 2
    assert len(list(tmp_path.glob("spool-*"))) == 1
    report = run_batch([bucket.uri("long.jsonl")], options())
    assert report.outcomes["line"].to_pylist() is not None
    assert sorted(report.outcomes["line"].to_pylist()) == list(range(1, 13))
    check_persisted()


def test_compressed_objects_do_not_stay_in_the_spool_twice(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("c.jsonl.gz", gzip.compress(b"".join(LINES)))
    (part,) = discover([bucket.uri("c.jsonl.gz")])
    scanned = scan_worker.run_scan_task(part, DEFAULT_KEYS, str(tmp_path))
    assert scanned.runs == 12
    (copy,) = tmp_path.iterdir()
    assert copy.read_bytes() == b"".join(LINES)


def test_the_command_with_a_pool_and_a_dry_run_before_it(bucket: Bucket) -> None:
    for number in range(4):
        bucket.put(f"p/{number}.jsonl", b"".join(LINES[number * 3 : number * 3 + 3]))
    dry = invoke(bucket.uri("p"), "--dry-run", "--out-dir", "root/out", "--runs-dir", "root/runs")
    assert "Dry run: 12 new" in dry.stdout
    words = ["run", bucket.uri("p"), "-j", "2", "--pool-threshold", "0"]
    command = [
        sys.executable,
        "-m",
        "batchpersist",
        *words,
        "--out-dir",
        "root/out",
        "--runs-dir",
        "root/runs",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    check_persisted()


def test_validate_names_the_object_and_its_line(bucket: Bucket) -> None:
    bucket.put("a.jsonl", LINES[0] + b"[]\n")
    words = ["validate", bucket.uri("a.jsonl"), "--json"]
    result = CliRunner().invoke(cli, words, catch_exceptions=False)
    assert result.exit_code == 3
    (told,) = [line for line in map(json.loads, result.stdout.splitlines()) if "line" in line]
    assert (told["source"], told["line"]) == (bucket.uri("a.jsonl").partition("?")[0], 2)


def test_nothing_of_it_is_believed_to_be_unchanged(bucket: Bucket) -> None:
    """An object's state cannot be told as surely as a file's: it is read each night."""
    bucket.put("a.jsonl", b"".join(LINES))
    for _ in range(2):
        report = run_batch([bucket.uri("a.jsonl")], options())
    assert report.metrics.timing.cached_sources == 0
    assert report.metrics.counts.unchanged == 12


def test_an_interrupted_batch_goes_on_from_another_folder(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.jsonl", b"".join(LINES))
    where = BatchOptions(out_dir=str(tmp_path / "o"), runs_dir=str(tmp_path / "r"))
    first = run_batch([bucket.uri("a.jsonl")], where, should_stop=lambda: True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = run_batch([bucket.uri("a.jsonl")], where)
    assert again.metrics.batch_id == first.metrics.batch_id
    assert len(list_batches(BatchJob(where).layout)) == 1


# What is not there, or may not be read


@pytest.mark.parametrize("key", ["none.jsonl", "logs/none", "none"])
def test_a_missing_key_or_folder(bucket: Bucket, key: str, tmp_path: Path) -> None:
    result = invoke(bucket.uri(key))
    assert result.exit_code == 10
    assert result.stderr == f"Error: source not found: {bucket.uri(key)}\n"
    assert os.listdir(tmp_path) == []


def test_a_missing_bucket(bucket: Bucket, tmp_path: Path) -> None:
    uri = f"s3://no-such-bucket/a.jsonl{bucket.options}"
    with pytest.raises(SourceMissingError):
        run_batch([uri], options())
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("uri", "complaint"),
    [
        ("s3:///a.jsonl", r"no bucket is named: s3:///a\.jsonl"),
        ("s3://", "no bucket is named"),
        ("s3://key:secret@b/a.jsonl", r"s3://\.\.\.@b/a\.jsonl: a source's name is shown and kept"),
        ("s3://b/a.jsonl?colour=red", r"Unexpected query parameter in S3 URI: 'colour'"),
        ("s3://b/a#1.jsonl", "write %23 for it"),
    ],
)
def test_what_is_no_uri(uri: str, complaint: str, tmp_path: Path) -> None:
    result = invoke(uri)
    assert result.exit_code == 2
    assert "secret" not in result.stderr
    with pytest.raises(UsageError, match=complaint):
        run_batch([uri], options())
    assert os.listdir(tmp_path) == []


def test_an_unknown_format(bucket: Bucket) -> None:
    bucket.put("a.csv", b"1")
    with pytest.raises(UsageError, match=r"cannot tell the format of s3://\S+/a\.csv"):
        run_batch([bucket.uri("a.csv")], options())


def test_a_server_that_does_not_answer_is_reported_with_a_hint(tmp_path: Path) -> None:
    uri = "gs://anonymous@b/a.jsonl?endpoint_override=127.0.0.1:1&scheme=http&retry_limit_seconds=0.1"
    with pytest.raises(SourceUnreachableError, match=r"gs://b/a\.jsonl: .*\(credentials are taken") as caught:
        run_batch([uri], options())
    assert caught.value.exit_code == 10
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert os.listdir(tmp_path) == []


def test_an_object_that_is_gone_when_it_is_read_is_one_invalid_input(bucket: Bucket) -> None:
    bucket.put("g/a.jsonl", b"".join(LINES[:6]))
    bucket.put("g/b.jsonl", b"".join(LINES[6:]))
    Path("local.json").write_bytes(LINES[0])
    parts = discover([bucket.uri("g"), "local.json"])
    (part,) = parts
    first, *rest = part.sources
    gone = ScanTask(part.number, PackedSources.of([first._replace(path=bucket.uri("g/none.jsonl")), *rest]))
    scanned = scan_worker.run_scan_task(gone, DEFAULT_KEYS, ".")
    (reject,) = scanned.rejects
    assert (reject.source, reject.line) == (first.name, 0)
    assert reject.failure.message == "the object cannot be read"
    assert scanned.runs == 7
    assert [(counts.runs, counts.rejects) for counts in scanned.source_counts] == [(0, 1), (6, 0), (1, 0)]
    assert not [path for path in Path().glob("spool-*") if not path.stat().st_size]


# Storage that fails


class FlakyHandler:
    """A local folder as Arrow's file systems are: some of its requests fail."""

    def __init__(self, root: Path, failures: int) -> None:
        self.root, self.failures, self.requests = root, failures, 0

    def open_input_file(self, path: str) -> FlakyFile:
        self.request()
        return FlakyFile(self, self.root / path)

    def request(self) -> None:
        self.requests += 1
        if self.failures:
            self.failures -= 1
            raise OSError("AWS Error SLOW_DOWN during GetObject operation")


class FlakyFile:
    """What ``pyarrow.NativeFile`` is to its reader."""

    def __init__(self, storage: FlakyHandler, path: Path) -> None:
        self._storage, self._path = storage, path
        self._size = path.stat().st_size

    def size(self) -> int:
        return self._size

    def metadata(self) -> dict[str, int]:
        return {"ETag": self._path.stat().st_mtime_ns}

    def read_at(self, size: int, offset: int) -> bytes:
        self._storage.request()
        return self._path.read_bytes()[offset : offset + size]

    def __enter__(self) -> FlakyFile:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass


def test_a_request_that_fails_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "BLOCK", 10)
    (tmp_path / "a").write_bytes(b"0123456789" * 3)
    for failures in range(4):
        storage = FlakyHandler(tmp_path, failures)
        assert b"".join(object_store.read_blocks(storage, "a")) == b"0123456789" * 3  # type: ignore[arg-type]
        assert storage.requests == 5 + failures
    with pytest.raises(SourceUnreadableError, match="the object cannot be read: AWS Error SLOW_DOWN"):
        list(object_store.read_blocks(FlakyHandler(tmp_path, 4), "a"))  # type: ignore[arg-type]


@pytest.mark.parametrize("change", ["longer", "shorter", "other"])
def test_an_object_that_changes_under_its_reader_is_not_read_half_and_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(object_store, "BLOCK", 10)
    path = tmp_path / "a"
    path.write_bytes(b"0123456789" * 3)
    os.utime(path, ns=(1, 1))
    blocks = object_store.read_blocks(FlakyHandler(tmp_path, 0), "a")  # type: ignore[arg-type]
    next(blocks)
    path.write_bytes(b"x" * {"longer": 50, "shorter": 12, "other": 30}[change])
    with pytest.raises(SourceUnreadableError, match=r"the object (was changed while it was read|is shorter)"):
        list(blocks)


def test_sources_there_are_compared(bucket: Bucket) -> None:
    bucket.put("a.jsonl", b"".join(LINES))
    ways = CompareOptions("out", "runs", modes=("sequential", "grouped"), workers=(1,), rounds=1, warmup=0)
    found = compare_batches([bucket.uri("a.jsonl")], ways)
    assert (found.exit_code, found.document["runs"]) == (0, 12)


# Google's


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that speaks Google's protocol."""
    program = "from gcp_storage_emulator.__main__ import main; main()"
    words = ["start", "--host", "127.0.0.1", "--in-memory", "--default-bucket", "bucket", "--port"]
    with serving([sys.executable, "-c", program, *words]) as address:
        yield address


def test_google_s_storage(google: str) -> None:
    for key, data in {
        "logs/a.jsonl": b"".join(LINES[:6]),
        "logs/b/c.jsonl.gz": gzip.compress(b"".join(LINES[6:])),
    }.items():
        place = f"http://{google}/upload/storage/v1/b/bucket/o?uploadType=media&name={key}"
        urllib.request.urlopen(urllib.request.Request(place, data, method="POST")).close()
    options_there = f"?endpoint_override={google}&scheme=http&retry_limit_seconds=5"
    report = run_batch([f"gs://anonymous@bucket/logs{options_there}"], options())
    assert report.metrics.counts.persisted == 12
    assert set(report.outcomes["source"].to_pylist()) == {
        "gs://bucket/logs/a.jsonl",
        "gs://bucket/logs/b/c.jsonl.gz",
    }
    check_persisted()
    with pytest.raises(SourceMissingError):
        run_batch([f"gs://anonymous@bucket/none.jsonl{options_there}"], options())


def test_rotated_and_compressed_objects_are_read(bucket: Bucket) -> None:
    bucket.put("logs/a.jsonl.1", LINES[0])
    bucket.put("logs/a.jsonl.2.xz", lzma.compress(LINES[1]))
    bucket.put("logs/a.json.bz2", bz2.compress(b"[" + b",".join(LINES[2:5]) + b"]"))
    bucket.put("logs/a.json-20260131.gz", gzip.compress(LINES[5]))
    report = run_batch([bucket.uri("logs")], options())
    assert (report.exit_code, report.metrics.counts.persisted) == (0, 6)
    again = run_batch([bucket.uri("logs/a.json.bz2")], options())
    assert (again.exit_code, again.metrics.counts.unchanged) == (0, 3)


def test_a_tables_key_is_read_from_the_folder_that_its_object_is_named_to_be_in(bucket: Bucket) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"runId": ["r"], "timestamp": ["2026-01-01T00:00:00.000Z"]}), sink)
    bucket.put("t/taskId=billing/0.parquet", sink.getvalue().to_pybytes())
    report = run_batch([bucket.uri("t")], options())
    assert report.outcomes["task_id"].to_pylist() == ["billing"]


def test_an_object_that_is_shorter_than_it_was_listed_is_one_reject(bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("a.jsonl", b"".join(LINES))
    (source,) = find_sources(bucket.uri("a.jsonl"))
    bucket.put("a.jsonl", LINES[0])
    failure = SourceReader(DEFAULT_KEYS, str(tmp_path)).stage(source).failure
    assert failure is not None
    assert failure.type == "SourceChangedError"
    assert str(failure).startswith("the source became shorter while it was read: it ends after")
    assert os.listdir(tmp_path) == []
