"""The encoder's ONNX file in OpenVINO."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openvino

from ..runtime.openvino_session import cpu_config
from ..runtime.sessions import SessionError
from .crop_frame import PAIR_FEATURES, RAY_FEATURES
from .outputs import FILE_NAMES, HandsOutput


class EncoderSession:
    """An exported encoder on the CPU, compiled for one hand and for two; see ``network.FusionAlignmentEncoder``.

    Attributes:
        takes_stems: whether its input are features of the landmark network's inner layers instead of crops.
        input_shape: of one hand's input: stems (N,) or crops (S, S, 3).
    """

    def __init__(self, path: str | os.PathLike[str], threads: int = 2, reduced_precision: bool = True) -> None:
        """``reduced_precision`` allows bfloat16 where the CPU computes in it.

        Raises SessionError where the file is not an exported encoder.
        """
        core = openvino.Core()
        try:
            model = core.read_model(os.fspath(path))
        except RuntimeError as error:
            raise SessionError(f"{os.fspath(path)}: OpenVINO cannot read this network: {error}") from error
        given = {name for entry in model.inputs for name in entry.names}
        names = {name for output in model.outputs for name in output.names}
        missing = sorted((set(FILE_NAMES.values()) - names) | ({"rays", "pairs", "others"} - given))
        if missing or not given & {"stems", "crops"}:
            raise SessionError(f"{os.fspath(path)}: not an encoder: it has no {', '.join(missing) or 'stems'}")
        self.takes_stems = "stems" in given
        self._first = "stems" if self.takes_stems else "crops"
        shape = [int(dimension.get_length()) for dimension in list(model.input(self._first).partial_shape)[1:]]
        self.input_shape = tuple(shape) if self.takes_stems else (shape[1], shape[2], shape[0])
        config = cpu_config(core, threads, reduced_precision)

        def compiled(count: int) -> openvino.InferRequest:
            sized = model.clone()
            shapes = {self._first: shape, "rays": [RAY_FEATURES], "pairs": [PAIR_FEATURES], "others": []}
            sized.reshape({name: [count, *rest] for name, rest in shapes.items()})
            if not self.takes_stems:
                sized = _with_pictures(sized)
            return core.compile_model(sized, "CPU", config).create_infer_request()

        with ThreadPoolExecutor() as pool:  # compiling takes one core about a second each
            self._requests = dict(zip((1, 2), pool.map(compiled, (1, 2)), strict=True))

    def run(self, images: np.ndarray, rays: np.ndarray, pairs: np.ndarray, others: np.ndarray) -> HandsOutput:
        """What is to be said of one hand or two: arrays (H, ...) in the order given.

        Args:
            images: (H, *input_shape), stems float32 or crops uint8 RGB, all as right hands.
            rays: (H, RAY_FEATURES), see CropFrame.ray_features.
            pairs: (H, PAIR_FEATURES), see CropFrame.pair_features.
            others: (H,) 1 where the other hand is among them.
        """
        request = self._requests[len(images)]
        request.set_tensor(self._first, openvino.Tensor(np.ascontiguousarray(images)))
        for name, value in (("rays", rays), ("pairs", pairs), ("others", others)):
            request.set_tensor(name, openvino.Tensor(np.ascontiguousarray(value, dtype=np.float32)))
        request.infer()
        return HandsOutput(*(request.get_tensor(name).data.copy() for name in FILE_NAMES.values()))


def _with_pictures(model: openvino.Model) -> openvino.Model:
    processor = openvino.preprocess.PrePostProcessor(model)
    image = processor.input("crops")
    image.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    image.model().set_layout(openvino.Layout("NCHW"))
    image.preprocess().convert_element_type(openvino.Type.f32).scale(255.0)
    return processor.build()
