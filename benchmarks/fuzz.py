"""Reads damaged and hostile files of every kind that ppm takes from others, and checks how each reading ends.

    python benchmarks/fuzz.py [--cases 100000] [--kinds ...] [--seed 0]

Hypothesis makes the cases: real files with bits flipped, parts cut out, repeated or exchanged, with huge numbers, deep
nesting, broken UTF-8 and control characters; zips with absolute, dotted, repeated or case-colliding paths, links,
bombs and wrong sizes, some with a RECORD that agrees; safetensors headers that lie; folders of such files. A case must
be read or end in a PpmError, within 5 seconds, with at most 200 MB of memory more, writing nothing outside of its
folder; anything else is a fault, which Hypothesis makes as small as it can.
"""

import argparse
import contextlib
import io
import json
import os
import resource
import signal
import struct
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from ppm.audit.comparison import Comparison
from ppm.audit.model import Attempt, Audit, AuditedSuite, Cell
from ppm.composition.strategy import read_strategy
from ppm.environment import evidence
from ppm.environment.attempts import read_ledger
from ppm.environment.deployment import Environment, number_file
from ppm.environment.holds import read_holds
from ppm.errors import PpmError
from ppm.evaluation.results import ResultStore, damaged_entries
from ppm.install.request import read_lines
from ppm.jsonl import read_benign, read_pairs, read_prompts
from ppm.lock import Lock
from ppm.manifest import Manifest
from ppm.names import canonical_digest
from ppm.package import read_metadata, read_package, sha256
from ppm.project import Project
from ppm.resources import lab_data, lab_manifests, strategies_folder
from ppm.sources import open_source
from ppm.verdict import Waiver

SECONDS = 5.0
ENOUGH = 1_000
"""Of so many cases at least one must have been read."""
MORE_MEMORY = 200 * 2**20
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link")
PROBES = (
    b"\x00",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\x1b[31m",
    b"\r",
    b"\xe2\x80\xae",
    b"..",
    b"/etc/passwd",
    b"C:\\x",
    b"~/x",
    b"9" * 400,
    b"-1",
    b"1e999",
    b"nan",
    b"inf",
    b"0x",
    b"1_0",
    b"[" * 3000,
    b"{" * 3000,
    b"a.b." * 800,
    b"[[a]]\n" * 50,
    b'"""',
    b"'''",
    b"\\u0000",
    b"\\ud800",
    b"1979-05-27T07:32:00Z",
    b"true",
    b"null",
    b"{}",
    b"[]",
    b"= ",
    b"\n[patch]\n",
    b"schema = 2\n",
    b"==1.*",
    b">=1,<0",
    b"===x",
    b"1!9",
    b"*",
    b"a" * 70_000,
    "é".encode(),
    "ＡＢ".encode(),
    b"sha256:",
)
"""Snippets that are pasted into texts."""


def mutated(sample: bytes) -> st.SearchStrategy[bytes]:
    """A sample after up to four edits."""
    place = st.integers(0, len(sample))
    edits = st.one_of(
        st.tuples(st.just("flip"), place, st.integers(0, 7)),
        st.tuples(st.just("cut"), place, st.integers(1, 64)),
        st.tuples(st.just("truncate"), place, st.just(0)),
        st.tuples(st.just("paste"), place, st.sampled_from(PROBES)),
        st.tuples(st.just("replace"), place, st.sampled_from(PROBES)),
        st.tuples(st.just("insert"), place, st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("repeat"), place, st.integers(1, 200)),
        st.tuples(st.just("line"), place, st.integers(0, 40)),
        st.tuples(st.just("number"), place, st.sampled_from((b"0", b"-1", b"1e400", b"9" * 30, b"0.5", b"nan"))),
    )
    return st.lists(edits, min_size=1, max_size=4).map(lambda made: _edited(sample, made))


def _edited(data: bytes, edits: list[Any]) -> bytes:
    for kind, place, what in edits:
        at = min(place, len(data))
        if kind == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ 1 << what]) + data[at + 1 :]
        elif kind == "cut":
            data = data[:at] + data[at + what :]
        elif kind == "truncate":
            data = data[:at]
        elif kind in ("paste", "insert"):
            data = data[:at] + what + data[at:]
        elif kind == "replace":  # the value of a line
            start = data.find(b"= ", at)
            end = data.find(b"\n", start)
            data = data[: start + 2] + what + data[end:] if 0 <= start < end else data + what
        elif kind == "repeat":
            data = data[:at] + data[max(0, at - 20) : at] * what + data[at:]
        elif kind == "line":  # a line once more, elsewhere
            lines = data.split(b"\n")
            data = b"\n".join([*lines, lines[what % len(lines)]])
        elif kind == "number":
            digits = next((i for i in range(at, len(data)) if data[i : i + 1].isdigit()), len(data))
            data = data[:digits] + what + data[digits + 1 :]
    return data


def packages(sample: bytes) -> st.SearchStrategy[bytes]:
    """A package file that is damaged as bytes, as a zip, or inside."""
    members = _members(sample)
    names = st.one_of(
        st.sampled_from(sorted(members)),
        st.sampled_from(
            (
                "/abs",
                "../up",
                "suites/../../x",
                "suites/./x",
                "a\\b",
                "PATCH.toml",
                "suites/con",
                "x" * 300,
                "",
                "suites/é",
                "suites/\x00",
                "patch.toml/",
                "suites/x.",
                "C:/x",
                "suites//x",
                "RECORD ",
                "suites/a/b/c/d/e/f/g/h/i",
            )
        ),
    )
    contents = st.one_of(
        st.sampled_from(sorted(members)).flatmap(lambda name: mutated(members[name])),
        st.just(bytes(30_000_000)),
        st.binary(max_size=50),
    )
    extra = st.tuples(
        st.sampled_from(
            ("replace", "replace", "replace", "add", "twice", "link", "deflated", "wrong size", "encrypted")
        ),
        names,
        contents,
        st.booleans(),
    )
    zips = st.lists(extra, min_size=1, max_size=3).map(lambda tweaks: _zipped(members, tweaks))
    headers = st.one_of(mutated(_header(members["prefix.safetensors"])), st.sampled_from(LIES)).flatmap(
        lambda header: st.integers(-5, 5).map(
            lambda off: _zipped(
                members, [("replace", "prefix.safetensors", _tensors(header, members["prefix.safetensors"], off), True)]
            )
        )
    )
    return st.one_of(mutated(sample), zips, zips, headers)


LYING: tuple[object, ...] = (
    {"prefix": {"dtype": "F32", "shape": [20, 128], "data_offsets": [0, 2**62]}},
    {"prefix": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 10240]}},
    {"prefix": {"dtype": "F32", "shape": [-1, 128], "data_offsets": [0, 10240]}},
    {"prefix": {"dtype": "F32", "shape": [20, 128], "data_offsets": [10240, 0]}},
    {"prefix": {"dtype": "I64", "shape": [20, 64], "data_offsets": [0, 10240]}},
    {"prefix": {"dtype": "F32", "shape": [], "data_offsets": [0, 10240]}},
    {"prefix": {"dtype": "F32", "shape": [20, 128], "data_offsets": [0, 10240]}, "more": {}},
    {"__metadata__": {"a": 1}, "prefix": {"dtype": "F32", "shape": [20, 128], "data_offsets": [0, 10240]}},
    {"prefix": [1, 2, 3]},
    [],
)
LIES = tuple(json.dumps(header).encode() for header in LYING)


def _members(package: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _header(tensors: bytes) -> bytes:
    return tensors[8 : 8 + struct.unpack("<Q", tensors[:8])[0]]


def _tensors(header: bytes, original: bytes, off: int) -> bytes:
    body = original[8 + len(_header(original)) :]
    return struct.pack("<Q", max(0, len(header) + off)) + header + body


def _zipped(members: dict[str, bytes], tweaks: list[tuple[str, str, bytes, bool]]) -> bytes:
    """A zip of the members with some of them tweaked; `honest` lets the RECORD agree with what is there."""
    made = dict(members)
    honest = all(tweak[3] for tweak in tweaks)
    for how, name, content, _ in tweaks:
        if how in ("replace", "add", "deflated"):
            made[name] = content
    if honest:
        lines = [f"{n},sha256:{sha256(d)},{len(d)}" for n, d in made.items() if n != "RECORD"]
        made["RECORD"] = ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
    buffer = io.BytesIO()
    odd = {name: how for how, name, _, _ in tweaks}
    with zipfile.ZipFile(buffer, "w", allowZip64=True) as archive, contextlib.suppress(ValueError):
        for name, data in made.items():
            info = zipfile.ZipInfo(name or "x")
            info.filename = name
            how = odd.get(name, "")
            info.external_attr = (0o120777 if how == "link" else 0o644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED if how == "deflated" or len(data) > 10**6 else zipfile.ZIP_STORED
            with _silent():
                archive.writestr(info, data)
                if how == "twice":
                    archive.writestr(info, data)
            if how == "wrong size":
                info.file_size = 7
            if how == "encrypted":
                info.flag_bits |= 1
    return buffer.getvalue()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@dataclass(frozen=True)
class Kind:
    """Files of one kind: how cases are made from samples, and what ppm does with one, in a folder of its own."""

    cases: st.SearchStrategy[bytes]
    read: Callable[[bytes, Path], object]


def _parsed(read: Callable[[bytes, str], object]) -> Callable[[bytes, Path], object]:
    return lambda data, _: read(data, "case")


def _in_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], object]:
    def run(data: bytes, folder: Path) -> object:
        path = folder / name
        path.write_bytes(data)
        return read(path)

    return run


def _environment(file: str) -> Callable[[bytes, Path], object]:
    """Reads an environment in which one file is the case."""

    def run(data: bytes, folder: Path) -> None:
        environment = Environment(folder, "lab-000000000000")
        place = environment.deployment_path(1)
        place.mkdir(parents=True, exist_ok=True)
        (environment.path / "current").write_bytes(b"000001\n")
        # The digest of what is there, so that it is read and not only refused as changed.
        own = data if file == "ppm.lock" else LOCK
        (place / "deployment.toml").write_bytes(RECORD.replace(sha256(LOCK).encode(), sha256(own).encode()))
        (place / "ppm.lock").write_bytes(LOCK)
        path = {"current": environment.path, "holds.toml": environment.path}.get(file, place) / file
        path.write_bytes(data)
        read_holds(environment)
        deployment = environment.current()
        if deployment is not None:
            deployment.files()
            assert deployment.lock is not None

    return run


def _listed(data: bytes, folder: Path) -> None:
    """Lists a folder with the case in it, twice: from the file, and from the cache."""
    for name in ("toxicity-1.0.0-lab_000000000000.ppm", "x.ppm"):
        (folder / name).write_bytes(data)
    for _ in range(2):
        source = open_source(folder, folder / "cache")
        for name in ("toxicity", "x"):
            source.named(name)
            source.problems(name)


def _kept_result(data: bytes, folder: Path) -> None:
    """Reads a kept result: what is damaged is as good as none, and is told."""
    key = "ab" * 32
    path = folder / key[:2] / f"{key}.json"
    path.parent.mkdir()
    path.write_bytes(data)
    answers = ResultStore(folder, "weights").get(key)
    assert not (answers and list(damaged_entries(folder)))


LOCK = b"""schema = 1
requirements = ["toxicity>=1"]
strategy = "auto"
strategy_digest = "sha256:%s"

[base]
model = "lab"
fingerprint = "sha256:%s"

[[packages]]
name = "toxicity"
version = "1.0.0"
file = "toxicity-1.0.0-lab_000000000000.ppm"
sha256 = "%s"
source = "lab"
requested = true

[composition]
sha256 = "%s"
audit = "%s"
""" % ((b"0" * 64,) * 5)
RECORD = b"""schema = 1
number = 1
created = "2026-01-01T00:00:00Z"
command = "ppm install toxicity"
user = "somebody"
ppm_version = "0.1"
base_model = "lab"
fingerprint = "sha256:%s"
verdict = "pass"

[files]
"ppm.lock" = "sha256:%s"
""" % (b"0" * 64, sha256(LOCK).encode())
AUDIT = Audit(
    base="lab",
    strategy="distilled",
    verdict="pass",
    alpha=0.05,
    configurations=("base", "composition"),
    matrix={name: {"a/main": Cell(0.1, 0.05, 0.2, 500)} for name in ("base", "composition")},
    comparisons=(Comparison("a/main", "effect", "base", 0.8, 0.7, 0.9, 0.3, "pass"),),
    attempts=(Attempt("distilled", 0.025, "pass", "", 1),),
    waivers=(Waiver("helpful", "accepted", "somebody"),),
    continual={"forgetting": 0.0},
    prefix="sha256:" + "0" * 64,
    suites={"a/main": AuditedSuite(500, "rate", "sha256:" + "1" * 64)},
).to_json()
HOLDS = (
    b'schema = 1\n\n[[holds]]\nname = "toxicity"\nby = "somebody"\nat = "2026-01-01T00:00:00+00:00"\nreason = "why"\n'
)
LEDGER = b'{"composition": "ab", "strategy": "distilled", "seed": 0, "looks": [0.5], "verdict": "fail", "at": ""}\n'
ANSWERS = {"1": [0.5, ["a", "b"]], "2": [0.0, ["c"]]}
RESULTS = [json.dumps(table).encode() for table in (ANSWERS, {"digest": canonical_digest(ANSWERS), "answers": ANSWERS})]
PROJECT = b"""base = "lab"
patches = ["toxicity>=1,<2", "gender-bias"]
strategy = "auto"
sources = ["dist"]
constraints = ["core<2"]
exclude_newer = "2026-06-01"

[gates]
alpha = 0.05
max_margin = 0.05
looks = [0.5]
suites = ["own.toml"]
"""
REQUIREMENTS = b"# pinned\ntoxicity==1.0.0 \\\n    --hash=sha256:%s\ngender-bias>=1,<2 # fine\n" % (b"0" * 64)


def sealed(content: bytes, comment: bytes = b"") -> bytes:
    """The bytes of a file with one entry that says what it holds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        evidence.write(path, content, 1, comment=comment)
        return path.read_bytes()


def small_package() -> bytes:
    """The lab's toxicity patch with a few prompts of its data."""
    package = read_package(next((lab_data() / "packages").glob("toxicity-*.ppm")))
    fewer = {
        path: b"\n".join(data.split(b"\n")[:5]) + b"\n" if path.endswith(".jsonl") else data
        for path, data in package.files.items()
    }
    return replace(package, files=fewer).to_bytes()


def kinds() -> dict[str, Kind]:
    """Everything that is fuzzed."""
    package = small_package()
    manifests = [path.read_bytes() for path in sorted(lab_manifests().glob("*/patch.toml"))[:2]]
    texts = {"prompts": read_prompts, "pairs": read_pairs, "benign": read_benign}
    lines = {
        "prompts": b'{"id": "1", "prompt": "say", "expected": "x", "group": "g"}\n'
        b'{"id": "2", "messages": [{"role": "user", "content": "y"}]}\n',
        "pairs": b'{"prompt": "p", "chosen": "a", "rejected": "b", "chosen_score": 0.0, "rejected_score": 1}\n' * 2,
        "benign": b'{"prompt": "p", "completion": "c", "more": [1, {"x": null}]}\n' * 2,
    }
    recipe = (strategies_folder() / "distilled.toml").read_bytes()
    return {
        "manifest": Kind(st.sampled_from(manifests).flatmap(mutated), _parsed(Manifest.parse)),
        "package": Kind(packages(package), lambda data, _: read_package(data)),
        "listing": Kind(packages(package), _listed),
        "metadata": Kind(packages(package), _in_file("x.ppm", read_metadata)),
        "lock": Kind(mutated(LOCK), _parsed(Lock.parse)),
        "project": Kind(mutated(PROJECT), _in_file("ppm.toml", Project.read)),
        "requirements": Kind(mutated(REQUIREMENTS), _in_file("patches.txt", read_lines)),
        "strategy": Kind(mutated(recipe), _in_file("own.toml", lambda path: read_strategy(str(path)))),
        "deployed lock": Kind(mutated(LOCK), _environment("ppm.lock")),
        "record": Kind(mutated(RECORD), _environment("deployment.toml")),
        "current": Kind(st.sampled_from([b"000001\n", number_file(1)]).flatmap(mutated), _environment("current")),
        "holds": Kind(st.sampled_from([HOLDS, sealed(HOLDS, b"# ")]).flatmap(mutated), _environment("holds.toml")),
        "ledger": Kind(
            st.sampled_from([LEDGER, sealed(LEDGER)]).flatmap(mutated), _in_file("ledger.jsonl", read_ledger)
        ),
        "kept result": Kind(st.sampled_from(RESULTS).flatmap(mutated), _kept_result),
        "audit": Kind(mutated(AUDIT), _parsed(Audit.parse)),
        **{name: Kind(mutated(lines[name]), _parsed(read)) for name, read in texts.items()},
    }


@dataclass
class Watch:
    """Runs cases one by one, and raises AssertionError for one that ends as none may."""

    kind: Kind
    folder: Path
    outcomes: Counter[str] = field(default_factory=Counter)

    def __call__(self, data: bytes) -> None:
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            inside[0] = name
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            try:
                with limited_memory():
                    self.kind.read(data, Path(name))
                self.outcomes["read"] += 1
            except PpmError as error:
                if not error.message.strip() or "Traceback" in str(error):
                    raise AssertionError(f"an unclear message: {error}") from error
                self.outcomes["refused"] += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                inside[0] = ""


inside = [""]
"""The folder that alone may be written to now; "" while no case is read."""


def forbid_writing_elsewhere() -> None:
    """From now on, this process may change files below `inside` only."""

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if not inside[0] or isinstance(arguments[0] if arguments else 0, int):
            return
        opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES
        if opened or event in CHANGES:
            path = (Path.cwd() / os.fsdecode(arguments[0])).resolve()
            if not path.is_relative_to(inside[0]) and path.parts[1] != "dev":
                raise AssertionError(f"{event} outside of the folder: {path}")

    sys.addaudithook(watch)


@contextlib.contextmanager
def limited_memory() -> Iterator[None]:
    """Inside, this process may take so much memory more, and no more."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MORE_MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def fuzz(kind: Kind, cases: int, number: int, folder: Path) -> Counter[str]:
    """Outcomes of so many cases of one kind. Raises what the first fault raises, for the smallest case found."""
    watch = Watch(kind, folder)

    @seed(number)
    @settings(
        max_examples=cases,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(kind.cases)
    def one(data: bytes) -> None:
        watch(data)

    one()
    return watch.outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = kinds()
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--kinds", nargs="+", choices=list(known), default=list(known))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    def hang(*_: Any) -> None:
        raise AssertionError(f"took more than {SECONDS:g} seconds")

    signal.signal(signal.SIGALRM, hang)
    each = -(-options.cases // len(options.kinds))
    print("| kind | cases | read | refused | faults | seconds |\n| --- | --- | --- | --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory() as name:
        for kind in options.kinds:
            child = os.fork()  # each kind with memory of its own
            if child == 0:
                forbid_writing_elsewhere()
                started = time.perf_counter()
                folder = Path(name) / kind
                folder.mkdir()
                found = fuzz(known[kind], each, options.seed, folder)
                seconds = time.perf_counter() - started
                total = sum(found.values())
                print(
                    f"| {kind} | {total:,} | {found['read']:,} | {found['refused']:,} | 0 | {seconds:.0f} |", flush=True
                )
                # Where whole files are refused, damaged ones show nothing.
                os._exit(0 if found["read"] or total < ENOUGH else 2)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if status != 0:
                sys.exit(f"{kind}: {'none of the files was read' if status == 2 else 'a fault, see above'}")


if __name__ == "__main__":
    main()
