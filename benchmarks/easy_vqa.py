"""easy-VQA: accuracy on its own test split over seeds, and the training speed of a TRM against SmolLM2-135M.

    edge-glass data build easy-vqa
    python benchmarks/easy_vqa.py accuracy [--config easy_vqa_trm] [--seeds 0 1 2] [KEY=VALUE ...]
    python benchmarks/easy_vqa.py speed [--rounds 5] [--threads 2]

`accuracy` trains once per seed and prints mean and spread of VQA accuracy by answer type: of the run, of
what its config compares it with (picture-blind, plain decoders), of the untouched model and of always giving
the most frequent answer. `speed` takes training steps of both models in turns, each with the batch of its
config, on the same questions, and prints samples per second, parameters and their ratios.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import describe

CONFIGS = {"trm": "configs/easy_vqa_trm.yaml", "smollm2": "configs/easy_vqa_smollm2.yaml"}
METRICS = ("vqa_accuracy", *(f"vqa_accuracy/type/{kind}" for kind in ("color", "shape", "yes-no")))


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["accuracy", "speed"])
    parser.add_argument("--config", default="easy_vqa_trm", help="of accuracy")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of accuracy")
    parser.add_argument("--keep", type=Path, help="of accuracy: keep the run folders here")
    parser.add_argument("--rounds", type=int, default=5, help="of speed")
    parser.add_argument("--threads", type=int, default=2, help="of speed")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of accuracy")
    arguments = parser.parse_intermixed_args()
    logging.disable(logging.INFO)
    print(describe())
    if arguments.what == "speed":
        speed(arguments.rounds, arguments.threads)
        return
    with tempfile.TemporaryDirectory() as folder:
        accuracy(arguments.config, arguments.seeds, arguments.overrides, arguments.keep or Path(folder))


def accuracy(config: str, seeds: list[int], overrides: list[str], folder: Path) -> None:
    """Train and print the table."""
    import edge_glass
    from edge_glass.config import load_config
    from edge_glass.evaluation.results import read_results

    found: dict[str, list[dict[str, Any]]] = {}
    for seed in seeds:
        start = time.perf_counter()
        run = folder / f"{config}-{seed}"
        loaded = load_config(Path(f"configs/{config}.yaml"), [f"seed={seed}", *overrides])
        results = edge_glass.train(loaded, output=run, resume="latest", progress=False).results
        print(f"seed {seed}: {time.perf_counter() - start:.0f} s with everything it is compared with")
        found.setdefault("trained", []).append(results)
        for kind in loaded.evaluation.compare_with:
            found.setdefault(kind, []).append(read_results(run / "compared" / kind / "results.json"))
        found.setdefault("untouched", []).append({"metrics": results["baseline"]})
        found.setdefault("most frequent", []).append(results["most_frequent_answer"])
    print(f"\n{'':16s}" + "".join(f"{name.rpartition('/')[2]:>17s}" for name in METRICS), end="")
    print(f"{'trained':>12s}{'seconds':>16s}{'samples/s':>12s}")
    for name, runs in found.items():
        print(f"{name:16s}" + "".join(f"{_spread(runs, metric):>17s}" for metric in METRICS), end="")
        if "cost" in runs[0]:
            cost = runs[0]["cost"]
            seconds = _plus_minus([run["seconds"] for run in runs], 0)
            print(
                f"{cost['trained_parameters']:>12,}{seconds:>16s}"
                f"{statistics.mean(run['cost']['samples_per_second'] for run in runs):>12.0f}",
                end="",
            )
        print()


def _spread(runs: list[dict[str, Any]], metric: str) -> str:
    return _plus_minus([run["metrics"][metric]["value"] for run in runs], 4)


def _plus_minus(values: list[float], digits: int) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.{digits}f} ± {deviation:.{digits}f}"


def speed(rounds: int, threads: int) -> None:
    """Steps of both models in turns: forward, backward and AdamW, features from the cache."""
    import torch

    torch.set_num_threads(threads)
    steps = {name: _training_step(config) for name, config in CONFIGS.items()}
    rates: dict[str, list[float]] = {name: [] for name in CONFIGS}
    for number in range(rounds + 1):
        for name, (step, batch_size, _) in steps.items():
            start = time.perf_counter()
            step(number)
            if number:  # the first round warms up
                rates[name].append(batch_size / (time.perf_counter() - start))
    for name, (_, batch_size, parameters) in steps.items():
        print(
            f"{name:8s} batch {batch_size:4d}: {statistics.median(rates[name]):7.1f} samples/s, "
            f"{parameters['total']:,} parameters, {parameters['trained']:,} of them trained"
        )
    ratios = [one / other for one, other in zip(rates["trm"], rates["smollm2"], strict=True)]
    middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
    print(f"samples/s, TRM over SmolLM2: {middle:.1f} ({low:.1f} to {high:.1f})")
    larger, smaller = steps["smollm2"][2], steps["trm"][2]
    fewer = ", ".join(f"{larger[part] / smaller[part]:.1f} ({part})" for part in ("total", "decoder"))
    print(f"parameters, SmolLM2 over TRM: {fewer}")


def _training_step(config: str) -> tuple[Callable[[int], None], int, dict[str, int]]:
    """A function that takes one training step, its batch size, and the model's parameters."""
    import torch

    from edge_glass.config import load_config
    from edge_glass.instruction.task import InstructionTask

    loaded = load_config(Path(config))
    task = InstructionTask(loaded, progress=False)
    parameters = [one for one in task.model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=loaded.optimization.lr)
    rows: Any = task.rows("train")
    size = loaded.dataset.batch_size

    def step(number: int) -> None:
        batch = rows.__getitems__([(0, (number * size + row) % len(rows)) for row in range(size)])
        task.model.train()
        with task.precision():
            loss, _ = task.loss(task.model, batch, step=number, diagnostics=False)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    counts = {
        "total": sum(one.numel() for one in task.model.parameters()),
        "trained": sum(one.numel() for one in parameters),
        "decoder": sum(one.numel() for one in task.model.decoder.parameters()),
    }
    return step, size, counts


if __name__ == "__main__":
    main()
