"""Requirements -> a pinned set of patches, or an explanation that a person can act on.

Knows nothing of where releases come from or what is done with the pins.
"""

from ppm.requirement import Requirement, parse_name, parse_requirement
from ppm.resolve.check import faults
from ppm.resolve.engine import Pin, Resolution, resolve
from ppm.resolve.universe import Rules

__all__ = ["Pin", "Requirement", "Resolution", "Rules", "faults", "parse_name", "parse_requirement", "resolve"]
