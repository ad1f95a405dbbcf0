"""The operations of a model as an ONNX graph."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

from aejax.models.operations import (
    Activation,
    Convolution,
    Dense,
    Doubling,
    EverySecond,
    Largest,
    Operation,
    Reshape,
    Scale,
    Shift,
)

_OPSET, _IR = 20, 10
"""of 2023, the first opset with GELU: runtimes of today read it, and newer ones will"""
_ACTIVATIONS = {"relu": "Relu", "elu": "Elu", "tanh": "Tanh", "sigmoid": "Sigmoid"}


def model(listed: Sequence[Operation], given: tuple[int, ...], made: tuple[int, ...], names: tuple[str, str]) -> Any:
    """An ONNX model that applies operations one after another.

    Args:
        given, made: shapes of an example of the input and of the output; the batch comes before, of any size.
        names: of input and output.
    """
    graph = _Graph(names[0])
    for operation in listed:
        graph.apply(operation)
    graph.node("Identity", output=names[1])
    shapes = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
        for name, shape in zip(names, (given, made), strict=True)
    ]
    made_graph = helper.make_graph(graph.nodes, "aejax", shapes[:1], shapes[1:], graph.constants)
    built = helper.make_model(made_graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    checker.check_model(built, full_check=True)
    return built


class _Graph:
    """Nodes one after another: each takes the result of the one before."""

    def __init__(self, name: str) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.last = name
        self._numbers = itertools.count(1)

    def constant(self, values: Any) -> str:
        name = f"constant_{next(self._numbers)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def node(self, kind: str, *constants: Any, output: str | None = None, **attributes: Any) -> str:
        """A node that takes the last result and constants, or the names of other results."""
        names = [each if isinstance(each, str) else self.constant(each) for each in constants]
        result = output or f"{kind.lower()}_{next(self._numbers)}"
        self.nodes.append(helper.make_node(kind, [self.last, *names], [result], **attributes))
        self.last = result
        return result

    def apply(self, operation: Operation) -> None:
        match operation:
            case Dense(kernel, bias):
                self.node("MatMul", kernel)
                self.node("Add", bias)
            case Convolution(kernel, bias, stride):
                self.node("Transpose", perm=(0, 3, 1, 2))  # ONNX has the channels before the pixels
                self.node("Conv", kernel.transpose(3, 2, 0, 1), bias, strides=(stride, stride), pads=(1, 1, 1, 1))
                self.node("Transpose", perm=(0, 2, 3, 1))
            case Doubling(size):
                self.node("Transpose", perm=(0, 3, 1, 2))
                self.node("DepthToSpace", blocksize=2, mode="DCR")
                self.node("Transpose", perm=(0, 2, 3, 1))
                self.node("Slice", np.array([0, 0]), np.array(size), np.array([1, 2]))
            case Reshape(shape):
                self.node("Reshape", np.array([-1, *shape]))
            case Scale(factor):
                self.node("Mul", factor)
            case Shift(offset):
                self.node("Add", offset)
            case EverySecond():
                self.node("Slice", np.array([0]), np.array([2**62]), np.array([1]), np.array([2]))
            case Largest(count):
                self._largest(count)
            case Activation("gelu"):
                self.node("Gelu", approximate="tanh")
            case Activation("silu"):
                given = self.last
                self.node("Sigmoid")
                self.node("Mul", given)
            case Activation(name):
                self.node(_ACTIVATIONS[name])

    def _largest(self, count: int) -> None:
        given = self.last
        magnitudes = self.node("Abs")
        values, places = f"values_{next(self._numbers)}", f"places_{next(self._numbers)}"
        sizes = self.constant(np.array([count]))
        self.nodes.append(helper.make_node("TopK", [magnitudes, sizes], [values, places], axis=1))
        self.last = given
        kept = self.node("GatherElements", places, axis=1)
        self.last = given
        self.node("Shape")
        self.node("ConstantOfShape")
        self.node("ScatterElements", places, kept, axis=1)
