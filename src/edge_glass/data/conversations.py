"""What is said about a picture: turns of a user and an assistant, as data sets and models write them.

PixMo QA has a question marked `[USER]` and an answer marked `[ASSISTANT]`; LLaVA and ShareGPT have lists of
`{"from": "human" | "gpt", "value": …}` with `<image>` where the picture stands; chat data has lists of
`{"role", "content"}`, the content being text or a list of parts. All become the same `Turn`s.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from edge_glass.core.errors import ConfigError, error_line
from edge_glass.data.samples import has_visible_text

SYSTEM, USER, ASSISTANT = "system", "user", "assistant"
QUESTION_MARKER: Final = "[USER]"
ANSWER_MARKER: Final = "[ASSISTANT]"
PLACEHOLDER: Final = "<image>"

_SPEAKERS: Final = {
    "human": USER,
    "user": USER,
    "gpt": ASSISTANT,
    "chatgpt": ASSISTANT,
    "assistant": ASSISTANT,
    "model": ASSISTANT,
    "bot": ASSISTANT,
    "system": SYSTEM,
}
_RECORD_KEYS: Final = ("image", "images", "image_path", "file_name")
_PART_KEYS: Final = (*_RECORD_KEYS, "path", "image_url", "url")


class BadConversation(ValueError):
    """A conversation cannot be used; `reason` says why in plain words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Turn(NamedTuple):
    """One thing that is said: `role` is `system`, `user` or `assistant`."""

    role: str
    text: str


class Spoken(NamedTuple):
    """A conversation as it was read.

    Attributes:
        turns: An optional system turn, then user and assistant in alternation; the last is an assistant's.
        pictures: File names of the pictures that stand within the turns.
        placeholders: How often `<image>` stands in the text; it is taken out of the turns.
        unmarked: Whether a `[USER]` or `[ASSISTANT]` that such data has was missing.
    """

    turns: tuple[Turn, ...]
    pictures: tuple[str, ...] = ()
    placeholders: int = 0
    unmarked: bool = False


def question_and_answer(question: Any, answer: Any) -> Spoken:
    """Return the two turns of a row with a question and an answer, without their markers.

    Raises:
        BadConversation: One of them is missing, no text, or empty.
    """
    texts, unmarked = [], False
    for value, what, marker in ((question, "question", QUESTION_MARKER), (answer, "answer", ANSWER_MARKER)):
        text = _text(value, what)
        unmarked |= not text.startswith(marker)
        texts.append(text.removeprefix(marker).replace(PLACEHOLDER, "").strip())
        _check_visible(texts[-1], what)
    return Spoken((Turn(USER, texts[0]), Turn(ASSISTANT, texts[1])), unmarked=unmarked)


def read_messages(messages: Any) -> Spoken:
    """Read the turns of a list of messages: `{"from", "value"}`, `{"role", "content"}`, or texts, user first.

    Raises:
        BadConversation: It is no such list, someone else speaks, or the speakers do not alternate.
    """
    if not isinstance(messages, list) or not messages:
        raise BadConversation("the conversation is missing")
    turns, pictures, placeholders = [], [], 0
    for position, message in enumerate(messages):
        role, content = _message(position, message)
        text, shown = _content(content, role)
        placeholders += text.count(PLACEHOLDER)
        text = text.replace(PLACEHOLDER, "").strip()
        turns.append(Turn(role, text))
        pictures += shown
    if not turns[0].text and turns[0].role == SYSTEM:  # an empty one is how some programs write none
        turns = turns[1:]
    check_turns(turns)
    return Spoken(tuple(turns), tuple(pictures), placeholders)


def check_turns(turns: Sequence[Turn]) -> None:
    """Refuse turns that no model can be trained on.

    Raises:
        BadConversation: User and assistant do not alternate, the last word is not the assistant's, or a turn
            is empty.
    """
    spoken = [turn.role for turn in turns]
    after = spoken[1:] if spoken[:1] == [SYSTEM] else spoken
    if not after or len(after) % 2 or after != [USER, ASSISTANT] * (len(after) // 2):
        said = ", ".join(spoken[:6]) + (", …" if len(spoken) > 6 else "") or "nobody"
        raise BadConversation(f"user and assistant must alternate, the assistant last; there speak {said}")
    names = {SYSTEM: "system turn", USER: "question", ASSISTANT: "answer"}
    for turn in turns:
        _check_visible(turn.text, names[turn.role])


def picture_names(record: Mapping[str, Any]) -> list[str]:
    """Return the file names of the pictures that a record names beside its conversation.

    Raises:
        BadConversation: The cell holds something that is no file name.
    """
    return _names_under(_RECORD_KEYS, record)


def _names_under(keys: Sequence[str], record: Mapping[str, Any]) -> list[str]:
    given: Any = next((record[key] for key in keys if record.get(key) not in (None, "", [])), [])
    return _names(given)


def _names(value: Any) -> list[str]:
    if isinstance(value, list):
        return [name for item in value for name in _names(item)]
    if isinstance(value, dict):
        return _names_under(_PART_KEYS, value)
    if isinstance(value, str):
        return [value]
    raise BadConversation("the picture is no file name")


def _message(position: int, message: Any) -> tuple[str, Any]:
    if isinstance(message, str):
        return (ASSISTANT if position % 2 else USER), message
    if not isinstance(message, dict):
        raise BadConversation("the conversation holds something that is no message")
    given = message.get("from", message.get("role"))
    role = _SPEAKERS.get(str(given).lower())
    if role is None:
        raise BadConversation(f"unknown speaker {str(given)[:40]!r} in the conversation")
    return role, message.get("value", message.get("content"))


def _content(content: Any, role: str) -> tuple[str, list[str]]:
    """Return text and picture names of a message."""
    if isinstance(content, str):
        return content, []
    if not isinstance(content, list):
        raise BadConversation("a message of the conversation has no text")
    texts, pictures = [], []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif isinstance(part, dict) and str(part.get("type", "image")).startswith("image"):
            if role != USER:
                raise BadConversation(f"a picture stands in what the {role} says")
            pictures += _names_under(_PART_KEYS, part)
        else:
            raise BadConversation("a message holds a part that is neither text nor picture")
    return "\n".join(texts), pictures


def _text(value: Any, what: str) -> str:
    if value is None:
        raise BadConversation(f"the {what} is missing")
    if not isinstance(value, str):
        raise BadConversation(
            f"the {what} is not UTF-8 text" if isinstance(value, bytes) else f"the {what} is no text"
        )
    return value.strip()


def _check_visible(text: str, what: str) -> None:
    if not has_visible_text(text):
        raise BadConversation(f"the {what} is empty")


Template = Callable[[Sequence[Turn], bool], str]
"""(turns, whether the assistant is to speak next) → text."""


class PlainTemplate:
    """The template of tokenizers that have none: `User: …` and `Assistant: …` on lines of their own.

    Args:
        end: Text of the token that ends an answer.
    """

    def __init__(self, end: str) -> None:
        self.end = end

    def __call__(self, turns: Sequence[Turn], assistant_next: bool) -> str:
        names = {USER: "User: ", ASSISTANT: "Assistant: "}
        ends = {ASSISTANT: self.end}
        lines = [f"{names.get(role, '')}{text}{ends.get(role, '')}\n" for role, text in turns]
        return "".join(lines) + ("Assistant:" if assistant_next else "")


class ChatTemplate:
    """The chat template that a tokenizer brings.

    Args:
        tokenizer: One of transformers. Its template is called with `enable_thinking=False`, which those
            without such a switch ignore: an answer that is trained has no thoughts in front.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, turns: Sequence[Turn], assistant_next: bool) -> str:
        messages = [{"role": role, "content": text} for role, text in turns]
        try:
            return self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=assistant_next, enable_thinking=False
            )
        except Exception as error:  # templates are programs; jinja2 raises what they say
            raise ConfigError(
                f"the tokenizer's chat template cannot be used ({error_line(error)})"
            ) from error


def default_template(tokenizer: Any) -> Template:
    """Return the tokenizer's own chat template, or `PlainTemplate` with its end-of-text token.

    Raises:
        ConfigError: It has neither.
    """
    if getattr(tokenizer, "chat_template", None):
        return ChatTemplate(tokenizer)
    if tokenizer.eos_token is None:
        raise ConfigError("the tokenizer has neither a chat template nor an eos_token; give it an eos_token")
    return PlainTemplate(tokenizer.eos_token)
