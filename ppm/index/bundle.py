"""Sigstore bundles: what a publisher signed as an identity, without a key of its own to keep.

Sigstore's own library verifies them, offline, against a trusted root that names the instance: its certificate
authority and its logs. It is an extra, and is imported only where there is a bundle.
"""

import logging
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from ppm.disk import disk_errors
from ppm.errors import DiskError, IntegrityError, RequestError
from ppm.index.envelope import DISTRUST, Kind
from ppm.index.identity import Identity
from ppm.index.layout import SIGSTORE_ROOT
from ppm.package import sha256

if TYPE_CHECKING:
    from cryptography.x509 import Certificate
    from sigstore.models import TrustedRoot

__all__ = ["authorities", "open_bundle"]

_MAX_REASON = 200
_SILENT = logging.NullHandler()


class _AnyOf:
    """Sigstore's policy that a certificate has one of some identities; `found` is which."""

    def __init__(self, identities: Sequence[Identity]) -> None:
        self._identities = identities
        self.found: Identity | None = None

    def verify(self, cert: "Certificate") -> None:
        from sigstore.errors import VerificationError
        from sigstore.verify import policy

        for one in self._identities:
            try:
                policy.OIDCIssuerV2(one.issuer).verify(cert)
                policy.Identity(identity=one.identity).verify(cert)
            except VerificationError:
                continue
            self.found = one
            return
        raise VerificationError("the certificate has another identity")


def authorities(root: bytes, origin: str) -> tuple[str, ...]:
    """The digests of the certificates that a trusted root has for its certificate authorities, sorted.

    Raises IntegrityError for what is no trusted root, RequestError where the library is not installed.
    """
    _need_library(origin)
    found = _read_root(root, origin).get_fulcio_certs()
    return tuple(sorted({sha256(one.public_bytes(Encoding.DER)) for one in found}))


def open_bundle(
    data: bytes, kind: Kind, identities: Sequence[Identity], root: bytes, *, name: str, origin: str
) -> tuple[bytes, str]:
    """The content of a bundle, and the id of the identity that signed it: one of `identities`, those of `name`.

    Raises IntegrityError: signed by nobody of them, not in the logs of the trusted root, or of another kind.
    RequestError where the library is not installed.
    """
    if len(data) > kind.most_bytes:
        raise kind.differs(origin, f"has more than {kind.most_bytes:,} bytes")
    _need_library(origin)
    trusted = _read_root(root, f"{SIGSTORE_ROOT}, for {origin}")
    from sigstore.models import Bundle
    from sigstore.verify import Verifier

    wanted = _AnyOf(identities)
    try:
        media_type, payload = Verifier(trusted_root=trusted).verify_dsse(Bundle.from_json(data), wanted)
    except Exception as error:  # of whatever kind a hostile certificate or bundle makes
        raise IntegrityError(
            f"is not signed by the publisher of {name}: its Sigstore bundle does not hold{_reason(error)}",
            context=origin,
            hint=DISTRUST,
        ) from error
    if media_type != kind.media_type:
        raise kind.differs(origin, f"is no {kind.form}")
    assert wanted.found is not None
    return payload, wanted.found.id


def _need_library(origin: str) -> None:
    """Raises RequestError where it is not installed. What it logs is in its errors too, which ppm shows."""
    try:
        import sigstore.verify
    except ImportError as error:
        raise RequestError(
            "needs the package sigstore, which verifies what is signed with Sigstore and is not installed",
            context=origin,
            hint='install it with ppm\'s extra: pip install "policy-patch-manager[sigstore]"',
        ) from error
    logging.getLogger(sigstore.__name__).addHandler(_SILENT)


def _read_root(data: bytes, origin: str) -> "TrustedRoot":
    """Raises IntegrityError for what is no trusted root."""
    try:
        return _parsed_root(data)
    except DiskError:
        raise
    except Exception as error:  # pydantic, cryptography and sigstore raise classes of their own
        raise IntegrityError(
            f"is no trusted root of a Sigstore instance{_reason(error)}",
            context=origin,
            hint="it is the file trusted_root.json of the instance; see docs/index.md",
        ) from error


@lru_cache(maxsize=4)
def _parsed_root(data: bytes) -> "TrustedRoot":
    """Sigstore's library reads one from a file alone; the files of one index mostly have the same."""
    from sigstore.models import TrustedRoot
    from sigstore.verify import Verifier

    with tempfile.TemporaryDirectory(prefix="ppm-sigstore-") as folder:
        path = Path(folder) / "trusted_root.json"
        with disk_errors("can't be written", path):
            path.write_bytes(data)
        root = TrustedRoot.from_file(str(path))
    Verifier(trusted_root=root)  # what lacks a part is refused here
    return root


def _reason(error: Exception) -> str:
    """Why, as far as Sigstore says it; its texts can hold what a hostile certificate says."""
    from sigstore.errors import Error

    text = " ".join(str(error).partition("[type=")[0].split())[:_MAX_REASON]  # pydantic's inputs come after that
    return f": {text if text.isprintable() else ascii(text)}" if isinstance(error, Error) and text else ""
