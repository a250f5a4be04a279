"""How hard a secret is to guess, from its text alone: what a person or a sample made up is told from what a generator made.

A text is read from left to right, and whatever could be said shortly counts as two characters, however long it is: what stood there before,
a piece of the alphabet, of the digits or of a row of keys, and a word (from the frequency lists of `zxcvbn`, which hold common passwords,
English words and names; and the words of our own samples). What is left must be long enough, and of enough different characters.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable

LEAST_LENGTH = 16
LEAST_UNSAID = 11
"""Characters that must be left once repetitions, sequences and words count as two each."""
LEAST_OF_A_PHRASE = 20
"""... where at least half of the text was said so: eight words, say."""
LEAST_BITS = 36.0
"""Of what is left, were each character drawn from those that occur. 64 random bits in hexadecimal digits have always more."""

_CHEAP = 2
_SHORTEST = 4  # of a repetition, a run or a word: shorter ones are in every random text
_LONGEST_WORD = 24
_DISGUISED, _DISGUISED_IN_HEX = 5, 7  # the shortest word with digits for letters; short ones occur in random hexadecimal digits
_ROWS = ("0123456789abcdef", "01234567890", "abcdefghijklmnopqrstuvwxyz", "qwertyuiop", "qwertzuiop", "asdfghjkl", "zxcvbnm", "yxcvbnm")
_RUNS = tuple(row[::step] for row in _ROWS for step in (1, -1))
_OURS = frozenset({"figlina", "amphora", "amphorae", "octavia", "heartbeat", "insecure", "changeme", "replaceme", "passphrase"})
_HEX = frozenset("0123456789abcdef")
_DISGUISE = str.maketrans("013457@$!", "oleastasi")


def is_guessable(text: str) -> bool:
    """Whether the text looks made up rather than drawn at random."""
    if len(text) < LEAST_LENGTH:
        return True
    lower = text.lower()
    single = "".join(char for char, before in zip(lower, " " + lower, strict=False) if char != before)  # 0011223344 is 01234
    return any(_is_short_said(version) for version in {lower, single})


def is_guessable_key(key: bytes) -> bool:
    """Whether raw bytes look made up: few different ones, a pattern, or a text that a person would choose."""
    if len(key) < LEAST_LENGTH or len(set(key)) < LEAST_UNSAID:
        return True
    if len({(after - before) % 256 for before, after in itertools.pairwise(key)}) < LEAST_UNSAID // 2:
        return True
    half = len(key) // 2
    if key[:half] == key[half : 2 * half]:
        return True
    if not key.isascii() or not key.decode("ascii").isprintable():
        return False
    return b" " in key or is_guessable(key.decode("ascii"))  # nothing random is all printable with spaces: it is a sentence


def _is_short_said(text: str) -> bool:
    left, said = _unsaid(text)
    is_phrase = 2 * said >= len(text) >= LEAST_OF_A_PHRASE
    wanted = LEAST_OF_A_PHRASE if is_phrase else LEAST_UNSAID
    return left < wanted or left * math.log2(max(1, len(set(text)))) < LEAST_BITS


def _unsaid(text: str) -> tuple[int, int]:
    """What is left of the text, and how many of its characters were said shortly."""
    plain, disguised = text.translate(_DISGUISE), _DISGUISED_IN_HEX if set(text) <= _HEX else _DISGUISED
    at = left = said = 0
    while at < len(text):
        known = max(_repeated(text, at), _run(text, at), _word(text, at, _SHORTEST), _word(plain, at, disguised))
        left += _CHEAP if known else 1
        said += known
        at += known or 1
    return left, said


def _repeated(text: str, at: int) -> int:
    """How much from here on is a copy of what began earlier; the copy may run into itself (`aaaa`)."""
    length = _SHORTEST - 1
    while at + length < len(text) and text.find(text[at : at + length + 1], 0, at + length) >= 0:
        length += 1
    return length if length >= _SHORTEST else 0


def _run(text: str, at: int) -> int:
    length = _SHORTEST - 1
    while at + length < len(text) and any(text[at : at + length + 1] in run for run in _RUNS):
        length += 1
    return length if length >= _SHORTEST else 0


def _word(text: str, at: int, shortest: int) -> int:
    words, beginnings = _words()
    if text[at : at + _SHORTEST] not in beginnings:
        return 0
    for length in range(min(_LONGEST_WORD, len(text) - at), shortest - 1, -1):
        if text[at : at + length] in words:
            return length
    return 0


@functools.cache
def _words() -> tuple[frozenset[str], frozenset[str]]:
    """Words, and how they begin."""
    from zxcvbn import frequency_lists  # large, and needed at a start only

    lists: Iterable[Iterable[str]] = frequency_lists.FREQUENCY_LISTS.values()
    words = _OURS | {word for words in lists for word in words if len(word) >= _SHORTEST and word.isalpha()}
    return words, frozenset(word[:_SHORTEST] for word in words)
