"""Errors of the encoder relative to those that it predicts: how far its uncertainty is calibrated."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..encode.hand_encoder import LAPLACE
from ..encode.outputs import HandOutputs

ONE_SIGMA = 0.6827
"""Share of the errors that one standard deviation holds, of a calibrated prediction."""
SCALES = ("keypoint_scales", "log_crop_width_scale")
"""Outputs of the encoder that predict errors."""


def relative_errors(hands: HandOutputs, truth: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Errors over predicted standard deviations, by the name of the output that predicts them.

    Args:
        hands: outputs (..., as in HandOutputs).
        truth: arrays of ``datasets.crops.sample_crops``, likewise.

    Returns each coordinate (N, 2) of the keypoints inside the crops of rendered hands, and the log widths (M,) of these
    crops.
    """
    posed = truth["posed"] > 0
    counted = posed[..., None] & (truth["keypoint_weights"] > 0)
    keypoints = np.abs(hands.keypoints_2d - truth["keypoints_2d"]) / (LAPLACE * hands.keypoint_scales[..., None])
    width = np.abs(hands.log_crop_width - truth["log_crop_width"]) / (LAPLACE * hands.log_crop_width_scale)
    return dict(zip(SCALES, (keypoints[counted], width[posed]), strict=True))


def calibration(errors: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Factors on the outputs of SCALES with which one standard deviation holds the share ONE_SIGMA of the errors.

    ``errors`` are those of :func:`relative_errors`; the factor of an output without errors is 1.
    """
    return {name: float(np.quantile(values, ONE_SIGMA)) if values.size else 1.0 for name, values in errors.items()}
