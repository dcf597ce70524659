"""One writer at a time, who is named to whoever waits, and whose lock ends with its process."""

import multiprocessing
import os
import time

import pytest

from ppm.errors import EnvironmentStateError, RequestError
from ppm.locking import exclusive, lock_timeout

FORK = multiprocessing.get_context("fork")


def _hold(path, event):
    with exclusive(path, "the thing", command="ppm something long"):
        event.set()
        time.sleep(60)


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock at this path."""
    event = FORK.Event()
    process = FORK.Process(target=_hold, args=(tmp_path / "lock", event))
    process.start()
    assert event.wait(10)
    yield process
    process.kill()
    process.join()


def test_whoever_waits_too_long_is_told_for_whom(tmp_path, holder):
    with (
        pytest.raises(EnvironmentStateError, match=f"process {holder.pid}") as caught,
        exclusive(tmp_path / "lock", "the thing", command="ppm other", timeout=0.1),
    ):
        pass
    assert "`ppm something long`" in caught.value.message
    assert caught.value.context == "the thing"


def test_a_killed_holder_holds_nothing(tmp_path, holder):
    holder.kill()
    holder.join()
    with exclusive(tmp_path / "lock", "the thing", command="ppm other", timeout=0.1):
        assert str(os.getpid()) in (tmp_path / "lock.holder").read_text()
    assert not (tmp_path / "lock.holder").exists()


@pytest.mark.parametrize("note", ["", "{", "[]", '{"pid": 1}', "\0\0", '{"pid": ' + "9" * 5000 + "}"])
def test_a_damaged_note_of_the_holder_costs_its_name_alone(tmp_path, holder, note):
    (tmp_path / "lock.holder").write_text(note)
    with (
        pytest.raises(EnvironmentStateError, match="another process"),
        exclusive(tmp_path / "lock", "the thing", command="ppm other", timeout=0.1),
    ):
        pass


def test_how_long_to_wait_is_said_by_the_surroundings():
    assert lock_timeout({}) == 60
    assert lock_timeout({"PPM_LOCK_TIMEOUT": ""}) == 60
    assert lock_timeout({"PPM_LOCK_TIMEOUT": "0.5"}) == 0.5
    assert lock_timeout({"PPM_LOCK_TIMEOUT": "-3"}) == 0


@pytest.mark.parametrize("text", ["soon", "nan", "1,5", "0x10"])
def test_a_wait_that_is_no_number_is_refused(text):
    with pytest.raises(RequestError, match="number of seconds"):
        lock_timeout({"PPM_LOCK_TIMEOUT": text})
