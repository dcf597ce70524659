"""How many completions change with what stands beside them in a batch, in dtypes that round too much to rule it out."""

import random
from collections.abc import Sequence

from ppm.evaluation.results import RESULTS_VERSION, Configuration, ResultStore
from ppm.evaluation.suites import LoadedSuite
from ppm.manifest import Placement
from ppm.names import canonical_digest
from ppm.runtime.loading import LazyModel

__all__ = ["flip_note"]

PROMPTS = 12
"""Prompts of one suite that are answered in two batchings, by the first and the last configuration."""
OTHER_BATCH = 5


def flip_note(
    lazy: LazyModel,
    configurations: Sequence[Configuration],
    suites: Sequence[LoadedSuite],
    *,
    placement: Placement,
    store: ResultStore | None,
    measure: bool,
) -> tuple[str, ...]:
    """What an audit says of it: nothing in float32, where completions are the same, or where no suite has any.

    With `measure` it is measured, which takes the model; else only what is kept of an earlier time is told.
    """
    written = [suite for suite in suites if suite.measure.is_rate and suite.scorer.next_token is None]
    dtype = lazy.running.dtype
    if dtype in (None, "float32") or not written:
        return ()
    asked = list(dict.fromkeys((configurations[0], configurations[-1])))
    name = ["flips", RESULTS_VERSION, placement, written[0].digest, *(c.bank.digest for c in asked if c.bank)]
    key = canonical_digest([*name, store.weights if store else ""]).removeprefix("sha256:")
    kept = store.get(key) if store is not None else {}
    if not kept and not measure:
        return ()
    if not kept:
        share, total = _measured(lazy, asked, written[0], placement)
        kept = {"share": (share, ()), "completions": (float(total), ())}
        if store is not None:
            store.put(key, kept)
    share, total = kept["share"][0], round(kept["completions"][0])
    return (
        f"in {dtype}, {share:.1%} of {total} completions change with what stands beside them in a batch "
        f"(suite {written[0].label})",
    )


def _measured(
    lazy: LazyModel, configurations: Sequence[Configuration], suite: LoadedSuite, placement: Placement
) -> tuple[float, int]:
    """The share of completions that two batchings make otherwise, and how many were made."""
    from ppm.evaluation.generation import Completion, generate, noise_key
    from ppm.runtime.model import UNPATCHED, attach
    from ppm.runtime.text import encoder_of

    base = lazy.loaded
    patched = [c for c in configurations if c.bank]
    model = attach(base.model, [c.bank for c in patched], placement=placement, kept=base.kept)
    encoder, decoding = encoder_of(base), suite.suite.decoding
    wanted = [
        Completion(
            patched.index(configuration) if configuration.bank else UNPATCHED,
            encoder.prompt(prompt.prompt),
            decoding,
            noise_key(suite.digest, prompt.id, 0, decoding.seed),
        )
        for prompt in suite.prompts[:PROMPTS]
        for configuration in configurations
    ]
    order = random.Random(0).sample(range(len(wanted)), len(wanted))
    together = generate(model, base.tokenizer, wanted, memory=base.memory)
    apart = [
        generate(model, base.tokenizer, [wanted[i] for i in order[start : start + OTHER_BATCH]], memory=base.memory)
        for start in range(0, len(order), OTHER_BATCH)
    ]
    others = [ids for part in apart for ids in part]
    flipped = sum(together[i] != ids for i, ids in zip(order, others, strict=True))
    return flipped / len(wanted), len(wanted)
