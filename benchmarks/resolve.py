"""How long resolving takes, in indexes of growing size, beside resolvelib on the same graphs.

    python benchmarks/resolve.py [--names 1000 10000 100000] [--versions 20] [--directory 10000] [--files 10000]

Three requirements are resolved. A name depends on up to three others, five layers deep, each version on a range of
versions, some of which exclude the newest; so a request reaches a few dozen names and has to go back a few times.
The first table has a directory of that many package files whose metadata is in the cache (`--directory 0` leaves it
out: it makes 20 small files a name), each time in a new process; the second releases in memory. Times are the median
of five. The third is of a directory of real package files (`--files`) that is read for the first time, and again with
what the cache then has; the fourth of patches that exclude each other in groups, one group fewer than patches.
"""

import argparse
import io
import random
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from packaging.version import Version
from resolvelib import AbstractProvider, BaseReporter, Resolver

from ppm.bank import Bank, Block
from ppm.errors import ResolutionError
from ppm.manifest import Base, Manifest, Patch, PrefixShape
from ppm.package import Package, file_name, sha256
from ppm.resolve import Requirement, parse_requirement, resolve
from ppm.sources import Listing, Release
from ppm.sources.base import Offer, declarations
from ppm.sources.cache import Entry, MetadataCache
from ppm.sources.directory import DirectorySource, stamp_of

FINGERPRINT = "sha256:" + "0" * 64
LAYERS = 5
ROUNDS = 5


class Index:
    """Releases that are made when they are looked at: the same for the same name, whatever was looked at before."""

    def __init__(self, names: int, versions: int) -> None:
        self.count, self.versions_each = names, versions
        self.named = lru_cache(maxsize=None)(self._named)

    def name(self, layer: int, number: int) -> str:
        return f"patch-{layer}-{number}"

    def all_names(self) -> Iterator[str]:
        return (self.name(layer, i) for layer in range(LAYERS) for i in range(self.count // LAYERS))

    def requirements(self, seed: int) -> list[Requirement]:
        rng = random.Random(seed)
        return [parse_requirement(self.name(0, i)) for i in rng.sample(range(self.count // LAYERS), 3)]

    def _named(self, name: str) -> Sequence[Release]:
        _, layer, _ = name.split("-")
        rng = random.Random(name)
        below = rng.sample(range(self.count // LAYERS), rng.randint(0, 3)) if int(layer) < LAYERS - 1 else []
        needed = [self.name(int(layer) + 1, i) for i in below]
        found = []
        for i in range(1, self.versions_each + 1):
            needs = {other: rng.choice(("*", f">={i // 2}", f">={i // 3},<{i + 2}", f"!={i}")) for other in needed}
            found.append(make_release(name, f"{i}.0", needs))
        return found

    def compositions(self, name: str) -> Sequence[Release]:
        return ()

    def providers(self, name: str, fingerprint: str) -> Iterable[str]:
        return ()

    def names(self, fingerprint: str | None) -> Iterable[str]:
        return self.all_names()

    def composed_names(self) -> Iterable[str]:
        return ()

    def problems(self, name: str) -> Sequence[str]:
        return ()


def make_release(
    name: str, version: str, needs: Mapping[str, str], conflicts: Mapping[str, str] | None = None
) -> Release:
    return Release(
        name=name,
        version=Version(version),
        base_tag="tiny-000000000000",
        base_model="acme/tiny",
        fingerprint=FINGERPRINT,
        file_name=f"{name.replace('-', '_')}-{version}-tiny_000000000000.ppm",
        sha256=sha256(f"{name} {version}".encode()),
        source="",
        dependencies=declarations(needs),
        conflicts=declarations(conflicts or {}),
    )


def with_ppm(offer: Offer, requirements: Sequence[Requirement]) -> int:
    """The number of patches that ppm chooses."""
    return len(resolve(requirements, offer, fingerprint=FINGERPRINT, base_name="tiny").pins)


class Provider(AbstractProvider[Requirement, Release, str]):
    """What resolvelib asks, answered out of the same index."""

    def __init__(self, index: Index) -> None:
        self.index = index

    def identify(self, requirement_or_candidate: Any) -> str:
        return str(requirement_or_candidate.name)

    def get_preference(
        self, identifier: Any, resolutions: Any, candidates: Any, information: Any, backtrack_causes: Any
    ) -> Any:
        return identifier

    def find_matches(self, identifier: Any, requirements: Any, incompatibilities: Any) -> Any:
        bad = {release.version for release in incompatibilities[identifier]}
        wanted = [requirement.specifier for requirement in requirements[identifier]]
        fits = [
            release
            for release in self.index.named(identifier)
            if release.version not in bad and all(s.contains(release.version) for s in wanted)
        ]
        return sorted(fits, key=lambda release: release.version, reverse=True)

    def is_satisfied_by(self, requirement: Any, candidate: Any) -> bool:
        return bool(requirement.specifier.contains(candidate.version))

    def get_dependencies(self, candidate: Any) -> Any:
        return list(candidate.dependencies.values())


def with_resolvelib(index: Index, requirements: Sequence[Requirement]) -> int:
    """The number of packages that resolvelib chooses."""
    return len(Resolver(Provider(index), BaseReporter()).resolve(requirements, max_rounds=100_000).mapping)


def timed(solve: Callable[[Index, Sequence[Requirement]], int], index: Index) -> tuple[float, float]:
    """Median seconds and patches, over requests with different seeds."""
    seconds, sizes = [], []
    for seed in range(ROUNDS):
        started = time.perf_counter()
        sizes.append(solve(index, index.requirements(seed)))
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), statistics.median(sizes)


def make_directory(index: Index, folder: Path, cache: Path) -> None:
    """Package files that are empty, and a cache that knows what would be in them."""
    folder.mkdir()
    entries = []
    for name in index.all_names():
        for release in index.named(name):
            path = folder / release.file_name
            path.touch()
            entries.append(Entry(path.name, stamp_of(path), name, replace(release, source=str(folder))))
    known = MetadataCache.open(cache, folder)
    known.put(entries)
    known.listed(stamp_of(folder))


def resolve_directory(folder: Path, cache: Path, index: Index, seed: int) -> None:
    """What a new process does; prints its seconds and the number of patches."""
    requirements = index.requirements(seed)
    started = time.perf_counter()
    size = with_ppm(DirectorySource(folder, cache), requirements)
    print(time.perf_counter() - started, size)


def print_directory(names: int, versions: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder, cache = Path(scratch) / "packages", Path(scratch) / "cache"
        make_directory(Index(names, versions), folder, cache)
        found = []
        for seed in range(ROUNDS):
            command = [sys.executable, __file__, "--measure", str(folder), str(cache), str(seed)]
            command += ["--names", str(names), "--versions", str(versions)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(tuple(map(float, done.stdout.split())))
    seconds, sizes = (statistics.median(column) for column in zip(*found, strict=True))
    print("| directory | files | patches chosen | seconds |\n| --- | --- | --- | --- |")
    print(f"| {names:,} names x {versions} versions | {names * versions:,} | {sizes:.0f} | {seconds:.2f} |\n")


def make_files(folder: Path, count: int) -> None:
    """Small package files of 20 versions a name; all but the manifest is the same in each."""
    folder.mkdir()
    fingerprint = "sha256:" + "0123456789abcdef" * 4
    manifest = Manifest(
        1,
        Patch("patch-name", "999.0", risks=("toxicity",), summary="A benchmark's.", license="Apache-2.0"),
        Base("acme/tiny", fingerprint=fingerprint),
        PrefixShape(2),
        dependencies={"patch-core": ">=1,<30"},
    )
    data = Package(manifest, Bank((Block((2, 4), bytes(32)),)), {"replay.jsonl": b"{}"}).to_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for i in range(count):
        name, version = f"patch-{i // 20}", f"{i % 20 + 1}.0"
        path = folder / file_name(replace(manifest, patch=replace(manifest.patch, name=name, version=version)))
        text = members["patch.toml"].replace(b"patch-name", name.encode()).replace(b"999.0", version.encode())
        with zipfile.ZipFile(path, "w") as archive:
            for member, content in {**members, "patch.toml": text}.items():
                archive.writestr(member, content)


def print_files(count: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder, cache = Path(scratch) / "packages", Path(scratch) / "cache"
        make_files(folder, count)
        seconds = []
        for _ in range(2):
            wall, cpu = time.perf_counter(), time.process_time()
            found = sum(1 for _ in DirectorySource(folder, cache).names(None))
            seconds.append((time.perf_counter() - wall, time.process_time() - cpu))
            assert found == (count + 19) // 20, found
    (first, first_cpu), (again, again_cpu) = seconds
    print("\n| files | first time, s | of CPU | again, s | of CPU |\n| --- | --- | --- | --- | --- |")
    print(f"| {count:,} | {first:.2f} | {first_cpu:.2f} | {again:.2f} | {again_cpu:.2f} |")


def print_crowds() -> None:
    print("\n| patches that exclude each other | groups | explained after, s |\n| --- | --- | --- |")
    for count in range(6, 13):
        names = [f"patch-{i}" for i in range(count)]
        releases = [
            make_release(name, str(group), {}, {other: f"=={group}" for other in names if other != name})
            for name in names
            for group in range(1, count)
        ]
        started = time.perf_counter()
        try:
            with_ppm(Listing(releases), [parse_requirement(name) for name in names])
        except ResolutionError:
            print(f"| {count} | {count - 1} | {time.perf_counter() - started:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--versions", type=int, default=20)
    parser.add_argument("--directory", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        folder, cache, seed = options.measure
        resolve_directory(Path(folder), Path(cache), Index(options.names[0], options.versions), int(seed))
        return
    if options.directory:
        print_directory(options.directory, options.versions)
    print("| names in memory | patches chosen | ppm, s | resolvelib, s |\n| --- | --- | --- | --- |")
    for names in options.names:
        ppm, size = timed(with_ppm, Index(names, options.versions))
        other, _ = timed(with_resolvelib, Index(names, options.versions))
        print(f"| {names:,} | {size:.0f} | {ppm:.3f} | {other:.3f} |")
    if options.files:
        print_files(options.files)
    print_crowds()


if __name__ == "__main__":
    main()
