"""What triggers find by how deep they read, which is what a request costs where one fires.

    python benchmarks/trigger_depths.py BASE MANIFEST... [--dtype bfloat16] [--layers 12,15,18,22 10 ...] [--wholes]

BASE is a name such as smollm2 or a folder, MANIFEST the folder of a patch's text. For each patch and choice of layers
it prints what a trigger finds of the ranking prompts, in groups that the fit did not see, and how many passes over a
prompt it takes where the trigger fires: up to the last of the layers, and once more with the patch. No suite is read.
With --wholes triggers read what a user says as a whole alone, and not each sentence, too.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ppm.evaluation.ordinary import has_room, takes_requests
from ppm.running import Running
from ppm.runtime.loading import LoadedBase, load_base
from ppm.training.source import read_source
from ppm.training.trigger import Example, examples_of, fit_on, gather_examples, layers_on
from ppm.workspace import open_base

SHALLOW = ("10", "5,7,10", "12", "15,22")
"""Layers of a base that has 30."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("manifests", nargs="+", type=Path)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--layers", nargs="+", default=SHALLOW, help="what is compared with the layers of a build")
    parser.add_argument("--wholes", action="store_true", help="no sentences by themselves")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = open_base(options.base)
    base = load_base(model, running=Running(options.dtype))
    choices = [layers_on(base), *(tuple(int(layer) for layer in text.split(",")) for text in options.layers)]
    for manifest in options.manifests:
        source = read_source(manifest)
        rows = examples_of(source, chats=takes_requests(model), plain=has_room(model))
        compare(base, manifest.name, rows, choices, wholes=options.wholes)


def compare(
    base: LoadedBase, name: str, rows: Sequence[Example], choices: Sequence[tuple[int, ...]], *, wholes: bool
) -> None:
    """Fit a patch's trigger on each choice of layers, and print what it does; the prompts are read once."""
    every = tuple(sorted({layer for layers in choices for layer in layers}))
    material = gather_examples(base, rows, every)
    if wholes:
        material = material.wholes

    def at(layers: tuple[int, ...], readings: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        chunks = (dict(zip(every, own.chunk(len(every), dim=1), strict=True)) for own in readings)
        return [torch.cat([own[layer] for layer in layers], dim=1) for own in chunks]

    for layers in choices:
        examples, compounds = at(layers, material.readings), at(layers, material.compound_readings)
        fitted = fit_on(replace(material, layers=layers, readings=examples, compound_readings=compounds), rows)
        cost = 1 + max(layers) / base.model.config.num_hidden_layers
        print(f"{name}, layers {', '.join(map(str, layers))}: {cost:.2f} passes; {fitted.words()}", flush=True)


if __name__ == "__main__":
    main()
