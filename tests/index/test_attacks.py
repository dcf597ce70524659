"""The attacks that TUF's specification names, by a host on the loopback: each is refused, and what was there stays."""

from datetime import UTC, datetime, timedelta

import pytest
from index.indexes import make_index, one_patch, serve, source_of
from packages import make_package
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from ppm.errors import IntegrityError, SourceError
from ppm.index.layout import shard_path
from ppm.index.roles import LIFETIMES

NOW = datetime.now(UTC)


@pytest.fixture
def hosted(tmp_path):
    """An index of one patch, its host, and what opens a new client of it."""
    owned = one_patch(tmp_path / "index")
    with serve(tmp_path / "index") as (host, url):

        def client(**settings):
            return source_of(tmp_path / "home", url, owned.first_root, **settings)

        yield owned, host, client


def versions(source):
    return sorted(str(release.version) for release in source.named("toxicity"))


def refused(source, words):
    with pytest.raises(IntegrityError, match=words) as caught:
        source.named("toxicity")
    assert caught.value.exit_code == 4
    assert caught.value.hint


def newest(owned, role):
    """(name of the file, bytes) of what is in force of a role."""
    repository = owned.open()
    version = {
        "timestamp": None,
        "snapshot": repository.snapshot.signed.version,
        "targets": repository.targets.signed.version,
    }[role]
    name = f"{role}.json" if version is None else f"{version}.{role}.json"
    return f"metadata/{name}", (owned.folder / "metadata" / name).read_bytes()


def signed_by(owned, role, metadata):
    """Metadata signed by the keys of a role, as whoever has stolen them would."""
    repository = owned.open()
    found = repository.root.signed.roles.get(role)
    ids = found.keyids if found else repository.targets.signed.delegations.succinct_roles.keyids
    metadata.signatures.clear()
    for signer in owned.keys.signers(ids):
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def test_rollback_to_an_older_timestamp(hosted):
    owned, host, client = hosted
    path, old = newest(owned, "timestamp")
    owned.publish(make_package(version="2.0.0"))
    assert versions(client()) == ["1.0.0", "2.0.0"]
    host.instead[path] = old
    refused(client(), "offers an older state than it did before")
    host.instead.clear()
    assert versions(client()) == ["1.0.0", "2.0.0"]


def test_rollback_to_an_older_snapshot_with_stolen_keys(hosted):
    owned, host, client = hosted
    owned.publish(make_package(version="2.0.0"))
    assert versions(client()) == ["1.0.0", "2.0.0"]
    path, data = newest(owned, "timestamp")
    timestamp = Metadata[Timestamp].from_bytes(data)
    timestamp.signed.version += 1
    timestamp.signed.snapshot_meta.version -= 1
    host.instead[path] = signed_by(owned, "timestamp", timestamp)
    refused(client(), "offers an older state than it did before")


def test_rollback_of_a_bin_with_stolen_keys(hosted):
    owned, host, client = hosted
    owned.publish(make_package(version="2.0.0"))
    assert versions(client()) == ["1.0.0", "2.0.0"]
    snapshot = Metadata[Snapshot].from_bytes(newest(owned, "snapshot")[1])
    snapshot.signed.version += 1
    for meta in snapshot.signed.meta.values():
        meta.version = 1
    host.instead[f"metadata/{snapshot.signed.version}.snapshot.json"] = signed_by(owned, "snapshot", snapshot)
    path, data = newest(owned, "timestamp")
    timestamp = Metadata[Timestamp].from_bytes(data)
    timestamp.signed.version += 1
    timestamp.signed.snapshot_meta.version += 1
    host.instead[path] = signed_by(owned, "timestamp", timestamp)
    refused(client(), "offers an older state than it did before")


def test_freeze(tmp_path):
    long_ago = NOW - LIFETIMES["timestamp"] - timedelta(hours=1)
    owned = one_patch(tmp_path / "index")
    owned.open().refresh(long_ago)
    url = (tmp_path / "index").as_uri()
    refused(source_of(tmp_path / "home", url, owned.first_root), "out of date: timestamp.json is expired")
    owned.open().refresh(NOW)
    assert versions(source_of(tmp_path / "home", url, owned.first_root)) == ["1.0.0"]


def test_what_was_fetched_serves_no_longer_than_it_is_valid(hosted, tmp_path):
    owned, host, client = hosted
    assert versions(client()) == ["1.0.0"]
    path, data = newest(owned, "timestamp")
    later = Metadata[Timestamp].from_bytes(data)  # the same as it would be if time had passed
    later.signed.expires = NOW.replace(microsecond=0) - timedelta(days=1)
    expired = signed_by(owned, "timestamp", later)
    (tmp_path / "home" / "sources" / "acme" / path).write_bytes(expired)
    host.instead[path] = expired
    refused(client(), "out of date")
    with pytest.raises(SourceError, match="what was fetched before was valid until"):
        client(offline=True).named("toxicity")
    host.instead[path] = 503
    with pytest.raises(SourceError, match=r"can't be reached .* what was fetched before was valid until"):
        client().named("toxicity")


def test_mix_and_match_of_snapshots(hosted):
    owned, host, client = hosted
    _, old = newest(owned, "snapshot")
    owned.publish(make_package(version="2.0.0"))
    host.instead[newest(owned, "snapshot")[0]] = old
    refused(client(), "mixes two")


def test_mix_and_match_of_bins(hosted):
    owned, host, client = hosted
    old = {path.name: path.read_bytes() for path in (owned.folder / "metadata").glob("1.bin-*.json")}
    owned.publish(make_package(version="2.0.0"))
    for name, data in old.items():
        for version in (2, 3):
            host.instead[f"metadata/{version}.{name[2:]}"] = data
    refused(client(), "mixes two")


@pytest.mark.parametrize(
    "path", ["metadata/timestamp.json", "metadata/3.snapshot.json", "metadata/2.root.json", "targets/names/*"]
)
def test_endless_data(hosted, path):
    _, host, client = hosted
    host.instead[path] = "endless"
    refused(client(), "sends more than it may")


@pytest.mark.parametrize("path", ["metadata/timestamp.json", "targets/names/*"])
def test_slow_retrieval(hosted, path):
    _, host, client = hosted
    host.instead[path] = "drip"
    refused(client(timeout=0.3), "sends too slowly")
    host.instead.clear()
    assert versions(client()) == ["1.0.0"]


def test_a_host_that_never_answers(hosted):
    _, host, client = hosted
    host.instead["metadata/timestamp.json"] = "stall"
    with pytest.raises(SourceError, match=r"can't be reached \(no answer within 0.2 seconds\)"):
        client(timeout=0.2).named("toxicity")


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_keys_of_somebody_else(hosted, tmp_path, role):
    owned, host, client = hosted
    other = one_patch(tmp_path / "other")
    host.instead[newest(owned, role)[0]] = newest(other, role)[1]
    refused(client(), "not signed by the keys that it must be signed by")


def test_bins_signed_by_somebody_else(hosted, tmp_path):
    _, host, client = hosted
    other = one_patch(tmp_path / "other")
    for path in (other.folder / "metadata").glob("*.bin-*.json"):
        host.instead[f"metadata/{path.name}"] = path.read_bytes()
    refused(client(), "not signed by the keys")


def next_root(owned, signers, change=lambda root: None):
    root = Metadata[Root].from_bytes(owned.open().root.to_bytes())
    root.signed.version += 1
    change(root.signed)
    root.signatures.clear()
    for signer in signers:
        root.sign(signer, append=True)
    return root.to_bytes()


def test_a_root_below_its_threshold(hosted):
    owned, host, client = hosted
    signers = owned.keys.signers(owned.open().root.signed.roles["root"].keyids)
    assert len(signers) == 2
    host.instead["metadata/2.root.json"] = next_root(owned, signers[:1])
    refused(client(), "not signed by the keys")
    host.instead["metadata/2.root.json"] = next_root(owned, signers)
    assert versions(client()) == ["1.0.0"]


def test_a_root_out_of_order(hosted):
    owned, host, client = hosted
    signers = owned.keys.signers(owned.open().root.signed.roles["root"].keyids)

    def skip(root):
        root.version += 1

    host.instead["metadata/2.root.json"] = next_root(owned, signers, skip)
    refused(client(), "older state than it did before, or mixes two")


@pytest.mark.parametrize("digest", ["/etc/hostname", "../../x", "AB" * 32, "0" * 63, ""])
def test_a_digest_that_is_a_path(hosted, digest):
    """Files are kept by their digests, which TUF does not look at."""
    owned, _, client = hosted
    repository = owned.open()
    path = shard_path("toxicity")
    for name in repository.bin_names:
        if path in repository.bin(name).signed.targets:
            repository.bin(name).signed.targets[path].hashes = {"sha256": digest}
            repository.touch(name)
    repository.commit(NOW)
    refused(client(), "lacks its SHA-256")


@pytest.mark.parametrize("role", ["root", "snapshot", "targets", "bins"])
def test_expired_metadata(hosted, monkeypatch, role):
    owned, _, client = hosted
    monkeypatch.setitem(LIFETIMES, role, timedelta(seconds=-60))
    if role == "root":
        owned.open().rotate("root", datetime.now(UTC))
    else:
        repository = owned.open()
        for name in repository.bin_names:
            repository.touch(name)
        repository.touch("targets")
        repository.commit(datetime.now(UTC))
    refused(client(), "out of date")


@pytest.mark.parametrize("role", ["root", "targets", "bins", "snapshot", "timestamp"])
def test_rotated_keys_are_followed_and_the_old_ones_count_no_more(hosted, role):
    owned, host, client = hosted
    assert versions(client()) == ["1.0.0"]
    before = owned.open()
    [old, *_] = owned.open().rotate(role, datetime.now(UTC))
    owned.publish(make_package(version="2.0.0"))
    assert versions(client()) == ["1.0.0", "2.0.0"]
    if role == "timestamp":
        path, data = newest(owned, "timestamp")
        stolen = Metadata[Timestamp].from_bytes(data)
        stolen.signed.version += 1
        stolen.signatures.clear()
        stolen.sign(*before.keys.signers([old]))
        host.instead[path] = stolen.to_bytes()
        refused(client(), "not signed by the keys")


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 5000, b'{"signed": {}, "signatures": []}', b"9" * 5000]
)
@pytest.mark.parametrize("path", ["metadata/timestamp.json", "metadata/3.snapshot.json", "metadata/2.root.json"])
def test_what_is_no_metadata(hosted, path, data):
    _, host, client = hosted
    host.instead[path] = data
    refused(client(), "is malformed")


def test_a_changed_target(hosted):
    _, host, client = hosted
    [release] = client().named("toxicity")
    host.instead["targets/files/*"] = make_package().data[:-1] + b"\1"
    with pytest.raises(IntegrityError, match="a file that is not the signed one"):
        client().fetch(release)
    host.instead["targets/files/*"] = 404
    with pytest.raises(SourceError, match="lacks a file"):
        client().fetch(release)
    host.instead.clear()
    assert client().fetch(release) == make_package().data


def test_a_damaged_cache_is_fetched_again(hosted, tmp_path):
    _, _, client = hosted
    client().fetch(client().named("toxicity")[0])
    for path in (tmp_path / "home" / "cache" / "indexes").iterdir():
        path.write_bytes(b"damaged")
    (tmp_path / "home" / "sources" / "acme" / "metadata" / "timestamp.json").write_bytes(b"{")
    source = client()
    assert source.fetch(source.named("toxicity")[0]) == make_package().data


def test_an_index_changed_by_its_host_is_not_signed_by_its_owner(tmp_path):
    owned = make_index(tmp_path / "index", make_package())
    other = one_patch(tmp_path / "other")
    for name in ("timestamp.json", "1.root.json"):
        kept = (owned.folder / "metadata" / name).read_bytes()
        (owned.folder / "metadata" / name).write_bytes((other.folder / "metadata" / name).read_bytes())
        with pytest.raises(IntegrityError, match="changed by somebody without its keys"):
            owned.open()
        (owned.folder / "metadata" / name).write_bytes(kept)
    [shard] = (owned.folder / "targets" / "names").glob("*.toxicity.json")
    shard.write_bytes(shard.read_bytes().replace(b"A test.", b"A joke."))
    with pytest.raises(IntegrityError, match="changed by somebody without its keys"):
        owned.publish(make_package(version="2.0.0"))
    assert isinstance(owned.open().targets, Metadata)
    assert owned.open().targets.signed.type == Targets.type
