"""Reads messages.yaml: what the user wrote, and the facts that the message has to name."""

from __future__ import annotations

from pathlib import Path

import yaml

Facts = list[str]


def messages(kind: str) -> list[tuple[str, Facts]]:
    """The (wrote, facts) pairs of one kind; the first fact is the key that is to blame."""
    file = Path(__file__).with_name("messages.yaml")
    cases: dict[str, Facts] = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)[kind]
    return list(cases.items())


def check_message(message: str, where: str, facts: Facts) -> None:
    """One problem is reported: at its place, of its key, with all facts."""
    key, *others = facts
    first = message.splitlines()[0]
    assert first.startswith(f"{where}: {key}: ")
    text = first.removeprefix(f"{where}: {key}: ")
    assert [fact for fact in others if fact not in text] == [], text
