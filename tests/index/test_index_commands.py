"""Indexes from the command line: what their owners, publishers and users type, and what they are told."""

import io
import json
import shlex
from datetime import UTC, datetime, timedelta

import pytest
from commands import examples, fine, ppm
from index.indexes import PASSPHRASE, make_index, serve
from index.private_sigstore import Instance
from integration.deployed import deployed, patch, write

from ppm.index.publish import yank
from ppm.index.roles import bins_for
from ppm.lock import Lock
from ppm.package import write_package

ADVISORY = {
    "schema_version": "1.6.0",
    "id": "ACME-2026-1",
    "published": "2026-11-01T10:00:00Z",
    "modified": "2026-11-01T10:00:00Z",
    "summary": "Insults after praise",
    "affected": [{"package": {"ecosystem": "ppm", "name": "toxicity"}, "versions": ["1.0.0"]}],
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PPM_KEY_PASSPHRASE", PASSPHRASE)
    monkeypatch.setenv("PPM_NETWORK_TIMEOUT", "20")


def refused(code, words, *arguments):
    done = ppm(*arguments)
    assert (done.code, done.out) == (code, ""), done
    assert words in done.err
    assert "Traceback" not in done.err
    return done.err


def trusted(url, owned, name="acme", *options):
    root = owned.folder / "metadata" / "1.root.json"
    return fine("source", "add", name, url, "--root", str(root), "--yes", *options)


def test_every_example_works(tmp_path):
    known = dict(examples())
    [path] = [write_package(patch("toxicity"), tmp_path / "dist")]
    lines = {words: line for words, line in known.items() if words.split()[0] in ("index", "publish", "source")}
    order = ["index init", "index key", "index add-publisher", "publish", "index status", "index verify"]
    (tmp_path / "ACME-2026-1.json").write_text(json.dumps(ADVISORY))
    (tmp_path / "trusted_root.json").write_bytes(Instance().trusted_root())
    order += [
        "index sigstore",
        "index advise",
        "index yank",
        "index refresh",
        "index rotate",
        "index page",
        "source add",
        "source list",
        "source accept",
        "index mirror",
        "index prune",
    ]
    # test_hub.py runs the one of `source update`.
    assert {*order, "source remove", "source update", "index", "source"} == set(lines)
    for words in [*order, "source remove"]:
        line = lines[words].replace("dist/toxicity-1.0.0-lab_0123456789ab.ppm", str(path))
        if words == "source add":
            line = line.replace("https://patches.example.org/index", (tmp_path / "my-index").as_uri())
            line = line.replace("root.json", "my-index/metadata/1.root.json --yes")
        done = fine(*shlex.split(line.removeprefix("ppm ")))
        assert done.out, line
    assert fine("index", "verify", "my-index").out == "All sound. Releases: 1; names: 2.\n"


def test_private_keys_are_encrypted_and_stay_out_of_the_index(tmp_path, monkeypatch):
    fine("index", "init", "my-index", "--bins", "4")
    keys = list((tmp_path / "my-index.keys").glob("*.pem"))
    assert len(keys) == 7
    for path in keys:
        assert b"ENCRYPTED" in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0
    served = [path.read_bytes() for path in (tmp_path / "my-index").rglob("*") if path.is_file()]
    assert not any(b"PRIVATE" in data for data in served)
    refused(1, "is inside the index", "index", "init", "other", "--keys", "other/keys")
    refused(1, "is an index already", "index", "init", "my-index")
    refused(1, "is not an index", "index", "status", "nowhere")
    refused(1, "3 of 2 root keys", "index", "init", "other", "--root-keys", "2", "--threshold", "3")
    refused(1, "not a number of bins", "index", "init", "other", "--bins", "5")
    monkeypatch.setenv("PPM_KEY_PASSPHRASE", "wrong")
    refused(1, "can't be decrypted", "index", "refresh", "my-index")
    monkeypatch.delenv("PPM_KEY_PASSPHRASE")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    refused(1, "private keys need a passphrase", "index", "refresh", "my-index")


def test_the_number_of_bins_grows_with_the_root_of_the_names():
    assert [bins_for(10**power) for power in (0, 3, 4, 5, 6, 9)] == [64, 64, 256, 1024, 2048, 16384]


def test_keys_that_are_elsewhere_are_asked_for(tmp_path):
    owned = make_index(tmp_path / "index", patch("toxicity"))
    away = tmp_path / "safe"
    away.mkdir()
    for path in (tmp_path / "index.keys").glob("root-*.pem"):
        path.rename(away / path.name)
    said = refused(1, "2 of the keys of root must sign, but 0 are here", "index", "rotate", "index", "timestamp")
    assert "--keys" in said
    fine("index", "refresh", "index")
    assert owned.open().root.signed.version == 1


def test_keys_of_root_and_targets_may_be_in_a_folder_of_their_own(tmp_path):
    fine("index", "init", "patches", "--root-keys", "1", "--threshold", "1")
    fine("index", "key", "acme.pem")
    keys, offline = tmp_path / "patches.keys", tmp_path / "off"
    offline.mkdir()
    for path in [*keys.glob("root-*.pem"), *keys.glob("targets-*.pem")]:
        path.rename(offline / path.name)
    before = sorted(path.name for path in keys.iterdir())
    for role in ("bins", "timestamp", "targets"):
        refused(1, "must sign, but 0 are here", "index", "rotate", "patches", role)
    assert sorted(path.name for path in keys.iterdir()) == sorted({*before, "lock"})  # no key that nothing uses
    fine("index", "add-publisher", "patches", "acme", "--key", "acme.pub.pem", "--names", "guard", "--keys", "off")
    for role in ("bins", "timestamp", "targets", "root"):
        fine("index", "rotate", "patches", role, "--keys", "off")
    fine("index", "refresh", "patches", "--all", "--keys", "off")
    assert {path.name.split("-")[0] for path in offline.iterdir()} == {"root", "targets"}
    assert not [*keys.glob("root-*"), *keys.glob("targets-*")]
    fine("index", "verify", "patches")


def test_a_publisher_with_other_keys_signs_again_what_there_is(tmp_path):
    owned = make_index(tmp_path / "index", patch("guard"), patch("other"))
    yank(owned.open(), "guard", "1.0.0", "too harsh", datetime.now(UTC))
    fine("index", "key", "new.pem")
    done = fine("index", "add-publisher", "index", "acme", "--key", "new.pub.pem", "--replace")
    assert "users now refuse 2 files, such as guard-1.0.0-" in done.err
    assert ppm("index", "verify", "index").code == 4
    before = owned.open().shard("guard").releases[0]
    path = write_package(patch("guard"), tmp_path / "dist")
    assert "guard==1.0.0" in fine("publish", path, "index", "--key", "new.pem").out
    after = owned.open().shard("guard").releases[0]
    assert (after.published, after.yanked, after.sha256) == (before.published, "too harsh", before.sha256)
    assert after.publisher != before.publisher
    fine("publish", write_package(patch("other"), tmp_path / "dist"), "index", "--key", "new.pem")
    fine("index", "verify", "index")
    assert "published already" in fine("publish", path, "index", "--key", "new.pem").out


def test_what_is_no_root_is_the_file_s_fault(tmp_path):
    owned = make_index(tmp_path / "index", patch("guard"))
    (tmp_path / "bad.json").write_text("{}")
    for bad in (tmp_path / "bad.json", owned.folder / "metadata" / "timestamp.json"):
        said = refused(
            4, "is no root metadata of an index", "source", "add", "acme", owned.folder.as_uri(), "--root", bad
        )
        assert str(bad) in said


def test_publishing(tmp_path):
    fine("index", "init", "my-index", "--bins", "4")
    fine("index", "key", "acme.pem")
    refused(1, "exists already", "index", "key", "acme.pem")
    [path] = [write_package(patch("toxicity"), tmp_path / "dist")]
    said = refused(1, "nobody has the right to publish toxicity", "publish", str(path), "my-index", "--key", "acme.pem")
    assert "ppm index add-publisher my-index PUBLISHER --names toxicity" in said
    refused(1, "at least one", "index", "add-publisher", "my-index", "acme", "--names", "toxicity")
    refused(1, "is not a public key", "index", "add-publisher", "my-index", "acme", "--key", "acme.pem")
    fine("index", "add-publisher", "my-index", "acme", "--key", "acme.pub.pem", "--names", "toxicity")
    fine("index", "key", "evil.pem")
    refused(4, "not signed by the publisher", "publish", str(path), "my-index", "--key", "evil.pem")
    refused(1, "is not signed", "publish", str(path), "my-index")
    assert fine("publish", str(path), "my-index", "--key", "acme.pem").out == "Published toxicity==1.0.0\n"
    again = fine("publish", str(path), "my-index", "--key", "acme.pem").out
    assert again == "toxicity==1.0.0 is published already\n"
    (tmp_path / "outbox").mkdir()
    [newer] = [write_package(patch("toxicity", "1.1.0"), tmp_path / "dist")]
    fine("publish", str(newer), "outbox", "--key", "acme.pem")
    assert fine("publish", f"outbox/{newer.name}", "my-index").out == "Published toxicity==1.1.0\n"
    status = fine("index", "status", "my-index", "--json").json
    assert (status["names"], status["releases"], status["publishers"]) == (1, 2, 1)
    assert [role["name"] for role in status["roles"]] == ["root", "targets", "bins", "snapshot", "timestamp"]
    refused(1, "there is no toxicity 3.0", "index", "yank", "my-index", "toxicity", "3.0", "--reason", "x")


def test_the_first_trust_is_asked_for(tmp_path, monkeypatch):
    owned = make_index(tmp_path / "index", patch("guard"))
    with serve(tmp_path / "index") as (_, url):
        refused(1, "what is to be trusted?", "source", "add", "acme", url, "--yes")
        monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
        asked = ppm("source", "add", "acme", url)
        fingerprint = fine("index", "status", "index", "--json").json["fingerprint"]
        assert (asked.code, fingerprint in asked.out) == (1, True)
        assert asked.err.endswith("error: you said no, so nothing was changed\n")
        refused(4, "not the one you gave", "source", "add", "acme", url, "--fingerprint", "0" * 64)
        assert fine("source", "list", "--json").json == []
        assert "Added acme" in fine("source", "add", "acme", url, "--fingerprint", fingerprint).out
        assert fine("source", "list", "--json").json == [{"name": "acme", "url": url}]
        refused(1, "already", "source", "add", "Acme", url, "--fingerprint", fingerprint)
        fine("source", "remove", "acme")
        refused(1, "there is no source", "source", "remove", "acme")
        other = make_index(tmp_path / "other")
        root = other.folder / "metadata" / "1.root.json"
        refused(4, "not signed by the keys", "source", "add", "acme", url, "--root", str(root), "--yes")
        assert fine("source", "list", "--json").json == []
    assert owned.folder.is_dir()


def test_a_copy_is_hosted_elsewhere(tmp_path):
    owned = make_index(tmp_path / "index", patch("guard"))
    root = owned.folder / "metadata" / "1.root.json"
    with serve(owned.folder) as (host, url):
        refused(1, "there is no source", "index", "mirror", "acme", "copy")
        refused(1, "must begin with https://", "index", "mirror", "ftp://example.org/x", "copy")
        refused(1, "what is to be trusted?", "index", "mirror", url, "copy", "--yes")
        refused(4, "not the one you gave", "index", "mirror", url, "copy", "--fingerprint", "0" * 64)
        done = fine("index", "mirror", f"{url}/", "copy", "--root", str(root), "--yes")
        assert f"of {url} to copy; 0 were there." in done.out
        for more in ([], ["--root", str(root)]):  # nothing is asked once there is a copy
            assert "Copied 0 files (0.0 MB)" in fine("index", "mirror", url, "copy", *more).out
        trusted(url, owned)
        assert "Copied 0 files" in fine("index", "mirror", "acme", "copy").out
        refused(1, "is no index", "index", "mirror", "acme", str(tmp_path))
        fine("source", "remove", "acme")
        host.instead["*"] = 503
        refused(1, "can't be reached", "index", "mirror", url, "copy")
    assert fine("index", "verify", "copy", "--root", str(root)).out == "All sound. Releases: 1; names: 1.\n"
    trusted((tmp_path / "copy").as_uri(), owned)
    fine("download", "guard", "--base", "lab", "--dest", "got")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("patches", "must begin with https://"),
        ("ftp://example.org/x", "must begin with https://"),
        ("https://", "names no host"),
        ("https://example.org/x?y=1", "must be a plain address"),
        ("file://elsewhere/x", "must name a folder of this machine"),
        ("https://example.org:99999/x", "is no address"),
    ],
)
def test_what_is_no_address(url, words):
    refused(1, words, "source", "add", "acme", url, "--fingerprint", "0" * 64)


def test_users_search_lock_sync_and_download(tmp_path):
    owned = make_index(tmp_path / "second", patch("app2", needs={"guard2": "*"}), patch("guard2"))
    with serve(tmp_path / "second") as (_, url):
        trusted(url, owned)
        rows = fine("search", "guard2", "--json").json
        assert [(row["name"], row["source"]) for row in rows] == [("guard2", url)]
        fine("download", "app2", "--base", "lab", "--dest", "got")
        assert sorted(path.name.split("-")[0] for path in (tmp_path / "got").iterdir()) == ["app2", "guard2"]
        assert "app2" in fine("install", "app2", "--base", "lab", "--dry-run").out
        fine("add", "app2", "--base", "lab")
        assert f'source = "{url}"' in (tmp_path / "ppm.lock").read_text()
        (tmp_path / "got").rename(tmp_path / "got1")
        fine("download", "--locked", "--dest", "got")
    # Without the network, what was fetched is still valid.
    done = fine("download", "app2", "--base", "lab", "--dest", "offline")
    assert "can't be reached" in done.err
    done = fine("download", "app2", "--base", "lab", "--dest", "offline", "--offline", "-q")
    assert done.err == ""


@pytest.mark.parametrize(
    ("code", "words", "line"),
    [
        (3, "No source has a patch called nothing.", "download nothing --base lab --dest got"),
        (3, "No source has a patch called nothing.", "install nothing --base lab --dry-run"),
        (3, "civility comes with ppm for another base model: smollm2.", "install civility --base lab --dry-run"),
        (3, "did you mean 'guard'?", "download gaurd --base lab --dest got"),
        (1, "what this needs of it was not fetched before", "download other --base lab --dest got"),
        (1, "what this needs of it was not fetched before", "download app --base lab --dest got"),
        (4, "has no publisher of nothing", "source accept acme nothing"),
        (1, "what this needs of it was not fetched before", "source accept acme other"),
        (1, "there is no source 'acmee'", "source accept acmee guard"),
    ],
)
def test_offline_what_is_not_known_is_one_clear_error(tmp_path, code, words, line):
    owned = make_index(tmp_path / "index", patch("guard"), patch("app", needs={"other": "*"}))
    owned.publisher("second", "other")
    owned.publish(patch("other"), publisher="second")
    with serve(owned.folder) as (host, url):
        trusted(url, owned)
        fine("download", "guard", "--base", "lab", "--dest", "known")
        host.asked.clear()
        said = refused(code, words, *line.split(), "--offline")
        assert said.count("error:") == 1
        assert said.count("hint:") <= 1
        assert "or use --offline" not in said
        assert host.asked == []
        # What is known is found all the same.
        assert [row["name"] for row in fine("search", "guard", "--json", "--offline").json] == ["guard"]
        assert fine("search", "guard", "--base", "lab", "--json", "--offline").json


def test_what_is_newer_is_seen_and_a_cooldown_keeps_it_away(tmp_path):
    now = datetime.now(UTC)
    owned = make_index(tmp_path / "index", patch("guard"), now=now - timedelta(days=30))
    owned.publish(patch("guard", "1.1.0"), now=now - timedelta(days=2))
    owned.open().refresh(now)
    trusted(owned.folder.as_uri(), owned)
    deployed(["guard"], patch("guard"))
    [row] = fine("outdated", "--json").json
    assert (row["version"], row["latest"]) == ("1.0.0", "1.1.0")
    assert fine("outdated", "--json", "--exclude-newer", "7 days").json == []
    fine("download", "guard", "--base", "lab", "--dest", "late")
    fine("download", "guard", "--base", "lab", "--dest", "early", "--exclude-newer", "7 days")
    assert [next(folder.iterdir()).name.split("-")[1] for folder in (tmp_path / "late", tmp_path / "early")] == [
        "1.1.0",
        "1.0.0",
    ]
    (tmp_path / "ppm.toml").write_text('base = "lab"\npatches = ["guard"]\nexclude_newer = "1 week"\n')
    assert fine("lock", "--json").json["packages"][0]["version"] == "1.0.0"
    assert 'exclude_newer = "1 week"' in (tmp_path / "ppm.lock").read_text()
    excepted = 'exclude_newer_package = { Guard = "3 days", other = "1 day" }\n'
    (tmp_path / "ppm.toml").write_text(f'base = "lab"\npatches = ["guard"]\nexclude_newer = "1 week"\n{excepted}')
    assert fine("lock", "--upgrade", "--json").json["packages"][0]["version"] == "1.0.0"
    early = ("--upgrade", "--exclude-newer-package", "guard=1 hour", "--json")
    assert fine("lock", *early).json["packages"][0]["version"] == "1.1.0"
    assert Lock.read(tmp_path / "ppm.lock").exclude_newer_package == {"guard": "1 hour", "other": "1 day"}
    yank(owned.open(), "guard", "1.1.0", "too harsh", now)
    (tmp_path / "ppm.toml").unlink()
    fine("download", "guard", "--base", "lab", "--dest", "third")
    assert "1.0.0" in next((tmp_path / "third").iterdir()).name


def test_a_name_comes_from_the_first_source_that_lists_it(tmp_path):
    first = make_index(tmp_path / "first", patch("guard"))
    second = make_index(tmp_path / "second", patch("guard", "9.0.0"), patch("other", provides=("guard", "any")))
    trusted(second.folder.as_uri(), second, "second")
    trusted(first.folder.as_uri(), first, "first", "--first")
    assert [row["name"] for row in fine("source", "list", "--json").json] == ["first", "second"]
    done = fine("download", "guard", "other", "--base", "lab", "--dest", "got")
    assert sorted(path.name[:9] for path in (tmp_path / "got").iterdir()) == ["guard-1.0", "other-1.0"]
    assert f"guard is taken from {first.folder.as_uri()} alone; {second.folder.as_uri()} lists it too" in done.err
    write(tmp_path / "mine", patch("guard", "0.5.0"))
    done = fine("download", "guard", "--base", "lab", "--dest", "own", "-f", "mine")
    assert next((tmp_path / "own").iterdir()).name.startswith("guard-0.5.0")
    assert "guard is taken from mine alone" in done.err


def test_an_index_that_lies_installs_nothing_and_what_is_deployed_stays(tmp_path):
    owned = make_index(tmp_path / "index", patch("guard", "1.1.0"))
    deployed(["guard"], patch("guard"))
    with serve(tmp_path / "index") as (host, url):
        trusted(url, owned)
        host.instead["metadata/timestamp.json"] = "endless"
        refused(4, "sends more than it may", "upgrade", "guard", "--base", "lab")
        refused(4, "sends more than it may", "download", "guard", "--base", "lab")
        host.instead = {"targets/files/*": b"evil"}
        refused(4, "not the signed one", "download", "guard", "--base", "lab")
        assert [row["version"] for row in fine("list", "--json").json["patches"]] == ["1.0.0"]
        fine("verify", "--base", "lab")
        host.instead.clear()
        fine("download", "guard", "--base", "lab", "--dest", "got")


def test_a_changed_publisher_is_accepted_by_name(tmp_path):
    owned = make_index(tmp_path / "index", patch("guard"))
    trusted(owned.folder.as_uri(), owned)
    fine("download", "guard", "--base", "lab", "--dest", "got")
    owned.signers.clear()
    for path in tmp_path.glob("index-acme.*"):
        path.unlink()
    owned.publisher("acme")
    owned.publish(patch("guard", "2.0.0"))
    said = refused(4, "signed by another key than guard was before", "download", "guard", "--base", "lab")
    assert "ppm source accept acme guard" in said
    refused(4, "has no publisher of other", "source", "accept", "acme", "other")
    fine("source", "accept", "acme", "guard")
    fine("download", "guard", "--base", "lab", "--dest", "got")


def test_a_lock_pins_the_publisher_s_key(tmp_path, monkeypatch):
    owned = make_index(tmp_path / "index", patch("guard"))
    trusted(owned.folder.as_uri(), owned)
    (tmp_path / "ppm.toml").write_text('base = "lab"\npatches = ["guard"]\n')
    [package] = fine("lock", "--json").json["packages"]
    assert package["publisher"] == owned.signer("acme").public_key.keyid
    before = (tmp_path / "ppm.lock").read_text()
    owned.signers.clear()
    for path in tmp_path.glob("index-acme.*"):
        path.unlink()
    owned.publisher("acme")
    owned.publish(patch("guard", "2.0.0"))
    fine("lock")
    assert (tmp_path / "ppm.lock").read_text() == before
    # On another machine, which has taken nothing from this index yet.
    monkeypatch.setenv("PPM_HOME", str(tmp_path / "elsewhere"))
    trusted(owned.folder.as_uri(), owned, "vendor")
    said = refused(4, "signed by another key or identity than guard was before", "lock", "--upgrade")
    assert "ppm source accept vendor guard" in said
    assert (tmp_path / "ppm.lock").read_text() == before
    fine("source", "accept", "vendor", "guard")
    fine("lock", "--upgrade")
    assert owned.signer("acme").public_key.keyid in (tmp_path / "ppm.lock").read_text()


def test_a_damaged_list_of_sources_is_named(ppm_home):
    (ppm_home / "sources").mkdir()
    (ppm_home / "sources" / "sources.toml").write_text('schema = 1\n[[sources]]\nname = "../x"\nurl = "https://a"\n')
    refused(1, "sources.toml", "search", "x")
    assert "sources.toml" in ppm("source", "list").err


def test_commands_without_an_index_do_not_import_tuf():
    from commands import imported

    for arguments in (["search", "toxicity", "--base", "lab"], ["source", "list"], ["index", "--help"]):
        code, modules = imported(*arguments)
        assert code == 0
        assert not {"tuf", "securesystemslib", "cryptography", "httpx2"} & modules, arguments
