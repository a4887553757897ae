"""Data sets of conversations: tokens with their labels, and pictures decoded in the worker, or cached.

How long questions and answers are in tokens is looked at before training: an answer that is cut teaches the
model to stop in the middle, or never to stop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch.utils.data import Dataset

from edge_glass.config.instruction import InstructionConfig
from edge_glass.core.errors import ConfigError, DataError
from edge_glass.data.captions import ABSENT
from edge_glass.data.conversation_batches import ConversationCollator
from edge_glass.data.conversations import BadConversation
from edge_glass.data.datasets import INPUT_NAMES, MAX_BAD_FRACTION, Preprocess
from edge_glass.data.features import CachedFeatures
from edge_glass.data.labels import ConversationTokenizer, Template, TooLong, tokenize_conversation
from edge_glass.data.lengths import LengthReport, say_lengths
from edge_glass.data.samples import Rejected, check_rejected, group_numbers
from edge_glass.data.transforms import augment, sample_generator, spec_augment
from edge_glass.instruction.data.readers import read_conversations, read_question_parquet
from edge_glass.instruction.data.table import InstructionTable

MAX_QUESTION: Final = 128
MAX_ANSWER: Final = 256
TOO_LONG: Final = ("leave_out", "error")


def fit_lengths(
    table: InstructionTable,
    tokenizer: ConversationTokenizer,
    max_question: int = MAX_QUESTION,
    max_answer: int = MAX_ANSWER,
    too_long: str = "leave_out",
) -> tuple[InstructionTable, LengthReport]:
    """Tokenise every row once, report the lengths, and keep what fits.

    Args:
        table: The rows.
        tokenizer: What they will be tokenised with.
        max_question: Most tokens of a thing the user says.
        max_answer: Most tokens of an answer, its end token counted.
        too_long: `leave_out`: rows beyond a limit become `rejected` ones; `error`: there may be none.

    Raises:
        ConfigError: The policy is unknown or a limit is below 1.
        DataError: Rows are too long and the policy is `error`, or no row is left.
    """
    _check_policy(too_long, max_question, max_answer)
    lengths: dict[int, tuple[int, int]] = {}
    reasons: dict[int, str] = {}
    for row, turns in enumerate(table.turns):
        try:
            tokens = tokenize_conversation(tokenizer, turns, max_question, max_answer)
            lengths[row] = tokens.question, tokens.answer
        except TooLong as bad:
            lengths[row] = bad.question, bad.answer
            reasons[row] = bad.reason
        except BadConversation as bad:
            reasons[row] = bad.reason
    lost = tuple(Rejected(table.positions[row], table.ids[row], why) for row, why in reasons.items())
    report = LengthReport(
        table.source,
        np.array([question for question, _ in lengths.values()], dtype=np.int64),
        np.array([answer for _, answer in lengths.values()], dtype=np.int64),
        [table.ids[row] for row in lengths],
        max_question,
        max_answer,
        lost,
    )
    say_lengths(report, too_long)
    if len(lost) == len(table):
        first = f"the first, {lost[0]}: {lost[0].reason}" if lost else "there were none"
        raise DataError(
            f"{table.source}: no conversation is left; all {len(table)} are too long or cannot be tokenised "
            f"({first})"
        )
    fitting = table.select([row for row in range(len(table)) if row not in reasons])
    return replace(fitting, rejected=(*table.rejected, *lost)), report


def _check_policy(too_long: str, max_question: int, max_answer: int) -> None:
    if too_long not in TOO_LONG:
        raise ConfigError(f"too_long is {too_long!r}; it is one of {', '.join(TOO_LONG)}")
    for name, most in (("max_question", max_question), ("max_answer", max_answer)):
        if most < 1:
            raise ConfigError(f"{name} is {most}; at least 1 token is needed")


class ConversationDataset(Dataset):
    """Conversations about pictures and sounds, as a decoder learns or answers them.

    Items are dicts: `id`; `ids` and `labels` int64 `[L]`; `prompt`, how many of the ids come before the last
    answer; `question`, `answer`, `source` and `answer_type` as text; `group`, equal for rows of one picture;
    and, where the row has them and they are asked for, `pixels` float32 `[3, H, W]` and `mel` float32
    `[M, T]`.

    Args:
        table: The rows. Those that are too long, or cannot be tokenised, are left out at once.
        tokenizer: Of transformers, or a `ConversationTokenizer`.
        preprocess: Modality → what turns its decoded item into a tensor, `vision` and `audio`: the encoder's
            own. What is not named is left out of the items, such as pictures whose features are cached.
        template: See `ConversationTokenizer`.
        max_question: See `fit_lengths`.
        max_answer: See `fit_lengths`.
        too_long: See `fit_lengths`.
        training: Augment pictures and draw takes of sounds; keys are then `(epoch, index)`.
        seed: Everything random is a function of (seed, epoch, row).
        augmentation: Of pictures: `none`, `flip` or `crop_flip`. An answer that says left or right no longer
            holds after a flip.
        audio_augmentation: Of sounds: `none` or `spec_augment`.

    Attributes:
        table: The rows that are left.
        lengths: What `fit_lengths` reports.
        tokenizer: The `ConversationTokenizer`.
    """

    def __init__(
        self,
        table: InstructionTable,
        tokenizer: Any,
        preprocess: Mapping[str, Preprocess] | None = None,
        *,
        template: Template | None = None,
        max_question: int = MAX_QUESTION,
        max_answer: int = MAX_ANSWER,
        too_long: str = "leave_out",
        training: bool = False,
        seed: int = 0,
        augmentation: str = "none",
        audio_augmentation: str = "none",
    ) -> None:
        if not isinstance(tokenizer, ConversationTokenizer):
            tokenizer = ConversationTokenizer(tokenizer, template)
        self.tokenizer: ConversationTokenizer = tokenizer
        self.table, self.lengths = fit_lengths(table, tokenizer, max_question, max_answer, too_long)
        self.preprocess = dict(preprocess or {})
        self.groups = group_numbers(
            [digest or f"row {row}" for row, digest in enumerate(self.table.picture_hashes)]
        )
        self.training, self.seed = training, seed
        self.augmentation, self.audio_augmentation = augmentation, audio_augmentation

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        tokens = self.tokenizer(self.table.turns[index])
        item: dict[str, Any] = {
            "id": self.table.ids[index],
            "ids": tokens.ids,
            "labels": tokens.labels,
            "prompt": tokens.prompt,
            "opening": tokens.opening,
            "question": self.table.question(index),
            "answer": self.table.answer(index),
            "source": self.table.sources[index],
            "answer_type": self.table.answer_types[index],
            "group": int(self.groups[index]),
        }
        for modality in self.preprocess:
            if keys := self.table.keys(modality)[index]:
                item[INPUT_NAMES[modality]] = self._input(modality, epoch, index, len(keys))
        return item

    def _input(self, modality: str, epoch: int, index: int, takes: int) -> Any:
        generator = sample_generator(self.seed, epoch, f"{index} {self.table.ids[index]}")
        take = int(generator.integers(takes)) if self.training and takes > 1 else 0
        loaded = self.table.item(modality, index, take)
        if modality == "vision" and self.training:
            loaded = augment(loaded, self.augmentation, generator)  # type: ignore[arg-type]
        tensor = self.preprocess[modality](loaded)
        if modality == "audio" and self.training and self.audio_augmentation == "spec_augment":
            tensor = spec_augment(tensor, generator)
        return tensor


def build_dataset(
    config: InstructionConfig,
    table: InstructionTable,
    tokenizer: ConversationTokenizer,
    preprocess: Mapping[str, Preprocess],
    training: bool,
) -> ConversationDataset:
    """Return the data set of an experiment's rows; see `ConversationDataset`."""
    dataset = config.dataset
    return ConversationDataset(
        table,
        tokenizer,
        preprocess,
        max_question=dataset.max_question_length,
        max_answer=dataset.max_answer_length,
        too_long=dataset.too_long,
        training=training,
        seed=config.seed,
        augmentation=dataset.augmentation,
        audio_augmentation=dataset.audio_augmentation,
    )


class PixmoQADataset(ConversationDataset):
    """Questions and answers about pictures from a parquet file; see `read_question_parquet`.

    Args:
        parquet: Columns `image_bytes`, `question` (beginning with `[USER]`), `answer` (with `[ASSISTANT]`)
            and `source`.
        tokenizer: See `ConversationDataset`.
        preprocess: The picture encoder's own; by default pictures are left out of the items.
        columns: Column arguments of `read_question_parquet`.
        max_bad_fraction: See `check_rejected`.
        **options: Of `ConversationDataset`.
    """

    def __init__(
        self,
        parquet: str | Path,
        tokenizer: Any,
        preprocess: Preprocess | None = None,
        columns: Mapping[str, Any] | None = None,
        max_bad_fraction: float = MAX_BAD_FRACTION,
        **options: Any,
    ) -> None:
        table = read_question_parquet(parquet, **(columns or {}))
        check_rejected(table, max_bad_fraction)
        super().__init__(table, tokenizer, _pictures(preprocess), **options)


class InstructionDataset(ConversationDataset):
    """Conversations from a JSON or JSONL file in LLaVA's, ShareGPT's or the messages form.

    Args:
        path: See `read_conversations`.
        tokenizer: See `ConversationDataset`.
        preprocess: The picture encoder's own; by default pictures are left out of the items.
        image_root: Folder that picture names are relative to; by default the file's own.
        needs_picture: Whether a record without a picture is a bad row.
        max_bad_fraction: See `check_rejected`.
        **options: Of `ConversationDataset`.
    """

    def __init__(
        self,
        path: str | Path,
        tokenizer: Any,
        preprocess: Preprocess | None = None,
        image_root: str | Path | None = None,
        needs_picture: bool = False,
        max_bad_fraction: float = MAX_BAD_FRACTION,
        **options: Any,
    ) -> None:
        table = read_conversations(path, image_root, needs_picture)
        check_rejected(table, max_bad_fraction)
        super().__init__(table, tokenizer, _pictures(preprocess), **options)


def _pictures(preprocess: Preprocess | None) -> dict[str, Preprocess]:
    return {} if preprocess is None else {"vision": preprocess}


class ConversationRows(Dataset):
    """Conversations whose pictures and sounds are cached features: a list of keys gives a whole batch.

    Batches are those of `ConversationCollator`, with `{"tokens" [n, N, D], "mask" [n, N]}` as the inputs of
    the n distinct pictures (or sounds) of the batch.

    Args:
        dataset: The conversations, without pictures in its items.
        source: Filled with the pictures and sounds of its table; None for words alone.
        collate: Makes batches of words.
    """

    def __init__(
        self, dataset: ConversationDataset, source: CachedFeatures | None, collate: ConversationCollator
    ) -> None:
        self.dataset, self.collate = dataset, collate
        # Not the source itself: data workers need no encoders.
        self.features = {} if source is None else source.tables
        self.places = {
            name: [[source.index[name][key] for key in keys] for keys in dataset.table.keys(name)]
            for name in self.features
            if source is not None
        }

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        return self.__getitems__([key])

    def __getitems__(self, keys: list[tuple[int, int]]) -> dict[str, Any]:
        batch = self.collate([self.dataset[key] for key in keys])
        for name, places in self.places.items():
            shown = np.array([self._shown(places[row], epoch, row) for epoch, row in keys], dtype=np.int64)
            distinct, place = np.unique(shown[shown != ABSENT], return_inverse=True)
            if not len(distinct):
                continue
            tokens, mask = self.features[name].gather(distinct)
            rows = np.full(len(keys), -1, dtype=np.int64)
            rows[shown != ABSENT] = place
            batch["inputs"][name] = {"tokens": tokens, "mask": mask}
            batch["place"][name] = torch.from_numpy(rows)
        return batch

    def _shown(self, places: list[int], epoch: int, row: int) -> int:
        """Return which of its takes a row shows: the one that `ConversationDataset` draws."""
        if len(places) < 2 or not self.dataset.training:
            return places[0] if places else ABSENT
        generator = sample_generator(self.dataset.seed, epoch, f"{row} {self.dataset.table.ids[row]}")
        return places[int(generator.integers(len(places)))]
