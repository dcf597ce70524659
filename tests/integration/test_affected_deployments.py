"""`ppm check` and `ppm audit` know the verdicts of `ppm advisories` that are kept, without a network and an index."""

from dataclasses import replace

import pytest
from commands import ppm

from ppm.environment.advised import Judged, keep_verdicts
from ppm.environment.deployment import Environment


def judged(home, **settings):
    """A verdict on the first of the deployed patches."""
    [environment] = Environment.all(home)
    lock = environment.current().lock
    package = lock.packages[0]
    found = Judged(
        id="ACME-2026-1",
        advisory="0" * 64,
        composition=lock.composition.sha256,
        name=package.name,
        version=package.version,
        verdict="affected",
        summary="Insults after praise",
        source="https://patches.example.org/index",
        at="2026-11-28T12:00:00+00:00",
        rate=0.5,
        upper=0.7,
        base_rate=0.5,
        limit=0.05,
        prompts=20,
    )
    return replace(found, **settings)


def test_what_is_affected_is_told_by_check_and_audit(deployed):
    one = judged(deployed, fixed="1.1.0")
    keep_verdicts(deployed, one.composition, [one])
    line = (
        f"{one.pin} is affected by the advisory ACME-2026-1: Insults after praise; next: ppm install "
        f"'{one.name}==1.1.0', which it is not about\n"
    )
    audited = ppm("audit", "--base", "lab", "--json")
    assert (audited.code, audited.json["verdict"]) == (5, "pass")
    assert audited.err.endswith(line)
    checked = ppm("check", "--base", "lab")
    assert (checked.code, checked.out, checked.err) == (5, "", line)
    many = [replace(one, id=f"ACME-2026-{i}", summary="x" * 500) for i in range(1000)]
    keep_verdicts(deployed, one.composition, many)
    checked = ppm("check", "--base", "lab", "--json")
    assert (checked.code, len(checked.json["advisories"])) == (5, 1000)
    assert "1000 advisories affect deployment 1; `ppm advisories` lists them all" in checked.err
    assert len(checked.err) < 5000


@pytest.mark.parametrize("verdict", ["not affected", "unknown"])
def test_other_verdicts_change_nothing(deployed, verdict):
    one = judged(deployed, verdict=verdict)
    keep_verdicts(deployed, one.composition, [one, judged(deployed, composition="1" * 64)])
    for command in ("check", "audit"):
        done = ppm(command, "--base", "lab")
        assert (done.code, "ACME" in done.err) == (0, False), done.err
