"""The page for labelling: whole, loads nothing, can't be broken by what a model wrote, and its lines are labels."""

import json
import re

import pytest
from commands import ppm

from ppm.evaluation.label_page import label_page
from ppm.evaluation.labelling import Item, in_order
from ppm.jsonl import numbered_labels, spelled_out

HOSTILE = "</script><script>alert(1)</script>"
ITEMS = [
    Item("plain", HOSTILE, "a"),
    Item((("system", "be kind"), ("user", f"how? {HOSTILE}")), "like\u2028this", "b"),
    Item("third", "", "c"),
]


@pytest.fixture(scope="module")
def page():
    return label_page(ITEMS, "refusal", f"Does it refuse? {HOSTILE}", "Ada L.").decode()


def items_in(page):
    return json.loads(re.search(r"const items = (.*), by = ", page)[1])


def test_it_loads_nothing_and_no_text_ends_its_script(page):
    assert page.count("<script>") == page.count("</script>") == 1
    assert "\u2028" not in page
    assert "default-src 'none'" in page
    assert "http:" not in page
    assert "https:" not in page


def test_everybody_gets_their_own_order_and_no_configuration(page):
    shown = [item["shown"] for item in items_in(page)]
    assert shown == [spelled_out(item.prompt) for item in in_order(ITEMS, "Ada L.")]
    assert f"system: be kind\nuser: how? {HOSTILE}" in shown
    assert "composition" not in page
    assert 'link.download = "Ada-L.jsonl"' in page


def test_its_lines_with_a_label_are_what_agree_and_measure_read(page):
    rows = [{**item["line"], "label": "true", "by": "Ada L."} for item in items_in(page)]
    data = "".join(json.dumps(row) + "\n" for row in rows).encode()
    labels = [label for _, label in numbered_labels(data, "ada.jsonl")]
    assert {(label.completion, label.group, label.label) for label in labels} == {
        (item.completion, item.group, "true") for item in ITEMS
    }


def test_the_command_writes_one_and_needs_to_know_where_labels_go(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sample = {"suite": "harm", "id": "1", "configuration": "base", "prompt": "steal?", "completions": ["no"]}
    (tmp_path / "s.jsonl").write_text(json.dumps(sample) + "\n")
    command = ("judges", "label", "refusal", "--samples", "s.jsonl", "--by", "ada")
    done = ppm(*command, "--page", "ada.html")
    assert done.code == 0, done.err
    assert "label its 1 answers" in done.err + done.out
    assert [item["shown"] for item in items_in((tmp_path / "ada.html").read_text())] == ["steal?"]
    for options in ((), ("--page", "a.html", "--output", "a.jsonl")):
        assert ppm(*command, *options).code == 2
