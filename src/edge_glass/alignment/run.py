"""An alignment run: what it measures beside its task, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from edge_glass.alignment.closed_form import (
    ClosedForm,
    closed_form_retrieval,
    fit_closed_form,
    start_from_closed_form,
)
from edge_glass.alignment.measure.archive import EvaluationArchive, save_archive
from edge_glass.alignment.measure.metrics import estimate_retrieval
from edge_glass.alignment.measure.retrieval import Direction, RetrievalResult
from edge_glass.alignment.model.alignment import build_alignment_model
from edge_glass.alignment.model.folder import save_model
from edge_glass.alignment.task import AlignmentTask, Embedded, SplitEmbeddings, retrieval_of
from edge_glass.alignment.use.index import write_index
from edge_glass.core import distributed
from edge_glass.data.pictures import make_thumbnail
from edge_glass.data.samples import digests
from edge_glass.evaluation.intervals import Estimate
from edge_glass.evaluation.results import assemble_results
from edge_glass.tasks.experiment import Cost, split_counts
from edge_glass.tasks.sources import load_encoders, training_device


class AlignmentExperiment(AlignmentTask):
    """An alignment task as a run sees it; see `edge_glass.tasks.experiment.Experiment`."""

    closed_form: ClosedForm | None = None

    def measure(self, split: str) -> RetrievalResult:
        """Return ranks in every direction."""
        return self.retrieval(self.model, split)

    def untouched(self, folder: Path) -> RetrievalResult:
        """Measure each time: it takes no longer than a validation."""
        return self.measure("test")

    def estimates(self, measured: RetrievalResult, split: str = "test") -> dict[str, Estimate]:
        """Return recall and median ranks."""
        return estimate_retrieval(measured, self.config.evaluation.bootstrap_samples, self.config.seed)

    def prepare(self) -> None:
        """Solve the closed form, where it is wanted, and perhaps start from it."""
        start = self.config.training.warm_start == "closed_form"
        if self.config.evaluation.closed_form_baseline or start:
            self.closed_form = fit_closed_form(self)
        if self.closed_form is not None and start:
            start_from_closed_form(self, self.closed_form)

    def rebuild(self, state: Mapping[str, Tensor]) -> None:
        """Build a whole model with these trained tensors."""
        model = build_alignment_model(self.config, *load_encoders(self.config))
        model.load_trainable_state_dict(state)
        self.model = model.to(training_device(self.config)).eval()

    def callbacks(self, folder: Path) -> list[Any]:
        """Return none: it has no callbacks of its own."""
        return []

    def finish(self, folder: Path, untouched: RetrievalResult, cost: Cost) -> dict[str, Any]:
        """Write final numbers, artefact, archive and search index."""
        embedded = {name: self.embed(self.model, name) for name in self.splits}
        return distributed.on_main(lambda: self._write(folder, untouched, embedded, cost))

    def _write(
        self, folder: Path, untouched: RetrievalResult, embedded: dict[str, SplitEmbeddings], cost: Cost
    ) -> dict[str, Any]:
        trained = retrieval_of(embedded["test"], self.model)
        solved = None
        if self.closed_form is not None:
            solved = self.estimates(closed_form_retrieval(self, self.closed_form, embedded["test"]))
        results = assemble_results(
            split="test",
            metric=self.primary_metric,
            trained=self.estimates(trained),
            baseline=self.estimates(untouched),
            closed_form=solved,
            seconds=cost.seconds,
            samples=cost.samples,
            data=split_counts(self.splits),
        )
        _save_archive(self, folder, embedded["test"], untouched)
        save_model(self.model, self.config, folder / "model")
        indexed = {name: (table, embedded[name]["vision"]) for name, table in self.splits.items()}
        write_index(folder / "index", indexed)
        return results

    def fingerprints(self) -> dict[str, Any]:
        """Return those of the encoders, and of the rows of each split."""
        encoders = {name: tower.encoder.fingerprint for name, tower in self.model.towers.items()}
        return {"weights": encoders, "data": digests(self.splits)}


def _save_archive(
    task: AlignmentTask, folder: Path, embeddings: SplitEmbeddings, untouched: RetrievalResult
) -> None:
    from edge_glass.data.pictures import decode_image

    table = task.splits["test"]
    pictures, words, sounds = embeddings["vision"], embeddings["text"], embeddings.get("audio")
    save_archive(
        folder,
        "test",
        EvaluationArchive(
            image_embeddings=pictures.vectors,
            text_embeddings=words.vectors,
            image_groups=pictures.groups,
            text_groups=words.groups,
            image_ids=[table.ids[row] for row in pictures.rows],
            captions=[table.captions[row][0] for row in words.rows],
            thumbnails=[make_thumbnail(decode_image(table.picture(row))) for row in pictures.rows],
            baseline_image_ranks=_ranks_of(pictures, untouched, "i2t"),
            baseline_text_ranks=_ranks_of(words, untouched, "t2i"),
            audio_embeddings=sounds.vectors if sounds else None,
            audio_groups=sounds.groups if sounds else None,
            audio_ids=[table.ids[row] for row in sounds.rows] if sounds else None,
        ),
    )


def _ranks_of(items: Embedded, result: RetrievalResult, direction: Direction) -> np.ndarray | None:
    """Rank of every item at the full dimension, int64 `[N]`; 0 where it has no counterpart to ask for."""
    found = result.ranks.get((direction, result.dimensions[0]))
    if found is None:
        return None
    ranks = np.zeros(len(items.groups), dtype=np.int64)
    ranks[np.isin(items.groups, result.query_groups[direction])] = found
    return ranks
