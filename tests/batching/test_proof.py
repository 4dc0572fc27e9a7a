"""Which graphs are proven batchable, and which are not: by names and shapes, and by tracing rows through the graph."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.batching.graphs import B, model, node, numbers, tensor, weight
from tests.batching.rows import assert_rows_stand_alone
from trainserve.batching import prove

X, Y = tensor("x", [B, 4]), tensor("y", [B, 4])


IMAGE = tensor("x", [B, 3, 8, 8])


SEQUENCE = tensor("x", [B, 5, 4])


BATCHES: dict[str, onnx.ModelProto] = {
    "linear": model([node("Gemm", "x w b", "y")], [X], [Y], [weight("w", 4, 4), weight("b", 4)]),
    "names differ between input and output, as Keras on TensorFlow gives them": model(
        [node("Relu", "x", "y")], [tensor("x", ["unk__36", 4])], [tensor("y", ["unk__37", 4])]
    ),
    "an axis without a name": model([node("Relu", "x", "y")], [tensor("x", [None, 4])], [tensor("y", [None, 4])]),
    "an output without a shape": model([node("Relu", "x", "y")], [X], [tensor("y", None)]),
    "softmax over the classes": model([node("Softmax", "x", "y", axis=-1)], [X], [Y]),
    "one number for each row": model([node("ReduceMax", "x a", "y", keepdims=0)], [X], [tensor("y", [B])],
                                     [numbers("a", [1])]),
    "reshape by the shape, as PyTorch writes it": model(
        [node("Shape", "x", "s"), node("Gather", "s zero", "n"), node("Unsqueeze", "n zeros", "rows"),
         node("Concat", "rows rest", "to", axis=0), node("Reshape", "x to", "flat"), node("MatMul", "flat w", "y")],
        [IMAGE], [Y],
        [numbers("zero", 0), numbers("zeros", [0]), numbers("rest", [-1]), weight("w", 192, 4)],
    ),
    "reshape with 0 and with -1": model(
        [node("Reshape", "x a", "p"), node("Reshape", "p b", "y")],
        [SEQUENCE], [tensor("y", [B, 20])], [numbers("a", [0, 4, 5]), numbers("b", [-1, 20])],
    ),
    "heads beside the batch, as transformers write them": model(
        [node("Reshape", "x a", "p"), node("Transpose", "p", "q", perm=[0, 2, 1, 3]), node("Reshape", "q b", "r"),
         node("MatMul", "r w", "s"), node("Reshape", "s c", "y")],
        [SEQUENCE], [tensor("y", [B, 20])],
        [numbers("a", [0, 5, 2, 2]), numbers("b", [-1, 5, 2]), numbers("c", [-1, 20]), weight("w", 2, 2)],
    ),
    "time and batch made one axis and parted again": model(
        [node("Transpose", "x", "p", perm=[1, 0, 2]), node("Reshape", "p a", "q"), node("Gemm", "q w", "r"),
         node("Reshape", "r b", "s"), node("Transpose", "s", "y", perm=[1, 0, 2])],
        [SEQUENCE], [tensor("y", [B, 5, 4])], [numbers("a", [-1, 4]), numbers("b", [5, -1, 4]), weight("w", 4, 4)],
    ),
    "a recurrent network that is given the batch first and turns it": model(
        [node("Transpose", "x", "t", perm=[1, 0, 2]), node("LSTM", "t w r", "all last", hidden_size=3),
         node("Squeeze", "last zeros", "y")],
        [SEQUENCE], [tensor("y", [B, 3])], [weight("w", 1, 12, 4), weight("r", 1, 12, 3), numbers("zeros", [0])],
    ),
    "a recurrent network whose state is made for as many rows as there are": model(
        [node("Shape", "x", "s"), node("Slice", "s zero one", "n"), node("Concat", "one n three", "to", axis=0),
         node("ConstantOfShape", "to", "h"), node("Transpose", "x", "t", perm=[1, 0, 2]),
         node("GRU", "t w r - - h", "- last", hidden_size=3), node("Squeeze", "last zero", "y")],
        [SEQUENCE], [tensor("y", [B, 3])],
        [weight("w", 1, 9, 4), weight("r", 1, 9, 3), numbers("zero", [0]), numbers("one", [1]), numbers("three", [3])],
    ),
    "a token for the class before every row's": model(
        [node("Shape", "x", "s"), node("Slice", "s zero one", "n"), node("Concat", "n one four", "to", axis=0),
         node("Expand", "token to", "tokens"), node("Concat", "tokens x", "y", axis=1)],
        [SEQUENCE], [tensor("y", [B, 6, 4])],
        [weight("token", 1, 1, 4), numbers("zero", [0]), numbers("one", [1]), numbers("four", [4])],
    ),
    "normalisation with learnt statistics": model(
        [node("BatchNormalization", "x a a a a", "y")], [IMAGE], [tensor("y", [B, 3, 8, 8])],
        [numbers("a", [1, 2, 3], np.float32)],
    ),
    "an If whose condition is a constant": model(
        [helper.make_node("If", ["yes"], ["y"],
                          then_branch=helper.make_graph([node("Relu", "x", "r")], "t", [], [tensor("r", [B, 4])]),
                          else_branch=helper.make_graph([node("Neg", "x", "n")], "e", [], [tensor("n", [B, 4])]))],
        [X], [Y], [numbers("yes", True, np.bool_)],
    ),
    "an embedding": model(
        [node("Gather", "w x", "y", axis=0)], [tensor("x", [B, 5], TensorProto.INT64)], [tensor("y", [B, 5, 3])],
        [weight("w", 7, 3)],
    ),
    "two inputs that an operator holds together": model(
        [node("Concat", "x z", "y", axis=1)], [tensor("x", ["unk__1", 4]), tensor("z", ["unk__2", 2])],
        [tensor("y", ["unk__3", 6])],
    ),
    "a classifier as scikit-learn's converter writes it": model(
        [node("Scaler", "x", "s", domain="ai.onnx.ml", offset=[0.0] * 4, scale=[1.0] * 4),
         node("LinearClassifier", "s", "y p", domain="ai.onnx.ml", classlabels_strings=["a", "b"], multi_class=1,
              coefficients=[1.0] * 8, intercepts=[0.0] * 2),
         node("Normalizer", "p", "q", domain="ai.onnx.ml", norm="L1")],
        [X], [tensor("y", [B], TensorProto.STRING), tensor("q", [B, 2])], ai_onnx_ml=1,
    ),
    "a tree, of which onnx says no shape": model(
        [node("TreeEnsembleClassifier", "x", "y p", domain="ai.onnx.ml", classlabels_int64s=[0, 1], class_ids=[0, 1],
              class_nodeids=[1, 2], class_treeids=[0, 0], class_weights=[1.0, 1.0], nodes_falsenodeids=[2, 0, 0],
              nodes_featureids=[0, 0, 0], nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"], nodes_nodeids=[0, 1, 2],
              nodes_treeids=[0, 0, 0], nodes_truenodeids=[1, 0, 0], nodes_values=[0.1, 0.0, 0.0])],
        [X], [tensor("y", [B], TensorProto.INT64), tensor("p", [B, 2])], ai_onnx_ml=1,
    ),
    "the label of the best class, as scikit-learn's converter writes it": model(
        [node("MatMul", "x w", "p"), node("ArgMax", "p", "best", axis=1),
         node("ArrayFeatureExtractor", "labels best", "found", domain="ai.onnx.ml"), node("Reshape", "found all", "y")],
        [X], [tensor("y", [B], TensorProto.INT64)],
        [weight("w", 4, 3), numbers("labels", [7, 8, 9]), numbers("all", [-1])], ai_onnx_ml=1,
    ),
}  # fmt: skip


NONE: dict[str, tuple[onnx.ModelProto, str]] = {
    "a sequence whose first axis is time": (
        model([node("GRU", "x w r", "all last", hidden_size=3), node("Squeeze", "all one", "y")],
              [tensor("x", ["time", 1, 4])], [tensor("y", ["time", 1, 3])],
              [weight("w", 1, 9, 4), weight("r", 1, 9, 3), numbers("one", [1])]),
        "GRU 'all': its first axis is time",
    ),
    "a recurrent network without one": (
        model([node("Transpose", "x", "t", perm=[0, 1, 2]), node("RNN", "t w r", "all last", hidden_size=3),
               node("Squeeze", "last zero", "y")],
              [SEQUENCE], [tensor("y", [B, 3])],
              [weight("w", 1, 3, 4), weight("r", 1, 3, 3), numbers("zero", [0])]),
        "RNN 'all': its first axis is time",
    ),
    "normalisation with the batch's statistics": (
        model([node("BatchNormalization", "x a a a a", "y m v", training_mode=1)], [IMAGE],
              [tensor("y", [B, 3, 8, 8])], [numbers("a", [1, 2, 3], np.float32)]),
        "normalises with the statistics of the whole batch",
    ),
    "the same, written with means": (
        model([node("ReduceMean", "x zero", "m"), node("Sub", "x m", "y")], [X], [Y], [numbers("zero", [0])]),
        "ReduceMean 'm': it reduces over axis 0, the batch axis",
    ),
    "a mean over everything": (
        model([node("ReduceMean", "x", "m", keepdims=0), node("Sub", "x m", "y")], [X], [Y]),
        "it reduces over axis 0",
    ),
    "a sum that runs from row to row": (
        model([node("CumSum", "x zero", "y")], [X], [Y], [numbers("zero", 0)]),
        "CumSum 'y': it adds up along axis 0",
    ),
    "softmax over the rows": (model([node("Softmax", "x", "y", axis=0)], [X], [Y]), "it works along axis 0"),
    "softmax of an old opset, which takes all axes from there on": (
        model([node("Softmax", "x", "y", axis=0)], [X], [Y], opset=11), "it works along axis 0"
    ),
    "the best of all rows": (
        model([node("TopK", "x k", "y i", axis=0)], [X], [tensor("y", ["k", 4]), tensor("i", ["k", 4], 7)],
              [numbers("k", [1])]),
        "it chooses along axis 0",
    ),
    "detections": (
        model([node("NonMaxSuppression", "boxes x", "y")], [tensor("boxes", [B, 6, 4]), tensor("x", [B, 1, 6])],
              [tensor("y", ["found", 3], TensorProto.INT64)]),
        "the number of rows in its output depends on the data",
    ),
    "what is not zero": (
        model([node("NonZero", "x", "p"), node("Transpose", "p", "y")], [X], [tensor("y", ["found", 2], 7)]),
        "the number of rows in its output depends on the data",
    ),
    "a batch that the exporter baked in": (
        model([node("Reshape", "x to", "f"), node("MatMul", "f w", "y")], [IMAGE], [Y],
              [numbers("to", [1, 192]), weight("w", 192, 4)]),
        r"a batch size is baked in: it turns .* into \[1, 192\]",
    ),
    "a constant for a fixed batch": (
        model([node("Add", "x w", "y")], [X], [Y], [weight("w", 2, 4)]), "shape inference fails with 13 rows"
    ),
    "a state for a fixed batch": (
        model([node("Transpose", "x", "t", perm=[1, 0, 2]), node("GRU", "t w r - - h", "- last", hidden_size=3),
               node("Squeeze", "last zero", "y")],
              [SEQUENCE], [tensor("y", [B, 3])],
              [weight("w", 1, 9, 4), weight("r", 1, 9, 3), weight("h", 1, 1, 3), numbers("zero", [0])]),
        "its initial state is a constant for one batch size",
    ),
    "likeness of every row to every other": (
        model([node("Transpose", "x", "t"), node("MatMul", "x t", "m"), node("MatMul", "m x", "y")], [X], [Y]),
        "it multiplies every row with every other",
    ),
    "rows turned round": (
        model([node("Slice", "x a b c d", "y")], [X], [Y],
              [numbers("a", [-1]), numbers("b", [-(2**62)]), numbers("c", [0]), numbers("d", [-1])]),
        "it reverses the rows",
    ),
    "the first row alone, for all": (
        model([node("Slice", "x a b", "s"), node("Add", "x s", "y")], [X], [Y], [numbers("a", [0]), numbers("b", [1])]),
        "it changes axis 0",
    ),
    "a quantisation that measures the whole batch": (
        model([node("DynamicQuantizeLinear", "x", "q s z"), node("DequantizeLinear", "q s z", "y")], [X], [Y]),
        "it computes its scale from all rows together",
    ),
    "a number for all rows beside the rows": (
        model([node("ReduceMean", "x", "m", keepdims=0), node("Relu", "x", "y")], [X], [Y, tensor("m", [])]),
        "output m is a scalar shared by all rows",
    ),
    "a threshold for all rows": (
        model([node("Greater", "x t", "y")], [X, tensor("t", [])], [tensor("y", [B, 4], TensorProto.BOOL)]),
        "input t is a scalar shared by all rows",
    ),
    "a fixed batch": (
        model([node("Relu", "x", "y")], [tensor("x", [4, 4])], [tensor("y", [4, 4])]),
        "the first axis of input x is fixed at 4",
    ),
    "two inputs of their own lengths": (
        model([node("Relu", "x", "y"), node("Relu", "z", "w")], [tensor("x", ["n", 4]), tensor("z", ["m", 4])],
              [tensor("y", ["n", 4]), tensor("w", ["m", 4])]),
        "inputs x and z may differ in their number of rows",
    ),
    "images cut into parts that become rows": (
        model([node("Reshape", "x to", "y")], [tensor("x", [B, 8])], [tensor("y", ["parts", 4])],
              [numbers("to", [-1, 4])]),
        "output y must have one entry per row along its first axis",
    ),
    "rows that become columns": (
        model([node("Transpose", "x", "y")], [X], [tensor("y", ["four", B])]), "axis 1 is the batch axis"
    ),
    "a squeeze that drops the only row": (
        model([node("Squeeze", "x", "y")], [tensor("x", [B, 4, 1])], [Y]), "it names no axes"
    ),
    "chance": (
        model([node("RandomUniformLike", "x", "r"), node("Add", "x r", "y")], [X], [Y]), "its output is random"
    ),
    "a loop": (
        model([helper.make_node("Loop", ["n", "", "x"], ["y"], body=helper.make_graph(
            [node("Identity", "c", "d"), node("Relu", "a", "b")], "body",
            [tensor("i", [], 7), tensor("c", [], 9), tensor("a", [B, 4])], [tensor("d", [], 9), tensor("b", [B, 4])]))],
              [X], [Y], [numbers("n", 2)]),
        "whether its subgraph mixes rows is unknown",
    ),
    "an operator that nobody knows": (
        model([node("Mystery", "x", "y", domain="com.example")], [X], [Y], com_example=1),
        "whether this operator of com.example mixes rows is unknown",
    ),
}  # fmt: skip


@pytest.mark.parametrize("graph", BATCHES.values(), ids=BATCHES.keys())
def test_what_answers_each_row_alone_is_a_batch(graph: onnx.ModelProto) -> None:
    found = prove(graph)
    assert found.first, found.reason
    assert_rows_stand_alone(graph)


@pytest.mark.parametrize(("graph", "words"), NONE.values(), ids=NONE.keys())
def test_what_does_not_is_told_with_the_operator_that_mixes_rows(graph: onnx.ModelProto, words: str) -> None:
    found = prove(graph)
    assert not found.first
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(found.reason)
