"""Where patches are kept: the folder that is named, the user's own, or one message that says which to name."""

import os
import sys
import tempfile
import traceback
from pathlib import Path

import platformdirs
import pytest
from commands import ppm
from environment.samples import folder_of_another

from ppm.cli.main import run
from ppm.errors import DiskError, EnvironmentStateError
from ppm.home import advice, ppm_home


def test_is_the_named_folder_even_before_it_exists(tmp_path, monkeypatch):
    monkeypatch.setenv("PPM_HOME", str(tmp_path / "new" / "home"))
    assert ppm_home(os.environ) == tmp_path / "new" / "home"
    assert not (tmp_path / "new").exists()


def test_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PPM_HOME", "here")
    assert ppm_home(os.environ) == tmp_path / "here"


@pytest.mark.parametrize("value", [None, ""])
def test_defaults_to_the_platform_folder(monkeypatch, value):
    if value is None:
        monkeypatch.delenv("PPM_HOME")
    else:
        monkeypatch.setenv("PPM_HOME", value)
    assert ppm_home(os.environ) == platformdirs.user_data_path("ppm")


@pytest.mark.parametrize("below", ["", "sub/folder"])
def test_a_file_is_refused(tmp_path, monkeypatch, below):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("PPM_HOME", str(file / below))
    with pytest.raises(EnvironmentStateError, match=r"file is a file") as caught:
        ppm_home(os.environ)
    assert "PPM_HOME" in caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a folder private and then becomes another user")
@pytest.mark.parametrize("below", ["", "home"])
def test_a_private_folder_of_another_user_is_refused(tmp_path, monkeypatch, below):
    tmp_path.chmod(0o700)
    monkeypatch.setenv("PPM_HOME", str(tmp_path / below))
    with folder_of_another(), pytest.raises(EnvironmentStateError, match=r"can't be (read|used)") as caught:
        ppm_home(os.environ)
    assert "PPM_HOME" in caught.value.hint


def test_is_named_by_the_surroundings_that_are_given(tmp_path):
    assert ppm_home({"PPM_HOME": str(tmp_path)}) == tmp_path


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes a user without an account")
@pytest.mark.parametrize(
    "arguments", [("list",), ("env", "list"), ("config",), ("install", "toxicity", "--dry-run", "--base", "lab")]
)
def test_a_user_without_an_account_and_a_home_is_told_what_to_do(arguments):
    code, _, err = as_nobody(arguments, {})
    assert code == 1
    assert "no home folder" in err
    assert "PPM_HOME" in err
    assert "Traceback" not in err


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes a user without an account")
def test_a_user_without_an_account_can_work_in_a_named_home():
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o777)
        assert as_nobody(("env", "list"), {"PPM_HOME": home})[0] == 0
        code, _, err = as_nobody(("install", "toxicity~=1.0", "--base", "~/base"), {"PPM_HOME": home})
        assert (code, "Traceback" in err) == (1, False)
        assert "give the whole path" in err


def test_a_disk_that_refuses_below_the_home_has_a_way_out(tmp_path, ppm_home):
    (ppm_home / "environments").write_text("")
    assert "move it away" in ppm("list").err
    full, denied = (DiskError("can't be written", ppm_home / "store", fault) for fault in ("full", "denied"))
    assert "on another disk" in advice(full, os.environ)
    assert "of your own" in advice(denied, os.environ)
    assert advice(DiskError("can't be written", tmp_path, "full"), os.environ) == ""


def as_nobody(arguments, environ):
    """(exit code, output, errors) of a command run by a user that no account has, without a home."""
    ppm(*arguments)  # so that all is imported while this user may read it
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if child == 0:
            code = 99
            try:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
                os.environ.clear()
                os.environ.update(environ)
                os.chdir("/")
                os.setresgid(54321, 54321, 54321)
                os.setresuid(54321, 54321, 54321)
                run(list(arguments))
            except SystemExit as error:
                code = error.code
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read())
    return os.waitstatus_to_exitcode(status), *texts
