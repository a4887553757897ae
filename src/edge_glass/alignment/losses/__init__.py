"""Contrastive losses, one file each: `losses.kind` in an experiment file is the name of such a file.

Such a file defines two functions:

- `start(temperature) -> dict[str, float]`: the learned numbers and where they start; `logit_scale`, the
  logarithm of the inverse temperature, is among them;
- `losses(cuts, scale, **learned) -> list[Tensor]`: the loss of the same rows at several dimensions, one
  scalar each. `cuts` are `Rows` (`alignment/model/loss.py`) of norm 1, `scale` is the inverse temperature,
  `learned` are the other numbers of `start`. It is the part of this process's rows: the parts of all sum to
  the loss of the batch.

Example:
    >>> # edge_glass/alignment/losses/distance.py
    >>> def start(temperature):
    ...     return {"logit_scale": 0.0}
    >>> def losses(cuts, scale):
    ...     return [(cut.x - cut.y[cut.shares.mine]).square().sum() / len(cut.y) for cut in cuts]
"""
