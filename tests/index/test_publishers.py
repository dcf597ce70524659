"""Publishers: their statements are checked by every client, so that the online keys of an index can't forge."""

import base64
import json
from datetime import UTC, datetime

import pytest
from index.indexes import make_index, one_patch, source_of
from packages import FINGERPRINT, make_package
from securesystemslib.dsse import Envelope
from tuf.api.metadata import TargetFile

from ppm.errors import IntegrityError, PackageError, RequestError
from ppm.index.keys import public_hex
from ppm.index.layout import file_path, publishers_path, shard_path, statement_path, stored
from ppm.index.publish import SignedPackage, publish, sign_packages, write_signed
from ppm.index.publishers import Publisher, Publishers
from ppm.index.repository import write_durably
from ppm.index.statement import make_statement
from ppm.package import sha256, write_package

NOW = datetime.now(UTC)


@pytest.fixture
def owned(tmp_path):
    return one_patch(tmp_path / "index")


def client(owned, **settings):
    return source_of(owned.folder.with_name("home"), owned.folder.as_uri(), owned.first_root, **settings)


def stolen(owned, path, data):
    """Let whoever has the online keys put something into the index."""
    repository = owned.open()
    repository.put(path, data)
    repository.commit(datetime.now(UTC))


def shard_of(owned, name="toxicity"):
    return json.loads(owned.open().read(shard_path(name)))


def fetched(owned):
    source = client(owned)
    return source.fetch(source.named("toxicity")[0])


def test_a_statement_says_what_a_package_was_built_of(owned):
    package = make_package()
    envelope = json.loads(owned.open().read(statement_path(package.sha256, package.file_name)))
    said = json.loads(base64.b64decode(envelope["payload"]))
    assert (said["_type"], said["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "https://slsa.dev/provenance/v1",
    )
    assert said["subject"] == [{"name": package.file_name, "digest": {"sha256": package.sha256}}]
    built = said["predicate"]["buildDefinition"]
    assert built["externalParameters"]["manifest"]["patch"]["name"] == "toxicity"
    digests = {one["name"]: one["digest"]["sha256"] for one in built["resolvedDependencies"]}
    assert digests["acme/tiny"] == FINGERPRINT.removeprefix("sha256:")
    assert digests["replay.jsonl"] == sha256(package.files["replay.jsonl"])


def test_another_publisher_s_name_is_refused(owned):
    owned.publisher("evil", "gadget")
    with pytest.raises(IntegrityError, match="not signed by the publisher of toxicity") as caught:
        owned.publish(make_package(version="9.0.0"), publisher="evil")
    assert caught.value.exit_code == 4
    with pytest.raises(RequestError, match="nobody has the right to publish other"):
        owned.publish(make_package("other"), publisher="evil")
    with pytest.raises(RequestError, match="toxicity belongs to acme"):
        owned.publisher("evil", "toxicity")
    with pytest.raises(IntegrityError, match="stands for toxicity, which belongs to acme"):
        owned.publish(make_package("gadget", provides=("toxicity",)), publisher="evil")
    with pytest.raises(IntegrityError, match="stands for toxicity, which belongs to acme"):
        owned.publish(make_package("gadget", replaces={"toxicity": "*"}), publisher="evil")
    assert [release.pin for release in client(owned).named("toxicity")] == ["toxicity==1.0.0"]


def test_what_was_published_is_not_changed(owned):
    assert owned.publish(make_package()) == []
    with pytest.raises(IntegrityError, match="published before with other content"):
        owned.publish(make_package(value=0.25))


def test_several_are_published_together_or_not_at_all(owned):
    owned.publisher("acme", "core")
    with pytest.raises(IntegrityError, match="published before"):
        owned.publish(make_package("core"), make_package(value=0.25))
    assert client(owned).named("core") == []
    assert owned.publish(make_package("core"), make_package(version="1.1.0")) == ["core==1.0.0", "toxicity==1.1.0"]


def test_statements_may_be_made_elsewhere(owned, tmp_path):
    path = write_package(make_package(version="1.5.0"), tmp_path / "dist")
    with pytest.raises(RequestError, match="is not signed"):
        sign_packages([path], None)
    (tmp_path / "out").mkdir()
    [path] = write_signed(sign_packages([path], owned.signer("acme")), tmp_path / "out")
    assert publish(owned.open(), sign_packages([path], None), NOW) == ["toxicity==1.5.0"]


def test_texts_that_no_index_lists(owned):
    package = make_package(version="2.0.0")
    manifest = package.manifest
    object.__setattr__(manifest.patch, "summary", "two\nlines")
    with pytest.raises(PackageError, match="can't be listed: text must be one line"):
        owned.publish(package)


def test_a_forged_package_with_a_statement_of_the_thief(owned):
    forged = make_package(value=0.25)
    statement = make_statement(forged, owned.signer("evil"))
    entry = shard_of(owned)
    entry["releases"][0] |= {"sha256": forged.sha256, "size": len(forged.data), "statement": sha256(statement)}
    repository = owned.open()
    repository.put(shard_path("toxicity"), json.dumps(entry).encode())
    repository.put(file_path(forged.sha256, forged.file_name), forged.data)
    repository.put(statement_path(forged.sha256, forged.file_name), statement)
    repository.commit(NOW)
    with pytest.raises(IntegrityError, match="not signed by the publisher of toxicity"):
        fetched(owned)
    entry["releases"][0]["publisher"] = owned.signer("evil").public_key.keyid
    stolen(owned, shard_path("toxicity"), json.dumps(entry).encode())
    source = client(owned)
    assert source.named("toxicity") == []
    assert "not signed by a key or an identity that acme has" in source.problems("toxicity")[0]


def test_a_statement_on_another_file(owned):
    path = statement_path(make_package().sha256, make_package().file_name)
    other = make_statement(make_package(version="1.0.0", value=0.25), owned.signer("acme"))
    entry = shard_of(owned)
    entry["releases"][0]["statement"] = sha256(other)
    stolen(owned, path, other)
    stolen(owned, shard_path("toxicity"), json.dumps(entry).encode())
    with pytest.raises(IntegrityError, match="has a statement by its publisher that is about another file"):
        fetched(owned)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda said: said.update(predicateType="https://example.org/x"), "another kind of fact"),
        (lambda said: said["subject"][0].update(name="x.ppm"), "another file"),
        (lambda said: said["predicate"]["buildDefinition"]["externalParameters"].clear(), "another manifest"),
        (lambda said: said["predicate"]["buildDefinition"]["resolvedDependencies"].pop(), "other data"),
        (lambda said: said.update(predicate=[1]), "another build"),
        (lambda said: said.clear(), "something else"),
    ],
)
def test_a_statement_that_the_manifest_contradicts(owned, change, words):
    package = make_package(version="3.0.0")
    signer = owned.signer("acme")
    envelope = Envelope.from_dict(json.loads(make_statement(package, signer)))
    said = json.loads(envelope.payload)
    change(said)
    changed = Envelope(json.dumps(said).encode(), envelope.payload_type, {})
    changed.sign(signer)
    with pytest.raises(IntegrityError, match=words):
        publish(owned.open(), [SignedPackage(package, json.dumps(changed.to_dict()).encode())], NOW)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b'{"payload": 1, "payloadType": "x", "signatures": []}',
        b'{"payload": "e30=", "payloadType": 1, "signatures": []}',
        b'{"payload": "e30=", "payloadType": "x", "signatures": 7}',
        b'{"payload": "e30=", "payloadType": "x", "signatures": [{"sig": "AA=="}]}',
        b'{"payload": "e30=", "payloadType": "x", "signatures": [{"sig": 1, "keyid": []}]}',
        b"[" * 50_000,
        b" " * (2**20 + 1),
    ],
)
def test_what_is_no_statement(owned, data):
    with pytest.raises(IntegrityError) as caught:
        publish(owned.open(), [SignedPackage(make_package(version="3.0.0"), data)], NOW)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    "lie",
    [
        {"dependencies": {"evil": "*"}},
        {"conflicts": {"core": "*"}},
        {"risks": ["bias"]},
        {"summary": "Better."},
        {"size": 5},
        {"statement": "0" * 64},
        {"provides": ["anything"]},
    ],
)
def test_a_shard_that_lies_about_a_package(owned, lie):
    entry = shard_of(owned)
    entry["releases"][0] |= lie
    stolen(owned, shard_path("toxicity"), json.dumps(entry).encode())
    with pytest.raises(IntegrityError, match="lists it otherwise than its manifest"):
        fetched(owned)


@pytest.mark.parametrize(
    "hostile",
    [
        {"file": "../../../etc/passwd"},
        {"file": "toxicity-1.0.0-other_0123456789ab.ppm"},
        {"version": "1.0.0/../.."},
        {"version": 1},
        {"version": "1" * 5000},
        {"sha256": "../" * 20},
        {"size": 10**30},
        {"size": -1},
        {"size": 1.5},
        {"size": True},
        {"published": "yesterday"},
        {"published": "99999-01-01T00:00:00Z"},
        {"summary": "two\nlines"},
        {"summary": "\u001b[31mred"},
        {"summary": "\u202egnp"},
        {"risks": "toxicity"},
        {"risks": ["\u0000"]},
        {"yanked": ""},
        {"yanked": "a\rb"},
        {"dependencies": {"../x": "*"}},
        {"dependencies": {"core": "not a specifier"}},
        {"dependencies": ["core"]},
        {"provides": [["x"]]},
        {"base": {"model": "acme/tiny"}},
        {"base": {"model": "acme/\u001btiny", "fingerprint": FINGERPRINT}},
        {"base": "lab"},
        {"unknown": 1},
    ],
    ids=repr,
)
def test_a_hostile_entry(owned, hostile):
    entry = shard_of(owned)
    entry["releases"][0] |= hostile
    stolen(owned, shard_path("toxicity"), json.dumps(entry).encode())
    source = client(owned)
    with pytest.raises(IntegrityError) as caught:
        source.named("toxicity")
    assert caught.value.exit_code == 4
    assert "names/toxicity.json" in source.damaged()[0]
    assert list(source.names(None)) == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"schema": 2}',
        b'{"schema": 1, "name": "core"}',
        b'{"schema": 1, "name": "Toxicity"}',
        b'{"schema": 1, "name": "toxicity", "releases": 1}',
        b'{"schema": 1, "name": "toxicity", "providers": [{"name": "../x", "fingerprint": "x"}]}',
        b'{"schema": 1, "name": "toxicity", "releases": [{"size": ' + b"9" * 10_000 + b"}]}",
    ],
    ids=lambda data: repr(data[:30]),
)
def test_what_is_no_shard(owned, data):
    stolen(owned, shard_path("toxicity"), data)
    with pytest.raises(IntegrityError):
        client(owned).named("toxicity")


def test_one_release_twice(owned):
    entry = shard_of(owned)
    entry["releases"] *= 2
    stolen(owned, shard_path("toxicity"), json.dumps(entry).encode())
    with pytest.raises(IntegrityError, match="is listed twice"):
        client(owned).named("toxicity")


def test_online_keys_list_no_name_that_nobody_owns(owned):
    forged = make_package("ghost")
    entry = shard_of(owned) | {"name": "ghost"}
    entry["releases"][0] |= {"file": forged.file_name, "sha256": forged.sha256}
    stolen(owned, shard_path("ghost"), json.dumps(entry).encode())
    source = client(owned)
    assert source.named("ghost") == []
    assert "nobody has the right to publish ghost" in source.problems("ghost")[0]
    assert set(source.names(None)) == {"toxicity"}


def test_online_keys_do_not_slip_a_patch_under_another_name(owned):
    owned.publisher("evil", "gadget")
    owned.publish(make_package("gadget"), publisher="evil")
    entry = shard_of(owned, "gadget")
    entry["releases"][0]["provides"] = ["toxicity"]
    stolen(owned, shard_path("gadget"), json.dumps(entry).encode())
    source = client(owned)
    assert source.named("gadget") == []
    assert "it stands for toxicity, which belongs to acme" in source.problems("gadget")[0]


@pytest.mark.parametrize("name", ["toxicity", "ghost"])
def test_online_keys_do_not_say_who_publishes(owned, name):
    """Neither where the offline key lists the publishers of some names, nor where it lists none."""
    path = publishers_path(name)
    data = Publishers((Publisher("evil", (public_hex(owned.signer("evil")),), (name,)),)).to_bytes()
    repository = owned.open()
    role = repository.targets.signed.delegations.succinct_roles.get_role_for_target(path)
    target = TargetFile.from_data(path, data, ["sha256"])
    repository.bin(role).signed.targets[path] = target
    repository.touch(role)
    repository.commit(NOW)
    write_durably(owned.folder / "targets" / stored(path, target.hashes["sha256"]), data)
    source = client(owned)
    assert [publisher.name for publisher in source.publishers.publishers] == ["acme"]
    assert source.lists(name) == (name == "toxicity")


def test_publishers_are_in_the_lists_of_their_names(owned):
    names = [f"patch-{i}" for i in range(40)]
    owned.publisher("other", *names)
    lists = {path for path in owned.open().targets.signed.targets if path.startswith("publishers/")}
    assert {publishers_path(name) for name in (*names, "other", "acme", "toxicity")} == lists
    source = client(owned)
    assert source.publishers.find("other").names == tuple(sorted(names))
    owned.publisher("other", "patch-7", instead=True)
    assert client(owned).publishers.find("other").names == ("patch-7",)
    assert [client(owned).lists(name) for name in ("patch-6", "patch-7")] == [False, True]
    assert client(owned).publishers == owned.open().publishers


def test_lists_that_contradict_each_other_are_refused():
    one, two = Publisher("acme", ("0" * 64,), ("a",)), Publisher("acme", ("1" * 64,), ("b",))
    with pytest.raises(IntegrityError, match="two lists of the keys of acme"):
        Publishers.join([Publishers((one,)), Publishers((two,))])
    with pytest.raises(IntegrityError, match="a name is listed twice"):
        Publishers.join([Publishers((one,)), Publishers((Publisher("evil", ("1" * 64,), ("a",)),))])


def test_a_publisher_with_other_keys_is_refused_until_accepted(owned):
    assert fetched(owned)
    owned.signers.clear()
    (owned.folder.with_name("index-acme.pem")).rename(owned.folder.with_name("old.pem"))
    (owned.folder.with_name("index-acme.pub.pem")).unlink()
    owned.publisher("acme")
    owned.publish(make_package(version="2.0.0"))
    source = client(owned)
    old, new = sorted(source.named("toxicity"), key=lambda release: release.version)
    assert source.fetch(old)
    with pytest.raises(IntegrityError, match="signed by another key than toxicity was before") as caught:
        source.fetch(new)
    assert "ppm source accept acme toxicity" in caught.value.hint
    assert len(source.accept("toxicity")) == 2
    assert client(owned).fetch(new) == make_package(version="2.0.0").data


def test_a_key_that_was_taken_away_signs_no_more(owned):
    owned.signers.clear()
    (owned.folder.with_name("index-acme.pem")).rename(owned.folder.with_name("old.pem"))
    (owned.folder.with_name("index-acme.pub.pem")).unlink()
    owned.publisher("acme", instead=True)
    source = client(owned)
    assert source.named("toxicity") == []
    assert "not signed by a key or an identity that acme has" in source.problems("toxicity")[0]


def test_a_listed_file_that_is_not_there(owned):
    package = make_package()
    repository = owned.open()
    for path in (file_path(package.sha256, package.file_name), statement_path(package.sha256, package.file_name)):
        name = repository.targets.signed.delegations.succinct_roles.get_role_for_target(path)
        del repository.bin(name).signed.targets[path]
        repository.touch(name)
    repository.commit(NOW)
    with pytest.raises(IntegrityError, match="is listed, but the file is not there"):
        fetched(owned)


def test_what_needs_what_is_known_by_the_shards_of_virtual_names(tmp_path):
    packages = [make_package("one", provides=("any",)), make_package("two", replaces={"any": "<2"})]
    owned = make_index(tmp_path / "index", *packages)
    assert set(client(owned).providers("any", FINGERPRINT)) == {"one", "two"}
    assert client(owned).named("any") == []
