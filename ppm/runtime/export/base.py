"""What an export target is: it writes a bank in a form of its own, or refuses what would not be exact there."""

from pathlib import Path
from typing import Protocol

from ppm.bank import Bank
from ppm.manifest import Placement

__all__ = ["Target"]


class Target(Protocol):
    """A form in which other software reads a bank. What it offers is listed in `ppm.runtime.export.registry`."""

    summary: str
    """One line for lists."""

    def write(self, bank: Bank, placement: Placement, folder: Path) -> list[Path]:
        """Write the bank into a folder, and return the files once they have been read back and compared.

        Raises ModelError for a bank that can't be exact in this form, and EnvironmentStateError where the disk fails.
        """
        ...
