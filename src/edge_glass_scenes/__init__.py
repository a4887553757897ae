"""A small graphics program beside the toolkit: pictures with exact boxes, drawn by code from a seed.

- `nutrition_scenes`: photographs of food packages (`packages`, with `words` in seven languages), each
  nutrition table in a box; `build_nutrition_scenes` writes train, val and test.
- `emoji_scenes`: emoji on backgrounds (`emoji_drawings` says which), each in a box; `build_emoji_scenes`.

Both are parquet files in the columns of OpenFoodFacts' nutrition-table-detection (`scene_parquet`). Of the
toolkit, this package uses errors, atomic files, progress bars, pinned assets and the decoding of pictures.

Example:
    >>> from edge_glass_scenes.emoji_scenes import build_emoji_scenes
    >>> build_emoji_scenes(Path("data/emoji-scenes"), rows=20_000)
"""
