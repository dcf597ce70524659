"""Pages on an index in a real browser, under their own rules: no wider than a phone, and with their search at work."""

import json
import re

import pytest
from browser import browse, needs_browser
from index.indexes import make_index
from packages import make_package
from test_index_pages import full_index, hostile_package, write

from ppm.index import pages

pytestmark = [pytest.mark.slow, needs_browser]


def said(folder, page, script, width=800):
    """What a script outside a page finds in it; `frame` is its window. The page has its own rules, and no server."""
    path = folder / "outside.html"
    path.write_text(
        f'<!doctype html><title></title><iframe width="{width}" height="900" src="{page}"></iframe><script>'
        "const settled = () => new Promise(done => setTimeout(done, 200));"
        "const type = async text => { const box = frame.document.getElementById('query'); box.value = text;"
        " box.dispatchEvent(new frame.Event('input')); await settled(); };"
        "const found = () => [...frame.document.querySelectorAll('#found .name')].map(one => one.textContent);"
        "let frame; addEventListener('load', async () => { frame = frames[0];"
        f" document.title = JSON.stringify(await ({script})()); }});</script>"
    )
    flags = ("--allow-file-access-from-files", "--virtual-time-budget=5000", "--dump-dom")
    return json.loads(re.search(r"<title>(.*?)</title>", browse(folder, *flags, path.as_uri()), re.DOTALL)[1])


@pytest.mark.parametrize("width", [400, 1200])
def test_nothing_is_wider_than_the_window(tmp_path, width):
    owned = make_index(tmp_path / "index", hostile_package(), make_package("a" * 100, "1.0.0+" + "1" * 30))
    write(owned, tmp_path / "site")
    for page in ("index.html", "signing.html", "patches/toxicity.html", f"patches/{'a' * 100}.html"):
        script = "async () => frame.document.documentElement.scrollWidth"
        assert 300 < said(tmp_path, f"site/{page}", script, width) <= width, page


@pytest.mark.parametrize("each", [500, 2], ids=["one page", "several pages"])
def test_the_search_leaves_what_has_all_words(tmp_path, monkeypatch, each):
    monkeypatch.setattr(pages, "EACH", each)
    write(full_index(tmp_path / "index"), tmp_path / "site")
    script = """async () => {
      const seen = [];
      for (const text of ["ACME tox", "other", "nothing at all", "tiny", ""]) {
        await type(text);
        seen.push([found(), frame.document.getElementById("told").textContent]);
      }
      return seen;
    }"""
    everything = ["app", "guard", "lone", "toxicity"]
    assert said(tmp_path, "site/index.html", script) == [
        [["toxicity"], "1 of 4 patches."],
        [["lone", "toxicity"], "2 of 4 patches."],
        [[], "0 of 4 patches."],
        [everything, "4 of 4 patches."],
        [everything if each > 4 else [], ""],
    ]


def test_a_command_is_copied_in_one_line(tmp_path):
    write(make_index(tmp_path / "index", make_package()), tmp_path / "site")
    script = """async () => {
      const chosen = frame.getSelection();
      chosen.selectAllChildren(frame.document.querySelector("pre code"));
      return chosen.toString();
    }"""
    found = said(tmp_path, "site/patches/toxicity.html", script, 400)
    assert re.fullmatch(
        r"ppm source add acme https://patches.example.org/index --fingerprint sha256:[0-9a-f]{64}", found
    )
