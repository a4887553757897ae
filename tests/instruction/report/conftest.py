"""A run folder as a finished run of answers leaves it: questions about coloured shapes, hostile words."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from edge_glass.evaluation.intervals import Estimate
from edge_glass.evaluation.results import SplitCount, assemble_results, metrics_dict, write_json
from edge_glass.instruction.measure.archive import AnswerRecord, save_answers, shown_rows
from edge_glass.instruction.measure.metrics import vqa_accuracy
from edge_glass.instruction.measure.text import AnswerSet, estimate_answers
from page_reader import read_page as read_page

HOSTILE = '<script>alert("x")</script> & $\\frac{1}{2$ 犬'
COLORS = ("red", "blue", "green", "teal")
SHAPES = ("circle", "rectangle", "triangle")


@dataclass(frozen=True)
class Question:
    """One row; `picture` numbers its picture."""

    picture: int
    text: str
    answer: str
    kind: str


def questions(pictures: int) -> list[Question]:
    """Three questions about every picture."""
    found = []
    for picture in range(pictures):
        color, shape = COLORS[picture % 4], SHAPES[picture % 3]
        asked = COLORS[(picture // 2) % 4]
        found += [
            Question(picture, f"what color is the {shape}?", color, "color"),
            Question(picture, "what shape is in the image?", shape, "shape"),
            Question(picture, f"is there a {asked} shape?", "yes" if asked == color else "no", "yes-no"),
        ]
    return found


def picture_of_shape(number: int) -> bytes:
    """PNG of one shape."""
    image = Image.new("RGB", (64, 64), "white")
    draw, color = ImageDraw.Draw(image), COLORS[number % 4]
    box = [14, 18, 48, 50]
    match SHAPES[number % 3]:
        case "circle":
            draw.ellipse(box, fill=color)
        case "rectangle":
            draw.rectangle(box, fill=color)
        case _:
            draw.polygon([(31, 14), (50, 50), (12, 50)], fill=color)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def say(rows: list[Question], skill: float, seed: int) -> list[str]:
    """Right with a chance of `skill`, else another answer of the same kind; seldom something hostile."""
    generator = np.random.default_rng(seed)
    pools = {"color": COLORS, "shape": SHAPES, "yes-no": ("yes", "no")}
    said = []
    for row in rows:
        other = [word for word in pools[row.kind] if word != row.answer]
        wrong = HOSTILE if generator.random() < 0.05 else other[int(generator.integers(len(other)))]
        said.append(row.answer if generator.random() < skill else wrong)
    return said


def scored(rows: list[Question], said: list[str], ended: list[bool]) -> dict[str, Estimate]:
    """Every metric that needs no further package, as an evaluation makes them."""
    answers = AnswerSet(
        said,
        [[row.answer] for row in rows],
        [row.picture for row in rows],
        answer_types=[row.kind for row in rows],
        sources=["easy-vqa" if row.picture % 3 else "<i>mine</i>" for row in rows],
        ended=ended,
    )
    return estimate_answers(answers, ("exact_match", "vqa_accuracy", "token_f1", "rouge_l"), samples=200)


def build_answers(folder: Path, *, pictures: int = 40, skill: float = 0.9, blind: float | None = 0.5,
                  untouched: float = 0.04, steps: int = 100) -> Path:  # fmt: skip
    """Write every file of a finished run of answers; the skills say how good the models are."""
    _write_run(folder, pictures, skill, untouched, steps, "trm", 4_812_345)
    if blind is not None:
        _write_run(folder / "compared" / "blind", pictures, blind, untouched, steps, "trm", 4_812_345)
        size = folder / "compared" / "same_size"
        _write_run(size, pictures, skill - 0.01, untouched, steps, "plain", 4_799_000)
        (folder / "compared" / "same_compute").mkdir()
    return folder


def _write_run(
    folder: Path, pictures: int, skill: float, untouched: float, steps: int, kind: str, size: int
) -> None:
    rows = questions(pictures)
    said, before = say(rows, skill, seed=1), say(rows, untouched, seed=2)
    ended = [
        answer == row.answer or place % 3 > 0
        for place, (row, answer) in enumerate(zip(rows, said, strict=True))
    ]
    trained, baseline = scored(rows, said, ended), scored(rows, before, [False] * len(rows))
    frequent = scored(
        rows, [{"color": "red", "shape": "circle", "yes-no": "no"}[row.kind] for row in rows], []
    )
    folder.mkdir(parents=True, exist_ok=True)
    records = [
        AnswerRecord(
            id=f"test-{place}",
            picture=f"{row.picture:064x}" if row.picture != 5 else None,
            question=row.text,
            reference=row.answer,
            answer=said[place],
            untouched_answer=before[place] * 30,
            answer_type=row.kind,
            source="easy-vqa",
            ended=ended[place],
            score=vqa_accuracy.score(said[place], [row.answer]),
            untouched_score=vqa_accuracy.score(before[place], [row.answer]),
        )
        for place, row in enumerate(rows)
    ]
    shown = {rows[place].picture for place in shown_rows(records)} - {5}
    save_answers(folder, "test", records, {f"{number:064x}": picture_of_shape(number) for number in shown})
    results = assemble_results(
        split="test",
        metric="vqa_accuracy",
        trained=trained,
        baseline=baseline,
        seconds=200.0,
        samples=4000,
        data={"train": SplitCount(34_721, {"the answer has <i>300</i> tokens, more than 256": 2})},
    )
    results |= {
        "task": "instruction",
        "cost": {"samples_per_second": 20.0, "trained_parameters": size, "total_parameters": size + 3_371_040,
                 "peak_memory_bytes": 2**30, "processes": 1},
        "most_frequent_answer": {"metrics": {k: v for k, v in metrics_dict(frequent).items()
                                             if k.startswith(("vqa_accuracy", "exact_match"))}},
    }  # fmt: skip
    write_json(folder / "results.json", results)
    write_json(folder / "parameters.json", {"<u>vision</u>": {"total": 3_371_040, "trained": 0},
                                            "decoder": {"total": size, "trained": size}})  # fmt: skip
    write_json(folder / "environment.json", {"packages": {"torch": "<2.0>"}})
    (folder / "config.yaml").write_text(
        f"name: '<em>shapes</em>'\ntask: instruction\ndecoder: {{kind: {kind}}}\n"
        "optimization: {max_grad_norm: 1.0}\n# </pre><script>\n",
        encoding="utf-8",
    )
    lines, samples = logged_answers(steps, skill), sample_lines(steps)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines), encoding="utf-8")
    (folder / "samples.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in samples), encoding="utf-8"
    )


def logged_answers(steps: int, skill: float) -> list[dict[str, float]]:
    """Lines of metrics.jsonl, the untouched model first."""
    generator = np.random.default_rng(0)
    rows: list[dict[str, float]] = []
    for step in range(steps + 1):
        decay = math.exp(-4 * step / steps)
        row: dict[str, float] = {"step": step, "epoch": step / 20, "time": step * 0.1}
        if step:
            row |= {
                "train/loss": (0.05 + 4.2 * decay) * (1 + 0.1 * generator.normal()),
                "train/last_loss": 0.04 + 4.0 * decay,
                "train/halting_loss": 0.3 + 0.3 * decay,
                "train/halting_right": 0.9 - 0.4 * decay,
                "train/token_accuracy": 1 - 0.9 * decay,
                "train/grad_norm": 0.4 + 2 * decay + 0.2 * generator.random(),
                "train/lr": 2e-4 * min(10 * step / steps, 1.0) * (1 - 0.9 * step / steps),
            }
        if step % (steps // 5) == 0:
            value = skill * (1 - decay)
            row |= {
                "val/loss": 0.1 + 4.2 * decay,
                "val/token_accuracy": 0.98 - 0.9 * decay,
                **dict.fromkeys(("val/exact_match", "val/vqa_accuracy", "val/token_f1"), value),
                "val/rouge_l": min(1.0, value + 0.02),
                "val/never_ended": decay,
                "val/vqa_accuracy/type/color": value**1.5,
                "val/vqa_accuracy/type/shape": value,
                "val/vqa_accuracy/type/yes-no": 0.5 + value / 2,
            }
        rows.append(row)
    return rows


def sample_lines(steps: int) -> list[dict]:
    """Lines of samples.jsonl: eight questions at every validation."""
    rows = questions(8)[:8]
    found = []
    for place in range(11):
        said = say(rows, place / 10, seed=place)
        samples = [
            {"id": f"val-{i}", "question": row.text, "reference": row.answer,
             "answer": said[i] if place else "the the the " * 20, "ended": bool(place)}
            for i, row in enumerate(rows)
        ]  # fmt: skip
        found.append({"step": place * steps // 10, "samples": samples})
    return found


@pytest.fixture(scope="session")
def make_answers() -> Callable[..., Path]:
    """`build_answers`, for tests that need a run of their own."""
    return build_answers


@pytest.fixture(scope="session")
def answered_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of answers that tests may add plots and pages to, and must not change otherwise."""
    return build_answers(tmp_path_factory.mktemp("runs") / "shapes")
