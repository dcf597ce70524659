"""A publisher's statement on a package file: in-toto's, with SLSA provenance, signed with a key in a DSSE envelope,
or as an identity in a Sigstore bundle.

It says of what manifest, data and base model the file was built, and by which ppm. The signature is checked first.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from securesystemslib.signer import CryptoSigner

from ppm.document import read_table, table_of
from ppm.errors import ManifestError
from ppm.index.bundle import open_bundle
from ppm.index.envelope import Kind, open_envelope, seal
from ppm.index.identity import Identity
from ppm.index.layout import MAX_STATEMENT_BYTES
from ppm.manifest import Manifest
from ppm.package import Package, sha256
from ppm.version import __version__

__all__ = ["Statement", "check_bundle", "check_statement", "make_statement", "plain_statement", "read_statement"]

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:ppm:build:1"
_KIND = Kind("application/vnd.in-toto+json", "a statement by its publisher", "in-toto statement", MAX_STATEMENT_BYTES)


def make_statement(package: Package, signer: CryptoSigner) -> bytes:
    """The signed statement on a package, as a JSON envelope."""
    return seal(plain_statement(package), _KIND, signer)


def plain_statement(package: Package) -> bytes:
    """The statement on a package as JSON, which nobody has signed yet."""
    return json.dumps(_statement(package), sort_keys=True, ensure_ascii=False).encode()


def _statement(package: Package) -> dict[str, object]:
    manifest = package.manifest
    scores = manifest.provenance.get("scores")
    return {
        "_type": STATEMENT_TYPE,
        "subject": _subject(package.file_name, package.sha256),
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"manifest": table_of(manifest)},
                "resolvedDependencies": _dependencies(package),
            },
            "runDetails": {
                "builder": {"id": "urn:ppm:builder", "version": {"ppm": __version__}},
                "byproducts": [] if scores is None else [{"name": "scores", "annotations": {"scores": scores}}],
            },
        },
    }


def _subject(file: str, sha256: str) -> object:
    return [{"name": file, "digest": {"sha256": sha256}}]


def _dependencies(package: Package) -> list[dict[str, object]]:
    """What the patch was made of: the base model by its fingerprint, and the data files."""
    base = package.manifest.base
    fingerprint = (base.fingerprint or "").removeprefix("sha256:")
    files = ((path, sha256(data)) for path, data in sorted(package.files.items()))
    return [{"name": name, "digest": {"sha256": digest}} for name, digest in ((base.model, fingerprint), *files)]


@dataclass(frozen=True)
class Statement:
    """What a publisher says of one package file, by the digest of which it is found.

    `publisher` is the id of the key or identity that signed it, `data` what the patch was made of with its digests in
    hexadecimal, the base model first, and `ppm` the version that made the statement.
    """

    manifest: Manifest
    publisher: str
    data: tuple[tuple[str, str], ...]
    ppm: str


def check_statement(data: bytes, package: Package, keys: Sequence[str]) -> str:
    """The id of the key that signed a statement on this very package; it must be one of `keys`.

    Raises IntegrityError: signed by nobody of them, or for another file, manifest, base or data.
    """
    payload, signed_by = open_envelope(data, _KIND, keys, name=package.manifest.name, origin=package.file_name)
    _compare(payload, package)
    return signed_by


def check_bundle(data: bytes, package: Package, identities: Sequence[Identity], root: bytes) -> str:
    """The id of the identity that signed a statement on this very package in a Sigstore bundle; one of `identities`.

    `root` is the trusted root of the Sigstore instance. Raises as `check_statement` does, and RequestError where
    Sigstore's library is not installed.
    """
    name, origin = package.manifest.name, package.file_name
    payload, signed_by = open_bundle(data, _KIND, identities, root, name=name, origin=origin)
    _compare(payload, package)
    return signed_by


def _compare(payload: bytes, package: Package) -> None:
    """Raises IntegrityError for a statement on another file, manifest, base or data."""
    origin = package.file_name
    said = _parsed(payload, origin)
    expected = _statement(package)
    for what, keys_down in _COMPARED.items():
        if _down(said, keys_down) != _plain(_down(expected, keys_down)):
            raise _KIND.differs(origin, f"is about {what}")


def read_statement(
    data: bytes,
    name: str,
    file: str,
    sha256: str,
    keys: Sequence[str] = (),
    *,
    identities: Sequence[Identity] = (),
    root: bytes = b"",
) -> Statement:
    """A statement on a package file that is not at hand, known by its name and digest; signed by one of `keys`.

    With `identities` it is a Sigstore bundle by one of them instead, and `root` the trusted root of the instance.
    What it says is its publisher's word; only `check_statement` and `check_bundle` compare it with the file. Raises
    IntegrityError: signed by nobody of them, malformed, or for another file.
    """
    if identities:
        payload, signed_by = open_bundle(data, _KIND, identities, root, name=name, origin=file)
    else:
        payload, signed_by = open_envelope(data, _KIND, keys, name=name, origin=file)
    said = _parsed(payload, file)
    wanted = {
        "_type": STATEMENT_TYPE,
        "predicateType": PREDICATE_TYPE,
        "subject": _subject(file, sha256),
        "buildType": BUILD_TYPE,
    }
    for what, keys_down in _COMPARED.items():
        if keys_down[-1] in wanted and _down(said, keys_down) != wanted[keys_down[-1]]:
            raise _KIND.differs(file, f"is about {what}")
    try:
        manifest = read_table(Manifest, _down(said, _COMPARED["another manifest"])["manifest"], file)
        parts = _down(said, _COMPARED["another base or other data"])
        data_of = tuple((str(part["name"]), str(part["digest"]["sha256"])) for part in parts)
    except (ManifestError, TypeError, KeyError, RecursionError) as error:
        raise _KIND.differs(file, "is malformed") from error
    made_by = _down(said, ("predicate", "runDetails", "builder", "version", "ppm"))
    return Statement(manifest, signed_by, data_of, made_by if isinstance(made_by, str) else "")


def _parsed(payload: bytes, origin: str) -> object:
    """The JSON that was signed."""
    try:
        return json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise _KIND.differs(origin, "is not JSON") from error


_DEFINITION = ("predicate", "buildDefinition")
_COMPARED: Mapping[str, tuple[str, ...]] = {
    "something else": ("_type",),
    "another kind of fact": ("predicateType",),
    "another file": ("subject",),
    "another build": (*_DEFINITION, "buildType"),
    "another manifest": (*_DEFINITION, "externalParameters"),
    "another base or other data": (*_DEFINITION, "resolvedDependencies"),
}


def _down(value: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _plain(value: object) -> object:
    """As JSON gives it back."""
    return json.loads(json.dumps(value))
