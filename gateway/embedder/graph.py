"""The ONNX graph of a BERT sentence encoder, built from its tensors: mean of the last layer over the mask, unit norm.

The only importer of onnx, which takes tens of megabytes: gateway.embedder.build runs it in a short-lived process.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, TensorProto, helper, load_model, numpy_helper, save_model

from gateway.embedder.onnx_runtime import quantise
from gateway.embedder.weights import Shape, Tensors

OPSET = 20
"""Gelu is an operator of its own from here on."""
_IR_VERSION = 10
_CONTRIB = "com.microsoft"
"""onnxruntime's own operators: one Attention node instead of twelve."""
_Array = npt.NDArray[np.float32] | npt.NDArray[np.int64]


class _Builder:
    """Nodes and constants in the making; every method adds to them and returns the name of its result."""

    def __init__(self, tensors: Tensors, shape: Shape) -> None:
        self.tensors = tensors
        self.shape = shape
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def constant(self, name: str, value: _Array) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, inputs: Sequence[str], result: str, **attributes: float | int | str) -> str:
        domain = _CONTRIB if kind == "Attention" else ""
        made = helper.make_node(kind, inputs, [result], name=result, domain=domain)
        made.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
        self.nodes.append(made)
        return result

    def dense(self, source: str, path: str, result: str) -> str:
        weight = self.constant(f"{path}.weight", self.tensors[f"{path}.weight"].T)
        bias = self.constant(f"{path}.bias", self.tensors[f"{path}.bias"])
        product = self.node("MatMul", [source, weight], f"{result}.product")
        return self.node("Add", [product, bias], result)

    def norm(self, source: str, path: str, result: str) -> str:
        weight = self.constant(f"{path}.weight", self.tensors[f"{path}.weight"])
        bias = self.constant(f"{path}.bias", self.tensors[f"{path}.bias"])
        return self.node("LayerNormalization", [source, weight, bias], result, axis=-1, epsilon=self.shape.epsilon)

    def embeddings(self) -> str:
        """Words and places, each place with the one token type there is added; `ids` is int64[batch, tokens]."""
        table = self.tensors
        places = table["embeddings.position_embeddings.weight"][: self.shape.window]
        places = places + table["embeddings.token_type_embeddings.weight"][0]
        words = self.node("Gather", [self.constant("words", table["embeddings.word_embeddings.weight"]), "ids"], "word")
        lengths = self.node("Shape", ["ids"], "length", start=1, end=2)
        zero = self.constant("zero", np.zeros(1, np.int64))
        used = self.node("Slice", [self.constant("places", places), zero, lengths, zero], "place")
        return self.norm(self.node("Add", [words, used], "embedded"), "embeddings.LayerNorm", "layer.start")

    def layer(self, source: str, number: int) -> str:
        path, here = f"encoder.layer.{number}", f"layer.{number}"
        attended = self.attention(source, path, here)
        attended = self.dense(attended, f"{path}.attention.output.dense", f"{here}.mixed")
        attended = self.node("Add", [attended, source], f"{here}.first")
        attended = self.norm(attended, f"{path}.attention.output.LayerNorm", f"{here}.attended")
        wide = self.dense(attended, f"{path}.intermediate.dense", f"{here}.wide")
        wide = self.node("Gelu", [wide], f"{here}.gelu", approximate="none")
        narrow = self.dense(wide, f"{path}.output.dense", f"{here}.narrow")
        narrow = self.node("Add", [narrow, attended], f"{here}.second")
        return self.norm(narrow, f"{path}.output.LayerNorm", here)

    def attention(self, source: str, path: str, here: str) -> str:
        own = [f"{path}.attention.self.{part}" for part in ("query", "key", "value")]
        weight = np.concatenate([self.tensors[f"{part}.weight"].T for part in own], axis=1)
        bias = np.concatenate([self.tensors[f"{part}.bias"] for part in own])
        inputs = [source, self.constant(f"{here}.qkv", weight), self.constant(f"{here}.qkv_bias", bias), "mask32"]
        return self.node("Attention", inputs, f"{here}.heads", num_heads=self.shape.heads)

    def pooled(self, source: str) -> str:
        axis = self.constant("axis", np.ones(1, np.int64))
        last = self.constant("last", np.full(1, -1, np.int64))
        weights = self.node("Cast", ["mask"], "mask_float", to=TensorProto.FLOAT)
        weights = self.node("Unsqueeze", [weights, last], "mask_column")
        # The sum points where the mean does, and only the direction is kept.
        total = self.node("ReduceSum", [self.node("Mul", [source, weights], "masked"), axis], "sum", keepdims=0)
        size = self.node("ReduceL2", [total, last], "size", keepdims=1)
        return self.node("Div", [total, size], "vector")


def build(tensors: Tensors, shape: Shape) -> ModelProto:
    """Return the model: `ids`, `mask` int64[batch, tokens] -> `vector` float32[batch, hidden], unit norm.

    Mean pooling and normalisation as in Sentence-BERT (arXiv 1908.10084) and the model's own modules.json.
    """
    builder = _Builder(tensors, shape)
    builder.node("Cast", ["mask"], "mask32", to=TensorProto.INT32)
    state = builder.embeddings()
    for number in range(shape.layers):
        state = builder.layer(state, number)
    builder.pooled(state)
    graph = helper.make_graph(
        builder.nodes,
        "sentence encoder",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in ("ids", "mask")],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["batch", shape.hidden])],
        builder.constants,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(_CONTRIB, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="foreword")


def quantised(model: ModelProto, folder: Path) -> ModelProto:
    """Return the model with 7-bit weights, a scale for each column, and activations scaled as they come.

    `folder` is for files on the way.
    """
    first, last = folder / "full.onnx", folder / "quantised.onnx"
    save_model(model, str(first))
    quantise(first, last, default_type=TensorProto.FLOAT)
    return load_model(str(last))


def save(model: ModelProto, file: Path, *, data: str) -> None:
    """Write the model to `file` and its constants to a file named `data` beside it. Raises OSError."""
    save_model(model, str(file), save_as_external_data=True, location=data)
