"""A page on which a person labels completions: one file for a browser, which loads nothing and sends nothing.

Its labels are kept by the browser until they are saved as a file, in the form that `ppm judges agree` and `measure`
read.
"""

import json
import re
from collections.abc import Sequence

from ppm.evaluation.labelling import Item, in_order
from ppm.jsonl import Label, dump, spelled_out
from ppm.names import canonical_digest
from ppm.page import render, script

__all__ = ["label_page"]


def label_page(items: Sequence[Item], judge: str, question: str, by: str) -> bytes:
    """The page for one person, with the items in this person's order.

    Whatever the browser has of this person's labels for this judge is taken up again, by what was labelled.
    """
    rows = [
        {"id": canonical_digest(item.key)[7:23], "shown": spelled_out(item.prompt), "line": _line(item)}
        for item in in_order(items, by)
    ]
    file = f"{re.sub(r'[^A-Za-z0-9_-]+', '-', by).strip('-') or 'labels'}.jsonl"
    return render(
        "evaluation/label_page.html",
        judge=judge,
        question=question,
        by=by,
        count=len(rows),
        items=script(rows),
        name=script(by),
        file=script(file),
        place=script(f"ppm labels: {judge}, {by}"),
    )


def _line(item: Item) -> dict[str, object]:
    """The line of a label that is still to be said."""
    line: dict[str, object] = json.loads(dump([Label(item.prompt, item.completion, "", item.group)]))
    return line
