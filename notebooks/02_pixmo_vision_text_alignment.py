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
# # Lesson 2: PixMo-style alignment from a parquet file
#
# [PixMo](https://huggingface.co/datasets/allenai/pixmo-cap) is a large set of pictures with captions.
# Sets of this kind usually travel as *parquet*: one file, a column with the encoded pictures, a column
# with the text. This lesson trains on such a file with the recipe of `configs/pixmo_alignment.yaml`:
# attention pooling, a 4096-dimensional embedding with five smaller ones inside, one of them drawn per
# batch, and text dropout. If you have not met heads, contrastive loss and Matryoshka embeddings, do
# lesson 1 first.
#
# With the environment variable `EDGE_GLASS_TINY=1` everything is toy-sized (seconds, no download);
# without it, real weights and emoji in PixMo's form are used (some minutes on two cores). **The outputs
# stored in this file come from the tiny form.**

# %%
import os

TINY = os.environ.get("EDGE_GLASS_TINY", "") == "1"

# %%
import logging
import math
import tempfile
import textwrap
import time
import warnings
from collections import Counter
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from IPython.display import Markdown, display
from PIL import Image

warnings.filterwarnings(
    "ignore", message="IProgress not found"
)  # tqdm would like ipywidgets; we do not need it

import edge_glass
from edge_glass.alignment.measure.archive import load_archive
from edge_glass.alignment.model.loss import excluded_pairs, sampled_dimension
from edge_glass.core.errors import DataError
from edge_glass.corpora.emoji import build_emoji
from edge_glass.data.datasets import collate_samples
from edge_glass.data.features import batch_inputs
from edge_glass.data.generated import generated_splits
from edge_glass.data.pictures import decode_image
from edge_glass.encoders.mrl import truncate_and_normalize
from edge_glass.encoders.poolings.mean import MeanPooling
from edge_glass.tasks.sources import load_encoders

# Paths in the experiment files start at the root of the project.
ROOT = next(folder for folder in [Path.cwd(), *Path.cwd().parents] if (folder / "configs").is_dir())
os.chdir(ROOT)
Path("runs").mkdir(exist_ok=True)
if TINY:
    scratch = tempfile.TemporaryDirectory(dir="runs", prefix="lesson-")
    WORK = Path(os.path.relpath(scratch.name))
    pio.renderers.default = "plotly_mimetype"  # keeps 5 MB of JavaScript out of the stored outputs
else:
    WORK = Path("runs") / time.strftime("lesson-02-%Y%m%d-%H%M%S")
    WORK.mkdir()


# %%
def show(pictures: list, titles: list[str], columns: int = 6) -> None:
    """Pictures in a grid; transparent ones on grey, so that the transparency can be seen."""
    rows = -(-len(pictures) // columns)
    _, axes = plt.subplots(rows, columns, figsize=(1.5 * columns, 2 * rows), squeeze=False, dpi=60)
    for axis in axes.ravel():
        axis.axis("off")
    for axis, picture, title in zip(axes.ravel(), pictures, titles, strict=False):
        picture = picture if isinstance(picture, Image.Image) else decode_image(picture)
        background = Image.new("RGBA", picture.size, "#B8BDC6")
        axis.imshow(Image.alpha_composite(background, picture.convert("RGBA")))
        lines = [part for line in title.split("\n") for part in textwrap.wrap(line, 17)]
        axis.set_title("\n".join(lines[:4]), fontsize=8)
    plt.show()


def show_plot(path: Path) -> None:
    """A plot of the run folder, smaller and in fewer colours than the file."""
    picture = Image.open(path).convert("RGB")
    picture.thumbnail((800, 800))
    display(picture.quantize(40, kmeans=1))


def table(header: list[str], rows: list[list]) -> None:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    display(Markdown("\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)))


# %% [markdown]
# ## 1 A parquet file in PixMo's form
#
# Two columns are enough: `image_bytes` (an encoded PNG, JPEG, WebP, …) and `caption`. We write our own
# file: one row per picture **and caption**, so that a picture with two captions has two rows, as in many
# real sets. And because real files are never clean, two broken rows come with it: a picture that breaks
# off half-way, and a caption of blanks.

# %%
if TINY:
    pairs = [
        (shapes.picture(row), caption)
        for shapes in generated_splits().values()
        for row in range(len(shapes))
        for caption in shapes.captions[row]
    ]
else:
    if not Path("data/emoji/train.parquet").exists():
        build_emoji(Path("data/emoji"))
    pairs = [
        (row["image_bytes"], caption)
        for split in ("train", "val", "test")
        for row in pq.read_table(f"data/emoji/{split}.parquet").to_pylist()
        for caption in [row["caption"], *row["aliases"]]
    ]
good_picture, good_caption = pairs[0]
broken = [(good_picture[: len(good_picture) // 2], "a picture that breaks off"), (pairs[1][0], "   ")]
image_bytes, captions = zip(*pairs, *broken, strict=True)

parquet = WORK / "pixmo_train_with_bytes.parquet"
pq.write_table(pa.table({"image_bytes": list(image_bytes), "caption": list(captions)}), parquet)
print(f"{len(captions)} rows, {parquet.stat().st_size / 1000:,.0f} kB")
print(pq.read_schema(parquet).to_string())

# %% [markdown]
# **To use a file of your own**, leave the cell above out and set `parquet`. Name the columns if they are
# called otherwise: `dataset.image_column`, `dataset.text_column`. Hugging Face's `{bytes, path}` struct
# is understood too. Look at the file before you train:
#
# ```
# edge-glass data check my.parquet
# edge-glass train configs/pixmo_alignment.yaml dataset.train_parquet=my.parquet dataset.text_column=text
# ```
#
# ## 2 Reading it: `PixmoParquetImageTextDataset`
#
# The data set needs the encoder's transform, so we load the encoders of the experiment first. In the tiny
# form `dataset.train_parquet` is dropped and training uses the same drawn shapes in a fixed split.

# %%
overrides = [f"dataset.train_parquet={parquet}"]
if TINY:
    overrides += ["vision_encoder.projection_dim=64", "vision_encoder.mrl_dimensions=[64, 32, 16, 8, 4, 2]"]
    overrides += ["training.epochs=20", "training.eval_epochs=5", "optimization.lr=0.003"]
config = edge_glass.load_config("configs/pixmo_alignment.yaml", overrides, tiny=TINY)
vision, text = load_encoders(config)

dataset = edge_glass.PixmoParquetImageTextDataset(parquet, vision.preprocess, max_bad_fraction=0.05)
item = dataset[0]
print(f"{len(dataset)} usable rows of {len(captions)}")
print({name: tuple(value.shape) if name == "pixels" else value for name, value in item.items()})

# %% [markdown]
# A bad row does not stop the run, and it does not vanish either: the log above names it with its reason. As
# data:

# %%
for row in dataset.table.rejected:
    print(repr(row))

# %% [markdown]
# Many bad rows mean that something is wrong with the file. Above `max_bad_fraction` (1 % unless you say
# otherwise) they are an error. With no bad row allowed:

# %%
logging.getLogger("edge_glass").setLevel(logging.ERROR)  # the bad rows have been named often enough
try:
    edge_glass.PixmoParquetImageTextDataset(parquet, vision.preprocess, max_bad_fraction=0.0)
except DataError as error:
    print(error)

# %% [markdown]
# A wrong column name is answered with the right ones:

# %%
try:
    edge_glass.PixmoParquetImageTextDataset(parquet, vision.preprocess, text_column="captions")
except DataError as error:
    print(error)

# %% [markdown]
# ## 3 Splits by group: `build_image_datasets_from_parquet`
#
# We have one file and need three splits. Drawing rows at random would put one caption of a picture into
# training and another into test: the model would be examined on pictures it has learned by heart. So rows
# that share a picture or a caption form a *group*, and a group stays together. Its side depends on a hash
# of its content alone: no random number, and new rows never move old ones.

# %%
train_set, val_set, test_set = edge_glass.build_image_datasets_from_parquet(
    parquet,
    vision.preprocess,
    max_bad_fraction=0.05,
    text_dropout_prob=config.dataset.text_dropout_prob,
    seed=config.seed,
)
sets = {"train": train_set, "val": val_set, "test": test_set}
hashes = {name: set(part.table.picture_hashes) for name, part in sets.items()}
table(
    ["split", "rows", "different pictures"],
    [[name, len(part), len(hashes[name])] for name, part in sets.items()],
)
shared = hashes["train"] & hashes["test"] | hashes["train"] & hashes["val"] | hashes["val"] & hashes["test"]
print("pictures in more than one split:", len(shared))

# %% [markdown]
# What if rows had been drawn at random? Count the test pictures that would also be in training:

# %%
order = np.random.default_rng(0).permutation(len(dataset))
digests = np.array(dataset.table.picture_hashes)[order]
tenth = len(order) // 10
leaked = np.isin(digests[:tenth], digests[tenth:]).mean()
print(f"random split: {leaked:.0%} of the test rows show a picture that is also in training")

# %% [markdown]
# A batch, as training receives it:

# %%
collate = {"vision": partial(batch_inputs, vision, "vision"), "text": partial(batch_inputs, text, "text")}
batch = collate_samples([train_set[(0, row)] for row in range(6)], collate)
groups = batch["groups"]
print("pixels   ", tuple(batch["vision"]["pixels"].shape))
print("input_ids", tuple(batch["text"]["input_ids"].shape))
print("picture groups", groups["vision"].tolist(), "caption groups", groups["text"].tolist())
first_rows = [decode_image(train_set.table.picture(row)) for row in range(6)]
show(first_rows, [train_set.table.captions[row][0] for row in range(6)])

# %% [markdown]
# Rows of one group are never each other's wrong answers: otherwise two captions of the same picture would
# be pushed apart. Of the pairs in this batch, so many are left out of the comparison:

# %%
print(int(excluded_pairs(groups["vision"], groups["text"]).sum()), "of", 6 * 6 - 6)

# %% [markdown]
# ## 4 Attention pooling
#
# A picture is a grid of tokens. Mean pooling weighs them all the same, the background as much as the
# thing. `pooling_type: simple` learns one query vector q and weighs token k by softmax(q·k/√D). The query
# starts at zero, so training starts from the mean and departs from it only where that pays:

# %%
features = vision.frozen_forward(torch.stack([vision.preprocess(picture) for picture in first_rows[:3]]))
pooling = edge_glass.SimpleAttentionPooling(vision.width)
same = torch.allclose(pooling(*features), MeanPooling()(*features), atol=1e-5)
print(
    f"tokens {tuple(features.tokens.shape)} → {tuple(pooling(*features).shape)}; starts as the mean: {same}"
)

# %% [markdown]
# ## 5 One wide embedding, and smaller ones inside
#
# The projection of the experiment is wide; its first numbers are embeddings of their own. What does a
# million pictures cost in memory?

# %%
dimensions = edge_glass.MRLProjection(vision.width, config.vision_encoder.projection_dim,
                                      config.vision_encoder.mrl_dimensions).dimensions  # fmt: skip
table(
    ["numbers kept", "bytes per picture (float32)", "a million pictures"],
    [[dim, f"{4 * dim:,}", f"{4e6 * dim / 2**30:.2f} GiB"] for dim in dimensions],
)

# %% [markdown]
# ## 6 One dimension per batch
#
# The loss at six dimensions costs six comparisons per step. `losses.sample_single_mrl_dim` draws one
# instead. The draw is a pure function of (seed, step): every process of a distributed run draws the same,
# and a resumed run goes on with the same.

# %%
print("steps 0 to 11:", [sampled_dimension(config.seed, step, dimensions) for step in range(12)])
print("once more:    ", [sampled_dimension(config.seed, step, dimensions) for step in range(12)])
print(
    "in 3,000 steps:", dict(Counter(sampled_dimension(config.seed, step, dimensions) for step in range(3000)))
)

# %% [markdown]
# The Matryoshka part of the loss at a step *is* the loss at the dimension drawn:

# %%
generator = torch.Generator().manual_seed(0)
image, words = torch.randn(2, 16, dimensions[0], generator=generator)
number = torch.arange(16)
sampling = edge_glass.AlignmentLoss(dimensions, sample_single_mrl_dim=True, seed=config.seed)
for step in range(4):
    drawn = sampled_dimension(config.seed, step, dimensions)
    only = edge_glass.AlignmentLoss([drawn], contrastive=0.0)
    _, report = sampling(image, words, number, number, step)
    _, expected = only(image[:, :drawn], words[:, :drawn], number, number)
    print(f"step {step}: dimension {drawn:4}, loss {report['loss_mrl']:.4f} = {expected['loss_mrl']:.4f}")

# %% [markdown]
# ## 7 Text dropout
#
# With `text_dropout_prob: 0.1` a tenth of the captions is replaced by an empty one, drawn anew in each
# epoch. The idea comes from the original project: the model should not be able to lean on the words
# alone. The draw is a function of (seed, epoch), so the same row in the same epoch is always the same:

# %%
row = next(r for r in range(len(train_set)) if train_set[(0, r)]["text"] == "")
print(f"row {row}, epochs 0 to 5:", [train_set[(epoch, row)]["text"] for epoch in range(6)])
print(f"row {row}, once more:    ", [train_set[(epoch, row)]["text"] for epoch in range(6)])
shares = [(train_set.choosers["text"].numbers(epoch) == 0).mean() for epoch in range(50)]
print(f"empty captions in 50 epochs: {np.mean(shares):.3f} of the rows; the test set has", end=" ")
print(sum(test_set[row]["text"] == "" for row in range(len(test_set))))

# %% [markdown]
# An empty caption says nothing about its picture, so what can be learned from such a row? All empty
# captions have the same group: they are not each other's wrong answers. What remains is "this picture
# belongs to the empty caption rather than to the captions of the others". In section 11 we measure what
# comes of it.
#
# ## 8 Training
#
# The same file, the same recipe, in one line.

# %%
run = edge_glass.train(config, output=WORK / "pixmo", progress=not TINY)
print({name: part["rows"] for name, part in run.results["data"].items()})
for name, key in (("untouched model", "verdict"), ("closed form", "closed_form_verdict")):
    verdict = run.results[key]
    print(
        f"against the {name}: {verdict['status']}, {verdict['metric']} {verdict['difference']:+.3f} "
        f"[{verdict['low']:+.3f}, {verdict['high']:+.3f}]"
    )

# %%
visualizer = edge_glass.TrainingVisualizer(run.folder)
show_plot(visualizer.plot_training_curves())
show_plot(visualizer.plot_lr_schedule())

# %% [markdown]
# The loss curve jumps more than in lesson 1: a step at a small dimension has a higher loss than one at a
# large one, and the curve shows whichever was drawn.
#
# What did the attention learn? Bright regions weigh more. The numbers are the smallest and the largest
# weight in multiples of the mean's: near 1 the attention has hardly left the mean, whatever the colours
# suggest. That is so here: one query vector, started at zero, does not come far in a few hundred steps of
# the heads' learning rate.

# %%
finder = edge_glass.load(run.folder)
tower = finder.model.vision_tower
table_of_test = test_set.table
row_of_picture = {digest: row for row, digest in enumerate(table_of_test.picture_hashes)}
shown = [decode_image(table_of_test.picture(row)) for row in list(row_of_picture.values())[:5]]
tokens = tower.encoder.frozen_forward(torch.stack([vision.preprocess(picture) for picture in shown])).tokens
weights = (tokens @ tower.pooling.query.detach() / math.sqrt(tower.encoder.width)).softmax(dim=1)
side = math.isqrt(weights.shape[1])
figure, axes = plt.subplots(1, len(shown), figsize=(1.7 * len(shown), 2), dpi=60)
for axis, picture, weight in zip(axes, shown, weights, strict=True):
    seen = tower.encoder.preprocess.crop(picture)
    axis.imshow(seen)
    extent = (0, seen.width, seen.height, 0)
    axis.imshow(weight.view(side, side), extent=extent, alpha=0.55, cmap="cividis")
    axis.set_title(f"{weight.min() * side**2:.2f} to {weight.max() * side**2:.2f} ×", fontsize=8)
    axis.axis("off")
plt.show()

# %% [markdown]
# ## 9 What do small embeddings cost?
#
# Recall against the numbers kept, with 95 % intervals. The buttons change the metric, a click on the legend
# hides a model. Look for the point at which fewer numbers begin to cost something.

# %%
models = {"trained": "metrics", "untouched": "baseline"}
measures = {
    "mean_r1": "R@1, both directions",
    "mean_r10": "R@10, both directions",
    "t2i_r1": "words → pictures, R@1",
}
figure = go.Figure()
for measure in measures:
    for model_name, key in models.items():
        names = [measure if dim == dimensions[0] else f"{measure}@{dim}" for dim in dimensions]
        entries = [run.results[key][name] for name in names]
        values = np.array([entry["value"] for entry in entries])
        figure.add_scatter(
            x=dimensions,
            y=values.tolist(),
            name=model_name,
            visible=measure == "mean_r1",
            line={"color": "#1F77B4" if model_name == "trained" else "#9AA1AC"},
            error_y={
                "array": [entry["high"] - entry["value"] for entry in entries],
                "arrayminus": [entry["value"] - entry["low"] for entry in entries],
            },
        )
buttons = [
    {
        "label": label,
        "method": "restyle",
        "args": [{"visible": [shown == measure for shown in measures for _ in models]}],
    }
    for measure, label in measures.items()
]
figure.update_layout(
    title="Matryoshka performance on the test split",
    xaxis={"title": "numbers kept", "type": "log", "tickvals": dimensions},
    yaxis={"title": "recall", "rangemode": "tozero"},
    updatemenus=[
        {"buttons": buttons, "type": "buttons", "direction": "right", "y": 1.12, "x": 1, "xanchor": "right"}
    ],
    template="none",
)
figure.show()

# %% [markdown]
# `mrl_performance.png` in the run's `plots/` shows the same, with the closed form and the level of
# guessing.
#
# ## 10 The space, and searching it at several sizes

# %%
show_plot(visualizer.plot_embedding_space())
show_plot(visualizer.plot_similarity_matrix())

# %% [markdown]
# One query at three sizes. The original project keeps the full embedding for decoding (a language model
# that reads it), and searches with a small one.

# %%
queries = ["a red circle", "something blue"] if TINY else ["a sad face", "something to eat"]
sizes = [dimensions[0], dimensions[2], dimensions[-1]]
for query in queries:
    for dim in sizes:
        hits = finder.search(query, k=6, dim=dim)
        print(f"“{query}” with {dim} numbers")
        show([hit.thumbnail for hit in hits], [f"{hit.caption}\n{hit.split} {hit.score:.2f}" for hit in hits])

# %% [markdown]
# Over all captions of the test split: how many of the five pictures that the full embedding finds does a
# small one find too, and how often is the right picture first?

# %%
full_index = torch.from_numpy(np.array(finder.index.embeddings))
test_captions = load_archive(run.folder, "test").captions


def top_five(dim: int) -> np.ndarray:
    queries = torch.from_numpy(finder.encode_text(test_captions, dim))
    return (queries @ truncate_and_normalize(full_index, dim).T).topk(5).indices.numpy()


best = top_five(dimensions[0])
rows = []
for dim in dimensions:
    found = top_five(dim)
    overlap = np.mean([len(set(a) & set(b)) / 5 for a, b in zip(best, found, strict=True)])
    recall = run.results["metrics"]["t2i_r1" if dim == dimensions[0] else f"t2i_r1@{dim}"]["value"]
    rows.append([dim, f"{dim / dimensions[0]:.1%}", f"{overlap:.0%}", f"{recall:.3f}"])
table(["numbers kept", "memory", "same top five as in full", "R@1 (test pictures only)"], rows)

# %% [markdown]
# ## 11 What text dropout does
#
# Three runs that differ in nothing but the dropout. Besides recall, look at where the *empty* caption
# lies: its mean cosine with the test pictures, beside that of wrong captions.

# %%
runs = {config.dataset.text_dropout_prob: run}
for probability in (0.0, 0.5):
    changed = edge_glass.load_config(
        "configs/pixmo_alignment.yaml", [*overrides, f"dataset.text_dropout_prob={probability}"], tiny=TINY
    )
    runs[probability] = edge_glass.train(changed, output=WORK / f"dropout-{probability}", progress=not TINY)

rows = []
for probability, finished in sorted(runs.items()):
    model = edge_glass.load(finished.folder)
    of_test = np.array([split == "test" for split in model.index.splits])
    pictures = torch.from_numpy(np.array(model.index.embeddings[of_test]))
    pictures = truncate_and_normalize(pictures).numpy()
    empty = (pictures @ model.encode_text([""])[0]).mean()
    names = [caption for caption, test in zip(model.index.captions, of_test, strict=True) if test]
    cosines = pictures @ model.encode_text(names).T
    wrong = cosines[~np.eye(len(cosines), dtype=bool)].mean()
    metric = finished.results["metrics"]["mean_r1"]
    recall = f"{metric['value']:.3f} [{metric['low']:.3f}, {metric['high']:.3f}]"
    rows.append([probability, recall, f"{empty:+.3f}", f"{wrong:+.3f}"])
table(
    [
        "text dropout",
        "R@1 (both directions)",
        "cosine: picture, empty caption",
        "cosine: picture, wrong caption",
    ],
    rows,
)

# %% [markdown]
# Eight test pictures are too few to see it, so here is what the full form gave (300 test captions, real
# weights) for dropout 0, 0.1 and 0.5: the cosine of the empty caption with the pictures rose from +0.02
# to +0.09 and +0.20, while wrong captions stayed at 0. The empty caption is drawn towards *every*
# picture: it becomes "some picture", a middle of the space. And R@1 went from 0.274 to 0.252 and 0.224,
# each with an interval of about ±0.05: no sign of a gain, and at one half more likely a loss. In
# retrieval a row without words is mostly a row less to learn from. Text dropout was made for decoders
# that read picture and words together; measure it before you use it here.
#
# ## Exercises
#
# 1. **Your own file.** Take a parquet file with pictures, run `edge-glass data check` on it, then this
#    lesson. Which rows were rejected, and why?
# 2. **Sampling.** Train with `losses.sample_single_mrl_dim=false`. Is the curve of section 9 higher
#    anywhere beyond the intervals? What does a step cost now (`cost` in `results.json`)?
# 3. **Width.** `vision_encoder.projection_dim=512` with `mrl_dimensions=[512, 256, 128]`. The encoders
#    give 1,280 and 384 numbers; what could 4,096 hold that 512 cannot?
# 4. **Pooling.** Compare `pooling_type` `mean`, `simple` and `multihead` on the same split. How many
#    parameters does each train (`parameters.json`)?
# 5. **Two-stage search.** Find 50 candidates with the smallest embedding and rank those with the full
#    one. How much of the full recall comes back?
# 6. **Groups.** Rewrite section 3 with a random split and train on it. How much of the test recall is
#    learned by heart?

# %%
if TINY:
    scratch.cleanup()
else:
    print("the runs of this lesson, each with its report.html, are in", WORK)
