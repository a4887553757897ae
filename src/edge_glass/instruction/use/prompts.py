"""Questions as an answering model reads them: checked as in training, prompts as in training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from edge_glass.config.schema import DatasetConfig
from edge_glass.core.errors import ConfigError
from edge_glass.core.labels import NOT_TRAINED
from edge_glass.core.passes import moved
from edge_glass.data.conversation_batches import ConversationCollator, stack_pixels
from edge_glass.data.conversations import SYSTEM, BadConversation, Turn, question_and_answer
from edge_glass.data.labels import ConversationTokenizer
from edge_glass.instruction.model.answering import AnsweringModel


class Asked(NamedTuple):
    """What is to be answered.

    Attributes:
        turns: Ending with the user's.
        picture: Opens it; None where there is none.
        sound: Opens it, as samples and their rate; None where there is none.
    """

    turns: tuple[Turn, ...]
    picture: Callable[[], Image.Image] | None = None
    sound: Callable[[], tuple[np.ndarray, int]] | None = None


def checked_turns(
    question: str, tokenizer: ConversationTokenizer, dataset: DatasetConfig
) -> tuple[Turn, ...]:
    """A question as training had it: behind the system prompt, without the markers that data sets put on it.

    Args:
        question: What is asked.
        tokenizer: Of the model.
        dataset: That the model was trained on: its limit of length, and its system prompt.

    Raises:
        ConfigError: It is empty, too long, or holds a special token or a character that is unknown.
    """
    system = () if dataset.system_prompt is None else (Turn(SYSTEM, dataset.system_prompt),)
    try:
        turn = question_and_answer(question, "-").turns[0]
        turn.text.encode()  # what a terminal hands on need not be text
        tokenizer.prompt([*system, turn])
    except (BadConversation, UnicodeEncodeError) as bad:
        reason = bad.reason if isinstance(bad, BadConversation) else "it is not UTF-8 text"
        raise ConfigError(f"the question cannot be asked: {reason}") from bad
    count = len(tokenizer.tokenizer(turn.text, add_special_tokens=False)["input_ids"])
    longest = dataset.max_question_length
    if count > longest:
        raise ConfigError(
            f"the question has {count} tokens; this model was trained with at most {longest} "
            "(dataset.max_question_length)"
        )
    return (*system, turn)


class Prompts:
    """Batches of prompts for one model, padded on the left.

    Attributes:
        tokenizer: Of the model's conversations.
    """

    def __init__(self, model: AnsweringModel) -> None:
        self.model = model
        self.tokenizer = ConversationTokenizer(model.decoder.tokenizer)
        collate: dict[str, Any] = {
            name: stack_pixels if name == "vision" else tower.encoder.collate
            for name, tower in model.towers.items()
        }
        self._collate = ConversationCollator(model.decoder.tokenizer.pad_token_id, True, collate)

    def batch(self, asked: Sequence[Asked]) -> dict[str, Any]:
        """What `AnsweringModel.generate` takes, on the model's device."""
        return moved(self._collate([self._item(one) for one in asked]), self.model.device)

    def _item(self, one: Asked) -> dict[str, Any]:
        ids = self.tokenizer.prompt(one.turns)
        item: dict[str, Any] = {"id": "", "group": 0, "ids": ids, "prompt": len(ids)}
        item["opening"] = self.tokenizer.opening(one.turns)
        item["labels"] = torch.full_like(ids, NOT_TRAINED)
        towers = self.model.towers
        if one.picture is not None and "vision" in towers:
            item["pixels"] = towers["vision"].encoder.preprocess(one.picture())
        if one.sound is not None and "audio" in towers:
            item["mel"] = towers["audio"].encoder.preprocess(one.sound())
        return item
