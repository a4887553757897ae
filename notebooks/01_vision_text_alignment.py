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
# # Lesson 1: pictures and words in one space
#
# We want to find pictures by words. Two networks that already exist do most of the work: one turns a
# picture into numbers, the other a sentence. They were trained apart, so their numbers have nothing to do
# with each other. We leave both as they are (*frozen*) and train only a small layer, a *head*, on top of
# each, until a picture and its caption land in the same place:
#
# ```
# picture → frozen encoder → tokens → pooling → head ┐
#                                                    ├→ one space: cosine similarity
# caption → frozen encoder → tokens → pooling → head ┘
# ```
#
# You will look at every arrow of this drawing, write the training loop yourself, and then measure honestly
# whether training helped.
#
# The notebook runs in two sizes. With the environment variable `EDGE_GLASS_TINY=1` it uses toy encoders
# with random weights and drawn shapes: seconds, no download. Without it, it uses real weights and 1,918
# emoji: minutes on two cores. **The outputs stored in this file come from the tiny form.**

# %%
import os

TINY = os.environ.get("EDGE_GLASS_TINY", "") == "1"

# %%
import copy
import math
import tempfile
import textwrap
import time
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import torch
import torch.nn.functional as F
from IPython.display import Markdown, display
from PIL import Image
from torch.utils.data import DataLoader

warnings.filterwarnings(
    "ignore", message="IProgress not found"
)  # tqdm would like ipywidgets; we do not need it

import edge_glass
from edge_glass.alignment.losses.infonce import infonce
from edge_glass.alignment.measure.archive import load_archive
from edge_glass.alignment.measure.retrieval import ranks
from edge_glass.alignment.model.loss import effective_rank, off_diagonal_cosine
from edge_glass.alignment.task import AlignmentTask
from edge_glass.corpora.emoji import build_emoji
from edge_glass.data.pictures import decode_image
from edge_glass.encoders.mrl import truncate_and_normalize
from edge_glass.encoders.poolings.mean import MeanPooling
from edge_glass.training.sampler import EpochBatchSampler

# Paths in the experiment files start at the root of the project.
ROOT = next(folder for folder in [Path.cwd(), *Path.cwd().parents] if (folder / "configs").is_dir())
os.chdir(ROOT)
Path("runs").mkdir(exist_ok=True)
if TINY:
    scratch = tempfile.TemporaryDirectory(dir="runs", prefix="lesson-")
    WORK = Path(os.path.relpath(scratch.name))
    pio.renderers.default = "plotly_mimetype"  # keeps 5 MB of JavaScript out of the stored outputs
else:
    WORK = Path("runs") / time.strftime("lesson-01-%Y%m%d-%H%M%S")
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
# ## 1 The experiment
#
# One YAML file says everything about an experiment. We take `configs/base_alignment.yaml`, the plainest
# of them, with larger batches; the strings are overrides, as on the command line.

# %%
overrides = ["training.device=cpu"]  # so that the lesson repeats to the last bit, with or without a GPU
if TINY:
    overrides += ["training.epochs=20", "training.eval_epochs=5", "optimization.lr=0.003"]
else:
    overrides += ["training.epochs=60", "training.eval_epochs=5", "dataset.batch_size=512"]
if not TINY and not Path("data/emoji/train.parquet").exists():
    build_emoji(Path("data/emoji"))

config = edge_glass.load_config("configs/base_alignment.yaml", overrides, tiny=TINY)
for section in ("vision_encoder", "text_encoder", "losses", "optimization"):
    print(section, getattr(config, section).model_dump(), "\n")

# %% [markdown]
# `AlignmentTask` wires data, encoders and model together. It encodes every picture and caption once and
# keeps the features on disk: a frozen encoder always gives the same answer.

# %%
task = AlignmentTask(config, progress=not TINY)
vision, text = task.model.vision_tower.encoder, task.model.text_tower.encoder
untouched = copy.deepcopy(task.model)
for name, rows in task.splits.items():
    print(f"{name:5} {len(rows):5} pairs, for example {list(rows.captions[0])}")

# %% [markdown]
# ## 2 The data as the model sees it
#
# First as we see it. A row is a picture and one or more captions; training draws one of them in each epoch,
# evaluation always takes the first.

# %%
train_rows = task.splits["train"]
pictures = [decode_image(train_rows.picture(row)) for row in range(12)]
show(pictures, [train_rows.captions[row][0] for row in range(12)])

# %% [markdown]
# Then as the encoder sees it. Its own *transform* turns any picture into a square of a fixed size with
# white where it was transparent, and shifts the values so that they lie around 0. A picture that is
# prepared in another way than in the encoder's training is the most common silent mistake in this trade.
# So look.

# %%
print(vision.transform_id)
picture = pictures[0]
pixels = vision.preprocess(picture)  # [3, H, W]
print(f"before: {picture.size[0]}×{picture.size[1]} {picture.mode}, values {picture.getextrema()}")
print(f"after:  {tuple(pixels.shape)} {pixels.dtype}, values {pixels.min():.2f} to {pixels.max():.2f}")
show([picture, vision.preprocess.crop(picture)], ["the file", "what the encoder sees"], columns=2)

# %% [markdown]
# ## 3 Encoders: pictures and words become tokens
#
# The picture encoder gives one vector for each region of the picture, the text encoder one for each piece
# of a word. Both come as `tokens [B, N, D]` with a `mask [B, N]` that says which tokens are real.

# %%
pixels = torch.stack([vision.preprocess(picture) for picture in pictures[:2]])  # [B, 3, H, W]
image_features = vision.frozen_forward(pixels)
print(f"pictures: tokens {tuple(image_features.tokens.shape)}: {vision.num_tokens} regions × {vision.width}")

captions = [train_rows.captions[0][0], train_rows.captions[0][0] + " and something longer"]
tokenized = text.tokenize(captions)
text_features = text.frozen_forward(captions)
print(f"captions: tokens {tuple(text_features.tokens.shape)}, real ones {text_features.mask.sum(1).tolist()}")
print("pieces:  ", text.tokenizer.convert_ids_to_tokens(tokenized["input_ids"][0].tolist()))

# %% [markdown]
# The shorter caption is padded to the length of the longer one. Padding must never change a result: its
# tokens are masked.
#
# Which part of all this will be trained? Only the heads and a temperature.

# %%
print(task.model.print_parameter_counts())

# %% [markdown]
# ## 4 Pooling: many tokens become one vector
#
# The simplest pooling is the mean of the real tokens. By hand and by the package:

# %%
tokens, mask = text_features
by_hand = torch.stack([row[real].mean(0) for row, real in zip(tokens, mask, strict=True)])
pooled = MeanPooling()(tokens, mask)
print(
    tuple(tokens.shape),
    "→",
    tuple(pooled.shape),
    "same as by hand:",
    torch.allclose(by_hand, pooled, atol=1e-6),
)

alone = MeanPooling()(*text.frozen_forward(captions[:1]))
print("the same without the longer neighbour:", torch.allclose(alone[0], pooled[0], atol=1e-4))

# %% [markdown]
# ## 5 The head, and Matryoshka embeddings
#
# A head maps the pooled vector into the shared space. The embedding is a *Matryoshka*: its first numbers
# are an embedding of their own. A small one is found by **cutting first and normalising then**. In the
# other order the vector is too short, and a dot product is no longer a cosine:

# %%
with torch.no_grad():
    projected = task.model.vision_tower.embed(image_features)  # pooling and head in one
print("dimensions:", task.model.dimensions, "projected:", tuple(projected.shape))
small = task.model.dimensions[-1]
right = truncate_and_normalize(projected, small)
wrong = F.normalize(projected, dim=-1)[:, :small]
print(f"cut, then normalise: {tuple(right.shape)}, length {right.norm(dim=-1).tolist()}")
print(f"normalise, then cut: {tuple(wrong.shape)}, length {wrong.norm(dim=-1).tolist()}")

# %% [markdown]
# ## 6 The loss
#
# Take a batch of B pairs. Compare every picture with every caption: a B × B table of cosines. The right
# pairs are on its diagonal. Read a row as an exam question, "which of these B captions belongs to this
# picture?", and a column as the opposite question. Cross entropy grades the answers; the temperature says
# how sharp a difference in cosine is meant to be. That is *InfoNCE*.
#
# A batch holds the inputs of each modality under its name. Under `groups` it has a number for what each row
# shows: equal numbers mean the same picture or the same caption. The model has one loss for each pair of
# modalities; here there is one pair, `vision_text`.

# %%
rows = [(0, index) for index in range(config.dataset.batch_size)]  # (epoch, row)
batch = task.train_dataset.__getitems__(rows[: len(train_rows)])
with torch.no_grad():
    image = task.model.vision_tower(batch["vision"])
    words = task.model.text_tower(batch["text"])
groups = batch["groups"]["vision"], batch["groups"]["text"]
cosines = truncate_and_normalize(image) @ truncate_and_normalize(words).T
logits = cosines / config.losses.temperature
target = torch.arange(len(logits))
by_hand = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

_, report = task.model.losses["vision_text"](image, words, *groups)
print(f"by hand {by_hand:.4f}, AlignmentLoss {report['loss_clip']:.4f}")

# %% [markdown]
# (When the two differ a little, the batch holds rows with the same picture or the same caption. They are no
# wrong answers to each other, and the package leaves them out.)
#
# **Where is chance?** A model to which all captions are equally likely gives the right one the
# probability 1/B, and its loss is −ln(1/B) = ln(B). So the loss depends on the batch size, and a loss of
# 4 may be hopeless or good:

# %%
for size in (2, 8, 64, 512):
    same = F.normalize(torch.ones(size, 16), dim=-1)  # every embedding the same
    loss = infonce(same, same, torch.tensor(1 / 0.07), torch.zeros(size, size, dtype=torch.bool))
    print(f"batch {size:3}: loss of a model that cannot tell {loss:.4f}, ln(batch) {math.log(size):.4f}")
print(f"our untouched model: {report['loss_clip']:.4f}, ln(batch) {report['ln_batch']:.4f}")

# %% [markdown]
# An untouched model may even stand *above* ln(B): its similarities are not equal but random, and the
# temperature makes that confident nonsense.
#
# The whole loss of an experiment is `contrastive · L(full) + mrl · mean of L(d) over all dimensions d`,
# here with the weights below. At chance it is their sum times ln(B).

# %%
print(f"contrastive {config.losses.contrastive}, mrl {config.losses.mrl}, dimensions {task.model.dimensions}")

# %% [markdown]
# ## 7 Measure before you train
#
# R@1 is the share of questions whose right answer comes first. Guessing gives about 1 / number of
# candidates.

# %%
before = task.evaluate(task.model, "val")
print(f"untouched, validation: R@1 {before['mean_r1']:.3f}; guessing {1 / len(task.splits['val']):.3f}")

# %% [markdown]
# ## 8 Training, written out by hand
#
# This is all there is to it.

# %%
model = task.model.train()
trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
settings = config.optimization
optimizer = torch.optim.AdamW(trained, settings.lr, settings.betas, weight_decay=settings.weight_decay)
sampler = EpochBatchSampler(len(task.train_dataset), config.dataset.batch_size, config.seed)
loader = DataLoader(task.train_dataset, batch_sampler=sampler, collate_fn=task.collate)
history, validation = [], []
for epoch in range(config.training.epochs):
    sampler.epoch = epoch  # the order is a function of (seed, epoch)
    for batch in loader:
        image, words = model.vision_tower(batch["vision"]), model.text_tower(batch["text"])
        groups = batch["groups"]["vision"], batch["groups"]["text"]
        loss, report = model.losses["vision_text"](image, words, *groups, step=len(history))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, settings.max_grad_norm)
        optimizer.step()
        history.append({name: value.item() for name, value in report.items()})
    if epoch % 2 == 1:
        validation.append({"step": len(history), **task.evaluate(model, "val")})
print(f"{len(history)} steps; validation R@1 {before['mean_r1']:.3f} → {validation[-1]['mean_r1']:.3f}")

# %% [markdown]
# Hover over the curves; click on a name in the legend to hide it. Where is the loss in relation to
# ln(batch)? When does the validation loss stop falling while the training loss goes on? That gap is
# overfitting.

# %%
steps = list(range(1, len(history) + 1))
figure = go.Figure()
for name, label in (
    ("loss_clip", "full embedding"),
    ("loss_mrl", "Matryoshka"),
    ("ln_batch", "ln(batch): chance"),
):
    dash = "dot" if name == "ln_batch" else "solid"
    values = [round(line[name], 4) for line in history]
    figure.add_scatter(x=steps, y=values, name=label, line={"dash": dash}, mode="lines")
figure.add_scatter(
    x=[line["step"] for line in validation],
    y=[round(line["loss_clip"], 4) for line in validation],
    name="validation, full embedding",
    mode="lines+markers",
)
figure.update_layout(
    title="The loop by hand", xaxis_title="step", yaxis_title="loss", template="none", hovermode="x unified"
)
figure.show()

# %% [markdown]
# Validation batches hold as many pairs as training batches, or fewer when the split is smaller; compare
# losses only where ln(batch) is the same. Recall has no such trap, but depends on the number of candidates.
#
# ## 9 The same in one line
#
# `edge_glass.train` does the same and what a loop by hand lacks: warm-up and schedule, checkpoints that
# resume to equal weights, the untouched model and a closed form as yardsticks, plots, an HTML report.

# %%
run = edge_glass.train(config, output=WORK / "run", progress=not TINY)
print(sorted(path.name for path in run.folder.iterdir()))

# %%
visualizer = edge_glass.TrainingVisualizer(run.folder)
show_plot(visualizer.plot_training_curves())
show_plot(visualizer.plot_loss_components())

# %% [markdown]
# ## 10 Did training help?
#
# Three models answered the same questions on the test split, which nobody has looked at so far: the
# untouched model, the trained one, and a *closed form*: canonical correlation analysis, which needs no
# training at all, only linear algebra. A trained head that does not reach it has learned nothing worth
# its time, and on a thousand pairs that is a real danger.
#
# Behind each number stands its 95 % interval: draw the test pictures again with replacement, 2,000 times
# (100 in the tiny form), and look where the middle 95 % of the results fall.

# %%
results = run.results


def with_interval(entry: dict[str, float]) -> str:
    return f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]"


small_name = f"mean_r1@{task.model.dimensions[-1]}"
names = ["i2t_r1", "t2i_r1", "mean_r1", "mean_r10", small_name]
models = {"untouched": "baseline", "closed form": "closed_form", "trained": "metrics"}
table(
    ["metric", *models],
    [
        [
            name,
            *(with_interval(results[key][name]) if name in results[key] else "–" for key in models.values()),
        ]
        for name in names
    ],
)
print("test pairs:", results["data"]["test"]["rows"])
for name, key in (("untouched model", "verdict"), ("closed form", "closed_form_verdict")):
    verdict = results[key]
    print(
        f"against the {name}: {verdict['status']}, {verdict['metric']} {verdict['difference']:+.3f} "
        f"[{verdict['low']:+.3f}, {verdict['high']:+.3f}]"
    )

# %% [markdown]
# `i2t` asks with a picture for its caption, `t2i` the other way round, `mean` is the mean of both.
#
# The verdict does not compare two intervals. It is *paired*: both models are measured on the same draws,
# and the interval is that of the difference. A hard set of questions pulls both down, and the difference
# stays. With few test pictures the intervals are wide: a difference between two models may then be luck.
#
# ## 11 What the space looks like
#
# The plane on which the embeddings spread most (principal components). Circles are pictures, triangles
# captions. Hover to read them: what lies near what?

# %%
archive = load_archive(run.folder, "test")
images = truncate_and_normalize(torch.from_numpy(archive.image_embeddings))
texts = truncate_and_normalize(torch.from_numpy(archive.text_embeddings))
group_of = {int(group): row for row, group in enumerate(archive.text_groups)}
caption_of_image = [archive.captions[group_of[int(group)]] for group in archive.image_groups]

points = torch.cat([images, texts])
points = points - points.mean(0)
plane = points @ torch.linalg.svd(points, full_matrices=False).Vh[:2].T
figure = go.Figure()
parts = (
    ("pictures", plane[: len(images)], caption_of_image, "circle"),
    ("captions", plane[len(images) :], archive.captions, "triangle-up"),
)
for name, xy, labels, symbol in parts:
    x, y = xy.numpy().round(4).T.tolist()
    figure.add_scatter(
        x=x, y=y, text=labels, name=name, mode="markers", marker={"symbol": symbol, "size": 8},
        hovertemplate="%{text}",
    )  # fmt: skip
figure.update_layout(title="Pictures and captions, first two principal components", template="none")
figure.show()

# %% [markdown]
# Often the two clouds do not mix: the *modality gap*. Search does not mind, as it only compares pictures
# with one another under the same words.
#
# The similarity matrix shows the same in numbers: bright on the diagonal is what we want.

# %%
show_plot(visualizer.plot_similarity_matrix())

# %% [markdown]
# ## 12 Collapse: how a model fails, and how to see it
#
# The worst failure is a model that says the same for everything. Three signs tell, and training logs all of
# them: the *cosine of wrong pairs* (`off_diagonal_cosine`) goes to 1, the *effective rank* (how many
# directions the embeddings really use) goes to 1, the loss sticks at ln(batch). To see them, we push all
# embeddings towards one common direction:


# %%
def signs(image: torch.Tensor, text: torch.Tensor, name: str) -> list[str]:
    """What a set of pairs looks like to the four measures; inputs are `[N, D]`."""
    image, text = truncate_and_normalize(image), truncate_and_normalize(text)
    number = torch.arange(len(image))
    no_exclusions = torch.zeros(len(image), len(image), dtype=torch.bool)
    loss = infonce(image, text, torch.tensor(1 / config.losses.temperature), no_exclusions)
    recall = (ranks(text, image, number, number) == 1).mean()
    cosine, rank = off_diagonal_cosine(image, text), effective_rank(image)
    return [
        name,
        f"{cosine:.3f}",
        f"{rank:.1f}",
        f"{loss:.3f}",
        f"{math.log(len(image)):.3f}",
        f"{recall:.3f}",
    ]


paired_images = images[[list(archive.image_groups).index(group) for group in archive.text_groups]]
common = F.normalize(torch.ones(1, images.shape[1]), dim=-1)
columns = ["embeddings", "cosine of wrong pairs", "effective rank", "loss", "ln(N)", "R@1"]
table(
    columns,
    [
        signs(paired_images + push * common, texts + push * common, f"pushed by {push:g}")
        for push in (0, 1, 3, 10, 100, 1e6)
    ],
)

# %% [markdown]
# Note that recall is the *last* to notice: a ranking looks at differences, however small they have
# become. It breaks down only when the differences drown in rounding errors. (Then everything is a tie,
# and ties count against the model; otherwise a model that says the same for everything would have R@1 =
# 1.) So watch the cosine and the rank, not recall alone.
#
# How does a model get there? Take away the wrong answers. Here the loss is only "a picture and its caption
# should be alike". It falls to almost 0, a success by its own measure, while all pictures move together:

# %%
pulled = copy.deepcopy(untouched).train()
heads = [parameter for parameter in pulled.parameters() if parameter.requires_grad]
optimizer = torch.optim.AdamW(heads, lr=0.01)
batch = task.train_dataset.__getitems__([(0, index) for index in range(min(256, len(train_rows)))])
for step in range(101):
    image, words = pulled.vision_tower(batch["vision"]), pulled.text_tower(batch["text"])
    loss = (1 - F.cosine_similarity(image, words)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if step % 50 == 0:
        print(f"step {step:3}: loss {loss.item():.4f}")


def test_signs(model: torch.nn.Module, name: str) -> list[str]:
    space = task.embed(model, "test")
    shown, said = space["vision"], space["text"]
    order = [list(shown.groups).index(group) for group in said.groups]
    return signs(torch.from_numpy(shown.vectors[order]), torch.from_numpy(said.vectors), name)


table(
    columns,
    [
        test_signs(untouched, "untouched"),
        test_signs(pulled, "only pulled together"),
        test_signs(task.model, "contrastive (the loop by hand)"),
    ],
)

# %% [markdown]
# Pulling right pairs together and pushing wrong ones apart are both needed. The wrong answers of the
# batch do the pushing, which is why batch size matters here more than elsewhere.
#
# ## 13 Use it
#
# `edge_glass.load` opens a finished run. It needs nothing but the run's folder.
#
# **Words → pictures.** The run's own pictures are searched; the split stands below each, because finding a
# training picture proves little.

# %%
finder = edge_glass.load(run.folder)
queries = (
    ["a red circle", "something blue", "ring"]
    if TINY
    else ["a sad face", "something to eat", "an animal that lives in the sea", "how to travel"]
)
for query in queries:
    hits = finder.search(query, k=6)
    print(f"“{query}”")
    show([hit.thumbnail for hit in hits], [f"{hit.caption}\n{hit.split} {hit.score:.2f}" for hit in hits])

# %% [markdown]
# **Picture → words.** Test pictures against all test captions; `←` marks the right one.

# %%
test_rows = task.splits["test"]
test_captions = [row[0] for row in test_rows.captions]
caption_vectors = finder.encode_text(test_captions)
for row in range(3):
    vector = finder.encode_images([test_rows.picture(row)])[0]
    scores = caption_vectors @ vector
    show([test_rows.picture(row)], [""], columns=1)
    ranking = np.argsort(-scores)
    print(f"right: “{test_captions[row]}”, at place {list(ranking).index(row) + 1} of {len(ranking)}")
    for place in ranking[:5]:
        print(f"  {scores[place]:.2f} {test_captions[place]}{'  ←' if place == row else ''}")

# %% [markdown]
# **Picture → pictures.** A query may be a picture too; the first hit is the picture itself.

# %%
hits = finder.search(test_rows.picture(0), k=6)
show([hit.thumbnail for hit in hits], [f"{hit.caption}\n{hit.score:.2f}" for hit in hits])

# %% [markdown]
# ## Exercises
#
# Change the `overrides` at the top and run again, or use `edge-glass train configs/base_alignment.yaml
# KEY=VALUE`.
#
# 1. **Batch size.** Try `dataset.batch_size=8` and `64`. Why can the two losses not be compared? Can R@1?
# 2. **Temperature.** Start at `losses.temperature=0.5`, then `0.01`. What does the loss of the untouched
#    model do, and why? Where does the learned temperature end (`metrics.csv`)?
# 3. **Head.** `vision_encoder.head.kind=mlp`, likewise for the text encoder. More parameters: better on
#    the training split, on the test split, or both? Look at the intervals before you answer.
# 4. **Loss.** `losses.kind=siglip` asks B² yes-or-no questions instead of 2B multiple-choice ones. Why is
#    ln(batch) no yardstick for it?
# 5. **Collapse.** Add a weight `w` to the loss by hand: `w · (1 − cosine of right pairs) + (1 − w) ·
#    InfoNCE`. At which `w` does the effective rank break down?
# 6. **Better than the plain head.** Read the comments in `configs/quickstart.yaml` and train it. Its
#    heads start at the closed form instead of at random. What does its verdict against the closed form
#    say now?
# 7. **Your own pictures.** Put them into a folder with a file `captions.csv` (columns `file_name`,
#    `caption`) and set `dataset.image_folder` and `dataset.metadata_file`. How many test pictures do you
#    need until the interval of R@1 is 0.1 wide?

# %%
if TINY:
    scratch.cleanup()
else:
    print("the runs of this lesson, each with its report.html, are in", WORK)
