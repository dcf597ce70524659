"""Making evidence whole again: what was lost of it is counted, never forgotten."""

from collections.abc import Callable, Iterator

from ppm.disk import disk_errors
from ppm.environment.attempts import ledgers, mend_ledger
from ppm.environment.deployment import AUDIT_FILE, Environment
from ppm.environment.holds import mend_holds
from ppm.environment.transaction import writer
from ppm.errors import PpmError
from ppm.evaluation.results import damaged_entries

__all__ = ["mend"]


def mend(environment: Environment, *, command: str, timeout: float, tell: Callable[[str], None]) -> Iterator[str]:
    """Mend an environment's holds and stored audits, all ledgers and the kept results; says what was done, in words.

    Raises EnvironmentStateError.
    """
    with writer(environment, command=command, timeout=timeout, tell=tell) as held:
        holds = mend_holds(held)
    if holds is not None:
        kept, lost = holds
        yield f"Holds: kept {kept}" + (f", lost {lost}; hold those patches again." if lost else ".")
    for path in ledgers(environment.home):
        attempts = mend_ledger(path)
        if attempts is not None:
            yield f"Attempts: {path.name} counts {attempts}, including those that were lost."
    for number in _put_audits_back(environment):
        yield f"Audits: put the audit of deployment {number} back into the store."
    for path, _ in damaged_entries(environment.home / "cache" / "results"):
        with disk_errors("can't be removed", path):
            path.unlink(missing_ok=True)
        yield f"Results: removed {path.name}; its prompts will be answered again."


def _put_audits_back(environment: Environment) -> Iterator[int]:
    """The deployments whose audit was damaged in the store alone."""
    whole: set[str] = set()
    for number in environment.numbers():
        try:
            deployment = environment.stored(number)
            made, audit = deployment.lock.composition, deployment.read(AUDIT_FILE)
        except PpmError:
            continue
        if made is None or audit is None or made.audit in whole:
            continue
        whole.add(made.audit)
        try:
            environment.store.get(made.audit)
        except PpmError:
            if environment.store.put(audit) == made.audit:
                yield number
