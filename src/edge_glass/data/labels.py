"""Conversations as tokens: what a decoder reads, and which of it is trained.

A conversation is rendered as it will be at inference: everything up to an answer is the prompt, rendered with
its generation prompt and tokenised by itself, and the answer follows. So the prompt of training is the prompt
of generation, token for token, and an answer begins exactly where the prompt ends: labels are prefix lengths,
and no role token is looked for. An answer and the token that ends it are trained; nothing else is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from edge_glass.core.errors import ConfigError, DataError
from edge_glass.core.labels import NOT_TRAINED as NOT_TRAINED
from edge_glass.data.conversations import (
    ASSISTANT,
    USER,
    BadConversation,
    PlainTemplate,
    Template,
    Turn,
    default_template,
)

_KNOWN: Final = 4096  # tokenised conversations that are kept
_OBJECT: Final = "\N{OBJECT REPLACEMENT CHARACTER}"
_PROBE: Final = (Turn(USER, "question"), Turn(ASSISTANT, "answer"))


class TokenizedConversation(NamedTuple):
    """One conversation as tokens.

    Attributes:
        ids: int64 `[L]`.
        labels: int64 `[L]`: the id itself where a token is trained, else -100. Not shifted.
        prompt: How many of the first tokens are the prompt of the last answer.
        opening: How many of them stand before pictures and sounds.
        question: Tokens of the longest thing the user says, without markers.
        answer: Tokens of the longest answer, its end token counted.
    """

    ids: Tensor
    labels: Tensor
    prompt: int
    opening: int
    question: int
    answer: int


class TooLong(BadConversation):
    """A question or answer has more tokens than it may have; `question` and `answer` are their lengths."""

    def __init__(self, reason: str, question: int, answer: int) -> None:
        super().__init__(reason)
        self.question, self.answer = question, answer


class ConversationTokenizer:
    """Turns conversations into ids and labels, for one tokenizer and template.

    Args:
        tokenizer: A fast tokenizer of transformers.
        template: How turns are written; by default the tokenizer's own chat template, or `PlainTemplate` with
            the tokenizer's end-of-text token where it has none.

    Attributes:
        end: Id of the token that ends an answer; the decoder stops at it.
        special: Ids that stand for no text: the tokenizer's special tokens.

    Raises:
        ConfigError: The template or the tokenizer cannot be used: nothing ends an answer, or a prompt is not
            the beginning of what follows.
    """

    def __init__(self, tokenizer: Any, template: Template | None = None) -> None:
        self.tokenizer = tokenizer
        self.template = template or default_template(tokenizer)
        self.special = frozenset(tokenizer.all_special_ids) | frozenset(
            number for number, token in tokenizer.added_tokens_decoder.items() if token.special
        )
        self._special_texts = [tokenizer.convert_ids_to_tokens(number) for number in sorted(self.special)]
        self.end = self._find_end()
        self._known: dict[tuple[Turn, ...], TokenizedConversation] = {}
        self._openings: dict[tuple[Turn, ...], int] = {}

    def __call__(self, turns: Sequence[Turn]) -> TokenizedConversation:
        """Return ids and labels of a conversation that ends with an answer.

        Raises:
            BadConversation: A turn holds the text of a special token, or a character the tokenizer lacks.
            ConfigError: The template writes earlier turns anew when later ones follow.
        """
        key = tuple(turns)
        if key not in self._known:
            if len(self._known) >= _KNOWN:  # data sets that ask the same things need few of these
                self._known.clear()
            self._known[key] = self._tokenize(key)
        return self._known[key]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_known": {}}  # data workers make their own

    def prompt(self, turns: Sequence[Turn]) -> Tensor:
        """Return ids int64 `[L]` of a conversation to be answered: its last turn is the user's.

        Token for token what stands before the answer in training.
        """
        self._check_texts(turns)
        segments = self._segments([*turns, _PROBE[1]])[:-1]
        return torch.tensor([number for part in segments for number in part], dtype=torch.int64)

    def opening(self, turns: Sequence[Turn]) -> int:
        """Count tokens before pictures and sounds: with a chat template they begin what the user first says.

        A plain template has none: they stand in front of everything.

        Raises:
            ConfigError: The template does not write what the user says.
        """
        if isinstance(self.template, PlainTemplate):
            return 0
        first = next(number for number, turn in enumerate(turns) if turn.role == USER)
        before = tuple(turns[:first])
        if before not in self._openings:
            written = self.template([*before, Turn(USER, _OBJECT)], True)
            text, found, _ = written.partition(_OBJECT)
            if not found:
                raise ConfigError("the chat template does not write what the user says")
            self._openings[before] = len(self._ids(text))
        return self._openings[before]

    def _tokenize(self, turns: tuple[Turn, ...]) -> TokenizedConversation:
        self._check_texts(turns)
        segments = self._segments(turns)
        ids: list[int] = []
        labels: list[int] = []
        answers, prompt = [], 0
        for position, part in enumerate(segments):
            if position % 2:
                prompt, trained = len(ids), part.index(self.end) + 1
                answers.append(trained)
                if position == len(segments) - 1:
                    part = part[:trained]  # what a template writes behind the last end is never read
                labels += part[:trained] + [NOT_TRAINED] * (len(part) - trained)
            else:
                labels += [NOT_TRAINED] * len(part)
            ids += part
        questions = [len(self._ids(text)) for role, text in turns if role == USER]
        return TokenizedConversation(
            torch.tensor(ids, dtype=torch.int64),
            torch.tensor(labels, dtype=torch.int64),
            prompt,
            self.opening(turns),
            max(questions),
            max(answers),
        )

    def _segments(self, turns: Sequence[Turn]) -> list[list[int]]:
        """Tokenise the first prompt, the first answer with its end, the next prompt, and so on."""
        written = ""
        segments: list[list[int]] = []
        for position, turn in enumerate(turns):
            if turn.role != ASSISTANT:
                continue
            prompt = self.template(turns[:position], True)
            answered = self.template(turns[: position + 1], False)
            if not (prompt.startswith(written) and answered.startswith(prompt)):
                raise ConfigError(
                    f"the chat template writes what stands before answer {len(segments) // 2 + 1} in another "
                    "way once the conversation goes on.\nGive a template that only appends, or conversations "
                    "of one question and answer."
                )
            segments += [
                self._ids(prompt[len(written) :]),
                self._answer_ids(answered[len(prompt) :], turn.text),
            ]
            written = answered
        return segments

    def _answer_ids(self, written: str, answer: str) -> list[int]:
        """Tokenise an answer with what the template puts around it; the end token is among them."""
        before, found, after = written.partition(answer)
        if not found or before.strip():
            raise ConfigError(f"the chat template writes the answer {answer[:40]!r} as {written[:80]!r}")
        closing = self._ids(after)
        return self._ids(before + answer) + (closing if self.end in closing[:1] else [self.end, *closing])

    def _find_end(self) -> int:
        """Find the special token behind an answer; the end-of-text token where the template writes none."""
        written = self.template(_PROBE, False).rpartition(_PROBE[1].text)[2]
        closing = self._ids(written)
        if closing and closing[0] in self.special:
            return int(closing[0])
        end = self.tokenizer.eos_token_id
        if end is None:
            raise ConfigError(
                "nothing ends an answer: the tokenizer has no eos_token and the chat template writes no "
                f"special token behind the answer but {written[:40]!r}; add one, or the model never stops"
            )
        return int(end)

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"] if text else []

    def _check_texts(self, turns: Sequence[Turn]) -> None:
        for role, text in turns:
            found = next((special for special in self._special_texts if special in text), None)
            if found is not None:
                raise BadConversation(f"what the {role} says holds the special token {found!r}")
            unknown = self.tokenizer.unk_token_id
            if unknown is not None and unknown in self._ids(text):
                raise BadConversation(f"what the {role} says has a character the tokenizer does not know")


def tokenize_conversation(
    tokenizer: ConversationTokenizer | Any,
    turns: Sequence[Turn],
    max_question: int | None = None,
    max_answer: int | None = None,
) -> TokenizedConversation:
    """Return ids and labels of a conversation, whole or not at all.

    Args:
        tokenizer: A `ConversationTokenizer`, or a tokenizer of transformers (slower: looked at each time).
        turns: Ending with the assistant's.
        max_question: Most tokens of a thing the user says.
        max_answer: Most tokens of an answer, its end token counted.

    Raises:
        TooLong: A question or an answer has more. Nothing is ever cut.
        BadConversation: It cannot be tokenised; see `ConversationTokenizer`.
    """
    if not isinstance(tokenizer, ConversationTokenizer):
        tokenizer = ConversationTokenizer(tokenizer)
    tokens = tokenizer(turns)
    for what, length, most in (
        ("question", tokens.question, max_question),
        ("answer", tokens.answer, max_answer),
    ):
        if most is not None and length > most:
            raise TooLong(
                f"the {what} has {length} tokens; {most} are allowed", tokens.question, tokens.answer
            )
    return tokens


def check_labels(
    batch: Mapping[str, Tensor], end: int, special: Collection[int] = (), names: Sequence[str] = ()
) -> None:
    """Assert what must hold of every batch that is trained on.

    A label is the id of its own token; there is one in every row, none on padding and none on a special token
    (pictures, markers) but `end`, which ends every stretch of labels.

    Args:
        batch: `input_ids`, `labels` int64 `[B, L]`, `attention_mask` bool `[B, L]`.
        end: Id of the token that ends an answer.
        special: Ids that are never trained (`end` may be among them).
        names: Name of each row for the message, such as its id.

    Raises:
        DataError: One of these does not hold; the first such row is named.
    """
    ids, labels, mask = batch["input_ids"], batch["labels"], batch["attention_mask"]
    trained = labels != NOT_TRAINED
    forbidden = torch.tensor(sorted(set(special) - {end}), dtype=ids.dtype, device=ids.device)
    follows = torch.zeros_like(trained)
    follows[:, :-1] = trained[:, 1:]
    last = trained & ~follows
    faults = (
        ("has nothing to learn: no token of it has a label", ~trained.any(dim=1)),
        ("has labels on padding", (trained & ~mask).any(dim=1)),
        ("has labels that are not the ids of their tokens", (trained & (labels != ids)).any(dim=1)),
        (
            "has labels on special tokens (pictures or markers)",
            (trained & torch.isin(ids, forbidden)).any(dim=1),
        ),
        ("has an answer whose end token has no label", (last & (ids != end)).any(dim=1)),
    )
    for fault, wrong in faults:
        if wrong.any():
            row = int(wrong.nonzero()[0, 0])
            name = names[row] if names else str(row)
            raise DataError(f"labels: row {name} of the batch {fault}")
