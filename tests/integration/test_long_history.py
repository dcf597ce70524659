"""A share of `benchmarks/deployments.py`: a long history is listed, and is sound."""

from commands import ppm

from benchmarks.deployments import VERSIONS, fill


def test_a_history_of_many_versions_is_listed_and_verified(ppm_home):
    count = VERSIONS + 2
    fill(ppm_home, count)
    assert [row["number"] for row in ppm("history", "--json").json] == list(range(count, 0, -1))
    assert ppm("list", "--json").json["patches"][0]["version"] == "1.0.1"
    done = ppm("verify", "--all")
    assert done.code == 0, done.out
