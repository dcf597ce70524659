"""SOAP: Adam in the eigenbasis of Shampoo's preconditioners (Vyas et al. 2024, arXiv 2409.11321, algorithm 3).

A prefix is one small matrix (tokens, hidden_size), so both preconditioners are cheap. And the loss depends on some
tokens, and on some directions of the embedding space, far more than on others.
"""

from typing import Any

import torch

__all__ = ["Soap"]

LONGEST_SIDE = 1024
"""A longer side keeps its own axes: its eigenvectors would cost more than the steps."""
RENEW_EVERY = 5
SHAMPOO_DECAY = 0.95


class Soap(torch.optim.Optimizer):
    """For matrices with finite gradients; `betas` are Adam's."""

    def __init__(self, matrices: list[torch.Tensor], lr: float, betas: tuple[float, float] = (0.9, 0.97)) -> None:
        super().__init__(matrices, {"lr": lr, "betas": betas, "eps": 1e-8})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    _update(matrix, matrix.grad, self.state[matrix], group)


def _update(matrix: torch.Tensor, gradient: torch.Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    if not state:
        state |= {"step": 0, "mean": torch.zeros_like(matrix), "square": torch.zeros_like(matrix)}
        state |= {"rows": _Side(gradient), "columns": _Side(gradient.T)}
    rows, columns = state["rows"], state["columns"]
    state["step"] += 1
    first, second = group["betas"]
    state["mean"].lerp_(gradient, 1 - first)
    state["square"].lerp_(columns.turn(rows.turn(gradient).T).T.square(), 1 - second)
    mean = columns.turn(rows.turn(state["mean"]).T).T / (1 - first ** state["step"])
    scale = (state["square"] / (1 - second ** state["step"])).sqrt() + group["eps"]
    # Adam's quotient is at most about 1; it is larger only where new axes meet squares taken along the old ones.
    change = (mean / scale).clamp(-1, 1)
    matrix.sub_(rows.turn_back(columns.turn_back(change.T).T), alpha=group["lr"])
    renew = state["step"] % RENEW_EVERY == 0
    rows.follow(gradient, renew)
    columns.follow(gradient.T, renew)


class _Side:
    """The decaying mean of the outer products of a gradient's rows, and its eigenvectors."""

    def __init__(self, gradient: torch.Tensor) -> None:
        self.short = len(gradient) <= LONGEST_SIDE
        if self.short:
            self.mean = gradient @ gradient.T
            self.basis = torch.linalg.eigh(self.mean).eigenvectors

    def turn(self, rows: torch.Tensor) -> torch.Tensor:
        return self.basis.T @ rows if self.short else rows

    def turn_back(self, rows: torch.Tensor) -> torch.Tensor:
        return self.basis @ rows if self.short else rows

    def follow(self, gradient: torch.Tensor, renew: bool) -> None:
        """Take note of a gradient, and renew the eigenvectors if it is time."""
        if self.short:
            self.mean.lerp_(gradient @ gradient.T, 1 - SHAMPOO_DECAY)
            if renew:
                self.basis = torch.linalg.eigh(self.mean).eigenvectors
