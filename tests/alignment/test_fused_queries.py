"""Which rows ask with two modalities at once, and what they find: against a loop over rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from edge_glass.alignment.measure.retrieval import FUSED_DIRECTIONS
from edge_glass.alignment.model.alignment import MultimodalAlignmentModel, build_alignment_model
from edge_glass.alignment.task import Embedded, SplitEmbeddings, _fused_retrieval, retrieval_of
from edge_glass.config.schema import ExperimentConfig
from edge_glass.encoders.audio import AudioEncoder
from edge_glass.encoders.text import TextEncoder
from edge_glass.encoders.vision import VisionEncoder

# Row 5 shows row 0's picture, so that it is no picture of its own; row 4's words are those of row 1.
ROWS: dict[str, list[int]] = {
    "vision": [0, 1, 2, 4, 6],
    "audio": [0, 2, 3, 4, 5, 6],
    "text": [0, 1, 2, 3, 4, 5, 7],
}
GROUPS = [0, 1, 2, 3, 1, 0, 6, 7]
WANTS = {"vision": ("audio", "text"), "audio": ("vision", "text"), "text": ("vision", "audio")}


def model_of(kind: str | None, **changes: Any) -> MultimodalAlignmentModel:
    fusion = {"fusion": {"kind": kind, "num_heads": 2}} if kind else {}
    section = {"audio_encoder": {}, "vision_encoder": {"projection_dim": 16, "mrl_dimensions": [16, 8]}}
    config = ExperimentConfig.model_validate({"name": "x", **section, **fusion, **changes})
    model = build_alignment_model(config, VisionEncoder.tiny(), TextEncoder.tiny(), AudioEncoder.tiny())
    torch.manual_seed(0)
    for parameter in model.fusion.parameters() if model.fusion else []:
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def embedded_rows(rows: dict[str, list[int]] = ROWS) -> SplitEmbeddings:
    generator = np.random.default_rng(0)
    return {
        name: Embedded(
            3 * generator.standard_normal((len(own), 16)).astype(np.float32),
            np.array([GROUPS[row] for row in own], dtype=np.int64),
            own,
        )
        for name, own in rows.items()
    }


def loop(embedded: SplitEmbeddings, model: MultimodalAlignmentModel, wanted: str, dim: int) -> dict[int, int]:
    """Row → rank of what it looks for."""
    found = {}
    there = embedded[wanted]
    for row in range(len(GROUPS)):
        own = {
            name: embedded[name].vectors[embedded[name].rows.index(row)]
            for name in WANTS[wanted]
            if row in embedded[name].rows
        }
        if len(own) < 2 or GROUPS[row] not in there.groups:
            continue
        with torch.no_grad():
            query = model.fuse({name: torch.from_numpy(vector)[None] for name, vector in own.items()})[0]
        cut = query.numpy()[:dim]
        scores = [float(cut @ one[:dim] / np.linalg.norm(one[:dim])) for one in there.vectors]
        best = max(score for score, group in zip(scores, there.groups, strict=True) if group == GROUPS[row])
        wrong = [score for score, group in zip(scores, there.groups, strict=True) if group != GROUPS[row]]
        found[row] = 1 + sum(score >= best for score in wrong)
    return found


@pytest.mark.parametrize("kind", ["concat", "gated", "cross_attention"])
def test_fused_queries_equal_the_loop(kind: str) -> None:
    model, embedded = model_of(kind), embedded_rows()
    results = _fused_retrieval(embedded, model)
    assert [result.directions for result in results] == [(FUSED_DIRECTIONS[name],) for name in WANTS]
    for wanted, result in zip(WANTS, results, strict=True):
        assert result.dimensions == (16, 8)
        for dim in (16, 8):
            expected = loop(embedded, model, wanted, dim)
            direction = FUSED_DIRECTIONS[wanted]
            assert result.ranks[direction, dim].tolist() == list(expected.values())
            assert result.query_groups[direction].tolist() == [GROUPS[row] for row in expected]
    asked = [result.query_groups[result.directions[0]].tolist() for result in results]
    assert asked == [[0, 2, 1, 0], [0, 1, 2, 1], [0, 2, 1]]  # row 3 has no picture to find; row 6 no words


def test_they_stand_beside_the_plain_directions_only_with_a_fusion() -> None:
    embedded = embedded_rows()
    plain, fused = (retrieval_of(embedded, model_of(kind)) for kind in (None, "gated"))
    assert fused.directions == (*plain.directions, "at2v", "vt2a", "va2t")
    assert not set(plain.directions) & set(FUSED_DIRECTIONS.values())


def test_nobody_has_both() -> None:
    embedded = embedded_rows({"vision": [0, 1, 2], "audio": [3, 4], "text": [0, 1, 2, 3, 4]})
    found = [result.directions for result in _fused_retrieval(embedded, model_of("gated"))]
    # Row 4 says what row 1 does: its sound and words find row 1's picture, row 1 finds row 4's sound.
    assert found == [("at2v",), ("vt2a",)]
    embedded = embedded_rows({"vision": [0, 2], "audio": [3], "text": [0, 2, 3]})
    assert _fused_retrieval(embedded, model_of("gated")) == []
