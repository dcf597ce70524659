"""How long resolving takes, in indexes of growing size, beside resolvelib on the same graphs.

    python benchmarks/resolve.py [--names 1000 10000 100000] [--versions 20] [--directory 10000]

Three requirements are resolved. A name depends on up to three others, five layers deep, each version on a range of
versions, some of which exclude the newest; so a request reaches a few dozen names and has to go back a few times.
The first table has a directory of that many package files whose metadata is in the cache (`--directory 0` leaves it
out: it makes 20 small files a name), each time in a new process; the second releases in memory. Times are the median
of five.
"""

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.version import Version
from resolvelib import AbstractProvider, BaseReporter, Resolver

from ppm.package import sha256
from ppm.resolve import Requirement, parse_requirement, resolve
from ppm.sources import Release
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

    def providers(self, name: str, fingerprint: str) -> Iterable[str]:
        return ()

    def names(self, fingerprint: str | None) -> Iterable[str]:
        return self.all_names()

    def problems(self, name: str) -> Sequence[str]:
        return ()


def make_release(name: str, version: str, needs: Mapping[str, str]) -> Release:
    return Release(
        name=name,
        version=Version(version),
        base_tag="tiny-000000000000",
        base_model="acme/tiny",
        fingerprint=FINGERPRINT,
        file_name=f"{name.replace('-', '_')}-{version}-tiny_000000000000.ppm",
        sha256=sha256(f"{name} {version}".encode()),
        source="",
        dependencies=needs,
    )


def with_ppm(offer: Any, requirements: Sequence[Requirement]) -> int:
    """The number of patches that ppm chooses."""
    return len(resolve(requirements, offer, fingerprint=FINGERPRINT, base_name="tiny").pins)


class Provider(AbstractProvider):  # type: ignore[misc]
    """What resolvelib asks, answered out of the same index."""

    def __init__(self, index: Index) -> None:
        self.index = index

    def identify(self, requirement_or_release: Any) -> str:
        return str(requirement_or_release.name)

    def get_preference(self, identifier: Any, resolutions: Any, releases: Any, information: Any, **_: Any) -> Any:
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

    def is_satisfied_by(self, requirement: Any, release: Any) -> bool:
        return bool(requirement.specifier.contains(release.version))

    def get_dependencies(self, release: Any) -> Any:
        return [
            Requirement(name, SpecifierSet("" if text == "*" else text), name)
            for name, text in release.dependencies.items()
        ]


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--versions", type=int, default=20)
    parser.add_argument("--directory", type=int, default=10_000)
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


if __name__ == "__main__":
    main()
