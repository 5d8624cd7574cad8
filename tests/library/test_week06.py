"""What week 06 draws, and its dictionary."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from practical_dl.weeks import week06


def test_the_dictionary_has_each_word_once_and_keeps_alphabets_apart() -> None:
    english, russian = zip(*week06.dictionary(), strict=True)
    assert len(english) == len(set(english)) == len(set(russian)) == 619
    assert all(word.isascii() and word.islower() for word in english)
    assert all("а" <= letter <= "я" for word in russian for letter in word)


def test_analogies_are_pairs_of_unlike_words() -> None:
    for pairs in week06.analogies().values():
        assert len(pairs) == 10 and all(a != b for a, b in pairs)


def test_pictures_show_every_word() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(3, 2))
    figure = week06.two_languages(
        points, points, points + 1, ["a", "b", "c"], ["а", "б", "в"], ("before", "after")
    )
    assert [len(ax.texts) for ax in figure.axes] == [6, 6]
    figure = week06.bars(["x", "y"], {"one": [0.1, 0.2], "two": [0.3, 0.4]}, "title", "share")
    assert len(figure.axes[0].patches) == 4
    ax = week06.heat(np.array([[0.0, 2.0], [2.0, 0.0]]), ["a", "b"], "title", plt.subplots()[1])
    assert [text.get_text() for text in ax.texts] == ["2", "2"]
    plt.close("all")
