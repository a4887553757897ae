"""Looking at samples, training and measuring."""

from __future__ import annotations

import os
from pathlib import Path

import click

from edge_glass import api
from edge_glass.cli.base import OVERRIDES


@click.command()
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
    loaded = api.load_config(config, overrides, tiny=tiny)
    result = api.train(loaded, output=output, resume=resume)
    from edge_glass.experiment.report import describe_run

    if os.environ.get("RANK", "0") == "0":
        click.echo(describe_run(result.folder))
    if fail_on_regression and result.results["verdict"]["status"] == "worse":
        ctx.exit(4)


@click.command()
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
    results = api.evaluate(run, overrides, split)
    from edge_glass.experiment.report import metrics_table

    click.echo(metrics_table(results))


@click.command()
@click.argument("config", type=Path)
@OVERRIDES
@click.option("--tiny", is_flag=True, help="Generated rows and a toy encoder.")
@click.option("-n", "count", default=8, show_default=True, type=click.IntRange(1, 1000), help="Samples.")
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="train", show_default=True)
@click.option("--page", type=Path, metavar="FILE", help="Default: output_dir/name/inspect.html.")
def inspect(
    config: Path, overrides: tuple[str, ...], tiny: bool, count: int, split: str, page: Path | None
) -> None:
    """Show samples of an instruction or detection CONFIG as the model receives them, here and as a page.

    The picture after the transform, the prompt, every token and whether it is trained, boxes read back from
    the trained tokens, lengths, and what must hold of them. No language model is loaded.

    \b
    edge-glass inspect configs/easy_vqa_trm.yaml
    edge-glass inspect configs/trm_vlm_qa.yaml dataset.train_parquet=my.parquet -n 20 --split val
    edge-glass inspect configs/detection_assistant_only.yaml -n 8
    edge-glass inspect configs/easy_vqa_smollm2.yaml --tiny
    """
    loaded = api.load_config(config, overrides, tiny=tiny, packages=False)
    found = api.inspect(loaded, count, split)
    from rich.console import Console

    from edge_glass.experiment.folder import run_folder_of

    Console().print(found.lines())
    where = found.write_page(page or run_folder_of(loaded) / "inspect.html")
    click.echo(f"page: {where}")


@click.command()
@click.argument("config", type=Path)
@OVERRIDES
@click.option("--tiny", is_flag=True, help="Toy-sized random models and generated rows.")
@click.option("-n", "count", default=8, show_default=True, type=click.IntRange(1, 1000), help="Rows.")
@click.option(
    "--steps", default=600, show_default=True, type=click.IntRange(1), help="Give up after so many."
)
@click.option(
    "--enough",
    default=0.9,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Stop when the primary metric reaches this.",
)
@click.pass_context
def overfit(
    ctx: click.Context,
    config: Path,
    overrides: tuple[str, ...],
    tiny: bool,
    count: int,
    steps: int,
    enough: float,
) -> None:
    """Learn a few rows of CONFIG by heart, or say why not: the first check of any setup.

    Exit code 4 when they are not learned. Nothing is written.

    \b
    edge-glass overfit configs/detection_assistant_only.yaml -n 8
    edge-glass overfit configs/emoji_scenes_qwen2_vl.yaml optimization.lr=1e-3
    """
    found = api.overfit(api.load_config(config, overrides, tiny=tiny), count, steps, enough)
    for line in found.lines():
        click.echo(line)
    if not found.learned:
        ctx.exit(4)


@click.command()
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
    loaded = api.load_config(config, overrides, tiny=tiny)
    from edge_glass.experiment.ablation import ablate as run

    click.echo(run(loaded, output, show=click.echo).page)


@click.command()
@click.argument("run", type=Path)
def report(run: Path) -> None:
    """Write the plots and report.html of RUN again."""
    from edge_glass.experiment.report import write_report

    click.echo(write_report(run))
