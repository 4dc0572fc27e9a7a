"""Analysis of PromQL expressions."""

from __future__ import annotations

import promql_parser


def selectors(expr: str) -> list[promql_parser.VectorSelector]:
    """Return the vector selectors of an expression, in order. Raises ValueError for an invalid one."""
    found: list[promql_parser.VectorSelector] = []

    def look(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        elif isinstance(node, promql_parser.MatrixSelector):
            found.append(node.vector_selector)

    promql_parser.walk(promql_parser.parse(expr), pre_visit=look)
    return found
