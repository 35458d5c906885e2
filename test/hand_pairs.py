"""Pairs of hands for the tests of the refinement: measured, pushed into each other, and in the mirror."""

import dataclasses

import numpy as np
from evidence import MODEL

from hand_recon_ros import Side
from hand_recon_ros.geometry.mesh_queries import gap_between, penetration_depth
from hand_recon_ros.interact.pair import HandPair, PairChain, PairUncertainty
from hand_recon_ros.skeleton import WRIST, mirror_points, mirror_rotations

FOCAL = 500.0
CHAIN = PairChain(MODEL)


class Stream:
    """A refiner in a stream of the hands of two tracks, with its memory."""

    def __init__(self, refiner):
        self._refiner, self.memory = refiner, None

    def __call__(self, pair, uncertainty, stamp, hands=(1, 2)):
        result = self._refiner(pair, uncertainty, 8, stamp=stamp, hands=hands, memory=self.memory)
        self.memory = result.memory
        return result.pair


def translation(pair):
    return pair.wrists - np.stack([MODEL.kinematics(s).rest_keypoints(pair.betas[s])[WRIST] for s in Side])


def meshes(pair):
    return [MODEL.mesh(s, pair.rotations[s], pair.betas[s], translation(pair)[s]) for s in Side]


def joints(pair):
    at = translation(pair)
    return np.stack([MODEL.kinematics(s).forward(pair.rotations[s], pair.betas[s], at[s])[0] for s in Side])


def depth(pair):
    left, right = meshes(pair)
    return penetration_depth(left, MODEL.faces(Side.LEFT), right, MODEL.faces(Side.RIGHT))


def gap(pair):
    left, right = meshes(pair)
    return gap_between(left, MODEL.faces(Side.LEFT), right, MODEL.faces(Side.RIGHT), 0.02)


def uncertainty(pair, stddev=(0.02, 0.02), overlap=1.0):
    pixels = np.ptp(joints(pair)[..., :2] / joints(pair)[..., 2:], axis=1).max(axis=1)
    return PairUncertainty(np.ones((2, 21)) / (0.02 * pixels)[:, None], np.array(stddev), np.ones((2, 21)), overlap)


def pushed(pair, way):
    """The pair with its hands moved into each other along the ray until they are ``way`` deep, as far as that goes."""
    ray = pair.wrists[Side.RIGHT] / np.linalg.norm(pair.wrists[Side.RIGHT])
    for shift in (*np.arange(0.001, 0.03, 0.001), *-np.arange(0.001, 0.03, 0.001)):
        nearer = dataclasses.replace(pair, wrists=pair.wrists + np.outer([0.0, shift], ray))
        if way <= depth(nearer) < way + 0.003:
            return nearer
    return None


def mirrored(pair):
    return HandPair(
        mirror_rotations(pair.rotations)[::-1].copy(), pair.betas[::-1].copy(), mirror_points(pair.wrists)[::-1].copy()
    )


def flipped(certain):
    return PairUncertainty(
        *(value[::-1].copy() for value in (certain.precision, certain.position_stddev, certain.scores))
    )
