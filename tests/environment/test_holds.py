"""What is held stays held: a file of holds that was cut, edited or deleted is no empty one."""

import pytest
from environment.samples import environment_at, install, lock_of
from packages import make_package

from ppm.environment.garbage import remove_environment
from ppm.environment.holds import Hold, mend_holds, read_holds, refuse_held, write_holds
from ppm.environment.transaction import writer
from ppm.errors import IntegrityError, RequestError


@pytest.fixture
def environment(tmp_path):
    """An environment in which two patches are held."""
    made = environment_at(tmp_path)
    install(made)
    hold(made, Hold.now("toxicity", "audited by hand"), Hold.now("bias", ""))
    return made


def hold(environment, *holds):
    with writer(environment, command="ppm hold") as held:
        write_holds(held, holds)


def names(environment):
    return [hold.name for hold in read_holds(environment)]


def test_are_read_back_in_order(environment):
    assert names(environment) == ["bias", "toxicity"]
    hold(environment)
    assert names(environment) == []


def test_the_file_is_toml_that_people_can_read(environment):
    text = (environment.path / "holds.toml").read_text()
    assert 'reason = "audited by hand"' in text


@pytest.mark.parametrize("form", ["before there were digests", "with a byte order mark"])
def test_a_file_without_a_digest_is_read_and_gets_one(tmp_path, form):
    environment = environment_at(tmp_path)
    install(environment)
    mark = "\ufeff" if "mark" in form else ""
    path = environment.path / "holds.toml"
    path.write_text(mark + 'schema = 1\n[[holds]]\nname = "toxicity"\nby = "Ada"\nat = ""\n')
    assert names(environment) == ["toxicity"]
    hold(environment, *read_holds(environment))
    path.unlink()
    with pytest.raises(IntegrityError, match="was deleted"):
        read_holds(environment)


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        (lambda data: data[: len(data) // 2], None),
        (lambda data: b"", 0),
        (lambda data: bytes(len(data)), 0),
        (lambda data: data.replace(b"toxicity", b"toxicitz"), 2),
        (lambda data: data.partition(b"\n")[2], 2),
        (lambda data: data[: data.index(b"[[holds]]", data.index(b"[[holds]]") + 1)], 1),
        (lambda data: None, 0),
    ],
)
def test_damage_is_told_and_mended(environment, damage, left):
    path = environment.path / "holds.toml"
    changed = damage(path.read_bytes())
    path.unlink()
    if changed is not None:
        path.write_bytes(changed)
    with pytest.raises(IntegrityError) as caught:
        read_holds(environment)
    assert "ppm verify --mend" in caught.value.hint
    other = lock_of(make_package(version="2.0.0"))
    with pytest.raises(IntegrityError):
        refuse_held(environment, other, "the lock")
    with writer(environment, command="ppm verify --mend") as held:
        kept, lost = mend_holds(held)
        assert mend_holds(held) is None
    assert kept + lost == 2
    assert len(names(environment)) == kept
    assert left in (None, kept)


def test_reasons_too_long_to_be_read_back_are_refused(environment):
    before = Hold("toxicity", "Ada", "2026-01-01", "audited by hand")
    hold(environment, before)
    long = Hold("gender-bias", "Ada", "2026-01-01", "because " * 20_000)
    with pytest.raises(RequestError, match="too long reasons"):
        hold(environment, before, long)
    assert read_holds(environment) == (before,)


def test_a_held_patch_is_refused_a_change(environment):
    with pytest.raises(RequestError, match=r"held at 1\.0\.0"):
        refuse_held(environment, lock_of(make_package(version="2.0.0")), "the lock")
    refuse_held(environment, lock_of(make_package()), "the lock")


def test_they_go_with_their_environment(environment):
    with writer(environment, command="ppm env remove") as held:
        remove_environment(held)
    assert names(environment) == []
    install(environment)
    assert names(environment) == []
