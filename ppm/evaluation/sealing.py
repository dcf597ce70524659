"""Splits a suite in two: an open part, and a sealed one of which nothing but rates is ever shown.

Whoever sees the prompts on which a patch fails can mend these and nothing else. Of prompts that nobody sees that is not
possible. Which groups are sealed is left to chance, so that knowing the file does not tell.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ppm import document
from ppm.base import BaseSuites, read_suites
from ppm.disk import disk_errors, replace_file
from ppm.errors import ManifestError, RequestError, did_you_mean
from ppm.evaluation.groups import UNDECLARED, groups_of
from ppm.jsonl import dump, read_prompts
from ppm.suite import Suite

__all__ = ["SplitSuite", "seal"]


@dataclass(frozen=True)
class SplitSuite:
    """What a suite was split into: the file that declares both parts, and for each its file, prompts and groups."""

    declared: Path
    parts: tuple[tuple[Path, int, int], ...]


def seal(path: Path, name: str | None = None, *, share: float = 0.5, output: Path | None = None) -> SplitSuite:
    """Split a suite of a TOML file: `share` of its groups are sealed.

    The parts stand beside the prompts, and `output` (FILE-sealed.toml by default) declares both and the file's other
    suites as they are. Nothing is overwritten. Raises RequestError for a suite that is not there, that is sealed, or
    has fewer than two groups, ManifestError for a file that can't be read, DiskError for one that can't be written.
    """
    suites = read_suites(path)
    suite = _chosen(suites, name, path)
    declared = output or path.with_name(f"{path.stem}-sealed.toml")
    if declared.absolute().parent != path.absolute().parent:
        hint = f"choose a file in {path.absolute().parent}"
        raise RequestError("has to stand beside the suite's prompts", context=str(declared), hint=hint)
    origin = str(path.parent / suite.prompts)
    try:
        prompts = read_prompts((path.parent / suite.prompts).read_bytes(), origin)
    except OSError as error:
        raise ManifestError(f"can't be read: {error.strerror}", context=origin) from error
    groups = groups_of(prompts, suite.group if suite.group is not None else UNDECLARED, origin)
    order = sorted(set(groups.values()))
    random.SystemRandom().shuffle(order)
    hidden = set(order[: round(share * len(order))])
    if not 0 < len(hidden) < len(order):
        raise RequestError(
            f"the suite {suite.name!r} has too few groups to seal {share:g} of them: {len(order)}",
            hint="give it more prompts that are unlike each other, or change --share",
        )
    stem = suite.prompts.removesuffix(".jsonl")
    names = {False: f"{stem}.open.jsonl", True: f"{stem}.sealed.jsonl"}
    kept = {part: [p for p in prompts if (groups[p.id] in hidden) is part] for part in names}
    try:
        parts = (
            replace(suite, prompts=names[False]),
            replace(suite, name=f"{suite.name}-sealed", prompts=names[True], sealed=True),
        )
        table = BaseSuites(1, tuple(new for one in suites for new in (parts if one is suite else (one,))))
    except ValueError as error:
        raise RequestError(f"its sealed part can't be named: {error}", context=str(path)) from error
    contents = {path.parent / names[part]: dump(rows) for part, rows in kept.items()}
    contents[declared] = document.render(document.table_of(table)).encode()
    taken = next((target for target in contents if target.exists()), None)
    if taken is not None:
        raise RequestError("already exists", context=str(taken), hint="nothing was written; move it away first")
    _write(contents, path.parent / names[True])
    sizes = {part: len({groups[p.id] for p in rows}) for part, rows in kept.items()}
    return SplitSuite(declared, tuple((path.parent / names[part], len(kept[part]), sizes[part]) for part in names))


def _write(contents: Mapping[Path, bytes], hidden: Path) -> None:
    """Write files, all or none; the `hidden` one is for its owner alone. Raises DiskError."""
    written: list[Path] = []
    try:
        for target, data in contents.items():
            with disk_errors("can't be written", target):
                replace_file(target, data)
                written.append(target)
                if target == hidden:
                    target.chmod(0o600)
    except BaseException:
        for target in written:
            target.unlink(missing_ok=True)
        raise


def _chosen(suites: tuple[Suite, ...], name: str | None, path: Path) -> Suite:
    names = [suite.name for suite in suites]
    if name is None and len(suites) != 1:
        raise RequestError("which suite?", context=str(path), hint=f"name one with --suite: {', '.join(names)}")
    found = next((suite for suite in suites if name in (None, suite.name)), None)
    if found is None:
        hint = did_you_mean(str(name), names, f"it has {', '.join(names)}")
        raise RequestError(f"there is no suite {name!r}", context=str(path), hint=hint)
    if found.sealed:
        raise RequestError(f"the suite {found.name!r} is sealed already", context=str(path))
    others = [one.name for one in suites if one.prompts == found.prompts and one is not found]
    if others:
        raise RequestError(
            f"{', '.join(others)} asks the same prompts, and would go on showing them",
            context=str(path),
            hint=f"take it out of the file, or give it prompts of its own, before {found.name!r} is sealed",
        )
    return found
