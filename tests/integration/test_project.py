"""ppm.toml and ppm.lock: add, remove, lock, sync, and what install takes from files."""

import json
import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import tomlkit
from commands import ppm, start
from integration.deployed import FINGERPRINT, audit, composed, deployed, patch, with_composition, write
from packages import make_bank

from ppm.base import locate
from ppm.environment.deployment import Environment
from ppm.errors import RequestError
from ppm.evaluation.suites import base_suites
from ppm.install.folder import ProjectFolder
from ppm.install.locked import AUDIT_SUFFIX
from ppm.install.sync import sync
from ppm.lab.prompts import drawn_anew
from ppm.lock import Lock
from ppm.package import read_package, sha256, write_package
from ppm.project import Project
from ppm.requirement import parse_requirement, texts_of
from ppm.workspace import Workspace, open_base


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project folder with a source: app 1.0.0 and 2.0.0, which need core, and core 1.0.0 and 1.1.0."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    newer = [patch("app", "2.0.0", {"core": "*"}), patch("core", "1.1.0")]
    write(folder / "dist", patch("app", "1.0.0", {"core": "*"}), patch("core", "1.0.0"), *newer)
    (folder / "ppm.toml").write_text(
        '# Ours.\nbase = "lab"\npatches = ["app<2"] # for now\nstrategy = "merged"\nsources = ["dist"]\n'
    )
    return folder


def locked(folder: Path) -> dict:
    return {p.name: p.version for p in Lock.read(folder / "ppm.lock").packages}


def test_lock_names_exact_files_and_no_path_of_this_machine(project):
    done = ppm("lock")
    assert done.code == 0, done.err
    assert done.out.splitlines() == ["  + app==1.0.0", "  + core==1.1.0", "Locked 2 patches for lab."]
    lock = Lock.read(project / "ppm.lock")
    assert (lock.base.model, lock.base.fingerprint, texts_of(lock.requirements)) == ("lab", FINGERPRINT, ("app<2",))
    assert {p.source for p in lock.packages} == {"dist"}
    assert {p.sha256 for p in lock.packages} == {
        sha256(path.read_bytes()) for path in (project / "dist").iterdir() if path.name[:6] in ("app-1.", "core-1")
    } - {sha256(next((project / "dist").glob("core-1.0.0*")).read_bytes())}
    assert str(project) not in (project / "ppm.lock").read_text()
    before = (project / "ppm.lock").read_bytes()
    assert ppm("lock").code == 0
    assert (project / "ppm.lock").read_bytes() == before
    assert ppm("lock", "--check").code == 0


def test_what_is_locked_stays_until_it_is_upgraded(project):
    ppm("lock", "-c", limits(project, "core<1.1"))
    assert locked(project) == {"app": "1.0.0", "core": "1.0.0"}
    assert ppm("lock").code == 0
    assert locked(project) == {"app": "1.0.0", "core": "1.0.0"}
    assert ppm("lock", "--upgrade-package", "core").out.splitlines()[0] == "  ~ core 1.0.0 -> 1.1.0"
    write(project / "dist", patch("core", "1.2.0"), patch("app", "1.5.0", {"core": "*"}))
    assert ppm("lock", "--upgrade").code == 0
    assert locked(project) == {"app": "1.5.0", "core": "1.2.0"}
    wrong = ppm("lock", "--upgrade-package", "cor")
    assert (wrong.code, "did you mean 'core'?" in wrong.err) == (1, True)


def test_lock_takes_no_other_base_than_the_file_names(project):
    refused = ppm("lock", "--base", "acme/other")
    assert (refused.code, "names the base model lab, not acme/other" in refused.err) == (1, True)
    assert ppm("lock", "--base", "lab").code == 0


def test_a_lock_with_merge_conflicts_says_what_to_do(project):
    assert ppm("lock").code == 0
    path = project / "ppm.lock"
    text = path.read_text()
    path.write_text(f"<<<<<<< ours\n{text}=======\n{text}>>>>>>> theirs\n")
    for command in ("lock", "sync"):
        failed = ppm(command)
        assert (failed.code, "has merge conflicts, from line 1 on" in failed.err) == (1, True)
        assert "delete it and run `ppm lock`" in failed.err
    path.unlink()
    assert ppm("lock").code == 0
    assert path.read_text() == text


def limits(folder: Path, *lines: str) -> Path:
    path = folder / "limits.txt"
    path.write_text("\n".join(lines))
    return path


def test_add_and_remove_edit_the_file_and_keep_its_comments(project):
    assert ppm("add", "app>=2", "core").code == 0
    text = (project / "ppm.toml").read_text()
    assert text.startswith("# Ours.\n")
    assert tomlkit.parse(text)["patches"] == ["app>=2", "core"]
    assert locked(project) == {"app": "2.0.0", "core": "1.1.0"}
    before = (project / "ppm.toml").read_bytes(), (project / "ppm.lock").read_bytes()
    failed = ppm("add", "nowhere")
    assert failed.code == 3
    assert ((project / "ppm.toml").read_bytes(), (project / "ppm.lock").read_bytes()) == before
    assert ppm("remove", "cor").code == 1
    assert ppm("remove", "core").code == 0
    assert tomlkit.parse((project / "ppm.toml").read_text())["patches"] == ["app>=2"]
    assert ppm("remove", "app").out == (
        "ppm.toml lists no patches any more, so ppm.lock was removed. `ppm uninstall` removes what is deployed.\n"
    )
    assert not (project / "ppm.lock").exists()
    assert "`ppm uninstall` removes" in ppm("sync").err


def test_add_keeps_comments_inside_the_list_and_several_limits_on_one_name(project):
    path = project / "ppm.toml"
    path.write_text('base = "lab"\nsources = ["dist"]\npatches = [\n  "app<2", # see ticket 7\n  "core",\n]\n')
    assert ppm("add", "core>=1", "core<1.1").code == 0
    text = path.read_text()
    assert "# see ticket 7" in text
    assert tomlkit.parse(text)["patches"] == ["app<2", "core>=1", "core<1.1"]
    assert locked(project) == {"app": "1.0.0", "core": "1.0.0"}


def test_add_writes_through_a_link_and_names_a_base_as_seen_from_the_file(project, tmp_path):
    (project / "ppm.toml").rename(tmp_path / "real.toml")
    (project / "ppm.toml").symlink_to(tmp_path / "real.toml")
    shutil.copytree(locate("lab"), project / "sub" / "model")
    os.chdir(project / "sub")
    done = ppm("add", "core", "--base", "./model")
    assert done.code == 0, done.err
    assert (project / "ppm.toml").is_symlink()
    assert tomlkit.parse((tmp_path / "real.toml").read_text())["base"] == "sub/model"
    os.chdir(project)
    assert ppm("lock", "--check").code == 0


def test_add_names_a_base_in_the_home_folder_as_seen_from_the_file(project, monkeypatch):
    """A quoted ~ reaches ppm as it is."""
    shutil.copytree(locate("lab"), project / "home" / "model")
    monkeypatch.setenv("HOME", str(project / "home"))
    assert ppm("add", "core", "--base", "~/model").code == 0
    assert tomlkit.parse((project / "ppm.toml").read_text())["base"] == "home/model"


@pytest.mark.parametrize("patches", ["[1]", "3", '["app<<2"]'])
def test_add_to_a_malformed_list_is_one_clear_error(project, patches):
    (project / "ppm.toml").write_text(f'base = "lab"\npatches = {patches}\n')
    done = ppm("add", "core")
    assert (done.code, "ppm.toml" in done.err) == (1, True)


def test_add_makes_a_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert ppm("add", "toxicity").code == 1
    assert not (tmp_path / "ppm.toml").exists()
    done = ppm("add", "toxicity", "--base", "lab")
    assert done.code == 0, done.err
    assert tomlkit.parse((tmp_path / "ppm.toml").read_text()) == {"base": "lab", "patches": ["toxicity"]}
    assert Lock.read(tmp_path / "ppm.lock").packages[0].source == "lab"


@pytest.mark.parametrize("text", ["patches = [", 'patches = "app"', "[gates]\nalpha = 2", b"\xff"])
def test_a_malformed_project_is_one_clear_error(project, text):
    (project / "ppm.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    for arguments in (["lock"], ["sync"], ["add", "core"], ["remove", "app"], ["config"]):
        done = ppm(*arguments)
        assert done.code == 1, arguments
        assert "ppm.toml" in done.err


def test_the_project_s_constraints_overrides_and_date_hold(project):
    path = project / "ppm.toml"
    text = path.read_text()
    path.write_text(text + 'constraints = ["core<1.1"]\n')
    ppm("lock")
    assert locked(project)["core"] == "1.0.0"
    path.write_text(text + 'overrides = ["core==9"]\n')
    failed = ppm("lock")
    assert failed.code == 3
    assert "ppm.toml overrides what patches require of core with core==9." in failed.err
    assert "hint: remove core==9 from ppm.toml" in failed.err
    path.write_text(text + 'exclude_newer = "2020-01-01"\n')
    (project / "ppm.lock").unlink()
    failed = ppm("lock")
    assert "nothing after 2020-01-01 is allowed" in failed.err
    path.write_text(text + 'exclude_newer = "soon"\n')
    assert "'soon' is not a date" in ppm("lock").err


def test_a_lock_needs_no_model(project, monkeypatch):
    hub = {"model": "acme/tiny", "revision": "0" * 40}
    base = replace(patch("app").manifest.base, **hub)
    package = patch("app", "1.0.0")
    next((project / "dist").glob("app-1.0.0*")).unlink()
    write_package(replace(package, manifest=replace(package.manifest, base=base)), project / "dist")
    (project / "ppm.toml").write_text(f'base = "acme/tiny@{"0" * 40}"\npatches = ["app"]\nsources = ["dist"]\n')
    done = ppm("lock")
    assert done.code == 0, done.err
    lock = Lock.read(project / "ppm.lock")
    assert (lock.base.model, lock.base.revision, lock.base.fingerprint) == ("acme/tiny", "0" * 40, FINGERPRINT)
    (project / "ppm.toml").write_text(f'base = "acme/other@{"0" * 40}"\npatches = ["app"]\nsources = ["dist"]\n')
    (project / "ppm.lock").unlink()
    assert "is not on this machine" in ppm("lock").err


@pytest.fixture
def synced(project):
    """A lock with a composition; the source has the files, and this home has nothing."""
    ppm("lock")
    names = [package.file for package in Lock.read(project / "ppm.lock").packages]
    with_composition(project, [read_package(project / "dist" / name) for name in names])
    return project


def test_sync_deploys_the_very_composition_and_nothing_else(synced, ppm_home):
    deployed(["other"], patch("other"))
    done = ppm("sync", "--json")
    assert done.code == 0, done.err
    patches = ["app==1.0.0", "core==1.1.0"]
    assert done.json == {
        "deployment": 2,
        "changed": True,
        "patches": patches,
        "removed": ["other==1.0.0"],
        "advisories": [],
    }
    assert [p["name"] for p in ppm("list", "--json").json["patches"]] == ["app", "core"]
    assert ppm("list", "--json").json["verdict"] == "pass"
    assert ppm("check").code == ppm("verify").code == 0
    assert "Nothing to do: deployment 2" in ppm("sync").out
    shutil.rmtree(synced / "dist")  # the store has it all
    ppm("rollback")
    (synced / "dist").mkdir()
    again = ppm("sync")
    assert again.err.count("Removes other==1.0.0, which ppm.lock doesn't name") == 1
    assert "as deployment 4" in again.out


def test_sync_deploys_what_the_lab_tested_on_later_prompts(project, monkeypatch):
    later = partial(drawn_anew, draw=2)
    monkeypatch.setattr("integration.deployed.base_suites", lambda folder: later(base_suites(folder)))
    ppm("lock")
    names = [package.file for package in Lock.read(project / "ppm.lock").packages]
    with_composition(project, [read_package(project / "dist" / name) for name in names])
    done = ppm("sync")
    assert done.code == 0, done.err


def test_sync_to_another_home_from_what_download_wrote(synced, tmp_path, monkeypatch):
    assert ppm("sync").code == 0
    shutil.rmtree(synced / "dist")
    (synced / "dist").mkdir()
    done = ppm("download", "--locked", "--dest", synced / "dist")
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 4
    monkeypatch.setenv("PPM_HOME", str(tmp_path / "another"))
    assert ppm("sync", "--json").json["changed"] is True


@pytest.mark.parametrize("what", ["app-1.0.0*", "composition*.ppm", "composition*.json"])
@pytest.mark.parametrize("how", ["gone", "changed"])
def test_what_is_not_as_locked_is_refused_and_nothing_is_deployed(synced, what, how):
    [path] = (synced / "dist").glob(what)
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes() + b" ")
    done = ppm("sync")
    assert done.code == 4
    assert path.name in done.err
    assert ("a different file of that name" in done.err) == (how == "changed")
    assert ppm("list", "--json").json["deployment"] is None


def test_a_lock_that_does_not_answer_the_project_is_refused(synced):
    text = (synced / "ppm.toml").read_text()
    for change in (('"app<2"', '"app"'), ('"merged"', '"concat"')):
        (synced / "ppm.toml").write_text(text.replace(*change))
        done = ppm("sync")
        assert (done.code, "is out of date" in done.err, "run `ppm lock`" in done.err) == (1, True, True)
        assert ppm("lock", "--check").code == 1
    (synced / "ppm.toml").write_text(text + "[gates]\nalpha = 0.01\n")
    done = ppm("sync")
    assert "tested under a different policy" in done.err
    (synced / "ppm.toml").write_text(text)
    (synced / "ppm.lock").unlink()
    assert "run `ppm lock` first" in ppm("sync").err


def test_nothing_to_do_holds_only_for_the_policy_that_it_was_tested_under(synced):
    assert ppm("sync").code == 0
    with (synced / "ppm.toml").open("a") as stream:
        stream.write("[gates]\nmin_effect = 0.9\n")
    done = ppm("sync")
    assert (done.code, "tested under a different policy" in done.err) == (1, True)


def test_a_patch_named_by_its_path_is_deployed_as_its_pin(project):
    file = next((project / "dist").glob("core-1.0.0*"))
    elsewhere = project / "files"
    elsewhere.mkdir()
    file.rename(elsewhere / file.name)
    text = (project / "ppm.toml").read_text()
    (project / "ppm.toml").write_text(text.replace('"app<2"', f'"files/{file.name}"'))
    assert ppm("lock").code == 0
    packages = [read_package(elsewhere / file.name)]
    with_composition(project, packages)
    done = ppm("sync", "--json")
    assert done.json["patches"] == ["core==1.0.0"], done.err
    assert ppm("why", "core").out == "core==1.0.0 is deployed because you asked for core===1.0.0.\n"


def test_asking_otherwise_for_the_same_files_keeps_the_composition(synced):
    before = Lock.read(synced / "ppm.lock").composition
    assert ppm("add", "app<1.5").code == 0
    assert Lock.read(synced / "ppm.lock").composition == before
    assert ppm("add", "app>=2").code == 0
    assert Lock.read(synced / "ppm.lock").composition is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["packages"][0].update(version="1.0.1"), "locked as app==1.0.1"),
        (lambda t: t["base"].update(fingerprint="sha256:" + "1" * 64), "is not the locked base model"),
        (lambda t: t["composition"].update(weights_digest="sha256:" + "1" * 64), "different weights"),
        (lambda t: t.update(schema=2), "unknown schema 2"),
        (lambda t: t["packages"].pop(), "depends on 'core', which is not locked"),
    ],
)
def test_a_lock_that_was_changed_by_hand_is_refused(synced, change, message):
    table = tomlkit.parse((synced / "ppm.lock").read_text()).unwrap()
    change(table)
    (synced / "ppm.lock").write_text(tomlkit.dumps(table))
    done = ppm("sync")
    assert done.code in (1, 4)
    assert message in done.err


def test_a_composition_of_other_patches_or_one_that_failed_is_refused(synced):
    lock = tomlkit.parse((synced / "ppm.lock").read_text()).unwrap()
    other = composed([patch("other")])
    path = write_package(other, synced / "dist")
    table = json.loads(audit({"app/main": 0.1}))
    worse = {"difference": 0.4, "lower": 0.3, "upper": 0.5, "margin": 0.05, "verdict": "fail"}
    comparison = {"suite": "app/main", "rule": "non-inferiority", "against": "composition", **worse}
    failing = json.dumps({**table, "verdict": "fail", "comparisons": [comparison]}).encode()
    good = dict(lock["composition"])
    lock["composition"] |= {"sha256": other.sha256}
    (synced / "ppm.lock").write_text(tomlkit.dumps(lock))
    assert "is not made of the locked patches" in ppm("sync").err
    parts = [read_package(next((synced / "dist").glob(name))) for name in ("app-1.0.0*", "core-1.1.0*")]
    made = composed(parts)
    write_package(made, synced / "dist")
    (synced / "dist" / f"{path.name}{AUDIT_SUFFIX}").write_bytes(failing)
    lock["composition"] = good | {"audit": sha256(failing)}
    (synced / "ppm.lock").write_text(tomlkit.dumps(lock))
    done = ppm("sync")
    assert (done.code, "did not pass its tests" in done.err) == (4, True)


def test_a_hold_is_in_the_way_of_a_sync(synced):
    deployed(["app"], patch("app", "0.9.0"))
    ppm("hold", "app")
    done = ppm("sync")
    assert (done.code, "app is held at 0.9.0" in done.err) == (1, True)
    ppm("unhold", "app")
    assert ppm("sync").code == 0


def test_hashes_in_a_file_are_required_and_checked(project):
    good = {path.name.split("-")[0]: sha256(path.read_bytes()) for path in (project / "dist").glob("*-1.*0*")}
    lines = [f"core==1.1.0 \\\n    --hash=sha256:{sha256(next((project / 'dist').glob('core-1.1*')).read_bytes())}"]
    (project / "ppm.toml").unlink()

    def install(*more):
        path = limits(project, "# pinned", *lines, *more)
        return ppm("install", "-r", path, "--base", "lab", "-f", "dist", "--dry-run")

    assert install().code == 0
    missing = install("app==1.0.0")
    assert missing.code == 1
    assert f"app===1.0.0 --hash=sha256:{good['app']}" in missing.err
    wrong = install(f"app==1.0.0 --hash=sha256:{'0' * 64}")
    assert (wrong.code, "not the one you asked for" in wrong.err) == (4, True)
    assert install(f"app==1.0.0 --hash=sha256:{good['app']} # fine").code == 0
    assert "a hash must be --hash=sha256:" in install("app --hash=md5:123").err
    assert "is an option" in install("-f elsewhere").err
    bare = ppm("install", "core", "--base", "lab", "-f", "dist", "--dry-run", "--require-hashes")
    assert (bare.code, "core===1.1.0 --hash=sha256:" in bare.err) == (1, True)


def test_freeze_is_what_install_takes_back_with_hashes_too(project, monkeypatch, tmp_path):
    (project / "ppm.toml").unlink()
    app, core = patch("app", "1.0.0", {"core": "*"}), patch("core", "1.0.0")
    deployed(["app"], app, core)
    frozen = limits(project, ppm("freeze", "--hashes").out)
    monkeypatch.setenv("PPM_HOME", str(tmp_path / "another"))
    plan = ppm("install", "-r", frozen, "--base", "lab", "-f", "dist", "--dry-run", "--json")
    assert plan.code == 0, plan.err
    assert {p["name"]: p["sha256"] for p in plan.json["patches"]} == {"app": app.sha256, "core": core.sha256}


def test_json_of_the_commands_is_json(project):
    for arguments in (["lock"], ["add", "core"], ["remove", "core"], ["config"], ["env", "list"], ["cache", "info"]):
        assert json.loads(ppm(*arguments, "--json").out) is not None, arguments


@pytest.mark.parametrize("wrong", ["of another prefix", "without suites"])
def test_an_audit_of_something_else_lets_nothing_pass(synced, wrong):
    lock = Lock.read(synced / "ppm.lock")
    packages = [read_package(synced / "dist" / package.file) for package in lock.packages]
    made = composed(packages)
    other = audit({}, make_bank(value=7.0), packages) if wrong == "of another prefix" else audit({}, made.bank)
    (synced / "dist" / f"{made.file_name}{AUDIT_SUFFIX}").write_bytes(other)
    changed = replace(lock, composition=replace(lock.composition, audit=sha256(other)))
    (synced / "ppm.lock").write_text(changed.render())
    done = ppm("sync")
    assert (done.code, "ppm sync --recompose" in done.err) == (4, True)
    assert ppm("list", "--json").json["deployment"] is None


def test_an_override_stays_with_what_was_chosen_by_it(project):
    newer = [patch("new", needs={"core": ">=2"}), patch("core", "2.0.0"), patch("other", needs={"core": ">=2"})]
    write(project / "dist", patch("app", "1.4.0", {"core": ">=1.1"}), *newer)
    text = 'base = "lab"\npatches = ["app==1.4.0"]\nstrategy = "merged"\nsources = ["dist"]\n'
    (project / "ppm.toml").write_text(text + 'overrides = ["core<1.1", "unused==5"]\n')
    assert ppm("lock").code == 0
    lock = Lock.read(project / "ppm.lock")
    assert (locked(project), texts_of(lock.overrides)) == ({"app": "1.4.0", "core": "1.0.0"}, ("core<1.1",))
    with_composition(project, [read_package(project / "dist" / package.file) for package in lock.packages])
    assert ppm("sync").code == 0
    assert ppm("check").code == 0
    plan = ppm("install", "core", "--dry-run", "--json")
    assert plan.code == 0, plan.err
    assert {p["name"]: p["version"] for p in plan.json["patches"]} == {"app": "1.4.0", "core": "1.0.0"}
    assert ppm("why", "core").out == (
        "core==1.0.0 is deployed because you asked for app==1.4.0; "
        "app==1.4.0 needs core>=1.1, overridden by core<1.1.\n"
    )
    frozen = project / "frozen.txt"
    frozen.write_text(ppm("freeze").out)
    assert "#   core<1.1" in frozen.read_text()
    over = project / "over.txt"
    over.write_text("core<1.1\n")
    (project / "ppm.toml").unlink()
    again = ["install", "-r", frozen, "--env", "again", "--base", "lab", "-f", "dist", "--dry-run"]
    assert ppm(*again, "--override", over).code == 0
    assert ppm(*again).code == 3

    def versions(*arguments):
        done = ppm(*arguments, "-f", "dist", "--dry-run", "--json")
        assert done.code == 0, done.err
        return {p["name"]: p["version"] for p in done.json["patches"]}

    # It is for what was chosen by it: another patch that needs more gets more, and an upgrade lets it go.
    assert versions("install", "new") == {"app": "1.4.0", "core": "2.0.0", "new": "1.0.0"}
    assert versions("upgrade", "app")["core"] == "1.0.0"
    assert versions("upgrade", "core") == {"app": "1.4.0", "core": "2.0.0"}
    (project / "ppm.toml").write_text(text)
    stale = ppm("sync")
    assert (stale.code, "no longer has the override core<1.1, which the locked patches need" in stale.err) == (1, True)
    (project / "ppm.toml").write_text(text + 'overrides = ["core<1.1", "core>1"]\n')
    assert "there are several for 'core'" in ppm("lock").err


def test_commands_at_once_lose_nothing_of_the_project(project):
    write(project / "dist", *(patch(f"extra{i}") for i in range(4)))
    processes = [start("add", f"extra{i}", home=Path(os.environ["PPM_HOME"])) for i in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    asked = set(tomlkit.parse((project / "ppm.toml").read_text())["patches"])
    assert asked == {"app<2", "extra0", "extra1", "extra2", "extra3"}
    assert ppm("lock", "--check").code == 0


def test_options_without_effect_are_refused(synced):
    for option in (["--seed", "5"], ["--accept", "app", "--reason", "x"]):
        done = ppm("sync", *option)
        assert (done.code, "--recompose" in done.err) == (2, True)


def test_a_sync_brings_what_is_asked_for_and_not_only_the_files(synced):
    assert ppm("sync").code == 0
    first = ppm("list", "--json").json
    assert {p["name"]: p["requested"] for p in first["patches"]} == {"app": True, "core": False}
    assert ppm("sync", "--json").json["changed"] is False
    assert ppm("add", "core").code == 0
    assert ppm("sync", "--json").json["changed"] is True
    assert {p["name"]: p["requested"] for p in ppm("list", "--json").json["patches"]} == {"app": True, "core": True}
    assert ppm("sync", "--json").json["changed"] is False


def test_a_synced_environment_knows_nothing_of_the_project_s_folder(project, tmp_path, monkeypatch):
    strategies = Path(__file__).parent.parent.parent / "strategies"
    shutil.copy(next(strategies.glob("concat*.toml")), project / "own.toml")
    text = (project / "ppm.toml").read_text()
    (project / "ppm.toml").write_text(text.replace('"merged"', '"own.toml"'))
    assert ppm("lock").code == 0
    assert Lock.read(project / "ppm.lock").strategy == "own.toml"
    with_composition(
        project, [read_package(project / "dist" / p.file) for p in Lock.read(project / "ppm.lock").packages]
    )
    assert ppm("sync").code == 0
    assert ppm("sync", "--json").json["changed"] is False
    monkeypatch.chdir(tmp_path)
    plan = ppm("upgrade", "--dry-run", "--json").json
    assert (plan["strategy"], plan["passed_over"]) == (str(project / "own.toml"), [])


def test_a_damaged_copy_in_the_store_is_replaced_from_a_source(synced, ppm_home):
    assert ppm("sync").code == 0
    digest = next(p.sha256 for p in Lock.read(synced / "ppm.lock").packages if p.name == "core")
    stored = ppm_home / "store" / "sha256" / digest[:2] / digest[2:]
    whole = stored.read_bytes()
    for damage in (lambda: stored.write_bytes(b"damaged"), stored.unlink):
        damage()
        assert ppm("verify").code == 4
        plan = ppm("install", "app", "--dry-run", "--json")
        assert plan.code == 0, plan.err
        assert plan.json["removed"] == []
        assert len(plan.json["passed_over"]) == 1
        assert ppm("sync", "--json").json["changed"] is False
        assert stored.read_bytes() == whole
    stored.write_bytes(b"damaged")
    shutil.rmtree(synced / "dist")
    (synced / "dist").mkdir()
    assert "the stored copy is damaged" in ppm("sync", "--env", "other").err


def test_sync_names_a_folder_that_is_not_there(synced):
    done = ppm("sync", "--find-links", "nowhere")
    assert (done.code, "nowhere: does not exist" in done.err) == (1, True)
    assert ppm("list", "--json").json["deployment"] is None


def test_lock_check_says_why(project):
    assert ppm("lock").code == 0
    text = (project / "ppm.toml").read_text()
    (project / "ppm.toml").write_text(text.replace('"merged"', '"concat"'))
    done = ppm("lock", "--check")
    assert (done.code, "the strategy concat differs from the locked one." in done.err) == (1, True)


def test_lock_check_locks_nothing(project, monkeypatch, tmp_path):
    assert ppm("lock").code == 0
    monkeypatch.setenv("PPM_HOME", str(tmp_path / "other"))
    assert ppm("lock", "--check").code == 0
    assert not (tmp_path / "other" / "projects").exists()
    assert ppm("lock").code == 0
    assert (tmp_path / "other" / "projects").is_dir()


def test_a_project_that_somebody_changes_is_waited_for_and_the_holder_named(project, monkeypatch):
    monkeypatch.setenv("PPM_LOCK_TIMEOUT", "0.2")
    with ProjectFolder.find(Workspace.open(project)).exclusive("ppm add something", print):
        done = ppm("lock")
    assert done.code == 1
    assert "(`ppm add something`, since" in done.err
    assert ppm("lock").code == 0


def test_a_package_file_named_by_its_path_must_have_its_own_name(project):
    file = next((project / "dist").glob("core-1.0.0*"))
    shutil.copy(file, project / "my.ppm")
    refused = ppm("add", "my.ppm")
    assert (refused.code, f"rename it to {file.name}" in refused.err) == (1, True)
    assert ppm("add", f"dist/{file.name}").code == 0
    assert tomlkit.parse((project / "ppm.toml").read_text())["patches"] == ["app<2", f"dist/{file.name}"]
    assert locked(project)["core"] == "1.0.0"
    assert ppm("remove", "core").code == 0
    assert tomlkit.parse((project / "ppm.toml").read_text())["patches"] == ["app<2"]


def test_a_pin_is_of_one_version_and_not_of_a_local_one(project):
    file = next((project / "dist").glob("core-1.0.0*"))
    write(project / "dist", patch("core", "1.0.0+site"))
    plan = ppm("install", file, "--base", "lab", "-f", "dist", "--dry-run", "--json").json
    assert [p["version"] for p in plan["patches"]] == ["1.0.0"]
    deployed(["core"], patch("core"))
    frozen = limits(project, ppm("freeze").out)
    plan = ppm("install", "-r", frozen, "--env", "other", "--base", "lab", "-f", "dist", "--dry-run", "--json").json
    assert [p["version"] for p in plan["patches"]] == ["1.0.0"]


def test_hashes_hold_for_paths_and_for_what_is_deployed_too(project):
    file = next((project / "dist").glob("core-1.0.0*"))
    zeros = "0" * 64
    wrong = limits(project, f"dist/{file.name} --hash=sha256:{zeros}")
    assert ppm("install", "-r", wrong, "--base", "lab", "--dry-run").code == 4
    right = limits(project, f"dist/{file.name} --hash=sha256:{sha256(file.read_bytes())}")
    assert ppm("install", "-r", right, "--base", "lab", "--dry-run", "--require-hashes").code == 0
    deployed(["core"], patch("core"))
    again = ppm("install", "-r", limits(project, f"core --hash=sha256:{zeros}"), "--base", "lab", "--dry-run")
    assert (again.code, "not the one you asked for" in again.err) == (4, True)
    for option in ("-c", "--override"):
        path = limits(project, f"core==1.0.0 --hash=sha256:{zeros}")
        refused = ppm("install", "core", "--base", "lab", "--dry-run", option, path)
        assert (refused.code, "hashes have no effect here" in refused.err) == (1, True)


def test_a_folder_called_lab_is_not_the_lab(project):
    (project / "lab").mkdir()
    assert ppm("lock").code == 0
    assert Lock.read(project / "ppm.lock").base.model == "lab"
    (project / "ppm.toml").unlink()
    assert ppm("add", "core", "--base", "lab", "-f", "dist").code == 0
    assert tomlkit.parse((project / "ppm.toml").read_text())["base"] == "lab"


def test_search_and_download_need_no_model(project):
    hub = {"model": "acme/tiny", "revision": "0" * 40}
    base = replace(patch("app").manifest.base, **hub)
    package = patch("alone", "1.0.0")
    write_package(replace(package, manifest=replace(package.manifest, base=base)), project / "hub")
    (project / "ppm.toml").write_text(f'base = "acme/tiny@{"0" * 40}"\npatches = ["alone"]\nsources = ["hub"]\n')
    assert [row["name"] for row in ppm("search", "alone", "--json").json] == ["alone"]
    other = ppm("download", "alone", "--base", f"acme/tiny@{'1' * 40}")
    assert (other.code, "is not on this machine" in other.err) == (1, True)
    assert "a hub model needs a commit" in ppm("download", "alone", "--base", "acme/tiny").err
    assert "'lab'" in ppm("download", "alone", "--base", "labb").err
    done = ppm("download", "alone", "--dest", "out", "--json")
    assert done.code == 0, done.err
    assert [Path(path).name.split("-")[0] for path in done.json] == ["alone"]


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.update(suites=[]),
        lambda t: t.update(suites={"x": 1}),
        lambda t: t["matrix"]["composition"]["app/main"].update(value="0.1"),
        lambda t: t.update(waivers=[{"suite": 1, "reason": "", "by": ""}]),
        lambda t: t.update(verdict="perhaps"),
    ],
)
def test_an_audit_with_values_of_another_kind_is_refused(synced, change):
    path = next((synced / "dist").glob(f"*{AUDIT_SUFFIX}"))
    table = json.loads(path.read_bytes())
    change(table)
    path.write_bytes(json.dumps(table).encode())
    lock = Lock.read(synced / "ppm.lock")
    made = replace(lock.composition, audit=sha256(path.read_bytes()))
    (synced / "ppm.lock").write_text(replace(lock, composition=made).render())
    done = ppm("sync")
    assert (done.code, "is not an audit" in done.err) == (4, True)


def test_a_limit_that_came_after_the_lock_makes_it_out_of_date(synced):
    text = (synced / "ppm.toml").read_text()
    for line in ('overrides = ["core<1.1"]', 'constraints = ["core<1.1"]'):
        (synced / "ppm.toml").write_text(f"{text}{line}\n")
        for command in (["sync"], ["download", "--locked", "--dest", "out"]):
            done = ppm(*command)
            assert (done.code, "is out of date" in done.err, "run `ppm lock`" in done.err) == (1, True, True), command
    assert not (synced / "out").exists()


def test_a_project_with_a_folder_as_base_is_synced_once(project, tmp_path):
    shutil.copytree(locate("lab"), tmp_path / "model")
    text = (project / "ppm.toml").read_text()
    (project / "ppm.toml").write_text(text.replace('"lab"', '"../model"'))
    assert ppm("lock").code == 0
    with_composition(project, [read_package(project / "dist" / p.file) for p in locked_packages(project)])
    assert ppm("sync", "--json").json["changed"] is True
    assert ppm("sync", "--json").json["changed"] is False
    lock = Workspace.open(Path.cwd()).environment_for(open_base(str(tmp_path / "model"))).current().lock
    assert lock.base.model == str(tmp_path / "model")


def locked_packages(project):
    return Lock.read(project / "ppm.lock").packages


@pytest.mark.parametrize("command", [["sync"], ["install", "--base", "lab"]], ids=["sync", "install"])
@pytest.mark.parametrize("name", ["prefix.safetensors", "audit.json", "patch.toml", "policy.toml"])
def test_a_damaged_composition_is_deployed_again_without_training(synced, command, name):
    assert ppm("sync").code == 0
    [environment] = Environment.all(ppm_home_of())
    damaged = environment.current()
    (damaged.path / name).write_bytes(b"damaged")
    assert f"{damaged.path / name}: was changed after it was deployed" in ppm("verify").out
    done = ppm(*command)
    assert done.code == 0, done.err
    again = environment.current()
    assert (again.number, again.lock) == (2, damaged.lock)
    assert again.bank.digest == again.record.files["prefix.safetensors"].removeprefix("sha256:")
    assert again.record.files == damaged.record.files
    assert "Nothing to do" in ppm(*command).out


def ppm_home_of() -> Path:
    return Path(os.environ["PPM_HOME"])


def test_sync_deploys_what_is_locked_where_nothing_that_is_deployed_can_be_read(synced):
    assert ppm("sync").code == 0
    [environment] = Environment.all(ppm_home_of())
    (environment.current().path / "ppm.lock").write_text("damaged")
    hint = ppm("install", "--base", "lab").err
    assert "`ppm sync` deploys what is locked" in hint
    assert "`ppm env remove` starts over" in hint
    assert ppm("sync", "--json").json["deployment"] == 2
    assert ppm("check").code == 0


def test_asking_otherwise_for_what_is_deployed_composes_nothing(synced):
    assert ppm("sync").code == 0
    frozen = synced / "patches.txt"
    frozen.write_text(ppm("freeze", "--hashes").out)
    dry = ppm("install", "-r", frozen, "--base", "lab", "--dry-run")
    assert dry.out.endswith("Nothing needs to be composed. Nothing was changed (--dry-run).\n")
    done = ppm("install", "-r", frozen, "--base", "lab")
    assert (done.code, "the composition stays the same" in done.err) == (0, True), done.err
    [environment] = Environment.all(ppm_home_of())
    before, after = environment.deployments()
    assert (texts_of(before.lock.requirements), texts_of(after.lock.requirements)) == (
        ("app<2",),
        ("app===1.0.0", "core===1.1.0"),
    )
    assert after.lock.composition == before.lock.composition
    assert [p.requested for p in after.lock.packages] == [True, True]
    assert ppm("install", "app>=2", "--base", "lab", "--dry-run", "--json").json["composes"] is True
    assert ppm("install", "-r", frozen, "--base", "lab", "--force", "--dry-run", "--json").json["composes"] is True
    assert ppm("sync", "--json").json["changed"] is True  # which asks for less


def test_two_syncs_of_a_fresh_lock_end_alike(synced):
    """The second one waits, and finds what it would have composed in force and in the lock."""
    lock = Lock.read(synced / "ppm.lock")
    assert ppm("sync").code == 0
    fresh = replace(lock, composition=None)
    reads = [fresh]

    class ReadBefore(ProjectFolder):
        """The folder as a sync that has read the lock before the other one wrote it."""

        def lock(self):
            return reads.pop() if reads else super().lock()

    def late_sync():
        folder = ReadBefore(**vars(ProjectFolder.find(Workspace.open(synced))))
        return sync(folder, *folder.workspace.find_target("lab"), command="ppm sync")

    assert late_sync().composed is not None
    assert Lock.read(synced / "ppm.lock") == lock
    other = replace(lock, requirements=(parse_requirement("app"),))
    (synced / "ppm.lock").write_text(other.render())
    reads.append(fresh)
    with pytest.raises(RequestError, match="changed while its patches were composed"):
        late_sync()
    assert Lock.read(synced / "ppm.lock") == other


def test_folders_of_find_links_become_sources_of_the_project(project, tmp_path):
    write(tmp_path / "other", patch("extra"))
    (project / "ppm.toml").write_text(
        'base = "lab"\npatches = ["app<2", "core"]\nsources = ["dist"]\n[gates]\nlooks = [0.5]\n'
    )
    assert ppm("add", "extra", "core>=1", "-f", tmp_path / "other", "-f", "dist").code == 0
    table = tomlkit.parse((project / "ppm.toml").read_text())
    assert table["sources"] == ["dist", "../other"]
    assert table["patches"] == ["app<2", "core>=1", "extra"]
    assert table["gates"]["looks"] == [0.5]
    assert ppm("lock", "--check").code == 0
    (project / "ppm.toml").write_text('base = "lab"\n[gates]\nlooks = [0.5]\n')
    assert ppm("add", "extra", "-f", tmp_path / "other").code == 0
    assert Project.read(project / "ppm.toml").sources == (str(project / "../other"),)


def test_a_lock_that_needs_a_folder_again_says_so(project, tmp_path):
    other = write(tmp_path / "other", patch("core", "1.2.0"))
    assert f"note: {other} is not among the sources in ppm.toml" in ppm("lock", "-f", other).err
    assert "note:" not in ppm("lock", "-f", "dist", "--upgrade").err


def test_an_environment_says_which_base_model_is_meant(synced, tmp_path):
    assert ppm("sync", "--env", "staging").code == 0
    [label] = (row["environment"] for row in ppm("env", "list", "--json").json)
    assert "Nothing to do" in ppm("sync", "--base", label).out
    assert ppm("list", "--env", "Staging").code == 0
    assert ppm("list", "--base", label, "--env", "staging").code == 0
    assert ppm("download", "app", "--base", label, "-f", synced / "dist", "-d", tmp_path / "copy").code == 0


def test_a_base_folder_may_have_an_at_sign_in_its_path(project, tmp_path):
    base = tmp_path / "we@ird"
    shutil.copytree(locate("lab"), base)
    assert ppm("add", "core", "--base", base).code in (0, 1)  # the file names another base
    (project / "ppm.toml").write_text(f'base = "{base}"\npatches = ["app<2"]\nsources = ["dist"]\n')
    assert ppm("lock").code == 0
    assert Lock.read(project / "ppm.lock").base.model == str(base)
    assert ppm("lock", "--check").code == 0
    assert ppm("install", "app", "--base", base, "--dry-run").code == 0


def test_another_commit_of_the_base_makes_a_lock_out_of_date(project):
    core = patch("core", "1.0.0")
    lock_of = f'patches = ["core"]\nsources = ["{write(project / "hub", hub(core, "b" * 40))}"]\n'
    (project / "ppm.toml").write_text(f'base = "acme/tiny@{"b" * 40}"\n{lock_of}')
    done = ppm("lock")
    assert done.code == 0, done.err
    (project / "ppm.toml").write_text(f'base = "acme/tiny@{"c" * 40}"\n{lock_of}')
    refused = ppm("download", "--locked", "-d", project / "copy")
    assert (refused.code, f"the lock has acme/tiny@{'b' * 40}" in refused.err) == (1, True)
    assert "their packages are for a different commit of it" in ppm("lock").err


def hub(package, revision):
    """The same package for a model on a hub."""
    base = replace(package.manifest.base, model="acme/tiny", revision=revision)
    return replace(package, manifest=replace(package.manifest, base=base))
