"""The trail of a deployment as plain data: how its files were checked, and the advisories on them."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import TypedDict

from ppm.environment.trail import Check, Noted

__all__ = ["Advised", "Checked", "advised", "checked"]


class Checked(TypedDict):
    """How a file was checked; what is about its publisher's signature is None where its SHA-256 alone was checked.

    `key` is the id of the publisher's key, or of the `identity` that it signed as, and `root` the fingerprint of the
    index's root.
    """

    at: str
    source: str
    publisher: str | None
    key: str | None
    identity: str | None
    statement: str | None
    index: str | None
    root: str | None
    root_version: int | None
    timestamp_version: int | None


class Advised(TypedDict):
    """An advisory that was in force on a patch; `by`, `at` and `reason` are None where nobody had to accept it."""

    id: str
    patch: str
    summary: str
    by: str | None
    at: str | None
    reason: str | None


def checked(check: Check) -> Checked:
    """How a file was checked."""
    signed = asdict(check.signed) if check.signed is not None else {}
    return {
        "at": check.at,
        "source": check.source,
        "publisher": signed.get("publisher"),
        "key": signed.get("key"),
        "identity": signed.get("identity"),
        "statement": signed.get("statement"),
        "index": signed.get("index"),
        "root": signed.get("root"),
        "root_version": signed.get("root_version"),
        "timestamp_version": signed.get("timestamp_version"),
    }


def advised(found: Iterable[Noted]) -> list[Advised]:
    """Advisories that were in force."""
    return [
        {
            "id": one.id,
            "patch": one.pin,
            "summary": one.summary,
            "by": one.accepted.by if one.accepted else None,
            "at": one.accepted.at if one.accepted else None,
            "reason": one.accepted.reason if one.accepted else None,
        }
        for one in found
    ]
