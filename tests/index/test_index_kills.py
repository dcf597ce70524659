"""A change of an index may be killed at any write: clients old and new find it whole, and a retry ends well."""

import shutil
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from index.indexes import one_patch, source_of
from packages import make_package

from ppm.index.check import check_index
from ppm.index.publish import SignedPackage, publish, yank
from ppm.index.repository import write_durably
from ppm.index.roles import LIFETIMES, ROLES
from ppm.index.statement import make_statement


class Killed(BaseException):
    """Nothing that runs catches it."""


def killed_at(write, *, before):
    """A writer that is killed at its n-th write: before anything of it is there, or after all of it is."""
    numbers = count()

    def writer(path, data):
        dies = next(numbers) == write
        if dies and before:
            raise Killed
        write_durably(path, data)
        if dies:
            raise Killed

    return writer


def publishing(owned, repository):
    packages = [make_package(version="2.0.0", provides=("any",)), make_package(version="3.0.0")]
    signed = [SignedPackage(package, make_statement(package, owned.signer("acme"))) for package in packages]
    publish(repository, signed, datetime.now(UTC))


def taking_back(owned, repository):
    yank(repository, "toxicity", "1.0.0", "unsafe", datetime.now(UTC))


def refreshing(owned, repository):
    # So much later that the bins are due as well; what is signed is dated later still.
    repository.refresh(datetime.now(UTC) + LIFETIMES["bins"] / 2 + timedelta(days=1))


def refreshing_all(owned, repository):
    repository.refresh(datetime.now(UTC), offline=True)


def rotating(role):
    def act(owned, repository):
        repository.rotate(role, datetime.now(UTC))

    return act


ACTIONS = {
    "publish": publishing,
    "yank": taking_back,
    "refresh": refreshing,
    "refresh --all": refreshing_all,
    **{f"rotate {role}": rotating(role) for role in ROLES},
}
LEAST_WRITES = {"rotate root": 1}


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("action", ACTIONS)
def test_an_index_stays_whole(tmp_path, action, before):
    original = one_patch(tmp_path / "original")
    user = tmp_path / "user"
    folder = tmp_path / "index"
    shutil.copytree(original.folder, folder)
    source_of(user, folder.as_uri(), original.first_root).named("toxicity")
    for write in count():
        for path, origin in ((folder, original.folder), (tmp_path / "index.keys", original.keys.folder)):
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(origin, path)
        owned = type(original)(folder, type(original.keys)(tmp_path / "index.keys", original.keys.passphrase))
        owned.signers = {"acme": original.signer("acme")}
        try:
            ACTIONS[action](owned, owned.open(killed_at(write, before=before)))
        except Killed:
            assert check_index(folder, None, str).faults == ()
            seen = tmp_path / f"seen-{write}"
            shutil.copytree(user, seen, symlinks=True)
            assert source_of(seen, folder.as_uri(), owned.first_root).named("toxicity")
            ACTIONS[action](owned, owned.open())
            assert source_of(seen, folder.as_uri(), owned.first_root).named("toxicity")
            continue
        break
    assert write >= LEAST_WRITES.get(action, 3)
    found = check_index(folder, None, str)
    assert (found.faults, found.names) == ((), 1)
    assert found.releases == (3 if action == "publish" else 1)
