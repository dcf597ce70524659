"""Names and digests."""

import pytest

from ppm.names import canonical_digest, check_name


def test_names_are_normalised():
    assert check_name("Gender__Bias.v2") == "gender-bias-v2"
    for name in ("", "-a", "a-", "a b", "é", "a" * 101, "a\n"):
        with pytest.raises(ValueError, match="is not a name"):
            check_name(name)


def test_a_digest_does_not_depend_on_the_order_of_keys():
    assert canonical_digest({"a": 1, "b": [1.5, "é"]}) == canonical_digest({"b": [1.5, "é"], "a": 1})
    assert canonical_digest({"a": 1}) != canonical_digest({"a": "1"})
