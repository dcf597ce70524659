"""A signed index as a source: what it lists and fetches, from a folder and over HTTP, with and without a network."""

from datetime import UTC, datetime

import pytest
from index.indexes import Halved, make_index, one_patch, serve, source_of, trust
from packages import FINGERPRINT, make_package

from ppm.errors import SourceError
from ppm.index.publish import yank
from ppm.index.trust import Access
from ppm.package import write_package
from ppm.sources import open_indexes, open_source


def test_a_folder_is_listed_and_fetched(tmp_path):
    package = make_package(dependencies={"core": ">=1"}, provides=("safety",))
    core = make_package("core")
    owned = make_index(tmp_path / "index", package, core, now=datetime(2026, 11, 1, 12, tzinfo=UTC))
    owned.open().refresh(datetime.now(UTC))
    source = source_of(tmp_path / "home", (tmp_path / "index").as_uri(), owned.first_root)
    [release] = source.named("toxicity")
    assert (release.pin, release.sha256, release.risks) == ("toxicity==1.0.0", package.sha256, ("toxicity",))
    assert release.published == datetime(2026, 11, 1, 12, tzinfo=UTC)
    assert source.fetch(release) == package.data
    assert source.find(core.file_name, core.sha256) == core.data
    assert source.find(core.file_name, package.sha256) is None
    assert (source.has_file(core.file_name), source.has_file("x-1-y.ppm"), source.has_file("../x")) == (
        True,
        False,
        False,
    )
    assert set(source.names(FINGERPRINT)) == {"toxicity", "core", "safety"}
    assert set(source.names("sha256:" + "f" * 64)) == set()
    assert set(source.providers("safety", FINGERPRINT)) == {"toxicity"}
    assert (source.named("nothing"), source.damaged(), source.composed_names()) == ([], [], ())


def test_only_what_is_asked_for_comes_over_http(tmp_path):
    packages = [make_package(f"patch-{i}") for i in range(8)]
    packages.append(make_package("app", dependencies={"patch-1": "*", "patch-2": "*"}))
    owned = make_index(tmp_path / "index", *packages)
    with serve(tmp_path / "index") as (host, url):
        source = source_of(tmp_path / "home", url, owned.first_root)
        [release] = source.named("app")
        source.named("patch-1")
        taken = [path.rpartition("/")[2].split(".", 1)[1] for path in host.asked if "targets/names/" in path]
        assert sorted(taken) == ["app.json", "patch-1.json", "patch-2.json"]
        assert not any("targets/files" in path for path in host.asked)
        source.fetch(release)
        host.asked.clear()
        again = source_of(tmp_path / "home", url, owned.first_root)
        assert again.fetch(again.named("app")[0])
        assert host.asked == ["metadata/2.root.json", "metadata/timestamp.json"]


def test_a_server_that_fails_once_is_asked_again(tmp_path):
    owned = one_patch(tmp_path / "index")
    with serve(tmp_path / "index") as (host, url):
        host.once = {"metadata/timestamp.json": 503, "metadata/2.root.json": "cut"}
        assert source_of(tmp_path / "home", url, owned.first_root).named("toxicity")
        assert host.asked.count("metadata/timestamp.json") == 2


def test_an_answer_that_breaks_off_is_gone_on_with(tmp_path):
    owned = one_patch(tmp_path / "index")
    with serve(tmp_path / "index") as (host, url):
        source = source_of(tmp_path / "home", url, owned.first_root)
        [release] = source.named("toxicity")
        [path] = (tmp_path / "index" / "targets" / "files").glob("*/*.ppm")
        host.once[str(path.relative_to(tmp_path / "index"))] = Halved(path.read_bytes())
        assert source.fetch(release) == make_package().data


def test_a_proxy_that_is_none(tmp_path, monkeypatch):
    owned = one_patch(tmp_path / "index")
    monkeypatch.setenv("HTTP_PROXY", "nonsense://user:secret@127.0.0.1:1")
    with serve(tmp_path / "index") as (_, url), pytest.raises(SourceError, match="the proxy that") as caught:
        source_of(tmp_path / "home", url, owned.first_root).named("toxicity")
    assert "secret" not in str(caught.value)


def test_a_source_that_was_never_reached_does_not_hinder_what_others_list(tmp_path):
    write_package(make_package(), tmp_path / "mine")
    index = trust(tmp_path / "home", "http://127.0.0.1:9", one_patch(tmp_path / "index").first_root)
    mine = open_source(tmp_path / "mine")
    [dead] = open_indexes([index], tmp_path / "cache", Access(timeout=0.2), before=[mine], tell=print)
    assert (dead.named("toxicity"), dead.problems("toxicity"), dead.providers("toxicity", FINGERPRINT)) == ((), (), ())
    with pytest.raises(SourceError, match="nothing of it was fetched yet"):
        dead.named("core")


def test_without_a_network_what_was_fetched_serves_and_its_age_is_said(tmp_path):
    owned = one_patch(tmp_path / "index")
    with serve(tmp_path / "index") as (_, url):
        source = source_of(tmp_path / "home", url, owned.first_root)
        source.fetch(source.named("toxicity")[0])
    said = []
    source = source_of(tmp_path / "home", url, owned.first_root, tell=said.append)
    assert source.fetch(source.named("toxicity")[0]) == make_package().data
    assert len(said) == 1
    assert "can't be reached" in said[0]
    assert "fetched 0 minutes ago, which is valid until" in said[0]
    said.clear()
    offline = source_of(tmp_path / "home", url, owned.first_root, offline=True, tell=said.append)
    assert offline.named("toxicity")
    assert "is not asked, as you want it" in said[0]


def test_offline_there_is_nothing_that_was_not_fetched(tmp_path):
    owned = make_index(tmp_path / "index", make_package(), make_package("core"))
    url = (tmp_path / "index").as_uri()
    with pytest.raises(SourceError, match="nothing of it was fetched yet"):
        source_of(tmp_path / "home", url, owned.first_root, offline=True).named("core")
    source_of(tmp_path / "home", url, owned.first_root).named("toxicity")
    offline = source_of(tmp_path / "home", url, owned.first_root, offline=True)
    assert set(offline.names(None)) == {"toxicity"}
    with pytest.raises(SourceError, match="was not fetched before"):
        offline.fetch(offline.named("toxicity")[0])


def test_a_half_fetched_state_does_not_take_the_place_of_the_last_whole_one(tmp_path):
    owned = one_patch(tmp_path / "index")
    with serve(tmp_path / "index") as (host, url):
        source_of(tmp_path / "home", url, owned.first_root).named("toxicity")
        owned.publish(make_package(version="2.0.0"))
        host.instead["metadata/4.snapshot.json"] = 503
        versions = [str(r.version) for r in source_of(tmp_path / "home", url, owned.first_root).named("toxicity")]
        assert versions == ["1.0.0"]
        host.instead.clear()
        found = source_of(tmp_path / "home", url, owned.first_root).named("toxicity")
        assert sorted(str(r.version) for r in found) == ["1.0.0", "2.0.0"]


def test_a_yanked_version_says_why(tmp_path):
    owned = make_index(tmp_path / "index", make_package(), make_package(version="1.1.0"))
    assert yank(owned.open(), "Toxicity", "1.1.0", "unsafe", datetime.now(UTC)) == 1
    source = source_of(tmp_path / "home", (tmp_path / "index").as_uri(), owned.first_root)
    assert {str(r.version): r.yanked for r in source.named("toxicity")} == {"1.0.0": None, "1.1.0": "unsafe"}
