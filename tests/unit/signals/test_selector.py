"""Matchers, as Prometheus reads them."""

import pytest

from shieldx.signals.selector import InvalidSelectorError, Selector


@pytest.mark.parametrize(
    ("text", "labels", "bad"),
    [
        ('code=~"5.."', {"code": "503"}, True),
        ('code=~"5.."', {"code": "1503"}, False),
        ('code!~"2..|3.."', {"code": "404"}, True),
        ('code="500"', {"code": "500"}, True),
        ('code!="200"', {}, True),
        ('code=""', {}, True),
        (' code = "500" , path != "/" ', {"code": "500", "path": "/"}, False),
        (r'path="a\"b,c"', {"path": 'a"b,c'}, True),
    ],
)
def test_a_series_is_bad_if_all_matchers_hold(
    text: str,
    labels: dict[str, str],
    bad: bool,  # noqa: FBT001 - a column of the table.
) -> None:
    assert Selector.parse(text).matches(labels) is bad


@pytest.mark.parametrize(
    "text",
    [
        "",
        "code",
        "code=500",
        'code="500" path="/"',
        'code="500",',
        'code=~"("',
        'code=~"(?=5)"',
        '"500"',
    ],
)
def test_what_is_no_matcher_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidSelectorError) as refused:
        Selector.parse(text)

    assert any(word in str(refused.value) for word in ("such as", "comma", "regular expression"))


def test_no_expression_of_one_experiment_can_hold_up_the_others() -> None:
    hopeless = Selector.parse('path=~"(a|aa)+$"')

    assert not hopeless.matches({"path": 5000 * "a" + "b"})
