"""A parser of KSQL's expressions of the tests' own: from text to nested tuples, by precedence.

A tuple begins with what it is: ``("+", left, right)``, ``("and", left, right)``, ``("column", "NAME")``.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from tests.unit.ksql.lexer import Token, tokens

Tree = tuple[Any, ...]
COMPARISONS: Final = ("=", "<>", "!=", "<", "<=", ">", ">=")
MOST_NESTED: Final = 100
_END: Final = Token("end", "")


def parsed(text: str) -> Tree:
    """Return the tree of an expression. Raises ``AssertionError`` where it is none."""
    parser = _Parser(tokens(text))
    tree = parser.expression()
    assert parser.next is _END, f"{parser.next} after the expression"
    return tree


class _Parser:
    def __init__(self, found: list[Token]) -> None:
        self._tokens = [*found, _END]
        self._at = 0
        self._depth = 0

    @property
    def next(self) -> Token:
        return self._tokens[self._at]

    def _is(self, *texts: str) -> bool:
        return self.next.kind in ("keyword", "sign") and self.next.text in texts

    def _taken(self, *texts: str) -> str | None:
        """Take the next token if it is one of ``texts``."""
        if not self._is(*texts):
            return None
        self._at += 1
        return self._tokens[self._at - 1].text

    def _take(self, text: str) -> None:
        assert self._taken(text), f"{self.next} instead of {text}"

    def _name(self) -> str:
        token = self.next
        assert token.kind == "name", f"{token} is no name"
        self._at += 1
        return token.text

    def expression(self) -> Tree:
        self._depth += 1
        assert self._depth <= MOST_NESTED
        tree = self._conjunction()
        while self._taken("OR"):
            tree = ("or", tree, self._conjunction())
        self._depth -= 1
        return tree

    def _conjunction(self) -> Tree:
        tree = self._negation()
        while self._taken("AND"):
            tree = ("and", tree, self._negation())
        return tree

    def _negation(self) -> Tree:
        return ("not", self._negation()) if self._taken("NOT") else self._predicate()

    def _predicate(self) -> Tree:
        value = self._sum()
        if op := self._taken(*COMPARISONS):
            return (op, value, self._sum())
        if self._taken("IS"):
            is_not = self._taken("NOT")
            self._take("NULL")
            return ("is not null" if is_not else "is null", value)
        if self._taken("BETWEEN"):
            low = self._sum()
            self._take("AND")
            return ("between", value, low, self._sum())
        if self._taken("IN"):
            self._take("(")
            return ("in", value, self._list(")"))
        return value

    def _sum(self) -> Tree:
        tree = self._product()
        while op := self._taken("+", "-"):
            tree = (op, tree, self._product())
        return tree

    def _product(self) -> Tree:
        tree = self._signed()
        while op := self._taken("*", "/", "%"):
            tree = (op, tree, self._signed())
        return tree

    def _signed(self) -> Tree:
        if not self._taken("-"):
            return self._primary()
        if self.next.kind in ("integer", "decimal", "float"):
            kind, number = self._atom()
            # Not -number: of a Decimal that rounds to 28 digits.
            return self._parts((kind, number.copy_negate() if kind == "decimal" else -number))
        return ("negative", self._signed())

    def _primary(self) -> Tree:
        return self._parts(self._atom())

    def _parts(self, tree: Tree) -> Tree:
        while sign := self._taken("->", "["):
            if sign == "->":
                tree = ("field", tree, self._name())
            else:
                tree = ("part", tree, self._sum())
                self._take("]")
        return tree

    def _atom(self) -> Tree:
        token = self.next
        if token.kind == "keyword" or token.kind == "sign":
            return self._built()
        self._at += 1
        match token.kind:
            case "integer":
                return ("integer", int(token.text))
            case "decimal":
                return ("decimal", Decimal(token.text))
            case "float":
                return ("float", float(token.text))
            case "string":
                return ("string", token.text)
        if self._taken("("):
            if token.text == "COUNT" and self._taken("*"):
                self._take(")")
                return ("COUNT",)
            return ("call", token.text, self._list(")"))
        if self._taken("."):
            return ("column", self._name(), token.text)
        return ("column", token.text)

    def _built(self) -> Tree:
        if literal := self._taken("TRUE", "FALSE", "NULL"):
            return ("constant", {"TRUE": True, "FALSE": False, "NULL": None}[literal])
        if self._taken("("):
            tree = self.expression()
            self._take(")")
            return tree
        if self._taken("CAST"):
            self._take("(")
            tree = self.expression()
            self._take("AS")
            return ("cast", tree, self._type())
        if self._taken("STRUCT"):
            self._take("(")
            fields = []
            while not self._taken(")"):
                name = self._name()
                self._take(":=")
                fields.append((name, self.expression()))
                assert self._taken(",") or self._is(")")
            return ("struct", tuple(fields))
        self._take("CASE")
        branches = []
        while self._taken("WHEN"):
            condition = self.expression()
            self._take("THEN")
            branches.append((condition, self.expression()))
        otherwise = self.expression() if self._taken("ELSE") else None
        self._take("END")
        return ("case", tuple(branches), otherwise)

    def _list(self, end: str) -> tuple[Tree, ...]:
        items = [self.expression()]
        while self._taken(","):
            items.append(self._lambda() or self.expression())
        self._take(end)
        return tuple(items)

    def _lambda(self) -> Tree | None:
        names = [one.text for one in self._tokens[self._at : self._at + 4]]
        if names[0] != "(" or names[2:] != [")", "=>"]:
            return None
        self._at += 4
        return ("lambda", names[1], self.expression())

    def _type(self) -> Any:
        token = self.next
        self._at += 1
        if token.text != "DECIMAL":
            self._take(")")
            return token.text
        self._take("(")
        digits = self._atom()[1]
        self._take(",")
        scale = self._atom()[1]
        self._take(")")
        self._take(")")
        return ("DECIMAL", digits, scale)
