import os

import platformdirs
import pytest
from environment.samples import folder_of_another

from ppm.errors import EnvironmentStateError
from ppm.home import ppm_home


def test_is_the_named_folder_even_before_it_exists(tmp_path, monkeypatch):
    monkeypatch.setenv("PPM_HOME", str(tmp_path / "new" / "home"))
    assert ppm_home() == tmp_path / "new" / "home"
    assert not (tmp_path / "new").exists()


def test_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PPM_HOME", "here")
    assert ppm_home() == tmp_path / "here"


@pytest.mark.parametrize("value", [None, ""])
def test_defaults_to_the_platform_folder(monkeypatch, value):
    if value is None:
        monkeypatch.delenv("PPM_HOME")
    else:
        monkeypatch.setenv("PPM_HOME", value)
    assert ppm_home() == platformdirs.user_data_path("ppm")


@pytest.mark.parametrize("below", ["", "sub/folder"])
def test_a_file_is_refused(tmp_path, monkeypatch, below):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("PPM_HOME", str(file / below))
    with pytest.raises(EnvironmentStateError, match=r"file is a file") as caught:
        ppm_home()
    assert "PPM_HOME" in caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a folder private and then becomes another user")
@pytest.mark.parametrize("below", ["", "home"])
def test_a_private_folder_of_another_user_is_refused(tmp_path, monkeypatch, below):
    tmp_path.chmod(0o700)
    monkeypatch.setenv("PPM_HOME", str(tmp_path / below))
    with folder_of_another(), pytest.raises(EnvironmentStateError, match=r"can't be (read|used)") as caught:
        ppm_home()
    assert "PPM_HOME" in caught.value.hint
