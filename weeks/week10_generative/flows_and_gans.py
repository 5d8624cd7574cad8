# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Exact likelihoods, and a critic that does not saturate
# A VAE bounds its likelihood, a GAN has none. Here are the models whose likelihood is **exact**: networks that look at pixels in an order, and maps that can be turned round. Each rests on one property, a triangle of zeros in a Jacobian, and you prove it at every place, not at one. The second half goes back to the game of the seminar and gives it a critic with a slope everywhere. All points here are bonus points.

# %% [markdown] lang="ru"
# # Точное правдоподобие и критик, который не насыщается
# У VAE есть лишь граница правдоподобия, у GAN нет и её. Здесь — модели с **точным** правдоподобием: сети, которые смотрят на пиксели по порядку, и отображения, которые можно обратить. Каждая держится на одном свойстве — треугольнике нулей в матрице Якоби, — и вы докажете его в каждой точке, а не в одной. Вторая половина возвращается к игре из семинара и даёт ей критика, у которого наклон есть везде. Все баллы здесь дополнительные.

# %% tags=["parameters"]
profile = "small"

# %%
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import make_moons
from torch import nn

from practical_dl import check, data, plots, seed_everything
from practical_dl.weeks import week10

seed_everything(0)
device = "cuda" if torch.cuda.is_available() else "cpu"
settings = {
    "small": {"made_steps": 500, "flow_steps": 600, "gan_steps": 400, "seeds": 3, "width": 128},
    "full": {"made_steps": 20_000, "flow_steps": 20_000, "gan_steps": 20_000, "seeds": 10, "width": 512},
}[profile]

# %% [markdown]
# **Rules.** Fill the cells that raise `NotImplementedError`, run the check below each, look at *your* result. The checks that you see are public ones: a good sign, not a promise. Each task can be solved without the others. Functions leave their arguments as they were; results have the dtype of what is handed in. All logarithms are natural. A log-determinant is $\log |\det J|$ for each example.

# %% [markdown] lang="ru"
# **Правила.** Заполните ячейки с `NotImplementedError`, запустите проверку под каждой и посмотрите на *свой* результат. Видимые проверки — открытые: пройти их — хороший знак, но не гарантия. Каждое задание можно решить без остальных. Функции не меняют своих аргументов; у результатов тот же dtype, что у данных. Все логарифмы натуральные. Логарифм определителя — это $\log |\det J|$ для каждого примера.

# %% [markdown]
# ## 1. One network, all conditionals
# Any distribution of $d$ numbers is a product, $p(x) = \prod_i p(x_i \mid x_{<i})$. A network that puts out all factors at once must not let output $i$ see the inputs that come later. [MADE](glossary:made) ([Germain et al., 2015](https://arxiv.org/abs/1502.03509)) cuts connections by masks. Every unit has a **degree**: an input its place in the order, 1 to $d$; a hidden unit any number from 1 to $d - 1$, the last input that it may see; an output the place of its input. A connection from unit $a$ to unit $b$ stays
# - into a hidden unit, if $\deg b \ge \deg a$;
# - into an output, if $\deg b > \deg a$.
#
# {{task:made_masks}}

# %% [markdown] lang="ru"
# ## 1. Одна сеть — все условные вероятности
# Любое распределение $d$ чисел — произведение $p(x) = \prod_i p(x_i \mid x_{<i})$. Сеть, которая выдаёт все множители сразу, не должна показывать выходу $i$ входы, идущие позже. [MADE](glossary:made) ([Germain и др., 2015](https://arxiv.org/abs/1502.03509)) разрезает связи масками. У каждого нейрона есть **степень** (degree): у входа — его место в порядке, от 1 до $d$; у скрытого — любое число от 1 до $d - 1$, последний вход, который ему можно видеть; у выхода — место его входа. Связь от нейрона $a$ к нейрону $b$ остаётся
# - если $b$ скрытый и $\deg b \ge \deg a$;
# - если $b$ выход и $\deg b > \deg a$.
#
# {{task:made_masks}}


# %% solution="made_masks"
def made_masks(inputs: np.ndarray, hidden: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The mask of each layer, bool (units out, units in); one more than there are hidden layers.

    inputs: the place of each input, a permutation of 1, ..., d. hidden: the degrees of each layer.
    """
    ### BEGIN SOLUTION
    degrees = [inputs, *hidden]
    masks = [after[:, None] >= before for before, after in zip(degrees, hidden, strict=False)]
    return [*masks, inputs[:, None] > degrees[-1]]
    ### END SOLUTION


# %% test="made_masks" points=1 bonus=true difficulty=2 minutes=20
masks = check.answer(made_masks, np.array([2, 1, 3]), [np.array([1, 2])], call="made_masks([2, 1, 3], [[1, 2]])")
check.equal(len(masks), 2, "len(made_masks([2, 1, 3], [[1, 2]]))", why="be a mask for each layer")
check.equal(masks[0], [[False, True, False], [True, True, False]], "the mask of the hidden layer")
check.equal(masks[1], [[True, False], [False, False], [True, True]], "the mask of the outputs")
### BEGIN HIDDEN TESTS
rng = check.rng("made_masks")


def judge_masks(d, widths, why):
    inputs = rng.permutation(d) + 1
    hidden = [rng.integers(1, d, size=width) for width in widths]
    call = f"made_masks of {d} inputs and layers of {widths}"
    found = check.answer(made_masks, inputs, hidden, call=call)
    check.equal(len(found), len(widths) + 1, f"len of {call}", why="be a mask for each layer")
    degrees = [inputs, *hidden, inputs]
    for layer, mask in enumerate(found):
        before, after = degrees[layer], degrees[layer + 1]
        last = layer == len(widths)
        want = [[bool(b > a) if last else bool(b >= a) for a in before] for b in after]
        check.equal(mask, want, f"mask {layer} of {call}", why=why)
    paths = np.eye(d)
    for mask in found:
        paths = mask.astype(float) @ paths  # how many ways lead from each input to each unit
    sees = paths > 0
    check.that(not sees[inputs[:, None] <= inputs].any(), f"{call}: let no output see its own input or a later one")


judge_masks(4, [7], "follow the degrees")
judge_masks(5, [6, 3], "follow the degrees of both layers")
judge_masks(3, [4, 5, 6], "follow the degrees of all layers")
judge_masks(2, [3], "follow the degrees")
call = "made_masks without a hidden layer"
found = check.answer(made_masks, np.array([3, 1, 2]), [], call=call)
check.equal(len(found), 1, f"len of {call}", why="be the mask of the outputs alone")
check.equal(found[0], [[False, True, True], [False, False, False], [False, True, False]], call, why="let an output see the inputs before its own")
found = check.answer(made_masks, np.array([2, 1, 3]), [np.array([1, 2])], call="made_masks([2, 1, 3], [[1, 2]])")
check.that(all(mask.dtype == np.bool_ for mask in found), "made_masks: give masks of bool")
### END HIDDEN TESTS

# %% mutant="made_masks" why="outputs see their own input"
# - return [*masks, inputs[:, None] > degrees[-1]]
# + return [*masks, inputs[:, None] >= degrees[-1]]

# %% mutant="made_masks" why="hidden units see one input less"
# - masks = [after[:, None] >= before for before, after in zip(degrees, hidden, strict=False)]
# + masks = [after[:, None] > before for before, after in zip(degrees, hidden, strict=False)]

# %% mutant="made_masks" why="the wrong way round"
# - masks = [after[:, None] >= before for before, after in zip(degrees, hidden, strict=False)]
# + masks = [after[:, None] <= before for before, after in zip(degrees, hidden, strict=False)]

# %% mutant="made_masks" why="transposed"
# - return [*masks, inputs[:, None] > degrees[-1]]
# + return [mask.T for mask in [*masks, inputs[:, None] > degrees[-1]]]

# %% mutant="made_masks" why="outputs in the order of the inputs, whatever their places"
# - return [*masks, inputs[:, None] > degrees[-1]]
# + return [*masks, np.arange(1, len(inputs) + 1)[:, None] > degrees[-1]]

# %% mutant="made_masks" why="all hidden layers look at the inputs' degrees"
# - masks = [after[:, None] >= before for before, after in zip(degrees, hidden, strict=False)]
# + masks = [after[:, None] >= inputs for after in hidden]

# %% mutant="made_masks" why="one hidden layer"
# - degrees = [inputs, *hidden]
# + hidden = hidden[:1]; degrees = [inputs, *hidden]

# %% mutant="made_masks" why="places count from 0"
# - degrees = [inputs, *hidden]
# + degrees = [inputs - 1, *hidden]

# %% mutant="made_masks" why="numbers, not bool"
# - return [*masks, inputs[:, None] > degrees[-1]]
# + return [mask.astype(np.float32) for mask in [*masks, inputs[:, None] > degrees[-1]]]


# %% alternative="made_masks" why="loops over units"
def made_masks(inputs, hidden):
    layers, found = [np.asarray(inputs), *map(np.asarray, hidden), np.asarray(inputs)], []
    for i in range(1, len(layers)):
        least = 1 if i == len(layers) - 1 else 0
        found.append(np.array([[b - a >= least for a in layers[i - 1]] for b in layers[i]]))
    return found


# %% [markdown]
# Train it on black-and-white digits, pixel after pixel in reading order. The yardstick knows how often each pixel is white, and no more. To sample, ask the network once per pixel.

# %% [markdown] lang="ru"
# Обучите её на чёрно-белых цифрах, пиксель за пикселем в порядке чтения. Мерка знает лишь, как часто каждый пиксель белый. Чтобы получить пример, сеть спрашивают по разу на пиксель.

# %%
digits = data.load("digits", "small")

# %%
class Masked(nn.Linear):
    """A linear layer some of whose connections are cut."""

    def __init__(self, mask: np.ndarray) -> None:
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", torch.tensor(mask, dtype=torch.float32))

    def forward(self, x):
        return F.linear(x, self.weight * self.mask, self.bias)


seed_everything(0)
white = torch.tensor(digits.x_train.reshape(-1, 64) > 7, dtype=torch.float32, device=device)
white_test = torch.tensor(digits.x_test.reshape(-1, 64) > 7, dtype=torch.float32, device=device)
masks = made_masks(np.arange(1, 65), [np.random.default_rng(0).integers(1, 64, size=256)] * 2)
made = nn.Sequential(Masked(masks[0]), nn.ReLU(), Masked(masks[1]), nn.ReLU(), Masked(masks[2])).to(device)
optimiser = torch.optim.Adam(made.parameters(), lr=3e-3)
for _ in range(settings["made_steps"]):
    some = white[torch.randint(len(white), (128,), device=device)]
    loss = F.binary_cross_entropy_with_logits(made(some), some) * 64
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
with torch.no_grad():
    often = white.mean(0).clamp(1e-3, 1 - 1e-3)
    alone = F.binary_cross_entropy(often.expand_as(white_test), white_test) * 64
    chained = F.binary_cross_entropy_with_logits(made(white_test), white_test) * 64
    print(f"nats a digit: pixels by themselves {float(alone):.1f}, in a chain {float(chained):.1f}")
    samples = torch.zeros(24, 64, device=device)
    for i in range(64):
        samples[:, i] = torch.bernoulli(made(samples)[:, i].sigmoid())
    lonely = torch.bernoulli(often.expand(24, 64))
pictures = np.concatenate([samples.cpu().numpy(), lonely.cpu().numpy()]).reshape(-1, 8, 8)
plots.images(pictures, title="In a chain (above), pixels by themselves (below)", columns=12, size=0.7)
plots.show("Two rows of samples of a chain of pixels, with strokes and loops that look like digits, above two rows of pixels drawn by themselves, which are speckles.")

# %% [markdown]
# ## 2. The same with convolutions
# A [PixelCNN](glossary:pixelcnn) ([van den Oord et al., 2016](https://arxiv.org/abs/1601.06759), §3.4) masks the filters. Pixels come row after row, from left to right, and at each pixel the colours one after the other. At filter offsets above the centre, or left of it in the same row, everything may be seen; after the centre nothing; **at** the centre it depends on the colours. Channel $c$ of $n$ belongs to colour $\lfloor c \cdot \text{colours} / n \rfloor$. In a filter of kind A, for the first layer, an output sees *earlier* colours at the centre; in one of kind B, for all others, also its *own*.
#
# {{task:pixelcnn_mask}}

# %% [markdown] lang="ru"
# ## 2. То же со свёртками
# [PixelCNN](glossary:pixelcnn) ([van den Oord и др., 2016](https://arxiv.org/abs/1601.06759), §3.4) маскирует фильтры. Пиксели идут строка за строкой, слева направо, а в каждом пикселе — цвета друг за другом. Выше центра фильтра или левее него в той же строке видно всё; после центра — ничего; **в** центре дело решают цвета. Канал $c$ из $n$ относится к цвету $\lfloor c \cdot \text{colours} / n \rfloor$. В фильтре вида A, для первого слоя, выход видит в центре *более ранние* цвета; в фильтре вида B, для всех остальных, — и *свой*.
#
# {{task:pixelcnn_mask}}


# %% solution="pixelcnn_mask"
def pixelcnn_mask(
    kind: str, outputs: int, inputs: int, size: int, colours: int = 1
) -> np.ndarray:
    """bool (outputs, inputs, size, size): what a filter may see. kind: "A" or "B". size: odd."""
    ### BEGIN SOLUTION
    mask = np.zeros((outputs, inputs, size, size), dtype=bool)
    centre = size // 2
    mask[:, :, :centre] = True
    mask[:, :, centre, :centre] = True
    out = np.arange(outputs)[:, None] * colours // outputs
    seen = np.arange(inputs) * colours // inputs
    mask[:, :, centre, centre] = seen < out if kind == "A" else seen <= out
    return mask
    ### END SOLUTION


# %% test="pixelcnn_mask" points=0.75 bonus=true difficulty=3 minutes=25
check.equal(check.answer(pixelcnn_mask, "A", 1, 1, 3, call='pixelcnn_mask("A", 1, 1, 3)')[0, 0], [[True, True, True], [True, False, False], [False, False, False]], 'pixelcnn_mask("A", 1, 1, 3)', why="see what comes before the centre")
call = 'pixelcnn_mask("B", 3, 6, 5, colours=3)'
mask = check.answer(pixelcnn_mask, "B", 3, 6, 5, colours=3, call=call)
check.equal(mask[1, :, 2, 2], [True, True, True, True, False, False], f"the centre of {call} for output 1", why="see the first two colours")
### BEGIN HIDDEN TESTS
rng = check.rng("pixelcnn_mask")


def allowed(kind, out, seen, size, outputs, inputs, colours):
    """The same, one number after the other, by the place of a colour in the order."""
    found = np.zeros((size, size), dtype=bool)
    for row in range(size):
        for column in range(size):
            here = row * size + column - (size // 2) * (size + 1)
            a, b = seen * colours // inputs, out * colours // outputs
            found[row, column] = here < 0 or (here == 0 and (a < b or (a == b and kind == "B")))
    return found


for kind in "AB":
    for outputs, inputs, size, colours in ((1, 1, 5, 1), (2, 3, 3, 1), (3, 3, 3, 3), (6, 3, 5, 3), (4, 8, 1, 2), (9, 6, 3, 3), (2, 4, 7, 2), (5, 7, 3, 3), (7, 4, 1, 3), (3, 5, 3, 2)):
        call = f'pixelcnn_mask("{kind}", {outputs}, {inputs}, {size}, colours={colours})'
        found = check.answer(pixelcnn_mask, kind, outputs, inputs, size, colours=colours, call=call)
        check.equal(np.shape(found), (outputs, inputs, size, size), f"the shape of {call}", why="be that of a filter")
        for out in range(outputs):
            for seen in range(inputs):
                want = allowed(kind, out, seen, size, outputs, inputs, colours)
                check.equal(found[out, seen], want, f"{call} from input {seen} to output {out}", why="see what comes before, colour by colour")
call = 'pixelcnn_mask("A", 3, 2, 3)'
check.equal(check.answer(pixelcnn_mask, "A", 3, 2, 3, call=call)[..., 1, 1], np.zeros((3, 2), dtype=bool), f"the centre of {call}", why="have one colour by default")
check.equal(check.answer(pixelcnn_mask, "B", 3, 2, 3, call='pixelcnn_mask("B", 3, 2, 3)')[..., 1, 1], np.ones((3, 2), dtype=bool), 'the centre of pixelcnn_mask("B", 3, 2, 3)', why="have one colour by default")
# Two layers on a picture of two colours: what reaches each output at every place, by gradients.
first = check.answer(pixelcnn_mask, "A", 4, 2, 3, colours=2, call='pixelcnn_mask("A", 4, 2, 3, colours=2)')
second = check.answer(pixelcnn_mask, "B", 2, 4, 3, colours=2, call='pixelcnn_mask("B", 2, 4, 3, colours=2)')
ways = [torch.from_numpy(mask.astype(np.float64) * rng.uniform(0.5, 1, size=mask.shape)) for mask in (first, second)]
picture = torch.ones(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
out = F.conv2d(F.conv2d(picture, ways[0], padding=1), ways[1], padding=1)
for colour in range(2):
    for row in range(4):
        for column in range(5):
            (slope,) = torch.autograd.grad(out[0, colour, row, column], picture, retain_graph=True)
            places = (torch.arange(20).reshape(4, 5) * 2)[None] + torch.arange(2)[:, None, None]
            late = places >= (row * 5 + column) * 2 + colour
            check.that(not slope[0][late].any(), f"colour {colour} at row {row}, column {column} see nothing of its own or later")
            if colour:
                check.that(slope[0, 0, row, column] != 0, f"colour 1 at row {row}, column {column} see colour 0 of its pixel")
            if column:
                check.that((slope[0, :, row, column - 1] != 0).all(), f"row {row}, column {column} see all of the pixel to its left")
check.that(first.dtype == np.bool_ and second.dtype == np.bool_, "pixelcnn_mask: be of bool")
### END HIDDEN TESTS

# %% mutant="pixelcnn_mask" why="a column of the future"
# - mask[:, :, centre, :centre] = True
# + mask[:, :, centre, : centre + 2] = True

# %% mutant="pixelcnn_mask" why="nothing to the left"
# - mask[:, :, centre, :centre] = True
# + mask[:, :, centre, :centre] = False

# %% mutant="pixelcnn_mask" why="above left alone"
# - mask[:, :, :centre] = True
# + mask[:, :, :centre, : centre + 1] = True

# %% mutant="pixelcnn_mask" why="A sees its own colour"
# - mask[:, :, centre, centre] = seen < out if kind == "A" else seen <= out
# + mask[:, :, centre, centre] = seen <= out

# %% mutant="pixelcnn_mask" why="B does not see its own colour"
# - mask[:, :, centre, centre] = seen < out if kind == "A" else seen <= out
# + mask[:, :, centre, centre] = seen < out

# %% mutant="pixelcnn_mask" why="all colours at the centre"
# - mask[:, :, centre, centre] = seen < out if kind == "A" else seen <= out
# + mask[:, :, centre, centre] = kind == "B"

# %% mutant="pixelcnn_mask" why="colours in the wrong order"
# - mask[:, :, centre, centre] = seen < out if kind == "A" else seen <= out
# + mask[:, :, centre, centre] = seen > out if kind == "A" else seen >= out

# %% mutant="pixelcnn_mask" why="colours take turns: channel modulo colours"
# - out = np.arange(outputs)[:, None] * colours // outputs
# + out = np.arange(outputs)[:, None] % colours
# - seen = np.arange(inputs) * colours // inputs
# + seen = np.arange(inputs) % colours

# %% mutant="pixelcnn_mask" why="colours by number alone: wrong where a colour has several channels"
# - seen = np.arange(inputs) * colours // inputs
# + seen = np.arange(inputs)

# %% mutant="pixelcnn_mask" why="three colours by default"
# - kind: str, outputs: int, inputs: int, size: int, colours: int = 1
# + kind: str, outputs: int, inputs: int, size: int, colours: int = 3

# %% mutant="pixelcnn_mask" why="rows and columns exchanged"
# - return mask
# + return mask.transpose(0, 1, 3, 2)

# %% mutant="pixelcnn_mask" why="numbers, not bool"
# - mask = np.zeros((outputs, inputs, size, size), dtype=bool)
# + mask = np.zeros((outputs, inputs, size, size))

# %% mutant="pixelcnn_mask" why="outputs in equal blocks: wrong where they do not go into the colours"
# - out = np.arange(outputs)[:, None] * colours // outputs
# + out = np.arange(outputs)[:, None] // max(outputs // colours, 1)

# %% mutant="pixelcnn_mask" why="inputs in equal blocks: wrong where they do not go into the colours"
# - seen = np.arange(inputs) * colours // inputs
# + seen = np.arange(inputs) // max(inputs // colours, 1)


# %% alternative="pixelcnn_mask" why="one number for the order of everything"
def pixelcnn_mask(kind, outputs, inputs, size, colours=1):
    place = np.arange(size * size).reshape(size, size) - size * size // 2
    out = (np.arange(outputs) * colours // outputs)[:, None, None, None]
    seen = (np.arange(inputs) * colours // inputs)[None, :, None, None]
    late = place * colours + seen - out  # below 0: earlier, 0: the same number
    return late < (0 if kind == "A" else 1)


# %% [markdown]
# One filter sees little; layers see more. The cell stacks yours and asks by gradients, at one output, which pixels reach it. A well-known flaw shows: above and to the right there is a corner which no number of layers ever sees.

# %% [markdown] lang="ru"
# Один фильтр видит мало, слои — больше. Ячейка ставит ваши друг на друга и градиентами спрашивает у одного выхода, какие пиксели до него доходят. Видно известный изъян: вверху справа есть угол, которого не увидит никакое число слоёв.

# %%
fields = {}
for layers in (1, 2, 4, 7):
    picture = torch.ones(1, 1, 15, 15, requires_grad=True)
    x = picture
    for layer in range(layers):
        x = F.conv2d(x, torch.tensor(pixelcnn_mask("A" if layer == 0 else "B", 1, 1, 3), dtype=torch.float32), padding=1)
    (slope,) = torch.autograd.grad(x[0, 0, 9, 7], picture)
    fields[f"{layers} layers"] = (slope[0, 0] != 0).numpy()
week10.fields(fields, (9, 7))
plots.show("Which pixels an output sees after one, two, four and seven layers: a fan that grows above it and to its left; a triangle above to the right stays dark.")

# %% [markdown]
# ## 3. Maps that can be turned round
# A [normalising flow](glossary:normalized-flows) is a map $z = f(x)$ that can be inverted. If $z$ is normal, the density of $x$ is known exactly: $\log p(x) = \log N(f(x)) + \log |\det \partial f / \partial x|$. An **affine coupling** ([Dinh et al., 2017](https://arxiv.org/abs/1605.08803)) leaves one part of the numbers as it is and scales and shifts the others by what a network says of that part:
#
# $$z = m \odot x + (1 - m) \odot \bigl(x \odot e^{s} + t\bigr), \qquad (s, t) = \text{net}(m \odot x),$$
#
# with a mask $m$ of zeros and ones. The Jacobian is a triangle, so its log-determinant is $\sum_j (1 - m_j)\, s_j$. And the inverse needs the same network, not its inverse.
#
# {{task:coupling}}

# %% [markdown] lang="ru"
# ## 3. Отображения, которые можно обратить
# [Нормализующий поток](glossary:normalized-flows) (normalising flow) — обратимое отображение $z = f(x)$. Если $z$ нормально, плотность $x$ известна точно: $\log p(x) = \log N(f(x)) + \log |\det \partial f / \partial x|$. **Аффинное связывание** (affine coupling; [Dinh и др., 2017](https://arxiv.org/abs/1605.08803)) оставляет часть чисел как есть, а остальные растягивает и сдвигает по тому, что говорит о первой части сеть:
#
# $$z = m \odot x + (1 - m) \odot \bigl(x \odot e^{s} + t\bigr), \qquad (s, t) = \text{net}(m \odot x),$$
#
# с маской $m$ из нулей и единиц. Матрица Якоби треугольна, и логарифм её определителя — $\sum_j (1 - m_j)\, s_j$. А обратному отображению нужна та же сеть, не обратная.
#
# {{task:coupling}}


# %% solution="coupling"
def couple(
    x: torch.Tensor, mask: torch.Tensor, net: Callable
) -> tuple[torch.Tensor, torch.Tensor]:
    """(z (n, d), log-determinants (n,)). x: (n, d). mask: (d,), 0 or 1.

    net: takes (n, d) and gives (s, t), each (n, d). It is asked once, for the masked numbers.
    """
    ### BEGIN SOLUTION
    scale, shift = net(mask * x)
    z = mask * x + (1 - mask) * (x * scale.exp() + shift)
    return z, ((1 - mask) * scale).sum(1)
    ### END SOLUTION


def uncouple(z: torch.Tensor, mask: torch.Tensor, net: Callable) -> torch.Tensor:
    """The x (n, d) from which `couple` makes z (n, d)."""
    ### BEGIN SOLUTION
    scale, shift = net(mask * z)
    return mask * z + (1 - mask) * (z - shift) * (-scale).exp()
    ### END SOLUTION


# %% test="coupling" points=1 bonus=true difficulty=2 minutes=20
x, mask = torch.tensor([[1.0, 2.0, -1.0]]), torch.tensor([1.0, 0.0, 0.0])
call = "couple(x, mask, net)"
z, log_det = check.answer(couple, x, mask, lambda a: (0.5 * a.sum(1, keepdim=True).expand(1, 3), 2 * a.sum(1, keepdim=True).expand(1, 3)), call=call)
check.close(z, [[1.0, 5.2974425, 0.3512787]], f"{call}[0]")
check.close(log_det, [1.0], f"{call}[1]", why="add up what is scaled")
### BEGIN HIDDEN TESTS
rng = check.rng("coupling")


def tanh_net(d):
    """A net, and a list of what it was asked for."""
    weights = torch.from_numpy(rng.normal(size=(2, d, d)))
    asked = []

    def net(a):
        asked.append(a.detach().clone())
        hidden = torch.tanh(a @ weights[0] + 0.3)
        return hidden, 2 * torch.sin(a @ weights[1] + 0.2)

    return net, asked


for n, mask in ((3, [1, 0, 1, 0]), (1, [0, 1]), (4, [0, 0, 1, 1, 0]), (2, [0, 0, 0]), (2, [1, 1])):
    d = len(mask)
    net, asked = tanh_net(d)
    x, keep = torch.from_numpy(rng.normal(size=(n, d))), torch.tensor(mask).double()
    call = f"couple(x ({n}, {d}), {mask}, net)"
    z, log_det = check.answer(couple, x, keep, net, call=call)
    check.equal(len(asked), 1, f"how often {call} asks the net", why="ask once")
    check.close(asked[0], x * keep, f"what {call} asks the net for", why="show it the masked numbers alone")
    scale, shift = net(x * keep)
    check.close(z, torch.where(keep > 0, x, x * scale.exp() + shift), f"{call}[0]", rtol=1e-8, why="scale and shift the others")
    check.close(z[:, keep.numpy() > 0], x[:, keep > 0], f"{call}[0] where the mask is 1", rtol=1e-12, why="leave these as they are")
    dets = []
    for i in range(n):
        jacobian = torch.stack([
            torch.autograd.functional.jacobian(lambda row, j=j, k=keep, f=net: torch.where(k > 0, row, row * f((row * k)[None])[0][0].exp() + f((row * k)[None])[1][0])[j], x[i])
            for j in range(d)
        ])
        dets.append(float(torch.linalg.slogdet(jacobian).logabsdet))
    check.close(log_det, dets, f"{call}[1]", rtol=1e-6, atol=1e-9, why="be the Jacobian's")
    call = f"uncouple(z ({n}, {d}), {mask}, net)"
    asked.clear()
    back = check.answer(uncouple, torch.from_numpy(z), keep, net, call=call)
    check.equal(len(asked), 1, f"how often {call} asks the net", why="ask once")
    check.close(back, x, call, rtol=1e-9, atol=1e-10, why="undo what couple does")
    (slope,) = check.gradient_of(lambda a, k=keep, f=net: uncouple(a, k, f), x, call=call)
    check.that(np.isfinite(slope).all() and slope.any(), f"{call}: let gradients through")
x, keep = torch.from_numpy(rng.normal(size=(3, 4))), torch.tensor([0.0, 1.0, 1.0, 0.0]).double()
weights = torch.from_numpy(rng.normal(size=(2, 4, 4)))


def net_of(w):
    return lambda a: (torch.tanh(a @ w[0] + 0.3), torch.sin(a @ w[1]))


def first_of(a, w):
    moved, _ = couple(a, keep, net_of(w))
    return moved


def second_of(a, w):
    _, log_det = couple(a, keep, net_of(w))
    return log_det


def undone(a, w):
    return uncouple(a, keep, net_of(w))


leaves = [tensor.clone().requires_grad_() for tensor in (x, weights)]
scale, shift = net_of(leaves[1])(leaves[0] * keep)
stays = keep > 0


def judge_slopes(function, want, call):
    upstream = rng.normal(size=tuple(want.shape))
    theirs = torch.autograd.grad(want, leaves, torch.from_numpy(upstream), retain_graph=True)
    got = check.gradient_of(function, x, weights, call=call, upstream=upstream)
    for name, mine, one in zip(("x", "the net's weights"), got, theirs, strict=True):
        check.close(mine, one, f"the gradient of {call} for {name}", rtol=1e-7, atol=1e-10, why="let numbers and net learn")


judge_slopes(first_of, torch.where(stays, leaves[0], leaves[0] * scale.exp() + shift), "couple(x, mask, net)[0]")
judge_slopes(second_of, torch.where(stays, 0.0, scale).sum(1), "couple(x, mask, net)[1]")
judge_slopes(undone, torch.where(stays, leaves[0], (leaves[0] - shift) / scale.exp()), "uncouple(x, mask, net)")
strong = torch.tensor([9.0, 1.0, -2.0, -8.0]).double()


def strong_net(a):
    return strong.expand(len(a), 4), torch.full((len(a), 4), 0.7, dtype=torch.float64)


call = "couple(x, mask, net) with scales from e to the -8 to e to the 9"
z, log_det = check.answer(couple, x, keep, strong_net, call=call)
check.close(z, torch.where(stays, x, x * strong.exp() + 0.7), f"{call}[0]", rtol=1e-9, why="scale without a limit")
check.close(log_det, [1.0] * 3, f"{call}[1]", rtol=1e-9, why="add up what is scaled")
check.close(check.answer(uncouple, torch.from_numpy(z), keep, strong_net, call="uncouple of the same"), x, "uncouple of the same", rtol=1e-6, atol=1e-9, why="undo what couple does")
### END HIDDEN TESTS

# %% mutant="coupling" why="the net sees all numbers: no triangle"
# - scale, shift = net(mask * x)
# + scale, shift = net(x)

# %% mutant="coupling" why="mask and rest exchanged"
# - scale, shift = net(mask * x)
# + mask = 1 - mask
# + scale, shift = net(mask * x)

# %% mutant="coupling" why="the scale without e"
# - z = mask * x + (1 - mask) * (x * scale.exp() + shift)
# + z = mask * x + (1 - mask) * (x * scale + shift)

# %% mutant="coupling" why="shift before scale"
# - z = mask * x + (1 - mask) * (x * scale.exp() + shift)
# + z = mask * x + (1 - mask) * ((x + shift) * scale.exp())

# %% mutant="coupling" why="the masked part is scaled, too"
# - z = mask * x + (1 - mask) * (x * scale.exp() + shift)
# + z = x * scale.exp() + shift

# %% mutant="coupling" why="all scales in the determinant"
# - return z, ((1 - mask) * scale).sum(1)
# + return z, scale.sum(1)

# %% mutant="coupling" why="the sign of the determinant"
# - return z, ((1 - mask) * scale).sum(1)
# + return z, -((1 - mask) * scale).sum(1)

# %% mutant="coupling" why="the determinant, not its logarithm"
# - return z, ((1 - mask) * scale).sum(1)
# + return z, ((1 - mask) * scale).sum(1).exp()

# %% mutant="coupling" why="one determinant for the batch"
# - return z, ((1 - mask) * scale).sum(1)
# + return z, ((1 - mask) * scale).sum().expand(len(x))

# %% mutant="coupling" why="undoes the scale before the shift"
# - return mask * z + (1 - mask) * (z - shift) * (-scale).exp()
# + return mask * z + (1 - mask) * (z * (-scale).exp() - shift)

# %% mutant="coupling" why="scales once more"
# - return mask * z + (1 - mask) * (z - shift) * (-scale).exp()
# + return mask * z + (1 - mask) * (z - shift) * scale.exp()

# %% mutant="coupling" why="asks the net about what was scaled"
# - scale, shift = net(mask * z)
# + scale, shift = net(z)

# %% mutant="coupling" why="the scale is a constant"
# - z = mask * x + (1 - mask) * (x * scale.exp() + shift)
# + z = mask * x + (1 - mask) * (x * scale.exp().detach() + shift)

# %% mutant="coupling" why="the net learns nothing"
# - scale, shift = net(mask * x)
# + scale, shift = (part.detach() for part in net(mask * x))

# %% mutant="coupling" why="samples carry no gradient to the net"
# - scale, shift = net(mask * z)
# + with torch.no_grad():
# +     scale, shift = net(mask * z)

# %% mutant="coupling" why="scales within limits"
# - scale, shift = net(mask * x)
# + scale, shift = net(mask * x)
# + scale = scale.clamp(-5, 5)


# %% alternative="coupling" why="by indices"
def couple(x, mask, net):
    kept = mask.bool()
    s, t = net(torch.where(kept, x, torch.zeros_like(x)))
    z = x.clone()
    z[:, ~kept] = x[:, ~kept] * torch.exp(s[:, ~kept]) + t[:, ~kept]
    return z, s[:, ~kept].sum(dim=-1)


def uncouple(z, mask, net):
    kept = mask.bool()
    s, t = net(torch.where(kept, z, torch.zeros_like(z)))
    return torch.where(kept, z, (z - t) / torch.exp(s))


# %% [markdown]
# Six couplings, masks in turn, and two moons. Because the likelihood is exact, the loss *is* the likelihood. Watch the normal cloud bend, coupling by coupling.

# %% [markdown] lang="ru"
# Шесть связываний, маски по очереди и две «луны». Правдоподобие точное, и ошибка — это оно и *есть*. Посмотрите, как нормальное облако гнётся, связывание за связыванием.


# %%
class Flow(nn.Module):
    """Six couplings of two numbers."""

    def __init__(self, depth: int = 6) -> None:
        super().__init__()
        def mlp():
            return nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 4))

        self.nets = nn.ModuleList(mlp() for _ in range(depth))
        self.register_buffer("masks", torch.tensor([[1.0, 0.0], [0.0, 1.0]]).repeat(depth // 2, 1))

    def net(self, i):
        def scale_and_shift(a):
            s, t = self.nets[i](a).chunk(2, dim=1)
            return 2 * torch.tanh(s), t  # no factor beyond e squared: training stays calm

        return scale_and_shift

    def log_prob(self, x):
        total = 0
        for i, mask in enumerate(self.masks):
            x, log_det = couple(x, mask, self.net(i))
            total = total + log_det
        return total + torch.distributions.Normal(0.0, 1.0).log_prob(x).sum(1)

    def stages(self, z):
        found = [z]
        for i in reversed(range(len(self.masks))):
            found.append(uncouple(found[-1], self.masks[i], self.net(i)))
        return found


seed_everything(0)
moons = torch.tensor(make_moons(2000, noise=0.06, random_state=0)[0], dtype=torch.float32, device=device)
moons_test = torch.tensor(make_moons(1000, noise=0.06, random_state=1)[0], dtype=torch.float32, device=device)
flow = Flow().to(device)
optimiser = torch.optim.Adam(flow.parameters(), lr=3e-3)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings["flow_steps"])
for _ in range(settings["flow_steps"]):
    loss = -flow.log_prob(moons[torch.randint(len(moons), (256,), device=device)]).mean()
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
    optimiser.step()
    schedule.step()
with torch.no_grad():
    side = torch.linspace(-3, 3, 161)
    plane = torch.cartesian_prod(side, side).to(device) + torch.tensor([0.5, 0.25], device=device)
    density = flow.log_prob(plane).exp().reshape(161, 161).T.cpu().numpy()
    stages = [stage.cpu().numpy() for stage in flow.stages(torch.randn(1500, 2, device=device))]
    print(f"mean log-likelihood of new points {float(flow.log_prob(moons_test).mean()):.3f}; the density adds up to {density.sum() * (6 / 160) ** 2:.3f}")
    gaussian = torch.distributions.MultivariateNormal(moons.mean(0), torch.cov(moons.T))
    print(f"of one normal distribution {float(gaussian.log_prob(moons_test).mean()):.3f}")
week10.stages([stages[i] for i in (0, 2, 4, 6)], density, (-2.5, 3.5, -2.75, 3.25))
plots.show("Four clouds of points from a round one to two moons, coupling by coupling, coloured by where they began; on the right the density, two bright arcs joined by a faint thread.")

# %% [markdown]
# ## 4. Bending space at a plane, and at a point
# Two older layers ([Rezende & Mohamed, 2015](https://arxiv.org/abs/1505.05770), §4.1 and appendix A) bend everything at once and still have a determinant in closed form. A [planar](glossary:planar-basis) layer pushes along $u$ what lies on one side of a plane; a [radial](glossary:radial-basis) layer pulls towards a centre $z_0$, or pushes away from it:
#
# $$f(z) = z + \hat u \tanh(w^\top z + b), \qquad \det = 1 + \bigl(1 - \tanh^2(w^\top z + b)\bigr)\, w^\top \hat u,$$
#
# $$f(z) = z + \hat\beta\, h\, (z - z_0), \quad h = \frac{1}{\alpha + r}, \quad r = \lVert z - z_0 \rVert, \qquad \det = \bigl(1 + \hat\beta h\bigr)^{d - 1} \bigl(1 + \hat\beta h - \hat\beta r h^2\bigr).$$
#
# Not every $u$ and $\beta$ gives a map that can be inverted. The hats see to it: $\hat u = u + \bigl(-1 + \operatorname{softplus}(w^\top u) - w^\top u\bigr)\, w / \lVert w \rVert^2$, and $\hat\beta = -\alpha + \operatorname{softplus}(\beta)$ with $\alpha > 0$. Then both determinants are positive. $u$ and $\beta$ may be large, and a point may lie on $z_0$.
#
# {{task:bends}}

# %% [markdown] lang="ru"
# ## 4. Согнуть пространство: у плоскости и у точки
# Два слоя постарше ([Rezende, Mohamed, 2015](https://arxiv.org/abs/1505.05770), §4.1 и приложение A) гнут всё сразу, и всё же определитель у них в замкнутом виде. [Плоский](glossary:planar-basis) слой (planar) толкает вдоль $u$ то, что лежит по одну сторону плоскости; [радиальный](glossary:radial-basis) (radial) тянет к центру $z_0$ или отталкивает от него:
#
# $$f(z) = z + \hat u \tanh(w^\top z + b), \qquad \det = 1 + \bigl(1 - \tanh^2(w^\top z + b)\bigr)\, w^\top \hat u,$$
#
# $$f(z) = z + \hat\beta\, h\, (z - z_0), \quad h = \frac{1}{\alpha + r}, \quad r = \lVert z - z_0 \rVert, \qquad \det = \bigl(1 + \hat\beta h\bigr)^{d - 1} \bigl(1 + \hat\beta h - \hat\beta r h^2\bigr).$$
#
# Не всякие $u$ и $\beta$ дают обратимое отображение. Об этом заботятся шляпки: $\hat u = u + \bigl(-1 + \operatorname{softplus}(w^\top u) - w^\top u\bigr)\, w / \lVert w \rVert^2$, и $\hat\beta = -\alpha + \operatorname{softplus}(\beta)$ с $\alpha > 0$. Тогда оба определителя положительны. $u$ и $\beta$ могут быть большими, а точка может лежать в самом $z_0$.
#
# {{task:bends}}


# %% solution="bends"
def planar(
    z: torch.Tensor, u: torch.Tensor, w: torch.Tensor, b: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(f(z) (n, d), log-determinants (n,)). z: (n, d). u, w: (d,), w is not 0. b: a number."""
    ### BEGIN SOLUTION
    along = w @ u
    u = u + (F.softplus(along) - 1 - along) * w / (w @ w)
    bent = torch.tanh(z @ w + b)
    return z + bent[:, None] * u, torch.log(1 + (1 - bent**2) * (w @ u))
    ### END SOLUTION


def radial(
    z: torch.Tensor, centre: torch.Tensor, alpha: torch.Tensor, beta: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(f(z) (n, d), log-determinants (n,)). centre: z_0 (d,). alpha > 0, beta: numbers."""
    ### BEGIN SOLUTION
    beta = F.softplus(beta) - alpha
    away = z - centre
    r = away.norm(dim=1)
    h = 1 / (alpha + r)
    log_det = (z.shape[1] - 1) * torch.log(1 + beta * h) + torch.log(1 + beta * h - beta * r * h**2)
    return z + (beta * h)[:, None] * away, log_det
    ### END SOLUTION


# %% test="bends" points=0.75 bonus=true difficulty=3 minutes=30
z, u, w, b = torch.tensor([[1.0, -2.0]]), torch.tensor([1.5, 0.5]), torch.tensor([0.7, 0.4]), torch.tensor(0.3)
found = check.answer(planar, z, u, w, b, call="planar(z, u, w, b)")
check.close(found[0], [[1.1370545, -1.9921743]], "planar(z, u, w, b)[0]", rtol=1e-5)
check.close(found[1], [0.3936458], "planar(z, u, w, b)[1]", rtol=1e-5)
centre, alpha, beta = torch.tensor([0.5, 0.0]), torch.tensor(1.2), torch.tensor(2.0)
found = check.answer(radial, z, centre, alpha, beta, call="radial(z, centre, alpha, beta)")
check.close(found[0], [[1.1420992, -2.5683968]], "radial(z, centre, alpha, beta)[0]", rtol=1e-5)
check.close(found[1], [0.3495846], "radial(z, centre, alpha, beta)[1]", rtol=1e-5)
### BEGIN HIDDEN TESTS
rng = check.rng("bends")


def log_dets(function, z):
    """The logarithm of the Jacobian's determinant at each row, by autograd."""
    return [float(torch.linalg.slogdet(torch.autograd.functional.jacobian(lambda row: function(row[None])[0], row)).logabsdet) for row in z]


def slow_planar(z, u, w, b):
    inner = (w * u).sum()
    u = u + (torch.log1p(inner.exp()) - 1 - inner) * w / (w**2).sum()
    return torch.stack([row + u * torch.tanh((w * row).sum() + b) for row in z])


def slow_radial(z, centre, alpha, beta):
    pull = torch.log1p(beta.exp()) - alpha
    return torch.stack([row + pull / (alpha + ((row - centre) ** 2).sum().sqrt()) * (row - centre) for row in z])


for n, d in ((4, 3), (1, 2), (3, 1), (2, 5)):
    z, u, w, b = (torch.from_numpy(np.asarray(rng.normal(size=shape))) for shape in ((n, d), d, d, ()))
    for name, push in (("", u), (" with u against w", -3 * w), (" with u along w", 2 * w)):
        call = f"planar(z ({n}, {d}), u, w, b){name}"
        found = check.answer(planar, z, push, w, b, call=call)
        check.close(found[0], slow_planar(z, push, w, b), f"{call}[0]", rtol=1e-8, atol=1e-10, why="push along the u that can be inverted")
        check.close(found[1], log_dets(lambda a, p=push, w=w, b=b: slow_planar(a, p, w, b), z), f"{call}[1]", rtol=1e-6, atol=1e-9, why="be the Jacobian's")
    centre, alpha = torch.from_numpy(rng.normal(size=d)), torch.tensor(float(rng.uniform(0.5, 2))).double()
    for beta in (-4.0, 0.3, 5.0):
        call = f"radial(z ({n}, {d}), centre, alpha, beta={beta})"
        weight = torch.tensor(beta).double()
        found = check.answer(radial, z, centre, alpha, weight, call=call)
        check.close(found[0], slow_radial(z, centre, alpha, weight), f"{call}[0]", rtol=1e-8, atol=1e-10, why="pull or push by what can be inverted")
        check.close(found[1], log_dets(lambda a, c=centre, s=alpha, w=weight: slow_radial(a, c, s, w), z), f"{call}[1]", rtol=1e-6, atol=1e-9, why="be the Jacobian's")
z, u, w, b = (torch.from_numpy(np.asarray(rng.normal(size=shape))) for shape in ((3, 2), 2, 2, ()))


def planar_log(u, w, b):
    _, log_det = planar(z, u, w, b)
    return log_det


slopes = check.gradient_of(planar_log, u, w, b, call="planar(z, u, w, b)[1]")
check.that(all(np.isfinite(slope).all() and slope.any() for slope in slopes), "planar: let gradients through to u, w and b")
def planar_map(z, u, w, b):
    moved, _ = planar(z, u, w, b)
    return moved


def planar_log_of_all(z, u, w, b):
    _, log_det = planar(z, u, w, b)
    return log_det


def radial_map(z, centre, alpha, beta):
    moved, _ = radial(z, centre, alpha, beta)
    return moved


def radial_log(z, centre, alpha, beta):
    _, log_det = radial(z, centre, alpha, beta)
    return log_det


def log_of(function):
    """Its log-determinants, row by row, that can be differentiated."""

    def logs(z, *others):
        rows = [torch.autograd.functional.jacobian(lambda row: function(row[None], *others)[0], row, create_graph=True) for row in z]
        return torch.stack([torch.linalg.slogdet(row).logabsdet for row in rows])

    return logs


def judge_learning(function, oracle, inputs, names, call):
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    want = oracle(*leaves)
    upstream = rng.normal(size=tuple(want.shape))
    wanted = torch.autograd.grad(want, leaves, torch.from_numpy(upstream))
    got = check.gradient_of(function, *inputs, call=call, upstream=upstream)
    for argument, mine, theirs in zip(names, got, wanted, strict=True):
        check.close(mine, theirs, f"the gradient of {call} for {argument}", rtol=1e-6, atol=1e-9, why="let everything learn that it depends on")


inputs, names = (z, u, w, b), ("z", "u", "w", "b")
judge_learning(planar_map, slow_planar, inputs, names, "planar(z, u, w, b)[0]")
judge_learning(planar_log_of_all, log_of(slow_planar), inputs, names, "planar(z, u, w, b)[1]")
centre, alpha = torch.from_numpy(rng.normal(size=2)), torch.tensor(float(rng.uniform(0.5, 2))).double()
inputs, names = (z, centre, alpha, torch.tensor(-0.6).double()), ("z", "centre", "alpha", "beta")
judge_learning(radial_map, slow_radial, inputs, names, "radial(z, centre, alpha, beta)[0]")
judge_learning(radial_log, log_of(slow_radial), inputs, names, "radial(z, centre, alpha, beta)[1]")
weight = torch.tensor(0.9).double()
call = "radial of a point at the centre"
found = check.answer(radial, centre[None], centre, alpha, weight, call=call)
check.close(found[0], centre[None], f"{call}[0]", rtol=1e-9, atol=1e-12, why="leave it where it is")
check.close(found[1], [2 * np.log(1 + (F.softplus(weight) - alpha).item() / alpha.item())], f"{call}[1]", rtol=1e-8, why="be the Jacobian's")
call = "radial(z, centre, alpha, beta=1500)"
found = check.answer(radial, z, centre, alpha, torch.tensor(1500.0).double(), call=call)
h = 1 / (alpha + (z - centre).norm(dim=1))
check.close(found[0], z + ((1500 - alpha) * h)[:, None] * (z - centre), f"{call}[0]", rtol=1e-8, why="bear a large beta")
check.close(found[1], ((1 + (1500 - alpha) * h).log() + (1 + (1500 - alpha) * alpha * h**2).log()), f"{call}[1]", rtol=1e-8, why="bear a large beta")
call = "planar(z, 1500 w / |w|^2, w, b)"
large = w / (w @ w)
found = check.answer(planar, z, 1500 * large, w, b, call=call)
bent = torch.tanh(z @ w + b)
check.close(found[0], z + 1499 * bent[:, None] * large, f"{call}[0]", rtol=1e-7, why="bear a large u")
check.close(found[1], (1 + 1499 * (1 - bent**2)).log(), f"{call}[1]", rtol=1e-7, why="bear a large u")
### END HIDDEN TESTS

# %% mutant="bends" why="the u as it is: it may fold space"
# - u = u + (F.softplus(along) - 1 - along) * w / (w @ w)
# + u = u + 0 * (F.softplus(along) - 1 - along) * w / (w @ w)

# %% mutant="bends" why="divides by the length, not its square"
# - u = u + (F.softplus(along) - 1 - along) * w / (w @ w)
# + u = u + (F.softplus(along) - 1 - along) * w / (w @ w) ** 0.5

# %% mutant="bends" why="forgets what is there along w"
# - u = u + (F.softplus(along) - 1 - along) * w / (w @ w)
# + u = u + (F.softplus(along) - 1) * w / (w @ w)

# %% mutant="bends" why="the determinant with the old u"
# - return z + bent[:, None] * u, torch.log(1 + (1 - bent**2) * (w @ u))
# + return z + bent[:, None] * u, torch.log((1 + (1 - bent**2) * along).abs())

# %% mutant="bends" why="the derivative of tanh is tanh"
# - return z + bent[:, None] * u, torch.log(1 + (1 - bent**2) * (w @ u))
# + return z + bent[:, None] * u, torch.log((1 + bent * (w @ u)).abs())

# %% mutant="bends" why="forgets the 1: the map without its identity"
# - return z + bent[:, None] * u, torch.log(1 + (1 - bent**2) * (w @ u))
# + return z + bent[:, None] * u, torch.log(((1 - bent**2) * (w @ u)).abs())

# %% mutant="bends" why="without the shift b"
# - bent = torch.tanh(z @ w + b)
# + bent = torch.tanh(z @ w + 0 * b)

# %% mutant="bends" why="pushes along w"
# - return z + bent[:, None] * u, torch.log(1 + (1 - bent**2) * (w @ u))
# + return z + bent[:, None] * w, torch.log(1 + (1 - bent**2) * (w @ u))

# %% mutant="bends" why="beta as it is"
# - beta = F.softplus(beta) - alpha
# + beta = beta + 0 * alpha

# %% mutant="bends" why="softplus alone"
# - beta = F.softplus(beta) - alpha
# + beta = F.softplus(beta)

# %% mutant="bends" why="all d directions alike"
# - log_det = (z.shape[1] - 1) * torch.log(1 + beta * h) + torch.log(1 + beta * h - beta * r * h**2)
# + log_det = z.shape[1] * torch.log(1 + beta * h)

# %% mutant="bends" why="the two factors exchanged"
# - log_det = (z.shape[1] - 1) * torch.log(1 + beta * h) + torch.log(1 + beta * h - beta * r * h**2)
# + log_det = torch.log(1 + beta * h) + (z.shape[1] - 1) * torch.log(1 + beta * h - beta * r * h**2)

# %% mutant="bends" why="the sign of the derivative of h"
# - log_det = (z.shape[1] - 1) * torch.log(1 + beta * h) + torch.log(1 + beta * h - beta * r * h**2)
# + log_det = (z.shape[1] - 1) * torch.log(1 + beta * h) + torch.log((1 + beta * h + beta * r * h**2).abs())

# %% mutant="bends" why="the square of the distance"
# - r = away.norm(dim=1)
# + r = (away**2).sum(1)

# %% mutant="bends" why="a softplus that overflows"
# - u = u + (F.softplus(along) - 1 - along) * w / (w @ w)
# + u = u + ((1 + along.exp()).log() - 1 - along) * w / (w @ w)

# %% mutant="bends" why="the distance is a constant: z does not learn from it"
# - r = away.norm(dim=1)
# + r = away.detach().norm(dim=1)

# %% mutant="bends" why="the hat is a constant: w and u do not learn through it"
# - u = u + (F.softplus(along) - 1 - along) * w / (w @ w)
# + u = u + ((F.softplus(along) - 1 - along) * w / (w @ w)).detach()

# %% mutant="bends" why="0 / 0 at the centre"
# - return z + (beta * h)[:, None] * away, log_det
# + return z + (beta * h * r)[:, None] * away / r[:, None], log_det


# %% alternative="bends" why="log1p, and one row after the other"
def planar(z, u, w, b):
    inside = torch.dot(w, u)
    pushed = u + w * (torch.nn.Softplus()(inside) - inside - 1) / w.pow(2).sum()
    rows, logs = [], []
    for row in z:
        t = torch.tanh(torch.dot(w, row) + b)
        rows.append(row + pushed * t)
        logs.append(torch.log1p((1 - t) * (1 + t) * torch.dot(w, pushed)))
    return torch.stack(rows), torch.stack(logs)


def radial(z, centre, alpha, beta):
    strength = torch.nn.Softplus()(beta) - alpha
    distance = torch.sqrt(((z - centre) ** 2).sum(1, keepdim=True))
    share = strength / (alpha + distance)
    inner = torch.log1p(share) * (z.shape[-1] - 1)
    outer = torch.log1p(strength * alpha / (alpha + distance) ** 2)
    return z + share * (z - centre), (inner + outer).squeeze(1)


# %%
lattice = torch.cartesian_prod(torch.linspace(-2, 2, 21), torch.linspace(-2, 2, 21))
bent = {
    "as it is": lattice,
    "planar": planar(lattice, torch.tensor([1.5, 0.0]), torch.tensor([2.0, 0.5]), torch.tensor(0.0))[0],
    "radial, outwards": radial(lattice, torch.zeros(2), torch.tensor(0.6), torch.tensor(1.5))[0],
    "radial, inwards": radial(lattice, torch.zeros(2), torch.tensor(1.0), torch.tensor(-2.0))[0],
}
week10.lattices({name: points.reshape(21, 21, 2).numpy() for name, points in bent.items()})
plots.show("A square lattice, then the same pulled apart at a plane, blown up around its middle, and drawn together to its middle; no lines cross.")

# %% [markdown]
# ## 5. One pass or d passes
# Let a network give for each number a mean and a log-deviation that depend on earlier numbers alone, as MADE does. There are two ways to make a flow of it.
# - **MAF** ([Papamakarios et al., 2017](https://arxiv.org/abs/1705.07057)) lets them depend on the *data*: $u_i = (x_i - \mu_i(x_{<i}))\, e^{-\alpha_i(x_{<i})}$. The density of given data takes one pass; a sample has to be made number by number, $x_i = u_i e^{\alpha_i(x_{<i})} + \mu_i(x_{<i})$: $d$ passes.
# - **IAF** ([Kingma et al., 2016](https://arxiv.org/abs/1606.04934)) lets them depend on the *noise*: $x_i = u_i e^{\alpha_i(u_{<i})} + \mu_i(u_{<i})$. A sample takes one pass.
#
# {{task:passes}}

# %% [markdown] lang="ru"
# ## 5. Один проход или d проходов
# Пусть сеть выдаёт для каждого числа среднее и логарифм отклонения, которые зависят лишь от более ранних чисел, как MADE. Поток из неё можно сделать двумя способами.
# - **MAF** ([Papamakarios и др., 2017](https://arxiv.org/abs/1705.07057)): они зависят от *данных*, $u_i = (x_i - \mu_i(x_{<i}))\, e^{-\alpha_i(x_{<i})}$. Плотность данных требует одного прохода; пример приходится делать число за числом, $x_i = u_i e^{\alpha_i(x_{<i})} + \mu_i(x_{<i})$, — $d$ проходов.
# - **IAF** ([Kingma и др., 2016](https://arxiv.org/abs/1606.04934)): они зависят от *шума*, $x_i = u_i e^{\alpha_i(u_{<i})} + \mu_i(u_{<i})$. Пример требует одного прохода.
#
# {{task:passes}}


# %% solution="passes"
def maf_encode(x: torch.Tensor, net: Callable) -> tuple[torch.Tensor, torch.Tensor]:
    """(u (n, d), log |det du/dx| (n,)) of data (n, d), in one pass.

    net: takes (n, d) and gives (mean, alpha), each (n, d); number i depends on numbers before i.
    """
    ### BEGIN SOLUTION
    mean, alpha = net(x)
    return (x - mean) * (-alpha).exp(), -alpha.sum(1)
    ### END SOLUTION


def maf_sample(u: torch.Tensor, net: Callable) -> torch.Tensor:
    """The data (n, d) that `maf_encode` takes to u (n, d), in d passes."""
    ### BEGIN SOLUTION
    x = torch.zeros_like(u)
    for i in range(u.shape[1]):
        mean, alpha = net(x)
        column = u[:, i] * alpha[:, i].exp() + mean[:, i]
        x = torch.cat([x[:, :i], column[:, None], x[:, i + 1 :]], dim=1)
    return x
    ### END SOLUTION


def iaf_sample(u: torch.Tensor, net: Callable) -> tuple[torch.Tensor, torch.Tensor]:
    """(x (n, d), log |det dx/du| (n,)) of noise (n, d), in one pass."""
    ### BEGIN SOLUTION
    mean, alpha = net(u)
    return u * alpha.exp() + mean, alpha.sum(1)
    ### END SOLUTION


# %% test="passes" points=0.5 bonus=true difficulty=2 minutes=20
def before(a):
    """Mean: the sum of the numbers before; alpha: a tenth of it."""
    return a.cumsum(1) - a, 0.1 * (a.cumsum(1) - a)


x = torch.tensor([[1.0, 3.0, -2.0]])
u, log_det = check.answer(maf_encode, x, before, call="maf_encode(x, net)")
check.close(u, [[1.0, 1.8096748, -4.0219203]], "maf_encode(x, net)[0]", rtol=1e-5)
check.close(log_det, [-0.5], "maf_encode(x, net)[1]", rtol=1e-5, why="be what the scales make of a volume")
check.close(check.answer(maf_sample, torch.tensor([[1.0, 1.8096748, -4.0219203]]), before, call="maf_sample(u, net)"), x, "maf_sample(u, net)", rtol=1e-4, why="undo maf_encode")
made_x, log_det = check.answer(iaf_sample, x, before, call="iaf_sample(u, net)")
check.close(made_x, [[1.0, 4.3155128, 1.0163506]], "iaf_sample(u, net)[0]", rtol=1e-5)
check.close(log_det, [0.5], "iaf_sample(u, net)[1]", rtol=1e-5)
### BEGIN HIDDEN TESTS
rng = check.rng("passes")


def chain(d):
    """A net in which number i depends on those before it, and a list of its calls."""
    weights = [torch.from_numpy(np.tril(rng.normal(size=(d, d)), -1)) for _ in range(2)]
    calls = []

    def net(a):
        calls.append(len(a))
        return torch.sin(a @ weights[0].T) + 0.4, 0.5 * torch.tanh(a @ weights[1].T) - 0.2

    return net, calls


for n, d in ((3, 4), (1, 2), (5, 1), (2, 6)):
    net, calls = chain(d)
    x = torch.from_numpy(rng.normal(size=(n, d)))
    mean, alpha = net(x)
    calls.clear()
    call = f"maf_encode(x ({n}, {d}), net)"
    u, log_det = check.answer(maf_encode, x, net, call=call)
    check.equal(len(calls), 1, f"the passes of {call}", why="take one")
    check.close(u, (x - mean) / alpha.exp(), f"{call}[0]", rtol=1e-8, why="take off the mean, then the scale")
    jacobians = [torch.autograd.functional.jacobian(lambda row, f=net: (row - f(row[None])[0][0]) / f(row[None])[1][0].exp(), row) for row in x]
    check.close(log_det, [float(torch.linalg.slogdet(j).logabsdet) for j in jacobians], f"{call}[1]", rtol=1e-6, atol=1e-9, why="be the Jacobian's")
    calls.clear()
    call = f"maf_sample(u ({n}, {d}), net)"
    back = check.answer(maf_sample, torch.from_numpy(u), net, call=call)
    check.close(back, x, call, rtol=1e-9, atol=1e-10, why="undo maf_encode")
    check.equal(len(calls), d, f"the passes of {call}", why="take one for each number")
    calls.clear()
    call = f"iaf_sample(u ({n}, {d}), net)"
    found, log_det = check.answer(iaf_sample, x, net, call=call)
    check.equal(len(calls), 1, f"the passes of {call}", why="take one")
    check.close(found, x * alpha.exp() + mean, f"{call}[0]", rtol=1e-8, why="scale and shift by what the noise before says")
    jacobians = [torch.autograd.functional.jacobian(lambda row, f=net: row * f(row[None])[1][0].exp() + f(row[None])[0][0], row) for row in x]
    check.close(log_det, [float(torch.linalg.slogdet(j).logabsdet) for j in jacobians], f"{call}[1]", rtol=1e-6, atol=1e-9, why="be the Jacobian's")
x, weights = torch.from_numpy(rng.normal(size=(3, 4))), torch.from_numpy(np.tril(rng.normal(size=(2, 4, 4)), -1))


def chain_of(w):
    return lambda a: (torch.sin(a @ w[0].T) + 0.4, torch.tanh(a @ w[1].T) - 0.2)


def encoded(a, w):
    moved, _ = maf_encode(a, chain_of(w))
    return moved


def encoded_log(a, w):
    _, log_det = maf_encode(a, chain_of(w))
    return log_det


def sampled(a, w):
    moved, _ = iaf_sample(a, chain_of(w))
    return moved


def sampled_log(a, w):
    _, log_det = iaf_sample(a, chain_of(w))
    return log_det


leaves = [tensor.clone().requires_grad_() for tensor in (x, weights)]
mean, alpha = chain_of(leaves[1])(leaves[0])


def judge_slopes_of_passes(function, want, call):
    upstream = rng.normal(size=tuple(want.shape))
    theirs = torch.autograd.grad(want, leaves, torch.from_numpy(upstream), retain_graph=True)
    got = check.gradient_of(function, x, weights, call=call, upstream=upstream)
    for name, mine, one in zip(("its numbers", "the net's weights"), got, theirs, strict=True):
        check.close(mine, one, f"the gradient of {call} for {name}", rtol=1e-7, atol=1e-10, why="let numbers and net learn")


judge_slopes_of_passes(encoded, (leaves[0] - mean) / alpha.exp(), "maf_encode(x, net)[0]")
judge_slopes_of_passes(encoded_log, -alpha.sum(1), "maf_encode(x, net)[1]")
judge_slopes_of_passes(sampled, leaves[0] * alpha.exp() + mean, "iaf_sample(u, net)[0]")
judge_slopes_of_passes(sampled_log, alpha.sum(1), "iaf_sample(u, net)[1]")


def strong_chain(a):
    return 0.1 * (a.cumsum(1) - a), torch.tensor([6.0, -5.0, 3.0]).double().expand(len(a), 3)


x = torch.from_numpy(rng.normal(size=(2, 3)))
mean, alpha = strong_chain(x)
call = "maf_encode(x, net) with scales from e to the -5 to e to the 6"
u, log_det = check.answer(maf_encode, x, strong_chain, call=call)
check.close(u, (x - mean) / alpha.exp(), f"{call}[0]", rtol=1e-8, why="scale without a limit")
check.close(log_det, [-4.0, -4.0], f"{call}[1]", rtol=1e-8, why="be what the scales make of a volume")
check.close(check.answer(maf_sample, torch.from_numpy(u), strong_chain, call="maf_sample of the same"), x, "maf_sample of the same", rtol=1e-6, atol=1e-9, why="undo maf_encode")
call = "iaf_sample(u, net) with scales from e to the -5 to e to the 6"
found, log_det = check.answer(iaf_sample, x, strong_chain, call=call)
check.close(found, x * alpha.exp() + mean, f"{call}[0]", rtol=1e-8, why="scale without a limit")
check.close(log_det, [4.0, 4.0], f"{call}[1]", rtol=1e-8, why="be what the scales make of a volume")
### END HIDDEN TESTS

# %% mutant="passes" why="scale before mean"
# - return (x - mean) * (-alpha).exp(), -alpha.sum(1)
# + return x * (-alpha).exp() - mean, -alpha.sum(1)

# %% mutant="passes" why="multiplies by the scale"
# - return (x - mean) * (-alpha).exp(), -alpha.sum(1)
# + return (x - mean) * alpha.exp(), -alpha.sum(1)

# %% mutant="passes" why="the determinant of the other direction"
# - return (x - mean) * (-alpha).exp(), -alpha.sum(1)
# + return (x - mean) * (-alpha).exp(), alpha.sum(1)

# %% mutant="passes" why="the sum over the batch"
# - return (x - mean) * (-alpha).exp(), -alpha.sum(1)
# + return (x - mean) * (-alpha).exp(), -alpha.sum(0)[: len(x)] + 0 * x[:, 0]

# %% mutant="passes" why="one pass, over the noise: IAF"
# - x = torch.cat([x[:, :i], column[:, None], x[:, i + 1 :]], dim=1)
# + mean, alpha = net(u); x = u * alpha.exp() + mean

# %% mutant="passes" why="one pass too few"
# - for i in range(u.shape[1]):
# + for i in range(u.shape[1] - 1):

# %% mutant="passes" why="from the last to the first"
# - for i in range(u.shape[1]):
# + for i in reversed(range(u.shape[1])):

# %% mutant="passes" why="one pass for all, then number by number"
# - mean, alpha = net(x)
# - column = u[:, i] * alpha[:, i].exp() + mean[:, i]
# + mean, alpha = net(u) if i == 0 else (mean, alpha)
# + column = u[:, i] * alpha[:, i].exp() + mean[:, i]

# %% mutant="passes" why="goes on as long as it takes, twice d passes"
# - return x
# + for _ in range(u.shape[1]):
# +     mean, alpha = net(x)
# +     x = u * alpha.exp() + mean
# + return x

# %% mutant="passes" why="noise divided by its scale"
# - return u * alpha.exp() + mean, alpha.sum(1)
# + return u * (-alpha).exp() + mean, alpha.sum(1)

# %% mutant="passes" why="the determinant of data, not of noise"
# - return u * alpha.exp() + mean, alpha.sum(1)
# + return u * alpha.exp() + mean, -alpha.sum(1)

# %% mutant="passes" why="shift before scale"
# - return u * alpha.exp() + mean, alpha.sum(1)
# + return (u + mean) * alpha.exp(), alpha.sum(1)

# %% mutant="passes" why="scales within limits"
# - return u * alpha.exp() + mean, alpha.sum(1)
# + alpha = alpha.clamp(-2, 2)
# + return u * alpha.exp() + mean, alpha.sum(1)

# %% mutant="passes" why="the net learns nothing from data"
# - return (x - mean) * (-alpha).exp(), -alpha.sum(1)
# + mean, alpha = mean.detach(), alpha.detach()
# + return (x - mean) * (-alpha).exp(), -alpha.sum(1) + 0 * x.sum(1)

# %% mutant="passes" why="the net learns nothing from samples"
# - return u * alpha.exp() + mean, alpha.sum(1)
# + alpha = alpha.detach()
# + return u * alpha.exp() + mean, alpha.sum(1) + 0 * u.sum(1)


# %% alternative="passes" why="all numbers each time: what was right stays right"
def maf_encode(x, net):
    mean, alpha = net(x)
    return torch.div(x - mean, torch.exp(alpha)), torch.neg(alpha).sum(dim=-1)


def maf_sample(u, net):
    x = u.clone()
    for _ in range(u.size(1)):
        mean, alpha = net(x)
        x = mean + torch.exp(alpha) * u
    return x


def iaf_sample(u, net):
    mean, alpha = net(u)
    return torch.addcmul(mean, u, alpha.exp()), torch.einsum("nd->n", alpha)


# %% [markdown]
# ## 6. Whole numbers and densities
# Pixels are whole numbers. A density may put a spike of any height on each of them: the likelihood goes to infinity, and nothing is learned. **Dequantisation** adds uniform noise from $[0, 1)$, so that a grey value becomes an interval, and the density cannot win by spikes ([Theis et al., 2016](https://arxiv.org/abs/1511.01844), §3.1). With $x = (v + \text{noise}) / \text{levels}$, a density $p(x)$ of $d$ numbers between 0 and 1 stands for **bits per dimension**
#
# $$b = -\frac{\log_2 p(x)}{d} + \log_2 \text{levels},$$
#
# what a pixel costs. The density that is 1 everywhere has 8 bits at 256 levels: nothing is saved.
#
# {{task:bits}}

# %% [markdown] lang="ru"
# ## 6. Целые числа и плотности
# Пиксели — целые числа. Плотность может поставить на каждое из них пик любой высоты: правдоподобие уходит в бесконечность, и ничего не выучено. **Деквантизация** (dequantisation) прибавляет равномерный шум из $[0, 1)$: уровень серого становится отрезком, и пиками уже не победить ([Theis и др., 2016](https://arxiv.org/abs/1511.01844), §3.1). При $x = (v + \text{шум}) / \text{levels}$ плотность $p(x)$ от $d$ чисел между 0 и 1 означает столько **бит на измерение** (bits per dimension):
#
# $$b = -\frac{\log_2 p(x)}{d} + \log_2 \text{levels},$$
#
# столько стоит пиксель. У плотности, равной 1 всюду, 8 бит при 256 уровнях: не сбережено ничего.
#
# {{task:bits}}


# %% solution="bits"
def dequantise(pixels: torch.Tensor, noise: torch.Tensor, levels: int = 256) -> torch.Tensor:
    """Numbers from 0 to 1, float32, of whole numbers 0, ..., levels - 1 and of noise in [0, 1)."""
    ### BEGIN SOLUTION
    return (pixels.float() + noise.float()) / levels
    ### END SOLUTION


def bits_per_dimension(log_density: torch.Tensor, d: int, levels: int = 256) -> torch.Tensor:
    """b of each example. log_density: log p(x), natural, of d numbers (n,) -> (n,)."""
    ### BEGIN SOLUTION
    return -log_density / (d * np.log(2)) + np.log2(levels)
    ### END SOLUTION


# %% test="bits" points=0.5 bonus=true difficulty=1 minutes=10
call = "dequantise([0, 7, 255], [0.5, 0.25, 0.75])"
found = check.answer(dequantise, torch.tensor([0, 7, 255], dtype=torch.uint8), torch.tensor([0.5, 0.25, 0.75]), call=call)
check.close(found, [0.001953125, 0.0283203125, 0.9990234375], call)
call = "bits_per_dimension([0, 10], 5)"
check.close(check.answer(bits_per_dimension, torch.tensor([0.0, 10.0]), 5, call=call), [8.0, 5.1146099], call, rtol=1e-5)
### BEGIN HIDDEN TESTS
rng = check.rng("bits")
for shape, levels in (((3, 4), 256), ((2, 3, 3), 16), ((5,), 2)):
    pixels, noise = rng.integers(levels, size=shape), rng.uniform(size=shape).astype(np.float32)
    for kind in (torch.uint8, torch.int64, torch.float32):
        options = {} if levels == 256 else {"levels": levels}
        call = f"dequantise(pixels {shape} of {kind}, noise" + (f", levels={levels})" if options else ")")
        found = check.answer(dequantise, torch.tensor(pixels).to(kind), torch.from_numpy(noise), call=call, **options)
        check.close(found, (pixels + noise) / levels, call, rtol=1e-5, why="be pixel plus noise, over the levels")
        check.that(found.dtype == np.float32, f"be float32 in {call}")
# A density that is flat on each level has exactly the bits of the probabilities of the levels.
levels, d = int(rng.integers(3, 9)), 4
p = rng.dirichlet(np.ones(levels))
pixels = rng.integers(levels, size=(3, d))
x = (pixels + rng.uniform(size=pixels.shape)) / levels
log_density = np.log(p[(x * levels).astype(int)] * levels).sum(1)
call = f"bits_per_dimension(log_density, {d}, levels={levels}) of a density that is flat on each level"
found = check.answer(bits_per_dimension, torch.from_numpy(log_density), d, levels=levels, call=call)
check.close(found, -np.log2(p[pixels]).mean(1), call, rtol=1e-7, why="be the bits of the levels' probabilities")
log_density = torch.from_numpy(50 * rng.normal(size=5))
for d in (1, 7, 784):
    call = f"bits_per_dimension(log_density, {d})"
    check.close(check.answer(bits_per_dimension, log_density, d, call=call), 8 - log_density.numpy() / d / np.log(2), call, rtol=1e-8, why="be a number for each example")
(slope,) = check.gradient_of(lambda a: bits_per_dimension(a, 5), log_density, call="bits_per_dimension(log_density, 5)")
check.close(slope, np.full(5, -1 / (5 * np.log(2))), "its gradient", rtol=1e-7, why="let gradients through")
call = "dequantise(pixels, noise of float64)"
found = check.answer(dequantise, torch.tensor([3, 200]), torch.tensor([0.25, 0.5]).double(), call=call)
check.close(found, [3.25 / 256, 200.5 / 256], call, rtol=1e-5, why="be pixel plus noise, over the levels")
check.that(found.dtype == np.float32, f"be float32 in {call}, too")
### END HIDDEN TESTS

# %% mutant="bits" why="noise of a whole range"
# - return (pixels.float() + noise.float()) / levels
# + return pixels.float() / levels + noise.float()

# %% mutant="bits" why="no noise"
# - return (pixels.float() + noise.float()) / levels
# + return (pixels.float() + 0 * noise.float()) / levels

# %% mutant="bits" why="the largest value is 1"
# - return (pixels.float() + noise.float()) / levels
# + return (pixels.float() + noise.float()) / (levels - 1)

# %% mutant="bits" why="noise around zero"
# - return (pixels.float() + noise.float()) / levels
# + return (pixels.float() + noise.float() - 0.5) / levels

# %% mutant="bits" why="256 whatever is asked"
# - return (pixels.float() + noise.float()) / levels
# + return (pixels.float() + noise.float()) / 256

# %% mutant="bits" why="noise that is cut to whole numbers"
# - return (pixels.float() + noise.float()) / levels
# + return (pixels + noise.to(pixels.dtype)).float() / levels

# %% mutant="bits" why="nats"
# - return -log_density / (d * np.log(2)) + np.log2(levels)
# + return -log_density / d + np.log(levels)

# %% mutant="bits" why="all of the example"
# - return -log_density / (d * np.log(2)) + np.log2(levels)
# + return -log_density / np.log(2) + np.log2(levels)

# %% mutant="bits" why="forgets the levels"
# - return -log_density / (d * np.log(2)) + np.log2(levels)
# + return -log_density / (d * np.log(2)) + 0 * np.log2(levels)

# %% mutant="bits" why="the levels with the wrong sign"
# - return -log_density / (d * np.log(2)) + np.log2(levels)
# + return -log_density / (d * np.log(2)) - np.log2(levels)

# %% mutant="bits" why="8 bits whatever is asked"
# - return -log_density / (d * np.log(2)) + np.log2(levels)
# + return -log_density / (d * np.log(2)) + 8 + 0 * levels

# %% mutant="bits" why="the mean over the batch"
# - return -log_density / (d * np.log(2)) + np.log2(levels)
# + return (-log_density / (d * np.log(2)) + np.log2(levels)).mean().expand(len(log_density))

# %% mutant="bits" why="the dtype of the noise"
# - return (pixels.float() + noise.float()) / levels
# + return (pixels + noise) / levels


# %% alternative="bits" why="logarithms to the base 2"
def dequantise(pixels, noise, levels=256):
    return torch.add(noise, pixels).to(torch.float32).div(levels)


def bits_per_dimension(log_density, d, levels=256):
    return (np.log(levels) - log_density / d) / np.log(2.0)


# %% [markdown]
# The spike, tried: the grey values of the digits (0 to 16) by a mixture of a narrow bump per level, whose width you choose. Without noise the likelihood of whole numbers grows without end as the bumps get narrower; with noise it has a best width.

# %% [markdown] lang="ru"
# Пик на деле: уровни серого у цифр (от 0 до 16), смесь из узкого горба на каждый уровень, ширину горбов выбираем мы. Без шума правдоподобие целых чисел растёт без конца, пока горбы сужаются; с шумом у ширины есть лучшее значение.

# %%
torch.manual_seed(0)
grey = torch.tensor(digits.x_train.reshape(-1)[:20_000]).long()
often = grey.bincount(minlength=17).float() / len(grey)
middles = (torch.arange(17) + 0.5) / 17
widths, bits = np.geomspace(0.0005, 0.3, 25), {"whole numbers": [], "with noise": []}
for width in widths:
    for name, noise in (("whole numbers", torch.full((len(grey),), 0.5)), ("with noise", torch.rand(len(grey)))):
        x = dequantise(grey, noise, levels=17)
        bumps = torch.distributions.Normal(middles, float(width)).log_prob(x[:, None]) + (often + 1e-9).log()
        bits[name].append(float(bits_per_dimension(bumps.logsumexp(1), 1, levels=17).mean()))
entropy = -float((often[often > 0] * often[often > 0].log2()).sum())
print(f"entropy of the grey values {entropy:.2f} bits; least with noise {min(bits['with noise']):.2f}, without {min(bits['whole numbers']):.2f}")
ax = plots.curves({name: (widths, values) for name, values in bits.items()}, "Bits of a pixel", "width of a bump", "bits per dimension", log_x=True)
ax.axhline(entropy, color="0.4", ls="--")
ax.set_ylim(-3, 9)
plots.show("Bits of a pixel against the width of the bumps, on a log axis: without noise the line falls below the entropy and even below zero as the bumps get narrow; with noise it has its least value above the dashed line of the entropy.")

# %% [markdown]
# ## 7. A critic with a slope
# Back to the game. $W_1$ has a slope everywhere, as the picture in section 2 of the seminar shows, and it is a game, too: the largest difference of means that a function with slope at most 1 can reach ([Arjovsky et al., 2017](https://arxiv.org/abs/1701.07875)),
#
# $$W_1(p, q) = \max_{\lVert \nabla f \rVert \le 1}\; \mathbb E_{x \sim p} f(x) - \mathbb E_{x \sim q} f(x).$$
#
# So a **critic** learns numbers, not probabilities, and the slope has to be kept. The [gradient penalty](glossary:gradient-penalty) ([Gulrajani et al., 2017](https://arxiv.org/abs/1704.00028)) looks at points between real and made ones, $\hat x = \epsilon\, x_\text{real} + (1 - \epsilon)\, x_\text{made}$, one $\epsilon$ an example, and wants slope 1 there:
#
# $$\operatorname{mean}_{\hat x}\bigl(\lVert \nabla_{\hat x} f(\hat x) \rVert_2 - 1\bigr)^2.$$
#
# The norm goes over all numbers of an example, whatever its shape. The critic's weights learn from the penalty, so its gradient has to be differentiable; the call itself writes no `.grad`. `critic_loss` is what the critic minimises without the penalty: mean over made less mean over real.
#
# {{task:gradient_penalty}}

# %% [markdown] lang="ru"
# ## 7. Критик с наклоном
# Назад к игре. У $W_1$ наклон есть везде, как показывает картинка из раздела 2 семинара, и это тоже игра: наибольшая разность средних, какой достигает функция с наклоном не больше 1 ([Arjovsky и др., 2017](https://arxiv.org/abs/1701.07875)),
#
# $$W_1(p, q) = \max_{\lVert \nabla f \rVert \le 1}\; \mathbb E_{x \sim p} f(x) - \mathbb E_{x \sim q} f(x).$$
#
# Поэтому **критик** учит числа, а не вероятности, и наклон надо удерживать. [Штраф на градиент](glossary:gradient-penalty) (gradient penalty; [Gulrajani и др., 2017](https://arxiv.org/abs/1704.00028)) смотрит на точки между настоящими и сделанными, $\hat x = \epsilon\, x_\text{real} + (1 - \epsilon)\, x_\text{made}$, одно $\epsilon$ на пример, и хочет там наклона 1:
#
# $$\operatorname{mean}_{\hat x}\bigl(\lVert \nabla_{\hat x} f(\hat x) \rVert_2 - 1\bigr)^2.$$
#
# Норма берётся по всем числам примера, какой бы ни была его форма. Веса критика учатся по штрафу, поэтому градиент в нём должен быть дифференцируем; сам вызов не записывает `.grad`. `critic_loss` — то, что критик уменьшает без штрафа: среднее по сделанным минус среднее по настоящим.
#
# {{task:gradient_penalty}}


# %% solution="gradient_penalty"
def critic_loss(real: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    """What the critic minimises, a number. real (n,), made (m,): what it says of points."""
    ### BEGIN SOLUTION
    return made.mean() - real.mean()
    ### END SOLUTION


def gradient_penalty(
    critic: Callable, real: torch.Tensor, made: torch.Tensor, epsilon: torch.Tensor
) -> torch.Tensor:
    """The penalty, a number. real, made: (n, ...). epsilon: (n,). critic: (n, ...) -> (n,)."""
    ### BEGIN SOLUTION
    share = epsilon.reshape(-1, *[1] * (real.ndim - 1))
    between = (share * real + (1 - share) * made).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    return ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
    ### END SOLUTION


# %% test="gradient_penalty" points=0.75 bonus=true difficulty=3 minutes=25
call = "critic_loss([1, 4, 1], [7, 2])"
check.close(check.answer(critic_loss, torch.tensor([1.0, 4.0, 1.0]), torch.tensor([7.0, 2.0]), call=call), 2.5, call, why="push made points down and real ones up")
real, fake, epsilon = torch.tensor([[1.0, 2.0], [0.0, 4.0]]), torch.tensor([[3.0, 0.0], [1.0, 1.0]]), torch.tensor([0.25, 0.8])
call = "gradient_penalty(f, real, made, epsilon) of f(x) = |x|^2"
found = check.answer(gradient_penalty, lambda x: (x**2).sum(1), real, fake, epsilon, call=call)
check.close(found, 25.28923, call, rtol=1e-5)
### BEGIN HIDDEN TESTS
rng = check.rng("gradient_penalty")
for n, m in ((3, 3), (5, 2), (1, 4)):
    real, fake = torch.from_numpy(rng.normal(size=n)), torch.from_numpy(rng.normal(size=m))
    call = f"critic_loss of {n} real and {m} made"
    check.close(check.answer(critic_loss, real, fake, call=call), fake.mean() - real.mean(), call, rtol=1e-8, atol=1e-10, why="be the difference of the means")
for shape in ((4, 3), (2, 2, 3, 5), (1, 6), (5, 1)):
    n, size = shape[0], int(np.prod(shape[1:]))
    real, fake = (torch.from_numpy(rng.normal(size=shape)) for _ in range(2))
    epsilon = torch.from_numpy(rng.uniform(size=n))
    w = torch.from_numpy(rng.normal(size=size))
    call = f"gradient_penalty of a linear critic of points {shape}"
    found = check.answer(gradient_penalty, lambda x, w=w: x.flatten(1) @ w, real, fake, epsilon, call=call)
    check.close(found, (w.norm() - 1) ** 2, call, rtol=1e-7, why="be the same wherever it looks")
    call = f"gradient_penalty of f(x) = a |x|^2 / 2 of points {shape}"
    a = float(rng.uniform(0.5, 2))
    found = check.answer(gradient_penalty, lambda x, a=a: a * (x.flatten(1) ** 2).sum(1) / 2, real, fake, epsilon, call=call)
    between = [float(e) * r + (1 - float(e)) * f for e, r, f in zip(epsilon, real, fake, strict=True)]
    want = np.mean([(a * float(x.norm()) - 1) ** 2 for x in between])
    check.close(found, want, call, rtol=1e-9, why="look between each real point and its made one, example by example")
leaf = torch.tensor([0.3, -0.8]).double().requires_grad_()
real, fake, epsilon = torch.from_numpy(rng.normal(size=(3, 2))), torch.from_numpy(rng.normal(size=(3, 2))), torch.from_numpy(rng.uniform(size=3))


def of_weights(w):
    return gradient_penalty(lambda x: torch.tanh(x @ w), real, fake, epsilon)


between = epsilon[:, None] * real + (1 - epsilon[:, None]) * fake
slopes = (1 - torch.tanh(between @ leaf) ** 2)[:, None] * leaf
(want,) = torch.autograd.grad(((slopes.norm(dim=1) - 1) ** 2).mean(), leaf)
(got,) = check.gradient_of(of_weights, leaf, call="gradient_penalty(critic, real, made, epsilon)")
check.close(got, want, "its gradient for the critic's weights", rtol=1e-6, why="reach the weights through the slope")
with torch.no_grad():
    frozen = nn.Linear(2, 1).double().requires_grad_(False)
call = "gradient_penalty of made points that carry a graph"
carried = (fake * torch.ones(3, 2).double().requires_grad_()).requires_grad_()
found = check.answer(gradient_penalty, lambda x: frozen(x)[:, 0], real, carried, epsilon, call=call)
check.close(found, (frozen.weight.norm() - 1) ** 2, call, rtol=1e-7, why="not ask where the points are from")
call = "gradient_penalty of a critic that is flat"
found = check.answer(gradient_penalty, lambda x: (0 * x).sum(1) + 3, real, fake, epsilon, call=call)
check.close(found, 1.0, call, rtol=1e-7, why="be 1: no slope is as bad as slope 2")
slopes = check.gradient_of(critic_loss, torch.from_numpy(rng.normal(size=3)), torch.from_numpy(rng.normal(size=5)), call="critic_loss(real, made)")
check.close(slopes[0], [-1 / 3] * 3, "the gradient of critic_loss(real, made) for real", rtol=1e-7, why="push real points up")
check.close(slopes[1], [1 / 5] * 5, "the gradient of critic_loss(real, made) for made", rtol=1e-7, why="push made points down")
learner = nn.Linear(2, 1).double()
plain_real, plain_made = torch.from_numpy(rng.normal(size=(3, 2))), torch.from_numpy(rng.normal(size=(3, 2)))
check.answer(gradient_penalty, lambda x: torch.tanh(learner(x))[:, 0], plain_real, plain_made, epsilon, call="gradient_penalty(critic, real, made, epsilon)")
check.that(all(weight.grad is None for weight in learner.parameters()), "gradient_penalty: write no .grad: the caller does that with backward()")
check.that(not plain_real.requires_grad and not plain_made.requires_grad, "gradient_penalty: leave real and made as they were, without requires_grad")
### END HIDDEN TESTS

# %% mutant="gradient_penalty" why="real points down"
# - return made.mean() - real.mean()
# + return real.mean() - made.mean()

# %% mutant="gradient_penalty" why="sums"
# - return made.mean() - real.mean()
# + return made.sum() - real.sum()

# %% mutant="gradient_penalty" why="a constant critic passes: nothing is penalised"
# - return ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
# + return 0 * ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()

# %% mutant="gradient_penalty" why="only steep slopes"
# - return ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
# + return (torch.relu(slope.flatten(1).norm(dim=1) - 1) ** 2).mean()

# %% mutant="gradient_penalty" why="squared slopes, as for zero"
# - return ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
# + return (slope.flatten(1).norm(dim=1) ** 2).mean()

# %% mutant="gradient_penalty" why="one norm for the whole batch"
# - return ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
# + return (slope.norm() - 1) ** 2

# %% mutant="gradient_penalty" why="the norm over channels alone"
# - return ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
# + return ((slope.norm(dim=1) - 1) ** 2).mean()

# %% mutant="gradient_penalty" why="the sum of the numbers, not their norm"
# - return ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
# + return ((slope.flatten(1).sum(1).abs() - 1) ** 2).mean()

# %% mutant="gradient_penalty" why="the sum over examples"
# - return ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
# + return ((slope.flatten(1).norm(dim=1) - 1) ** 2).sum()

# %% mutant="gradient_penalty" why="the weights learn nothing"
# - (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
# + (slope,) = torch.autograd.grad(critic(between).sum(), between, retain_graph=True)
# + slope = slope + 0 * critic(between).sum()

# %% mutant="gradient_penalty" why="at the real points"
# - between = (share * real + (1 - share) * made).detach().requires_grad_()
# + between = (real + 0 * share * made).detach().requires_grad_()

# %% mutant="gradient_penalty" why="epsilon for the made ones"
# - between = (share * real + (1 - share) * made).detach().requires_grad_()
# + between = (share * made + (1 - share) * real).detach().requires_grad_()

# %% mutant="gradient_penalty" why="the middle, whatever epsilon"
# - between = (share * real + (1 - share) * made).detach().requires_grad_()
# + between = ((real + made) / 2 + 0 * share).detach().requires_grad_()

# %% mutant="gradient_penalty" why="one epsilon for all"
# - between = (share * real + (1 - share) * made).detach().requires_grad_()
# + between = (share[:1] * real + (1 - share[:1]) * made).detach().requires_grad_()

# %% mutant="gradient_penalty" why="the gradient of the mean"
# - (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
# + (slope,) = torch.autograd.grad(critic(between).mean(), between, create_graph=True)

# %% mutant="gradient_penalty" why="backward: the critic gets a .grad"
# - (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
# + critic(between).sum().backward(create_graph=True)
# + slope = between.grad

# %% mutant="gradient_penalty" why="real points ask for gradients from now on"
# - share = epsilon.reshape(-1, *[1] * (real.ndim - 1))
# + real.requires_grad_()
# + share = epsilon.reshape(-1, *[1] * (real.ndim - 1))

# %% mutant="gradient_penalty" why="the critic learns nothing from made points"
# - return made.mean() - real.mean()
# + return made.detach().mean() - real.mean()


# %% alternative="gradient_penalty" why="lerp, and the norm by hand"
def critic_loss(real, made):
    return made.sum() / len(made) - real.sum() / len(real)


def gradient_penalty(critic, real, made, epsilon):
    epsilon = epsilon.view(len(real), *(1 for _ in real.shape[1:]))
    points = torch.lerp(made.detach(), real.detach(), epsilon).requires_grad_(True)
    said = critic(points)
    slopes = torch.autograd.grad(said, points, torch.ones_like(said), create_graph=True, retain_graph=True)[0]
    lengths = slopes.pow(2).reshape(len(real), -1).sum(-1).sqrt()
    return torch.mean((lengths - 1.0).pow(2))


# %% [markdown]
# Two heaps that do not touch, on a line: what do a discriminator and a critic say between them, when both are trained far? Then the eight heaps of the seminar, with the balance that failed there: the critic may run ahead as far as it likes.

# %% [markdown] lang="ru"
# Две кучи, которые не касаются, на прямой: что говорят между ними дискриминатор и критик, если обучать их долго? Потом восемь кучек из семинара: критику можно убегать вперёд сколько угодно.


# %%
def network(inputs: int, outputs: int) -> nn.Module:
    width = settings["width"]
    return nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, outputs))


def penalised(critic, real, made, strength):
    """The critic's whole loss."""
    epsilon = torch.rand(len(real), device=real.device)
    penalty = gradient_penalty(lambda x: critic(x)[:, 0], real, made, epsilon)
    return critic_loss(critic(real)[:, 0], critic(made)[:, 0]) + strength * penalty


seed_everything(0)
judges = {"discriminator, probability": network(1, 1), "critic": network(1, 1)}
line = torch.linspace(-4, 4, 201)[:, None]
said = {}
for name, net in judges.items():
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(settings["gan_steps"]):
        real, fake = 2.5 + 0.3 * torch.randn(128, 1), -2.5 + 0.3 * torch.randn(128, 1)
        if name == "critic":
            loss = penalised(net, real, fake, 30.0)
        else:
            loss = F.softplus(-net(real)).mean() + F.softplus(net(fake)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        values = net(line)[:, 0]
        said[name] = line[:, 0].numpy(), (values.sigmoid() if "disc" in name else values - values[100]).numpy()
        if name == "critic":
            real, fake = 2.5 + 0.3 * torch.randn(4000, 1), -2.5 + 0.3 * torch.randn(4000, 1)
            print(f"the critic's difference of means {float(net(real).mean() - net(fake).mean()):.2f}; the heaps are 5 apart")
week10.apart({"between two heaps, at -2.5 and 2.5": said}, "x")
plots.show("Along a line with made points around -2.5 and real ones around 2.5: the discriminator's probability is flat at both ends with a step between, the critic rises evenly from one heap to the other.")


# %%
def play(seed: int, steps: int, critic_steps: int = 3, strength: float = 0.1):
    """(samples (2000, 2), modes covered after each 25 steps, critics' values on a grid)."""
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    generator, critic = network(4, 2).to(device), network(2, 1).to(device)
    optimisers = [torch.optim.Adam(n.parameters(), 1e-3, betas=(0.5, 0.9)) for n in (generator, critic)]
    side = torch.linspace(-1.6, 1.6, 65)
    plane = torch.cartesian_prod(side, side).to(device)
    covered, values = [], {}
    for step in range(1, steps + 1):
        for turn in [1] * critic_steps + [0]:
            made = generator(torch.randn(128, 4, device=device))
            if turn:
                real = torch.tensor(week10.ring(128, draw), dtype=torch.float32, device=device)
                loss = penalised(critic, real, made.detach(), strength)
            else:
                loss = -critic(made).mean()
            optimisers[turn].zero_grad()
            loss.backward()
            optimisers[turn].step()
        with torch.no_grad():
            if step in (20, steps // 4, steps):
                field = critic(plane)[:, 0].reshape(65, 65).T.cpu().numpy()
                values[f"step {step}"] = field, generator(torch.randn(300, 4, device=device)).cpu().numpy()
            if step % 25 == 0:
                covered.append(week10.modes(generator(torch.randn(2000, 4, device=device)).cpu().numpy())[0])
    with torch.no_grad():
        return generator(torch.randn(2000, 4, device=device)).cpu().numpy(), covered, values


start = time.perf_counter()
played = [play(seed, settings["gan_steps"]) for seed in range(settings["seeds"])]
for seed, (samples, covered, _) in enumerate(played):
    count, near = week10.modes(samples)
    print(f"seed {seed}: {count} of 8 modes, {near:.0%} of the samples near one; on the way", ", ".join(map(str, covered)))
print(f"{time.perf_counter() - start:.0f} s")
week10.critics(played[0][2])
plots.show("The critic's value over the plane as colours, with made points, at three times of the training: first a slope towards the ring, at the end a ring of hills with points on all eight.")

# %% [markdown]
# Count honestly: a plain GAN with two steps of $D$ found the heaps in the seminar, too. What has changed is what the judge says: a probability that is flat away from the data, or a number with a slope everywhere, so that it may be trained as far as it goes. Look at the first panel: long before a sample lies on a heap, the colours lead there.

# %% [markdown] lang="ru"
# Посчитаем честно: в семинаре и простая GAN с двумя шагами $D$ нашла кучки. Изменилось то, что говорит судья: вероятность, плоская вдали от данных, — или число, у которого наклон есть везде, и потому обучать судью можно до упора. Посмотрите на первую панель: задолго до того, как пример ляжет на кучку, цвета ведут к ней.

# %% [markdown]
# ## 8. A norm for every layer
# Another way to bound the slope: divide each weight matrix by its largest singular value $\sigma$; then no layer stretches anything ([Miyato et al., 2018](https://arxiv.org/abs/1802.05957)). A decomposition a step would be dear. **Power iteration** keeps a vector $u$ from step to step, and one round a step is enough:
#
# $$v \leftarrow \frac{W^\top u}{\lVert W^\top u \rVert}, \qquad u \leftarrow \frac{W v}{\lVert W v \rVert}, \qquad \sigma \approx u^\top W v.$$
#
# Gradients go through the $W$ in $\sigma$ alone; $u$ and $v$ count as constants. Filters of a convolution are taken as a matrix, one row an output channel. No norm is zero here.
#
# {{task:spectral_norm}}

# %% [markdown] lang="ru"
# ## 8. Норма для каждого слоя
# Другой способ ограничить наклон: разделить каждую матрицу весов на её наибольшее сингулярное число $\sigma$; тогда ни один слой ничего не растягивает ([Miyato и др., 2018](https://arxiv.org/abs/1802.05957)). Разложение на каждом шаге обошлось бы дорого. **Степенной метод** (power iteration) хранит вектор $u$ от шага к шагу, и хватает одного круга на шаг:
#
# $$v \leftarrow \frac{W^\top u}{\lVert W^\top u \rVert}, \qquad u \leftarrow \frac{W v}{\lVert W v \rVert}, \qquad \sigma \approx u^\top W v.$$
#
# Градиенты идут только через $W$ в $\sigma$; $u$ и $v$ считаются постоянными. Фильтры свёртки берутся как матрица, по строке на выходной канал. Нулевых норм здесь нет.
#
# {{task:spectral_norm}}


# %% solution="spectral_norm"
def spectral_norm(
    weight: torch.Tensor, u: torch.Tensor, rounds: int = 1
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(weight / sigma, of its shape; sigma, a number; the new u (outputs,), without a graph).

    weight: (outputs, ...). u: (outputs,), of length 1. rounds: of power iteration, 1 or more.
    """
    ### BEGIN SOLUTION
    matrix = weight.flatten(1)
    with torch.no_grad():
        for _ in range(rounds):
            v = F.normalize(matrix.T @ u, dim=0)
            u = F.normalize(matrix @ v, dim=0)
    sigma = u @ matrix @ v
    return weight / sigma, sigma, u
    ### END SOLUTION


# %% test="spectral_norm" points=0.75 bonus=true difficulty=3 minutes=20
weight, u = torch.tensor([[3.0, 0.0], [4.0, 5.0]]), torch.tensor([1.0, 0.0])
call = "spectral_norm(weight, u)"
scaled, sigma, new = check.answer(spectral_norm, weight, u, call=call)
check.close(sigma, 5.0, f"{call}[1]", why="be that of one round")
check.close(new, [0.6, 0.8], f"{call}[2]")
check.close(scaled, weight / 5, f"{call}[0]", why="be the weight over sigma")
### BEGIN HIDDEN TESTS
rng = check.rng("spectral_norm")


def slow_rounds(matrix, u, rounds):
    for _ in range(rounds):
        v = matrix.T @ u
        v = v / np.sqrt((v**2).sum())
        u = matrix @ v
        u = u / np.sqrt((u**2).sum())
    return float(u @ matrix @ v), u, v


for shape in ((4, 3), (2, 5), (3, 2, 3, 3), (1, 4), (5, 1)):
    weight = rng.normal(size=shape)
    u = rng.normal(size=shape[0])
    u /= np.linalg.norm(u)
    matrix = weight.reshape(shape[0], -1)
    for options in ({}, {"rounds": 3}):
        call = f"spectral_norm(weight {shape}, u" + (f", rounds={options['rounds']})" if options else ")")
        want, new, v = slow_rounds(matrix, u, options.get("rounds", 1))
        found = check.answer(spectral_norm, torch.from_numpy(weight), torch.from_numpy(u), call=call, **options)
        check.close(found[1], want, f"{call}[1]", rtol=1e-7, why="be u W v after that many rounds")
        check.close(found[2], new, f"{call}[2]", rtol=1e-7, atol=1e-9, why="be where the next call goes on")
        check.close(found[0], weight / want, f"{call}[0]", rtol=1e-9, atol=1e-12, why="be the weight over sigma, in its shape")

        def sigma_of(w, o=options, u=u):
            _, sigma, _ = spectral_norm(w, torch.from_numpy(u), **o)
            return sigma

        (slope,) = check.gradient_of(sigma_of, torch.from_numpy(weight), call=f"{call}[1]")
        check.close(slope, np.outer(new, v).reshape(shape), f"the gradient of {call}[1]", rtol=1e-6, atol=1e-9, why="treat u and v as constants")
    left, _, right = np.linalg.svd(matrix, full_matrices=False)
    values = 0.5 ** np.arange(len(left.T))
    clear = ((left * values) @ right).reshape(shape)  # its singular values are far apart
    call = f"spectral_norm(weight {shape}, u, rounds=60)"
    u = left[:, 0] + 0.3 * u
    found = check.answer(spectral_norm, torch.from_numpy(clear), torch.from_numpy(u / np.linalg.norm(u)), rounds=60, call=call)
    check.close(found[1], 1.0, f"{call}[1]", rtol=1e-6, why="come to the largest singular value")
weight, u = torch.from_numpy(rng.normal(size=(3, 4))), torch.tensor([0.6, 0.8, 0.0]).double()


def scaled_of(w):
    scaled, _, _ = spectral_norm(w, u)
    return scaled


upstream = rng.normal(size=(3, 4))
leaf = weight.clone().requires_grad_()
want, new, v = slow_rounds(weight.numpy(), u.numpy(), 1)
(slope,) = torch.autograd.grad(leaf / (torch.from_numpy(new) @ leaf @ torch.from_numpy(v)), leaf, torch.from_numpy(upstream))
(got,) = check.gradient_of(scaled_of, weight, call="spectral_norm(weight, u)[0]", upstream=upstream)
check.close(got, slope, "the gradient of spectral_norm(weight, u)[0]", rtol=1e-6, atol=1e-9, why="pass through sigma, too")
small, u = 1e-4 * rng.normal(size=(4, 3)), np.array([0.0, 0.6, 0.0, 0.8])
want, new, v = slow_rounds(small, u, 1)
call = "spectral_norm of weights as small as 1e-4"
found = check.answer(spectral_norm, torch.from_numpy(small), torch.from_numpy(u), call=call)
check.close(found[1], want, f"{call}[1]", rtol=1e-7, atol=0.0, why="be u W v, however small")
check.close(found[2], new, f"{call}[2]", rtol=1e-7, atol=1e-9, why="have length 1")
check.close(found[0], small / want, f"{call}[0]", rtol=1e-7, atol=1e-12, why="be over sigma where it is below 1, too")
### END HIDDEN TESTS

# %% mutant="spectral_norm" why="the Frobenius norm"
# - sigma = u @ matrix @ v
# + sigma = matrix.norm() + 0 * (u @ matrix @ v)

# %% mutant="spectral_norm" why="rows in place of columns"
# - matrix = weight.flatten(1)
# + matrix = weight.flatten(1).flip(0)

# %% mutant="spectral_norm" why="one round whatever is asked"
# - for _ in range(rounds):
# + for _ in range(1):

# %% mutant="spectral_norm" why="five rounds by default"
# - weight: torch.Tensor, u: torch.Tensor, rounds: int = 1
# + weight: torch.Tensor, u: torch.Tensor, rounds: int = 5

# %% mutant="spectral_norm" why="u stays as it was"
# - return weight / sigma, sigma, u
# + return weight / sigma, sigma, start
# - matrix = weight.flatten(1)
# + matrix, start = weight.flatten(1), u

# %% mutant="spectral_norm" why="v without its length 1"
# - v = F.normalize(matrix.T @ u, dim=0)
# + v = matrix.T @ u

# %% mutant="spectral_norm" why="sigma squared"
# - return weight / sigma, sigma, u
# + return weight / sigma**2, sigma**2, u

# %% mutant="spectral_norm" why="sigma is a constant: no gradient through it"
# - return weight / sigma, sigma, u
# + return weight / sigma.detach(), sigma, u

# %% mutant="spectral_norm" why="gradients through the iteration"
# - with torch.no_grad():
# + with torch.enable_grad():

# %% mutant="spectral_norm" why="the matrix, not the shape of the weights"
# - return weight / sigma, sigma, u
# + return matrix / sigma, sigma, u

# %% mutant="spectral_norm" why="multiplies"
# - return weight / sigma, sigma, u
# + return weight * sigma, sigma, u

# %% mutant="spectral_norm" why="an exact decomposition, without regard to u"
# - sigma = u @ matrix @ v
# + sigma = torch.linalg.matrix_norm(matrix, 2)

# %% mutant="spectral_norm" why="large weights alone"
# - return weight / sigma, sigma, u
# + return weight / sigma.clamp(min=1), sigma, u

# %% mutant="spectral_norm" why="lengths that are not 1 for small weights"
# - u = F.normalize(matrix @ v, dim=0)
# + u = F.normalize(matrix @ v, dim=0, eps=1e-2)


# %% alternative="spectral_norm" why="detached copies, sums"
def spectral_norm(weight, u, rounds=1):
    rows = weight.reshape(len(weight), -1)
    fixed = rows.detach()
    for _ in range(rounds):
        v = torch.mv(fixed.t(), u)
        v = v / v.norm()
        u = torch.mv(fixed, v)
        u = u / u.norm()
    sigma = (rows * torch.outer(u, v)).sum()
    return weight / sigma, sigma, u


# %%
torch.manual_seed(0)
weight = torch.randn(64, 64) / 8
exact, u = float(torch.linalg.matrix_norm(weight, 2)), F.normalize(torch.randn(64), dim=0)
errors = []
for _ in range(60):  # the weight changes a little at each step, as in training
    weight = weight + 0.002 * torch.randn(64, 64)
    _, sigma, u = spectral_norm(weight, u)
    errors.append(abs(float(sigma) / float(torch.linalg.matrix_norm(weight, 2)) - 1))
stretch = {}
for name, limited in (("as it is", False), ("each layer over its sigma", True)):
    torch.manual_seed(1)
    layers = [2 * torch.randn(64, 64) / 8 for _ in range(4)]
    if limited:
        layers = [spectral_norm(layer, F.normalize(torch.randn(64), dim=0), rounds=50)[0] for layer in layers]
    a, b = torch.randn(2, 500, 64)
    x, y = a, b
    for layer in layers:
        x, y = torch.relu(x @ layer.T), torch.relu(y @ layer.T)
    stretch[name] = float(((x - y).norm(dim=1) / (a - b).norm(dim=1)).max())
    print(f"four layers, {name}: distances are stretched by at most {stretch[name]:.2f}")
ax = plots.curves({"one round a step": np.array(errors)}, "How far off is sigma?", "step", "relative error", log_y=True)
plots.show("The relative error of sigma over steps with one round each, on a log axis: it falls within a few dozen steps and stays small although the weight goes on changing.")

# %% [markdown]
# **What to take along.** Exact likelihoods rest on a triangle of zeros: masks put it into a network, couplings into a map. What one direction gets in one pass costs the other $d$. Whole numbers want noise before they want a density. And a critic whose slope is bounded has something to say between distributions that do not touch.

# %% [markdown] lang="ru"
# **Что запомнить.** Точное правдоподобие держится на треугольнике нулей: маски ставят его в сеть, связывания — в отображение. Что в одну сторону делается за проход, в другую стоит $d$ проходов. Целым числам сначала нужен шум, потом плотность. А критику с ограниченным наклоном есть что сказать и между распределениями, которые не касаются.

# %% [markdown]
# **Sources**
# - M. Germain et al. [MADE](https://arxiv.org/abs/1502.03509). ICML 2015: §3, eq. 8 and 9. A. van den Oord, N. Kalchbrenner, K. Kavukcuoglu. [Pixel recurrent neural networks](https://arxiv.org/abs/1601.06759). ICML 2016: §3.4.
# - L. Dinh, J. Sohl-Dickstein, S. Bengio. [Density estimation using Real NVP](https://arxiv.org/abs/1605.08803). ICLR 2017: §3.2. D. Rezende, S. Mohamed. [Variational inference with normalizing flows](https://arxiv.org/abs/1505.05770). ICML 2015: §4.1, appendix A.
# - G. Papamakarios et al. [Normalizing flows for probabilistic modeling and inference](https://arxiv.org/abs/1912.02762). JMLR 2021: §3.
# - L. Theis, A. van den Oord, M. Bethge. [A note on the evaluation of generative models](https://arxiv.org/abs/1511.01844). ICLR 2016: §3.1.
# - I. Gulrajani et al. [Improved training of Wasserstein GANs](https://arxiv.org/abs/1704.00028). NeurIPS 2017: eq. 3. T. Miyato et al. [Spectral normalization](https://arxiv.org/abs/1802.05957). ICLR 2018: §2.1, appendix A.

# %% [markdown] lang="ru"
# **Источники**
# - M. Germain и др. [MADE](https://arxiv.org/abs/1502.03509). ICML 2015: §3, формулы 8 и 9. A. van den Oord, N. Kalchbrenner, K. Kavukcuoglu. [Pixel recurrent neural networks](https://arxiv.org/abs/1601.06759). ICML 2016: §3.4.
# - L. Dinh, J. Sohl-Dickstein, S. Bengio. [Density estimation using Real NVP](https://arxiv.org/abs/1605.08803). ICLR 2017: §3.2. D. Rezende, S. Mohamed. [Variational inference with normalizing flows](https://arxiv.org/abs/1505.05770). ICML 2015: §4.1, приложение A.
# - G. Papamakarios и др. [Normalizing flows for probabilistic modeling and inference](https://arxiv.org/abs/1912.02762). JMLR 2021: §3.
# - L. Theis, A. van den Oord, M. Bethge. [A note on the evaluation of generative models](https://arxiv.org/abs/1511.01844). ICLR 2016: §3.1.
# - I. Gulrajani и др. [Improved training of Wasserstein GANs](https://arxiv.org/abs/1704.00028). NeurIPS 2017: формула 3. T. Miyato и др. [Spectral normalization](https://arxiv.org/abs/1802.05957). ICLR 2018: §2.1, приложение A.
