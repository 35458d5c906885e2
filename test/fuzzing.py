"""What the tests of parsers with random input share: how many examples, how much memory, and damaged bytes.

HAND_RECON_FUZZ_EXAMPLES is the number of examples of each test, at random; without it they are few, and the same in
every run.
"""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("HAND_RECON_FUZZ_EXAMPLES", "0"))
MEMORY = 1 << 30
"""What a parser may take at most, bytes."""


def fuzzed(examples: int) -> Callable[[Any], Any]:
    """Settings of a test with this many examples, unless the environment has another number."""
    return settings(
        max_examples=EXAMPLES or examples,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        # Not made smaller: that may take minutes, and the first example that fails is small enough to read.
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


@contextlib.contextmanager
def limited_memory() -> Iterator[None]:
    """Within this context MEMORY more bytes can be had; then MemoryError is raised."""
    with open("/proc/self/statm", encoding="ascii") as file:
        used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@st.composite
def damaged(draw: Any, data: bytes) -> bytes:
    """``data`` with some bytes replaced, and a part cut out, repeated, or cut off."""
    result = bytearray(data)
    for _ in range(draw(st.integers(0, 8))):
        result[draw(st.integers(0, len(result) - 1))] = draw(st.integers(0, 255))
    begin, end = sorted(draw(st.tuples(*[st.integers(0, len(result))] * 2)))
    change = draw(st.sampled_from(["", "", "cut off", "cut out", "repeat", "insert"]))
    if change == "cut off":
        del result[end:]
    elif change == "cut out":
        del result[begin:end]
    elif change == "repeat":
        result[end:end] = result[begin:end]
    elif change == "insert":
        result[begin:begin] = draw(st.binary(max_size=16))
    return bytes(result)


def numbers() -> st.SearchStrategy[float]:
    """Every float: also NaN, infinity, and those of ordinary size more often."""
    return st.one_of(st.floats(), st.floats(-10.0, 10.0), st.sampled_from([0.0, -0.0, 1e300, -1e300, 1e-300]))


def contents() -> st.SearchStrategy[Any]:
    """What a JSON or YAML file may hold."""
    leaves = st.one_of(
        st.none(), st.booleans(), st.integers(-(10**400), 10**400), st.integers(-5, 5), st.floats(), st.text(max_size=8)
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
        max_leaves=12,
    )
