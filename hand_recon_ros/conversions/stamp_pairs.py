"""Images and the hands that were found in them, brought together again by their stamps."""

from __future__ import annotations

import collections
from typing import Any, Generic, NamedTuple, TypeVar

ImageT = TypeVar("ImageT")
HandsT = TypeVar("HandsT")

CAPACITY = 32
"""How many images, and how many hands, wait for what belongs to them: at 60 Hz those of 0.53 s, as long as hands that
are smoothed are late."""


class Stamp(NamedTuple):
    """A builtin_interfaces/Time."""

    sec: int
    nanosec: int


class StampPairs(Generic[ImageT, HandsT]):
    """Pairs images and hands with exactly the same stamp, whichever comes first.

    Once a pair is made, what waits and is older by its stamp is forgotten, so that stamps of pairs go back only where
    the stream does (a recording that starts again). The oldest of more than CAPACITY that wait is forgotten as well.
    """

    def __init__(self) -> None:
        self._images: collections.OrderedDict[Stamp, ImageT] = collections.OrderedDict()
        self._hands: collections.OrderedDict[Stamp, HandsT] = collections.OrderedDict()

    def __len__(self) -> int:
        """How many images and hands wait."""
        return len(self._images) + len(self._hands)

    def add_image(self, stamp: Any, image: ImageT) -> tuple[ImageT, HandsT] | None:
        """The pair of an image, with a builtin_interfaces/Time; None: its hands have not come."""
        key = Stamp(stamp.sec, stamp.nanosec)
        if key not in self._hands:
            _store(self._images, key, image)
            return None
        hands = self._hands.pop(key)
        self._forget_before(key)
        return image, hands

    def add_hands(self, stamp: Any, hands: HandsT) -> tuple[ImageT, HandsT] | None:
        """The pair of hands, with a builtin_interfaces/Time; None: their image has not come."""
        key = Stamp(stamp.sec, stamp.nanosec)
        if key not in self._images:
            _store(self._hands, key, hands)
            return None
        image = self._images.pop(key)
        self._forget_before(key)
        return image, hands

    def clear(self) -> None:
        """Forget all that waits."""
        self._images.clear()
        self._hands.clear()

    def _forget_before(self, key: Stamp) -> None:
        for waiting in (self._images, self._hands):
            for older in [other for other in waiting if other < key]:
                del waiting[older]


def _store(waiting: collections.OrderedDict[Stamp, Any], key: Stamp, value: Any) -> None:
    waiting.pop(key, None)  # to the end, where the newest are
    waiting[key] = value
    if len(waiting) > CAPACITY:
        waiting.popitem(last=False)
