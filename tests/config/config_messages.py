"""Reads messages.yaml: what the user wrote, and the sentence they get."""

from __future__ import annotations

from pathlib import Path

import yaml


def messages(kind: str) -> list[tuple[str, str]]:
    """The (wrote, says) pairs of one kind."""
    cases = yaml.load(
        Path(__file__).with_name("messages.yaml").read_text(encoding="utf-8"), Loader=yaml.BaseLoader
    )
    return [(case["wrote"], case["says"]) for case in cases[kind]]
