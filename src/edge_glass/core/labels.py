"""Labels of tokens: what a loss is taken on."""

from __future__ import annotations

from typing import Final

NOT_TRAINED: Final = -100
"""The label of a token that no loss is taken on; torch's own default."""
