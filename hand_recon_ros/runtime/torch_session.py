"""Networks in torch, on a CUDA GPU or, with the same code, on the CPU."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from .devices import DeviceError
from .openvino_session import ImageBuffers, image_model
from .torch_graph import TorchGraph

if TYPE_CHECKING:
    import openvino

_LOCK = threading.RLock()
_WARM_UP_RUNS = 3
"""Before a CUDA graph is recorded: libraries choose their algorithms in the first runs."""


class TorchNetwork:
    """A network of static shapes; on a GPU its operations are recorded once and replayed as one CUDA graph.

    See :class:`hand_recon_ros.runtime.sessions.Network`.
    """

    def __init__(self, model: openvino.Model, device: str) -> None:
        """``device``: ``cuda``, or ``torch`` for torch on the CPU. Raises DeviceError where the GPU has no memory."""
        self._device = torch.device("cuda" if device == "cuda" else "cpu")
        self._names = [parameter.get_any_name() for parameter in model.inputs]
        graph = TorchGraph(model).eval()
        with _on_gpu():
            self._graph = graph.to(self._device)
        self._recorded: dict[tuple[tuple[int, ...], ...], RecordedGraph] = {}

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs, in the order of the model's, of arrays by name of the input."""
        return self.evaluate([np.ascontiguousarray(inputs[name]) for name in self._names])

    @torch.inference_mode()
    def evaluate(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The same of arrays in the order of the model's inputs, which may have a larger first axis (see TorchGraph).

        Raises DeviceError where the GPU fails.
        """
        tensors = [torch.from_numpy(array) for array in arrays]
        if self._device.type == "cpu":
            return [output.numpy() for output in self._graph(*tensors)]
        shapes = tuple(tuple(tensor.shape) for tensor in tensors)
        with _on_gpu():
            if shapes not in self._recorded:
                self._recorded[shapes] = RecordedGraph(self._graph, tensors, self._device)
            return self._recorded[shapes](tensors)


class RecordedGraph:
    """A CUDA graph of a module for inputs of the shapes of some examples."""

    def __init__(self, module: torch.nn.Module, examples: Sequence[torch.Tensor], device: torch.device) -> None:
        self._inputs = [example.to(device) for example in examples]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        # In float32: TensorFloat-32, which convolutions use otherwise, has as few digits as half precision.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UP_RUNS):
                    module(*self._inputs)
            torch.cuda.current_stream().wait_stream(stream)
            self._replayed = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._replayed, capture_error_mode="thread_local"):
                self._outputs = module(*self._inputs)

    def __call__(self, tensors: Sequence[torch.Tensor]) -> list[np.ndarray]:
        for static, tensor in zip(self._inputs, tensors, strict=True):
            static.copy_(tensor, non_blocking=True)
        self._replayed.replay()
        copies = [output.to("cpu", non_blocking=True) for output in self._outputs]
        torch.cuda.synchronize()
        return [copy.numpy() for copy in copies]


class TorchSession(ImageBuffers):
    """A network with one image input, see :class:`hand_recon_ros.runtime.sessions.Session`; arguments as of
    ``open_session``. Several images are one batch."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        device: str,
        *,
        capacity: int = 1,
        feature_layers: Sequence[str] = (),
        outputs: Sequence[int] | None = None,
        input_range: tuple[float, float] = (0.0, 1.0),
    ) -> None:
        model = image_model(path, feature_layers, outputs, input_range)
        self._network = TorchNetwork(model, device)
        self._own_outputs = len(model.outputs) - len(feature_layers)
        shape = (capacity, *list(model.inputs[0].shape)[1:])
        with _on_gpu():
            # Pinned memory is copied to the GPU without a copy in between.
            super().__init__(torch.zeros(shape, dtype=torch.uint8, pin_memory=device == "cuda").numpy())

    def run(
        self, count: int = 1, fill: Callable[[int], None] | None = None, features: bool = True
    ) -> list[tuple[np.ndarray, ...]]:
        """Outputs of each of the first ``count`` inputs, without the batch axis."""
        self.check(count)
        if count == 0:
            return []
        for index in range(count):
            if fill is not None:
                fill(index)
        outputs = self._network.evaluate([self._inputs[:count]])[: None if features else self._own_outputs]
        return [tuple(output[index].copy() for output in outputs) for index in range(count)]


@contextlib.contextmanager
def _on_gpu() -> Iterator[None]:
    """One thread at a time: networks are loaded side by side, and while a graph is recorded, nothing may be allocated.
    Errors of the GPU are raised as DeviceError."""
    with _LOCK:
        try:
            yield
        except RuntimeError as error:
            raise gpu_failure(error) from error


def gpu_failure(error: RuntimeError) -> DeviceError:
    """What to say of an error of torch on a GPU: no memory, a lost device and others."""
    first = (str(error).strip().splitlines() or ["no message"])[0]
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return DeviceError(f"device 'cuda': the GPU has too little free memory ({first}); set device to 'cpu'")
    return DeviceError(f"device 'cuda': the GPU failed ({first}); set device to 'cpu'")
