"""The data sets that are built on any machine, by name."""

from __future__ import annotations

from pathlib import Path

from edge_glass.core.errors import ConfigError

SCENES = ("nutrition-scenes", "emoji-scenes")


def build_corpus(
    corpus: str, folder: Path, speech: bool = False, rows: int | None = None, seed: int = 0
) -> dict[str, Path]:
    """Build a data set.

    Args:
        corpus: emoji, easy-vqa, nutrition-scenes or emoji-scenes.
        folder: Where its files go.
        speech: emoji: with spoken names.
        rows: Scenes: how many; default: 2,000 packages, 20,000 emoji scenes to train on.
        seed: Scenes: another one gives other pictures.

    Returns:
        Split → file.

    Raises:
        ConfigError: An option that this data set does not have.
    """
    if speech and corpus != "emoji":
        raise ConfigError(f"--speech is for emoji only, not for {corpus}")
    if (rows is not None or seed) and corpus not in SCENES:
        raise ConfigError(f"--rows and --seed are for {' and '.join(SCENES)}, not for {corpus}")
    if corpus == "nutrition-scenes":
        from edge_glass_scenes.nutrition_scenes import build_nutrition_scenes

        return build_nutrition_scenes(folder, rows or 2_000, seed)
    if corpus == "emoji-scenes":
        from edge_glass_scenes.emoji_scenes import build_emoji_scenes

        return build_emoji_scenes(folder, rows or 20_000, seed)
    if corpus == "easy-vqa":
        from edge_glass.corpora.easy_vqa import build_easy_vqa

        return build_easy_vqa(folder)
    from edge_glass.corpora.emoji import build_emoji

    return build_emoji(folder, speech=speech)
