"""Identities of publishers that sign with Sigstore: whom a certificate was made out to, and who vouched for that."""

import json
from dataclasses import asdict, dataclass

from ppm.names import check_line
from ppm.package import sha256

__all__ = ["Identity"]

_MAX_LENGTH = 1000


@dataclass(frozen=True)
class Identity:
    """An identity in Sigstore's certificates, such as a workflow's address, and the OIDC issuer that vouches for it."""

    identity: str
    issuer: str

    def __post_init__(self) -> None:
        for key, text in asdict(self).items():
            check_line(text[:_MAX_LENGTH], key)
            if not text or " " in text or len(text) > _MAX_LENGTH:
                raise ValueError(f"{key} must have from 1 to {_MAX_LENGTH:,} characters, and no spaces")
        if not self.issuer.startswith(("https://", "http://")):
            raise ValueError(f"issuer must be an address that begins with https://, not {self.issuer[:80]!r}")

    @property
    def id(self) -> str:
        """The digest that stands for it where else the id of a key does."""
        return sha256(json.dumps(asdict(self), sort_keys=True).encode())

    def __str__(self) -> str:
        return f"{self.identity} ({self.issuer})"
