"""The pipeline with a locator whose observations are set by the test."""

import numpy as np

from hand_recon_ros import TwoHandReconstructor
from hand_recon_ros.config import ReconstructorConfig, checked
from hand_recon_ros.track.locator import Located

IMAGE = np.zeros((480, 640, 3), dtype=np.uint8)


class Script:
    """A locator whose observations are set by the test."""

    networks = None

    def __init__(self):
        self.observations, self.configs, self.tracks = (), [], []

    def __call__(self, *observations):
        self.observations = observations

    def locate(self, frame, tracks, config):
        self.configs.append(config)
        self.tracks.append(tracks)
        return Located(sorted(self.observations, key=lambda observation: observation.side), {})

    def search(self, frame, config):
        return Located(sorted(self.observations, key=lambda observation: observation.side), {})


def reconstructor(script, **settings):
    # Without a time limit, so that the result does not depend on how busy the machine is.
    defaults = {"encoder": "none", "refiner": "none", "smoothing_cutoff": 0.0, "refine_budget": 0.0}
    return TwoHandReconstructor(checked(ReconstructorConfig, {**defaults, **settings}), locator=script)
