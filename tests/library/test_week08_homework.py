"""Week 08's homework: pieces of words, chrF and BLEU, the reference of stories260K, its exam."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import matplotlib.pyplot as plt
import numpy as np
import pytest
import sacrebleu
import torch
from kit.exams import code_of
from kit.sets import real
from torch import nn

from autograder import exams
from practical_dl.check import CheckFailed
from practical_dl.weeks import week08

# -- Pieces of words ------------------------------------------------------------------------------


def test_words_keep_their_spaces() -> None:
    assert week08.split_words(" It's  Том, да!") == ["▁It", "'", "s", "▁Том", ",", "▁да", "!"]
    assert week08.split_words("") == []


def test_pieces_are_learned_as_byte_pair_encoding_learns_them() -> None:
    texts = ["low lower lowest", "low new newer newest", "wide widest"]
    pieces = week08.learn_pieces(texts, 40)
    words = [word for text in texts for word in week08.split_words(text)]
    parts = [list(word) for word in words]
    letters = {letter for word in words for letter in word} - {week08.SPACE}
    want = [week08.SPACE, *sorted(letters)]
    while True:  # all is counted anew each time
        counts: dict[tuple[str, str], int] = {}
        for word in parts:
            for pair in itertools.pairwise(word):
                counts[pair] = counts.get(pair, 0) + 1
        frequent = [(-n, pair) for pair, n in counts.items() if n > 1]
        if not frequent or len(want) == 40:
            break
        best = min(frequent)[1]
        if "".join(best) not in want:
            want.append("".join(best))
        for i, word in enumerate(parts):
            out: list[str] = []
            fresh = False
            for part in word:
                if out and not fresh and (out[-1], part) == best:
                    out[-1], fresh = "".join(best), True
                else:
                    out.append(part)
                    fresh = False
            parts[i] = out
    assert pieces == want
    numbers = {piece: i for i, piece in enumerate(pieces, 4)}
    ids = week08.encode_pieces("lower newest ю", numbers)
    assert "".join(pieces[i - 4] for i in ids[:-1]) == "▁lower▁newest▁"
    assert ids[-1] == week08.UNKNOWN


# -- Measures of translations -------------------------------------------------------------------


def test_chrf_of_known_cases() -> None:
    assert week08.chrf(["Том дома."], ["Том дома."]) == pytest.approx(100)
    assert week08.chrf(["abc"], ["xyz"]) == 0 and week08.chrf([""], ["xyz"]) == 0
    # By hand: 1-grams 2 of 2 and of 4, 2-grams 1 of 1 and of 3; no 3-grams of the first.
    precision, recall = 1.0, (2 / 4 + 1 / 3) / 2
    want = 100 * 5 * precision * recall / (4 * precision + recall)
    assert week08.chrf(["ab"], ["abcd"]) == pytest.approx(want)


def test_measures_are_those_of_sacrebleu() -> None:
    ours = ["Том дома.", "Я не знаю, что это.", "Кто там?", "Мне нравится этот большой дом."]
    theirs = ["Том уже дома.", "Я не знаю, что это было.", "Кто здесь?", "Мне нравится твой дом."]
    assert week08.chrf(ours, theirs) == pytest.approx(sacrebleu.corpus_chrf(ours, [theirs]).score)
    assert week08.bleu(ours, theirs) == pytest.approx(sacrebleu.corpus_bleu(ours, [theirs]).score)


def test_one_sentence_for_all_is_worth_nothing() -> None:
    theirs = ["Том дома.", "Я не знаю.", "Кто там?", "Мне холодно.", "Не надо."]
    score, chance = week08.above_shuffled(["Я не знаю."] * 5, theirs)
    assert score == pytest.approx(chance) and score > 0
    score, chance = week08.above_shuffled(theirs, theirs)
    assert score == pytest.approx(100) and chance < 50


def test_bleu_of_known_cases() -> None:
    assert week08.bleu(["a b c d e"], ["a b c d e"]) == pytest.approx(100)
    assert week08.bleu(["a b c"], ["a b c"]) == 0
    want = 100 * np.exp(1 - 5 / 4)
    assert week08.bleu(["a b c d"], ["a b c d e"]) == pytest.approx(want)


# -- stories260K --------------------------------------------------------------------------------


def test_the_reference_is_the_published_model() -> None:
    """An own pass, all positions at once, in float64; and the text that run.c writes."""
    stories = real("stories260k")
    ids = week08.story_ids(stories, "Once upon a time")
    assert b"".join(stories.tokens[i] for i in ids[1:]) == b" Once upon a time"
    c = stories.config
    w = {name: torch.from_numpy(array).double() for name, array in stories.weights.items()}

    def norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return weight * x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt()

    def turn(x: torch.Tensor) -> torch.Tensor:
        z = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2).contiguous())
        speed = 10000 ** (-2 * torch.arange(z.shape[-1]).double() / x.shape[-1])
        angle = torch.arange(x.shape[1]).double()[:, None] * speed
        return torch.view_as_real(z * torch.exp(1j * angle)).flatten(-2)

    x = w["embedding"][ids]
    for i in range(c["layers"]):
        h = norm(x, w["attention_norm"][i])
        q, k, v = (
            (h @ w[name][i].T).reshape(len(ids), -1, c["dim"] // c["heads"]).transpose(0, 1)
            for name in ("wq", "wk", "wv")
        )
        k, v = (y.repeat_interleave(c["heads"] // c["kv_heads"], 0) for y in (turn(k), v))
        a = nn.functional.scaled_dot_product_attention(turn(q), k, v, is_causal=True)
        x = x + a.transpose(0, 1).reshape(len(ids), -1) @ w["wo"][i].T
        h = norm(x, w["feed_forward_norm"][i])
        gate = nn.functional.silu(h @ w["w1"][i].T) * (h @ w["w3"][i].T)
        x = x + gate @ w["w2"][i].T
    want = (norm(x, w["norm"]) @ w["embedding"].T).numpy()
    np.testing.assert_allclose(week08.reference_logits(stories, ids), want, atol=1e-4)
    for _ in range(12):
        ids.append(int(week08.reference_logits(stories, ids)[-1].argmax()))
    text = b"".join(stories.tokens[i] for i in ids[1:]).decode()
    assert text.startswith(" Once upon a time, there was a little ")


def test_random_weights_have_the_shapes_of_the_real_ones() -> None:
    stories = real("stories260k")
    made = week08.random_story(stories.config, np.random.default_rng(0))
    assert {n: tuple(v.shape) for n, v in made.items()} == {
        n: v.shape for n, v in stories.weights.items()
    }


# -- The contract of a translator ------------------------------------------------------------------


class Parrot(nn.Module):
    """Says the text backwards, but for what a test makes of it."""

    def __init__(self, wrong: str = "") -> None:
        super().__init__()
        self.wrong = wrong
        self.weight = nn.Parameter(torch.zeros(2))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, texts: list[str]) -> list[str]:
        said = [text[::-1] for text in texts]
        if self.wrong == "neighbours":
            said = [text + str(len(texts)) for text in said]
        if self.wrong == "noise":
            said = [text + str(float(torch.rand(()))) for text in said]
        if self.wrong == "kind":
            return tuple(said)  # type: ignore[return-value]
        if self.wrong == "count":
            said = said[:-1]
        if self.wrong == "changes":
            self.calls += 1
        if self.wrong == "opens":
            open(__file__).close()
        return said


def test_a_translator_keeps_its_contract(tmp_path: Path) -> None:
    week08.TRANSLATOR.check(Parrot(), np.random.default_rng(0))
    codes = week08.TRANSLATOR.predict(Parrot(), ["abc", "", "я" * 100])
    assert week08.as_texts(codes) == ["cba", "", "я" * week08.LETTERS]
    path = week08.TRANSLATOR.save(Parrot(), tmp_path / "model.safetensors")
    assert not week08.TRANSLATOR.load(Parrot(), path).training


@pytest.mark.parametrize("wrong", ["neighbours", "noise", "kind", "count", "changes", "opens"])
def test_a_translator_that_breaks_it(wrong: str) -> None:
    with pytest.raises(CheckFailed):
        week08.TRANSLATOR.check(Parrot(wrong), np.random.default_rng(0))


def test_numbers_that_are_no_letters_become_signs() -> None:
    assert week08.as_texts(np.array([[65, 0xD800, -3, 2**22, 0, 66]])) == ["A���B"]


def test_the_scale_does_not_need_torch() -> None:
    code = "from practical_dl.weeks import week08; import sys; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


# -- What the exam asks, and how its answers count (weeks/week08_transformer/private.py) -----------

FILE = Path(__file__).parents[2] / "weeks" / "week08_transformer" / "private.py"


@pytest.fixture(scope="module")
def private() -> ModuleType:
    return exams.imported(FILE)


@pytest.fixture(scope="module")
def made(private: ModuleType) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    real("tatoeba")
    return private.make("small", np.random.default_rng(0))["translator"]


def spoilt(answers: dict[str, np.ndarray], share: float) -> np.ndarray:
    """A share of the translations is right, the others are those of other sentences."""
    right = answers["translations"].tolist()
    rng = np.random.default_rng(0)
    wrong = rng.permutation(right).tolist()
    said = [a if rng.random() < share else b for a, b in zip(right, wrong, strict=True)]
    return week08.as_codes(said)


def test_the_exam_asks_hidden_short_sentences_among_public_ones(private: ModuleType, made) -> None:
    inputs, answers = made
    public = real("tatoeba")
    sentences = inputs["sentences"].tolist()
    assert len(sentences) == len(answers["translations"]) and answers["public"].sum() == 150
    known = {*public.x_test}
    assert [one in known for one in sentences] == answers["public"].tolist()
    assert not {*sentences} & {*public.x_train}
    assert max(len(one.split()) for one in sentences) <= 5


def test_marks(private: ModuleType, made) -> None:
    _, answers = made
    shares = [private.mark_translator(spoilt(answers, s), answers, "small", "")[0] for s in (0, 1)]
    assert shares == [0.0, 1.0]
    everywhere = week08.as_codes(["Я не знаю."] * len(answers["public"]))
    share, message, flag = private.mark_translator(everywhere, answers, "small", "import torch")
    assert share == 0 and "0.0 above the" in message and flag == ""
    assert private.mark_translator(everywhere[:5], answers, "small", "")[0] == 0


def test_what_a_person_is_told(private: ModuleType, made) -> None:
    _, answers = made
    good = week08.as_codes(
        np.where(answers["public"], answers["translations"], "Не знаю.").tolist()
    )
    share, message, flag = private.mark_translator(good, answers, "small", "")
    assert share == 0 and "by heart" in message and "validation sentences" in flag
    assert (
        "more than a network"
        in private.mark_translator(spoilt(answers, 0.6), answers, "small", "")[2]
    )
    code = "data.withheld('tatoeba')"
    assert "weights of others" in private.mark_translator(good, answers, "small", code)[2]
    code = code_of((FILE.parent / "homework.py").read_text("utf-8"))
    low = spoilt(answers, 0.1)
    assert private.mark_translator(low, answers, "small", code)[2] == ""


# -- Costs and drawings ---------------------------------------------------------------------------


def test_the_largest_tensor_is_found_inside_of_torchs_functions() -> None:
    x = torch.zeros(9, 2)
    assert week08.largest_tensor(lambda: (x @ x.T).sum()) == 81
    assert week08.largest_tensor(lambda: x[:, None].expand(9, 50, 2).sum()) == 18


def test_drawings_draw() -> None:
    lengths = [256, 512]
    ax = week08.cache_picture(lengths, {"a": [1e9, 2e9], "with a window": [1e9, 1e9]})
    assert [line.get_label() for line in ax.lines[:2]] == ["a", "with a window"]
    costs = {"a": [1.0, 4.0]}
    figure = week08.cost_picture(lengths, costs, costs, lambda x, y: 2.0)
    assert figure.axes[0].get_legend().get_texts()[0].get_text() == "a: slope 2.00"
    ax = week08.recall_picture([1, 5], {"a": [0.5, 0.9]}, 100)
    assert ax.get_xscale() == "log"
    noted = {"step": [0, 1], "loss": [3.0, 2.0], "scores": [[0.1] * 4] * 2}
    noted["attention"] = torch.eye(4).expand(2, 4, 4)
    assert len(week08.cliff_picture({1: noted, 2: noted}).axes) == 3
    stories = real("stories260k")
    ids = week08.story_ids(stories, "The end")
    assert len(week08.story_picture({"a": (ids, [0.5] * len(ids))}, stories).axes) == 1
    labels = np.array([[-100, 7], [5, -100]])
    ax = week08.riddle_picture(["▁a", "b"], np.array([[5, 3], [5, 7]]), labels, np.array([5, 7]), 3)
    assert [bar.get_height() for bar in ax.patches] == [0, 50, 0, 0, 50, 0]
    plt.close("all")


def test_a_table_of_words_learns_which_belong_together() -> None:
    english = ["a house", "the house", "a book", "the book", "a dog", "the dog"]
    russian = ["дом один", "дом этот", "книга одна", "книга эта", "пёс один", "пёс этот"]
    there = week08.word_table(english, russian, 20)
    assert there("house", "дом") > there("house", "книга") + 1
    assert there("house", "Дом") == there("HOUSE", "дом") and there("house", "") == 0
    assert there("", "слово") < -9


def test_the_most_similar_sentence_shares_most_words() -> None:
    known, says = ["Tom is here.", "I see a dog.", "Where is it?"], ["1", "2", "3"]
    asked = ["Tom is there.", "I see a cat.", "Where is Tom?"]
    assert week08.most_similar(known, says, asked) == ["1", "2", "3"]
