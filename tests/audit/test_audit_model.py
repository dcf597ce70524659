"""An audit as plain data: its JSON comes back whole, and what is no audit is refused."""

import json
from dataclasses import replace

import pytest

from ppm.audit.candidates import Candidate
from ppm.audit.comparison import Comparison, verdict_of
from ppm.audit.model import Attempt, Audit, AuditedSuite, Cell
from ppm.errors import IntegrityError
from ppm.verdict import Waiver

PASSED = Comparison("toxicity", "non-inferiority", "toxicity==1.0.0", 0.004, -0.001, 0.012, 0.05, "pass")
UNCLEAR = replace(PASSED, suite="bias", upper=0.06, verdict="inconclusive", prompts_needed=640)
FAILED = replace(PASSED, suite="harm", rule="effect", against="base", verdict="fail", configuration="harm==2.0.0")
AUDIT = Audit(
    base="lab",
    strategy="distilled",
    verdict="fail",
    alpha=0.025,
    configurations=("base", "toxicity==1.0.0", "composition"),
    matrix={
        "base": {"toxicity": Cell(0.91, 0.88, 0.93, 500)},
        "toxicity==1.0.0": {"toxicity": Cell(0.01, 0.0, 0.03, 500)},
        "composition": {"toxicity": Cell(0.02, 0.01, 0.04, 500)},
    },
    comparisons=(PASSED, UNCLEAR, FAILED, replace(FAILED, waived=True)),
    attempts=(Attempt("concat", None, "set aside", "loses of utility: 4 \u2030"), Attempt("distilled", 0.025, "fail")),
    waivers=(Waiver("harm", "known, ticket 12", "Zo\xeb"),),
    circular=("toxicity",),
    continual={"average_accuracy": 0.97, "backward_transfer": -0.01, "forward_transfer": 0.0, "forgetting": 0.01},
    suites={"toxicity": AuditedSuite(500, "rate", "sha256:0", owner="toxicity")},
)


def table():
    return json.loads(AUDIT.to_json())


def test_an_audit_comes_back_from_its_json():
    assert Audit.from_table(table(), "audit.json") == AUDIT
    bare = replace(AUDIT, attempts=(), waivers=(), circular=(), continual=None, suites={})
    assert Audit.from_table(json.loads(bare.to_json()), "audit.json") == bare


def test_candidates_come_back_and_an_audit_without_any_is_read_by_an_older_ppm():
    both = (Candidate("distilled", 0.01, 1.0, 20, "minutes", True), Candidate("a", None, 1.5, 1))
    compared = replace(AUDIT, candidates=both)
    assert Audit.from_table(json.loads(compared.to_json()), "audit.json") == compared
    assert "candidates" not in table()
    broken = json.loads(compared.to_json())
    broken["candidates"][0]["passes"] = 0.5
    with pytest.raises(IntegrityError, match="impossible"):
        Audit.from_table(broken, "audit.json")


def test_the_same_audit_has_the_same_bytes():
    again = Audit.from_table(table(), "audit.json")
    assert again.to_json() == AUDIT.to_json()
    assert "Zo\xeb".encode() in AUDIT.to_json()


def test_the_json_has_the_documented_keys():
    assert table()["schema"] == 2
    assert {"base", "strategy", "verdict", "alpha", "configurations", "matrix", "comparisons"} <= table().keys()
    cell = {
        "value": 0.91,
        "low": 0.88,
        "high": 0.93,
        "prompts": 500,
        "well_formed": None,
        "corrected": None,
        "second": None,
        "differ": None,
    }
    assert table()["matrix"]["base"]["toxicity"] == cell
    assert {
        "suite",
        "rule",
        "against",
        "difference",
        "lower",
        "upper",
        "margin",
        "verdict",
        "prompts_needed",
    } <= table()["comparisons"][0].keys()


def test_only_what_counts_and_did_not_pass_has_failed():
    assert AUDIT.failed == (FAILED, UNCLEAR)  # the farther from its margin first


def without(key):
    def change(values):
        del values[key]

    return change


def with_value(*path, value):
    def change(values):
        for key in path[:-1]:
            values = values[key]
        values[path[-1]] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        without("verdict"),
        without("matrix"),
        without("comparisons"),
        without("schema"),
        with_value("schema", value=3),
        with_value("surprise", value=1),
        with_value("matrix", value=[]),
        with_value("matrix", "base", value=None),
        with_value("matrix", "base", "toxicity", value={"value": 0.0}),
        with_value("matrix", "base", "toxicity", "extra", value=1),
        with_value("comparisons", value=5),
        with_value("comparisons", 0, value="pass"),
        with_value("comparisons", 0, value={}),
        with_value("comparisons", 0, "verdicts", value="pass"),
        with_value("waivers", value=[{"suite": "harm"}]),
        with_value("attempts", value=[{"strategy": "concat"}]),
        with_value("configurations", value=None),
    ],
)
def test_a_changed_audit_is_refused(change):
    values = table()
    change(values)
    with pytest.raises(IntegrityError, match="not an audit") as caught:
        Audit.from_table(values, "deployment 7")
    assert caught.value.context == "deployment 7"
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("values", [None, [], "audit", 1, {}])
def test_what_is_no_table_is_refused(values):
    with pytest.raises(IntegrityError, match="not an audit"):
        Audit.from_table(values, "deployment 7")


def test_what_a_pass_means_names_the_margins_and_the_chance():
    utility = replace(PASSED, suite="facts", rule="utility", against="base", margin=0.03)
    said = replace(AUDIT, comparisons=(PASSED, utility)).guarantee
    assert "worse on any of these suites than its specialist (by at least 0.05) or the base (by at least 0.03)" in said
    assert "than its specialist (by at least 0.05) passes" in replace(AUDIT, comparisons=(PASSED,)).guarantee
    deployed = replace(PASSED, rule="upgrade", against="deployed", margin=0.04)
    said_of_all = replace(AUDIT, comparisons=(PASSED, utility, deployed)).guarantee
    assert "(by at least 0.05), the base (by at least 0.03) or what was deployed (by at least 0.04)" in said_of_all
    assert "a chance of about 2.5 %;" in said
    third = replace(AUDIT, suites={"toxicity": replace(AUDIT.suites["toxicity"], attempt=3)})
    assert (
        "a chance of about 2.5 %, all attempts on its prompts together, if nobody mended just what" in third.guarantee
    )
    assert "nothing is shown, because some are missing" in replace(AUDIT, void="some are missing").guarantee
    assert "prompts unlike the suites'" in said
    assert "0.03" not in replace(AUDIT, comparisons=(PASSED, replace(utility, waived=True))).guarantee
    assert replace(AUDIT, comparisons=()).guarantee.startswith("nothing is shown")
    assert json.loads(AUDIT.to_json())["guarantee"] == AUDIT.guarantee


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["suites"]["toxicity"].pop("metric"), "suites.toxicity.metric is missing"),
        (lambda t: t["suites"]["toxicity"].update(prompts="many"), "suites.toxicity.prompts must be a whole number"),
        (lambda t: t["matrix"]["base"].pop("toxicity"), "matrix.base lacks toxicity"),
        (lambda t: t["matrix"].pop("composition"), "matrix.composition lacks toxicity"),
        (lambda t: t.update(verdict="pass"), "the verdict is 'pass'"),
        (lambda t: t.update(verdict="none"), "the verdict is 'none'"),
        (lambda t: t["comparisons"][0].update(verdict="waived"), "can't have the verdict 'waived'"),
    ],
)
def test_an_audit_without_all_its_figures_is_none(change, message):
    broken = table()
    change(broken)
    with pytest.raises(IntegrityError, match=message):
        Audit.from_table(broken, "audit.json")


def test_a_waived_audit_is_no_pass():
    waived = replace(AUDIT, comparisons=(PASSED, replace(FAILED, waived=True)), verdict="waived")
    assert verdict_of(waived.comparisons) == "waived"
    assert waived.may_deploy
    assert Audit.parse(waived.to_json(), "audit.json") == waived
    assert verdict_of((PASSED, replace(PASSED, waived=True))) == "pass"


def test_an_audit_of_the_first_schema_that_was_waived_reads_waived():
    waived = replace(AUDIT, comparisons=(PASSED, replace(FAILED, waived=True)), verdict="waived")
    values = json.loads(waived.to_json()) | {"schema": 1, "verdict": "pass"}
    del values["notes"]
    values["suites"]["toxicity"]["goal"] = "lower"
    assert Audit.from_table(values, "audit.json") == waived
    passed = json.loads(replace(waived, comparisons=(PASSED,), verdict="pass").to_json()) | {"schema": 1}
    assert Audit.from_table(passed, "audit.json").verdict == "pass"


def test_only_words_that_occur_are_explained():
    assert list(AUDIT.explained) == [
        "set aside",
        "average accuracy",
        "backward transfer",
        "forward transfer",
        "forgetting",
    ]
    assert replace(AUDIT, attempts=(), continual=None).explained == {}


def test_a_cell_is_a_patch_s_own_by_the_owner_of_the_suite():
    assert AUDIT.is_own("toxicity==1.0.0", "toxicity")
    assert not AUDIT.is_own("toxicity-next==1.0.0", "toxicity")
    assert not AUDIT.is_own("base", "toxicity")
    bases = replace(AUDIT, suites={"toxicity": replace(AUDIT.suites["toxicity"], owner=None)})
    assert not bases.is_own("toxicity==1.0.0", "toxicity")


def test_a_loss_of_well_formed_answers_is_told():
    def with_shares(base, composition):
        rows = {
            "base": {"toxicity": Cell(0.9, 0.88, 0.93, 500, base), "helpful": Cell(0.1, 0.0, 0.2, 500)},
            "composition": {"toxicity": Cell(0.0, 0.0, 0.01, 500, composition), "helpful": Cell(0.1, 0.0, 0.2, 500)},
        }
        return replace(AUDIT, matrix=rows)

    assert with_shares(0.99, 0.70).malformed == {"toxicity": (0.70, 0.99)}
    assert with_shares(0.99, 0.98).malformed == {}
    assert with_shares(None, None).malformed == {}
