"""What an expression asks for."""

from __future__ import annotations

import promql_parser


def selectors(expr: str) -> list[promql_parser.VectorSelector]:
    """The vector selectors of an expression, in the order in which they stand. Raises ValueError for a wrong one."""
    found: list[promql_parser.VectorSelector] = []

    def look(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        elif isinstance(node, promql_parser.MatrixSelector):
            found.append(node.vector_selector)

    promql_parser.walk(promql_parser.parse(expr), pre_visit=look)
    return found
