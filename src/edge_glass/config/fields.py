"""The schema as a tree of dotted keys: which keys exist, what each expects in words, which one is meant.

Everything is read off the pydantic models, so a new field of a section is known here at once.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator
from difflib import SequenceMatcher
from functools import cache
from typing import Annotated, Any, Literal, NamedTuple

import annotated_types
from pydantic.fields import FieldInfo

from edge_glass.config.sections.base import OneOf, Section

# Regular expressions of the schema, in words.
PATTERN_WORDS = {
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$": "letters, digits, '.', '_' and '-', starting with a letter or digit",
}

# Names that people bring from this project's two forerunners and from other tools → the last part of today's
# key, with the value to give where the name implies one. Several where it depends on the section or the task.
RENAMED: dict[str, tuple[str, ...]] = {
    "model_name": ("source",),
    "model_name_or_path": ("source",),
    "model_id": ("source",),
    "tokenizer_name": ("tokenizer",),
    "strategy": ("kind",),
    "freeze": ("frozen",),
    "load_in_4bit": ("quantization: 4bit",),
    "load_in_8bit": ("quantization: 8bit",),
    "use_lora": ("mode: lora",),
    "lora_r": ("rank",),
    "lora_rank": ("rank",),
    "lora_alpha": ("alpha",),
    "lora_dropout": ("dropout",),
    "lora_target_modules": ("targets", "llm"),
    "target_modules": ("targets", "llm"),
    "attn_implementation": ("attention",),
    "torch_dtype": ("dtype",),
    "mrl_dims": ("mrl_dimensions",),
    "perceiver_num_latents": ("num_latents",),
    "perceiver_depth": ("depth",),
    "min_visual_tokens": ("min_pixels",),
    "max_visual_tokens": ("max_pixels",),
    "learning_rate": ("lr",),
    "lr_scheduler_type": ("schedule",),
    "warmup_steps": ("warmup_ratio",),
    "clip_grad": ("max_grad_norm",),
    "gradient_clip": ("max_grad_norm",),
    "num_epochs": ("epochs",),
    "num_train_epochs": ("epochs",),
    "per_device_train_batch_size": ("batch_size",),
    "accumulation_steps": ("gradient_accumulation_steps",),
    "bf16": ("precision: bf16",),
    "fp16": ("precision: fp16",),
    "mixed_precision": ("precision",),
    "log_every": ("logging_steps",),
    "log_every_n_steps": ("logging_steps",),
    "eval_steps": ("eval_epochs",),
    "save_total_limit": ("keep_checkpoints",),
    "use_wandb": ("report_to: [wandb]",),
    "text_dropout": ("text_dropout_prob",),
    "max_length": ("max_text_length", "max_tokens"),
}

# How alike two names have to be.
_SAME_SECTION_SURE, _RUN_TOGETHER, _SAME_SECTION, _SAME_SECTION_SHORT, _ELSEWHERE = 0.85, 0.9, 0.6, 0.5, 0.75


class Expected(NamedTuple):
    """The type that stands at one place of the schema: annotation plus constraints."""

    annotation: Any
    metadata: tuple[Any, ...] = ()


def section_of(annotation: Any) -> type[Section] | None:
    """Return the section behind an annotation such as `LossesConfig` or `AblationConfig | None`."""
    inner = without_none(annotation)
    return inner if isinstance(inner, type) and issubclass(inner, Section) else None


def without_none(annotation: Any) -> Any:
    """Map `X | None` → `X`; anything else unchanged."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(annotation) if member is not type(None)]
        if len(members) == 1:
            return members[0]
    return annotation


def walk(section: type[Section], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield every dotted key with its field, sections included, in the order of the schema."""
    for name, field in section.model_fields.items():
        yield prefix + name, field
        inner = section_of(field.annotation)
        if inner is not None:
            yield from walk(inner, f"{prefix}{name}.")


@cache
def known_keys(schema: type[Section]) -> tuple[str, ...]:
    """Return all dotted keys of a schema, sections included."""
    return tuple(key for key, _ in walk(schema))


def expected_at(path: tuple[str | int, ...], schema: type[Section]) -> Expected | None:
    """Return what a schema expects at a path of keys and list indices; None where it has no such place."""
    found = Expected(schema)
    for part in path:
        annotation = without_none(found.annotation)
        section = section_of(annotation)
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if section is not None:
            field = section.model_fields.get(str(part))
            if field is None:
                return None
            found = Expected(field.annotation, tuple(field.metadata))
        elif origin is dict:
            found = _unwrapped(arguments[1])
        elif origin in (list, tuple) and isinstance(part, int):
            found = _unwrapped(arguments[min(part, len(arguments) - 1)])
        elif annotation is Any:
            found = Expected(Any)
        else:
            return None
    return found


def field_at(path: tuple[str | int, ...], schema: type[Section]) -> FieldInfo | None:
    """Return the field at a path of keys; None where there is none."""
    section: type[Section] | None = schema
    field = None
    for part in path:
        field = section.model_fields.get(str(part)) if section is not None else None
        section = section_of(field.annotation) if field is not None else None
    return field


def in_words(expected: Expected) -> str:
    """Say what is expected as a phrase: "a whole number of at least 1", "one of infonce, siglip"."""
    optional = without_none(expected.annotation) is not expected.annotation
    phrase = _phrase(*_without_null(expected))
    return f"{phrase}, or null" if optional else phrase


def choices_of(expected: Expected) -> list[str]:
    """Return the allowed texts, if the place takes one of a few; else an empty list."""
    annotation, metadata = _without_null(expected)
    if kinds := _kinds(metadata):
        return kinds
    return [str(choice) for choice in typing.get_args(annotation)] if _is_literal(annotation) else []


def nearest_keys(dotted: str, schema: type[Section]) -> list[str]:
    """Return the known keys an unknown one may stand for, best first: at most three, often one, maybe none.

    A near name in the same section wins; then the same name in another section, as `epochs` is for
    `training.epochs`; then weaker likenesses.
    """
    parent, _, name = dotted.rpartition(".")
    siblings = [key for key in known_keys(schema) if key.rpartition(".")[0] == parent]
    best_sibling, score = _best(name, siblings)
    if best_sibling and score >= _SAME_SECTION_SURE and name not in RENAMED:
        return [best_sibling]
    for wanted, _, value in (one.partition(": ") for one in RENAMED.get(name, (name,))):
        same_name = [key for key in known_keys(schema) if key.rpartition(".")[2] == wanted and key != dotted]
        inside = [key for key in same_name if parent and key.startswith(f"{parent}.")]
        if same_name:
            return [f"{key}: {value}" if value else key for key in (inside or same_name)[:3]]
    # Sections run into the name, as in vision_encoder_source.
    below = {
        key.removeprefix(f"{parent}.").replace(".", "_"): key
        for key in known_keys(schema)
        if key.startswith(parent)
    }
    run_together = nearest_word(name, list(below), cutoff=_RUN_TOGETHER)
    if run_together is not None:
        return [below[run_together]]
    if best_sibling and score >= (_SAME_SECTION if len(name) > 2 else _SAME_SECTION_SHORT):
        return [best_sibling]
    elsewhere, score = _best(name, list(known_keys(schema)))
    return [elsewhere] if elsewhere and score >= _ELSEWHERE else []


def nearest_word(word: str, choices: list[str], cutoff: float = 0.6) -> str | None:
    """Find the choice most like `word`, if any is like it at all."""
    best = max(choices, key=lambda choice: _likeness(word, choice), default=None)
    return best if best is not None and _likeness(word, best) >= cutoff else None


def _best(name: str, keys: list[str]) -> tuple[str | None, float]:
    """Find the key whose last part is most like `name`, with the likeness."""
    scored = [(_likeness(name, key.rpartition(".")[2]), key) for key in keys]
    score, key = max(scored, key=lambda pair: pair[0], default=(0.0, None))
    return key, score


def _likeness(first: str, second: str) -> float:
    """Return a likeness from 0 to 1; swapped letters count as nearly the same."""
    first, second = first.lower().replace("-", "_"), second.lower()
    if first == second:
        return 1.0
    swapped = 0.9 if sorted(first) == sorted(second) else 0.0
    return max(swapped, SequenceMatcher(None, first, second, autojunk=False).ratio())


def _unwrapped(annotation: Any) -> Expected:
    """Split `Annotated[int, Field(ge=1)]` into annotation and constraints."""
    if typing.get_origin(annotation) is Annotated:
        inner, *extra = typing.get_args(annotation)
        metadata = [part for one in extra for part in (one.metadata if isinstance(one, FieldInfo) else [one])]
        return Expected(inner, tuple(metadata))
    return Expected(annotation)


def _without_null(expected: Expected) -> Expected:
    """Return what is expected unless it is null: of `Annotated[str, OneOf(…)] | None`, the text of a kind."""
    inner = _unwrapped(without_none(expected.annotation))
    return Expected(inner.annotation, (*expected.metadata, *inner.metadata))


def _is_literal(annotation: Any) -> bool:
    return typing.get_origin(annotation) is Literal


def _kinds(metadata: tuple[Any, ...]) -> list[str]:
    """Return the kinds of a registry that a text may name; empty where it is not of one."""
    return next((one.names() for one in metadata if isinstance(one, OneOf)), [])


def _phrase(annotation: Any, metadata: tuple[Any, ...]) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if kinds := _kinds(metadata):
        return f"one of {', '.join(kinds)}"
    if _is_literal(annotation):
        words = [str(choice) for choice in arguments]
        return words[0] if len(words) == 1 else f"one of {', '.join(words)}"
    if section_of(annotation) is not None:
        return "a section of keys"
    if origin is list:
        filled = any(isinstance(one, annotated_types.MinLen) and one.min_length > 0 for one in metadata)
        return f"a {'non-empty ' if filled else ''}list, each item {_phrase(*_unwrapped(arguments[0]))}"
    if origin is tuple:
        return f"a list of {len(arguments)} items, each {_phrase(*_unwrapped(arguments[0]))}"
    if origin is dict or annotation is dict:
        return "a mapping (key: value)"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_phrase(*_unwrapped(member)) for member in arguments if member is not type(None))
    if annotation is str:
        return "text" + _pattern_words(metadata)
    if annotation is bool:
        return "true or false"
    if annotation in (int, float):
        return ("a whole number" if annotation is int else "a number") + _bounds(metadata)
    return "another value"


def _pattern_words(metadata: tuple[Any, ...]) -> str:
    patterns = [one.pattern for one in metadata if getattr(one, "pattern", None) is not None]
    if not patterns:
        return ""
    pattern = patterns[0].pattern if isinstance(patterns[0], re.Pattern) else str(patterns[0])
    return f" of {PATTERN_WORDS[pattern]}" if pattern in PATTERN_WORDS else f" that matches {pattern}"


def _bounds(metadata: tuple[Any, ...]) -> str:
    """Say " of at least 0 and below 1" from the constraints of a number."""
    words = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
    found = {
        name: getattr(constraint, name)
        for constraint in metadata
        for name in words
        if getattr(constraint, name, None) is not None
    }
    parts = [f"{word} {found[name]:.10g}" for name, word in words.items() if name in found]
    if not parts:
        return ""
    if "ge" in found and "le" in found:
        return f" from {found['ge']:.10g} to {found['le']:.10g}"
    return " " + " and ".join(parts)
