"""The pages on an index, made from its catalogue: lists with a search, a page a patch, advisories, how it is signed.

Names of files are names of patches, which are checked, or numbers. The same index gives the same bytes, but for the
time that the pages state.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from tuf.api.metadata import Metadata, Root

from ppm.index.advisory import Advisory
from ppm.index.catalogue import Catalogue, File, Patch
from ppm.index.held import root_fingerprint
from ppm.index.keys import key_id
from ppm.index.roles import RoleName, SignedRole
from ppm.index.shard import moment_text
from ppm.page import render, script
from ppm.progress import Progress, silent
from ppm.version import __version__

__all__ = ["EACH", "Titled", "put_pages"]

EACH = 500
"""How many patches a page lists."""
MOST_FOUND = 100
"""How many of the patches that a search finds are shown, where there are several pages of them."""
ADDRESS = "ADDRESS"
"""What stands for the address of an index in commands where it is not known."""
_SIGNS: Mapping[RoleName, str] = {
    "root": "the keys of all others",
    "targets": "who publishes which names, and the key of the bins",
    "bins": "what there is of each name, and the files",
    "snapshot": "which version of each list is the newest",
    "timestamp": "which snapshot is the newest",
}
Put = Callable[[str, bytes], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Titled:
    """What pages call an index: its name, its address (None where that is not known) and when they are made."""

    name: str
    url: str | None
    made: datetime


@dataclass(frozen=True)
class _About:
    """What every page says of the index."""

    name: str
    url: str | None
    made: str
    until: str
    fingerprint: str
    root_version: int
    ppm: str = __version__
    address: str = ADDRESS

    @property
    def made_text(self) -> str:
        return _shown(self.made)

    @property
    def until_text(self) -> str:
        return _shown(self.until)

    @property
    def adding(self) -> list[str]:
        """The command that makes the index a source, from the root that these pages name; in its parts."""
        url = ADDRESS if self.url is None else shlex.quote(self.url)
        later = self.root_version > 1  # an address is compared by its first root
        root = [f"--root {self.root_version}.root.json"] if later else []
        return [f"ppm source add {self.name} {url}", *root, f"--fingerprint {self.fingerprint}"]


@dataclass(frozen=True)
class _Row:
    """A patch in a list."""

    name: str
    version: str
    note: str
    summary: str
    risks: str
    bases: str
    publisher: str

    @staticmethod
    def of(patch: Patch) -> "_Row":
        newest = patch.newest
        if newest is None:
            return _Row(patch.name, "", "refused", "", "", "", patch.publisher.name)
        entry, note = newest.entry, "advisory" if newest.advisories else ""
        models = dict.fromkeys(f"{base.model} ({base.tag})" for base, _ in patch.bases)
        return _Row(
            patch.name,
            entry.version,
            note if newest.in_force else "taken back",
            entry.summary,
            ", ".join(entry.risks),
            ", ".join(models),
            patch.publisher.name,
        )


@dataclass(frozen=True)
class _Notice:
    """An advisory in the list of all."""

    id: str
    patch: str
    summary: str
    affected: tuple[tuple[str, str], ...]
    publisher: str
    modified: str
    withdrawn: bool

    @staticmethod
    def of(advisory: Advisory, patch: Patch, known: Callable[[str], bool]) -> "_Notice":
        named = ((one.package.name, ", ".join(one.versions)) for one in advisory.affected)
        affected = tuple((name, versions) for name, versions in named if known(name))
        withdrawn = advisory.withdrawn is not None
        who = patch.publisher.name
        return _Notice(advisory.id, patch.name, advisory.summary, affected, who, advisory.modified, withdrawn)


@dataclass(frozen=True)
class _Related:
    """A name that a patch speaks of: whether it has a page, and who answers to it besides."""

    name: str
    versions: str
    has_page: bool
    providers: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Turn:
    """Where a page is in a list of several: the files before and after it, "" where there is none."""

    number: int
    count: int
    before: str
    after: str


def put_pages(catalogue: Catalogue, root: bytes, titled: Titled, put: Put, progress: Progress = silent) -> None:
    """Make all pages on an index that is trusted from a root on, and put each by its path.

    Raises SourceError or IntegrityError when the index as a whole can't be read.
    """
    _Pages(catalogue, put, progress).put_all(root, titled)


@dataclass(frozen=True)
class _Pages:
    """Pages as they are written one by one: of a patch's content, only its row in the lists is kept."""

    catalogue: Catalogue
    put: Put
    progress: Progress

    def put_all(self, root: bytes, titled: Titled) -> None:
        roles = self.catalogue.roles()
        about = _about(root, titled, roles)
        rows: list[_Row] = []
        notices: dict[tuple[str, str], _Notice] = {}
        for patch in self.catalogue.patches():
            self.progress("Pages", len(rows), len(self.catalogue.names))
            rows.append(_Row.of(patch))
            for advisory in patch.advisories:
                notice = _Notice.of(advisory, patch, self.catalogue.has)
                notices.setdefault((patch.publisher.name, advisory.id), notice)
            self._put_patch(about, patch)
        self.progress("Pages", len(rows), len(self.catalogue.names))
        self._put_lists(about, rows)
        newest = sorted(sorted(notices.values(), key=lambda one: (one.id, one.patch)), key=_modified, reverse=True)
        for file, some, turn in _pages("advisories", newest):
            self._put(file, "advisories", about, rows=some, pages=turn)
        self._put_signing(about, roles)

    def _put(self, file: str, template: str, about: _About, **values: object) -> None:
        up = "../" * file.count("/")
        here = {"advisories": "advisories.html", "signing": "signing.html", "start": "index.html"}.get(template)
        page = render(f"index/templates/{template}.html", about=about, up=up, here=here, **values)
        self.put(file, page)

    def _put_patch(self, about: _About, patch: Patch) -> None:
        self._put(
            f"patches/{patch.name}.html",
            "patch",
            about,
            patch=patch,
            newest=patch.newest,
            installing=list(dict.fromkeys(_installing(patch))),
            known=self.catalogue.has,
            related=self._related,
        )

    def _related(self, file: File) -> dict[str, list[_Related]]:
        """The names that a file speaks of, by how."""
        entry = file.entry
        tables: dict[str, Mapping[str, str]] = {
            "Depends on": entry.dependencies,
            "Conflicts with": entry.conflicts,
            "Provides": dict.fromkeys(entry.provides, "*"),
            "Replaces": entry.replaces,
        }
        found = {}
        for word, table in tables.items():
            if table:
                answering = word in ("Depends on", "Conflicts with")
                found[word] = [
                    _Related(
                        name,
                        "" if versions == "*" else versions,
                        self.catalogue.has(name),
                        tuple(self.catalogue.providers(name)) if answering else (),
                    )
                    for name, versions in sorted(table.items())
                ]
        return found

    def _put_lists(self, about: _About, rows: Sequence[_Row]) -> None:
        whole = len(rows) <= EACH
        parts = []
        for file, some, turn in _pages("names", [] if whole else rows):
            if some:
                self._put(file, "names", about, rows=some, pages=turn)
                parts.append({"file": file, "first": some[0].name, "last": some[-1].name})
        self._put(
            "index.html",
            "start",
            about,
            rows=rows if whole else (),
            parts=parts,
            count=len(rows),
            most=MOST_FOUND,
            publishers=len({row.publisher for row in rows}),
            files=not whole,
        )
        if not whole:
            lines = (script([getattr(row, key) for key in _Row.__dataclass_fields__]) for row in rows)
            self.put("search.js", "".join(("ppmRows([\n", ",\n".join(lines), "\n]);\n")).encode())

    def _put_signing(self, about: _About, roles: Sequence[SignedRole]) -> None:
        shown = [
            {
                "name": role.name,
                "signs": _SIGNS[role.name],
                "version": role.version,
                "expires": f"{role.expires:%Y-%m-%d %H:%M}",
                "threshold": role.threshold,
                "ids": role.keys,
            }
            for role in roles
        ]
        publishers = [
            {
                "name": one.name,
                "names": one.names,
                "keys": sorted(map(key_id, one.keys)),
                "identities": list(map(str, one.identities)),
            }
            for one in self.catalogue.publishers
        ]
        self._put("signing.html", "signing", about, roles=shown, publishers=publishers)


def _about(root: bytes, titled: Titled, roles: Sequence[SignedRole]) -> _About:
    until = min(role.expires for role in roles)
    version = Metadata[Root].from_bytes(root).signed.version
    made, valid = moment_text(titled.made), moment_text(until)
    return _About(titled.name, titled.url, made, valid, root_fingerprint(root), version)


def _pages(stem: str, rows: Sequence[T]) -> Iterator[tuple[str, Sequence[T], _Turn]]:
    """A list in pages: the file of each, its rows, and where it is. There is one at least."""
    count = max(1, -(-len(rows) // EACH))

    def file(number: int) -> str:
        return f"{stem}.html" if number == 1 else f"{stem}-{number}.html"

    for number in range(1, count + 1):
        before = file(number - 1) if number > 1 else ""
        after = file(number + 1) if number < count else ""
        yield file(number), rows[(number - 1) * EACH : number * EACH], _Turn(number, count, before, after)


def _installing(patch: Patch) -> Iterator[tuple[str, str]]:
    """The commands that install a patch, in their parts: one for each base model that has a version in force."""
    for base, file in patch.bases:
        if file.in_force:
            model = base.model if base.revision is None else f"{base.model}@{base.revision}"
            yield f"ppm install {patch.name}", f"--base {shlex.quote(model)}"


def _modified(notice: _Notice) -> str:
    return notice.modified


def _shown(moment: str) -> str:
    return f"{moment[:10]} {moment[11:16]} UTC"
