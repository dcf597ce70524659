"""What is installed despite an advisory: refused in a script, asked about on a terminal, recorded once accepted."""

import io
import json
import os
import shutil
from datetime import UTC, datetime

import pytest
from commands import ppm, start
from index.indexes import PASSPHRASE, make_index
from integration.deployed import deployed, patch, with_composition

from ppm.environment.deployment import Environment
from ppm.environment.trail import TRAIL_FILE, trail_of
from ppm.index.advise import publish_advisory
from ppm.index.keys import key_id, public_hex
from ppm.index.layout import shard_path
from ppm.index.shard import Notice

ID = "ACME-2026-1"
OLD, NEW = patch("guard"), patch("guard", "1.1.0")


def advise(owned, id_=ID, name="guard", versions=("1.0.0",), **more):
    at = "2026-11-01T10:00:00Z"
    table = {
        "schema_version": "1.6.0",
        "id": id_,
        "modified": at,
        "published": at,
        "summary": "Insults after praise",
        "affected": [{"package": {"ecosystem": "ppm", "name": name}, "versions": list(versions)}],
        **more,
    }
    publish_advisory(owned.open(), json.dumps(table).encode(), owned.signer("acme"), datetime.now(UTC), "advisory.json")


@pytest.fixture
def owned(tmp_path, monkeypatch):
    """An index that the user trusts, and a project that locks one of its patches, with its composition."""
    monkeypatch.setenv("PPM_KEY_PASSPHRASE", PASSPHRASE)
    owned = make_index(tmp_path / "index", OLD, NEW)
    root = owned.folder / "metadata" / "1.root.json"
    assert ppm("source", "add", "acme", owned.folder.as_uri(), "--root", str(root), "--yes").code == 0
    project = tmp_path / "project"
    (project / "dist").mkdir(parents=True)
    monkeypatch.chdir(project)
    (project / "ppm.toml").write_text('base = "lab"\npatches = ["guard==1.0.0"]\nsources = ["dist"]\n')
    assert ppm("lock").code == 0
    with_composition(project, [OLD])
    return owned


@pytest.fixture
def typing(monkeypatch):
    """Lets the user type at a terminal."""

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    return lambda text: monkeypatch.setattr("sys.stdin", Terminal(text))


def current(home):
    [environment] = Environment.all(home)
    return environment.current()


@pytest.mark.parametrize("command", [["sync"], ["install", "guard==1.0.0"]], ids=" ".join)
def test_a_script_is_refused(owned, ppm_home, command):
    advise(owned)
    done = ppm(*command)
    assert done.code == 1
    assert done.err.count("error:") == 1
    assert f"guard==1.0.0 has an advisory in force, {ID}: Insults after praise (it is about 1.0.0)" in done.err
    hint = f"hint: no advisory is about guard==1.1.0; to deploy it all the same: --accept-advisory {ID}\n"
    assert done.err.endswith(hint)
    assert not Environment.all(ppm_home)
    assert ppm(*command, "--accept-advisory", "ACME-2026-7").code == 1
    refused = ppm(*command, "--accept-advisory", "\x1b[2J")
    assert (refused.code, "\x1b" in refused.err) == (2, False)


def test_what_is_accepted_is_recorded_and_not_asked_again(owned, ppm_home):
    advise(owned)
    done = ppm("sync", "--accept-advisory", ID, "--reason", "in the lab only", "--json")
    assert done.code == 0, done.err
    [row] = done.json["advisories"]
    assert (row["id"], row["versions"], row["unaffected"], row["accepted"]) == (ID, ["1.0.0"], "1.1.0", True)
    [noted] = trail_of(current(ppm_home)).advisories
    assert noted.accepted.reason == "in the lab only"
    said = f"The advisory {ID} on guard==1.0.0 (Insults after praise) was accepted by {noted.accepted.by} on "
    assert said in ppm("verify").out
    assert said in ppm("log").out
    assert f"[{ID} accepted by {noted.accepted.by}: in the lab only]" in ppm("history").out
    for command in (["sync"], ["install", "guard<1.1", "--base", "lab"]):
        done = ppm(*command)
        assert done.code == 0, done.err
        assert f"{noted.accepted.by} accepted that on " in done.err
    assert current(ppm_home).number == 2
    assert trail_of(current(ppm_home)) == trail_of(Environment.all(ppm_home)[0].deployment(1))
    owned.folder.rename(owned.folder.with_name("gone"))
    shutil.rmtree(ppm_home / "sources" / "acme" / "metadata")
    assert ppm("sync", "--json").json["deployment"] == 3
    assert trail_of(current(ppm_home)).advisories == (noted,)


def test_a_terminal_is_asked(owned, ppm_home, typing):
    advise(owned)
    typing("n\n")
    done = ppm("sync")
    assert (done.code, Environment.all(ppm_home)) == (1, ())
    assert "warning: guard==1.0.0 has an advisory in force" in done.err
    assert "Install it all the same? [y/N]" in done.err
    assert "error: nothing was changed\nhint: no advisory is about guard==1.1.0\n" in done.err
    typing("y\n")
    assert ppm("sync", "--json").json["deployment"] == 1
    [noted] = trail_of(current(ppm_home)).advisories
    assert (noted.id, noted.accepted.reason) == (ID, "")


def test_bars_leave_a_question_alone(owned, ppm_home):
    advise(owned)
    terminal, end = os.openpty()
    with start("sync", home=ppm_home, stdin=end, stdout=end, stderr=end) as process:
        os.close(end)
        shown = b""
        while b"[y/N]" not in shown:
            shown += os.read(terminal, 4096)
        os.write(terminal, b"y\n")
        try:
            while data := os.read(terminal, 4096):
                shown += data
        except OSError:  # which is how the end of a terminal is told
            pass
    os.close(terminal)
    assert process.returncode == 0, shown
    before, after = shown.split(b"Install it all the same?")
    assert before.rstrip(b"\r").endswith(b"\x1b[?25h")  # the cursor is there again
    assert b"Deployed guard==1.0.0 as deployment 1" in after


def test_one_on_what_is_deployed_already_is_told_alone(owned, ppm_home):
    assert ppm("sync").code == 0
    advise(owned)
    done = ppm("sync", "--quiet")
    assert (done.code, done.out) == (0, "")
    assert "it is deployed already: `ppm advisories` measures whether it is affected" in done.err
    assert ppm("install", "guard<1.1", "--base", "lab").code == 0
    said = f"The advisory {ID} on guard==1.0.0 (Insults after praise) was in force; the patch was deployed already."
    assert said in ppm("verify").out
    assert "accepted" not in ppm("history").out


def test_another_version_is_no_concern_and_an_upgrade_to_this_one_is(owned, ppm_home):
    assert ppm("sync").code == 0
    advise(owned, versions=["1.1.0"])
    assert ppm("sync").err == ""
    done = ppm("install", "guard>=1", "--base", "lab")
    assert done.code == 0, done.err  # which stays as it is
    refused = ppm("upgrade", "--base", "lab")
    assert refused.code == 1
    assert "guard==1.1.0 has an advisory in force" in refused.err
    assert "no advisory is about guard==1.0.0" in refused.err
    assert current(ppm_home).number == 2
    rehearsed = ppm("upgrade", "--base", "lab", "--dry-run", "--json")
    assert (rehearsed.code, rehearsed.json["advisories"][0]["accepted"]) == (0, False)
    assert "warning: guard==1.1.0 has an advisory in force" in rehearsed.err


def test_an_index_that_is_gone_keeps_nobody_from_what_is_at_hand(owned, ppm_home):
    assert ppm("sync").code == 0
    shutil.rmtree(owned.folder)
    shutil.rmtree(ppm_home / "sources" / "acme" / "metadata")
    assert ppm("env", "remove", current(ppm_home).path.parents[1].name, "--yes").code == 0
    done = ppm("sync")
    assert done.code == 0, done.err
    line = f"the advisories in {owned.folder.as_uri()} can't be looked up: it lacks a file: "
    assert f"warning: {line}" in done.err
    assert f"deployment 1: {line}" in ppm("verify").out


def test_verify_says_by_which_keys_and_when(owned, ppm_home):
    assert ppm("sync").code == 0
    keyid = key_id(public_hex(owned.signer("acme")))
    shown = ppm("verify").out
    assert f"guard==1.0.0 from {owned.folder.as_uri()}: checked on 20" in shown
    fingerprint = ppm("index", "status", str(owned.folder), "--json").json["fingerprint"]
    assert f"  signed by acme, key {keyid}\n  listed by acme, root {fingerprint}\n" in shown
    assert "  its root was at version 1, its timestamp at 3\n" in shown
    assert shown.endswith("All sound: what is in force, and 4 deployments and stored files.\n")
    assert ppm("verify", "--quiet").out == ""
    [row] = [row for row in ppm("verify", "--json").json if row["patch"] is not None]
    checked = row["checked"]
    assert (checked["key"], checked["root"], checked["root_version"], checked["timestamp_version"]) == (
        keyid,
        fingerprint,
        1,
        3,
    )
    trail = current(ppm_home).path / TRAIL_FILE
    trail.write_bytes(trail.read_bytes().replace(b'"root_version": 1', b'"root_version": 2'))
    done = ppm("verify")
    assert (done.code, "signed by" in done.out) == (4, False)
    assert f"{trail}: was changed after it was deployed" in done.out


def test_verify_says_what_was_not_signed_and_what_was_not_recorded(owned, ppm_home, tmp_path):
    (tmp_path / "project" / "ppm.toml").unlink()
    deployed(["guard"], OLD)
    assert ppm("verify").out.startswith(
        "guard==1.0.0: deployed by an older ppm, which did not record how it was checked\n"
    )
    assert ppm("env", "remove", current(ppm_home).path.parents[1].name, "--yes").code == 0
    project = tmp_path / "project"
    (project / "dist" / OLD.file_name).write_bytes(OLD.data)
    (project / "ppm.toml").write_text('base = "lab"\npatches = ["guard"]\nsources = ["dist"]\n')
    assert ppm("lock").code == 0
    with_composition(project, [OLD])
    assert ppm("sync").code == 0
    said = f"guard==1.0.0 from {project / 'dist'}: checked by its SHA-256 alone on 20"
    assert ppm("verify").out.startswith(said)


def test_what_a_publisher_writes_stays_short(owned, ppm_home):
    versions = [f"1.0.0.post{i}" for i in range(1, 90)]
    owned.publish(*(patch("guard", version) for version in versions[:8]))
    for i in range(9):
        advise(owned, f"ACME-2026-{i}{'0' * 89}", versions=["1.0.0", *versions[:8]], summary="x" * 500)
    done = ppm("sync")
    assert done.code == 1
    assert "9 advisories are in force" in done.err
    assert "and 4 more" in done.err
    assert len(done.err) < 3000
    ids = [word for i in range(9) for word in ("--accept-advisory", f"ACME-2026-{i}{'0' * 89}")]
    done = ppm("sync", *ids, "--json")
    assert done.code == 0, done.err
    assert "4 more advisories are in force; --json lists them all" in done.err
    assert len(done.json["advisories"]) == 9
    for command in ("verify", "log", "history"):
        shown = ppm(command).out
        assert "4 more advisories; --json has them all" in shown
        assert len(shown) < 4000


def test_an_index_that_lies_about_advisories_stops_what_is_at_hand(owned, ppm_home):
    assert ppm("sync").code == 0
    repository = owned.open()
    notice = Notice(ID, "0" * 64)
    repository.put(shard_path("guard"), repository.shard("guard").with_advisory(notice).to_bytes())
    repository.commit(datetime.now(UTC))
    done = ppm("sync")
    assert (done.code, done.out) == (4, "")
    assert f"advisory {ID} on guard in " in done.err
    assert "is listed, but is not there" in done.err
