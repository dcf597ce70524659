"""TOML documents <-> dataclasses: the errors name the document, the key and the nearest known one."""

import random
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
import tomlkit

from ppm.document import MAX_DOCUMENT_BYTES, parse, read_file, read_table, render, to_table
from ppm.errors import ManifestError
from ppm.project import Project


@dataclass(frozen=True)
class Wheel:
    size: int
    brand: str = ""


@dataclass(frozen=True)
class Car:
    name: str
    fuel: Literal["petrol", "diesel"] = "petrol"
    price: float = 0.0
    sold: bool = False
    owner: str | None = None
    wheels: tuple[Wheel, ...] = ()
    extras: dict[str, str] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.price < 0:
            raise ValueError("price must be 0 or more")


FULL = """name = "A"
fuel = "diesel"
price = 3
sold = true
owner = "B"
[[wheels]]
size = 15
[[wheels]]
size = 16
brand = "W"
[extras]
radio = "loud"
[notes]
anything = [1, "two", {three = 3.0}]
"""


def refused(text: str | bytes) -> ManifestError:
    with pytest.raises(ManifestError) as caught:
        read_table(Car, parse(text, "car.toml"), "car.toml")
    assert caught.value.context == "car.toml"
    return caught.value


def test_a_document_becomes_a_dataclass_and_back():
    car = read_table(Car, parse(FULL, "car.toml"), "car.toml")
    assert car == Car(
        "A",
        "diesel",
        3.0,
        True,
        "B",
        (Wheel(15), Wheel(16, "W")),
        {"radio": "loud"},
        {"anything": [1, "two", {"three": 3.0}]},
    )
    assert read_table(Car, parse(render(to_table(car)), "x"), "x") == car


def test_a_key_of_a_table_of_its_own_is_shown_where_it_belongs():
    for table, hint in (
        ({"trigger_alarms": 0.01}, "it belongs under [gates]"),
        ({"trigger_alarm": 0.01}, "known keys are base, patches"),
    ):
        with pytest.raises(ManifestError, match="unknown key") as caught:
            read_table(Project, table, "ppm.toml")
        assert caught.value.hint.startswith(hint)
    assert refused('name = "A"\nsize = 15').hint.startswith("known keys are")  # of one wheel, but of which


def test_what_is_empty_by_default_is_not_written():
    assert to_table(Car("A")) == {"name": "A", "fuel": "petrol", "price": 0.0, "sold": False}


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ('name = "A"\nfule = "diesel"', "unknown key 'fule' in the document", "did you mean 'fuel'?"),
        ('name = "A"\nzzz = 1', "unknown key 'zzz' in the document", "known keys are name, fuel, price, sold"),
        ('name = "A"\nwheels = [{size = 1, brnd = ""}]', "unknown key 'brnd' in [wheels[0]]", "did you mean 'brand'?"),
        ('name = "A"\nfuel = "deisel"', "fuel must be one of 'petrol', 'diesel', not 'deisel'", "mean 'diesel'?"),
        ("", "name is missing", "add name to the document"),
        ('name = "A"\nwheels = [{}]', "wheels[0].size is missing", "add size to [wheels[0]]"),
        ("name = 1", "name must be a string, not a number", ""),
        ("name = true", "name must be a string, not a boolean", ""),
        ('name = ["A"]', "name must be a string, not a list", ""),
        ("name = 1979-05-27", "name must be a string, not a date", ""),
        ('name = "A"\nfuel = 3', "fuel must be one of 'petrol', 'diesel', not a number", ""),
        ('name = "A"\nsold = 1', "sold must be true or false, not a number", ""),
        ('name = "A"\nprice = true', "price must be a finite number, not a boolean", ""),
        ('name = "A"\nprice = inf', "price must be a finite number, not inf", ""),
        ('name = "A"\nprice = "3"', "price must be a finite number, not '3'", ""),
        ('name = "A"\nprice = 1' + "0" * 400, "price must be a finite number, not a number", ""),
        ('name = "A"\nprice = -1', "the document: price must be 0 or more", ""),
        ('name = "A"\nowner = 1', "owner must be a string, not a number", ""),
        ('name = "A"\nwheels = 4', "wheels must be a list, not a number", ""),
        ('name = "A"\nwheels = [4]', "wheels[0] must be a table, not a number", ""),
        ('name = "A"\nwheels = [{size = 1}, {size = 1.5}]', "wheels[1].size must be a whole number, not 1.5", ""),
        ('name = "A"\nwheels = [{size = true}]', "wheels[0].size must be a whole number, not a boolean", ""),
        ('name = "A"\nextras = "none"', "extras must be a table, not 'none'", ""),
        ('name = "A"\nextras = {radio = 1}', "extras.radio must be a string, not a number", ""),
    ],
)
def test_what_does_not_fit_is_named(text, message, hint):
    error = refused(text)
    assert error.message == message
    assert hint in error.hint


@pytest.mark.parametrize(
    "text",
    [
        *(
            b"name",
            b"name =",
            b'name = "A',
            b"name = 'A'\nname = 'B'",
            b"[a]\n[a]",
            b"\x00",
            b"= 1",
            b"a = [1, 2",
            b"a = {b",
        ),
        *(
            b"a." * 3000 + b"b = 1",
            b"a = " + b"[" * 3000,
            b"a = 1979-99-99",
            b'a = "\\ud800"',
            b'a = "\\q"',
            b"a.b=1\na=2",
        ),
    ],
)
def test_what_is_not_toml_is_refused(text):
    error = refused(text)
    assert error.message.startswith("is not valid TOML: ")
    assert error.hint


def test_what_is_not_utf_8_is_refused():
    assert refused(b'name = "\xff"').message == "is not UTF-8 (byte 8)"


def test_a_long_document_is_not_even_parsed():
    assert refused(b"#" * (MAX_DOCUMENT_BYTES + 1)).message == "is 131,073 bytes long; at most 131,072 are read"


def test_a_file_that_can_not_be_read(tmp_path):
    (tmp_path / "car.toml").write_text('name = "A"')
    assert read_file(tmp_path / "car.toml") == {"name": "A"}
    with pytest.raises(ManifestError, match="can't be read: No such file"):
        read_file(tmp_path / "gone.toml")


def test_what_is_parsed_is_plain_data():
    def plain(value):
        if isinstance(value, dict):
            return all(plain(item) for item in value.values())
        if isinstance(value, list):
            return all(map(plain, value))
        return not isinstance(value, tomlkit.items.Item)

    assert plain(parse(FULL, "x"))


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bytes_never_cause_anything_but_an_error_of_ours(seed):
    rng = random.Random(seed)
    for _ in range(75):
        data = bytearray(FULL.encode())
        for _ in range(rng.choice((1, 2, 4))):
            data[rng.randrange(len(data))] = rng.choice((rng.randrange(256), *b'"\\{}[]=.,\n'))
        try:
            car = read_table(Car, parse(bytes(data), "x"), "x")
        except ManifestError:
            continue
        assert isinstance(car, Car)


def test_bytes_of_a_file_s_name_that_are_no_text_are_written_as_escapes():
    written = render({"source": "d\udcff", "all": ["\udce9"]})
    assert parse(written.encode(), "x") == {"source": "d\\udcff", "all": ["\\udce9"]}
