"""Suites ready to run: a suite's settings with its prompts, its judge and the digest that results are kept by."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from ppm.base import read_base_suites, read_suites
from ppm.document import to_table
from ppm.environment.attempts import Asked
from ppm.errors import ManifestError, RequestError
from ppm.evaluation.agreement import Labels, read_labels
from ppm.evaluation.correction import Confusion
from ppm.evaluation.groups import UNDECLARED, groups_of
from ppm.evaluation.judges.registry import Scorer, find_judge, make_judge
from ppm.evaluation.measures.base import Measure
from ppm.evaluation.measures.registry import measure_of
from ppm.evaluation.statistics import group_means
from ppm.jsonl import Prompt, normalised, read_prompts
from ppm.names import canonical_digest
from ppm.package import Package, sha256
from ppm.project import keys_of
from ppm.resources import is_of_lab
from ppm.suite import Evidence, Judge, Suite, judge_files

__all__ = [
    "UNCALIBRATED",
    "LoadedSuite",
    "base_suites",
    "check_distinct",
    "confusion_of",
    "load_suite",
    "more_of",
    "package_suites",
    "policy_suites",
    "uncalibrated",
    "with_more",
    "without_repeats",
]


UNCALIBRATED = (
    "nobody measured how often their judges err, so their rates are as observed; "
    "`ppm judges measure JUDGE --labels FILE --write FILE:SUITE` measures one on completions that people labelled"
)
"""What it means that the judge of a suite is uncalibrated, and what to do."""


@dataclass(frozen=True)
class LoadedSuite:
    """A suite with what it needs to run.

    `owner` is the patch it came with; None for a suite of the base's or the deployer's. `judge_version` is the judge's,
    with what else its verdicts depend on, such as a model's fingerprint. `groups`: which group a prompt counts in, by
    its id; None where each counts by itself. `second` is another judge of the same answers, and `second_digest` what
    its verdicts depend on. `controls` are labelled answers for its own judge, and `changed` says how that has changed
    since it was measured. `drawn_from` is the digest of the suite whose prompts these stand for, if they do.
    """

    label: str
    suite: Suite
    owner: str | None
    prompts: tuple[Prompt, ...]
    scorer: Scorer
    digest: str
    judge_version: str
    measure: Measure
    groups: Mapping[str, str] | None = None
    second: Scorer | None = None
    second_digest: str = ""
    controls: Labels | None = None
    changed: str = ""
    drawn_from: str = ""

    def evidence(self, values: Sequence[float]) -> list[float]:
        """A prompt's values as what they count for: one a prompt, or the mean of each group's."""
        return list(values) if self.groups is None else group_means(values, [self.groups[p.id] for p in self.prompts])

    @property
    def needs_expected(self) -> bool:
        """Whether its judge compares with a prompt's `expected` text."""
        return self.scorer.needs_expected

    @property
    def is_measured(self) -> bool:
        """Whether how often its judge errs, in this version, is known; true of a judge that computes its figure."""
        known = None if self.changed else self.suite.evidence
        return not self.scorer.opinion or (known is not None and known.is_of(self.suite.judge.name, self.judge_version))

    @property
    def errors(self) -> Confusion | None:
        """How its judge errs, as counts of labelled completions; None where that is not known.

        Where labels are of groups of prompts, no more of them count than there are groups.
        """
        known = self.suite.evidence
        if known is None or not self.scorer.opinion or not self.is_measured or not self.measure.is_rate:
            return None
        return confusion_of(known)

    @property
    def asked(self) -> Asked:
        """The suite as the ledger of attempts knows it."""
        return Asked.of(self.digest, (prompt.prompt for prompt in self.prompts), self.label)

    @property
    def waiver_digest(self) -> str:
        """What a waiver is for: this suite of this patch, with its margin and limits.

        A suite of the base's or the deployer's is known by its name, as its prompts may hang on the patches.
        """
        content = (self.drawn_from or self.digest) if self.owner is not None else ""
        return canonical_digest([self.owner, content, to_table(self.suite)])

    def head(self, share: float) -> "LoadedSuite":
        """The suite with a share of its prompts, or of its groups, in an order of their own, if it has looks."""
        if share >= 1 or not self.measure.has_looks:
            return self
        groups = self.groups or {prompt.id: prompt.id for prompt in self.prompts}
        order = {group: sha256(f"{self.digest}:{group}".encode()) for group in groups.values()}
        taken = set(sorted(order, key=order.__getitem__)[: math.ceil(share * len(order))])
        shuffled = sorted(self.prompts, key=lambda prompt: order[groups[prompt.id]])
        return replace(self, prompts=tuple(prompt for prompt in shuffled if groups[prompt.id] in taken))

    def counted_in_groups(self) -> "LoadedSuite":
        """The suite with its evidence counted in groups: those that are found where it declares none."""
        if self.groups is not None:
            return self
        return replace(self, groups=groups_of(self.prompts, UNDECLARED))


def confusion_of(known: Evidence) -> Confusion:
    """Evidence as counts; where labels are of groups of prompts, no more of them count than there are groups."""
    labels = known.failures + known.successes
    share = min(1.0, (known.groups or labels) / labels)
    failures, others = (max(1, math.floor(share * count)) for count in (known.failures, known.successes))
    found, left = round(known.sensitivity * failures), round(known.specificity * others)
    return Confusion(found, failures - found, left, others - left)


def load_suite(
    suite: Suite, files: Mapping[str, bytes], *, origin: str, owner: str | None, packaged: bool = False
) -> LoadedSuite:
    """Read a suite's prompts and make its judge; a `packaged` one names no folder. Raises ManifestError."""
    prompts, groups = _read(files[suite.prompts], suite.group, f"{origin}, {suite.prompts}")
    where = f"{origin}, suite {suite.name}"
    scorer = make_judge(suite.judge, files, where, packaged=packaged)
    measure = measure_of(suite, scorer, where)
    _check_expected(scorer, suite.judge.name, prompts, f"{origin}, {suite.prompts}")
    version = find_judge(suite.judge.name, origin).version + scorer.identity
    # What a completion and its verdict depend on; margins and limits are not part of it.
    identity = {
        "prompts": sha256(files[suite.prompts]),
        **_identity(suite.judge, version, files),
        "metric": suite.metric,
        "goal": suite.goal,
        "samples": suite.samples,
        "decoding": to_table(suite.decoding),
    }
    second, second_digest = None, ""
    if suite.second_judge is not None:
        second = make_judge(suite.second_judge, files, f"{where}, second judge", packaged=packaged)
        if not measure.is_rate or scorer.next_token is not None or second.next_token is not None:
            raise ManifestError("a second judge is for rates of completions", context=where, hint="remove second_judge")
        _check_expected(second, suite.second_judge.name, prompts, f"{origin}, {suite.prompts}")
        of = find_judge(suite.second_judge.name, origin).version + second.identity
        second_digest = canonical_digest(_identity(suite.second_judge, of, files))
    digest = canonical_digest(identity)
    path = suite.evidence.controls if suite.evidence is not None else None
    controls = read_labels(files[path], f"{origin}, {path}", {}) if path is not None else None
    return LoadedSuite(
        suite.name,
        suite,
        owner,
        prompts,
        scorer,
        digest,
        version,
        measure,
        groups,
        second,
        second_digest,
        controls,
    )


@lru_cache(maxsize=128)
def _read(data: bytes, field: str | None, origin: str) -> tuple[tuple[Prompt, ...], Mapping[str, str] | None]:
    """The prompts of a suite and the groups that they count in. A command asks for the same file again and again."""
    prompts = read_prompts(data, origin)
    return prompts, groups_of(prompts, field, origin) if field is not None else None


def _identity(judge: Judge, version: str, files: Mapping[str, bytes]) -> dict[str, object]:
    """What the verdicts of a suite's judge depend on, besides the answers."""
    return {
        "judge": to_table(judge),
        "judge_version": version,
        "judge_files": {key: sha256(files[path]) for key, path in judge_files(judge).items() if path in files},
    }


def package_suites(packages: Iterable[Package]) -> list[LoadedSuite]:
    """All suites of some patches, each patch's digests once.

    A name that several use is prefixed with the patch's; with its pin, where two versions of one patch use it.
    """
    found: dict[tuple[str, str, str], tuple[LoadedSuite, str]] = {}
    for package in packages:
        owner, pin = package.manifest.name, package.manifest.pin
        for suite in package.manifest.suites:
            loaded = load_suite(suite, package.files, origin=pin, owner=owner, packaged=True)
            found.setdefault((owner, loaded.digest, canonical_digest(to_table(suite))), (loaded, pin))
    return _distinct(list(found.values()))


def _distinct(found: list[tuple[LoadedSuite, str]]) -> list[LoadedSuite]:
    names = [suite.label for suite, _ in found]
    owned = [(suite.owner, suite.label) for suite, _ in found]
    result = []
    for suite, pin in found:
        if names.count(suite.label) > 1:
            prefix = pin if owned.count((suite.owner, suite.label)) > 1 else suite.owner
            suite = replace(suite, label=f"{prefix}/{suite.label}")
        result.append(suite)
    return result


def base_suites(folder: Path) -> list[LoadedSuite]:
    """The utility suites that a base model's folder declares. Raises ManifestError."""
    return _suites_beside(read_base_suites(folder), folder)


def policy_suites(path: Path) -> list[LoadedSuite]:
    """The suites of a deployer's own file; their data stands beside it. Raises ManifestError."""
    return _suites_beside(read_suites(path), path.parent)


def _suites_beside(suites: Iterable[Suite], folder: Path) -> list[LoadedSuite]:
    loaded = []
    for suite in suites:
        files = {}
        for path in (suite.prompts, *suite.judge_files.values()):
            files[path] = _bytes_of(folder / path)
        loaded.append(load_suite(suite, files, origin=str(folder), owner=None))
    return loaded


def _bytes_of(path: Path) -> bytes:
    """A file of the deployer's. Raises ManifestError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ManifestError(f"can't be read: {error.strerror}", context=str(path)) from error


def with_more(suites: Sequence[LoadedSuite], more: Mapping[str, str]) -> list[LoadedSuite]:
    """The suites, with the deployer's further prompts: `more` has files by names of suites, as `keys_of` has them.

    Raises ManifestError for a file that has no prompts of the suite's kind, RequestError for a name that is several's.
    """
    found = list(suites)
    for key, file in more.items():
        meant = [suite for suite in suites if key in keys_of(suite.owner, suite.label)]
        owners = sorted({suite.owner or "" for suite in meant})
        if len(owners) > 1:
            several = ", ".join(f"{owner}/{key}" if owner else key for owner in owners)
            raise RequestError(
                f"there are several suites {key!r} to bring more prompts to", hint=f"name one: {several}"
            )
        found = [_with_more(suite, key, Path(file)) if suite in meant else suite for suite in found]
    return found


def _with_more(suite: LoadedSuite, key: str, path: Path) -> LoadedSuite:
    data = more_of(key, path)
    taken, prefix = {prompt.id for prompt in suite.prompts}, "more-"
    brought = read_prompts(data, str(path))
    while any(prefix + prompt.id in taken for prompt in brought):
        prefix = f"more-{prefix}"
    brought = tuple(replace(prompt, id=prefix + prompt.id) for prompt in brought)
    for scorer, judge in ((suite.scorer, suite.suite.judge), (suite.second, suite.suite.second_judge)):
        if scorer is not None and judge is not None:
            _check_expected(scorer, judge.name, brought, str(path))
    prompts = (*suite.prompts, *brought)
    field = suite.suite.group
    groups = groups_of(prompts, field, str(path)) if field is not None else None
    return replace(suite, prompts=prompts, groups=groups, digest=canonical_digest([suite.digest, sha256(data)]))


def more_of(label: str, path: Path) -> bytes:
    """A file of further prompts for a suite. Raises ManifestError."""
    try:
        return _bytes_of(path)
    except ManifestError as error:
        hint = f"put it back, name another one, or test without it: --more-prompts {label}="
        raise ManifestError(error.message, context=error.context, hint=hint) from error


def _check_expected(scorer: Scorer, judge: str, prompts: Sequence[Prompt], origin: str) -> None:
    """Raises ManifestError where a judge compares with `expected` texts and a prompt has none."""
    lacking = next((p.id for p in prompts if p.expected is None), None) if scorer.needs_expected else None
    if lacking is not None:
        raise ManifestError(f"the prompt {lacking!r} has no 'expected'", context=origin, hint=f"{judge} needs it")


def check_distinct(suite: str, prompts: Sequence[Prompt], origin: str, *, sealed: bool = False) -> None:
    """Raises ManifestError when a prompt occurs twice in a suite, compared normalised: evidence counts once.

    The prompt is shown unless the suite is `sealed`.
    """
    seen: dict[str, str] = {}
    for prompt in prompts:
        first = seen.setdefault(normalised(prompt.prompt), prompt.id)
        if first != prompt.id:
            text = prompt.prompt if isinstance(prompt.prompt, str) else prompt.prompt[-1][1]
            shown = "the same" if sealed else f"both {text[:80]!r}"
            repeats = len(prompts) - len({normalised(p.prompt) for p in prompts})
            raise ManifestError(
                f"the suite {suite!r} has the same prompt twice: {first!r} and {prompt.id!r} are {shown}",
                context=origin,
                hint=f"remove the {repeats} repeated prompts: each prompt counts as separate evidence",
            )


def uncalibrated(suites: Iterable[LoadedSuite], base: Path) -> tuple[str, ...]:
    """The suites whose judges nobody measured, on a base that is not the lab's, for which the lab's judges are made."""
    return () if is_of_lab(base) else tuple(suite.label for suite in suites if not suite.is_measured)


def without_repeats(suite: LoadedSuite) -> LoadedSuite:
    """The suite with every prompt once, the first of those that are the same."""
    first: dict[str, Prompt] = {}
    for prompt in suite.prompts:
        first.setdefault(normalised(prompt.prompt), prompt)
    return suite if len(first) == len(suite.prompts) else replace(suite, prompts=tuple(first.values()))
