"""Commands that change an index, in processes that are killed: what is left is valid, and they can be run again."""

import os
import random
import shutil
import signal

import pytest
from commands import ppm
from index.indexes import PASSPHRASE, one_patch, source_of
from packages import make_package

from ppm.index.check import check_index
from ppm.package import write_package

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
COMMANDS = {
    "publish": ["publish", "{new}", "{index}", "--key", "{key}"],
    "refresh": ["index", "refresh", "{index}"],
    "refresh all": ["index", "refresh", "{index}", "--all"],
    "rotate timestamp": ["index", "rotate", "{index}", "timestamp"],
    "rotate root": ["index", "rotate", "{index}", "root"],
}
KILLS = 4
"""How many kills of each command: one before anything is flushed to disk, one after everything, others in between."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """An index of one patch, with its keys, its publisher's key, and a new version; never changed."""
    folder = tmp_path_factory.mktemp("prepared")
    owned = one_patch(folder / "index")
    write_package(make_package(version="2.0.0"), folder)
    return owned


def in_child(arguments, kill, count_file):
    """Run a command in a process of its own, killed when it flushes to disk for the n-th time: how it ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 70
    try:
        fsync, flushed = os.fsync, 0

        def counted(descriptor):
            nonlocal flushed
            if flushed == kill:
                os.kill(os.getpid(), signal.SIGKILL)
            fsync(descriptor)
            flushed += 1

        os.fsync = counted
        code = ppm(*arguments).code
        count_file.write_text(str(flushed))
        if flushed == kill:
            os.kill(os.getpid(), signal.SIGKILL)
    finally:
        os._exit(code)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_killed_leaves_a_valid_index_and_can_be_run_again(tmp_path, monkeypatch, prepared, command):
    monkeypatch.setenv("PPM_KEY_PASSPHRASE", PASSPHRASE)
    index, keys = tmp_path / "index", tmp_path / "index.keys"
    [new] = prepared.folder.parent.glob("*.ppm")
    [key] = prepared.folder.parent.glob("index-acme.pem")
    arguments = [word.format(new=new, index=index, key=key) for word in COMMANDS[command]]
    root, url, releases = prepared.first_root, index.as_uri(), 2 if command == "publish" else 1

    def anew():
        for path, origin in ((index, prepared.folder), (keys, prepared.keys.folder)):
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(origin, path)

    anew()
    assert source_of(tmp_path / "user", url, root).named("toxicity")
    assert in_child(arguments, None, tmp_path / "count") == 0
    flushed = int((tmp_path / "count").read_text())
    assert flushed >= KILLS
    some = random.Random(7).sample(range(1, flushed), KILLS - 2)
    for kill in (0, *some, flushed):
        anew()
        assert in_child(arguments, kill, tmp_path / "count") == -signal.SIGKILL
        assert check_index(index, root, str).faults == ()
        user = tmp_path / f"user-{kill}"
        shutil.copytree(tmp_path / "user", user, symlinks=True)
        assert source_of(user, url, root).named("toxicity")
        again = ppm(*arguments)
        assert (again.code, "Traceback" in again.err) == (0, False), again.err
        assert len(source_of(user, url, root).named("toxicity")) == releases
    found = check_index(index, root, str)
    assert (found.releases, found.faults) == (releases, ())
