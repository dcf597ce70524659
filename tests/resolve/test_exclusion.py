"""Why a release is out, as data: no words of a vendor's or deployer's change what is made of it."""

from datetime import UTC, datetime

import pytest
from asking import failure, pins
from packages import FINGERPRINT
from packaging.version import Version
from releases import OTHER_FINGERPRINT, make_release

from ppm.resolve import Rules, parse_requirement
from ppm.resolve.exclusion import Clash, Constrained, ForAnotherBase, Held, PreRelease, TooNew, Undated, Yanked, clash
from ppm.resolve.universe import Universe
from ppm.sources import Listing


@pytest.mark.parametrize(
    "reason",
    [
        "is a pre-release; kept out by a hold",
        "kept out by a hold",
        "and those are used only when asked for",
        "conflicts with everything",
        "was published on 2026-01-01, and nothing after 2025-01-01 is allowed",
        "), (",
    ],
)
def test_the_words_of_a_yank_steer_no_hint(reason):
    releases = [make_release("a", "1.0"), make_release("a", "2.0", yanked=reason)]
    lines = failure("a>=2", releases).splitlines()
    assert lines[1:] == [
        "No version of a for acme/tiny fits a>=2.",
        "a exists in version 1.0.",
        f"a 2.0 was yanked ({reason}), and is used only when asked for as a==2.0.",
        "hint: to accept the yanked version, ask for a==2.0",
    ]
    assert pins("a==2.0", releases) == "a==2.0"


@pytest.mark.parametrize("origin", ["a hold", "kept out by a hold", "a pre-release"])
def test_the_name_of_a_file_of_constraints_steers_no_hint(origin):
    releases = [make_release("a", "1.0"), make_release("a", "2.0"), make_release("c", "1.0", {"a": ">=2"})]
    limits = [parse_requirement("a<2", origin)]
    lines = failure("c", releases, constraints=limits).splitlines()
    assert "a exists in version 1.0." in lines
    assert f"a 2.0 is kept out by {origin}, which allows only a<2." in lines
    assert lines[-1] == f"hint: remove a<2 from {origin}"


def test_each_reason_has_a_type():
    limit, late = datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)
    below = parse_requirement("a<9", "limits.txt")
    early = datetime(2026, 1, 1, tzinfo=UTC)
    releases = [
        make_release("a", "1.0", published=early),
        make_release("a", "2.0", published=late),
        make_release("a", "3.0"),
        make_release("a", "4.0", published=early, yanked="broken"),
        make_release("a", "5.0b1", published=early),
        make_release("a", "9.0", published=early),
        make_release("a", "10.0", fingerprint=OTHER_FINGERPRINT),
        make_release("b", "1.0"),
        make_release("b", "2.0"),
    ]
    rules = Rules({"b": Version("1.0")}, [below], exclude_newer=limit, held=frozenset("b"))
    universe = Universe(Listing(releases), FINGERPRINT, rules)
    reasons = {str(universe.versions("a")[i].version): reason for i, reason in universe.left_out("a").items()}
    assert reasons == {
        "2.0": TooNew(late, limit),
        "3.0": Undated(limit),
        "4.0": Yanked("broken"),
        "5.0b1": PreRelease(),
        "9.0": Constrained(below),
    }
    assert universe.left_out("b") == {1: Held(Version("1.0"))}
    [(elsewhere, others)] = universe.for_another_base("a").items()
    assert elsewhere == ForAnotherBase(releases[6].base_tag, "acme/tiny", None)
    assert [str(release.version) for release in others] == ["10.0"]


def test_how_one_patch_rules_another_out_has_a_type():
    one = make_release("one", "1.0", conflicts={"other": "<2", "any": "*"}, replaces={"old": ">=1"})
    assert clash(one, make_release("other", "1.0")) == Clash("conflicts", one.conflicts["other"])
    assert clash(one, make_release("other", "2.0")) is None
    assert clash(one, make_release("old", "1.0")) == Clash("replaces", one.replaces["old"])
    assert clash(one, make_release("new", "1.0", provides=("any",))) == Clash("conflicts", one.conflicts["any"], "new")
    assert clash(make_release("other", "1.0"), one) is None
    assert clash(one, one) is None
