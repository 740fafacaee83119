"""Word error rate: how far a transcript is from what was said."""

import re
import unicodedata
from typing import Final

import msgspec

__all__ = ["WordErrors", "compare", "normalise"]

_WORD: Final = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


class WordErrors(msgspec.Struct, frozen=True):
    """Words put in, left out or exchanged, of `words` that were said."""

    errors: int
    words: int

    @property
    def rate(self) -> float:
        """Errors per word: 0 is perfect, and words put in may bring it above 1."""
        if self.words:
            return self.errors / self.words
        return float(self.errors > 0)

    def __add__(self, other: "WordErrors") -> "WordErrors":
        return WordErrors(self.errors + other.errors, self.words + other.words)


def normalise(text: str) -> list[str]:
    """Cut a text into the words that count: no case, no punctuation, hyphens split."""
    folded = unicodedata.normalize("NFKC", text).replace("\u2019", "'").casefold()
    return _WORD.findall(folded)


def compare(said: str, heard: str) -> WordErrors:
    """Count the fewest edits of words (Levenshtein) that turn `said` into `heard`."""
    reference, hypothesis = normalise(said), normalise(heard)
    row = list(range(len(hypothesis) + 1))
    for i, word in enumerate(reference, 1):
        above, row = row, [i]
        for j, other in enumerate(hypothesis, 1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (word != other)))
    return WordErrors(row[-1], len(reference))
