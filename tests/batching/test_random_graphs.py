"""Whatever is proven batchable, onnxruntime confirms: small networks of randomly combined operators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import onnx

from tests.batching.graphs import B, model, node, numbers, tensor, weight
from tests.batching.rows import assert_rows_stand_alone, is_answered
from trainserve.batching import prove

AXES = st.integers(-3, 2)


STEPS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "Relu": st.just({}),
    "Softmax": st.fixed_dictionaries({"axis": AXES}),
    "LayerNormalization": st.fixed_dictionaries({"axis": AXES}),
    "LpNormalization": st.fixed_dictionaries({"axis": AXES}),
    "CumSum": st.fixed_dictionaries({"axis": AXES}),
    "ReduceMean": st.fixed_dictionaries({"axis": AXES}),
    "Transpose": st.fixed_dictionaries({"perm": st.permutations([0, 1, 2])}),
    "Reshape": st.fixed_dictionaries({"to": st.sampled_from(
        [[0, 0, -1], [-1, 4, 3], [3, -1, 4], [4, 3, -1], [0, -1, 1], [1, -1, 4], [12, -1, 1], [2, 6, -1], [-1, 2, 6]]
    )}),
    "Slice": st.fixed_dictionaries({"axis": AXES, "from": st.integers(-2, 1), "to": st.integers(1, 4)}),
    "Split": st.fixed_dictionaries({"axis": AXES}),
    "Gather": st.fixed_dictionaries({"axis": AXES}),
    "MatMul": st.fixed_dictionaries({"turned": st.booleans()}),
    "Add": st.fixed_dictionaries({"perm": st.permutations([0, 1, 2])}),
    "Concat": st.fixed_dictionaries({"axis": AXES}),
    "Tile": st.fixed_dictionaries({"axis": AXES}),
    "Pad": st.fixed_dictionaries({"axis": AXES}),
    "GRU": st.just({}),
    "Conv": st.just({}),
}  # fmt: skip


@hypothesis.given(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=6), st.data())
@hypothesis.settings(max_examples=100, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
def test_of_whatever_is_put_together_only_what_keeps_rows_apart_is_proven(
    steps: Sequence[str], data: st.DataObject
) -> None:
    graph = put_together([(step, data.draw(STEPS[step])) for step in steps])
    if prove(graph).first and is_answered(graph):
        assert_rows_stand_alone(graph)


def put_together(steps: Sequence[tuple[str, dict[str, Any]]]) -> onnx.ModelProto:
    nodes, weights, name = [], [], "x"
    for at, (step, given) in enumerate(steps):
        made = f"v{at}"
        axis = numbers(f"axis{at}", [given.get("axis", 0)])
        match step:
            case "Relu" | "Softmax" | "LpNormalization":
                new = [node(step, name, made, **given)]
            case "LayerNormalization":
                weights.append(numbers(f"one{at}", [1], np.float32))
                new = [node(step, f"{name} one{at}", made, **given)]
            case "CumSum" | "ReduceMean":
                weights.append(axis)
                new = [node(step, f"{name} axis{at}", made)]
            case "Transpose":
                new = [node(step, name, made, perm=given["perm"])]
            case "Reshape":
                weights.append(numbers(f"to{at}", given["to"]))
                new = [node(step, f"{name} to{at}", made)]
            case "Slice":
                weights += [axis, numbers(f"from{at}", [given["from"]]), numbers(f"to{at}", [given["to"]])]
                new = [node(step, f"{name} from{at} to{at} axis{at}", made)]
            case "Split":
                new = [node(step, name, f"{made} rest{at}", axis=given["axis"], num_outputs=2)]
            case "Gather":
                weights.append(numbers(f"which{at}", [0]))
                new = [node(step, f"{name} which{at}", made, axis=given["axis"])]
            case "MatMul":
                new = [node("Transpose", name, f"t{at}", perm=[0, 2, 1])]
                new += [node(step, f"{name} t{at}" if given["turned"] else f"t{at} {name}", made)]
            case "Add":
                new = [node("Transpose", name, f"t{at}", perm=given["perm"]), node(step, f"{name} t{at}", made)]
            case "Concat":
                new = [node(step, f"{name} {name}", made, axis=given["axis"])]
            case "Tile":
                repeats = [1, 1, 1]
                repeats[given["axis"]] = 2
                weights.append(numbers(f"to{at}", repeats))
                new = [node(step, f"{name} to{at}", made)]
            case "Pad":
                pads = [0] * 6
                pads[given["axis"] % 3] = 1
                weights.append(numbers(f"to{at}", pads))
                new = [node(step, f"{name} to{at}", made)]
            case "GRU":
                weights += [weight(f"w{at}", 1, 9, 4), weight(f"r{at}", 1, 9, 3), numbers(f"to{at}", [1])]
                new = [node(step, f"{name} w{at} r{at}", f"g{at} last{at}", hidden_size=3)]
                new += [node("Squeeze", f"g{at} to{at}", made)]
            case _:
                weights.append(weight(f"w{at}", 3, 3, 1))
                new = [node("Conv", f"{name} w{at}", made)]
        nodes += new
        name = made
    return model(
        [*nodes, node("Identity", name, "y")], [tensor("x", [B, 3, 4])], [tensor("y", [B, None, None])], weights
    )
