"""A byte-level BPE tokenizer of one's own, for decoders that are trained from scratch.

Sennrich et al. 2016, https://arxiv.org/abs/1508.07909, over bytes: no text is unknown to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edge_glass.core.errors import AssetError, ConfigError, DataError

PAD, BEGIN, END, USER, ASSISTANT = "<|pad|>", "<|begin|>", "<|end|>", "<|user|>", "<|assistant|>"
SPECIAL_TOKENS = (PAD, BEGIN, END, USER, ASSISTANT)
SMALLEST = 256 + len(SPECIAL_TOKENS)  # every byte, and the markers

# Markers are single tokens, so the rendered question is a token prefix of the whole conversation.
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    f"{{% if message.role == 'assistant' %}}{ASSISTANT}"
    "{% generation %}{{ message.content }}{{ eos_token }}{% endgeneration %}"
    f"{{% elif message.role == 'user' %}}{USER}{{{{ message.content }}}}"
    "{% elif message.role == 'system' %}{{ message.content }}"
    "{% else %}"
    "{{ raise_exception('expected the role system, user or assistant, got ' ~ message.role) }}"
    "{% endif %}{% endfor %}"
    f"{{% if add_generation_prompt %}}{ASSISTANT}{{% endif %}}"
)


def train_tokenizer(texts: Iterable[str], vocabulary: int = 2048) -> Any:
    """Learn a vocabulary from texts; a function of the texts, whatever their order.

    Args:
        texts: Questions, answers, captions. Each different text counts as often as it stands here.
        vocabulary: Most tokens, the five markers and 256 bytes among them; texts that say little give fewer.

    Returns:
        A `PreTrainedTokenizerFast` with pad, begin and end tokens and a chat template. It adds no special
        token by itself: the chat template does.

    Raises:
        ConfigError: Fewer tokens than bytes and markers.
        DataError: There is no text.
    """
    from tokenizers.trainers import BpeTrainer

    if vocabulary < SMALLEST:
        raise ConfigError(f"tokenizer: vocabulary: expected {SMALLEST} or more, got {vocabulary}")
    texts = list(texts)
    if not any(texts):
        raise DataError("tokenizer: there is no text to learn a vocabulary from")
    backend = _backend({}, [])
    trainer = BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=_bytes(),
        min_frequency=2,
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    return _wrapped(backend)


def tiny_tokenizer() -> Any:
    """Build a tokenizer of bytes and markers alone, 261 tokens; nothing is learned."""
    vocabulary = {token: index for index, token in enumerate([*SPECIAL_TOKENS, *_bytes()])}
    return _wrapped(_backend(vocabulary, []))


def load_tokenizer(folder: str | Path) -> Any:
    """Read what `tokenizer.save_pretrained(folder)` wrote.

    Raises:
        AssetError: There is no tokenizer, or one without pad or end token.
    """
    from transformers import PreTrainedTokenizerFast

    if not (Path(folder) / "tokenizer.json").is_file():
        raise AssetError(f"{folder} holds no tokenizer: tokenizer.json is missing")
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise AssetError(f"{folder}: the tokenizer cannot be read ({error})") from error
    if tokenizer.pad_token_id is None or tokenizer.eos_token_id is None:
        raise AssetError(f"{folder}: the tokenizer has no pad or no end token; it needs both")
    return tokenizer


def _bytes() -> list[str]:
    """Return the 256 characters that stand for bytes."""
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())


def _backend(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Any:
    """Build a byte-level BPE that keeps every character, leading spaces too."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def _wrapped(backend: Any) -> Any:
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
