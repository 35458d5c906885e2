"""Images and hands are paired by exactly the same stamp, in whatever order they come, and wait in bounded number."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hand_recon_ros.conversions.stamp_pairs import CAPACITY, StampPairs


def stamp(number: int) -> SimpleNamespace:
    """Of image ``number`` at 30 Hz."""
    seconds, nanoseconds = divmod(number * 33_333_333, 1_000_000_000)
    return SimpleNamespace(sec=seconds, nanosec=nanoseconds)


def play(events: str) -> list[str]:
    """The pairs that come of messages such as ``i3 h3``: an image and hands, each with the number of its stamp."""
    pairs: StampPairs[str, str] = StampPairs()
    found = []
    for event in events.split():
        add = pairs.add_image if event[0] == "i" else pairs.add_hands
        pair = add(stamp(int(event[1:])), event)
        if pair is not None:
            found.append(" ".join(pair))
    return found


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ("i1 h1 i2 h2", ["i1 h1", "i2 h2"]),
        ("h1 i1", ["i1 h1"]),
        ("i1 i2 i3 h1 h3", ["i1 h1", "i3 h3"]),  # hand_recon dropped the second
        ("h1 h2 i2 i1", ["i2 h2"]),  # an older picture does not follow a newer one
        ("i2 i1 h1 h2", ["i1 h1", "i2 h2"]),
        ("i1 i2 h2 h1", ["i2 h2"]),
        ("i1 h2 h3 i4", []),
        ("i5 h5 i1 h1 i2 h2", ["i5 h5", "i1 h1", "i2 h2"]),  # a recording starts again
        ("i8 h8 i9 i1 h1 h9", ["i8 h8", "i1 h1", "i9 h9"]),
        ("i0 i0 h0 h0", ["i0 h0"]),  # stamps that do not advance
    ],
)
def test_pairs(events: str, expected: list[str]) -> None:
    assert play(events) == expected


def test_the_nearest_nanosecond_is_not_the_same_stamp() -> None:
    pairs: StampPairs[str, str] = StampPairs()
    assert pairs.add_image(SimpleNamespace(sec=1, nanosec=5), "image") is None
    assert pairs.add_hands(SimpleNamespace(sec=1, nanosec=6), "later") is None
    assert pairs.add_hands(SimpleNamespace(sec=5, nanosec=1), "swapped") is None
    assert pairs.add_hands(SimpleNamespace(sec=1, nanosec=5), "hands") == ("image", "hands")


def test_what_waits_is_bounded_and_the_newest_stays() -> None:
    pairs: StampPairs[int, int] = StampPairs()
    for number in range(200):
        assert pairs.add_image(stamp(2 * number), number) is None
        assert pairs.add_hands(stamp(2 * number + 1), number) is None
        assert len(pairs) <= 2 * CAPACITY
    assert pairs.add_hands(stamp(2 * (199 - CAPACITY)), -1) is None, "its image is forgotten"
    assert pairs.add_hands(stamp(2 * (200 - CAPACITY)), 1) == (200 - CAPACITY, 1)
    pairs.clear()
    assert len(pairs) == 0 and pairs.add_hands(stamp(398), 1) is None


def test_a_pair_frees_what_is_older() -> None:
    pairs: StampPairs[int, int] = StampPairs()
    for number in range(10):
        pairs.add_image(stamp(number), number)
    assert pairs.add_hands(stamp(7), 7) == (7, 7)
    assert len(pairs) == 2, "images 8 and 9"
