"""From text to a program for a stack machine, by Dijkstra's shunting-yard algorithm (1961), free of recursion."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import NoReturn

from shoal.errors import nearest
from shoal.expressions.functions import CONSTANTS, FUNCTIONS, NAMES, SEVERAL
from shoal.expressions.limits import Limits, Size, Sizing
from shoal.expressions.postfix import Apply, Name, Numeral, Parsed, Statement, Step
from shoal.expressions.tokens import ALLOWED, Token, refuse, tokens

# The sign binds less than a power: -x**2 is -(x**2), as in Python.
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "neg": 3, "**": 4}
VARIABLE = re.compile(r"[A-Za-z][0-9]*")
"""Names that stand for a variable without being declared."""


def parsed(text: str, variables: Collection[str] | None, limits: Limits) -> Parsed:
    """The formula in `text`; see `shoal.expressions.parse`.

    Raises:
        ConfigError: with the column, where the text is no formula, is too large, or has a constant that is not finite.
    """
    if len(text) > limits.characters:
        refuse(text, 0, f"has {len(text)} characters; at most {limits.characters} are allowed", hint="")
    for name in variables or ():
        if name in NAMES:
            refuse(text, 0, f"{name!r} has a meaning already and can be no variable")
    return _Parser(text, None if variables is None else tuple(variables), limits).parsed()


def names_in(text: str) -> tuple[str, ...]:
    """The names of values in a formula, in the order of their first use, without those that it defines itself.

    Raises:
        ConfigError: where a character belongs to no word.
    """
    parts = list(_statements(tokens(text)))
    defined = {part[0].text for part in parts if _is_named(part)}
    found = [
        word.text
        for part in parts
        for word, after in pairwise(part)
        if word.kind == "name" and after.text != "(" and word.text not in NAMES and word.text not in defined
    ]
    return tuple(dict.fromkeys(found))


def defined_in(text: str) -> tuple[str, ...]:
    """The names that a formula gives to formulas in it.

    Raises:
        ConfigError: where a character belongs to no word.
    """
    return tuple(part[0].text for part in _statements(tokens(text)) if _is_named(part))


class _Parser:
    """Reads the statements of one text from the first to the last."""

    def __init__(self, text: str, variables: tuple[str, ...] | None, limits: Limits) -> None:
        self.text = text
        self.declared = variables
        self.limits = limits
        self.found: set[str] = set()
        self.bound: dict[str, Size] = {}
        self.used: set[str] = set()

    def parsed(self) -> Parsed:
        statements = []
        parts = [part for part in _statements(tokens(self.text)) if part[0].kind != "end"]
        if not parts:
            refuse(self.text, 0, "is empty", hint="for example sin(x)*x**2")
        for part in parts:
            statements.append(self.statement(part, last=part is parts[-1]))
        # A formula that nothing uses is a slip of the pen in the name of it, or in its use.
        for statement in statements[:-1]:
            if statement.name not in self.used:
                refuse(self.text, 0, f"{statement.name} is given a formula but never used", hint="")
        variables = self.found if self.declared is None else self.declared
        ordered = sorted(variables, key=_natural) if self.declared is None else variables
        return Parsed(tuple(statements), tuple(ordered), uses=frozenset(self.found))

    def statement(self, words: Sequence[Token], *, last: bool) -> Statement:
        name = None
        if _is_named(words):
            name = words[0].text
            if name in NAMES or name in self.bound or name in self.found or name in (self.declared or ()):
                self.refuse(words[0], f"{name!r} has a meaning already: give the formula another name", hint="")
            # Its own name is bound only after it: a formula cannot use itself.
            words = words[2:]
        elif not last:
            self.refuse(words[0], "only the last formula may go without a name", hint="for example y=2*x+1; z=y**2")
        steps, size = _Formula(self, words).program()
        if name:
            self.bound[name] = size
        return Statement(name, steps)

    def name(self, word: Token, *, called: bool) -> None:
        """Check a name where an operand is expected, and note what it refers to."""
        # A function without an argument, or a number that is called.
        if called != (word.text in FUNCTIONS):
            self.refuse_name(word, called=called)
        if called or word.text in CONSTANTS:
            return
        if word.text in self.bound:
            self.used.add(word.text)
        elif word.text in self.declared if self.declared is not None else VARIABLE.fullmatch(word.text):
            self.found.add(word.text)
        else:
            self.refuse_name(word, called=called)

    def refuse_name(self, word: Token, *, called: bool) -> NoReturn:
        if word.text in FUNCTIONS:
            self.refuse(word, f"{word.text} is a function and needs an argument", hint=f"for example {word.text}(x)")
        known = [*NAMES, *self.bound, *(self.declared or ())]
        if called and (word.text in known or (self.declared is None and VARIABLE.fullmatch(word.text))):
            self.refuse(word, f"{word.text} is not a function", hint=f"to multiply, write {word.text}*(...)")
        kind = "function" if called else "name"
        guess = nearest(word.text, FUNCTIONS if called else known)
        variables = f"; variables: {', '.join(self.declared)}" if self.declared else ""
        self.refuse(
            word, f"no {kind} {word.text!r}{f'; did you mean {guess}?' if guess else ''}", hint=ALLOWED + variables
        )

    def refuse(self, word: Token, problem: str, *, hint: str = ALLOWED) -> NoReturn:
        refuse(self.text, word.column, problem, hint=hint)


class _Formula:
    """One formula: operators wait on `waiting` until their operands are in the program."""

    def __init__(self, parser: _Parser, words: Sequence[Token]) -> None:
        self.parser = parser
        self.words = words
        self.steps: list[Step] = []
        self.measured = Sizing(parser.text, parser.limits, parser.bound)
        self.waiting: list[tuple[str, Token]] = []
        self.arguments: list[int] = []
        """For each open parenthesis, the arguments read so far; its function stands before it in `waiting`."""

    def program(self) -> tuple[tuple[Step, ...], Size]:
        operand = True
        for at, word in enumerate(self.words[:-1]):
            operand = self.operand(word, self.words[at + 1]) if operand else self.operator(word)
        if operand:
            self.parser.refuse(self.words[-1], "ends where a number, a variable or a function is expected")
        self.unwind(0)
        if self.waiting:
            self.parser.refuse(self.waiting[-1][1], "'(' is never closed", hint="add )")
        return tuple(self.steps), self.measured.result()

    def operand(self, word: Token, after: Token) -> bool:
        """Take a word where an operand is expected; the answer says whether the next word must be one too."""
        if word.kind == "number":
            self.add(Numeral(float(word.text)), word)
            return False
        if word.kind == "name":
            called = after.text == "("
            self.parser.name(word, called=called)
            if called:
                self.waiting.append((word.text, word))
                return True
            self.add(Name(word.text), word)
            return False
        if word.text in "+-" or word.text == "(":
            # A plus in front of an operand does nothing.
            if word.text != "+":
                self.waiting.append(("neg" if word.text == "-" else "(", word))
            if word.text == "(":
                self.arguments.append(1)
            self.nested(word)
            return True
        self.parser.refuse(word, f"{word} stands where a number, a variable or a function is expected")

    def operator(self, word: Token) -> bool:
        """Take a word where an operator is expected; the answer says whether the next word must be an operand."""
        if word.text in _PRECEDENCE and word.kind == "symbol":
            # `**` binds to the right: one that waits must go on waiting until this one has its operands.
            self.unwind(_PRECEDENCE[word.text] + (word.text == "**"))
            self.waiting.append((word.text, word))
            return True
        if word.text in (")", ","):
            return self.close(word)
        if word.kind in ("number", "name") or word.text == "(":
            self.parser.refuse(word, f"an operator is missing before {word}", hint="to multiply, write *")
        self.parser.refuse(word, f"{word} is not allowed here", hint="to give a formula a name, write y=2*x+1; z=y**2")

    def close(self, word: Token) -> bool:
        self.unwind(0)
        # A function waits right below the parenthesis of its arguments.
        called = len(self.waiting) > 1 and self.waiting[-2][0] in FUNCTIONS
        if word.text == ",":
            if not called:
                self.parser.refuse(word, "',' only separates the arguments of a function", hint="write 1.5, not 1,5")
            self.arguments[-1] += 1
            return True
        if not self.waiting:
            self.parser.refuse(word, "')' has no '(' before it")
        self.waiting.pop()
        given = self.arguments.pop()
        if called:
            self.call(*self.waiting.pop(), given)
        return False

    def call(self, name: str, word: Token, given: int) -> None:
        if (given < 2) if name in SEVERAL else (given != 1):
            wanted = "two arguments or more" if name in SEVERAL else "one argument"
            self.parser.refuse(word, f"{name} takes {wanted}, not {given}", hint="")
        # Of three arguments two applications: max(a, max(b, c)).
        for _ in range(max(given - 1, 1)):
            self.add(Apply(name, 2 if name in SEVERAL else 1), word)

    def unwind(self, precedence: int) -> None:
        """Move waiting operators that bind at least as tightly as `precedence` to the program."""
        while self.waiting and self.waiting[-1][0] in _PRECEDENCE and _PRECEDENCE[self.waiting[-1][0]] >= precedence:
            operator, word = self.waiting.pop()
            self.add(Apply(operator, 1 if operator == "neg" else 2), word)

    def add(self, step: Step, word: Token) -> None:
        self.steps.append(step)
        self.measured.add(step, word)

    def nested(self, word: Token) -> None:
        # As it is read: what waits for its operands is in no program yet, so nothing has measured it.
        deepest = self.parser.limits.depth
        if len(self.arguments) > deepest or len(self.waiting) > 4 * deepest:
            self.parser.refuse(word, f"is nested deeper than {deepest} levels", hint="")


def _statements(words: Sequence[Token]) -> Iterable[list[Token]]:
    """The words between `;` or line ends, each list closed by the word that ended it."""
    part: list[Token] = []
    for word in words:
        ends = word.kind == "end" or word.text in (";", "\n")
        part.append(Token("end", "", word.column) if ends else word)
        if ends:
            yield part
            part = []


def _is_named(words: Sequence[Token]) -> bool:
    """Whether a statement gives its formula a name."""
    return len(words) > 1 and words[0].kind == "name" and words[1].text == "="


def _natural(name: str) -> tuple[str, int]:
    """Sorts x2 before x10."""
    digits = name[1:]
    return (name[0], int(digits)) if digits.isdecimal() else (name, -1)
