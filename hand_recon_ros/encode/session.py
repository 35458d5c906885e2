"""The encoder's ONNX file in OpenVINO."""

from __future__ import annotations

import os

import numpy as np
import openvino

from ..runtime.openvino_session import cpu_config
from ..runtime.sessions import SessionError
from .outputs import HandsOutput


class EncoderSession:
    """An exported encoder on the CPU; see :class:`network.FusionAlignmentEncoder`.

    ``crops`` is its input buffer, uint8 (2, S, S, 3) RGB, to be filled in place: left then right, both as right hands.
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
        names = {name for output in model.outputs for name in output.names}
        if not names >= set(HandsOutput._fields):
            missing = sorted(set(HandsOutput._fields) - names)
            raise SessionError(f"{os.fspath(path)}: not an encoder: it has no outputs {', '.join(missing)}")
        size = int(model.input("crops").shape[2])
        processor = openvino.preprocess.PrePostProcessor(model)
        image = processor.input("crops")
        image.tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
        image.model().set_layout(openvino.Layout("NCHW"))
        image.preprocess().convert_element_type(openvino.Type.f32).scale(255.0)
        compiled = core.compile_model(processor.build(), "CPU", cpu_config(core, threads, reduced_precision))
        self._request = compiled.create_infer_request()
        self.crops = np.zeros((2, size, size, 3), dtype=np.uint8)
        self._request.set_tensor("crops", openvino.Tensor(self.crops, shared_memory=True))

    def run(self, rays: np.ndarray, pairs: np.ndarray, shown: np.ndarray) -> HandsOutput:
        """What is to be said of the crops in the buffer: arrays (2, ...), left then right.

        Args:
            rays: (2, RAY_FEATURES), see CropFrame.ray_features.
            pairs: (2, PAIR_FEATURES), see CropFrame.pair_features.
            shown: (2,) 1 where there is a crop.
        """
        for name, value in (("rays", rays), ("pairs", pairs), ("shown", shown)):
            self._request.set_tensor(name, openvino.Tensor(np.ascontiguousarray(value, dtype=np.float32)))
        self._request.infer()
        return HandsOutput(*(self._request.get_tensor(name).data.copy() for name in HandsOutput._fields))
