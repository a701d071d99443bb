"""Which series of a counter are bad: matchers in the form of Prometheus, `code=~"5.."`.

Regular expressions are those of RE2, as in Prometheus: whoever writes an experiment would otherwise
hold up all others with one that takes exponential time.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Self

import re2

_MATCHER: Final = re.compile(
    r'\s*(?P<label>[a-zA-Z_][a-zA-Z0-9_]*)\s*(?P<operator>=~|!~|!=|=)\s*"(?P<value>(?:[^"\\]|\\.)*)"\s*'
)
_LARGEST_EXPRESSION_BYTES: Final = 2**20
_EXAMPLE: Final = (
    'write label matchers as in Prometheus, such as code=~"5.." or code="500",path!="/"'
)


class InvalidSelectorError(ValueError):
    """The text is no list of label matchers; the message says what to write."""


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition on one label; a label that a series does not have is empty."""

    label: str
    operator: str
    value: str

    def test(self) -> Callable[[str], bool]:
        """Return the condition, compiled."""
        negated = self.operator.startswith("!")
        if not self.operator.endswith("~"):
            return self.value.__ne__ if negated else self.value.__eq__
        pattern = re2.compile(self.value, _options())

        def test(text: str) -> bool:
            return (pattern.fullmatch(text) is None) == negated

        return test


@dataclass(frozen=True, slots=True)
class Selector:
    """Matchers that must all hold."""

    matchers: tuple[Matcher, ...]
    _tests: tuple[tuple[str, Callable[[str], bool]], ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read comma-separated matchers; InvalidSelectorError if that is not what it is."""
        matchers: list[Matcher] = []
        position = 0
        while True:
            found = _MATCHER.match(text, position)
            if found is None:
                raise InvalidSelectorError(f"cannot read {text[position:]!r}: {_EXAMPLE}")
            value = re.sub(r'\\(["\\])', r"\1", found["value"])
            matchers.append(Matcher(found["label"], found["operator"], value))
            position = found.end()
            if position == len(text):
                break
            if text[position] != ",":
                raise InvalidSelectorError(f"a comma is missing before {text[position:]!r}")
            position += 1
        try:
            tests = tuple((matcher.label, matcher.test()) for matcher in matchers)
        except re2.error as error:
            (said,) = error.args
            raise InvalidSelectorError(
                f"{text!r} holds no regular expression as Prometheus has them: {said.decode()}"
            ) from error
        return cls(tuple(matchers), tests)

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a series with these labels is bad."""
        return all(test(labels.get(label, "")) for label, test in self._tests)


def _options() -> re2.Options:
    options = re2.Options()
    options.max_mem = _LARGEST_EXPRESSION_BYTES
    options.dot_nl = True
    options.log_errors = False
    return options


EVERYTHING: Final = Selector((), ())
