"""What a user asks for: lines of files, digests, and what stands where it has no effect."""

import re

import pytest
from packages import FINGERPRINT, make_package

from ppm.errors import IntegrityError, RequestError
from ppm.install.request import MAX_FILE_BYTES, Request, check_hashes, read_constraints, read_lines
from ppm.package import write_package
from ppm.requirement import texts_of
from ppm.resolve import parse_requirement, resolve
from ppm.sources import Joined, open_source

ONE, OTHER = "1" * 64, "2" * 64


@pytest.fixture
def file(tmp_path):
    def written(*lines, data=None):
        path = tmp_path / "wanted.txt"
        path.write_bytes("\n".join(lines).encode() if data is None else data)
        return path

    return written


def test_a_file_holds_a_requirement_a_line(file):
    path = file(
        "# ours", "", "app>=1  # for now", "  core==1.0 \\", "    --hash=sha256:" + ONE, "dist/own-1.0-tiny.ppm"
    )
    app, core, own = read_lines(path)
    assert (app.requirement.text, app.hashes) == ("app>=1", frozenset())
    assert (core.requirement.text, core.hashes) == ("core==1.0", {ONE})
    assert (own.requirement.name, own.requirement.is_file) == ("own", True)
    assert [line.requirement.origin for line in (app, core, own)] == [f"{path}, line {n}" for n in (3, 4, 6)]


def test_the_last_line_need_not_end(file):
    assert [line.requirement.text for line in read_lines(file("app", "core \\"))] == ["app", "core"]
    assert read_lines(file("# nothing")) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("core>>1", "'core>>1' is not a requirement"),
        ("core --hash=md5:123", "a hash must be --hash=sha256:"),
        (f"core --hash=sha256:{ONE}0", "a hash must be --hash=sha256:"),
        ("-f elsewhere", "'-f' is an option"),
        ("--pre", "'--pre' is an option"),
        ("https://example.org/core.ppm", "is a URL without a name"),
    ],
)
def test_the_line_that_is_wrong_is_named(file, line, message):
    path = file("app", "", line)
    with pytest.raises(RequestError, match=re.escape(message)) as caught:
        read_lines(path)
    assert caught.value.context == f"{path}, line 3"


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"\xff\xfe", "not UTF-8"), (b"a\n" * (MAX_FILE_BYTES // 2 + 1), "has more than 1,000,000 bytes")],
)
def test_a_file_that_is_no_text_is_one_clear_error(file, data, message):
    path = file(data=data)
    with pytest.raises(RequestError, match=message) as caught:
        read_lines(path)
    assert caught.value.context == str(path)


def test_a_file_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(RequestError, match="can't be read"):
        read_lines(tmp_path / "nowhere.txt")


def test_limits_are_names_without_hashes(file):
    assert texts_of(read_constraints([file("core<2", "app")])) == ("core<2", "app")
    for line, message in (
        ("dist/core-1.0-tiny.ppm", "is a path"),
        (f"core --hash=sha256:{ONE}", "hashes have no effect here"),
    ):
        with pytest.raises(RequestError, match=message):
            read_constraints([file(line)])


def test_what_is_typed_comes_before_what_files_hold(file):
    lines = (f"core --hash=sha256:{ONE}", f"Core --hash=sha256:{OTHER}", "bias")
    found = Request().asking(["app<2"], [file(*lines)])
    assert texts_of(found.requirements) == ("app<2", "core", "Core", "bias")
    assert found.hashes == {"core": {ONE, OTHER}}


def test_the_hashes_of_a_path_are_of_the_patch_that_its_file_holds(file, tmp_path):
    package = make_package("own")
    path = write_package(package, tmp_path).rename(tmp_path / "renamed.ppm")
    assert Request().asking([], [file(f"{path} --hash=sha256:{package.sha256}")]).hashes == {"own": {package.sha256}}


@pytest.fixture
def pins(tmp_path):
    """The choice of app and of core, which it needs."""
    packages = (make_package("app", dependencies={"core": "*"}), make_package("core"))
    for package in packages:
        write_package(package, tmp_path)
    offer = Joined([open_source(tmp_path, tmp_path / "cache")])
    return resolve([parse_requirement("app")], offer, fingerprint=FINGERPRINT, base_name="acme/tiny").pins


def test_every_file_that_comes_in_must_have_been_asked_for_by_its_hash(pins):
    known = {pin.release.name: frozenset({pin.release.sha256}) for pin in pins}
    check_hashes(pins, pins, Request())
    check_hashes(pins, pins, Request(hashes=known, require_hashes=True))
    check_hashes(pins, [], Request(require_hashes=True))  # what is deployed already was asked for then
    some = Request(hashes={"app": known["app"]})
    with pytest.raises(RequestError, match="would be installed without a hash") as caught:
        check_hashes(pins, pins, some)
    [core] = known["core"]
    assert f"core===1.0.0 --hash=sha256:{core}" in caught.value.hint
    with pytest.raises(IntegrityError, match=f"has the SHA-256 {core}, not the one you asked for") as other:
        check_hashes(pins, pins, Request(hashes={**known, "core": frozenset({OTHER})}))
    assert other.value.context.startswith("core==1.0.0")
