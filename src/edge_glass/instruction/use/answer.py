"""Use a finished answering model: ask questions about pictures and sounds, with prompts as in training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from edge_glass.config.instruction import InstructionConfig
from edge_glass.config.sections.data import QuestionsConfig
from edge_glass.core.errors import ConfigError
from edge_glass.core.labels import NOT_TRAINED
from edge_glass.core.passes import moved, parts
from edge_glass.core.quiet import only_warnings
from edge_glass.data.conversation_batches import ConversationCollator
from edge_glass.data.conversations import SYSTEM, BadConversation, Turn, question_and_answer
from edge_glass.data.inputs import Picture, SoundSource, open_picture, open_sound
from edge_glass.data.labels import ConversationTokenizer
from edge_glass.decoders.generation import chosen_settings, generation_settings, stream_text
from edge_glass.instruction.model.answering import AnsweringModel
from edge_glass.instruction.model.folder import load_answering_model
from edge_glass.tasks.finding import require_task


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
    question: str, tokenizer: ConversationTokenizer, dataset: QuestionsConfig
) -> tuple[Turn, ...]:
    """Return a question as training had it: behind the system prompt, without the markers of data sets.

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
        self._collate = ConversationCollator(model.decoder.tokenizer.pad_token_id, True, model.collate)

    def batch(self, asked: Sequence[Asked]) -> dict[str, Any]:
        """Return what `AnsweringModel.generate` takes, on the model's device."""
        return moved(self._collate([self._item(one) for one in asked]), self.model.device)

    def _item(self, one: Asked) -> dict[str, Any]:
        ids = self.tokenizer.prompt(one.turns)
        item: dict[str, Any] = {"id": "", "group": 0, "ids": ids, "prompt": len(ids)}
        item["opening"] = self.tokenizer.opening(one.turns)
        item["labels"] = torch.full_like(ids, NOT_TRAINED)
        preprocess = self.model.preprocess
        if one.picture is not None and "vision" in preprocess:
            item["pixels"] = preprocess["vision"](one.picture())
        if one.sound is not None and "audio" in preprocess:
            item["mel"] = preprocess["audio"](one.sound())
        return item


Pair = tuple[Picture | None, str] | tuple[Picture | None, str, SoundSource | None]
"""A picture, a question about it, and perhaps a sound."""


class Answerer:
    """An answering model with everything that asking it needs: prompts as in training, and settings.

    Args:
        model: With its weights; it stays in eval mode.
        config: What it was built from.
        name: Of the run, for messages.
    """

    def __init__(self, model: AnsweringModel, config: InstructionConfig, name: str = "this model") -> None:
        self.model, self.config, self.name = model.eval(), config, name
        self.prompts = Prompts(model)
        self.settings = generation_settings(config, self.prompts.tokenizer.end)

    def answer(
        self,
        picture: Picture | None,
        question: str,
        audio: SoundSource | None = None,
        **choices: Any,
    ) -> str:
        """Return the answer to one question.

        Args:
            picture: A file, its bytes or a PIL picture; None for a question without one.
            question: In plain words, as in the training data.
            audio: A sound file, its bytes, or samples and their rate.
            **choices: Fields of `GenerationSettings` to change: max_new_tokens, do_sample, temperature,
                top_p, num_beams, seed.

        Raises:
            ConfigError: A question that training would have left out, a setting that is wrong, or a picture
                or sound that the model has no encoder for.
            DataError: The picture or sound cannot be read.
        """
        return self.answer_all([(picture, question, audio)], **choices)[0]

    def answer_all(self, pairs: Iterable[Pair], batch_size: int | None = None, **choices: Any) -> list[str]:
        """Return the answers to many questions, each the same as if it were asked alone; see `answer`.

        Args:
            pairs: (picture, question) or (picture, question, sound).
            batch_size: Questions at a time; by default that of training.
            **choices: As for `answer`.
        """
        return self.write([self.asked(*pair) for pair in pairs], batch_size, **choices)

    def stream(
        self, picture: Picture | None, question: str, audio: SoundSource | None = None, **choices: Any
    ) -> Iterator[str]:
        """Answer in pieces while they are written; in one piece with beams, which change their mind.

        What can be wrong with the question is found before the first piece is asked for.
        """
        settings = chosen_settings(self.settings, choices)
        asked = self.asked(picture, question, audio)
        if settings.num_beams > 1:
            return iter(self.write([asked], **choices))
        batch = self.prompts.batch([asked])
        with torch.no_grad():
            prefix = self.model.prefix(batch)
        ids, mask = batch["input_ids"], batch["attention_mask"]
        return _stripped(stream_text(self.model.decoder, prefix, ids, mask, settings))

    def asked(self, picture: Picture | None, question: str, audio: SoundSource | None = None) -> Asked:
        """Return a question with its picture and sound, checked; they are opened when they are needed."""
        for given, modality, word in ((picture, "vision", "pictures"), (audio, "audio", "sounds")):
            if given is not None and modality not in self.model.modalities:
                raise ConfigError(f"{self.name} was trained without {word}; leave them out")
        return Asked(
            checked_turns(question, self.prompts.tokenizer, self.config.dataset),
            None if picture is None else lambda: open_picture(picture),
            None if audio is None else lambda: open_sound(audio),
        )

    def write(self, asked: Sequence[Asked], batch_size: int | None = None, **choices: Any) -> list[str]:
        """Return the answers to these prompts."""
        settings = chosen_settings(self.settings, choices)
        size = batch_size or self.config.generation.batch_size
        texts: list[str] = []
        for part in parts(asked, size):
            batch = self.prompts.batch(part)
            texts += [self._text(tokens) for tokens in self.model.generate(batch, settings).tokens]
        return texts

    def _text(self, tokens: Sequence[int]) -> str:
        return self.model.decoder.tokenizer.decode(list(tokens), skip_special_tokens=True).strip()


class AnswerModel(Answerer):
    """A finished instruction run (its `model/`, or what `merge` wrote), ready to be asked.

    Example:
        >>> model = edge_glass.load("runs/easy_vqa_trm")
        >>> model.answer("picture.png", "what color is the triangle?")
        'blue'
        >>> model.answer_all([("a.png", "what shape is it?"), ("b.png", "is it red?")])
        ['circle', 'no']

    Args:
        folder: Of the run or the model.
        device: Where it computes; by default the GPU if there is one.

    Raises:
        CheckpointError: The folder is no finished run, or a part is missing or broken.
        ConfigError: It is a run of another task.
        AssetError: The language model that it was trained on cannot be found.
    """

    def __init__(self, folder: str | Path, device: str | torch.device | None = None) -> None:
        found = require_task(folder, "instruction")
        self.run = found.run
        with only_warnings("edge_glass.decoders.lora"):  # which layers are adapted was said in training
            model, config = load_answering_model(found.model)
        place = device or ("cuda" if torch.cuda.is_available() else "cpu")
        super().__init__(model.to(place), config, str(folder))


def _stripped(pieces: Iterator[str]) -> Iterator[str]:
    """Yield pieces without the blanks at the two ends of the whole."""
    held, begun = "", False
    for piece in pieces:
        text = held + (piece if begun else piece.lstrip())
        whole = text.rstrip()
        held = text[len(whole) :]
        if whole:
            begun = True
            yield whole
