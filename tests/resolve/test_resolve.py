"""Requirements -> pins, and what is said when there are none."""

import subprocess
import sys
from datetime import UTC, datetime

import pytest
from asking import failure, pins, run
from packages import FINGERPRINT
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from releases import OTHER_FINGERPRINT, make_release

from ppm.errors import IntegrityError, PpmError, RequestError
from ppm.resolve import Rules, parse_requirement
from ppm.resolve.check import check
from ppm.resolve.universe import Universe
from ppm.sources import Listing


def test_a_requirement_is_a_name_and_versions():
    requirement = parse_requirement(" Gender_Bias >= 1, < 2 ")
    assert requirement.name == "gender-bias"
    assert requirement.specifier == SpecifierSet(">=1,<2")
    assert requirement.text == "Gender_Bias >= 1, < 2"
    assert str(parse_requirement("toxicity").specifier) == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not a requirement"),
        ("toxicity=1", "'toxicity=1' is not a requirement"),
        ("toxicity>=one", "'toxicity>=one' is not a requirement"),
        ("-r file", "'-r file' is not a requirement"),
        ("toxicity[extra]", "'toxicity[extra]' has extras, which patches don't have"),
        ("toxicity; python_version>'3'", "has a marker, which"),
        ("toxicity @ https://example.org/x.ppm", "has a URL, which"),
        ("a" * 101, "is not a requirement"),
    ],
)
def test_anything_else_is_refused(text, message):
    with pytest.raises(RequestError) as caught:
        parse_requirement(text)
    assert message in caught.value.message
    assert caught.value.hint == "write a name and, if you like, versions, such as 'toxicity>=1,<2'"


def test_the_newest_version_that_fits_is_taken():
    releases = [make_release("a", version) for version in ("1.0", "1.10", "1.9", "2.0")]
    assert pins("a", releases) == "a==2.0"
    assert pins("a<2", releases) == "a==1.10"
    assert pins("a~=1.0 a!=1.10", releases) == "a==1.9"
    assert pins("", releases) == ""


def test_what_is_deployed_stays_if_it_fits():
    releases = [make_release("a", version) for version in ("1.0", "2.0", "2.1rc1")]
    assert pins("a", releases, {"a": "1.0"}) == "a==1.0"
    assert pins("a>=2", releases, {"a": "1.0"}) == "a==2.0"
    assert pins("a", releases, {"a": "2.1rc1"}) == "a==2.1rc1"
    assert pins("a", releases, {"a": "3.0"}) == "a==2.0"


def test_prereleases_need_to_be_asked_for_unless_there_is_nothing_else():
    releases = [make_release("a", "1.0"), make_release("a", "2.0rc1"), make_release("b", "1.0", {"a": ">=1"})]
    assert pins("a", releases) == "a==1.0"
    assert pins("a>=2.0rc1 b", releases) == "a==2.0rc1 b==1.0"
    assert pins("a", [make_release("a", "2.0rc1"), make_release("a", "2.0b1")]) == "a==2.0rc1"
    text = failure("a>1.5", releases)
    assert text.splitlines() == [
        "You asked for a>1.5.",
        "No version of a for acme/tiny fits a>1.5.",
        "a exists in version 1.0.",
        "a 2.0rc1 is a pre-release, and those are used only when asked for.",
        "hint: to accept the pre-release, ask for a==2.0rc1",
    ]
    assert pins("a==2.0rc1", releases) == "a==2.0rc1"


def test_dependencies_come_before_dependents_and_know_who_needs_them():
    releases = [
        make_release("app", "1.0", {"lib": ">=1", "core": "*"}),
        make_release("lib", "1.0", {"core": "<2"}),
        make_release("core", "1.0"),
        make_release("core", "2.0"),
        make_release("unrelated", "1.0"),
    ]
    resolution = run("app", releases)
    assert [(p.release.pin, p.requested, p.required_by) for p in resolution.pins] == [
        ("core==1.0", False, ("app", "lib")),
        ("lib==1.0", False, ("app",)),
        ("app==1.0", True, ()),
    ]


def test_cycles_are_legal():
    releases = [
        make_release("a", "1.0", {"b": ">=1"}),
        make_release("b", "1.0", {"c": "*"}),
        make_release("c", "1.0", {"a": "==1.0", "c": "*"}),
        make_release("z", "1.0", {"b": "*"}),
    ]
    assert pins("z", releases) == "a==1.0 b==1.0 c==1.0 z==1.0"


def test_the_order_of_candidates_makes_no_difference():
    releases = [make_release(n, v, provides=("any",) if n > "b" else ()) for n in "abcd" for v in ("1.0", "2.0")]
    assert pins("any a", releases) == pins("any a", releases[::-1]) == "a==2.0 c==2.0"


def test_an_older_version_is_taken_when_the_newest_does_not_fit():
    releases = [
        make_release("a", "2.0", {"core": ">=2"}),
        make_release("a", "1.0", {"core": ">=1"}),
        make_release("b", "1.0", {"core": "<2"}),
        make_release("core", "1.0"),
        make_release("core", "2.0"),
    ]
    assert pins("a b", releases) == "core==1.0 a==1.0 b==1.0"


def test_a_clash_of_dependencies_is_told_from_the_request_down():
    releases = [
        make_release("toxicity", "1.0.0", {"core": "<2"}),
        make_release("toxicity", "2.0.0", {"core": ">=2"}),
        make_release("toxicity", "2.1.0", {"core": ">=2"}),
        make_release("gender-bias", "1.0.0", {"core": "<2"}),
        make_release("gender-bias", "1.1.0", {"core": "<2"}),
        *(make_release("core", version) for version in ("1.0.0", "2.0.0", "3.0.0")),
    ]
    assert failure("toxicity>=2 gender-bias", releases).splitlines() == [
        "You asked for toxicity>=2 and gender-bias.",
        "toxicity exists in versions 1.0.0, 2.0.0 and 2.1.0.",
        "toxicity 2.0.0 and 2.1.0 need core>=2.",
        "Every version of gender-bias (1.0.0 and 1.1.0) needs core<2.",
        "core exists in versions 1.0.0, 2.0.0 and 3.0.0.",
        "hint: ask for toxicity instead of toxicity>=2, which gives toxicity 1.0.0",
    ]
    assert pins("toxicity gender-bias", releases) == "core==1.0.0 gender-bias==1.1.0 toxicity==1.0.0"


def test_when_nothing_can_be_loosened_one_has_to_go():
    releases = [
        make_release("a", "1.0", {"middle": "*"}),
        make_release("middle", "1.0", {"core": ">=2"}),
        make_release("b", "1.0", {"core": "<2"}),
        make_release("core", "1.0"),
        make_release("core", "2.0"),
    ]
    assert failure("a b", releases).splitlines() == [
        "You asked for a and b.",
        "a 1.0, the only version, needs middle.",
        "b 1.0, the only version, needs core<2.",
        "middle 1.0, the only version, needs core>=2.",
        "core exists in versions 1.0 and 2.0.",
        "hint: leave out b, or install it into its own environment with --env NAME",
    ]
    assert pins("a", releases) == "core==2.0 middle==1.0 a==1.0"


def test_two_requirements_on_one_name_that_exclude_each_other():
    releases = [make_release("a", "1.0"), make_release("a", "2.0")]
    assert failure("a>=2 a<2", releases).splitlines() == [
        "You asked for a>=2 and a<2.",
        "a exists in versions 1.0 and 2.0.",
        "hint: ask for a instead of a>=2, which gives a 1.0",
    ]


def test_many_versions_are_folded():
    releases = [make_release("a", f"1.{minor}") for minor in range(20)]
    assert failure("a>=2,!=2.5", releases).splitlines() == [
        "You asked for a>=2,!=2.5.",
        "No version of a for acme/tiny fits a>=2,!=2.5.",
        "a exists in versions 1.0 to 1.19.",
        "hint: ask for a instead of a>=2,!=2.5, which gives a 1.19",
    ]


def test_a_typo_is_named():
    assert failure("toxicty", [make_release("toxicity", "1.0")]).splitlines() == [
        "You asked for toxicty.",
        "No source has a patch called toxicty.",
        "hint: did you mean 'toxicity'?",
    ]
    assert failure("zzz", [make_release("toxicity", "1.0")]).splitlines() == [
        "You asked for zzz.",
        "No source has a patch called zzz.",
        "hint: check the name, or add the source that has zzz with --find-links DIR",
    ]


def test_a_dependency_that_no_source_has():
    assert failure("a", [make_release("a", "1.0", {"core": ">=2"})]).splitlines() == [
        "You asked for a.",
        "a 1.0, the only version, needs core>=2.",
        "No source has a patch called core.",
        "hint: add the source that has core with --find-links DIR",
    ]


def test_a_damaged_file_is_mentioned_only_where_it_matters():
    problems = {"core": ["core.ppm: is not a whole package file"], "other": ["other.ppm: is damaged"]}
    releases = [make_release("a", "1.0", {"core": ">=2"})]
    assert failure("a", releases, problems=problems).splitlines() == [
        "You asked for a.",
        "a 1.0, the only version, needs core>=2.",
        "A file of core can't be used: core.ppm: is not a whole package file.",
        "hint: replace the damaged file of core: fetch it again from its vendor",
    ]
    assert "hint: replace the damaged file of other" in failure("other", releases, problems=problems)


def test_versions_for_another_base_model_are_not_used_but_named():
    other = {"fingerprint": OTHER_FINGERPRINT, "model": "meta-llama/Llama-2-7b-hf"}
    releases = [
        make_release("a", "1.0"),
        make_release("a", "2.0", **other),
        make_release("b", "1.0", **other),
        make_release("b", "1.1", **other),
    ]
    assert pins("a", releases) == "a==1.0"
    assert failure("a>=2", releases).splitlines() == [
        "You asked for a>=2.",
        "No version of a for acme/tiny fits a>=2.",
        "a exists in version 1.0.",
        "a 2.0 exists, but for another base model (llama-2-7b-hf-ffffffffffff).",
        "hint: ask for a instead of a>=2, which gives a 1.0",
    ]
    assert failure("b a", releases).splitlines() == [
        "You asked for b.",
        "b 1.0 and 1.1 exist, but for another base model (llama-2-7b-hf-ffffffffffff).",
        "hint: choose the base model meta-llama/Llama-2-7b-hf with --base, "
        "move its package file there: ppm rebase FILE --onto acme/tiny --output DIR, "
        "or build b for acme/tiny from its source: "
        "ppm build MANIFEST --base acme/tiny --output DIR (docs/build-a-patch.md)",
    ]


def test_a_conflict_binds_both_sides():
    releases = [
        make_release("a", "1.0"),
        make_release("a", "2.0", conflicts={"b": "<2"}),
        make_release("b", "1.0"),
        make_release("c", "1.0", {"a": ">=2"}),
    ]
    assert pins("a b", releases) == "a==1.0 b==1.0"
    assert pins("b a", releases) == "a==1.0 b==1.0"
    assert failure("b c", releases).splitlines() == [
        "You asked for b and c.",
        "b exists in version 1.0.",
        "c 1.0, the only version, needs a>=2.",
        "a exists in versions 1.0 and 2.0.",
        "a 2.0 conflicts with b<2.",
        "hint: leave out c, or install it into its own environment with --env NAME",
    ]
    assert pins("b", releases) == "b==1.0"


def test_a_virtual_name_is_met_by_any_provider_and_the_real_one_first():
    releases = [
        make_release("strict", "1.0", provides=("refusal",)),
        make_release("mild", "1.0", provides=("refusal",)),
        make_release("app", "1.0", {"refusal": "*"}),
    ]
    assert pins("app", releases) == "mild==1.0 app==1.0"
    assert pins("app strict", releases) == "strict==1.0 app==1.0"
    assert pins("app", releases, {"strict": "1.0"}) == "strict==1.0 app==1.0"
    real = make_release("refusal", "1.0")
    assert pins("app", [*releases, real]) == "refusal==1.0 app==1.0"
    resolution = run("refusal app", releases)
    assert [(p.release.name, p.requested, p.required_by) for p in resolution.pins] == [
        ("mild", True, ("app",)),
        ("app", True, ()),
    ]


def test_a_version_of_a_virtual_name_needs_the_real_patch():
    releases = [make_release("strict", "1.0", provides=("refusal",))]
    assert failure("refusal>=1", releases).splitlines() == [
        "You asked for refusal>=1.",
        "refusal is provided by strict 1.0.",
        "A requirement with a version of refusal can only be met by a patch of that name.",
        "hint: ask for refusal instead of refusal>=1, which gives strict 1.0",
    ]
    assert pins("refusal>=1", [*releases, make_release("refusal", "1.5")]) == "refusal==1.5"


def test_providers_that_conflict_with_the_name_they_provide_exclude_each_other():
    releases = [
        make_release(name, "1.0", conflicts={"refusal": "*"}, provides=("refusal",)) for name in ("mild", "strict")
    ]
    assert pins("refusal", releases) == "mild==1.0"
    assert failure("mild strict", releases).splitlines() == [
        "You asked for mild and strict.",
        "mild 1.0, the only version, conflicts with refusal, which strict 1.0 provides.",
        "hint: leave out strict, or install it into its own environment with --env NAME",
    ]


def test_no_provider_fits():
    releases = [
        make_release("mild", "1.0", {"core": ">=2"}, provides=("refusal",)),
        make_release("strict", "1.0", conflicts={"app": "*"}, provides=("refusal",)),
        make_release("app", "1.0", {"refusal": "*", "core": "<2"}),
        make_release("core", "1.0"),
        make_release("core", "2.0"),
    ]
    assert failure("app", releases).splitlines() == [
        "You asked for app.",
        "app 1.0, the only version, needs core<2 and refusal.",
        "core exists in versions 1.0 and 2.0.",
        "refusal is provided by mild 1.0 and strict 1.0.",
        "mild 1.0, the only version, needs core>=2.",
        "strict 1.0, the only version, conflicts with app.",
        "hint: no single change to the request is enough; ask the vendors of app, mild and strict "
        "for versions that fit together",
    ]


def test_a_replacement_stands_for_the_old_name_and_rules_it_out():
    releases = [
        make_release("toxicity-ng", "1.0", replaces={"toxicity": "<2"}),
        make_release("toxicity", "1.0"),
        make_release("app", "1.0", {"toxicity": "*"}),
    ]
    assert pins("app toxicity-ng", releases) == "toxicity-ng==1.0 app==1.0"
    assert pins("app toxicity-ng", [*releases, make_release("toxicity", "2.0")]) == "toxicity-ng==1.0 app==1.0"
    assert failure("toxicity==1.0 toxicity-ng", releases).splitlines() == [
        "You asked for toxicity==1.0 and toxicity-ng.",
        "toxicity exists in version 1.0.",
        "toxicity-ng 1.0, the only version, replaces toxicity<2.",
        "hint: ask for toxicity instead of toxicity==1.0, which gives toxicity-ng 1.0",
    ]
    assert pins("toxicity toxicity-ng", releases) == "toxicity-ng==1.0"


def test_local_versions_are_later_than_the_public_one_and_fit_its_pin():
    releases = [make_release("a", "1.0"), make_release("a", "1.0+site.2")]
    assert pins("a", releases) == "a==1.0+site.2"
    assert pins("a==1.0", releases) == "a==1.0+site.2"
    assert pins("a==1.0+site.2", releases) == "a==1.0+site.2"


def test_a_yanked_version_is_taken_only_when_pinned_or_deployed():
    releases = [make_release("a", "1.0"), make_release("a", "2.0", yanked="breaks refusals")]
    releases += [make_release("app", "1.0", {"a": ">=2"})]
    assert pins("a", releases) == "a==1.0"
    assert pins("a==2.0", releases) == "a==2.0"
    assert pins("app a==2.0", releases) == "a==2.0 app==1.0"
    assert pins("a", releases, {"a": "2.0"}) == "a==2.0"
    assert failure("a>=2", releases).splitlines() == [
        "You asked for a>=2.",
        "No version of a for acme/tiny fits a>=2.",
        "a exists in version 1.0.",
        "a 2.0 was yanked (breaks refusals), and is used only when asked for as a==2.0.",
        "hint: to accept the yanked version, ask for a==2.0",
    ]
    assert "hint: to accept the yanked version, ask for a==2.0" in failure("app", releases)


def test_constraints_limit_what_is_needed_and_ask_for_nothing():
    releases = [make_release("a", "1.0"), make_release("a", "2.0"), make_release("b", "1.0", {"a": "*"})]
    rules = {"constraints": [parse_requirement("a<2", "limits.txt"), parse_requirement("other==1", "limits.txt")]}
    assert pins("b", releases, **rules) == "a==1.0 b==1.0"
    assert failure("a>=2", releases, **rules).splitlines() == [
        "You asked for a>=2.",
        "No version of a for acme/tiny fits a>=2.",
        "a exists in version 1.0.",
        "a 2.0 is kept out by limits.txt, which allows only a<2.",
        "hint: ask for a instead of a>=2, which gives a 1.0",
    ]
    needy = [*releases, make_release("c", "1.0", {"a": ">=2"})]
    assert failure("c", needy, **rules).splitlines()[-1] == "hint: remove a<2 from limits.txt"


def test_a_held_patch_stays_and_says_so():
    releases = [make_release("a", "1.0"), make_release("a", "2.0"), make_release("b", "1.0", {"a": ">=2"})]
    rules = {"deployed": {"a": "1.0"}, "held": frozenset({"a", "gone"})}
    assert pins("a", releases, raised=["a"], **rules) == "a==1.0"
    explanation = failure("a b", releases, **rules).splitlines()
    assert "a 2.0 is kept out by a hold, which allows only a 1.0." in explanation
    assert explanation[-1] == "hint: let it change: ppm unhold a"
    assert pins("", releases, **rules) == "a==1.0"
    assert failure("b", [*releases, make_release("a", "1.5")], **rules).splitlines() == [
        "You asked for b.",
        "a is held at 1.0.",
        "b 1.0, the only version, needs a>=2.",
        "a exists in versions 1.0, 1.5 and 2.0.",
        "a 2.0 is kept out by a hold, which allows only a 1.0.",
        "hint: let it change: ppm unhold a",
    ]


def test_overrides_take_the_place_of_what_dependencies_ask():
    releases = [make_release("a", "1.0", {"core": "<2"}), make_release("core", "2.0")]
    assert pins("a", releases, overrides=[parse_requirement("core", "over.txt")]) == "core==2.0 a==1.0"
    explanation = failure("a", releases, overrides=[parse_requirement("core>=3", "over.txt")])
    assert "over.txt overrides what patches require of core with core>=3." in explanation


def test_a_recorded_override_is_for_what_was_chosen_by_it():
    releases = [make_release("core", version) for version in ("1.0", "2.3", "2.5")]
    releases += [make_release("a", "1.0", {"core": "<2"}), make_release("b", "1.0", {"core": ">=2.5"})]
    releases += [make_release("a", "1.1", {"core": "<2"}), make_release("y", "1.0", {"core": "<2.4"})]
    recorded = [parse_requirement("core>=2", "what is deployed")]
    there = {"a": "1.0", "b": "1.0", "core": "2.5"}
    assert pins("a b", releases, there, recorded=recorded) == "core==2.5 a==1.0 b==1.0"
    assert "b 1.0, the only version, needs core>=2.5." in failure("a b y", releases, deployed=there, recorded=recorded)
    assert pins("a", releases, {"a": "1.0", "core": "2.5"}, recorded=recorded) == "core==2.5 a==1.0"
    failed = failure("a==1.1 core==2.5", releases, deployed={"a": "1.0", "core": "2.5"}, recorded=recorded)
    assert "The deployed patches override what they require of core with core>=2." in failed
    both = run("a", releases, {"a": "1.0", "core": "2.5"}, recorded=[*recorded, parse_requirement("other==1")])
    assert [requirement.text for requirement in both.overrides] == ["core>=2"]


def test_nothing_newer_than_a_date_is_taken():
    days = {f"{i}.0": datetime(2026, i, 1, tzinfo=UTC) for i in (1, 2, 3)}
    releases = [make_release("a", version, published=day) for version, day in days.items()]
    releases += [make_release("a", "9.0"), make_release("b", "1.0")]
    limit = datetime(2026, 2, 15, tzinfo=UTC)
    assert pins("a", releases, exclude_newer=limit) == "a==2.0"
    assert pins("a", releases, {"a": "9.0"}, exclude_newer=limit) == "a==9.0"
    assert failure("a>=3", releases, exclude_newer=limit).splitlines()[-3:] == [
        "a 3.0 was published on 2026-03-01, and nothing after 2026-02-15 is allowed.",
        "a 9.0 has no known date, and nothing after 2026-02-15 is allowed.",
        "hint: ask for a instead of a>=3, which gives a 2.0",
    ]
    assert (
        failure("b", releases, exclude_newer=limit).splitlines()[-1]
        == "hint: allow what was published after 2026-02-15"
    )


def test_what_is_deployed_changes_only_where_it_must():
    releases = [make_release("core", v) for v in ("1.0", "2.0", "3.0")]
    releases += [make_release("a", "1.0", {"core": "*"}), make_release("a", "2.0", {"core": ">=2"})]
    releases += [make_release("b", "1.0", {"core": ">=2"})]
    deployed = {"core": "1.0", "a": "1.0"}
    assert pins("a b", releases, deployed) == "core==3.0 a==1.0 b==1.0"
    # An older version of what is new, rather than another one of what is deployed.
    assert pins("a", releases, {"core": "1.0"}) == "core==1.0 a==1.0"
    assert pins("a>=2", releases, {"core": "1.0"}) == "core==3.0 a==2.0"


def test_an_upgrade_raises_what_it_names_and_the_rest_only_if_needed():
    releases = [make_release("core", v) for v in ("1.0", "2.0", "3.0")]
    releases += [make_release("a", v, {"core": f">={v},<3"}) for v in ("1.0", "2.0")]
    releases += [make_release("b", v) for v in ("1.0", "2.0")]
    deployed = {"core": "1.0", "a": "1.0", "b": "1.0"}
    assert pins("a b", releases, deployed) == "b==1.0 core==1.0 a==1.0"
    assert pins("a b", releases, deployed, raised=["b"]) == "b==2.0 core==1.0 a==1.0"
    assert pins("a b", releases, deployed, raised=["a"]) == "b==1.0 core==2.0 a==2.0"
    assert pins("a b", releases, deployed, raised=["a", "b", "core"]) == "b==2.0 core==2.0 a==2.0"


def test_what_nothing_needs_stays_where_it_can_and_is_in_nobody_s_way():
    releases = [make_release("app", "1"), make_release("app", "2", conflicts={"old": "*"})]
    releases += [
        make_release("old", "1"),
        make_release("old", "2"),
        make_release("other", "1", provides=("old",)),
    ]
    deployed = {"app": "1", "old": "1"}
    assert pins("app", releases, deployed, kept=["app", "old"]) == "app==1 old==1"
    assert pins("app", releases, deployed, raised=["app"], kept=["app", "old"]) == "app==2"
    new = [*releases, make_release("new", "1", conflicts={"old": "<2"})]
    assert pins("app new", new, deployed, kept=["app", "old"]) == "app==1 new==1 old==2"


def test_what_nothing_needs_changes_before_it_vanishes():
    releases = [make_release("left", "1.0"), make_release("left", "1.1")]
    releases += [make_release("new", "1.0", {}, {"left": "<1.1"}), make_release("bad", "1.0", {}, {"left": "*"})]
    assert pins("new", releases, {"left": "1.0"}, kept=["left"]) == "left==1.1 new==1.0"
    assert pins("bad", releases, {"left": "1.0"}, kept=["left"]) == "bad==1.0"
    assert pins("new", releases, {"left": "1.0"}, kept=["left"], raised=["left"]) == "left==1.1 new==1.0"


def test_an_upgrade_does_not_swap_a_patch_for_another_that_stands_for_it():
    releases = [
        make_release("a", "1.0"),
        make_release("a", "2.0", conflicts={"b": "*"}),
        make_release("b", "1.0"),
    ]
    releases += [make_release("c", "1.0", provides=("a",))]
    assert pins("a b", releases, {"a": "1.0", "b": "1.0"}, raised=["a"]) == "a==1.0 b==1.0"


def test_a_yanked_local_version_gives_way_to_a_good_one_that_a_pin_lets_in():
    site = make_release("a", "1.0+site", yanked="")
    assert pins("a==1.0", [site, make_release("a", "1.0")]) == "a==1.0"
    assert pins("a==1.0", [site]) == "a==1.0+site"
    assert pins("a==1.0+site", [site, make_release("a", "1.0")]) == "a==1.0+site"
    limits = [parse_requirement("a!=1.0", "limits.txt")]
    assert pins("a", [make_release("a", "1.0", yanked=""), make_release("a", "0.9")], constraints=limits) == "a==0.9"


def test_another_file_of_a_deployed_version_needs_a_version_of_its_own():
    copies = [make_release("a", "1.0", source="the deployed patches"), make_release("a", "1.0", content="other")]
    with pytest.raises(IntegrityError, match="different contents") as caught:
        run("a", copies, {"a": "1.0"})
    assert caught.value.hint == "a changed patch needs a new version; to use it as it is, uninstall a first"


def test_the_same_file_in_two_sources_is_as_old_as_the_older_and_yanked_where_it_is_in_either():
    early, late = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 9, 1, tzinfo=UTC)
    limit = datetime(2026, 2, 1, tzinfo=UTC)
    newest = make_release("a", "2.0rc1", published=early)
    copies = [make_release("a", "1.0", source=s, published=p) for s, p in (("x", late), ("y", early))]
    for twins in (copies, copies[::-1]):
        assert pins("a", [*twins, newest], exclude_newer=limit) == "a==1.0"
    copies = [make_release("a", "1.0", source=s, yanked=y) for s, y in (("x", "broken"), ("y", None))]
    for twins in (copies, copies[::-1]):
        assert pins("a", [*twins, newest]) == "a==2.0rc1"
        assert "a 1.0 was yanked (broken)" in failure("a<2", twins)


def test_the_same_file_in_two_sources_is_one_and_unequal_files_are_refused():
    twins = [make_release("a", "1.0", source="one"), make_release("a", "1.0", source="two")]
    assert run("a", twins).pins[0].release.source == "one"
    unequal = [twins[0], make_release("a", "1.0", source="two", content="changed")]
    with pytest.raises(IntegrityError, match=r"two files of a==1\.0 have different contents") as caught:
        run("a", unequal)
    for source in ("one", "two"):
        assert f"a-1.0-tiny_0123456789ab.ppm in {source} (SHA-256 " in caught.value.message
    assert pins("b", [*unequal, make_release("b", "1.0")]) == "b==1.0"


def test_a_wrong_solution_would_be_noticed():
    wrong = {"a": make_release("a", "1.0", {"b": ">=2"}, {"c": "*"}), "b": make_release("b", "1.0")}
    wrong["c"] = make_release("c", "1.0", fingerprint=OTHER_FINGERPRINT)
    with pytest.raises(PpmError) as caught:
        check(wrong, [parse_requirement("d")], Universe(Listing(()), FINGERPRINT, Rules()))
    for fault in ("nothing satisfies d", "satisfies b>=2, which a==1.0", "a==1.0 conflicts with c", "c==1.0 does not"):
        assert fault in caught.value.message
    assert "bug in ppm" in caught.value.hint


def test_a_version_that_may_not_be_taken_would_be_noticed():
    late, early = datetime(2026, 3, 1, tzinfo=UTC), make_release("d", "2.0rc1")
    chosen = {
        "a": make_release("a", "1.0", yanked=""),
        "b": make_release("b", "1.0", published=late),
        "c": make_release("c", "1.0", published=late),
        "d": early,
    }
    offer = Listing([early, make_release("d", "1.0", published=datetime(2026, 1, 1, tzinfo=UTC))])
    rules = Rules(
        {"c": Version("1.0")},
        [parse_requirement("b>1", "limits.txt")],
        exclude_newer=datetime(2026, 2, 1, tzinfo=UTC),
    )
    with pytest.raises(PpmError) as caught:
        check(chosen, [parse_requirement("a>=1")], Universe(offer, FINGERPRINT, rules))
    assert caught.value.message.partition(": ")[2].split("; ") == [
        "a==1.0 was yanked, and is used only when asked for as a==1.0",
        "a==1.0 has no known date, and nothing after 2026-02-01 is allowed",
        "b==1.0 is kept out by limits.txt, which allows only b>1",
        "b==1.0 was published on 2026-03-01, and nothing after 2026-02-01 is allowed",
        "d==2.0rc1 has no known date, and nothing after 2026-02-01 is allowed",
        "d==2.0rc1 is a pre-release",
    ]
    pinned = [parse_requirement(text) for text in ("a==1.0", "d>=2.0rc1")]
    check({"a": chosen["a"], "d": early}, pinned, Universe(offer, FINGERPRINT, Rules()))


def test_importing_it_loads_nothing_heavy():
    heavy = "torch", "transformers", "networkx", "nab_resolver", "numpy"
    program = f"import sys, ppm.resolve; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
