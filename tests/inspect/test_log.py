"""What was in force at a moment."""

import re

import pytest
from commands import ppm
from integration.deployed import deployed, patch


@pytest.fixture
def three(monkeypatch):
    """Three deployments of three days, of which the last has no patch."""

    def on(day):
        monkeypatch.setattr("ppm.environment.transaction._now", lambda: f"2026-03-0{day}T12:00:00Z")

    on(1)
    first = deployed(["app"], patch("app"))
    on(3)
    second = deployed(["app", "tool"], patch("app", "2.0.0"), patch("tool"))
    on(5)
    return first, second, deployed([])


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("2026-03-01T12:00:00Z", 1),
        ("2026-03-02", 1),
        ("2026-03-03T11:59:59", 1),
        ("2026-03-03", 2),
        ("2026-03-05T13:59:59+02:00", 2),
        ("2026-03-06", 3),
        ("2999-01-01", 3),
    ],
)
def test_the_deployment_of_that_moment_is_told(three, moment, number):
    assert ppm("log", "--at", moment, "--json").json["number"] == number


def test_its_patches_and_its_time_are_told(three):
    told = ppm("log", "--at", "2026-03-04").out
    assert "Deployment 2, in force from 2026-03-03 12:00 UTC until 2026-03-05 12:00 UTC." in told
    assert re.search(r"^tool==1.0.0 +[0-9a-f]{64} ", told, re.MULTILINE)
    assert re.search(r"^audit.json +[0-9a-f]{64}$", told, re.MULTILINE)
    assert "No patch was in force." in ppm("log").out
    assert "until now" in ppm("log").out


def test_before_the_first_and_after_nothing_it_says_so(three):
    done = ppm("log", "--at", "2026-02-28")
    assert done.code == 1
    assert "nothing is known of 2026-02-28" in done.err
    assert "2026-03-01 12:00 UTC" in done.err
    assert "is not a date" in ppm("log", "--at", "yesterday").err


def test_changed_evidence_is_an_error_where_it_counts(three):
    (three[0].path / "audit.json").write_bytes(b'{"verdict": "pass"}')
    assert ppm("log", "--at", "2026-03-02").code == 4
    assert ppm("log", "--at", "2026-03-04").code == 0


def test_a_damaged_record_leaves_the_moments_untold_that_it_may_have_been_in_force(three):
    (three[1].path / "deployment.toml").write_text("damaged")
    done = ppm("log", "--at", "2026-03-02")
    assert done.code == 4
    assert "deployment 2 is damaged" in done.err
    assert ppm("log", "--at", "2026-03-06").code == 0
