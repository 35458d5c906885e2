"""The scenes of a clip: one person, one room and one camera, both hands in motion."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..camera import Camera
from ..hand_model import HandModel
from ..types import Side
from .backgrounds import background
from .lighting import Lamp, Lighting
from .motion import Motion, sample_motion
from .photometric import CameraResponse
from .scene import HandPose, Scene
from .skin import Appearance, skin_colour
from .surface import Arm
from .vectors import triple


def clip_scenes(
    hand_model: HandModel, frames: int, seed: int, camera: Camera, rate: float = 30.0, view: str = "webcam"
) -> tuple[Motion, list[Scene]]:
    """The motion and the scenes of a clip, one per frame; the same arguments give the same scenes.

    Arguments as those of :func:`write_clip`; ``camera`` takes the images.
    """
    width = 0.45 * camera.width / float(camera.K[0, 0])
    motion = sample_motion(hand_model, frames, seed, rate, view, width)
    # A generator of its own: a change of the appearance leaves the motion as it was.
    rng = np.random.default_rng([seed, 1])
    appearance = dataclasses.replace(Appearance.sample(rng), polish=None)
    sleeve = float(rng.uniform(0.05, 0.14))
    arms = [Arm(girth=float(rng.uniform(0.92, 1.1)), sleeve=sleeve, fold_seed=int(rng.integers(2**31))) for _ in Side]
    lighting = _clip_lighting(rng)
    response = CameraResponse(
        exposure=float(rng.uniform(0.85, 1.1)), noise=float(rng.uniform(1.2, 2.2)), blur=0.5, vignette=0.12
    )
    kind = "room" if view == "webcam" else "desk"
    image = background(kind, camera.height, camera.width, int(rng.integers(2**31)), skin_colour(appearance.tone))
    scenes = []
    for i in range(frames):
        hands = tuple(
            HandPose(
                side,
                motion.rotations[i, side],
                motion.betas[side],
                motion.translation[i, side],
                dataclasses.replace(
                    arms[side], bend=(float(motion.bends[i, side, 0]), float(motion.bends[i, side, 1]))
                ),
            )
            for side in Side
        )
        scenes.append(Scene(hands, camera, lighting, appearance, response, image, noise_seed=seed * 1000003 + i))
    return motion, scenes


def _clip_lighting(rng: np.random.Generator) -> Lighting:
    """An ordinary room: a main lamp above the camera on one side, a weaker lamp on the other, bright walls."""
    side = rng.choice([-1.0, 1.0])
    main = (side * rng.uniform(0.4, 0.9), -rng.uniform(0.6, 1.1), -rng.uniform(0.7, 1.1))
    fill = (-side * rng.uniform(0.6, 1.2), -rng.uniform(0.0, 0.5), -rng.uniform(0.1, 0.7))
    warm = np.exp(np.array([0.12, 0.0, -0.18]) * rng.uniform(-1, 1))
    cool = np.exp(np.array([-0.12, 0.0, 0.18]) * rng.uniform(-0.5, 1))
    return Lighting(
        (
            Lamp(triple(main), triple(rng.uniform(0.75, 1.05) * warm), 0.006),
            Lamp(triple(fill), triple(rng.uniform(0.15, 0.35) * cool), 0.008),
        ),
        sky=(0.50, 0.52, 0.55),
        ground=(0.26, 0.23, 0.21),
        front=(0.16, 0.16, 0.18),
    )
