"""What is said of suites, audits and deployments, and a person's decision to deploy despite one."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Verdict", "Waiver"]

Verdict = Literal["pass", "waived", "fail", "inconclusive", "none"]
"""`waived`: what did not pass was waived. `none`: nothing was there to be tested."""


@dataclass(frozen=True)
class Waiver:
    """A named person's decision to deploy despite a suite.

    `at` is a time in ISO 8601; `digest` says which suite of which patch, as it was. Either is empty where a suite was
    waived that is not known yet.
    """

    suite: str
    reason: str
    by: str
    at: str = ""
    digest: str = ""
