"""The client for TUF's conformance suite, on small repositories over the loopback: what it takes, and what it refuses.

The cases are those of the suite that matter most; the suite itself has more of them.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conformance.client import main
from conformance.simulated import EXPIRED, TOP, Simulated
from index.indexes import serve
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata


def fresh():
    return CryptoSigner.generate_ed25519()


class User:
    """What the suite does with a client: it runs it, and looks at what it trusts, has taken and has asked for."""

    def __init__(self, folder, host, url):
        self.metadata, self.files = folder / "metadata", folder / "files"
        self.metadata.mkdir()
        self.folder, self.host, self.url = folder, host, url

    def options(self, *more):
        return ["--metadata-dir", str(self.metadata), "--metadata-url", f"{self.url}/metadata/", *more]

    def begin(self, root):
        path = self.folder / "initial_root.json"
        path.write_bytes(root)
        return main(["--metadata-dir", str(self.metadata), "init", str(path)])

    def refresh(self):
        self.host.asked.clear()
        return main(self.options("refresh"))

    def download(self, name):
        self.host.asked.clear()
        where = ["--target-dir", str(self.files), "--target-base-url", f"{self.url}/targets/"]
        return main(self.options("--target-name", name, *where, "download"))

    @property
    def trusted(self):
        found = [Metadata.from_bytes(path.read_bytes()).signed for path in self.metadata.glob("*.json")]
        return {type(one).type: one.version for one in found}

    @property
    def taken(self):
        return [path.read_bytes() for path in self.files.iterdir()] if self.files.exists() else []

    @property
    def roles(self):
        """The roles that it asked for, in order."""
        return [path.partition("/")[2].removesuffix(".json") for path in self.host.asked if path[:8] == "metadata"]


@pytest.fixture
def begun(tmp_path):
    """Makes a repository, and a user who trusts its first root and took it as it was."""
    servers = []

    def begin(**settings):
        repository = Simulated(tmp_path / "repository", **settings)
        server = serve(repository.folder)
        servers.append(server)
        (tmp_path / "user").mkdir()
        user = User(tmp_path / "user", *server.__enter__())
        assert user.begin(repository.first_root) == 0
        assert user.host.asked == []
        assert user.refresh() == 0
        return repository, user

    yield begin
    for server in servers:
        server.__exit__(None, None, None)


def at(*versions):
    return dict(zip(TOP, versions, strict=True))


def test_a_refresh_takes_what_is_new_and_no_more(begun):
    repository, user = begun()
    assert user.roles == ["2.root", "timestamp", "1.snapshot", "1.targets"]
    assert sorted(path.name for path in user.metadata.glob("*.json")) == sorted(f"{name}.json" for name in TOP)
    assert user.trusted == at(1, 1, 1, 1)
    assert user.refresh() == 0
    assert user.roles == ["2.root", "timestamp"]
    repository.publish_all()
    repository.publish("root")
    assert user.refresh() == 0
    assert user.roles == ["2.root", "3.root", "timestamp", "2.snapshot"]
    assert user.trusted == at(2, 1, 2, 2)
    for name in TOP:
        path = repository.folder / "metadata" / ("timestamp.json" if name == "timestamp" else f"{2}.{name}.json")
        assert name == "targets" or (user.metadata / f"{name}.json").read_bytes() == path.read_bytes()


def test_the_command_line_is_the_suite_s(begun, tmp_path):
    repository, user = begun()
    repository.add("a/b.txt", b"data")
    repository.publish_all("targets")
    where = ["--target-name", "a/b.txt", "--target-dir", str(user.files), "--target-base-url", f"{user.url}/targets/"]
    client = [sys.executable, str(Path(__file__).with_name("client.py"))]
    assert subprocess.run([*client, *user.options(*where), "download"]).returncode == 0
    assert user.taken == [b"data"]
    repository.roles["timestamp"].version = 0
    repository.publish("timestamp")
    done = subprocess.run([*client, *user.options(), "refresh"], capture_output=True, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "offers an older state" in done.stderr


@pytest.mark.parametrize("harm", ["no version", "another signature", "not JSON"])
def test_a_first_root_that_is_none_is_not_trusted(tmp_path, harm):
    repository = Simulated(tmp_path / "repository")
    root = json.loads(repository.first_root)
    if harm == "no version":
        del root["signed"]["version"]
    elif harm == "another signature":
        root["signatures"][0]["sig"] = "ab" * 64
    with serve(repository.folder) as (host, url):
        user = User(tmp_path, host, url)
        user.begin(b"{" if harm == "not JSON" else json.dumps(root).encode())
        assert user.refresh() == 1
        assert host.asked == []


def test_nobody_answers(begun):
    _, user = begun()
    user.host.instead["metadata/timestamp.json"] = 503
    assert user.refresh() == 1
    assert user.trusted == at(1, 1, 1, 1)


def test_the_timestamp_never_goes_back(begun):
    repository, user = begun()
    repository.publish("timestamp")
    assert user.refresh() == 0
    repository.timestamp.version = 0
    repository.publish("timestamp")
    assert user.refresh() == 1
    assert (user.trusted, user.roles[-1]) == (at(1, 1, 1, 2), "timestamp")


def test_a_timestamp_that_changes_without_a_new_version_is_passed_over(begun):
    repository, user = begun()
    before = (user.metadata / "timestamp.json").read_bytes()
    repository.timestamp.version = 0
    repository.timestamp.snapshot_meta.version = 100
    repository.publish("timestamp")
    assert user.refresh() == 0
    assert (user.metadata / "timestamp.json").read_bytes() == before


@pytest.mark.parametrize("hashes", [False, True])
def test_the_snapshot_never_goes_back(begun, hashes):
    repository, user = begun(hashes=hashes)
    repository.publish_all()
    assert user.refresh() == 0
    repository.snapshot.version = 0
    repository.publish_all()
    assert user.refresh() == 1
    assert (user.trusted, user.roles[-1]) == (at(1, 1, 2, 2), "timestamp")


@pytest.mark.parametrize("hashes", [False, True])
def test_targets_never_go_back(begun, hashes):
    repository, user = begun(hashes=hashes)
    repository.publish_all("targets")
    assert user.refresh() == 0
    repository.targets.version = 0
    repository.publish_all("targets")
    assert user.refresh() == 1
    assert user.trusted["targets"] == user.trusted["snapshot"] == 2


def test_a_role_is_not_dropped_from_the_snapshot(begun):
    repository, user = begun()
    repository.delegate("targets", "A")
    repository.publish_all("A", "targets")
    assert user.refresh() == 0
    del repository.snapshot.meta["A.json"]
    repository.publish_all()
    assert user.refresh() == 1
    assert user.trusted["snapshot"] == 2


@pytest.mark.parametrize("role", ["snapshot", "targets"])
@pytest.mark.parametrize("harm", ["version", "hash"])
def test_roles_of_two_states_are_not_mixed(begun, role, harm):
    repository, user = begun(hashes=harm == "hash")
    repository.publish_all("targets")
    signed = repository.roles[role]
    if harm == "version":
        signed.version += 1
    signed.unrecognized_fields["other"] = "content"
    metadata = Metadata(signed)
    metadata.sign(repository.signers[role][0])
    repository.roles[role].version = 2
    data = metadata.to_bytes()
    repository.write(role, data)
    assert user.refresh() == 1
    assert user.trusted == at(1, 1, 1 if role == "snapshot" else 2, 2)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_new_keys_let_versions_that_ran_ahead_begin_anew(begun, role):
    repository, user = begun()
    repository.roles[role].version = 99_999
    repository.publish_all(*["targets"] * (role == "targets"))
    assert user.refresh() == 0
    assert user.trusted[role] >= 100_000
    for name in {"timestamp": ["timestamp"], "snapshot": ["snapshot", "timestamp"], "targets": ["snapshot"]}[role]:
        repository.sign_with(name, fresh())
    repository.publish("root")
    repository.roles[role].version = 0
    repository.publish_all(*["targets"] * (role == "targets"))
    assert user.refresh() == 0
    assert user.trusted[role] == 1


@pytest.mark.parametrize("role", TOP)
def test_what_is_expired_is_refused(begun, role):
    repository, user = begun()
    repository.roles[role].expires = EXPIRED
    repository.publish("root")
    repository.publish_all("targets")
    assert user.refresh() == 1
    # A root counts before its age is looked at, so that a newer one can follow it.
    assert user.trusted == at(2, 1, *{"targets": (2, 2), "snapshot": (1, 2)}.get(role, (1, 1)))


def test_a_root_that_is_expired_is_followed_by_one_that_is_not(begun):
    repository, user = begun()
    repository.root.expires, valid = EXPIRED, repository.root.expires
    repository.publish("root")
    assert user.refresh() == 1
    repository.root.expires = valid
    repository.publish("root")
    assert user.refresh() == 0
    assert user.trusted["root"] == 3


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_keys_that_were_rotated_count_no_more(begun, role):
    repository, user = begun()
    old = repository.signers[role]
    repository.sign_with(role, fresh())
    repository.publish("root")
    repository.publish("targets", signers=old if role == "targets" else None)
    repository.publish("snapshot", signers=old if role == "snapshot" else None)
    repository.publish("timestamp", signers=old if role == "timestamp" else None)
    assert user.refresh() == 1
    assert user.trusted[role] == 1
    repository.publish_all("targets")
    assert user.refresh() == 0
    assert user.trusted[role] == 3


def test_a_new_root_is_signed_by_the_old_keys_and_the_new(begun):
    repository, user = begun()
    [old] = repository.signers["root"]
    new, newer = fresh(), fresh()
    repository.sign_with("root", new)
    for signers in ([old], [new]):
        repository.root.version = 1
        repository.publish("root", signers=signers)
        assert (user.refresh(), user.trusted["root"]) == (1, 1)
    repository.root.version = 1
    repository.publish("root", signers=[old, new])
    repository.sign_with("root", newer)
    repository.publish("root", signers=[new, newer])
    repository.publish("root")
    assert user.refresh() == 0
    assert (user.trusted["root"], user.roles[:4]) == (4, ["2.root", "3.root", "4.root", "5.root"])


@pytest.mark.parametrize("version", [1, 3])
def test_roots_come_one_by_one(begun, version):
    repository, user = begun()
    repository.root.version = version - 1
    repository.publish("root")
    data = (repository.folder / "metadata" / f"{version}.root.json").read_bytes()
    (repository.folder / "metadata" / "2.root.json").write_bytes(data)
    assert user.refresh() == 1
    assert user.trusted["root"] == 1


def one_of_two_signs(repository):
    """A snapshot that two keys must sign, and the first of them did, which is given."""
    first, second = fresh(), fresh()
    repository.sign_with("snapshot", first, second)
    repository.root.roles["snapshot"].threshold = 2
    repository.publish("root")
    repository.publish("snapshot", signers=[first])
    repository.publish("timestamp")
    return first


def test_as_many_keys_sign_as_must(begun):
    repository, user = begun()
    first = one_of_two_signs(repository)
    assert user.refresh() == 1
    repository.publish("snapshot", signers=[first, first])
    repository.publish("timestamp")
    assert user.refresh() == 1
    assert user.trusted["snapshot"] == 1
    repository.publish_all()
    assert user.refresh() == 0


def test_a_signature_counts_once(begun):
    repository, user = begun()
    one_of_two_signs(repository)
    path = repository.folder / "metadata" / "2.snapshot.json"
    snapshot = json.loads(path.read_bytes())
    snapshot["signatures"] *= 2
    path.write_text(json.dumps(snapshot))
    assert user.refresh() == 1
    assert user.trusted["snapshot"] == 1


def test_a_role_that_was_kept_is_asked_for_again_under_another_s_key(begun):
    repository, user = begun()
    repository.delegate("targets", "A", "a")
    repository.delegate("targets", "B", "b")
    repository.delegate("A", "C", "a")
    own = repository.signers["C"]
    repository.signers["C"] = [fresh()]
    repository.delegate("B", "C", "b")
    repository.add("a", b"data", "C")
    repository.add("b", b"data", "C")
    repository.publish("C", signers=own)
    repository.publish_all("A", "B", "targets")
    assert user.download("a") == 0
    assert user.download("b") == 1


def test_fields_that_nobody_knows_are_part_of_what_is_signed(begun):
    repository, user = begun()
    repository.root.unrecognized_fields["custom"] = {"a": [1, 2]}
    repository.targets.unrecognized_fields["custom"] = "é"
    repository.publish("root")
    repository.publish_all("targets")
    assert user.refresh() == 0
    assert user.trusted == at(2, 2, 2, 2)


@pytest.mark.parametrize(
    ("delegations", "asked"),
    [
        (["targets A", "targets B"], "AB"),
        (["targets A", "targets B", "A C", "A D"], "ACDB"),
        (["targets A", "targets B", "A C", "C D"], "ACDB"),
        (["targets A", "targets B", "A C !", "A D"], "AC"),
        (["targets A *.py", "targets B", "A C"], "B"),
        (["targets A", "targets B", "B C", "C D", "D B"], "ABCD"),
        (["targets A", "targets B", "A C", "B C"], "ACB"),
    ],
)
def test_delegations_are_searched_in_their_order(begun, delegations, asked):
    repository, user = begun()
    for line in delegations:
        delegator, name, *more = line.split()
        repository.delegate(delegator, name, *(p for p in more if p != "!"), terminating="!" in more)
    repository.publish_all("targets", *sorted(set(repository.roles) - set(TOP)))
    assert user.download("missing") == 1
    assert user.roles[4:] == [f"1.{name}" for name in asked]


def test_a_role_speaks_for_the_paths_that_it_was_given(begun):
    repository, user = begun()
    repository.delegate("targets", "A", "a/*")
    repository.add("a/x", b"of A", "A")
    repository.add("b/x", b"stolen", "A")
    repository.publish_all("A", "targets")
    assert user.download("a/x") == 0
    assert user.download("b/x") == 1
    assert user.taken == [b"of A"]


@pytest.mark.parametrize("name", ["?", "#", "/role", "../role", "a b", "ä", "%2e%2e"])
def test_names_of_roles_reach_no_other_file(begun, name):
    repository, user = begun()
    repository.delegate("targets", name)
    repository.add("file", b"data", name)
    repository.publish_all(name, "targets")
    assert user.download("file") == 0
    assert user.taken == [b"data"]
    assert len(list(user.metadata.glob("*.json"))) == 5
    assert {path.name for path in user.folder.iterdir()} == {"metadata", "files", "initial_root.json"}


@pytest.mark.parametrize("consistent", [True, False])
def test_files_with_and_without_their_digests_in_their_names(begun, consistent):
    repository, user = begun(consistent=consistent)
    repository.add("a/b/c.txt", b"data")
    repository.publish_all("targets")
    assert user.download("a/b/c.txt") == 0
    assert user.taken == [b"data"]


@pytest.mark.parametrize("evil", [b"evil", b"data and more of it", b"dat", b""])
def test_a_file_that_is_not_the_signed_one_is_refused(begun, evil):
    repository, user = begun()
    file = repository.add("file", b"data")
    repository.publish_all("targets")
    file.write_bytes(evil)
    assert user.download("file") == 1
    assert user.taken == []
    file.write_bytes(b"data")
    assert user.download("file") == 0


def test_a_file_is_asked_for_once_and_replaced_when_it_changes(begun):
    repository, user = begun()
    first = repository.add("file", b"one")
    repository.publish_all("targets")
    assert user.download("file") == 0
    first.write_bytes(b"two")
    assert user.download("file") == 0
    assert user.taken == [b"one"]
    assert not any(path.startswith("targets/") for path in user.host.asked)
    repository.add("file", b"two")
    repository.publish_all("targets")
    assert user.download("file") == 0
    assert user.taken == [b"two"]
