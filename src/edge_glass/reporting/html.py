"""From templates to self-contained pages: nothing a page shows is loaded from elsewhere."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from edge_glass.core.files import write_whole
from edge_glass.reporting import wording

# What browsers show as a picture; anything else is not passed on to them.
SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"RIFF": "image/webp",
}


def data_uri(data: bytes | None) -> str | None:
    """Turn picture bytes into a `data:` address; None when they are no picture."""
    if not data:
        return None
    for signature, kind in SIGNATURES.items():
        if data.startswith(signature) and (kind != "image/webp" or data[8:12] == b"WEBP"):
            return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
    return None


@cache
def environment() -> Environment:
    """Return the templates of this package; everything that is put into them is escaped."""
    templates = Environment(
        loader=PackageLoader("edge_glass.reporting", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters.update(
        data_uri=data_uri,
        count=wording.format_count,
        duration=wording.format_seconds,
        size=wording.format_bytes,
        label=wording.metric_label,
    )
    return templates


def write_page(path: Path, template: str, **context: Any) -> Path:
    """Fill a template and write it so that a reader never meets half a page."""
    text = environment().get_template(template).render(**context)
    write_whole(path, text)
    return path
