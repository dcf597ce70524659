"""What differs between two deployments, with figures as their measures show them."""

import pytest
from commands import ppm
from integration.deployed import deployed, patch


@pytest.fixture
def two():
    """Two deployments: tool went, app was raised, and the figures changed."""
    core = patch("core")
    app, tool = patch("app", needs={"core": ">=1"}), patch("tool", "2.0.0")
    old = deployed(["app", "tool"], app, tool, core, perplexity=12.5)
    new = deployed(["app"], patch("app", "2.0.0", {"core": ">=1"}), core, rates=0.05, perplexity=12.0)
    return old, new


def test_diff_shows_patches_verdict_and_figures(two):
    assert ppm("diff").out.splitlines() == [
        "From deployment 1 to 2:",
        "  - tool==2.0.0",
        "  ~ app 1.0.0 -> 2.0.0",
        "Suite           1      2  Change",
        "app/main    0.100  0.050  -0.050",
        "tool/main   0.100",
        "core/main   0.100  0.050  -0.050",
        "perplexity  12.50  12.00   -0.50",
    ]


def test_diff_goes_the_other_way_too_as_data(two):
    table = ppm("diff", "2", "1", "--json").json
    assert (table["from"], table["to"], table["added"], table["removed"]) == (2, 1, ["tool==2.0.0"], [])
    assert table["changed"] == [{"name": "app", "from": "2.0.0", "to": "1.0.0"}]
    assert table["scores"]["app/main"] == [0.05, 0.1]
    assert (table["scores"]["tool/main"], table["metrics"]["tool/main"]) == ([None, 0.1], [None, "rate"])
    assert table["metrics"]["perplexity"] == ["perplexity", "perplexity"]


def test_figures_on_other_prompts_are_not_compared():
    app = patch("app")
    deployed(["app"], app, suites="sha256:one")
    deployed(["app"], app, rates=0.05, suites="sha256:one")
    deployed(["app"], app, rates=0.07, suites="sha256:two")
    assert ppm("diff", "1", "2").out.splitlines()[-1] == "app/main  0.100  0.050  -0.050"
    assert ppm("diff", "2", "3").out.splitlines()[-2:] == [
        "app/main  0.050  0.070",
        "Not compared, as prompts, judge or decoding differ: app/main.",
    ]
    assert [ppm("diff", *pair, "--json").json["incomparable"] for pair in (("1", "2"), ("2", "3"))] == [
        [],
        ["app/main"],
    ]


def test_a_deployment_that_was_never_made_is_one_clear_error(two):
    failed = ppm("diff", "1", "9")
    assert (failed.code, "has no deployment 9" in failed.err) == (1, True)


def test_the_same_deployment_differs_in_nothing(two):
    assert "the same patches, strategy and verdict" in ppm("diff", "2", "2").out


def test_figures_of_a_changed_audit_are_not_shown(two):
    path = two[0].path / "audit.json"
    path.write_bytes(path.read_bytes().replace(b"0.1", b"0.0"))
    failed = ppm("diff")
    assert (failed.code, failed.out) == (4, "")
    assert "audit.json: was changed" in failed.err


def test_two_deployments_by_number_need_none_in_force(two):
    (two[1].path.parent.parent / "current").write_text("damaged")
    assert ppm("diff", "1", "2", "--base", "lab").out.startswith("From deployment 1 to 2:")
    assert "current: " in ppm("diff", "1", "--base", "lab").err
