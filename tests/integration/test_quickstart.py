"""The main job: three patches resolved, composed, tested and deployed."""

from commands import ppm

SUITES = {"toxicity", "gender-bias", "harmfulness", "helpful", "facts"}


def test_quickstart_ends_in_a_deployment_that_passes(quickstart):
    _, result = quickstart
    assert result.code == 0, result.err
    table = result.json
    assert table["verdict"] == "pass"
    assert table["deployment"] == 1
    assert set(table) == {"strategy", "verdict", "matrix", "deployment", "seconds"}
    assert set(table["matrix"]["composition"]) == SUITES
    for suite in ("toxicity", "gender-bias", "harmfulness"):
        assert table["matrix"]["base"][suite]["value"] >= 0.8
        assert table["matrix"]["composition"][suite]["value"] <= 0.1


def test_quickstart_shows_a_reader_in_a_hurry_everything(deployed):
    result = ppm("quickstart")
    assert result.code == 0, result.err
    for wanted in ("Resolved", "toxicity==1.0.0", "interference", "Verdict: pass", "deployments/000001", "patched:"):
        assert wanted in result.out
    assert result.out.count("base:    ") == 3


def test_auto_takes_what_trains_nothing_where_it_passes(deployed):
    audit = ppm("audit", "--json").json
    [attempt] = audit["attempts"]
    assert (attempt["strategy"], attempt["verdict"]) == ("routed", "pass")
    assert ppm("history", "--json").json[0]["strategy"] == "routed"
    triggers = {(row["suite"], row["kind"]): row["share"] for row in audit["triggers"]}
    for risk in ("toxicity", "gender-bias", "harmfulness"):
        assert triggers[risk, "recall"] >= 0.98
    for suite in ("helpful", "facts"):
        assert triggers[suite, "false alarms"] <= 0.03
    listed = ppm("list", "--json").json
    assert listed["verdict"] == "pass"
    assert {patch["name"] for patch in listed["patches"]} == {"toxicity", "gender-bias", "harm-refusal"}


def test_installing_the_same_again_changes_nothing(deployed):
    result = ppm("install", "toxicity", "--base", "lab", "--json")
    assert result.code == 0, result.err
    assert result.json["changed"] is False
    assert result.json["deployment"] == 1


def test_composing_anew_is_for_real_bases():
    result = ppm("quickstart", "--recompose")
    assert result.code == 2
    assert "on the lab the patches are always composed here" in result.err
