"""Locking a project: the exact files that answer it, and what stays as it was locked."""

import pytest
from integration.deployed import FINGERPRINT, patch, write

from ppm.errors import RequestError, ResolutionError
from ppm.install.folder import ProjectFolder
from ppm.install.lock import changes, lock_project, update_lock
from ppm.install.request import Request
from ppm.moment import Moment
from ppm.requirement import parse_requirement, texts_of
from ppm.workspace import Workspace


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A project that asks for app, which needs core; of both there are two versions."""
    monkeypatch.chdir(tmp_path)
    app = [patch("app", version, {"core": "*"}) for version in ("1.0.0", "2.0.0")]
    write(tmp_path / "dist", *app, patch("core", "1.0.0"), patch("core", "1.1.0"))
    return ask(tmp_path, '"app<2"')


def ask(path, patches, more=""):
    (path / "ppm.toml").write_text(f'base = "lab"\npatches = [{patches}]\nsources = ["dist"]\n{more}')
    return ProjectFolder.find(Workspace.open(path))


def asking(**settings):
    return Request(constraints=tuple(parse_requirement(text) for text in settings.pop("limits", ())), **settings)


def versions(lock):
    return {package.name: package.version for package in lock.packages}


def test_names_the_files_as_seen_from_the_project(folder):
    lock = lock_project(folder, Request()).lock
    assert (lock.base.model, lock.base.fingerprint, texts_of(lock.requirements)) == ("lab", FINGERPRINT, ("app<2",))
    assert versions(lock) == {"app": "1.0.0", "core": "1.1.0"}
    assert {package.source for package in lock.packages} == {"dist"}
    assert [(p.requested, p.dependencies) for p in lock.packages] == [(True, ("core",)), (False, ())]
    assert not folder.lock_path.exists()


def test_what_is_locked_stays_until_it_is_raised(folder):
    folder.write_lock(lock_project(folder, asking(limits=["core<1.1"])).lock)
    assert versions(lock_project(folder, Request()).lock) == {"app": "1.0.0", "core": "1.0.0"}
    assert versions(lock_project(folder, Request(), upgrade=["core"]).lock)["core"] == "1.1.0"
    assert versions(lock_project(folder, Request(), upgrade=None).lock)["core"] == "1.1.0"
    with pytest.raises(RequestError, match="cor is not locked") as caught:
        lock_project(folder, Request(), upgrade=["cor"])
    assert caught.value.hint == "did you mean 'core'?"


def test_what_is_asked_for_is_raised_first(folder):
    write(folder.path / "dist", patch("zapp", needs={"core": "*"}), patch("zapp", "2.0.0", {"core": "<1.1"}))
    asked = ask(folder.path, '"zapp"')
    asked.write_lock(lock_project(asked, asking(limits=["zapp<2"])).lock)
    assert versions(lock_project(asked, Request(), upgrade=None).lock) == {"core": "1.0.0", "zapp": "2.0.0"}


def test_a_yanked_version_stays_locked_and_that_is_told(folder):
    folder.write_lock(lock_project(folder, Request()).lock)
    newest = next((folder.path / "dist").glob("core-1.1.0*.ppm"))
    newest.with_name(f"{newest.name}.yanked").write_text("breaks refusals")
    kept = lock_project(folder, Request())
    assert (versions(kept.lock)["core"], kept.notes) == ("1.1.0", ("core==1.1.0 was yanked: breaks refusals",))
    assert versions(lock_project(folder, Request(), upgrade=["core"]).lock)["core"] == "1.0.0"


def test_the_project_s_date_holds_and_the_command_s_goes_before_it(folder):
    asked = ask(folder.path, '"app"', 'exclude_newer = "2020-01-01"\n')
    with pytest.raises(ResolutionError, match="nothing after 2020-01-01 is allowed"):
        lock_project(asked, Request())
    later = lock_project(asked, Request(exclude_newer=Moment.from_text("2999-01-01"))).lock
    assert versions(later)["app"] == "2.0.0"


def test_a_date_shuts_out_no_file_that_is_named_by_its_path(folder):
    name = next((folder.path / "dist").glob("core-1.0.0*")).name
    asked = ask(folder.path, f'"dist/{name}"', 'exclude_newer = "2020-01-01"\n')
    assert versions(lock_project(asked, Request()).lock) == {"core": "1.0.0"}


def test_another_base_or_no_patch_is_refused(folder):
    with pytest.raises(RequestError, match="names the base model lab, not acme/other"):
        lock_project(folder, Request(), base="acme/other")
    with pytest.raises(RequestError, match="lists no patches"):
        lock_project(ask(folder.path, ""), Request())


def test_a_lock_is_written_once_and_says_what_changed(folder):
    def update():
        return update_lock(folder.workspace, Request(), base=None, upgrade=None, command="ppm lock", tell=print)

    first = update()
    assert (first.before, changes(None, first.lock)) == (None, ["+ app==1.0.0", "+ core==1.1.0"])
    written = folder.lock_path.stat().st_mtime_ns
    assert update().lock == first.lock
    assert folder.lock_path.stat().st_mtime_ns == written
    write(folder.path / "dist", patch("core", "1.2.0"))
    assert changes(first.lock, update().lock) == ["~ core 1.1.0 -> 1.2.0"]
