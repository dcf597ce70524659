"""What a forward pass is given of the texts of a batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ppm.runtime.masks import Mask

__all__ = ["Inputs"]


@dataclass(frozen=True)
class Inputs:
    """Token ids (B, T) or embeddings (B, T, hidden_size) with their mask and positions, as far as these are given.

    The mask is (B, K), 1 at real tokens, or made for a cache that has a prefix already.
    """

    ids: torch.Tensor | None
    mask: Mask | None = None
    positions: torch.Tensor | None = None
    embeds: torch.Tensor | None = None

    @property
    def tensor(self) -> torch.Tensor:
        """The ids, or else the embeddings. Raises ValueError where there is neither."""
        found = self.ids if self.ids is not None else self.embeds
        if found is None:
            raise ValueError("give input_ids or inputs_embeds")
        return found

    @property
    def plain(self) -> torch.Tensor | None:
        """The mask, if it is (B, K)."""
        return self.mask if isinstance(self.mask, torch.Tensor) and self.mask.ndim == 2 else None

    @property
    def real(self) -> torch.Tensor:
        """Which token ids are no padding, (B, T)."""
        assert self.ids is not None
        return torch.ones_like(self.ids, dtype=torch.bool) if self.plain is None else self.plain.bool()

    @property
    def has_gaps(self) -> bool:
        """Whether padding stands after a real token, where columns are not positions."""
        return self.plain is not None and bool((self.plain.diff(dim=-1) < 0).any())

    def texts(self, read: Sequence[int] | None) -> list[list[int]]:
        """The real tokens of each text, up to so many as are to be `read`."""
        assert self.ids is not None
        rows = zip(self.ids.tolist(), self.real.tolist(), strict=True)
        texts = [[token for token, real in zip(*row, strict=True) if real] for row in rows]
        return texts if read is None else [text[:count] for text, count in zip(texts, read, strict=True)]
