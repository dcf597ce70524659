import hashlib

import pytest
from environment.samples import small_disk

from ppm.environment.store import Store
from ppm.errors import EnvironmentStateError, IntegrityError


def path_of(home, digest):
    return home / "store" / "sha256" / digest[:2] / digest[2:]


def test_gives_back_what_was_put(tmp_path):
    store = Store(tmp_path)
    digest = store.put(b"bytes")
    assert digest == hashlib.sha256(b"bytes").hexdigest()
    assert store.has(digest)
    assert store.get(digest) == b"bytes"
    assert path_of(tmp_path, digest).is_file()


def test_keeps_the_same_bytes_once(tmp_path):
    store = Store(tmp_path)
    digest = store.put(b"bytes")
    before = path_of(tmp_path, digest).stat().st_ino
    assert store.put(b"bytes") == digest
    assert path_of(tmp_path, digest).stat().st_ino == before
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock"]
    assert files == [path_of(tmp_path, digest)]


def test_absent_bytes_are_named_with_what_to_do(tmp_path):
    digest = hashlib.sha256(b"bytes").hexdigest()
    assert not Store(tmp_path).has(digest)
    with pytest.raises(EnvironmentStateError, match=digest[:12]) as caught:
        Store(tmp_path).get(digest)
    assert "`ppm install` puts a package file back" in caught.value.hint


def test_changed_bytes_are_refused_and_healed_by_putting_them_again(tmp_path):
    store = Store(tmp_path)
    digest = store.put(b"bytes")
    path_of(tmp_path, digest).write_bytes(b"other")
    with pytest.raises(IntegrityError, match="changed or damaged"):
        store.get(digest)
    store.put(b"bytes")
    assert store.get(digest) == b"bytes"


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "sha256:" + "0" * 64, "A" * 64, "0" * 63])
def test_refuses_what_is_no_digest(tmp_path, digest):
    with pytest.raises(ValueError, match="not a hexadecimal SHA-256"):
        Store(tmp_path).get(digest)


def test_full_disk_leaves_nothing_behind(tmp_path):
    store = Store(tmp_path)
    data = bytes(200_000)
    with small_disk(100_000), pytest.raises(EnvironmentStateError, match="can't be written") as caught:
        store.put(data)
    assert "free some space" in caught.value.hint
    assert not store.has(hashlib.sha256(data).hexdigest())
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock"]


def test_file_where_the_store_should_be(tmp_path):
    (tmp_path / "store").write_text("")
    with pytest.raises(EnvironmentStateError) as caught:
        Store(tmp_path).put(b"bytes")
    assert "move it away" in caught.value.hint


def test_partial_files_of_killed_processes_are_removed(tmp_path):
    store = Store(tmp_path)
    store.put(b"bytes")
    left = tmp_path / "store" / "staging" / ".partial-left"
    left.write_bytes(b"half")
    store.put(b"more bytes")
    assert not left.exists()
