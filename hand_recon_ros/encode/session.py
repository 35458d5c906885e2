"""The encoder's ONNX file in OpenVINO."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np
import openvino

from ..runtime.openvino_session import read_network
from ..runtime.sessions import Network, SessionError, compiled
from .crop_frame import PAIR_FEATURES, RAY_FEATURES
from .outputs import HandOutputs

Outputs = TypeVar("Outputs", bound=HandOutputs)


class EncoderSession(Generic[Outputs]):
    """An exported encoder, compiled for one hand and for two; see ``models.encoder.FusionAlignmentEncoder``.

    Attributes:
        takes_stems: whether the input is features of the landmark network's inner layers instead of crops.
        input_shape: of one hand's input: stems (N,) or crops (S, S, 3).
        networks: compiled for each number of hands.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        outputs: type[Outputs],
        threads: int = 2,
        device: str = "cpu",
        cache: str = "",
    ) -> None:
        """Load an exported encoder.

        Args:
            path: the ONNX file.
            outputs: what is computed; outputs of the file that are not among these are removed from the graph.
            threads: CPU threads it may use.
            device, cache: see ``runtime.sessions.open_session``.

        Raises SessionError where the file is not an exported encoder with these outputs, and DeviceError where the GPU
        fails.
        """
        model = read_network(path)
        self._outputs, self._names = outputs, outputs.file_names()
        inputs = {name for entry in model.inputs for name in entry.names}
        available = {name for output in model.outputs for name in output.names}
        missing = sorted((set(self._names) - available) | ({"rays", "pairs", "others"} - inputs))
        if missing or not inputs & {"stems", "crops"}:
            raise SessionError(f"{os.fspath(path)}: not an encoder: it has no {', '.join(missing) or 'stems'}")
        model = _with_outputs(model, self._names)
        self.takes_stems = "stems" in inputs
        self._first = "stems" if self.takes_stems else "crops"
        shape = [int(dimension.get_length()) for dimension in list(model.input(self._first).partial_shape)[1:]]
        self.input_shape = tuple(shape) if self.takes_stems else (shape[1], shape[2], shape[0])

        def network(count: int) -> Network:
            sized = model.clone()
            shapes = {self._first: shape, "rays": [RAY_FEATURES], "pairs": [PAIR_FEATURES], "others": []}
            sized.reshape({name: [count, *rest] for name, rest in shapes.items()})
            if not self.takes_stems:
                sized = _with_image_input(sized)
            return compiled(sized, device, threads, cache)

        with ThreadPoolExecutor() as pool:  # compiling takes one core about a second each
            self.networks = dict(zip((1, 2), pool.map(network, (1, 2)), strict=True))

    def run(self, images: np.ndarray, rays: np.ndarray, pairs: np.ndarray, others: np.ndarray) -> Outputs:
        """Outputs (H, ...) for one hand or two, in the order of the inputs.

        Args:
            images: (H, *input_shape), stems float32 or crops uint8 RGB, each of a right hand or mirrored.
            rays: (H, RAY_FEATURES), see CropFrame.ray_features.
            pairs: (H, PAIR_FEATURES), see CropFrame.pair_features.
            others: (H,) 1 where the other hand is among them.
        """
        rest = {"rays": rays, "pairs": pairs, "others": others}
        inputs = {self._first: images, **{name: np.asarray(value, dtype=np.float32) for name, value in rest.items()}}
        return self._outputs(*self.networks[len(images)](inputs))


def _with_outputs(model: openvino.Model, names: Sequence[str]) -> openvino.Model:
    """The model with these outputs only."""
    return openvino.Model([model.output(name) for name in names], model.get_parameters(), "encoder")


def _with_image_input(model: openvino.Model) -> openvino.Model:
    """The model with uint8 NHWC crops as input, scaled inside the graph."""
    processor = openvino.preprocess.PrePostProcessor(model)
    image = processor.input("crops")
    image.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    image.model().set_layout(openvino.Layout("NCHW"))
    image.preprocess().convert_element_type(openvino.Type.f32).scale(255.0)
    return processor.build()
