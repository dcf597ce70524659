"""Strategy files: what is accepted, and what a mistake is told."""

from typing import get_args, get_type_hints

import pytest

from ppm.audit.candidates import PREFERENCES
from ppm.composition.recipe import check_strategy
from ppm.composition.registry import STEPS
from ppm.composition.strategy import Strategy, builtin_strategies, preferring, read_strategy
from ppm.errors import ManifestError, RequestError


def written(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_text('schema = 1\nname = "mine"\n' + text)
    return str(path)


@pytest.mark.parametrize("name", builtin_strategies())
def test_built_in_strategies_are_well_formed(name):
    strategy = read_strategy(name)
    assert strategy.name == name
    assert strategy.summary
    assert strategy.reference
    check_strategy(strategy)


def test_a_typo_in_the_name_names_the_nearest():
    with pytest.raises(RequestError) as error:
        read_strategy("distiled")
    assert "'distilled'" in error.value.hint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[steps]]\nuse = "distill"\n', "'distil'"),
        ('[[steps]]\nuse = "distil"\nstep = 3\n', "'steps'"),
        ('[[steps]]\nuse = "distil"\nsteps = "many"\n', "whole number"),
        ('[[steps]]\nuse = "average"\nweights = 3\n', "a list"),
        ("[[steps]]\nsteps = 3\n", "which step"),
        ("", "either"),
        ('candidates = ["concat"]\n[[steps]]\nuse = "average"\n', "either"),
        ('candidates = ["mine"]\n', "own candidate"),
        ('triggers = false\n[[steps]]\nuse = "route"\n', "routing takes triggers"),
        ('prefer = "tokens"\n[[steps]]\nuse = "average"\n', "candidates"),
        ('prefer = "token"\ncandidates = ["concat"]\n', "'tokens'"),
        ('summry = "x"\n[[steps]]\nuse = "average"\n', "'summary'"),
    ],
)
def test_a_mistake_is_named(tmp_path, text, words):
    with pytest.raises(ManifestError) as error:
        check_strategy(read_strategy(written(tmp_path, text)))
    assert words in str(error.value)


def test_prose_is_not_part_of_the_digest(tmp_path):
    one = read_strategy(written(tmp_path, 'summary = "a"\n[[steps]]\nuse = "average"\n'))
    two = read_strategy(written(tmp_path, 'summary = "b"\n[[steps]]\nuse = "average"\n'))
    three = read_strategy(written(tmp_path, '[[steps]]\nuse = "concatenate"\n'))
    assert one.digest == two.digest != three.digest
    without = read_strategy(written(tmp_path, 'triggers = false\n[[steps]]\nuse = "average"\n'))
    assert without.digest != one.digest


def test_every_step_says_what_it_does():
    check_strategy(read_strategy("concat"))
    assert set(STEPS) >= {"concatenate", "average", "train", "distil"}
    assert all(getattr(step, "function", step).__doc__ for step in STEPS.values())


def test_an_automatic_strategy_may_not_have_automatic_candidates(tmp_path):
    for name, other in (("one", "two"), ("two", "one")):
        (tmp_path / f"{name}.toml").write_text(
            f'schema = 1\nname = "{name}"\ncandidates = ["{tmp_path / other}.toml"]\n'
        )
    found = read_strategy(str(tmp_path / "one.toml"))
    with pytest.raises(ManifestError, match="itself chooses between candidates"):
        check_strategy(found)
    with pytest.raises(ManifestError, match="itself chooses between candidates"):
        _ = found.digest


def test_the_digest_of_an_automatic_strategy_covers_what_its_candidates_do(tmp_path):
    candidate = tmp_path / "mine.toml"
    text = f'schema = 1\nname = "choice"\ncandidates = ["{candidate}"]\n'
    (tmp_path / "choice.toml").write_text(text)
    digests = set()
    for weights in ("[1.0, 2.0]", "[2.0, 1.0]"):
        candidate.write_text(f'schema = 1\nname = "mine"\n[[steps]]\nuse = "average"\nweights = {weights}\n')
        digests.add(read_strategy(str(tmp_path / "choice.toml")).digest)
    assert len(digests) == 2


def test_each_preference_has_its_strategy_with_the_candidates_of_auto():
    kin = {name.removeprefix("auto-") for name in builtin_strategies() if name.startswith("auto-")}
    assert kin == set(PREFERENCES) == set(get_args(get_args(get_type_hints(Strategy)["prefer"])[0]))
    for word in kin:
        strategy = read_strategy(f"auto-{word}")
        assert (strategy.prefer, strategy.candidates) == (word, read_strategy("auto").candidates)


def test_a_preference_is_for_auto_and_its_kin():
    assert [preferring(name, "loss") for name in ("auto", "auto-loss", "auto-tokens")] == ["auto-loss"] * 3
    assert preferring("exportable", "") == "exportable"
    for other in ("exportable", "auto-mine.toml"):  # the second is a file of the user's
        with pytest.raises(RequestError, match=f"but the strategy is {other}"):
            preferring(other, "loss")


def test_what_is_preferred_is_part_of_the_digest(tmp_path):
    rest = ['candidates = ["concat"]\n', 'candidates = ["concat"]\nprefer = "loss"\n']
    plain, preferring = (read_strategy(written(tmp_path, text)) for text in rest)
    assert plain.digest != preferring.digest


def test_candidates_are_checked_before_anything_is_composed(tmp_path):
    path = tmp_path / "choice.toml"
    path.write_text('schema = 1\nname = "choice"\ncandidates = ["concat", "distiled"]\n')
    with pytest.raises(RequestError, match="distiled"):
        check_strategy(read_strategy(str(path)))
