"""What a table cell stores of a picture or a sound: its encoded bytes, or why they cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self


class BadCell(ValueError):
    """Something that is stored cannot be used.

    Attributes:
        noun: What should be there.
        kind: A short stable key.
        reason: The same in plain words.
    """

    noun: ClassVar[str]

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:
        # Data-loader workers send exceptions home pickled; the default would lose an argument.
        return type(self), (self.kind, self.reason)

    @classmethod
    def require_bytes(cls, value: Any) -> bytes:
        """Return the encoded bytes of a cell: raw bytes, or the Hugging Face struct `{"bytes", "path"}`.

        Raises:
            BadCell: The cell is empty, holds only a path, or holds something other than bytes.
        """
        if isinstance(value, Mapping):
            if value.get("bytes") is None and value.get("path"):
                reason = f"the cell has the path {value['path']!r} but no {cls.noun} bytes"
                raise cls(f"no_{cls.noun}", reason)
            value = value.get("bytes")
        if value is None:
            raise cls(f"no_{cls.noun}", "the cell is empty (null)")
        if not isinstance(value, bytes | bytearray | memoryview):
            raise cls(f"not_a_{cls.noun}", f"the cell holds {type(value).__name__}, not bytes")
        data = bytes(value)
        if not data:
            raise cls(f"no_{cls.noun}", f"the {cls.noun} has no bytes (length 0)")
        return data
