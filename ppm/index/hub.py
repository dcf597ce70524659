"""Addresses of indexes that lie in a repository of the Hugging Face hub: `hf://OWNER/REPO@COMMIT/FOLDER`.

Only the text; knows nothing of the network.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

__all__ = ["HUB", "HubAddress", "is_commit"]

HUB = "hf://"
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_FORM = re.compile(
    rf"hf://(?P<datasets>datasets/)?(?P<repository>{_NAME}/{_NAME})(?:@(?P<revision>[A-Za-z0-9._%-]+))?(?P<folder>(?:/{_NAME})*)/?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_commit(text: str) -> bool:
    """Whether a revision is a whole commit: a branch or a tag may name another one tomorrow."""
    return bool(_COMMIT.fullmatch(text))


@dataclass(frozen=True)
class HubAddress:
    """A folder of a repository of models or data sets, "" for the whole, at a revision, "" where none is named."""

    repository: str
    revision: str
    folder: str = ""
    kind: Literal["model", "dataset"] = "model"

    @staticmethod
    def parse(url: str) -> "HubAddress":
        """Raises ValueError."""
        match = _FORM.fullmatch(url)
        if match is None:
            raise ValueError("must be like hf://OWNER/REPO@COMMIT, with /FOLDER if the index is in a folder")
        kind: Literal["model", "dataset"] = "dataset" if match["datasets"] else "model"
        return HubAddress(match["repository"], match["revision"] or "", match["folder"].strip("/"), kind)

    def at(self, revision: str) -> "HubAddress":
        """The same folder at another revision."""
        return replace(self, revision=revision)

    def __str__(self) -> str:
        kind = "datasets/" if self.kind == "dataset" else ""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{HUB}{kind}{self.repository}{revision}{self.folder and '/' + self.folder}"
