"""How a conversation is written as one text: a tokenizer's chat template, or a plain one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from edge_glass.core.errors import ConfigError
from edge_glass.data.conversations import ASSISTANT, USER, Turn

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
        tokenizer: Of transformers. Its template is called with `enable_thinking=False`, which those without
            such a switch ignore: an answer that is trained has no thoughts in front.
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
            said = " ".join(str(error).split())[:200]
            raise ConfigError(f"the tokenizer's chat template cannot be used ({said})") from error


def default_template(tokenizer: Any) -> Template:
    """The tokenizer's own chat template, or `PlainTemplate` with its end-of-text token where it has none.

    Raises:
        ConfigError: It has neither.
    """
    if getattr(tokenizer, "chat_template", None):
        return ChatTemplate(tokenizer)
    if tokenizer.eos_token is None:
        raise ConfigError("the tokenizer has neither a chat template nor an eos_token; give it an eos_token")
    return PlainTemplate(tokenizer.eos_token)
