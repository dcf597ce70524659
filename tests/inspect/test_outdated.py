"""What there is that is newer than what is deployed, and what is in the way."""

import pytest
from commands import ppm
from integration.deployed import app_and_tool, patch, write


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return app_and_tool(tmp_path / "dist")


def test_outdated_tells_what_an_upgrade_takes_and_what_is_newest(world):
    rows = ppm("outdated", "--find-links", world, "--json").json
    assert [(r["name"], r["version"], r["wanted"], r["latest"]) for r in rows] == [
        ("app", "1.0.0", "2.0.0", "3.0.0"),
        ("core", "1.0.0", "1.5.0", "1.5.0"),
    ]
    assert "tool" in ppm("outdated", "--find-links", world, "--all").out
    table = ppm("outdated", "--find-links", world).out.splitlines()
    assert table[0].split() == ["Patch", "Deployed", "Upgrade", "Newest"]
    assert ppm("outdated").err.splitlines() == [
        "Not found in any source: app, core, tool. Add the folder that has them with --find-links DIR."
    ]


def test_outdated_tells_patches_that_are_up_to_date_from_those_no_source_has(world, tmp_path):
    one = write(tmp_path / "one", patch("core"))
    told = ppm("outdated", "-f", one)
    assert (told.out, told.err.splitlines()) == (
        "",
        [
            "Up to date: core.",
            "Not found in any source: app, tool. Add the folder that has them with --find-links DIR.",
        ],
    )
    for package in (patch("app", "1.0.0", {"core": ">=1"}), patch("tool", "2.0.0", {"core": "*"})):
        write(one, package)
    assert ppm("outdated", "-f", one).err == "Every deployed patch is the newest version in the sources.\n"


def test_outdated_names_yanked_and_held_versions(world):
    file = next(world.glob("tool-*.ppm"))
    file.with_name(file.name + ".yanked").write_text("breaks refusals")
    assert ppm("hold", "app").code == 0
    rows = {r["name"]: r for r in ppm("outdated", "--find-links", world, "--all", "--json").json}
    assert rows["tool"]["note"] == "deployed version was yanked: breaks refusals"
    assert (rows["app"]["note"], rows["app"]["wanted"], rows["app"]["latest"]) == ("held", "1.0.0", "3.0.0")
