"""Adding a patch and upgrading: from what is deployed, with the figures over the deployments."""

import shutil
from pathlib import Path

import pytest
import tomlkit
from commands import ppm
from integration.deployed import deployed, patch

from ppm.errors import RequestError
from ppm.install.plan import plan_install, plan_uninstall
from ppm.install.request import Request
from ppm.install.start import Start
from ppm.workspace import Workspace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def grown(quickstart, tmp_path_factory):
    """(PPM_HOME, result) of a second patch added to a deployed one."""
    home = tmp_path_factory.mktemp("grown")
    shutil.copytree(quickstart[0] / "cache" / "results", home / "cache" / "results")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PPM_HOME", str(home))
        first = ppm("install", "toxicity", "--base", "lab", "--json")
        assert first.code == 0, first.err
        assert first.json["audit"]["continual"] is None
        return home, ppm("install", "gender-bias", "--base", "lab", "--strategy", "continued", "--json")


def test_one_patch_more_goes_on_from_the_deployed_composition(grown):
    _, result = grown
    assert result.code == 0, result.err
    audit = result.json["audit"]
    assert audit["verdict"] == "pass"
    assert audit["strategy"] == "continued"
    assert {"deployed", "composition", "gender-bias==1.0.0"} <= set(audit["configurations"])
    assert {c["rule"] for c in audit["comparisons"]} >= {"upgrade", "non-inferiority", "effect", "utility"}


def test_the_audit_has_the_figures_of_continual_learning(grown):
    figures = grown[1].json["audit"]["continual"]
    assert set(figures) == {"average_accuracy", "backward_transfer", "forward_transfer", "forgetting"}
    assert figures["average_accuracy"] > 0.9
    assert abs(figures["backward_transfer"]) < 0.05


def test_history_shows_every_risk_over_the_deployments(grown, monkeypatch):
    monkeypatch.setenv("PPM_HOME", str(grown[0]))
    rows = ppm("history", "--metrics", "--json").json
    assert [row["number"] for row in rows] == [1, 2]
    assert "gender-bias" not in rows[0]["values"]
    assert rows[1]["values"]["gender-bias"] < 0.15
    table = ppm("history", "--metrics").out
    assert "gender-bias" in table
    assert "backward transfer" in table


def test_the_parent_is_recorded(grown):
    path = Path(grown[1].json["path"])
    made, before = (tomlkit.parse((folder / "patch.toml").read_text()) for folder in (path, path.parent / "000001"))
    lock = tomlkit.parse((path.parent / "000001" / "ppm.lock").read_text())
    assert made["composition"]["parent"] == f"sha256:{lock['composition']['sha256']}"
    assert "parent" not in before["composition"]


def asking(*requirements, strategy=None):
    """Where a plan for the lab starts from here."""
    workspace = Workspace.open(Path.cwd())
    base, environment = workspace.find_target("lab")
    return Start(workspace, base, environment, Request(strategy=strategy).asking(requirements))


def test_what_holds_an_unwanted_patch_is_not_gone_on_from(grown, monkeypatch):
    monkeypatch.setenv("PPM_HOME", str(grown[0]))
    assert plan_install(asking("harm-refusal")).parent.startswith("sha256:")
    assert plan_uninstall(asking(), ["toxicity"]).parent == ""


def test_upgrading_with_nothing_newer_does_nothing(grown, monkeypatch):
    monkeypatch.setenv("PPM_HOME", str(grown[0]))
    result = ppm("upgrade", "--json")
    assert result.code == 0, result.err
    assert result.json["changed"] is False


def test_a_patch_that_is_not_deployed_is_not_upgraded(grown, monkeypatch):
    monkeypatch.setenv("PPM_HOME", str(grown[0]))
    result = ppm("upgrade", "toxicty")
    assert result.code == 1
    assert "'toxicity'" in result.err


def test_without_a_deployment_to_go_on_from_another_strategy_is_taken(grown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text('schema = 1\nname = "mine"\n[[steps]]\nuse = "resume"\n')
    for strategy in ("continued", "./mine.toml"):
        with pytest.raises(RequestError, match="does not exist yet"):
            plan_install(asking("toxicity", "gender-bias", strategy=strategy))
    monkeypatch.setenv("PPM_HOME", str(grown[0]))
    assert plan_install(asking("harm-refusal")).strategy == "continued"


def test_what_held_an_unwanted_patch_is_followed_by_another_strategy():
    deployed(["one", "two", "three"], patch("one"), patch("two"), patch("three"), strategy="continued")
    assert plan_install(asking("one")).strategy == "continued"
    assert plan_uninstall(asking(), ["one"]).strategy == "auto"


def test_another_policy_is_another_test(ppm_home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = ("install", "toxicity", "--base", "lab", "--json")
    assert ppm(*asked).json["changed"] is True
    assert ppm(*asked).json["changed"] is False
    (tmp_path / "ppm.toml").write_text("[gates]\nmax_margin = 0.04\n")
    assert ppm(*asked).json["changed"] is True
    with monkeypatch.context() as changed:
        changed.setattr("ppm.install.install.weights_digest", lambda folder: "sha256:" + 64 * "0")
        assert ppm(*asked).json["changed"] is True
    (tmp_path / "ppm.toml").write_text("[gates]\nmax_margin = 0.001\n")
    refused = ppm(*asked)
    assert refused.code == 6
    assert refused.json["changed"] is False


def test_a_strategy_file_that_is_gone_does_not_stop_other_work(ppm_home, tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text('schema = 1\nname = "mine"\n[[steps]]\nuse = "concatenate"\n')
    assert ppm("install", "toxicity", "--base", "lab", "--strategy", recipe).code == 0
    assert "no longer exists" not in ppm("install", "toxicity", "gender-bias", "--base", "lab", "--dry-run").out
    recipe.unlink()
    planned = ppm("install", "toxicity", "gender-bias", "--base", "lab", "--dry-run")
    assert planned.code == 0, planned.err
    assert f"{recipe} no longer exists; using auto instead" in " ".join(planned.out.split())


def test_a_strategy_file_without_an_ending_is_remembered_by_its_whole_path(ppm_home, tmp_path, monkeypatch):
    recipe = tmp_path / "mine"
    recipe.write_text('schema = 1\nname = "mine"\n[[steps]]\nuse = "concatenate"\n')
    monkeypatch.chdir(tmp_path)
    assert ppm("install", "toxicity", "--base", "lab", "--strategy", "mine").code == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    planned = ppm("install", "toxicity", "gender-bias", "--base", "lab", "--dry-run")
    assert planned.code == 0, planned.err
    assert "no longer exists" not in planned.out
    recipe.unlink()
    planned = ppm("install", "toxicity", "gender-bias", "--base", "lab", "--dry-run")
    assert f"{recipe} no longer exists; using auto instead" in " ".join(planned.out.split())
