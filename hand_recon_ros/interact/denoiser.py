"""The two-hand diffusion prior's network, for one pair of hands; neither torch nor diffusers is needed on a CPU."""

from __future__ import annotations

import json
import os

import numpy as np

from ..runtime.openvino_session import read_network
from ..runtime.sessions import SessionError, compiled
from .ddim import BETA_SCHEDULE, NUM_TRAIN_TIMESTEPS, cosine_alphas_cumprod
from .pair_vector import INPUTS


class Denoiser:
    """The network of an exported prior.

    Noise has standard deviation 1 in normalised vectors ``(x - mean) / std``, which are what :mod:`ddim` works on. The
    network itself takes and returns plain vectors.

    Attributes:
        mean, std: (PAIR,) of the vectors the prior was trained on.
        alphas_cumprod: (NUM_TRAIN_TIMESTEPS,), share of signal at each time step.
    """

    def __init__(self, path: str | os.PathLike[str], threads: int = 1, device: str = "cpu", cache: str = "") -> None:
        """``threads``: one is as fast as two for so small a network; ``device`` and ``cache``: see
        ``runtime.sessions.open_session``.

        Raises SessionError where the file is not an exported prior, and DeviceError where the GPU fails.
        """
        model = read_network(path)
        try:
            given = {entry.get_any_name() for entry in model.inputs}
            if given != set(INPUTS):
                names = ", ".join(sorted(given))
                raise SessionError(f"{os.fspath(path)}: not a two-hand prior: its inputs are {names}")
            notes = json.loads(model.get_rt_info(["framework", "prior"]).astype(str))
            self.mean, self.std = (np.array(notes[name], dtype=np.float64) for name in ("mean", "std"))
        except (RuntimeError, KeyError, ValueError) as error:
            if isinstance(error, SessionError):
                raise
            raise SessionError(f"{os.fspath(path)}: OpenVINO cannot read this network: {error}") from error
        if notes["schedule"] != BETA_SCHEDULE or notes["times"] != NUM_TRAIN_TIMESTEPS:
            raise SessionError(f"{os.fspath(path)}: unknown noise schedule {notes['schedule']!r}")
        self.alphas_cumprod = cosine_alphas_cumprod()
        model.reshape({name: [1, size] if size else [1] for name, size in INPUTS.items()})
        # Full precision: the error of half precision is as large as the errors that the prior repairs.
        self._network = compiled(model, device, threads, cache)

    def __call__(self, x_t: np.ndarray, t: int, condition: np.ndarray, confidence: np.ndarray) -> np.ndarray:
        """The predicted x0 (PAIR,) float64 of a noisy vector, given an estimate of the pair.

        Args:
            x_t: the noisy vector (PAIR,), not normalised: ``mean + std * add_noise(...)``.
            t: the time step, 0..NUM_TRAIN_TIMESTEPS - 1.
            condition: the estimate (PAIR,), its rotations orthonormal.
            confidence: (CONFIDENCES,), see :func:`pair_vector.confidences`.
        """
        values = (x_t, t, condition, confidence)
        inputs = {name: np.array(value, dtype=np.float32)[None] for name, value in zip(INPUTS, values, strict=True)}
        return np.asarray(self._network(inputs)[0][0], dtype=np.float64)

    def normalised(self, x: np.ndarray) -> np.ndarray:
        """A vector (..., PAIR) in numbers of mean 0 and standard deviation 1."""
        return (x - self.mean) / self.std

    def plain(self, x: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`normalised`."""
        return self.mean + self.std * x
