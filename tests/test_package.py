"""Package files: written reproducibly, and read as hostile input."""

import io
import json
import random
import struct
import zipfile
from dataclasses import replace

import numpy
import pytest
from packages import make_bank, make_package
from safetensors.numpy import save

from ppm.bank import Bank
from ppm.errors import DiskError, IntegrityError, ManifestError, PackageError, PpmError
from ppm.jsonl import Pair, Prompt, dump
from ppm.package import (
    MAX_PACKAGE_BYTES,
    Package,
    file_name,
    parse_file_name,
    read_metadata,
    read_package,
    sha256,
    write_package,
)

PACKAGE = make_package(dependencies={"core": ">=1"}, conflicts={"legacy": "*"}, provides=("refusal",))
DATA = PACKAGE.to_bytes()
SOUND = PACKAGE.bank.to_bytes()


def members() -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(DATA)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(entries, method=zipfile.ZIP_STORED) -> bytes:
    """A zip of (name or ZipInfo, content), written as asked."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def pack_package(contents: dict[str, bytes], method=zipfile.ZIP_STORED) -> bytes:
    """A zip of these members with a RECORD that fits them."""
    listed = {name: content for name, content in contents.items() if name != "RECORD"}
    record = "".join(f"{name},sha256:{sha256(content)},{len(content)}\n" for name, content in listed.items())
    return pack([*listed.items(), ("RECORD", record.encode())], method)


def refused(data: bytes, error=IntegrityError) -> str:
    with pytest.raises(error) as caught:
        read_package(data, origin="x.ppm")
    assert caught.value.context.startswith("x.ppm")
    return caught.value.message


def entry(name: str, mode: int = 0o100644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


def test_what_is_written_is_read_back(tmp_path):
    path = write_package(PACKAGE, tmp_path / "new" / "folder")
    assert path.name == "toxicity-1.0.0-tiny_0123456789ab.ppm"
    package = read_package(path, expected_sha256=PACKAGE.sha256)
    assert package == PACKAGE
    assert package.sha256 == sha256(path.read_bytes())
    assert [prompt.id for prompt in package.prompts(package.manifest.suites[0])] == ["0", "1", "2"]
    assert [pair.chosen for pair in package.replay] == ["thank you"] * 2
    assert [row.prompt for row in package.retention] == ["benign 0", "benign 1"]
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_same_patch_gives_the_same_bytes():
    turned = Package(PACKAGE.manifest, PACKAGE.bank, dict(reversed(PACKAGE.files.items())))
    assert turned.to_bytes() == DATA
    assert read_package(DATA).to_bytes() == DATA
    assert make_package(value=0.25).to_bytes() != make_package().to_bytes()


def test_a_deflated_package_is_read_too():
    assert read_package(pack_package(members(), zipfile.ZIP_DEFLATED)) == PACKAGE


def test_a_patch_needs_neither_replay_nor_retention():
    bare = replace(PACKAGE.manifest, replay=None, retention=None, suites=())
    package = read_package(Package(bare, PACKAGE.bank, {}).to_bytes())
    assert (package.replay, package.retention) == ((), ())


def test_file_names_are_read_back():
    name = file_name(make_package("gender-bias", "1.0rc1", model="org/Tiny_Model-2").manifest)
    assert name == "gender_bias-1.0rc1-tiny_model_2_0123456789ab.ppm"
    assert parse_file_name(name) == ("gender-bias", "1.0rc1", "tiny-model-2-0123456789ab")
    assert parse_file_name("a-1.ppm") is None
    assert parse_file_name("a-1-b.zip") is None
    assert parse_file_name("a--b.ppm") is None


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_metadata_alone(tmp_path):
    path = write_package(PACKAGE, tmp_path)
    assert read_metadata(path) == (PACKAGE.manifest, PACKAGE.sha256)
    path.write_bytes(pack([("patch.toml", b"schema = 1"), ("patch.toml", b"schema = 1")]))
    with pytest.raises(IntegrityError, match=r"two members named 'patch\.toml'"):
        read_metadata(path)
    path.write_bytes(pack([("RECORD", b"")]))
    with pytest.raises(IntegrityError, match=r"lacks patch\.toml"):
        read_metadata(path)


def test_what_is_not_fit_to_read_is_not_written(tmp_path):
    with pytest.raises(PackageError, match="has no fingerprint") as caught:
        write_package(make_package(fingerprint=None), tmp_path)
    assert "`ppm build` writes it" in caught.value.hint
    with pytest.raises(IntegrityError, match=r"lacks replay\.jsonl"):
        write_package(Package(PACKAGE.manifest, PACKAGE.bank, {}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_can_not_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="can't be written"):
        write_package(PACKAGE, tmp_path / "file")


def test_files_that_can_not_be_read(tmp_path):
    with pytest.raises(PackageError, match="does not exist") as caught:
        read_package(tmp_path / "gone.ppm")
    assert caught.value.hint == "give the path of a .ppm file"
    with pytest.raises(PackageError, match="is not a file"):
        read_package(tmp_path)


def test_a_file_over_the_limit_is_refused_without_reading_it(tmp_path):
    path = tmp_path / "large.ppm"
    with path.open("wb") as stream:
        stream.truncate(MAX_PACKAGE_BYTES + 1)
    with pytest.raises(IntegrityError, match=r"larger than 33,554,432 bytes"):
        read_package(path)


def test_the_wrong_file_is_refused():
    with pytest.raises(IntegrityError, match=r"has SHA-256 .*, but 000000000000\.\.\. is pinned"):
        read_package(DATA, expected_sha256="0" * 64)


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip at all", DATA + b"tail", b"PK\5\6" + b"\xff" * 18])
def test_what_is_not_a_zip_is_refused(data):
    refused(data)


def test_truncated_files_are_refused():
    for length in range(0, len(DATA), 97):
        assert "is not a whole package file" in refused(DATA[:length])


def test_a_tampered_member_is_refused():
    contents = members()
    contents["suites/words.txt"] = b"nothing\n"
    assert refused(pack(contents.items())) == "has a suites/words.txt that differs from its RECORD"


@pytest.mark.parametrize(
    "name",
    [
        *("../x.jsonl", "/x.jsonl", "suites/../x.jsonl", "suites\\x.jsonl", "C:x.jsonl", "suites//x", "suites/", ".x"),
        *("suites/nul", "suites/COM1.jsonl", "suites/x.", "a b.jsonl", "é.jsonl", "-x.jsonl", "a\0b.jsonl"),
        *("x" * 300 + "/", "a/" * 9 + "x.jsonl"),
    ],
)
def test_unsafe_paths_are_refused(name):
    # zipfile cuts a name at a zero byte when it writes, so the name is put in afterwards.
    data = pack([*members().items(), (name.replace("\0", "0"), b"x")])
    data = data.replace(name.replace("\0", "0").encode(), name.encode())
    assert refused(data).startswith("has a member with an unsafe path")


@pytest.mark.parametrize("mode", [0o120777, 0o040755, 0o010644, 0o060644])
def test_links_folders_and_devices_are_refused(mode):
    data = pack([*members().items(), (entry("suites/link", mode), b"/etc/passwd")])
    assert refused(data) == "has a member that is not a plain file: 'suites/link'"


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["patch.toml", "PATCH.TOML.jsonl", "Suites/main.jsonl", "suites/MAIN.jsonl"])
def test_names_that_collide_are_refused(name):
    extra = ["patch.toml.jsonl"] if name == "PATCH.TOML.jsonl" else []
    data = pack([*members().items(), *((other, b"") for other in extra), (name, b"")])
    assert refused(data) == f"has two members named {name!r}"


def test_members_that_do_not_belong_are_refused():
    assert refused(pack([*members().items(), ("setup.py", b"x")])) == "has an unexpected member: 'setup.py'"
    assert "RECORD disagree about other.jsonl" in refused(pack([*members().items(), ("other.jsonl", b"x")]))


@pytest.mark.parametrize("name", ["patch.toml", "prefix.safetensors", "RECORD"])
def test_missing_members_are_refused(name):
    contents = members()
    del contents[name]
    assert refused(pack(contents.items())) == f"lacks {name}"


def test_a_file_that_the_manifest_names_must_be_there():
    contents = members()
    del contents["suites/words.txt"]
    assert "RECORD disagree about suites/words.txt" in refused(pack(contents.items()))
    assert refused(pack_package(contents)) == "lacks suites/words.txt, which its manifest names"


@pytest.mark.parametrize(
    "record",
    [b"", b"nonsense\n", b"\xff", b"a,sha256:00,1\n", b"patch.toml,sha256:" + b"0" * 64 + b",1\n"],
)
def test_a_wrong_record_is_refused(record):
    assert "RECORD" in refused(pack((members() | {"RECORD": record}).items()))


def test_a_record_that_lists_a_member_twice_is_refused():
    contents = members()
    contents["RECORD"] += contents["RECORD"].splitlines(keepends=True)[0]
    assert refused(pack(contents.items())).startswith("has a RECORD with a bad line")


def test_encrypted_members_are_refused():
    data = bytearray(DATA)
    start = data.index(b"PK\1\2")
    data[start + 8] |= 1
    assert refused(bytes(data)) == "has a member that is not a plain file: 'patch.toml'"


def test_other_ways_of_packing_are_refused():
    assert (
        refused(pack(members().items(), zipfile.ZIP_LZMA)) == "has a member with an unknown compression: 'patch.toml'"
    )


def test_a_bomb_is_refused_before_it_unpacks():
    bomb = pack([("suites/bomb.jsonl", b"0" * (MAX_PACKAGE_BYTES + 1))], zipfile.ZIP_DEFLATED)
    assert len(bomb) < 2**17
    assert refused(bomb) == "unpacks to more than 33,554,432 bytes"


def test_a_bomb_that_declares_a_small_size_is_refused():
    data = pack([("suites/bomb.jsonl", b"0" * 2**20)], zipfile.ZIP_DEFLATED)
    assert "is not a whole package file" in refused(data.replace(struct.pack("<L", 2**20), struct.pack("<L", 10)))


def test_a_size_declared_too_large_is_refused():
    data = pack([("suites/x.jsonl", b"0" * 3000)])
    refused(data.replace(struct.pack("<L", 3000), struct.pack("<L", 3001)))


def test_too_many_members_are_refused():
    assert refused(pack((f"suites/{i}", b"") for i in range(2001))) == "has 2,001 members; at most 2,000 are read"


def test_a_list_of_members_that_is_too_long_is_not_even_read():
    data = pack([("suites/x", b"")])
    long = data[:-10] + struct.pack("<LLH", 2**22, 0, 0)
    assert refused(long) == "has more than 2,000 members"
    assert refused(data[:-22] + b"PK\6\7" + b"\0" * 16 + data[-22:]) == "has more than 2,000 members"


def with_prefix(prefix: bytes) -> bytes:
    return pack_package(members() | {"prefix.safetensors": prefix})


def test_a_prefix_of_another_shape_than_declared_is_refused():
    assert refused(with_prefix(make_bank(3).to_bytes())) == "holds (3, 4); its manifest says 2 virtual tokens"
    assert "is a tensor of F32 [8], not a matrix" in refused(
        with_prefix(save({"prefix": numpy.zeros(8, numpy.float32)}))
    )
    assert "is damaged" in refused(with_prefix(save({"prefix": numpy.zeros((2, 0), numpy.float32)})))


def test_a_prefix_of_another_type_is_refused():
    assert "is a tensor of F16 [2, 4], not a matrix in F32" in refused(
        with_prefix(save({"prefix": numpy.zeros((2, 4), numpy.float16)}))
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_prefix_that_is_not_finite_is_refused(value):
    assert refused(with_prefix(make_bank(value=value).to_bytes())) == "has values that are not finite numbers"


def test_a_prefix_file_with_other_tensors_is_refused():
    zeros = numpy.zeros((2, 4), numpy.float32)
    for tensors in ({"other": zeros}, {"prefix": zeros, "extra": zeros}, {}):
        assert "must hold one tensor named 'prefix'" in refused(with_prefix(save(tensors)))


def lying_header(**changes) -> bytes:
    header = {"prefix": {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32], **changes}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"\0" * 32


@pytest.mark.parametrize(
    "prefix",
    [
        *(
            b"",
            b"\xff" * 8,
            b"\x80\4pickle",
            make_bank().to_bytes()[:-1],
            make_bank().to_bytes() + b"x",
            struct.pack("<Q", 2) + b"{}x",
        ),
        *(lying_header(shape=[2, 2**60]), lying_header(data_offsets=[0, 64]), lying_header(data_offsets=[-1, 31])),
        *(lying_header(dtype="F64"), lying_header(dtype="no"), lying_header(shape=[[2], 4]), lying_header(shape="2,4")),
    ],
)
def test_a_lying_prefix_file_is_refused(prefix):
    assert refused(with_prefix(prefix)).startswith("is damaged")


def test_the_header_helper_itself_makes_a_sound_prefix():
    assert read_package(with_prefix(lying_header())).manifest == PACKAGE.manifest


def test_a_suite_prompt_that_is_trained_on_is_refused():
    leaked = PACKAGE.files["replay.jsonl"] + dump([Pair("  TOXICITY\tquestion 1", "yes", "no")])
    message = refused(pack_package(members() | {"replay.jsonl": leaked}), ManifestError)
    assert message == "trains on a prompt of the suite 'main': '  TOXICITY\\tquestion 1'"


def test_a_malformed_manifest_or_data_file_names_its_place():
    contents = members()
    with pytest.raises(ManifestError) as caught:
        read_package(pack_package(contents | {"patch.toml": b"schema = 3"}), origin="x.ppm")
    assert str(caught.value).startswith("x.ppm, patch.toml: unknown schema 3")
    broken = dump([Prompt("a", "b")]) + b"{\n"
    with pytest.raises(ManifestError) as caught:
        read_package(pack_package(contents | {"suites/main.jsonl": broken}), origin="x.ppm")
    assert "suites/main.jsonl, line 2: is not a JSON object" in str(caught.value)


@pytest.mark.parametrize("seed", range(5))
def test_flipped_bytes_never_cause_anything_but_an_error_of_ours(seed):
    rng = random.Random(seed)
    original = pack_package(members(), zipfile.ZIP_DEFLATED) if seed % 2 else DATA
    survivors = 0
    for _ in range(100):
        data = bytearray(original)
        for _ in range(rng.choice((1, 1, 2, 8))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            read_package(bytes(data))
        except PpmError:
            continue
        survivors += 1
    # Bytes that carry nothing, such as a time stamp, may change.
    assert survivors < 50


@pytest.mark.parametrize("name", ["patch.toml", "prefix.safetensors", "replay.jsonl"])
def test_flipped_bytes_under_a_record_that_fits_are_met_as_well(name):
    rng = random.Random(name)
    contents = members()
    for _ in range(150):
        content = bytearray(contents[name])
        for _ in range(rng.choice((1, 2, 5))):
            content[rng.randrange(len(content))] = rng.choice((rng.randrange(256), *b'"\\{}[]=.,\n'))
        try:
            package = read_package(pack_package(contents | {name: bytes(content)}))
        except PpmError:
            continue
        assert read_package(package.to_bytes()).manifest == package.manifest


@pytest.mark.parametrize(
    ("name", "content"),
    [("RECORD", b"\n" * (2**17 + 1)), ("patch.toml", b"#" * (2**17 + 1)), ("suites/main.jsonl", b"\n" * (2**23 + 1))],
)
def test_a_member_larger_than_any_needs_to_be_is_refused(name, content):
    assert f"has a {name} of more than" in refused(pack([(name, content)], zipfile.ZIP_DEFLATED))


def test_a_header_of_the_prefix_that_says_it_is_long_is_refused():
    package = make_package()
    longer = (2**20).to_bytes(8, "little") + b" " * 2**20 + package.bank.to_bytes()[8:]
    with pytest.raises(IntegrityError, match="a header of over 65,536 bytes"):
        read_package(replace(package, bank=Bank(encoded=longer)).to_bytes())
