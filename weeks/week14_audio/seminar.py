# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # What a microphone writes down
# A sound is a row of numbers, and everything else is built on how they are written: how many of them a second, in how many steps of loudness, in pieces of what length. You will hear what each choice costs: tones that were never there, a hiss that hides under speech, words that a machine did not catch. At the end you count its mistakes, word by word, in the only way that is fair to both sides.

# %% [markdown] lang="ru"
# # Что записывает микрофон
# Звук — это ряд чисел, и всё остальное держится на том, как они записаны: сколько их в секунду, сколько ступеней у громкости, на куски какой длины их режут. Вы услышите, чего стоит каждый выбор: тоны, которых никогда не было; шипение, которое прячется под речью; слова, которых машина не расслышала. А в конце сосчитаете её ошибки, слово за словом, единственным способом, который честен к обеим сторонам.

# %% tags=["parameters"]
profile = "small"

# %%
import math
from collections.abc import Sequence

import numpy as np
from scipy import signal

from practical_dl import check, data, plots, seed_everything
from practical_dl.weeks import week14

seed_everything(0)
settings = {"small": {"seconds": 4, "levels": 13}, "full": {"seconds": 11, "levels": 49}}[profile]

# %% [markdown]
# **Rules.** Fill the cells that raise `NotImplementedError`, run the check below each, look at and listen to *your* result. The checks that you see are public ones: a good sign, not a promise. Each task can be solved without the others. Functions leave their arguments as they were. Turn the volume down before you play anything.

# %% [markdown] lang="ru"
# **Правила.** Заполните ячейки с `NotImplementedError`, запустите проверку под каждой, посмотрите на *свой* результат и послушайте его. Видимые проверки — открытые: пройти их — хороший знак, но не гарантия. Каждое задание можно решить без остальных. Функции не меняют своих аргументов. Прежде чем что-то включать, убавьте громкость.

# %% [markdown]
# ## 1. How many numbers a second
# A [waveform](glossary:waveform) is the pressure of the air at even moments; how many a second is its [sampling rate](glossary:sampling-rate). Who takes only every fourth number should first ask what lies between them: a tone above half of the rate is written down as another, lower one ([aliasing](glossary:aliasing)). Nobody can tell afterwards. So a filter takes the high tones out *before*.

# %% [markdown] lang="ru"
# ## 1. Сколько чисел в секунду
# [Форма волны](glossary:waveform) (waveform) — давление воздуха через равные промежутки времени; сколько их в секунду, говорит [частота дискретизации](glossary:sampling-rate) (sampling rate). Кто берёт лишь каждое четвёртое число, пусть сначала спросит, что лежит между ними: тон выше половины частоты записывается как другой, более низкий ([наложение спектров](glossary:aliasing), aliasing). Потом этого уже не отличить. Поэтому высокие тоны убирают фильтром *заранее*.

# %%
speech = data.load("speech")

# %%
start = int(0.3 * speech.rate)
voice = speech.sound[start : start + settings["seconds"] * speech.rate]
t = np.arange(3 * 16_000) / 16_000
sweep = 0.5 * signal.chirp(t, 100, t[-1], 7000)  # a tone that rises evenly from 100 to 7000 Hz
every_fourth, filtered = sweep[::4], signal.resample_poly(sweep, 1, 4)
week14.tones({"16,000 a second": (sweep, 16_000), "every fourth number": (every_fourth, 4000), "filtered, then every fourth": (filtered, 4000)})
plots.show("Three pictures of which tones sound when. A line rises evenly from 100 to 7000 Hz; with every fourth number it bounces between 0 and 2000 Hz; after a filter it rises to 2000 Hz and is gone.")
week14.play({"a rising tone": sweep}, 16_000)
week14.play({"every fourth number: tones that were never there": every_fourth, "filtered first": filtered}, 4000)

# %%
week14.play({"the speech as it was recorded": voice}, speech.rate)
low = speech.rate // 9
week14.play({"every ninth number: listen to the s": voice[::9], "filtered first": signal.resample_poly(voice, 1, 9)}, low)
week14.waves({"0.3 s": voice[: int(0.3 * speech.rate)], "0.02 s": voice[int(0.15 * speech.rate) : int(0.17 * speech.rate)]}, speech.rate)
plots.show("The waveform of speech: left 0.3 seconds with louder and softer parts, right 0.02 seconds in which a pattern repeats with the vibration of the vocal cords.")

# %% [markdown]
# ## 2. Cut into frames
# A sentence changes all the time, but within a fortieth of a second hardly anything does. So sound is looked at through short overlapping **frames**, each faded in and out by a window.
# - `frames`: row $i$ holds the samples from $i \cdot \text{hop}$ on, `length` of them. Only whole frames count; with `pad=True` zeros are put at the end, as few as are needed for each sample to be in a frame (a sound of no samples still has none). The rows are copies: who changes them does not change the sound.
# - `hann`: $w_k = \tfrac12 - \tfrac12 \cos(2 \pi k / N)$ for $k = 0, \dots, N - 1$.
# - `overlap_add` puts frames back where they were and adds up where they overlap: $\text{hop} \cdot (n - 1) + \text{length}$ samples of $n \ge 1$ frames.
#
# {{task:frames}}

# %% [markdown] lang="ru"
# ## 2. Нарезать на кадры
# Фраза всё время меняется, но за сороковую долю секунды не меняется почти ничего. Поэтому на звук смотрят через короткие перекрывающиеся **кадры** (frames), каждый из которых плавно включается и выключается окном.
# - `frames`: в строке $i$ стоят отсчёты начиная с $i \cdot \text{hop}$, всего `length`. Считаются только целые кадры; при `pad=True` в конец добавляют нули, ровно столько, чтобы каждый отсчёт попал в какой-нибудь кадр (у звука без отсчётов кадров всё равно нет). Строки — копии: кто меняет их, звука не меняет.
# - `hann`: $w_k = \tfrac12 - \tfrac12 \cos(2 \pi k / N)$ при $k = 0, \dots, N - 1$.
# - `overlap_add` кладёт кадры туда, где они были, и складывает там, где они перекрываются: из $n \ge 1$ кадров получается $\text{hop} \cdot (n - 1) + \text{length}$ отсчётов.
#
# {{task:frames}}


# %% solution="frames"
def frames(sound: np.ndarray, length: int, hop: int, pad: bool = False) -> np.ndarray:
    """The frames (n, length) of a sound (m,), of its dtype. length and hop: 1 or more; hop may exceed length.

    Where hop exceeds length, samples between frames are skipped; with pad only a last frame that
    the sound has begun is filled up: none is of padding alone.
    """
    ### BEGIN SOLUTION
    if pad and len(sound):
        count = 1 + max(0, math.ceil((len(sound) - max(length, hop)) / hop))
        missing = max(0, (count - 1) * hop + length - len(sound))
        sound = np.concatenate([sound, np.zeros(missing, sound.dtype)])
    else:
        count = max(0, 1 + (len(sound) - length) // hop)
    places = np.arange(count)[:, None] * hop + np.arange(length)
    return sound[places]
    ### END SOLUTION


def hann(length: int) -> np.ndarray:
    """The window (length,), float64."""
    ### BEGIN SOLUTION
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    ### END SOLUTION


def overlap_add(rows: np.ndarray, hop: int) -> np.ndarray:
    """The sound of frames (n, length), each hop samples after the one before it."""
    ### BEGIN SOLUTION
    n, length = rows.shape
    sound = np.zeros(hop * (n - 1) + length, rows.dtype)
    for i, row in enumerate(rows):
        sound[i * hop : i * hop + length] += row
    return sound
    ### END SOLUTION


# %% test="frames" points=0.5 difficulty=2 minutes=20
sound = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
check.close(check.answer(frames, sound, 3, 2, call="frames(1 to 8, 3, 2)"), [[1, 2, 3], [3, 4, 5], [5, 6, 7]], "frames(1 to 8, 3, 2)")
call = "frames(1 to 8, 3, 2, pad=True)"
check.close(check.answer(frames, sound, 3, 2, call=call, pad=True), [[1, 2, 3], [3, 4, 5], [5, 6, 7], [7, 8, 0]], call)
check.close(check.answer(hann, 5, call="hann(5)"), [0.0, 0.3454915, 0.9045085, 0.9045085, 0.3454915], "hann(5)", rtol=1e-6, atol=1e-12)
call = "overlap_add([[1, 2, 3], [10, 20, 30]], 2)"
check.close(check.answer(overlap_add, np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]), 2, call=call), [1, 2, 13, 20, 30], call)
### BEGIN HIDDEN TESTS
rng = check.rng("frames")
for m, length, hop, why in [
    (12, 4, 4, "have no overlap where hop is length"),
    (12, 4, 1, "begin at each sample"),
    (11, 4, 3, "leave out what is no whole frame"),
    (13, 4, 3, "hold the last whole frame"),
    (7, 7, 2, "be one frame where the sound is one long"),
    (5, 7, 2, "be none where the sound is too short"),
    (10, 2, 4, "skip what lies between"),
    (9, 2, 4, "skip what lies between"),
    (7, 2, 4, "skip what lies behind the last frame, too"),
    (4, 2, 4, "skip what lies behind the last frame, too"),
    (8, 3, 5, "skip what lies between"),
    (1, 1, 1, "be one of one sample"),
    (0, 3, 2, "be none of no sound"),
    (3, 5, 4, "be none where the sound is too short"),
]:
    sound = rng.normal(size=m)
    want = [sound[i : i + length] for i in range(0, m, hop) if i + length <= m]
    call = f"frames of {m} samples, length {length}, hop {hop}"
    found = check.answer(frames, sound, length, hop, call=call)
    check.equal(np.shape(found), (len(want), length), f"the shape of {call}", why=why)
    check.close(found, np.array(want).reshape(-1, length), call, why=why)
    check.close(check.answer(frames, sound, length, hop, call=f"{call}, pad=False", pad=False), np.array(want).reshape(-1, length), f"{call}, pad=False", why=why)
    starts = [i for i in range(0, m, hop) if i == 0 or i - hop + length < m]
    longer = np.concatenate([sound, np.zeros(length + hop)])
    want = np.array([longer[i : i + length] for i in starts]).reshape(-1, length)
    call = f"{call}, pad=True"
    found = check.answer(frames, sound, length, hop, call=call, pad=True)
    check.equal(np.shape(found), want.shape, f"the shape of {call}", why="have as few frames as hold each sample")
    check.close(found, want, call, why="be filled up with zeros at the end")
sound = np.arange(6, dtype=np.float32)
found = check.array(frames(sound, 3, 1), "frames of float32")
check.that(found.dtype == np.float32, "frames of float32: keep the dtype")
for options in ({}, {"pad": True}):
    sound = np.arange(8.0)
    week14.overwrite(lambda sound=sound, options=options: frames(sound, 4, 2, **options))
    check.close(sound, np.arange(8.0), "the sound, after somebody has changed its frames", why="be as it was: frames are copies")


def frames_of_a_sound_that_changes():
    """Frames, after their sound has got other numbers."""
    sound = np.arange(8.0)
    cut = frames(sound, 4, 2)
    sound[:] = -1
    return cut


class Holder:
    """Frames that somebody keeps."""

    cut = frames(np.arange(8.0), 4, 2)


call = "frames(0 to 7, 4, 2), after somebody has changed the sound"
check.close(check.answer(frames_of_a_sound_that_changes, call=call), [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7]], call, why="be as they were: frames are copies")
call = "frames(0 to 7, 4, 2), after somebody has written other numbers into them"
other = rng.normal(size=(3, 4))
check.fill(Holder, "cut", value=other, call=call)
check.close(check.attribute(Holder, "cut", call), other, call, why="be these numbers: frames are copies, of each other, too")
for length in (1, 2, 7, 16):
    want = [math.sin(math.pi * k / length) ** 2 for k in range(length)]
    check.close(check.answer(hann, length, call=f"hann({length})"), want, f"hann({length})", rtol=1e-9, atol=1e-12, why="be a sine squared that would be 0 again at the next sample")
for n, length, hop in ((1, 4, 3), (3, 4, 4), (5, 6, 2), (4, 3, 1), (3, 2, 5)):
    rows = rng.normal(size=(n, length))
    want = np.zeros(hop * (n - 1) + length)
    for i in range(n):
        for k in range(length):
            want[i * hop + k] += rows[i, k]
    call = f"overlap_add of {n} frames of {length}, hop {hop}"
    check.close(check.answer(overlap_add, rows, hop, call=call), want, call, rtol=1e-9, atol=1e-12, why="add up where frames overlap")
call = "overlap_add of whole numbers"
check.close(check.answer(overlap_add, np.array([[1, 2], [5, 7]]), 1, call=call), [1, 7, 7], call, why="take whole numbers, too")
### END HIDDEN TESTS

# %% mutant="frames" why="one frame too few"
# - count = max(0, 1 + (len(sound) - length) // hop)
# + count = max(0, (len(sound) - length) // hop)

# %% mutant="frames" why="one where the sound is too short"
# - count = max(0, 1 + (len(sound) - length) // hop)
# + count = max(1, 1 + (len(sound) - length) // hop) if len(sound) >= length else 0 if len(sound) == 0 else 1
# + sound = np.concatenate([sound, np.zeros(max(0, length - len(sound)), sound.dtype)])

# %% mutant="frames" why="frames side by side"
# - places = np.arange(count)[:, None] * hop + np.arange(length)
# + places = np.minimum(np.arange(count)[:, None] * length + np.arange(length), max(len(sound) - 1, 0))

# %% mutant="frames" why="always filled up"
# - if pad and len(sound):
# + if len(sound):

# %% mutant="frames" why="never filled up"
# - if pad and len(sound):
# + if False:

# %% mutant="frames" why="a frame of zeros more"
# - count = 1 + max(0, math.ceil((len(sound) - max(length, hop)) / hop))
# + count = 2 + max(0, (len(sound) - length) // hop)

# %% mutant="frames" why="zeros at the start"
# - sound = np.concatenate([sound, np.zeros(missing, sound.dtype)])
# + sound = np.concatenate([np.zeros(missing, sound.dtype), sound])

# %% mutant="frames" why="the sound again in place of zeros"
# - sound = np.concatenate([sound, np.zeros(missing, sound.dtype)])
# + sound = np.resize(sound, len(sound) + missing)

# %% mutant="frames" why="views: the sound changes with them"
# - places = np.arange(count)[:, None] * hop + np.arange(length)
# - return sound[places]
# + if count == 0:
# +     return np.zeros((0, length), sound.dtype)
# + return np.lib.stride_tricks.sliding_window_view(sound, length, writeable=True)[::hop][:count]

# %% mutant="frames" why="views that can't be written, but change with the sound"
# - places = np.arange(count)[:, None] * hop + np.arange(length)
# - return sound[places]
# + if count == 0:
# +     return np.zeros((0, length), sound.dtype)
# + return np.lib.stride_tricks.sliding_window_view(sound, length)[::hop][:count]

# %% mutant="frames" why="frames of one copy: they change with each other"
# - places = np.arange(count)[:, None] * hop + np.arange(length)
# - return sound[places]
# + if count == 0:
# +     return np.zeros((0, length), sound.dtype)
# + return np.lib.stride_tricks.sliding_window_view(sound.copy(), length, writeable=True)[::hop][:count]

# %% mutant="frames" why="a frame of padding alone where hop exceeds length"
# - count = 1 + max(0, math.ceil((len(sound) - max(length, hop)) / hop))
# + count = 1 + max(0, math.ceil((len(sound) - length) / hop))

# %% mutant="frames" why="float64 whatever comes in"
# - return sound[places]
# + return sound[places].astype(float)

# %% mutant="frames" why="the window is 0 at both ends"
# - return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
# + return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / max(length - 1, 1))

# %% mutant="frames" why="a sine, not its square"
# - return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
# + return np.sin(np.pi * np.arange(length) / length)

# %% mutant="frames" why="Hamming"
# - return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
# + return 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(length) / length)

# %% mutant="frames" why="writes over what was there"
# - sound[i * hop : i * hop + length] += row
# + sound[i * hop : i * hop + length] = row

# %% mutant="frames" why="divides by how many overlap"
# - return sound
# + return sound / math.ceil(length / hop)


# %% alternative="frames" why="lists of slices, a matrix of windows"
def frames(sound, length, hop, pad=False):
    rows, start = [], 0
    while start + length <= len(sound):
        rows.append(sound[start : start + length].copy())
        start += hop
    covered = start - hop + length if rows else 0
    if pad and covered < len(sound) and start < len(sound):
        last = np.zeros(length, sound.dtype)
        last[: len(sound[start:])] = sound[start : start + length]
        rows.append(last)
    return np.array(rows, dtype=sound.dtype).reshape(len(rows), length)


def hann(length):
    return np.array([math.sin(math.pi * k / length) ** 2 for k in range(length)])


def overlap_add(rows, hop):
    n, length = rows.shape
    places = (np.arange(n)[:, None] * hop + np.arange(length)).ravel()
    return np.bincount(places, weights=rows.ravel(), minlength=hop * (n - 1) + length)


# %% [markdown]
# Frames, a window, a Fourier transform of each: the first spectrogram, of your own cutting. A long frame knows the tone well and the moment badly; a short one the other way round. And windows that overlap by half add up to 1: nothing is lost.

# %% [markdown] lang="ru"
# Кадры, окно, преобразование Фурье каждого — и вот первая спектрограмма вашей собственной нарезки. Длинный кадр хорошо знает тон и плохо — момент, короткий наоборот. А окна, перекрывающиеся наполовину, в сумме дают 1: ничего не теряется.

# %%
views = {}
for ms in (8, 64):
    length = ms * speech.rate // 1000 // 2 * 2
    pieces = frames(voice, length, length // 4) * hann(length)
    views[f"frames of {ms} ms"] = np.abs(np.fft.rfft(pieces, axis=1)).T
week14.spectra(views, settings["seconds"], speech.rate / 2)
plots.show("Two spectrograms of speech up to 5 kHz: with short frames there are sharp vertical edges and blurred tones, with long ones thin horizontal lines of harmonics and blurred edges.")
hopping = overlap_add(np.tile(hann(400), (9, 1)), 200)
plots.curves({"sum of the windows": hopping, "one window": np.pad(hann(400), (800, 800))}, "Windows that overlap by half", "sample", "weight")
plots.show("Nine windows that overlap by half: their sum is flat at 1 but for the first and the last half window; one of them is a bell.")

# %% [markdown]
# ## 3. How many steps of loudness
# Eight bits are 256 steps. Even steps are a waste: speech is soft most of the time, and there they are coarse. [µ-law](glossary:mu-law) (ITU-T G.711, in its continuous form, $\mu = 255$) makes the steps fine near 0 and coarse far from it. For $x$ between −1 and 1 (what lies outside is first put to the nearest end):
#
# $$y = \operatorname{sign}(x)\, \frac{\ln(1 + \mu |x|)}{\ln(1 + \mu)}, \qquad \text{code} = \Bigl\lfloor \frac{y + 1}{2}\, \mu + \frac12 \Bigr\rfloor .$$
#
# `expand` goes back: from the code to $y$, from $y$ to $x$. `snr` says in decibels how much louder a sound is than the error: $10 \log_{10} \bigl(\sum x^2 / \sum (x - \hat x)^2\bigr)$; without any error it is $\infty$.
#
# {{task:mu_law}}

# %% [markdown] lang="ru"
# ## 3. Сколько ступеней у громкости
# Восемь бит — это 256 ступеней. Одинаковые ступени расточительны: речь большей частью тихая, а там они грубы. [µ-закон](glossary:mu-law) (µ-law; ITU-T G.711 в непрерывном виде, $\mu = 255$) делает ступени мелкими около нуля и крупными вдали. Для $x$ от −1 до 1 (то, что снаружи, сначала ставят на ближайший край):
#
# $$y = \operatorname{sign}(x)\, \frac{\ln(1 + \mu |x|)}{\ln(1 + \mu)}, \qquad \text{code} = \Bigl\lfloor \frac{y + 1}{2}\, \mu + \frac12 \Bigr\rfloor .$$
#
# `expand` ведёт обратно: от кода к $y$, от $y$ к $x$. `snr` говорит в децибелах, насколько звук громче ошибки: $10 \log_{10} \bigl(\sum x^2 / \sum (x - \hat x)^2\bigr)$; если ошибки нет совсем, это $\infty$.
#
# {{task:mu_law}}


# %% solution="mu_law"
def compress(x: np.ndarray, mu: int = 255) -> np.ndarray:
    """Codes 0 to mu, whole numbers, of samples of any shape."""
    ### BEGIN SOLUTION
    x = np.clip(x, -1, 1)
    y = np.sign(x) * np.log1p(mu * np.abs(x)) / np.log1p(mu)
    return np.floor((y + 1) / 2 * mu + 0.5).astype(np.int64)
    ### END SOLUTION


def expand(codes: np.ndarray, mu: int = 255) -> np.ndarray:
    """Samples, float64, of codes 0 to mu, of any integer type and shape."""
    ### BEGIN SOLUTION
    y = 2 * np.asarray(codes, dtype=np.float64) / mu - 1
    return np.sign(y) * np.expm1(np.abs(y) * np.log1p(mu)) / mu
    ### END SOLUTION


def snr(sound: np.ndarray, heard: np.ndarray) -> float:
    """The ratio of sound to error in decibels. sound, heard: (n,); sound is not silent."""
    ### BEGIN SOLUTION
    sound, heard = np.asarray(sound, dtype=np.float64), np.asarray(heard, dtype=np.float64)
    error = np.sum((sound - heard) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(np.sum(sound**2) / error))
    ### END SOLUTION


# %% test="mu_law" points=0.5 difficulty=2 minutes=15
call = "compress([-1, -0.3, 0.01, 0.7])"
check.equal(check.answer(compress, np.array([-1.0, -0.3, 0.01, 0.7]), call=call), [0, 27, 157, 247], call)
check.close(check.answer(expand, np.array([0, 27, 157, 247]), call="expand([0, 27, 157, 247])"), [-1.0, -0.306334, 0.0102253, 0.704994], "expand([0, 27, 157, 247])", rtol=1e-5)
check.close(check.answer(snr, np.array([3.0, -4.0]), np.array([3.3, -4.4]), call="snr([3, -4], [3.3, -4.4])"), 20.0, "snr([3, -4], [3.3, -4.4])", rtol=1e-6)
### BEGIN HIDDEN TESTS
rng = check.rng("mu_law")


def code_of(x, mu):
    """By the formula, for one number."""
    x = min(max(float(x), -1.0), 1.0)
    y = math.copysign(math.log(1 + mu * abs(x)) / math.log(1 + mu), x)
    return math.floor((y + 1) / 2 * mu + 0.5)


for mu in (None, 255, 15, 100, 1000):
    options = () if mu is None else (mu,)
    said = "the default mu" if mu is None else f"mu {mu}"
    levels = 255 if mu is None else mu
    x = np.concatenate([rng.uniform(-1, 1, 60), rng.uniform(-0.02, 0.02, 60)])
    call = f"compress with {said}"
    found = check.answer(compress, x, *options, call=call)
    check.equal(found, [code_of(v, levels) for v in x], call, why="have fine steps near 0")
    check.that(found.dtype.kind in "iu", f"{call}: be whole numbers")
    every = np.arange(levels + 1)
    call = f"expand with {said}"
    found = check.answer(expand, every, *options, call=call)
    y = 2 * every / levels - 1
    check.close(found, np.sign(y) * ((1 + levels) ** np.abs(y) - 1) / levels, call, rtol=1e-8, atol=1e-12, why="turn the formula round")
    call = f"compress of expand of each code with {said}"
    check.equal(check.answer(compress, found, *options, call=call), every, call, why="be the code again")
for mu, want in ((13, 7), (253, 127)):
    call = f"compress([0], {mu})"
    check.equal(check.answer(compress, np.array([0.0]), mu, call=call), [want], call, why="round a half up, as the formula does")
check.equal(check.answer(compress, np.zeros(0), call="compress of no samples"), np.zeros(0, int), "compress of no samples", why="be no codes")
call = "compress beyond the ends"
check.equal(check.answer(compress, np.array([1.7, -3.0, 1.0, -1.0]), call=call), [255, 0, 255, 0], call, why="be put to the nearest end")
for shape in ((), (2, 3)):
    x = rng.uniform(-1, 1, size=shape)
    call = f"compress of shape {shape}"
    want = np.vectorize(lambda v: code_of(v, 255))(x)
    check.equal(check.answer(compress, x, call=call), want, call, why="keep the shape")
    back = np.sign(2 * want / 255 - 1) * (256 ** np.abs(2 * want / 255 - 1) - 1) / 255
    check.close(check.answer(expand, want, call=f"expand of shape {shape}"), back, f"expand of shape {shape}", rtol=1e-7, why="keep the shape")
call = "compress of float32"
x = np.array([0.123, -0.9], dtype=np.float32)
check.equal(check.answer(compress, x, call=call), [code_of(v, 255) for v in x], call, why="take single precision, too")
call = "expand of uint8"
found = check.answer(expand, np.array([0, 100, 255], dtype=np.uint8), call=call)
check.close(found, [-1.0, -np.expm1(55 / 255 * np.log(256)) / 255, 1.0], call, rtol=1e-7, why="take small whole numbers, too")
for scale in (1.0, 1e-3):
    sound, error = scale * rng.normal(size=200), scale * 0.1 * rng.normal(size=200)
    want = 10 * math.log10(sum(v * v for v in sound) / sum(v * v for v in error))
    call = f"snr of a sound of loudness {scale}"
    check.close(check.answer(snr, sound, sound + error, call=call), want, call, rtol=1e-7, why="compare energies")
check.equal(check.answer(snr, np.array([1.0, 2.0]), np.array([1.0, 2.0]), call="snr without an error"), float("inf"), "snr without an error", why="be infinite")
call = "snr of an error that is louder than the sound"
check.close(check.answer(snr, np.array([0.1, 0.0]), np.array([0.1, 1.0]), call=call), -20.0, call, rtol=1e-7, why="be below 0")
call = "snr of whole numbers"
found = check.answer(snr, np.array([200, 100], dtype=np.int16), np.array([-200, 100], dtype=np.int16), call=call)
check.close(found, 10 * math.log10(50000 / 160000), call, rtol=1e-7, why="not overflow")
call = "snr of a sound that is not around 0"
check.close(check.answer(snr, np.array([5.0, 5.0, 6.0]), np.array([5.5, 5.5, 6.5]), call=call), 10 * math.log10(86 / 0.75), call, rtol=1e-7, why="compare energies, not variances")
### END HIDDEN TESTS

# %% mutant="mu_law" why="even steps"
# - y = np.sign(x) * np.log1p(mu * np.abs(x)) / np.log1p(mu)
# + y = x

# %% mutant="mu_law" why="forgets the sign"
# - y = np.sign(x) * np.log1p(mu * np.abs(x)) / np.log1p(mu)
# + y = np.log1p(mu * np.abs(x)) / np.log1p(mu)

# %% mutant="mu_law" why="divides by ln mu"
# - y = np.sign(x) * np.log1p(mu * np.abs(x)) / np.log1p(mu)
# + y = np.clip(np.sign(x) * np.log1p(mu * np.abs(x)) / np.log(mu), -1, 1)

# %% mutant="mu_law" why="cut off, not rounded"
# - return np.floor((y + 1) / 2 * mu + 0.5).astype(np.int64)
# + return np.floor((y + 1) / 2 * mu).astype(np.int64)

# %% mutant="mu_law" why="codes from 0 to mu + 1"
# - return np.floor((y + 1) / 2 * mu + 0.5).astype(np.int64)
# + return np.floor((y + 1) / 2 * (mu + 1)).astype(np.int64)

# %% mutant="mu_law" why="codes around 0"
# - return np.floor((y + 1) / 2 * mu + 0.5).astype(np.int64)
# + return np.floor(y / 2 * mu + 0.5).astype(np.int64)

# %% mutant="mu_law" why="beyond the ends, beyond the codes"
# - x = np.clip(x, -1, 1)
# + x = np.asarray(x)

# %% mutant="mu_law" why="floats"
# - return np.floor((y + 1) / 2 * mu + 0.5).astype(np.int64)
# + return np.floor((y + 1) / 2 * mu + 0.5)

# %% mutant="mu_law" why="eight bits overflow"
# - y = 2 * np.asarray(codes, dtype=np.float64) / mu - 1
# + y = 2 * np.asarray(codes) / mu - 1

# %% mutant="mu_law" why="codes of eight bits, whatever mu"
# - return np.floor((y + 1) / 2 * mu + 0.5).astype(np.int64)
# + return np.floor((y + 1) / 2 * mu + 0.5).astype(np.uint8)

# %% mutant="mu_law" why="a half to the even number"
# - return np.floor((y + 1) / 2 * mu + 0.5).astype(np.int64)
# + return np.round((y + 1) / 2 * mu).astype(np.int64)

# %% mutant="mu_law" why="the middle of a step"
# - y = 2 * np.asarray(codes, dtype=np.float64) / mu - 1
# + y = 2 * (np.asarray(codes, dtype=np.float64) + 0.5) / (mu + 1) - 1

# %% mutant="mu_law" why="even steps on the way back"
# - return np.sign(y) * np.expm1(np.abs(y) * np.log1p(mu)) / mu
# + return y

# %% mutant="mu_law" why="mu is 255"
# - return np.sign(y) * np.expm1(np.abs(y) * np.log1p(mu)) / mu
# + return np.sign(y) * np.expm1(np.abs(y) * np.log1p(255)) / 255

# %% mutant="mu_law" why="decibels of amplitudes"
# - return float("inf") if error == 0 else float(10 * np.log10(np.sum(sound**2) / error))
# + return float("inf") if error == 0 else float(20 * np.log10(np.sum(sound**2) / error))

# %% mutant="mu_law" why="the sound that was heard counts"
# - return float("inf") if error == 0 else float(10 * np.log10(np.sum(sound**2) / error))
# + return float("inf") if error == 0 else float(10 * np.log10(np.sum(heard**2) / error))

# %% mutant="mu_law" why="variances"
# - return float("inf") if error == 0 else float(10 * np.log10(np.sum(sound**2) / error))
# + return float("inf") if error == 0 else float(10 * np.log10(np.var(sound) * len(sound) / error))

# %% mutant="mu_law" why="upside down"
# - return float("inf") if error == 0 else float(10 * np.log10(np.sum(sound**2) / error))
# + return float("inf") if error == 0 else float(10 * np.log10(error / np.sum(sound**2)))

# %% mutant="mu_law" why="numbers of 16 bits overflow"
# - sound, heard = np.asarray(sound, dtype=np.float64), np.asarray(heard, dtype=np.float64)


# %% alternative="mu_law" why="powers, and a table of all samples"
def compress(x, mu=255):
    x = np.minimum(np.maximum(np.asarray(x, dtype=float), -1.0), 1.0)
    y = np.copysign(np.log(1 + mu * abs(x)) / np.log(1 + mu), x)
    return np.array(np.floor((y * mu + mu + 1) / 2), dtype=int)


def expand(codes, mu=255):
    y = 2.0 * np.arange(mu + 1) / mu - 1
    return (np.sign(y) * ((1.0 + mu) ** abs(y) - 1) / mu)[np.asarray(codes, dtype=int)]


def snr(sound, heard):
    sound = np.array(sound, dtype=float)
    off = sound - heard
    if not off.any():
        return math.inf
    return 20 * math.log10(np.linalg.norm(sound) / np.linalg.norm(off))


# %% [markdown]
# Eight bits with even steps and eight bits by µ-law, for a speaker who comes closer to the microphone: even steps are good for the loud one alone, µ-law for all. With four bits anybody hears the difference.

# %% [markdown] lang="ru"
# Восемь бит с одинаковыми ступенями и восемь бит по µ-закону, а говорящий подходит к микрофону: одинаковые ступени хороши только для громкого, µ-закон — для всех. При четырёх битах разницу слышит каждый.


# %%
def even(x: np.ndarray, mu: int) -> np.ndarray:
    """Samples in mu + 1 even steps."""
    return np.floor((np.clip(x, -1, 1) + 1) / 2 * mu + 0.5) / mu * 2 - 1


unit = voice / np.abs(voice).max()
loudness = np.linspace(-60, 0, settings["levels"])
ratios = {"even steps": [], "µ-law": []}
for level in loudness:
    soft = unit * 10 ** (level / 20)
    ratios["even steps"].append(snr(soft, even(soft, 255)))
    ratios["µ-law"].append(snr(soft, expand(compress(soft))))
plots.curves({n: (loudness, r) for n, r in ratios.items()}, "Speech in eight bits", "loudness of the speech, dB", "signal to noise, dB")
plots.show("Signal to noise in decibels over the loudness of speech: with even steps it rises with the loudness, from below 0 dB; with µ-law it is nearly flat over a wide range.")
week14.play({"four bits, even steps": even(unit, 15), "four bits, µ-law": expand(compress(unit, 15), 15)}, speech.rate)

# %% [markdown]
# ## 4. What was heard, word by word
# A recogniser heard something else than was said. To count its mistakes, both texts are laid side by side: each word of one stands against a word of the other (right, or a **substitution**) or against nothing (a **deletion** if it was said and not heard, an **insertion** if it was heard and not said). Of all ways to do that the one with the fewest mistakes counts, and among those the one with the most words right; where even these are several, any of them.
#
# `align_texts` gives pairs (said, heard), with `None` for nothing. Words are compared as they are.
#
# {{task:align_texts}}

# %% [markdown] lang="ru"
# ## 4. Что расслышано, слово за словом
# Распознаватель расслышал не то, что сказали. Чтобы сосчитать его ошибки, тексты кладут рядом: каждое слово одного стоит против слова другого (верно или **замена**, substitution) или против пустоты (**пропуск**, deletion, если слово сказано, но не услышано; **вставка**, insertion, если услышано, но не сказано). Из всех способов засчитывается тот, где ошибок меньше всего, а среди таких — тот, где больше всего верных слов; если и таких несколько, годится любой.
#
# `align_texts` выдаёт пары (сказано, услышано), на месте пустоты — `None`. Слова сравниваются как есть.
#
# {{task:align_texts}}


# %% solution="align_texts"
def align_texts(said: Sequence[str], heard: Sequence[str]) -> list[tuple[str | None, str | None]]:
    """Pairs (word said or None, word heard or None), in order. Both may be empty, or dozens of words long."""
    ### BEGIN SOLUTION
    rows, columns = len(said) + 1, len(heard) + 1
    cost = [[(0, 0)] * columns for _ in range(rows)]  # (mistakes, of them substitutions)
    back = [[(0, 0)] * columns for _ in range(rows)]
    for i in range(rows):
        for j in range(columns):
            ways = []
            if i and j:
                wrong = said[i - 1] != heard[j - 1]
                ways.append((cost[i - 1][j - 1][0] + wrong, cost[i - 1][j - 1][1] + wrong, (1, 1)))
            if i:
                ways.append((cost[i - 1][j][0] + 1, cost[i - 1][j][1], (1, 0)))
            if j:
                ways.append((cost[i][j - 1][0] + 1, cost[i][j - 1][1], (0, 1)))
            if ways:
                *best, back[i][j] = min(ways)
                cost[i][j] = tuple(best)
    pairs, i, j = [], len(said), len(heard)
    while i or j:
        down, right = back[i][j]
        pairs.append((said[i - 1] if down else None, heard[j - 1] if right else None))
        i, j = i - down, j - right
    return pairs[::-1]
    ### END SOLUTION


# %% test="align_texts" points=0.5 difficulty=3 minutes=30
call = 'align_texts("ask not what you can do", "ask what you you could do")'
words = ["ask", "not", "what", "you", "can", "do"], ["ask", "what", "you", "you", "could", "do"]
found = check.plain(align_texts(*words), call)
check.equal([said for said, _ in found if said is not None], words[0], f"the words said in {call}")
check.equal([heard for _, heard in found if heard is not None], words[1], f"the words heard in {call}")
check.equal(sum(said != heard for said, heard in found), 3, f"the mistakes of {call}")
check.equal(found[:3], [("ask", "ask"), ("not", None), ("what", "what")], f"the first pairs of {call}")
### BEGIN HIDDEN TESTS
rng = check.rng("align_texts")


def fewest(a, b):
    """(mistakes, of them substitutions) of the best way, by trying all."""
    if not a or not b:
        return len(a) + len(b), 0
    e, d = fewest(a[1:], b[1:])
    ways = [(e + (a[0] != b[0]), d + (a[0] != b[0]))]
    for e, d in (fewest(a[1:], b), fewest(a, b[1:])):
        ways.append((e + 1, d))
    return min(ways)


def judge_align(said, heard, why):
    call = f"align_texts({' '.join(said)!r}, {' '.join(heard)!r})"
    pairs = check.answer(align_texts, list(said), list(heard), call=call)
    check.that(all(len(pair) == 2 for pair in pairs), f"{call}: be pairs")
    check.equal([a for a, _ in pairs if a is not None], list(said), f"the words said in {call}", why="be all of them, in order")
    check.equal([b for _, b in pairs if b is not None], list(heard), f"the words heard in {call}", why="be all of them, in order")
    check.that(all(a is not None or b is not None for a, b in pairs), f"{call}: put no nothing against nothing")
    mistakes = sum(a != b for a, b in pairs)
    right = sum(a == b for a, b in pairs)
    want = fewest(tuple(said), tuple(heard))
    check.equal(mistakes, want[0], f"the mistakes of {call}", why=why)
    most = (len(said) + len(heard) - want[0] - want[1]) // 2
    check.equal(right, most, f"the words right in {call}", why="be as many as that few mistakes allow")


judge_align([], [], "be none of two empty texts")
judge_align(["a", "b"], [], "be deletions where nothing was heard")
judge_align([], ["a", "b", "c"], "be insertions where nothing was said")
judge_align(["a", "b", "c"], ["a", "b", "c"], "be none where all is right")
judge_align(["a", "b"], ["b", "a"], "be as few as can be")
judge_align(["a", "b", "c", "d"], ["b", "c", "d"], "see a word that was lost at the start")
judge_align(["a", "b", "c"], ["a", "b", "c", "x"], "see a word that was added at the end")
judge_align(["a", "a", "a"], ["a"], "see that words come twice")
judge_align(["No", "no"], ["no", "No", "no"], "compare words as they are")
judge_align(["x"], ["y"], "be one where a word was taken for another")
judge_align(["a", "x", "y", "b", "c"], ["b", "c", "a", "x"], "be as few as can be")
judge_align(["c", "A", "B"], ["a", "b", "c"], "compare words as they are")
judge_align(["c", "d", "e"], ["a", "b", "c"], "be as few as can be, even where that leaves no word right")
call = "align_texts of 25 words, of which the last 12 were heard first"
said, heard = [f"w{i}" for i in range(25)], [f"w{i}" for i in range(13, 38)]
found = check.answer(align_texts, said, heard, call=call)
check.equal([sum(a != b for a, b in found), sum(a == b for a, b in found)], [25, 0], f"the mistakes and the words right in {call}", why="be the fewest mistakes first, however many words are right with one more")
for said, heard in (("aabb", "bcb"), ("baa", "ccbc"), ("bcca", "aab"), ("aac", "baba")):
    judge_align(list(said), list(heard), "be as few as can be")
for trial in range(40):
    letters_used = list("ab" if trial % 2 else "abc")
    said, heard = (rng.choice(letters_used, size=rng.integers(1, 7)).tolist() for _ in range(2))
    judge_align(said, heard, "be as few as can be")
### END HIDDEN TESTS

# %% mutant="align_texts" why="place against place"
# - pairs, i, j = [], len(said), len(heard)
# + from itertools import zip_longest
# +
# + return list(zip_longest(said, heard))
# + pairs, i, j = [], len(said), len(heard)

# %% mutant="align_texts" why="a substitution counts twice"
# - wrong = said[i - 1] != heard[j - 1]
# + wrong = 2 * (said[i - 1] != heard[j - 1])

# %% mutant="align_texts" why="a substitution costs nothing"
# - wrong = said[i - 1] != heard[j - 1]
# + wrong = 0

# %% mutant="align_texts" why="substitutions rather than deletions and insertions"
# - ways.append((cost[i - 1][j - 1][0] + wrong, cost[i - 1][j - 1][1] + wrong, (1, 1)))
# + ways.append((cost[i - 1][j - 1][0] + wrong, cost[i - 1][j - 1][1] - wrong, (1, 1)))

# %% mutant="align_texts" why="upper and lower case are the same"
# - wrong = said[i - 1] != heard[j - 1]
# + wrong = said[i - 1].lower() != heard[j - 1].lower()

# %% mutant="align_texts" why="the most words right decide, then mistakes"
# - ways.append((cost[i - 1][j - 1][0] + wrong, cost[i - 1][j - 1][1] + wrong, (1, 1)))
# + ways.append((cost[i - 1][j - 1][0] - 1 + wrong, cost[i - 1][j - 1][1] + wrong, (1, 1)))
# - ways.append((cost[i - 1][j][0] + 1, cost[i - 1][j][1], (1, 0)))
# + ways.append((cost[i - 1][j][0], cost[i - 1][j][1] + 1, (1, 0)))
# - ways.append((cost[i][j - 1][0] + 1, cost[i][j - 1][1], (0, 1)))
# + ways.append((cost[i][j - 1][0], cost[i][j - 1][1] + 1, (0, 1)))

# %% mutant="align_texts" why="a tenth off for each word right: too much where there are many"
# - ways.append((cost[i - 1][j - 1][0] + wrong, cost[i - 1][j - 1][1] + wrong, (1, 1)))
# + ways.append((cost[i - 1][j - 1][0] + (1 if wrong else -0.1), cost[i - 1][j - 1][1] + wrong, (1, 1)))

# %% mutant="align_texts" why="back to front"
# - return pairs[::-1]
# + return pairs

# %% mutant="align_texts" why="heard before said"
# - return pairs[::-1]
# + return [(b, a) for a, b in pairs[::-1]]

# %% mutant="align_texts" why="forgets what is left at the start"
# - while i or j:
# + while i and j:

# %% mutant="align_texts" why="an empty text in place of None"
# - pairs.append((said[i - 1] if down else None, heard[j - 1] if right else None))
# + pairs.append((said[i - 1] if down else "", heard[j - 1] if right else ""))

# %% mutant="align_texts" why="takes the first word that fits"
# - rows, columns = len(said) + 1, len(heard) + 1
# + pairs, rest = [], list(heard)
# + for word in said:
# +     if word in rest:
# +         place = rest.index(word)
# +         pairs += [(None, other) for other in rest[:place]] + [(word, word)]
# +         rest = rest[place + 1 :]
# +     else:
# +         pairs.append((word, None))
# + return pairs + [(None, other) for other in rest]
# + rows, columns = len(said) + 1, len(heard) + 1

# %% mutant="align_texts" why="mistakes alone decide"
# - *best, back[i][j] = min(ways)
# + *best, back[i][j] = min(ways, key=lambda way: (way[0], -way[2][0] - way[2][1]))


# %% alternative="align_texts" why="a search with memory, forwards"
def align_texts(said, heard):
    from functools import cache

    @cache
    def best(i, j):
        if i == len(said) and j == len(heard):
            return 0, 0, None
        ways = []
        if i < len(said) and j < len(heard):
            e, d, _ = best(i + 1, j + 1)
            wrong = said[i] != heard[j]
            ways.append((e + wrong, d + wrong, "both"))
        if i < len(said):
            e, d, _ = best(i + 1, j)
            ways.append((e + 1, d, "said"))
        if j < len(heard):
            e, d, _ = best(i, j + 1)
            ways.append((e + 1, d, "heard"))
        return min(ways, key=lambda way: way[:2])

    pairs, i, j = [], 0, 0
    while (i, j) != (len(said), len(heard)):
        way = best(i, j)[2]
        pairs.append((None if way == "heard" else said[i], None if way == "said" else heard[j]))
        i, j = i + (way != "heard"), j + (way != "said")
    return pairs


# %% [markdown]
# A small recogniser of the kind of the year 2000 (pocketsphinx 5.1.1, run by us on this very speech at 16 kHz, with white noise added) wrote down the sentences below; only its words are needed here. Orange is wrong; a word above a bar was not heard, one below it was not said.

# %% [markdown] lang="ru"
# Маленький распознаватель в духе двухтысячных (pocketsphinx 5.1.1; мы запустили его на этой же речи при 16 кГц, добавляя белый шум) записал фразы ниже; здесь нужны только его слова. Оранжевое — неверно; слово над чертой не услышано, слово под чертой не сказано.

# %%
HEARD = {
    "no noise added": "and all my fellow american and not like your kind brain and over you and what you can do for you and",
    "20 dB": "and all my fellow american and not wipe your average annual review and what you think you or your family",
    "10 dB": "and all my fellow man and not why i had a review them like you and you go",
    "5 dB": "and my home i can buy one for five a know what to that",
}
SAID = "".join(letter for letter in speech.text.lower() if letter.isalpha() or letter == " ")
week14.aligned({name: align_texts(SAID.split(), heard.split()) for name, heard in HEARD.items()})
plots.show("Four blocks of words, what was said above and what was heard below, right ones in black and wrong ones in orange; the more noise, the more orange.")

# %% [markdown]
# ## 5. One number for many sentences
# The [word error rate](glossary:word-error-rate) is the number of mistakes over the number of words that were said, **of all sentences together**: a long sentence counts more than a short one. It can exceed 1. With `letters=True` the letters are counted, not the words (character error rate): the words joined by single spaces, and a space counts as a letter. Words are what `split()` gives. Where no word was said at all, the rate is 0 if none was heard either, else $\infty$.
#
# {{task:error_rate}}

# %% [markdown] lang="ru"
# ## 5. Одно число для многих фраз
# [Доля ошибочных слов](glossary:word-error-rate) (word error rate) — число ошибок, делённое на число сказанных слов, **по всем фразам вместе**: длинная весит больше короткой. Она может превысить 1. При `letters=True` считают не слова, а буквы (character error rate): слова, соединённые одиночными пробелами, и пробел — тоже буква. Слова — это то, что даёт `split()`. Если не сказано ни слова, доля равна 0, когда ни слова и не услышано, иначе $\infty$.
#
# {{task:error_rate}}


# %% solution="error_rate"
def error_rate(said: Sequence[str], heard: Sequence[str], letters: bool = False) -> float:
    """Mistakes over what was said. said, heard: as many texts."""
    ### BEGIN SOLUTION
    mistakes = total = 0
    for one, other in zip(said, heard, strict=True):
        a, b = one.split(), other.split()
        if letters:
            a, b = " ".join(a), " ".join(b)
        row = list(range(len(b) + 1))
        for i, x in enumerate(a, 1):
            before, row[0] = row[0], i
            for j, y in enumerate(b, 1):
                before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
        mistakes += row[-1]
        total += len(a)
    if total == 0:
        return 0.0 if mistakes == 0 else float("inf")
    return mistakes / total
    ### END SOLUTION


# %% test="error_rate" points=0.5 difficulty=2 minutes=20
said, heard = ["ask not what you can do", "thank you"], ["ask what you could do", "thank you all now"]
check.close(check.answer(error_rate, said, heard, call="error_rate of two sentences"), 0.5, "error_rate of two sentences")
call = "error_rate of two sentences, letters=True"
check.close(check.answer(error_rate, said, heard, call=call, letters=True), 0.5, call)
### BEGIN HIDDEN TESTS
rng = check.rng("error_rate")


def distance(a, b):
    """The fewest mistakes, by a table."""
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    table[0], table[:, 0] = range(len(b) + 1), range(len(a) + 1)
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (a[i - 1] != b[j - 1]))
    return int(table[-1, -1])


def text_of(low, high):
    return " ".join(rng.choice(["so", "ask", "an", "country", "a", "do"], size=rng.integers(low, high)))


for count in (1, 2, 5):
    said, heard = ([text_of(1, 9) for _ in range(count)] for _ in range(2))
    for letters in (False, True):
        pairs = [(a, b) if letters else (a.split(), b.split()) for a, b in zip(said, heard, strict=True)]
        want = sum(distance(a, b) for a, b in pairs) / sum(len(a) for a, _ in pairs)
        call = f"error_rate of {count} sentences" + (", letters=True" if letters else "")
        found = check.answer(error_rate, said, heard, call=call, **({"letters": True} if letters else {}))
        check.close(found, want, call, rtol=1e-9, why="be all mistakes over all that was said")
        check.close(check.answer(error_rate, said, heard, call=f"{call}, said once more", letters=letters), want, f"{call}, said once more", rtol=1e-9, why="be the same each time")
for said, heard, letters, want, why in [
    (["a b"], ["a b"], False, 0.0, "be 0 where all is right"),
    (["a b", "c d e f g h"], ["x y", "c d e f g h"], False, 0.25, "weigh long sentences more"),
    (["hi"], ["a b c d"], False, 4.0, "exceed 1 where much was made up"),
    (["", "a b c"], ["x", "a b c"], False, 1 / 3, "count what was heard where nothing was said"),
    (["", ""], ["", " "], False, 0.0, "be 0 where nothing was said and nothing heard"),
    ([""], ["x y"], False, float("inf"), "be infinite where something was heard and nothing said"),
    ([""], [""], True, 0.0, "be 0 where nothing was said and nothing heard"),
    (["  a   b "], ["a b"], False, 0.0, "take the words that split() gives"),
    (["  a   b "], ["a b"], True, 0.0, "join the words by single spaces"),
    (["ab c"], ["abc"], True, 0.25, "count a space as a letter"),
    (["a", "b"], ["b", "a"], False, 1.0, "compare each text with its own"),
    (["No"], ["no"], False, 1.0, "compare words as they are"),
    (["a b c d"], [""], False, 1.0, "be 1 where nothing was heard"),
]:
    call = f"error_rate({said}, {heard}" + (", letters=True)" if letters else ")")
    found = check.answer(error_rate, said, heard, call=call, **({"letters": True} if letters else {}))
    check.close(found, want, call, rtol=1e-9, why=why)
### END HIDDEN TESTS

# %% mutant="error_rate" why="the mean of the sentences"
# - mistakes += row[-1]
# - total += len(a)
# + mistakes += row[-1] / max(len(a), 1) if a else len(b)
# + total += 1

# %% mutant="error_rate" why="over what was heard"
# - total += len(a)
# + total += len(b)

# %% mutant="error_rate" why="over the longer one"
# - total += len(a)
# + total += max(len(a), len(b))

# %% mutant="error_rate" why="at most 1"
# - return mistakes / total
# + return min(mistakes / total, 1.0)

# %% mutant="error_rate" why="insertions do not count"
# - before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
# + before, row[j] = row[j], min(row[j] + 1, row[j - 1], before + (x != y))

# %% mutant="error_rate" why="a substitution is two mistakes"
# - before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
# + before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + 2 * (x != y))

# %% mutant="error_rate" why="words, whatever is asked"
# - if letters:
# + if False:

# %% mutant="error_rate" why="letters by default"
# - def error_rate(said: Sequence[str], heard: Sequence[str], letters: bool = False) -> float:
# + def error_rate(said: Sequence[str], heard: Sequence[str], letters: bool = True) -> float:

# %% mutant="error_rate" why="spaces are no letters"
# - a, b = " ".join(a), " ".join(b)
# + a, b = "".join(a), "".join(b)

# %% mutant="error_rate" why="spaces as they are written"
# - a, b = " ".join(a), " ".join(b)
# + a, b = one, other

# %% mutant="error_rate" why="all texts as one"
# - for one, other in zip(said, heard, strict=True):
# + for one, other in [(" ".join(said), " ".join(heard))]:

# %% mutant="error_rate" why="0 where nothing was said"
# - return 0.0 if mistakes == 0 else float("inf")
# + return 0.0

# %% mutant="error_rate" why="divides by 0"
# - if total == 0:
# + if False:

# %% mutant="error_rate" why="lower case"
# - a, b = one.split(), other.split()
# + a, b = one.lower().split(), other.lower().split()

# %% mutant="error_rate" why="a bag of words"
# - row = list(range(len(b) + 1))
# + row = [max(len(a), len(b)) - sum(min(list(a).count(w), list(b).count(w)) for w in set(a))]
# + a, b = list(a), []


# %% alternative="error_rate" why="a whole table in NumPy"
def error_rate(said, heard, letters=False):
    counts = np.zeros(2)
    for one, other in zip(said, heard, strict=True):
        parts = [" ".join(t.split()) if letters else t.split() for t in (one, other)]
        m, n = map(len, parts)
        table = np.add.outer(np.arange(m + 1), np.arange(n + 1))
        for i in range(m):
            for j in range(n):
                table[i + 1, j + 1] = min(table[i, j] + (parts[0][i] != parts[1][j]), 1 + min(table[i, j + 1], table[i + 1, j]))
        counts += table[m, n], m
    with np.errstate(all="ignore"):
        return 0.0 if counts[0] == 0 else float(counts[0] / counts[1])


# %%
rates = {name: (error_rate([SAID], [heard]), error_rate([SAID], [heard], letters=True)) for name, heard in HEARD.items()}
week14.bars(list(rates), {"words": [w for w, _ in rates.values()], "letters": [c for _, c in rates.values()]}, "error rate")
plots.show("Bars of the word and the letter error rate for no added noise, 20, 10 and 5 dB: words are wrong more often than letters.")
for name, (by_words, by_letters) in rates.items():
    print(f"{name:15} words {by_words:.2f}   letters {by_letters:.2f}")

# %% [markdown]
# **What to take along.** What was not written down is gone, and what is written down wrongly looks right: filter before you thin out. Fine steps where it is soft. Frames short enough to stand still and long enough to hold a tone. And never the mean of error rates. In the practice you build what lies between a waveform and a text.

# %% [markdown] lang="ru"
# **Что запомнить.** Чего не записали, того нет, а записанное неверно выглядит верным: сначала фильтр, потом прореживание. Мелкие ступени там, где тихо. Кадры — настолько короткие, чтобы звук в них стоял, и настолько длинные, чтобы держать тон. И никогда не усредняйте доли ошибок. В практике вы построите то, что лежит между волной и текстом.

# %% [markdown]
# **Sources**
# - J. Smith. [Mathematics of the discrete Fourier transform](https://ccrma.stanford.edu/~jos/mdft/), 2nd edition, 2007: sampling and aliasing. [Spectral audio signal processing](https://ccrma.stanford.edu/~jos/sasp/), 2011: windows that add up.
# - ITU-T Recommendation G.711. Pulse code modulation of voice frequencies. 1988.
# - V. Levenshtein. Binary codes capable of correcting deletions, insertions and reversals. 1966.
# - D. Jurafsky, J. Martin. [Speech and Language Processing](https://web.stanford.edu/~jurafsky/slp3/), 3rd edition draft: the chapter on automatic speech recognition.

# %% [markdown] lang="ru"
# **Источники**
# - J. Smith. [Mathematics of the discrete Fourier transform](https://ccrma.stanford.edu/~jos/mdft/), 2-е издание, 2007: дискретизация и наложение спектров. [Spectral audio signal processing](https://ccrma.stanford.edu/~jos/sasp/), 2011: окна, дающие в сумме единицу.
# - Рекомендация ITU-T G.711. Pulse code modulation of voice frequencies. 1988.
# - В. Левенштейн. Двоичные коды с исправлением выпадений, вставок и замещений символов. 1965.
# - D. Jurafsky, J. Martin. [Speech and Language Processing](https://web.stanford.edu/~jurafsky/slp3/), черновик 3-го издания: глава о распознавании речи.
