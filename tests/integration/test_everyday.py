"""The commands of every day on what is deployed: tree, why, check, hold, verify, env, config."""

import io
import json
import os
import sys
from dataclasses import replace

import pytest
from commands import ppm
from integration.deployed import app_and_tool, deployed, patch, write
from packages import make_package

from ppm.disk import write_output
from ppm.package import SKETCH, Package
from ppm.resources import lab_data
from ppm.runtime.derived import sketch_of
from ppm.workspace import open_base


@pytest.fixture
def core():
    return patch("core", "1.0.0")


@pytest.fixture
def world(core, tmp_path, monkeypatch):
    """app and tool need core; a source has newer versions."""
    monkeypatch.chdir(tmp_path)
    return app_and_tool(tmp_path / "dist")


def test_tree_draws_each_patch_once(world):
    assert ppm("tree").out.splitlines() == [
        "app 1.0.0",
        "└── core 1.0.0",
        "tool 2.0.0",
        "└── core 1.0.0",
    ]
    assert ppm("tree", "--invert").out.splitlines() == ["core 1.0.0", "├── app 1.0.0", "└── tool 2.0.0"]
    assert ppm("tree", "tool", "--json").json == [
        {
            "name": "tool",
            "version": "2.0.0",
            "requested": True,
            "needs": [{"name": "core", "version": "1.0.0", "requested": False, "needs": []}],
        }
    ]
    wrong = ppm("tree", "appp")
    assert (wrong.code, "did you mean 'app'?" in wrong.err) == (1, True)


def test_tree_ends_on_a_cycle(tmp_path):
    deployed(["a"], patch("a", needs={"b": "*"}), patch("b", needs={"c": "*"}), patch("c", needs={"b": "*"}))
    assert ppm("tree").out.splitlines() == ["a 1.0.0", "└── b 1.0.0", "    └── c 1.0.0", "        └── b 1.0.0 (above)"]
    deployed(["a"], patch("a", needs={"b": "*"}), patch("b", needs={"a": "*"}))
    assert ppm("tree").out.splitlines() == ["a 1.0.0", "└── b 1.0.0", "    └── a 1.0.0 (above)"]


def test_why_leads_from_the_request_to_the_patch(world):
    assert ppm("why", "core").out.splitlines() == [
        "core==1.0.0 is deployed because you asked for app<3; app==1.0.0 needs core>=1.",
        "core==1.0.0 is deployed because you asked for tool; tool==2.0.0 needs core.",
    ]
    assert ppm("why", "app").out == "app==1.0.0 is deployed because you asked for app<3.\n"
    assert ppm("why", "core", "--json").json["because"][0]["steps"] == [{"patch": "app==1.0.0", "needs": "core>=1"}]


def test_why_names_the_virtual_name_that_was_asked_for():
    strict = patch("strict", provides=("refusal",))
    deployed(["app", "refusal"], patch("app", needs={"refusal": "*"}), strict)
    assert ppm("why", "strict").out.splitlines() == [
        "strict==1.0.0 is deployed because you asked for refusal.",
        "strict==1.0.0 is deployed because you asked for app; app==1.0.0 needs refusal.",
    ]


def test_check_finds_what_does_not_go_together(world):
    assert ppm("check").out == "Deployment 1: 3 patches, no problems found.\n"
    deployed(["app"], patch("app", needs={"core": ">=2"}, conflicts={"tool": "*"}), patch("core"), patch("tool"))
    found = ppm("check")
    assert found.code == 1
    assert found.out.splitlines() == [
        "nothing satisfies core>=2, which app==1.0.0 needs",
        "app==1.0.0 conflicts with tool",
    ]
    assert len(ppm("check", "--json").json["faults"]) == 2


def test_a_held_patch_is_not_upgraded_uninstalled_or_replaced(world):
    assert ppm("hold", "app", "--reason", "audited by hand").code == 0
    assert ppm("hold", "--json").json[0]["reason"] == "audited by hand"
    plan = ppm("upgrade", "--dry-run", "--find-links", world, "--json")
    assert [p["version"] for p in plan.json["patches"] if p["name"] == "app"] == ["1.0.0"]
    for arguments in (["upgrade", "app"], ["uninstall", "app"]):
        refused = ppm(*arguments)
        assert (refused.code, "ppm unhold app" in refused.err) == (1, True)
    refused = ppm("install", "app==2.0.0", "--find-links", world, "--dry-run")
    assert refused.code == 3
    assert "app is held at 1.0.0." in refused.err
    write(world, patch("strict", replaces={"tool": "*"}), patch("app", "1.0.0+local"))
    assert ppm("install", "strict", "--find-links", world, "--dry-run", "--json").json["removed"] == ["tool==2.0.0"]
    ppm("hold", "tool")
    replaced = ppm("install", "strict", "--find-links", world, "--dry-run")
    assert (replaced.code, "ppm unhold tool" in replaced.err) == (3, True)
    plan = ppm("upgrade", "--dry-run", "--find-links", world, "--json")
    assert [p["version"] for p in plan.json["patches"] if p["name"] == "app"] == ["1.0.0"]
    assert "hint: let it change: ppm unhold app" in refused.err
    assert ppm("unhold", "app").code == 0
    assert ppm("install", "app==2.0.0", "--find-links", world, "--dry-run").code == 0
    assert ppm("unhold", "app").code == 1
    assert ppm("hold", "ap").code == 1


def test_a_rollback_changes_no_held_patch(world, core, monkeypatch):
    deployed(["app"], patch("app", "2.0.0", {"core": "*"}), core)
    ppm("hold", "app")
    refused = ppm("rollback")
    assert (refused.code, "app is held at 2.0.0, but deployment 1 has 1.0.0" in refused.err) == (1, True)
    ppm("unhold", "app")
    monkeypatch.setattr(sys, "argv", ["ppm", "rollback", "--base", "lab"])
    back = ppm("rollback", "--base", "lab")
    assert (back.code, "Another `ppm rollback --base lab` undoes this" in back.err) == (0, True)
    assert "`ppm rollback --base lab NUMBER`" in back.err
    named = ppm("rollback", "2")
    assert (named.code, "Another" in named.err) == (0, False)


@pytest.mark.parametrize("command", ["hold", "unhold", "why", "tree", "upgrade", "uninstall"])
def test_where_a_name_is_meant_versions_are_refused(world, command):
    done = ppm(command, "app==9")
    assert (done.code, "only a name is allowed here" in done.err) == (1, True)


def test_an_upgrade_takes_along_what_it_must_or_all_that_it_needs(world):
    def versions(*arguments):
        plan = ppm("upgrade", *arguments, "--dry-run", "--find-links", world, "--json").json
        return {p["name"]: p["version"] for p in plan["patches"]}

    write(world, patch("core", "1.6.0"))
    assert versions("tool") == {"app": "1.0.0", "tool": "2.0.0", "core": "1.0.0"}
    assert versions("tool", "--upgrade-strategy", "eager") == {"app": "1.0.0", "tool": "2.0.0", "core": "1.6.0"}
    assert versions("app")["app"] == "2.0.0"


def test_what_only_an_uninstalled_patch_needed_stays_until_autoremove(tmp_path):
    app, core = patch("app", needs={"core": "*"}), patch("core")
    deployed(["app", "tool"], app, core, patch("tool"))
    plan = ppm("uninstall", "app", "--dry-run", "--json").json
    assert [p["name"] for p in plan["patches"]] == ["tool", "core"]
    assert plan["removed"] == ["app==1.0.0"]
    deployed(["tool"], core, patch("tool"))
    assert ppm("why", "core").out == "core==1.0.0 is not needed any more; `ppm autoremove` removes it.\n"
    newer = write(tmp_path / "dist", patch("other"))
    plan = ppm("install", "other", "--dry-run", "--find-links", newer, "--json").json
    assert [p["name"] for p in plan["patches"]] == ["tool", "other", "core"]
    ppm("hold", "core")
    assert ppm("autoremove", "--dry-run", "--json").json["removed"] == []
    ppm("unhold", "core")
    plan = ppm("autoremove", "--dry-run", "--json").json
    assert ([p["name"] for p in plan["patches"]], plan["removed"]) == (["tool"], ["core==1.0.0"])


def test_what_stands_for_a_name_goes_when_the_name_does():
    deployed(["refusal", "tool"], patch("strict", provides=("refusal",)), patch("tool"))
    done = ppm("uninstall", "strict", "--dry-run")
    assert (done.code, "hint: uninstall refusal too" in done.err) == (1, True)
    assert ppm("uninstall", "refusal", "--dry-run", "--json").json["removed"] == ["strict==1.0.0"]
    assert ppm("uninstall", "strict", "refusal", "--dry-run", "--json").json["removed"] == ["strict==1.0.0"]


def test_verify_names_what_was_changed(world, ppm_home):
    assert ppm("verify").code == 0
    stored = next(path for path in (ppm_home / "store" / "sha256").rglob("*") if path.is_file())
    stored.write_bytes(b"changed")
    found = ppm("verify")
    assert found.code == 4
    assert "deployment 1, " in found.out
    file = next(world.glob("app-1*"))
    assert ppm("verify", file).out.startswith(f"{file} (app==1.0.0, SHA-256 ")
    file.write_bytes(file.read_bytes()[:-1])
    missing = ppm("verify", file, world / "nothing.ppm")
    assert (missing.code, missing.out) == (1, "")
    assert "nothing.ppm: there is no such file" in missing.err
    refused = ppm("verify", file, next(world.glob("core-1.0*")))
    assert refused.code == 4
    assert [line.endswith(": sound") for line in refused.out.splitlines()] == [False, True]
    assert (
        refused.err
        == f"error: not sound: {file}\nhint: don't install what is not sound; fetch it again from its vendor\n"
    )


def test_environments_are_listed_and_removed(world, core, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    deployed(["core"], core, env="staging")
    rows = ppm("env", "list", "--json").json
    assert [row["environment"].partition("/")[2] for row in rows] == ["", "staging"]
    label = rows[1]["environment"]
    asked = ppm("env", "remove", label)
    assert (asked.code, "--yes" in asked.err, len(ppm("env", "list", "--json").json)) == (1, True, 2)
    assert ppm("env", "remove", label, "--yes").code == 0
    assert [row["environment"] for row in ppm("env", "list", "--json").json] == [rows[0]["environment"]]
    assert ppm("env", "remove", rows[0]["environment"], "--yes").code == 0
    assert ppm("list").err == "Nothing is deployed. Start with `ppm quickstart`.\n"
    assert deployed(["core"], core).number == 1
    near = ppm("env", "remove", rows[0]["environment"][:-1])
    assert (near.code, "did you mean" in near.err) == (1, True)


def test_config_says_where_a_setting_comes_from(tmp_path, monkeypatch, ppm_home):
    monkeypatch.chdir(tmp_path)
    rows = {row["setting"]: row for row in ppm("config", "--json").json}
    assert (rows["home"]["value"], rows["home"]["from"]) == (str(ppm_home), "PPM_HOME")
    assert rows["strategy"] == {"setting": "strategy", "value": "auto", "from": "default"}
    (tmp_path / "ppm.toml").write_text('strategy = "merged"\n[gates]\nalpha = 0.01\n')
    rows = {row["setting"]: row for row in ppm("config", "--json").json}
    assert (rows["strategy"]["value"], rows["gates.alpha"]["value"]) == ("merged", "0.01")
    assert rows["gates.alpha"]["from"] == str(tmp_path / "ppm.toml")


def test_search_finds_names_risks_and_summaries(world):
    rows = ppm("search", "app", "--find-links", world, "--json").json
    assert [(row["name"], row["version"]) for row in rows] == [("app", "3.0.0")]
    assert len(ppm("search", "--find-links", world, "--json").json) == 3
    assert len(ppm("search", "toxicity", "--base", "lab", "--json").json) >= 1
    assert ppm("search", "nothing-like-it", "--find-links", world).err.startswith("No patch matches")
    (world / "broken-1.0.0.ppm").write_bytes(b"no package")
    found = ppm("search", "app", "--find-links", world)
    assert "app" in found.out
    assert "broken-1.0.0.ppm: is not a whole package file" in found.err


def test_download_copies_a_patch_with_what_it_needs(world, tmp_path):
    done = ppm("download", "app<3", "--base", "lab", "--find-links", world, "--dest", tmp_path / "out", "--json")
    assert sorted(os.path.basename(path)[:10] for path in done.json) == ["app-2.0.0-", "core-1.5.0"]  # noqa: PTH119
    ppm("download", "app==1.0.0", "--base", "lab", "-f", world, "--dest", tmp_path / "alone", "--no-deps")
    assert [path.name[:10] for path in (tmp_path / "alone").iterdir()] == ["app-1.0.0-"]
    assert json.loads(done.out)


@pytest.mark.parametrize(("shell", "word"), [("bash", "complete"), ("zsh", "compdef"), ("fish", "complete")])
def test_completion_is_printed_for_each_shell(shell, word):
    assert word in ppm("completion", shell).out


def test_a_lost_or_damaged_current_deployment_can_be_left(world, core, ppm_home):
    deployed(["app"], patch("app", "2.0.0", {"core": "*"}), core)
    ppm("hold", "core")
    for damage in (
        lambda folder: (folder / "current").unlink(),
        lambda folder: next((folder / "deployments").glob("*2/ppm.lock")).write_text("damaged"),
    ):
        damage(next((ppm_home / "environments").iterdir()))
        shown = ppm("history")
        assert (shown.code, "app==1.0.0" in shown.out) == (0, True), shown.err
        assert ppm("history", "--json").code == 0
        back = ppm("rollback", "1")
        assert back.code == 0, back.err
        assert {p["name"]: p["version"] for p in ppm("list", "--json").json["patches"]}["app"] == "1.0.0"
        deployed(["app"], patch("app", "2.0.0", {"core": "*"}), core)


def test_an_upgrade_removes_nothing_that_can_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    deployed(["app"], patch("app"), patch("core"), patch("left"))
    source = write(tmp_path / "dist", patch("app", "2.0.0"), patch("core", "1.1.0"), patch("left", "1.5.0"))
    for arguments, expected in (
        (["core"], {"app": "1.0.0", "core": "1.1.0", "left": "1.0.0"}),
        ([], {"app": "2.0.0", "core": "1.1.0", "left": "1.5.0"}),
    ):
        plan = ppm("upgrade", *arguments, "-f", source, "--dry-run", "--json").json
        assert {p["name"]: p["version"] for p in plan["patches"]} == expected
        assert {name.split("==")[0] for name in plan["removed"]} <= {name.split("==")[0] for name in plan["added"]}


def test_an_uninstall_names_all_that_has_to_go(tmp_path):
    deployed(["c"], patch("c", needs={"a": "*"}), patch("a", needs={"b": "*"}), patch("b"))
    refused = ppm("uninstall", "a", "b")
    assert (refused.code, "hint: uninstall c too" in refused.err) == (1, True)
    assert ppm("uninstall", "a", "b", "c", "--dry-run").code == 0


def test_show_takes_a_name_alone(world):
    refused = ppm("show", "tool==9")
    assert (refused.code, "only a name is allowed here" in refused.err) == (1, True)


def test_upgrades_let_overrides_go_only_upwards_and_one_by_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a, b = patch("a", needs={"core": "<2"}), patch("b", needs={"util": "<2"})
    source = write(tmp_path / "dist", a, b, *(patch(n, v) for n in ("core", "util") for v in ("1.9.0", "2.0.0")))
    write(source, patch("x", needs={"core": "<2"}))
    deployed(["a", "b"], a, b, patch("core", "2.0.0"), patch("util", "2.0.0"), overrides=("core>=2", "util>=2"))

    def versions(*arguments):
        done = ppm(*arguments, "-f", source, "--dry-run", "--json")
        assert done.code == 0, done.err
        return {p["name"]: p["version"] for p in done.json["patches"]}

    assert (versions("upgrade")["core"], versions("upgrade")["util"]) == ("2.0.0", "2.0.0")
    assert ppm("outdated", "-f", source, "--json").json == []
    found = versions("install", "x")
    assert (found["core"], found["util"]) == ("1.9.0", "2.0.0")
    assert ppm("list", "--json").json["overrides"] == ["core>=2", "util>=2"]


def test_what_is_nowhere_any_more_is_told_before_anything_is_planned(world, core, ppm_home, tmp_path):
    next(ppm_home.glob(f"store/sha256/{core.sha256[:2]}/*")).unlink()
    only_newer = write(tmp_path / "newer", patch("core", "1.5.0"), patch("other"))
    refused = ppm("install", "other", "-f", only_newer, "--dry-run")
    assert (refused.code, "core==1.0.0: " in refused.err, "--find-links" in refused.err) == (4, True, True)
    assert ppm("install", "core", "-f", world, "--dry-run").code == 0


def test_an_uninstall_names_a_wish_that_only_the_patch_meets_too():
    deployed(["safety", "c"], patch("a", provides=("safety",)), patch("c", needs={"a": "*"}))
    refused = ppm("uninstall", "a")
    assert (refused.code, "c, safety need a==1.0.0" in refused.err) == (1, True)
    assert "hint: uninstall c safety too" in refused.err
    assert ppm("uninstall", "a", "c", "safety", "--dry-run").code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["search", "app", "--base", "~nobody-here/x", "-f", "dist"],
        ["download", "app", "--base", "~nobody-here/x", "-f", "dist"],
        ["install", "~nobody-here/x.ppm", "--base", "lab"],
        ["add", "~nobody-here/x.ppm", "--base", "lab"],
        ["show", "~nobody-here/x.ppm"],
        ["install", "app", "--strategy", "~nobody-here/own.toml"],
    ],
    ids=" ".join,
)
def test_the_home_of_nobody_is_one_clear_error(world, arguments):
    done = ppm(*arguments)
    assert (done.code, "there is no such user" in done.err) == (1, True)


def test_a_held_patch_whose_file_is_lost_is_told_of_and_not_let_go(world, core, ppm_home, tmp_path):
    ppm("hold", "core")
    next(ppm_home.glob(f"store/sha256/{core.sha256[:2]}/*")).unlink()
    refused = ppm("install", "other", "-f", write(tmp_path / "newer", patch("other")), "--dry-run")
    assert (refused.code, "the store lacks" in refused.err, "unhold" in refused.err) == (4, True, False)
    shown = ppm("verify")
    assert (shown.code, "`ppm install` puts a package file back" in shown.err) == (4, True)


def test_a_renamed_package_file_is_spoken_of_where_it_matters(world):
    file = next(world.glob("app-3.0.0*"))
    file.rename(world / "foo.ppm")
    failed = ppm("install", "app==3.0.0", "--base", "lab", "-f", world, "--dry-run")
    assert (failed.code, "foo.ppm: holds app==3.0.0" in failed.err) == (3, True)


def test_a_record_without_a_schema_is_damaged_and_not_of_another_ppm(world, core, ppm_home):
    deployed(["core"], core)
    next(ppm_home.glob("environments/*/deployments/000002/deployment.toml")).write_text("")
    done = ppm("list")
    assert (done.code, "is damaged: schema is missing" in done.err, "`ppm rollback NUMBER`" in done.err) == (
        4,
        True,
        True,
    )
    assert ppm("rollback", "1").code == 0


def test_where_nothing_is_deployed_it_is_said(ppm_home):
    assert "there are no sources to search" in ppm("search", "x").err
    for command in (["diff"], ["rollback"]):
        done = ppm(*command, "--base", "lab")
        assert (done.code, "nothing is deployed" in done.err) == (1, True)


@pytest.mark.parametrize("command", ["outdated", "upgrade", "uninstall x", "autoremove", "generate x", "audit"])
def test_where_nothing_is_deployed_every_command_says_how_to_start(command, ppm_home):
    start = "start with `ppm install PATCH --base MODEL`"
    done = ppm(*command.split())
    assert (done.code, done.err) == (1, f"error: nothing is deployed\nhint: {start}, or try `ppm quickstart`\n")
    named = ppm(*command.split(), "--base", "lab").err
    assert start in named or named == "Nothing is deployed. Start with `ppm quickstart`.\n"


def test_a_hold_that_is_there_keeps_its_reason(world):
    ppm("hold", "core", "--reason", "audited by hand")
    assert ppm("hold", "core", "app", "--json").json[1]["reason"] == "audited by hand"
    assert [hold["reason"] for hold in ppm("hold", "core", "--reason", "again", "--json").json] == ["", "again"]


def test_an_upgrade_says_what_is_held(world):
    ppm("hold", "core")
    done = ppm("upgrade", "--base", "lab", "-f", world, "--dry-run")
    assert "  note: core==1.0.0 is held" in done.out.splitlines()
    assert "held" not in ppm("install", "tool", "--base", "lab", "-f", world, "--dry-run").out


def test_nothing_is_verified_and_nothing_removed_where_nothing_is_deployed(ppm_home):
    assert "nothing is deployed" in ppm("verify", "--base", "lab").err
    deployed([])
    for _ in range(2):
        done = ppm("autoremove", "--base", "lab")
        assert (done.code, done.out) == (
            0,
            "Resolved for lab:\nNothing to do: deployment 1 already has these patches.\n",
        )


def test_search_helps_along(world):
    (world.parent / "ppm.toml").unlink(missing_ok=True)
    assert "toxicity" in ppm("search", "toxicity").out  # in the sources of the only environment's base
    assert ppm("search", "toxcity", "--base", "lab").err.endswith(
        "No patch matches 'toxcity'; did you mean 'toxicity'?\n"
    )
    assert ppm("search", "zzzz", "--base", "lab").err.endswith("No patch matches 'zzzz'.\n")
    elsewhere = ppm("search", "toxicity", "--base", "lab-gpt2", "--find-links", lab_data() / "packages").err
    assert elsewhere.startswith("No patch matches 'toxicity' for lab-gpt2; there are some for lab-")
    assert "recast" not in elsewhere  # which they don't accept


def test_search_says_which_patches_may_fit_and_where_they_are(tmp_path):
    lab = open_base("lab")
    for name in ("near", "far"):
        made = make_package(name, model="lab", fingerprint=lab.fingerprint)
        manifest = replace(made.manifest, schema=2, base=replace(made.manifest.base, accepts=("derived",)))
        write(tmp_path / name, Package(manifest, made.bank, {**made.files, SKETCH: sketch_of(lab).to_bytes()}))
    both = ("-f", tmp_path / "near", "-f", tmp_path / "far")
    found = ppm("search", "near", "--base", "lab-gpt2", *both).err
    assert found.endswith("; `ppm install` takes them if lab-gpt2 is a recast or requantised copy.\n")
    assert "Source" not in ppm("search", "near", *both).out
    shown = ppm("search", *both).out
    assert shown.splitlines()[0].split() == ["Patch", "Version", "For", "Against", "Summary", "Source"]
    assert all(str(tmp_path / name) in "".join(shown.split()) for name in ("near", "far"))


def test_search_shows_what_an_install_would_take(tmp_path):
    source = write(tmp_path / "dist", patch("tool", "1.0.0"), patch("tool", "2.0rc1"), patch("early", "1.0b1"))
    found = {row["name"]: row["version"] for row in ppm("search", "-f", source, "--json").json}
    assert found == {"tool": "1.0.0", "early": "1.0b1"}


def test_an_audit_says_at_once_that_its_page_can_not_be_written(world, tmp_path):
    refused = ppm("audit", "--base", "lab", "--html", tmp_path / "nowhere" / "audit.html")
    assert (refused.code, f"there is no folder {tmp_path / 'nowhere'}" in refused.err) == (1, True)


def test_a_page_goes_into_a_pipe_and_never_takes_its_place(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_output(tmp_path / "pipe", b"page")
    assert os.read(reader, 10) == b"page"
    os.close(reader)
    (tmp_path / "link").symlink_to(tmp_path / "page")
    write_output(tmp_path / "link", b"page")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "page").read_bytes() == b"page"


def test_a_damaged_file_of_a_source_is_in_no_uninstall_s_way(world):
    rebuilt = patch("core", "1.0.0", value=0.25)
    next(world.glob("core-1.0.0*")).write_bytes(rebuilt.data)
    assert ppm("install", "app", "--base", "lab", "-f", world, "--dry-run").code == 4
    (world.parent / "ppm.toml").write_text('base = "lab"\nsources = ["dist"]\n')
    assert ppm("uninstall", "tool", "--dry-run").code == 0


def test_compositions_in_a_source_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for strategy in ("concat", "merged"):
        assert (
            ppm("compose", "toxicity", "gender-bias", "--base", "lab", "--strategy", strategy, "-o", "dist").code == 0
        )
    names = [row["name"] for row in ppm("search", "toxicity", "--base", "lab", "-f", "dist", "--json").json]
    assert names == ["toxicity", "toxicity-gender-bias-concat", "toxicity-gender-bias-merged"]
    shown = ppm("search", "merged", "--base", "lab", "-f", "dist").out
    assert "merged of toxicity 1.0.0, gender-bias 1.0.0" in shown
    assert "concat" not in shown
    (tmp_path / "empty").mkdir()
    assert ppm("search", "-f", "empty").err == "The sources have no patches.\n"
    assert ppm("search", "no such", "-f", "empty").err == "No patch matches 'no such'.\n"


def test_a_strategy_is_found_from_the_project_in_its_file_and_from_here_when_typed(tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "sub").mkdir()
    recipe = 'schema = 1\nname = "mine"\n[[steps]]\nuse = "average"\n'
    for name in ("recipes/mine", "sub/mine.toml"):
        (tmp_path / name).write_text(recipe)
    (tmp_path / "ppm.toml").write_text('base = "lab"\nstrategy = "recipes/mine"\n')
    monkeypatch.chdir(tmp_path / "sub")
    planned = ("install", "toxicity", "--dry-run", "--json")
    assert ppm(*planned).json["strategy"] == str(tmp_path / "recipes" / "mine")
    assert ppm(*planned, "--strategy", "mine.toml").json["strategy"] == str(tmp_path / "sub" / "mine.toml")
    refused = ppm(*planned, "--strategy", "recipes/mine")
    assert (refused.code, "there is no strategy 'recipes/mine'" in refused.err) == (1, True)
