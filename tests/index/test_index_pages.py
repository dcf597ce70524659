"""Pages on an index: what they say, that they stay whole, and that what others wrote stays text."""

import base64
import errno
import hashlib
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from commands import ppm
from environment.samples import run_killed_at
from index.indexes import make_index, serve, trust
from index.test_advisories import advise, osv, suite
from packages import make_package

from ppm.errors import DiskError, IntegrityError, SourceError
from ppm.index import pages
from ppm.index.check import as_new_client
from ppm.index.layout import shard_path, stored
from ppm.index.pages import Titled
from ppm.index.publish import yank
from ppm.index.roles import LIFETIMES
from ppm.index.site import MARKER, write_site
from ppm.index.trust import find_index, write_pin
from ppm.page import render

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & \"'"
UNSAID = "\x1b[2J\u202egnp.exe\u2066"
"""What a manifest may hold, and an index does not list: control characters, and marks that turn what is read round."""
MADE = datetime(2031, 3, 4, 12, tzinfo=UTC)
VOID = {"meta", "input", "br"}
INLINE = {"a", "bdi", "code", "small", "span", "strong", "time"}
SCORES = {"main": {"base": 0.4, "sft": 0.2, "dpo": 0.05}, "odd": "none", HOSTILE: {"base": True, "dpo": "low"}}


class Page(HTMLParser):
    """What a page has: its elements, which are all closed, its links, the ids to link to, and its text."""

    def __init__(self, data):
        super().__init__()
        self.seen, self.links, self.ids, self.open = [], [], [], []
        self.text = ""
        self.source = data.decode()
        self.feed(self.source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        assert not [key for key, _ in attributes if key.startswith("on") or key == "style"]
        self.links += [value for key, value in attributes if key in ("href", "src")]
        self.ids += [value for key, value in attributes if key == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag not in INLINE:
            self.text += " "

    def handle_data(self, data):
        if self.open[-1:] not in (["script"], ["style"]):
            self.text += data

    @property
    def tags(self):
        return {tag for tag, _ in self.seen}

    @property
    def policy(self):
        return next(a["content"] for tag, a in self.seen if tag == "meta" and "http-equiv" in a)

    @property
    def words(self):
        return " ".join(self.text.split())


def write(owned, site, *, made=MADE, url="https://patches.example.org/index", **options):
    with as_new_client(owned.folder, owned.first_root, str) as source:
        return write_site(source, owned.first_root, Titled("acme", url, made), Path(site), **options)


def read(site, file="index.html"):
    return Page((Path(site) / file).read_bytes())


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file()}


def hostile_package(name="toxicity", **fields):
    made = {"scores": SCORES, "shipped": "dpo", "teacher": HOSTILE + UNSAID, "versions": {"ppm": UNSAID}}
    package = make_package(name, provenance=made, model=HOSTILE, **fields)
    patch = replace(package.manifest.patch, summary=HOSTILE, risks=(HOSTILE,), license=UNSAID, authors=(HOSTILE,))
    return replace(package, manifest=replace(package.manifest, patch=patch))


def full_index(folder):
    """Two publishers; every kind of relation, a version that was taken back, and advisories."""
    packages = [
        make_package("toxicity", "1.0.0", provenance={"scores": SCORES, "shipped": "dpo"}),
        make_package("toxicity", "1.10.0", provenance={"scores": SCORES, "shipped": "sft"}),
        make_package("toxicity", "1.9.0", model="acme/other", fingerprint="sha256:" + "ab" * 32),
        make_package("app", dependencies={"toxicity": ">=1,<2", "shield": "*"}, conflicts={"nothing": "<1"}),
        make_package("guard", provides=("shield",), replaces={"app": "<0.5"}),
    ]
    owned = make_index(folder, *packages, now=datetime.now(UTC) - timedelta(hours=1))
    owned.publisher("other", "lone")
    owned.publish(make_package("lone"), publisher="other")
    yank(owned.open(), "toxicity", "1.0.0", "fails on names", datetime.now(UTC))
    advise(owned, osv(versions=("1.9.0", "1.10.0"), failing=suite()))
    gone = osv("app", id="ACME-2026-0", withdrawn="2026-11-02T10:00:00Z")
    advise(owned, gone)
    return owned


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    owned = full_index(folder / "index")
    return owned, folder / "site", write(owned, folder / "site")


def test_all_links_lead_somewhere(world):
    _, site, found = world
    assert (found.patches, found.faults) == (4, ())
    known = {file: Page(data) for file, data in files(site).items() if file.endswith(".html")}
    assert found.files == len(known) == 7
    outside = set()
    for file, page in known.items():
        assert len(page.ids) == len(set(page.ids))
        for link in page.links:
            if urlsplit(link).scheme:
                outside.add(link)
                continue
            target = urlsplit(urljoin(f"file:///{file}", link))
            path = unquote(target.path).lstrip("/")
            assert path in known, (file, link)
            assert not target.fragment or target.fragment in known[path].ids, (file, link)
    assert outside == {"https://theupdateframework.io/", "https://example.org/1"}


def test_the_start_page_lists_patches_by_name_without_a_script(world):
    page = read(world[1])
    names = [link for link in page.links if link.startswith("patches/")]
    assert names == [f"patches/{name}.html" for name in ("app", "guard", "lone", "toxicity")]
    assert ("search", {"hidden": None}) in page.seen
    assert "toxicity 1.10.0 advisory A test. against toxicity; for" in page.words
    assert "by other" in page.words


def test_a_patch_s_page_says_what_there_is_and_how_to_install_it(world):
    owned, site, _ = world
    page = read(site, "patches/toxicity.html")
    digest = hashlib.sha256(owned.first_root).hexdigest()
    source = f"ppm source add acme https://patches.example.org/index --fingerprint sha256:{digest}"
    for words in (
        source,
        "ppm install toxicity --base acme/tiny",
        "ppm install toxicity --base acme/other",
        "Licence Apache-2.0",
        "taken back : fails on names".replace(" :", ":"),
        "sha256:" + "ab" * 32,
        "Insults after praise",
        "6, judged by lexicon; affected is what fails on more than 0.1 of them",
        "main rate 0.4 0.05",
        "main rate 0.4 0.2",
        "replay.jsonl sha256:",
        "Signed with ppm",
    ):
        assert words in page.words, words
    versions = page.words[page.words.index("State") :]
    assert versions.index("1.10.0") < versions.index("1.9.0") < versions.index("1.0.0")
    assert "odd" not in page.words
    app = read(site, "patches/app.html")
    assert "Depends on shield (provided by guard) toxicity <2,>=1 Conflicts with nothing <1" in app.words
    assert "Withdrawn on 2026-11-02 10:00" in app.words
    assert "Provides shield Replaces app <0.5" in read(site, "patches/guard.html").words


def test_how_it_is_signed(world):
    page = read(world[1], "signing.html")
    assert f"sha256:{hashlib.sha256(world[0].first_root).hexdigest()}" in page.words
    for role in LIFETIMES:
        assert re.search(rf"\b{role} .* \d+ \d{{4}}-\d\d-\d\d \d\d:\d\d \d of \d", page.words), role
    until = world[0].open().timestamp.signed.expires
    assert f"on 2031-03-04 12:00 UTC from metadata that is valid until {until:%Y-%m-%d %H:%M} UTC" in page.words


def test_each_page_is_titled_has_landmarks_and_runs_only_its_own_script(world):
    for file, data in files(world[1]).items():
        if not file.endswith(".html"):
            continue
        page = Page(data)
        assert {"html", "title", "header", "nav", "main", "h1", "footer"} <= page.tags
        assert ("html", {"lang": "en"}) in page.seen
        assert not {"link", "img", "iframe", "base", "form", "object"} & page.tags
        rules = dict(rule.split(" ", 1) for rule in page.policy.split("; "))
        assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
        inner = {tag: re.findall(rf"<{tag}>(.*?)</{tag}>", page.source, re.DOTALL) for tag in ("style", "script")}
        assert len(inner["script"]) == (file == "index.html")
        for tag, texts in inner.items():
            own = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
            assert rules.get(f"{tag}-src", "") == " ".join(f"'sha256-{digest}'" for digest in own)


def test_what_others_wrote_stays_text(tmp_path):
    owned = make_index(tmp_path / "index", hostile_package(), make_package("app"))
    yank(owned.open(), "app", "1.0.0", HOSTILE, datetime.now(UTC))
    told = osv(summary=HOSTILE, details=f"{HOSTILE}\nmore", failing=suite(limit=0.25))
    urls = ("javascript:alert(1)", 'https://example.org/" onclick="x', "data:text/html,x", "HTTPS://example.org/a")
    told |= {"references": [{"type": "WEB", "url": url} for url in urls] + [{"type": HOSTILE}], "aliases": ["CVE-1"]}
    advise(owned, told)
    write(owned, tmp_path / "site")
    for file, data in files(tmp_path / "site").items():
        if file.endswith(".html"):
            page = Page(data)
            assert "img" not in page.tags
            assert sum(tag == "script" for tag, _ in page.seen) == (file == "index.html")
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page.source)
            assert not [link for link in page.links if urlsplit(link).scheme not in ("", "http", "https")]
    page = read(tmp_path / "site", "patches/toxicity.html")
    shown = " ".join(HOSTILE.split())
    assert page.words.count(shown) > 8
    assert "Licence \\u001b[2J\\u202egnp.exe\\u2066" in page.words
    assert "javascript:alert(1)" in page.words
    assert [link for link in page.links if link.startswith("HTTPS")] == ["HTTPS://example.org/a"]
    quoted = HOSTILE.replace("'", "'\"'\"'")
    assert f"ppm install toxicity --base '{quoted}'" in page.words
    assert (
        f"Every version was taken back. The reason for 1.0.0: {shown}"
        in read(tmp_path / "site", "patches/app.html").words
    )


def test_the_same_index_gives_the_same_bytes_but_for_the_time(tmp_path):
    owned = full_index(tmp_path / "index")
    write(owned, tmp_path / "a")
    write(owned, tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")
    write(owned, tmp_path / "b", made=MADE + timedelta(days=1))
    later = files(tmp_path / "b")
    assert later != files(tmp_path / "a")
    assert {f: d.replace(b"2031-03-05", b"2031-03-04") for f, d in later.items()} == files(tmp_path / "a")


def test_what_ppm_refuses_is_named_and_not_shown(tmp_path):
    owned = full_index(tmp_path / "index")
    targets = owned.folder / "targets"
    [entry] = owned.open().shard("lone").releases
    statement = f"{entry.file}.intoto.json"
    path = targets / stored(f"files/{entry.sha256}/{statement}", entry.statement)
    path.rename(path.with_name("away"))
    with pytest.raises(SourceError, match="lacks a file"):
        write(owned, tmp_path / "site")  # a file that TUF lists and nobody has is the host's fault
    path.with_name("away").rename(path)

    repository = owned.open()
    shard = repository.shard("app")
    lying = replace(shard.releases[0], summary="Better than it is.")
    repository.put(shard_path("app"), replace(shard, releases=(lying,)).to_bytes())
    repository.put(shard_path("guard"), b'{"schema": 1}')
    repository.commit(datetime.now(UTC))
    found = write(owned, tmp_path / "site")
    assert len(found.faults) == 2
    page = read(tmp_path / "site", "patches/app.html")
    assert "There is nothing to install" in page.words
    assert f"{lying.file}: is listed otherwise than its publisher's statement has it" in page.words
    assert "Better than it is." not in page.words
    assert "app refused" in read(tmp_path / "site").words
    assert not (tmp_path / "site" / "patches" / "guard.html").exists()


def test_what_is_expired_or_forged_gives_no_pages(tmp_path):
    old = make_index(tmp_path / "old", make_package(), now=datetime.now(UTC) - timedelta(days=8))
    with pytest.raises(IntegrityError, match="expired"):
        write(old, tmp_path / "site")
    other = make_index(tmp_path / "other", make_package())
    with pytest.raises(IntegrityError), as_new_client(other.folder, old.first_root, str) as source:
        write_site(source, old.first_root, Titled("x", None, MADE), tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_many_names_are_paged_and_searched_in_a_file_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "EACH", 2)
    owned = full_index(tmp_path / "index")
    advise(owned, osv("guard", id="ACME-2026-9", modified="2026-11-09T10:00:00Z"))
    write(owned, tmp_path / "site")
    start = read(tmp_path / "site")
    assert "'self'" in start.policy
    assert [link for link in start.links if "names" in link] == ["names.html", "names-2.html"]
    assert "app to guard" in start.words
    listed = [read(tmp_path / "site", file) for file in ("names.html", "names-2.html")]
    found = [link for page in listed for link in page.links if link.startswith("patches/")]
    assert found == [f"patches/{name}.html" for name in ("app", "guard", "lone", "toxicity")]
    assert "names-2.html" in listed[0].links
    text = (tmp_path / "site" / "search.js").read_text()
    rows = json.loads(text.removeprefix("ppmRows(").removesuffix(");\n"))
    assert [row[0] for row in rows] == ["app", "guard", "lone", "toxicity"]
    assert rows[3][:3] == ["toxicity", "1.10.0", "advisory"]
    assert "ACME-2026-9" in read(tmp_path / "site", "advisories.html").words
    assert "ACME-2026-1" in read(tmp_path / "site", "advisories-2.html").words


def test_an_empty_index_has_pages_too(tmp_path):
    owned = make_index(tmp_path / "index")
    assert write(owned, tmp_path / "site").patches == 0
    assert "0 safety patches" in read(tmp_path / "site").words
    assert "There are none." in read(tmp_path / "site", "advisories.html").words


def test_a_folder_of_others_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    owned = make_index(tmp_path / "index", make_package())
    (tmp_path / "empty").mkdir()
    assert ppm("index", "page", "index", "--output", "empty").code == 0
    (tmp_path / "empty" / "patches" / "CNAME").write_text("mine")
    for folder, words in (("empty", "holds patches/CNAME, which is no page of ppm's"), ("index", "holds metadata/")):
        before = files(tmp_path / folder)
        done = ppm("index", "page", "index", "--output", folder)
        assert (done.code, done.out) == (1, "")
        assert words in done.err
        assert "hint: name a new folder, or move that away" in done.err
        assert files(tmp_path / folder) == before
    (tmp_path / "file").write_text("x")
    assert "is a file" in ppm("index", "page", "index", "--output", "file").err
    (tmp_path / "empty" / "patches" / "CNAME").unlink()
    (tmp_path / "empty" / "patches" / "more").symlink_to(tmp_path / "index")
    assert "holds patches/more" in ppm("index", "page", "index", "--output", "empty").err
    assert owned.first_root


def test_a_kill_at_any_change_of_the_disk_leaves_the_old_pages_or_the_new(tmp_path):
    owned = make_index(tmp_path / "index", make_package())
    site, seen = tmp_path / "site", []
    with as_new_client(owned.folder, owned.first_root, str) as source:

        def written(days):
            write_site(source, owned.first_root, Titled("acme", None, MADE + timedelta(days=days)), site)

        written(0)
        before = files(site)
        after = {file: data.replace(b"2031-03-04", b"2031-03-05") for file, data in before.items()}
        for step in range(1, 100):
            killed = run_killed_at(step, lambda: written(1))
            seen.append(files(site))
            assert seen[-1] in (before, after)
            if not killed:
                break
            written(0)
            assert files(site) == before
            assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []
    assert step > 10
    assert seen[0] == before
    assert seen[-2] == seen[-1] == after


def test_where_folders_can_t_change_places_a_kill_in_between_is_made_good(tmp_path, monkeypatch):
    owned = make_index(tmp_path / "index", make_package())
    site, rename = tmp_path / "site", Path.rename
    write(owned, site)
    before = files(site)

    def dies(path, target):
        if path == site:
            return rename(path, target)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("sys.platform", "other")
        write(owned, site)
        assert files(site) == before
        patched.setattr(Path, "rename", dies)
        with pytest.raises(KeyboardInterrupt):
            write(owned, site, made=MADE + timedelta(days=1))
    assert not site.exists()
    with pytest.raises(IntegrityError):
        write(make_index(tmp_path / "old", now=datetime.now(UTC) - timedelta(days=8)), site)
    assert files(site) == before


def test_a_full_disk_leaves_the_old_pages(tmp_path):
    owned = make_index(tmp_path / "index", make_package())
    write(owned, tmp_path / "site")
    before = files(tmp_path / "site")

    def full(path, data):
        if path.name == "signing.html":
            raise OSError(errno.ENOSPC, "No space left on device")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)

    with pytest.raises(DiskError) as caught:
        write(owned, tmp_path / "site", made=MADE + timedelta(days=1), write=full)
    assert caught.value.hint == "free some space on this disk"
    assert files(tmp_path / "site") == before
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    owned = make_index(tmp_path / "patches", make_package())
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1796000000")
    done = ppm("index", "page", "patches", "--output", "site")
    assert (done.code, done.out) == (0, "Wrote 4 files on 1 patch into site.\n")
    page = read("site", "patches/toxicity.html")
    assert "ppm source add patches ADDRESS --fingerprint" in page.words
    assert "Made by ppm" in page.words
    assert "on 2026-11-30 00:53 UTC" in page.words
    assert json.loads((tmp_path / "site" / MARKER).read_bytes())["files"] == sorted(set(files("site")) - {MARKER})
    for words, *arguments in (
        ("is not an index", "nowhere"),
        ("must begin with https://", "patches", "--url", "ftp://x/"),
        ("is not a name", "patches", "--name", "<b>"),
    ):
        said = ppm("index", "page", *arguments, "--output", "other")
        assert (said.code, said.out) == (1, "")
        assert words in said.err
    assert ppm("index", "page", "patches", "--output", "site", "--url", "https://me:secret@example.org/x").code == 0
    assert "ppm source add patches https://example.org/x --fingerprint" in read("site", "signing.html").words
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    assert "SOURCE_DATE_EPOCH: must be a time" in ppm("index", "page", "patches", "--output", "other").err
    assert not (tmp_path / "other").exists()
    assert owned.first_root


def test_the_pages_of_an_index_that_is_trusted(tmp_path, monkeypatch, ppm_home):
    monkeypatch.chdir(tmp_path)
    owned = make_index(tmp_path / "index", make_package())
    with serve(owned.folder) as (_, url):
        root = str(owned.folder / "metadata" / "1.root.json")
        assert ppm("source", "add", "acme", url, "--root", root, "--yes").code == 0
        assert ppm("index", "page", "acme", "--output", "site").code == 0
        assert f"ppm source add acme {url} --fingerprint" in read("site", "patches/toxicity.html").words
        assert "did you mean 'acme'?" in ppm("index", "page", "acne", "--output", "site").err
        write_pin(find_index(ppm_home, "acme"), "toxicity", ("0" * 64,))
        refused = ppm("index", "page", "acme", "--output", "site")
        assert refused.code == 4
        assert "is signed by another key than toxicity was before" in refused.err
    assert "There is nothing to install" in read("site", "patches/toxicity.html").words
    before = files("site")
    done = ppm("index", "page", "acme", "--output", "site")
    assert (done.code, done.out) == (1, "")
    assert "pages need all of it" in done.err
    assert files("site") == before


def test_a_later_root_is_named_as_a_file(tmp_path):
    owned = make_index(tmp_path / "index", make_package())
    owned.open().rotate("timestamp", datetime.now(UTC))
    root = (owned.folder / "metadata" / "2.root.json").read_bytes()
    with as_new_client(owned.folder, root, str) as source:
        write_site(source, root, Titled("acme", None, MADE), tmp_path / "site")
    page = read(tmp_path / "site", "signing.html")
    assert "ADDRESS --root 2.root.json --fingerprint sha256:" + hashlib.sha256(root).hexdigest() in page.words
    assert trust(tmp_path / "home", owned.folder.as_uri(), root).name == "acme"


def test_a_page_escapes_and_shows_what_would_turn_it_round():
    page = Page(render("index/templates/frame.html", about={"name": UNSAID + HOSTILE} | ABOUT, up="", here=""))
    assert "\\u001b[2J\\u202egnp.exe\\u2066" in page.text
    assert "script" not in page.tags


ABOUT = {"made": "", "made_text": "", "until": "", "until_text": "", "ppm": "1"}
