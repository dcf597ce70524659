"""A private Sigstore instance: a certificate authority, a certificate log and a transparency log, each with real keys.

It makes bundles as a signing service does, and the trusted root that names it. Nothing in it is taken from the library
that verifies them.
"""

import base64
import hashlib
import json
import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier

WORKFLOW = "https://git.example.org/acme/patches/.ci/release.yml@refs/heads/main"
ISSUER = "https://token.ci.example.org"
MEDIA_TYPE = "application/vnd.in-toto+json"
_ISSUER_OID = ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
_SCTS_OID = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_USAGES = (
    "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign crl_sign "
    "encipher_only decipher_only"
).split()
_DAY = timedelta(days=1)


def new_key():
    return ec.generate_private_key(ec.SECP256R1())


def sign(key, data):
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def public_der(key):
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_digest(key):
    return hashlib.sha256(public_der(key)).digest()


def base64_of(data):
    return base64.b64encode(data).decode()


def length_and(data, bytes_of_length):
    return len(data).to_bytes(bytes_of_length, "big") + data


def der(tag, content):
    """One value in DER, of fewer than 65,536 bytes."""
    size = len(content)
    length = (
        bytes([size]) if size < 128 else b"\x81" + bytes([size]) if size < 256 else b"\x82" + size.to_bytes(2, "big")
    )
    return bytes([tag]) + length + content


def usage(**allowed):
    return x509.KeyUsage(**{name: allowed.get(name, False) for name in _USAGES})


def timestamp(at):
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def pre_authenticated(payload, media_type=MEDIA_TYPE):
    """What a DSSE signature is made over."""
    parts = (b"DSSEv1", *(p for one in (media_type.encode(), payload) for p in (str(len(one)).encode(), one)))
    return b" ".join(parts)


@dataclass
class Instance:
    """One instance; its authority is valid for a year around `now`, or until `ends`."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    ends: datetime | None = None
    authority: object = field(default_factory=new_key)
    certificate_log: object = field(default_factory=new_key)
    log: object = field(default_factory=new_key)

    def __post_init__(self):
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "acme's authority")])
        public = self.authority.public_key()
        builder = x509.CertificateBuilder(name, name, public, x509.random_serial_number())
        builder = builder.not_valid_before(self.now - 180 * _DAY).not_valid_after(self.ends or self.now + 180 * _DAY)
        for extension, critical in (
            (x509.BasicConstraints(True, 0), True),
            (usage(key_cert_sign=True, crl_sign=True), True),
            (x509.SubjectKeyIdentifier.from_public_key(public), False),
        ):
            builder = builder.add_extension(extension, critical)
        self.root = builder.sign(self.authority, hashes.SHA256())

    def trusted_root(self):
        """The file that names the authority and the logs."""
        begun = {"start": timestamp(self.now - 180 * _DAY)}

        def log(key, url):
            public = {
                "rawBytes": base64_of(public_der(key)),
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                "validFor": begun,
            }
            key_id = {"keyId": base64_of(key_digest(key))}
            return {"baseUrl": url, "hashAlgorithm": "SHA2_256", "publicKey": public, "logId": key_id}

        chain = {"certificates": [{"rawBytes": base64_of(self.root.public_bytes(Encoding.DER))}]}
        authority = {
            "subject": {"organization": "acme", "commonName": "acme's authority"},
            "uri": "https://ca.example.org",
            "certChain": chain,
            "validFor": begun,
        }
        root = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [log(self.log, "https://log.example.org")],
            "certificateAuthorities": [authority],
            "ctlogs": [log(self.certificate_log, "https://ct.example.org")],
            "timestampAuthorities": [],
        }
        return json.dumps(root).encode()

    def certificate(self, key, identity, issuer):
        """A certificate of ten minutes, with the certificate log's timestamp in it."""
        public = key.public_key()
        builder = x509.CertificateBuilder(self.root.subject, x509.Name([]), public, x509.random_serial_number())
        builder = builder.not_valid_before(self.now).not_valid_after(self.now + timedelta(minutes=10))
        for extension, critical in (
            (usage(digital_signature=True), True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False),
            (x509.SubjectKeyIdentifier.from_public_key(public), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority.public_key()), False),
            (x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)]), True),
            (x509.UnrecognizedExtension(_ISSUER_OID, der(0x0C, issuer.encode())), False),
        ):
            builder = builder.add_extension(extension, critical)
        unlogged = builder.sign(self.authority, hashes.SHA256()).tbs_certificate_bytes
        logged = x509.UnrecognizedExtension(_SCTS_OID, der(0x04, self._logged_at(unlogged)))
        return builder.add_extension(logged, False).sign(self.authority, hashes.SHA256())

    def _logged_at(self, certificate):
        """The list of one signed certificate timestamp (RFC 6962, section 3.3) on a precertificate."""
        at = struct.pack("!Q", int(self.now.timestamp() * 1000))
        entry = key_digest(self.authority) + length_and(certificate, 3)
        signature = sign(self.certificate_log, b"\0\0" + at + struct.pack("!H", 1) + entry + b"\0\0")
        one = b"\0" + key_digest(self.certificate_log) + at + b"\0\0" + b"\4\3" + length_and(signature, 2)
        return length_and(length_and(one, 2), 2)

    def bundle(self, payload, *, identity=WORKFLOW, issuer=ISSUER, at=None, media_type=MEDIA_TYPE):
        """A signed payload, as the table that a bundle's JSON is; signed and logged `at` a moment, or now."""
        key = new_key()
        certificate = self.certificate(key, identity, issuer)
        signature = sign(key, pre_authenticated(payload, media_type))
        body = self._body(payload, signature, certificate)
        return {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {"rawBytes": base64_of(certificate.public_bytes(Encoding.DER))},
                "tlogEntries": [self._entry(body, int((at or self.now).timestamp()))],
            },
            "dsseEnvelope": {
                "payload": base64_of(payload),
                "payloadType": media_type,
                "signatures": [{"sig": base64_of(signature)}],
            },
        }

    @staticmethod
    def _body(payload, signature, certificate):
        """What the log holds of a signed envelope: Rekor's dsse 0.0.1."""
        verifier = base64_of(certificate.public_bytes(Encoding.PEM))
        spec = {
            "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(payload + signature).hexdigest()},
            "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
            "signatures": [{"signature": base64_of(signature), "verifier": verifier}],
        }
        return json.dumps({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec}, sort_keys=True).encode()

    def _entry(self, body, at):
        """An entry with its promise, and the proof that it is the second of two leaves of a signed tree (RFC 6962)."""
        key_id = key_digest(self.log)
        promised = {"body": base64_of(body), "integratedTime": at, "logID": key_id.hex(), "logIndex": 1}
        promise = sign(self.log, json.dumps(promised, sort_keys=True, separators=(",", ":")).encode())
        before, own = (hashlib.sha256(b"\0" + leaf).digest() for leaf in (b"an earlier entry", body))
        top = hashlib.sha256(b"\1" + before + own).digest()
        note = f"log.example.org - 1\n2\n{base64_of(top)}\n"
        signature = base64_of(key_id[:4] + sign(self.log, note.encode()))
        return {
            "logIndex": "1",
            "logId": {"keyId": base64_of(key_id)},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(at),
            "inclusionPromise": {"signedEntryTimestamp": base64_of(promise)},
            "inclusionProof": {
                "logIndex": "1",
                "rootHash": base64_of(top),
                "treeSize": "2",
                "hashes": [base64_of(before)],
                "checkpoint": {"envelope": f"{note}\n— log.example.org {signature}\n"},
            },
            "canonicalizedBody": base64_of(body),
        }
