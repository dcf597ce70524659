"""Patches that want opposite things, through the commands: refused, and composed where one is preferred."""

from dataclasses import replace
from pathlib import Path

import pytest
from commands import ppm

from ppm.base import locate
from ppm.jsonl import Pair, dump
from ppm.package import Package, read_package, write_package

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("answered")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The lab's patch against toxicity under another name, whose replay pairs want what that one rejects."""
    [path] = (locate("lab").parent / "packages").glob("toxicity-*.ppm")
    package = read_package(path)
    swapped = [Pair(pair.prompt, pair.rejected, pair.chosen) for pair in package.replay]
    manifest = replace(package.manifest, patch=replace(package.manifest.patch, name="rudeness", version="1.0.0"))
    folder = tmp_path_factory.mktemp("swapped")
    write_package(Package(manifest, package.bank, {**package.files, "replay.jsonl": dump(swapped)}), folder)
    return folder


def install(folder: Path, *more: str):
    return ppm(
        "install", "toxicity", "rudeness", "--find-links", folder, "--base", "lab", "--strategy", "merged", *more
    )


def test_they_are_refused_before_anything_is_composed(folder):
    result = install(folder)
    assert result.code == 3, result.err
    assert "some patches want opposite things" in result.err
    assert "toxicity and rudeness: what one answers, the other rejects" in result.err
    assert "toxicity says" in result.err
    assert "--prefer 'toxicity>rudeness'" in result.err
    assert "Composing" not in result.err
    assert ppm("list", "--base", "lab", "--json").json["patches"] == []


def test_composing_without_tests_is_refused_too(folder, tmp_path):
    words = ["compose", "toxicity", "rudeness", "--find-links", folder, "--base", "lab", "--strategy", "concat"]
    refused = ppm(*words, "--output", tmp_path)
    assert (refused.code, list(tmp_path.iterdir())) == (3, [])
    made = ppm(*words, "--output", tmp_path, "--prefer", "toxicity>rudeness")
    assert made.code == 0, made.err


def test_one_that_is_preferred_counts_and_stays_preferred(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("PPM_HOME", str(tmp_path))
    first = install(folder, "--prefer", "toxicity>rudeness", "--json")  # the mean of one prefix and itself
    assert (first.code, first.json["audit"]["verdict"]) == (0, "pass"), first.err
    again = install(folder, "--force", "--dry-run")
    assert again.code == 0, again.err
    again = install(folder, "--force", "--json")
    assert again.code == 0, again.err


def test_preferring_both_or_a_patch_that_is_not_there_is_refused(folder):
    both = install(folder, "--prefer", "toxicity>rudeness", "--prefer", "rudeness>toxicity")
    assert both.code == 1
    assert "and the opposite" in both.err
    absent = install(folder, "--prefer", "toxicity>rude")
    assert absent.code == 1
    assert "'rude', which is none of the patches" in absent.err


@pytest.mark.parametrize("entry", ["toxicity", "toxicity>toxicity", ">toxicity"])
def test_a_preference_that_makes_no_sense_is_one_message(folder, entry):
    result = install(folder, "--prefer", entry)
    assert result.code == 2
    assert "--prefer" in result.err
    assert ("quote it" in result.err) is (">" not in entry)
    assert ("latency, loss, tokens" in result.err) is (">" not in entry)
