"""How much longer work takes."""

import pytest

from ppm.progress import Pace, shown_time


def test_the_rate_of_the_recent_past_counts():
    pace = Pace()
    assert pace.left(0, 1000, 0.0) is None
    assert pace.left(100, 1000, 10.0) == pytest.approx(90)
    for second in range(20, 200, 10):  # from here on ten times as slow
        left = pace.left(100 + second - 10, 1000, float(second))
    assert left == pytest.approx(1000 - 280, rel=0.1)


def test_time_that_passes_between_two_reports_is_taken_off():
    pace = Pace()
    pace.left(0, 100, 0.0)
    assert pace.left(50, 100, 50.0) == pytest.approx(50)
    assert pace.left(50, 100, 60.0) == pytest.approx(40)
    assert pace.left(50, 100, 500.0) == 0


def test_other_work_of_the_same_name_begins_anew():
    pace = Pace()
    pace.left(0, 100, 0.0)
    pace.left(90, 100, 10.0)
    assert pace.left(10, 500, 20.0) is None
    assert pace.left(20, 500, 30.0) == pytest.approx(480)
    assert pace.left(28, 1500, 4000.0) is None  # though more of it is done
    assert pace.left(128, 1500, 4010.0) == pytest.approx(137.2)


def test_batches_that_take_longer_than_the_recent_past_tell_too():
    pace = Pace()
    pace.left(0, 4, 0.0)
    assert pace.left(1, 4, 600.0) == pytest.approx(1800)
    assert pace.left(2, 4, 1200.0) == pytest.approx(1200)


def test_a_batch_of_one_among_large_ones_is_not_the_pace():
    pace = Pace()
    for batch in range(10):
        pace.left(130 * batch, 10_000, 200.0 * batch)
        left = pace.left(130 * batch + 1, 10_000, 200.0 * batch + 100)
    assert left == pytest.approx((10_000 - 1171) * 200 / 130, rel=0.3)


def test_times_are_said_as_people_say_them():
    assert [shown_time(x) for x in (0.2, 59, 100, 3000, 9000)] == ["1 s", "59 s", "2 min", "50 min", "2.5 h"]
