"""Faults of a file, of which a bounded number is kept: a recording of hours may have one in every message."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

KEPT_OF_A_KIND = 20
"""Lines that are kept of faults that differ in their numbers alone."""
_KINDS = 200
"""Kinds of faults that are counted each by itself; what comes after them counts as one more kind."""
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[-+]?\d+)?|\b(nan|inf)\b")


class Faults:
    """Lines about faults, in the order in which they were found.

    Attributes:
        count: of all faults.
    """

    def __init__(self) -> None:
        self.count = 0
        self._lines: list[tuple[str, str]] = []
        self._counts: Counter[str] = Counter()

    def add(self, lines: Iterable[str]) -> None:
        """Count these faults, and keep their lines where not enough of their kind are kept."""
        for line in lines:
            kind = _NUMBER.sub("0", line)
            if kind not in self._counts and len(self._counts) >= _KINDS:
                kind = ""
            self.count += 1
            self._counts[kind] += 1
            if self._counts[kind] <= KEPT_OF_A_KIND:
                self._lines.append((kind, line))

    def lines(self) -> list[str]:
        """The lines that were kept; the last one of a kind says how many more there are."""
        last = {kind: index for index, (kind, _) in enumerate(self._lines)}
        result = []
        for index, (kind, line) in enumerate(self._lines):
            more = self._counts[kind] - KEPT_OF_A_KIND
            result.append(f"{line} (and {more} more of this kind)" if more > 0 and last[kind] == index else line)
        return result
