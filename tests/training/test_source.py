"""Source manifests: what a suite's judge and a filter judge may be, told before anything is trained."""

import pytest
from tiny import write_patch

from ppm.errors import ManifestError
from ppm.training.source import read_source

LEXICON = '{ name = "lexicon", words = "suites/bad.txt" }'


def source(tmp_path, judge):
    manifest = write_patch(tmp_path / "patch", tmp_path / "base") / "patch.toml"
    text = manifest.read_text()
    assert LEXICON in text
    manifest.write_text(text.replace(LEXICON, judge))
    return manifest


def test_a_suite_that_would_be_packaged_names_no_folder(tmp_path):
    with pytest.raises(ManifestError, match="never a folder") as caught:
        read_source(source(tmp_path, f'{{ name = "detoxify", model = "{tmp_path}" }}'))
    assert "suite kind" in caught.value.context
    assert "NAME@COMMIT" in caught.value.hint


def test_a_hub_model_with_its_commit_is_taken(tmp_path):
    read = read_source(source(tmp_path, f'{{ name = "detoxify", model = "some/judge@{"0" * 40}" }}'))
    assert read.manifest.suites[0].judge.name == "detoxify"
