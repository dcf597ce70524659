"""A small TUF repository of any shape, in a folder: what the index never makes, and attackers do."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

TOP = ("root", "targets", "snapshot", "timestamp")
VALID = datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)
EXPIRED = VALID - timedelta(days=40)


class Simulated:
    """The roles of a repository and who signs them; `publish` writes what they are now, with the next version."""

    def __init__(self, folder, *, consistent=True, hashes=False):
        self.folder = Path(folder)
        self.hashes = hashes
        kinds = {"targets": Targets, "snapshot": Snapshot, "timestamp": Timestamp}
        self.roles = {"root": Root(version=1, expires=VALID, consistent_snapshot=consistent)}
        self.roles |= {name: kind(version=1, expires=VALID) for name, kind in kinds.items()}
        self.signers = {}
        for name in TOP:
            self.roles[name].version = 0
            self.sign_with(name, CryptoSigner.generate_ed25519())
        self.publish(*TOP)
        self.first_root = (self.folder / "metadata" / "1.root.json").read_bytes()

    def __getattr__(self, name):
        try:
            return self.roles[name]
        except KeyError:
            raise AttributeError(name) from None

    def sign_with(self, name, *signers):
        """Let a top-level role be signed by these keys alone."""
        for signer in self.signers.get(name, ()):
            self.root.revoke_key(signer.public_key.keyid, name)
        for signer in signers:
            self.root.add_key(signer.public_key, name)
        self.signers[name] = list(signers)

    def publish(self, *names, signers=None):
        """Write the next version of some roles, and let the one that lists each say so."""
        for name in names:
            signed = self.roles[name]
            signed.version += 1
            metadata = Metadata(signed)
            for signer in signers or self.signers[name]:
                metadata.sign(signer, append=True)
            data = metadata.to_bytes()
            self.write(name, data)
            meta = MetaFile.from_data(signed.version, data, ["sha256"]) if self.hashes else MetaFile(signed.version)
            if name == "snapshot":
                self.timestamp.snapshot_meta = meta
            elif name not in TOP or name == "targets":
                self.snapshot.meta[f"{name}.json"] = meta

    def publish_all(self, *names):
        """Write some roles, and the snapshot and the timestamp that make them count."""
        self.publish(*names, "snapshot", "timestamp")

    def write(self, name, data):
        """Serve these bytes as the version of a role that it is at."""
        versioned = name == "root" or (self.root.consistent_snapshot and name != "timestamp")
        prefix = f"{self.roles[name].version}." if versioned else ""
        path = self.folder / "metadata" / f"{prefix}{quote(name, '')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def delegate(self, delegator, name, *patterns, terminating=False):
        """Let a role speak for what fits the patterns, by default everything."""
        above = self.roles[delegator]
        above.delegations = above.delegations or Delegations({}, {})
        above.delegations.roles[name] = DelegatedRole(name, [], 1, terminating, list(patterns) or ["*"])
        if name not in self.roles:
            self.roles[name] = Targets(version=1, expires=VALID)
            self.roles[name].version = 0
            self.signers[name] = [CryptoSigner.generate_ed25519()]
        above.add_key(self.signers[name][0].public_key, name)

    def add(self, path, data, role="targets"):
        """List a target and serve it: the path of its file."""
        target = TargetFile.from_data(path, data, ["sha256"])
        self.roles[role].targets[path] = target
        folder, slash, name = path.rpartition("/")
        prefix = f"{target.hashes['sha256']}." if self.root.consistent_snapshot else ""
        file = self.folder / "targets" / f"{folder}{slash}{prefix}{name}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return file
