"""Names, directions and bootstrap estimates of the retrieval metrics.

A name is `{i2t,t2i,a2t,t2a,v2a,a2v,mean}_{r1,r5,r10,medr}`, with `@DIMENSION` behind it below the full
embedding: `i2t_r1`, `mean_r10@256`. `mean_` is the mean of all directions between two modalities that a model
has; `medr` is the median rank, where less is better. `{at2v,vt2a,va2t}_…` are queries fused from two
modalities.
"""

from __future__ import annotations

import numpy as np

from edge_glass.alignment.measure.retrieval import FUSED_DIRECTIONS, RetrievalResult, recall_at
from edge_glass.evaluation.intervals import SHARE, Estimate, effective_groups, resample_counts

RECALLS: tuple[int, ...] = (1, 5, 10)
MEASURES: tuple[str, ...] = (*(f"r{k}" for k in RECALLS), "medr")


def metric_name(base: str, dimension: int, full: int) -> str:
    """Return `i2t_r1` at the full dimension, `i2t_r1@256` below it."""
    return base if dimension == full else f"{base}@{dimension}"


def retrieval_values(result: RetrievalResult) -> dict[str, float]:
    """Compute all metrics without intervals: cheap enough for every validation."""
    values: dict[str, float] = {}
    for dim in result.dimensions:
        for measure in MEASURES:
            every = []
            for direction in result.directions:
                ranks = result.ranks[direction, dim]
                value = np.median(ranks) if measure == "medr" else recall_at(ranks, int(measure[1:])).mean()
                values[metric_name(f"{direction}_{measure}", dim, result.dimensions[0])] = float(value)
                if direction not in FUSED_DIRECTIONS.values():
                    every.append(float(value))
            values[metric_name(f"mean_{measure}", dim, result.dimensions[0])] = sum(every) / len(every)
    return values


def estimate_retrieval(result: RetrievalResult, samples: int = 2000, seed: int = 0) -> dict[str, Estimate]:
    """Compute all metrics with bootstrap draws over groups: a picture with its captions is drawn as one.

    Estimates of two models on the same groups are paired: `trained["mean_r1"].minus(untouched["mean_r1"])`.
    """
    groups = np.unique(np.concatenate(list(result.query_groups.values())))
    units = {d: np.searchsorted(groups, queries) for d, queries in result.query_groups.items()}
    sizes = {d: np.bincount(unit, minlength=len(groups)).astype(np.float64) for d, unit in units.items()}
    recalls = {
        (d, dim): np.stack([np.bincount(units[d], recall_at(ranks, k), len(groups)) for k in RECALLS], axis=1)
        for (d, dim), ranks in result.ranks.items()
    }
    orders = {key: np.argsort(ranks, kind="stable") for key, ranks in result.ranks.items()}
    parts: dict[str, list[np.ndarray]] = {}
    for counts in resample_counts(len(groups), samples, seed):
        weights = counts.astype(np.float64)
        # A draw of groups may miss every query of a direction that few rows have.
        totals = {d: np.maximum(weights @ size, 1.0) for d, size in sizes.items()}
        for (direction, dim), ranks in result.ranks.items():
            hits = (weights @ recalls[direction, dim]) / totals[direction][:, None]
            order = orders[direction, dim]
            medians = _weighted_medians(ranks[order], counts[:, units[direction][order]])
            for measure, draws in zip(MEASURES, (*hits.T, medians), strict=True):
                name = metric_name(f"{direction}_{measure}", dim, result.dimensions[0])
                parts.setdefault(name, []).append(draws)
    draws_of = {name: np.concatenate(chunks) for name, chunks in parts.items()}
    plain = [d for d in result.directions if d not in FUSED_DIRECTIONS.values()]
    enough: dict[str, float] = {d: effective_groups(sizes[d]) for d in result.directions}
    enough["mean"] = min(enough[d] for d in plain)  # no surer than the direction with the fewest
    last = (1.0, float(max(len(groups), *(ranks.max() for ranks in result.ranks.values()))))
    estimates = {}
    for name, value in retrieval_values(result).items():
        side, _, tail = name.partition("_")
        if side == "mean":
            draws_of[name] = np.mean([draws_of[f"{d}_{tail}"] for d in plain], axis=0)
        bounds = last if tail.startswith("medr") else SHARE
        estimates[name] = Estimate(value, draws_of[name], enough[side], bounds)
    return estimates


def _weighted_medians(sorted_ranks: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the median of each draw, float64 `[b]`; `counts` int `[b, Q]`: how often a rank was drawn."""
    running = np.cumsum(counts, axis=1)
    total, last = running[:, -1:], counts.shape[1] - 1
    lower = np.minimum((running <= (total - 1) // 2).sum(axis=1), last)
    upper = np.minimum((running <= total // 2).sum(axis=1), last)
    return (sorted_ranks[lower] + sorted_ranks[upper]) / 2.0
