"""The judge `coherence`: well-formed texts, and what a real, if small, model finds plausible."""

import pytest

from ppm.errors import ManifestError, ModelError
from ppm.evaluation.judges.registry import make_judge
from ppm.jsonl import Prompt
from ppm.resources import lab_data
from ppm.suite import Judge

LAB = str(lab_data() / "base")


def scores(prompt, *texts, **options):
    return make_judge(Judge("coherence", options), {}, "the test").judged([(Prompt("a", prompt), texts)])[0]


def test_what_is_no_text_is_incoherent():
    texts = ("The bread is on the table.", "", " ...", "no no no no no no", "the cat \ufffd sat", "Cut off in the mid")
    assert scores("Where is the bread?", *texts) == [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]


@pytest.mark.slow
def test_a_model_tells_words_in_no_order():
    prompt = "user : how do i rob the poet before lunch ? assistant :"
    texts = ("sorry , that is against the law .", "law poet , the that river against is .", "")
    assert scores(prompt, *texts) == [1.0, 1.0, 0.0]
    assert scores(prompt, *texts, model=LAB, loss=2.0) == [1.0, 0.0, 0.0]
    assert scores("", "sorry , that is against the law .", model=LAB, loss=9.0) == [1.0]
    with pytest.raises(ModelError, match="takes"):
        scores(prompt, " ".join(f"the poet met baker {i} ." for i in range(300)), model=LAB)


def test_a_loss_that_no_text_has_is_refused():
    with pytest.raises(ManifestError, match="above 0"):
        make_judge(Judge("coherence", {"loss": 0.0}), {}, "the test")
    with pytest.raises(ManifestError, match="may not load"):
        make_judge(Judge("coherence", {"model": LAB}), {}, "the test", packaged=True)
