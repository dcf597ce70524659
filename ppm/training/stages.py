"""What a build has finished, kept by the digest of all that went into it: answers, pairs, prefixes, results."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ppm.bank import Bank
from ppm.disk import replace_file
from ppm.errors import IntegrityError, PpmError
from ppm.evaluation.scoring import ScoredText
from ppm.jsonl import dump, read_pairs
from ppm.training.pairs import Collected, Counts
from ppm.training.teacher import Spool

__all__ = ["Stages"]


@dataclass(frozen=True)
class Stages:
    """A folder of finished stages; without one nothing is kept. A damaged entry counts as missing."""

    folder: Path | None

    def spool(self, digest: str) -> Spool:
        """The answers collected so far under a digest."""
        return Spool(self.folder / "answers" / f"{_hex(digest)}.jsonl" if self.folder else None)

    def bank(self, digest: str) -> Bank | None:
        """The bank that a stage ended in, if it was finished."""
        data = self._read("prefixes", digest, "safetensors")
        try:
            return Bank.parse(data, "a kept stage") if data is not None else None
        except IntegrityError:
            return None

    def keep_bank(self, digest: str, bank: Bank) -> None:
        """Keep what a stage ended in."""
        self._write("prefixes", digest, "safetensors", bank.to_bytes())

    def collected(self, digest: str) -> tuple[Collected, dict[str, object]] | None:
        """The collected pairs and the record of how they were collected, if they were."""
        data = self._read("pairs", digest, "json")
        try:
            table = json.loads(data) if data is not None else None
            if table is None:
                return None
            pairs = read_pairs(table["pairs"].encode(), "the kept pairs")
            return Collected(pairs, Counts(**table["counts"])), dict(table["record"])
        except (ValueError, KeyError, TypeError, AttributeError, PpmError):
            return None

    def keep_collected(self, digest: str, collected: Collected, record: dict[str, object]) -> None:
        """Keep collected pairs."""
        table = {"pairs": dump(collected.pairs).decode(), "counts": asdict(collected.counts), "record": record}
        self._write("pairs", digest, "json", json.dumps(table, ensure_ascii=False).encode())

    def texts(self, digest: str) -> list[ScoredText] | None:
        """The texts that were kept, if they were."""
        data = self._read("texts", digest, "json")
        try:
            rows = json.loads(data) if data is not None else None
            if rows is None:
                return None
            return [ScoredText(tuple(map(int, before)), tuple(map(int, after))) for before, after in rows]
        except (ValueError, TypeError):
            return None

    def keep_texts(self, digest: str, texts: Sequence[ScoredText]) -> None:
        """Keep texts as token ids."""
        rows = [[text.prompt, text.completion] for text in texts]
        self._write("texts", digest, "json", json.dumps(rows).encode())

    def _read(self, kind: str, digest: str, suffix: str) -> bytes | None:
        try:
            return (self.folder / kind / f"{_hex(digest)}.{suffix}").read_bytes() if self.folder else None
        except OSError:
            return None

    def _write(self, kind: str, digest: str, suffix: str, data: bytes) -> None:
        if self.folder is not None:
            path = self.folder / kind / f"{_hex(digest)}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, data)


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
