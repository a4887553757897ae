"""How answers are made comparable: the normalisation of the VQA benchmark, and plain words.

Source: the evaluation code of VQA v2 (Goyal et al. 2017), github.com/GT-Vision-Lab/VQA, vqaEval.py.
"""

from __future__ import annotations

import re
from typing import Final

_PERIOD: Final = re.compile(r"\.(?!\d)")  # the benchmark keeps a period only before a digit
_COMMA_IN_NUMBER: Final = re.compile(r"\d,\d")
_PUNCTUATION: Final = ';/[]"{}()=+\\_-><@`,?!'
_ARTICLES: Final = frozenset(("a", "an", "the"))
_NUMBERS: Final = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
# The benchmark writes contractions back that people typed without the apostrophe. Its own list also has rare
# double ones ("couldnt've"); these are the words, each under its spelling without apostrophe.
_CONTRACTED: Final = """
ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd
how'll how's i'd've i'm i've isn't it'd it'll let's ma'am might've mightn't must've mustn't needn't
not've o'clock oughtn't shan't she'd've should've shouldn't somebody'd somebody'll somebody's
someone'd someone'll someone's something'd something'll that'd that's there'd there're there's
they'd they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'll who's who've why'll why're why's won't would've
wouldn't y'all you'd you'll you're you've
"""
_CONTRACTIONS: Final = {word.replace("'", ""): word for word in _CONTRACTED.split()}
_WORD: Final = re.compile(r"[^\W_]+")


def normalize_answer(text: str) -> str:
    """An answer as the VQA benchmark compares it: lower case, no punctuation or articles, digits for numbers.

    A punctuation mark that touches a blank, or any of them where a number has a comma, is removed; one within
    a word becomes a blank.
    """
    text = text.replace("\n", " ").replace("\t", " ").strip()
    cleaned = text
    for mark in _PUNCTUATION:
        if f"{mark} " in text or f" {mark}" in text or _COMMA_IN_NUMBER.search(text):
            cleaned = cleaned.replace(mark, "")
        else:
            cleaned = cleaned.replace(mark, " ")
    words = [_NUMBERS.get(word, word) for word in _PERIOD.sub("", cleaned).lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def words_of(text: str) -> list[str]:
    """The words of a text in lower case: letters and digits of any script, nothing else."""
    return _WORD.findall(text.casefold())
