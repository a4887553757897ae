"""A run folder as a finished detection run leaves it: rectangles on grey pictures, hostile words."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from edge_glass.detection.measure.archive import DetectionRecord, save_detections
from edge_glass.detection.measure.metrics import DetectionSet, estimate_detections, picture_scores
from edge_glass.evaluation.results import SplitCount, assemble_results, write_json

HOSTILE = '<script>alert("x")</script> & \x07 犬'
NAMES = ("face", "nutrition-table")
SIZES = ((160, 120), (90, 200), (600, 400))


class Said(NamedTuple):
    """What a model made of one picture."""

    boxes: np.ndarray
    labels: list[str]
    scores: list[float]
    text: str
    problem: str | None
    ended: bool


class Scene(NamedTuple):
    """One picture."""

    size: tuple[int, int]
    boxes: np.ndarray
    labels: list[str]


def scene(number: int) -> Scene:
    """One or two rectangles, as a function of the number; each tenth picture is empty."""
    generator = np.random.default_rng(number)
    size = SIZES[number % 3]
    count = 0 if number % 10 == 9 else 1 + number % 2
    corners = generator.uniform(0.05, 0.5, (count, 2))
    sides = generator.uniform(0.15, 0.4, (count, 2))
    boxes = np.concatenate([corners, corners + sides], axis=1) * [*size, *size]
    return Scene(size, boxes, [NAMES[(number + place) % 2] for place in range(count)])


def picture_of_scene(number: int) -> Image.Image:
    """The scene, drawn."""
    made = scene(number)
    image = Image.new("RGB", made.size, "#888888")
    draw = ImageDraw.Draw(image)
    for box, label in zip(made.boxes, made.labels, strict=True):
        draw.rectangle(box.tolist(), fill="crimson" if label == "face" else "khaki")
    return image


def say(number: int, blur: float, kind: str = "") -> Said:
    """What is there, moved by `blur` of its sides; or one of the ways to fail."""
    made = scene(number)
    generator = np.random.default_rng(1000 + number)
    boxes, labels = made.boxes.copy(), list(made.labels)
    if len(boxes):
        sides = boxes[:, 2:] - boxes[:, :2]
        boxes = boxes + blur * np.concatenate([sides, sides], axis=1) * generator.normal(size=boxes.shape)
        boxes = np.clip(np.sort(boxes.reshape(-1, 2, 2), axis=1).reshape(-1, 4), 0, [*made.size, *made.size])
    text = json.dumps(
        [{"bbox_2d": box.round().tolist(), "label": name} for box, name in zip(boxes, labels, strict=True)]
    )
    problem, ended = None, True
    if kind == "unparsable":
        boxes, labels, text, problem, ended = boxes[:0], [], HOSTILE * 30, "there is no box in it", False
    elif kind == "nothing":
        boxes, labels, text = boxes[:0], [], "[]"
    elif kind == "many":
        boxes, labels = np.concatenate([boxes, [[1.0, 2.0, 30.0, 40.0]]]), [*labels, HOSTILE]
    elif kind == "name" and labels:
        labels = [NAMES[1 - NAMES.index(label)] for label in labels]
    scores = (0.5 + 0.5 * generator.random(len(boxes))).round(3).tolist()
    return Said(boxes, labels, scores, text, problem, ended)


FAILURES = {3: "unparsable", 4: "nothing", 7: "many", 11: "name", 19: "many", 13: "unparsable"}


def build_detection_run(
    folder: Path, *, pictures: int = 80, blur: float = 0.06, before: float = 2.0, steps: int = 100
) -> Path:
    """Write every file of a finished detection run; the blurs say how far off the boxes are."""
    rows = list(range(pictures))
    said = [say(row, blur, FAILURES.get(row, "")) for row in rows]
    earlier = [say(row, before, "unparsable" if row % 3 else "") for row in rows]
    sets = [_set(rows, answers) for answers in (said, earlier)]
    scores = [picture_scores(one) for one in sets]
    folder.mkdir(parents=True, exist_ok=True)
    records = [
        DetectionRecord(
            id=f"test-{row}" if row != 3 else HOSTILE,
            picture=f"{row:064x}" if row != 4 else None,
            width=scene(row).size[0],
            height=scene(row).size[1],
            true_boxes=scene(row).boxes.tolist(),
            true_labels=scene(row).labels,
            boxes=said[row].boxes.tolist(),
            labels=said[row].labels,
            scores=said[row].scores,
            text=said[row].text,
            problem=said[row].problem,
            ended=said[row].ended,
            iou=float(scores[0][row]),
            untouched_boxes=earlier[row].boxes.tolist(),
            untouched_iou=float(scores[1][row]),
        )
        for row in rows
    ]
    save_detections(folder, "test", records, lambda name: picture_of_scene(int(name, 16)))
    trained, untouched = (estimate_detections(one, None, 200, 0) for one in sets)
    results = assemble_results(
        split="test",
        metric="mean_iou",
        trained=trained,
        baseline=untouched,
        seconds=200.0,
        samples=4000,
        data={"train": SplitCount(1080, {"the box is <i>inverted</i>": 2})},
    )
    write_json(folder / "results.json", results | {"task": "detection"})
    write_json(folder / "parameters.json", {"<u>vision</u>": {"total": 3_371_040, "trained": 0}})
    write_json(folder / "environment.json", {"packages": {"torch": "<2.0>"}})
    (folder / "config.yaml").write_text(
        "name: '<em>tables</em>'\ntask: detection\nvlm: {mode: lora}\noptimization: {max_grad_norm: 1.0}\n"
        "# </pre><script>\n",
        encoding="utf-8",
    )
    lines, samples = logged_steps(steps), sample_lines(steps)
    for name, content in (("metrics.jsonl", lines), ("samples.jsonl", samples)):
        text = "".join(json.dumps(row) + "\n" for row in content)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def _set(rows: list[int], said: list[Said]) -> DetectionSet:
    return DetectionSet(
        boxes=[one.boxes for one in said],
        labels=[one.labels for one in said],
        scores=[np.array(one.scores) for one in said],
        true_boxes=[scene(row).boxes for row in rows],
        true_labels=[scene(row).labels for row in rows],
        units=[row // 2 for row in rows],
        parsed=[one.problem is None for one in said],
        ended=[one.ended for one in said],
    )


def logged_steps(steps: int) -> list[dict[str, float]]:
    """Lines of metrics.jsonl, the untouched model first."""
    generator = np.random.default_rng(0)
    rows: list[dict[str, float]] = []
    for step in range(steps + 1):
        decay = math.exp(-4 * step / steps)
        row: dict[str, float] = {"step": step, "epoch": step / 20, "time": step * 0.1}
        if step:
            row |= {
                "train/loss": (0.3 + 3.2 * decay) * (1 + 0.1 * generator.normal()),
                "train/token_accuracy": 1 - 0.6 * decay,
                "train/grad_norm": 0.5 + 2 * decay + 0.2 * generator.random(),
                "train/grad_norm/vision": 0.02 + 0.3 * decay * generator.random(),
                "train/grad_norm/projector": 0.1 + 0.5 * decay * generator.random(),
                "train/grad_norm/llm": 0.4 + 2 * decay + 0.2 * generator.random(),
                "train/lr": 2e-4 * min(10 * step / steps, 1.0) * (1 - 0.9 * step / steps),
            }
        if step % (steps // 5) == 0:
            value = 0.9 * (1 - decay)
            row |= {
                "val/loss": 0.35 + 3.2 * decay,
                "val/token_accuracy": 0.98 - 0.6 * decay,
                "val/mean_iou": value,
                "val/f1_50": min(1.0, 1.08 * value),
                "val/precision_50": value,
                "val/recall_50": value**1.2,
                "val/f1_75": value**2,
                "val/unparsable": decay**2,
                "val/never_ended": decay**3,
                "val/boxes_per_picture": 1.5,
            }
        elif step % (steps // 10) == 0:
            row |= {"iou/mean_iou": 0.85 * (1 - decay), "iou/rows": 32.0}
        rows.append(row)
    return rows


def sample_lines(steps: int) -> list[dict[str, object]]:
    """Lines of samples.jsonl: four pictures at every validation."""
    found: list[dict[str, object]] = []
    for place in range(6):
        samples = [
            {
                "id": f"val-{row}",
                "reference": say(row, 0.0).text,
                "answer": say(row, 0.5 - place / 10).text if place else "the the " * 40,
                "ended": bool(place),
            }
            for row in range(4)
        ]
        found.append({"step": place * steps // 5, "samples": samples})
    return found
