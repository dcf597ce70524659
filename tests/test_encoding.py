"""A byte order mark and the line ends of another system change nothing that is read."""

import codecs

import pytest
from environment.samples import lock_of
from packages import make_package

from ppm import document
from ppm.errors import PpmError
from ppm.install.request import read_lines
from ppm.jsonl import read_benign, read_pairs, read_prompts
from ppm.lock import Lock
from ppm.manifest import Manifest

PROMPTS = b'{"id": "a", "prompt": "one"}\n{"id": "b", "prompt": "two"}\n'
PAIRS = b'{"prompt": "one", "chosen": "good", "rejected": "bad"}\n'
BENIGN = b'{"prompt": "one", "completion": "fine"}\n{"prompt": "two"}\n'
TOML = b'base = "lab"\n# why\npatches = ["toxicity"]\n'
REQUIREMENTS = b"toxicity==1.0.0\n# why\ngender-bias>=1,<2\n"


def in_forms(data):
    windows = data.replace(b"\n", b"\r\n")
    return (data, codecs.BOM_UTF8 + data, windows, codecs.BOM_UTF8 + windows, codecs.BOM_UTF8 + data.rstrip(b"\n"))


def requirements_in(data, folder):
    (folder / "r.txt").write_bytes(data)
    return [line.requirement.text for line in read_lines(folder / "r.txt")]


@pytest.mark.parametrize(
    ("data", "read"),
    [
        (PROMPTS, lambda data, _: read_prompts(data, "the file")),
        (PAIRS, lambda data, _: read_pairs(data, "the file")),
        (BENIGN, lambda data, _: read_benign(data, "the file")),
        (TOML, lambda data, _: document.parse(data, "the file")),
        (make_package().manifest.render().encode(), lambda data, _: Manifest.parse(data, "the file")),
        (lock_of(make_package()).render().encode(), lambda data, _: Lock.parse(data, "the file")),
        (REQUIREMENTS, requirements_in),
    ],
    ids=["prompts", "pairs", "benign", "toml", "manifest", "lock", "requirements"],
)
def test_every_form_of_a_file_says_the_same(tmp_path, data, read):
    plain = read(data, tmp_path)
    assert plain
    assert all(read(form, tmp_path) == plain for form in in_forms(data))


@pytest.mark.parametrize("data", [codecs.BOM_UTF16_LE + "base = 1".encode("utf-16-le"), b"\xff", b"a\xef\xbb"])
def test_what_is_not_utf_8_is_told(data):
    with pytest.raises(PpmError, match="not UTF-8"):
        document.parse(data, "the file")


def test_a_mark_within_a_file_is_a_character_like_others():
    assert read_benign('{"prompt": "\ufeff"}'.encode(), "the file")[0].prompt == "\ufeff"
