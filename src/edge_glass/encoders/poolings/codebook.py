"""A codebook of sounds: how often each of some typical tokens occurs in a clip."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from edge_glass.core.errors import DataError
from edge_glass.encoders.pooling import Pooling, PoolingOptions

ITERATIONS = 8
RIDGE = 0.1  # of the mean variance: directions below it are noise and are not blown up
SOFTNESS = 0.1  # of the median squared distance of a token to its nearest code
FLOOR = 0.01  # of the mean squared length: that median when nearly every token has a code of its own
ROWS = 4096  # tokens compared with all codes at a time


class CodebookPooling(Pooling):
    """The mean of the real tokens, beside the share of them that is near each code of a codebook.

    A mean over time blurs a word's sounds into one; the histogram keeps which of them occurred, though not in
    which order. Nothing is trained by gradient: `fit` measures tokens of the training rows once, by whitening
    and k-means, and the values are kept as buffers. Before `fit` the codes are random.

    Source: the bag of visual words of Sivic and Zisserman, Video Google, 2003, with the soft assignment and
    square root of Jégou et al., Aggregating local descriptors into compact codes, 2012, for speech tokens.

    Args:
        width: Numbers per token.
        codes: Codes in the book.
        components: Principal axes in which tokens and codes are compared.
    """

    measured = True
    mean: Tensor
    whitening: Tensor
    codes: Tensor
    softness: Tensor

    def __init__(self, width: int, codes: int = 512, components: int = 128) -> None:
        super().__init__()
        components = min(components, width)
        self.out_dim: int = width + codes
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("whitening", torch.randn(width, components) / width**0.5)
        self.register_buffer("codes", torch.randn(codes, components))
        self.register_buffer("softness", torch.ones(()))

    @property
    def fingerprint(self) -> str:
        """Changes with every number of the codebook."""
        digest = hashlib.sha256()
        for value in self.buffers():
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return f"{super().fingerprint} {digest.hexdigest()}"

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Map `[B, N, D]`, `[B, N]` bool → `[B, D + codes]`; zeros for a row without real tokens.

        In float32 whatever autocast says: a distance is the small difference of large products.
        """
        with torch.autocast(tokens.device.type, enabled=False):
            rows = [self._described(row[real].float()) for row, real in zip(tokens, mask, strict=True)]
        return torch.stack(rows) if rows else tokens.new_zeros(0, self.out_dim, dtype=torch.float32)

    def _described(self, tokens: Tensor) -> Tensor:
        """Map the real tokens of one row `[N, D]` → `[D + codes]`."""
        if not len(tokens):
            return tokens.new_zeros(self.out_dim)
        distances = self._distances((tokens - self.mean) @ self.whitening)
        shares = (-distances / self.softness).softmax(dim=1).mean(dim=0)
        return torch.cat([tokens.mean(dim=0), shares.sqrt()])

    def _distances(self, x: Tensor) -> Tensor:
        """Compute squared distances of `[N, components]` to all codes `[N, codes]`."""
        return (x.square().sum(1, keepdim=True) - 2 * x @ self.codes.T + self.codes.square().sum(1)).clamp(
            min=0
        )

    @torch.no_grad()
    def fit(self, tokens: Tensor) -> None:
        """Measure tokens `[N, D]` of training rows; with fewer tokens than codes, some codes stay random.

        Raises:
            DataError: There are none, or one is not finite.
        """
        if not len(tokens) or not torch.isfinite(tokens).all():
            found = "NaN or infinite numbers" if len(tokens) else "none"
            raise DataError(f"codebook: tokens of training rows are needed to measure; found {found}")
        self.mean.copy_(tokens.mean(dim=0))
        centred = (tokens - self.mean).double()
        values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
        values, vectors = values.flip(0), vectors.flip(1)[:, : self.whitening.shape[1]]
        scale = (values[: vectors.shape[1]].clamp(min=0) + RIDGE * values.mean()).clamp(min=1e-12).rsqrt()
        self.whitening.copy_(vectors * scale)
        x = (centred @ (vectors * scale)).float()
        start = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[: len(self.codes)]
        self.codes[: len(start)] = x[start]
        for _ in range(ITERATIONS):
            self._move_codes(x)
        nearest = torch.cat([self._distances(part).amin(dim=1) for part in x.split(ROWS)])
        floor = FLOOR * x.square().sum(dim=1).mean()
        self.softness.copy_(SOFTNESS * nearest.median().clamp(min=floor).clamp(min=1e-6))

    def _move_codes(self, x: Tensor) -> None:
        """Take one step of k-means; a code without tokens stays where it is."""
        owner = torch.cat([self._distances(part).argmin(dim=1) for part in x.split(ROWS)])
        count = torch.bincount(owner, minlength=len(self.codes)).unsqueeze(1)
        total = torch.zeros_like(self.codes).index_add_(0, owner, x)
        self.codes.copy_(torch.where(count > 0, total / count.clamp(min=1), self.codes))


def build(width: int, options: PoolingOptions) -> CodebookPooling:
    """Return it for tokens of `width` numbers."""
    return CodebookPooling(width)
