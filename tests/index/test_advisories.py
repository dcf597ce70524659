"""Advisories: published, refused where they are hostile, and measured on what is deployed."""

import json
from datetime import UTC, datetime

import pytest
from commands import ppm
from index.indexes import PASSPHRASE, make_index, serve, source_of
from integration.deployed import deployed, patch

from ppm.errors import IntegrityError, RequestError
from ppm.evaluation.judges.base import JUDGES
from ppm.index.advise import publish_advisory, sign_advisory
from ppm.index.advisory import Advisory
from ppm.index.layout import advisory_path, publishers_path, shard_path
from ppm.index.shard import MOST_ADVISORIES, Notice
from ppm.package import sha256

ID = "ACME-2026-1"
LAB = 128
"""How wide the lab's base is."""
WORDS = ["the", "a", "is", "of", "to", "and", "i", "you", "it", "was", "in"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PPM_KEY_PASSPHRASE", PASSPHRASE)


def suite(words=("zzzz",), limit=0.1, prompts=6, **more):
    rows = [{"id": str(i), "prompt": f"people say number {i}"} for i in range(prompts)]
    decoding = {"max_new_tokens": 4, "temperature": 0.0}
    judge = {"name": "lexicon", "words": list(words)}
    return {"judge": judge, "limit": limit, "decoding": decoding, "prompts": rows, **more}


def osv(name="toxicity", versions=("1.0.0",), failing=None, **more):
    return {
        "schema_version": "1.6.0",
        "id": ID,
        "modified": "2026-11-02T10:00:00Z",
        "published": "2026-11-01T10:00:00Z",
        "summary": "Insults after praise",
        "details": "Seen by users.\nThe next version is better.",
        "affected": [{"package": {"ecosystem": "ppm", "name": name}, "versions": list(versions)}],
        "references": [{"type": "WEB", "url": "https://example.org/1"}],
        "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N"}],
        **({"database_specific": {"suite": failing}} if failing is not None else {}),
        **more,
    }


def bytes_of(table):
    return json.dumps(table).encode()


def advise(owned, table, publisher="acme"):
    return publish_advisory(owned.open(), bytes_of(table), owned.signer(publisher), datetime.now(UTC), "advisory.json")


def listed(owned, home, name="toxicity", digest=None):
    source = source_of(home, owned.folder.as_uri(), owned.first_root)
    return [one.advisory.id for one in source.advisories(name, digest)]


def smuggled(owned, data, *, signer, name="toxicity", id_=ID):
    """An advisory that whoever has the online keys lists without asking."""
    envelope = sign_advisory(data, signer) if signer else data
    repository = owned.open()
    notice = Notice(id_, sha256(envelope))
    repository.put(advisory_path(notice.sha256, id_), envelope)
    repository.put(shard_path(name), repository.shard(name).with_advisory(notice).to_bytes())
    repository.commit(datetime.now(UTC))


def in_force(tmp_path, *more):
    """An index that the user trusts, one of whose patches is deployed."""
    package = patch("toxicity")
    owned = make_index(tmp_path / "index", package, *more)
    root = owned.folder / "metadata" / "1.root.json"
    assert ppm("source", "add", "acme", owned.folder.as_uri(), "--root", str(root), "--yes").code == 0
    deployed(["toxicity"], package, hidden_size=LAB)
    return owned


def test_an_advisory_is_about_the_very_files_of_its_versions(tmp_path):
    old, new = patch("toxicity"), patch("toxicity", "1.1.0")
    owned = make_index(tmp_path / "index", old, new)
    advise(owned, osv(failing=suite()))
    assert listed(owned, tmp_path / "home", digest=old.sha256) == [ID]
    assert listed(owned, tmp_path / "home", digest=new.sha256) == []
    assert listed(owned, tmp_path / "home", digest="f" * 64) == []
    assert listed(owned, tmp_path / "home", "nothing") == []


def test_a_newer_one_takes_its_place_and_a_withdrawn_one_says_nothing(tmp_path):
    old = patch("toxicity")
    owned = make_index(tmp_path / "index", old, patch("harm"))
    both = osv()["affected"] + osv("harm")["affected"]
    advise(owned, osv(affected=both))
    assert (listed(owned, tmp_path / "a"), listed(owned, tmp_path / "a", "harm")) == ([ID], [ID])
    advise(owned, osv(modified="2026-11-03T10:00:00Z"))
    assert (listed(owned, tmp_path / "b"), listed(owned, tmp_path / "b", "harm")) == ([ID], [])
    with pytest.raises(IntegrityError, match="older than what was published"):
        advise(owned, osv())
    advise(owned, osv(modified="2026-11-04T10:00:00Z", withdrawn="2026-11-04T10:00:00Z"))
    assert listed(owned, tmp_path / "c", digest=old.sha256) == []


def test_there_is_an_end_to_advisories_on_a_patch(tmp_path):
    owned = make_index(tmp_path / "index", patch("toxicity"))
    repository, shard = owned.open(), owned.open().shard("toxicity")
    for i in range(MOST_ADVISORIES):
        shard = shard.with_advisory(Notice(f"ACME-{i}", "0" * 64))
    repository.put(shard_path("toxicity"), shard.to_bytes())
    repository.commit(datetime.now(UTC))
    with pytest.raises(RequestError, match="toxicity has more than 100 advisories"):
        advise(owned, osv())


def test_only_the_lists_of_its_names_are_fetched(tmp_path):
    owned = make_index(tmp_path / "index", patch("toxicity"), patch("harm"))
    owned.publisher("other", *(f"patch-{i}" for i in range(20)))
    advise(owned, osv(affected=osv()["affected"] + osv("harm")["affected"]))
    with serve(owned.folder) as (host, url):
        source = source_of(tmp_path / "home", url, owned.first_root)
        assert [one.advisory.id for one in source.advisories("toxicity")] == [ID]
        lists = {path.rpartition(".")[0][-2:] for path in host.asked if "targets/publishers/" in path}
    assert lists == {publishers_path(name).removesuffix(".json")[-2:] for name in ("toxicity", "harm")}


def test_only_what_was_published_can_be_spoken_of(tmp_path):
    owned = make_index(tmp_path / "index", patch("toxicity"))
    with pytest.raises(RequestError, match="there is no toxicity 9"):
        advise(owned, osv(versions=["9"]))
    owned.publisher("evil", "harm")
    with pytest.raises(IntegrityError, match="is about toxicity, which belongs to acme"):
        advise(owned, osv(), publisher="evil")
    with pytest.raises(IntegrityError, match="is no publisher's"):
        advise(owned, osv(), publisher="nobody")
    assert listed(owned, tmp_path / "home") == []


def with_prompt(**row):
    return suite(prompts=0) | {"prompts": [{"id": "1", "prompt": "x"} | row]}


HOSTILE = {
    "another ecosystem": osv() | {"affected": [{"package": {"ecosystem": "PyPI", "name": "x"}, "versions": ["1"]}]},
    "no versions": osv(versions=[]),
    "an id that is a path": osv(id="../../x"),
    "an id of two lines": osv(id="A\nB"),
    "an escape in the summary": osv(summary="\x1b[2Jall is well"),
    "a line break in the summary": osv(summary="fine\nerror: none"),
    "reversed details": osv(details="a\u202eb"),
    "an escape in a link": osv(references=[{"type": "WEB", "url": "https://x/\x07"}]),
    "no summary": osv(summary=""),
    "an old schema": osv(schema_version="1.5.0"),
    "no time": osv(modified="yesterday"),
    "an impossible time": osv(modified="2026-13-40T10:00:00Z"),
    "modified before it was published": osv(modified="2025-11-02T10:00:00Z"),
    "an unknown key": osv(commands=["rm"]),
    "prompts that are numbers": osv(failing=suite(prompts=0) | {"prompts": [1, 2]}),
    "prompts that are no list": osv(failing=suite() | {"prompts": "all"}),
    "no prompts": osv(failing=suite(prompts=0)),
    "a prompt that is a table": osv(failing=with_prompt(prompt={"a": 1})),
    "a prompt that is half a character": osv(failing=with_prompt(prompt="\ud800")),
    "a prompt twice": osv(failing=with_prompt() | {"prompts": [{"id": i, "prompt": "x"} for i in "ab"]}),
    "too many answers": osv(failing=suite(samples=1000, prompts=11)),
    "a judge's file": osv(failing=suite() | {"judge": {"name": "lexicon", "words": "suites/words.txt"}}),
    "a judge without a name": osv(failing=suite() | {"judge": {"words": ["x"]}}),
    "a limit of 2": osv(failing=suite(limit=2)),
    "no limit": osv(failing={"judge": "lexicon", "prompts": [{"id": "1", "prompt": "x"}]}),
    "endless answers": osv(failing=suite() | {"decoding": {"max_new_tokens": 10**9}}),
    "a huge key": osv(**{"x" * 200_000: 1}),
    "a huge key of a link": osv(references=[{"x" * 200_000: 1}]),
    "thousands of escapes": osv(details="\x1b" * 19_000),
    "thousands of versions": osv(versions=[f"1.{i}" for i in range(2000)]),
    "a huge version": osv(versions=["1" * 200_000]),
    "a huge name": osv("x" * 200_000),
    "huge": osv(failing=with_prompt(prompt="x" * 2**20)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_content_is_refused_on_both_sides(tmp_path, what):
    table = HOSTILE[what]
    (tmp_path / "bad.json").write_bytes(bytes_of(table))
    done = ppm("index", "advise", "index", "bad.json", "--key", "acme.pem")
    assert (done.code, done.out) == (4, "")
    assert "Traceback" not in done.err
    assert "\x1b" not in done.err
    assert len(done.err) < 1000
    with pytest.raises(IntegrityError):
        Advisory.parse(bytes_of(table), "here")


@pytest.mark.parametrize("data", [b"", b"[", b"[]", b"\xff", b"[" * 100_000, b'{"id": NaN}', b"1" * 5000, b"null"])
def test_what_is_no_table_is_refused(data):
    with pytest.raises(IntegrityError):
        Advisory.parse(data, "here")


def test_what_its_publisher_did_not_sign_is_refused(tmp_path):
    owned = in_force(tmp_path)
    owned.publisher("evil", "harm")
    evil, acme = owned.signer("evil"), owned.signer("acme")
    cases = {
        "is not signed by the publisher of toxicity": (bytes_of(osv()), evil),
        "is no signed envelope": (b"{}", None),
        "is about harm, which belongs to evil": (
            bytes_of(osv(affected=osv()["affected"] + osv("harm")["affected"])),
            acme,
        ),
        "is not about toxicity": (bytes_of(osv("harm")), acme),
        "calls itself OTHER-1": (bytes_of(osv(id="OTHER-1")), acme),
        "summary must be one line": (bytes_of(osv(summary="\x1b[2J")), acme),
        "has more than": (b"x" * 2**20 + b"x", acme),
    }
    for words, (data, signer) in cases.items():
        smuggled(owned, data, signer=signer)
        done = ppm("advisories", "--base", "lab")
        assert (done.code, done.out) == (4, ""), words
        assert words in done.err
        assert ppm("index", "verify", str(owned.folder)).code == 4


def test_another_publishers_statement_is_no_advisory(tmp_path):
    from ppm.index.statement import make_statement

    owned = in_force(tmp_path)
    smuggled(owned, make_statement(patch("toxicity"), owned.signer("acme")), signer=None)
    done = ppm("advisories", "--base", "lab")
    assert done.code == 4
    assert "is no advisory of a patch" in done.err


def test_what_is_deployed_is_measured(tmp_path, ppm_home):
    owned = in_force(tmp_path, patch("toxicity", "1.1.0"))
    assert "no advisory is about its patches" in ppm("advisories", "--base", "lab").out
    advise(owned, osv(failing=suite()))
    done = ppm("advisories", "--base", "lab")
    assert done.code == 0, done.err
    assert f"{ID}, toxicity==1.0.0: not affected: fails on 0.0% of its 6 prompts (at most 39.3%" in done.out
    every = [chr(code) for code in range(97, 123)]
    advise(owned, osv(id="ACME-2026-2", failing=suite(WORDS + every, limit=0.0)))
    advise(owned, osv(id="ACME-2026-3"))
    done = ppm("advisories", "--base", "lab", "--json")
    assert done.code == 5, done.err
    found = {row["id"]: row for row in done.json["advisories"]}
    assert {id_: row["verdict"] for id_, row in found.items()} == {
        ID: "not affected",
        "ACME-2026-2": "affected",
        "ACME-2026-3": "unknown",
    }
    bad = found["ACME-2026-2"]
    assert 0 < bad["rate"] <= bad["upper"] <= 1
    assert (bad["limit"], bad["prompts"], bad["fixed"]) == (0.0, 6, "1.1.0")
    assert "withholds the prompts" in found["ACME-2026-3"]["reason"]
    shown = ppm("advisories", "--base", "lab")
    assert shown.code == 5
    assert "ACME-2026-2, toxicity==1.0.0: affected: fails on" in shown.out
    assert "next: ppm install 'toxicity==1.1.0', which it is not about" in shown.out
    owned.folder.rename(tmp_path / "gone")  # what follows asks nobody
    line = "toxicity==1.0.0 is affected by the advisory ACME-2026-2: Insults after praise; next: ppm install"
    done = ppm("check", "--base", "lab")
    assert done.code == 5, done.err
    assert line in done.err
    assert ppm("check", "--base", "lab", "--json").json["advisories"] == ["ACME-2026-2"]
    kept = ppm_home / "advisories.json"
    kept.write_text(kept.read_text().replace('"affected"', '"not affected"'))
    done = ppm("check", "--base", "lab")
    assert done.code == 4
    assert "was truncated or edited" in done.err


def test_a_judge_that_this_ppm_lacks_leaves_it_unknown(tmp_path):
    owned = in_force(tmp_path)
    advise(owned, osv(failing=suite() | {"judge": "oracle"}))
    assert "oracle" not in JUDGES.known
    done = ppm("advisories", "--base", "lab")
    assert done.code == 0, done.err
    assert "unknown: its prompts can't be run: there is no judge 'oracle'" in done.out


def test_nothing_deployed_is_said(tmp_path):
    done = ppm("advisories", "--base", "lab")
    assert (done.code, done.out) == (1, "")


def test_publishing_from_the_command_line(tmp_path):
    owned = make_index(tmp_path / "index", patch("toxicity"))
    owned.signer("acme")
    key = str(tmp_path / "index-acme.pem")
    (tmp_path / "one.json").write_bytes(bytes_of(osv(failing=suite())))
    done = ppm("index", "advise", "index", "one.json", "--key", key)
    assert (done.code, done.out) == (0, f"Published {ID} on toxicity 1.0.0\n"), done.err
    assert ppm("index", "verify", "index").code == 0
    unknown = osv(failing=suite() | {"judge": "oracle"})
    (tmp_path / "one.json").write_bytes(bytes_of(unknown))
    assert "there is no judge 'oracle'" in ppm("index", "advise", "index", "one.json", "--key", key).err
    gone = osv(modified="2026-11-05T10:00:00Z", withdrawn="2026-11-05T10:00:00Z")
    (tmp_path / "one.json").write_bytes(bytes_of(gone))
    assert ppm("index", "advise", "index", "one.json", "--key", key).out == f"Withdrew {ID} on toxicity 1.0.0\n"
