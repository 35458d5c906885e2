"""The search for missing hands in a stream: at most one step in an image, by turns."""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Sequence

from ..detect.new_hands import Proposals
from ..landmarks.observation import RotatedBox
from ..types import Side

_OFTEN, _OFTEN_INTERVAL = 1.0, 0.03
"""Seconds after the first image, or after a hand was lost, in which there is a step every so many seconds: up to 30 Hz
in every image."""
_BODY_KNOWN = 1.0
"""Seconds for which the box of a body serves: after that bodies are detected anew."""
_FAR = 2.0
"""Distance from a wrist, in units of the box of its hand, which a hand does not move before the body is seen again."""
_BOTH_INTERVAL = 0.1
"""Seconds between two evaluations of the pair detector while one hand covers the other."""
PROPOSALS_KEPT = 0.15
"""Seconds after which boxes that were proposed are no longer evaluated: of rarer images they are evaluated at once."""
_OPERATOR_KEPT = 2.0
"""Seconds after which another person can become the operator, where it is not the first one."""


@dataclasses.dataclass
class Search:
    """What is remembered of the search.

    Attributes:
        begun: when a hand was last lost, or of the first image, seconds; None before the first.
        last: of the last step, seconds.
        turns: number of steps of each kind since it began.
        operator: the box of the operator's body in the next image, if it was seen in the last turn of the body.
        place: the box of the operator's body when last seen.
        wrists: boxes of the operator's hands whose wrists were clearly visible then.
        seen, chosen: when the operator was last seen, and when chosen among the bodies in the image, seconds.
        proposals: what a detector proposed in an image before, where it is not evaluated yet.
        proposed: when that was, seconds.
        both: whether the pair detector was certain of a hand that the other one covers, when last evaluated for that.
        both_evaluated: when that was, seconds.
    """

    begun: float | None = None
    last: float = -math.inf
    turns: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    operator: RotatedBox | None = None
    place: RotatedBox | None = None
    wrists: tuple[RotatedBox, ...] = ()
    seen: float = -math.inf
    chosen: float = -math.inf
    proposals: Proposals | None = None
    proposed: float = -math.inf
    both: bool = False
    both_evaluated: float = -math.inf

    def restart(self, time: float) -> None:
        """A hand was lost at ``time`` (s)."""
        self.begun = time
        self.turns.clear()
        self.proposals = None

    def is_due(self, time: float, interval: float) -> bool:
        """Whether the image at ``time`` (s) has a step; ``interval`` (s) is that between later steps."""
        if self.begun is None:
            self.restart(time)
        assert self.begun is not None
        if time - self.begun < _OFTEN:
            interval = min(interval, _OFTEN_INTERVAL)
        return time - self.last >= interval - 1e-6

    def next_turn(self, kinds: Sequence[str], time: float) -> tuple[str, int]:
        """The kind of the step in the image at ``time`` (s), and its number among the steps of this kind."""
        kind = kinds[self.turns.total() % len(kinds)]
        turn = self.turns[kind]
        self.turns[kind] += 1
        self.last = time
        return kind, turn

    def propose(self, proposals: Proposals, time: float) -> None:
        """Keep the proposals of the image at ``time`` (s), to be evaluated in the next one."""
        self.proposals, self.proposed = proposals, time

    def due_proposals(self, time: float) -> Proposals | None:
        """The proposals that are to be evaluated in the image at ``time`` (s)."""
        return self.proposals if time - self.proposed <= PROPOSALS_KEPT + 1e-6 else None

    def known_operator(self, time: float, first: bool) -> RotatedBox | None:
        """The box of the operator's body in the image at ``time`` (s); None where bodies have to be detected anew.

        ``first``: the operator remains the same person while seen.
        """
        just_chosen = self.seen == self.chosen  # its pose was not read yet, however long the turns take
        recent = time - self.seen <= _BODY_KNOWN and (first or time - self.chosen <= _OPERATOR_KEPT)
        return self.operator if just_chosen or recent else None

    def first_place(self, time: float, followed: bool) -> RotatedBox | None:
        """Where the first person's body was when last seen; None once the person is lost: a second after that, while no
        hand is ``followed``."""
        return self.place if followed or time - self.seen <= _BODY_KNOWN else None

    def saw_operator(
        self, roi: RotatedBox | None, followed: bool, time: float, wrists: tuple[RotatedBox, ...] = ()
    ) -> None:
        """Take over the boxes of the operator's body and hands; ``followed``: the same person as before."""
        self.operator, self.wrists = roi, wrists
        if roi is not None:
            self.seen, self.place = time, roi
            if not followed:
                self.chosen = time

    def is_of_another(self, box: RotatedBox, time: float) -> bool:
        """Whether a hand is another person's: both of the operator's wrists are clearly visible far from it."""
        if len(self.wrists) < len(Side) or time - self.seen > _BODY_KNOWN:
            return False
        return all(math.dist(box.center, wrist.center) > _FAR * wrist.size for wrist in self.wrists)

    def covered_is_due(self, time: float) -> bool:
        """Whether in the image at ``time`` (s) the pair detector is due to confirm a hand that the other one covers."""
        return time - self.both_evaluated >= _BOTH_INTERVAL - 1e-6

    def confirmed(self, certain: bool, time: float) -> None:
        """The pair detector was evaluated in the image at ``time`` (s); ``certain`` of both hands."""
        self.both, self.both_evaluated = certain, time

    def is_certain_of_both(self, time: float) -> bool:
        """Whether the pair detector was certain of both hands when it was last due."""
        return self.both and time - self.both_evaluated <= _BOTH_INTERVAL + 1e-6
