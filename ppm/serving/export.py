"""Carries what is deployed, or a package file, to other software: proven exact, with its audit and how to read it."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ppm.bank import Bank
from ppm.base import BaseModel, check_compatible
from ppm.disk import disk_errors, flush_folder, write_file
from ppm.errors import ModelError, RequestError
from ppm.folder import put_folder, stage, sweep
from ppm.home import self_tests
from ppm.install.current import audit_of, deployed, running_of
from ppm.jsonl import Text
from ppm.manifest import Manifest
from ppm.package import Package, read_package
from ppm.running import FLOAT32, Running
from ppm.workspace import Workspace, open_base

if TYPE_CHECKING:
    from ppm.audit.model import Audit
    from ppm.runtime.export.base import Reading
    from ppm.runtime.loading import LoadedBase

__all__ = ["Export", "export"]

RECORD = "ppm-export.json"
README = "README.md"
AUDIT = "audit.json"
PROVEN = 8
"""Prompts that an export is tried on."""


@dataclass(frozen=True)
class Export:
    """What was written: the folder with its files, the prompts it was tried on, and how far logits were apart."""

    folder: Path
    files: tuple[str, ...]
    prompts: int
    farthest: float


@dataclass(frozen=True)
class _Subject:
    """What is exported: `name` says which deployment or package it is, `texts` are prompts of its suites.

    `dtype` is the one that its audit ran in.
    """

    name: str
    base: BaseModel
    manifest: Manifest
    bank: Bank
    texts: tuple[Text, ...]
    audit: "Audit | None" = None
    dtype: str = "float32"


def export(
    workspace: Workspace, package: Path | None, target: str, folder: Path, *, base: str | None, env: str | None
) -> Export:
    """Write what is deployed, or a package file, in the form of a target into a folder, whole or not at all.

    A folder that an export wrote is replaced, and no other. Raises RequestError for a folder that is not ppm's or a
    target that there is not, ModelError for what would not be exact, and DiskError where the disk fails.
    """
    with workspace.hold(folder, f"export --to {target}", workspace.tell):
        sweep(folder)
        return _export(workspace, package, target, folder, base, env)


def _export(
    workspace: Workspace, package: Path | None, target: str, folder: Path, base: str | None, env: str | None
) -> Export:
    from ppm.runtime.export.registry import find_target

    form = find_target(target)
    _refuse_foreign(folder)
    subject = _of_package(package, base) if package is not None else _of_deployment(workspace, base, env)
    placement = subject.manifest.base.placement
    form.check(subject.bank, placement)
    from ppm.runtime.export.proof import prove_export
    from ppm.runtime.loading import load_base

    loaded = load_base(subject.base, kept=self_tests(workspace.home), running=FLOAT32)
    prompts = _prompts(subject, loaded)
    with stage(folder) as staged:
        form.write(subject.bank, placement, staged, base=_loadable(subject.base))
        farthest = prove_export(loaded, subject.bank, placement, form, staged, prompts)
        readme = _readme(subject, target, form.reading(placement), len(prompts), farthest)
        with disk_errors("can't be written", folder):
            write_file(staged / README, readme.encode())
            if subject.audit is not None:
                write_file(staged / AUDIT, subject.audit.to_json())
            files = tuple(sorted(path.name for path in staged.iterdir()))
            digests = {name: hashlib.sha256((staged / name).read_bytes()).hexdigest() for name in files}
            record = {"schema": 1, "target": target, "of": subject.name, "files": digests}
            write_file(staged / RECORD, json.dumps(record, indent=2).encode() + b"\n")
            flush_folder(staged)
            put_folder(staged, folder)
    return Export(folder, (*files, RECORD), len(prompts), farthest)


def _refuse_foreign(folder: Path) -> None:
    """Raises RequestError for a folder that holds what no export wrote."""
    with disk_errors("can't be read", folder):
        if not folder.exists():
            return
        found = {path.name for path in folder.iterdir()} if folder.is_dir() else {"a file"}
        if not found:
            return
        try:
            known = {RECORD, *json.loads((folder / RECORD).read_bytes())["files"]}
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            known = set()
    other = sorted(found - known)
    if other:
        raise RequestError(
            f"holds {other[0]}, which no export wrote", context=str(folder), hint="name a new folder, or move it away"
        )


def _of_package(path: Path, base: str | None) -> _Subject:
    package = read_package(path)
    manifest = package.manifest
    found = open_base(base or manifest.base.model)
    check_compatible(manifest, found)
    return _Subject(f"{manifest.pin} ({package.sha256[:12]})", found, manifest, package.bank, _texts([package]))


def _of_deployment(workspace: Workspace, base: str | None, env: str | None) -> _Subject:
    found, environment = workspace.find_target(base, env)
    deployment = deployed(environment)
    if found.fingerprint != deployment.record.fingerprint:
        raise ModelError(
            f"{found.name} has changed since deployment {deployment.number} was made for it",
            hint="restore the model, or reinstall the patches for the new one",
        )
    manifest = deployment.manifest
    assert manifest is not None
    locked = deployment.lock.packages
    packages = [read_package(environment.store.get(p.sha256), origin=p.file, expected_sha256=p.sha256) for p in locked]
    pins = ", ".join(f"{p.name}=={p.version}" for p in locked)
    name = f"deployment {deployment.number} of {environment.label}: {pins}"
    dtype = running_of(deployment, Running()).dtype or "float32"
    return _Subject(name, found, manifest, deployment.bank, _texts(packages), audit_of(deployment), dtype)


def _texts(packages: list[Package]) -> tuple[Text, ...]:
    """Prompts of all suites in turn."""
    suites = [package.prompts(suite) for package in packages for suite in package.manifest.suites]
    most = max(map(len, suites), default=0)
    return tuple(prompts[i].prompt for i in range(most) for prompts in suites if i < len(prompts))


def _prompts(subject: _Subject, loaded: "LoadedBase") -> list[tuple[int, ...]]:
    """The first prompts that leave room for answers. Raises ModelError when there is none."""
    from ppm.runtime.export.proof import GREEDY
    from ppm.runtime.text import encoder_of

    encoder, found = encoder_of(loaded), []
    for text in subject.texts:
        ids = encoder.prompt(text, subject.name)
        if encoder.context is None or subject.bank.virtual_tokens + len(ids) + GREEDY <= encoder.context:
            found.append(ids)
        if len(found) == PROVEN:
            return found
    if not found:
        raise ModelError("no prompt of its suites fits into the context", context=subject.name, hint="use fewer tokens")
    return found


def _loadable(base: BaseModel) -> str:
    """What others load the base by: its name on the hub, else its folder."""
    return base.name if base.revision else str(base.folder)


def _readme(subject: _Subject, target: str, reading: "Reading", prompts: int, farthest: float) -> str:
    base = subject.base
    is_chat = any(not isinstance(text, str) for text in subject.texts)
    if is_chat:
        ids = """messages = [{"role": "user", "content": "..."}]
text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
ids = tokenizer(text, add_special_tokens=False).input_ids"""
    else:
        ids = 'ids = tokenizer("...").input_ids'
    revision = f", revision={base.revision!r}" if base.revision else ""
    pitfalls = "\n".join(
        f"- {line}"
        for line in (
            *reading.pitfalls,
            "The base must be the one with the fingerprint above, in float32, as in the comparison.",
            *_rounding(subject.dtype),
        )
    )
    return f"""# A safety patch for {base.name}, in the form `{target}`

{subject.name}, written by `ppm export`. Base: `{base.name}`, {base.fingerprint}.
{subject.bank.virtual_tokens} virtual tokens, placed {subject.manifest.base.placement}.

When it was written, it was read back and compared with ppm's own answers to {prompts} prompts of its suites: the same
greedy tokens, and logits that differ by {farthest:.1g} at most.

## How to use it

```python
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({_loadable(base)!r}{revision})
model = AutoModelForCausalLM.from_pretrained({_loadable(base)!r}{revision}, dtype=torch.float32)
{ids}

{reading.code}
```

{pitfalls}

## What was tested

{_tested(subject.audit)}
"""


def _rounding(dtype: str) -> tuple[str, ...]:
    other = f"The audit ran in {dtype}. Rounding changes some answers, so rates in float32 differ a little."
    return (other,) if dtype != "float32" else ()


def _tested(audit: "Audit | None") -> str:
    if audit is None:
        return "Nothing here: this is a package file. An export of what `ppm install` deployed has its audit."
    rows = "\n".join(
        f"| {label} | {audit.suites[label].size} | {value:.3f} |" for label, value in audit.composed.items()
    )
    table = f"| suite | evidence | figure |\n|---|---|---|\n{rows}\n\n" if rows else ""
    means = f"What that means: {audit.guarantee}.\n" if audit.may_deploy else ""
    verdict = f"Verdict: {audit.verdict} ({audit.strategy}, alpha {audit.alpha:g})."
    return f"{verdict}\n\n{table}{means}The whole audit is in `{AUDIT}`."
