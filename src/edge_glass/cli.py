"""The command line: one short command each, no logic. Heavy imports happen inside the commands."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

import click

from edge_glass import __version__
from edge_glass.errors import EdgeGlassError

SECONDS_TO_SPEAK = 2.0  # an error that all processes meet is said by rank 0; torchrun then ends the others


class Commands(click.Group):
    """Lists commands in the order they are written, which is the order one needs them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="edge-glass")
@click.option("--debug", is_flag=True, help="Show tracebacks and more log lines.")
@click.option("--quiet", "-q", is_flag=True, help="Only warnings, errors and results.")
def cli(debug: bool, quiet: bool) -> None:
    """Train small multimodal models from one YAML file, and see whether training helped.

    \b
    edge-glass data build emoji                     # 1,918 pictures with names
    edge-glass train configs/quickstart.yaml        # align pictures and words
    edge-glass search runs/quickstart "a sad animal"

    \b
    edge-glass data build easy-vqa                  # questions about pictures of shapes
    edge-glass inspect configs/easy_vqa_trm.yaml    # what the model will see
    edge-glass train configs/easy_vqa_trm.yaml      # a small model that answers
    edge-glass answer runs/easy_vqa_trm picture.png "what color is the triangle?"
    """
    quiet = quiet or os.environ.get("RANK", "0") != "0"  # of several processes, one talks
    level = logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO
    logging.basicConfig(format="%(message)s", stream=sys.stderr, level=logging.WARNING)
    logging.getLogger("edge_glass").setLevel(level)


OVERRIDES = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")


@cli.command()
@click.argument("config", type=Path)
@OVERRIDES
@click.option("--tiny", is_flag=True, help="Toy-sized random models and generated rows: seconds, no network.")
@click.option(
    "--resume",
    is_flag=False,
    flag_value="latest",
    metavar="[CHECKPOINT]",
    help="Go on from the newest whole checkpoint, or this one (later ones are then deleted).",
)
@click.option("--output", type=Path, metavar="DIR", help="The run folder; default: output_dir/name.")
@click.option("--fail-on-regression", is_flag=True, help="Exit with 4 when training made the model worse.")
@click.pass_context
def train(
    ctx: click.Context,
    config: Path,
    overrides: tuple[str, ...],
    tiny: bool,
    resume: str | None,
    output: Path | None,
    fail_on_regression: bool,
) -> None:
    """Train the experiment in CONFIG and report whether it helped.

    \b
    edge-glass train configs/quickstart.yaml
    edge-glass train configs/pixmo_alignment.yaml dataset.train_parquet=my.parquet training.epochs=3
    edge-glass train runs/quickstart/config.yaml --resume
    """
    if resume is not None and "=" in resume and not Path(resume).exists():
        overrides, resume = (resume, *overrides), "latest"
    from edge_glass.config import load_config

    loaded = load_config(config, overrides, tiny=tiny)
    from edge_glass.reporting.summary import describe_run
    from edge_glass.tasks.run import train as run

    result = run(loaded, output=output, resume=resume)
    if os.environ.get("RANK", "0") == "0":
        click.echo(describe_run(result.folder))
    if fail_on_regression and result.results["verdict"]["status"] == "worse":
        ctx.exit(4)


@cli.command()
@click.argument("run", type=Path)
@OVERRIDES
@click.option("--split", type=click.Choice(["val", "test"]), default="test", show_default=True)
def evaluate(run: Path, overrides: tuple[str, ...], split: str) -> None:
    """Measure a finished RUN again, on its own data or other files.

    \b
    edge-glass evaluate runs/quickstart
    edge-glass evaluate runs/quickstart --split val
    edge-glass evaluate runs/quickstart dataset.test_parquet=other.parquet
    """
    from edge_glass.reporting.summary import metrics_table
    from edge_glass.tasks.evaluate import evaluate_run

    results = evaluate_run(run, overrides, split)
    click.echo(metrics_table(results))


@cli.command()
@click.argument("run", type=Path)
@click.argument("words", required=False)
@click.option("--image", type=Path, metavar="FILE", help="Search with a picture, alone or beside words.")
@click.option("--audio", type=Path, metavar="FILE", help="Search with a sound (WAV, FLAC, MP3, Ogg).")
@click.option(
    "--pictures", type=Path, metavar="FOLDER", help="Search in this folder instead of the run's pictures."
)
@click.option("-k", default=10, show_default=True, type=click.IntRange(1, 1000), help="How many pictures.")
@click.option("--dim", type=int, help="Matryoshka dimension; default: the full one.")
@click.option("--page", type=Path, metavar="FILE", help="Where the HTML page goes; default: RUN/search.html.")
def search(
    run: Path,
    words: str | None,
    image: Path | None,
    audio: Path | None,
    pictures: Path | None,
    k: int,
    dim: int | None,
    page: Path | None,
) -> None:
    """Find pictures by WORDS, a picture or a sound, or by several of them at once.

    \b
    edge-glass search runs/quickstart "a sad animal"
    edge-glass search runs/quickstart --image photo.jpg
    edge-glass search runs/quickstart "my dog" --pictures ~/Pictures
    edge-glass search runs/trimodal_emoji --audio question.wav
    edge-glass search runs/trimodal_emoji "in the snow" --image dog.jpg
    """
    if words is None and image is None and audio is None:
        raise click.UsageError('give words, as in `search RUN "a sad animal"`, --image FILE or --audio FILE')
    from edge_glass.inference import AlignmentModel
    from edge_glass.reporting.search_page import write_search_page
    from edge_glass.reporting.summary import hits_table

    model = AlignmentModel(run)
    index = model.index_pictures(pictures) if pictures else None
    hits = model.search(words, k, dim, index, image=image, audio=audio)
    click.echo(hits_table(hits))
    asked = [part for part in (words, audio and audio.name, image and image.name) if part]
    shown: Any = model.thumbnail(image) if image is not None and len(asked) == 1 else " + ".join(asked)
    where = write_search_page(page or model.run / "search.html", shown, hits)
    click.echo(f"pictures: {where}")


@cli.command()
@click.argument("run", type=Path)
@click.argument("asked", nargs=-1, metavar="[PICTURE] QUESTION")
@click.option("--audio", type=Path, metavar="FILE", help="A sound that the question is about, too.")
@click.option("--max-new-tokens", type=click.IntRange(1), help="Longest answer in tokens.")
@click.option("--sample", is_flag=True, help="Draw words at random instead of taking the best.")
@click.option("--temperature", type=float, help="Of sampling; below 1 is more careful.")
@click.option("--top-p", type=float, help="Of sampling: only the most probable words, up to this share.")
@click.option("--seed", type=click.IntRange(0), help="Of sampling.")
@click.option("--beams", type=click.IntRange(1), help="Beam search; the answer then comes in one piece.")
@click.option("--no-stream", is_flag=True, help="Print the answer in one piece.")
def answer(
    run: Path,
    asked: tuple[str, ...],
    audio: Path | None,
    sample: bool,
    beams: int | None,
    no_stream: bool,
    **choices: Any,
) -> None:
    """Ask RUN a QUESTION about a PICTURE; the answer is printed while it is written.

    RUN is a run folder, a model folder or what `merge` wrote. Without a picture, leave it out.

    \b
    edge-glass answer runs/easy_vqa_trm picture.png "what color is the triangle?"
    edge-glass answer runs/easy_vqa_smollm2/merged picture.png "is there a circle?" --beams 4
    edge-glass answer runs/trimodal_trm emoji.png "which emoji is it?" --audio spoken.wav
    edge-glass answer runs/easy_vqa_trm/compared/blind "what color is the triangle?"
    """
    forgotten = len(asked) == 1 and os.path.isfile(asked[0])  # noqa: PTH113 - takes questions of any length
    if forgotten or not 1 <= len(asked) <= 2:
        raise click.UsageError('give a picture and a question, as in `answer RUN photo.png "what is it?"`')
    from edge_glass.inference import AnswerModel
    from edge_glass.reporting.inspection_tokens import visible

    model = AnswerModel(run)
    choices |= {"do_sample": sample or None, "num_beams": beams}
    picture = asked[0] if len(asked) == 2 else None
    if picture is None and "vision" in model.model.modalities:
        click.echo("note: this model sees pictures, and the question comes without one", err=True)
    ask: Any = model.answer if no_stream else model.stream
    said = ask(picture, asked[-1], audio, **choices)
    words = False
    for piece in [said] if no_stream else said:
        words = words or bool(piece)
        click.echo(visible(piece, keep=" \n\t\N{ZERO WIDTH JOINER}"), nl=False)
    click.echo()
    if not words:
        click.echo("note: the answer is empty: the model ended it at once", err=True)


@cli.command()
@click.argument("run", type=Path)
@click.option("--output", type=Path, metavar="DIR", help="Where to; default: RUN/merged.")
@click.option(
    "--bound",
    type=click.FloatRange(0),
    help="Largest difference of logits, as a share of the largest; default: 0.001, for bfloat16 0.05.",
)
@click.option(
    "--rows",
    type=click.IntRange(0),
    default=64,
    show_default=True,
    help="Test rows that both models answer; 0 compares logits alone.",
)
def merge(run: Path, output: Path | None, bound: float | None, rows: int) -> None:
    """Write the language model of a LoRA RUN as a plain Hugging Face folder, with the adapters merged.

    Merged and unmerged model are compared first; nothing is written when they answer otherwise.

    \b
    edge-glass merge runs/easy_vqa_smollm2
    edge-glass answer runs/easy_vqa_smollm2/merged picture.png "what color is the triangle?"
    edge-glass merge runs/easy_vqa_smollm2 --output models/shapes --rows 500
    """
    from edge_glass.tasks.merging import merge_run

    merged = merge_run(run, output, bound, rows)
    for line in merged.lines():
        click.echo(line)
    click.echo(f"merged: {merged.folder}")


@cli.command()
@click.argument("config", type=Path)
@OVERRIDES
@click.option("--tiny", is_flag=True, help="Generated rows and a toy encoder.")
@click.option("-n", "count", default=8, show_default=True, type=click.IntRange(1, 1000), help="Samples.")
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="train", show_default=True)
@click.option("--page", type=Path, metavar="FILE", help="Default: output_dir/name/inspect.html.")
def inspect(
    config: Path, overrides: tuple[str, ...], tiny: bool, count: int, split: str, page: Path | None
) -> None:
    """Show samples of an instruction CONFIG as the model receives them, here and as a page.

    The picture after the transform, the prompt, every token and whether it is trained, lengths, and what must
    hold of them. No language model is loaded, only its tokenizer.

    \b
    edge-glass inspect configs/easy_vqa_trm.yaml
    edge-glass inspect configs/trm_vlm_qa.yaml dataset.train_parquet=my.parquet -n 20 --split val
    edge-glass inspect configs/easy_vqa_smollm2.yaml --tiny
    """
    from edge_glass.config import load_config

    loaded = load_config(config, overrides, tiny=tiny)
    from rich.console import Console

    from edge_glass.reporting.inspection import inspection_lines, write_inspection_page
    from edge_glass.tasks.inspecting import inspect_experiment, page_of

    found = inspect_experiment(loaded, count, split)
    Console().print(inspection_lines(found.samples, found.lengths))
    where = write_inspection_page(
        page or page_of(loaded), found.samples, found.title, found.lengths, found.overview
    )
    click.echo(f"page: {where}")


@cli.command()
@click.argument("config", type=Path)
@OVERRIDES
@click.option("--tiny", is_flag=True, help="Toy-sized random models and generated rows.")
@click.option("--output", type=Path, metavar="DIR", help="Folder of all runs; default: output_dir/name.")
def ablate(config: Path, overrides: tuple[str, ...], tiny: bool, output: Path | None) -> None:
    """Run every variant and seed of an ablation, and compare them in one table and one plot.

    A second call goes on where the first stopped.

    \b
    edge-glass ablate configs/mrl_ablation.yaml
    edge-glass ablate configs/mrl_ablation.yaml --tiny
    """
    from edge_glass.config import load_config

    loaded = load_config(config, overrides, tiny=tiny)
    from edge_glass.tasks.ablation import ablate as run

    for line in run(loaded, output=output):
        click.echo(line)


@cli.command()
@click.argument("run", type=Path)
def report(run: Path) -> None:
    """Write the plots and report.html of RUN again."""
    from edge_glass.reporting.report import write_report

    click.echo(write_report(run))


@cli.group(cls=Commands)
def data() -> None:
    """Build or download data sets and check them."""


@data.command()
@click.argument("corpus", type=click.Choice(["emoji", "easy-vqa"]))
@click.option("--output", type=Path, metavar="DIR", help="Default: data/CORPUS.")
@click.option("--speech", is_flag=True, help="Add spoken names, made with libespeak-ng.")
def build(corpus: str, output: Path | None, speech: bool) -> None:
    """Build a data set that installs anywhere.

    \b
    edge-glass data build emoji            # data/emoji/{train,val,test}.parquet
    edge-glass data build emoji --speech   # the same with spoken names, 16 kHz
    edge-glass data build easy-vqa         # questions about 5,000 pictures of shapes
    """
    folder = output or Path("data") / corpus
    if corpus == "easy-vqa":
        if speech:
            raise click.UsageError("--speech is for emoji only")
        from edge_glass.corpora.easy_vqa import build_easy_vqa

        files = build_easy_vqa(folder)
    else:
        from edge_glass.corpora.emoji import build_emoji

        files = build_emoji(folder, speech=speech)
    for file in files.values():
        click.echo(file)


@data.command()
@click.argument("corpus", type=click.Choice(["pixmo-cap", "pixmo-cap-qa", "common-voice", "instruction"]))
@click.option("--output", type=Path, metavar="DIR", help="Default: data/CORPUS.")
@click.option("--limit", type=click.IntRange(1), help="Only the first so many rows of the index.")
@click.option("--index", type=Path, multiple=True, metavar="FILE", help="PixMo: rows from here, not the hub.")
@click.option("--archive", type=Path, metavar="FILE", help="Common Voice: the release, packed or unpacked.")
@click.option("--language", metavar="CODE", help="Common Voice: needed when the release has several.")
@click.option("--annotations", type=Path, multiple=True, metavar="FILE", help="Instruction: LLaVA's JSON.")
@click.option("--image-root", type=Path, metavar="DIR", help="Instruction: the pictures are files here.")
@click.option("--image-url-prefix", metavar="URL", help="Instruction: the pictures are files there.")
@click.option("--retry-rejected", is_flag=True, help="Also try again what was rejected for good.")
@click.option("--delete-parts", is_flag=True, help="Delete the kept pictures once the parquet file is there.")
@click.option("--workers", default=16, show_default=True, type=click.IntRange(1, 256), help="URLs at once.")
@click.option("--per-host", default=4, show_default=True, type=click.IntRange(1, 256), help="Of one host.")
@click.option("--attempts", default=4, show_default=True, type=click.IntRange(1, 20), help="For each URL.")
@click.option("--seconds", default=120.0, show_default=True, type=click.FloatRange(1), help="For one URL.")
@click.option("--max-mb", default=32.0, show_default=True, type=click.FloatRange(0.001), help="For one file.")
@click.option("--allow-private", is_flag=True, hidden=True)
def download(
    corpus: str,
    workers: int,
    per_host: int,
    attempts: int,
    seconds: float,
    max_mb: float,
    allow_private: bool,
    **options: Any,
) -> None:
    """Download a data set of pictures by URL, or read a Common Voice release.

    A second call goes on where the first stopped. Rows that gave no picture are in rejects.csv, with reasons.

    \b
    edge-glass data download pixmo-cap --limit 20000          # data/pixmo-cap/train.parquet
    edge-glass data download pixmo-cap-qa --index rows.parquet --workers 32
    edge-glass data download common-voice --archive cv-corpus-22.0-en.tar.gz
    edge-glass data download instruction --annotations llava.json --image-root coco/train2017
    edge-glass data download instruction --annotations llava.json \\
        --image-url-prefix http://images.cocodataset.org/train2017 --output data/llava
    """
    from edge_glass.corpora.downloading.command import download as run
    from edge_glass.corpora.downloading.policy import Limits

    limits = Limits(
        workers=workers,
        per_host=per_host,
        attempts=attempts,
        total_seconds=seconds,
        max_bytes=int(max_mb * 2**20),
        allow_private=allow_private,
    )
    for line in run(corpus, limits=limits, **options):
        click.echo(line)


@data.command()
@click.argument("files", nargs=-1, required=True, type=Path)
@click.option("--image-column", default="image_bytes", show_default=True)
@click.option("--text-column", default="caption", show_default=True)
@click.option(
    "--rejects",
    type=Path,
    metavar="FILE",
    help="Table of bad rows; default: rejects.csv beside the first file.",
)
@click.pass_context
def check(
    ctx: click.Context, files: tuple[Path, ...], image_column: str, text_column: str, rejects: Path | None
) -> None:
    """Validate every row of parquet FILES; several files are also checked against each other.

    \b
    edge-glass data check data/emoji/train.parquet data/emoji/val.parquet data/emoji/test.parquet
    edge-glass data check data/easy-vqa/train.parquet --text-column question
    """
    from edge_glass.data.check_report import write_rejects
    from edge_glass.data.checking import check_files, split_names

    found = check_files(split_names(files), image_column=image_column, text_column=text_column)
    click.echo("\n".join(found.lines()))
    if found.findings:
        target = rejects or files[0].with_name("rejects.csv")
        write_rejects(found, target)
        click.echo(f"rows: {target}")
    if not found.ok:
        ctx.exit(3)


@cli.group(cls=Commands)
def assets() -> None:
    """Pinned weights and data, fetched by name."""


@assets.command("list")
def assets_list() -> None:
    """Names with source, size and licence."""
    from edge_glass.assets import list_assets
    from edge_glass.reporting.summary import assets_table

    click.echo(assets_table(list_assets()))


@assets.command("fetch")
@click.argument("names", nargs=-1, required=True)
def assets_fetch(names: tuple[str, ...]) -> None:
    """Fetch and verify assets by NAMES."""
    from edge_glass.assets import fetch

    for name in names:
        click.echo(fetch(name))


@assets.command("path")
@click.argument("name")
def assets_path(name: str) -> None:
    """Print the folder of a fetched asset."""
    from edge_glass.assets import path

    click.echo(path(name))


@assets.command("verify")
@click.argument("names", nargs=-1)
@click.pass_context
def assets_verify(ctx: click.Context, names: tuple[str, ...]) -> None:
    """Hash the files of assets (all fetched ones by default)."""
    from edge_glass.assets import ASSETS, is_fetched, verify

    problems = 0
    for name in names or [name for name in ASSETS if is_fetched(name)]:
        found = verify(name)
        problems += len(found)
        click.echo(f"{name}: " + ("; ".join(found) if found else "ok"))
    if problems:
        ctx.exit(2)


@cli.group(cls=Commands)
def cache() -> None:
    """Frozen features, and pictures as they were read."""


@cache.command()
@click.option("--folder", type=Path, help="Default: the shared cache folder.")
def info(folder: Path | None) -> None:
    """What is cached, and how large it is."""
    from edge_glass.assets import cache_root
    from edge_glass.data.feature_cache import cache_entries, cache_sizes
    from edge_glass.reporting.summary import cache_table

    root = folder or cache_root()
    click.echo(cache_table(cache_entries(root)))
    for name, size in cache_sizes(root).items():
        click.echo(f"{root / name}: {size / 2**20:,.1f} MiB")


@cache.command()
@click.option("--folder", type=Path, help="Default: the shared cache folder.")
def clear(folder: Path | None) -> None:
    """Delete all of it. It is computed again when needed; fetched weights and data stay."""
    from edge_glass.assets import cache_root
    from edge_glass.data.feature_cache import clear_cache

    click.echo(f"{clear_cache(folder or cache_root()) / 2**20:.1f} MiB freed")


@cli.group("config", cls=Commands)
def config_group() -> None:
    """Look at experiment files."""


@config_group.command("check")
@click.argument("files", nargs=-1, required=True, type=Path)
@click.option("--tiny", is_flag=True, help="Check what --tiny would run; data files need not be there.")
@click.pass_context
def config_check(ctx: click.Context, files: tuple[Path, ...], tiny: bool) -> None:
    """Check experiment FILES without loading a model."""
    from edge_glass.config import check_files

    failed = 0
    for file, error in check_files(files, tiny=tiny):
        click.echo(f"{file}: ok" if error is None else str(error))
        failed += error is not None
    if failed:
        ctx.exit(2)


@config_group.command("show")
@click.argument("file", type=Path)
@OVERRIDES
@click.option("--tiny", is_flag=True, help="As --tiny would run it.")
def config_show(file: Path, overrides: tuple[str, ...], tiny: bool) -> None:
    """Print an experiment as resolved: base file, overrides and defaults applied."""
    from edge_glass.config import dump_config, load_config

    click.echo(dump_config(load_config(file, overrides, tiny=tiny)), nl=False)


@config_group.command("schema")
@click.argument("file", type=Path, default=Path("configs/schema.json"))
def config_schema(file: Path) -> None:
    """Write the JSON schema for editors."""
    from edge_glass.config import write_json_schema

    write_json_schema(file)
    click.echo(file)


def main() -> None:
    """Run the command line; errors of users end with a message and a code, bugs with a traceback."""
    debug = "--debug" in sys.argv
    try:
        sys.exit(cli.main(standalone_mode=False) or 0)
    except EdgeGlassError as error:
        if debug:
            raise
        if os.environ.get("RANK", "0") != "0":
            time.sleep(SECONDS_TO_SPEAK)
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
