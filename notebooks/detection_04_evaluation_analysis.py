# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     notebook_metadata_filter: -jupytext.text_representation.jupytext_version
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Detection, lesson 4: how good are the boxes, really?
#
# A model has been trained, and somebody says that it “works well”. This lesson takes that sentence apart:
# what is counted, what is left out, how sure one can be, and which pictures are behind the number. It ends
# with faults that are put in on purpose, so that you know their faces.
#
# With the environment variable `EDGE_GLASS_TINY=1` everything is toy-sized: drawn shapes and a random model
# of the real Qwen2-VL class (seconds, no download). Without it, a somewhat larger model learns emoji on plain
# backgrounds (minutes on two cores). **The outputs stored in this file come from the tiny form**: that model
# has been shown eight pictures and knows nothing beyond them, and the evaluation should say so.

# %%
import os

TINY = os.environ.get("EDGE_GLASS_TINY", "") == "1"

# %%
import logging
import tempfile
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import torch
from IPython.display import Markdown, display
from PIL import Image, ImageDraw

warnings.filterwarnings("ignore")  # of libraries; tqdm would like ipywidgets, for one

import edge_glass
from edge_glass import Qwen2VLCollatorV3, calculate_iou, parse_qwen_bbox_output, visualize_bbox_on_image
from edge_glass.core.boxes import box_areas, iou_matrix, match_boxes
from edge_glass.core.errors import DataError
from edge_glass.detection.boxes.codec import SeenSize, box_codec
from edge_glass.detection.boxes.evidence import order_evidence
from edge_glass.detection.boxes.spec import swap_axes
from edge_glass.detection.collators import planned_size
from edge_glass.detection.data.splits import load_scenes
from edge_glass.detection.data.table import DetectionDataset
from edge_glass.detection.measure.metrics import (
    DetectionSet,
    detection_values,
    estimate_detections,
    picture_scores,
)
from edge_glass.detection.use.detect import Detector
from edge_glass.evaluation.verdict import compare
from edge_glass.vlm.model import build_detection_model
from edge_glass_scenes.emoji_scenes import build_emoji_scenes

logging.getLogger("transformers").setLevel(logging.ERROR)

# Paths in the experiment files start at the root of the project.
ROOT = next(folder for folder in [Path.cwd(), *Path.cwd().parents] if (folder / "configs").is_dir())
os.chdir(ROOT)
Path("runs").mkdir(exist_ok=True)
if TINY:
    pio.renderers.default = "plotly_mimetype"  # keeps 5 MB of JavaScript out of the stored outputs
scratch = tempfile.TemporaryDirectory(dir="runs", prefix="lesson-")
WORK = Path(os.path.relpath(scratch.name))


# %%
def table(header: list[str], rows: list[list]) -> None:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    display(Markdown("\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)))


def show_pictures(
    pictures: list[Image.Image], titles: list[str], columns: int = 6, height: int = 150
) -> None:
    """Pictures with a line above each, in few colours, which keeps the stored outputs small."""
    scales = [min(height / one.height, 1.3 * height / one.width) for one in pictures]
    scaled = [
        one.resize((round(one.width * scale), round(one.height * scale)))
        for one, scale in zip(pictures, scales, strict=True)
    ]
    cell = max(max(one.width for one in scaled) + 10, 140), height + 34
    columns = min(columns, len(scaled))
    sheet = Image.new("RGB", (cell[0] * columns, cell[1] * -(-len(scaled) // columns)), "white")
    draw = ImageDraw.Draw(sheet)
    for place, (one, title) in enumerate(zip(scaled, titles, strict=True)):
        corner = cell[0] * (place % columns), cell[1] * (place // columns)
        draw.text((corner[0] + 2, corner[1] + 2), title, fill="black")
        sheet.paste(one, (corner[0] + 2, corner[1] + 28))
    display(sheet.quantize(64, method=Image.Quantize.MAXCOVERAGE, kmeans=1))


# %% [markdown]
# ## 1 IoU by hand
#
# Two boxes agree as far as they share area: **intersection over union**, the area that both cover over the
# area that at least one covers. 1 is the same box, 0 is nothing in common. Work it out once by hand, and
# compare with the package.

# %%
there, found = (20, 20, 80, 70), (40, 30, 100, 90)
width = min(there[2], found[2]) - max(there[0], found[0])
height = min(there[3], found[3]) - max(there[1], found[1])
shared = max(width, 0) * max(height, 0)
areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (there, found)]
covered = sum(areas) - shared
print(f"shared {width} × {height} = {shared}; covered {areas[0]} + {areas[1]} − {shared} = {covered}")
print(f"by hand {shared / covered:.4f}, calculate_iou {calculate_iou(there, found):.4f}")
show_pictures(
    [visualize_bbox_on_image(Image.new("RGB", (120, 110), "#dddddd"), [found], truth=[there])],
    ["true: blue, found: orange"],
)

# %% [markdown]
# The same mistake weighs differently. Each line below is a box with sides of so many pixels, found too far to
# the right. Look where each falls below 0.5: small things are hard to hit, and no one did anything wrong.

# %%
figure = go.Figure()
shifts = np.arange(0, 41, 2)
for side in (10, 20, 40, 80, 160):
    ious = [round(calculate_iou((0, 0, side, side), (s, 0, side + s, side)), 3) for s in shifts]
    figure.add_scatter(x=shifts, y=ious, mode="lines", name=f"{side} pixels")
figure.add_hline(y=0.5, line={"dash": "dot", "color": "grey"})
figure.update_layout(xaxis_title="shift in pixels", yaxis_title="IoU", template="none", height=340)
figure.show()

# %% [markdown]
# ## 2 Which box found which?
#
# With several boxes on a picture somebody has to say which of them belong together. To give every found box
# its nearest true one, one after the other, is *greedy*, and depends on the order. The Hungarian method
# finds the pairs whose IoU is greatest *in sum*, each box at most once. Look at box A: greedy takes the
# pair (A, 1), since it is the best there is, and leaves B with nothing.

# %%
true_boxes = np.array([[40, 30, 100, 90], [90, 30, 150, 90], [170, 40, 200, 80]], dtype=float)
found_boxes = np.array([[60, 30, 120, 90], [20, 30, 76, 90], [150, 100, 200, 120]], dtype=float)
table(
    ["IoU", "true 1", "true 2", "true 3"],
    [
        [f"**found {name}**", *(f"{value:.2f}" for value in line)]
        for name, line in zip("ABC", iou_matrix(found_boxes, true_boxes), strict=True)
    ],
)


def greedy(ious: np.ndarray) -> list[tuple[int, int]]:
    left, pairs = ious.copy(), []
    while left.max() > 0:
        row, column = np.unravel_index(left.argmax(), left.shape)
        pairs.append((int(row), int(column)))
        left[row], left[:, column] = 0, 0
    return pairs


names = ["thing"] * 3
matched = match_boxes(found_boxes, names, true_boxes, names)
ious = iou_matrix(found_boxes, true_boxes)
pairings = {
    "greedy": greedy(ious),
    "Hungarian": list(zip(matched.found.tolist(), matched.true.tolist(), strict=True)),
}
for name, pairs in pairings.items():
    said = ", ".join(f"{'ABC'[one]}–{other + 1}" for one, other in pairs)
    print(f"{name:>9}: {said}; IoU in sum {sum(ious[pair] for pair in pairs):.2f}")

# %%
figure, axes = plt.subplots(1, 2, figsize=(8, 2.9), dpi=70)
for axis, (name, pairs) in zip(axes, pairings.items(), strict=True):
    for boxes, colour, style, marks in (
        (true_boxes, "#1C7ED6", "-", "123"),
        (found_boxes, "#F76707", "--", "ABC"),
    ):
        for (x1, y1, x2, y2), mark in zip(boxes, marks, strict=True):
            axis.add_patch(plt.Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, ec=colour, ls=style, lw=2))
            axis.text(x1 + 2, y1 + 9 if mark in "123" else y2 - 3, mark, color=colour)
    for one, other in pairs:
        ends = np.array([found_boxes[one], true_boxes[other]])
        centres = (ends[:, :2] + ends[:, 2:]) / 2
        axis.plot(centres[:, 0], centres[:, 1], "o-", color="black")
    axis.set(title=name, xlim=(0, 220), ylim=(130, 20), aspect="equal")
plt.show()

# %% [markdown]
# Only boxes of the same label match (try it: change one of the `names`). Box C shares nothing with anybody
# and stays alone: a *false positive*. True box 3 stays alone as well: *missed*.
#
# ## 3 A model to be examined
#
# We train on a few pictures for a short time. Then the model is asked about these pictures and about as many
# new ones. Normally the first half would have no place in an evaluation. Here it shows what a good answer
# looks like, and how far “seen” and “new” can be apart.

# %%
file = "configs/emoji_scenes_qwen2_vl.yaml"
overrides = ["training.device=cpu", "detection.box_format=json", "generation.max_new_tokens=96"]
if TINY:
    ROWS, STEPS = 8, 36
    overrides += ["vlm.size.width=64", "vlm.size.vision_width=64", "vlm.size.vision_heads=2"]
    overrides += ["optimization.lr=0.003"]
else:
    ROWS, STEPS = 64, 600
    scenes = build_emoji_scenes(WORK / "scenes", rows=ROWS)
    overrides += [f"dataset.{split}={path}" for split, path in scenes.items()]
config = edge_glass.load_config(file, overrides, tiny=TINY)
tables = load_scenes(config)
seen, new = (tables[split].select(range(ROWS)) for split in ("train", "test"))

untouched = build_detection_model(config)
model = build_detection_model(config)
processor, codec = model.processor, box_codec(config.vlm.family, config.detection.box_format)
planned = partial(planned_size, processor)
dataset = DetectionDataset(seen, codec, config.detection.prompt, seen=planned)
collate = Qwen2VLCollatorV3(processor, codec)
batches = [collate([dataset[row] for row in range(at, min(at + 16, ROWS))]) for at in range(0, ROWS, 16)]
optimizer = torch.optim.AdamW(model.parameters(), lr=config.optimization.lr, betas=(0.9, 0.95))
warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 10))
for step in range(STEPS):
    output = model(batches[step % len(batches)])
    loss = output.loss_sum / output.count
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    warmup.step()
print(f"loss {loss.item():.3f} per token after {STEPS} steps")

# %% [markdown]
# Both models answer the same pictures. Everything that follows is computed from what they wrote.

# %%
pictures = [part.rgb(row) for part in (seen, new) for row in range(ROWS)]
truth = [boxes for part in (seen, new) for boxes in part.boxes]
truth_labels = [list(labels) for part in (seen, new) for labels in part.labels]
answers = {
    name: Detector(one, config).detect_all(pictures, categories=seen.categories)
    for name, one in (("untouched", untouched), ("trained", model))
}
for name, written in answers.items():
    print(name)
    for one in (written[0], written[-1]):
        print("   ", repr(one.text[:110]), "→", one.problem or f"{len(one.boxes)} boxes")

# %% [markdown]
# An answer is text, and text can be anything. The parser reads what these models are known to write: fences,
# single quotes, nested lists, answers that break off. What it cannot read it *says*; it never guesses.

# %%
for text in (
    '```json\n[{"bbox_2d": [10, 20, 30, 40], "label": "cat"}]\n```',
    "[{'bbox_2d': [[10, 20, 30, 40]], 'label': 'cat'}]",
    '[{"bbox_2d": [10, 20, 30, 40], "label": "cat"}, {"bbox_2d": [50, 6',
    '[{"bbox_2d": [30, 20, 10, 40], "label": "cat"}]',
    "I see a cat on the left.",
):
    read = parse_qwen_bbox_output(text)
    print(repr(text))
    print(f"    → {len(read.numbers)} box, cut off: {read.cut_off}, {read.problem or read.dropped or 'fine'}")

# %% [markdown]
# ## 4 Counting
#
# Fix a threshold, say IoU ≥ 0.5. A found box that reaches it with a true one is *right*. Then
#
# - **precision**: right boxes over *found* boxes (how much of what it says is true?),
# - **recall**: right boxes over *true* boxes (how much of what is there does it find?),
# - **F1**: the harmonic mean of the two.
#
# 0.75 asks for more exact boxes. Count by hand, with the matching of section 2.

# %%


def measured(written: list, rows=range(2 * ROWS)) -> DetectionSet:
    """Found boxes beside the true ones."""
    return DetectionSet(
        boxes=[written[row].boxes for row in rows],
        labels=[written[row].labels for row in rows],
        scores=[np.array(written[row].scores) for row in rows],
        true_boxes=[truth[row] for row in rows],
        true_labels=[truth_labels[row] for row in rows],
        units=list(rows),  # each picture is a unit of its own
        parsed=[written[row].problem is None or bool(written[row].labels) for row in rows],
        ended=[not written[row].cut_off for row in rows],
        dropped=[written[row].dropped for row in rows],
    )


both = measured(answers["trained"])
right = said = real = 0
for row in range(2 * ROWS):
    real += len(both.true_labels[row])
    if both.parsed[row]:  # what cannot be read has found nothing
        said += len(both.labels[row]) + both.dropped[row]  # a box that is written inverted is a wrong box
        pairs = match_boxes(
            both.boxes[row], both.labels[row], both.true_boxes[row], both.true_labels[row], threshold=0.5
        )
        right += len(pairs.iou)
precision, recall = right / max(said, 1), right / real
print(f"{right} right, {said} found, {real} true: precision {precision:.3f}, recall {recall:.3f}")
print({name: round(detection_values(both)[name], 3) for name in ("precision_50", "recall_50", "f1_50")})

# %% [markdown]
# Look at the two halves, and never at their mean alone. What separates the middle column from the right one
# is what the model knows by heart.

# %%
parts = {
    "untouched": measured(answers["untouched"]),
    "trained, seen pictures": measured(answers["trained"], range(ROWS)),
    "trained, new pictures": measured(answers["trained"], range(ROWS, 2 * ROWS)),
}
values = {name: detection_values(part) for name, part in parts.items()}
table(
    ["metric", *values],
    [[name, *(f"{one[name]:.3f}" for one in values.values())] for name in values["untouched"]],
)

# %% [markdown]
# ### What about answers that cannot be read?
#
# They count. A picture whose answer is no box has IoU 0, and its true boxes are missed. It is tempting to
# leave such pictures out (“the parser failed”). Look what that does to the number, and imagine it for a
# model that answers one picture in ten:

# %%
broken = replace(both, parsed=[parsed and row % 3 > 0 for row, parsed in enumerate(both.parsed)])
scores, readable = picture_scores(broken), broken.readable()
table(
    ["every third answer made unreadable", "mean IoU"],
    [
        ["over all pictures, as it is right", f"{scores.mean():.3f}"],
        ["over those that could be read", f"{scores[readable].mean():.3f}"],
        ["before anything was broken", f"{picture_scores(both).mean():.3f}"],
    ],
)

# %% [markdown]
# ## 5 No invented scores
#
# Detectors give every box a score. *Average precision* (COCO's mAP) sorts all boxes of all pictures by it and
# asks how precision falls while recall grows. A language model gives no score. Putting 1.0 everywhere, as
# is often done, makes mAP depend on the order of the file. What it does have is the probability of each
# token that it wrote: the mean over the tokens of a box orders the boxes. It is no chance of being right,
# and these mAPs compare with one another only, not with those of other detectors.

# %%
orders = {
    "probability of the tokens": both.scores,
    "1.0 everywhere": [np.ones(len(labels)) for labels in both.labels],
    "the reverse": [1 - np.array(scores) for scores in both.scores],
}
table(
    ["order", "mAP", "mAP at 0.5", "F1 at 0.5"],
    [
        [name, *(f"{one[metric]:.3f}" for metric in ("map", "map_50", "f1_50"))]
        for name, one in ((name, detection_values(replace(both, scores=s))) for name, s in orders.items())
    ],
)

# %% [markdown]
# Is the model less sure where it is wrong? Each point is a box. If points lie from lower left to upper right
# the order means something; a cloud says that it does not. Look for boxes that are sure *and* wrong.

# %%
figure = go.Figure()
for name, rows in (("seen pictures", range(ROWS)), ("new pictures", range(ROWS, 2 * ROWS))):
    points = [
        (score, max([calculate_iou(box, other) for other in truth[row]], default=0.0), row)
        for row in rows
        for box, score in zip(both.boxes[row], both.scores[row], strict=True)
    ]
    figure.add_scatter(
        x=[round(score, 3) for score, _, _ in points],
        y=[round(iou, 3) for _, iou, _ in points],
        text=[f"picture {row}" for _, _, row in points],
        mode="markers",
        name=name,
    )
figure.update_layout(
    xaxis_title="mean probability of its tokens", yaxis_title="IoU with the nearest true box",
    template="none", height=360,
)  # fmt: skip
figure.show()

# %% [markdown]
# ## 6 How sure is a number?
#
# Other pictures would have given another number. The *bootstrap* asks how much other: draw as many
# pictures as there are, with repetition, measure, and do that again and again. Two models are compared on
# the *same* draws, since a hard picture is hard for both. If the 95 % interval of the difference
# excludes 0, the verdict is a word; otherwise it is “unchanged”, however large the difference looks.
#
# “Better than the untouched model” is a low bar where that one writes no boxes at all. So a third candidate
# takes part that does not even look: **always the same answer**, that one of the training answers which fits
# the training pictures best, stretched to each picture.

# %%
sizes = [size for part in (seen, new) for size in part.sizes]


def half_of(found: DetectionSet, half: str) -> DetectionSet:
    """The seen or the new pictures."""
    cut = slice(0, ROWS) if half == "seen" else slice(ROWS, None)
    names = ("boxes", "labels", "scores", "true_boxes", "true_labels", "units", "parsed", "ended", "dropped")
    columns = {name: getattr(found, name) for name in names}
    return replace(found, **{name: column and column[cut] for name, column in columns.items()})


def always(row: int) -> DetectionSet:
    """The right answer to one training picture, given to all pictures."""
    share = seen.boxes[row] / np.tile(seen.sizes[row], 2)
    boxes = [share * np.tile(size, 2) for size in sizes]
    labels = [list(seen.labels[row])] * len(sizes)
    return DetectionSet(boxes, labels, None, truth, truth_labels, both.units)


best_fit = max(range(ROWS), key=lambda row: picture_scores(half_of(always(row), "seen")).mean())
found_by = {name: measured(written) for name, written in answers.items()}
found_by["same answer"] = always(best_fit)
estimates = {
    (name, half): estimate_detections(half_of(found, half), ["mean_iou"], samples=1000)
    for name, found in found_by.items()
    for half in ("seen", "new")
}
table(
    ["mean IoU", "seen pictures", "new pictures"],
    [
        [name, *(f"{one.value:.3f} [{one.low:.3f}, {one.high:.3f}]" for one in intervals)]
        for name in found_by
        for intervals in [[estimates[name, half]["mean_iou"].interval() for half in ("seen", "new")]]
    ],
)
lines = []
for half in ("seen", "new"):
    for other in ("untouched", "same answer"):
        verdict = compare("mean_iou", estimates["trained", half], estimates[other, half])
        interval = f"{verdict.difference:+.3f} [{verdict.low:+.3f}, {verdict.high:+.3f}]"
        lines.append([half, other, interval, f"**{verdict.status}**"])
table(["pictures", "trained, against", "difference", "verdict"], lines)

# %% [markdown]
# Read the last two lines together. On new pictures the trained model may well be “improved” against one that
# writes no boxes, and still be no better than an answer that never looks. Choose the baseline before you
# choose the words, and read the size of the difference, too.

# %%
figure = go.Figure()
for half in ("seen", "new"):
    draws = estimates["trained", half]["mean_iou"].draws - estimates["same answer", half]["mean_iou"].draws
    heights, edges = np.histogram(draws, bins=25)
    figure.add_bar(x=np.round((edges[1:] + edges[:-1]) / 2, 3), y=heights, name=half)
figure.update_layout(
    title="1000 draws of the difference, trained − same answer", xaxis_title="difference in mean IoU",
    template="none", height=320, barmode="overlay",
)  # fmt: skip
figure.show()

# %% [markdown]
# Pictures of one product, or frames of one film, resemble each other. They are drawn together: `units` has
# one number for all of them. With a unit per picture the interval would come out too narrow.
#
# ## 7 Look at the worst first
#
# A mean hides its reasons. Sort the pictures by their IoU, and look at the worst ones before you believe any
# number: wrong labels in the data, swapped axes and cut answers are seen at a glance. Blue is true, orange
# (broken) is found.

# %%
scores = picture_scores(both)
order = np.argsort(scores, kind="stable")
chosen = [*order[:6], *order[-6:]]
show_pictures(
    [
        visualize_bbox_on_image(
            pictures[row],
            both.boxes[row],
            truth=truth[row],
            truth_labels=truth_labels[row],
            smallest_side=150,
        )
        for row in chosen
    ],
    [
        f"{'seen' if row < ROWS else 'new'} {row}, IoU {scores[row]:.2f}\n"
        f"{'unreadable' if not both.readable()[row] else ', '.join(both.labels[row])[:24] or 'nothing'}"
        for row in chosen
    ],
)

# %% [markdown]
# The first row are the worst, the second the best. `report.html` of every run has such a page, with the
# untouched model's boxes beside them.
#
# ## 8 Does size matter?
#
# True boxes sorted by their area, in three groups, and how well each was found. From section 1 you expect
# small ones to be worse. Look at how many boxes a group has before you say so.

# %%
best = [
    (areas_of, float(max(ious_of, default=0.0)), row)
    for row in range(2 * ROWS)
    for areas_of, ious_of in zip(
        box_areas(truth[row]), iou_matrix(truth[row], both.boxes[row]) if len(truth[row]) else [], strict=True
    )
]
groups = np.array_split(np.array(sorted(best)), 3)
table(
    ["true boxes", "side, about", "count", "mean IoU of the best found box", "found at 0.5"],
    [
        [
            name,
            f"{np.sqrt(group[:, 0]).min():.0f} to {np.sqrt(group[:, 0]).max():.0f} pixels",
            len(group),
            f"{group[:, 1].mean():.3f}",
            f"{(group[:, 1] >= 0.5).mean():.0%}",
        ]
        for name, group in zip(("small", "medium", "large"), groups, strict=True)
    ],
)

# %% [markdown]
# ## 9 The faces of faults
#
# Now suppose the model were **perfect**: it writes the true boxes, rounded as its family does. Around it we
# put mistakes that people really make. No error is raised anywhere. Look at the IoU that is left.


# %%
def resized(size: tuple[int, int], scale: float) -> SeenSize:
    """Another resize of the same picture, as with another pixel budget."""
    return SeenSize(*(max(28, 28 * round(side * scale / 28)) for side in size))


def perfect(
    row: int, write: str, read: str, budget: float = 1.0, change=lambda numbers: numbers
) -> np.ndarray:
    """Boxes of a picture, written as one family does and read as another, with something between."""
    size = sizes[row]
    shown = resized(size, 1.0)
    numbers = box_codec(write).encode(truth[row], size, shown)
    return box_codec(read).decode(change(numbers), size, resized(size, budget))


def as_corner_and_size(numbers: np.ndarray) -> np.ndarray:
    return np.concatenate([numbers[:, :2], numbers[:, :2] + numbers[:, 2:]], axis=1)


faults = {
    "none (Qwen2-VL)": partial(perfect, write="qwen2_vl", read="qwen2_vl"),
    "none (Qwen2.5-VL)": partial(perfect, write="qwen2_5_vl", read="qwen2_5_vl"),
    "x and y swapped": partial(
        perfect, write="qwen2_vl", read="qwen2_vl", change=lambda numbers: numbers[:, [1, 0, 3, 2]]
    ),
    "read for a resize 1.25 times as large": partial(
        perfect, write="qwen2_5_vl", read="qwen2_5_vl", budget=1.25
    ),
    "read for a resize twice as large": partial(perfect, write="qwen2_5_vl", read="qwen2_5_vl", budget=2.0),
    "thousandths taken for pixels": partial(perfect, write="qwen2_vl", read="qwen2_5_vl"),
    "pixels taken for thousandths": partial(perfect, write="qwen2_5_vl", read="qwen2_vl"),
    "x2, y2 taken for width and height": partial(
        perfect, write="qwen2_vl", read="qwen2_vl", change=as_corner_and_size
    ),
}
rows, wrongly = range(2 * ROWS), {}
for name, fault in faults.items():
    wrongly[name] = [fault(row) for row in rows]
table(
    ["fault", "mean IoU", "F1 at 0.5"],
    [
        [name, *(f"{detection_values(one)[metric]:.3f}" for metric in ("mean_iou", "f1_50"))]
        for name, one in (
            (name, DetectionSet(boxes, truth_labels, None, truth, truth_labels, rows))
            for name, boxes in wrongly.items()
        )
    ],
)

# %% [markdown]
# And this is what they look like, on one picture. Learn the faces: a box that is mirrored about the diagonal,
# boxes that shrink towards the upper left corner, boxes that reach out of the picture, and boxes that are
# gone, since all of their corners lie beyond the lower right one.

# %%
wide = max(range(2 * ROWS), key=lambda row: abs(np.log(sizes[row][0] / sizes[row][1])))
show_pictures(
    [
        visualize_bbox_on_image(pictures[wide], boxes[wide], truth=truth[wide], smallest_side=150)
        for name, boxes in wrongly.items()
    ],
    [name.replace(" taken", "\ntaken").replace(" for a", "\nfor a") for name in wrongly],
    columns=4,
)

# %% [markdown]
# A fault that is the same in training and in evaluation is worse: the model learns wrong boxes, is measured
# against wrong boxes, and *no number shows it*. Only the pictures do. So before a run the package compares
# the edges of boxes with edges in the pictures (`order_evidence`), once as given and once with x and y
# swapped:

# %%
train = tables["train"]
swapped = replace(
    train,
    boxes=[
        swap_axes(boxes, *size, train.relative) for boxes, size in zip(train.boxes, train.sizes, strict=True)
    ],
)
for name, one in (("as given", train), ("swapped on purpose", swapped)):
    evidence = order_evidence(one)
    print(
        f"{name}: fit {evidence.given:.2f}, with x and y swapped {evidence.swapped:.2f}, "
        f"p = {evidence.p_value:.1g} → the boxes are right as {evidence.verdict}"
    )

# %% [markdown]
# And every batch is read back: the boxes that its labels spell must be those of the row. Here the answer was
# written for another resize than the one the model gets (Qwen2.5-VL, whose numbers are pixels):

# %%
other = edge_glass.load_config("configs/emoji_scenes_qwen2_5_vl.yaml", tiny=True)
pixel_model = build_detection_model(other)
pixel_codec = box_codec("qwen2_5_vl")
wrong = DetectionDataset(
    seen, pixel_codec, "Find: {categories}", seen=lambda width, height: resized((width, height), 2.0)
)
try:
    Qwen2VLCollatorV3(pixel_model.processor, pixel_codec)([wrong[0]])
except DataError as error:
    print(error)

# %% [markdown]
# ## What to take along
#
# 1. Say what is in the denominator. All pictures are.
# 2. A number without an interval, and without the untouched model beside it, is no result.
# 3. New pictures only. What was seen in training shows memory.
# 4. mAP needs an order; say where it comes from.
# 5. Look at pictures, the worst first, before and after every change.
#
# The same for any finished run: `edge-glass evaluate runs/NAME` and `runs/NAME/report.html`.
#
# ## Questions
#
# 1. A model writes ten boxes for every picture, and one is right. What are precision and recall? What does
#    mean IoU, as defined here, say?
# 2. Why does “x and y swapped” leave some IoU on square pictures with centred boxes?
# 3. Two models have mean IoU 0.61 [0.55, 0.66] and 0.64 [0.58, 0.69]. Can the second be *clearly* better?
# 4. When would token probabilities put a wrong box first?
#
# ## Exercises
#
# 1. Train three times as long (`STEPS`). Which numbers of section 4 move, and in which column?
# 2. Give the pictures of one colour of background the same `units`. What happens to the intervals?
# 3. Write a matching that ignores labels. How much of the error is the name, how much the place?
# 4. Add a fault of your own to section 9: labels of a picture that was turned by EXIF, for instance.

# %%
scratch.cleanup()
