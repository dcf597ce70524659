"""Explanations in good English, for few versions and for many."""

import pytest
from asking import failure, pins
from releases import OTHER_FINGERPRINT, make_release

CORES = [make_release("core", "1.0"), make_release("core", "2.0"), make_release("core", "3.0")]
B = make_release("b", "1.0", {"core": "<2"})


def numbered(count):
    return [f"1.{i}" for i in range(count)]


@pytest.mark.parametrize(
    ("count", "subject", "versions"),
    [
        (1, "a 1.0, the only version,", "version 1.0"),
        (2, "Every version of a (1.0 and 1.1)", "versions 1.0 and 1.1"),
        (6, "Every version of a (1.0, 1.1, 1.2, 1.3, 1.4 and 1.5)", "versions 1.0, 1.1, 1.2, 1.3, 1.4 and 1.5"),
        (12, "Every version of a (1.0 to 1.11)", "versions 1.0 to 1.11"),
        (200, "Every version of a (1.0 to 1.199)", "versions 1.0 to 1.199"),
    ],
)
def test_all_versions_as_a_subject(count, subject, versions):
    releases = [make_release("a", version, {"core": ">=2"}) for version in numbered(count)]
    assert failure("a b", [*releases, B, *CORES]).splitlines() == [
        "You asked for a and b.",
        f"{subject} needs core>=2.",
        "b 1.0, the only version, needs core<2.",
        "core exists in versions 1.0, 2.0 and 3.0.",
        "hint: leave out b, or install it into its own environment with --env NAME",
    ]
    assert f"a exists in {versions}." in failure("a>=2", releases)


@pytest.mark.parametrize(
    ("count", "threes", "rest"),
    [
        (1, "a 1.0 needs core>=3.", None),
        (2, "a 1.0 needs core>=3.", "a 1.1 needs core>=2."),
        (7, "a 1.0, 1.3 and 1.6 need core>=3.", "a 1.1, 1.2, 1.4 and 1.5 need core>=2."),
        (
            12,
            "a 1.0, 1.3, 1.6 and 1.9 need core>=3.",
            "a 1.5, 1.7, 1.8, 1.10, 1.11 and 3 older ones need core>=2.",
        ),
        (
            200,
            "a 1.186, 1.189, 1.192, 1.195, 1.198 and 62 older ones need core>=3.",
            "a 1.193, 1.194, 1.196, 1.197, 1.199 and 128 older ones need core>=2.",
        ),
    ],
)
def test_versions_with_holes(count, threes, rest):
    needs = [{"core": ">=2" if i % 3 else ">=3"} for i in range(count)]
    releases = [make_release("a", version, need) for version, need in zip(numbered(count), needs, strict=True)]
    lines = failure("a>=1 b", [*releases, B, *CORES]).splitlines()
    assert lines[2:-3] == [line for line in (threes, rest) if line]


def test_runs_of_versions_are_ranges():
    versions = numbered(20)
    old, new = versions[:8], versions[9:]
    releases = [make_release("a", version, {"core": ">=2"}) for version in [*old, *new]]
    releases += [make_release("a", versions[8], {"core": ">=3"})]
    lines = failure("a>=1 b", [*releases, B, *CORES]).splitlines()
    assert "a 1.0 to 1.7 and 1.9 to 1.19 need core>=2." in lines
    assert "a 1.8 needs core>=3." in lines


def test_a_range_holds_no_version_that_is_left_out():
    versions = [make_release("a", version) for version in numbered(12)]
    lines = failure("a>=2", [*versions, make_release("a", "1.6rc1")]).splitlines()
    assert lines[2] == "a exists in versions 1.0 to 1.5 and 1.6 to 1.11."


@pytest.mark.parametrize("count", [7, 12, 200])
def test_a_need_of_its_own_for_each_version_is_folded(count):
    releases = [make_release("a", version, {"core": f"=={i + 10}"}) for i, version in enumerate(numbered(count))]
    lines = failure("a b", [*releases, B, *CORES]).splitlines()
    last = count - 1
    assert lines == [
        "You asked for a and b.",
        *(f"a 1.{i} needs core=={i + 10}." for i in range(last - 4, last + 1)),
        f"a {'1.0 and 1.1' if count == 7 else f'1.0 to 1.{last - 5}'} need core too, each in its own way.",
        "b 1.0, the only version, needs core<2.",
        "No version of core for acme/tiny fits core==10, core==11, core==12, core==13, core==14 "
        f"or any of {count - 5} other requirements on core.",
        "core exists in versions 1.0, 2.0 and 3.0.",
        "hint: leave out a",
    ]


@pytest.mark.parametrize(
    ("count", "providing"),
    [
        (1, "p 1.0 provides"),
        (2, "p 1.0 and 1.1 provide"),
        (12, "p 1.0 to 1.11 provide"),
        (200, "p 1.0 to 1.199 provide"),
    ],
)
def test_a_conflict_with_what_many_versions_provide_is_one_sentence(count, providing):
    releases = [make_release("p", version, provides=("any",)) for version in numbered(count)]
    releases += [make_release("a", "1.0", conflicts={"any": "*"})]
    assert (
        failure("a p", releases).splitlines()[1] == f"a 1.0, the only version, conflicts with any, which {providing}."
    )


def test_providers_with_several_versions_are_told_apart():
    releases = [make_release("p", "1.0", {"core": ">=9"}, provides=("any",))]
    releases += [make_release("q", version, {"core": ">=9"}, provides=("any",)) for version in numbered(2)]
    lines = failure("any", [*releases, *CORES]).splitlines()
    assert lines[1] == "any is provided by p 1.0 and q (1.0 and 1.1)."
    assert failure("any", [*releases[1:], *CORES]).splitlines()[1] == "any is provided by q 1.0 and 1.1."


@pytest.mark.parametrize(
    ("count", "versions"), [(1, "1.0 exists"), (2, "1.0 and 1.1 exist"), (200, "1.0 to 1.199 exist")]
)
def test_versions_for_another_base(count, versions):
    releases = [make_release("a", version, fingerprint=OTHER_FINGERPRINT) for version in numbered(count)]
    assert f"a {versions}, but for another base model (tiny-ffffffffffff)." in failure("a", releases)


@pytest.mark.parametrize(
    ("count", "listed"),
    [(2, "p1 and p2"), (3, "p1, p2 and p3"), (4, "p1, p2, p3 and p4"), (5, "p1, p2, p3, p4 and p5")],
)
@pytest.mark.parametrize("versions", [1, 2, 12])
def test_several_clauses_are_one_list(count, listed, versions):
    """As many patches as can't be there together: leaving any out would do."""
    names = [f"p{i}" for i in range(1, count + 1)]
    releases = [
        make_release(name, str(i), {}, {other: f"=={i}" for other in names if other != name})
        for name in names
        for i in range(1, count)
    ]
    releases += [make_release("app", version, dict.fromkeys(names, "*")) for version in numbered(versions)]
    lines = failure("app", releases).splitlines()
    assert lines[0] == "You asked for app."
    subject, _, needed = lines[1].partition(" needs ")
    assert subject.startswith("app 1.0, the only version," if versions == 1 else "Every version of app (1.0 ")
    assert sorted(needed.rstrip(".").replace(" and ", ", ").split(", ")) == names
    assert needed.count(" and ") == 1
    asked = failure(" ".join(names), releases).splitlines()
    assert asked[0] == f"You asked for {listed}."
    assert asked[-1] == f"hint: leave out p{count}, or install it into its own environment with --env NAME"


def test_conflicts_of_the_same_versions_are_one_sentence():
    releases = [make_release("any1", "1.0"), make_release("any2", "1.0")]
    releases += [make_release("a", version, conflicts={"any1": "*", "any2": "*"}) for version in ("1.0", "1.1")]
    releases += [make_release("p", "1.0", {"any1": "*"}), make_release("p", "2.0", {"any2": "*"})]
    told = [line for line in failure("a p", releases).splitlines() if "conflicts with" in line]
    assert told in (
        ["Every version of a (1.0 and 1.1) conflicts with any1 and any2."],
        ["Every version of a (1.0 and 1.1) conflicts with any2 and any1."],
    )


def test_a_composition_is_told_from_a_patch():
    kwargs = {"provides": ("toxicity", "gender-bias"), "composed": True}
    releases = [make_release("toxicity", "1.0"), make_release("gender-bias", "1.0")]
    made = [make_release("toxicity-gender-bias", f"1.0.0+{digits}", **kwargs) for digits in ("aaa", "bbb")]
    assert failure("toxicity-gender-bias", [*releases, made[0]]).splitlines() == [
        "You asked for toxicity-gender-bias.",
        "toxicity-gender-bias is the name of a composition, which is not installed as a patch: "
        "toxicity_gender_bias-1.0.0+aaa-tiny_0123456789ab.ppm in here.",
        "hint: ask for the patches that it was made of: gender-bias and toxicity",
    ]
    both = failure("toxicity-gender-bias", [*releases, *made]).splitlines()[1]
    assert both == (
        "toxicity-gender-bias is the name of 2 compositions, which are not installed as a patch: "
        "toxicity_gender_bias-1.0.0+aaa-tiny_0123456789ab.ppm in here "
        "and toxicity_gender_bias-1.0.0+bbb-tiny_0123456789ab.ppm in here."
    )
    assert "did you mean" not in failure("toxicity-gender-bia", made)
    assert pins("toxicity", [*releases, *made]) == "toxicity==1.0"
