"""Metrics of answers: one file each, whose name is that of the metric. Shares between 0 and 1.

A module defines `METRIC` (`edge_glass.config.metrics.Metric`) and one of the following. The package that a
metric needs is imported within its functions.

    score(prediction, references) -> float
        of one answer, whatever the others are; the mean over answers is that of a set
    scores(predictions, references) -> float64 [N]
        of each answer among the others; the mean is that of the set
    counts(predictions, references) -> int64 [N, K]   and   of_counts(summed) -> float
        of a whole set, whose counts `[K]` are the sums of those of its answers

`PLACE`, where it is defined, says where the metric stands in tables; the others follow by name.
"""
