"""Week 14's practice: sounds as pictures, the exam, strings and books, librosa as an oracle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import matplotlib
import numpy as np
import pytest
import torch
from kit.pictures import is_drawn
from kit.sets import real

from autograder import exams
from autograder.authoring.text import parse
from practical_dl.weeks import week14

matplotlib.use("agg")
FILE = Path(__file__).parents[2] / "weeks" / "week14_audio" / "practice.py"


# -- The references against librosa --------------------------------------------------------------


@pytest.fixture(scope="module")
def references() -> dict[str, Callable]:
    """The references of the practice, by name."""
    text, _ = parse(FILE.read_text("utf-8"), "week14_audio", "practice")
    names = {"np": np, "torch": torch, "F": torch.nn.functional}
    for task in ("stft", "istft", "mel_filters", "mfcc"):
        exec(text.solutions[task].source, names)
    return names


@pytest.mark.filterwarnings("ignore")  # librosa's own, and those of what it imports
def test_features_are_those_of_librosa(references: dict[str, Callable]) -> None:
    import librosa

    rng = np.random.default_rng(0)
    sound = rng.normal(size=5000)
    found = references["mel_filters"](8000, 256, 30, 60.0, 3800.0)
    theirs = librosa.filters.mel(
        sr=8000, n_fft=256, n_mels=30, fmin=60, fmax=3800, htk=True, norm="slaney", dtype=np.float64
    )
    assert found == pytest.approx(theirs, rel=1e-6, abs=1e-12)
    window = torch.hann_window(256, dtype=torch.float64)
    spectra = references["stft"](torch.from_numpy(sound), window, 100).numpy()
    theirs = librosa.stft(sound, n_fft=256, hop_length=100, window="hann", pad_mode="constant")
    assert np.abs(spectra - theirs).max() < 1e-6
    back = librosa.istft(spectra, n_fft=256, hop_length=100, window="hann", length=5000)
    ours = references["istft"](torch.from_numpy(spectra), window, 100, 5000).numpy()
    assert np.abs(back - sound).max() < 1e-6 and np.abs(ours - sound).max() < 1e-9
    power = np.abs(spectra) ** 2
    ours = references["mfcc"](power, found, 13)
    log_mel = np.log(found @ power + 1e-10)
    theirs = librosa.feature.mfcc(S=log_mel, n_mfcc=13, dct_type=2, norm="ortho")
    assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-9)


# -- Sounds as pictures ---------------------------------------------------------------------------


def test_the_mel_scale_and_back() -> None:
    hertz = np.array([0, 100, 1000, 4000.0])
    assert week14.mel(1000) == pytest.approx(1000, rel=1e-3)
    assert week14.hertz(week14.mel(hertz)) == pytest.approx(hertz)


def test_a_tone_is_a_line() -> None:
    time = np.arange(4000) / week14.RATE
    level = week14.decibels(np.sin(2 * np.pi * 1000 * time))
    assert level.shape == (week14.BANDS, 51) and level.dtype == np.float32
    edges = week14.hertz(np.linspace(0, week14.mel(4000), week14.BANDS + 2))
    row = int(level[:, 25].argmax())
    assert edges[row] < 1000 < edges[row + 2]
    assert level.min() >= 0 and level.max() == pytest.approx(1)
    # Loudness makes no difference.
    assert week14.decibels(0.1 * np.sin(2 * np.pi * 1000 * time)) == pytest.approx(level, abs=1e-3)


def test_pictures_hold_the_middle() -> None:
    short, long = np.random.default_rng(0).normal(size=(2, 16000))
    short = short[:2000]
    pictures = week14.pictures([short, long])
    assert pictures.shape == (2, week14.BANDS, week14.FRAMES, 1) and pictures.dtype == np.uint8
    grey = np.rint(255 * week14.decibels(short)).astype(np.uint8)
    left = (week14.FRAMES - grey.shape[1] + 1) // 2
    assert (pictures[0, :, left : left + grey.shape[1], 0] == grey).all()
    assert (pictures[0, :, :left] == 0).all() and (
        pictures[0, :, left + grey.shape[1] :] == 0
    ).all()
    grey = np.rint(255 * week14.decibels(long)).astype(np.uint8)
    assert (pictures[1, :, :, 0] == grey[:, 68:132]).all()


def test_players_are_shown_in_a_notebook_only(monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython

    shown: list = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    week14.play({"nothing": np.ones(9)})
    assert shown == []
    monkeypatch.setattr(IPython, "get_ipython", SimpleNamespace)
    week14.play({"a caption": np.ones(9), "silence": np.zeros(9)})
    assert "a caption" in shown[0].data and len(shown) == 4


# -- Strings of digits ----------------------------------------------------------------------------


def test_strings_are_of_one_speaker() -> None:
    y = np.array([[digit, speaker] for speaker in range(3) for digit in range(10)])
    sounds = [np.full((week14.BANDS, 5), 1 + speaker, np.float32) for _, speaker in y]
    made, texts = week14.spoken_strings(sounds, y, 50, np.random.default_rng(0))
    counts = [len(text.split()) for text in texts]
    assert {*counts} == {1, 2, 3} and {*" ".join(texts)} <= {*week14.LETTERS}
    for sound, count in zip(made, counts, strict=True):
        assert len({*sound[sound > 0].tolist()}) == 1
        assert (sound[0] > 0).sum() == 5 * count
        assert 7 * count <= sound.shape[1] <= 14 * count


def test_the_letters_are_those_of_the_words() -> None:
    assert [*week14.LETTERS] == sorted({*" ".join(week14.WORDS)})


def test_the_letter_model_is_a_distribution() -> None:
    model = week14.LetterModel(["one two", "two one", "one"])
    for before in ("", "t", "tw", "xx"):
        total = sum(np.exp(model(before, letter)) for letter in week14.LETTERS)
        assert total == pytest.approx(1)
    assert model("one t", "w") == model("x t", "w") > np.log(0.8)
    assert model("", "o") == pytest.approx(np.log(2.01 / (3 + 0.01 * len(week14.LETTERS))))


def test_words_are_counted() -> None:
    assert week14.word_errors(["one two"], ["one two"]) == 0
    assert week14.word_errors(["one", "two three two"], ["one two", "two"]) == 1
    assert week14.word_errors(["", "six"], ["one", "six"]) == 0.5


def test_the_words_of_numbers_are_all_there() -> None:
    for table in week14.NUMBERS.values():
        lengths = {name: len(words) for name, words in table.items()}
        assert lengths == {"ones": 20, "feminine": 2, "tens": 10, "hundreds": 10, "thousand": 3}
        words = [*table["ones"], *table["tens"][2:], *table["hundreds"][1:]]
        assert all(words) and len({*words}) == len(words)


def test_what_a_block_hands_back() -> None:
    class Block(torch.nn.Module):
        def __init__(self, channels: int, skips: int, dilation: int) -> None:
            super().__init__()
            self.skip = torch.nn.Conv1d(channels, skips, dilation)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return 3 * x, self.skip(x)

    x = torch.ones(2, 1, 4)
    weights, slopes = week14.block_gradient(Block, x, 5, 1)
    assert [*weights] == ["skip.weight", "skip.bias"] and weights["skip.weight"].shape == (5, 1, 1)
    assert slopes == pytest.approx(np.full((2, 1, 4), 3 + weights["skip.weight"].sum()), rel=1e-5)


# -- Codebooks ------------------------------------------------------------------------------------


def test_the_nearest_entry() -> None:
    rng = np.random.default_rng(0)
    x, book = rng.normal(size=(40, 3)), rng.normal(size=(7, 3))
    distances = np.linalg.norm(x[:, None] - book, axis=2)
    assert (week14.nearest(x, book) == distances.argmin(1)).all()


def test_kmeans_finds_heaps() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [9, 0], [0, 9.0]])
    x = np.repeat(centres, 30, axis=0) + 0.1 * rng.normal(size=(90, 2))
    errors = []
    for seed in range(5):
        found = week14.kmeans(x, 3, np.random.default_rng(seed))
        errors.append(np.square(x - found[week14.nearest(x, found)]).sum(1).mean())
    assert min(errors) < 0.05
    assert week14.kmeans(x.astype(np.float32), 4, rng).dtype == np.float32
    assert np.isfinite(week14.kmeans(np.zeros((5, 2)), 5, rng)).all()


# -- The exam -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def private() -> ModuleType:
    return exams.imported(FILE.parent / "private.py")


def test_the_exam_asks_a_stranger_among_known_voices(private: ModuleType) -> None:
    public = real("fsdd")
    inputs, answers = private.make("small", np.random.default_rng(0))["network"]
    assert inputs["pictures"].shape == (450, week14.BANDS, week14.FRAMES, 1)
    assert np.bincount(answers["labels"][~answers["public"]]).tolist() == [30] * 10
    known = {picture.tobytes() for picture in week14.pictures(public.x_test)}
    seen = [picture.tobytes() in known for picture in inputs["pictures"]]
    assert seen == answers["public"].tolist() and sum(seen) == private.PUBLIC
    again = private.make("small", np.random.default_rng(1))["network"][0]
    assert (
        len({p.tobytes() for p in inputs["pictures"]} & {p.tobytes() for p in again["pictures"]})
        < 150
    )


def test_sounds_are_varied_a_little(private: ModuleType) -> None:
    sound = np.sin(np.arange(3000) / 9).astype(np.float32)
    rng = np.random.default_rng(0)
    lengths = [len(private.varied(sound, rng)) for _ in range(40)]
    assert min(lengths) >= 2880 and max(lengths) <= 3120 + 480 and len({*lengths}) > 20
    assert private.varied(sound, rng).dtype == np.float32


@pytest.mark.parametrize("accuracy", [0.1, 0.5, 0.7, 0.9])
def test_marks(private: ModuleType, accuracy: float) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, size=250)
    answers = {"labels": labels, "public": np.arange(250) >= 200}
    given = np.where(np.arange(250) < 200 * accuracy, labels, (labels + 1) % 10)
    given[200:] = labels[200:]
    share, message, flag = private.mark_network(given, answers, "small", "import torch")
    assert share == pytest.approx(week14.SCALE.earned(accuracy, "small"))
    assert message.startswith(f"Accuracy on 200 private sounds: {accuracy:.1%}. ")
    assert ("by heart" in message) == ("test set" in flag) == (accuracy == 0.1)
    flag = private.mark_network(given, answers, "small", "import torchaudio")[2]
    assert "others trained" in flag


# -- Drawings -------------------------------------------------------------------------------------


def test_drawings_draw_something(published: list) -> None:
    rng = np.random.default_rng(0)
    shares = rng.uniform(size=(6, 5))
    for draw in (
        lambda: week14.spectrograms({"a": (shares, 1.0), "b": (shares, 2.0)}),
        lambda: week14.mel_bank(shares, 8000, shares, 1.0),
        lambda: week14.correlations({"a": shares, "b": shares.T}),
        lambda: week14.masked(shares, [shares, 0 * shares]),
        lambda: week14.path_map(shares, [*"-a-b-"], shares, "title"),
        lambda: week14.segments(shares, [2, 3], "ab"),
        lambda: week14.distortions({"a": shares[:5], "b": 2 * shares[:5]}, [*"abcde"]),
        lambda: week14.retrieval(shares[:5], [*"abcde"], [True, False] * 2 + [True]),
    ):
        draw()
        assert is_drawn(published)
