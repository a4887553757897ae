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
# # Lesson 4: pictures, sounds and words in one space
#
# Lesson 1 brought pictures and words together. Now a third modality comes in: *sounds*, here spoken names.
# The plan stays the same. Three networks that were trained apart stay as they are, and small heads learn
# one space for all of them:
#
# ```
# picture → frozen encoder → tokens → pooling → head ┐
# sound   → frozen encoder → tokens → pooling → head ┼→ one space: cosine similarity
# words   → frozen encoder → tokens → pooling → head ┘
# ```
#
# New are the sounds themselves, rows that lack a modality, and the question of how a sound finds a picture.
# If you have not met heads, contrastive loss and Matryoshka embeddings, do lesson 1 first.
#
# With the environment variable `EDGE_GLASS_TINY=1` everything is toy-sized: drawn shapes, each with two
# tones instead of a spoken name, and encoders with random weights (seconds, no download). Without it, real
# weights are used, emoji whose names are spoken by synthetic voices, and 10,000 spoken words without
# pictures (some minutes on two cores, most of them for 19,000 sounds). **The outputs stored in
# this file come from the tiny form.**

# %%
import os

TINY = os.environ.get("EDGE_GLASS_TINY", "") == "1"

# %%
import io
import json
import tempfile
import textwrap
import time
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from IPython.display import Audio, Markdown, display
from PIL import Image

warnings.filterwarnings(
    "ignore", message="IProgress not found"
)  # tqdm would like ipywidgets; we do not need it

import edge_glass
from edge_glass.alignment.closed_form import closed_form_retrieval, fit_closed_form
from edge_glass.alignment.losses.infonce import infonce
from edge_glass.alignment.measure.archive import load_archive
from edge_glass.alignment.measure.retrieval import ranks
from edge_glass.alignment.model.cca import LinearMap, fit_shared_space
from edge_glass.alignment.model.loss import excluded_pairs
from edge_glass.alignment.task import AlignmentTask
from edge_glass.core.errors import DataError
from edge_glass.corpora.emoji import build_emoji
from edge_glass.data.features import ItemRef
from edge_glass.data.pictures import decode_image
from edge_glass.encoders.mrl import truncate_and_normalize
from edge_glass.encoders.poolings.codebook import CodebookPooling
from edge_glass.encoders.poolings.mean import MeanPooling
from edge_glass.encoders.poolings.mean_max import MeanMaxPooling

# Paths in the experiment files start at the root of the project.
ROOT = next(folder for folder in [Path.cwd(), *Path.cwd().parents] if (folder / "configs").is_dir())
os.chdir(ROOT)
Path("runs").mkdir(exist_ok=True)
if TINY:
    scratch = tempfile.TemporaryDirectory(dir="runs", prefix="lesson-")
    WORK = Path(os.path.relpath(scratch.name))
    pio.renderers.default = "plotly_mimetype"  # keeps 5 MB of JavaScript out of the stored outputs
else:
    WORK = Path("runs") / time.strftime("lesson-04-%Y%m%d-%H%M%S")
    WORK.mkdir()


# %%
def show_picture(picture: Image.Image) -> None:
    """A picture; in the tiny form in few colours, which keeps the stored outputs small."""
    picture = picture.convert("RGB")
    display(picture.quantize(48, method=Image.Quantize.MAXCOVERAGE, kmeans=1) if TINY else picture)


def show_figure() -> None:
    """The figure that was drawn last."""
    buffer = io.BytesIO()
    plt.savefig(buffer, bbox_inches="tight")
    plt.close()
    show_picture(Image.open(buffer))


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
    show_figure()


def show_mels(mels: list[torch.Tensor], titles: list[str]) -> None:
    """Log-mel spectrograms `[bands, frames]` side by side: time to the right, pitch upwards, NaN green."""
    colours = plt.get_cmap("magma").with_extremes(bad="#4CAF8E")
    _, axes = plt.subplots(1, len(mels), figsize=(3.2 * len(mels), 2.4), squeeze=False, dpi=60)
    for axis, mel, title in zip(axes[0], mels, titles, strict=True):
        extent = (0, mel.shape[1] / 100, 0, mel.shape[0])  # a frame is 10 ms
        axis.imshow(mel, origin="lower", aspect="auto", cmap=colours, extent=extent)
        axis.set_title("\n".join(textwrap.wrap(title, 32)), fontsize=9)
        axis.set_xlabel("seconds")
    axes[0][0].set_ylabel("mel band")
    plt.tight_layout()
    show_figure()


def show_plot(path: Path) -> None:
    """A plot of the run folder, smaller than the file."""
    picture = Image.open(path).convert("RGB")
    picture.thumbnail((720, 720))
    show_picture(picture)


def table(header: list[str], rows: list[list]) -> None:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    display(Markdown("\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)))


# %% [markdown]
# ## 1 What a sound is to a model
#
# ### Samples and their rate
#
# A sound is a list of numbers, the *samples*, and one more number: how many of them make a second, the
# *rate*. The samples alone mean nothing. We look at the test rows of our data: a picture, its name, and the
# name spoken. (In the tiny form, `edge_glass.data.generated` plays a tone for the colour, then one for the
# shape.)

# %%
overrides = ["training.device=cpu"]  # so that the lesson repeats to the last bit, with or without a GPU
if TINY:
    overrides += ["training.epochs=20", "training.eval_epochs=2", "optimization.lr=0.003"]
else:
    emoji = Path("data/emoji")
    train_file = emoji / "train.parquet"
    if not train_file.exists() or "audio" not in pq.read_schema(train_file).names:
        build_emoji(emoji, speech=True)  # as `edge-glass data build emoji --speech` does

config = edge_glass.load_config("configs/trimodal_emoji.yaml", overrides, tiny=TINY)
task = AlignmentTask(config, progress=not TINY)
train_rows, test_rows = task.splits["train"], task.splits["test"]
print({name: len(rows) for name, rows in task.splits.items()}, "rows")

sound = test_rows.sound(0)  # decoded: samples, float32, mono; and their rate in Hz
print(f"{test_rows.captions[0][0]!r}: {sound.samples.shape} {sound.samples.dtype} at {sound.rate} Hz")
print(f"{len(sound.samples)} / {sound.rate} = {sound.seconds:.2f} s, loudest {abs(sound.samples).max():.2f}")
show([test_rows.image(0)], [test_rows.captions[0][0]], columns=1)
display(Audio(sound.samples, rate=sound.rate))
display(Audio(sound.samples, rate=sound.rate * 2))

# %% [markdown]
# Listen to both. The second player has the same samples and says that their rate is twice as high: shorter,
# and an octave higher. No program can notice that, so in this package samples and rate always travel
# together.
#
# ### Resampling
#
# An encoder was made for one rate, Whisper's for 16,000 Hz. Other sounds are *resampled*. Why not simply
# leave out every second sample? A rate of R can hold tones up to R / 2. What is higher must be filtered out
# first, or it comes back as a tone that was never there (*aliasing*). Here are two tones, 1,000 Hz and
# 5,000 Hz, brought from 16,000 to 8,000 samples per second:

# %%
import soxr  # the resampler that the package uses

seconds = np.arange(16_000) / 16_000
tones = (np.sin(2 * np.pi * 1000 * seconds) + np.sin(2 * np.pi * 5000 * seconds)).astype(np.float32) / 2
versions = {
    "16,000 Hz": (tones, 16_000),
    "every second sample: 5,000 Hz becomes 3,000 Hz": (tones[::2], 8_000),
    "resampled: 5,000 Hz is gone": (soxr.resample(tones, 16_000, 8_000, quality="HQ"), 8_000),
}
_, axes = plt.subplots(1, 3, figsize=(10, 2.2), dpi=60)
for axis, (title, (samples, rate)) in zip(axes, versions.items(), strict=True):
    axis.plot(np.fft.rfftfreq(len(samples), 1 / rate), abs(np.fft.rfft(samples)) / len(samples))
    axis.set(title=title, xlabel="Hz", xlim=(0, 8000), ylim=(0, 0.3))
    axis.title.set_fontsize(9)
plt.tight_layout()
show_figure()

# %% [markdown]
# ### Log-mel
#
# A second has 16,000 samples, and a model of language does not want them one by one. So the sound is cut
# into *frames*, one every 10 ms. A Fourier transform says how strong each pitch is in a frame; neighbouring
# pitches are added up into bands that are narrow for low tones and wide for high ones, as in the ear (the
# *mel* scale); then the logarithm, as loudness is heard. The result is a picture of the sound. Below are
# two words, and the first one in another *take* (another voice; in the tiny form only softer):

# %%
audio = task.model.towers["audio"].encoder
print(type(audio) is edge_glass.AudioEncoder, audio.transform_id)
several = [row for row, takes in enumerate(train_rows.keys("audio")) if len(takes) > 1]
first, second = several[0], several[1]
clips = [train_rows.sound(first, 0), train_rows.sound(first, 1), train_rows.sound(second, 0)]
names = [train_rows.captions[row][0] for row in (first, first, second)]
mels = [audio.preprocess(clip) for clip in clips]
print("log-mel [bands, frames]:", [tuple(mel.shape) for mel in mels])
show_mels(mels, [f"{names[0]}, take 0", f"{names[1]}, take 1", f"{names[2]}, take 0"])

# %% [markdown]
# Sounds shorter than 1.5 s are followed by silence up to there. Two takes of one word are not the same
# picture, and yet they have something in common that the third has not. To find that is the encoder's
# work.
#
# `preprocess` takes floating-point mono samples from −1 to 1. Whole numbers, as they stand in WAV files,
# would be 32,768 times too loud; so they are refused rather than believed:

# %%
try:
    audio.preprocess(((sound.samples * 32767).astype(np.int16), sound.rate))
except DataError as error:
    print(error)

# %% [markdown]
# ### Tokens
#
# Whisper is a network that writes down what is said. We use only its encoder. It makes one token of two
# frames, so 50 tokens per second, of 384 numbers each in the smallest Whisper (32 in the tiny form):
# `[1, N, 384]`.
#
# Whisper itself always pads to 30 seconds, 1,500 tokens, most of them about silence. Here a clip is only as
# long as it is; longer ones are cut into windows whose tokens are joined.

# %%
rows = []
for length in (0.3, 1.5, 2.0, 5.0):
    noise = np.random.default_rng(0).normal(size=int(length * 16_000)).astype(np.float32) / 10
    mel = audio.preprocess((noise, 16_000))
    tokens = audio.frozen_forward([(noise, 16_000)]).tokens
    rows.append([f"{length:g} s", tuple(mel.shape), tuple(tokens.shape), f"{tokens.shape[1] / 1500:.1%}"])
table(["sound", "log-mel", "tokens [B, N, D]", "of Whisper's 1,500 tokens"], rows)

# %% [markdown]
# In a batch, short clips are padded to the longest. Whisper has no attention mask and would *hear* the
# padding. So clips of one length are computed together, and the mask says which tokens are real. A sound
# has the same tokens alone and beside a longer one:

# %%
long_clip = (np.tile(clips[2].samples, 12), clips[2].rate)
batch = audio.frozen_forward([clips[0], long_clip])
alone = audio.frozen_forward([clips[0]])
real = batch.mask[0]
print("tokens", tuple(batch.tokens.shape), "real ones", batch.mask.sum(1).tolist())
print("the same as alone:", torch.allclose(batch.tokens[0][real], alone.tokens[0], atol=1e-4))

# %% [markdown]
# ## 2 Three towers, one space
#
# ### A loss for each pair
#
# Three modalities make three pairs, and each pair has the contrastive loss of lesson 1, with a temperature
# of its own: how sharp a difference in cosine is meant to be need not be the same between sounds and words
# as between sounds and pictures. The loss of a step is the weighted sum (`losses.pairs`; a weight of 0
# leaves a pair out).

# %%
table(
    ["pair", "weight", "temperature at first"],
    [
        [name, task.model.weights[name], f"{1 / loss.scale().item():.2f}"]
        for name, loss in task.model.losses.items()
    ],
)
print(task.model.print_parameter_counts())

# %% [markdown]
# ### Rows that lack something
#
# Pictures with spoken names are rare, recordings with a text are common. Throwing away every row that is not
# complete would throw away most of the world. `TriModalDataset` gives of each row what it has:

# %%
towers = task.model.towers
dataset = edge_glass.TriModalDataset(
    train_rows, {"vision": towers["vision"].encoder.preprocess, "audio": audio.preprocess}, training=True
)
chosen = [*range(4), *range(len(train_rows) - 4, len(train_rows))]
items = [dataset[(0, row)] for row in chosen]  # (epoch, row): the draw of captions and takes depends on both
for item in items[3:]:
    print({name: tuple(v.shape) if isinstance(v, torch.Tensor) else v for name, v in item.items()})

# %% [markdown]
# A batch holds each modality's inputs only for the rows that have it. `rows` says which rows of the batch
# these are, `groups` what they show:

# %%
batch = task.collate(items)
for name in task.model.modalities:
    shapes = {key: tuple(value.shape) for key, value in batch[name].items()}
    print(f"{name:7}{shapes}\n       rows {batch['rows'][name].tolist()}")


def group_in(name: str, row: int) -> str:
    """The group of a row of the batch, or that there is none."""
    present = batch["rows"][name].tolist()
    return str(batch["groups"][name][present.index(row)].item()) if row in present else "–"


header = ["row of the batch", *(f"{name} group" for name in task.model.modalities), "caption"]
table(
    header,
    [
        [row, *(group_in(name, row) for name in task.model.modalities), item.get("text", "–")]
        for row, item in enumerate(items)
    ],
)

# %% [markdown]
# Each pair's loss takes the rows that have both of its modalities, so each has its own number of wrong
# answers and its own level of guessing, ln(rows):

# %%
with torch.no_grad():
    loss, report = task.model(batch)
table(
    ["pair", "rows", "loss (untouched heads)", "ln(rows): chance"],
    [
        [
            name,
            round(report[f"ln_batch_{name}"].exp().item()),
            f"{report[f'loss_clip_{name}']:.3f}",
            f"{report[f'ln_batch_{name}']:.3f}",
        ]
        for name in task.model.losses
    ],
)

# %% [markdown]
# In training, batches are sorted by what rows have (all three, or words and sound …). A batch that mixes
# them would leave some pairs with few rows, and few rows mean few wrong answers to learn from. The numbers
# of rows of each kind in the training split:

# %%
kinds = Counter(
    " + ".join(name for name in task.model.modalities if train_rows.keys(name)[row])
    for row in (range(len(train_rows)) if TINY else range(0, len(train_rows), 100))
)
print(dict(kinds), "" if TINY else "(every hundredth row)")

# %% [markdown]
# ### Equal captions are no negatives
#
# Suppose that a batch holds a word twice, spoken by two voices. In the loss's table of cosines, the second
# recording stands beside the first one's caption as a *wrong* answer. But it says the same word! Rows with
# equal groups are therefore left out of each other's wrong answers. We put row 0 into a batch twice, as two
# takes:

# %%
doubled = train_rows.select([0, 1, 2, 0])
two_voices = edge_glass.TriModalDataset(doubled, {"audio": audio.preprocess}, training=True)
items = [two_voices[(0, row)] for row in range(4)]
words_group = torch.tensor([item["groups"]["text"] for item in items])
sound_group = torch.tensor([item["groups"]["audio"] for item in items])
excluded = excluded_pairs(sound_group, words_group)
marks = [
    ["right" if row == column else "left out" if excluded[row, column] else "wrong" for column in range(4)]
    for row in range(4)
]
table(
    ["sound", *(f"caption {column}" for column in range(4))],
    [[f"{row}: {items[row]['text']}", *line] for row, line in enumerate(marks)],
)

# %% [markdown]
# What would it cost? Take a *perfect* model: every sound lies exactly on its caption, different words are
# orthogonal. Without the exclusion its loss is not 0, and the only way to lower it is to tear the two
# recordings of one word apart. (A sound's group is that of its row's first caption: what is said counts, not
# who says it.)

# %%
perfect = F.one_hot(sound_group - sound_group.min()).float()
for name, left_out in (("without exclusion", torch.zeros_like(excluded)), ("with exclusion", excluded)):
    value = infonce(perfect, perfect, torch.tensor(1 / 0.02), left_out)
    print(f"{name:18} loss of the perfect model {value:.4f}")

# %% [markdown]
# ## 3 Pooling a sequence
#
# A clip is a sequence of tokens, a head wants one vector. Each way of getting there forgets something:
#
# | pooling | vector | keeps | forgets |
# |---|---|---|---|
# | `mean` | D | what lasts | what is short; order |
# | `mean_max` | 2 D | also what occurs at any time | how often; order |
# | `codebook` | D + codes | also *which* typical sounds occurred, and how long | order |
# | `perceiver` | D | what training finds useful; order, if it has positions | what training does |
#
# The codebook is made once from the training rows: k-means finds typical tokens, the *codes*, and a clip is
# described by the share of its tokens that lie near each code. It is the oldest trick for bags of things,
# and needs no gradient. So that you can see what a code is, here are the frames of the spectrogram instead
# of tokens (a row of any numbers will do), each clip's loudest place set to 0, so that only the sound counts:

# %%
some = several[: None if TINY else 200]
takes = [[train_rows.sound(row, take) for row in some] for take in (0, 1)]


def loudest_zero(mel: torch.Tensor) -> torch.Tensor:
    """Log-mel `[bands, frames]` → `[frames, bands]`, at most 0."""
    return (mel - mel.max()).T


frames = torch.cat([loudest_zero(audio.preprocess(clip)) for clip in takes[0]])
distinct = frames.unique(dim=0)  # else most codes would be of silence, of which there is most
print(f"{len(frames)} frames, {len(distinct)} of them distinct")
bands = frames.shape[1]
of_frames = CodebookPooling(bands, codes=24, components=16)
of_frames.fit(distinct)

_, axes = plt.subplots(1, 3, figsize=(9.6, 2), sharey=True, dpi=60)
for axis, mel, name, take in zip(axes, mels, names, (0, 1, 0), strict=True):
    described = of_frames(loudest_zero(mel)[None], torch.ones(1, mel.shape[1], dtype=torch.bool))[0]
    axis.bar(range(24), described[bands:] ** 2)  # behind the mean: square roots of the shares
    axis.set_title(f"{name}, take {take}", fontsize=9)
    axis.set_xlabel("code")
axes[0].set_ylabel("share of the frames")
plt.tight_layout()
show_figure()

# %% [markdown]
# Find the code of silence. Which bars do the two takes share, and which has the third clip alone? For the
# experiment the codebook is one of Whisper's tokens:

# %%
features = [audio.frozen_forward(sounds) for sounds in takes]
every_token = torch.cat([part.tokens[part.mask] for part in features])
codebook = CodebookPooling(audio.width, codes=24 if TINY else 512, components=16 if TINY else 128)
codebook.fit(every_token)
print(f"{tuple(every_token.shape)} tokens → {len(codebook.codes)} codes; a clip is", end=" ")
print(tuple(codebook(*alone).shape), f"= {audio.width} of the mean and {len(codebook.codes)} shares")

# %% [markdown]
# ### The Perceiver
#
# A *Perceiver resampler* has a few learned vectors, the *latents*. They are queries: each asks the tokens
# "what have you got for me?" (cross-attention), and is changed by the answers. Whatever the number of
# tokens, as many vectors come out as there are latents:

# %%
torch.manual_seed(0)
resampler = edge_glass.PerceiverResampler(
    audio.width, num_latents=4, depth=1, num_heads=2, positions="fourier", max_tokens=1500
).eval()
batch = audio.frozen_forward([clips[0], long_clip])
with torch.no_grad():
    latents = resampler(*batch)
    from_alone = resampler(*alone)
print(f"tokens {tuple(batch.tokens.shape)} → latents {tuple(latents.tokens.shape)}")
print("padding changes nothing:", torch.allclose(latents.tokens[0], from_alone.tokens[0], atol=1e-4))

noisy = batch.tokens.masked_fill(~batch.mask.unsqueeze(-1), torch.inf)  # whatever stands at padding
with torch.no_grad():
    print("not even infinity:", torch.equal(resampler(noisy, batch.mask).tokens, latents.tokens))

# %% [markdown]
# Where do the latents look? The weights by hand, step for step as in `encoders/perceiver.py`. The keys are
# the tokens and, behind them, the latents themselves: what a latent finds there is what the others know.

# %%
block = resampler.blocks[0]
heads = block.attention.num_heads
with torch.no_grad():
    tokens = resampler.token_norm(alone.tokens) + resampler.positions(alone.mask)
    queries = block.norm(resampler.latents)  # [L, D]
    keys = torch.cat([tokens[0], queries])  # [N + L, D]
    query = block.attention.to_query(queries).unflatten(-1, (heads, -1))  # [L, heads, D / heads]
    key = block.attention.to_key(keys).unflatten(-1, (heads, -1))
    value = block.attention.to_value(keys).unflatten(-1, (heads, -1))
    scores = torch.einsum("lhd,nhd->hln", query, key) / query.shape[-1] ** 0.5
    weights = scores.softmax(dim=-1)  # [heads, L, N + L]
    answers = block.attention.out(torch.einsum("hln,nhd->lhd", weights, value).flatten(1))
    seen = torch.ones(1, len(keys), dtype=torch.bool)
    same = block.attention(queries[None], keys[None], seen)[0]
print("by hand and by the package:", torch.allclose(answers, same, atol=1e-5))

_, axis = plt.subplots(figsize=(9, 2), dpi=60)
shown = axis.imshow(weights.mean(0) * len(keys), aspect="auto", cmap="cividis")
axis.axvline(len(keys) - resampler.num_latents - 0.5, color="white")
axis.set(xlabel="tokens of the clip, then the latents", ylabel="latent", yticks=range(resampler.num_latents))
axis.set_title("weights in multiples of the mean's, untrained", fontsize=9)
plt.colorbar(shown)
show_figure()

# %% [markdown]
# ### Which pooling hears the word, and which the voice?
#
# A question that needs no training: take every word in two takes. Is the nearest of all second takes that
# of the same word? Does the clip played *backwards* have another vector at all?

# %%
poolings = {
    "mean": MeanPooling(),
    "mean_max": MeanMaxPooling(audio.width),
    "codebook": codebook,
    "perceiver, untrained": lambda tokens, mask: resampler(tokens, mask).tokens.mean(1),
}


def comparable(vectors: torch.Tensor) -> torch.Tensor:
    """Every number of `[N, D]` brought to mean 0 and spread 1 over the clips, then rows of norm 1."""
    return F.normalize((vectors - vectors.mean(0)) / (vectors.std(0) + 1e-6), dim=-1)


rows = []
number = np.arange(len(some))
for name, pooling in poolings.items():
    with torch.no_grad():
        vectors = [pooling(*part) for part in features]
        backwards = pooling(alone.tokens.flip(1), alone.mask)
        forwards = pooling(*alone)
    found = ranks(comparable(vectors[0]), comparable(vectors[1]), number, number)
    order = "no" if torch.allclose(forwards, backwards, atol=1e-4) else "yes"
    rows.append([name, vectors[0].shape[1], f"{(found == 1).mean():.2f}", order])
table(["pooling", "numbers", f"same word nearest, of {len(some)}", "knows the order of tokens"], rows)

# %% [markdown]
# In the tiny form two takes differ in loudness alone, so this is easy. But in the full form too (200 names, a
# low voice and a high one) it was 0.98 for the mean and 0.99 for the codebook: Whisper was trained to hear
# words whoever says them, and any pooling keeps that. So this question does not choose a pooling. What a
# head can learn from the vector for words that it has *never heard* does (exercise 3).
#
# ## 4 Three modalities in closed form
#
# Lesson 1 measured training against canonical correlation analysis, a solution by linear algebra alone: the
# directions on which pictures and words correlate most. It knows only two sides. How can it have three?
#
# `fit_shared_space` makes a space with two kinds of axes, *in turn*, so that every Matryoshka prefix has
# both:
#
# | axes | what they are | pictures | words | sounds |
# |---|---|---|---|---|
# | 0, 2, 4, … *seen* | where pictures and words correlate most | ✓ | ✓ | predicted from the sound |
# | 1, 3, 5, … *heard* | where sounds and words correlate most | 0 | ✓ | ✓ |
#
# On the heard axes sounds and words meet, on the seen axes pictures and words. And sounds and pictures?
# Between them stand the words: ridge regression learns to tell from a sound *where its words would lie on
# the seen axes*. With that, a sound stands where its picture is, although no sound was ever compared with a
# picture:
#
# ```
# sound ──ridge──→ place of its words on the seen axes ←──correlation── picture
# ```
#
# Look for yourself. The function asks for its data by pairs, so we can write down what it asked for:

# %%
asked = []
owned = {name: train_rows.keys(name) for name in task.model.modalities}


def paired(first: str, second: str) -> tuple[np.ndarray, np.ndarray]:
    """Normalised features of the training rows that have both modalities, row by row."""
    asked.append((first, second))
    both = [row for row in range(len(train_rows)) if owned[first][row] and owned[second][row]]
    sides = []
    for name in (first, second):
        pooled = torch.from_numpy(task.pooled(name, [ItemRef(train_rows, row) for row in both]))
        with torch.no_grad():
            sides.append(towers[name].normalized(pooled).numpy())
    return sides[0], sides[1]


settings = config.evaluation
strengths = dict(zip(("vision", "text"), settings.closed_form_regularization, strict=True))
strengths["audio"] = settings.closed_form_audio_regularization
maps = fit_shared_space(paired, task.model.modalities, strengths, components=task.model.dimensions[0])
print("pairs it has seen:", asked)

_, axis = plt.subplots(figsize=(8, 1.8), dpi=60)
sizes = np.stack([np.sqrt((maps[name].weights[:, :16] ** 2).sum(0)) for name in task.model.modalities])
axis.imshow(sizes / sizes.max(1, keepdims=True), aspect="auto", cmap="cividis")
axis.set(xticks=range(16), yticks=range(3), yticklabels=task.model.modalities, xlabel="axis of the space")
axis.set_title("how much each modality's map writes to each axis (1: its most)", fontsize=9)
show_figure()

# %% [markdown]
# Pictures write nothing to the heard axes (dark): the words' values there cannot help or hurt them, and
# pictures meet words as well as they would without sounds.
#
# Does the prediction matter? Recall on the test split, with the package's own fit (every take of a sound),
# and once more with the sounds' values on the seen axes taken away:

# %%
closed_form = fit_closed_form(task)
embedded = task.embed(task.model, "test")
heard = closed_form.maps["audio"]
odd = np.arange(heard.weights.shape[1]) % 2
unpredicted = replace(
    closed_form, maps=closed_form.maps | {"audio": LinearMap(heard.weights * odd, heard.offset * odd)}
)
questions = {
    "i2t": "picture → words",
    "t2i": "words → picture",
    "a2t": "sound → words",
    "t2a": "words → sound",
    "v2a": "picture → sound",
    "a2v": "sound → picture",
}
recall = {}
for name, solution in (("closed form", closed_form), ("without the prediction", unpredicted)):
    result = closed_form_retrieval(task, solution, embedded)
    full = max(result.dimensions)
    recall[name] = {one: f"{(result.ranks[one, full] == 1).mean():.3f}" for one in questions}
table(
    ["R@1", *recall],
    [[f"`{one}` {text}", *(recall[name][one] for name in recall)] for one, text in questions.items()],
)
print(f"guessing: {1 / len(test_rows):.3f}")

# %% [markdown]
# Without the prediction a sound has nothing in common with any picture: all cosines are 0, everything is a
# tie, and ties count against the model.
#
# ## 5 Training
#
# With `training.warm_start: closed_form` the heads start at this solution instead of at random, and training
# goes on from there, now with the direct comparison of pictures and sounds too (`losses.pairs`).

# %%
run = edge_glass.train(config, output=WORK / "trimodal", progress=not TINY)
print({name: part["rows"] for name, part in run.results["data"].items()})
for name, key in (("untouched model", "verdict"), ("closed form", "closed_form_verdict")):
    verdict = run.results[key]
    print(
        f"against the {name}: {verdict['status']}, {verdict['metric']} {verdict['difference']:+.3f} "
        f"[{verdict['low']:+.3f}, {verdict['high']:+.3f}]"
    )

# %% [markdown]
# Six directions, each with its 95 % interval. `i` and `v` both stand for the picture: beside words the field
# writes `i2t`, beside sounds `v2a`.


# %%
def with_interval(entry: dict[str, float]) -> str:
    return f"{entry['value']:.3f} [{entry['low']:.3f}, {entry['high']:.3f}]"


models = {"untouched": "baseline", "closed form": "closed_form", "trained": "metrics"}
table(
    ["R@1", *models],
    [
        [
            f"`{one}` {text}",
            *(with_interval(run.results[key][f"{one}_r1"]) for key in models.values()),
        ]
        for one, text in [*questions.items(), ("mean", "of all six")]
    ],
)
print("test rows:", run.results["data"]["test"]["rows"])

# %% [markdown]
# Which directions are hard, and is it the same both ways? (Eight test rows, in the tiny form, tell little;
# the intervals say so.)
# Does training beat the closed form from which it started? If the interval of the difference above contains
# 0, the honest answer is "not shown".
#
# Learning curves. Validation recall in every direction; a click on the legend hides one:

# %%
lines = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
validation = [line for line in lines if "val/mean_r1" in line]
figure = go.Figure()
for one, text in questions.items():
    figure.add_scatter(
        x=[line["step"] for line in validation],
        y=[round(line[f"val/{one}_r1"], 4) for line in validation],
        name=text,
        mode="lines+markers",
    )
figure.update_layout(
    title="Validation, R@1 in six directions",
    xaxis_title="step",
    yaxis={"title": "R@1", "rangemode": "tozero"},
    template="none",
    hovermode="x unified",
)
figure.show()

# %%
visualizer = edge_glass.TrainingVisualizer(run.folder)
show_plot(visualizer.plot_training_curves())
show_plot(visualizer.plot_loss_components())

# %% [markdown]
# The second plot has the parts: the loss of each pair, each pair's temperature, and the signs of collapse
# that lesson 1 explains. Batches of rows without pictures have nothing to say about two of the three pairs.
#
# And the space. Three clouds now; does each modality keep to itself (the *modality gap*), or do they mix?

# %%
show_plot(visualizer.plot_embedding_space())

# %% [markdown]
# ## 6 Search: by a sound, by words, by both
#
# `edge_glass.load` opens the finished run. First **by a sound**, a test row that no model has heard before:

# %%
finder = edge_glass.load(run.folder)
for row in range(2 if TINY else 5):
    hits = finder.search(audio=test_rows.sound(row), k=6)
    print(f"the sound of “{test_rows.captions[row][0]}”")
    show([hit.thumbnail for hit in hits], [f"{hit.caption}\n{hit.split} {hit.score:.2f}" for hit in hits])

# %% [markdown]
# **By words:**

# %%
for query in ["a red circle", "something blue"] if TINY else ["a sad face", "something to eat"]:
    hits = finder.search(query, k=6)
    print(f"“{query}”")
    show([hit.thumbnail for hit in hits], [f"{hit.caption}\n{hit.split} {hit.score:.2f}" for hit in hits])

# %% [markdown]
# **Sound → words:** a small speech recogniser, as long as the word is among the candidates. `←` marks the
# right one.

# %%
captions = [caption[0] for caption in test_rows.captions]
word_vectors = finder.encode_text(captions)
sound_vectors = finder.encode_audio([test_rows.sound(row) for row in range(3)])
for row, scores in enumerate(sound_vectors @ word_vectors.T):
    best = np.argsort(-scores)[:3]
    print("; ".join(f"{scores[i]:.2f} {captions[i]}{' ←' if i == row else ''}" for i in best))

# %% [markdown]
# **By a picture and words together.** "Like this picture, but …" is a query that neither can ask alone. The
# two embeddings are *fused* into one; here simply by the mean of their directions:

# %%
row, words = (5, "a red circle") if TINY else (0, "a red heart")
show([test_rows.image(row)], ["the picture asked with"], columns=1)
for name, query in {"picture alone": None, f"picture + “{words}”": words}.items():
    hits = finder.search(query, image=test_rows.image(row), k=6)
    print(name)
    show([hit.thumbnail for hit in hits], [f"{hit.caption}\n{hit.split} {hit.score:.2f}" for hit in hits])

# %% [markdown]
# Read the scores too. A picture lies nearer to pictures than words do, so in a plain mean the picture pulls
# harder.
#
# A mean treats a clear picture and a mumbled word alike. `MultimodalFusion` can learn more: `concat` (an MLP
# over all of them corrects the mean), `cross_attention` (the mean asks each of them), `gated` (each gets a
# weight, which depends on what they say). All start at the mean, so that before any training they are
# already a sensible query. And a modality that is missing never changes a result:

# %%
width = task.model.dimensions[0]
torch.manual_seed(0)
vectors = {name: torch.randn(5, width) for name in ("vision", "audio", "text")}
mean = torch.stack([F.normalize(part, dim=-1) for part in vectors.values()]).mean(0)
rows = []
for kind in ("concat", "cross_attention", "gated"):
    fusion = edge_glass.MultimodalFusion(width, ["vision", "audio", "text"], kind=kind, num_heads=2).eval()
    with torch.no_grad():
        fused = fusion.fuse(vectors)
        present = {"audio": torch.tensor([False] * 5)}
        two = fusion.fuse({name: vectors[name] for name in ("vision", "text")})
        garbage = fusion.fuse(vectors | {"audio": torch.full((5, width), torch.nan)}, present)
    parameters = sum(parameter.numel() for parameter in fusion.parameters())
    rows.append(
        [
            kind,
            f"{parameters:,}",
            torch.allclose(fused, mean, atol=1e-5),
            torch.allclose(two, garbage, atol=1e-6),
        ]
    )
table(["fusion", f"parameters at width {width}", "starts as the mean", "missing sound = no sound"], rows)

# %% [markdown]
# Fusion is trained beside the pairs: with `fusion.kind` set, every step also asks with two modalities for the
# third, in turn. Then we measure on the test split what words + sound find that words alone do not:

# %%
fused_config = edge_glass.load_config(
    "configs/trimodal_emoji.yaml", [*overrides, "fusion.kind=gated"], tiny=TINY
)
fused_run = edge_glass.train(fused_config, output=WORK / "fused", progress=not TINY)


def picture_recall(folder: Path) -> list[str]:
    """R@1 of pictures asked for by words, by the sound, and by both."""
    archive, model = load_archive(folder, "test"), edge_glass.load(folder).model
    assert np.array_equal(archive.audio_groups, archive.text_groups)  # a sound and words in every test row
    asking = {
        "text": torch.from_numpy(archive.text_embeddings),
        "audio": torch.from_numpy(archive.audio_embeddings),
    }
    with torch.no_grad():
        queries = [asking["text"], asking["audio"], model.fuse(asking)]
    pictures = truncate_and_normalize(torch.from_numpy(archive.image_embeddings))
    found = [
        ranks(truncate_and_normalize(query), pictures, archive.text_groups, archive.image_groups)
        for query in queries
    ]
    return [f"{(rank == 1).mean():.3f}" for rank in found]


table(
    ["run", "words → picture", "sound → picture", "words + sound → picture"],
    [
        ["fused by the mean", *picture_recall(run.folder)],
        ["gated, trained", *picture_recall(fused_run.folder)],
    ],
)

# %% [markdown]
# When is a fused query better than the better of its parts? When they make *different* mistakes. The spoken
# name says nothing that the written one does not, so do not expect wonders here. The full form gave 0.377 for
# words, 0.213 for the sound and 0.367 for both, with and without training the fusion: the weaker half pulls
# the stronger one down. Did the gates learn anything at all?

# %%
gate = edge_glass.load(fused_run.folder).model.fusion.method.gate
print(f"largest weight of the gates: {gate.weight.abs().max().item():.5f} (it was 0 at first)")

# %% [markdown]
# They start at 0 and move at the learning rate of the heads, which start at their solution and are to move
# little. In the full form they get as far as 0.0003, and the gated query is the mean still. A part that was
# trained is not yet a part that has learned: look, before you say that fusion does not help.
#
# ## 7 Changing sounds a little: SpecAugment
#
# A model that has heard few voices learns the voices. *SpecAugment* hides random bands of pitch and random
# stretches of time, so that no single place in the spectrogram can be relied on. Hidden places (green here)
# get the clip's mean. As everything random in this package it is a function of (seed, epoch, row): the same
# row in the same epoch is always the same.

# %%
sounds_only = {"audio": audio.preprocess}
plain = edge_glass.TriModalDataset(train_rows, sounds_only, training=True)
augmented = edge_glass.TriModalDataset(
    train_rows, sounds_only, training=True, audio_augmentation="spec_augment"
)
keys = [(epoch, first) for epoch in range(4)]
hidden = [augmented[key]["mel"] != plain[key]["mel"] for key in keys]
masked = [plain[key]["mel"].masked_fill(gone, torch.nan) for key, gone in zip(keys, hidden, strict=True)]
print(f"{names[0]!r}")
show_mels(masked, [f"epoch {epoch}: {gone.float().mean():.0%} hidden" for epoch, gone in enumerate(hidden)])
print("epoch 0 once more, the same:", torch.equal(augmented[keys[0]]["mel"], augmented[keys[0]]["mel"]))

# %% [markdown]
# (Each epoch also draws one of the takes.) Augmentation has a price: with
# `dataset.audio_augmentation: spec_augment` every sound is another one each time, so features cannot be kept
# on disk, and the encoder runs in every epoch. It pays where the encoder itself is trained
# (`audio_encoder.frozen: false`), or where voices are few.
#
# ## Questions
#
# 1. A colleague's model understands English well and everything from one of his microphones badly. The
#    recordings are 44,100 Hz, his code says 48,000. What would you see in the spectrogram?
# 2. Why has each pair a temperature of its own? What could a single one do wrong?
# 3. Six voices speak each training word. Which of the poolings can, in principle, tell “dog bites man” from
#    “man bites dog”? (Careful: what does a token of Whisper know about its neighbours?)
# 4. In section 4 sounds find pictures without ever having met one. What must be true of the words for that
#    to work? Think of a sound that no word describes.
# 5. Twenty spoken words share a batch, ten of them twice. How many wrong answers has each row?
#
# ## Exercises
#
# 1. **Who needs whom?** Train with `losses.pairs.vision_audio=0`. What do `v2a` and `a2v` lose? And with
#    `losses.pairs.audio_text=0`?
# 2. **Start.** `training.warm_start=none`: how many epochs until training reaches the closed form, if
#    ever? It needs a larger `optimization.lr` then; why?
# 3. **Pooling.** `audio_encoder.pooling_type` `mean`, `codebook` and `perceiver`. Compare `a2t_r1` with its
#    interval and the trained parameters (`parameters.json`).
# 4. **Words without pictures.** Set `dataset.extra_train_parquet=[]` in the full form. What do 10,000 spoken
#    words without pictures do for `a2t`, and what for `a2v`?
# 5. **Voices.** The test voices are none of the training voices. Write down your guess first: how much
#    better would R@1 be with the same ones? Then make such a split and measure.
# 6. **Fusion.** Fuse a picture with the words of *another* row and let the share of the words go from 0 to
#    1. Where does the search turn over from one to the other? Is it at one half? Then train the gates with a
#    larger `optimization.lr`. What do they gain, and what do the heads lose?
# 7. **Your own recordings.** A parquet file with a column of sounds (FLAC or WAV bytes) and a column of
#    captions is enough; look at it with `edge-glass data check`.

# %%
if TINY:
    scratch.cleanup()
else:
    print("the runs of this lesson, each with its report.html, are in", WORK)
