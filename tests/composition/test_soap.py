"""SOAP: it is Adam up to a rotation, and faster than Adam where the axes are not those of the loss."""

import pytest
import torch

from ppm.composition import soap
from ppm.composition.soap import Soap


def problem(seed=0, rows=6, columns=10):
    """A quadratic of a matrix with curvatures from 1 to 10,000 along axes of its own: (start, loss)."""
    generator = torch.Generator().manual_seed(seed)
    left, _ = torch.linalg.qr(torch.randn(rows, rows, generator=generator))
    right, _ = torch.linalg.qr(torch.randn(columns, columns, generator=generator))
    curvature = torch.logspace(0, 2, rows)[:, None] * torch.logspace(0, 2, columns)[None, :]
    goal = torch.randn(rows, columns, generator=generator)
    return torch.zeros(rows, columns), lambda x: (curvature * (left @ (x - goal) @ right).square()).mean()


def minimise(optimizer, x, loss, steps):
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * (1 - step / steps)
        optimizer.zero_grad()
        found = loss(x)
        found.backward()
        optimizer.step()
    return float(loss(x).detach())


@pytest.mark.parametrize("seed", range(3))
def test_it_ends_lower_than_adam_where_axes_are_turned(seed):
    start, loss = problem(seed)
    ours, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    found = minimise(Soap([ours], lr=0.1), ours, loss, 300)
    assert found < 0.3 * minimise(torch.optim.Adam([theirs], lr=0.1, betas=(0.9, 0.97)), theirs, loss, 300)


def test_sides_that_are_too_long_keep_their_axes(monkeypatch):
    monkeypatch.setattr(soap, "LONGEST_SIDE", 4)
    start, loss = problem()
    ours, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    found = minimise(Soap([ours], lr=0.1), ours, loss, 40)
    adam = minimise(torch.optim.Adam([theirs], lr=0.1, betas=(0.9, 0.97)), theirs, loss, 40)
    assert found == pytest.approx(adam, rel=1e-3)  # but for quotients above 1, which are cut
    assert found < 0.1 * float(loss(start))


def test_turning_the_problem_turns_the_path():
    generator = torch.Generator().manual_seed(1)
    goal, weights = torch.rand(2, 8, 8, generator=generator, dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(8, 8, generator=generator, dtype=torch.float64))
    plain, turned = (torch.zeros(8, 8, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def loss(x):
        return (weights * (x - goal)).square().sum()

    minimise(Soap([plain], lr=0.1), plain, loss, 30)
    minimise(Soap([turned], lr=0.1), turned, lambda x: loss(x @ turn.T), 30)
    assert (plain @ turn).detach().allclose(turned.detach(), atol=1e-6)
