"""Makes small real packages for tests, without any model."""

from collections.abc import Mapping
from typing import Any

import numpy

from ppm.bank import Bank, Block, Router, Trigger
from ppm.bank_table import Turn
from ppm.jsonl import Benign, Pair, Prompt, dump
from ppm.manifest import Base, Manifest, Patch, PrefixShape, Replay, Retention
from ppm.package import Package
from ppm.suite import Judge, Suite

FINGERPRINT = "sha256:" + "0123456789abcdef" * 4


def make_bank(virtual_tokens: int = 2, hidden_size: int = 4, value: float = 0.5) -> Bank:
    """A bank of one block with one value everywhere."""
    values = numpy.full((virtual_tokens, hidden_size), value, dtype=numpy.float32)
    return Bank((Block(values.shape, values.tobytes()),))


def make_package(
    name: str = "toxicity",
    version: str = "1.0.0",
    *,
    fingerprint: str = FINGERPRINT,
    model: str = "acme/tiny",
    dependencies: Mapping[str, str] | None = None,
    conflicts: Mapping[str, str] | None = None,
    provides: tuple[str, ...] = (),
    replaces: Mapping[str, str] | None = None,
    value: float = 0.5,
    **manifest: Any,
) -> Package:
    """A valid package with one suite of three prompts, two replay pairs and two retention prompts."""
    files = {
        "suites/main.jsonl": dump([Prompt(str(i), f"{name} question {i}") for i in range(3)]),
        "suites/words.txt": b"fool\nclown\n",
        "replay.jsonl": dump([Pair(f"{name} replay {i}", "thank you", "you fool") for i in range(2)]),
        "retention.jsonl": dump([Benign(f"benign {i}") for i in range(2)]),
    }
    return Package(
        Manifest(
            schema=1,
            patch=Patch(
                name,
                version,
                risks=(name,),
                summary="A test.",
                license="Apache-2.0",
                provides=provides,
                replaces=dict(replaces or {}),
            ),
            base=Base(model, fingerprint=fingerprint),
            prefix=PrefixShape(2),
            dependencies=dict(dependencies or {}),
            conflicts=dict(conflicts or {}),
            suites=(Suite("main", "suites/main.jsonl", Judge("lexicon", {"words": "suites/words.txt"})),),
            replay=Replay(),
            retention=Retention(),
            **manifest,
        ),
        make_bank(value=value),
        files,
    )


def make_trigger(hidden_size: int = 4, *, threshold: float = 0.5, bias: float = 0.0) -> Trigger:
    """A trigger that weighs all features of one layer alike."""
    return Trigger(threshold, numpy.ones(3 * hidden_size, dtype="<f4").tobytes(), numpy.float32(bias).tobytes())


def make_routed(turn: Turn | None = None, *, layer: int = 1, **trigger: Any) -> Bank:
    """A routed bank of one block."""
    return make_bank().routed(Router((make_trigger(**trigger),), (layer,), turn))
