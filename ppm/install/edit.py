"""Writing what a project asks for into ppm.toml, its comments kept, and locking it anew."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import tomlkit
from tomlkit import TOMLDocument
from tomlkit.items import Array

from ppm import document
from ppm.base import ModelName
from ppm.disk import disk_errors, replace_file
from ppm.encoding import decode
from ppm.errors import RequestError, did_you_mean
from ppm.install.folder import ProjectFolder
from ppm.install.lock import Locked, lock_project
from ppm.install.request import Request
from ppm.names import expand
from ppm.project import PROJECT_FILE
from ppm.requirement import parse_name, read_requirement, texts_of
from ppm.workspace import Workspace

__all__ = ["add_to_project", "remove_from_project"]


def add_to_project(
    workspace: Workspace,
    request: Request,
    base: str | None,
    command: str,
    tell: Callable[[str], None],
) -> Locked:
    """Write requirements into ppm.toml, in place of those on the same names, and lock anew; both files or neither.

    The folders of --find-links become sources of the project: without them it could not be locked again. Makes a
    ppm.toml in the working directory when there is none here or above, for which `base` is needed. Raises PpmError.
    """
    path = workspace.project_file
    if path is None and base is None:
        raise RequestError("which base model?", hint="name it with --base MODEL: there is no ppm.toml yet")
    target = path or workspace.folder / PROJECT_FILE
    texts = [
        os.path.relpath(workspace.folder / expand(r.text), target.parent) if r.is_file else r.text
        for r in request.requirements
    ]
    wanted = {requirement.name for requirement in request.requirements}

    def change(table: TOMLDocument) -> None:
        if base is not None:  # as seen from the file
            near = ModelName.parse(base).is_folder
            table["base"] = os.path.relpath(expand(base), target.parent) if near else base
        _exchange(table, wanted, texts)
        known = {(target.parent / expand(str(source))).resolve() for source in table.get("sources", ())}
        for folder in request.find_links:
            if folder.resolve() not in known:
                table.setdefault("sources", tomlkit.array()).append(os.path.relpath(folder, target.parent))
                known.add(folder.resolve())

    return _edit(workspace, target, change, replace(request, find_links=(), requirements=()), command, tell)


def remove_from_project(
    workspace: Workspace, names: Sequence[str], request: Request, command: str, tell: Callable[[str], None]
) -> Locked:
    """Take patches out of ppm.toml, and lock anew; both files or neither. Raises PpmError."""
    folder = ProjectFolder.find(workspace)
    asked = [requirement.name for requirement in folder.project.patches]
    gone = [parse_name(name) for name in names]
    for name in gone:
        if name not in asked:
            otherwise = f"it lists {', '.join(texts_of(folder.project.patches)) or 'no patches'}"
            near = did_you_mean(name, [known for known in asked if known], otherwise)
            raise RequestError(f"{PROJECT_FILE} does not list {name}", hint=near)

    def change(table: TOMLDocument) -> None:
        _exchange(table, {*gone}, ())

    return _edit(workspace, folder.path / PROJECT_FILE, change, request, command, tell)


def _exchange(table: TOMLDocument, names: set[str], requirements: Sequence[str]) -> None:
    """In the file's own list, with its comments: each new requirement in the place of the first on its name.

    The order is that of the specialists in the composition. Others on these names go.
    """
    if "patches" not in table:
        table["patches"] = tomlkit.array()
    patches = table["patches"]
    assert isinstance(patches, Array)
    new: dict[str, list[str]] = {}
    for text in requirements:
        new.setdefault(read_requirement(text).name, []).append(text)
    place = {read_requirement(str(text)).name: index for index, text in reversed(list(enumerate(patches)))}
    for index in reversed(range(len(patches))):
        name = read_requirement(str(patches[index])).name
        if name not in names:
            continue
        if place[name] == index and name in new:
            patches[index], *more = new.pop(name)
            for text in reversed(more):
                patches.insert(index + 1, text)
        else:
            del patches[index]
    for texts in new.values():
        for text in texts:
            patches.append(text)


def _edit(
    workspace: Workspace,
    path: Path,
    change: Callable[[TOMLDocument], None],
    request: Request,
    command: str,
    tell: Callable[[str], None],
) -> Locked:
    """Change ppm.toml and lock anew; nothing is written when that fails."""
    with workspace.hold(path.parent, command, tell):
        return _edit_held(workspace, path, change, request)


def _edit_held(workspace: Workspace, path: Path, change: Callable[[TOMLDocument], None], request: Request) -> Locked:
    before = path.read_bytes() if path.is_file() else b""
    ProjectFolder.of(
        workspace, document.parse(before, str(path)), path
    )  # whatever is wrong with it is said before it is changed
    table = tomlkit.parse(decode(before))
    change(table)
    text = tomlkit.dumps(table)
    if b"\r\n" in before:
        text = text.replace("\r\n", "\n").replace("\n", "\r\n")
    folder = ProjectFolder.of(workspace, document.parse(text, str(path)), path)
    previous = folder.lock()
    found = lock_project(folder, request) if folder.project.patches else Locked(None, previous)
    if found.lock is not None:
        folder.write_lock(found.lock)
    try:
        with disk_errors("can't be written", path):
            replace_file(path, text.encode(), sole_writer=True)
    except BaseException:
        if previous is not None:
            folder.write_lock(previous)
        else:
            folder.lock_path.unlink(missing_ok=True)
        raise
    if found.lock is None:
        folder.lock_path.unlink(missing_ok=True)
    return found
