"""Routed blocks: a router picks some of them for each prompt, or none."""

from ppm.bank import ArrangementName
from ppm.runtime.arrangements.isolated import Isolated

__all__ = ["Routed"]


class Routed(Isolated):
    """Blocks that stand in front of a prompt where they are picked, isolated from each other."""

    name: ArrangementName = "routed"
