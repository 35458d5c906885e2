"""Networks in OpenVINO on the CPU."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import openvino

from .sessions import SessionError


class OpenVinoSession:
    """A network with one image input; its graph converts uint8 BGR to float RGB.

    It is compiled for one image and, where ``capacity`` is above 1, for that many as a batch. A batch of two crops on
    two threads takes 0.86 of the time of two single crops, and it is less sensitive to other processes than one thread
    per crop. See :class:`hand_recon_ros.runtime.sessions.Session`; arguments as of ``open_session``.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int = 2,
        capacity: int = 1,
        feature_layers: Sequence[str] = (),
        outputs: Sequence[int] | None = None,
        input_range: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        core = openvino.Core()
        model = _read(core, path, outputs)
        shape = [int(n) for n in model.inputs[0].shape]
        if len(model.inputs) != 1 or len(shape) != 4 or shape[0] != 1 or shape[1] != shape[2] or shape[3] != 3:
            raise SessionError(f"{os.fspath(path)}: expected one image input (1, n, n, 3), got {tuple(shape)}")
        model.add_outputs([_input_of(model, layer, path) for layer in feature_layers])
        config = cpu_config(threads)
        self._inputs = np.zeros((capacity, *shape[1:]), dtype=np.uint8)
        self._output_count = len(model.outputs)
        self._single = []
        compiled = core.compile_model(_with_image_input(model, input_range), "CPU", config)
        for index in range(capacity):
            self._single.append(self._request(compiled, index, index + 1))
        self._batch = self._single[0]
        if capacity > 1:
            model = _read(core, path, outputs)
            model.add_outputs([_input_of(model, layer, path) for layer in feature_layers])
            model.reshape([capacity, *shape[1:]])
            self._batch = self._request(
                core.compile_model(_with_image_input(model, input_range), "CPU", config), 0, capacity
            )

    @property
    def size(self) -> int:
        return int(self._inputs.shape[1])

    @property
    def inputs(self) -> np.ndarray:
        return self._inputs

    def run(self, count: int = 1) -> list[tuple[np.ndarray, ...]]:
        """Outputs of each of the first ``count`` inputs, without the batch axis."""
        if not 0 <= count <= len(self._inputs):
            raise ValueError(f"this session takes up to {len(self._inputs)} images at once, got {count}")
        if count == len(self._inputs):
            self._batch.infer()
            arrays = [self._batch.get_output_tensor(index).data.copy() for index in range(self._output_count)]
            return [tuple(array[image] for array in arrays) for image in range(count)]
        results = []
        for request in self._single[:count]:
            request.infer()
            results.append(tuple(request.get_output_tensor(i).data[0].copy() for i in range(self._output_count)))
        return results

    def _request(self, compiled: openvino.CompiledModel, start: int, stop: int) -> openvino.InferRequest:
        """A request on the images from ``start`` to ``stop``, which are not copied."""
        request = compiled.create_infer_request()
        request.set_input_tensor(openvino.Tensor(self._inputs[start:stop], shared_memory=True))
        return request


def cpu_config(threads: int) -> dict[str, Any]:
    """Options for compiling a network for the CPU, for one request at a time.

    Precision is float32 also where the CPU has bfloat16: in bfloat16 the encoder's keypoints differ by up to 1 px of
    its crop and 2 mm, and its wrists by up to 7 mm.
    """
    return {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}


def _read(core: openvino.Core, path: str | os.PathLike[str], outputs: Sequence[int] | None = None) -> openvino.Model:
    """The network in a file, with all of its outputs or only some of them."""
    try:
        model = core.read_model(os.fspath(path))
    except RuntimeError as error:
        raise SessionError(f"{os.fspath(path)}: OpenVINO cannot read this network: {error}") from error
    if outputs is None:
        return model
    results = model.get_results()
    return openvino.Model([results[index] for index in outputs], model.get_parameters(), model.get_friendly_name())


def _input_of(model: openvino.Model, layer: str, path: str | os.PathLike[str]) -> openvino.Output:
    """The input of a convolution (1, C, H, W) or of a linear layer (1, N), by the layer's name in the file or a part
    of it.

    Names of layers are those of the file. Names of the tensors between them change with the version of OpenVINO.
    """
    layers = ("Convolution", "MatMul")
    for node in model.get_ordered_ops():
        if any(layer in name for output in node.outputs() for name in output.names):
            # The name belongs to the layer's output after bias, activation and transposition, or to a constant of it.
            while node.get_type_name() in ("Transpose", "Add", "Sigmoid"):
                node = node.input_value(0).get_node()
            while node.get_type_name() in ("Constant", "Convert", "Transpose", "Reshape"):
                node = next(iter(node.output(0).get_target_inputs())).get_node()
            if node.get_type_name() in layers:
                return node.input_value(0)
    raise SessionError(f"{os.fspath(path)}: this network has no layer {layer!r}")


def _with_image_input(model: openvino.Model, input_range: tuple[float, float]) -> openvino.Model:
    """The model with a uint8 BGR input: inside the graph the conversion to float RGB takes next to no time."""
    from openvino.preprocess import ColorFormat, PrePostProcessor

    processor = PrePostProcessor(model)
    layout = openvino.Layout("NHWC")
    image = processor.input()
    image.tensor().set_element_type(openvino.Type.u8).set_layout(layout).set_color_format(ColorFormat.BGR)
    image.model().set_layout(layout)
    low, high = input_range
    scale = 255.0 / (high - low)
    steps = image.preprocess().convert_element_type(openvino.Type.f32).convert_color(ColorFormat.RGB)
    if low != 0.0:
        steps.mean(-low * scale)
    steps.scale(scale)
    return processor.build()
