"""One place: a pooling, a contrastive loss or an encoder library is one new file, used from a config."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import edge_glass
from edge_glass.alignment import losses
from edge_glass.config.sections.encoders import KEEP_TOKENS, LEARNED, MEASURED, POOLINGS
from edge_glass.core.errors import AssetError, ConfigError
from edge_glass.data.generated import generated_splits
from edge_glass.encoders import poolings, vision
from edge_glass.encoders.pooling import build_pooling
from edge_glass.encoders.text import TextEncoder
from edge_glass.encoders.vision import VisionEncoder

CONFIGS = Path(__file__).parents[2] / "configs"
SHORT = ("training.max_steps=2", "training.report_to=[]")

POOLING = '''
"""The last token."""
from edge_glass.encoders.pooling import Pooling, clean


class LastPooling(Pooling):
    def forward(self, tokens, mask):
        return clean(tokens, mask)[:, -1]


def build(width, options):
    return LastPooling()
'''

LOSS = '''
"""Squared distance of what belongs together."""


def start(temperature):
    return {"logit_scale": 0.0}


def losses(cuts, scale):
    return [(cut.x - cut.y[cut.shares.mine]).square().sum() / len(cut.y) for cut in cuts]
'''

LIBRARY = '''
"""Pictures as they are: a folder with a file `raw.txt`, which says how large."""
from pathlib import Path

from torch import nn

from edge_glass.encoders.image_transform import ImageTransform


class Raw(nn.Module):
    kind = "raw"
    has_cls_token = False

    def __init__(self):
        super().__init__()
        self.model = nn.LayerNorm(1)

    def forward(self, pixels):
        return pixels.flatten(2)

    def describe(self):
        return "raw"

    def save(self, folder):
        return {}


def recognises(source):
    return (Path(source) / "raw.txt").is_file()


def load(source, image_size):
    size = image_size or int((Path(source) / "raw.txt").read_text())
    return Raw(), ImageTransform(size, "squash", size, "bicubic", (0.5,) * 3, (0.5,) * 3)


def rebuild(folder, record, image_size):
    return Raw()
'''


def add(package: ModuleType, name: str, text: str, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Put one new file among those of a package."""
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.py").write_text(text)
    patch.setattr(package, "__path__", [*package.__path__, str(folder)])


def tiny(file: str, *overrides: str) -> edge_glass.ExperimentConfig:
    return edge_glass.load_config(CONFIGS / file, [*overrides, *SHORT], tiny=True)


def trained(config: edge_glass.ExperimentConfig, folder: Path) -> tuple[dict[str, Any], Any]:
    """Train; the last line of the log, and the model as a user loads it."""
    result = edge_glass.train(config, output=folder, progress=False)
    lines = (result.folder / "metrics.jsonl").read_text().splitlines()
    logged: dict[str, Any] = {}
    for line in lines:
        logged |= json.loads(line)
    return logged, edge_glass.load(result.folder).model


def test_a_pooling_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    override = "text_encoder.pooling_type=last_token"
    with pytest.raises(ConfigError, match=r"text_encoder\.pooling_type: .*mean, mean_max.*'last_token'"):
        tiny("vision_text_alignment.yaml", override)
    add(poolings, "last_token", POOLING, tmp_path / "kinds", monkeypatch)
    _, model = trained(tiny("vision_text_alignment.yaml", override), tmp_path / "run")
    assert type(model.towers["text"].pooling).__name__ == "LastPooling"
    tokens, mask = torch.randn(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    assert torch.equal(model.towers["text"].pooling(tokens, mask), tokens[:, -1])


def test_a_prefix_has_the_same_poolings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add(poolings, "last_token", POOLING, tmp_path / "kinds", monkeypatch)
    overrides = ("vision_encoder.pooling_type=last_token", "evaluation.compare_with=[]")
    _, model = trained(tiny("easy_vqa_trm.yaml", *overrides), tmp_path / "run")
    assert type(model.towers["vision"].pooling).__name__ == "LastPooling"


@pytest.mark.parametrize(
    ("file", "override", "key"),
    [
        ("quickstart.yaml", "text_encoder.pooling_type=growing", "text_encoder.head.components"),
        ("quickstart.yaml", "text_encoder={pooling_type: growing, head: {components: null}}", "warm_start"),
        ("easy_vqa_trm.yaml", "vision_encoder.pooling_type=growing", "vision_encoder.pooling_type"),
    ],
)
def test_a_new_pooling_that_learns_is_refused_where_none_may(
    file: str, override: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`config` cannot know that it learns: the model does."""
    text = POOLING.replace("    def forward", "    learned = True\n\n    def forward")
    add(poolings, "growing", text, tmp_path / "kinds", monkeypatch)
    others = ["evaluation.compare_with=[]"] if "vqa" in file else []
    with pytest.raises(ConfigError, match=f"{key}: expected"):
        edge_glass.train(tiny(file, override, *others), output=tmp_path / "run", progress=False)


def test_config_knows_which_poolings_go_where() -> None:
    """`config` must not import them, and says their kinds once more: it says the same."""
    built = {name: build_pooling(name, 8, perceiver={"num_heads": 2}) for name in POOLINGS.names()}
    assert [name for name, one in built.items() if one.keeps_tokens] == list(KEEP_TOKENS)
    assert [name for name, one in built.items() if one.learned] == list(LEARNED)
    assert [name for name, one in built.items() if one.measured] == list(MEASURED)


def test_a_loss_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"losses\.kind: expected one of infonce, siglip.*'distance'"):
        tiny("vision_text_alignment.yaml", "losses.kind=distance")
    add(losses, "distance", LOSS, tmp_path / "kinds", monkeypatch)
    logged, _ = trained(tiny("vision_text_alignment.yaml", "losses.kind=distance"), tmp_path / "run")
    assert 0.0 < logged["train/loss_clip"] <= 4.0  # of two vectors of norm 1, opposite ones


def test_an_encoder_library_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, words = tmp_path / "encoder", tmp_path / "words"
    source.mkdir()
    (source / "raw.txt").write_text("16")
    TextEncoder.tiny().save(words)
    for split, table in generated_splits().items():
        pictures, captions = table.pictures, [row[0] for row in table.captions]
        columns = {"image_bytes": [pictures[row] for row in table.positions], "caption": captions}
        pq.write_table(pa.table(columns), tmp_path / f"{split}.parquet")
    (tmp_path / "experiment.yaml").write_text(
        f"""
        name: raw
        dataset:
          batch_size: 8
          train_parquet: {tmp_path / "train.parquet"}
          val_parquet: {tmp_path / "val.parquet"}
          test_parquet: {tmp_path / "test.parquet"}
        vision_encoder: {{source: {source}, projection_dim: 16, mrl_dimensions: [8]}}
        text_encoder: {{source: {words}}}
        """
    )
    config = edge_glass.load_config(tmp_path / "experiment.yaml", SHORT)
    with pytest.raises(AssetError, match="timm, transformers"):
        edge_glass.train(config, output=tmp_path / "refused", progress=False)
    add(vision, "raw", LIBRARY, tmp_path / "kinds", monkeypatch)
    _, model = trained(config, tmp_path / "run")
    encoder = model.towers["vision"].encoder
    assert (encoder.num_tokens, encoder.width) == (3, 256)
    assert encoder.fingerprint == VisionEncoder.load(source).fingerprint
