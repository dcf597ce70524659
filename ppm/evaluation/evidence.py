"""Measured judges of suites: which suite of a manifest, or of a file of suites, is meant, and its evidence there."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Table

from ppm.base import suites_of_table
from ppm.disk import disk_errors, replace_file
from ppm.document import parse, table_of
from ppm.encoding import decode
from ppm.errors import ManifestError, RequestError, did_you_mean
from ppm.evaluation.judges.base import Scorer
from ppm.evaluation.judges.registry import find_judge, make_judge
from ppm.manifest import SCHEMA, Manifest
from ppm.names import exists
from ppm.suite import Evidence, Judge, Suite, judge_files

__all__ = ["MeasuredJudge", "SuiteOnDisk", "as_toml", "find_suite", "judge_with", "options_of"]


@dataclass(frozen=True)
class MeasuredJudge:
    """A judge that is ready to score, and its version with what else its verdicts depend on."""

    name: str
    version: str
    scorer: Scorer


@dataclass(frozen=True)
class SuiteOnDisk:
    """A suite in a source manifest on disk, or in a deployer's file of suites."""

    path: Path
    suite: Suite

    def judge(self) -> MeasuredJudge:
        """The suite's judge with its options and files. Raises ManifestError."""
        return judge_with(self.suite.judge, self.path.parent, str(self.path))

    def write(self, evidence: Evidence) -> None:
        """Put evidence into the file, whose comments stay, in place of what the suite has. Raises PpmError."""
        with disk_errors("can't be read", self.path):
            before = self.path.read_bytes()
        try:
            table = tomlkit.parse(decode(before))
        except (TOMLKitError, UnicodeDecodeError) as error:
            raise ManifestError(f"can't be edited: {error}", context=str(self.path)) from error
        controls = self.suite.evidence.controls if self.suite.evidence is not None else None
        if "patch" in table and int(table["schema"]) < SCHEMA:
            table["schema"] = SCHEMA
        for suite in table["suites"]:
            if str(suite["name"]) == self.suite.name:
                written = table_of(replace(evidence, controls=controls))
                suite["evidence"] = _spaced(written) if isinstance(suite, Table) else written
        after = tomlkit.dumps(table).rstrip() + "\n"
        _suites(after.encode(), self.path)
        with disk_errors("can't be written", self.path):
            replace_file(self.path, after.encode())


def _spaced(table: dict[str, object]) -> Table:
    """A table with an empty line after it."""
    spaced = tomlkit.table()
    spaced.update(table)
    spaced.add(tomlkit.nl())
    return spaced


def _suites(data: bytes, path: Path) -> tuple[Suite, ...]:
    """Those of a manifest, or of a file that has nothing but suites. Raises ManifestError."""
    table = parse(data, str(path))
    if "patch" in table:
        return Manifest.parse(data, str(path)).suites
    return suites_of_table(table, str(path))


def find_suite(text: str, judge: str) -> SuiteOnDisk:
    """The suite that `FILE` or `FILE:SUITE` names: there, or alone there, with this judge. Raises PpmError."""
    path, name = Path(text), ""
    if not exists(path) and ":" in text:
        before, _, name = text.rpartition(":")
        path = Path(before)
    path = path / "patch.toml" if path.is_dir() else path
    with disk_errors("can't be read", path):
        every = _suites(path.read_bytes(), path)
    suites = [suite for suite in every if suite.judge.name == judge]
    listed = ", ".join(suite.name for suite in suites)
    if name:
        found = next((suite for suite in every if suite.name == name), None)
        if found is None:
            names = [suite.name for suite in every]
            hint = did_you_mean(name, names, f"it has {', '.join(names) or 'none'}")
            raise RequestError(f"there is no suite {name!r}", context=str(path), hint=hint)
        if found.judge.name != judge:
            raise RequestError(
                f"the judge of the suite {name!r} is {found.judge.name!r}, not {judge!r}",
                context=str(path),
                hint=f"suites with {judge!r}: {listed or 'none'}",
            )
        return SuiteOnDisk(path, found)
    if len(suites) != 1:
        several = f"name one as {path}:SUITE: {listed}"
        raise RequestError(
            f"{len(suites) or 'no'} suites have the judge {judge!r}",
            context=str(path),
            hint=several if suites else "name the judge that a suite of it has",
        )
    return SuiteOnDisk(path, suites[0])


def judge_with(judge: Judge, folder: Path, origin: str) -> MeasuredJudge:
    """A judge from its options; those that name a file have it in `folder`. Raises ManifestError."""
    files = {}
    for path in judge_files(judge).values():
        with disk_errors("can't be read", folder / path):
            files[path] = (folder / path).read_bytes()
    scorer = make_judge(judge, files, origin)
    return MeasuredJudge(judge.name, find_judge(judge.name, origin).version + scorer.identity, scorer)


def as_toml(evidence: Evidence) -> str:
    """Evidence as a manifest has it, below its `[[suites]]`."""
    return f"[suites.evidence]\n{tomlkit.dumps(table_of(evidence))}".rstrip()


def options_of(pairs: Sequence[str]) -> dict[str, object]:
    """The options that `KEY=VALUE` pairs name; a value is TOML, or else a text. Raises RequestError."""
    options: dict[str, object] = {}
    for pair in pairs:
        key, mark, value = pair.partition("=")
        if not mark or not key:
            raise RequestError(f"{pair!r} is no option of a judge", hint="write it as KEY=VALUE")
        try:
            options[key] = tomlkit.parse(f"value = {value}").unwrap()["value"]
        except TOMLKitError:
            options[key] = value
    return options
