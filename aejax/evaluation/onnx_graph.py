"""ONNX graphs from the operations of a model."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

from aejax.models.operations import Operation, Shape

_OPSET, _IR = 20, 10
"""of 2023, the first opset with GELU; today's runtimes read it"""
_ACTIVATIONS = {"relu": "Relu", "elu": "Elu", "tanh": "Tanh", "sigmoid": "Sigmoid"}


def model(listed: Sequence[Operation], given: Shape, made: Shape, names: tuple[str, str]) -> Any:
    """Make an ONNX model that applies the operations in order.

    Args:
        given, made: shapes of one example of the input and of the output, without the batch, which has any size.
        names: names of the input and of the output.
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
    """A chain of nodes: each node takes the result of the previous node."""

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
        """Append a node whose inputs are the last result and constants, or the names of other results."""
        names = [each if isinstance(each, str) else self.constant(each) for each in constants]
        result = output or f"{kind.lower()}_{next(self._numbers)}"
        self.nodes.append(helper.make_node(kind, [self.last, *names], [result], **attributes))
        self.last = result
        return result

    def apply(self, operation: Operation) -> None:
        match operation:
            case {"kind": "dense", "kernel": kernel, "bias": bias}:
                self.node("MatMul", kernel)
                self.node("Add", bias)
            case {"kind": "convolution", "kernel": kernel, "bias": bias, "stride": stride}:
                self.node("Transpose", perm=(0, 3, 1, 2))  # in ONNX the channels come before the pixels
                self.node("Conv", kernel.transpose(3, 2, 0, 1), bias, strides=(stride, stride), pads=(1, 1, 1, 1))
                self.node("Transpose", perm=(0, 2, 3, 1))
            case {"kind": "doubling", "size": size}:
                self.node("Transpose", perm=(0, 3, 1, 2))
                self.node("DepthToSpace", blocksize=2, mode="DCR")
                self.node("Transpose", perm=(0, 2, 3, 1))
                self.node("Slice", np.array([0, 0]), np.array(size), np.array([1, 2]))
            case {"kind": "reshape", "shape": shape}:
                self.node("Reshape", np.array([-1, *shape]))
            case {"kind": "add" | "mul" as kind, "numbers": numbers}:
                self.node(kind.capitalize(), numbers)
            case {"kind": "filled", "numbers": numbers}:
                given = self.last
                self.node("IsNaN")
                self.node("Where", numbers, given)
            case {"kind": "everysecond"}:
                self.node("Slice", np.array([0]), np.array([2**62]), np.array([1]), np.array([2]))
            case {"kind": "largest", "count": count}:
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
            case {"kind": "activation", "name": "gelu"}:
                self.node("Gelu", approximate="tanh")
            case {"kind": "activation", "name": "silu"}:
                given = self.last
                self.node("Sigmoid")
                self.node("Mul", given)
            case {"kind": "activation", "name": name}:
                self.node(_ACTIVATIONS[name])
