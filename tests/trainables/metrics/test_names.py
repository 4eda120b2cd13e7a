from __future__ import annotations

import pytest

from trainables.metrics import parse_metric, require_same


@pytest.mark.parametrize("text", ["fid[inception,299px-bilinear,n=5000]", "kid[efficientnet_lite2,64px-tf1,n=500]"])
def test_a_full_name_comes_back_as_it_was(text: str) -> None:
    assert str(parse_metric(text)) == text


def test_a_short_name_gets_the_default_filter() -> None:
    assert str(parse_metric("fid[efficientnet_lite2, 64px, n=500]")) == "fid[efficientnet_lite2,64px-bilinear,n=500]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fdi[inception,299px,n=10]", "did you mean 'fid'"),
        ("fid[incepton,299px,n=10]", "did you mean 'inception'"),
        ("fid[efficientnet_lite,64px,n=10]", "did you mean 'efficientnet_lite0'"),
        ("fid[inception,299px-bilinaer,n=10]", "did you mean 'bilinear'"),
        ("fid[inception,299px,n=1]", "n >= 2 must hold"),
        ("fid[inception,0px,n=10]", "at least 1px"),
        ("fid[inception,n=10]", "a metric is written like"),
        ("fid", "a metric is written like"),
    ],
)
def test_a_wrong_name_is_told_the_right_one(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_metric(text, backbones=["efficientnet_lite0", "vgg16"])


def test_values_of_different_names_are_not_compared() -> None:
    require_same("fid[inception,299px,n=10]", "fid[inception,299px-bilinear,n=10]")
    with pytest.raises(ValueError, match="must not be compared"):
        require_same("fid[inception,299px,n=10]", "fid[inception,299px,n=20]")
