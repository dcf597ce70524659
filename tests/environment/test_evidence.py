"""Files that decide what may be deployed: what was cut, edited, deleted or put back from an older copy is noticed."""

import pytest

from ppm.environment import evidence
from ppm.errors import IntegrityError

CONTENT = b'{"one": 1}\n{"two": 2}\n'


@pytest.fixture
def path(tmp_path):
    """A file of two entries."""
    path = tmp_path / "entries.jsonl"
    evidence.write(path, CONTENT, 2)
    return path


def refused(path):
    with pytest.raises(IntegrityError) as caught:
        evidence.read(path)
    assert caught.value.context == str(path)
    assert "ppm verify --mend" in caught.value.hint
    return caught.value.message


def witness(path):
    return path.with_name(path.name + evidence.WITNESS)


def test_what_was_written_is_read(path):
    assert evidence.read(path) == evidence.Sealed(CONTENT, 2)
    evidence.write(path, b"", 0)
    assert evidence.read(path) == evidence.Sealed(b"", 0)


def test_what_was_never_there_is_no_damage(tmp_path):
    assert evidence.read(tmp_path / "nowhere") is None


def test_any_byte_that_is_cut_or_changed_is_noticed(path):
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert "truncated or edited" in refused(path), size
        path.write_bytes(whole[:size] + bytes([whole[size] ^ 1]) + whole[size + 1 :])
        try:
            found = evidence.read(path)
        except IntegrityError:
            continue
        assert found.content == CONTENT, size
        assert found.entries != 2, size  # whoever counts the entries finds others
    path.write_bytes(whole + b"\n")
    assert "truncated or edited" in refused(path)


def test_a_deleted_file_is_missed_and_one_that_is_removed_is_not(path):
    path.unlink()
    assert refused(path) == "was deleted"
    evidence.remove(path)
    assert evidence.read(path) is None


def test_an_older_copy_is_told_from_the_newest(path):
    old = path.read_bytes()
    evidence.write(path, CONTENT + b'{"three": 3}\n', 3)
    path.write_bytes(old)
    assert refused(path) == "is an older copy: a newer one was there before"


def test_a_file_without_its_witness_serves_and_that_is_told(path):
    assert evidence.witness_fault(path) is None
    witness(path).unlink()
    assert evidence.read(path) == evidence.Sealed(CONTENT, 2)
    assert evidence.witness_fault(path) == "its witness file is missing"
    witness(path).write_bytes(b"{}")
    assert evidence.read(path) == evidence.Sealed(CONTENT, 2)
    assert evidence.witness_fault(path) == "its witness file is damaged"


def test_a_file_from_before_there_were_digests_is_read_as_it_is(tmp_path):
    path = tmp_path / "old.jsonl"
    path.write_bytes(CONTENT)
    assert evidence.read(path) == evidence.Sealed(CONTENT, None)
    assert evidence.witness_fault(path) is None


def test_what_is_left_of_a_damaged_file_counts_what_was_lost(path):
    path.write_bytes(path.read_bytes()[:-11])
    assert evidence.salvage(path) == evidence.Sealed(b'{"one": 1}\n', 2)
    path.unlink()
    assert evidence.salvage(path) == evidence.Sealed(b"", 2)


def test_a_first_line_may_be_a_comment(tmp_path):
    path = tmp_path / "entries.toml"
    evidence.write(path, b"a = 1\n", 1, comment=b"# ")
    assert path.read_bytes().startswith(b"# {")
    assert evidence.read(path, comment=b"# ") == evidence.Sealed(b"a = 1\n", 1)
