"""The rules of all known operators by domain and name, and output shapes that onnx does not infer.

(https://github.com/onnx/onnx/blob/main/docs/Operators.md, Operators-ml.md; onnxruntime's ContribOperators.md)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from trainserve.batching import elements, moves, products
from trainserve.batching.op import MIXES, Op, Rule, first
from trainserve.batching.values import NotRowwise, Rows, Shape, Shapes, State


def _each(rule: Rule, names: str) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


def refuse(words: str) -> Rule:
    """Return a rule that always raises NotRowwise with the reason `words`."""

    def rule(op: Op) -> list[State]:
        raise NotRowwise(words)

    return rule


_WHOLE = f"it computes its scale from all rows together: {MIXES}"
_FOUND = f"the number of rows in its output depends on the data: {MIXES}"
_CHANCE = "its output is random"

_STANDARD: dict[str, Rule] = {
    **_each(
        elements.elementwise,
        "Add Sub Mul Div Pow Mod Min Max Sum Mean And Or Xor Equal Greater GreaterOrEqual Less LessOrEqual Where "
        "BitShift BitwiseAnd BitwiseOr BitwiseXor PRelu StringConcat",
    ),
    **_each(
        elements.unary,
        "Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cast Ceil Celu Clip Cos Cosh Elu Erf Exp Floor Gelu "
        "HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not Reciprocal RegexFullMatch Relu Round "
        "Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu BitCast",
    ),
    "CastLike": elements.like,
    "Dropout": elements.dropout,
    **dict.fromkeys(["QuantizeLinear", "DequantizeLinear"], elements.unary),
    **_each(
        elements.first_axis(0),
        "Conv ConvTranspose ConvInteger QLinearConv AveragePool MaxPool LpPool GlobalAveragePool GlobalMaxPool "
        "GlobalLpPool InstanceNormalization GroupNormalization LRN DepthToSpace SpaceToDepth Col2Im",
    ),
    **dict.fromkeys(["GridSample", "MaxUnpool", "DeformConv"], elements.first_axis(0, 1)),
    "AffineGrid": elements.first_axis(0),
    "TfIdfVectorizer": elements.table,
    "BatchNormalization": elements.batch_normalization,
    **_each(
        elements.reduction,
        "ReduceMean ReduceSum ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp "
        "ReduceSumSquare",
    ),
    **dict.fromkeys(["ArgMax", "ArgMin"], elements.arg_reduction),
    **dict.fromkeys(["Softmax", "LogSoftmax", "Hardmax"], elements.softmax),
    "LpNormalization": elements.over(-1),
    "LayerNormalization": elements.from_axis,
    "RMSNormalization": elements.from_axis,
    "MeanVarianceNormalization": elements.mean_variance,
    **dict.fromkeys(["CumSum", "CumProd"], elements.cumulative),
    "TopK": elements.top_k,
    "OneHot": elements.one_hot,
    "Trilu": elements.trilu,
    **dict.fromkeys(["Reshape", "Flatten", "Squeeze", "Unsqueeze"], moves.same_order),
    "Transpose": moves.transpose,
    "Expand": moves.expand,
    "Tile": moves.tile,
    "ConstantOfShape": moves.constant_of_shape,
    "Concat": moves.concat,
    "Slice": moves.slices,
    "Pad": moves.pads,
    **dict.fromkeys(["Resize", "Upsample", "CenterCropPad"], moves.unchanged_there),
    "Split": moves.split,
    "Gather": moves.gather,
    "GatherElements": moves.gather_elements,
    "GatherND": moves.gather_nd,
    **dict.fromkeys(["ScatterElements", "Scatter"], moves.scatter_elements),
    "StringSplit": elements.like,
    "MatMul": products.matmul(),
    "MatMulInteger": products.matmul(),
    "QLinearMatMul": products.matmul(0, 3),
    "Gemm": products.gemm,
    "Einsum": products.einsum,
    **dict.fromkeys(["RNN", "GRU", "LSTM"], products.recurrent),
    "Attention": products.attention,
    "RotaryEmbedding": elements.first_axis(0, 3),
    "DynamicQuantizeLinear": refuse(_WHOLE),
    **dict.fromkeys(["NonMaxSuppression", "NonZero", "Unique", "Compress", "RoiAlign", "MaxRoiPool"], refuse(_FOUND)),
    **_each(refuse(_CHANCE), "RandomNormal RandomNormalLike RandomUniform RandomUniformLike Bernoulli Multinomial"),
    **dict.fromkeys(["ScatterND", "EyeLike", "ReverseSequence"], refuse(f"it works across the rows: {MIXES}")),
    **dict.fromkeys(["If", "Loop", "Scan", "SequenceMap"], refuse("whether its subgraph mixes rows is unknown")),
}

_ML: dict[str, Rule] = {
    **dict.fromkeys(["Scaler", "Imputer", "Binarizer", "LabelEncoder", "CategoryMapper"], elements.unary),
    **_each(
        elements.table,
        "LinearClassifier LinearRegressor SVMClassifier SVMRegressor TreeEnsembleClassifier TreeEnsembleRegressor "
        "TreeEnsemble Normalizer OneHotEncoder",
    ),
    "ArrayFeatureExtractor": moves.array_feature,
    "FeatureVectorizer": lambda op: elements.first_axis(*range(len(op.ins)))(op),
}

_MICROSOFT: dict[str, Rule] = {
    **dict.fromkeys(["Gelu", "QuickGelu"], elements.unary),
    **dict.fromkeys(["FastGelu", "BiasGelu"], elements.elementwise),
    **dict.fromkeys(["QLinearSigmoid", "QLinearLeakyRelu", "QuantizeLinear", "DequantizeLinear"], elements.unary),
    **dict.fromkeys(["QLinearAdd", "QLinearMul"], elements.where_first_and(0, 3)),
    **dict.fromkeys(
        ["FusedConv", "QLinearAveragePool", "QLinearGlobalAveragePool", "NhwcMaxPool"], elements.first_axis(0)
    ),
    **dict.fromkeys(["FusedMatMul", "TransposeMatMul"], products.fused_matmul),
    "FusedGemm": products.gemm,
    **dict.fromkeys(["SkipLayerNormalization", "SkipSimplifiedLayerNormalization"], elements.first_axis(0, 1)),
    **dict.fromkeys(["LayerNormalization", "SimplifiedLayerNormalization"], elements.from_axis),
    "EmbedLayerNormalization": elements.first_axis(0, 1, 7, 8),
    "Attention": elements.first_axis(0, 3),
    "CDist": lambda op: [_cdist(op)],
    **dict.fromkeys(["DynamicQuantizeMatMul", "DynamicQuantizeLSTM"], refuse(_WHOLE)),
}


def _cdist(op: Op) -> Rows:
    if first(op).axis != 0 or op.rows(1) is not None:
        raise NotRowwise(f"it compares every row with every other: {MIXES}")
    return op.rows_in(0)


RULES: dict[str, dict[str, Rule]] = {
    "": _STANDARD,
    "ai.onnx": _STANDARD,
    "ai.onnx.ml": _ML,
    "com.microsoft": _MICROSOFT,
}
"""Rules by domain and operator name."""

RANDOM = {operator for operator, rule in _STANDARD.items() if rule is _STANDARD["Bernoulli"]}
"""Operators with random output."""

SHAPES_ONLY: dict[str, tuple[int, ...]] = {
    "Reshape": (1,),
    "Expand": (1,),
    "Tile": (1,),
    "ConstantOfShape": (0,),
    "Slice": (1, 2),
    "AffineGrid": (1,),
    "Pad": (1,),
    "Resize": (1, 2, 3),
    "Upsample": (1,),
}
"""Positions of the inputs that only determine the output's shape, and so may depend on the number of rows."""


def shape_of(op: Op, domain: str) -> Sequence[Shapes | None]:
    """Return output shapes, also of operators for which onnx has no shape inference; None for an unknown one."""
    if domain not in ("ai.onnx.ml", "com.microsoft") or not op.ins or op.ins[0] is None or op.ins[0].shapes is None:
        return op.outs
    given = op.ins[0].shapes
    if op.kind in ("SVMClassifier", "TreeEnsembleClassifier"):
        count = _scores(op)
        return [tuple((shape[0], count)[: at + 1] for shape in given) for at in range(len(op.outs))]
    made = _shape_of(op, domain, given)
    return [known if known is not None else made if not at else None for at, known in enumerate(op.outs)]


def _scores(op: Op) -> int:
    """Return the number of scores that a classifier returns: one per class, or one per pair of classes."""
    classes = len(
        op.attribute("classlabels_int64s")
        or op.attribute("classlabels_strings")
        or op.attribute("classlabels_ints")
        or ()
    )
    pairs = op.kind == "SVMClassifier" and classes > 2 and not op.attribute("prob_a")
    return classes * (classes - 1) // 2 if pairs else max(2, classes)


def _shape_of(op: Op, domain: str, given: Shapes) -> Shapes | None:
    rule = RULES[domain].get(op.kind)
    second = op.given(1)
    same = (elements.unary, elements.elementwise, elements.from_axis)
    if rule in same or op.kind in ("Normalizer", "SkipLayerNormalization", "SkipSimplifiedLayerNormalization"):
        return given
    if op.kind == "ArrayFeatureExtractor" and second is not None and second.shapes is not None:
        pairs = zip(given, second.shapes, strict=True)
        return tuple((*(a[:-1] if len(a) > 1 else (1,)), math.prod(b)) for a, b in pairs)
    if op.kind == "OneHotEncoder":
        count = len(op.attribute("cats_int64s") or op.attribute("cats_strings") or ())
        return tuple((*shape, count) for shape in given)
    if op.kind in ("LinearRegressor", "SVMRegressor", "TreeEnsembleRegressor"):
        return tuple((shape[0], int(op.attribute("targets", op.attribute("n_targets", 1)))) for shape in given)
    if op.kind == "FeatureVectorizer":
        return tuple((shape[0], int(sum(op.attribute("inputdimensions", [])))) for shape in given)
    if op.kind in ("FusedMatMul", "TransposeMatMul", "CDist") and second is not None and second.shapes is not None:
        turned = op.kind == "CDist" or bool(op.attribute("transB", 0))
        return tuple(map(lambda a, b: _product(op, a, b, turned), given, second.shapes))
    if op.kind == "Attention" and not op.attribute("qkv_hidden_sizes"):
        return given
    if op.kind == "EmbedLayerNormalization" and (words := op.given(2)) is not None and words.shapes is not None:
        return tuple((*shape, words.shapes[0][-1]) for shape in given)
    return None


def _product(op: Op, a: Shape, b: Shape, turned: bool) -> Shape:
    batch = np.broadcast_shapes(a[:-2], b[:-2])
    return (*batch, a[-1] if op.attribute("transA", 0) else a[-2], b[-2] if turned else b[-1])
