"""Networks in OpenVINO on the CPU."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import openvino

from .sessions import SessionError

_STREAMS = 2
"""Images that are evaluated at once: the crops of both hands."""


class ImageBuffers:
    """The input images of a session, uint8 (capacity, n, n, 3)."""

    def __init__(self, inputs: np.ndarray) -> None:
        self._inputs = inputs

    @property
    def size(self) -> int:
        """Side of an image, pixels."""
        return int(self._inputs.shape[1])

    @property
    def inputs(self) -> np.ndarray:
        """The images, to be filled in place."""
        return self._inputs

    def check(self, count: int) -> None:
        """Raises ValueError for more images than there are, or fewer than none."""
        if not 0 <= count <= len(self._inputs):
            raise ValueError(f"this session takes up to {len(self._inputs)} images at once, got {count}")


class OpenVinoSession(ImageBuffers):
    """A network with one image input; its graph converts uint8 BGR to float RGB.

    One image is evaluated by all threads. Of several, two at a time are evaluated, each by half of the threads: with
    two threads, two crops then take 0.85 of the time of one after the other, 0.96 of that of a batch of two, and 0.7 of
    that of a batch while another process is busy.
    See :class:`hand_recon_ros.runtime.sessions.Session`; arguments as of ``open_session``.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int = 2,
        cache: str = "",
        capacity: int = 1,
        feature_layers: Sequence[str] = (),
        outputs: Sequence[int] | None = None,
        input_range: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        model = image_model(path, feature_layers, outputs, input_range)
        super().__init__(np.zeros((capacity, *list(model.inputs[0].shape)[1:]), dtype=np.uint8))
        self._streams = min(_STREAMS, threads, capacity)

        def requests(model: openvino.Model, streams: int) -> list[openvino.InferRequest]:
            return self._requests(_compiled(model, threads, streams, cache))

        # For each number of images at a time.
        self._with_features = {streams: requests(model, streams) for streams in {1, self._streams}}
        self._without = dict(self._with_features)
        self._own_outputs = len(model.outputs) - len(feature_layers)
        if feature_layers:
            # Feature maps that are outputs have to be converted from the layout in which they are computed. A graph
            # without them takes memory: there is one for several images, which are most.
            plain = image_model(path, (), outputs, input_range)
            self._without[self._streams] = requests(plain, self._streams)

    def run(
        self, count: int = 1, fill: Callable[[int], None] | None = None, features: bool = True
    ) -> list[tuple[np.ndarray, ...]]:
        """Outputs of each of the first ``count`` inputs, without the batch axis."""
        self.check(count)
        compiled = self._with_features if features else self._without
        # The last one of an odd number is evaluated by all threads.
        side_by_side = count - count % self._streams
        requests = compiled[self._streams][:side_by_side] + compiled[1][side_by_side:count]
        started = []
        try:
            for index, request in enumerate(requests):
                if fill is not None:
                    fill(index)
                if index < side_by_side:
                    request.start_async()
                    started.append(request)
        finally:
            for request in started:
                request.wait()
        for request in requests[side_by_side:]:
            request.infer()
        outputs = None if features else self._own_outputs
        return [tuple(output.data[0].copy() for output in request.output_tensors[:outputs]) for request in requests]

    def _requests(self, compiled: openvino.CompiledModel) -> list[openvino.InferRequest]:
        """A request on each of the input images, which are not copied."""
        requests = []
        for index in range(len(self._inputs)):
            request = compiled.create_infer_request()
            request.set_input_tensor(openvino.Tensor(self._inputs[index : index + 1], shared_memory=True))
            requests.append(request)
        return requests


class OpenVinoNetwork:
    """A network of static shapes; see :class:`hand_recon_ros.runtime.sessions.Network`.

    Attributes:
        request: OpenVINO's inference request.
    """

    def __init__(self, model: openvino.Model, threads: int, cache: str = "") -> None:
        self.request = _compiled(model, threads, cache=cache).create_infer_request()
        self._count = len(model.outputs)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs, in the order of the model's, of arrays by name of the input."""
        for name, array in inputs.items():
            self.request.set_tensor(name, openvino.Tensor(np.ascontiguousarray(array)))
        self.request.infer()
        return [self.request.get_output_tensor(index).data.copy() for index in range(self._count)]


def _compiled(model: openvino.Model, threads: int, streams: int = 1, cache: str = "") -> openvino.CompiledModel:
    """The model compiled for the CPU, or read from the folder ``cache``; options as of :func:`cpu_config`."""
    if cache:
        _number(model)
    return openvino.Core().compile_model(model, "CPU", cpu_config(threads, streams, cache))


def _number(model: openvino.Model) -> None:
    """Name layers, and outputs that are not named in the file, by their order. OpenVINO's names for what is added here
    depend on what else was loaded before in the process, and a cache takes other names for another network."""
    for number, layer in enumerate(model.get_ordered_ops()):
        layer.set_friendly_name(f"layer{number}")
    for number, output in enumerate(model.outputs):
        if all(name.startswith("Result_") for name in output.names):
            output.get_tensor().set_names({f"output{number}"})


def cpu_config(threads: int, streams: int = 1, cache: str = "") -> dict[str, Any]:
    """Options for compiling a network for the CPU, for ``streams`` requests at a time.

    With ``cache``, a folder, the compiled network is stored there, or read from there if the same network was compiled
    with the same options on such a CPU by the same version of OpenVINO.

    Precision is float32 also where the CPU has bfloat16: in bfloat16 the encoder's keypoints differ by up to 1 px of
    its crop and 2 mm, and its wrists by up to 7 mm.
    """
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": streams}
    return options | ({"CACHE_DIR": cache} if cache else {})


def read_network(path: str | os.PathLike[str]) -> openvino.Model:
    """The network in a file; raises SessionError where it is none."""
    try:
        return openvino.Core().read_model(os.fspath(path))
    except RuntimeError as error:
        raise SessionError(f"{os.fspath(path)}: OpenVINO cannot read this network: {error}") from error


def network_notes(path: str | os.PathLike[str], entry: str) -> dict[str, Any]:
    """What an exported file says of its network in an entry of its metadata; {} where it has none.

    Raises SessionError where the file is no network.
    """
    model = read_network(path)
    if not model.has_rt_info(["framework", entry]):
        return {}
    try:
        notes = json.loads(model.get_rt_info(["framework", entry]).astype(str))
    except ValueError as error:
        raise SessionError(f"{os.fspath(path)}: its metadata {entry!r} cannot be read: {error}") from error
    return notes if isinstance(notes, dict) else {}


def image_model(
    path: str | os.PathLike[str],
    feature_layers: Sequence[str] = (),
    outputs: Sequence[int] | None = None,
    input_range: tuple[float, float] = (0.0, 1.0),
) -> openvino.Model:
    """The network in a file with an input (1, n, n, 3) of uint8 BGR; arguments and errors as of ``open_session``."""
    model = _with_outputs(read_network(path), outputs)
    shape = [int(n) for n in model.inputs[0].shape]
    if len(model.inputs) != 1 or len(shape) != 4 or shape[0] != 1 or shape[1] != shape[2] or shape[3] != 3:
        raise SessionError(f"{os.fspath(path)}: expected one image input (1, n, n, 3), got {tuple(shape)}")
    model.add_outputs([_input_of(model, layer, path) for layer in feature_layers])
    return _with_image_input(model, input_range)


def _with_outputs(model: openvino.Model, outputs: Sequence[int] | None) -> openvino.Model:
    """The network with all of its outputs or only some of them."""
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
