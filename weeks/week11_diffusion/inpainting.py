# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # A picture repaired
# A part of a picture is missing. A diffusion model that knows how pictures look can fill it in, without a minute of new training: at each step on the way back, the known part is put in place, with just the noise that belongs to that step. You write the sampler, with the jumps that make the parts agree, keep the known pixels bit for bit, and then measure honestly, over many masks and against two plain ways, whether it was worth it.

# %% [markdown] lang="ru"
# # Починить картинку
# Кусок картинки пропал. Диффузионная модель, которая знает, как выглядят картинки, заполнит его, ни минуты не доучиваясь: на каждом шаге назад известную часть ставят на место — ровно с тем шумом, какой положен этому шагу. Вы напишете сэмплер со скачками, которые заставляют части согласоваться, сохраните известные пиксели бит в бит, а потом честно измерите — на многих масках и против двух простых способов, — стоило ли оно того.

# %% tags=["parameters"]
profile = "small"

# %%
from collections.abc import Callable, Sequence

import numpy as np
import torch

from practical_dl import check, data, plots, seed_everything
from practical_dl.weeks import week11

seed_everything(0)
device = "cuda" if torch.cuda.is_available() else "cpu"
settings = {
    "small": {"train": 600, "width": 24, "times": 60, "pictures": 40},
    "full": {"train": 30_000, "width": 128, "times": 250, "pictures": 400},
}[profile]

# %% [markdown]
# **Rules.** Fill the cells that raise `NotImplementedError`, run the check below each, look at *your* result. The checks that you see are public ones: a good sign, not a promise. Each task can be solved without the others. Functions leave their arguments as they were. Masks are True where a pixel is **known**.

# %% [markdown] lang="ru"
# **Правила.** Заполните ячейки с `NotImplementedError`, запустите проверку под каждой и посмотрите на *свой* результат. Видимые проверки — открытые: пройти их — хороший знак, но не гарантия. Каждое задание можно решить без остальных. Функции не меняют своих аргументов. Маски равны True там, где пиксель **известен**.

# %% [markdown]
# ## 1. Back, and forth again
# Put the known part in at each step, and the rest follows it, but too late: what the model wrote one step ago did not know of it. RePaint ([Lugmayr et al., 2022](https://arxiv.org/abs/2201.09865), appendix B) lets them talk: every `length` steps it goes `length` steps back into the noise and comes down again, `repeats` times in all. Times run from $T - 1$ down to 0. Whenever a time is reached that is a multiple of `length` and below $T - \text{length}$, and it has not been left upwards `repeats` − 1 times yet, the times climb by `length`, one by one, and then fall again. At time 0 after all jumps the list ends.
#
# {{task:jump_times}}

# %% [markdown] lang="ru"
# ## 1. Назад — и снова вперёд
# Ставьте известную часть на место на каждом шаге, и остальное пойдёт за ней, но с опозданием: то, что модель написала шагом раньше, о ней не знало. RePaint ([Lugmayr и др., 2022](https://arxiv.org/abs/2201.09865), приложение B) даёт им поговорить: каждые `length` шагов он уходит на `length` шагов обратно в шум и спускается снова, всего `repeats` раз. Моменты идут от $T - 1$ вниз до 0. Как только достигнут момент, кратный `length` и меньший $T - \text{length}$, из которого ещё не уходили вверх `repeats` − 1 раз, моменты поднимаются на `length`, по одному, и затем снова падают. В моменте 0 после всех скачков список кончается.
#
# {{task:jump_times}}


# %% solution="jump_times"
def jump_times(steps: int, length: int, repeats: int) -> list[int]:
    """The times of the sampler, from steps - 1 to 0. length, repeats: 1 or more.

    jump_times(4, 2, 2) -> [3, 2, 1, 0, 1, 2, 1, 0]
    """
    ### BEGIN SOLUTION
    left = dict.fromkeys(range(0, steps - length, length), repeats - 1)
    t, times = steps - 1, [steps - 1]
    while t > 0 or left.get(t, 0) > 0:
        if left.get(t, 0) > 0:
            left[t] -= 1
            times += range(t + 1, t + length + 1)
            t += length
        else:
            t -= 1
            times.append(t)
    return times
    ### END SOLUTION


# %% test="jump_times" points=0.4 difficulty=2 minutes=20
check.equal(check.answer(jump_times, 4, 2, 2, call="jump_times(4, 2, 2)"), [3, 2, 1, 0, 1, 2, 1, 0], "jump_times(4, 2, 2)")
check.equal(check.answer(jump_times, 4, 1, 1, call="jump_times(4, 1, 1)"), [3, 2, 1, 0], "jump_times(4, 1, 1)", why="fall without a jump")
### BEGIN HIDDEN TESTS


def paper_times(steps, length, repeats):
    """As the paper's appendix writes it; its last entry, the end, is left out."""
    jumps = {j: repeats - 1 for j in range(0, steps - length, length)}
    t, found = steps, []
    while t >= 1:
        t -= 1
        found.append(t)
        if jumps.get(t, 0) > 0:
            jumps[t] -= 1
            for _ in range(length):
                t += 1
                found.append(t)
    return found


for steps, length, repeats in ((5, 2, 2), (6, 1, 3), (10, 3, 1), (7, 3, 2), (9, 2, 4), (12, 4, 3), (3, 5, 4), (1, 1, 3), (2, 1, 2), (8, 4, 2)):
    call = f"jump_times({steps}, {length}, {repeats})"
    found = check.answer(jump_times, steps, length, repeats, call=call)
    check.equal(list(found), paper_times(steps, length, repeats), call, why="jump at each multiple of length, repeats - 1 times")
found = check.answer(jump_times, 5, 2, 3, call="jump_times(5, 2, 3)")
check.that(all(check.kind_of(t) == "int" for t in found), "jump_times(5, 2, 3): give whole numbers, of int")
### END HIDDEN TESTS

# %% mutant="jump_times" why="one jump more"
# - left = dict.fromkeys(range(0, steps - length, length), repeats - 1)
# + left = dict.fromkeys(range(0, steps - length, length), repeats)

# %% mutant="jump_times" why="one jump at each place, however many repeats"
# - left = dict.fromkeys(range(0, steps - length, length), repeats - 1)
# + left = dict.fromkeys(range(0, steps - length, length), min(repeats - 1, 1))

# %% mutant="jump_times" why="no jump at 0"
# - left = dict.fromkeys(range(0, steps - length, length), repeats - 1)
# + left = dict.fromkeys(range(length, steps - length, length), repeats - 1)

# %% mutant="jump_times" why="jumps at the limit, too"
# - left = dict.fromkeys(range(0, steps - length, length), repeats - 1)
# + left = dict.fromkeys(range(0, steps - length + 1, length), repeats - 1)

# %% mutant="jump_times" why="jumps at every step"
# - left = dict.fromkeys(range(0, steps - length, length), repeats - 1)
# + left = dict.fromkeys(range(0, steps - length), repeats - 1)

# %% mutant="jump_times" why="leaps up in one step"
# - times += range(t + 1, t + length + 1)
# + times.append(t + length)

# %% mutant="jump_times" why="ends at the first 0"
# - while t > 0 or left.get(t, 0) > 0:
# + while t > 0:

# %% mutant="jump_times" why="a jump that is one too short"
# - times += range(t + 1, t + length + 1)
# - t += length
# + times += range(t + 1, t + length)
# + t += length - 1 if length > 1 else 1

# %% mutant="jump_times" why="begins at T"
# - t, times = steps - 1, [steps - 1]
# + t, times = steps, [steps]

# %% mutant="jump_times" why="numbers of float"
# - return times
# + return [float(time) for time in times]


# %% alternative="jump_times" why="counts how often each place was left"
def jump_times(steps, length, repeats):
    times, jumped = [], [0] * steps
    t = steps - 1
    while True:
        times.append(t)
        here = t % length == 0 and t < steps - length
        if here and jumped[t] < repeats - 1:
            jumped[t] += 1
            times.extend(t + i for i in range(1, length))
            t = t + length
        elif t == 0:
            return times
        else:
            t = t - 1


# %%
times = jump_times(settings["times"], 10, 3)
print(f"{settings['times']} times, {len(times)} calls; without jumps {len(jump_times(settings['times'], 10, 1))}")
week11.jumps(times)
plots.show("The time at each call: it falls, climbs ten and falls again, three times at each height, down to zero.")

# %% [markdown]
# ## 2. The sampler
# Now the steps. $x$ at time $t$ has been through steps $0, \dots, t$ of noise, with $\bar\alpha_t = \prod_{s \le t} (1 - \beta_s)$. For each pair of neighbouring times, and for the end after the last time:
# - **down**, from $t$ to $t - 1$: unknown pixels take DDPM's step, $\frac{1}{\sqrt{1 - \beta_t}} \bigl(x - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \varepsilon(x, t)\bigr) + \sqrt{\beta_t}\, z$ with $z = $ `draw("unknown", t)`; known pixels are put in anew, $\sqrt{\bar\alpha_{t-1}}\, x_0 + \sqrt{1 - \bar\alpha_{t-1}}\, z$ with $z = $ `draw("known", t)`;
# - **up**, from $t$ to $t + 1$: a step of noise for all pixels, $\sqrt{1 - \beta_{t+1}}\, x + \sqrt{\beta_{t+1}}\, z$ with $z = $ `draw("jump", t)`;
# - **the end**, from the last time, 0: DDPM's step without noise, and the known pixels **are** those of `picture`, bit for bit.
#
# {{task:repaint}}

# %% [markdown] lang="ru"
# ## 2. Сэмплер
# Теперь шаги. $x$ в момент $t$ прошёл шаги шума $0, \dots, t$, и $\bar\alpha_t = \prod_{s \le t} (1 - \beta_s)$. Для каждой пары соседних моментов и для конца после последнего:
# - **вниз**, от $t$ к $t - 1$: неизвестные пиксели делают шаг DDPM, $\frac{1}{\sqrt{1 - \beta_t}} \bigl(x - \frac{\beta_t}{\sqrt{1 - \bar\alpha_t}}\, \varepsilon(x, t)\bigr) + \sqrt{\beta_t}\, z$, где $z = $ `draw("unknown", t)`; известные ставятся заново, $\sqrt{\bar\alpha_{t-1}}\, x_0 + \sqrt{1 - \bar\alpha_{t-1}}\, z$, где $z = $ `draw("known", t)`;
# - **вверх**, от $t$ к $t + 1$: шаг шума для всех пикселей, $\sqrt{1 - \beta_{t+1}}\, x + \sqrt{\beta_{t+1}}\, z$, где $z = $ `draw("jump", t)`;
# - **конец**, от последнего момента, 0: шаг DDPM без шума, а известные пиксели — это **и есть** пиксели `picture`, бит в бит.
#
# {{task:repaint}}


# %% solution="repaint"
def repaint(
    guess: Callable,
    picture: torch.Tensor,
    known: torch.Tensor,
    times: Sequence[int],
    betas: torch.Tensor,
    draw: Callable,
    start: torch.Tensor,
) -> torch.Tensor:
    """Pictures (n, ...) like `picture` where it is known, of its dtype.

    guess: takes x (n, ...) and one time, gives the noise. known: bool (n, ...). betas: (T,).
    draw(kind, t): normal noise (n, ...). start: x (n, ...) at the first of the times.
    """
    ### BEGIN SOLUTION
    kept = torch.cumprod(1 - betas, 0).tolist()
    x = start
    for t, then in zip(times, [*times[1:], -1], strict=True):
        if then > t:
            beta = float(betas[then])
            x = (1 - beta) ** 0.5 * x + beta**0.5 * draw("jump", t)
            continue
        beta = float(betas[t])
        x = (x - beta / (1 - kept[t]) ** 0.5 * guess(x, t)) / (1 - beta) ** 0.5
        if then >= 0:
            x = x + beta**0.5 * draw("unknown", t)
            seen = kept[then] ** 0.5 * picture + (1 - kept[then]) ** 0.5 * draw("known", t)
        else:
            seen = picture
        x = torch.where(known, seen, x)
    return x
    ### END SOLUTION


# %% test="repaint" points=0.6 difficulty=3 minutes=35
picture, known = torch.tensor([[1.0, -1.0, 0.5]]), torch.tensor([[True, False, False]])
call = "repaint(guess, picture, known, [1, 0], [0.1, 0.2], draw, start) with guess(x, t) = x / 2"
found = check.answer(repaint, lambda x, t: x / 2, picture, known, [1, 0], torch.tensor([0.1, 0.2]).double(), lambda kind, t: torch.full((1, 3), {"unknown": 0.5, "known": -1.0, "jump": 2.0}[kind]), torch.tensor([[3.0, 2.0, 1.0]]), call=call)
check.equal(found[0, 0], 1.0, f"the known pixel of {call}", why="be that of the picture")
check.close(found[0, 1:], [1.8077732, 1.0031038], f"the other pixels of {call}", rtol=1e-4)
### BEGIN HIDDEN TESTS
rng = check.rng("repaint")


def slow_repaint(guess, picture, known, times, betas, draw, start):
    """The same, one pixel after the other."""
    x = start.numpy().copy()
    for t, then in zip(times, [*times[1:], -1], strict=True):
        e = guess(torch.from_numpy(x), t).numpy()
        a = np.prod(1 - betas[: t + 1])
        new = np.empty_like(x)
        noise = {kind: draw(kind, t).numpy() for kind in ("unknown", "known", "jump")}
        for i in np.ndindex(x.shape):
            if then > t:
                new[i] = np.sqrt(1 - betas[then]) * x[i] + np.sqrt(betas[then]) * noise["jump"][i]
            elif known[i] and then < 0:
                new[i] = picture[i]
            elif known[i]:
                b = np.prod(1 - betas[: then + 1])
                new[i] = np.sqrt(b) * picture[i] + np.sqrt(1 - b) * noise["known"][i]
            else:
                new[i] = (x[i] - betas[t] / np.sqrt(1 - a) * e[i]) / np.sqrt(1 - betas[t])
                new[i] += np.sqrt(betas[t]) * noise["unknown"][i] if then >= 0 else 0
        x = new
    return x


for shape, steps, times in (
    ((2, 5), 4, [3, 2, 1, 0]),
    ((1, 1, 3, 4), 5, [4, 3, 2, 1, 0, 1, 2, 1, 0]),
    ((3, 4), 3, [2, 1, 2, 1, 2, 1, 0]),
    ((2, 3), 2, [0]),
    ((2, 6), 6, [5, 4, 3, 4, 5, 4, 3, 2, 1, 0]),
):
    picture, start = torch.from_numpy(rng.normal(size=shape)), torch.from_numpy(rng.normal(size=shape))
    known = torch.from_numpy(rng.random(shape) < 0.5)
    betas = rng.uniform(0.05, 0.4, size=steps)
    table = {(kind, t): torch.from_numpy(rng.normal(size=shape)) for kind in ("unknown", "known", "jump") for t in range(steps)}
    asked = []

    def guess(x, t, asked=asked):
        asked.append(t)
        return torch.sin(x) + 0.2 * x.flip(-1) + 0.1 * t

    def draw(kind, t, table=table):
        return table[kind, t].clone()

    want = slow_repaint(guess, picture, known, times, betas, draw, start)
    asked.clear()
    call = f"repaint of {shape} at times {times}"
    found = check.answer(repaint, guess, picture, known, times, torch.from_numpy(betas), draw, start, call=call)
    check.close(found, want, call, rtol=1e-8, atol=1e-10, why="go down, up and to the end as told")
    check.equal(found[known.numpy()], picture[known], f"the known pixels of {call}", why="be those of the picture, bit for bit")
    downs = [t for t, then in zip(times, [*times[1:], -1], strict=True) if then < t]
    check.equal([int(t) for t in asked], downs, f"the times at which {call} asks", why="ask once at each step down")
nothing = torch.zeros(2, 3, dtype=torch.bool)
picture, start = torch.from_numpy(rng.normal(size=(2, 3))), torch.from_numpy(rng.normal(size=(2, 3)))
zeros = torch.zeros(2, 3).double()
first = check.answer(repaint, lambda x, t: 0.1 * x, picture, nothing, [1, 0], torch.tensor([0.1, 0.3]).double(), lambda kind, t: zeros, start, call="repaint where nothing is known")
second = check.answer(repaint, lambda x, t: 0.1 * x, picture + 5, nothing, [1, 0], torch.tensor([0.1, 0.3]).double(), lambda kind, t: zeros, start, call="repaint where nothing is known")
check.close(first, second, "repaint where nothing is known", rtol=1e-12, why="not look at the picture")
every = check.answer(repaint, lambda x, t: 0.1 * x, picture, ~nothing, [1, 0], torch.tensor([0.1, 0.3]).double(), lambda kind, t: zeros, start, call="repaint where all is known")
check.equal(every, picture, "repaint where all is known", why="be the picture")
picture, hidden = torch.tensor([[0.3, -0.7]]), torch.tensor([[True, False]])
call = "repaint of pictures in float32"
seen = []


def listening(x, t):
    seen.append(x.dtype)
    return 0.5 * x


found = check.answer(repaint, listening, picture, hidden, [2, 1, 0, 1, 0], torch.tensor([0.1, 0.2, 0.3]).double(), lambda kind, t: torch.full((1, 2), 0.4), torch.tensor([[1.0, -1.0]]), call=call)
check.that(found.dtype == np.float32, f"have the dtype of the picture in {call}")
check.that(set(seen) == {torch.float32}, f"show the network that dtype, too, in {call}")
### END HIDDEN TESTS

# %% mutant="repaint" why="the mask turned round"
# - x = torch.where(known, seen, x)
# + x = torch.where(known, x, seen)

# %% mutant="repaint" why="the known part without its noise"
# - seen = kept[then] ** 0.5 * picture + (1 - kept[then]) ** 0.5 * draw("known", t)
# + seen = picture

# %% mutant="repaint" why="with the noise of the time before the step"
# - seen = kept[then] ** 0.5 * picture + (1 - kept[then]) ** 0.5 * draw("known", t)
# + seen = kept[t] ** 0.5 * picture + (1 - kept[t]) ** 0.5 * draw("known", t)

# %% mutant="repaint" why="one noise for both parts"
# - seen = kept[then] ** 0.5 * picture + (1 - kept[then]) ** 0.5 * draw("known", t)
# + seen = kept[then] ** 0.5 * picture + (1 - kept[then]) ** 0.5 * draw("unknown", t)

# %% mutant="repaint" why="the known part at the end alone"
# - x = torch.where(known, seen, x)
# + x = torch.where(known, seen, x) if then < 0 else x

# %% mutant="repaint" why="the known part with a little noise at the end"
# - seen = picture
# + seen = kept[0] ** 0.5 * picture + (1 - kept[0]) ** 0.5 * draw("known", t)

# %% mutant="repaint" why="noise in the last step"
# - if then >= 0:
# + x = x + (beta**0.5 * draw("unknown", t) if then < 0 else 0)
# + if then >= 0:

# %% mutant="repaint" why="jumps with the beta of where it stands"
# - beta = float(betas[then])
# + beta = float(betas[t])

# %% mutant="repaint" why="jumps without shrinking"
# - x = (1 - beta) ** 0.5 * x + beta**0.5 * draw("jump", t)
# + x = x + beta**0.5 * draw("jump", t)

# %% mutant="repaint" why="jumps in the unknown part alone"
# - x = (1 - beta) ** 0.5 * x + beta**0.5 * draw("jump", t)
# + x = torch.where(known, x, (1 - beta) ** 0.5 * x + beta**0.5 * draw("jump", t))

# %% mutant="repaint" why="does not jump"
# - x = (1 - beta) ** 0.5 * x + beta**0.5 * draw("jump", t)
# + x = x + 0 * draw("jump", t)

# %% mutant="repaint" why="mixes at the edge: known pixels are not what they were"
# - x = torch.where(known, seen, x)
# + x = torch.where(known, 0.99 * seen + 0.01 * x, x)

# %% mutant="repaint" why="grows back by the whole product"
# - x = (x - beta / (1 - kept[t]) ** 0.5 * guess(x, t)) / (1 - beta) ** 0.5
# + x = (x - beta / (1 - kept[t]) ** 0.5 * guess(x, t)) / kept[t] ** 0.5

# %% mutant="repaint" why="all in float64"
# - x = start
# + x = start.double()


# %% alternative="repaint" why="masks by numbers, steps as functions"
def repaint(guess, picture, known, times, betas, draw, start):
    levels = torch.cumprod(1 - betas, 0)
    x, times = start.clone(), list(times)

    def down(x, t):
        scale = betas[t] / torch.sqrt(1 - levels[t])
        return ((x - scale * guess(x, t)) / torch.sqrt(1 - betas[t])).to(x.dtype)

    for i in range(len(times) - 1):
        t, then = times[i], times[i + 1]
        if then == t + 1:
            x = (torch.sqrt(1 - betas[then]) * x + torch.sqrt(betas[then]) * draw("jump", t)).to(picture.dtype)
        else:
            fresh = down(x, t) + betas[t].sqrt() * draw("unknown", t)
            noisy = levels[then].sqrt() * picture + torch.sqrt(1 - levels[then]) * draw("known", t)
            x = fresh.to(picture.dtype)
            x[known] = noisy.to(picture.dtype)[known]
    x = down(x, times[-1])
    x[known] = picture[known]
    return x


# %% [markdown]
# A U-Net like the seminar's, trained here on digits, without labels; then your sampler on pictures that it has not seen.

# %% [markdown] lang="ru"
# U-Net, как на семинаре, обучается здесь на цифрах, без меток; потом ваш сэмплер — на картинках, которых она не видела.

# %%
digits = data.load("digits", "small")
drawn, held_out = (torch.tensor(x[:, None] / 8 - 1, dtype=torch.float32, device=device) for x in (digits.x_train, digits.x_test))
betas = torch.linspace(0.1, 20, settings["times"], dtype=torch.float64) / settings["times"]
masks = week11.masks(settings["pictures"], np.random.default_rng(0))
visible = torch.tensor(masks[:, None], device=device)
truth = held_out[: settings["pictures"]]
print(f"{len(masks)} masks; {1 - masks.mean():.0%} of all pixels are missing")

# %%
network = week11.denoiser(drawn, betas, settings["train"], settings["width"])


def repaired(repeats: int, seed: int = 0) -> torch.Tensor:
    """The held-out pictures, filled in."""
    torch.manual_seed(seed)
    levels = torch.cumprod(1 - betas, 0)

    def guess(x, t):
        noise = network(x, torch.full((len(x),), t, device=device))
        level = float(levels[t])
        clean = ((x - (1 - level) ** 0.5 * noise) / level**0.5).clamp(-1, 1)  # possible pixels
        return (x - level**0.5 * clean) / (1 - level) ** 0.5

    holes = torch.where(visible, truth, 0.0)  # what is missing is not shown to the sampler
    with torch.no_grad():
        return repaint(guess, holes, visible, jump_times(len(betas), 10, repeats), betas, lambda kind, t: torch.randn_like(truth), torch.randn_like(truth))


# %%
torch.manual_seed(0)
ways = {"without jumps": repaired(1), "with jumps": repaired(3), "with jumps, other noise": repaired(3, seed=1)}
for name, made in ways.items():
    same = bool((made[visible] == truth[visible]).all())
    print(f"{name:24}: known pixels bit-equal: {same}")
shown = [0, 1, 2, 3, 5, 6, 7, 9, 10, 11]
week11.repaired({
    "with a hole": np.where(masks[shown], truth[shown, 0].cpu(), np.nan),
    **{name: made[shown, 0].cpu().numpy() for name, made in ways.items()},
    "the truth": truth[shown, 0].cpu().numpy(),
})
plots.show("Ten digits with holes in blue, below them three repairs and the truth: strokes go on across the edges of the holes, with jumps more often than without; two draws differ inside the holes alone.")

# %% [markdown]
# ## 3. A soft edge
# Where an edge may show, one blends: weights rise from 0 in the hole to 1 well inside the known part. Make them of distances: a known pixel's weight is its distance (straight, in pixels) to the nearest unknown pixel, divided by `width`, and at most 1; an unknown pixel has weight 0, and all weights are 1 where nothing is missing.
#
# {{task:feather}}

# %% [markdown] lang="ru"
# ## 3. Мягкий край
# Где край может быть заметен, смешивают: веса растут от 0 в дыре до 1 в глубине известной части. Сделайте их из расстояний: вес известного пикселя — его расстояние (по прямой, в пикселях) до ближайшего неизвестного, делённое на `width`, но не больше 1; у неизвестного пикселя вес 0, а если не пропало ничего, все веса равны 1.
#
# {{task:feather}}


# %% solution="feather"
def feather(known: np.ndarray, width: float) -> np.ndarray:
    """Weights (h, w), float64, of a mask (h, w), True where known. width: more than 0."""
    ### BEGIN SOLUTION
    rows, columns = np.nonzero(~known)
    if len(rows) == 0:
        return np.ones(known.shape)
    y, x = np.indices(known.shape)
    squares = (y[..., None] - rows) ** 2 + (x[..., None] - columns) ** 2
    return np.minimum(np.sqrt(squares.min(2)) / width, 1.0)
    ### END SOLUTION


# %% test="feather" points=0.25 difficulty=2 minutes=15
call = "feather([[True, True, True, False]], 2)"
check.close(check.answer(feather, np.array([[True, True, True, False]]), 2.0, call=call), [[1.0, 1.0, 0.5, 0.0]], call)
### BEGIN HIDDEN TESTS
from scipy import ndimage

rng = check.rng("feather")
for shape in ((5, 7), (6, 3), (1, 9)):
    for width in (1.0, 2.5, 6.0):
        mask = rng.random(shape) < 0.8
        mask[0, 1] = False
        call = f"feather of a mask {shape}, width {width}"
        want = np.minimum(ndimage.distance_transform_edt(mask) / width, 1)
        check.close(check.answer(feather, mask, width, call=call), want, call, rtol=1e-9, why="be the distance to the hole over width, at most 1")
for mask, want, what in ((np.ones((3, 4), dtype=bool), 1.0, "where nothing is missing"), (np.zeros((3, 2), dtype=bool), 0.0, "where all is missing")):
    check.close(check.answer(feather, mask, 2.0, call=f"feather {what}"), np.full(mask.shape, want), f"feather {what}", why=f"be {want:g} everywhere")
### END HIDDEN TESTS

# %% mutant="feather" why="distances to the known part"
# - rows, columns = np.nonzero(~known)
# + rows, columns = np.nonzero(known)

# %% mutant="feather" why="city blocks"
# - squares = (y[..., None] - rows) ** 2 + (x[..., None] - columns) ** 2
# + squares = (np.abs(y[..., None] - rows) + np.abs(x[..., None] - columns)) ** 2

# %% mutant="feather" why="the larger of both distances"
# - squares = (y[..., None] - rows) ** 2 + (x[..., None] - columns) ** 2
# + squares = np.maximum((y[..., None] - rows) ** 2, (x[..., None] - columns) ** 2)

# %% mutant="feather" why="along rows alone"
# - squares = (y[..., None] - rows) ** 2 + (x[..., None] - columns) ** 2
# + squares = np.where(y[..., None] == rows, (x[..., None] - columns) ** 2, 10**6)

# %% mutant="feather" why="no limit"
# - return np.minimum(np.sqrt(squares.min(2)) / width, 1.0)
# + return np.sqrt(squares.min(2)) / width

# %% mutant="feather" why="squares of distances"
# - return np.minimum(np.sqrt(squares.min(2)) / width, 1.0)
# + return np.minimum(squares.min(2) / width, 1.0)

# %% mutant="feather" why="the farthest unknown pixel"
# - return np.minimum(np.sqrt(squares.min(2)) / width, 1.0)
# + return np.minimum(np.sqrt(squares.max(2)) / width, 1.0)

# %% mutant="feather" why="a width of whole pixels"
# - return np.minimum(np.sqrt(squares.min(2)) / width, 1.0)
# + return np.minimum(np.sqrt(squares.min(2)) / int(width), 1.0)

# %% mutant="feather" why="0 where nothing is missing"
# - return np.ones(known.shape)
# + return np.zeros(known.shape)


# %% alternative="feather" why="pixel by pixel"
def feather(known, width):
    holes = [(i, j) for i in range(known.shape[0]) for j in range(known.shape[1]) if not known[i, j]]
    weights = np.ones(known.shape)
    for i, j in np.ndindex(*known.shape):
        if holes:
            weights[i, j] = min(1.0, min(np.hypot(i - a, j - b) for a, b in holes) / width)
    return weights


# %% [markdown]
# ## 4. Was it worth it?
# One repaired picture proves nothing. Measure over many masks, in the hole alone, and let plain ways compete:
# - `hole_errors`: for each picture the mean squared error over its **missing** pixels, so that each mask counts the same, large or small;
# - `mean_fill`: a missing pixel gets the mean of that pixel over the training pictures;
# - `nearest_fill`: the missing pixels are those of the training picture that is nearest in the **known** pixels (least sum of squares, the first of equals). Known pixels stay as they are in both. Pictures may hold integers, too; what is filled in is not rounded.
#
# {{task:judged}}

# %% [markdown] lang="ru"
# ## 4. Стоило ли?
# Одна починенная картинка не доказывает ничего. Измеряйте на многих масках, только в дыре, и дайте посоревноваться простым способам:
# - `hole_errors`: для каждой картинки средний квадрат ошибки по её **пропавшим** пикселям, чтобы все маски, большие и малые, весили поровну;
# - `mean_fill`: пропавший пиксель получает среднее этого пикселя по обучающим картинкам;
# - `nearest_fill`: пропавшие пиксели берутся у той обучающей картинки, что ближе всех по **известным** пикселям (наименьшая сумма квадратов, из равных — первая). Известные пиксели в обоих случаях остаются как есть. Картинки могут состоять и из целых чисел; вписанное не округляется.
#
# {{task:judged}}


# %% solution="judged"
def hole_errors(made: np.ndarray, truth: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Errors (n,) of pictures (n, h, w) in the holes of masks (n, h, w); each has one."""
    ### BEGIN SOLUTION
    holes = ~known
    return (((made - truth) ** 2) * holes).sum((1, 2)) / holes.sum((1, 2))
    ### END SOLUTION


def mean_fill(pictures: np.ndarray, known: np.ndarray, training: np.ndarray) -> np.ndarray:
    """Pictures (n, h, w) with the holes of masks (n, h, w) filled by means of training (m, h, w)."""
    ### BEGIN SOLUTION
    return np.where(known, pictures, training.mean(0))
    ### END SOLUTION


def nearest_fill(pictures: np.ndarray, known: np.ndarray, training: np.ndarray) -> np.ndarray:
    """The same, filled by the nearest of the training pictures."""
    ### BEGIN SOLUTION
    filled = []
    for picture, mask in zip(pictures, known, strict=True):
        distances = ((training - picture)[:, mask] ** 2).sum(1)
        filled.append(np.where(mask, picture, training[distances.argmin()]))
    return np.array(filled)
    ### END SOLUTION


# %% test="judged" points=0.75 difficulty=2 minutes=25
picture, mask = np.array([[[1.0, 2.0], [9.0, 9.0]]]), np.array([[[True, True], [True, False]]])
training = np.array([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [9.0, 7.0]]])
check.close(check.answer(mean_fill, picture, mask, training, call="mean_fill(pictures, known, training)"), [[[1.0, 2.0], [9.0, 5.5]]], "mean_fill(pictures, known, training)")
check.close(check.answer(nearest_fill, picture, mask, training, call="nearest_fill(pictures, known, training)"), [[[1.0, 2.0], [9.0, 7.0]]], "nearest_fill(pictures, known, training)")
call = "hole_errors(made, truth, known) of two missing pixels, off by 1 and by 3"
found = check.answer(hole_errors, np.array([[[5.0, 8.0, 7.0]]]), np.array([[[4.0, 5.0, 0.0]]]), np.array([[[False, False, True]]]), call=call)
check.close(found, [5.0], call)
### BEGIN HIDDEN TESTS
rng = check.rng("judged")
for n, m, shape in ((3, 5, (4, 3)), (1, 2, (2, 5)), (4, 1, (3, 3))):
    pictures, training = rng.normal(size=(n, *shape)), rng.normal(size=(m, *shape))
    known = rng.random((n, *shape)) < 0.6
    known[:, 0, 0], known[:, -1, -1] = True, False
    call = f"of {n} pictures {shape} and {m} training pictures"
    want = pictures.copy()
    for i in range(n):
        want[i][~known[i]] = np.mean([t[~known[i]] for t in training], axis=0)
    check.close(check.answer(mean_fill, pictures, known, training, call=f"mean_fill {call}"), want, f"mean_fill {call}", rtol=1e-9, why="fill each pixel by its own mean")
    for i in range(n):
        scores = [float(sum((pictures[i][p] - t[p]) ** 2 for p in zip(*np.nonzero(known[i]), strict=True))) for t in training]
        want[i][~known[i]] = training[int(np.argmin(scores))][~known[i]]
    check.close(check.answer(nearest_fill, pictures, known, training, call=f"nearest_fill {call}"), want, f"nearest_fill {call}", rtol=1e-9, why="look at the known pixels, and fill the others")
    lost = pictures.copy()
    lost[~known] = 1e6
    check.close(check.answer(nearest_fill, lost, known, training, call=f"nearest_fill {call}"), want, f"nearest_fill {call}, with rubbish in the holes", rtol=1e-9, why="not look into the holes")
    made = rng.normal(size=(n, *shape))
    want = [np.mean([(a - b) ** 2 for a, b, k in zip(x.ravel(), y.ravel(), z.ravel(), strict=True) if not k]) for x, y, z in zip(made, pictures, known, strict=True)]
    check.close(check.answer(hole_errors, made, pictures, known, call=f"hole_errors {call}"), want, f"hole_errors {call}", rtol=1e-9, why="be a mean over the missing pixels of each picture")
    wrong = made + 1e3 * known
    check.close(check.answer(hole_errors, wrong, pictures, known, call=f"hole_errors {call}"), want, f"hole_errors {call}, with errors outside", rtol=1e-9, why="not look outside of the holes")
twins = np.array([[[1.0, 5.0]], [[1.0, 8.0]]])
call = "nearest_fill where two are equally near"
check.close(check.answer(nearest_fill, np.array([[[1.0, 0.0]]]), np.array([[[True, False]]]), twins, call=call), [[[1.0, 5.0]]], call, why="take the first")
call = "nearest_fill where the sum of squares and the sum of differences do not agree"
squares = np.array([[[3.0, 0.0, 5.0]], [[2.0, 2.0, 8.0]]])
check.close(check.answer(nearest_fill, np.zeros((1, 1, 3)), np.array([[[True, True, False]]]), squares, call=call), [[[0.0, 0.0, 8.0]]], call, why="have the least sum of squares")
call = "nearest_fill where the sum of squares and the largest difference do not agree"
squares = np.array([[[2.0, 2.0, 5.0]], [[2.5, 0.0, 8.0]]])
check.close(check.answer(nearest_fill, np.zeros((1, 1, 3)), np.array([[[True, True, False]]]), squares, call=call), [[[0.0, 0.0, 8.0]]], call, why="have the least sum of squares")
whole, mask = np.array([[[4, 9], [1, 0]]]), np.array([[[True, False], [True, False]]])
training = np.array([[[3, 1], [1, 2]], [[9, 4], [7, 9]]])
check.close(check.answer(mean_fill, whole, mask, training, call="mean_fill of integers"), [[[4.0, 2.5], [1.0, 5.5]]], "mean_fill of integers", why="fill in means that are not rounded")
check.close(check.answer(nearest_fill, whole, mask, training + 0.25, call="nearest_fill of integers by training pictures of floats"), [[[4.0, 1.25], [1.0, 2.25]]], "nearest_fill of integers by training pictures of floats", why="fill in what is there, not rounded")
check.close(check.answer(hole_errors, whole, training[:1], mask, call="hole_errors of integers"), [34.0], "hole_errors of integers", why="be a mean over the missing pixels of each picture")
### END HIDDEN TESTS

# %% mutant="judged" why="over all pixels"
# - return (((made - truth) ** 2) * holes).sum((1, 2)) / holes.sum((1, 2))
# + return ((made - truth) ** 2).mean((1, 2)) + 0 * holes.sum((1, 2))

# %% mutant="judged" why="errors in the hole, divided by all pixels"
# - return (((made - truth) ** 2) * holes).sum((1, 2)) / holes.sum((1, 2))
# + return (((made - truth) ** 2) * holes).mean((1, 2))

# %% mutant="judged" why="one mean over all holes"
# - return (((made - truth) ** 2) * holes).sum((1, 2)) / holes.sum((1, 2))
# + return np.full(len(made), (((made - truth) ** 2) * holes).sum() / holes.sum())

# %% mutant="judged" why="over the known pixels"
# - holes = ~known
# + holes = known

# %% mutant="judged" why="absolute errors"
# - return (((made - truth) ** 2) * holes).sum((1, 2)) / holes.sum((1, 2))
# + return (np.abs(made - truth) * holes).sum((1, 2)) / holes.sum((1, 2))

# %% mutant="judged" why="one mean for all pixels"
# - return np.where(known, pictures, training.mean(0))
# + return np.where(known, pictures, training.mean())

# %% mutant="judged" why="the mean of the picture's own known pixels"
# - return np.where(known, pictures, training.mean(0))
# + return np.where(known, pictures, (pictures * known).sum((1, 2), keepdims=True) / known.sum((1, 2), keepdims=True))

# %% mutant="judged" why="the median"
# - return np.where(known, pictures, training.mean(0))
# + return np.where(known, pictures, np.median(training, axis=0))

# %% mutant="judged" why="looks into the hole"
# - distances = ((training - picture)[:, mask] ** 2).sum(1)
# + distances = ((training - picture) ** 2).sum((1, 2))

# %% mutant="judged" why="nearest in the missing pixels"
# - distances = ((training - picture)[:, mask] ** 2).sum(1)
# + distances = ((training - picture)[:, ~mask] ** 2).sum(1)

# %% mutant="judged" why="the farthest"
# - filled.append(np.where(mask, picture, training[distances.argmin()]))
# + filled.append(np.where(mask, picture, training[distances.argmax()]))

# %% mutant="judged" why="the whole of the nearest picture"
# - filled.append(np.where(mask, picture, training[distances.argmin()]))
# + filled.append(training[distances.argmin()])

# %% mutant="judged" why="the last of equals"
# - filled.append(np.where(mask, picture, training[distances.argmin()]))
# + filled.append(np.where(mask, picture, training[len(distances) - 1 - distances[::-1].argmin()]))

# %% mutant="judged" why="means cut to the dtype of the pictures"
# - return np.where(known, pictures, training.mean(0))
# + return np.where(known, pictures, training.mean(0)).astype(pictures.dtype)

# %% mutant="judged" why="nearest by absolute differences"
# - distances = ((training - picture)[:, mask] ** 2).sum(1)
# + distances = np.abs((training - picture)[:, mask]).sum(1)

# %% mutant="judged" why="nearest by the largest difference"
# - distances = ((training - picture)[:, mask] ** 2).sum(1)
# + distances = np.abs((training - picture)[:, mask]).max(1)

# %% mutant="judged" why="the nearest cut to the dtype of the pictures"
# - return np.array(filled)
# + return np.array(filled).astype(pictures.dtype)


# %% alternative="judged" why="loops, and scikit-learn's distances"
def hole_errors(made, truth, known):
    return np.array([np.mean((m[~k] - t[~k]) ** 2) for m, t, k in zip(made, truth, known, strict=True)])


def mean_fill(pictures, known, training):
    filled = np.array(pictures, dtype=float)
    average = sum(training) / len(training)
    for picture, mask in zip(filled, known, strict=True):
        picture[~mask] = average[~mask]
    return filled


def nearest_fill(pictures, known, training):
    from sklearn.metrics import pairwise_distances

    filled = np.array(pictures, dtype=float)
    for picture, mask in zip(filled, known, strict=True):
        nearest = pairwise_distances(picture[mask][None], training[:, mask])[0].argmin()
        picture[~mask] = training[nearest][~mask]
    return filled


# %%
real, train = truth[:, 0].cpu().numpy().astype(float), drawn[:, 0].cpu().numpy().astype(float)
holed = np.where(masks, real, 0.0)
soft = np.stack([feather(mask, 2.0) for mask in masks])
one = repaired(3)[:, 0].cpu().numpy()
several = np.mean([repaired(3, seed=seed)[:, 0].cpu().numpy() for seed in range(5)], axis=0)
nearest = nearest_fill(holed, masks, train)
made = {
    "mean of the training set": mean_fill(holed, masks, train),
    "nearest training picture": nearest,
    "RePaint, one draw": one,
    "mean of five draws": several,
}
found = {name: hole_errors(x, real, masks) for name, x in made.items()}
draw = np.random.default_rng(0)
for name, values in found.items():
    gain = found["nearest training picture"] - values
    picked = gain[draw.integers(len(gain), size=(4000, len(gain)))].mean(1)
    low, high = np.quantile(picked, [0.025, 0.975])
    said = "" if name.startswith("nearest") else f"; gain over the nearest {gain.mean():+.3f} [{low:+.3f}, {high:+.3f}], {'none shown' if low <= 0 <= high else 'a gain' if low > 0 else 'a loss'}"
    print(f"{name:25}: {values.mean():.3f}{said}")
print(f"the softened edge leaves {float((soft == 1).mean()):.0%} of the pixels exactly known")
week11.errors(found)
plots.show("Squared errors in the hole, a dot a picture, four ways: the nearest picture and the mean of five draws lie close together; one draw and the training mean are further to the right.")
examples = {
    "with a hole": np.where(masks, real, np.nan)[:10],
    "mean of training": made["mean of the training set"][:10],
    "nearest picture": nearest[:10],
    "RePaint": one[:10],
    "mean of five": several[:10],
    "soft edge": (soft * real + (1 - soft) * one)[:10],
    "the truth": real[:10],
}
week11.repaired(examples)
plots.show("Ten digits, a way of repair in each row: the training mean is a grey cloud, the nearest picture does not fit at the edges, RePaint goes on with the strokes, the mean of five is a little blurred.")

# %% [markdown]
# Read the intervals first: by squared error a small model's single draw **loses** to copying from the nearest training picture. A draw is a possible picture, not the most probable pixel; a mean of draws is better, although no picture looks like it. So the measure decides who wins; say which one you took, and why. And look at what no number says: do the strokes go on across the edge? (In `full` the model is larger and has learned longer; what it gains is measured by the same cell.)

# %% [markdown] lang="ru"
# Сначала прочтите интервалы: по квадрату ошибки одна выборка маленькой модели **проигрывает** копированию у ближайшей обучающей картинки. Выборка — это возможная картинка, а не самый вероятный пиксель; среднее нескольких выборок лучше, хотя ни одна картинка на него не похожа. Значит, кто победит, решает мера; говорите, какую взяли и почему. И посмотрите на то, чего не скажет ни одно число: продолжаются ли штрихи через край? (В `full` модель больше и училась дольше; что это даёт, измерит та же ячейка.)

# %% [markdown]
# **Sources**
# - A. Lugmayr et al. [RePaint: inpainting using denoising diffusion probabilistic models](https://arxiv.org/abs/2201.09865). CVPR 2022: §4, algorithm 1, appendix B.
# - J. Ho, A. Jain, P. Abbeel. [Denoising diffusion probabilistic models](https://arxiv.org/abs/2006.11239). NeurIPS 2020: algorithm 2.
# - Y. Blau, T. Michaeli. [The perception-distortion tradeoff](https://arxiv.org/abs/1711.06077). CVPR 2018: why the best error and the best look are two things.

# %% [markdown] lang="ru"
# **Источники**
# - A. Lugmayr и др. [RePaint: inpainting using denoising diffusion probabilistic models](https://arxiv.org/abs/2201.09865). CVPR 2022: §4, алгоритм 1, приложение B.
# - J. Ho, A. Jain, P. Abbeel. [Denoising diffusion probabilistic models](https://arxiv.org/abs/2006.11239). NeurIPS 2020: алгоритм 2.
# - Y. Blau, T. Michaeli. [The perception-distortion tradeoff](https://arxiv.org/abs/1711.06077). CVPR 2018: почему лучшая ошибка и лучший вид — разные вещи.
