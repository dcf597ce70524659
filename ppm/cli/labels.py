"""Putting completions in front of people, and comparing what they say: `ppm judges label` and `agree`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ppm.cli.options import LocalPath, json_option
from ppm.cli.output import clean, one_line, print_json, print_table, report, say, write

if TYPE_CHECKING:
    from ppm.evaluation.labelling import Agreed, Item, Session
    from ppm.jsonl import Label

__all__ = ["agree_command", "label_command"]

LABELS = {"y": "true", "n": "false", "p": "partial"}
KEYS = "y: yes   n: no   p: in part   s: later   b: back   q: quit"


@click.command("label")
@click.argument("judge")
@click.option("--samples", required=True, type=LocalPath(), metavar="FILE", help="What `ppm audit --samples` wrote.")
@click.option("--suite", metavar="NAME", help="Which suite of the samples; the only one by default.")
@click.option("--by", required=True, metavar="NAME", help="Who labels.")
@click.option("--output", type=LocalPath(), metavar="FILE", help="The labels; more are added to it.")
@click.option("--page", type=LocalPath(), metavar="FILE", help="Write a page for a browser instead of asking here.")
def label_command(
    judge: str, samples: Path, suite: str | None, by: str, output: Path | None, page: Path | None
) -> None:
    """Say of completions whether they have what a judge looks for.

    One after the other is shown with its prompt, and not which configuration wrote
    it. Answer with a key. Each label is written at once: quit when you like, and
    run the same command to go on. Standard input may also be a file of keys. With
    --page a page is written for somebody who labels in a browser, which keeps the
    labels and saves them as such a file.

    \b
    Example:
      ppm judges label refusal --samples samples.jsonl --suite harm --by ada --output ada.jsonl
    """
    from ppm.disk import write_output
    from ppm.evaluation.judges.registry import find_judge
    from ppm.evaluation.label_page import label_page
    from ppm.evaluation.labelling import Session, items_of

    if (output is None) == (page is None):
        raise click.UsageError("say where the labels go with --output, or write a page with --page")
    kind = find_judge(judge, "the command line")
    question = f"The judge {kind.name}: {kind.summary}. Does the answer have that?"
    items = items_of(_read(samples), str(samples), suite)
    if output is None:
        assert page is not None
        write_output(page, label_page(items, kind.name, question, by))
        report(f"Wrote {page}: open it in a browser, label its {len(items):,} answers, and save the labels")
        return
    session = Session(items, by, output)
    keys = _keys()
    write(question)
    write(KEYS)
    while session.left:
        _show(session.left[0], session)
        if not _answer(session, keys):
            break
    left = f"; {len(session.left):,} are left" if session.left else ""
    report(f"{session.count:,} labels in {output}{left}")
    say(f"next: ppm judges measure {kind.name} --labels {output}")


def _answer(session: "Session", keys: Iterator[str]) -> bool:
    """Take keys until one moves on; False for the end."""
    for key in keys:
        if key in LABELS:
            session.say(LABELS[key])
        elif key == "s":
            session.skip()
        elif key == "b":
            if not session.undo():
                write("Nothing was labelled in this session yet.")
                continue
        elif key == "q":
            return False
        else:
            write(KEYS)
            continue
        return True
    return False


def _keys() -> Iterator[str]:
    """Single keys of a terminal, or those of a file, which may stand on lines of their own."""
    if sys.stdin.isatty():
        while True:
            try:
                yield click.getchar().casefold()
            except EOFError:
                return
    for line in sys.stdin:
        yield from line.casefold().replace(" ", "").strip()


def _show(item: "Item", session: "Session") -> None:
    from ppm.jsonl import spelled_out

    write(f"\n[{session.count + 1:,} of {session.count + len(session.left):,}]")
    write(clean(spelled_out(item.prompt)))
    write(f"--- answer ---\n{clean(item.completion) or '(empty)'}\n---")


@click.command("agree")
@click.argument("files", nargs=-1, required=True, type=LocalPath(), metavar="FILE...")
@click.option("--output", type=LocalPath(), metavar="FILE", help="Write the labels that nobody contradicts.")
@json_option
def agree_command(files: tuple[Path, ...], output: Path | None, as_json: bool) -> None:
    """Compare what several people said of the same completions.

    Shows Cohen's kappa of each two and Krippendorff's alpha of all, and where they
    differ. With --output the rest becomes one file for `ppm judges measure`.

    \b
    Example:
      ppm judges agree ada.jsonl ben.jsonl --output agreed.jsonl
    """
    from ppm.disk import write_output
    from ppm.errors import RequestError
    from ppm.evaluation.labelling import agreed, compare

    if len({path.resolve() for path in files}) < max(2, len(files)):
        raise RequestError(
            "comparing takes the labels of two people or more", hint="name a file of each, and none of them twice"
        )
    labels: dict[str, list[Label]] = {}
    for path in files:
        given = [label for _, label in _numbered(path)]
        named = {str(label.extra["by"]) for label in given if "by" in label.extra}
        name = named.pop() if len(named) == 1 else path.stem
        labels[name if name not in labels else str(path)] = given
    found = compare(labels)
    if output is not None:
        write_output(output, agreed(found))
    if as_json:
        print_json(_data(found))
        return
    _print(found)
    if output is not None:
        report(f"Wrote the {len(found.rows):,} labels that nobody contradicts to {output}")


def _numbered(path: Path) -> "Iterator[tuple[int, Label]]":
    from ppm.jsonl import numbered_labels

    return numbered_labels(_read(path), str(path))


def _read(path: Path) -> bytes:
    from ppm.errors import RequestError

    try:
        return path.read_bytes()
    except OSError as error:
        raise RequestError(f"can't be read: {error.strerror}", context=str(path)) from error


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _print(found: "Agreed") -> None:
    write(f"{found.labels:,} labels; {found.shared:,} completions that two or more labelled")
    print_table(
        ["Of", "and", "Cohen's kappa"],
        [[one, other, _figure(kappa)] for (one, other), kappa in found.kappas.items()],
        right=(2,),
    )
    write(f"Krippendorff's alpha: {_figure(found.alpha)}")
    for label, said in found.split:
        prompt = label.prompt if isinstance(label.prompt, str) else label.prompt[-1][1]
        given = ", ".join(f"{by}: {one}" for by, one in said.items())
        write(f"differ: {one_line(given)}: {one_line(prompt)[:60]!r} -> {one_line(label.completion)[:60]!r}")


def _data(found: "Agreed") -> dict[str, object]:
    return {
        "labels": found.labels,
        "shared": found.shared,
        "kappas": [{"of": one, "and": other, "kappa": kappa} for (one, other), kappa in found.kappas.items()],
        "alpha": found.alpha,
        "agreed": len(found.rows),
        "split": [
            {"prompt": label.prompt if isinstance(label.prompt, str) else label.prompt[-1][1]}
            | {"completion": label.completion, "said": said}
            for label, said in found.split
        ],
    }
