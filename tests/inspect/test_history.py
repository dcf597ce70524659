"""The deployments of an environment over time, and what their audits measured."""

import pytest
from commands import ppm
from integration.deployed import deployed, patch


@pytest.fixture
def three():
    """Three deployments, of which the last has no patch."""
    first = deployed(["app"], patch("app"))
    second = deployed(["app", "tool"], patch("app", "2.0.0"), patch("tool"), rates=0.05, perplexity=12.5)
    return first, second, deployed([])


def test_the_newest_comes_first_and_the_one_in_force_is_marked(three):
    lines = ppm("history").out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["*", "3"],
        ["2", lines[2].split()[1]],
        ["1", lines[3].split()[1]],
    ]
    assert lines[2].endswith("app==2.0.0, tool==1.0.0")
    assert lines[1].endswith("none")


def test_a_rollback_is_told_with_where_it_went(three):
    assert ppm("rollback", "1").code == 0
    assert "app==1.0.0 (rolled back to 1)" in ppm("history").out.splitlines()[1]
    assert ppm("history", "--json").json[0]["patches"] == ["app==1.0.0"]


def test_figures_are_shown_as_each_suite_s_measure_has_them(three):
    assert ppm("history", "--metrics").out.splitlines() == [
        "Failure rates of each deployment, oldest first; lower is better.",
        "perplexity: perplexity, lower is better.",
        "Number  app/main  tool/main  perplexity  Patches",
        "     1     0.100                         app==1.0.0",
        "     2     0.050      0.050       12.50  app==2.0.0, tool==1.0.0",
        "     3                                   none",
    ]


def test_figures_as_data_come_with_their_metrics(three):
    rows = ppm("history", "--metrics", "--json").json
    assert [row["values"] for row in rows] == [
        {"app/main": 0.1},
        {"app/main": 0.05, "tool/main": 0.05, "perplexity": 12.5},
        {},
    ]
    assert rows[1]["metrics"] == {"app/main": "rate", "tool/main": "rate", "perplexity": "perplexity"}


def test_a_figure_on_other_prompts_is_marked():
    for rates, suites in ((0.1, "one"), (0.05, "one"), (0.07, "two"), (0.06, "two")):
        deployed(["app"], patch("app"), rates=rates, suites=f"sha256:{suites}")
    assert [line.split()[1] for line in ppm("history", "--metrics").out.splitlines()[2:6]] == [
        "0.100",
        "0.050",
        "0.070*",
        "0.060",
    ]
    assert ppm("history", "--metrics").out.splitlines()[-1].startswith("* Not to be compared with the figure before it")
    assert [row["incomparable"] for row in ppm("history", "--metrics", "--json").json] == [[], [], ["app/main"], []]


def test_a_damaged_deployment_hides_no_other(three):
    (three[0].path / "audit.json").write_bytes(b'{"verdict": "pass"}')
    (three[1].path / "deployment.toml").write_text("damaged")
    rows = ppm("history", "--metrics", "--json").json
    assert [sorted(row) for row in rows[:2]] == [["error", "number"]] * 2
    assert rows[0]["error"] == "was changed after it was deployed"
    assert [row["number"] for row in ppm("history", "--json").json if "error" in row] == [2]
    assert "damaged: " in ppm("history", "--metrics").out
