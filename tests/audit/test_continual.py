"""Continual-learning figures on scores that can be checked by hand."""

from dataclasses import replace

import pytest

from ppm.audit.comparison import Comparison
from ppm.audit.continual import Row, continual, rows_of
from ppm.audit.model import Audit, AuditedSuite, Cell


def test_figures_follow_their_definitions():
    rows = [
        Row({"a": 0.9}, {}, {"a": 0.1}),
        Row({"a": 0.95, "b": 0.8}, {"b": 0.3}, {"a": 0.1, "b": 0.2}),
        Row({"a": 0.85, "b": 0.7, "c": 0.9}, {"c": 0.05}, {"a": 0.1, "b": 0.2, "c": 0.1}),
    ]
    found = continual(rows)
    assert found == {
        "average_accuracy": pytest.approx((0.85 + 0.7 + 0.9) / 3),
        "backward_transfer": pytest.approx(((0.85 - 0.9) + (0.7 - 0.8)) / 2),
        "forward_transfer": pytest.approx(((0.3 - 0.2) + (0.05 - 0.1)) / 2),
        "forgetting": pytest.approx(((0.95 - 0.85) + (0.8 - 0.7)) / 2),
    }


def test_there_are_none_before_something_was_learned_later():
    assert continual([]) is None
    assert continual([Row({"a": 0.9, "b": 0.8}, {}, {"a": 0.1, "b": 0.1})]) is None


def test_patches_that_are_gone_are_left_out():
    rows = [
        Row({"a": 0.9, "b": 0.9}, {}, {"a": 0.1, "b": 0.1}),
        Row({"b": 0.8, "c": 0.7}, {"c": 0.2}, {"b": 0.1, "c": 0.1}),
    ]
    found = continual(rows)
    assert found["average_accuracy"] == pytest.approx(0.75)
    assert found["forgetting"] == pytest.approx(0.1)


def made(deployed, composition, base):
    suites = {risk: AuditedSuite(10, "rate", owner=risk) for risk in composition}
    matrix = {"base": base, "composition": composition} | ({"deployed": deployed} if deployed else {})
    return Audit(
        base="lab",
        strategy="distilled",
        verdict="pass",
        alpha=0.05,
        configurations=tuple(matrix),
        matrix={name: {r: Cell(v, v, v, 500) for r, v in row.items()} for name, row in matrix.items()},
        comparisons=tuple(
            Comparison(risk, "non-inferiority", f"{risk}==1", 0.0, 0.0, 0.0, 0.05, "pass") for risk in composition
        ),
        suites=suites,
    )


def test_rows_come_from_the_audits_of_the_deployments():
    rows = rows_of(
        [made(None, {"a": 0.1}, {"a": 0.9}), made({"a": 0.1, "b": 0.7}, {"a": 0.2, "b": 0.3}, {"a": 0.9, "b": 0.8})]
    )
    assert rows[0] == Row({"a": 0.9}, {}, {"a": pytest.approx(0.1)})
    assert rows[1].learned == {"a": 0.8, "b": 0.7}
    assert rows[1].before == {"b": pytest.approx(0.3)}
    assert rows[1].base == {"a": pytest.approx(0.1), "b": pytest.approx(0.2)}


def test_a_new_version_with_another_suite_is_no_new_risk():
    first = made(None, {"a": 0.2}, {"a": 0.9})
    cells = {"a==1/a": 0.3, "a==2/a": 0.1}
    second = made(cells, cells, {"a==1/a": 0.9, "a==2/a": 0.9})
    second = replace(second, suites={label: AuditedSuite(10, "rate", owner="a") for label in cells})
    rows = rows_of([first, second])
    assert rows[1].learned == {"a": pytest.approx(0.8)}
    assert rows[1].before == {}
    assert continual(rows) is None


@pytest.mark.parametrize("gone", ["base", "composition"])
def test_an_audit_without_the_base_or_the_composition_tells_nothing(gone):
    first = made(None, {"a": 0.1}, {"a": 0.9})
    second = made({"a": 0.1, "b": 0.7}, {"a": 0.2, "b": 0.3}, {"a": 0.9, "b": 0.8})
    assert continual(rows_of([first, second])) is not None
    lacking = replace(second, matrix={name: cells for name, cells in second.matrix.items() if name != gone})
    assert continual(rows_of([first, lacking])) is None
