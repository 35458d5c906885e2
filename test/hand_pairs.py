"""Pairs of hands for the tests of the refinement: measured, pushed into each other, and in the mirror."""

import dataclasses

import numpy as np
from evidence import MODEL

from hand_recon_ros import Side
from hand_recon_ros.geometry.mesh_queries import gap_between, penetration_depth
from hand_recon_ros.interact.pair_chain import PairChain
from hand_recon_ros.interact.pair_vector import HAND
from hand_recon_ros.interact.uncertainty import PairUncertainty

FOCAL = 500.0
CHAIN = PairChain(MODEL)


class Stream:
    """A refiner in a stream of the hands of two tracks, with its memory; ``hurried`` where images wait."""

    def __init__(self, refiner, hurried=False):
        self._refiner, self._hurried, self.memory = refiner, hurried, None

    def __call__(self, pair, uncertainty, stamp, hands=(1, 2), encoded=False):
        result = self._refiner(pair, uncertainty, 8, stamp=stamp, hands=hands, memory=self.memory, encoded=encoded)
        self.memory = result.memory
        if self.memory is not None:
            self.memory = self._refiner.finished(self.memory, hurried=self._hurried)
        return result.pair


def joints(pair):
    return pair.keypoints(MODEL)


def depth(pair):
    left, right = pair.meshes(MODEL)
    return penetration_depth(left, MODEL.faces(Side.LEFT), right, MODEL.faces(Side.RIGHT))


def gap(pair):
    left, right = pair.meshes(MODEL)
    return gap_between(left, MODEL.faces(Side.LEFT), right, MODEL.faces(Side.RIGHT), 0.02)


def uncertainty(pair, stddev=(0.02, 0.02), overlap=1.0):
    pixels = np.ptp(joints(pair)[..., :2] / joints(pair)[..., 2:], axis=1).max(axis=1)
    return PairUncertainty(np.ones((2, 21)) / (0.02 * pixels)[:, None], np.array(stddev), np.ones((2, 21)), overlap)


def pushed(pair, depth_wanted):
    """The pair with its hands moved into each other along the ray until they are ``depth_wanted`` deep; None where
    they never are."""
    ray = pair.wrists[Side.RIGHT] / np.linalg.norm(pair.wrists[Side.RIGHT])
    for shift in (*np.arange(0.001, 0.03, 0.001), *-np.arange(0.001, 0.03, 0.001)):
        nearer = dataclasses.replace(pair, wrists=pair.wrists + np.outer([0.0, shift], ray))
        if depth_wanted <= depth(nearer) < depth_wanted + 0.003:
            return nearer
    return None


def flipped(certain):
    return PairUncertainty(
        *(value[::-1].copy() for value in (certain.precision, certain.position_stddev, certain.scores))
    )


def swapped(x):
    """The vector (..., PAIR) of the same two hands in a mirror, the plane x = 0: each hand is the other side's."""
    vector = x[..., 2 * HAND :] * np.array([1.0, -1.0, -1.0], dtype=x.dtype)
    return np.concatenate([x[..., HAND : 2 * HAND], x[..., :HAND], vector], axis=-1)
