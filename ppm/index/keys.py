"""Keys of an index and of publishers: ed25519, the private ones in encrypted PEM files (PKCS 8)."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from securesystemslib.signer import CryptoSigner, SSlibKey

from ppm.disk import disk_errors, make_folder
from ppm.errors import RequestError

__all__ = ["Keyring", "key_from_hex", "key_id", "public_hex", "read_private", "read_public", "write_pair"]

Passphrase = Callable[[], str]
MAX_KEY_BYTES = 100_000
_ID_DIGITS = 12


def key_from_hex(public: str) -> SSlibKey:
    """A public key from its 64 hexadecimal digits."""
    return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(public)))


@lru_cache
def key_id(public: str) -> str:
    """The id of a public key, as TUF has it: the digest of the key with its kind."""
    return key_from_hex(public).keyid


def public_hex(signer: CryptoSigner) -> str:
    """The public key of a private one, in hexadecimal."""
    found: str = signer.public_key.keyval["public"]
    return found


def read_public(path: Path) -> str:
    """A public ed25519 key from its PEM file, in hexadecimal. Raises RequestError."""
    try:
        key = serialization.load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise RequestError(
            "is not a public key in PEM", context=str(path), hint="`ppm index key FILE` makes a pair"
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise RequestError("is not an ed25519 key", context=str(path), hint="`ppm index key FILE` makes a pair")
    return key.public_bytes_raw().hex()


def read_private(path: Path, passphrase: Passphrase) -> CryptoSigner:
    """A private ed25519 key from its encrypted PEM file. Raises RequestError."""
    data = _read(path)
    hint = "`ppm index key FILE` makes a pair"
    try:
        key = serialization.load_pem_private_key(data, passphrase().encode())
    except TypeError as error:  # how it is said that the file is not encrypted
        raise RequestError("is a private key that is not encrypted", context=str(path), hint=hint) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        if b"ENCRYPTED" not in data:
            raise RequestError("is not a private key in PEM", context=str(path), hint=hint) from error
        raise RequestError(
            "can't be decrypted", context=str(path), hint="check the passphrase (PPM_KEY_PASSPHRASE)"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise RequestError("is not an ed25519 key", context=str(path), hint=hint)
    return CryptoSigner(key)


def _read(path: Path) -> bytes:
    with disk_errors("can't be read", path), path.open("rb") as stream:
        return stream.read(MAX_KEY_BYTES)


def _write_private(key: Ed25519PrivateKey, path: Path, passphrase: str) -> None:
    """Never over a key that is there: it may be the only one."""
    if not passphrase:
        raise RequestError("the passphrase of a private key must not be empty")
    data = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase.encode()),
    )
    with disk_errors("can't be written", path):
        make_folder(path.parent)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())


def write_pair(path: Path, passphrase: str) -> tuple[Path, str]:
    """A new pair: the private key at `path`, the public one beside it. Returns where that is, and its id.

    Raises RequestError when there is a file already, DiskError.
    """
    public = path.with_name(f"{path.stem}.pub{path.suffix or '.pem'}")
    for one in (path, public):
        if one.exists():
            raise RequestError("exists already", context=str(one), hint="choose another name; keys are never replaced")
    key = Ed25519PrivateKey.generate()
    _write_private(key, path, passphrase)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    data = key.public_key().public_bytes(serialization.Encoding.PEM, form)
    with disk_errors("can't be written", public):
        public.write_bytes(data)
    return public, CryptoSigner(key).public_key.keyid


OFFLINE = ("root", "targets")
"""The roles whose keys may be kept where no network is."""


@dataclass
class Keyring:
    """The private keys of an index that are on this machine: files named after their role and their id.

    Those of root and targets may be in a folder of their own, `offline`.
    """

    folder: Path
    passphrase: Passphrase
    offline: Path | None = None
    _known: dict[str, CryptoSigner] = field(default_factory=dict, repr=False)

    def create(self, role: str) -> CryptoSigner:
        """A new key for a role, kept. Raises DiskError or RequestError."""
        key = Ed25519PrivateKey.generate()
        signer = CryptoSigner(key)
        _write_private(key, self._path(role, signer.public_key.keyid), self.passphrase())
        self._known[signer.public_key.keyid] = signer
        return signer

    def signers(self, ids: Iterable[str]) -> list[CryptoSigner]:
        """The private keys with some ids, as far as they are here. Raises RequestError for one that can't be read."""
        return [signer for one in ids if (signer := self._find(one)) is not None]

    def needed(self, ids: Sequence[str], threshold: int, role: str) -> list[CryptoSigner]:
        """The same. Raises RequestError when they are too few."""
        found = self.signers(ids)
        if len(found) < threshold:
            lacking = ", ".join(str(self._path(role, one)) for one in ids)
            raise RequestError(
                f"{threshold} of the keys of {role} must sign, but {len(found)} are here",
                context=str(self.folder),
                hint=f"bring the key files here ({lacking}), or name their folder with --keys",
            )
        return found

    def _path(self, role: str, keyid: str) -> Path:
        folder = self.offline if self.offline is not None and role in OFFLINE else self.folder
        return folder / f"{role}-{keyid[:_ID_DIGITS]}.pem"

    def _find(self, keyid: str) -> CryptoSigner | None:
        if keyid not in self._known:
            folders = [self.folder] if self.offline is None else [self.folder, self.offline]
            for path in (path for folder in folders for path in sorted(folder.glob(f"*-{keyid[:_ID_DIGITS]}.pem"))):
                signer = read_private(path, self.passphrase)
                self._known[signer.public_key.keyid] = signer
        return self._known.get(keyid)
