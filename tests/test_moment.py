"""Moments: a day means all of it, a time is in UTC unless it says otherwise, and anything else is refused."""

from datetime import UTC, datetime, timedelta

import pytest
from commands import ppm

from ppm.errors import ManifestError, RequestError
from ppm.moment import Moment
from ppm.project import Project


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-06-01", datetime(2026, 6, 1, 23, 59, 59, 999999, tzinfo=UTC)),
        ("20260601", datetime(2026, 6, 1, 23, 59, 59, 999999, tzinfo=UTC)),
        ("2026-W23-1", datetime(2026, 6, 1, 23, 59, 59, 999999, tzinfo=UTC)),
        ("2026-06-01T12:00:00", datetime(2026, 6, 1, 12, tzinfo=UTC)),
        ("2026-06-01T12:00:00Z", datetime(2026, 6, 1, 12, tzinfo=UTC)),
        ("2026-06-01T12:00:00+02:00", datetime(2026, 6, 1, 10, tzinfo=UTC)),
    ],
)
def test_is_read_from_iso_8601(text, at):
    found = Moment.from_text(text)
    assert (found.at, str(found), found.to_toml()) == (at, text, text)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("7 days", datetime(2026, 5, 25, 12, tzinfo=UTC)),
        ("1 day", datetime(2026, 5, 31, 12, tzinfo=UTC)),
        ("2 weeks", datetime(2026, 5, 18, 12, tzinfo=UTC)),
        ("36hours", datetime(2026, 5, 31, 0, tzinfo=UTC)),
        ("0 days", datetime(2026, 6, 1, 12, tzinfo=UTC)),
    ],
)
def test_or_as_a_span_before_now(text, at):
    found = Moment.from_text(text, datetime(2026, 6, 1, 12, tzinfo=UTC))
    assert (found.at, found.to_toml()) == (at, text)
    at = Moment.from_text("1 hour").at
    assert datetime.now(UTC) - at >= timedelta(hours=1)


@pytest.mark.parametrize(
    "text", ["", "soon", "2026-13-01", "2026-06-31", "1 June 2026", "7", "days", "-7 days", "7 years", "99999 days"]
)
def test_what_is_no_date_is_refused_with_an_example(text):
    with pytest.raises(RequestError, match="is not a date") as caught:
        Moment.from_text(text)
    assert "2026-06-01" in caught.value.hint


def test_a_project_is_read_with_its_date_and_config_shows_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "ppm.toml"
    path.write_text('exclude_newer = "2026-06-01"\n')
    assert Project.read(path).exclude_newer == Moment.from_text("2026-06-01")
    rows = {row["setting"]: row for row in ppm("config", "--json").json}
    assert rows["exclude_newer"] == {"setting": "exclude_newer", "value": "2026-06-01", "from": str(path)}
    for text, message in (('"soon"', "exclude_newer: 'soon' is not a date"), ("7", "exclude_newer must be a string")):
        path.write_text(f"exclude_newer = {text}\n")
        with pytest.raises(ManifestError, match=message):
            Project.read(path)
        failed = ppm("config")
        assert (failed.code, "exclude_newer" in failed.err) == (1, True)
