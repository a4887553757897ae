"""What packages say in seven languages."""

from __future__ import annotations

from typing import Final

from edge_glass_scenes.words.de import GERMAN
from edge_glass_scenes.words.en import ENGLISH
from edge_glass_scenes.words.es import SPANISH
from edge_glass_scenes.words.fr import FRENCH
from edge_glass_scenes.words.it import ITALIAN
from edge_glass_scenes.words.language import Language
from edge_glass_scenes.words.nl import DUTCH
from edge_glass_scenes.words.pl import POLISH

LANGUAGES: Final = (ENGLISH, FRENCH, GERMAN, SPANISH, ITALIAN, DUTCH, POLISH)
"""In the order of their shares in `SHARES`."""

SHARES: Final = (0.2, 0.24, 0.17, 0.13, 0.11, 0.08, 0.07)
"""How often a language is a product's first."""

__all__ = ["LANGUAGES", "SHARES", "Language"]
