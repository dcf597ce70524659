"""Training on the processes that `accelerate launch` or `torchrun` start: which one does the work not shared."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import PartialState

__all__ = ["first_alone", "is_first", "part", "use_own_device"]

PATIENCE = timedelta(days=7)
"""How long processes wait for the first one, which may ask a teacher for days."""


def is_first() -> bool:
    """Whether this is the process that talks, writes and tests: the first, or the only one."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def first_alone() -> Iterator[None]:
    """The first process runs the block alone; then the others do, and find what it has kept."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        yield
        return
    with _state().main_process_first():
        yield


def part() -> None:
    """The processes go their own ways from here on. One that ends with open connections may abort."""
    import torch.distributed

    if os.environ.get("WORLD_SIZE", "1") != "1" and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def use_own_device() -> None:
    """Make each process's GPU its own, where there are several."""
    import torch

    if torch.cuda.is_available() and "LOCAL_RANK" in os.environ:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))


def _state() -> "PartialState":
    import torch
    from accelerate import PartialState

    on_cpu = not torch.cuda.is_available()
    return PartialState(cpu=on_cpu, timeout=PATIENCE, **({"backend": "gloo"} if on_cpu else {}))
