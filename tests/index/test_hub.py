"""An index in a repository of the hub, at a commit that is pinned."""

import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from commands import command, examples, fine, ppm
from huggingface_hub import constants, hf_hub_download
from index.hub_server import REPOSITORY, serve_hub
from index.indexes import Halved, Says, make_index
from integration.deployed import patch

from ppm.index.roles import LIFETIMES
from ppm.index.trust import trusted_indexes


@pytest.fixture
def published(tmp_path, monkeypatch):
    """An index of one patch, the hub that it lies on, the host of its large files, and its address."""
    monkeypatch.chdir(tmp_path)
    owned = make_index(tmp_path / "index", patch("guard"))
    with serve_hub(tmp_path / "hub", monkeypatch) as (hub, large, _):
        yield owned, hub, large, f"hf://{REPOSITORY}@{hub.commit(tmp_path / 'index')}"


def refused(code, words, *arguments):
    done = ppm(*arguments)
    assert (done.code, done.out) == (code, ""), done
    assert words in done.err
    assert "hint:" in done.err
    return done.err


def add(owned, url):
    root = owned.folder / "metadata" / "1.root.json"
    return ["source", "add", "acme", url, "--root", str(root), "--yes"]


def newest():
    [row] = fine("search", "guard", "--json").json
    return row["version"]


def pin(home):
    return trusted_indexes(home)[0].url.partition("@")[2]


def test_the_server_of_these_tests_is_one_for_the_real_client(published, tmp_path):
    _, _, _, url = published
    got = hf_hub_download(
        REPOSITORY, "metadata/timestamp.json", revision=url.partition("@")[2], cache_dir=tmp_path / "cache"
    )
    assert Path(got).read_bytes() == (tmp_path / "index" / "metadata" / "timestamp.json").read_bytes()


def test_patches_come_from_a_repository_and_the_token_stays_on_the_hub(published, tmp_path, monkeypatch):
    owned, hub, large, url = published
    hub.token = "hf_s3cret"
    said = refused(1, "there is no such repository, or it is not shown to you (401)", *add(owned, url))
    assert "HF_TOKEN" in said
    monkeypatch.setenv("HF_TOKEN", hub.token)
    fine(*add(owned, url))
    assert fine("source", "list", "--json").json == [{"name": "acme", "url": url}]
    fine("add", "guard", "--base", "lab")
    assert f'source = "{url}"' in (tmp_path / "ppm.lock").read_text()
    [path] = (owned.folder / "targets" / "files").glob("*/*.ppm")
    where = f"{url.partition('@')[2]}/{path.relative_to(owned.folder)}"
    large.instead[where] = 403
    said = refused(1, "answers 403", "download", "guard", "--base", "lab")
    assert "s3cret" not in said
    large.instead.clear()
    fine("download", "guard", "--base", "lab", "--dest", "got")
    assert large.asked == [where, where]
    assert not any("authorization" in headers for headers in large.headers)


@pytest.mark.parametrize("kind", ["datasets/", ""])
def test_a_folder_of_a_repository(published, tmp_path, kind):
    owned, hub, _, _ = published
    (tmp_path / "whole").mkdir()
    owned.folder.rename(tmp_path / "whole" / "index")
    owned.folder = tmp_path / "whole" / "index"
    url = f"hf://{kind}{REPOSITORY}@{hub.commit(tmp_path / 'whole')}/index"
    fine(*add(owned, f"{url}/"))
    assert trusted_indexes(tmp_path / "nowhere") == []
    fine("download", "guard", "--base", "lab", "--dest", "got")
    assert all(path.startswith(kind) for path in hub.asked)


@pytest.mark.parametrize("revision", ["", "@main", "@0000001"])
def test_a_branch_is_refused_with_the_commit_to_pin(published, revision):
    owned, hub, _, url = published
    hub.branches["0000001"] = hub.branches["main"]
    said = refused(1, "an index on the hub is named with its commit", *add(owned, f"hf://{REPOSITORY}{revision}/x"))
    assert f"hint: what is there now: {url}/x\n" in said
    hub.instead["api/*"] = Says(404, {"x-error-code": "RepoNotFound"})
    said = refused(1, "is named with its commit", *add(owned, f"hf://{REPOSITORY}{revision}"))
    assert "the page of the repository's files shows it" in said


@pytest.mark.parametrize(
    "url", ["hf://acme", "hf://acme/x/y@z", "hf://acme/../x@" + "0" * 40, "hf:///x/y", "hf://a/b@c?d"]
)
def test_what_is_no_repository(published, url):
    owned, hub, _, _ = published
    assert "must be like hf://OWNER/REPO@COMMIT" in refused(1, "", *add(owned, url))
    assert hub.asked == []


def test_the_pin_moves_to_what_is_newer_and_never_back(published, ppm_home):
    owned, hub, _, url = published
    first = url.partition("@")[2]
    example = dict(examples())["source update"].split()[1:]
    fine(*add(owned, url))
    owned.publish(patch("guard", "2.0.0"))
    second = hub.commit(owned.folder)
    assert newest() == "1.0.0"
    assert f"acme is taken from {second}, and no more from 000000000000." in fine(*example).out
    assert (pin(ppm_home), newest()) == (second, "2.0.0")
    assert "as before" in fine("source", "update", "acme", second).out
    refused(4, "offers an older state than it did before", "source", "update", "acme", first)
    refused(1, "it has no such commit", "source", "update", "acme", "f" * 40)
    refused(1, "is no commit", "source", "update", "acme", "main")
    hub.branches["main"] = "main"
    refused(1, "is at no commit that the hub can name", "source", "update", "acme")
    hub.instead["api/*"] = 500
    refused(1, "can't be asked for its commit", "source", "update", "acme")
    # A commit that was pushed by half.
    owned.publish(patch("guard", "3.0.0"))
    third = hub.commit(owned.folder)
    for path in (hub.folder / third / "metadata").glob("*.snapshot.json"):
        path.unlink()
    refused(1, "lacks a file", "source", "update", "acme", third)
    assert (pin(ppm_home), newest()) == (second, "2.0.0")


def test_only_pins_move(published, monkeypatch):
    owned, _, _, url = published
    fine("source", "add", "folder", owned.folder.as_uri(), "--root", str(owned.folder / "metadata/1.root.json"), "-y")
    refused(1, "folder is not on the hub", "source", "update", "folder")
    fine(*add(owned, url))
    monkeypatch.setenv("PPM_OFFLINE", "1")
    refused(1, "is not asked, as you want it", "source", "update", "acme")
    refused(1, "is not asked, as you want it", "source", "update", "acme", "0" * 40)


def test_an_old_pin_expires_and_the_hint_says_what_moves_it(published):
    owned, hub, _, _ = published
    owned.open().refresh(datetime.now(UTC) - LIFETIMES["timestamp"] - timedelta(hours=1))
    url = f"hf://{REPOSITORY}@{hub.commit(owned.folder)}"
    said = refused(4, "is out of date", *add(owned, url))
    assert "`ppm source update NAME`" in said


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Says(403, {"x-error-code": "GatedRepo"}), "its owner wants to be asked first (403)"),
        (Says(404, {"x-error-code": "RepoNotFound"}), "there is no such repository"),
        (Says(404, {"x-error-code": "RevisionNotFound"}), "it has no such commit"),
        ("endless", "sends more than it may"),
    ],
)
def test_what_the_hub_refuses(published, answer, words):
    owned, hub, _, url = published
    hub.instead[f"{REPOSITORY}/*"] = answer
    refused(4 if answer == "endless" else 1, words, *add(owned, url))


def test_a_large_file_that_breaks_off_and_one_that_is_another(published, tmp_path):
    owned, _, large, url = published
    fine(*add(owned, url))
    [path] = (owned.folder / "targets" / "files").glob("*/*.ppm")
    where = f"{url.partition('@')[2]}/{path.relative_to(owned.folder)}"
    large.instead[where] = path.read_bytes()[:-1] + b"\1"
    refused(4, "not the signed one", "download", "guard", "--base", "lab")
    large.instead.clear()
    large.headers.clear()
    large.once[where] = Halved(path.read_bytes())
    fine("download", "guard", "--base", "lab", "--dest", "got")
    assert [headers.get("range") for headers in large.headers] == [None, f"bytes={path.stat().st_size // 2}-"]


def test_the_hub_s_own_switch_for_working_offline(published, monkeypatch):
    owned, hub, _, url = published
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refused(1, "HF_HUB_OFFLINE is set", *add(owned, url))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    fine(*add(owned, url))
    fine("search", "guard")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    assert "HF_HUB_OFFLINE is set" in fine("search", "guard").err
    assert hub.asked == []


def test_the_environment_says_where_the_hub_is_and_who_asks(published):
    owned, hub, _, url = published
    hub.token = "hf_s3cret"
    environ = {**os.environ, "HF_ENDPOINT": constants.ENDPOINT, "HF_TOKEN": hub.token, "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(command(*add(owned, url)), env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert fine("source", "list", "--json").json == [{"name": "acme", "url": url}]
