"""A network file as a torch module: the graph that OpenVINO reads from TFLite and ONNX files, evaluated by torch.

So every network runs on a GPU from the file that the CPU runs, without a second definition of it. The graph must have
static shapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import openvino
import torch
from torch import Tensor

from .torch_operations import INTEGERS, Operation, operation_of


class _Step(NamedTuple):
    """An operation, the numbers of the values it reads, and that of its first output, which others follow."""

    operation: Operation
    arguments: list[int]
    output: int


class TorchGraph(torch.nn.Module):
    """An OpenVINO model as a module: its parameters, in order, to a tuple of its results.

    What depends on constants alone is computed once, when the module is made. A model whose first axis has size 1
    everywhere may be evaluated with larger batches.
    """

    def __init__(self, model: openvino.Model) -> None:
        """Raises SessionError for an operation, or a mode of one, that is not known here, and for dynamic shapes."""
        super().__init__()
        self._steps: list[_Step] = []
        numbers: dict[tuple[str, int], int] = {}  # of each output of a node
        known: dict[int, Tensor] = {}  # values that depend on constants alone
        for node in model.get_ordered_ops():
            kind = node.get_type_name()
            arguments = [numbers[_key(node.input_value(index))] for index in range(node.get_input_size())]
            output = len(numbers)
            for index in range(node.get_output_size()):
                numbers[node.get_name(), index] = output + index
            if kind == "Constant":
                known[output] = _tensor(node.get_data())
            elif kind not in ("Parameter", "Result"):
                step = _Step(operation_of(node), arguments, output)
                if kind == "ShapeOf" or all(argument in known for argument in arguments):
                    _evaluate(step, known, [known.get(argument) for argument in arguments])
                else:
                    self._steps.append(step)
        self._inputs = [numbers[node.get_name(), 0] for node in model.get_parameters()]
        self._results = [numbers[_key(result.input_value(0))] for result in model.get_results()]
        read = {argument for step in self._steps for argument in step.arguments} | set(self._results)
        # Shapes, axes and indices are read by the program and stay on the CPU: nothing waits for the GPU.
        self._program = {n: known[n] for n in read & set(known) if known[n].dtype in INTEGERS}
        self._constants = sorted((read & set(known)) - set(self._program))
        for number in self._constants:
            self.register_buffer(f"constant{number}", known[number], persistent=False)
        last = {argument: step.output for step in self._steps for argument in step.arguments}
        # After a step, what no later one reads is dropped: its memory is used again.
        self._dropped: dict[int, list[int]] = {}
        for argument in set(last) - set(self._results):
            self._dropped.setdefault(last[argument], []).append(argument)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The results, in the order of the model's."""
        values: dict[int, Any] = self._program | dict(zip(self._inputs, inputs, strict=True))
        values.update((number, getattr(self, f"constant{number}")) for number in self._constants)
        for step in self._steps:
            _evaluate(step, values, [values[argument] for argument in step.arguments])
            for number in self._dropped.get(step.output, ()):
                del values[number]
        return tuple(values[number] for number in self._results)


def _evaluate(step: _Step, values: dict[int, Any], arguments: Sequence[Any]) -> None:
    result = step.operation(*arguments)
    for index, value in enumerate(result if isinstance(result, tuple) else (result,)):
        values[step.output + index] = value


def _key(output: openvino.Output) -> tuple[str, int]:
    return output.get_node().get_name(), output.get_index()


def _tensor(data: np.ndarray) -> Tensor:
    """A constant; half precision is how files store weights, not how they are computed with."""
    if data.dtype == np.float16:
        data = data.astype(np.float32)
    return torch.from_numpy(np.array(data))
