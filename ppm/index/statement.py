"""A publisher's statement on a package file: in-toto's, with SLSA provenance, signed with a key in a DSSE envelope,
or as an identity in a Sigstore bundle.

It says of what manifest, data and base model the file was built, and by which ppm. The signature is checked first.
"""

import json
from collections.abc import Mapping, Sequence

from securesystemslib.signer import CryptoSigner

from ppm.document import table_of
from ppm.index.bundle import open_bundle
from ppm.index.envelope import Kind, open_envelope, seal
from ppm.index.identity import Identity
from ppm.index.layout import MAX_STATEMENT_BYTES
from ppm.package import Package, sha256
from ppm.version import __version__

__all__ = ["check_bundle", "check_statement", "make_statement", "plain_statement"]

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
        "subject": [{"name": package.file_name, "digest": {"sha256": package.sha256}}],
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


def _dependencies(package: Package) -> list[dict[str, object]]:
    """What the patch was made of: the base model by its fingerprint, and the data files."""
    base = package.manifest.base
    fingerprint = (base.fingerprint or "").removeprefix("sha256:")
    files = ((path, sha256(data)) for path, data in sorted(package.files.items()))
    return [{"name": name, "digest": {"sha256": digest}} for name, digest in ((base.model, fingerprint), *files)]


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
    try:
        said = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise _KIND.differs(origin, "is not JSON") from error
    expected = _statement(package)
    for what, keys_down in _COMPARED.items():
        if _down(said, keys_down) != _plain(_down(expected, keys_down)):
            raise _KIND.differs(origin, f"is about {what}")


_DEFINITION = ("predicate", "buildDefinition")
_COMPARED: Mapping[str, tuple[str, ...]] = {
    "something else": ("_type",),
    "another kind of fact": ("predicateType",),
    "another file": ("subject",),
    "another build": (*_DEFINITION, "buildType"),
    "another manifest": (*_DEFINITION, "externalParameters"),
    "another base or other data": (*_DEFINITION, "resolvedDependencies"),
}


def _down(value: object, keys: Sequence[str]) -> object:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _plain(value: object) -> object:
    """As JSON gives it back."""
    return json.loads(json.dumps(value))
