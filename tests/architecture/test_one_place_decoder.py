"""One place: a decoder is one new file, which an experiment names, trains, saves and loads."""

from __future__ import annotations

from pathlib import Path

import pytest

import edge_glass
from edge_glass.core.errors import ConfigError
from edge_glass.decoders import kinds

EASY_VQA = Path(__file__).parents[2] / "configs" / "easy_vqa_trm.yaml"
TOY = '''
"""A decoder of one layer, whatever the experiment says."""
from edge_glass.decoders.decoder import DecoderKind
from edge_glass.decoders.kinds.plain import PlainConfig, PlainDecoder


class OneLayer(DecoderKind):
    def build(self, config, tokenizer):
        return PlainDecoder(tokenizer, PlainConfig(width=config.decoder.size.width, heads=2, layers=1))


KIND = OneLayer()
'''


def test_a_decoder_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = [
        "decoder.kind=one_layer",
        "evaluation.compare_with=[]",
        "training.report_to=[]",
        "training.epochs=1",
        f"output_dir={tmp_path / 'runs'}",
    ]
    with pytest.raises(ConfigError, match=r"decoder\.kind: expected one of causal_lm, plain, trm"):
        edge_glass.load_config(EASY_VQA, overrides, tiny=True)
    (tmp_path / "one_layer.py").write_text(TOY)
    monkeypatch.setattr(kinds, "__path__", [*kinds.__path__, str(tmp_path)])
    config = edge_glass.load_config(EASY_VQA, overrides, tiny=True)
    result = edge_glass.train(config)
    model = edge_glass.load(result.folder)
    assert len(model.model.decoder.block.layers) == 1
    assert isinstance(model.answer(None, "what is it?"), str)
