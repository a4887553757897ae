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
# # Detection 1: look at the data before you train
#
# A vision-language model is to find nutrition tables on photographs of packages. Before the first step of
# training there are questions that no loss curve will answer later: are the boxes where the things are? How
# large are things, and how much of them is left once the model has shrunk the picture? What would a model
# score that never looks?
#
# The pictures here are *rendered* packages in exactly the form of OpenFoodFacts'
# [nutrition-table-detection](https://huggingface.co/datasets/openfoodfacts/nutrition-table-detection), so
# everything below works with the real photographs, too, and with your own.
#
# With the environment variable `EDGE_GLASS_TINY=1` a few dozen packages are drawn (seconds). Without it,
# `data/nutrition-scenes/train.parquet` is read (`edge-glass data build nutrition-scenes`), or a few hundred
# packages are drawn if it is not there. **The outputs stored in this file come from the tiny form.**

# %%
import os

TINY = os.environ.get("EDGE_GLASS_TINY", "") == "1"

# %%
import copy
import io
import tempfile
import warnings
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import pyarrow as pa
import pyarrow.parquet as pq
from IPython.display import Image as Shown
from IPython.display import Markdown, display
from PIL import Image
from scipy.cluster.vq import kmeans2

warnings.filterwarnings(
    "ignore", message="IProgress not found"
)  # tqdm would like ipywidgets; we do not need it

from edge_glass import calculate_iou, visualize_bbox_on_image
from edge_glass.core.boxes import box_areas, iou_matrix
from edge_glass.core.errors import DataError
from edge_glass.data.splits import split_by_group
from edge_glass.detection.boxes.evidence import order_evidence
from edge_glass.detection.collators.sizes import planned_size, token_counts
from edge_glass.detection.data.readers import read_detection
from edge_glass.vlm.family import build_processor
from edge_glass.vlm.pixel_budget import set_pixel_budget
from edge_glass_scenes.nutrition_scenes import build_nutrition_scenes

FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")
# Paths start at the root of the project.
ROOT = next(folder for folder in [Path.cwd(), *Path.cwd().parents] if (folder / "configs").is_dir())
os.chdir(ROOT)
Path("runs").mkdir(exist_ok=True)
scratch = tempfile.TemporaryDirectory(dir="runs", prefix="lesson-")
WORK = Path(os.path.relpath(scratch.name))
if TINY:
    pio.renderers.default = "plotly_mimetype"  # keeps 5 MB of JavaScript out of the stored outputs

BLUE, ORANGE, GREY = "#1C7ED6", "#F76707", "#868E96"


# %%
def show(figure, kind: str = "png") -> None:
    """A figure of matplotlib in the page; `jpeg` keeps photographs small."""
    buffer = io.BytesIO()
    options = {"pil_kwargs": {"quality": 70}} if kind == "jpeg" else {}
    figure.savefig(buffer, format=kind, bbox_inches="tight", dpi=80, **options)
    plt.close(figure)
    display(Shown(data=buffer.getvalue(), format=kind))


def photographs(pictures: list, titles: list[str], columns: int = 3, height: float = 3.4) -> None:
    """Pictures in a grid."""
    rows = -(-len(pictures) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(3.4 * columns, height * rows), squeeze=False)
    for axis in axes.ravel():
        axis.axis("off")
    for axis, picture, title in zip(axes.ravel(), pictures, titles, strict=False):
        axis.imshow(picture)
        axis.set_title(title, fontsize=9)
    show(figure, "jpeg")


def boxed(rows, row: int, other=None) -> Image.Image:
    """The picture of a row with its boxes in blue, and other ones in orange; all with thick lines."""
    return visualize_bbox_on_image(
        rows.rgb(row), other, truth=rows.boxes[row], smallest_side=500, line_width=6
    )


def table(header: list[str], rows: list[list]) -> None:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    display(Markdown("\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)))


# %% [markdown]
# ## 1 The file
#
# **To use data of your own**, put its name here: `FILE.parquet` in the form below, `coco:FILE.json`,
# `yolo:data.yaml`, `voc:FOLDER`, or a hub id such as `openfoodfacts/nutrition-table-detection`. (Sections 1
# and 6 look at a parquet file in any case; the rest does not care.)

# %%
OWN: str | None = None
SPEC = "yxyx_relative"  # how boxes are written in parquet files: see section 2

parquet = Path("data/nutrition-scenes/train.parquet")
if TINY or not parquet.is_file():
    rows_to_draw = 44 if TINY else 400
    files = build_nutrition_scenes(WORK / "scenes", rows=rows_to_draw, seed=1, progress=not TINY)
    parquet = files["train"]

# %% [markdown]
# Look at the types: a picture is a struct of its encoded bytes and a name, and all boxes of a row stand
# together in `objects`. Nothing in the schema says what the four numbers of a `bbox` mean.

# %%
print(f"{pq.read_metadata(parquet).num_rows} rows, {parquet.stat().st_size / 1e6:.1f} MB")
print(pq.read_schema(parquet).remove_metadata().to_string())

# %% [markdown]
# One row. The picture's size stands beside it; the numbers of its box lie between 0 and 1.

# %%
first = pq.read_table(parquet).slice(0, 1).to_pylist()[0]
for name, value in first.items():
    if name == "image":
        value = {"bytes": f"{len(value['bytes'])} bytes", "path": value["path"]}
    print(f"{name:9} {value}")

# %% [markdown]
# ## 2 The trap: which number is x?
#
# Most of us would read four numbers as x1, y1, x2, y2. OpenFoodFacts writes `[y_min, x_min, y_max, x_max]`
# (one sees it in the code that made the data set, not on its page). The reader is told with a *box spec*; in
# memory a box is then always x1, y1, x2, y2 in pixels. Let us read the file both ways.

# %%
truth = read_detection(str(parquet), "yxyx_relative")
wrong = read_detection(str(parquet), "xyxy_relative")
for reading in (truth, wrong):
    print(
        f"{len(reading)} rows used, {len(reading.rejected)} rejected; first box", reading.boxes[0][0].round(1)
    )
right = truth if OWN is None else read_detection(OWN, SPEC)  # used from section 3 on

# %% [markdown]
# No error either way: swapped shares of the sides are still shares of the sides. Each box of the wrong
# reading has an overlap (IoU: shared area over covered area) with the right one. **Look at how many of them
# are far from 0.**

# %%
pairs = [
    (calculate_iou(good, bad), row)
    for row in range(len(truth))
    for good, bad in zip(truth.boxes[row], wrong.boxes[row], strict=True)
]
overlaps = np.array([overlap for overlap, _ in pairs])
figure, axis = plt.subplots(figsize=(6, 2.4))
axis.hist(overlaps, bins=np.linspace(0, 1, 21), color=ORANGE)
axis.set(xlabel="IoU of the wrong reading with the right one", ylabel="boxes", xlim=(0, 1))
show(figure)
print(f"mean {overlaps.mean():.2f}; {np.mean(overlaps > 0.5):.0%} would count as found at IoU 0.5")

# %% [markdown]
# The worst, the median and the best case. Blue is right, the broken orange line is the wrong reading. **Look
# at the last one**: a box that fills its picture hides the mistake, and whoever checks *that* picture will
# believe that all is well. (Three boxes on the real data set's page give 0.39, 0.70 and 0.96.)

# %%
ordered = sorted(pairs)
chosen = [ordered[place] for place in (0, len(ordered) // 2, len(ordered) - 1)]
photographs(
    [boxed(truth, row, wrong.boxes[row]) for _, row in chosen],
    [f"IoU {overlap:.2f}" for overlap, _ in chosen],
)

# %% [markdown]
# What would training do with the wrong reading? The loss falls, for a wrong rule is a rule, too. The
# model learns to put boxes where nothing is: it can end up worse than the untouched one, and no line of the
# log says why.
#
# One can ask the pictures. Just inside of the edges of a true box there is more going on than just outside.
# `order_evidence` compares that for both readings. **Look at the sign of the difference, and at the
# p-value**: how often chance alone would favour a reading so much.

# %%
for name, reading in (("right", truth), ("wrong", wrong)):
    evidence = order_evidence(reading)
    print(
        f"{name}: as given {evidence.given:+.3f}, swapped {evidence.swapped:+.3f}, p = {evidence.p_value:.0e}"
    )
    print(f"       from {evidence.rows} pictures: {evidence.verdict}")

# %% [markdown]
# A training run does this before its first step and refuses to start when the verdict is `swapped` (it says
# `unclear`, and goes on, when there is too little to see). It is a guard, not a proof: **look at pictures**.
#
# ## 3 Six examples
#
# Boxes in blue. **Look for** boxes that cut something off, that are much too wide, or that are missing. Then
# look at what is *not* boxed: tables of cooking times, lists of ingredients. A model must learn to leave
# these out.

# %%
shown = np.linspace(0, len(right) - 1, 6).astype(int).tolist()
photographs(
    [boxed(right, row) for row in shown],
    [f"{right.sizes[row][0]}×{right.sizes[row][1]}, {len(right.boxes[row])} box(es)" for row in shown],
)

# %% [markdown]
# ## 4 In numbers
#
# All boxes in two arrays: in pixels, and as shares of their picture's sides.

# %%
sizes = np.array(right.sizes, dtype=float)  # [N, 2] width, height
counts = np.array([len(boxes) for boxes in right.boxes])  # [N]
owner = np.repeat(np.arange(len(right)), counts)  # [boxes] the row of each box
boxes = np.concatenate(right.boxes)  # [boxes, 4] pixels
shares = boxes / np.tile(sizes[owner], 2)  # [boxes, 4] 0 to 1
print(f"{len(right)} pictures, {len(boxes)} boxes")

# %% [markdown]
# **Sizes of the pictures.** Point at a dot to see its name. Is there one camera, or many? Are there giants
# that will cost as much as all the others together?

# %%
figure = go.Figure(
    go.Scatter(x=sizes[:, 0], y=sizes[:, 1], text=list(right.ids), mode="markers", marker={"color": BLUE})
)
figure.update_layout(
    title="Pictures", xaxis_title="width, pixels", yaxis_title="height, pixels", template="none", height=380
)
figure.show()

# %% [markdown]
# **Sizes and counts as histograms.** Left: how many pixels a picture has. Right: how many boxes. If nearly
# every picture has one box, a model that always answers with one is hardly ever punished for it.

# %%
figure, (left, right_axis) = plt.subplots(1, 2, figsize=(8.5, 2.6))
left.hist(sizes.prod(axis=1) / 1e6, bins=15, color=BLUE)
left.set(xlabel="megapixels", ylabel="pictures")
number, rows_with = np.unique(counts, return_counts=True)
right_axis.bar(number, rows_with, color=BLUE, width=0.6)
right_axis.set(xlabel="boxes in a picture", ylabel="pictures", xticks=number)
show(figure)

# %% [markdown]
# **Areas and shapes of the boxes.** Left: the share of the picture that a box covers. Very small boxes need
# many picture tokens (section 7); very large ones are found by a model that always says “everywhere”. Right:
# width over height; the axis is logarithmic, so 2 and ½ are equally far from a square.

# %%
areas = box_areas(shares)
ratios = (boxes[:, 2] - boxes[:, 0]) / (boxes[:, 3] - boxes[:, 1])
figure, (left, right_axis) = plt.subplots(1, 2, figsize=(8.5, 2.6))
left.hist(areas, bins=np.linspace(0, 1, 21), color=BLUE)
left.set(xlabel="share of the picture's area", ylabel="boxes")
right_axis.hist(ratios, bins=np.geomspace(ratios.min(), ratios.max(), 16), color=BLUE)
right_axis.set(xscale="log", xlabel="width / height", ylabel="boxes")
right_axis.set_xticks([0.5, 1, 2], ["½", "1", "2"])
right_axis.minorticks_off()
right_axis.axvline(1, color=GREY, linewidth=1)
show(figure)

# %% [markdown]
# **Where boxes are.** Left: their centres. Right: how often each place of a picture is within a box. A heat
# map with one bright spot in the middle means that much can be guessed without looking.

# %%
centres = (shares[:, :2] + shares[:, 2:]) / 2
grid = (np.arange(40) + 0.5) / 40
across = (shares[:, None, 0] < grid) & (grid < shares[:, None, 2])  # [boxes, 40]
down = (shares[:, None, 1] < grid) & (grid < shares[:, None, 3])
covered = (down[:, :, None] & across[:, None, :]).mean(axis=0)

figure, axes = plt.subplots(1, 2, figsize=(9, 3.4))
bins = 6 if TINY else 20
axes[0].hist2d(centres[:, 0], centres[:, 1], bins=bins, range=[[0, 1], [0, 1]], cmap="magma")
axes[0].invert_yaxis()  # y of a picture goes down
axes[0].set(title="centres", xlabel="x", ylabel="y")
drawn = axes[1].imshow(covered, extent=(0, 1, 1, 0), cmap="magma", vmin=0)
axes[1].set(title="covered by this share of the boxes", xlabel="x")
figure.colorbar(drawn, ax=axes[1])
show(figure)

# %% [markdown]
# **Categories.** The names come from the file. They will stand in the prompt, and in the answer, letter by
# letter; two spellings of one thing would be two things.

# %%
names = Counter(label for labels in right.labels for label in labels)
table(["category", "boxes"], [[name, count] for name, count in names.most_common()])

# %% [markdown]
# **Typical boxes.** Classic detectors start from *anchors*, a few typical shapes, found by clustering the
# widths and heights. Ours writes numbers and has no anchors, but the clusters still say what it will meet.

# %%
spans = shares[:, 2:] - shares[:, :2]
anchors, member = kmeans2(spans, 3, minit="++", rng=0)
order = np.argsort(anchors.prod(axis=1))
table(
    ["typical width", "typical height", "boxes"],
    [[f"{anchors[k, 0]:.0%}", f"{anchors[k, 1]:.0%}", int((member == k).sum())] for k in order],
)

# %% [markdown]
# **What is not looking worth?** Take one box of the data set as the answer to *every* picture. The best such
# box sets the floor: a trained model that does not clearly beat it has learned where tables usually are, and
# not to see them.

# %%
agreement = iou_matrix(shares, shares)
np.fill_diagonal(agreement, 0)  # a box must not be tested on itself
guess_scores = agreement.sum(axis=0) / (len(shares) - 1)
best = int(guess_scores.argmax())
print(f"the best constant answer, {np.round(shares[best], 2).tolist()} (shares): "
      f"mean IoU {guess_scores[best]:.2f}")  # fmt: skip

# %% [markdown]
# ## 5 What belongs together
#
# A product has one barcode, and up to three photographs of the same print. If one of them is trained on and
# another tested, the test asks what the model remembers. **Look at how many test pictures would have a
# sibling in training** if rows were drawn at random, and if they are split by barcode. (The side of a product
# is a function of its content, not of chance; with so few products the shares are far from those asked for.)

# %%
FRACTIONS = {"test": 0.2, "val": 0.1}


def siblings(products: list, chosen: np.ndarray) -> float:
    """Share of the chosen rows whose product is among the others, too."""
    others = {product for product, test in zip(products, chosen, strict=True) if not test}
    return float(np.mean([product in others for product in np.array(products)[chosen]]))


if right.groups:
    generator = np.random.default_rng(0)
    draws = [generator.permutation(len(right)) < FRACTIONS["test"] * len(right) for _ in range(200)]
    at_random = np.mean([siblings(right.groups, chosen) for chosen in draws])
    parts = split_by_group(right, FRACTIONS)
    by_barcode = siblings(right.groups, np.isin(right.ids, parts["test"].ids))
    print(
        f"{len(set(right.groups))} products; pictures: { {name: len(part) for name, part in parts.items()} }"
    )
    print(f"test pictures with a sibling in training: {at_random:.0%} at random, {by_barcode:.0%} by barcode")

# %% [markdown]
# ## 6 Bad rows
#
# Real files are never clean. We break a copy of one good row in eleven ways, and add three that look odd but
# are fine.

# %%
good = copy.deepcopy(first)
width, height = good["width"], good["height"]


def row(name: str, *box: float, **changes) -> dict:
    """A copy of the good row with another name, another box, or anything else changed."""
    objects = {"bbox": [list(box)], "category_id": [0], "category_name": ["nutrition-table"]}
    return {**good, "image_id": name, **({"objects": objects} if box else {}), **changes}


def photograph(picture: Image.Image, **options) -> dict:
    """The cells of a picture."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", **options)
    sides = {"width": picture.width, "height": picture.height}
    return {"image": {"bytes": buffer.getvalue(), "path": "made.jpg"}, **sides}


# %%
lying = Image.Exif()
lying[0x0112] = 6  # the camera was turned: the picture is to be shown upright
half = {"bytes": good["image"]["bytes"][: len(good["image"]["bytes"]) // 2], "path": "half.jpg"}
no_name = {"bbox": [[0.2, 0.2, 0.8, 0.8]], "category_id": [3], "category_name": [None]}
nothing = {"bbox": [], "category_id": [], "category_name": []}
rows = [
    row("fine"),
    row("no-box-at-all-is-fine", objects=nothing),
    row("sticks-out-a-little-is-clipped", 0.2, 0.2, 0.8, 1.004),
    row("inverted", 0.8, 0.2, 0.3, 0.9),
    row("no-area", 0.4, 0.2, 0.4, 0.9),
    row("outside", 0.2, 0.2, 0.8, 1.4),
    row("not-a-number", 0.2, float("nan"), 0.8, 0.9),
    row("three-numbers", 0.2, 0.2, 0.8),
    row("category-without-a-name", objects=no_name),
    row("no-picture", image=None),
    row("half-a-picture", image=half),
    row("another-size-than-it-says", width=width + 50),
    row("a-strip", **photograph(Image.new("RGB", (4000, 16), "white"))),
    row("lies-on-its-side", **photograph(Image.new("RGB", (300, 200), "white"), exif=lying)),
]
broken = WORK / "broken.parquet"
pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(parquet)), broken)

# %% [markdown]
# Each row that cannot be used is named, with what was found. **Read the reasons**: could you mend the file
# with what they say? (The last one is subtle: width and height, and perhaps the boxes, are those of the
# picture as it lies in the file, while everyone will see it upright.)

# %%
mended = read_detection(str(broken), SPEC)
print("used:", ", ".join(mended.ids))
table(["row", "reason"], [[rejected.identifier, rejected.reason] for rejected in mended.rejected])

# %% [markdown]
# With `bad_boxes="skip_box"` a row loses only its bad boxes; with `"error"` the first bad box stops the
# reading. In a run that is `dataset.bad_boxes`, and `dataset.max_bad_fraction` says how many bad rows are
# too many.

# %%
try:
    read_detection(str(broken), SPEC, bad_boxes="error")
except DataError as error:
    print(str(error).replace(str(broken), broken.name))

# %% [markdown]
# ## 7 What the model would see
#
# A model of the Qwen-VL families sees a picture in *tokens*: squares of 28×28 pixels (32×32 in Qwen3-VL). A
# picture is resized so that its sides are multiples of that, and its area is at most `max_pixels`, the
# *pixel budget*. Everything costs by the token: time, memory, and the length of the row.
#
# **Compare the columns**: the same pictures under four budgets. 50,176 pixels are what Qwen's own training
# demos set; 1,003,520 is the library's default; 12,845,056 stands in published checkpoints. The last column
# counts pictures with more than 1,024 tokens: a trainer that cuts rows at that length, as some do by default,
# would cut through the picture.

# %%
BUDGETS = (50_176, 200_704, 1_003_520, 12_845_056)
processors = {family: build_processor(family) for family in FAMILIES}
lines, medians = [], {}
for family, processor in processors.items():
    for budget in BUDGETS:
        set_pixel_budget(processor, 3136, budget, family)
        tokens = token_counts(right.sizes, processor)
        medians[family, budget] = float(np.median(tokens))
        over = np.mean(tokens > 1024)
        lines.append([family, f"{budget:,}", f"{medians[family, budget]:.0f}", tokens.max(), f"{over:.0%}"])
table(["family", "max_pixels", "median tokens", "most tokens", "over 1,024"], lines)

# %% [markdown]
# One table under three budgets, cut out of the picture as the model sees it. **Can you still read it? Can you
# still see where it ends?** Where you can only guess, the model can, too.

# %%
processor = processors["qwen2_vl"]
largest = int((sizes.prod(axis=1) * (counts > 0)).argmax())
seen_tables, titles = [], []
for budget in (50_176, 200_704, 1_003_520):
    seen = planned_size(processor, *right.sizes[largest], max_pixels=budget)
    small = right.rgb(largest).resize(seen, Image.Resampling.BICUBIC)
    place = right.boxes[largest][0] / np.tile(right.sizes[largest], 2) * np.tile(seen, 2)
    seen_tables.append(small.crop(place.astype(int).tolist()))
    titles.append(f"{budget:,} pixels: {seen.width}×{seen.height}, {seen.width * seen.height // 784} tokens")
photographs(seen_tables, titles)

# %% [markdown]
# For every box: how wide is it, in tokens, under each budget? **Look at the left end of the curves**: a thing
# that is less than a token wide can hardly be found, and never exactly.

# %%
figure, axis = plt.subplots(figsize=(6.5, 2.8))
narrow = {}
for budget, colour in zip(BUDGETS, ("#D9480F", "#F59F00", "#1C7ED6", "#5F3DC4"), strict=True):
    set_pixel_budget(processor, 3136, budget, "qwen2_vl")
    seen_widths = np.array([planned_size(processor, *size).width for size in right.sizes])
    in_tokens = np.sort(spans[:, 0] * seen_widths[owner] / 28)
    narrow[budget] = float(np.mean(in_tokens < 4))
    axis.plot(in_tokens, np.linspace(0, 1, len(in_tokens)), color=colour, label=f"{budget:,}")
axis.set(xscale="log", xlabel="width of a box in tokens", ylabel="share of the boxes")
axis.set_xticks([1, 2, 4, 8, 16, 32], [1, 2, 4, 8, 16, 32])
axis.minorticks_off()
axis.legend(title="max_pixels", fontsize=8)
show(figure)

# %% [markdown]
# ## 8 Insights
#
# What to take from here into training. The sentences are put together from the numbers above: with other
# data they say something else.

# %%
budget = next((each for each in BUDGETS if narrow[each] <= narrow[BUDGETS[-1]] + 0.02), BUDGETS[-1])
one_box = float(np.mean(counts == 1))
many = len(set(right.groups)) if right.groups else len(right)
insights = [
    f"**Order.** Read in the wrong order, boxes keep a mean IoU of {overlaps.mean():.2f}, and none raises an "
    "error. Check a picture whose box is far from filling it.",
    f"**Floor.** One constant box has mean IoU {guess_scores[best]:.2f}. Results below about "
    f"{guess_scores[best] + 0.1:.1f} mean little.",
    f"**Counts.** {one_box:.0%} of the pictures have one box, {np.mean(counts > 1):.0%} several, "
    f"{np.mean(counts == 0):.0%} none. "
    + ("A model will hardly learn to say that there is nothing." if not (counts == 0).any() else ""),
    f"**Places.** The busiest place is covered by {covered.max():.0%} of the boxes, a corner by "
    f"{covered[[0, 0, -1, -1], [0, -1, 0, -1]].mean():.0%}.",
    f"**Areas.** A box covers {np.median(areas):.0%} of its picture (median), the smallest "
    f"{areas.min():.1%}, the largest {areas.max():.0%}.",
    f"**Budget.** Beyond `vlm.max_pixels` = {budget:,} little is gained: {narrow[budget]:.0%} of the boxes "
    f"are narrower than four tokens there ({narrow[BUDGETS[0]]:.0%} with {BUDGETS[0]:,} pixels). A picture "
    f"then has {medians['qwen2_vl', budget]:.0f} tokens (median, Qwen2-VL).",
    f"**Independence.** {len(right)} pictures are of {many} products: that many independent cases, no more.",
]
display(Markdown("\n".join(f"- {line}" for line in insights)))

# %% [markdown]
# ## The same from the command line
#
# ```
# edge-glass data build nutrition-scenes --rows 2000
# edge-glass inspect configs/detection_assistant_only.yaml -n 8
# ```
#
# The second shows each picture at the size the model sees, with the boxes read back from the labels that it
# will be trained on. Look there first whenever a run goes wrong.
#
# ## Questions
#
# 1. Boxes in *pixels*, not shares, are read in the wrong order. On which pictures would that be noticed?
# 2. Why does `order_evidence` pass over boxes that nearly fill their picture?
# 3. All pictures have exactly one box. What will the model answer to a picture without any? Which number of
#    the evaluation would tell you?
# 4. The constant guess has a mean IoU of 0.3, your model one of 0.45. What would you look at next?
# 5. Under a small budget the median IoU hardly falls. Whose boxes suffer?
#
# ## Exercises
#
# 1. Build `edge-glass data build emoji-scenes` and set `OWN` to its train.parquet. Which of the insights
#    change, and which budget would be enough?
# 2. Write the boxes as COCO JSON and read them with `coco:FILE.json`. Are they the same to the last digit?
# 3. Rotate a picture and its box by 90°. Which of the checks of section 6 would notice if you forgot the box?
# 4. Draw the heat map of the centres for boxes read in the wrong order. Why is it so hard to see the mistake
#    there?

# %%
scratch.cleanup()
