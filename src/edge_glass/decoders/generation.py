"""Choosing words one after another: greedy, sampling, beam search, over anything that gives logits."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from edge_glass.config.sections.large_models import WritingOptions
from edge_glass.core.errors import ConfigError
from edge_glass.decoders.decoder import Decoder, Generation, GenerationSettings, OnToken, Prefix

if TYPE_CHECKING:
    from edge_glass.config.detection import DetectionConfig
    from edge_glass.config.instruction import InstructionConfig

# Rows that have ended are left behind when no more than this share of the batch goes on: leaving them behind
# copies the cached keys and values of the others, so it is not done for each.
FEWER = 0.75
_UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # what a tokenizer of bytes makes of half a character
SAMPLING = ("temperature", "top_p", "seed")


class Steps(Protocol):
    """A batch of prompts that grows word by word."""

    def start(self) -> Tensor:
        """Read the prompts; the logits of the first word, `[B, V]`."""
        ...

    def step(self, tokens: Tensor) -> Tensor:
        """Append `tokens` `[B]`; the logits of the next word, `[B, V]`."""
        ...

    def reorder(self, rows: Tensor) -> None:
        """Continue row i as row `rows[i]` was; there may be more rows afterwards, or fewer."""
        ...


@torch.no_grad()
def generate(
    steps: Steps, settings: GenerationSettings, end: int, pad: int, on_token: OnToken | None = None
) -> Generation:
    """Write an answer to every prompt of `steps`.

    Args:
        steps: The prompts, not yet started.
        settings: How words are chosen.
        end: Id of the end token.
        pad: What rows that have ended are fed, so that the others can go on.
        on_token: Called with (row, token) for every token chosen, the end token left out; not with beams.
    """
    logits = steps.start().float()
    if not len(logits):
        return Generation([], [])
    if settings.num_beams > 1:
        answers = _beam_search(steps, logits, settings, end, pad)
    else:
        answers = _one_by_one(steps, logits, settings, end, pad, on_token)
    ended = [bool(tokens) and tokens[-1] == end for tokens in answers]
    return Generation([t[:-1] if e else t for t, e in zip(answers, ended, strict=True)], ended)


def _one_by_one(
    steps: Steps,
    logits: Tensor,
    settings: GenerationSettings,
    end: int,
    pad: int,
    on_token: OnToken | None,
) -> list[list[int]]:
    """Return greedy or sampled tokens of each row, the end token among them."""
    answers: list[list[int]] = [[] for _ in logits]
    running = list(range(len(answers)))  # the row that each row of `steps` writes
    generator = torch.Generator().manual_seed(settings.seed)
    for number in range(settings.max_new_tokens):
        if settings.do_sample:
            tokens = _sample(logits, settings, float(torch.rand((), generator=generator)))
        else:
            tokens = logits.argmax(dim=-1)
        going = []
        for row, token in zip(running, tokens.tolist(), strict=True):
            over = answers[row][-1:] == [end]
            going.append(not over and token != end)
            if not over:
                answers[row].append(token)
            if going[-1] and on_token is not None:
                on_token(row, token)
        if not any(going) or number + 1 == settings.max_new_tokens:
            break
        tokens = tokens.masked_fill(~torch.tensor(going, device=tokens.device), pad)
        if sum(going) <= FEWER * len(going):
            kept = [place for place, goes in enumerate(going) if goes]
            rows = torch.tensor(kept, device=tokens.device)
            steps.reorder(rows)
            running, tokens = [running[place] for place in kept], tokens[rows]
        logits = steps.step(tokens).float()
    return answers


def _sample(logits: Tensor, settings: GenerationSettings, drawn: float) -> Tensor:
    """Map `[B, V]` → `[B]`: the token in whose share of [0, 1) `drawn` falls, most probable tokens first."""
    probability = (logits / settings.temperature).softmax(dim=-1)
    probability, order = probability.sort(dim=-1, descending=True, stable=True)
    before = probability.cumsum(dim=-1) - probability
    kept = probability.masked_fill(before >= settings.top_p, 0.0)  # the best token always stays
    kept = kept.cumsum(dim=-1)
    place = (kept <= drawn * kept[:, -1:]).sum(dim=-1, keepdim=True)
    last = (before < settings.top_p).sum(dim=-1, keepdim=True) - 1  # rounding must not lead past the kept
    return order.gather(1, torch.minimum(place, last)).squeeze(1)


def pack_right(embeddings: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Move the real tokens of each row to its right end, in their order, and drop columns of padding."""
    longest = int(mask.sum(dim=1).max()) if len(mask) else 0
    order = torch.argsort(mask.long(), dim=1, stable=True)[:, mask.shape[1] - longest :]
    packed = embeddings.gather(1, order[..., None].expand(-1, -1, embeddings.shape[-1]))
    return packed, mask.gather(1, order)


class _Row:
    """Beam search of one row: the finished answers so far."""

    def __init__(self, beams: int) -> None:
        self.beams = beams
        self.finished: list[tuple[float, list[int]]] = []
        self.done = False

    def finish(self, total: float, tokens: list[int]) -> None:
        """Keep an answer if its mean log-probability is among the best."""
        self.finished.append((total / len(tokens), tokens))
        self.finished.sort(key=lambda one: -one[0])
        del self.finished[self.beams :]

    def cannot_improve(self, best_total: float, longest: int) -> bool:
        """Return whether no running hypothesis can still win.

        A total only falls, and weighs least when spread over the longest answer.
        """
        return bool(self.finished) and self.finished[0][0] >= best_total / longest


def _beam_search(
    steps: Steps, logits: Tensor, settings: GenerationSettings, end: int, pad: int
) -> list[list[int]]:
    """Return the answer with the best mean log-probability per token of each row, the end token counted."""
    rows, beams, vocabulary = len(logits), settings.num_beams, logits.shape[-1]
    state = [_Row(beams) for _ in range(rows)]
    hypotheses: list[list[list[int]]] = [[[] for _ in range(beams)] for _ in range(rows)]
    steps.reorder(torch.arange(rows, device=logits.device).repeat_interleave(beams))
    logits = logits.repeat_interleave(beams, dim=0)
    # All beams of a row start as the same prompt: only the first may be continued at first.
    totals = logits.new_full((rows, beams), -torch.inf, dtype=torch.float64)
    totals[:, 0] = 0.0
    for number in range(settings.max_new_tokens):
        scores = totals[..., None] + F.log_softmax(logits, dim=-1).double().view(rows, beams, vocabulary)
        # Of 2K continuations at most K end, so K that go on are always among them.
        best = scores.flatten(1).topk(min(2 * beams, beams * vocabulary), dim=1)
        chosen = [
            _continue(state[row], hypotheses[row], *pair, vocabulary, end)
            for row, pair in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True))
        ]
        hypotheses = [[tokens for _, _, tokens in one] for one in chosen]
        totals = torch.tensor([[total for total, _, _ in one] for one in chosen], dtype=torch.float64)
        totals = totals.to(logits.device)
        for row, one in enumerate(chosen):
            state[row].done |= state[row].cannot_improve(one[0][0], settings.max_new_tokens)
        if all(row.done for row in state) or number + 1 == settings.max_new_tokens:
            break
        source = torch.tensor([row * beams + beam for row, one in enumerate(chosen) for _, beam, _ in one])
        newest = torch.tensor([words[-1] if words else pad for one in hypotheses for words in one])
        steps.reorder(source.to(logits.device))
        logits = steps.step(newest.to(logits.device)).float()
    for row, one in enumerate(chosen):
        for total, _, answer in one:
            if not state[row].done and total > -torch.inf:
                state[row].finish(total, answer)
    return [row.finished[0][1] for row in state]


def _continue(
    row: _Row,
    hypotheses: list[list[int]],
    totals: list[float],
    places: list[int],
    vocabulary: int,
    end: int,
) -> list[tuple[float, int, list[int]]]:
    """Return a row's next hypotheses as (total, beam they grew from, tokens); put away those that end."""
    running: list[tuple[float, int, list[int]]] = []
    for rank, (total, place) in enumerate(zip(totals, places, strict=True)):
        beam, token = divmod(place, vocabulary)
        tokens = [*hypotheses[beam], token]
        if token != end:
            running.append((total, beam, tokens))
        elif rank < row.beams and total > -torch.inf and not row.done:
            row.finish(total, tokens)
    while len(running) < row.beams:  # a vocabulary smaller than the beams
        running.append((-torch.inf, 0, []))
    return running[: row.beams]


class _Abandoned(Exception):
    """Nobody listens any more."""


def stream_text(
    decoder: Decoder, prefix: Prefix | None, ids: Tensor, mask: Tensor, settings: GenerationSettings
) -> Iterator[str]:
    """Yield the answer to one prompt in pieces; joined they are the decoded answer of `generate`.

    The model runs in a thread of its own, and stops at the next token when the iterator is closed.

    Args:
        decoder: Any decoder.
        prefix: Of one row, or None.
        ids: `[1, L]` int64.
        mask: `[1, L]` bool.
        settings: Without beams.

    Raises:
        ConfigError: More than one prompt, or beam search, which changes its mind.
    """
    if len(ids) != 1 or settings.num_beams > 1:
        found = f"{len(ids)} prompts with num_beams {settings.num_beams}"
        raise ConfigError(f"generation: expected one prompt without beams for streaming, got {found}")
    return _pieces(decoder, prefix, ids, mask, settings)


def _pieces(
    decoder: Decoder, prefix: Prefix | None, ids: Tensor, mask: Tensor, settings: GenerationSettings
) -> Iterator[str]:
    queue: SimpleQueue[int | BaseException | None] = SimpleQueue()
    closed = threading.Event()

    def take(_row: int, token: int) -> None:
        if closed.is_set():
            raise _Abandoned
        queue.put(token)

    def run() -> None:
        try:
            decoder.generate(prefix, ids, mask, settings, on_token=take)
            queue.put(None)
        except BaseException as error:  # handed to whoever reads
            queue.put(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield from _text_of(decoder, queue)
    finally:
        closed.set()
        thread.join()


def _text_of(decoder: Decoder, queue: SimpleQueue[int | BaseException | None]) -> Iterator[str]:
    """Yield text as soon as its characters are whole."""
    tokens: list[int] = []
    written = ""
    while (item := queue.get()) is not None:
        if isinstance(item, BaseException):
            raise item
        tokens.append(item)
        text = decoder.tokenizer.decode(tokens, skip_special_tokens=True)
        if text.startswith(written) and len(text) > len(written) and not text.endswith(_UNFINISHED):
            yield text[len(written) :]
            written = text
    text = decoder.tokenizer.decode(tokens, skip_special_tokens=True)
    if text.startswith(written) and len(text) > len(written):
        yield text[len(written) :]


def generation_settings(config: InstructionConfig | DetectionConfig, end: int) -> GenerationSettings:
    """Return how an experiment writes its answers; `end` is the id of the token that ends one."""
    options = config.generation.model_dump(include=set(WritingOptions.model_fields))
    options["max_new_tokens"] = options["max_new_tokens"] or config.dataset.max_answer_length
    return GenerationSettings(**options, seed=config.seed, end=end)


def chosen_settings(settings: GenerationSettings, choices: Mapping[str, Any]) -> GenerationSettings:
    """Return settings with some fields changed; None changes nothing.

    Asking for beams ends sampling, and the other way round, unless both are asked for.

    Raises:
        ConfigError: An unknown choice, a value out of range, both beams and sampling, or a choice that only
            sampling reads.
    """
    chosen = {name: value for name, value in choices.items() if value is not None}
    if chosen.get("do_sample"):
        chosen = {"num_beams": 1} | chosen
    elif chosen.get("num_beams", 1) > 1:
        chosen = {"do_sample": False} | chosen
    changed = GenerationSettings(**{**settings.model_dump(), **chosen})
    unread = [name for name in SAMPLING if name in chosen]
    if unread and not changed.do_sample:
        raise ConfigError(
            f"generation: {unread[0]} is read when sampling only; add --sample (do_sample=True)"
        )
    return changed
