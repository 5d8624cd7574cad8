# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # From a sound to words, and back
# A second of speech is eight thousand numbers, and none of them says anything. This notebook goes the whole way that a machine goes when it listens: from samples to spectra and back without a loss, to features, to a network that knows ten words from a voice it has never heard, to letters without anybody having said where each of them is, to texts that fit a sound. At the end you compress speech with codebooks of your own and **hear** what one, two, four and eight of them are worth.

# %% [markdown] lang="ru"
# # От звука к словам и обратно
# Секунда речи — это восемь тысяч чисел, и ни одно из них само по себе ничего не говорит. Этот ноутбук проходит весь путь, каким слушает машина: от отсчётов к спектрам и обратно без потерь, к признакам, к сети, которая понимает десять слов, сказанных незнакомым голосом, к буквам, хотя никто не сказал ей, где какая стоит, к текстам, подходящим к звуку. В конце вы сожмёте речь собственными кодовыми книгами и **услышите**, чего стоят одна, две, четыре и восемь.

# %% tags=["parameters"]
profile = "small"

# %%
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from practical_dl import check, data, plots, seed_everything
from practical_dl.weeks import week14

seed_everything(0)
settings = {
    "small": {"epochs": 10, "trial_epochs": 8, "ctc_steps": 350, "pair_steps": 300, "patches": 20_000},
    "full": {"epochs": 60, "trial_epochs": 60, "ctc_steps": 5000, "pair_steps": 3000, "patches": 400_000},
}[profile]

# %%
digits = data.load("fsdd")
speech = data.load("speech")

# %%
week14.play({
    "seven, said by theo": digits.x_train[int(np.flatnonzero((digits.y_train[:, :2] == [7, 3]).all(1))[0])],
    "seven, said by jackson": digits.x_train[int(np.flatnonzero((digits.y_train[:, :2] == [7, 1]).all(1))[0])],
})  # fmt: skip
week14.play({"J. F. Kennedy, 1961, three seconds": speech.sound[: 3 * speech.rate : 4]}, speech.rate // 4)

# %% [markdown]
# **Rules.** Fill the cells that raise `NotImplementedError`, run the check below each, look at *your* result. The checks that you see are public ones: a good sign, not a promise. Each task can be solved without the others. Functions leave their arguments as they were. All logarithms are natural, unless decibels are named.
#
# The data: ten English digits said by five people at 8 kHz ([Free Spoken Digit Dataset](https://github.com/Jakobovski/free-spoken-digit-dataset), CC BY-SA 4.0), and a public-domain speech. A sixth voice is kept for the exam. `full` has the same data and trains longer; nobody has run it here.

# %% [markdown] lang="ru"
# **Правила.** Заполните ячейки с `NotImplementedError`, запустите проверку под каждой и посмотрите на *свой* результат. Видимые проверки — открытые: пройти их — хороший знак, но не гарантия. Каждое задание можно решить без остальных. Функции не меняют своих аргументов. Все логарифмы натуральные, если не названы децибелы.
#
# Данные: десять английских цифр, сказанных пятью людьми, 8 кГц ([Free Spoken Digit Dataset](https://github.com/Jakobovski/free-spoken-digit-dataset), CC BY-SA 4.0), и речь, ставшая общественным достоянием. Шестой голос отложен для экзамена. В `full` данные те же, обучение дольше; здесь его никто не запускал.

# %% [markdown]
# ## 1. Spectra of short pieces
# The ear hears tones, and they change. So cut the sound into overlapping frames, fade each in and out by a window $w$ of $W$ samples, and take its Fourier transform. This is the short-time Fourier transform (STFT), its magnitude the [spectrogram](glossary:spectrogram):
#
# $$X_{k,t} = \sum_{i=0}^{W-1} w_i \, x_{tH - W/2 + i} \; e^{-2\pi \mathrm i\, k i / W}, \qquad k = 0 \dots W/2.$$
#
# Frame $t$ is **centred** at sample $tH$ ($H$ is the hop); beyond its ends the sound is 0. `torch.fft.rfft` may be used, `torch.stft` may not.
#
# {{task:stft}}

# %% [markdown] lang="ru"
# ## 1. Спектры коротких кусков
# Ухо слышит тоны, и они меняются. Поэтому звук режут на перекрывающиеся кадры, края каждого сглаживают окном $w$ из $W$ отсчётов и берут преобразование Фурье. Это оконное преобразование Фурье (short-time Fourier transform, STFT), его модуль — [спектрограмма](glossary:spectrogram) (spectrogram):
#
# $$X_{k,t} = \sum_{i=0}^{W-1} w_i \, x_{tH - W/2 + i} \; e^{-2\pi \mathrm i\, k i / W}, \qquad k = 0 \dots W/2.$$
#
# **Середина** кадра $t$ — отсчёт $tH$ ($H$ — шаг, hop); за своими краями звук равен 0. `torch.fft.rfft` брать можно, `torch.stft` — нельзя.
#
# {{task:stft}}


# %% solution="stft"
def stft(x: torch.Tensor, window: torch.Tensor, hop: int) -> torch.Tensor:
    """Spectra of frames. x: (n,), window: (w,), w even -> complex (w // 2 + 1, 1 + n // hop)."""
    ### BEGIN SOLUTION
    size = len(window)
    frames = F.pad(x, (size // 2, size // 2)).unfold(0, size, hop)
    return torch.fft.rfft(frames * window).T
    ### END SOLUTION


# %% test="stft" points=0.5 difficulty=2 minutes=15
x, window = torch.tensor([1.0, 3.0, -2.0, 5.0, 4.0]), torch.tensor([0.5, 1.0, 2.0, 1.5])
call = "stft([1, 3, -2, 5, 4], [0.5, 1, 2, 1.5], hop=2)"
with check.without_torch("stft"):
    spectra = check.answer(stft, x, window, 2, call=call)
check.close(np.real(spectra), [[6.5, 7.0, 12.0], [-2.0, 4.5, -9.0], [-2.5, -14.0, 2.0]], f"the real part of {call}", atol=1e-5)
check.close(np.imag(spectra), [[0, 0, 0], [4.5, 4.5, -5.0], [0, 0, 0]], f"the imaginary part of {call}", atol=1e-5)
### BEGIN HIDDEN TESTS
rng = check.rng("stft")
for n, size, hop in ((23, 8, 4), (40, 6, 5), (3, 10, 2), (24, 4, 3), (17, 12, 20), (1, 2, 1)):
    x, window = torch.from_numpy(rng.normal(size=n)), torch.from_numpy(rng.uniform(0.2, 2, size=size))
    want = torch.stft(x, size, hop, window=window, center=True, pad_mode="constant", return_complex=True).numpy()
    call = f"stft of {n} samples, {size} to a frame, hop {hop}"
    with check.without_torch("stft"):
        found = check.answer(stft, x, window, hop, call=call)
    check.equal(found.shape, want.shape, f"the shape of {call}", why="have a row a frequency, a column a frame")
    check.that(found.dtype == np.complex128, f"{call}: have the precision of the sound")
    for name, part in (("real", np.real), ("imaginary", np.imag)):
        check.close(part(found), part(want), f"the {name} part of {call}", rtol=1e-8, atol=1e-9, why="be the spectra of centred, windowed frames")
x, window = torch.from_numpy(rng.normal(size=60))[::3], torch.from_numpy(rng.uniform(0.2, 2, size=6))
found = check.answer(stft, x, window, 4, call="stft of every third sample of a sound")
want = torch.stft(x.contiguous(), 6, 4, window=window, center=True, pad_mode="constant", return_complex=True).numpy()
check.close(np.abs(found), np.abs(want), "the magnitude of stft of every third sample of a sound", rtol=1e-8, atol=1e-9, why="work on a view")
single = check.answer(stft, x.float(), window.float(), 4, call="stft of single precision")
check.that(single.dtype == np.complex64, "stft of single precision: have the precision of the sound")
### END HIDDEN TESTS

# %% mutant="stft" why="no window"
# - return torch.fft.rfft(frames * window).T
# + return torch.fft.rfft(frames).T

# %% mutant="stft" why="frames begin at t H, not centred"
# - frames = F.pad(x, (size // 2, size // 2)).unfold(0, size, hop)
# + frames = F.pad(x, (0, size)).unfold(0, size, hop)

# %% mutant="stft" why="reflects the sound at its ends"
# - frames = F.pad(x, (size // 2, size // 2)).unfold(0, size, hop)
# + half = size // 2
# + sides = [x.flip(0).repeat(half)[-half:], x, x.flip(0).repeat(half)[:half]]
# + frames = torch.cat(sides).unfold(0, size, hop)

# %% mutant="stft" why="frames in rows"
# - return torch.fft.rfft(frames * window).T
# + return torch.fft.rfft(frames * window)

# %% mutant="stft" why="negative frequencies, too"
# - return torch.fft.rfft(frames * window).T
# + return torch.fft.fft(frames * window).T

# %% mutant="stft" why="the magnitude alone"
# - return torch.fft.rfft(frames * window).T
# + return torch.fft.rfft(frames * window).abs().T

# %% mutant="stft" why="the window turned round"
# - return torch.fft.rfft(frames * window).T
# + return torch.fft.rfft(frames * window.flip(0)).T

# %% mutant="stft" why="frames that don't overlap"
# - frames = F.pad(x, (size // 2, size // 2)).unfold(0, size, hop)
# + frames = F.pad(x, (size // 2, size // 2)).unfold(0, size, size)

# %% mutant="stft" why="a length of unit norm"
# - return torch.fft.rfft(frames * window).T
# + return torch.fft.rfft(frames * window, norm="ortho").T

# %% mutant="stft" why="the conjugate"
# - return torch.fft.rfft(frames * window).T
# + return torch.fft.rfft(frames * window).conj().T

# %% mutant="stft" why="always single precision"
# - return torch.fft.rfft(frames * window).T
# + return torch.fft.rfft((frames * window).float()).T

# %% mutant="stft" why="lets torch do it"
# - frames = F.pad(x, (size // 2, size // 2)).unfold(0, size, hop)
# + return torch.stft(x, size, hop, window=window, center=True, pad_mode="constant", return_complex=True)
# + frames = F.pad(x, (size // 2, size // 2)).unfold(0, size, hop)


# %% alternative="stft" why="a loop over frames"
def stft(x, window, hop):
    size = len(window)
    padded = torch.cat([x.new_zeros(size // 2), x, x.new_zeros(size // 2)])
    columns = [torch.fft.fft(padded[t : t + size] * window)[: size // 2 + 1] for t in range(0, len(x) + 1, hop)]
    return torch.stack(columns, dim=1)


# %% alternative="stft" why="NumPy and the sum itself"
def stft(x, window, hop):
    size = len(window)
    padded = np.pad(x.numpy(), size // 2)
    k, i = np.arange(size // 2 + 1)[:, None], np.arange(size)
    waves = np.exp(-2j * np.pi * k * i / size) * window.numpy()
    made = np.stack([waves @ padded[t : t + size] for t in range(0, len(x) + 1, hop)], axis=1)
    return torch.from_numpy(made.astype(np.complex128 if x.dtype == torch.float64 else np.complex64))


# %%
clip = torch.from_numpy(np.ascontiguousarray(speech.sound[: 3 * speech.rate : 4]))  # 11,025 Hz
panels = {}
for size in (64, 256, 2048):
    panels[f"{size} samples, {1000 * size / 11025:.0f} ms"] = stft(clip, torch.hann_window(size), size // 4).abs().numpy(), 3.0
week14.spectrograms(panels, 11025)
plots.show(
    "Three spectrograms of the same three seconds of speech. The short window shows sharply when a syllable begins, and no single tones; the middle one shows "
    "the harmonics of the voice as stripes that rise and fall; in the long one they are thin level lines, and the syllables run into each other."
)

# %% [markdown]
# A window can't be short *and* sharp: its width in time times its width in frequency is bounded from below. Speech is usually cut into 25 ms, hop 10 ms.
#
# Is anything lost? No: spectra overlap, so they hold more numbers than the sound. Back to it: the inverse transform $y_t$ of each column, faded by the window once more, added up, and divided by what the windows have done together:
#
# $$\hat x_j = \frac{\sum_t w_{i}\, y_{t,i}}{\sum_t w_{i}^2}, \qquad i = j - tH + \tfrac W2, \quad 0 \le i < W.$$
#
# The window comes **twice**, so it is squared below. Of spectra that no sound has (soon you will need those) this is the sound whose spectra are nearest to them ([Griffin & Lim, 1984](https://doi.org/10.1109/TASSP.1984.1164317), eq. 6). A hop is at most half a window, and the samples 0 to `length` − 1 are asked for. `torch.istft` may not be used.
#
# {{task:istft}}

# %% [markdown] lang="ru"
# Окно не может быть *и* коротким, *и* чётким: произведение его ширины во времени на ширину по частоте ограничено снизу. Речь обычно режут по 25 мс с шагом 10 мс.
#
# Потеряно ли что-нибудь? Нет: кадры перекрываются, и чисел в спектрах больше, чем в звуке. Назад ведёт обратное преобразование $y_t$ каждого столбца, ещё раз умноженное на окно; всё это складывают и делят на то, что окна сделали вместе:
#
# $$\hat x_j = \frac{\sum_t w_{i}\, y_{t,i}}{\sum_t w_{i}^2}, \qquad i = j - tH + \tfrac W2, \quad 0 \le i < W.$$
#
# Окно участвует **дважды**, поэтому внизу оно в квадрате. Для спектров, каких нет ни у одного звука (скоро понадобятся и такие), получается звук с ближайшими к ним спектрами ([Griffin, Lim, 1984](https://doi.org/10.1109/TASSP.1984.1164317), формула 6). Шаг — не больше половины окна, нужны отсчёты от 0 до `length` − 1. `torch.istft` брать нельзя.
#
# {{task:istft}}


# %% solution="istft"
def istft(spectra: torch.Tensor, window: torch.Tensor, hop: int, length: int) -> torch.Tensor:
    """The sound (length,) whose stft is nearest to spectra, complex (w // 2 + 1, 1 + length // hop)."""
    ### BEGIN SOLUTION
    size = len(window)
    frames = torch.fft.irfft(spectra.T, n=size) * window
    total = torch.zeros(size + hop * (len(frames) - 1), dtype=frames.dtype)
    weight = torch.zeros_like(total)
    for t, frame in enumerate(frames):
        total[t * hop : t * hop + size] += frame
        weight[t * hop : t * hop + size] += window**2
    return (total / weight)[size // 2 : size // 2 + length]
    ### END SOLUTION


# %% test="istft" points=0.75 difficulty=3 minutes=25
x, window = torch.tensor([1.0, 3.0, -2.0, 5.0, 4.0]), torch.tensor([0.5, 1.0, 2.0, 1.5])
spectra = torch.stft(x, 4, 2, window=window, center=True, pad_mode="constant", return_complex=True)
call = "istft of the spectra of [1, 3, -2, 5, 4], length=5"
with check.without_torch("istft"):
    check.close(check.answer(istft, spectra, window, 2, 5, call=call), [1, 3, -2, 5, 4], call, atol=1e-5, why="give the sound back")
    call = "istft of spectra that no sound has"
    spectra = torch.tensor([[3.0, 1.0, 0.0], [1.0 - 2.0j, 0.0, 2.0j], [4.0, 1.0, -2.0]])
    check.close(check.answer(istft, spectra, window, 2, 5, call=call), [0.64705882, -0.57692308, 0.17647059, -0.15384615, -0.25], call, atol=1e-5)
### BEGIN HIDDEN TESTS
rng = check.rng("istft")
for n, size, hop in ((23, 8, 4), (40, 6, 2), (37, 12, 5), (9, 8, 1), (21, 6, 3), (5, 16, 4)):
    x, window = torch.from_numpy(rng.normal(size=n)), torch.from_numpy(rng.uniform(0.2, 2, size=size))
    spectra = torch.stft(x, size, hop, window=window, center=True, pad_mode="constant", return_complex=True)
    call = f"istft of the spectra of {n} samples, {size} to a frame, hop {hop}"
    with check.without_torch("istft"):
        found = check.answer(istft, spectra, window, hop, n, call=call)
        check.equal(found.shape, (n,), f"the shape of {call}", why="be as long as is asked for")
        check.that(found.dtype == np.float64, f"{call}: have the precision of the spectra")
        check.close(found, x, call, rtol=1e-7, atol=1e-9, why="give the sound back, at its ends, too")
        noise = torch.from_numpy(rng.normal(size=spectra.shape) + 1j * rng.normal(size=spectra.shape))
        call = f"istft of random spectra of {n} samples, {size} to a frame, hop {hop}"
        found = check.answer(istft, noise, window, hop, n, call=call)
    # Nearest in the plain sense: least squares over all sounds, the frames as a linear map.
    rows = []
    for t in range(1 + n // hop):
        for i in range(size):
            rows.append(np.zeros(n))
            if 0 <= t * hop - size // 2 + i < n:
                rows[-1][t * hop - size // 2 + i] = window[i]
    wanted = np.fft.irfft(noise.numpy().T, n=size).ravel()
    check.close(found, np.linalg.lstsq(np.array(rows), wanted, rcond=None)[0], call, rtol=1e-6, atol=1e-8, why="be the sound whose frames are nearest")
x = torch.from_numpy(rng.normal(size=50))
for window in (torch.hann_window(8).double(), torch.hann_window(10).double()):
    spectra = torch.stft(x, len(window), 3, window=window, center=True, pad_mode="constant", return_complex=True)
    call = f"istft with a Hann window of {len(window)} samples, hop 3"
    check.close(check.answer(istft, spectra, window, 3, 50, call=call), x, call, rtol=1e-7, atol=1e-9, why="give the sound back, at its ends, too")
single = check.answer(istft, spectra.to(torch.complex64), window.float(), 3, 50, call="istft of single precision")
check.that(single.dtype == np.float32, "istft of single precision: have the precision of the spectra")
### END HIDDEN TESTS

# %% mutant="istft" why="the window is not squared below"
# - weight[t * hop : t * hop + size] += window**2
# + weight[t * hop : t * hop + size] += window

# %% mutant="istft" why="the window once, above and below: exact for spectra of a sound only"
# - frames = torch.fft.irfft(spectra.T, n=size) * window
# + frames = torch.fft.irfft(spectra.T, n=size)
# - weight[t * hop : t * hop + size] += window**2
# + weight[t * hop : t * hop + size] += window

# %% mutant="istft" why="divides by the number of frames"
# - weight[t * hop : t * hop + size] += window**2
# + weight[t * hop : t * hop + size] += 1

# %% mutant="istft" why="one weight for the whole sound"
# - return (total / weight)[size // 2 : size // 2 + length]
# + return (total / weight.max())[size // 2 : size // 2 + length]

# %% mutant="istft" why="does not cut the padding off"
# - return (total / weight)[size // 2 : size // 2 + length]
# + return (total / weight)[:length]

# %% mutant="istft" why="as long as the frames reach"
# - return (total / weight)[size // 2 : size // 2 + length]
# + return (total / weight)[size // 2 : -(size // 2)]

# %% mutant="istft" why="frames take each other's place"
# - total[t * hop : t * hop + size] += frame
# + total[t * hop : t * hop + size] = frame

# %% mutant="istft" why="the hop is half a window"
# - for t, frame in enumerate(frames):
# + for t, frame in enumerate(frames[: 1 + length // hop]):
# +     hop = size // 2

# %% mutant="istft" why="each sample by one frame: where it lies nearest to the middle"
# - total[t * hop : t * hop + size] += frame
# - weight[t * hop : t * hop + size] += window**2
# + middle = slice(t * hop + size // 2 - hop // 2, t * hop + size // 2 - hop // 2 + hop)
# + part = slice(size // 2 - hop // 2, size // 2 - hop // 2 + hop)
# + total[middle] = frame[part]
# + weight[middle] = window[part] ** 2

# %% mutant="istft" why="lets torch do it"
# - size = len(window)
# + return torch.istft(spectra, len(window), hop, window=window, center=True, length=length)
# + size = len(window)


# %% alternative="istft" why="fold adds the frames up"
def istft(spectra, window, hop, length):
    size, count = len(window), spectra.shape[1]
    frames = torch.fft.irfft(spectra, n=size, dim=0) * window[:, None]
    squares = (window**2)[:, None].expand(size, count)
    total, weight = (
        F.fold(part[None], (1, size + hop * (count - 1)), (1, size), stride=(1, hop))[0, 0, 0]
        for part in (frames, squares)
    )
    cut = slice(size // 2, size // 2 + length)
    return total[cut] / weight[cut]


# %% alternative="istft" why="sample by sample, in NumPy"
def istft(spectra, window, hop, length):
    w, size = window.numpy(), len(window)
    frames = np.fft.irfft(spectra.numpy().T, n=size)
    made = np.zeros(length, dtype=np.float64)
    for j in range(length):
        above = below = 0.0
        for t in range(len(frames)):
            i = j - t * hop + size // 2
            if 0 <= i < size:
                above, below = above + w[i] * frames[t, i], below + w[i] ** 2
        made[j] = above / below
    return torch.from_numpy(made.astype(np.float64 if spectra.dtype == torch.complex128 else np.float32))


# %%
window, hop = torch.hann_window(256), 100  # a hop that does not divide the window
spectra = stft(clip, window, hop)
again = istft(spectra, window, hop, len(clip))
print(f"{len(clip):,} samples, {spectra.numel():,} complex numbers; largest error after there and back {(again - clip).abs().max():.1e}")
only_loud = torch.where(spectra.abs() > 0.1 * spectra.abs().max(), spectra, torch.zeros(()))
print(f"the loudest {(only_loud != 0).float().mean():.1%} of the spectra alone:")
week14.play({
    "there and back": again.numpy(),
    "only the loudest places of the spectrogram": istft(only_loud, window, hop, len(clip)).numpy(),
}, 11025)  # fmt: skip

# %% [markdown]
# The few loudest places carry the words: a spectrogram is a good place to compress, and to learn.
#
# ## 2. What an ear would keep
# We hear pitch roughly by ratios: 200 and 300 Hz are far apart, 3200 and 3300 nearly the same. The [mel scale](glossary:mel-scale) bends frequencies accordingly, $m(f) = 2595 \log_{10}(1 + f/700)$. A filter bank sums the power of the spectrum under overlapping triangles that are equally wide **in mels**:
#
# - `count` + 2 edges $e_0 < \dots$ stand evenly on the mel scale, from `low` to `high` Hz (half the rate, if none is given);
# - filter $j$ rises from 0 at $e_j$ to its peak at $e_{j+1}$ and falls to 0 at $e_{j+2}$, straight **in Hz**;
# - its area is 1: the peak is $2 / (e_{j+2} - e_j)$, so that wide filters are not loud just because they are wide.
#
# Column $k$ of the matrix is the frequency $k \cdot \text{rate} / \text{size}$.
#
# {{task:mel_filters}}

# %% [markdown] lang="ru"
# Слова держатся на немногих самых громких местах: спектрограмма — хорошее место, чтобы сжимать и чтобы учиться.
#
# ## 2. Что оставило бы ухо
# Высоту мы слышим примерно по отношениям: 200 и 300 Гц далеки друг от друга, 3200 и 3300 — почти одно и то же. [Шкала мелов](glossary:mel-scale) (mel scale) изгибает частоты соответственно: $m(f) = 2595 \log_{10}(1 + f/700)$. Банк фильтров складывает мощность спектра под перекрывающимися треугольниками, равно широкими **в мелах**:
#
# - `count` + 2 края $e_0 < \dots$ стоят на шкале мелов равномерно, от `low` до `high` Гц (если не задано — до половины частоты дискретизации);
# - фильтр $j$ поднимается от 0 в $e_j$ до вершины в $e_{j+1}$ и спадает до 0 в $e_{j+2}$, линейно **по Гц**;
# - площадь его равна 1: вершина — $2 / (e_{j+2} - e_j)$, чтобы широкие фильтры не были громче лишь оттого, что они широки.
#
# Столбец $k$ матрицы — частота $k \cdot \text{rate} / \text{size}$.
#
# {{task:mel_filters}}


# %% solution="mel_filters"
def mel_filters(rate: float, size: int, count: int, low: float = 0.0, high: float | None = None) -> np.ndarray:
    """Triangles on the mel scale for spectra of `size` samples, size even: (count, size // 2 + 1)."""
    ### BEGIN SOLUTION
    ends = 2595 * np.log10(1 + np.array([low, rate / 2 if high is None else high]) / 700)
    edges = 700 * (10 ** (np.linspace(*ends, count + 2) / 2595) - 1)
    places = np.arange(size // 2 + 1) * rate / size
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (places - left) / (middle - left), (right - places) / (right - middle)
    return np.maximum(np.minimum(rising, falling), 0) * 2 / (right - left)
    ### END SOLUTION


# %% test="mel_filters" points=0.5 difficulty=2 minutes=15
call = "mel_filters(8000, 16, 3)"
want = [
    [0, 0.0016042926, 0.0002975158, 0, 0, 0, 0, 0, 0],
    [0, 0.0001188433, 0.0009306479, 0.000725976, 0.0002216614, 0, 0, 0, 0],
    [0, 0, 0, 0.0002419656, 0.0005552593, 0.000583879, 0.0003892527, 0.0001946263, 0],
]
made = check.answer(mel_filters, 8000, 16, 3, call=call)
check.close(made, want, call, atol=1e-8)
### BEGIN HIDDEN TESTS
rng = check.rng("mel_filters")
for rate, size, count, limits in ((8000, 64, 5, {}), (16000.0, 50, 7, {"low": 60.0}), (11025, 128, 4, {"high": 3000.0}), (11025, 512, 24, {}), (4001.5, 40, 6, {}), (22050, 256, 9, {"low": 200, "high": 7000}), (8000, 16, 1, {})):
    low, high = limits.get("low", 0), limits.get("high", rate / 2)
    mels = np.linspace(2595 * np.log10(1 + low / 700), 2595 * np.log10(1 + high / 700), count + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    want = [np.interp(np.linspace(0, rate / 2, size // 2 + 1), edges[j : j + 3], [0, 2 / (edges[j + 2] - edges[j]), 0]) for j in range(count)]
    call = f"mel_filters({rate}, {size}, {count}" + "".join(f", {name}={value}" for name, value in limits.items()) + ")"
    check.close(check.answer(mel_filters, rate, size, count, call=call, **limits), want, call, rtol=1e-6, atol=1e-12, why="be triangles of area 1, evenly spaced in mels")
rate = int(rng.integers(8000, 20000))
areas = check.answer(mel_filters, rate, 200_000, 6, call=f"mel_filters({rate}, 200000, 6)").sum(1) * rate / 200_000
check.close(areas, np.ones(6), "the area under each filter", rtol=1e-3, why="be 1")
### END HIDDEN TESTS

# %% mutant="mel_filters" why="edges evenly spaced in Hz"
# - edges = 700 * (10 ** (np.linspace(*ends, count + 2) / 2595) - 1)
# + edges = np.linspace(low, rate / 2 if high is None else high, count + 2)

# %% mutant="mel_filters" why="peaks of 1"
# - return np.maximum(np.minimum(rising, falling), 0) * 2 / (right - left)
# + return np.maximum(np.minimum(rising, falling), 0)

# %% mutant="mel_filters" why="negative outside the triangle"
# - return np.maximum(np.minimum(rising, falling), 0) * 2 / (right - left)
# + return np.minimum(rising, falling) * 2 / (right - left)

# %% mutant="mel_filters" why="forgets the 2"
# - return np.maximum(np.minimum(rising, falling), 0) * 2 / (right - left)
# + return np.maximum(np.minimum(rising, falling), 0) / (right - left)

# %% mutant="mel_filters" why="the natural logarithm"
# - ends = 2595 * np.log10(1 + np.array([low, rate / 2 if high is None else high]) / 700)
# + ends = 2595 * np.log(1 + np.array([low, rate / 2 if high is None else high]) / 700)

# %% mutant="mel_filters" why="up to the rate, not to its half"
# - ends = 2595 * np.log10(1 + np.array([low, rate / 2 if high is None else high]) / 700)
# + ends = 2595 * np.log10(1 + np.array([low, rate if high is None else high]) / 700)

# %% mutant="mel_filters" why="low is not looked at"
# - ends = 2595 * np.log10(1 + np.array([low, rate / 2 if high is None else high]) / 700)
# + ends = 2595 * np.log10(1 + np.array([0, rate / 2 if high is None else high]) / 700)

# %% mutant="mel_filters" why="high is not looked at"
# - ends = 2595 * np.log10(1 + np.array([low, rate / 2 if high is None else high]) / 700)
# + ends = 2595 * np.log10(1 + np.array([low, rate / 2]) / 700)

# %% mutant="mel_filters" why="half of the rate without its half"
# - ends = 2595 * np.log10(1 + np.array([low, rate / 2 if high is None else high]) / 700)
# + ends = 2595 * np.log10(1 + np.array([low, rate // 2 if high is None else high]) / 700)

# %% mutant="mel_filters" why="triangles straight in mels"
# - places = np.arange(size // 2 + 1) * rate / size
# + places = np.arange(size // 2 + 1) * rate / size
# + width = 2 / (edges[2:, None] - edges[:-2, None])
# + edges, places = (2595 * np.log10(1 + f / 700) for f in (edges, places))
# - return np.maximum(np.minimum(rising, falling), 0) * 2 / (right - left)
# + return np.maximum(np.minimum(rising, falling), 0) * width

# %% mutant="mel_filters" why="frequencies rounded to whole columns"
# - left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
# + edges = np.floor(edges * (size + 1) / rate) * rate / size + 1e-9 * np.arange(count + 2)
# + left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]


# %% alternative="mel_filters" why="interpolation, filter by filter"
def mel_filters(rate, size, count, low=0.0, high=None):
    high = rate / 2 if high is None else high
    mels = np.linspace(2595 * np.log10(1 + low / 700), 2595 * np.log10(1 + high / 700), count + 2)
    edges = 700 * np.expm1(mels * np.log(10) / 2595)
    places = np.linspace(0, rate / 2, size // 2 + 1)
    made = np.zeros((count, len(places)))
    for j in range(count):
        made[j] = np.interp(places, edges[j : j + 3], [0, 2 / (edges[j + 2] - edges[j]), 0])
    return made


# %%
filters = mel_filters(11025, 512, 24)
power = stft(clip, torch.hann_window(512), 128).abs().numpy() ** 2
week14.mel_bank(filters, 11025, 10 * np.log10(filters @ power + 1e-6), 3.0)
plots.show("Left, 24 triangles: narrow and high where tones are low, wide and flat where they are high. Right, speech in 24 mel bands: words as bright blots.")

# %% [markdown]
# Loudness, too, is heard by ratios: hence the logarithm. Neighbouring bands still say nearly the same. A cosine transform over the bands separates a coarse shape (the vocal tract: *what* is said) from fine ripples (the pitch: *who* says it), and the first dozen numbers are the classical features of speech, the [MFCC](glossary:mfcc). With $l_m = \ln(10^{-10} + \text{power in band } m)$, of $M$ bands:
#
# $$c_k = s_k \sum_{m=0}^{M-1} l_m \cos \frac{\pi k\,(m + \frac12)}{M}, \qquad s_0 = \sqrt{\tfrac1M}, \quad s_{k>0} = \sqrt{\tfrac2M}.$$
#
# The scales make the transform orthonormal: it only turns the vector.
#
# {{task:mfcc}}

# %% [markdown] lang="ru"
# Громкость мы тоже слышим по отношениям: отсюда логарифм. Но соседние полосы всё ещё говорят почти одно и то же. Косинусное преобразование по полосам отделяет общий рисунок (речевой тракт: *что* сказано) от мелкой ряби (высота голоса: *кто* сказал), и первая дюжина чисел — классические признаки речи, [MFCC](glossary:mfcc). Пусть $l_m = \ln(10^{-10} + \text{мощность в полосе } m)$, полос $M$:
#
# $$c_k = s_k \sum_{m=0}^{M-1} l_m \cos \frac{\pi k\,(m + \frac12)}{M}, \qquad s_0 = \sqrt{\tfrac1M}, \quad s_{k>0} = \sqrt{\tfrac2M}.$$
#
# С этими множителями преобразование ортонормировано: оно лишь поворачивает вектор.
#
# {{task:mfcc}}


# %% solution="mfcc"
def mfcc(power: np.ndarray, filters: np.ndarray, count: int) -> np.ndarray:
    """The first `count` MFCC, count <= bands. power: (bins, frames), filters: (bands, bins) -> (count, frames)."""
    ### BEGIN SOLUTION
    levels = np.log(filters @ power + 1e-10)
    bands = len(filters)
    k, m = np.arange(count)[:, None], np.arange(bands)
    scales = np.sqrt(np.where(k == 0, 1, 2) / bands)
    return scales * np.cos(np.pi * k * (m + 0.5) / bands) @ levels
    ### END SOLUTION


# %% test="mfcc" points=0.5 difficulty=2 minutes=15
power, filters = np.array([[3.0, 0.5], [7.0, 4.0]]), np.array([[1.0, 0.0], [0.5, 0.2], [0.0, 3.0]])
call = "mfcc(power, filters, 2)"
check.close(check.answer(mfcc, power, filters, 2, call=call), [[3.00675098, 1.06264183], [-1.37596626, -2.24722341]], call)
### BEGIN HIDDEN TESTS
from scipy.fft import dct

rng = check.rng("mfcc")
for bins, bands, frames, count in ((9, 5, 4, 3), (6, 7, 2, 7), (12, 4, 5, 1), (5, 2, 1, 2)):
    power, filters = rng.uniform(0, 4, size=(bins, frames)) ** 2, rng.uniform(0, 1, size=(bands, bins))
    want = dct(np.log(filters @ power + 1e-10), type=2, norm="ortho", axis=0)[:count]
    call = f"mfcc of {frames} frames, {bands} bands, {count} numbers"
    check.close(check.answer(mfcc, power, filters, count, call=call), want, call, rtol=1e-7, atol=1e-8, why="be the orthonormal cosine transform of the logarithms")
power = rng.uniform(0.5, 3, size=(6, 3))
power[:, 1] = 0
filters = rng.uniform(0, 1, size=(4, 6))
want = dct(np.log(filters @ power + 1e-10), type=2, norm="ortho", axis=0)
check.close(check.answer(mfcc, power * 1e-10, filters, 4, call="mfcc of hardly any power"), dct(np.log(filters @ power * 1e-10 + 1e-10), type=2, norm="ortho", axis=0), "mfcc of hardly any power", rtol=1e-7, atol=1e-8, why="add the floor, not replace by it")
check.close(check.answer(mfcc, power, filters, 4, call="mfcc with a silent frame"), want, "mfcc with a silent frame", rtol=1e-7, atol=1e-8, why="add the floor to the power")
### END HIDDEN TESTS

# %% mutant="mfcc" why="the logarithm of the power twice: squares the power"
# - levels = np.log(filters @ power + 1e-10)
# + levels = np.log(filters @ power**2 + 1e-10)

# %% mutant="mfcc" why="decibels"
# - levels = np.log(filters @ power + 1e-10)
# + levels = 10 * np.log10(filters @ power + 1e-10)

# %% mutant="mfcc" why="logarithms first, filters then"
# - levels = np.log(filters @ power + 1e-10)
# + levels = filters @ np.log(power + 1e-10)

# %% mutant="mfcc" why="no logarithm"
# - levels = np.log(filters @ power + 1e-10)
# + levels = filters @ power + 1e-10

# %% mutant="mfcc" why="the logarithm of magnitudes"
# - levels = np.log(filters @ power + 1e-10)
# + levels = np.log(filters @ np.sqrt(power) + 1e-10)

# %% mutant="mfcc" why="no half: the cosines of another transform"
# - return scales * np.cos(np.pi * k * (m + 0.5) / bands) @ levels
# + return scales * np.cos(np.pi * k * m / bands) @ levels

# %% mutant="mfcc" why="not orthonormal"
# - scales = np.sqrt(np.where(k == 0, 1, 2) / bands)
# + scales = 2 * np.ones_like(k)

# %% mutant="mfcc" why="the first number like the others"
# - scales = np.sqrt(np.where(k == 0, 1, 2) / bands)
# + scales = np.sqrt(2 / bands)

# %% mutant="mfcc" why="leaves the loudness out: counts from 1"
# - k, m = np.arange(count)[:, None], np.arange(bands)
# + k, m = 1 + np.arange(count)[:, None], np.arange(bands)

# %% mutant="mfcc" why="a transform of `count` bands"
# - scales = np.sqrt(np.where(k == 0, 1, 2) / bands)
# + bands = count
# + scales = np.sqrt(np.where(k == 0, 1, 2) / bands)

# %% mutant="mfcc" why="the larger of power and floor"
# - levels = np.log(filters @ power + 1e-10)
# + levels = np.log(np.maximum(filters @ power, 1e-10))

# %% mutant="mfcc" why="another floor"
# - levels = np.log(filters @ power + 1e-10)
# + levels = np.log(np.maximum(filters @ power, 1e-4))


# %% alternative="mfcc" why="scipy's transform"
def mfcc(power, filters, count):
    from scipy.fft import dct

    return dct(np.log(filters @ power + 1e-10), norm="ortho", axis=0)[:count]


# %%
bank = mel_filters(week14.RATE, week14.WINDOW, week14.BANDS)
hann = torch.hann_window(week14.WINDOW)
powers = [stft(torch.tensor(sound), hann, week14.HOP).abs().numpy() ** 2 for sound in digits.x_train[::5]]
levels = np.log(bank @ np.concatenate(powers, axis=1) + 1e-10)[:, ::7]
numbers = mfcc(np.concatenate(powers, axis=1), bank, 40)[:, ::7]
off = ~np.eye(40, dtype=bool)
for name, rows in (("log-mel", levels), ("MFCC", numbers)):
    print(f"{name:8} mean absolute correlation of two rows {np.abs(np.corrcoef(rows)[off]).mean():.2f}")
shares = numbers.var(axis=1) / numbers.var(axis=1).sum()
print(f"the first 13 MFCC hold {shares[:13].sum():.1%} of the variance of all 40")
week14.correlations({"log-mel bands": levels, "MFCC": numbers})
plots.show("Correlations of 40 log-mel bands, nearly all strongly positive, and of 40 MFCC, near zero but on the diagonal and in a few weak patches.")

# %% [markdown]
# For decades recognisers with Gaussians needed numbers that are not correlated. Networks don't mind, and a convolution *wants* neighbours that are alike; so today's networks take the log-mel spectrogram itself.

# %% [markdown] lang="ru"
# Десятилетиями распознаватели на гауссианах нуждались в некоррелированных числах. Сетям всё равно, а свёртка даже *хочет*, чтобы соседи были похожи; поэтому нынешние сети берут саму лог-мел-спектрограмму.

# %% [markdown]
# ## 3. Ten words from a stranger
# Here are spoken digits as grey pictures: 40 mel bands, 64 frames of 10 ms, 256 greys over 80 dB. Your network will be judged by a **voice that you don't have**. To learn how well that goes, hold one of your five voices out, not some takes of each.
#
# [SpecAugment](glossary:specaugment) ([Park et al., 2019](https://arxiv.org/abs/1904.08779)) hides parts of pictures while the network trains, so that no single band or moment decides. Here, **each picture of the batch by itself**: one mask of rows and one of columns. The width of a mask is drawn evenly from 0, 1, … up to its maximum, inclusive; its place evenly among all at which it lies inside the picture. What is masked becomes 0.
#
# {{task:spec_augment}}

# %% [markdown] lang="ru"
# ## 3. Десять слов от незнакомца
# Вот сказанные цифры серыми картинками: 40 полос по мелам, 64 кадра по 10 мс, 256 оттенков на 80 дБ. О вашей сети будут судить по **голосу, которого у вас нет**. Чтобы узнать, как это пойдёт, отложите один из своих пяти голосов целиком, а не по нескольку записей каждого.
#
# [SpecAugment](glossary:specaugment) ([Park и др., 2019](https://arxiv.org/abs/1904.08779)) при обучении закрывает части картинок, чтобы никакая полоса и никакой миг не решали всё. Здесь **у каждой картинки батча** свои маски: одна по строкам, одна по столбцам. Ширина маски выбирается равновероятно из 0, 1, … до наибольшей включительно, место — равновероятно из всех, где маска помещается целиком. Закрытое становится нулём.
#
# {{task:spec_augment}}


# %% solution="spec_augment"
def spec_augment(x: torch.Tensor, rng: np.random.Generator, bands: int = 8, frames: int = 12) -> torch.Tensor:
    """A masked copy of pictures x (n, rows, columns). bands, frames: the widest masks of rows and of columns."""
    ### BEGIN SOLUTION
    masked = x.clone()
    for picture in masked:
        for side, most in ((picture, bands), (picture.T, frames)):
            width = rng.integers(most + 1)
            start = rng.integers(len(side) - width + 1)
            side[start : start + width] = 0
    return masked
    ### END SOLUTION


# %% test="spec_augment" points=0.5 difficulty=2 minutes=15
x = torch.rand(6, 20, 30) + 0.5
call = "spec_augment(x, rng, bands=4, frames=7)"
found = check.answer(spec_augment, x, np.random.default_rng(0), bands=4, frames=7, call=call)
check.equal(found.shape, (6, 20, 30), f"the shape of {call}")
kept = found != 0
check.close(found[kept], x.numpy()[kept], f"what {call} has not masked", why="be as it was")
rows, columns = (~kept).all(2).sum(1), (~kept).all(1).sum(1)
check.that(rows.max() <= 4 and columns.max() <= 7, f"{call}: mask no more than 4 rows and 7 columns", details=f"rows {rows}, columns {columns}")
check.that((~kept).any() and kept.any(), f"{call}: mask something, not everything")
### BEGIN HIDDEN TESTS
def blocks(hidden: np.ndarray, call: str) -> tuple[np.ndarray, np.ndarray]:
    """Widths and starts of the blocks in (n, length) masks."""
    widths, starts = hidden.sum(1), np.where(hidden.any(1), hidden.argmax(1), -1)
    places = np.arange(hidden.shape[1])
    solid = (places >= starts[:, None]) & (places < (starts + widths)[:, None])
    check.that((solid == hidden).all(), f"{call}: mask one block without a gap")
    return widths, starts


def evenly(values: np.ndarray, options: int, what: str) -> None:
    """Every option about as often as the others: within seven deviations."""
    counts, share = np.bincount(values, minlength=options), 1 / options
    spread = np.sqrt(len(values) * share * (1 - share))
    check.that(len(counts) == options and (np.abs(counts - len(values) * share) < 7 * spread + 1).all(), f"{what}: be drawn evenly, from the first to the last possible one")


rng = check.rng("spec_augment")
n, h, w = 1500, 7, 9
x = torch.from_numpy(rng.uniform(0.5, 1, size=(n, h, w)))
for bands, frames in ((3, 0), (0, 4)):
    call = f"spec_augment(x, rng, bands={bands}, frames={frames})"
    found = check.answer(spec_augment, x, np.random.default_rng(int(rng.integers(10**6))), bands=bands, frames=frames, call=call)
    check.that(found.dtype == np.float64, f"{call}: keep the precision")
    hidden = (found == 0).all(2 if bands else 1)
    check.that(((found == 0) == (hidden[:, :, None] if bands else hidden[:, None, :])).all(), f"{call}: mask whole {'rows' if bands else 'columns'} only")
    widths, starts = blocks(hidden, call)
    evenly(widths, max(bands, frames) + 1, f"the width of a mask in {call}")
    for width in range(1, max(bands, frames) + 1):
        evenly(starts[widths == width], (h if bands else w) - width + 1, f"the place of masks of width {width} in {call}")
call = "spec_augment(x, rng, bands=2, frames=2)"
found = check.answer(spec_augment, x, np.random.default_rng(int(rng.integers(10**6))), bands=2, frames=2, call=call)
rows, columns = (found == 0).all(2), (found == 0).all(1)
check.that(((found == 0) == (rows[:, :, None] | columns[:, None, :])).all(), f"{call}: mask rows and columns")
evenly(3 * rows.sum(1) + columns.sum(1), 9, f"the two widths in {call}, independent of each other,")
check.close(found[found != 0], x.numpy()[found != 0], f"what {call} has not masked", why="be as it was")
few = x[:40]
first, second = (check.answer(spec_augment, few, np.random.default_rng(5), bands=3, frames=4, call="spec_augment(x, rng)") for _ in range(2))
check.equal(first, second, "spec_augment(x, rng) from the same seed", why="draw from the generator that is given")
generator = np.random.default_rng(5)
first, second = (check.answer(spec_augment, few, generator, bands=3, frames=4, call="spec_augment(x, rng)") for _ in range(2))
check.that((first != second).any(), "draw other masks in a second call")
large = torch.ones(400, 20, 30)
found = check.answer(spec_augment, large, np.random.default_rng(int(rng.integers(10**6))), call="spec_augment(x, rng)")
check.equal([int((found == 0).all(2).sum(1).max()), int((found == 0).all(1).sum(1).max())], [8, 12], "the widest masks in 400 pictures without further arguments", why="be the defaults")
found = check.answer(spec_augment, large[:300, :3, :2], np.random.default_rng(int(rng.integers(10**6))), bands=3, frames=0, call="spec_augment(x, rng, bands=3, frames=0) of 3 rows")
check.equal(int((found == 0).all(2).sum(1).max()), 3, "the widest mask where all rows may be masked", why="be all of them")
### END HIDDEN TESTS

# %% mutant="spec_augment" why="masks the batch alike"
# - for picture in masked:
# -     for side, most in ((picture, bands), (picture.T, frames)):
# -         width = rng.integers(most + 1)
# -         start = rng.integers(len(side) - width + 1)
# -         side[start : start + width] = 0
# + for axis, most in ((1, bands), (2, frames)):
# +     width = rng.integers(most + 1)
# +     start = rng.integers(x.shape[axis] - width + 1)
# +     masked.narrow(axis, start, width).zero_()

# %% mutant="spec_augment" why="masks the original"
# - masked = x.clone()
# + masked = x

# %% mutant="spec_augment" why="never the widest mask"
# - width = rng.integers(most + 1)
# + width = rng.integers(max(most, 1))

# %% mutant="spec_augment" why="always the widest mask"
# - width = rng.integers(most + 1)
# + width = most

# %% mutant="spec_augment" why="never at the end"
# - start = rng.integers(len(side) - width + 1)
# + start = rng.integers(max(len(side) - width, 1))

# %% mutant="spec_augment" why="masks that reach over the edge and are cut"
# - start = rng.integers(len(side) - width + 1)
# + start = rng.integers(len(side))

# %% mutant="spec_augment" why="one width for both masks"
# - for picture in masked:
# + for picture in masked:
# +     share = rng.random()
# - width = rng.integers(most + 1)
# + width = int(share * (most + 1))

# %% mutant="spec_augment" why="rows and columns exchanged"
# - for side, most in ((picture, bands), (picture.T, frames)):
# + for side, most in ((picture, frames), (picture.T, bands)):

# %% mutant="spec_augment" why="no columns"
# - for side, most in ((picture, bands), (picture.T, frames)):
# + for side, most in ((picture, bands),):

# %% mutant="spec_augment" why="the mean in place of 0"
# - side[start : start + width] = 0
# + side[start : start + width] = x.mean()

# %% mutant="spec_augment" why="keeps the mask and hides the rest"
# - side[start : start + width] = 0
# + side[:start] = 0
# + side[start + width :] = 0

# %% mutant="spec_augment" why="a generator of its own"
# - masked = x.clone()
# + masked = x.clone()
# + rng = np.random.default_rng(0)

# %% mutant="spec_augment" why="NumPy's global generator"
# - masked = x.clone()
# + masked = x.clone()
# + rng = np.random.RandomState(np.random.randint(10**6))
# + rng.integers = rng.randint

# %% mutant="spec_augment" why="starts at the first row, always"
# - start = rng.integers(len(side) - width + 1)
# + start = 0


# %% alternative="spec_augment" why="all masks at once"
def spec_augment(x, rng, bands=8, frames=12):
    hidden = torch.zeros(x.shape, dtype=torch.bool)
    for axis, most in ((1, bands), (2, frames)):
        n, size = len(x), x.shape[axis]
        width = rng.integers(0, most + 1, size=(n, 1))
        start = np.floor(rng.random((n, 1)) * (size - width + 1))
        places = np.arange(size)
        block = torch.from_numpy((places >= start) & (places < start + width))
        hidden |= block[:, :, None] if axis == 1 else block[:, None, :]
    return x.masked_fill(hidden, 0)


# %% alternative="spec_augment" why="multiplies by zeros"
def spec_augment(x, rng, bands=8, frames=12):
    made = []
    for picture in x:
        rows, columns = torch.ones(picture.shape[0], 1), torch.ones(1, picture.shape[1])
        width = int(rng.integers(0, bands, endpoint=True))
        start = int(rng.integers(0, picture.shape[0] - width, endpoint=True))
        rows[start : start + width] = 0
        width = int(rng.integers(0, frames, endpoint=True))
        start = int(rng.integers(0, picture.shape[1] - width, endpoint=True))
        columns[:, start : start + width] = 0
        made.append((picture * rows * columns).to(x.dtype))
    return torch.stack(made)


# %%
sounds, heard = week14.pictures(digits.x_train), digits.y_train
as_input = torch.tensor(sounds[..., 0] / 255, dtype=torch.float32)
picture = as_input[int(np.flatnonzero((heard[:, :2] == [7, 3]).all(1))[0])]
copies = spec_augment(picture.repeat(4, 1, 1), np.random.default_rng(1))
week14.masked(picture.numpy(), list(copies.numpy()))
plots.show("A spoken seven as a spectrogram, and four copies with a black stripe across and one down, each at another place and of another width; one that falls into the silence is not seen.")

# %% [markdown]
# **Your network.** {{task:network}}
#
# A network that slides over **time** with all bands as channels is small and fast: `nn.Conv1d` over the 64 frames, three or four layers, batch norm, pooling; at the end the mean and the maximum over time, so that it does not matter when a word begins. Let it bring each picture to mean 0 and deviation 1 itself: microphones differ. A two-dimensional network is also right, and ten times as slow here.
#
# - You hand in this notebook **and** `model.safetensors` (at most 5 MB). In the exam there are your imports, functions, classes, constants, the cell of `network`, and your weights; no data, no other cell's results.
# - The private sounds are a sixth speaker's, each shifted in time, a little faster or slower, with a little noise, mixed with some public ones. What counts is the accuracy on the sixth voice: above 30 % gives 0.4 points, above 65 and 75 % 0.3 more each. Nothing pretrained; no recordings beside those of `data.load("fsdd").x_train`.

# %% [markdown] lang="ru"
# **Ваша сеть.** {{task:network}}
#
# Сеть, которая скользит по **времени**, а полосы считает каналами, мала и быстра: `nn.Conv1d` по 64 кадрам, три-четыре слоя, батч-нормализация, пулинг; в конце — среднее и максимум по времени, чтобы не было важно, когда слово начинается. Пусть она сама приводит каждую картинку к среднему 0 и отклонению 1: микрофоны разные. Двумерная сеть тоже годится, но здесь она в десять раз медленнее.
#
# - Сдаются этот ноутбук **и** `model.safetensors` (не больше 5 МБ). На экзамене есть ваши импорты, функции, классы, константы, ячейка `network` и веса; ни данных, ни результатов других ячеек.
# - Закрытые звуки — шестого диктора: каждый сдвинут во времени, чуть ускорен или замедлен, чуть зашумлён; они перемешаны с несколькими открытыми. Засчитывается точность на шестом голосе: больше 30 % — 0,4 балла, больше 65 и 75 % — ещё по 0,3. Ничего предобученного; никаких записей, кроме `data.load("fsdd").x_train`.


# %% solution="network"
def network() -> nn.Module:
    """A new, untrained network: pictures of sounds in [0, 1], (n, 1, 40, 64) -> logits (n, 10).

    It may use your own functions and classes, and constants; what another cell has computed is not
    there in the exam. The check rehearses that.
    """
    ### BEGIN SOLUTION
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            layers = []
            for before, after in ((40, 64), (64, 64), (64, 64)):
                layers += [nn.Conv1d(before, after, 5, padding=2), nn.BatchNorm1d(after), nn.ReLU(), nn.MaxPool1d(2)]
            self.layers = nn.Sequential(*layers)
            self.head = nn.Linear(2 * 64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x[:, 0]
            x = x - x.mean((1, 2), keepdim=True)
            x = self.layers(x / (x.std((1, 2), keepdim=True) + 1e-5))
            return self.head(torch.cat([x.mean(2), x.amax(2)], dim=1))

    return Words()
    ### END SOLUTION


# %% [markdown]
# The recipe is given: Adam, a rate that rises and falls, sounds shifted in time at random. First a fair measurement: two voices take turns in being the stranger; with your masks, and without.

# %% [markdown] lang="ru"
# Рецепт дан: Adam, темп обучения растёт и падает, звуки случайно сдвигаются во времени. Сначала честное измерение: два голоса по очереди играют незнакомца; с вашими масками и без них.

# %%
def train(x: torch.Tensor, y: torch.Tensor, epochs: int, masks: bool, seed: int = 0) -> nn.Module:
    """A network trained on pictures (n, 40, 64) of classes (n,)."""
    torch.manual_seed(seed)
    rng, model = np.random.default_rng(seed), week14.PROJECT.build(network).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    steps = epochs * (len(x) // 32)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps + 1)
    for _ in range(epochs):
        for chosen in torch.randperm(len(x)).split(32)[: len(x) // 32]:
            batch = torch.stack([one.roll(int(rng.integers(-6, 7)), 1) for one in x[chosen]])
            batch = spec_augment(batch, rng) if masks else batch
            loss = F.cross_entropy(model(batch[:, None]), y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


targets = torch.tensor(heard[:, 0])
on_takes, takes = week14.pictures(digits.x_test), digits.y_test

# %% tags=["training"]
for stranger, name in ((1, "jackson"), (2, "nicolas")):
    others, same = heard[:, 1] != stranger, takes[:, 1] != stranger
    for masks in (False, True):
        model = train(as_input[others], targets[others], settings["trial_epochs"], masks)
        known = week14.PROJECT.accuracy(model, on_takes[same], takes[same, 0])
        unknown = week14.PROJECT.accuracy(model, sounds[~others], heard[~others, 0])
        print(f"{'masks' if masks else 'no masks':9} new takes of known voices {known:.1%}, of {name}, a stranger, {unknown:.1%}")

# %% [markdown]
# Two things to see. New *takes* of known voices say nothing about new *voices*: who splits by takes believes the task is solved. And whether masks help is an empirical question: the paper trains for long on hundreds of hours of speech; read what they do here, in a few epochs with four, and choose by it. The number of epochs is such a choice, too: judge it by a stranger.

# %% [markdown] lang="ru"
# Видно вот что. Новые *записи* знакомых голосов ничего не говорят о новых *голосах*: кто делит данные по записям, думает, что задача решена. А помогают ли маски — вопрос опыта: в статье долго учат на сотнях часов речи; прочтите, что они дают здесь, за несколько эпох на четырёх, и выбирайте по этому. Число эпох — такой же выбор: судите о нём по незнакомцу.

# %% tags=["training"]
model = train(as_input, targets, settings["epochs"], masks=False)
path = week14.PROJECT.save(model)
print(f"{path}: {path.stat().st_size / 1e3:.0f} kB, {sum(p.numel() for p in model.parameters()):,} numbers")
print(f"new takes of the five known voices: {week14.PROJECT.accuracy(model, on_takes, takes[:, 0]):.1%}; the exam's voice is a stranger")

# %% [markdown]
# The exam of your network. Here you see its public part: the contract, and that your weights fit your code. The grader goes on with the private sounds.

# %% [markdown] lang="ru"
# Экзамен вашей сети. Здесь видна его открытая часть: выполнены ли требования и подходят ли веса к вашему коду. При оценке дальше идут закрытые звуки.

# %% test="network" points=1 difficulty=3 minutes=45 exam=true
week14.PROJECT.check(week14.PROJECT.build(network), check.rng("network"))


def use(function: Callable) -> torch.Tensor:
    """What a new network of `function` makes of one picture."""
    torch.manual_seed(0)
    return week14.PROJECT.build(function)(torch.linspace(0, 1, 2560).reshape(1, 1, 40, 64)).detach()


check.stands_alone(network, "network", use)
trained = week14.PROJECT.load(week14.PROJECT.build(network), "model.safetensors")
week14.PROJECT.check(trained, check.rng("network"))
### BEGIN HIDDEN TESTS
check.hand_in("network", week14.PROJECT.predict(trained, check.private("network")["pictures"]))
### END HIDDEN TESTS

# %% mutant="network" why="a constant"
# - return self.head(torch.cat([x.mean(2), x.amax(2)], dim=1))
# + return 0 * self.head(torch.cat([x.mean(2), x.amax(2)], dim=1))

# %% mutant="network" why="three classes too many"
# - self.head = nn.Linear(2 * 64, 10)
# + self.head = nn.Linear(2 * 64, 13)

# %% mutant="network" why="normalises the batch, not each picture"
# - x = x - x.mean((1, 2), keepdim=True)
# - x = self.layers(x / (x.std((1, 2), keepdim=True) + 1e-5))
# + x = self.layers((x - x.mean()) / x.std())

# %% mutant="network" why="logarithms of zeros"
# - x = x[:, 0]
# + x = x[:, 0].log()

# %% mutant="network" why="a dropout that ignores eval mode"
# - return self.head(torch.cat([x.mean(2), x.amax(2)], dim=1))
# + return self.head(F.dropout(torch.cat([x.mean(2), x.amax(2)], dim=1), 0.3, training=True))

# %% mutant="network" why="softmax over the batch"
# - return self.head(torch.cat([x.mean(2), x.amax(2)], dim=1))
# + return self.head(torch.cat([x.mean(2), x.amax(2)], dim=1)).softmax(0)

# %% mutant="network" why="returns no network"
# - return Words()
# + return Words().layers(torch.zeros(2, 40, 64))

# %% [markdown]
# ## 4. Letters that nobody has placed
# A classifier knows ten words. To *write* what it hears, a network gives letters frame by frame, and nobody can say in which frame an "e" belongs. [CTC](glossary:ctc) ([Graves et al., 2006](https://doi.org/10.1145/1143844.1143891)) makes that unnecessary. Every frame gets one symbol: a letter, or the **blank**, "nothing new". A path of symbols is read so: first equal neighbours become one, then blanks go. So `e e - e v` reads "eev": between two equal letters there must be a blank.
#
# {{task:collapse}}

# %% [markdown] lang="ru"
# ## 4. Буквы, места которых никто не указал
# Классификатор знает десять слов. Чтобы *записывать* услышанное, сеть выдаёт буквы кадр за кадром, и никто не скажет, в каком кадре место букве «e». [CTC](glossary:ctc) (connectionist temporal classification; [Graves и др., 2006](https://doi.org/10.1145/1143844.1143891)) обходится без этого. У каждого кадра один символ: буква или **пустой символ** (blank), «ничего нового». Путь из символов читается так: сначала равные соседи сливаются, затем пустые символы выбрасываются. Значит, `e e - e v` читается «eev»: между двумя одинаковыми буквами должен стоять пустой символ.
#
# {{task:collapse}}


# %% solution="collapse"
def collapse(path: Sequence[int], blank: int = 0) -> list[int]:
    """What a path of symbols reads."""
    ### BEGIN SOLUTION
    merged = [symbol for i, symbol in enumerate(path) if i == 0 or symbol != path[i - 1]]
    return [symbol for symbol in merged if symbol != blank]
    ### END SOLUTION


# %% test="collapse" points=0.25 difficulty=1 minutes=5
for path, want in (([3, 3, 0, 3, 2, 2], [3, 3, 2]), ([0, 0, 1], [1]), ([], [])):
    check.equal(check.answer(collapse, path, call=f"collapse({path})"), want, f"collapse({path})")
### BEGIN HIDDEN TESTS
from itertools import groupby

rng = check.rng("collapse")
for length in (1, 2, 9, 30):
    for blank in (0, 2, 3):
        path = rng.integers(0, 4, size=length).tolist()
        want = [symbol for symbol, _ in groupby(path) if symbol != blank]
        call = f"collapse({path}, blank={blank})"
        check.equal(check.answer(collapse, path, blank=blank, call=call), want, call, why="merge equal neighbours, then drop blanks")
path = [2, 0, 2, 2, 0, 0, 1, 1, 0, 1]
check.equal(check.answer(collapse, path, call=f"collapse({path})"), [2, 2, 1, 1], f"collapse({path})", why="take 0 for the blank where none is named")
check.equal(check.answer(collapse, [0, 0, 0], call="collapse([0, 0, 0])"), [], "collapse([0, 0, 0])", why="read nothing from blanks")
### END HIDDEN TESTS

# %% mutant="collapse" why="drops blanks before it merges"
# - merged = [symbol for i, symbol in enumerate(path) if i == 0 or symbol != path[i - 1]]
# - return [symbol for symbol in merged if symbol != blank]
# + path = [symbol for symbol in path if symbol != blank]
# + return [symbol for i, symbol in enumerate(path) if i == 0 or symbol != path[i - 1]]

# %% mutant="collapse" why="merges nothing"
# - merged = [symbol for i, symbol in enumerate(path) if i == 0 or symbol != path[i - 1]]
# + merged = path

# %% mutant="collapse" why="keeps blanks"
# - return [symbol for symbol in merged if symbol != blank]
# + return merged

# %% mutant="collapse" why="the blank is always 0"
# - return [symbol for symbol in merged if symbol != blank]
# + return [symbol for symbol in merged if symbol != 0]

# %% mutant="collapse" why="each letter once"
# - return [symbol for symbol in merged if symbol != blank]
# + return list(dict.fromkeys(symbol for symbol in merged if symbol != blank))

# %% mutant="collapse" why="compares the first symbol with the last"
# - merged = [symbol for i, symbol in enumerate(path) if i == 0 or symbol != path[i - 1]]
# + merged = [symbol for i, symbol in enumerate(path) if symbol != path[i - 1]]

# %% mutant="collapse" why="loses the last symbol"
# - merged = [symbol for i, symbol in enumerate(path) if i == 0 or symbol != path[i - 1]]
# + merged = [a for a, b in zip(path, path[1:]) if a != b]

# %% mutant="collapse" why="merges what is two apart"
# - merged = [symbol for i, symbol in enumerate(path) if i == 0 or symbol != path[i - 1]]
# + merged = [symbol for i, symbol in enumerate(path) if symbol not in path[max(0, i - 2) : i]]


# %% alternative="collapse" why="a loop with a memory"
def collapse(path, blank=0):
    made, last = [], blank
    for symbol in path:
        if symbol != last and symbol != blank:
            made.append(symbol)
        last = symbol
    return made


# %%
paths = ["".join(path) for path in product("-no", repeat=4) if collapse(path, "-") == ["n", "o"]]
print(f"of {3**4} paths of four frames {len(paths)} read 'no':", " ".join(paths))

# %% [markdown]
# What a text is worth is the probability of **all** paths that read it; nobody has to choose one. Their number grows exponentially, their sum does not cost that: put a blank before, between and after the letters $l$,
#
# $$z = (\text{-}, l_1, \text{-}, l_2, \dots, l_n, \text{-}),$$
#
# and let $\alpha_t(s)$ be the probability of all beginnings of paths, frames 0 to $t$, that stand in state $z_s$ at $t$. A path begins in $s = 0$ or $1$. With every frame it stays, or goes one state on, or two: two only **over a blank between different letters**,
#
# $$\alpha_t(s) = p_t(z_s)\bigl(\alpha_{t-1}(s) + \alpha_{t-1}(s-1) + [z_s \ne \text{-},\ z_s \ne z_{s-2}]\, \alpha_{t-1}(s-2)\bigr).$$
#
# The last two states of the last frame are the ends. A hundred frames would underflow: so all of it in logarithms, sums by `logsumexp`. Where no path leads stands $-\infty$, or any number below $-10^9$; a text that no path reads has the loss $\infty$, or any above $10^9$. Gradients pass. `labels` may be empty; `F.ctc_loss` may not be used.
#
# {{task:ctc_alpha}}

# %% [markdown] lang="ru"
# Текст стоит столько, сколько вероятности у **всех** путей, которые его читают; выбирать один не надо. Число их растёт экспоненциально, а сумма столько не стоит: поставьте пустой символ перед буквами $l$, между ними и после,
#
# $$z = (\text{-}, l_1, \text{-}, l_2, \dots, l_n, \text{-}),$$
#
# и пусть $\alpha_t(s)$ — вероятность всех начал путей, кадры от 0 до $t$, которые в кадре $t$ стоят в состоянии $z_s$. Путь начинается в $s = 0$ или $1$. С каждым кадром он остаётся на месте, или делает шаг, или два: два — только **через пустой символ между разными буквами**,
#
# $$\alpha_t(s) = p_t(z_s)\bigl(\alpha_{t-1}(s) + \alpha_{t-1}(s-1) + [z_s \ne \text{-},\ z_s \ne z_{s-2}]\, \alpha_{t-1}(s-2)\bigr).$$
#
# Концы — два последних состояния последнего кадра. Сотня кадров обратила бы всё в нуль, поэтому всё — в логарифмах, суммы — через `logsumexp`. Где пути нет, стоит $-\infty$ или любое число меньше $-10^9$; у текста, которого не читает ни один путь, ошибка $\infty$ или любая больше $10^9$. Градиенты проходят. `labels` бывает пустым; `F.ctc_loss` брать нельзя.
#
# {{task:ctc_alpha}}


# %% solution="ctc_alpha"
def ctc_alpha(log_probs: torch.Tensor, labels: Sequence[int], blank: int = 0) -> torch.Tensor:
    """ln alpha of log_probs (frames, symbols) for n labels: (frames, 2 n + 1)."""
    ### BEGIN SOLUTION
    never = -1e30
    states = [blank]
    for label in labels:
        states += [label, blank]
    skips = [s > 1 and z not in (blank, states[s - 2]) for s, z in enumerate(states)]
    stuck = ~torch.tensor(skips)
    heard = log_probs[:, states]
    begins = torch.arange(len(states)) < 2
    rows = [heard[0].masked_fill(~begins, never)]
    for now in heard[1:]:
        before = F.pad(rows[-1], (2, 0), value=never)
        ways = torch.stack([before[2:], before[1:-1], before[:-2].masked_fill(stuck, never)])
        rows.append(now + ways.logsumexp(0))
    return torch.stack(rows)
    ### END SOLUTION


def ctc_loss(log_probs: torch.Tensor, labels: Sequence[int], blank: int = 0) -> torch.Tensor:
    """- ln of the probability of all paths that read the labels, a scalar."""
    ### BEGIN SOLUTION
    return -ctc_alpha(log_probs, labels, blank)[-1, -2:].logsumexp(0)
    ### END SOLUTION


# %% test="ctc_alpha" points=1 difficulty=4 minutes=45
log_probs = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.6, 0.3], [0.2, 0.7, 0.1]]).log()
call = "exp(ctc_alpha(log_probs, [1, 2]))"
want = [[0.5, 0.3, 0, 0, 0], [0.05, 0.48, 0.03, 0.09, 0], [0.01, 0.371, 0.102, 0.06, 0.018]]
check.close(np.exp(check.answer(ctc_alpha, log_probs, [1, 2], call="ctc_alpha(log_probs, [1, 2])")), want, call, atol=1e-7)
for labels, want in (([1, 2], 2.55104645), ([1, 1], 3.8632328), ([], 4.60517019)):
    call = f"ctc_loss(log_probs, {labels})"
    with check.without_torch("ctc"):
        check.close(check.answer(ctc_loss, log_probs, labels, call=call), want, call)
### BEGIN HIDDEN TESTS
from itertools import groupby
from itertools import product as all_of

rng = check.rng("ctc_alpha")


def draw(frames: int, symbols: int) -> torch.Tensor:
    """Random logits (frames, symbols) in double precision."""
    return torch.from_numpy(1.5 * rng.normal(size=(frames, symbols)))


for frames, symbols, labels, blank in ((4, 3, [1, 2], 0), (5, 3, [2, 2], 0), (5, 3, [0, 1], 2), (4, 4, [3, 0, 3], 1), (6, 2, [1, 1], 0), (3, 3, [], 0), (1, 3, [2], 0), (3, 3, [1, 1], 0), (6, 3, [1, 2, 1], 0)):
    log_probs = draw(frames, symbols).log_softmax(1)
    alpha = np.zeros((frames, 2 * len(labels) + 1))
    for t in range(frames):
        for path in all_of(range(symbols), repeat=t + 1):
            read = [symbol for symbol, _ in groupby(path) if symbol != blank]
            if read == labels[: len(read)]:
                state = 2 * len(read) - (path[-1] != blank)
                alpha[t, state] += np.exp(sum(float(log_probs[i, symbol]) for i, symbol in enumerate(path)))
    option = {} if blank == 0 else {"blank": blank}
    name = f"(log_probs, {labels}{f', blank={blank}' if blank else ''}) of {frames} frames, {symbols} symbols"
    found = check.answer(ctc_alpha, log_probs, labels, call="ctc_alpha" + name, **option)
    check.that(not np.isnan(found).any(), f"ctc_alpha{name}: have no NaN")
    check.close(np.exp(found), alpha, f"exp(ctc_alpha{name})", rtol=1e-8, atol=1e-12, why="be the sum over all beginnings of paths")
    with check.without_torch("ctc"):
        found = check.answer(ctc_loss, log_probs, labels, call="ctc_loss" + name, **option)
    check.close(found, -np.log(alpha[-1, -2:].sum()), "ctc_loss" + name, rtol=1e-8, why="be the sum over all paths")
for frames, symbols, labels in ((2, 3, [1, 1]), (2, 4, [1, 2, 3]), (1, 2, [1, 1])):
    name = f"ctc_loss(log_probs, {labels}) of {frames} frames"
    found = check.answer(ctc_loss, draw(frames, symbols).log_softmax(1), labels, call=name)
    check.that(bool(found > 1e9), f"{name}: be above 1e9, as no path reads that")
for frames, symbols, count in ((300, 5, 40), (120, 28, 30), (30, 6, 1)):
    logits, labels = draw(frames, symbols), rng.integers(1, symbols, size=count)
    labels[1 : count // 2 : 3] = labels[: count // 2 - 1 : 3][: len(labels[1 : count // 2 : 3])]  # some letters twice
    labels = labels.tolist()
    leaf = logits.clone().requires_grad_()
    want = F.ctc_loss(leaf.log_softmax(1), torch.tensor(labels), torch.tensor(frames), torch.tensor(count), reduction="sum")
    want.backward()
    call = f"ctc_loss of {frames} frames, {symbols} symbols, {count} letters"
    check.close(check.answer(ctc_loss, logits.log_softmax(1), labels, call=call), want.detach(), call, rtol=1e-8, why="be that of the library, and not underflow")
    (slopes,) = check.gradient_of(lambda values, labels=labels: ctc_loss(values.log_softmax(1), labels), logits, call=call)
    check.close(slopes, leaf.grad, f"the gradient of {call} for the logits", rtol=1e-5, atol=1e-9, why="reach every frame")
single = check.answer(ctc_alpha, draw(4, 3).float().log_softmax(1), [1, 2], call="ctc_alpha of single precision")
check.that(single.dtype == np.float32, "ctc_alpha of single precision: keep it")
### END HIDDEN TESTS

# %% mutant="ctc_alpha" why="skips over equal letters"
# - skips = [s > 1 and z not in (blank, states[s - 2]) for s, z in enumerate(states)]
# + skips = [s > 1 and z != blank for s, z in enumerate(states)]

# %% mutant="ctc_alpha" why="skips letters, too"
# - skips = [s > 1 and z not in (blank, states[s - 2]) for s, z in enumerate(states)]
# + skips = [s > 1 and (z == blank or z != states[s - 2]) for s, z in enumerate(states)]

# %% mutant="ctc_alpha" why="never skips"
# - skips = [s > 1 and z not in (blank, states[s - 2]) for s, z in enumerate(states)]
# + skips = [False for _ in states]

# %% mutant="ctc_alpha" why="begins in the blank alone"
# - begins = torch.arange(len(states)) < 2
# + begins = torch.arange(len(states)) < 1

# %% mutant="ctc_alpha" why="begins anywhere"
# - begins = torch.arange(len(states)) < 2
# + begins = torch.arange(len(states)) < len(states)

# %% mutant="ctc_alpha" why="ends in the blank alone"
# - return -ctc_alpha(log_probs, labels, blank)[-1, -2:].logsumexp(0)
# + return -ctc_alpha(log_probs, labels, blank)[-1, -1]

# %% mutant="ctc_alpha" why="ends in the letter alone"
# - return -ctc_alpha(log_probs, labels, blank)[-1, -2:].logsumexp(0)
# + return -ctc_alpha(log_probs, labels, blank)[-1, -2:][0]

# %% mutant="ctc_alpha" why="the best path in place of all"
# - rows.append(now + ways.logsumexp(0))
# + rows.append(now + ways.amax(0))

# %% mutant="ctc_alpha" why="probabilities that underflow"
# - rows.append(now + ways.logsumexp(0))
# + rows.append(now + ways.exp().sum(0).log().clamp(min=never))

# %% mutant="ctc_alpha" why="the blank is always 0"
# - states = [blank]
# + blank = 0
# + states = [blank]

# %% mutant="ctc_alpha" why="forgets the frame's own probability"
# - rows.append(now + ways.logsumexp(0))
# + rows.append(now / 2 + ways.logsumexp(0))

# %% mutant="ctc_alpha" why="does not stay"
# - ways = torch.stack([before[2:], before[1:-1], before[:-2].masked_fill(stuck, never)])
# + ways = torch.stack([before[1:-1], before[:-2].masked_fill(stuck, never)])

# %% mutant="ctc_alpha" why="without gradients"
# - return -ctc_alpha(log_probs, labels, blank)[-1, -2:].logsumexp(0)
# + return -ctc_alpha(log_probs.detach(), labels, blank)[-1, -2:].logsumexp(0)

# %% mutant="ctc_alpha" why="the probability, not the loss"
# - return -ctc_alpha(log_probs, labels, blank)[-1, -2:].logsumexp(0)
# + return ctc_alpha(log_probs, labels, blank)[-1, -2:].logsumexp(0)

# %% mutant="ctc_alpha" why="a mean over frames"
# - return -ctc_alpha(log_probs, labels, blank)[-1, -2:].logsumexp(0)
# + return -ctc_alpha(log_probs, labels, blank)[-1, -2:].logsumexp(0) / len(log_probs)


# %% alternative="ctc_alpha" why="a loop over states, minus infinity"
def ctc_alpha(log_probs, labels, blank=0):
    states = [blank, *(symbol for label in labels for symbol in (label, blank))]
    nothing = log_probs.new_tensor(float("-inf"))
    rows = [[log_probs[0, z] if s < 2 else nothing for s, z in enumerate(states)]]
    for now in log_probs[1:]:
        row = []
        for s, z in enumerate(states):
            ways = [rows[-1][s]] + ([rows[-1][s - 1]] if s else [])
            if s > 1 and z != blank and z != states[s - 2]:
                ways.append(rows[-1][s - 2])
            ways = [way for way in ways if torch.isfinite(way)]
            row.append(now[z] + torch.stack(ways).logsumexp(0) if ways else nothing)
        rows.append(row)
    return torch.stack([torch.stack(row) for row in rows])


def ctc_loss(log_probs, labels, blank=0):
    ends = [end for end in ctc_alpha(log_probs, labels, blank)[-1, -2:] if torch.isfinite(end)]
    return -torch.stack(ends).logsumexp(0) if ends else torch.tensor(float("inf"))


# %% alternative="ctc_alpha" why="a matrix of steps"
def ctc_alpha(log_probs, labels, blank=0):
    states = torch.full((2 * len(labels) + 1,), blank)
    states[1::2] = torch.tensor(list(labels), dtype=torch.int64)
    s = torch.arange(len(states))
    gap = s[:, None] - s
    may = (gap == 0) | (gap == 1) | ((gap == 2) & (states != blank)[:, None] & (states[:, None] != states))
    steps = torch.where(may, 0.0, -1e20).to(log_probs.dtype)
    alpha = [torch.where(s < 2, log_probs[0, states], torch.full_like(s, -1, dtype=log_probs.dtype) * 1e20)]
    for t in range(1, len(log_probs)):
        alpha.append((steps + alpha[-1]).logsumexp(1) + log_probs[t, states])
    return torch.stack(alpha)


def ctc_loss(log_probs, labels, blank=0):
    last = ctc_alpha(log_probs, labels, blank)[-1]
    return -last[-1] if len(last) == 1 else -torch.logaddexp(last[-1], last[-2])


# %% [markdown]
# Now let a network learn to spell. It hears strings of one to three digits, gets their letters **without any times**, and puts out 17 symbols for every 40 ms: the blank, the space, and the 15 letters that digits need. (A batch of texts goes through torch's own CTC loss, which is yours, in C++; the cell compares them first.)

# %% [markdown] lang="ru"
# Теперь пусть сеть научится писать по буквам. Она слышит цепочки из одной–трёх цифр, получает их буквы **безо всяких времён** и выдаёт на каждые 40 мс 17 символов: пустой, пробел и 15 букв, нужных цифрам. (Батч текстов идёт через ошибку CTC из torch — это ваша, только на C++; ячейка сначала их сравнивает.)

# %% tags=["training"]
mels = [week14.decibels(sound) for sound in digits.x_train]
test_mels = [week14.decibels(sound) for sound in digits.x_test]
alphabet = "-" + week14.LETTERS


def convolution(before: int, after: int, pool: int) -> nn.Module:
    """A layer over time."""
    parts = [nn.Conv1d(before, after, 5, padding=2), nn.BatchNorm1d(after), nn.ReLU(), nn.MaxPool1d(pool)]
    return nn.Sequential(*parts)


def batch_of(sounds: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Spectrograms padded to one length, (n, 40, t), t a multiple of 4, and the frames of each after pooling."""
    longest = -(-max(sound.shape[1] for sound in sounds) // 4) * 4
    padded = [np.pad(sound, ((0, 0), (0, longest - sound.shape[1]))) for sound in sounds]
    return torch.from_numpy(np.stack(padded)), torch.tensor([-(-sound.shape[1] // 4) for sound in sounds])


def spelled(speller: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """ln of the probabilities of symbols (t / 4, n, 17)."""
    return speller((x - 0.4) / 0.25).log_softmax(1).permute(2, 0, 1)


seed_everything(0)
rng = np.random.default_rng(0)
speller = nn.Sequential(convolution(40, 64, 2), convolution(64, 96, 2), convolution(96, 96, 1), nn.Conv1d(96, len(alphabet), 5, padding=2))
optimizer = torch.optim.Adam(speller.parameters(), lr=3e-3)
schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, settings["ctc_steps"])
losses = []
for step in range(settings["ctc_steps"]):
    strings, texts = week14.spoken_strings(mels, digits.y_train, 16, rng)
    x, lengths = batch_of(strings)
    labels = [[alphabet.index(letter) for letter in text] for text in texts]
    log_probs = spelled(speller, x)
    loss = F.ctc_loss(log_probs, torch.tensor([k for one in labels for k in one]), lengths, torch.tensor([len(one) for one in labels]))
    if step == 0:
        with torch.no_grad():
            ours = [ctc_loss(log_probs[:n, i], labels[i]) / len(labels[i]) for i, n in enumerate(lengths.tolist())]
        print(f"mean loss a letter of the first batch: torch {loss.item():.5f}, yours {torch.stack(ours).mean().item():.5f}")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    schedule.step()
    losses.append(loss.item())
speller.eval()
plots.curves({"loss": losses}, "A network learns to spell", "step", "CTC loss, nats a letter")
plots.show("The loss falls steeply for a hundred steps, then ever more slowly, close to zero.")

# %% [markdown]
# Where does the network believe each letter to be? The forward pass knows the beginnings of paths. Run it from the end, and you have the rest, $\beta$; together the share of all paths that pass through a state: $\alpha_t(s)\,\beta_t(s) / p_t(z_s)$, divided by the sum over $s$. That is the alignment that nobody has given.

# %% [markdown] lang="ru"
# Где, по мнению сети, стоит каждая буква? Прямой проход знает начала путей. Запустите его с конца, и получится остальное, $\beta$; вместе — доля всех путей, проходящих через состояние: $\alpha_t(s)\,\beta_t(s) / p_t(z_s)$, делённое на сумму по $s$. Это и есть выравнивание, которого никто не давал.

# %% tags=["training"]
word = "seven"
number = int(np.flatnonzero((digits.y_test[:, :2] == [7, 3]).all(1))[0])
x, lengths = batch_of([test_mels[number]])
with torch.no_grad():
    log_probs = spelled(speller, x)[: lengths[0], 0].double()
    labels = [alphabet.index(letter) for letter in word]
    states = [0, *(symbol for label in labels for symbol in (label, 0))]
    forward = ctc_alpha(log_probs, labels)
    backward = ctc_alpha(log_probs.flip(0), labels[::-1]).flip(0, 1)
    paths = forward + backward - log_probs[:, states]
    totals = paths.logsumexp(1)
print(f"ln p of all paths, frame by frame: from {totals.min():.6f} to {totals.max():.6f}, minus the loss {-ctc_loss(log_probs, labels):.6f}")
week14.path_map((paths - totals[:, None]).exp().numpy(), [alphabet[z] for z in states], x[0].numpy(), "'seven', said by theo")
plots.show("Below a spectrogram of the word seven a bright staircase goes down from the first blank to the last: each letter lights up for a frame or two, blanks before the word and after it; between the letters the paths hardly stop.")
week14.play({"the same seven": digits.x_test[number]})

# %% [markdown]
# All frames agree on the sum: every path passes through every frame. And the picture shows how CTC speaks: each letter for a frame or two, in the order of the word, blank where nothing new is heard. Where two frames share a letter's first step, the network itself is not sure.
#
# ## 5. From probabilities to a text
# The simplest decoder takes the best symbol of each frame and collapses that path.
#
# {{task:greedy}}

# %% [markdown] lang="ru"
# Все кадры сходятся в сумме: каждый путь проходит через каждый кадр. И видно, как говорит CTC: каждая буква — на кадр-другой, в порядке слова, пустой символ — там, где не слышно ничего нового. Где начало буквы делят два кадра, сеть и сама не уверена.
#
# ## 5. От вероятностей к тексту
# Простейший декодер берёт в каждом кадре лучший символ и читает этот путь.
#
# {{task:greedy}}


# %% solution="greedy"
def greedy(log_probs: torch.Tensor, blank: int = 0) -> list[int]:
    """What the best path of log_probs (frames, symbols) reads."""
    ### BEGIN SOLUTION
    best = log_probs.argmax(1).unique_consecutive().tolist()
    return [symbol for symbol in best if symbol != blank]
    ### END SOLUTION


# %% test="greedy" points=0.25 difficulty=1 minutes=5
log_probs = torch.tensor([[0.2, 0.5, 0.3], [0.1, 0.6, 0.3], [0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]]).log()
check.equal(check.answer(greedy, log_probs, call="greedy(log_probs)"), [1, 1, 2], "greedy(log_probs)")
### BEGIN HIDDEN TESTS
from itertools import groupby

rng = check.rng("greedy")
for frames, symbols, blank in ((1, 4, 0), (12, 3, 0), (15, 4, 2), (9, 2, 1)):
    log_probs = torch.from_numpy(rng.normal(size=(frames, symbols)) - 5)
    want = [k for k, _ in groupby(np.argmax(log_probs.numpy(), axis=1).tolist()) if k != blank]
    call = f"greedy(log_probs, blank={blank}) of {frames} frames, {symbols} symbols"
    check.equal(check.answer(greedy, log_probs, blank=blank, call=call), want, call, why="be what the best path reads")
log_probs = torch.tensor([[0.6, 0.4], [0.6, 0.4]]).log()
check.equal(check.answer(greedy, log_probs, call="greedy of two frames with likely blanks"), [], "greedy of two frames with likely blanks", why="read the best path, not the best text")
log_probs = torch.tensor([[0.7, 0.2, 0.1], [0.6, 0.1, 0.3], [0.1, 0.2, 0.7]]).log()
check.equal(check.answer(greedy, log_probs, blank=2, call="greedy of symbol 0, blank=2"), [0], "greedy of symbol 0, blank=2", why="read symbol 0 as any other where it is not the blank")
log_probs = torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]).log()
check.equal(check.answer(greedy, log_probs, call="greedy of a letter, a blank, the letter"), [1, 1], "greedy of a letter, a blank, the letter", why="read a letter twice where a blank stands between")
### END HIDDEN TESTS

# %% mutant="greedy" why="drops blanks before it merges"
# - best = log_probs.argmax(1).unique_consecutive().tolist()
# - return [symbol for symbol in best if symbol != blank]
# + best = log_probs.argmax(1)
# + return best[best != blank].unique_consecutive().tolist()

# %% mutant="greedy" why="merges nothing"
# - best = log_probs.argmax(1).unique_consecutive().tolist()
# + best = log_probs.argmax(1).tolist()

# %% mutant="greedy" why="never takes a blank"
# - best = log_probs.argmax(1).unique_consecutive().tolist()
# + best = log_probs.index_fill(1, torch.tensor([blank]), -1e9).argmax(1).unique_consecutive().tolist()

# %% mutant="greedy" why="the blank is always 0"
# - return [symbol for symbol in best if symbol != blank]
# + return [symbol for symbol in best if symbol]

# %% mutant="greedy" why="the best frame of each symbol"
# - best = log_probs.argmax(1).unique_consecutive().tolist()
# + best = log_probs.argmax(0).unique_consecutive().tolist()

# %% mutant="greedy" why="the worst symbol"
# - best = log_probs.argmax(1).unique_consecutive().tolist()
# + best = log_probs.argmin(1).unique_consecutive().tolist()

# %% mutant="greedy" why="takes symbol 0 for one that was there before"
# - best = log_probs.argmax(1).unique_consecutive().tolist()
# + best = torch.cat([torch.zeros(1, dtype=torch.long), log_probs.argmax(1)]).unique_consecutive().tolist()[1:]

# %% mutant="greedy" why="each letter once"
# - return [symbol for symbol in best if symbol != blank]
# + return list(dict.fromkeys(symbol for symbol in best if symbol != blank))

# %% mutant="greedy" why="keeps blanks"
# - return [symbol for symbol in best if symbol != blank]
# + return best


# %% alternative="greedy" why="a loop"
def greedy(log_probs, blank=0):
    text, last = [], None
    for row in log_probs:
        symbol = int(row.argmax())
        if symbol not in (last, blank):
            text.append(symbol)
        last = symbol
    return text


# %%
likely = torch.tensor([[0.6, 0.4], [0.6, 0.4]]).log()  # two frames; symbols: blank, a
print("greedy reads", [".a"[k] for k in greedy(likely)] or "nothing: its path, two blanks, has probability 0.36")
print("but the paths a-, -a and aa all read 'a': together", round(2 * 0.6 * 0.4 + 0.4 * 0.4, 2))

# %% [markdown]
# The best **path** is not the best **text**. [Prefix beam search](glossary:prefix-beam-search) ([Hannun et al., 2014](https://arxiv.org/abs/1408.2873)) goes over the frames with a set of texts read so far, *prefixes*, each with two probabilities: of its paths that end in a blank, $p_b$, and of those that end in its last letter, $p_l$. A frame with probabilities $p$ of symbols does this to a prefix:
#
# - the blank: the same prefix, $p_b' \mathrel{+}= (p_b + p_l)\, p(\text{-})$;
# - its last letter $c$ once more: the same prefix, $p_l' \mathrel{+}= p_l\, p(c)$;
# - a letter $c$: a longer prefix, $p_l' \mathrel{+}= (p_b + p_l)\, p(c)$; but only $p_b\, p(c)$ if $c$ is its last letter, as the two need a blank between.
#
# Ways that lead to one prefix are **added**. Then the `width` prefixes with the best scores stay. The score is $\ln (p_b + p_l)$, plus `weight` times what a language model says of all letters of the prefix, if there is one: `lm(prefix, letter)` is $\ln p(\text{letter} \mid \text{prefix})$, a float; prefixes are tuples of symbols. A letter is asked about once, when it is added.
#
# {{task:beam_search}}

# %% [markdown] lang="ru"
# Лучший **путь** — не лучший **текст**. [Лучевой поиск по префиксам](glossary:prefix-beam-search) (prefix beam search; [Hannun и др., 2014](https://arxiv.org/abs/1408.2873)) идёт по кадрам с набором уже прочитанных текстов, *префиксов*; у каждого две вероятности: путей, которые кончаются пустым символом, $p_b$, и путей, которые кончаются его последней буквой, $p_l$. Кадр с вероятностями символов $p$ делает с префиксом вот что:
#
# - пустой символ: тот же префикс, $p_b' \mathrel{+}= (p_b + p_l)\, p(\text{-})$;
# - ещё раз его последняя буква $c$: тот же префикс, $p_l' \mathrel{+}= p_l\, p(c)$;
# - буква $c$: более длинный префикс, $p_l' \mathrel{+}= (p_b + p_l)\, p(c)$; но лишь $p_b\, p(c)$, если $c$ — его последняя буква: между ними нужен пустой символ.
#
# Пути, ведущие к одному префиксу, **складываются**. Затем остаются `width` префиксов с лучшими оценками. Оценка — $\ln (p_b + p_l)$ плюс `weight`, умноженное на то, что языковая модель (если она есть) говорит обо всех буквах префикса: `lm(prefix, letter)` — это $\ln p(\text{letter} \mid \text{prefix})$, число; префиксы — кортежи символов. О букве спрашивают один раз: когда её добавляют.
#
# {{task:beam_search}}


# %% solution="beam_search"
def beam_search(
    log_probs: torch.Tensor, width: int, blank: int = 0,
    lm: Callable[[tuple[int, ...], int], float] | None = None, weight: float = 1.0,
) -> list[tuple[tuple[int, ...], float]]:  # fmt: skip
    """The best texts of log_probs (frames, symbols), at most `width`, with their scores, best first.

    Texts are tuples of symbols. Those of probability 0 may be left out.
    """
    ### BEGIN SOLUTION
    never = -np.inf
    beam, told = {(): (0.0, never)}, {(): 0.0}
    for now in log_probs.tolist():
        grown: dict = {}
        for prefix, (silent, voiced) in beam.items():
            either = np.logaddexp(silent, voiced)
            ways = [(prefix, either + now[blank], never)]
            for c in set(range(len(now))) - {blank}:
                again = bool(prefix) and c == prefix[-1]
                if again:
                    ways.append((prefix, never, voiced + now[c]))
                ways.append(((*prefix, c), never, (silent if again else either) + now[c]))
                if lm and (*prefix, c) not in told:
                    told[*prefix, c] = told[prefix] + weight * lm(prefix, c)
            for text, b, v in ways:
                grown[text] = np.logaddexp(grown.get(text, (never, never)), (b, v))
        scores = {text: np.logaddexp(*ends) + told.get(text, 0) for text, ends in grown.items()}
        best = sorted(scores, key=scores.get, reverse=True)[:width]
        beam = {text: grown[text] for text in best}
    return [(text, float(scores[text])) for text in best if scores[text] > never]
    ### END SOLUTION


# %% test="beam_search" points=1 difficulty=4 minutes=45
log_probs = torch.tensor([[0.6, 0.3, 0.1], [0.5, 0.2, 0.3], [0.3, 0.6, 0.1]]).log()
found = check.answer(beam_search, log_probs, 100, call="beam_search(log_probs, 100)")
check.equal([tuple(text) for text, _ in found[:3]], [(1,), (2, 1), (2,)], "the three best texts of beam_search(log_probs, 100)")
check.close([score for _, score in found[:3]], np.log([0.387, 0.174, 0.129]), "their scores")


def likes_twos(prefix: tuple[int, ...], letter: int) -> float:
    """A language model: 2 is likely, above all at the start."""
    return float(np.log((0.1, 0.9)[letter - 1] if not prefix else (0.4, 0.6)[letter - 1]))


found = check.answer(beam_search, log_probs, 100, lm=likes_twos, weight=0.8, call="beam_search(log_probs, 100, lm=lm, weight=0.8)")
check.equal(tuple(found[0][0]), (2,), "the best text of beam_search(log_probs, 100, lm=lm, weight=0.8)")
check.close(found[0][1], np.log(0.129 * 0.9**0.8), "its score")
### BEGIN HIDDEN TESTS
from itertools import groupby
from itertools import product as all_of

rng = check.rng("beam_search")


def reads(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    """The text of a path."""
    return tuple(symbol for symbol, _ in groupby(path) if symbol != blank)


def by_paths(log_probs: np.ndarray, width: int, blank: int, lm: Callable | None, weight: float) -> dict:
    """Scores of texts: all paths by themselves, and after each frame those of the best texts stay."""
    paths = {(): 0.0}
    for now in log_probs:
        paths = {(*path, c): value + now[c] for path, value in paths.items() for c in range(len(now))}
        scores: dict = {}
        for path, value in paths.items():
            text = reads(path, blank)
            scores[text] = np.logaddexp(scores.get(text, -np.inf), value)
        if lm:
            scores = {text: s + weight * sum(lm(text[:i], c) for i, c in enumerate(text)) for text, s in scores.items()}
        best = sorted(scores, key=scores.get, reverse=True)[:width]
        paths = {path: value for path, value in paths.items() if reads(path, blank) in best}
    return {text: float(scores[text]) for text in best}


table = rng.dirichlet(np.ones(4), size=4)


def model(prefix: tuple[int, ...], letter: int) -> float:
    """ln p of a letter by the number of letters and the one before."""
    return float(np.log(table[(len(prefix) + (prefix[-1] if prefix else 0)) % 4, letter]))


def compare(found: list, want: dict, width: int, call: str) -> None:
    """Texts, order and scores."""
    found = [(tuple(text), score) for text, score in found if score > -np.inf]
    check.that(len(found) <= width, f"{call}: return no more than {width} texts")
    check.equal([text for text, _ in found], list(want), f"the texts of {call}", why="be the best ones, in order")
    check.close([score for _, score in found], list(want.values()), f"the scores of {call}", rtol=1e-8, atol=1e-9, why="sum over paths, and count the language model")


for frames, symbols, width, blank in ((4, 3, 1000, 0), (5, 2, 1000, 0), (4, 3, 1000, 2), (1, 3, 1000, 0), (6, 3, 3, 0), (6, 3, 2, 1), (5, 4, 1, 0), (6, 3, 5, 0)):
    log_probs = torch.from_numpy(1.2 * rng.normal(size=(frames, symbols))).log_softmax(1)
    for lm, options in ((None, {}), (model, {}), (model, {"weight": 0.4})):
        call = f"beam_search(log_probs, {width}, blank={blank}{', lm=lm' if lm else ''}{', weight=0.4' if options else ''}) of {frames} frames, {symbols} symbols"
        if lm:
            options = options | {"lm": lm}
        found = check.answer(beam_search, log_probs, width, blank=blank, call=call, **options)
        compare(found, by_paths(log_probs.numpy(), width, blank, lm, options.get("weight", 1.0)), width, call)
log_probs = torch.from_numpy(1.2 * rng.normal(size=(4, 3))).log_softmax(1)
want = by_paths(log_probs.numpy(), 4, 0, None, 1.0)
compare(check.answer(beam_search, log_probs, 4, call="beam_search(log_probs, 4)"), want, 4, "beam_search(log_probs, 4)")
# All texts, each by the library's sum over its paths.
log_probs = torch.from_numpy(rng.normal(size=(5, 3))).log_softmax(1)
totals = {}
for length in range(6):
    for text in all_of((1, 2), repeat=length):
        loss = F.ctc_loss(log_probs, torch.tensor(text, dtype=torch.int64), torch.tensor(5), torch.tensor(length), reduction="sum")
        if torch.isfinite(loss):
            totals[text] = -float(loss)
totals = dict(sorted(totals.items(), key=lambda item: -item[1]))
compare(check.answer(beam_search, log_probs, 500, call="beam_search(log_probs, 500)"), totals, 500, "beam_search(log_probs, 500)")
log_probs = torch.from_numpy(rng.normal(size=(60, 3))).log_softmax(1)
near, far = (check.answer(beam_search, values, 6, call="beam_search of 60 frames") for values in (log_probs, log_probs - 30))
check.equal([tuple(text) for text, _ in far], [tuple(text) for text, _ in near], "the texts of 60 unlikely frames", why="not underflow")
check.close([score for _, score in far], [score - 1800 for _, score in near], "the scores of 60 unlikely frames", rtol=1e-8, why="not underflow")
### END HIDDEN TESTS

# %% mutant="beam_search" why="merges paths before the blank: no letter twice"
# - ways.append(((*prefix, c), never, (silent if again else either) + now[c]))
# + if not again:
# +     ways.append(((*prefix, c), never, either + now[c]))

# %% mutant="beam_search" why="a double letter without a blank between"
# - ways.append(((*prefix, c), never, (silent if again else either) + now[c]))
# + ways.append(((*prefix, c), never, either + now[c]))

# %% mutant="beam_search" why="a repeated letter is always a new one"
# - if again:
# + if False:

# %% mutant="beam_search" why="a repeated letter goes on after a blank, too"
# - ways.append((prefix, never, voiced + now[c]))
# + ways.append((prefix, never, either + now[c]))

# %% mutant="beam_search" why="the best way in place of the sum"
# - grown[text] = np.logaddexp(grown.get(text, (never, never)), (b, v))
# + grown[text] = np.maximum(grown.get(text, (never, never)), (b, v))

# %% mutant="beam_search" why="the last way in place of the sum"
# - grown[text] = np.logaddexp(grown.get(text, (never, never)), (b, v))
# + grown[text] = b, v

# %% mutant="beam_search" why="prunes without the language model"
# - best = sorted(scores, key=scores.get, reverse=True)[:width]
# + best = sorted(scores, key=lambda text: np.logaddexp(*grown[text]), reverse=True)[:width]

# %% mutant="beam_search" why="no weight"
# - told[*prefix, c] = told[prefix] + weight * lm(prefix, c)
# + told[*prefix, c] = told[prefix] + lm(prefix, c)

# %% mutant="beam_search" why="the last letter's language model alone"
# - told[*prefix, c] = told[prefix] + weight * lm(prefix, c)
# + told[*prefix, c] = weight * lm(prefix, c)

# %% mutant="beam_search" why="asks about the longer prefix"
# - told[*prefix, c] = told[prefix] + weight * lm(prefix, c)
# + told[*prefix, c] = told[prefix] + weight * lm((*prefix, c), c)

# %% mutant="beam_search" why="scores of paths that end in a letter"
# - scores = {text: np.logaddexp(*ends) + told.get(text, 0) for text, ends in grown.items()}
# + scores = {text: ends[1] + told.get(text, 0) for text, ends in grown.items()}

# %% mutant="beam_search" why="worst first"
# - return [(text, float(scores[text])) for text in best if scores[text] > never]
# + return [(text, float(scores[text])) for text in best[::-1] if scores[text] > never]

# %% mutant="beam_search" why="the best text alone"
# - return [(text, float(scores[text])) for text in best if scores[text] > never]
# + return [(text, float(scores[text])) for text in best[:1] if scores[text] > never]

# %% mutant="beam_search" why="never prunes"
# - best = sorted(scores, key=scores.get, reverse=True)[:width]
# + best = sorted(scores, key=scores.get, reverse=True)

# %% mutant="beam_search" why="the blank is always 0"
# - never = -np.inf
# + never, blank = -np.inf, 0

# %% mutant="beam_search" why="probabilities that underflow"
# - never = -np.inf
# + never, log_probs = -np.inf, log_probs.clamp(min=-25)


# %% alternative="beam_search" why="two tables, plain Python"
def beam_search(log_probs, width, blank=0, lm=None, weight=1.0):
    from math import exp, inf, log

    def add(table, key, value):
        top = max(table.get(key, -inf), value)
        if top > -inf:
            table[key] = top + log(exp(table.get(key, -inf) - top) + exp(value - top))

    ends_blank, ends_letter, spoken = {(): 0.0}, {}, {(): 0.0}
    for row in log_probs.tolist():
        blanks, letters = {}, {}
        for prefix in list(dict.fromkeys([*ends_blank, *ends_letter])):
            b, v = ends_blank.get(prefix, -inf), ends_letter.get(prefix, -inf)
            for before in (b, v):
                add(blanks, prefix, before + row[blank])
            for c, value in enumerate(row):
                if c == blank:
                    continue
                longer = (*prefix, c)
                spoken[longer] = spoken[prefix] + (weight * lm(prefix, c) if lm else 0.0)
                add(letters, longer, b + value)
                if prefix and prefix[-1] == c:
                    add(letters, prefix, v + value)
                else:
                    add(letters, longer, v + value)
        scores = {}
        for table in (blanks, letters):
            for prefix, value in table.items():
                add(scores, prefix, value)
        ranked = sorted(((value + spoken[prefix], prefix) for prefix, value in scores.items()), reverse=True)[:width]
        kept = {prefix for _, prefix in ranked}
        ends_blank = {prefix: value for prefix, value in blanks.items() if prefix in kept}
        ends_letter = {prefix: value for prefix, value in letters.items() if prefix in kept}
    return [(prefix, score) for score, prefix in ranked]


# %% [markdown]
# Now the speller's answers to strings of new recordings: greedy, with a beam, and with a trigram model of letters that has read texts of digits, but heard nothing. The measure is the share of wrong words. (The weight is compared on the very strings that are counted: so look at the three of them, not at the best.)

# %% [markdown] lang="ru"
# Теперь — ответы сети на цепочки из новых записей: жадно, с лучом и с триграммной моделью букв, которая читала тексты из цифр, но ничего не слышала. Мера — доля неверных слов. (Вес сравнивается на тех же цепочках, по которым идёт счёт: смотрите на все три, а не на лучший.)

# %% tags=["training"]
strings, texts = week14.spoken_strings(test_mels, digits.y_test, 60, np.random.default_rng(1))
x, lengths = batch_of(strings)
with torch.no_grad():
    heard_as = [spelled(speller, x)[:n, i] for i, n in enumerate(lengths.tolist())]
reader = week14.LetterModel([" ".join(np.random.default_rng(i).choice(week14.WORDS, 3)) for i in range(300)])


def trigram(prefix: tuple[int, ...], letter: int) -> float:
    """ln p(letter | prefix) of the letter model, by numbers of symbols."""
    return reader("".join(alphabet[k] for k in prefix[-2:]), alphabet[letter])


def written(text: Sequence[int]) -> str:
    """Symbols as a text."""
    return "".join(alphabet[k] for k in text)


answers = {"greedy": [written(greedy(one)) for one in heard_as]}
answers["beam of 8"] = [written(beam_search(one, 8)[0][0]) for one in heard_as]
for weight in (0.3, 0.6, 1.0):
    answers[f"beam, letter model × {weight}"] = [written(beam_search(one, 8, lm=trigram, weight=weight)[0][0]) for one in heard_as]
for name, found in answers.items():
    print(f"{name:25} words wrong: {week14.word_errors(found, texts):.1%}")
rows = [i for i, one in enumerate(answers["greedy"]) if one != texts[i]][:6]
print(f"\n{'said':22}{'greedy':22}with the letter model")
for i in rows:
    print(f"{texts[i]:22}{answers['greedy'][i]:22}{answers['beam, letter model × 0.6'][i]}")

# %% [markdown]
# Adding up the paths repairs some words. Most of the rest is repaired by knowledge that the sound does not hold: how words are written.
#
# ## 6. One space for sounds and texts
# A classifier's answers are fixed. [CLIP](glossary:contrastive-pretraining) ([Radford et al., 2021](https://arxiv.org/abs/2103.00020), figure 3) learns from *pairs*, there of pictures and texts, here of sounds and texts such as "theo says two". Two encoders put both into one space, as vectors of length 1. In a batch of $n$ pairs, every sound has one right text and $n - 1$ wrong ones, and the other way round: two classifications, whose cross-entropies are averaged,
#
# $$S_{ij} = e^{\tau} \frac{a_i \cdot b_j}{\lVert a_i \rVert \lVert b_j \rVert}, \qquad L = \frac12 \bigl(\operatorname{CE}(S, \text{diagonal}) + \operatorname{CE}(S^\top, \text{diagonal})\bigr),$$
#
# a mean over the batch each. The scale $e^\tau$ is learnt, too: cosines alone, from −1 to 1, could never be sure.
#
# {{task:clip_loss}}

# %% [markdown] lang="ru"
# Сложение путей исправляет некоторые слова. Большую часть остального исправляет знание, которого в звуке нет: как пишутся слова.
#
# ## 6. Одно пространство для звуков и текстов
# У классификатора ответы заданы раз и навсегда. [CLIP](glossary:contrastive-pretraining) ([Radford и др., 2021](https://arxiv.org/abs/2103.00020), рисунок 3) учится на *парах* — там картинок и текстов, здесь звуков и текстов вроде «theo says two». Два кодировщика помещают тех и других в одно пространство, векторами длины 1. В батче из $n$ пар у каждого звука один верный текст и $n - 1$ неверных, и наоборот: две классификации, кросс-энтропии которых усредняются,
#
# $$S_{ij} = e^{\tau} \frac{a_i \cdot b_j}{\lVert a_i \rVert \lVert b_j \rVert}, \qquad L = \frac12 \bigl(\operatorname{CE}(S, \text{диагональ}) + \operatorname{CE}(S^\top, \text{диагональ})\bigr),$$
#
# каждая — среднее по батчу. Множитель $e^\tau$ тоже учится: одни косинусы, от −1 до 1, ни в чём не могли бы быть уверены.
#
# {{task:clip_loss}}


# %% solution="clip_loss"
def clip_loss(audio: torch.Tensor, text: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """The loss of n pairs, a scalar. audio, text: (n, d), of any length but 0; log_scale: a scalar."""
    ### BEGIN SOLUTION
    scores = log_scale.exp() * F.normalize(audio, dim=1) @ F.normalize(text, dim=1).T
    right = torch.arange(len(audio))
    return (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2
    ### END SOLUTION


# %% test="clip_loss" points=0.5 difficulty=2 minutes=15
audio, text = torch.tensor([[3.0, 4.0], [1.0, 0.0], [2.0, -1.0]]), torch.tensor([[1.0, 2.0], [2.0, 0.5], [0.5, -3.0]])
call = "clip_loss(audio, text, tensor(0.7))"
check.close(check.answer(clip_loss, audio, text, torch.tensor(0.7), call=call), 0.60080212, call)
### BEGIN HIDDEN TESTS
rng = check.rng("clip_loss")
for n, d in ((4, 3), (2, 5), (7, 2), (1, 3)):
    audio, text = (torch.from_numpy(rng.normal(size=(n, d)) * rng.uniform(0.5, 4, size=(n, 1))) for _ in range(2))
    tau = torch.tensor(float(rng.uniform(0.5, 3)) if n != 7 else 5.5, dtype=torch.float64)
    leaves = [value.clone().requires_grad_() for value in (audio, text, tau)]
    cosines = torch.stack([F.cosine_similarity(leaves[0][i], leaves[1], dim=1) for i in range(n)])
    table = leaves[2].exp() * cosines
    want = -(table.log_softmax(1).diagonal().mean() + table.log_softmax(0).diagonal().mean()) / 2
    call = f"clip_loss of {n} pairs of {d} numbers"
    check.close(check.answer(clip_loss, audio, text, tau, call=call), want.detach(), call, rtol=1e-8, atol=1e-10, why="be the mean of both directions")
    grads = torch.autograd.grad(want, leaves)
    for name, got, one in zip(("audio", "text", "log_scale"), check.gradient_of(clip_loss, audio, text, tau, call=call), grads, strict=True):
        check.close(got, one, f"the gradient of {call} for {name}", rtol=1e-6, atol=1e-9, why="reach both encoders and the scale")
audio, text = torch.eye(3).double(), torch.eye(3).double()
call = "clip_loss of vectors that are right and sure"
check.that(bool(check.answer(clip_loss, audio, text, torch.tensor(9.0).double(), call=call) < 1e-6), f"{call}: be nearly 0")
found = check.answer(clip_loss, audio, text, torch.tensor(7.5).double(), call="clip_loss with a scale of e to the 7.5")
check.that(bool(np.isfinite(found)), "clip_loss with a scale of e to the 7.5: be finite")
### END HIDDEN TESTS

# %% mutant="clip_loss" why="one direction: from sounds to texts"
# - return (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2
# + return F.cross_entropy(scores, right)

# %% mutant="clip_loss" why="one direction: from texts to sounds"
# - return (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2
# + return F.cross_entropy(scores.T, right)

# %% mutant="clip_loss" why="the sum of both"
# - return (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2
# + return F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)

# %% mutant="clip_loss" why="vectors of any length"
# - scores = log_scale.exp() * F.normalize(audio, dim=1) @ F.normalize(text, dim=1).T
# + scores = log_scale.exp() * audio @ text.T

# %% mutant="clip_loss" why="texts of any length"
# - scores = log_scale.exp() * F.normalize(audio, dim=1) @ F.normalize(text, dim=1).T
# + scores = log_scale.exp() * F.normalize(audio, dim=1) @ text.T

# %% mutant="clip_loss" why="normalises over the batch"
# - scores = log_scale.exp() * F.normalize(audio, dim=1) @ F.normalize(text, dim=1).T
# + scores = log_scale.exp() * F.normalize(audio, dim=0) @ F.normalize(text, dim=0).T

# %% mutant="clip_loss" why="the logarithm as the scale"
# - scores = log_scale.exp() * F.normalize(audio, dim=1) @ F.normalize(text, dim=1).T
# + scores = log_scale * F.normalize(audio, dim=1) @ F.normalize(text, dim=1).T

# %% mutant="clip_loss" why="divides by the scale"
# - scores = log_scale.exp() * F.normalize(audio, dim=1) @ F.normalize(text, dim=1).T
# + scores = F.normalize(audio, dim=1) @ F.normalize(text, dim=1).T / log_scale.exp()

# %% mutant="clip_loss" why="a scale that does not learn"
# - scores = log_scale.exp() * F.normalize(audio, dim=1) @ F.normalize(text, dim=1).T
# + scores = log_scale.detach().exp() * F.normalize(audio, dim=1) @ F.normalize(text, dim=1).T

# %% mutant="clip_loss" why="a scale of at most 100"
# - scores = log_scale.exp() * F.normalize(audio, dim=1) @ F.normalize(text, dim=1).T
# + scores = log_scale.clamp(max=float(np.log(100))).exp() * F.normalize(audio, dim=1) @ F.normalize(text, dim=1).T

# %% mutant="clip_loss" why="texts that do not learn"
# - scores = log_scale.exp() * F.normalize(audio, dim=1) @ F.normalize(text, dim=1).T
# + scores = log_scale.exp() * F.normalize(audio, dim=1) @ F.normalize(text, dim=1).detach().T

# %% mutant="clip_loss" why="the right pairs alone, no wrong ones"
# - return (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2
# + return -scores.diagonal().mean()


# %% alternative="clip_loss" why="logarithms of softmax on the diagonal"
def clip_loss(audio, text, log_scale):
    a = audio / audio.norm(dim=-1, keepdim=True)
    b = text / text.norm(dim=-1, keepdim=True)
    scores = torch.einsum("id,jd->ij", a, b) * torch.exp(log_scale)
    up = torch.logsumexp(scores, dim=1) + torch.logsumexp(scores, dim=0)
    return (up / 2 - torch.diagonal(scores)).mean()


# %% [markdown]
# How good is such a space? Give it a sound, and look whether the right one of all texts is the nearest: Recall@1. The right text has to be more similar than **every** other one: a tie is a miss. (Else a network that puts everything onto one point would find every text first.)
#
# {{task:recall_at_1}}

# %% [markdown] lang="ru"
# Насколько такое пространство хорошо? Дайте ему звук и посмотрите, ближе ли всех верный текст: Recall@1. Верный текст должен быть похож больше **каждого** из остальных: ничья — промах. (Иначе сеть, которая сводит всё в одну точку, находила бы первым любой текст.)
#
# {{task:recall_at_1}}


# %% solution="recall_at_1"
def recall_at_1(similarity: torch.Tensor, right: torch.Tensor) -> float:
    """The share of sounds whose right text is the most similar. similarity: (sounds, texts), right: (sounds,)."""
    ### BEGIN SOLUTION
    mine = similarity.gather(1, right[:, None])
    as_good = (similarity >= mine).sum(1)
    return float((as_good == 1).double().mean())
    ### END SOLUTION


# %% test="recall_at_1" points=0.25 difficulty=1 minutes=5
similarity = torch.tensor([[0.1, 0.8, 0.3], [0.5, 0.5, 0.1], [0.2, 0.1, 0.9], [0.9, 0.4, 0.6], [0.3, 0.2, 0.1]])
check.close(check.answer(recall_at_1, similarity, torch.tensor([1, 0, 2, 2, 0]), call="recall_at_1(similarity, right)"), 0.6, "recall_at_1(similarity, right)", why="count three of five")
### BEGIN HIDDEN TESTS
rng = check.rng("recall_at_1")
for n, m in ((9, 4), (4, 9), (1, 3), (5, 1), (50, 6)):
    table, right = rng.normal(size=(n, m)), rng.integers(0, m, size=n)
    some = rng.random(n) < 0.5
    table[np.flatnonzero(some), right[some]] += 4
    want = np.mean([all(row[k] > value for j, value in enumerate(row) if j != k) for row, k in zip(table, right, strict=True)])
    call = f"recall_at_1 of {n} sounds, {m} texts"
    check.close(check.answer(recall_at_1, torch.from_numpy(table), torch.from_numpy(right), call=call), want, call, why="count sounds whose right text comes first")
call = "recall_at_1 where all similarities are equal"
check.close(check.answer(recall_at_1, torch.full((4, 3), 0.7), torch.tensor([0, 1, 2, 0]), call=call), 0.0, call, why="count a tie as a miss")
call = "recall_at_1 of similarities below -1, and of a narrow win"
check.close(check.answer(recall_at_1, torch.tensor([[-3.0, -5.0], [-4.0, -2.0], [0.5, 0.5001], [0.5001, 0.5]]), torch.tensor([0, 0, 1, 1]), call=call), 0.5, call, why="compare, whatever the numbers are")
call = "recall_at_1 where two texts tie below the right one"
check.close(check.answer(recall_at_1, torch.tensor([[0.2, 0.9, 0.2], [-0.1, -0.5, -0.5]]), torch.tensor([1, 0]), call=call), 1.0, call, why="look for ties with the right text only")
### END HIDDEN TESTS

# %% mutant="recall_at_1" why="ties are hits"
# - as_good = (similarity >= mine).sum(1)
# + as_good = 1 + (similarity > mine).sum(1)

# %% mutant="recall_at_1" why="the first of equals is a hit"
# - return float((as_good == 1).double().mean())
# + return float((similarity.argmax(1) == right).double().mean())

# %% mutant="recall_at_1" why="the right text is on the diagonal"
# - mine = similarity.gather(1, right[:, None])
# + mine = similarity.gather(1, torch.arange(len(similarity))[:, None] % similarity.shape[1])

# %% mutant="recall_at_1" why="the least similar text"
# - as_good = (similarity >= mine).sum(1)
# + as_good = (similarity <= mine).sum(1)

# %% mutant="recall_at_1" why="the number, not the share"
# - return float((as_good == 1).double().mean())
# + return float((as_good == 1).double().sum())

# %% mutant="recall_at_1" why="a share of texts"
# - return float((as_good == 1).double().mean())
# + return float((as_good == 1).double().sum()) / similarity.shape[1]

# %% mutant="recall_at_1" why="as good within a thousandth is a tie"
# - as_good = (similarity >= mine).sum(1)
# + as_good = (similarity >= mine - 1e-3).sum(1)

# %% mutant="recall_at_1" why="nothing is below -1"
# - as_good = (similarity >= mine).sum(1)
# + as_good = (similarity.clamp(min=-1) >= mine).sum(1)

# %% mutant="recall_at_1" why="the share of misses"
# - return float((as_good == 1).double().mean())
# + return float((as_good != 1).double().mean())

# %% mutant="recall_at_1" why="among the best two"
# - return float((as_good == 1).double().mean())
# + return float((as_good <= 2).double().mean())


# %% alternative="recall_at_1" why="the best of the others"
def recall_at_1(similarity, right):
    hits = 0
    for row, k in zip(similarity.tolist(), right.tolist(), strict=True):
        others = row[:k] + row[k + 1 :]
        hits += not others or row[k] > max(others)
    return hits / len(right)


# %% [markdown]
# Fifty texts, "*name* says *digit*". Ten of them are **never shown**: each voice says two digits that the network has not heard from it. The sounds' encoder is a network like yours, the texts' one a sum of word vectors.

# %% [markdown] lang="ru"
# Пятьдесят текстов, «*имя* says *цифра*». Десять из них **не показывают никогда**: у каждого голоса есть две цифры, которых сеть от него не слышала. Кодировщик звуков — сеть вроде вашей, кодировщик текстов — сумма векторов слов.

# %% tags=["training"]
speakers = ("george", "jackson", "nicolas", "theo", "yweweler")
captions = [f"{name} says {word}" for name in speakers for word in week14.WORDS]
vocabulary = sorted({word for caption in captions for word in caption.split()})
words = torch.tensor([[vocabulary.index(word) for word in caption.split()] for caption in captions])
unseen = np.array([(3 * s + d) % 5 == 1 for s in range(5) for d in range(10)])
pair_of = {"train": 10 * digits.y_train[:, 1] + digits.y_train[:, 0], "test": 10 * digits.y_test[:, 1] + digits.y_test[:, 0]}
test_input = torch.tensor(on_takes[..., 0] / 255, dtype=torch.float32)


class Pairs(nn.Module):
    """Two encoders into one space of 32 numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(convolution(40, 64, 2), convolution(64, 64, 2), convolution(64, 64, 2))
        self.head, self.table, self.out = nn.Linear(128, 32), nn.Embedding(len(vocabulary), 64), nn.Linear(64, 32)
        self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def audio(self, x: torch.Tensor) -> torch.Tensor:
        x = (x - x.mean((1, 2), keepdim=True)) / (x.std((1, 2), keepdim=True) + 1e-5)
        x = self.layers(x)
        return self.head(torch.cat([x.mean(2), x.amax(2)], dim=1))

    def text(self, words: torch.Tensor) -> torch.Tensor:
        return self.out(self.table(words).mean(1))


def similarity_to_texts(model: Pairs, x: torch.Tensor) -> torch.Tensor:
    """Cosines (sounds, 50)."""
    with torch.no_grad():
        return F.normalize(model.audio(x), dim=1) @ F.normalize(model.text(words), dim=1).T


seed_everything(0)
rng, pairs = np.random.default_rng(0), Pairs()
optimizer = torch.optim.Adam(pairs.parameters(), lr=3e-3)
members = {k: np.flatnonzero(pair_of["train"] == k) for k in np.flatnonzero(~unseen)}
for _ in range(settings["pair_steps"]):
    texts_shown = rng.permutation(list(members))[:32]  # each text once in a batch: no wrong one is right
    sounds_shown = [rng.choice(members[k]) for k in texts_shown]
    loss = clip_loss(pairs.audio(as_input[sounds_shown]), pairs.text(words[texts_shown]), pairs.log_scale)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
pairs.eval()
cosines, right = similarity_to_texts(pairs, test_input), torch.tensor(pair_of["test"])
for name, chosen in (("shown in training", ~unseen), ("never shown", unseen)):
    rows = torch.from_numpy(chosen[pair_of["test"]])
    print(f"Recall@1 among 50 texts, pairs {name}: {recall_at_1(cosines[rows], right[rows]):.1%} of {int(rows.sum())} new takes (chance 2%)")
print(f"scale {pairs.log_scale.exp().item():.1f}")
means = torch.stack([cosines[right == k].mean(0) for k in range(50)])
week14.retrieval(means.numpy(), captions, ~unseen)
plots.show("A map of fifty texts against the sounds of fifty texts: the diagonal is dark red, also where names are coloured, the pairs that were never shown. Blocks along it show the voices, lighter parallels the digits.")

# %% [markdown]
# Nobody has shown "theo says seven" to this network, and it mostly finds that text: it has taken the texts apart into who and what. Larger models of the kind serve as classifiers without training: one writes the classes as texts.
#
# ## 7. A codec of your own
# At last, back to sound: how few bits does it take? Cut it into pieces of 16 samples, 2 ms. A codebook of 64 pieces costs 6 bits a piece, and the quality of 64. A book of $64^8$ would be fine, and cannot be stored. [Residual vector quantisation](glossary:residual-vector-quantisation), in most neural codecs since [SoundStream, 2021](https://arxiv.org/abs/2107.03312), gets near it with eight small books: each one codes the **error that those before it have left**.
#
# $$r_0 = x, \qquad q_i = \arg\min_k \lVert r_{i-1} - C^{(i)}_k \rVert, \qquad r_i = r_{i-1} - C^{(i)}_{q_i}, \qquad \hat x = \sum_i C^{(i)}_{q_i}.$$
#
# Books may have different sizes; of equally near entries the first counts (`week14.nearest` does that). `rvq_decode` gets codes of the first few books, or of all.
#
# {{task:rvq}}

# %% [markdown] lang="ru"
# Никто не показывал этой сети «theo says seven», а она этот текст по большей части находит: она разобрала тексты на «кто» и «что». Большие модели такого рода служат классификаторами без обучения: классы просто записывают текстами.
#
# ## 7. Собственный кодек
# Наконец, обратно к звуку: сколько битов ему нужно? Разрежем его на куски по 16 отсчётов, 2 мс. Кодовая книга из 64 кусков стоит 6 битов на кусок и звучит на 64 куска. Книга из $64^8$ была бы хороша, но её негде хранить. [Остаточное векторное квантование](glossary:residual-vector-quantisation) (residual vector quantisation), которое стоит в большинстве нейронных кодеков начиная с [SoundStream, 2021](https://arxiv.org/abs/2107.03312), подходит к ней близко с восемью маленькими: каждая кодирует **ошибку, оставшуюся после предыдущих**.
#
# $$r_0 = x, \qquad q_i = \arg\min_k \lVert r_{i-1} - C^{(i)}_k \rVert, \qquad r_i = r_{i-1} - C^{(i)}_{q_i}, \qquad \hat x = \sum_i C^{(i)}_{q_i}.$$
#
# Книги бывают разной величины; из равно близких записей считается первая (`week14.nearest` так и делает). `rvq_decode` получает коды нескольких первых книг или всех.
#
# {{task:rvq}}


# %% solution="rvq"
def rvq_encode(x: np.ndarray, codebooks: Sequence[np.ndarray]) -> np.ndarray:
    """Codes (n, q) of vectors (n, d) by q codebooks (k, d)."""
    ### BEGIN SOLUTION
    residual, codes = x, []
    for codebook in codebooks:
        codes.append(week14.nearest(residual, codebook))
        residual = residual - codebook[codes[-1]]
    return np.stack(codes, axis=1)
    ### END SOLUTION


def rvq_decode(codes: np.ndarray, codebooks: Sequence[np.ndarray]) -> np.ndarray:
    """Vectors (n, d) of codes (n, q), of the first q codebooks, 1 <= q <= len(codebooks)."""
    ### BEGIN SOLUTION
    return sum(codebook[column] for codebook, column in zip(codebooks, codes.T, strict=False))
    ### END SOLUTION


# %% test="rvq" points=0.5 difficulty=2 minutes=15
books = [np.array([[1.0, 1.0], [5.0, 2.0]]), np.array([[0.5, -0.5], [-1.0, 1.0], [0.0, 2.0]])]
x = np.array([[4.1, 2.9], [1.2, 3.5], [1.4, 0.7]])
check.equal(check.answer(rvq_encode, x, books, call="rvq_encode(x, books)"), np.array([[1, 1], [0, 2], [0, 0]]), "rvq_encode(x, books)")
codes = np.array([[1, 1], [0, 2], [0, 0]])
check.close(check.answer(rvq_decode, codes, books, call="rvq_decode(codes, books)"), [[4.0, 3.0], [1.0, 3.0], [1.5, 0.5]], "rvq_decode(codes, books)")
check.close(check.answer(rvq_decode, codes[:, :1], books, call="rvq_decode(codes[:, :1], books)"), [[5.0, 2.0], [1.0, 1.0], [1.0, 1.0]], "rvq_decode(codes[:, :1], books)")
### BEGIN HIDDEN TESTS
rng = check.rng("rvq")
for n, d, sizes in ((7, 3, (4,)), (5, 2, (3, 6, 2)), (9, 4, (5, 5, 5, 5)), (1, 3, (2, 4))):
    x, books = rng.normal(size=(n, d)), [rng.normal(size=(k, d)) / (i + 1) for i, k in enumerate(sizes)]
    rest, want = x.copy(), []
    for book in books:
        want.append([int(np.argmin([np.sum((vector - entry) ** 2) for entry in book])) for vector in rest])
        rest = rest - book[want[-1]]
    call = f"rvq_encode of {n} vectors of {d} numbers, books of {sizes}"
    check.equal(check.answer(rvq_encode, x, books, call=call), np.array(want).T, call, why="code what the books before have left")
    for q in range(1, len(sizes) + 1):
        codes = np.stack([rng.integers(0, k, size=n) for k in sizes[:q]], axis=1)
        want_x = np.array([sum(books[i][codes[j, i]] for i in range(q)) for j in range(n)])
        call = f"rvq_decode of {q} of {len(sizes)} books"
        check.close(check.answer(rvq_decode, codes, books, call=call), want_x, call, rtol=1e-9, why="add the entries up")
whole, books = np.array([[4, 3], [1, -2], [-3, 0]]), [np.array([[3.4, 2.6], [-2.7, 0.4], [0.6, -1.6]]), np.array([[0.7, 0.3], [0.1, 0.2], [-0.3, -0.4]])]
call = "rvq_encode of vectors of whole numbers"
check.equal(check.answer(rvq_encode, whole, books, call=call), check.answer(rvq_encode, whole.astype(float), books, call=call), call, why="be the same as of floats: what is left is no whole number")
call = "rvq_encode by a book of 300 entries"
check.equal(check.answer(rvq_encode, np.array([[298.9], [3.1]]), [np.arange(300.0)[:, None]], call=call), np.array([[299], [3]]), call, why="have codes for all of them")
book = [np.array([[2.0, 0.0], [0.0, 2.0], [0.0, 2.0]])]
check.equal(check.answer(rvq_encode, np.array([[1.0, 1.0], [0.0, 3.0]]), book, call="rvq_encode where entries are equally near"), np.array([[0], [1]]), "rvq_encode where entries are equally near", why="take the first")
### END HIDDEN TESTS

# %% mutant="rvq" why="quantises the input again, not the residual"
# - residual = residual - codebook[codes[-1]]
# + residual = x

# %% mutant="rvq" why="the residual from the input, not from the residual"
# - residual = residual - codebook[codes[-1]]
# + residual = x - codebook[codes[-1]]

# %% mutant="rvq" why="the residual turned round"
# - residual = residual - codebook[codes[-1]]
# + residual = codebook[codes[-1]] - residual

# %% mutant="rvq" why="the first book for all"
# - codes.append(week14.nearest(residual, codebook))
# + codes.append(week14.nearest(residual, codebooks[0]) % len(codebook))

# %% mutant="rvq" why="the farthest entry"
# - codes.append(week14.nearest(residual, codebook))
# + codes.append(week14.nearest(-residual, codebook))

# %% mutant="rvq" why="codes in rows"
# - return np.stack(codes, axis=1)
# + return np.stack(codes)

# %% mutant="rvq" why="decodes the last book alone"
# - return sum(codebook[column] for codebook, column in zip(codebooks, codes.T, strict=False))
# + return [codebook[column] for codebook, column in zip(codebooks, codes.T, strict=False)][-1]

# %% mutant="rvq" why="decodes a mean"
# - return sum(codebook[column] for codebook, column in zip(codebooks, codes.T, strict=False))
# + return sum(codebook[column] for codebook, column in zip(codebooks, codes.T, strict=False)) / codes.shape[1]

# %% mutant="rvq" why="decodes by the last books"
# - return sum(codebook[column] for codebook, column in zip(codebooks, codes.T, strict=False))
# + return sum(codebook[column % len(codebook)] for codebook, column in zip(codebooks[::-1], codes.T[::-1]))

# %% mutant="rvq" why="the nearest by the largest product"
# - codes.append(week14.nearest(residual, codebook))
# + codes.append((residual @ codebook.T).argmax(1))

# %% mutant="rvq" why="what is left has the type of the vectors: whole numbers"
# - residual = residual - codebook[codes[-1]]
# + residual = (residual - codebook[codes[-1]]).astype(x.dtype)

# %% mutant="rvq" why="codes of eight bits"
# - return np.stack(codes, axis=1)
# + return np.stack(codes, axis=1).astype(np.uint8)

# %% mutant="rvq" why="changes the vectors in place"
# - residual = residual - codebook[codes[-1]]
# + residual -= codebook[codes[-1]]


# %% alternative="rvq" why="vector by vector"
def rvq_encode(x, codebooks):
    made = np.zeros((len(x), len(codebooks)), dtype=int)
    for i, vector in enumerate(x):
        rest = np.array(vector, dtype=float)
        for j, book in enumerate(codebooks):
            made[i, j] = np.argmin(((rest - book) ** 2).sum(axis=1))
            rest = rest - book[made[i, j]]
    return made


def rvq_decode(codes, codebooks):
    made = codebooks[0][codes[:, 0]].copy()
    for j in range(1, codes.shape[1]):
        made += codebooks[j][codes[:, j]]
    return made


# %% [markdown]
# Where do books come from? From data: the first is the $k$ centres of clusters of the vectors themselves, each further one those of the residuals that all before it have left.
#
# {{task:fit_rvq}}

# %% [markdown] lang="ru"
# Откуда берутся книги? Из данных: первая — центры $k$ кластеров самих векторов, каждая следующая — центры кластеров остатков после всех предыдущих.
#
# {{task:fit_rvq}}


# %% solution="fit_rvq"
def fit_rvq(
    x: np.ndarray, count: int, size: int, kmeans: Callable, rng: np.random.Generator
) -> list[np.ndarray]:
    """`count` codebooks (size, d) for vectors (n, d). kmeans(vectors, size, rng) gives centres (size, d)."""
    ### BEGIN SOLUTION
    residual, codebooks = x, []
    for _ in range(count):
        codebooks.append(kmeans(residual, size, rng))
        residual = residual - codebooks[-1][week14.nearest(residual, codebooks[-1])]
    return codebooks
    ### END SOLUTION


# %% test="fit_rvq" points=0.5 difficulty=2 minutes=15
def ends(vectors: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Not k-means: k vectors, evenly from the least to the largest by their first number."""
    order = np.argsort(vectors[:, 0], kind="stable")
    return vectors[order[np.linspace(0, len(vectors) - 1, k).round().astype(int)]] * 0.9


x = np.array([[1.0, 2.0], [4.0, -1.0], [9.0, 3.0], [5.0, 0.5], [0.0, 1.0]])
found = check.answer(fit_rvq, x, 2, 3, ends, np.random.default_rng(0), call="fit_rvq(x, 2, 3, ends, rng)")
check.equal(len(found), 2, "the number of codebooks of fit_rvq(x, 2, 3, ends, rng)")
check.close(found[0], [[0, 0.9], [3.6, -0.9], [8.1, 2.7]], "the first codebook of fit_rvq(x, 2, 3, ends, rng)")
check.close(found[1], [[0, 0.09], [0.81, 0.27], [1.26, 1.26]], "the second codebook of fit_rvq(x, 2, 3, ends, rng)")
### BEGIN HIDDEN TESTS
rng = check.rng("fit_rvq")
for n, d, count, size in ((30, 3, 3, 4), (12, 2, 1, 5), (20, 4, 5, 2)):
    x = rng.normal(size=(n, d)) + 3
    calls: list[tuple[np.ndarray, int, bool]] = []
    generator = np.random.default_rng(int(rng.integers(10**6)))

    def noted(vectors: np.ndarray, k: int, random: np.random.Generator, *, calls: list = calls, generator: np.random.Generator = generator) -> np.ndarray:
        """k of the vectors by chance, and a note of what was asked."""
        calls.append((np.array(vectors), k, random is generator))
        return vectors[random.choice(len(vectors), k, replace=False)] * 0.8

    call = f"fit_rvq of {n} vectors, {count} codebooks of {size}"
    found = check.answer(fit_rvq, x, count, size, noted, generator, call=call)
    check.equal(len(found), count, f"the number of codebooks of {call}", why="be as many as are asked for")
    check.equal([k for _, k, _ in calls], [size] * count, f"the sizes that {call} asks kmeans for", why="ask once for each book")
    check.that(all(mine for _, _, mine in calls), f"{call}: hand on the generator")
    rest = x.copy()
    for i, book in enumerate(found):
        check.close(calls[i][0], rest, f"the vectors from which {call} takes book {i + 1}", rtol=1e-8, atol=1e-10, why="be what the books before have left")
        owner = [int(np.argmin([np.sum((vector - entry) ** 2) for entry in book])) for vector in rest]
        rest = rest - book[owner]
### END HIDDEN TESTS

# %% mutant="fit_rvq" why="clusters the input again, not the residual"
# - codebooks.append(kmeans(residual, size, rng))
# + codebooks.append(kmeans(x, size, rng))

# %% mutant="fit_rvq" why="the residual of the last book alone"
# - residual = residual - codebooks[-1][week14.nearest(residual, codebooks[-1])]
# + residual = x - codebooks[-1][week14.nearest(x, codebooks[-1])]

# %% mutant="fit_rvq" why="one book too few"
# - for _ in range(count):
# + for _ in range(max(1, count - 1)):

# %% mutant="fit_rvq" why="one book for all"
# - return codebooks
# + return codebooks[:1] * count

# %% mutant="fit_rvq" why="takes the first book away each time"
# - residual = residual - codebooks[-1][week14.nearest(residual, codebooks[-1])]
# + residual = residual - codebooks[0][week14.nearest(residual, codebooks[0])]

# %% mutant="fit_rvq" why="a generator of its own"
# - codebooks.append(kmeans(residual, size, rng))
# + codebooks.append(kmeans(residual, size, np.random.default_rng(0)))

# %% mutant="fit_rvq" why="the mean book in place of the nearest entry"
# - residual = residual - codebooks[-1][week14.nearest(residual, codebooks[-1])]
# + residual = residual - codebooks[-1].mean(0)

# %% mutant="fit_rvq" why="changes the vectors in place"
# - residual = residual - codebooks[-1][week14.nearest(residual, codebooks[-1])]
# + residual -= codebooks[-1][week14.nearest(residual, codebooks[-1])]

# %% mutant="fit_rvq" why="k-means of its own"
# - codebooks.append(kmeans(residual, size, rng))
# + codebooks.append(week14.kmeans(residual, size, rng))


# %% alternative="fit_rvq" why="from the sum of what is coded"
def fit_rvq(x, count, size, kmeans, rng):
    books, coded = [], np.zeros_like(x)
    while len(books) < count:
        rest = x - coded
        books.append(kmeans(rest, size, rng))
        distances = ((rest[:, None, :] - books[-1][None]) ** 2).sum(axis=-1)
        coded = coded + books[-1][distances.argmin(axis=1)]
    return books


# %% [markdown]
# **Listen.** Eight books of 64 pieces, from the five voices' training recordings; a new recording goes through them. The signal-to-noise ratio is that of power to the power of the error, in decibels; the recordings themselves have 16 bits a sample.

# %% [markdown] lang="ru"
# **Слушайте.** Восемь книг по 64 куска по обучающим записям пяти голосов; через них проходит новая запись. Отношение сигнала к шуму — мощность сигнала к мощности ошибки, в децибелах; сами записи хранят 16 битов на отсчёт.

# %%
def pieces(sound: np.ndarray, length: int = 16) -> np.ndarray:
    """A sound at full loudness, cut into pieces (n, length), silence at its end."""
    loud = sound / np.abs(sound).max()
    return np.pad(loud, (0, -len(loud) % length)).reshape(-1, length)


rng = np.random.default_rng(0)
learned_from = np.concatenate([pieces(sound) for sound in digits.x_train])
chosen = rng.choice(len(learned_from), min(settings["patches"], len(learned_from)), replace=False)
books = fit_rvq(learned_from[chosen], 8, 64, week14.kmeans, rng)
new = np.concatenate([pieces(sound) for sound in digits.x_test])
codes = rvq_encode(new, books)


def quality(made: np.ndarray) -> float:
    """Signal to noise in decibels, over all new recordings."""
    return float(10 * np.log10((new**2).sum() / ((new - made) ** 2).sum()))


rates, ratios = [], []
for q in range(1, 9):
    rates.append(q * np.log2(64) / (16 / week14.RATE) / 1000)
    ratios.append(quality(rvq_decode(codes[:, :q], books)))
wider = week14.kmeans(learned_from[chosen], 1024, rng, rounds=3)
single = quality(wider[week14.nearest(new, wider)])
for q in (1, 2, 4, 8):
    print(f"{q} codebooks, {rates[q - 1]:4.0f} kbit/s of {week14.RATE * 16 / 1000:.0f}: {ratios[q - 1]:4.1f} dB")
print(f"one book of 1,024 entries, {10 / 2:.0f} kbit/s: {single:.1f} dB")
ax = plots.curves({"residual, books of 64": (rates, ratios), "one book of 1,024": ([5], [single])}, "What a codebook is worth", "kbit / s", "signal to noise, dB")
for line in ax.lines:
    line.set_marker("o")
ax.legend(frameon=False)
plots.show("Signal to noise against bit rate: eight points that rise, steeply at first, by more than a decibel each; the point of the single large book lies close to their line.")

# %%
sample = digits.x_test[number := int(np.flatnonzero((digits.y_test[:, :2] == [7, 3]).all(1))[0])]
small_codes = rvq_encode(pieces(sample), books)
heard_at = {f"{q} codebook{'s' * (q > 1)}, {rates[q - 1]:.0f} kbit/s": rvq_decode(small_codes[:, :q], books).ravel() for q in (1, 2, 4, 8)}
heard_at["the recording, 128 kbit/s"] = pieces(sample).ravel()
week14.play(heard_at)
panels = {
    name: (stft(torch.from_numpy(np.ascontiguousarray(sound, dtype=np.float64)), torch.hann_window(256).double(), 40).abs().numpy(), len(sound) / week14.RATE)
    for name, sound in heard_at.items()
}
week14.spectrograms(panels)
plots.show("Five spectrograms of a spoken seven. With one codebook the hiss of the s is missing, and above the low tones of the vowel there is only fog; with two, four and eight books the hiss appears, then the higher tones stand out; the last is the recording.")

# %% [markdown]
# ## What you now hold
# A spectrogram that loses nothing, a network that understands a stranger, an alignment that nobody has drawn, a search over texts, a space where sounds meet words, and a codec. Neural codecs put an encoder before your books and a decoder behind them; language models of speech then predict your codes, as others predict words. Turning a spectrogram **without phases** into a voice, and predicting samples one by one, is the optional notebook. A closing reading on sound, text and video in one model: [Girdhar et al., 2023](https://arxiv.org/abs/2305.05665).

# %% [markdown] lang="ru"
# ## Что теперь у вас в руках
# Спектрограмма без потерь, сеть, которая понимает незнакомца, выравнивание, которого никто не рисовал, поиск по текстам, пространство, где звуки встречаются со словами, и кодек. Нейронные кодеки ставят перед вашими книгами кодировщик, а после них декодировщик; языковые модели речи предсказывают ваши коды, как другие предсказывают слова. Превратить спектрограмму **без фаз** в голос и предсказывать отсчёты один за другим — в дополнительном ноутбуке. Для чтения напоследок, о звуке, тексте и видео в одной модели: [Girdhar и др., 2023](https://arxiv.org/abs/2305.05665).
