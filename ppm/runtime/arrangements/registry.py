"""The arrangements by the names that banks have for them."""

from ppm.errors import ModelError
from ppm.runtime.arrangements.base import Arrangement
from ppm.runtime.arrangements.isolated import Isolated
from ppm.runtime.arrangements.joined import Joined
from ppm.runtime.arrangements.routed import Routed

__all__ = ["find_arrangement"]

_ARRANGEMENTS: dict[str, Arrangement] = {
    arrangement.name: arrangement for arrangement in (Joined(), Isolated(), Routed())
}


def find_arrangement(name: str) -> Arrangement:
    """The arrangement of a name. Raises ModelError for one that this version of ppm can't run."""
    if name not in _ARRANGEMENTS:
        raise ModelError(f"this version of ppm can't run banks that are {name}", hint="upgrade ppm")
    return _ARRANGEMENTS[name]
