#!/usr/bin/env python3
"""Compare the protocols with the official evaluation codes, on the same random predictions and ground truth.

    .venv/bin/python tools/compare_official_evaluation.py [--freihand DIR] [--interhand DIR] [--interwild DIR]
        [--intaghand DIR] [--dir DIR] [--images N] [--seed N]

The folders are the user's own checkouts of lmb-freiburg/freihand, facebookresearch/InterHand2.6M,
facebookresearch/InterWild, Dw1010/IntagHand and PengfeiRen96/DIR, whose own functions run; only what they need for
pictures, networks and files is replaced (tools/official_evaluation/). Prints every figure of both, and ends with 1
where one of them differs by more than 1e-6.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from official_evaluation import freihand as official_freihand
from official_evaluation import intaghand as official_intaghand
from official_evaluation import interhand as official_interhand
from official_evaluation import interwild as official_interwild
from official_evaluation.checkouts import CheckoutError
from official_evaluation.hands import RandomHands, random_hands

from hand_recon_ros.evaluation.protocols import freihand
from hand_recon_ros.evaluation.protocols.hic import HIC
from hand_recon_ros.evaluation.protocols.interhand26m import interhand26m
from hand_recon_ros.evaluation.protocols.protocol import HandPairs, Protocol, joint_regressors
from hand_recon_ros.evaluation.protocols.two_hands import measure, report
from hand_recon_ros.types import Side

TOLERANCE = 1e-6
Compared = tuple[str, dict[str, float], dict[str, float]]
"""What was compared, the official figures, and ours."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name in ("freihand", "interhand", "interwild", "intaghand", "dir"):
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help="checkout of that code")
    parser.add_argument("--images", type=int, default=60, help="in each comparison (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the random hands (default: %(default)s)")
    arguments = parser.parse_args()
    roots = {name: path.resolve() for name, path in vars(arguments).items() if isinstance(path, Path)}
    if not roots:
        parser.error("name at least one checkout")
    largest, count = 0.0, 0
    try:
        for title, official, ours in comparisons(roots, arguments.images, arguments.seed):
            print(f"\n{title}\n{'figure':28}{'official':>20}{'ours':>20}{'difference':>12}")
            for name, expected in official.items():
                difference = abs(expected - ours[name])
                print(f"{name:28}{expected:20.12f}{ours[name]:20.12f}{difference:12.1e}")
                largest, count = max(largest, math.inf if math.isnan(difference) else difference), count + 1
    except CheckoutError as error:
        print(error, file=sys.stderr)
        return 2
    verdict = "equal" if largest <= TOLERANCE else "NOT EQUAL"
    print(f"\n{count} figures, largest difference {largest:.1e}: {verdict} to {TOLERANCE:.0e}")
    return 0 if largest <= TOLERANCE else 1


def comparisons(roots: dict[str, Path], images: int, seed: int) -> Iterator[Compared]:
    """One after the other, for the checkouts that are there."""
    if "freihand" in roots:
        yield from _freihand(roots["freihand"], random_hands(images, seed, pairs_only=True))
    hands = random_hands(images, seed + 1)
    if "interhand" in roots:
        yield "InterNet", official_interhand.figures(roots["interhand"], hands), _ours(interhand26m("internet"), hands)
    if "interwild" in roots:
        for dataset, protocol in (("InterHand26M", interhand26m("interwild")), ("HIC", HIC)):
            official = official_interwild.figures(roots["interwild"], hands, dataset)
            yield f"InterWild, {dataset}", official, _ours(protocol, hands)
    pairs = random_hands(images, seed + 2, pairs_only=True)
    if "intaghand" in roots:
        official = official_intaghand.intaghand(roots["intaghand"], pairs)
        yield "IntagHand", official, _ours(interhand26m("intaghand"), pairs)
    if "dir" in roots:
        for joint, name in ((9, "dir"), (0, "dir-wrist")):
            official = official_intaghand.dir_(roots["dir"], pairs, joint)
            yield f"DIR, --root_joint {joint}", official, _ours(interhand26m(name), pairs)


def _ours(protocol: Protocol, hands: RandomHands) -> dict[str, float]:
    regressors = joint_regressors(hands.model, protocol.tips)
    return report(protocol, measure(protocol, hands.predicted, hands.truth, _rest(), regressors))["metrics"]


def _rest() -> HandPairs:
    """Hands that are never needed: all are found."""
    return HandPairs(np.full((1, 2, 21, 3), np.nan), np.full((1, 2, 778, 3), np.nan))


def _freihand(root: Path, hands: RandomHands) -> Iterator[Compared]:
    assert hands.truth.vertices is not None and hands.predicted.vertices is not None
    true_joints, true_vertices = (each[:, Side.RIGHT] for each in (hands.truth.joints, hands.truth.vertices))
    joints, vertices = (each[:, Side.RIGHT] for each in (hands.predicted.joints, hands.predicted.vertices))
    mirror = np.array([-1.0, 1.0, 1.0])
    for title, predicted in (
        ("random predictions", (joints, vertices)),
        ("mirrored predictions", (joints * mirror, vertices * mirror)),
        ("zeros", (np.zeros_like(joints), np.zeros_like(vertices))),
    ):
        official = official_freihand.scores(root, *predicted, true_joints, true_vertices)
        scores = freihand.measure(*predicted, true_joints, true_vertices, _rest())
        yield f"FreiHAND, {title} (cm)", official, freihand.official_scores(freihand.report(scores)["metrics"])


if __name__ == "__main__":
    sys.exit(main())
