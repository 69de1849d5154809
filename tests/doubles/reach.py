"""Which generations of TensorRT get to a place in a source file, by the checks around it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

GENERATIONS = frozenset({8, 10, 11})

Node = ast.AST


class Reach:
    """A syntax tree with its checks of the generation: ``generation(trt) == 8``, ``hasattr``."""

    generation: int
    parents: dict[Node, Node]

    def resolve(self, node: Node) -> str:
        """Return what an expression is, ``generation`` among others; empty where not known."""
        raise NotImplementedError

    def has(self, owner: str, name: str) -> bool:
        """Whether what :meth:`resolve` names has an attribute, in this tree's own generation."""
        raise NotImplementedError

    def reaching(self, node: Node) -> frozenset[int]:
        """Return the generations in which a node can be executed."""
        reached = GENERATIONS
        while (parent := self.parents.get(node)) is not None:
            if isinstance(parent, (ast.If, ast.IfExp)):
                body, other = parent.body, parent.orelse
                if node is body or (isinstance(body, list) and node in body):
                    reached &= self.true(parent.test)
                elif node is other or (isinstance(other, list) and node in other):
                    reached &= self.false(parent.test)
            elif isinstance(parent, ast.BoolOp) and node in parent.values:
                for value in parent.values[: parent.values.index(node)]:  # type: ignore[arg-type]
                    decides = self.true if isinstance(parent.op, ast.And) else self.false
                    reached &= decides(value)
            elif isinstance(parent, ast.match_case) and node in parent.body:
                reached &= self._case(parent)
            for before in self._before(node, parent):
                if isinstance(before, ast.If) and leaves(before.body):
                    reached &= self.false(before.test)
            node = parent
        return reached

    def _before(self, node: Node, parent: Node) -> Iterator[ast.stmt]:
        for field in ("body", "orelse", "finalbody"):
            body = getattr(parent, field, None)
            if isinstance(body, list) and node in body:
                yield from body[: body.index(node)]

    def _case(self, case: ast.match_case) -> frozenset[int]:
        match = self.parents[case]
        assert isinstance(match, ast.Match)
        if self.resolve(match.subject) != "generation":
            return GENERATIONS
        left = GENERATIONS
        for each in match.cases:
            values = {n.value for n in ast.walk(each.pattern) if isinstance(n, ast.Constant)}
            taken = frozenset(v for v in values if isinstance(v, int)) if values else left
            if each is case:
                return taken
            left -= taken
        return left

    def true(self, test: Node) -> frozenset[int]:
        """Return the generations in which a test can be true."""
        return self._can(test, True)

    def false(self, test: Node) -> frozenset[int]:
        """Return the generations in which a test can be false."""
        return self._can(test, False)

    def _can(self, test: Node, outcome: bool) -> frozenset[int]:
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            return self._can(test.operand, not outcome)
        if isinstance(test, ast.BoolOp):
            sets = [self._can(value, outcome) for value in test.values]
            both = isinstance(test.op, ast.And) == outcome
            return frozenset.intersection(*sets) if both else frozenset.union(*sets)
        if isinstance(test, ast.Compare) and self.resolve(test.left) == "generation":
            limit = ast.literal_eval(test.comparators[0])
            return frozenset(g for g in GENERATIONS if compare(g, test.ops[0], limit) == outcome)
        if isinstance(test, ast.Call) and ast.unparse(test.func) == "hasattr":
            owner, name = self.resolve(test.args[0]), ast.literal_eval(test.args[1])
            there = bool(owner) and self.has(owner, name)
            # Known for this file's own generation only; the others have a Usage of their own.
            return GENERATIONS if there == outcome else GENERATIONS - {self.generation}
        return GENERATIONS


def compare(left: int, operator: ast.cmpop, right: Any) -> bool:
    """Evaluate one comparison."""
    return {
        ast.Eq: lambda: left == right, ast.NotEq: lambda: left != right,
        ast.Lt: lambda: left < right, ast.LtE: lambda: left <= right,
        ast.Gt: lambda: left > right, ast.GtE: lambda: left >= right,
        ast.In: lambda: left in right, ast.NotIn: lambda: left not in right,
    }[type(operator)]()  # fmt: skip


def leaves(body: list[ast.stmt]) -> bool:
    """Whether a block always leaves what is around it."""
    return bool(body) and isinstance(body[-1], (ast.Return, ast.Raise, ast.Continue, ast.Break))
