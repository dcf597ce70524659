"""What a publisher signs, in a DSSE envelope. The signature is checked before anything in it is read."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import FormatError, VerificationError
from securesystemslib.signer import CryptoSigner

from ppm.errors import IntegrityError
from ppm.index.keys import key_from_hex

__all__ = ["DISTRUST", "Kind", "open_envelope", "seal"]

DISTRUST = "don't use it; ask the publisher, and whoever runs the index"


@dataclass(frozen=True)
class Kind:
    """A kind of signed content: its media type, what messages call it, and how large its envelope may be."""

    media_type: str
    called: str
    form: str
    most_bytes: int

    def differs(self, origin: str, what: str) -> IntegrityError:
        """The error for content of this kind that is not as it has to be."""
        return IntegrityError(f"has {self.called} that {what}", context=origin, hint=DISTRUST)


def seal(payload: bytes, kind: Kind, signer: CryptoSigner) -> bytes:
    """Content, signed, as a JSON envelope."""
    envelope = Envelope(payload, kind.media_type, {})
    envelope.sign(signer)
    return (json.dumps(envelope.to_dict(), indent=1) + "\n").encode()


def open_envelope(data: bytes, kind: Kind, keys: Sequence[str], *, name: str, origin: str) -> tuple[bytes, str]:
    """The content of an envelope, and the id of the key that signed it; it must be one of `keys`, those of `name`.

    Raises IntegrityError: signed by nobody of them, or of another kind.
    """
    if len(data) > kind.most_bytes:
        raise kind.differs(origin, f"has more than {kind.most_bytes:,} bytes")
    try:
        envelope = Envelope.from_dict(json.loads(data))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, FormatError) as error:
        raise kind.differs(origin, "is no signed envelope") from error
    if not isinstance(envelope.payload_type, str):
        raise kind.differs(origin, "is no signed envelope")
    try:
        signed_by = envelope.verify([key_from_hex(key) for key in keys], 1)
    except (VerificationError, ValueError) as error:
        raise IntegrityError(f"is not signed by the publisher of {name}", context=origin, hint=DISTRUST) from error
    if envelope.payload_type != kind.media_type:
        raise kind.differs(origin, f"is no {kind.form}")
    payload: bytes = envelope.payload
    return payload, next(iter(signed_by))
