"""Downloads that take several tries: servers that are busy, answers that break off, commands that are killed."""

import hashlib
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import chain, repeat

import pytest
from commands import command, ppm
from index.indexes import Halved, Says, make_index, serve
from integration.deployed import patch
from packages import make_bank
from tuf.api.exceptions import DownloadLengthMismatchError, SlowRetrievalError

from ppm.index.blame import blamed
from ppm.index.fetch import LONGEST_PAUSE, PAUSES, HttpFetcher, Unreachable
from ppm.index.pace import Pace
from ppm.index.partial import WORTH_KEEPING, Partial, kept_partial
from ppm.index.trust import Access
from ppm.package import Package

DATA = bytes(range(256)) * 4096  # a MiB
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def files(tmp_path):
    """A server of a folder with one file, `data`, and the file's address."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "data").write_bytes(DATA)
    with serve(tmp_path / "files") as (host, url):
        yield host, f"{url}/data"


def pausing(access=None, **settings):
    """A fetcher that does not wait, and a list of how long it would have."""
    waited = []
    return HttpFetcher(access or Access(), pause=waited.append, **settings), waited


def test_a_server_that_is_busy_is_asked_again_when_it_says(files):
    host, url = files
    fetcher, waited = pausing()
    for after, least, most in (
        ("3", 3, 3),
        ("86400", LONGEST_PAUSE, LONGEST_PAUSE),
        ("9" * 400, LONGEST_PAUSE, LONGEST_PAUSE),
        (format_datetime(datetime.now(UTC) + timedelta(days=2)), LONGEST_PAUSE, LONGEST_PAUSE),
        (format_datetime(datetime.now(UTC) - timedelta(days=2)), PAUSES[0], PAUSES[0]),
        ("soon", PAUSES[0], PAUSES[0]),
        ("-5", PAUSES[0], PAUSES[0]),
    ):
        host.once["data"] = Says(429, {"retry-after": after})
        waited.clear()
        assert fetcher.download_bytes(url, len(DATA)) == DATA
        assert len(waited) == 1
        assert least <= waited[0] <= most
    host.instead["data"] = 502
    waited.clear()
    with pytest.raises(Unreachable, match="answers 502"):
        fetcher.download_bytes(url, len(DATA))
    assert waited == list(PAUSES)


def test_a_large_file_goes_on_from_where_it_broke_off(files):
    host, url = files
    host.ranges = True
    host.once["data"] = Halved(DATA)
    fetcher, _ = pausing()
    assert fetcher.download_bytes(url, len(DATA)) == DATA
    again = host.headers[1]
    assert again["range"] == f"bytes={len(DATA) // 2}-"
    assert again["if-range"] == f'"{DIGEST}"'


def test_what_breaks_off_every_time_is_not_called_out_of_reach(files):
    host, url = files
    for later in (Halved(DATA), 503):
        answers = chain([Halved(DATA)], repeat(later))
        host.answer = lambda path, answers=answers: next(answers)
        with pytest.raises(Unreachable) as broken:
            pausing()[0].download_bytes(url, len(DATA))
        said = blamed(broken.value, "acme")
        assert said.message.startswith("a download broke off: ")
        assert "run the same command again" in said.hint
    host.answer = lambda path: 503
    with pytest.raises(Unreachable) as away:
        pausing()[0].download_bytes(url, len(DATA))
    assert blamed(away.value, "acme").message.startswith("can't be reached: ")


def test_a_file_that_changed_meanwhile_is_taken_anew(files):
    host, url = files
    host.ranges = True
    host.once["data"] = Halved(b"\0" * len(DATA))
    assert pausing()[0].download_bytes(url, len(DATA)) == DATA


def test_a_server_without_ranges_sends_all_again(files):
    host, url = files
    host.once["data"] = Halved(DATA)
    assert pausing()[0].download_bytes(url, len(DATA)) == DATA
    assert "range" not in host.headers[1]


def test_when_something_came_the_tries_are_counted_anew(files):
    host, url = files
    host.ranges = True
    answers = iter([503, Halved(DATA), 503, DATA])
    host.answer = lambda path: next(answers)
    fetcher, waited = pausing()
    assert fetcher.download_bytes(url, len(DATA)) == DATA
    assert waited == [PAUSES[0], PAUSES[0], PAUSES[1]]


def left(tmp_path):
    """The names of what is kept of files."""
    folder = tmp_path / "kept"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def test_the_next_command_goes_on(files, tmp_path):
    host, url = files
    host.ranges = True
    answers = iter([Halved(DATA), *[503] * 10])
    answer, host.answer = host.answer, lambda path: next(answers)
    access = Access(partials=tmp_path / "kept")
    with pytest.raises(Unreachable):
        pausing(access)[0].download_known(url, len(DATA), DIGEST)
    assert left(tmp_path) == [f"{DIGEST}.partial"]
    host.answer = answer
    host.headers.clear()
    assert pausing(access)[0].download_known(url, len(DATA), DIGEST) == DATA
    assert [one.get("range") for one in host.headers] == [f"bytes={len(DATA) // 2}-"]
    assert left(tmp_path) == []


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize(
    "kept", [b"\0" * (len(DATA) // 2), b"\0" * len(DATA), b"\0" * (len(DATA) + 9), DATA[:-1] + b"x"]
)
def test_a_partial_file_that_is_wrong_is_dropped(files, tmp_path, kept, ranges):
    host, url = files
    host.ranges = ranges
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / f"{DIGEST}.partial").write_bytes(b"\n" + kept)
    fetcher, waited = pausing(Access(partials=tmp_path / "kept"))
    assert fetcher.download_known(url, len(DATA), DIGEST) == DATA
    assert left(tmp_path) == []
    assert len(host.headers) <= 2
    assert len(waited) <= 1


def test_a_partial_file_that_is_whole_is_not_asked_for(files, tmp_path):
    host, url = files
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / f"{DIGEST}.partial").write_bytes(b"\n" + DATA)
    assert pausing(Access(partials=tmp_path / "kept"))[0].download_known(url, len(DATA), DIGEST) == DATA
    assert (host.asked, left(tmp_path)) == ([], [])


def test_a_server_that_lies_is_asked_for_all_once(files, tmp_path):
    host, url = files
    host.ranges = True
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / f"{DIGEST}.partial").write_bytes(b"\n" + DATA[: len(DATA) // 2])
    host.instead["data"] = DATA[:-1] + b"x"
    fetcher, _ = pausing(Access(partials=tmp_path / "kept"))
    assert fetcher.download_known(url, len(DATA), DIGEST) == DATA[:-1] + b"x"  # which its caller refuses
    assert (len(host.headers), left(tmp_path)) == (2, [])


@pytest.mark.parametrize("begun", [0, WORTH_KEEPING])
def test_more_than_was_signed_is_refused_whatever_was_there(files, tmp_path, begun):
    host, url = files
    host.ranges = True
    (tmp_path / "kept").mkdir()
    if begun:
        (tmp_path / "kept" / f"{DIGEST}.partial").write_bytes(b"\n" + DATA[:begun])
    host.instead["data"] = "endless"
    with pytest.raises(DownloadLengthMismatchError):
        pausing(Access(partials=tmp_path / "kept"))[0].download_known(url, len(DATA), DIGEST)
    host.instead["data"] = DATA + DATA
    with pytest.raises(DownloadLengthMismatchError):
        pausing(Access(partials=tmp_path / "kept"))[0].download_known(url, len(DATA), DIGEST)
    assert left(tmp_path) == []


def test_a_file_that_drips_is_too_slow_however_often_it_breaks_off():
    now = [0.0]

    def answer():
        now[0] += 8
        yield b"x"

    pace = Pace("http://127.0.0.1/data", Access(timeout=10), lambda: now[0])
    assert list(pace.timed(answer(), Partial(), 1000)) == [b"x"]
    now[0] += 100  # until the next answer begins
    with pytest.raises(SlowRetrievalError):
        list(pace.timed(answer(), Partial(), 1000))


def test_another_part_than_was_asked_for(files):
    host, url = files
    host.ranges = True
    host.once["data"] = Halved(DATA)
    fetcher, waited = pausing()
    answer = host.answer
    strange = [Says(206, {"content-range": "bytes 7-9/10"}), Says(206, {"content-range": "bytes x"})]
    host.answer = lambda path: answer(path) if len(host.headers) != 2 else strange.pop()
    assert fetcher.download_bytes(url, len(DATA)) == DATA
    assert [one.get("range") for one in host.headers] == [None, f"bytes={len(DATA) // 2}-", None]
    assert len(waited) == 2


def test_two_commands_that_take_one_file_do_not_mix_it(files, tmp_path):
    _, url = files
    access = Access(partials=tmp_path / "kept")
    with kept_partial(access.partials, DIGEST, len(DATA)) as first:
        first.add(DATA[:WORTH_KEEPING])
        assert pausing(access)[0].download_known(url, len(DATA), DIGEST) == DATA
        assert left(tmp_path)[0] == f"{DIGEST}.partial"
        first.add(DATA[WORTH_KEEPING:])
        assert first.content() == DATA
    assert (tmp_path / "kept" / f"{DIGEST}.partial").read_bytes() == b"\n" + DATA


def test_a_cache_that_can_t_be_written_is_none(files, tmp_path):
    _, url = files
    (tmp_path / "kept").write_bytes(b"in the way")
    assert pausing(Access(partials=tmp_path / "kept"))[0].download_known(url, len(DATA), DIGEST) == DATA
    assert (tmp_path / "kept").read_bytes() == b"in the way"


def test_what_takes_long_is_told_and_ended(files):
    host, url = files
    seconds = iter(range(10**6))
    told = []
    access = Access(progress=lambda *report: told.append(report))
    fetcher, _ = pausing(access, clock=lambda: next(seconds))
    host.once["data"] = Says(503, {"retry-after": "20"})
    assert fetcher.download_bytes(url, len(DATA)) == DATA
    assert told[:2] == [("Waiting 20 s for 127.0.0.1, which asks for that", done, 1) for done in (0, 1)]
    labels = {label for label, _, _ in told[2:]}
    assert labels == {"Downloading data (kB)"}
    assert {total for _, _, total in told[2:]} == {len(DATA) // 1000}
    assert told[-1][1] == told[-1][2]
    told.clear()
    quick, _ = pausing(access)
    assert quick.download_bytes(url, len(DATA)) == DATA
    assert told == []


def large(package):
    """The same patch with half a MiB of a prefix."""
    return Package(package.manifest, make_bank(hidden_size=2**16), package.files)


@pytest.mark.parametrize("how", ["index", "address"])
def test_a_killed_command_is_gone_on_with_by_the_next(tmp_path, ppm_home, how):
    package = large(patch("guard"))
    owned = make_index(tmp_path / "index", package)
    [path] = (tmp_path / "index" / "targets" / "files").glob("*/*.ppm")
    wanted = str(path.relative_to(tmp_path / "index"))
    with serve(tmp_path / "index") as (host, url):
        host.ranges = True
        if how == "index":
            root = str(owned.folder / "metadata" / "1.root.json")
            assert ppm("source", "add", "acme", url, "--root", root, "--yes").code == 0
        what = "guard" if how == "index" else f"guard @ {url}/{wanted}#sha256={package.sha256}"
        line = ["download", what, "--base", "lab", "--dest", str(tmp_path / "got")]
        answer, times = host.answer, []
        process = subprocess.Popen(command(*line), stderr=subprocess.PIPE)

        def killing(path):
            if path == wanted:
                times.append(path)
                if len(times) == 2:  # the first answer broke off
                    process.kill()
                    process.wait()
                return Halved(package.data)
            return answer(path)

        host.answer = killing
        assert process.wait() == -signal.SIGKILL, process.stderr.read()
        process.stderr.close()
        kept = ppm_home / "cache" / "indexes" / f"{package.sha256}.partial"
        assert kept.read_bytes().partition(b"\n")[2] == package.data[: len(package.data) // 2]
        assert not (tmp_path / "got").exists()
        host.answer = answer
        host.headers.clear()
        done = ppm(*line)
        assert done.code == 0, done.err
        assert [one["range"] for one in host.headers if "range" in one] == [f"bytes={len(package.data) // 2}-"]
        assert [file.read_bytes() for file in (tmp_path / "got").iterdir()] == [package.data]
        assert not any(".partial" in file.name for file in kept.parent.iterdir())
