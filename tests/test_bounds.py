"""Names, versions and numbers of thousands of digits end in one message, wherever they stand."""

import json

import pytest
from commands import ppm
from environment.samples import environment_at, files_of, install
from integration.deployed import deployed, patch
from packages import make_package

from ppm.audit.gate import alpha_of_attempt
from ppm.errors import EnvironmentStateError, IntegrityError, ManifestError, RequestError
from ppm.evaluation.statistics import mean_interval, paired_interval, rate_interval
from ppm.lock import Lock
from ppm.manifest import Manifest
from ppm.names import LONGEST_VERSION, check_name, check_version
from ppm.requirement import parse_requirement

DIGITS = "9" * 5000
LONG = [DIGITS, "1." * 3000 + "1", "1.0+" + "a" * 5000, "1!" + DIGITS, "1.0.dev" + DIGITS, "9" * (LONGEST_VERSION + 1)]


@pytest.mark.parametrize("version", LONG)
def test_a_version_too_long_is_none(version):
    with pytest.raises(ValueError, match=f"longer than {LONGEST_VERSION}") as caught:
        check_version(version)
    assert len(str(caught.value)) < 200


def test_the_longest_version_is_one():
    assert check_version("1." + "0" * (LONGEST_VERSION - 2)) == "1.0"
    assert check_version("9" * LONGEST_VERSION) == "9" * LONGEST_VERSION


@pytest.mark.parametrize("version", LONG)
@pytest.mark.parametrize("operator", ["==", "===", ">=", "~=", "!=", "<"])
def test_a_requirement_on_one_is_none(version, operator):
    with pytest.raises(RequestError, match="is not a requirement") as caught:
        parse_requirement(f"toxicity{operator}{version}")
    assert len(str(caught.value)) < 400


def test_neither_is_one_on_too_many():
    with pytest.raises(RequestError, match="is not a requirement"):
        parse_requirement("toxicity" + ",".join(f"!=1.{i}" for i in range(5000)))
    with pytest.raises(ValueError, match="is not a name"):
        check_name("a" * 5000)


@pytest.mark.parametrize("version", LONG)
def test_manifests_and_locks_refuse_them(version):
    manifest = make_package().manifest.render()
    lock = files_of()["ppm.lock"].decode()
    for text in (
        manifest.replace('version = "1.0.0"', f'version = "{version}"'),
        manifest + f'\n[dependencies]\nother = ">={version}"\n',
        manifest + f'\n[conflicts]\nother = "=={version}"\n',
    ):
        with pytest.raises(ManifestError):
            Manifest.parse(text, "the manifest")
    for text in (
        lock.replace('version = "1.0.0"', f'version = "{version}"'),
        f'overrides = ["toxicity>={version}"]\n' + lock,
    ):
        with pytest.raises(ManifestError):
            Lock.parse(text.encode(), "the lock")


@pytest.mark.parametrize("number", [DIGITS, "9" * 4000, "1" + "0" * 12])
def test_the_number_in_force_is_bounded(tmp_path, number):
    environment = environment_at(tmp_path)
    install(environment)
    (environment.path / "current").write_text(number)
    with pytest.raises(EnvironmentStateError, match="instead of a number") as caught:
        environment.current()
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("name", ["0" * 5 + "9" * 13, "9" * 200, "0000001", "000000"])
def test_a_folder_with_another_number_is_no_deployment(tmp_path, name):
    environment = environment_at(tmp_path)
    install(environment)
    (environment.path / "deployments" / name).mkdir()
    assert environment.stored_numbers() == (1,)
    install(environment)
    assert environment.numbers() == (1, 2)


@pytest.mark.parametrize("number", [DIGITS, "0", "-1", "1" + "0" * 12])
def test_the_number_in_a_record_is_bounded(tmp_path, number):
    environment = environment_at(tmp_path)
    record = install(environment).path / "deployment.toml"
    record.write_text(record.read_text().replace("number = 1", f"number = {number}"))
    with pytest.raises(IntegrityError) as caught:
        environment.current()
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize("number", [0, -1, 10**12, 10**300])
def test_a_deployment_that_can_not_be_is_told(tmp_path, number):
    environment = environment_at(tmp_path)
    install(environment)
    with pytest.raises(RequestError, match="has no deployment") as caught:
        environment.deployment(number)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "arguments",
    [
        ("install", f"app=={DIGITS}", "--base", "lab"),
        ("install", f"app==={DIGITS}", "--base", "lab"),
        ("upgrade", f"app>{DIGITS}", "--base", "lab"),
        ("rollback", DIGITS, "--base", "lab"),
        ("rollback", "9" * 4000, "--base", "lab"),
        ("diff", "9" * 4000, "1", "--base", "lab"),
        ("show", f"app=={DIGITS}", "--base", "lab"),
    ],
)
def test_commands_refuse_them_in_one_message(arguments):
    deployed(["app"], patch("app"))
    done = ppm(*arguments)
    assert done.code in (1, 2, 3)
    assert "Traceback" not in done.err
    assert done.err.count("error:") == 1


def test_any_number_of_attempts_can_be_gated():
    spent = [alpha_of_attempt(0.05, k) for k in (1, 2, 40, 1000, 1024, 5000, 10**6)]
    assert spent == sorted(spent, reverse=True)
    assert 0 < spent[-1] < 1e-13
    assert sum(alpha_of_attempt(0.05, k) for k in range(1, 5000)) <= 0.05
    same = [0.0, 1.0] * 250
    for interval in (
        paired_interval(same, same, spent[-1]),
        paired_interval([v / 2 for v in same], same, spent[-1]),
        rate_interval(same, spent[-1]),
        mean_interval([0.1, 0.2] * 250, spent[-1]),
    ):
        assert interval.low < interval.value < interval.high
        assert json.loads(json.dumps([interval.low, interval.high])) == [interval.low, interval.high]


AUDIT = json.dumps(
    {
        "schema": 1,
        "base": "lab",
        "strategy": "distilled",
        "verdict": "inconclusive",
        "alpha": 0.001,
        "configurations": [],
        "matrix": {},
        "comparisons": [
            {
                "suite": "a/main",
                "rule": "non-inferiority",
                "against": "a",
                "difference": 0.0,
                "lower": -0.9,
                "upper": 0.9,
                "margin": 0.05,
                "verdict": "inconclusive",
            }
        ],
    }
)
