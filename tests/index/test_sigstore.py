"""Publishers that sign with Sigstore: its own library verifies their bundles, offline, against a real instance."""

import json
import socket
import sys
from datetime import UTC, datetime, timedelta

import pytest
from commands import ppm
from cryptography.hazmat.primitives.serialization import Encoding
from index.indexes import PASSPHRASE, make_index, one_patch, source_of
from index.private_sigstore import ISSUER, WORKFLOW, Instance, base64_of, new_key
from index.test_advisories import advise, osv
from index.test_index_pages import read, write
from integration.deployed import patch
from packages import make_package
from tuf.api.metadata import TargetFile

from ppm.errors import IntegrityError, RequestError
from ppm.index.identity import Identity
from ppm.index.keys import public_hex
from ppm.index.layout import SIGSTORE_ROOT, shard_path, statement_path, stored
from ppm.index.publish import SignedPackage, add_publisher, name_sigstore, publish
from ppm.index.publishers import Publisher, Publishers
from ppm.index.repository import write_durably
from ppm.index.statement import make_statement, plain_statement
from ppm.index.trust import read_authorities, read_pins
from ppm.package import sha256, write_package

NOW = datetime.now(UTC)
OURS = Identity(WORKFLOW, ISSUER)
FORK = WORKFLOW.replace("acme", "evil")


@pytest.fixture(autouse=True)
def without_a_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("nothing here needs a network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def instance():
    return Instance()


def trusting(folder, instance, *identities, names=("toxicity",)):
    """An index of the publisher acme, which signs with these identities."""
    owned = make_index(folder)
    named(owned, instance)
    add_publisher(owned.open(), "acme", identities or [OURS], names, NOW, instead=False)
    return owned


def named(owned, instance):
    path = owned.folder.with_name("trusted_root.json")
    path.write_bytes(instance.trusted_root())
    return name_sigstore(owned.open(), path, NOW)


@pytest.fixture
def owned(tmp_path, instance):
    return trusting(tmp_path / "index", instance)


def published(owned, package, bundle):
    return publish(owned.open(), [bundled(package, bundle)], NOW)


def bundled(package, bundle):
    return SignedPackage(package, json.dumps(bundle).encode(), bundled=True)


def client(owned, **settings):
    return source_of(owned.folder.with_name("home"), owned.folder.as_uri(), owned.first_root, **settings)


def fetched(owned, version="1.0.0"):
    source = client(owned)
    [release] = [release for release in source.named("toxicity") if str(release.version) == version]
    return source.fetch(release)


def test_an_identity_publishes_and_is_pinned(owned, instance):
    package = make_package()
    assert published(owned, package, instance.bundle(plain_statement(package))) == ["toxicity==1.0.0"]
    assert owned.open().read(statement_path(package.sha256, package.file_name)) is None
    source = client(owned)
    [release] = source.named("toxicity")
    assert release.publisher == OURS.id
    assert source.fetch(release) == package.data
    assert read_pins(source._index) == {"toxicity": (OURS.id,)}
    assert read_authorities(source._index) == (sha256(instance.root.public_bytes(Encoding.DER)),)
    assert client(owned, offline=True).fetch(release) == package.data


def test_a_statement_counts_by_what_it_says_not_by_its_bytes(owned, instance):
    package = make_package()
    other = json.dumps(json.loads(plain_statement(package)), indent=3).encode()
    assert published(owned, package, instance.bundle(other)) == ["toxicity==1.0.0"]
    assert fetched(owned) == package.data


def changed(bundle, *keys, to):
    """A bundle with another value somewhere; `None` takes it away."""
    *above, last = keys
    table = bundle
    for key in above:
        table = table[key]
    if to is None:
        del table[last]
    else:
        table[last] = to
    return bundle


ENTRY = ("verificationMaterial", "tlogEntries", 0)


def made_elsewhere(instance, statement, **others):
    """A bundle by an instance with some other keys than the one that is trusted."""
    known = {name: getattr(instance, name) for name in ("authority", "certificate_log", "log")}
    return Instance(**{**known, **others}).bundle(statement)


def without_data(statement):
    said = json.loads(statement)
    said["predicate"]["buildDefinition"]["resolvedDependencies"].pop()
    return json.dumps(said).encode()


def with_the_entry_of(bundle, other):
    return changed(bundle, *ENTRY, to=other["verificationMaterial"]["tlogEntries"][0])


SIGNED_BY_NOBODY = "is not signed by the publisher of toxicity: its Sigstore bundle does not hold"
BAD = {
    "another identity": (lambda i, s: i.bundle(s, identity=FORK), "has another identity"),
    "another issuer": (lambda i, s: i.bundle(s, issuer="https://token.evil.example.org"), "has another identity"),
    "the issuer as the identity": (lambda i, s: i.bundle(s, identity=ISSUER, issuer=WORKFLOW), "has another identity"),
    "characters of a terminal": (lambda i, s: i.bundle(s, identity="https://\x1b[31m/", issuer="\x1b[2J"), "another"),
    "another statement": (lambda i, s: i.bundle(without_data(s)), "about another base or other data"),
    "another package": (lambda i, s: i.bundle(plain_statement(make_package(value=0.25))), "is about another file"),
    "another kind of content": (lambda i, s: i.bundle(s, media_type="text/plain"), "is no in-toto statement"),
    "another payload": (
        lambda i, s: changed(i.bundle(s), "dsseEnvelope", "payload", to=base64_of(s + b" ")),
        "DSSE: invalid signature",
    ),
    "another signature": (
        lambda i, s: changed(i.bundle(s), "dsseEnvelope", "signatures", 0, "sig", to=base64_of(bytes(70))),
        "DSSE: invalid signature",
    ),
    "no signature": (lambda i, s: changed(i.bundle(s), "dsseEnvelope", "signatures", to=[]), "exactly one signature"),
    "no envelope": (lambda i, s: changed(i.bundle(s), "dsseEnvelope", to=None), "dsseEnvelope must be set"),
    "no certificate": (
        lambda i, s: changed(i.bundle(s), "verificationMaterial", "certificate", to=None),
        "or certificate must be set",
    ),
    "no entry of the log": (lambda i, s: changed(i.bundle(s), *ENTRY[:2], to=[]), "expected exactly one log entry"),
    "no inclusion proof": (
        lambda i, s: changed(i.bundle(s), *ENTRY, "inclusionProof", to=None),
        "inclusionProof Field required",
    ),
    "a proof of another tree": (
        lambda i, s: changed(i.bundle(s), *ENTRY, "inclusionProof", "hashes", to=[base64_of(bytes(32))]),
        "invalid root hash",
    ),
    "a checkpoint that nobody signed": (
        lambda i, s: changed(i.bundle(s), *ENTRY, "inclusionProof", "checkpoint", "envelope", to="log\n2\nAA==\n\n"),
        "must contain at least one signature",
    ),
    "no promise of a time": (
        lambda i, s: changed(i.bundle(s), *ENTRY, "inclusionPromise", to=None),
        "must contain an inclusion promise",
    ),
    "another time": (
        lambda i, s: changed(i.bundle(s), *ENTRY, "integratedTime", to=str(int(i.now.timestamp()) + 1)),
        "invalid inclusion promise",
    ),
    "the entry of another bundle": (
        lambda i, s: with_the_entry_of(i.bundle(s), i.bundle(s)),
        "log entry signatures do not match",
    ),
    "a certificate that had ended": (lambda i, s: i.bundle(s, at=i.now + timedelta(hours=1)), "cert is not valid at"),
    "another authority": (lambda i, s: made_elsewhere(i, s, authority=new_key()), "signature does not match"),
    "another log of certificates": (lambda i, s: made_elsewhere(i, s, certificate_log=new_key()), "verify SCT"),
    "another log": (lambda i, s: made_elsewhere(i, s, log=new_key()), "checkpoint: invalid signature"),
    "no bundle": (lambda i, s: {}, SIGNED_BY_NOBODY),
    "no table": (lambda i, s: [[[1]]], SIGNED_BY_NOBODY),
    "the statement alone": (lambda i, s: json.loads(s), SIGNED_BY_NOBODY),
    "a bundle of another version": (lambda i, s: changed(i.bundle(s), "mediaType", to="x" * 5000), SIGNED_BY_NOBODY),
    "too large": (lambda i, s: changed(i.bundle(s), "mediaType", to="x" * 2**20), "has more than 1,048,576 bytes"),
}


@pytest.fixture(scope="module")
def listed(tmp_path_factory, instance):
    """An index with one package and its bundle, opened once: its keys take long to decrypt."""
    owned = trusting(tmp_path_factory.mktemp("listed") / "index", instance)
    repository = owned.open()
    publish(repository, [bundled(make_package(), instance.bundle(plain_statement(make_package())))], NOW)
    return owned, repository


@pytest.mark.parametrize("case", BAD)
def test_a_bundle_that_does_not_hold_is_refused(listed, instance, tmp_path, case):
    """By who publishes, and by every client where somebody with the online keys listed it all the same."""
    owned, repository = listed
    make, words = BAD[case]
    signed = bundled(make_package(), make(instance, plain_statement(make_package())))
    with pytest.raises(IntegrityError) as caught:
        publish(repository, [signed], NOW)
    refused(caught.value, words)
    steal(repository, signed)
    source = source_of(tmp_path / "home", owned.folder.as_uri(), owned.first_root)
    with pytest.raises(IntegrityError) as caught:
        source.fetch(source.named("toxicity")[0])
    refused(caught.value, words if case != "too large" else "1,048,576 may be read")
    assert read_pins(source._index) == {}


def refused(error, words):
    assert error.exit_code == 4
    assert words in error.message
    assert str(error).replace("\n", "").isprintable()
    assert len(error.message) < 600


def steal(repository, signed):
    """Let whoever has the online keys put another bundle beside a package."""
    package, statement = signed.package, signed.statement
    name = package.manifest.name
    shard = json.loads(repository.read(shard_path(name)))
    shard["releases"][0]["statement"] = sha256(statement)
    repository.put(shard_path(name), json.dumps(shard).encode())
    repository.put(statement_path(package.sha256, package.file_name, bundled=True), statement)
    repository.commit(NOW)


def test_an_authority_that_had_ended(tmp_path):
    old = Instance(ends=NOW - timedelta(days=1))
    owned = trusting(tmp_path / "index", old)
    with pytest.raises(IntegrityError, match="cert is not valid at validation time"):
        published(owned, make_package(), old.bundle(plain_statement(make_package())))


def test_a_bundle_where_a_key_signs_and_the_other_way_round(tmp_path, instance):
    owned = one_patch(tmp_path / "index")
    package = make_package(version="2.0.0")
    bundle = instance.bundle(plain_statement(package))
    with pytest.raises(RequestError, match="names no Sigstore instance yet") as caught:
        published(owned, package, bundle)
    assert "ppm index sigstore" in caught.value.hint
    named(owned, instance)
    with pytest.raises(IntegrityError, match="is not signed by the publisher of toxicity"):
        published(owned, package, bundle)
    with pytest.raises(IntegrityError, match="is no signed envelope"):
        publish(owned.open(), [SignedPackage(package, json.dumps(bundle).encode())], NOW)


def test_an_identity_beside_a_key(tmp_path, instance):
    owned = one_patch(tmp_path / "index")
    assert fetched(owned)
    named(owned, instance)
    publisher = add_publisher(owned.open(), "acme", [OURS], [], NOW, instead=False)
    assert (publisher.keys, publisher.identities) == ((public_hex(owned.signer("acme")),), (OURS,))
    package = make_package(version="2.0.0")
    published(owned, package, instance.bundle(plain_statement(package)))
    assert fetched(owned)
    with pytest.raises(IntegrityError, match="signed by another identity than toxicity was before") as caught:
        fetched(owned, "2.0.0")
    assert f"now {WORKFLOW} ({ISSUER}), then " in caught.value.message
    assert "ppm source accept acme toxicity" in caught.value.hint
    assert read_authorities(client(owned)._index) == ()
    assert str(OURS) in client(owned).accept("toxicity")
    assert fetched(owned, "2.0.0") == package.data
    assert fetched(owned)


def test_identities_are_in_every_list_of_their_publisher(tmp_path, instance):
    owned = trusting(tmp_path / "index", instance, OURS, Identity(FORK, ISSUER), names=[f"p{i}" for i in range(20)])
    [publisher] = client(owned).publishers.publishers
    assert (publisher.identities, len(publisher.names)) == ((OURS, Identity(FORK, ISSUER)), 20)
    assert client(owned).publishers == owned.open().publishers
    one, two = (Publisher("acme", (), (name,), (who,)) for name, who in (("a", OURS), ("b", Identity(FORK, ISSUER))))
    with pytest.raises(IntegrityError, match="two lists of the keys of acme"):
        Publishers.join([Publishers((one,)), Publishers((two,))])


def test_another_identity_is_refused_until_accepted(owned, instance):
    for version, bundle in (("1.0.0", instance.bundle), ("2.0.0", moved(instance))):
        package = make_package(version=version)
        identity = OURS if version == "1.0.0" else Identity(FORK, ISSUER)
        add_publisher(owned.open(), "acme", [identity], [], NOW, instead=False)
        published(owned, package, bundle(plain_statement(package)))
        if version == "1.0.0":
            assert fetched(owned)
    with pytest.raises(IntegrityError, match="signed by another identity"):
        fetched(owned, "2.0.0")
    client(owned).accept("toxicity")
    assert fetched(owned, "2.0.0")
    add_publisher(owned.open(), "acme", [Identity(FORK, ISSUER)], [], NOW, instead=True)
    source = client(owned)
    assert [str(release.version) for release in source.named("toxicity")] == ["2.0.0"]
    assert "not signed by a key or an identity that acme has" in source.problems("toxicity")[0]


def moved(instance):
    return lambda statement: instance.bundle(statement, identity=FORK)


def test_another_authority_is_refused_until_accepted(owned, instance):
    """Whoever has the targets key could else let an instance of their own vouch for anybody."""
    package = make_package()
    published(owned, package, instance.bundle(plain_statement(package)))
    assert fetched(owned)
    other = Instance()
    assert named(owned, other) == 1
    newer = make_package(version="2.0.0")
    published(owned, newer, other.bundle(plain_statement(newer)))
    with pytest.raises(IntegrityError, match="lets another Sigstore authority vouch for it than before") as caught:
        fetched(owned, "2.0.0")
    assert "ppm source accept acme toxicity" in caught.value.hint
    assert "for all of its patches" in caught.value.hint
    said = client(owned).statements(["toxicity"])[newer.file_name]
    assert "lets another Sigstore authority vouch for it" in str(said)
    assert any("for all patches of acme" in text for text in client(owned).accept("toxicity"))
    assert fetched(owned, "2.0.0") == newer.data
    with pytest.raises(IntegrityError, match="does not hold"):
        fetched(owned)


def test_online_keys_do_not_name_an_instance(tmp_path, instance):
    owned = one_patch(tmp_path / "index")
    thief = Instance().trusted_root()
    repository = owned.open()
    role = repository.targets.signed.delegations.succinct_roles.get_role_for_target(SIGSTORE_ROOT)
    target = TargetFile.from_data(SIGSTORE_ROOT, thief, ["sha256"])
    repository.bin(role).signed.targets[SIGSTORE_ROOT] = target
    repository.touch(role)
    repository.commit(NOW)
    write_durably(owned.folder / "targets" / stored(SIGSTORE_ROOT, target.hashes["sha256"]), thief)
    with pytest.raises(IntegrityError, match="names no Sigstore instance"):
        str(client(owned)._sigstore_root)
    named(owned, instance)
    assert client(owned)._sigstore_root == instance.trusted_root()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[" * 50_000,
        b"\xff",
        b'{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}',
        b'{"mediaType": "\\u001b[31m", "tlogs": [], "certificateAuthorities": [], "ctlogs": []}',
        b" " * (2**20 + 1),
    ],
    ids=lambda data: repr(data[:30]),
)
def test_what_is_no_trusted_root(tmp_path, data):
    owned = one_patch(tmp_path / "index")
    (tmp_path / "root.json").write_bytes(data)
    with pytest.raises(IntegrityError) as caught:
        name_sigstore(owned.open(), tmp_path / "root.json", NOW)
    refused(caught.value, "is no trusted root" if len(data) < 2**20 else "has more than")
    assert owned.open().read(SIGSTORE_ROOT) is None


@pytest.mark.parametrize(
    ("identity", "issuer", "words"),
    [
        ("", ISSUER, "identity must have"),
        (WORKFLOW, "", "issuer must have"),
        ("x" * 1001, ISSUER, "identity must have"),
        ("a b", ISSUER, "no spaces"),
        ("a\x1b[31m", ISSUER, "printable"),
        (WORKFLOW, "token.example.org", "issuer must be an address"),
    ],
)
def test_what_is_no_identity(identity, issuer, words):
    with pytest.raises(ValueError, match=words):
        Identity(identity, issuer)


def test_without_the_library_it_is_named(owned, instance, monkeypatch):
    package = make_package()
    published(owned, package, instance.bundle(plain_statement(package)))
    for name in [name for name in sys.modules if name.split(".")[0] == "sigstore"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sigstore", None)
    with pytest.raises(RequestError, match="needs the package sigstore") as caught:
        fetched(owned)
    assert "policy-patch-manager[sigstore]" in caught.value.hint


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PPM_KEY_PASSPHRASE", PASSPHRASE)


def run(code, *arguments):
    done = ppm(*arguments)
    assert done.code == code, (arguments, done.err)
    assert "Traceback" not in done.err
    return done


@pytest.mark.usefixtures("here")
def test_commands_from_the_statement_to_the_lock(tmp_path, instance):
    path = write_package(patch("guard"), tmp_path / "dist")
    (tmp_path / "out").mkdir()
    plain = tmp_path / "out" / f"{path.name}.statement.json"
    assert run(0, "publish", str(path), "out", "--statement-only").out == f"Wrote out/{plain.name}\n"
    (tmp_path / "x.sigstore.json").write_text(json.dumps(instance.bundle(plain.read_bytes())))
    (tmp_path / "root.json").write_bytes(instance.trusted_root())
    run(0, "index", "init", "acme", "--bins", "4")
    new = ("index", "add-publisher", "acme", "vendor", "--identity", WORKFLOW, "--issuer", ISSUER, "--names", "guard")
    assert "ppm index sigstore acme trusted_root.json" in run(1, *new).err
    assert "with 1 certificate of authorities" in run(0, "index", "sigstore", "acme", "root.json").out
    assert run(0, *new).out == "vendor may publish guard, with 1 identity.\n"
    assert run(0, "publish", str(path), "acme", "--bundle", "x.sigstore.json").out == "Published guard==1.0.0\n"
    assert run(0, "index", "verify", "acme").out == "All sound. Releases: 1; names: 1.\n"
    run(0, "source", "add", "acme", (tmp_path / "acme").as_uri(), "--root", "acme/metadata/1.root.json", "--yes")
    (tmp_path / "ppm.toml").write_text('base = "lab"\npatches = ["guard"]\n')
    [locked] = run(0, "lock", "--json").json["packages"]
    assert locked["publisher"] == Identity(WORKFLOW, ISSUER).id
    run(0, "download", "--locked", "--dest", "got")
    assert (tmp_path / "got" / path.name).read_bytes() == path.read_bytes()
    assert f"{WORKFLOW} ({ISSUER})" in run(0, "source", "accept", "acme", "guard").out


@pytest.mark.usefixtures("here")
def test_commands_install_nothing_that_does_not_hold(tmp_path, instance):
    owned = trusting(tmp_path / "index", instance, names=("guard",))
    package = patch("guard")
    published(owned, package, instance.bundle(plain_statement(package)))
    steal(owned.open(), bundled(package, instance.bundle(plain_statement(package), identity=FORK)))
    run(0, "source", "add", "acme", owned.folder.as_uri(), "--root", "index/metadata/1.root.json", "--yes")
    (tmp_path / "ppm.toml").write_text('base = "lab"\npatches = ["guard"]\n')
    run(0, "lock")
    commands = (
        ("download", "guard", "--base", "lab", "--dest", "got"),
        ("install", "guard", "--base", "lab"),
        ("sync",),
    )
    for arguments in commands:
        assert "is not signed by the publisher of guard" in run(4, *arguments).err
    assert not (tmp_path / "got").exists() or not list((tmp_path / "got").iterdir())
    assert run(0, "list", "--base", "lab", "--json").json["patches"] == []


@pytest.mark.usefixtures("here")
def test_what_can_t_be_asked_for(tmp_path, instance):
    owned = trusting(tmp_path / "index", instance)
    first, second = (str(write_package(make_package(version=v), tmp_path / "dist")) for v in ("1.0.0", "1.1.0"))
    (tmp_path / "out").mkdir()
    one = ("--bundle", "x.json")
    assert "go together" in run(2, "index", "add-publisher", "index", "acme", "--identity", WORKFLOW).err
    assert "exclude each other" in run(2, "publish", first, "index", *one, "--statement-only").err
    assert "needs a folder that is no index" in run(2, "publish", first, "index", "--statement-only").err
    assert "2 package files have 1 bundles" in run(1, "publish", first, second, "index", *one).err
    assert "can't be read" in run(1, "publish", first, "index", *one).err
    assert (
        "issuer must be an address"
        in run(1, "index", "add-publisher", "index", "acme", "--identity", WORKFLOW, "--issuer", "x").err
    )
    # A publisher who is not the owner sends package and bundle in a folder.
    (tmp_path / "x.json").write_text(json.dumps(instance.bundle(plain_statement(make_package()))))
    run(0, "publish", first, "out", *one)
    copy = tmp_path / "out" / make_package().file_name
    assert {path.name for path in (tmp_path / "out").iterdir()} == {copy.name, f"{copy.name}.sigstore.json"}
    assert run(0, "publish", str(copy), "index").out == "Published toxicity==1.0.0\n"
    assert fetched(owned) == make_package().data
    # What a key signed is no bundle.
    (tmp_path / "x.json").write_bytes(make_statement(make_package(version="1.1.0"), owned.signer("acme")))
    assert "does not hold" in run(4, "publish", second, "index", *one).err


def test_pages_and_advisories_of_a_publisher_that_signs_both_ways(tmp_path, instance):
    owned = one_patch(tmp_path / "index")
    named(owned, instance)
    add_publisher(owned.open(), "acme", [OURS], [], NOW, instead=False)
    package = make_package(version="2.0.0")
    published(owned, package, instance.bundle(plain_statement(package)))
    written = write(owned, tmp_path / "site")
    assert written.faults == ()
    signed_by = read(tmp_path / "site", "patches/toxicity.html").words
    assert f"Signed by acme, as {OURS}" in signed_by
    assert "Signed by acme, key" in signed_by
    assert f"signs as {OURS}" in read(tmp_path / "site", "signing.html").words
    advise(owned, osv(versions=("2.0.0",)))
    home = client(owned)
    [release] = [release for release in home.named("toxicity") if str(release.version) == "2.0.0"]
    assert (
        home.fetch(release) == package.data
    )  # its first patch is signed as an identity, and its advisories by its key
    assert [one.advisory.id for one in home.advisories("toxicity", package.sha256)] == [osv()["id"]]
    third = make_package(version="3.0.0")
    owned.publish(third)
    with pytest.raises(IntegrityError, match="signed by another key than toxicity was before"):
        fetched(owned, "3.0.0")  # the key counts for advisories alone
