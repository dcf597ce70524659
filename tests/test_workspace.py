"""Where a command works: the project above a folder, and which base model and environment it means."""

from pathlib import Path

import pytest
from integration.deployed import deployed, patch

from ppm.base import ModelName
from ppm.environment.default import choose_default
from ppm.errors import ManifestError, ModelError, RequestError, SourceError
from ppm.project import Project
from ppm.workspace import Workspace, base_of_environment, open_base

TAG = open_base("lab").tag


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Workspace.open(Path("."))  # noqa: PTH201


def anew(workspace):
    """The workspace of the next command."""
    return Workspace.open(workspace.folder)


def test_is_opened_where_the_command_is_given(workspace, tmp_path, ppm_home):
    assert (workspace.home, workspace.folder) == (ppm_home, tmp_path)
    assert (workspace.project_file, workspace.project) == (None, Project())


def test_belongs_to_the_project_above(workspace, tmp_path):
    (tmp_path / "ppm.toml").write_text('base = "lab"\n')
    (tmp_path / "deep" / "er").mkdir(parents=True)
    below = Workspace.open(tmp_path / "deep" / "er")
    assert (below.project_file, below.project.base) == (tmp_path / "ppm.toml", "lab")
    (tmp_path / "ppm.toml").write_text("base = 1\n")
    with pytest.raises(ManifestError, match="base must be a string"):
        _ = Workspace.open(tmp_path / "deep").project


def test_the_lab_has_a_source_of_its_own(workspace, tmp_path):
    (tmp_path / "dist").mkdir()
    assert len(workspace.sources(None, ["dist"])) == 1
    own = workspace.sources("lab", ["dist"])[1]
    assert "toxicity" in own.names(None)
    with pytest.raises(SourceError, match="URLs are not supported yet"):
        workspace.sources(None, ["https://patches.example.org/index"])


def test_where_nothing_is_deployed_no_environment_is_meant(workspace):
    assert workspace.environments() == {}
    with pytest.raises(RequestError, match="nothing is deployed"):
        workspace.find_environment(None)
    with pytest.raises(RequestError, match="which base model"):
        workspace.find_target(None)
    with pytest.raises(RequestError, match="which base model"):
        workspace.base_name(None)


def test_the_only_environment_is_meant(workspace):
    deployed(["core"], patch("core"))
    assert workspace.find_environment(None).label == TAG
    base, environment = workspace.find_target(None)
    assert (base.name, environment.label) == ("lab", TAG)
    assert base_of_environment(environment).fingerprint == base.fingerprint


def test_of_several_one_is_named_or_chosen(workspace):
    deployed(["core"], patch("core"))
    deployed(["core"], patch("core"), env="staging")
    assert list(workspace.environments()) == [TAG, f"{TAG}/staging"]
    with pytest.raises(RequestError, match="several environments; which one") as caught:
        workspace.find_environment(None)
    assert f"{TAG}/staging" in caught.value.hint
    assert workspace.find_environment(None, "staging").name == "staging"
    assert workspace.find_environment("lab", "staging").name == "staging"
    assert workspace.find_environment("lab").name is None
    assert workspace.find_environment(f"{TAG}/staging").name == "staging"
    with pytest.raises(RequestError, match="is no environment") as caught:
        workspace.find_environment("lab", "stagin")
    assert "staging" in caught.value.hint
    choose_default(workspace.environments()[f"{TAG}/staging"])
    assert workspace.chosen == f"{TAG}/staging"
    assert workspace.find_environment(None).name == "staging"
    (workspace.folder / "ppm.toml").write_text('base = "lab"\n')  # goes before the choice
    assert anew(workspace).find_environment(None).name is None


def test_a_base_model_may_be_named_by_an_environment_of_it(workspace):
    deployed(["core"], patch("core"), env="staging")
    assert workspace.base_name(f"{TAG}/staging") == "lab"
    assert workspace.base_name("acme/other") == "acme/other"
    choose_default(workspace.environments()[f"{TAG}/staging"])
    assert workspace.base_name(None) == "lab"


def test_what_is_after_an_at_sign_is_a_commit_unless_it_is_in_a_path(workspace, tmp_path):
    (tmp_path / "model@home").mkdir()
    assert ModelName.parse("acme/tiny@" + "a" * 40) == ModelName("acme/tiny", "a" * 40)
    assert ModelName.parse("acme/tiny") == ModelName("acme/tiny")
    assert ModelName.parse("model@home") == ModelName("model@home")
    with pytest.raises(ModelError):
        open_base("acme/tiny@" + "a" * 40, fetch=False)


def test_what_ships_for_a_base_is_a_source_of_it(tmp_path):
    here = Workspace(tmp_path / "home", tmp_path, {})
    for name, locations in {"lab": ["lab"], "smollm2": ["smollm2"], "gemma3-270m": [], None: []}.items():
        assert [source.location for source in here.sources(name, [])] == locations
    assert here.sources("../lab", []) == []
    [source] = here.sources("smollm2", [])
    assert set(source.names(None)) == {"harm-refusal", "gender-bias", "civility"}
