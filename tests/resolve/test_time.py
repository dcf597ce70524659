"""A search that takes too long."""

import pytest
from asking import failure, pins, run
from releases import make_release

from ppm.errors import ResolutionError, ResolutionTimeout


class Clock:
    """Time that goes on by a step each time it is asked for."""

    def __init__(self, step):
        self.now, self.step = 0.0, step

    def __call__(self):
        self.now += self.step
        return self.now


def crowd(count, groups):
    """Too many choices to count."""
    names = [f"p{i}" for i in range(1, count + 1)]
    return names, [
        make_release(name, str(group), {}, {other: f"=={group}" for other in names if other != name})
        for name in names
        for group in range(1, groups + 1)
    ]


def test_it_is_given_up_and_says_what_it_tried_and_what_to_do():
    names, releases = crowd(22, 21)
    with pytest.raises(ResolutionTimeout) as caught:
        run(" ".join(names), releases, seconds=2, clock=Clock(0.01))
    error = caught.value
    assert isinstance(error, ResolutionError)
    assert error.exit_code == 3
    assert error.message.startswith("no set of patches was found in 2 seconds, and none was ruled out. ")
    assert "version choices were tried, and " in error.message
    assert "The patches that kept excluding each other are p" in error.message
    assert "ask for exact versions of some of them" in error.hint
    assert error.hint.endswith("give the search more time: PPM_SEARCH_SECONDS=20")


def test_it_takes_real_time_by_default():
    names, releases = crowd(22, 21)
    with pytest.raises(ResolutionTimeout):
        run(" ".join(names), releases, seconds=0.2)


def test_a_solution_that_could_not_be_made_better_in_time_is_used_and_says_so():
    releases = [make_release("core", str(version)) for version in range(1, 20)]
    releases += [make_release("a", str(version), {"core": f"=={version}"}) for version in range(1, 20)]
    in_time = run("a", releases, {"core": "1"}, seconds=10, clock=Clock(0.001))
    assert ([pin.release.pin for pin in in_time.pins], in_time.timed_out) == (["core==1", "a==1"], False)
    too_slow = run("a", releases, {"core": "1"}, seconds=10, clock=Clock(2))
    assert ([pin.release.pin for pin in too_slow.pins], too_slow.timed_out) == (["core==19", "a==19"], True)
    assert pins("a", releases, {"core": "1"}) == "core==1 a==1"


def test_an_explanation_is_given_even_when_no_time_is_left_for_hints():
    releases = [make_release("a", "1.0", {"core": ">=2"}), make_release("b", "1.0", {"core": "<2"})]
    releases += [make_release("core", "1.0"), make_release("core", "2.0")]

    class Late(Clock):
        """Slow as soon as the search is over."""

        def __call__(self):
            self.now += 0.01 if self.now < 0.5 else 100
            return self.now

    lines = failure("a b", releases, seconds=5, clock=Late(0)).splitlines()
    assert lines[0] == "You asked for a and b."
    assert lines[-1].startswith("hint: ")


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_search_needs_time(seconds):
    with pytest.raises(ValueError, match="a search needs more than"):
        run("a", [make_release("a", "1.0")], seconds=seconds)
