"""Measurements between validations: when, what is logged, and that training does not notice them."""

from __future__ import annotations

import logging
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from regression_task import Network, Regression, SignalAt, build, metrics, run, same_weights
from stock_training import Parts, stock_trainer

from edge_glass.detection.iou_callback import IoUEvalCallback, undisturbed, within
from edge_glass.training.callbacks import MetricsLog, StopOnSignal
from edge_glass.training.checkpoint import find_checkpoint


class Measure:
    """Draws random numbers, turns the model about, and says how large its weights are."""

    def __init__(self) -> None:
        self.calls: list[float] = []

    def __call__(self, model: Any, seconds: float) -> dict[str, float]:
        self.calls.append(seconds)
        assert not model.training and not torch.is_grad_enabled()
        torch.rand(3), random.random(), np.random.rand()  # noqa: NPY002
        model.train()
        return {"mean_iou": float(sum(value.abs().sum() for value in model.parameters())), "rows": 4.0}


def iou_lines(lines: list[dict[str, Any]]) -> dict[int, float]:
    """Step → what was measured."""
    return {line["step"]: line["val_iou/mean_iou"] for line in lines if "val_iou/mean_iou" in line}


def callback_run(folder: Path, measure: Measure, every: int = 5, **options: Any) -> Any:
    """`regression_task.run` with a measurement that stands before the log file."""
    folder.mkdir(exist_ok=True)
    stop, stop_at = StopOnSignal(), options.pop("stop_at", None)
    resume = find_checkpoint(folder / "checkpoints") if options.pop("resume", False) else None
    signals = [SignalAt(stop_at)] if stop_at else []
    trainer = build(folder, Regression(), stop, *signals, **options)
    trainer.callbacks.insert(0, IoUEvalCallback(measure, every, 7.5))
    with stop.listening():
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    return trainer


class TestOurTrainer:
    def test_it_is_logged_at_its_steps(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        measure = Measure()
        with caplog.at_level(logging.INFO, logger="edge_glass"):
            callback_run(tmp_path / "run", measure, training={"logging_steps": 4})
        assert measure.calls == [7.5, 7.5]  # of 12 steps
        lines = metrics(tmp_path / "run")
        assert sorted(iou_lines(lines)) == [5, 10]
        assert [line["step"] for line in lines if "train/loss" in line] == [1, 4, 5, 8, 10, 12]
        assert all(line["val_iou/rows"] == 4.0 for line in lines if "val_iou/mean_iou" in line)
        said = [record.getMessage() for record in caplog.records if "validation rows" in record.getMessage()]
        assert len(said) == 2 and said[0].startswith("step 5: mean_iou ")

    def test_training_does_not_notice(self, tmp_path: Path) -> None:
        plain = run(tmp_path / "plain", dropout=0.2)
        measured = callback_run(tmp_path / "measured", Measure(), every=1, dropout=0.2)
        assert same_weights(plain.model.state_dict(), measured.model.state_dict())
        validations = [
            [line for line in metrics(tmp_path / name) if "val/score" in line]
            for name in ("plain", "measured")
        ]
        assert validations[0] == validations[1] != []

    def test_a_resumed_run_writes_the_same(self, tmp_path: Path) -> None:
        whole, parts = tmp_path / "whole", tmp_path / "parts"
        one = callback_run(whole, Measure(), every=3, dropout=0.2)
        callback_run(parts, Measure(), every=3, dropout=0.2, stop_at=7)
        assert sorted(iou_lines(metrics(parts))) == [3, 6]
        other = callback_run(parts, Measure(), every=3, dropout=0.2, resume=True)
        assert same_weights(one.model.state_dict(), other.model.state_dict())
        assert iou_lines(metrics(whole)) == iou_lines(metrics(parts))
        assert sorted(iou_lines(metrics(whole))) == [3, 6, 9, 12]


class TestStockTrainer:
    def test_history_and_later_callbacks_have_it(self, tmp_path: Path) -> None:
        log = MetricsLog(tmp_path / "metrics.jsonl")
        callback = IoUEvalCallback(Measure(), 2, 1.0)
        trainer = stock_trainer(tmp_path, callback, log, logging_steps=5)
        trainer.train()
        assert sorted(iou_lines(trainer.state.log_history)) == [2, 4, 6]
        assert iou_lines(metrics(tmp_path)) == iou_lines(trainer.state.log_history)

    def test_training_does_not_notice(self, tmp_path: Path) -> None:
        weights = []
        for callbacks in ([], [IoUEvalCallback(Measure(), 1, 1.0)]):
            trainer = stock_trainer(tmp_path, *callbacks)
            trainer.train()
            weights.append(trainer.model.state_dict())
        assert same_weights(*weights)

    @pytest.mark.slow
    def test_trl(self, tmp_path: Path) -> None:
        import trl
        from datasets import Dataset

        callback = IoUEvalCallback(Measure(), 2, 1.0)
        rows = Dataset.from_list([{"x": [1.0 * row] * 4, "y": 1.0} for row in range(8)])
        args = trl.SFTConfig(
            output_dir=str(tmp_path),
            max_steps=4,
            per_device_train_batch_size=2,
            use_cpu=True,
            bf16=False,
            report_to=[],
            save_strategy="no",
            logging_steps=10,
            remove_unused_columns=False,
            dataset_kwargs={"skip_prepare_dataset": True},
        )
        model = tiny_language_model()

        def collate(items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
            tokens = torch.arange(6).repeat(len(items), 1)
            return {"input_ids": tokens, "attention_mask": tokens > -1, "labels": tokens}

        trainer = trl.SFTTrainer(
            model,
            args=args,
            train_dataset=rows,
            data_collator=collate,
            processing_class=tiny_tokenizer(),
            callbacks=[callback],
        )
        trainer.train()
        assert sorted(iou_lines(trainer.state.log_history)) == [2, 4]


def tiny_language_model() -> Any:
    """A Qwen2 of a few thousand weights."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "vocab_size": 8}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    return Qwen2ForCausalLM(Qwen2Config(**sizes, **heads, bos_token_id=None, eos_token_id=1, pad_token_id=0))


def tiny_tokenizer() -> Any:
    """Eight words."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": 0, "<eos>": 1, **{f"w{number}": number for number in range(2, 8)}}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<eos>"))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>")


class TestUndisturbed:
    def test_everything_is_put_back(self) -> None:
        model = Parts()
        model.middle.eval()
        before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
        modes = [module.training for module in model.modules()]
        assert len(set(modes)) == 2
        with pytest.raises(ZeroDivisionError), undisturbed(model):
            Measure()(model, 1.0)
            raise ZeroDivisionError
        assert [module.training for module in model.modules()] == modes
        assert torch.equal(before[0], torch.get_rng_state())
        assert before[1] == random.getstate()
        assert before[2] == np.random.get_state()[1].tolist()  # noqa: NPY002
        assert torch.is_grad_enabled()

    def test_the_model_is_not_training_inside(self) -> None:
        model = Network(dropout=0.5)
        with undisturbed(model):
            assert not any(module.training for module in model.modules())


class TestWithin:
    def test_all_items_when_there_is_time(self) -> None:
        assert list(within(range(4), 60.0)) == [0, 1, 2, 3]
        assert list(within([], 60.0)) == []

    def test_the_first_item_is_always_given(self) -> None:
        assert list(within(range(4), 0.0)) == [0]

    def test_it_stops_when_the_time_is_over(self) -> None:
        seen = []
        for item in within(range(100), 0.05):
            seen.append(item)
            time.sleep(0.02)
        assert 2 <= len(seen) <= 4
