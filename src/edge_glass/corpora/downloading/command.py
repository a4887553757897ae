"""What stands behind `edge-glass data download CORPUS`: which options belong to which data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edge_glass.core.errors import ConfigError
from edge_glass.corpora.downloading.common_voice import download_common_voice
from edge_glass.corpora.downloading.downloads import Options, download_instruction, download_pixmo
from edge_glass.corpora.downloading.policy import Limits

_OWN_OPTIONS: Final = {
    "index": ("pixmo-cap", "pixmo-cap-qa"),
    "archive": ("common-voice",),
    "language": ("common-voice",),
    "annotations": ("instruction",),
    "image_root": ("instruction",),
    "image_url_prefix": ("instruction",),
}


def download(
    corpus: str,
    output: Path | None = None,
    limits: Limits | None = None,
    *,
    limit: int | None = None,
    retry_rejected: bool = False,
    delete_parts: bool = False,
    index: Sequence[Path] = (),
    archive: Path | None = None,
    language: str | None = None,
    annotations: Sequence[Path] = (),
    image_root: Path | None = None,
    image_url_prefix: str | None = None,
) -> list[str]:
    """Download one data set; the arguments are the options of the command.

    Returns:
        Lines for the terminal.

    Raises:
        ConfigError: An option is missing or belongs to another data set.
        DataError, AssetError, DownloadStopped: See `download_pictures` and `download_common_voice`.
    """
    given = {
        "index": index,
        "archive": archive,
        "language": language,
        "annotations": annotations,
        "image_root": image_root,
        "image_url_prefix": image_url_prefix,
    }
    for name, value in given.items():
        if value and corpus not in _OWN_OPTIONS[name]:
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{option} belongs to {' and '.join(_OWN_OPTIONS[name])}, not to {corpus}")
    limits = limits or Limits()
    folder = output or Path("data") / corpus
    if corpus == "common-voice":
        if archive is None:
            raise ConfigError(
                "common-voice needs --archive: cv-corpus-….tar.gz, or the folder it was unpacked to.\n"
                "Its copies on the hub are gone; get it from https://datacollective.mozillafoundation.org."
            )
        return download_common_voice(archive, folder, language, limit, limits.max_bytes)
    options = Options(folder, limit, retry_rejected, delete_parts)
    if corpus == "instruction":
        return download_instruction(annotations, options, limits, image_root, image_url_prefix)
    return download_pixmo(corpus, options, limits, index)
