"""Plots: every picture comes with its text alternative."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from practical_dl import plots

matplotlib.use("agg")


@pytest.fixture(autouse=True)
def no_figure_left() -> Iterator[None]:
    yield
    plt.close("all")


def test_show_publishes_the_picture_and_its_alternative(published: list) -> None:
    plots.curves({"loss": [3, 2, 1]}, "Loss", "step", "loss")
    plots.show("The loss falls from 3 to 1.")
    ((data, metadata),) = published
    assert data["text/plain"] == "The loss falls from 3 to 1."
    assert metadata == {"image/png": {"alt": "The loss falls from 3 to 1."}}
    picture = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert picture.text["Description"] == "The loss falls from 3 to 1."
    assert picture.width > 300
    assert plt.get_fignums() == []  # closed: an inline backend would show it again


def test_show_takes_the_figure_it_is_given(published: list) -> None:
    first = plots.images(np.zeros((2, 4, 4)))
    other = plt.figure()
    plots.show("Two black pictures.", first)
    assert len(published) == 1 and plt.get_fignums() == [other.number]


@pytest.mark.parametrize("alt", ["", "  \n"])
def test_show_wants_an_alternative(alt: str, published: list) -> None:
    plt.figure()
    with pytest.raises(ValueError, match="text alternative"):
        plots.show(alt)
    assert published == []


def test_show_outside_a_notebook_shows_nothing() -> None:
    plots.curves({"a": [1]}, "", "", "")
    plots.show("A point.")
    assert plt.get_fignums() == []


def test_curves() -> None:
    ax = plots.curves(
        {"a": [1, 2], "b": ([5, 6, 7], [1, 2, 3])}, "Title", "x", "y", log_x=True, log_y=True
    )
    assert [list(line.get_xdata()) for line in ax.lines] == [[0, 1], [5, 6, 7]]
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == ("Title", "x", "y")
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["a", "b"]
    assert plots.curves({"a": [1, 2]}, "", "", "", ax=ax) is ax
    assert plots.curves({"a": [1, 2]}, "", "", "").get_legend() is None


@pytest.mark.parametrize(("count", "visible"), [(1, (1, 1)), (3, (1, 3)), (9, (2, 8))])
def test_images(count: int, visible: tuple[int, int]) -> None:
    titles = [str(i) for i in range(count)]
    figure = plots.images(np.zeros((count, 4, 4, 3)), titles, "Title", symmetric=True)
    shown = [ax for ax in figure.axes if ax.images]
    assert len(shown) == count and len(figure.axes) == visible[0] * visible[1]
    assert [ax.get_title() for ax in shown] == titles


def test_symmetric_images_share_a_scale_around_zero() -> None:
    figure = plots.images(np.array([[[1.0, -3.0]], [[0.5, 0.0]]]), symmetric=True)
    assert [ax.images[0].get_clim() for ax in figure.axes] == [(-3.0, 3.0)] * 2


def test_ladder() -> None:
    ax = plots.ladder({"counts": (2.5, "To be,\n\nor not"), "network": (3.0, "")}, "title")
    assert [bar.get_width() for bar in ax.patches] == [2.5, 3.0]
    assert {text.get_text() for text in ax.texts} >= {"2.50", "3.00", "To be, / or not"}


def test_confusion() -> None:
    ax = plots.confusion([[5, 1], [0, 4]], ("cat", "dog"))
    assert sorted(t.get_text() for t in ax.texts) == ["1", "4", "5"]  # zeros stay empty
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")
    assert [t.get_text() for t in ax.get_xticklabels()] == ["cat", "dog"]


def test_decision_regions() -> None:
    x = np.array([[0.0, 0.0], [1.0, 2.0]])
    asked: list[tuple[int, ...]] = []

    def predict(points: np.ndarray) -> np.ndarray:
        asked.append(points.shape)
        return points[:, 0] > 0.5

    ax = plots.decision_regions(predict, x, np.array([0, 1]), "Regions")
    assert asked == [(150 * 150, 2)]
    np.testing.assert_array_equal(ax.collections[-1].get_offsets(), x)


def test_graph_puts_values_above_and_gradients_below_its_edges() -> None:
    edges = [("x", "f", 2.0, -0.12345), ("f", "y", 4.0, None)]
    ax = plots.graph({"x": (0, 0), "f": (1, 1), "y": (2, 0)}, edges, "f", labels={"f": "²"})
    shown = {text.get_text(): text for text in ax.texts}
    assert {"x", "²", "y", "2", "-0.123", "4"} <= set(shown)
    assert shown["2"].get_color() == plots.VALUE and shown["2"].get_va() == "bottom"
    assert shown["-0.123"].get_color() == plots.GRADIENT and shown["-0.123"].get_va() == "top"
    (low, high), (left, right) = ax.get_ylim(), ax.get_xlim()
    assert low < 0 < 1 < high and left < 0 < 2 < right
