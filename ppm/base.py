"""A base model's identity: where it is, its fingerprint, and what differs when it is not the expected one.

A fingerprint covers the architecture's configuration, the tokenizer, the chat template and, for every weight
tensor, its name, shape, dtype and up to 64 KiB of its bytes spread over the tensor. It reads files only,
so it costs milliseconds and needs no torch; a merged adapter changes it.
"""

import hashlib
import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from ppm import document
from ppm.bases.catalogue import HUB_SUFFIX, REAL_BASES, is_real_base
from ppm.bases.kept import kept_folder
from ppm.errors import ManifestError, ModelError, did_you_mean
from ppm.home import named_home
from ppm.manifest import Manifest
from ppm.names import base_tag, canonical_digest, exists, expand, is_folder
from ppm.resources import lab_data
from ppm.suite import Suite
from ppm.weight_files import sampled_tensors, weight_files

__all__ = [
    "HUB_NAME",
    "LAB_BASES",
    "NOT_IDENTITY",
    "BaseModel",
    "BaseSuites",
    "ModelName",
    "behaviour_digest",
    "check_compatible",
    "hub_folder",
    "identify",
    "is_known",
    "locate",
    "made_for_another",
    "read_base_suites",
    "read_suites",
    "suites_of_table",
    "weights_digest",
]

NOT_IDENTITY = {
    "transformers_version",
    "_name_or_path",
    "torch_dtype",
    "dtype",
    "use_cache",
    "_attn_implementation_autoset",
    "output_attentions",
    "output_hidden_states",
    "return_dict",
}
"""Keys of config.json that say how a model is run or was saved, not which model it is."""
BASE_SUITES = "ppm-base.toml"
HUB_NAME = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)?")
"""A model's name on the hub, of an owner or, as old ones are, of none."""
LAB_BASES = {"lab": "base", "lab-gpt2": "base-gpt2"}
"""The models that come with ppm, and where they lie in the lab's data."""
# Keys of tokenizer_config.json that change which tokens a text becomes.
_ENCODING_KEYS = ("add_bos_token", "add_eos_token", "add_prefix_space")


@dataclass(frozen=True)
class BaseModel:
    """A base model on disk. `parts` are the digests that the fingerprint is made of."""

    name: str
    revision: str | None
    folder: Path
    fingerprint: str
    parts: dict[str, str] = field(compare=False)

    @property
    def tag(self) -> str:
        """The base tag: the model's short name and 12 hexadecimal digits of its fingerprint."""
        return base_tag(self.name, self.fingerprint)


@dataclass(frozen=True)
class BaseSuites:
    """`ppm-base.toml`: suites for the utility of a base model; paths are relative to its folder."""

    schema: int
    suites: tuple[Suite, ...] = ()

    def __post_init__(self) -> None:
        for suite in self.suites:
            if suite.against != "base":
                raise ValueError(f'suite {suite.name!r} must say against = "base"')
        names = [suite.name for suite in self.suites]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two suites are named {name!r}")


@dataclass(frozen=True)
class ModelName:
    """What a model is called: a folder, a model of the hub with its commit, one that comes with ppm, or a real base."""

    model: str
    revision: str | None = None

    @staticmethod
    def pinned(text: str) -> "ModelName | None":
        """A model of the hub, from NAME@COMMIT; None for any other text. Looks at no folder."""
        model, _, revision = text.partition("@")
        found = ModelName(model, revision)
        return found if found.on_hub else None

    @staticmethod
    def parse(text: str, *, beside: Path | None = None) -> "ModelName":
        """From what somebody wrote: NAME@COMMIT, whatever folders there are; else a folder, in `beside` first; else a
        name with what stands after its @."""
        pinned = ModelName.pinned(text)
        if pinned is not None or is_known(text):
            return pinned or ModelName(text)
        if beside is not None and is_folder(beside / text):
            return ModelName(str(beside / text))
        if is_folder(expand(text)):
            return ModelName(text)
        model, _, revision = text.partition("@")
        return ModelName(model, revision or None)

    def at(self, revision: str | None) -> "ModelName":
        """The model at a commit that is given apart, if it is no folder and has none of its own."""
        return self if self.revision or self.is_folder else ModelName(self.model, revision)

    @property
    def on_hub(self) -> bool:
        """Whether it is a name with a commit, which no folder stands in for."""
        return bool(HUB_NAME.fullmatch(self.model) and re.fullmatch(r"[0-9a-f]{40}", self.revision or ""))

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder of the user's."""
        return not is_known(self.model) and not self.on_hub and is_folder(expand(self.model))

    @property
    def folder(self) -> Path | None:
        """The folder; None for a model of the hub. Raises ModelError when it is neither, or the commit is missing."""
        model, revision = self.model, self.revision
        if model in LAB_BASES:
            return lab_data() / LAB_BASES[model]
        if self.on_hub:
            return None
        if is_real_base(model):
            return _fetched(model)
        if is_folder(expand(model)):
            return expand(model)
        looks_like_path = model.startswith((".", "/", "~")) or exists(expand(model))
        if looks_like_path or not HUB_NAME.fullmatch(model) or not (revision or "/" in model):
            known = (*LAB_BASES, *REAL_BASES)
            hint = did_you_mean(model, known, f"name a model folder, a hub model as NAME@COMMIT, or {_listed(known)}")
            raise ModelError("is not a folder", context=model, hint=hint)
        raise ModelError(
            "a hub model needs a commit, so that it is always the same model",
            context=f"{model}@{revision}" if revision else model,
            hint=f"write {model}@COMMIT with the 40 digits of the commit, or give a folder",
        )

    def locate(self, *, fetch: bool = True) -> Path:
        """The folder with the model's files.

        A hub model is taken from the local cache of `huggingface_hub` and fetched only when it isn't there, and `fetch`
        is set. Raises ModelError.
        """
        folder = self.folder
        return folder if folder is not None else hub_folder(self.model, self.revision, fetch=fetch)


def is_known(name: str) -> bool:
    """Whether a name is that of a base which ppm knows: a folder of this name is written with its path, as ./lab."""
    return name in LAB_BASES or is_real_base(name)


def _fetched(name: str) -> Path:
    """The folder of a real base. Raises ModelError, with the command that fetches it, when it is not kept."""
    folder = kept_folder(name, named_home(os.environ))
    if folder is None:
        known = name.removesuffix(HUB_SUFFIX)
        command = f"ppm base fetch {known}" + (" --from hub" if name != known else "")
        raise ModelError("has not been fetched yet", context=name, hint=f"`{command}` does it")
    return folder


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def locate(model: str, revision: str | None = None, *, fetch: bool = True) -> Path:
    """The folder of a model by its name and commit (`ModelName.locate`). Raises ModelError."""
    return ModelName(model, revision).locate(fetch=fetch)


def hub_folder(model: str, revision: str | None, *, fetch: bool) -> Path:
    """The folder in the cache of `huggingface_hub` with a model of the hub; no other folder of its name is looked at.

    Raises ModelError when it isn't there and `fetch` is not set, or can't be fetched.
    """
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", BASE_SUITES, "suites/*"]
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=wanted, local_files_only=not fetch))
    except Exception as error:  # the hub client raises a dozen unrelated classes
        hint = "check the name, the commit and the network"
        raise ModelError(
            f"can't be fetched: {error}"
            if fetch
            else "is not on this machine, and ppm does not download it without being asked",
            context=f"{model}@{revision}",
            hint=hint if fetch else f"fetch it yourself: hf download {model} --revision {revision}",
        ) from error


def identify(folder: Path, *, name: str = "", revision: str | None = None) -> BaseModel:
    """The identity of the model in a folder. Raises ModelError when it lacks a part or is damaged."""
    config = _json(folder / "config.json", required=True)
    tokenizer_config = _json(folder / "tokenizer_config.json", required=False)
    template = tokenizer_config.pop("chat_template", None)
    separate = folder / "chat_template.jinja"
    if separate.is_file():
        try:
            template = separate.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError("can't be read as UTF-8 text", context=str(separate)) from error
    with _readable(folder):
        tokenizer = _tokenizer_digest(folder, tokenizer_config)
    parts = {
        "configuration": canonical_digest({k: v for k, v in config.items() if k not in NOT_IDENTITY}),
        "tokenizer": tokenizer,
        "chat_template": canonical_digest(template),
        "weights": _weights_sample(folder),
    }
    return BaseModel(name or str(folder), revision, folder, canonical_digest(parts), parts)


def check_compatible(manifest: Manifest, base: BaseModel) -> None:
    """Raises ModelError, saying which part differs, when a patch was made for another base model."""
    if manifest.base.fingerprint == base.fingerprint:
        return
    made_for = manifest.provenance.get("base_parts")
    differing = [
        key for key, digest in base.parts.items() if isinstance(made_for, dict) and made_for.get(key) != digest
    ]
    if differing == ["weights"]:
        detail = (
            "its weights differ, though its configuration and tokenizer are the same: perhaps an adapter was merged in"
        )
    elif differing:
        detail = f"its {', its '.join(differing).replace('_', ' ')} {'differ' if len(differing) > 1 else 'differs'}"
    else:
        detail = "its fingerprint differs"
    raise made_for_another(manifest, base, detail)


def made_for_another(manifest: Manifest, base: BaseModel, detail: str) -> ModelError:
    """What to say of a patch that was made for another base model."""
    return ModelError(
        f"was made for {manifest.base.model}, but {base.name} is not that model: {detail}",
        context=manifest.pin,
        hint="install a build of the patch for this base, or build it from its source: "
        f"ppm build MANIFEST --base {shlex.quote(base.name)} --output DIR (docs/build-a-patch.md)",
    )


def read_base_suites(folder: Path) -> tuple[Suite, ...]:
    """The utility suites that a base folder declares; empty when it declares none. Raises ManifestError."""
    path = folder / BASE_SUITES
    return read_suites(path) if path.is_file() else ()


def read_suites(path: Path) -> tuple[Suite, ...]:
    """The suites of a TOML file that holds nothing else. Raises ManifestError."""
    return suites_of_table(document.read_file(path), str(path))


def suites_of_table(table: dict[str, object], origin: str) -> tuple[Suite, ...]:
    """The suites of such a file's data. Raises ManifestError."""
    if table.get("schema") != 1:
        raise ManifestError("schema must be 1", context=origin)
    return document.read_table(BaseSuites, table, origin).suites


def weights_digest(folder: Path) -> str:
    """`sha256:` and the digest of all of the model's weight files: what results are kept by. Raises ModelError."""
    with _readable(folder):
        stats = [(path, path.stat()) for path in weight_files(folder)]
        return _weights_digest(tuple((path, s.st_ino, s.st_size, s.st_mtime_ns) for path, s in stats))


@lru_cache(maxsize=8)
def _weights_digest(files: tuple[tuple[Path, int, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, *_ in files:
        digest.update(path.name.encode() + b"\0")
        with path.open("rb") as stream:
            while block := stream.read(2**22):
                digest.update(block)
    return "sha256:" + digest.hexdigest()


def behaviour_digest(base: BaseModel) -> str:
    """`sha256:` and the digest of all in a base's folder that its answers depend on: what caches are keyed by.

    Beyond the fingerprint that is every byte of the weights, and the files that say how texts become tokens and what
    ends an answer.
    """
    return canonical_digest([base.fingerprint, weights_digest(base.folder), _settings(base.folder)])


def _settings(folder: Path) -> dict[str, str]:
    """The digests of all files about the configuration, generation, tokenizer and templates, by name."""
    found = [path for pattern in ("*.json", "*.jinja", "*.model", "*.txt") for path in folder.glob(pattern)]
    found += folder.glob("additional_chat_templates/*.jinja")
    kept = (path for path in found if path.is_file() and not path.name.endswith(".index.json"))
    with _readable(folder):
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """Turn an OSError into a ModelError about a model's folder."""
    try:
        yield
    except OSError as error:
        raise ModelError(f"can't be read: {error.strerror}", context=str(error.filename or folder)) from error


def _json(path: Path, *, required: bool) -> dict[str, object]:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        if not required:
            return {}
        raise ModelError(
            f"has no {path.name}", context=str(path.parent), hint="give a folder in the Hugging Face format"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"can't be read ({error})", context=str(path)) from error
    if not isinstance(value, dict):
        raise ModelError("is not a JSON object", context=str(path))
    return value


def _tokenizer_digest(folder: Path, settings: dict[str, object]) -> str:
    digest = hashlib.sha256()
    found = False
    for name in ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "vocab.txt"):
        path = folder / name
        if path.is_file():
            found = True
            digest.update(name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
            if name == "tokenizer.json":
                break  # it holds all that the older files do
    if not found:
        raise ModelError("has no tokenizer", context=str(folder), hint="save the tokenizer into the model's folder")
    encoding = {key: settings[key] for key in _ENCODING_KEYS if settings.get(key) is not None}
    return canonical_digest(["sha256:" + digest.hexdigest(), encoding])


def _weights_sample(folder: Path) -> str:
    tensors: dict[str, str] = {}
    for path in weight_files(folder):
        for name, info, sample in sampled_tensors(path):
            tensors[name] = canonical_digest([info["dtype"], info["shape"], hashlib.sha256(sample).hexdigest()])
    return canonical_digest(tensors)
