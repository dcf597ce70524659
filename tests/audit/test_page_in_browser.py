"""The pages for people in a real browser: as wide as a phone, on paper, and with their filter and keys at work."""

import re
from html import escape

import pytest
from browser import browse, needs_browser
from test_page import render

from ppm.evaluation.label_page import label_page
from ppm.evaluation.labelling import Item

pytestmark = [pytest.mark.slow, needs_browser]


def said(folder, page, script):
    """What a script finds on a page, whose own rules would not let it run."""
    path = folder / "page.html"
    free = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    path.write_text(free.replace("</body>", f"<script>document.title = String({script})</script></body>"))
    dom = browse(folder, "--virtual-time-budget=2000", "--dump-dom", path.as_uri())
    return re.search(r"<title>(.*?)</title>", dom, re.DOTALL)[1]


@pytest.mark.parametrize("width", [400, 1200])
def test_nothing_is_wider_than_the_window(tmp_path, width):
    frame = f'<iframe width="{width}" height="900" srcdoc="{escape(render())}"></iframe>'
    framed = f"<html><title></title><body>{frame}</body></html>"
    waits = "addEventListener('load', () => { document.title = frames[0].document.documentElement.scrollWidth; })"
    found = said(tmp_path, framed, waits)
    assert 300 < int(found) <= width


def test_the_filter_leaves_what_the_composition_alone_fails(tmp_path):
    count = "[...document.querySelectorAll('td.text.fail')].filter(cell => cell.offsetParent).length"
    script = f"(() => {{ const all = {count}; document.getElementById('alone').click(); return [all, {count}] }})()"
    assert said(tmp_path, render(), script) == "2,1"


def test_it_prints_on_a4(tmp_path):
    (tmp_path / "page.html").write_text(render())
    browse(tmp_path, f"--print-to-pdf={tmp_path / 'page.pdf'}", (tmp_path / "page.html").as_uri())
    box = re.search(rb"/MediaBox ?\[0 0 ([\d.]+) ([\d.]+)\]", (tmp_path / "page.pdf").read_bytes())
    assert [round(float(side)) for side in box.groups()] == [595, 842]


def test_a_page_s_own_rules_let_its_script_and_style_in(tmp_path):
    path = tmp_path / "page.html"
    path.write_bytes(label_page([Item("question", "answer", "g")], "refusal", "?", "ada"))
    dom = browse(tmp_path, "--virtual-time-budget=2000", "--dump-dom", path.as_uri())
    assert '<pre id="prompt">question</pre>' in dom


def test_keys_label_go_back_and_save(tmp_path):
    items = [Item(f"question {i}", f"answer {i}", f"g{i}") for i in range(3)]
    page = label_page(items, "refusal", "Does it refuse?", "ada").decode()
    script = """(() => {
      const press = key => document.dispatchEvent(new KeyboardEvent("keydown", {key}));
      ["y", "s", "n", "b", "p", "y"].forEach(press);
      let blob; URL.createObjectURL = made => { blob = made; return "#"; };
      press("w");
      blob.text().then(text => { document.title = text; });
      return "";
    })()"""
    labels = re.findall(r'"label":"(\w+)"', said(tmp_path, page, script))
    assert sorted(labels) == ["partial", "true", "true"]


def test_a_page_with_more_answers_goes_on_where_the_last_one_was(tmp_path):
    items = [Item(f"question {i}", f"answer {i}", f"g{i}") for i in range(4)]
    first, longer = (escape(label_page(items[:n], "refusal", "?", "ada").decode()) for n in (2, 4))
    frames = f'<html><title></title><body><iframe srcdoc="{first}"></iframe><template>{longer}</template></body></html>'
    # One window for both, as a browser that ends may not have written what it keeps.
    script = """addEventListener("load", () => {
      const where = frame => frame.contentDocument.getElementById("where").textContent;
      const [first, longer] = [document.querySelector("iframe"), document.createElement("iframe")];
      first.contentDocument.dispatchEvent(new first.contentWindow.KeyboardEvent("keydown", {key: "y"}));
      longer.onload = () => { document.title = [where(first), where(longer)]; };
      longer.srcdoc = document.querySelector("template").content.textContent;
      document.body.append(longer);
    })"""
    assert said(tmp_path, frames, script) == "2 of 2,2 of 4"
