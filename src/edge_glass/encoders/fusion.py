"""`MultimodalFusion`: pictures, sounds and words of one row made into one; any of them may be missing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edge_glass.core.errors import ConfigError
from edge_glass.encoders.features import TokenFeatures
from edge_glass.encoders.perceiver import CrossAttention

MODALITIES = ("vision", "audio", "text")


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Take the mean `[B, D]` of `x` `[B, N, D]`, zero where `mask` `[B, N]` is False; zeros for none."""
    return x.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)


def unit_scale(x: Tensor) -> Tensor:
    """Scale `[..., D]` to numbers of about 1, as layers like them: norm √D; zeros stay zeros."""
    return F.normalize(x.float(), dim=-1).to(x.dtype) * math.sqrt(x.shape[-1])


def cleaned(part: TokenFeatures) -> TokenFeatures:
    """Zero the padding; multiplying by the mask would let NaN through."""
    return TokenFeatures(part.tokens.masked_fill(~part.mask.unsqueeze(-1), 0.0), part.mask)


def join_tokens(parts: list[TokenFeatures]) -> TokenFeatures:
    """Join tokens one after the other: K parts `[B, N_k, D]` → `[B, ΣN, D]`."""
    return TokenFeatures(
        torch.cat([part.tokens for part in parts], dim=1), torch.cat([part.mask for part in parts], dim=1)
    )


class ConcatFusion(nn.Module):
    """Everything side by side.

    Tokens are joined, each with a learned embedding of its modality. Vectors are joined, a learned vector
    standing in for a missing one, and an MLP corrects their mean: (K + 1) · D² parameters.
    """

    def __init__(self, width: int, count: int, num_heads: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(count, width) * 0.02)
        self.missing = nn.Parameter(torch.randn(count, width))
        self.mlp = nn.Sequential(nn.Linear(count * width, width), nn.GELU(), nn.Linear(width, width))
        for parameter in self.mlp[-1].parameters():
            nn.init.zeros_(parameter)

    def join(self, parts: list[TokenFeatures]) -> TokenFeatures:
        """Map K parts, absent ones without tokens → `[B, ΣN, D]`."""
        pairs = zip(parts, self.embedding, strict=True)
        return join_tokens([TokenFeatures(part.tokens + own, part.mask) for part, own in pairs])

    def correction(self, vectors: Tensor, present: Tensor) -> Tensor:
        """Map `[B, K, D]`, `[B, K]` bool → `[B, D]` to add to the mean."""
        return self.mlp(torch.where(present.unsqueeze(-1), vectors, self.missing).flatten(1))


class CrossAttentionFusion(nn.Module):
    """One asks, the others answer: 4 · D² parameters.

    The tokens of a row's first present modality attend to the tokens of its others, and stay as they are when
    there are none. Of vectors, their mean attends to each of them.
    """

    def __init__(self, width: int, count: int, num_heads: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(count, width) * 0.02)
        self.query_norm = nn.LayerNorm(width)
        self.key_norm = nn.LayerNorm(width)
        self.attention = CrossAttention(width, num_heads)
        nn.init.zeros_(self.attention.out.weight)

    def join(self, parts: list[TokenFeatures]) -> TokenFeatures:
        """Map K parts, absent ones without tokens → `[B, max N, D]`."""
        longest = max(part.tokens.shape[1] for part in parts)
        tokens = parts[0].tokens.new_zeros(len(parts[0].tokens), longest, parts[0].tokens.shape[2])
        mask = parts[0].mask.new_zeros(tokens.shape[:2])
        keys, seen = [], []
        for part, own in zip(parts, self.embedding, strict=True):
            asks = part.mask.any(dim=1) & ~mask.any(dim=1)  # rows of which this is the first present modality
            spare = longest - part.tokens.shape[1]
            tokens = torch.where(asks[:, None, None], F.pad(part.tokens, (0, 0, 0, spare)), tokens)
            mask = torch.where(asks[:, None], F.pad(part.mask, (0, spare)), mask)
            keys.append(self.key_norm(part.tokens) + own)
            seen.append(part.mask & ~asks[:, None])
        heard = self.attention(self.query_norm(tokens), torch.cat(keys, dim=1), torch.cat(seen, dim=1))
        return TokenFeatures(tokens + heard, mask)

    def correction(self, vectors: Tensor, present: Tensor) -> Tensor:
        """Map `[B, K, D]`, `[B, K]` bool → `[B, D]` to add to the mean."""
        query = self.query_norm(masked_mean(vectors, present)).unsqueeze(1)
        return self.attention(query, self.key_norm(vectors) + self.embedding, present).squeeze(1)


class GatedFusion(nn.Module):
    """Each modality is weighed: K² · D parameters.

    After the Gated Multimodal Unit of Arevalo et al. 2017, https://arxiv.org/abs/1702.01992, whose gates
    also see all modalities at once; here with a softmax over the present ones, and without a layer before
    the sum, so that equal gates give the mean.
    """

    def __init__(self, width: int, count: int, num_heads: int) -> None:
        super().__init__()
        self.gate = nn.Linear(count * width, count)
        for parameter in self.gate.parameters():
            nn.init.zeros_(parameter)

    def weights(self, vectors: Tensor, present: Tensor) -> Tensor:
        """Map `[B, K, D]`, `[B, K]` bool → `[B, K]`: 0 for what is missing, else a share of 1."""
        scores = self.gate(vectors.flatten(1))
        scores = scores.masked_fill(~present, torch.finfo(scores.dtype).min)
        return scores.softmax(dim=1).masked_fill(~present, 0.0)

    def join(self, parts: list[TokenFeatures]) -> TokenFeatures:
        """Map K parts, absent ones without tokens → `[B, ΣN, D]`; equal gates change nothing."""
        present = torch.stack([part.mask.any(dim=1) for part in parts], dim=1)
        means = torch.stack([unit_scale(masked_mean(*part)) for part in parts], dim=1)
        factors = self.weights(means, present) * present.sum(dim=1, keepdim=True)
        pairs = zip(parts, factors[:, :, None, None].unbind(dim=1), strict=True)
        return join_tokens([TokenFeatures(part.tokens * factor, part.mask) for part, factor in pairs])

    def correction(self, vectors: Tensor, present: Tensor) -> Tensor:
        """Map `[B, K, D]`, `[B, K]` bool → `[B, D]` to add to the mean, which makes it the weighted sum."""
        weighted = (self.weights(vectors, present).unsqueeze(-1) * vectors).sum(dim=1)
        return weighted - masked_mean(vectors, present)


Method = ConcatFusion | CrossAttentionFusion | GatedFusion
KINDS: dict[str, type[Method]] = {
    "concat": ConcatFusion,
    "cross_attention": CrossAttentionFusion,
    "gated": GatedFusion,
}


class MultimodalFusion(nn.Module):
    """Fuse token features with `forward`, or embeddings with `fuse`.

    A row's result never depends on the content of a modality that it lacks, not even on NaN. What `fuse`
    learns starts at zero: untrained it gives the mean of the present directions, already a sensible query.

    Where only one of the two is trained under DDP, `concat` has parameters without gradient (the other's).

    Args:
        width: Numbers per token and per vector, the same for every modality.
        modalities: Those that may come: vision, audio, text. The order is that of the fused tokens, and of
            who is "first" for cross_attention.
        kind: concat, cross_attention or gated.
        num_heads: Heads of cross_attention.

    Raises:
        ConfigError: An unknown kind or modality, or sizes that do not fit.
    """

    method: Method

    def __init__(
        self, width: int, modalities: Iterable[str], kind: str = "concat", num_heads: int = 8
    ) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        wrong = [name for name in self.modalities if name not in MODALITIES]
        if wrong or not self.modalities or len(set(self.modalities)) < len(self.modalities):
            found = repr(wrong[0]) if wrong else list(self.modalities)
            raise ConfigError(
                f"fusion: expected modalities among vision, audio, text, each once; got {found}"
            )
        if kind not in KINDS:
            raise ConfigError(f"fusion: expected kind {', '.join(KINDS)}; got {kind!r}")
        self.width = width
        self.kind = kind
        self.method = KINDS[kind](width, len(self.modalities), num_heads)

    def forward(self, parts: Mapping[str, TokenFeatures]) -> TokenFeatures:
        """Fuse tokens.

        Args:
            parts: Modality → tokens `[B, N, D]` with mask `[B, N]`; N may differ. A modality is missing from
                a row where its mask is False throughout, from all rows where it is no key.

        Returns:
            `[B, M, D]` with mask, zeros where it is False. M is the sum of the N given, or their maximum for
            cross_attention.

        Raises:
            ConfigError: No part, an unknown modality, another width or number of rows.
        """
        self._check({name: part.tokens for name, part in parts.items()})
        some = next(iter(parts.values()))
        absent = TokenFeatures(some.tokens[:, :0], some.mask[:, :0])
        ordered = [parts.get(name, absent) for name in self.modalities]
        return cleaned(self.method.join([cleaned(part) for part in ordered]))

    def fuse(self, vectors: Mapping[str, Tensor], present: Mapping[str, Tensor] | None = None) -> Tensor:
        """Fuse embeddings; their lengths do not matter, only their directions.

        Args:
            vectors: Modality → `[B, D]`; a modality that is no key is missing from all rows.
            present: Modality → `[B]` bool; without an entry, a modality in `vectors` is there in all rows.

        Returns:
            `[B, D]`, not normalised; zeros for rows of which all modalities are missing.

        Raises:
            ConfigError: No vector, an unknown modality, another width or number of rows, or a modality
                that is present without vectors.
        """
        self._check(vectors)
        there = self._present(vectors, present or {})
        some = next(iter(vectors.values()))
        stacked = torch.stack([vectors.get(name, torch.zeros_like(some)) for name in self.modalities], dim=1)
        stacked = unit_scale(stacked.masked_fill(~there.unsqueeze(-1), 0.0))
        fused = masked_mean(stacked, there) + self.method.correction(stacked, there)
        return fused.masked_fill(~there.any(dim=1, keepdim=True), 0.0) / math.sqrt(self.width)

    def _present(self, vectors: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Return `[B, K]` bool in the order of `modalities`."""
        self._check_names(present)
        some = next(iter(vectors.values()))
        columns = []
        for name in self.modalities:
            there = present.get(name, some.new_full((len(some),), name in vectors, dtype=torch.bool))
            if name not in vectors and there.any():
                raise ConfigError(f"fusion: {name} is present, but has no vectors; it has {sorted(vectors)}")
            columns.append(there)
        return torch.stack(columns, dim=1)

    def _check_names(self, names: Iterable[str]) -> None:
        unknown = [name for name in names if name not in self.modalities]
        if unknown:
            raise ConfigError(f"fusion: unknown modality {unknown[0]!r}; it was made for {self.modalities}")

    def _check(self, given: Mapping[str, Tensor]) -> None:
        """Check names, widths and numbers of rows."""
        self._check_names(given)
        if not given:
            raise ConfigError(f"fusion: expected at least one of {', '.join(self.modalities)}; got none")
        rows = len(next(iter(given.values())))
        for name, value in given.items():
            if value.shape[-1] != self.width:
                raise ConfigError(f"fusion: expected {name} of width {self.width}, got {value.shape[-1]}")
            if len(value) != rows:
                raise ConfigError(
                    f"fusion: expected {rows} rows of {name}, as of the first; got {len(value)}"
                )
