"""The suite of an advisory, ready to run."""

from dataclasses import replace

from ppm.evaluation.suites import LoadedSuite, load_suite
from ppm.index.advisory import PROMPTS_FILE, Advisory

__all__ = ["advised_suite"]


def advised_suite(advisory: Advisory) -> LoadedSuite | None:
    """The prompts that fail, with their judge, as a suite that somebody else wrote; None where they are withheld.

    Raises ManifestError: this ppm has no such judge, or it does not take what it is given.
    """
    failing = advisory.suite
    if failing is None:
        return None
    files = {PROMPTS_FILE: failing.file}
    suite = load_suite(failing.suite, files, origin=advisory.id, owner=min(advisory.names), packaged=True)
    return replace(suite, label=advisory.id)
