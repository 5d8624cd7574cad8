# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Read a sentence, write a sentence
# The seminar's networks guessed the next character. Now one network reads a whole sentence and another one writes its translation, with **attention** between them: the idea from which the transformer grew. You carry the state of a network across a million characters, write the decoder step by step, search for the best translation (and find that the most probable one is a bad one), and build the measures by which translations are judged, with their blind spots. A tagger finds the words in *textwithoutspaces*. At the end your own network reads dates as people write them, and you watch where it looks.

# %% [markdown] lang="ru"
# # Прочитать предложение — написать предложение
# Сети семинара угадывали следующий символ. Теперь одна сеть прочитает предложение целиком, другая напишет перевод, а между ними будет **внимание** — идея, из которой вырос трансформер. Вы протянете состояние сети через миллион символов, по шагам соберёте декодер, найдёте самый вероятный перевод (и увидите, что он плох), построите меры, которыми судят переводы, и узнаете, чего эти меры не видят. Теггер найдёт слова в *текстебезпробелов*. А в конце ваша сеть прочтёт даты так, как их пишут люди, и вы посмотрите, куда она при этом смотрит.

# %% tags=["parameters"]
profile = "small"

# %%
import math
import re
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from functools import cache
from itertools import pairwise, product
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from practical_dl import check, data, plots, seed_everything
from practical_dl.weeks import week07

seed_everything(0)
device = "cuda" if torch.cuda.is_available() else "cpu"
if profile == "small":
    torch.set_num_threads(1)
settings = {
    "small": {"lm": 90, "width": 128, "longest": 5, "known": 800, "translate": 240, "judged": 120,
              "title": 42, "tag": 110, "dates": 300},
    "full": {"lm": 8_000, "width": 512, "longest": 25, "known": 8_000, "translate": 12_000, "judged": 300,
             "title": 90, "tag": 4_000, "dates": 3_000},
}[profile]
PAD, START, END, UNKNOWN = 0, 1, 2, 3  # tokens that no text has

# %% [markdown]
# **Rules.** Fill the cells that raise `NotImplementedError`, run the check below each, look at *your* result. The checks that you see are public ones: a good sign, not a promise. Seventeen small tasks, 7 points together; each can be solved without the others. Functions leave their arguments as they were. Results have the dtype of the numbers that go in; gradients pass through all that is a tensor, unless a task says otherwise. Numbers of tokens are `int64`.

# %% [markdown] lang="ru"
# **Правила.** Заполните ячейки с `NotImplementedError`, запустите проверку под каждой и посмотрите на *свой* результат. Видимые проверки — открытые: пройти их — хороший знак, но не гарантия. Семнадцать небольших заданий, вместе 7 баллов; каждое можно решить без остальных. Функции не меняют своих аргументов. Тип результата — тот же, что у поданных чисел; через тензоры проходят градиенты, если в задании не сказано иное. Номера токенов — `int64`.

# %%
shakespeare = data.load("shakespeare", profile).text
tatoeba = data.load("tatoeba", profile)
titles = data.load("arxiv_titles", profile)


# %%
def train(model: nn.Module, loss_of: Callable[[], torch.Tensor], steps: int, rate: float) -> float:
    """Steps of AdamW on what loss_of() gives; the rate falls in the second half. -> the last loss."""
    optimizer = torch.optim.AdamW(model.parameters(), rate, weight_decay=0.02)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, 2 * (1 - step / steps) + 0.02)
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return loss.item()


# %% [markdown]
# ## 1. A long text, piece by piece
# [Autoregression](glossary:autoregression): what a model wrote is what it reads next. How far back can it learn from? Measure it: the gradient of a last state by the inputs before it, in untrained networks of PyTorch.

# %% [markdown] lang="ru"
# ## 1. Длинный текст по частям
# [Авторегрессия](glossary:autoregression) (autoregression): что модель написала, то она дальше и читает. Из насколько далёкого прошлого она может учиться? Измерим: градиент последнего состояния по предыдущим входам у необученных сетей PyTorch.


# %%
def gradient_back(kind: type[nn.Module], forget: float | None = None, steps: int = 60) -> np.ndarray:
    """The size of the gradient of a last state by each input before it, the last one first."""
    torch.manual_seed(0)
    layer = kind(32, 64, batch_first=True)
    if forget is not None:
        layer.bias_ih_l0.data[64:128] = forget  # an LSTM's gates: in, forget, new, out
    x = torch.randn(16, steps, 32, requires_grad=True)
    hidden, _ = layer(x)
    (hidden[:, -1] * torch.randn(16, 64)).sum().backward()
    return x.grad.norm(dim=2).mean(0).flip(0).numpy()


curves = {
    "RNN": gradient_back(nn.RNN),
    "LSTM": gradient_back(nn.LSTM),
    "LSTM, forget gate's bias 2": gradient_back(nn.LSTM, 2.0),
    "LSTM, forget gate's bias 4": gradient_back(nn.LSTM, 4.0),
}
ax = plots.curves(
    {name: c / c[0] for name, c in curves.items()},
    "What is left of the gradient", "steps back", "norm, as a share of the last step's", log_y=True,
)
ax.set_ylim(1e-15, 10)
plots.show(
    "The gradient's norm against steps back, on a logarithmic scale: for the RNN and for the LSTM as it "
    "comes it falls by ten or more powers of ten within 60 steps, for an LSTM with an open forget gate hardly."
)

# %% [markdown]
# A gate alone does not help: at its start it is half open, and halves the gradient at each step. A forget gate that **starts open** does; training opens it where that pays. A million steps fit into no memory anyway. So **truncated backpropagation through time** cuts the text into pieces: values flow on from piece to piece, gradients stop at the border. For that the pieces of a batch have to go on where those of the batch before have ended.
#
# With $n$ tokens and $r$ rows, row $b$ is the stream of inputs $s_{bk}, \dots, s_{bk+k-1}$ with $k = \lfloor (n-1)/r \rfloor$; the target of each is the token after it, also in another row's stream. What does not fill a row is left out at the end. Then all rows are cut, side by side, into pieces of `length`; the last one may be shorter.
#
# {{task:streams}}

# %% [markdown] lang="ru"
# Сам по себе вентиль не помогает: вначале он открыт наполовину и на каждом шаге вдвое уменьшает градиент. Помогает вентиль забывания, **открытый с самого начала**; обучение откроет его там, где это выгодно. Но миллион шагов всё равно не поместится в память. Поэтому **усечённое обратное распространение во времени** (truncated BPTT) режет текст на куски: значения текут из куска в кусок, градиенты на границе останавливаются. Для этого куски следующего батча должны начинаться там, где кончились куски предыдущего.
#
# Если токенов $n$, а строк $r$, то строка $b$ — поток входов $s_{bk}, \dots, s_{bk+k-1}$, где $k = \lfloor (n-1)/r \rfloor$; цель каждого входа — следующий за ним токен, пусть он и начинает поток другой строки. Что не заполняет целой строки, отбрасывается в конце. Затем все строки, бок о бок, режутся на куски длины `length`; последний может быть короче.
#
# {{task:streams}}


# %% solution="streams"
def streams(ids: torch.Tensor, rows: int, length: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Pieces (x, y) of a text in the order of reading. ids: (n,), n > rows. x, y: (rows, t), t <= length.

    streams(tensor([5, 6, 7, 8, 9, 3, 4]), 2, 2) -> [([[5, 6], [8, 9]], [[6, 7], [9, 3]]),
                                                    ([[7], [3]],       [[8], [4]])]
    """
    ### BEGIN SOLUTION
    size = (len(ids) - 1) // rows
    x = ids[: rows * size].reshape(rows, size)
    y = ids[1 : rows * size + 1].reshape(rows, size)
    return list(zip(x.split(length, 1), y.split(length, 1), strict=True))
    ### END SOLUTION


# %% test="streams" points=0.5 difficulty=2 minutes=15
pieces = check.answer(streams, torch.tensor([5, 6, 7, 8, 9, 3, 4]), 2, 2, call="streams(tensor([5, 6, 7, 8, 9, 3, 4]), 2, 2)")
check.equal(len(pieces), 2, "the number of pieces of the docstring's example")
for i, pair in enumerate([([[5, 6], [8, 9]], [[6, 7], [9, 3]]), ([[7], [3]], [[8], [4]])]):
    for name, part, want in zip("xy", pieces[i], pair, strict=True):
        check.equal(part, np.array(want), f"{name} of piece {i} of the docstring's example")
### BEGIN HIDDEN TESTS
rng = check.rng("streams")


def judge_streams(ids, rows, length, why):
    """Each input and each target at its place, one by one."""
    n, call = len(ids), f"streams(ids, {rows}, {length}) of {len(ids)} tokens"
    k = (n - 1) // rows
    found = check.answer(streams, ids, rows, length, call=call)
    check.equal(len(found), -(-k // length), f"the number of pieces of {call}", why=why)
    listed = ids.tolist()
    for i, pair in enumerate(found):
        width = min(length, k - i * length)
        check.equal(len(pair), 2, f"the length of a pair of {call}", why="be two: x and y")
        for name, part, ahead in zip("xy", pair, (0, 1), strict=True):
            want = [[listed[b * k + i * length + j + ahead] for j in range(width)] for b in range(rows)]
            said = why if name == "x" else "be the token after each input, also where a row ends"
            check.equal(part, np.array(want), f"{name} of piece {i} of {call}", why=said)
            check.equal(str(part.dtype), "int64", f"the dtype of {name} of {call}", why="be that of the ids")


for n, rows, length, why in (
    (7, 1, 3, "read a single stream from its beginning to its end"),
    (13, 3, 4, "use every token that fills a row"),
    (13, 3, 2, "go on in each row where the piece before has ended"),
    (16, 3, 2, "keep a last piece that is shorter"),
    (12, 3, 2, "leave out at the end what does not fill a row"),
    (11, 2, 50, "give one piece where length is larger than a row"),
    (4, 3, 1, "bear rows of one token"),
):
    judge_streams(torch.from_numpy(rng.permutation(n) + 10), rows, length, why)
spaced = torch.arange(40).reshape(20, 2)[:, 1]
judge_streams(spaced, 4, 3, "bear ids that do not lie side by side")
### END HIDDEN TESTS

# %% mutant="streams" why="the target is the input"
# - y = ids[1 : rows * size + 1].reshape(rows, size)
# + y = ids[: rows * size].reshape(rows, size)

# %% mutant="streams" why="streams run down the columns: a row does not go on"
# - x = ids[: rows * size].reshape(rows, size)
# - y = ids[1 : rows * size + 1].reshape(rows, size)
# + x = ids[: rows * size].reshape(size, rows).T
# + y = ids[1 : rows * size + 1].reshape(size, rows).T

# %% mutant="streams" why="no token is left for the last target"
# - size = (len(ids) - 1) // rows
# + size = len(ids) // rows - 1

# %% mutant="streams" why="leaves out the shorter piece"
# - return list(zip(x.split(length, 1), y.split(length, 1), strict=True))
# + return [p for p in zip(x.split(length, 1), y.split(length, 1), strict=True) if p[0].shape[1] == length]

# %% mutant="streams" why="shuffled pieces"
# - return list(zip(x.split(length, 1), y.split(length, 1), strict=True))
# + return list(zip(x.split(length, 1), y.split(length, 1), strict=True))[::-1]

# %% mutant="streams" why="the last target of a row is its own first token"
# - y = ids[1 : rows * size + 1].reshape(rows, size)
# + y = x.roll(-1, 1)

# %% mutant="streams" why="what is left out stands at the beginning"
# - x = ids[: rows * size].reshape(rows, size)
# - y = ids[1 : rows * size + 1].reshape(rows, size)
# + x = ids[-rows * size - 1 : -1].reshape(rows, size)
# + y = ids[-rows * size :].reshape(rows, size)

# %% mutant="streams" why="float tokens"
# - x = ids[: rows * size].reshape(rows, size)
# + x = ids[: rows * size].reshape(rows, size).float()


# %% alternative="streams" why="indices, piece by piece"
def streams(ids, rows, length):
    k = (len(ids) - 1) // rows
    starts = torch.arange(rows)[:, None] * k
    pieces = []
    for at in range(0, k, length):
        places = starts + torch.arange(at, min(at + length, k))
        pieces.append((ids[places], ids[places + 1]))
    return pieces


# %% [markdown]
# One step of training reads one piece. `model(x, state)` gives logits $(r, t, V)$ and the state after them; the first piece has state `None`. The loss is the mean [cross-entropy](glossary:cross-entropy) over all tokens of the piece; `backward()` is called later, by whoever trains. The new state goes on **as a value**: without the graph by which it was made, or the graph grows with every piece until the memory ends. An RNN's or a GRU's state is a tensor, an LSTM's a tuple of two: what comes out is of the same kind.
#
# {{task:read_piece}}

# %% [markdown] lang="ru"
# Один шаг обучения читает один кусок. `model(x, state)` даёт логиты $(r, t, V)$ и состояние после них; у первого куска состояние — `None`. Ошибка — средняя [перекрёстная энтропия](glossary:cross-entropy) (cross-entropy) по всем токенам куска; `backward()` вызовет потом тот, кто учит. Новое состояние передаётся дальше **как значение**, без графа, которым оно получено, — иначе граф растёт с каждым куском, пока не кончится память. Состояние RNN или GRU — тензор, у LSTM — кортеж из двух; наружу выходит состояние того же вида.
#
# {{task:read_piece}}


# %% solution="read_piece"
def read_piece(model: Callable, x: torch.Tensor, y: torch.Tensor, state=None) -> tuple:
    """The loss of a piece, on which backward() can be called, and the state after it, a mere value.

    x, y: (r, t). state: None, a tensor, or a tuple of tensors. The model is called once.
    """
    ### BEGIN SOLUTION
    logits, state = model(x, state)
    loss = F.cross_entropy(logits.flatten(0, 1), y.flatten())
    if isinstance(state, tuple):
        return loss, tuple(part.detach() for part in state)
    return loss, state.detach()
    ### END SOLUTION


# %% test="read_piece" points=0.5 difficulty=2 minutes=15
def leaky(x, state):
    """The state halves and takes up the token; the logits of 3 tokens are -s, 0 and s."""
    state = torch.zeros(len(x), dtype=torch.float64) if state is None else state
    seen = []
    for token in x.T:
        state = state / 2 + token
        seen.append(state)
    s = torch.stack(seen, 1)
    return torch.stack([-s, torch.zeros_like(s), s], 2), state


piece = torch.tensor([[2, 1, 0], [1, 1, 2]]), torch.tensor([[1, 0, 2], [1, 2, 0]])
made = check.answer(read_piece, leaky, *piece, call="read_piece(leaky, x, y)")
check.close(made[1], [1.0, 2.75], "the state after read_piece(leaky, x, y)")
check.close(made[0], 2.3180313, "the loss of read_piece(leaky, x, y)", rtol=1e-5)
### BEGIN HIDDEN TESTS
rng = check.rng("read_piece")


def tiny_network(embed, mix, out, pair=False):
    """A recurrent network of three matrices; pair: with a state of two tensors."""

    def network(x, state=None):
        h = embed.new_zeros(len(x), len(mix)) if state is None else state[0] if pair else state
        c = embed.new_zeros(len(x), len(mix)) if state is None or not pair else state[1]
        seen = []
        for token in x.T:
            c = 0.5 * c + h
            h = torch.tanh(embed[token] + h @ mix + 0.3 * pair * c)
            seen.append(h)
        return torch.stack(seen, 1) @ out, (h, c) if pair else h

    return network


class Observed(nn.Module):
    """A small network of layers, which notes its calls and whether a state comes with a gradient."""

    def __init__(self, kind):
        super().__init__()
        self.embed, self.layer, self.top = nn.Embedding(5, 3), kind(3, 4, batch_first=True), nn.Linear(4, 5)
        self.calls, self.states = 0, []

    def forward(self, x, state=None):
        self.calls += 1
        parts = () if state is None else state if isinstance(state, tuple) else (state,)
        self.states += [part.requires_grad for part in parts]
        hidden, state = self.layer(self.embed(x), state)
        return self.top(hidden), state


def two_pieces(net, *pieces):
    """The loss of a second piece that begins where a first one has ended."""
    _, carried = read_piece(net, *pieces[:2])
    loss, _ = read_piece(net, *pieces[2:], carried)
    return loss


for kind in (nn.GRU, nn.LSTM):
    for training in (True, False):
        torch.manual_seed(int(rng.integers(1000)))
        net = Observed(kind).train(training)
        text = torch.from_numpy(rng.integers(0, 5, size=(3, 9)))
        call = f"read_piece of two pieces of a network with an nn.{kind.__name__}, in {'training' if training else 'eval'} mode"
        check.answer(two_pieces, net, text[:, :4], text[:, 1:5], text[:, 4:8], text[:, 5:], call=call)
        check.equal(net.calls, 2, f"the number of the network's calls in {call}", why="be one a piece")
        check.equal(net.states, [False] * len(net.states), f"whether the state asks for a gradient in {call}", why="go on as a value")
        check.equal(net.training, training, f"the network's mode after {call}", why="be what it was")
        check.that(all(p.grad is None for p in net.parameters()), "leave backward() to whoever trains")
        given = torch.zeros(1, 3, 4) if kind is nn.GRU else (torch.zeros(1, 3, 4), torch.zeros(1, 3, 4))
        check.answer(read_piece, net, text[:, :4], text[:, 1:5], given, call=call)
        check.that(not any(part.requires_grad for part in given), "leave the state that is given as it was")
wide, text = torch.from_numpy(2e3 * rng.normal(size=(2, 3, 4))), torch.from_numpy(rng.integers(0, 4, size=(2, 3)))
found = check.answer(read_piece, lambda x, state=None: (wide, torch.zeros(2)), text, text, call="read_piece of a network with large logits")
check.close(found[0], F.cross_entropy(wide.reshape(6, 4), text.reshape(6)), "the loss of read_piece of a network with large logits", rtol=1e-9, why="bear large logits")
for r, t, v, m, pair in ((3, 4, 5, 2, False), (2, 5, 3, 4, True), (1, 1, 4, 3, False), (1, 2, 4, 3, True), (3, 3, 5, 2, False)):
    mats = [torch.from_numpy(rng.normal(size=s)) for s in ((v, m), (m, m), (m, v))]
    text = torch.from_numpy(rng.integers(0, v, size=(r, 2 * t + 1)))
    first, second = (text[:, :t], text[:, 1 : t + 1]), (text[:, t : 2 * t], text[:, t + 1 :])
    net, call = tiny_network(*mats, pair), f"read_piece of x ({r}, {t}), {'LSTM-like' if pair else 'RNN-like'}"
    z, want_state = net(first[0])
    want_loss = F.cross_entropy(z.reshape(-1, v), first[1].reshape(-1))
    found = check.answer(read_piece, net, *first, call=call)
    check.equal(len(found), 2, f"len of {call}", why="be two: loss and state")
    check.close(found[0], want_loss, f"the loss of {call}", rtol=1e-9, why="be the mean over all tokens of the piece")
    check.equal(isinstance(found[1], tuple), pair, f"whether the state of {call} is a tuple", why="be of the kind that the model gave")
    for part, want in zip(found[1] if pair else [found[1]], want_state if pair else [want_state], strict=True):
        check.close(part, want, f"the state of {call}", rtol=1e-9, why="go on as a value")
    given = want_state
    z, later_state = net(second[0], given)
    found = check.answer(read_piece, net, *second, given, call=f"{call}, the second piece")
    want_loss = F.cross_entropy(z.reshape(-1, v), second[1].reshape(-1))
    check.close(found[0], want_loss, f"the loss of {call}, the second piece", rtol=1e-9, why="begin with the state that is given")
    for part, want in zip(found[1] if pair else [found[1]], later_state if pair else [later_state], strict=True):
        check.close(part, want, f"the state of {call}, the second piece", rtol=1e-9, why="be the one after the last token")

    def inside(*w, pair=pair, first=first):
        loss, _ = read_piece(tiny_network(*w, pair), *first)
        return loss

    want_slopes = check.gradient_of(
        lambda *w, pair=pair, first=first, v=v: F.cross_entropy(
            tiny_network(*w, pair)(first[0])[0].reshape(-1, v), first[1].reshape(-1)
        ),
        *mats, call="the reference",
    )
    slopes = check.gradient_of(inside, *mats, call=f"the gradient of {call}")
    for slope, want in zip(slopes, want_slopes, strict=True):
        check.close(slope, want, f"the gradient of {call}", rtol=1e-6, why="pass through all steps of the piece")

    def beyond(*w, of=read_piece, pair=pair, first=first, second=second, mats=mats):
        """The second piece's loss by the weights that read the first one."""
        _, after = of(tiny_network(*w, pair), *first)
        logits, _ = tiny_network(*(q.clone().requires_grad_() for q in mats), pair)(second[0], after)
        return logits

    for slope in check.gradient_of(beyond, *mats, call=f"the gradient of the next piece after {call}"):
        check.close(slope, np.zeros_like(slope), f"the gradient by what read the piece before, after {call}", why="stop at the border between pieces")
### END HIDDEN TESTS

# %% mutant="read_piece" why="the graph grows"
# - return loss, state.detach()
# + return loss, state

# %% mutant="read_piece" why="the graph of an LSTM grows"
# - return loss, tuple(part.detach() for part in state)
# + return loss, state

# %% mutant="read_piece" why="only h is cut off"
# - return loss, tuple(part.detach() for part in state)
# + return loss, (state[0].detach(), *state[1:])

# %% mutant="read_piece" why="the state is thrown away"
# - logits, state = model(x, state)
# + logits, state = model(x, None)

# %% mutant="read_piece" why="the old state is returned"
# - logits, state = model(x, state)
# + logits, new = model(x, state)
# + state = new if state is None else state

# %% mutant="read_piece" why="the sum, not the mean"
# - loss = F.cross_entropy(logits.flatten(0, 1), y.flatten())
# + loss = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="sum")

# %% mutant="read_piece" why="the last token alone"
# - loss = F.cross_entropy(logits.flatten(0, 1), y.flatten())
# + loss = F.cross_entropy(logits[:, -1], y[:, -1])

# %% mutant="read_piece" why="the loss has no gradient"
# - return loss, state.detach()
# + return loss.detach(), state.detach()

# %% mutant="read_piece" why="the state asks for a gradient again"
# - return loss, tuple(part.detach() for part in state)
# + return loss, tuple(part.detach().requires_grad_() for part in state)
# - return loss, state.detach()
# + return loss, state.detach().requires_grad_()

# %% mutant="read_piece" why="log of the softmax: infinite for large logits"
# - loss = F.cross_entropy(logits.flatten(0, 1), y.flatten())
# + loss = F.nll_loss(logits.flatten(0, 1).softmax(1).log(), y.flatten())

# %% mutant="read_piece" why="calls backward() itself"
# - loss = F.cross_entropy(logits.flatten(0, 1), y.flatten())
# + loss = F.cross_entropy(logits.flatten(0, 1), y.flatten())
# + if loss.requires_grad:
# +     loss.backward(retain_graph=True)

# %% mutant="read_piece" why="leaves the network in eval mode"
# - logits, state = model(x, state)
# + if isinstance(model, nn.Module):
# +     model.eval()
# + logits, state = model(x, state)

# %% mutant="read_piece" why="time first where both sizes are equal"
# - loss = F.cross_entropy(logits.flatten(0, 1), y.flatten())
# + if logits.shape[0] == logits.shape[1]:
# +     logits = logits.transpose(0, 1)
# + loss = F.cross_entropy(logits.flatten(0, 1), y.flatten())

# %% mutant="read_piece" why="a list in place of a tuple"
# - return loss, tuple(part.detach() for part in state)
# + return loss, [part.detach() for part in state]


# %% alternative="read_piece" why="log-softmax and gather; one cut for both kinds"
def read_piece(model, x, y, state=None):
    z, after = model(x, state)
    picked = z.log_softmax(-1).gather(2, y.unsqueeze(2))
    cut = torch.Tensor.detach
    return -picked.mean(), tuple(map(cut, after)) if type(after) is tuple else cut(after)


# %% [markdown]
# An LSTM reads Shakespeare in 32 streams, 64 characters a piece. Then the same network reads text that it has not seen, in pieces of 20 characters: once the state goes on, once each piece begins anew.

# %% [markdown] lang="ru"
# LSTM читает Шекспира в 32 потока, кусками по 64 символа. Затем та же сеть читает незнакомый ей текст кусками по 20 символов: один раз состояние передаётся дальше, другой — каждый кусок начинается с нуля.


# %%
class Reader(nn.Module):
    """Token numbers (n, t), a state -> logits (n, t, v), the new state."""

    def __init__(self, vocab: int, width: int) -> None:
        super().__init__()
        self.embed, self.layer = nn.Embedding(vocab, 48), nn.LSTM(48, width, batch_first=True)
        self.layer.bias_ih_l0.data[width : 2 * width] = 1.0  # the forget gate begins open
        self.out = nn.Linear(width, vocab)

    def forward(self, ids: torch.Tensor, state=None):
        hidden, state = self.layer(self.embed(ids), state)
        return self.out(hidden), state


alphabet = sorted(set(shakespeare))
letters = torch.tensor([alphabet.index(c) for c in shakespeare[-300_000:]], device=device)


@cache
def novelist() -> Reader:
    """A network that has read Shakespeare by truncated backpropagation through time."""
    torch.manual_seed(0)
    model = Reader(len(alphabet), settings["width"]).to(device)
    batches, memory = streams(letters[:-20_000], 32, 64), [None]

    def loss_of() -> torch.Tensor:
        at = loss_of.read % len(batches)
        loss, memory[0] = read_piece(model, *batches[at], memory[0] if at else None)
        loss_of.read += 1
        return loss

    loss_of.read = 0
    train(model, loss_of, settings["lm"], 6e-3)
    return model.eval()


@torch.no_grad()
def bits(carried: bool) -> float:
    """Bits a character on text that was not read, in pieces of 20, the state carried or not."""
    state, losses = None, []
    for x, y in streams(letters[-20_000:], 20, 20):
        loss, state = read_piece(novelist(), x, y, state if carried else None)
        losses.append(loss.item())
    return float(np.mean(losses)) / math.log(2)


novelist()
print(f"state carried: {bits(True):.2f} bits a character; begun anew: {bits(False):.2f}")
state, text, ids = None, "\n\nROMEO:\n", [alphabet.index(c) for c in "\n\nROMEO:\n"]
generator = torch.Generator().manual_seed(3)
with torch.no_grad():
    for _ in range(240):
        z, state = novelist()(torch.tensor([ids], device=device), state)
        ids = [int(torch.multinomial((z[0, -1] / 0.7).softmax(0).cpu(), 1, generator=generator))]
        text += alphabet[ids[0]]
print(text)

# %% [markdown]
# What the network knows of the text before the border is in its state alone, and it is worth the difference of these two numbers. The text has Shakespeare's shape (speakers, lines, letters that may follow each other) long before it has sense.
#
# ## 2. Attention
# A translator of 2014 read a sentence into one vector and wrote the translation from it: the longer the sentence, the more was lost. [Attention](glossary:attention) (Bahdanau et al., 2015, §3.1) lets the writer look back: a **query** (the writer's state) is compared with all **keys** (what the reader noted at each place), and the scores become weights of a mean of the **values**:
#
# $$a_j = \frac{e^{s_j}}{\sum_{i:\, m_i} e^{s_i}} \text{ where } m_j, \text{ else } 0; \qquad c = \sum_j a_j\, v_j.$$
#
# The mask $m$ is true where there is a token. Padding has to be out **before** the softmax, or the weights no longer sum to 1; its score is any number, even $-\infty$. In a row without any token all weights are 0, and so is $c$.
#
# {{task:attention}}

# %% [markdown] lang="ru"
# Всё, что сеть знает о тексте до границы, — это её состояние, и цена ему — разница этих двух чисел. Форма у текста шекспировская (роли, строки, сочетания букв) задолго до того, как появляется смысл.
#
# ## 2. Внимание
# Переводчик 2014 года читал предложение в один вектор и по нему писал перевод: чем длиннее предложение, тем больше терялось. [Внимание](glossary:attention) (attention; Bahdanau et al., 2015, §3.1) позволяет пишущему оглядываться: **запрос** (query, состояние пишущего) сравнивается со всеми **ключами** (keys, тем, что читавший отметил на каждом месте), и оценки становятся весами в среднем **значений** (values):
#
# $$a_j = \frac{e^{s_j}}{\sum_{i:\, m_i} e^{s_i}}, \text{ где } m_j, \text{ иначе } 0; \qquad c = \sum_j a_j\, v_j.$$
#
# Маска $m$ истинна там, где есть токен. Дополнение надо убрать **до** softmax, иначе веса в сумме не дадут 1; оценка у него — какая угодно, даже $-\infty$. В строке без единого токена все веса — нули, и $c$ тоже.
#
# {{task:attention}}


# %% solution="attention"
def attention(
    scores: torch.Tensor, values: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """scores, mask (True: a token): (n, t); values: (n, t, d) -> contexts (n, d), weights (n, t)."""
    ### BEGIN SOLUTION
    least = torch.finfo(scores.dtype).min
    weights = scores.masked_fill(~mask, least).softmax(1) * mask
    return torch.einsum("nt,ntd->nd", weights, values), weights
    ### END SOLUTION


# %% test="attention" points=0.45 difficulty=2 minutes=15
scores = torch.tensor([[0.0, math.log(3), 5.0], [1.0, 1.0, 1.0]])
values = torch.tensor([[[4.0, 0.0], [8.0, 1.0], [100.0, 9.0]], [[1.0, 2.0], [3.0, 7.0], [8.0, 0.0]]])
made = check.answer(attention, scores, values, torch.tensor([[True, True, False], [True, True, True]]), call="attention(scores, values, mask)")
check.close(made[1], [[0.25, 0.75, 0], [1 / 3, 1 / 3, 1 / 3]], "weights of attention(scores, values, mask)", why="sum to 1 over the tokens alone")
check.close(made[0], [[7.0, 0.75], [4.0, 3.0]], "contexts of attention(scores, values, mask)")
### BEGIN HIDDEN TESTS
rng = check.rng("attention")


def by_loops(s, v, m):
    """Weights and contexts, number by number."""
    a, c = np.zeros_like(s), np.zeros((len(s), v.shape[2]))
    for i, row in enumerate(s):
        there = [j for j in range(len(row)) if m[i, j]]
        if there:
            top = max(row[j] for j in there)
            total = sum(math.exp(row[j] - top) for j in there)
            for j in there:
                a[i, j] = math.exp(row[j] - top) / total
                c[i] += a[i, j] * v[i, j]
    return c, a


def judge_attention(s, v, m, why, rtol=1e-6, call="attention(scores, values, mask)"):
    call = f"{call} of n, t, d = {s.shape[0]}, {s.shape[1]}, {v.shape[2]}"
    want = by_loops(s.double().numpy(), v.double().numpy(), m.numpy())
    found = check.answer(attention, s, v, m, call=call)
    check.equal(len(found), 2, f"len of {call}", why="be two: contexts and weights")
    check.close(found[1], want[1], f"weights of {call}", rtol=rtol, why=why)
    check.close(found[0], want[0], f"contexts of {call}", rtol=rtol, atol=rtol, why=why)
    for part in found:
        check.equal(str(part.dtype), str(s.dtype).split(".")[1], f"the dtype of {call}", why="be that of the scores")


for n, t, d in ((2, 3, 4), (5, 2, 3), (1, 6, 2), (3, 1, 2), (3, 3, 2)):
    s, v = (torch.from_numpy(rng.normal(size=z)) for z in ((n, t), (n, t, d)))
    judge_attention(s, v, torch.ones(n, t, dtype=torch.bool), "softmax over the places, mean of the values")
s, v = (torch.from_numpy(rng.normal(size=z)) for z in ((4, 6), (4, 6, 3)))
m = torch.arange(6) < torch.tensor([[2], [6], [1], [4]])
judge_attention(s, v, m, "sum to 1 over the tokens alone")
judge_attention(s, v, m.flip(1), "leave out padding wherever it stands")
judge_attention(s - 500, v, m, "leave out padding also where all scores are very small", 1e-5)
judge_attention(s - 1e6, v, m, "leave out padding also where all scores are very small", 1e-5)
judge_attention(1e4 * s, v, m, "bear large scores")
big = s.clone()
big[~m] = 1e4
judge_attention(big, v, m, "leave out padding of any score")
judge_attention(s.masked_fill(~m, -torch.inf), v, m, "leave out padding of any score")
some = m & (torch.arange(4) != 2)[:, None]
judge_attention(s, v, some, "be 0 in a row without a token")
judge_attention(s.float(), v.float(), m, "sum to 1 over the tokens alone", 1e-4)
judge_attention(s.T.contiguous().T, v.transpose(1, 2).contiguous().transpose(1, 2), m, "bear any order in memory")


def plain_attention(s, v, m):
    """Contexts and weights; all that stands in a row without a token is taken out before."""
    safe = torch.where(m | ~m.any(1, keepdim=True), s, -torch.inf)
    a = torch.where(m, safe.softmax(1), 0.0)
    return (a[..., None] * v).sum(1), a


def part_of(of, i, m):
    """The contexts, or the weights, as a function of scores and values."""

    def chosen(s, v):
        both = of(s, v, m)
        return torch.square(both[i])

    return chosen


for there, where, why in ((m, "attention", "pass, but not to padding"), (some, "attention with a row without a token", "be 0 by what stands in a row without a token")):
    for i, part in enumerate(("the contexts", "the weights")):
        wanted = check.gradient_of(part_of(plain_attention, i, there), s, v, call="the reference")
        slopes = check.gradient_of(part_of(attention, i, there), s, v, call=f"the gradient of {part} of {where}")
        for name, slope, want in zip(("scores", "values"), slopes, wanted, strict=True):
            check.close(slope, want, f"the gradient of {part} by {name} through {where}", rtol=1e-6, why=why)
### END HIDDEN TESTS

# %% mutant="attention" why="mask after the softmax"
# - weights = scores.masked_fill(~mask, least).softmax(1) * mask
# + weights = scores.softmax(1) * mask

# %% mutant="attention" why="softmax over the batch"
# - weights = scores.masked_fill(~mask, least).softmax(1) * mask
# + weights = scores.masked_fill(~mask, least).softmax(0) * mask

# %% mutant="attention" why="the mask the other way round"
# - weights = scores.masked_fill(~mask, least).softmax(1) * mask
# + weights = scores.masked_fill(mask, least).softmax(1) * ~mask

# %% mutant="attention" why="padding gets the score 0"
# - weights = scores.masked_fill(~mask, least).softmax(1) * mask
# + weights = (scores * mask).softmax(1)

# %% mutant="attention" why="a row without a token is NaN"
# - weights = scores.masked_fill(~mask, least).softmax(1) * mask
# + weights = scores.masked_fill(~mask, -torch.inf).softmax(1)

# %% mutant="attention" why="weights for a row without a token"
# - weights = scores.masked_fill(~mask, least).softmax(1) * mask
# + weights = scores.masked_fill(~mask, least).softmax(1)

# %% mutant="attention" why="a score that is not small enough"
# - least = torch.finfo(scores.dtype).min
# + least = -100.0

# %% mutant="attention" why="a score that is not small enough for very small ones"
# - least = torch.finfo(scores.dtype).min
# + least = -1e4

# %% mutant="attention" why="the gradient of a row without a token is NaN"
# - weights = scores.masked_fill(~mask, least).softmax(1) * mask
# + weights = torch.nan_to_num((scores + mask.to(scores.dtype).log()).softmax(1))

# %% mutant="attention" why="padding is taken out by a product: -inf becomes NaN"
# - weights = scores.masked_fill(~mask, least).softmax(1) * mask
# + m = mask.to(scores.dtype)
# + weights = (scores * m + (1 - m) * least).softmax(1) * m

# %% mutant="attention" why="exp without a guard"
# - weights = scores.masked_fill(~mask, least).softmax(1) * mask
# + weights = scores.exp() * mask
# + weights = weights / weights.sum(1, keepdim=True).clamp(min=1e-300)

# %% mutant="attention" why="a sum, not a mean"
# - return torch.einsum("nt,ntd->nd", weights, values), weights
# + return torch.einsum("nt,ntd->nd", mask.to(values.dtype), values), weights

# %% mutant="attention" why="weights without gradients"
# - return torch.einsum("nt,ntd->nd", weights, values), weights
# + return torch.einsum("nt,ntd->nd", weights.detach(), values), weights


# %% alternative="attention" why="NaN made 0"
def attention(scores, values, mask):
    w = torch.nan_to_num(scores.masked_fill(~mask, -torch.inf).softmax(1))
    return torch.einsum("nt,ntd->nd", w, values), w


# %% alternative="attention" why="exp by hand, a batched product"
def attention(scores, values, mask):
    s = torch.where(mask, scores, -torch.inf)
    top = s.detach().amax(1, keepdim=True)
    e = torch.where(mask, (s - torch.where(top.isinf(), 0.0, top)).exp(), 0.0)
    total = e.sum(1, keepdim=True)
    weights = e / torch.where(total == 0, 1.0, total)
    return (weights[:, None] @ values)[:, 0], weights


# %% [markdown]
# How is a query compared with a key? Two answers. **Additive** (Bahdanau et al., 2015, appendix A.1.2): a small network with one hidden layer. **Multiplicative** (Luong et al., 2015, §3.1): a dot product, or, where sizes differ or directions should count differently, one with a matrix between.
#
# $$s_j = v^\top \tanh(W_q\, q + W_k\, k_j), \qquad\qquad s_j = q^\top k_j \quad\text{or}\quad s_j = q^\top W k_j.$$
#
# {{task:additive_scores}}

# %% [markdown] lang="ru"
# Как сравнить запрос с ключом? Есть два ответа. **Аддитивное** внимание (Bahdanau et al., 2015, приложение A.1.2): маленькая сеть с одним скрытым слоем. **Мультипликативное** (Luong et al., 2015, §3.1): скалярное произведение, а если размеры не совпадают или направления важны по-разному — с матрицей посередине.
#
# $$s_j = v^\top \tanh(W_q\, q + W_k\, k_j), \qquad\qquad s_j = q^\top k_j \quad\text{или}\quad s_j = q^\top W k_j.$$
#
# {{task:additive_scores}}


# %% solution="additive_scores"
def additive_scores(
    query: torch.Tensor, keys: torch.Tensor, w_q: torch.Tensor, w_k: torch.Tensor, v: torch.Tensor
) -> torch.Tensor:
    """query: (n, a), keys: (n, t, b), w_q: (m, a), w_k: (m, b), v: (m,) -> scores (n, t)."""
    ### BEGIN SOLUTION
    hidden = torch.tanh((query @ w_q.T)[:, None] + keys @ w_k.T)
    return hidden @ v
    ### END SOLUTION


# %% test="additive_scores" points=0.3 difficulty=2 minutes=10
made = check.answer(
    additive_scores, torch.tensor([[1.0, 2.0]]), torch.tensor([[[0.5], [-1.0], [0.0]]]),
    torch.tensor([[0.1, 0.2], [0.3, -0.4]]), torch.tensor([[1.0], [-0.5]]), torch.tensor([2.0, -3.0]),
    call="additive_scores(query, keys, w_q, w_k, v)",
)
check.close(made, [[3.42863512, -0.92423433, 2.31058574]], "additive_scores(query, keys, w_q, w_k, v)", rtol=1e-4)
### BEGIN HIDDEN TESTS
rng = check.rng("additive_scores")
for n, t, a, b, m in ((2, 3, 4, 5, 6), (1, 4, 3, 2, 5), (3, 1, 2, 4, 3), (3, 3, 3, 3, 3), (4, 2, 3, 1, 1)):
    q, k, wq, wk, u = (torch.from_numpy(rng.normal(size=s)) for s in ((n, a), (n, t, b), (m, a), (m, b), (m,)))
    want = np.zeros((n, t))
    for i, j in np.ndindex(n, t):
        want[i, j] = sum(
            float(u[h]) * math.tanh(float(wq[h] @ q[i]) + float(wk[h] @ k[i, j])) for h in range(m)
        )
    call = f"additive_scores of n, t, a, b, m = {n}, {t}, {a}, {b}, {m}"
    found = check.answer(additive_scores, q, k, wq, wk, u, call=call)
    check.close(found, want, call, rtol=1e-9, why="be v · tanh(W_q q + W_k k)")
    slopes = check.gradient_of(additive_scores, q, k, wq, wk, u, call=f"gradients through {call}")
    wanted = check.gradient_of(
        lambda q, k, wq, wk, u: torch.einsum("m,ntm->nt", u, torch.tanh(torch.einsum("ma,na->nm", wq, q)[:, None] + torch.einsum("mb,ntb->ntm", wk, k))),
        q, k, wq, wk, u, call="the reference",
    )
    for name, slope, one in zip(("query", "keys", "w_q", "w_k", "v"), slopes, wanted, strict=True):
        check.close(slope, one, f"the gradient by {name} through {call}", rtol=1e-6, why="pass")
far_q, far_k = 1e4 * torch.cat([q, -q]), torch.cat([k, k])  # both ends of tanh
call = "additive_scores of large queries"
far = check.answer(additive_scores, far_q, far_k, wq, wk, u, call=call)
check.close(far, (u * torch.tanh((far_q @ wq.T)[:, None] + far_k @ wk.T)).sum(2), call, rtol=1e-6, why="bear large numbers")
found = check.answer(additive_scores, *(x.float() for x in (q, k, wq, wk, u)), call="additive_scores of float32")
check.equal(str(found.dtype), "float32", "the dtype of additive_scores of float32", why="be that of the inputs")
### END HIDDEN TESTS

# %% mutant="additive_scores" why="no tanh"
# - hidden = torch.tanh((query @ w_q.T)[:, None] + keys @ w_k.T)
# + hidden = (query @ w_q.T)[:, None] + keys @ w_k.T

# %% mutant="additive_scores" why="tanh of each part"
# - hidden = torch.tanh((query @ w_q.T)[:, None] + keys @ w_k.T)
# + hidden = torch.tanh(query @ w_q.T)[:, None] + torch.tanh(keys @ w_k.T)

# %% mutant="additive_scores" why="tanh by exponentials without a guard"
# - hidden = torch.tanh((query @ w_q.T)[:, None] + keys @ w_k.T)
# + e = torch.exp(2 * ((query @ w_q.T)[:, None] + keys @ w_k.T))
# + hidden = (e - 1) / (e + 1)

# %% mutant="additive_scores" why="a square matrix the other way round"
# - hidden = torch.tanh((query @ w_q.T)[:, None] + keys @ w_k.T)
# + w_k = w_k if w_k.shape[0] == w_k.shape[1] else w_k.T
# + hidden = torch.tanh((query @ w_q.T)[:, None] + keys @ w_k)

# %% mutant="additive_scores" why="the query along the places, where that fits"
# - hidden = torch.tanh((query @ w_q.T)[:, None] + keys @ w_k.T)
# + q = query @ w_q.T
# + hidden = torch.tanh((q if keys.shape[0] == keys.shape[1] else q[:, None]) + keys @ w_k.T)

# %% mutant="additive_scores" why="the product in place of the sum"
# - hidden = torch.tanh((query @ w_q.T)[:, None] + keys @ w_k.T)
# + hidden = torch.tanh((query @ w_q.T)[:, None] * (keys @ w_k.T))

# %% mutant="additive_scores" why="v is forgotten"
# - return hidden @ v
# + return hidden.sum(2)

# %% mutant="additive_scores" why="tanh at the end"
# - return hidden @ v
# + return torch.tanh(hidden @ v)

# %% mutant="additive_scores" why="the first query for all"
# - hidden = torch.tanh((query @ w_q.T)[:, None] + keys @ w_k.T)
# + hidden = torch.tanh((query[:1] @ w_q.T)[:, None] + keys @ w_k.T)

# %% mutant="additive_scores" why="a weights' axis too many"
# - return hidden @ v
# + return (hidden @ v)[..., None]


# %% alternative="additive_scores" why="einsum"
def additive_scores(query, keys, w_q, w_k, v):
    q = torch.einsum("na,ma->nm", query, w_q).unsqueeze(1)
    k = torch.einsum("ntb,mb->ntm", keys, w_k)
    return torch.einsum("ntm,m->nt", (q + k).tanh(), v)


# %% [markdown]
# {{task:dot_scores}}

# %% [markdown] lang="ru"
# {{task:dot_scores}}


# %% solution="dot_scores"
def dot_scores(
    query: torch.Tensor, keys: torch.Tensor, w: torch.Tensor | None = None
) -> torch.Tensor:
    """query: (n, a), keys: (n, t, b) -> scores (n, t). w: (a, b); if there is none, a = b."""
    ### BEGIN SOLUTION
    if w is not None:
        query = query @ w
    return torch.einsum("nb,ntb->nt", query, keys)
    ### END SOLUTION


# %% test="dot_scores" points=0.25 difficulty=1 minutes=5
q, k = torch.tensor([[1.0, 2.0], [3.0, -1.0]]), torch.tensor([[[4.0, 5.0], [0.5, 1.5], [-2.0, 3.0]], [[1.0, 1.0], [2.0, 7.0], [0.0, 6.0]]])
check.close(check.answer(dot_scores, q, k, call="dot_scores(query, keys)"), [[14.0, 3.5, 4.0], [2.0, -1.0, -6.0]], "dot_scores(query, keys)")
w = torch.tensor([[1.0, 2.0], [0.5, -1.0]])
check.close(check.answer(dot_scores, q, k, w, call="dot_scores(query, keys, w)"), [[8.0, 1.0, -4.0], [9.5, 54.0, 42.0]], "dot_scores(query, keys, w)")
### BEGIN HIDDEN TESTS
rng = check.rng("dot_scores")
for n, t, a, b in ((3, 2, 4, 4), (2, 5, 3, 4), (1, 3, 2, 5), (4, 1, 6, 3), (3, 3, 3, 3)):
    q, k, w = (torch.from_numpy(rng.normal(size=s)) for s in ((n, a), (n, t, b), (a, b)))
    for given in [(q, k, w)] + [(q, k)] * (a == b):
        call = f"dot_scores{'(query, keys, w)' if len(given) == 3 else '(query, keys)'} of n, t, a, b = {n}, {t}, {a}, {b}"
        side = w if len(given) == 3 else torch.eye(a).double()
        want = [[float(q[i] @ side @ k[i, j]) for j in range(t)] for i in range(n)]
        check.close(check.answer(dot_scores, *given, call=call), want, call, rtol=1e-9, why="be q · W k, without a W q · k")
        wanted = check.gradient_of(lambda q, k, w=None: ((q if w is None else q @ w)[:, None] * k).sum(2), *given, call="the reference")
        for slope, one in zip(check.gradient_of(dot_scores, *given, call=f"gradients through {call}"), wanted, strict=True):
            check.close(slope, one, f"a gradient through {call}", rtol=1e-6, why="pass")
found = check.answer(dot_scores, q, k, torch.zeros_like(w), call="dot_scores with a matrix of zeros")
check.close(found, np.zeros((n, t)), "dot_scores with a matrix of zeros", why="use the matrix that is given")
found = check.answer(dot_scores, q.float(), k.float(), call="dot_scores of float32")
check.equal(str(found.dtype), "float32", "the dtype of dot_scores of float32", why="be that of the inputs")
### END HIDDEN TESTS

# %% mutant="dot_scores" why="the matrix transposed"
# - query = query @ w
# + query = query @ (w.T if w.shape[0] == w.shape[1] else w)

# %% mutant="dot_scores" why="the matrix is forgotten"
# - query = query @ w
# + query = query @ w if w.shape[0] != w.shape[1] else query

# %% mutant="dot_scores" why="a matrix of zeros counts as none"
# - if w is not None:
# + if w is not None and w.any():

# %% mutant="dot_scores" why="divided by the root of the size"
# - return torch.einsum("nb,ntb->nt", query, keys)
# + return torch.einsum("nb,ntb->nt", query, keys) / keys.shape[2] ** 0.5

# %% mutant="dot_scores" why="cosines"
# - return torch.einsum("nb,ntb->nt", query, keys)
# + return torch.einsum("nb,ntb->nt", F.normalize(query, dim=1), F.normalize(keys, dim=2))

# %% mutant="dot_scores" why="a sum over the batch, too"
# - return torch.einsum("nb,ntb->nt", query, keys)
# + return torch.einsum("mb,ntb->nt", query, keys)


# %% alternative="dot_scores" why="a batched product"
def dot_scores(query, keys, w=None):
    moved = keys if w is None else keys @ w.T
    return (moved @ query.unsqueeze(2)).squeeze(2)


# %% [markdown]
# ## 3. A network that writes
# The [encoder](glossary:encoder) reads the source in both directions and notes $h_j$ at each place $j$: the keys. The [decoder](glossary:decoder) writes token by token. One step, with the last token $y$ and the state $s$:
#
# $$c = \mathrm{attend}(s, \text{keys}), \qquad s' = \mathrm{cell}([\mathrm{embed}(y);\, c],\; s), \qquad \text{logits} = \mathrm{out}([s';\, c]).$$
#
# `model` has these parts as attributes: `embed(token)`, `attend(state, keys, mask)`, which gives contexts and weights, `cell(x, state)` and `out(x)`. Attention asks with the **old** state: the new one is made with its answer.
#
# {{task:decode_step}}

# %% [markdown] lang="ru"
# ## 3. Сеть, которая пишет
# [Кодировщик](glossary:encoder) (encoder) читает исходный текст в обе стороны и на каждом месте $j$ делает заметку $h_j$ — это ключи. [Декодер](glossary:decoder) (decoder) пишет токен за токеном. Один шаг, с последним токеном $y$ и состоянием $s$:
#
# $$c = \mathrm{attend}(s, \text{keys}), \qquad s' = \mathrm{cell}([\mathrm{embed}(y);\, c],\; s), \qquad \text{logits} = \mathrm{out}([s';\, c]).$$
#
# У `model` есть такие части (атрибуты): `embed(token)`, `attend(state, keys, mask)` — она даёт контексты и веса, `cell(x, state)` и `out(x)`. Внимание спрашивает **старым** состоянием: новое строится с его ответом.
#
# {{task:decode_step}}


# %% solution="decode_step"
def decode_step(
    model, token: torch.Tensor, state: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """token: (n,), state: (n, m), keys: (n, t, b), mask: (n, t) -> logits (n, v), new state, weights (n, t)."""
    ### BEGIN SOLUTION
    context, weights = model.attend(state, keys, mask)
    state = model.cell(torch.cat([model.embed(token), context], 1), state)
    return model.out(torch.cat([state, context], 1)), state, weights
    ### END SOLUTION


# %% test="decode_step" points=0.5 difficulty=2 minutes=15
toy = SimpleNamespace(
    embed=lambda token: torch.stack([token, token**2], 1).double(),
    attend=lambda state, keys, mask: (keys[:, 0] * state[:, :1], mask * state[:, :1]),
    cell=lambda x, state: x @ torch.tensor([[1.0], [0.1], [0.01]]).double() + 0.5 * state,
    out=lambda x: x @ torch.tensor([[1.0, 2.0, 0.0], [3.0, -1.0, 0.3]]).double(),
)
arguments = torch.tensor([3]), torch.tensor([[2.0]]).double(), torch.tensor([[[7.0], [5.0]]]).double(), torch.tensor([[True, False]])
made = check.answer(decode_step, toy, *arguments, call="decode_step(toy, token, state, keys, mask)")
for name, part, want in zip(("logits", "the new state", "weights"), made, ([[47.04, -3.92, 4.2]], [[5.04]], [[2.0, 0.0]]), strict=True):
    check.close(part, want, f"{name} of decode_step(toy, token, state, keys, mask)")
### BEGIN HIDDEN TESTS
rng = check.rng("decode_step")


class Parts(nn.Module):
    """The parts of a small decoder, its cell with two ways for its two inputs."""

    def __init__(self, *ws):
        super().__init__()
        self.ws = dict(zip("eqxho", ws, strict=True))

    def embed(self, token):
        return self.ws["e"][token]

    def attend(self, state, keys, mask):
        a = torch.einsum("nb,ntb->nt", state @ self.ws["q"], keys).masked_fill(~mask, -1e9).softmax(1)
        return torch.einsum("nt,ntb->nb", a, keys), a

    def cell(self, x, state):
        return torch.tanh(x @ self.ws["x"] - state @ self.ws["h"])

    def out(self, x):
        return x @ self.ws["o"]


def one_step(parts, token, state, keys, mask):
    c, a = parts.attend(state, keys, mask)
    new = parts.cell(torch.cat((parts.embed(token), c), dim=-1), state)
    return parts.out(torch.cat((new, c), dim=-1)), new, a


for n, t, b, m, e, v in ((2, 3, 4, 5, 6, 7), (3, 2, 4, 4, 4, 5), (1, 5, 2, 3, 4, 6), (4, 1, 3, 2, 5, 3)):
    ws = [torch.from_numpy(rng.normal(size=s)) for s in ((v, e), (m, b), (e + b, m), (m, m), (m + b, v))]
    parts = Parts(*ws)
    state, keys = (torch.from_numpy(rng.normal(size=s)) for s in ((n, m), (n, t, b)))
    token = torch.from_numpy(rng.integers(0, v, size=n))
    mask = torch.arange(t) < torch.from_numpy(rng.integers(1, t + 1, size=(n, 1)))
    call = f"decode_step of n, t, b, m, e, v = {n}, {t}, {b}, {m}, {e}, {v}"
    want = one_step(parts, token, state, keys, mask)
    found = check.answer(decode_step, parts, token, state, keys, mask, call=call)
    check.equal(parts.training, True, f"whether the model is in training mode after {call}", why="be what it was")
    check.equal(len(found), 3, f"len of {call}", why="be three")
    for name, part, one, why in zip(
        ("weights", "the new state", "logits"), (found[2], found[1], found[0]), (want[2], want[1], want[0]),
        ("be what the old state looks at", "come from the embedding, then the context", "come from the new state, then the context"),
        strict=True,
    ):
        check.close(part, one, f"{name} of {call}", rtol=1e-9, why=why)
    for i, name in ((0, "logits"), (1, "the state"), (2, "the weights")):

        def part_made(s, k, *ws, of=decode_step, i=i, token=token, mask=mask):
            three = of(Parts(*ws), token, s, k, mask)
            return three[i]

        up = torch.from_numpy(rng.normal(size=tuple(want[i].shape)))
        slopes = check.gradient_of(part_made, state, keys, *ws, upstream=up, call=f"gradients of {name} of {call}")
        wanted = check.gradient_of(part_made, state, keys, *ws, upstream=up, of=one_step, call="the reference")
        by = ("the state", "the keys", *(f"what the model has in {part}" for part in ("embed", "attend", "cell", "cell", "out")))
        for slope, one, what in zip(slopes, wanted, by, strict=True):
            check.close(slope, one, f"the gradient of {name} by {what}, {call}", rtol=1e-6, why="pass to the state, to the keys and to all parts of the model")
### END HIDDEN TESTS

# %% mutant="decode_step" why="attends with the new state"
# - context, weights = model.attend(state, keys, mask)
# - state = model.cell(torch.cat([model.embed(token), context], 1), state)
# + context, _ = model.attend(state, keys, mask)
# + state = model.cell(torch.cat([model.embed(token), context], 1), state)
# + context, weights = model.attend(state, keys, mask)

# %% mutant="decode_step" why="logits from the old state"
# - state = model.cell(torch.cat([model.embed(token), context], 1), state)
# - return model.out(torch.cat([state, context], 1)), state, weights
# + new = model.cell(torch.cat([model.embed(token), context], 1), state)
# + return model.out(torch.cat([state, context], 1)), new, weights

# %% mutant="decode_step" why="the context before the embedding"
# - state = model.cell(torch.cat([model.embed(token), context], 1), state)
# + state = model.cell(torch.cat([context, model.embed(token)], 1), state)

# %% mutant="decode_step" why="the context before the state"
# - return model.out(torch.cat([state, context], 1)), state, weights
# + return model.out(torch.cat([context, state], 1)), state, weights

# %% mutant="decode_step" why="padding is seen"
# - context, weights = model.attend(state, keys, mask)
# + context, weights = model.attend(state, keys, torch.ones_like(mask))

# %% mutant="decode_step" why="the old state is returned"
# - return model.out(torch.cat([state, context], 1)), state, weights
# + return model.out(torch.cat([state, context], 1)), old, weights
# - context, weights = model.attend(state, keys, mask)
# + old = state
# + context, weights = model.attend(state, keys, mask)

# %% mutant="decode_step" why="the state's graph is cut"
# - context, weights = model.attend(state, keys, mask)
# + state = state.detach()
# + context, weights = model.attend(state, keys, mask)

# %% mutant="decode_step" why="the embedding never learns"
# - state = model.cell(torch.cat([model.embed(token), context], 1), state)
# + state = model.cell(torch.cat([model.embed(token).detach(), context], 1), state)

# %% mutant="decode_step" why="weights without a gradient"
# - return model.out(torch.cat([state, context], 1)), state, weights
# + return model.out(torch.cat([state, context], 1)), state, weights.detach()

# %% mutant="decode_step" why="leaves the model in eval mode"
# - context, weights = model.attend(state, keys, mask)
# + if isinstance(model, nn.Module):
# +     model.eval()
# + context, weights = model.attend(state, keys, mask)

# %% mutant="decode_step" why="probabilities, not logits"
# - return model.out(torch.cat([state, context], 1)), state, weights
# + return model.out(torch.cat([state, context], 1)).softmax(1), state, weights


# %% alternative="decode_step" why="other names, hstack"
def decode_step(model, token, state, keys, mask):
    looked = model.attend(state, keys, mask)
    after = model.cell(torch.hstack((model.embed(token), looked[0])), state)
    return model.out(torch.hstack((after, looked[0]))), after, looked[1]


# %% [markdown]
# In training the right translation is known, so each step gets the **right** last token, not the one that the network would have written: [teacher forcing](glossary:teacher-forcing). At place $i$ the decoder reads target $i-1$ (at the first place the start token) and has to say target $i$. A network that reads target $i$ itself learns to copy, with a loss near 0, and writes nonsense.
#
# {{task:teacher_forced}}

# %% [markdown] lang="ru"
# При обучении верный перевод известен, поэтому каждый шаг получает **верный** предыдущий токен, а не тот, что написала бы сеть: это [навязывание учителем](glossary:teacher-forcing) (teacher forcing). На месте $i$ декодер читает токен цели $i-1$ (на первом месте — начальный токен) и должен назвать токен $i$. Сеть, которой показали сам токен $i$, научится переписывать: ошибка почти нулевая, а пишет она чепуху.
#
# {{task:teacher_forced}}


# %% solution="teacher_forced"
def teacher_forced(step: Callable, state: torch.Tensor, target: torch.Tensor, start: int = START) -> torch.Tensor:
    """The logits of all places. target: (n, t), t >= 1 -> (n, t, v).

    step(token (n,), state) -> logits (n, v), the new state. It is called t times.
    """
    ### BEGIN SOLUTION
    token, rows = torch.full_like(target[:, 0], start), []
    for right in target.T:
        logits, state = step(token, state)
        rows.append(logits)
        token = right
    return torch.stack(rows, 1)
    ### END SOLUTION


# %% test="teacher_forced" points=0.5 difficulty=2 minutes=15
def adding(token, state):
    """The state doubles and takes up the token; two logits show it."""
    state = 2 * state + token
    return torch.stack([state, -state + 0.5], 1), state


made = check.answer(teacher_forced, adding, torch.tensor([1.0, 0.0]), torch.tensor([[5, 7, 4], [6, 3, 8]]), 9, call="teacher_forced(adding, state, target, 9)")
check.close(made[..., 0], [[11.0, 27.0, 61.0], [9.0, 24.0, 51.0]], "the first logits of teacher_forced(adding, state, target, 9)")
check.equal(made.shape, (2, 3, 2), "the shape of teacher_forced(adding, state, target, 9)")
### BEGIN HIDDEN TESTS
rng = check.rng("teacher_forced")
for n, t, v, m in ((2, 3, 4, 5), (3, 1, 5, 2), (1, 6, 3, 4), (4, 2, 9, 3), (3, 3, 4, 2)):
    embed, mix, out = (torch.from_numpy(rng.normal(size=s)) for s in ((v, m), (m, m), (m, v)))
    target = torch.from_numpy(rng.integers(0, v, size=(n, t)))
    state = torch.from_numpy(rng.normal(size=(n, m)))
    first, asked = int(rng.integers(2, v)), []

    def step(token, state, embed=embed, mix=mix, out=out, asked=asked):
        asked.append(check.array(token, "a token that step gets"))
        state = torch.tanh(embed[token] + state @ mix)
        return state @ out, state

    def unrolled(state, start, target=target, t=t, step=step):
        logits = []
        for i in range(t):
            z, state = step(torch.full((len(state),), start) if i == 0 else target[:, i - 1], state)
            logits.append(z[:, None])
        return torch.cat(logits, 1)

    call = f"teacher_forced(step, state, target, {first}) of n, t, v = {n}, {t}, {v}"
    want = unrolled(state, first)
    asked.clear()
    found = check.answer(teacher_forced, step, state, target, first, call=call)
    check.equal(len(asked), t, f"the number of calls of step in {call}", why="be one for each place")
    check.equal(np.stack(asked, 1), np.concatenate([np.full((n, 1), first), target.numpy()[:, :-1]], 1), f"the tokens that step gets in {call}", why="be the start token, then the right ones, one place late")
    check.equal(str(np.stack(asked).dtype), "int64", f"the dtype of the tokens that step gets in {call}", why="be whole numbers, as in the target")
    check.close(found, want, call, rtol=1e-9, why="hand the state from step to step")
    up = torch.from_numpy(rng.normal(size=(n, t, v)))
    slope = check.gradient_of(lambda s, f=first, step=step, y=target: teacher_forced(step, s, y, f), state, upstream=up, call=f"the gradient through {call}")[0]
    want_slope = check.gradient_of(lambda s, f=first, u=unrolled: u(s, f), state, upstream=up, call="the reference")[0]
    check.close(slope, want_slope, f"the gradient by the state through {call}", rtol=1e-6, why="pass through all steps")
    found = check.answer(teacher_forced, step, state, target, call="teacher_forced(step, state, target)")
    check.close(found, unrolled(state, 1), "teacher_forced(step, state, target)", rtol=1e-9, why="start with START where no start is given")
### END HIDDEN TESTS

# %% mutant="teacher_forced" why="the target is not shifted"
# - logits, state = step(token, state)
# + logits, state = step(right, state)

# %% mutant="teacher_forced" why="its own answers, not the right ones"
# - token = right
# + token = logits.argmax(1)

# %% mutant="teacher_forced" why="the state stays as it was"
# - logits, state = step(token, state)
# + logits, _ = step(token, state)

# %% mutant="teacher_forced" why="another default"
# - def teacher_forced(step: Callable, state: torch.Tensor, target: torch.Tensor, start: int = START) -> torch.Tensor:
# + def teacher_forced(step: Callable, state: torch.Tensor, target: torch.Tensor, start: int = PAD) -> torch.Tensor:

# %% mutant="teacher_forced" why="time before the batch"
# - return torch.stack(rows, 1)
# + return torch.stack(rows, 0)

# %% mutant="teacher_forced" why="a reshape where two sizes are equal"
# - return torch.stack(rows, 1)
# + made = torch.stack(rows, 0)
# + return made.reshape(*target.shape, -1) if len(made) == len(target) else made.transpose(0, 1)

# %% mutant="teacher_forced" why="forgets the start: one place less"
# - return torch.stack(rows, 1)
# + return torch.stack(rows, 1)[:, 1:]

# %% mutant="teacher_forced" why="the graph is cut at each step"
# - token = right
# + token, state = right, state.detach()

# %% mutant="teacher_forced" why="two tokens late"
# - token = right
# + token, late = (late, right) if len(rows) > 1 else (token, right)


# %% alternative="teacher_forced" why="the shifted target first"
def teacher_forced(step, state, target, start=START):
    shifted = F.pad(target, (1, 0), value=start)
    made = []
    for i in range(target.shape[1]):
        z, state = step(shifted[:, i], state)
        made.append(z)
    return torch.stack(made, dim=1)


# %% [markdown]
# Your parts in one network. It learns to translate Russian sentences of a few words into English, from a few thousand pairs of [Tatoeba](https://tatoeba.org). Of a Russian word the first five letters count: a poor man's stem, since endings make most words rare. Target words that are not among the known ones are never written.

# %% [markdown] lang="ru"
# Ваши части в одной сети. Она учится переводить русские предложения из нескольких слов на английский по нескольким тысячам пар с сайта [Tatoeba](https://tatoeba.org). От русского слова берутся первые пять букв — стемминг для бедных: из-за окончаний почти все слова редки. Слова перевода, которых нет в словаре, никогда не пишутся.


# %%
class Seq2Seq(nn.Module):
    """An encoder in both directions, a decoder with additive attention; number 0 of a source is padding."""

    def __init__(self, source: int, target: int, dim: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.source, self.drop = nn.Embedding(source, dim, padding_idx=PAD), nn.Dropout(dropout)
        self.encoder = nn.GRU(dim, width, batch_first=True, bidirectional=True)
        self.first, self.target = nn.Linear(2 * width, width), nn.Embedding(target, dim)
        self.cell, self.head = nn.GRUCell(dim + 2 * width, width), nn.Linear(3 * width, target)
        self.w_q = nn.Parameter(torch.randn(width, width) / width**0.5)
        self.w_k = nn.Parameter(torch.randn(width, 2 * width) / (2 * width) ** 0.5)
        self.v = nn.Parameter(torch.randn(width) / width**0.5)

    def encode(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Numbers (n, t) -> keys (n, t, 2 width), mask (n, t), the decoder's first state (n, width)."""
        mask = ids != PAD
        if not len(ids):  # no source at all
            keys = self.v.new_zeros(*ids.shape, 2 * len(self.v))
            return keys, mask, self.v.new_zeros(0, len(self.v))
        packed = nn.utils.rnn.pack_padded_sequence(
            self.drop(self.source(ids)), mask.sum(1).cpu(), batch_first=True, enforce_sorted=False
        )
        keys, last = self.encoder(packed)
        keys, _ = nn.utils.rnn.pad_packed_sequence(keys, batch_first=True, total_length=ids.shape[1])
        return keys, mask, torch.tanh(self.first(torch.cat([last[0], last[1]], 1)))

    def embed(self, token: torch.Tensor) -> torch.Tensor:
        return self.drop(self.target(token))

    def attend(self, state: torch.Tensor, keys: torch.Tensor, mask: torch.Tensor):
        return attention(additive_scores(state, keys, self.w_q, self.w_k, self.v), keys, mask)

    def out(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(x))

    def step(self, keys: torch.Tensor, mask: torch.Tensor) -> Callable:
        """For one batch of sources: token, state -> logits, state."""
        return lambda token, state: decode_step(self, token, state, keys, mask)[:2]


# %%
def words(text: str) -> list[str]:
    """Words and signs of a text, in lower case."""
    return re.findall(r"[\w’']+|[^\w\s]", text.lower())


def stems(text: str) -> list[str]:
    return [word[:5] for word in words(text)]


def numbered(texts: Sequence[Sequence[str]], most: int) -> dict[str, int]:
    """The most frequent words by their numbers, from 4 on."""
    counts = Counter(word for text in texts for word in text)
    return {word: 4 + i for i, (word, _) in enumerate(counts.most_common(most))}


def batch_of(texts: Sequence[Sequence[str]], number: dict[str, int]) -> torch.Tensor:
    """Numbers, padded behind the END of each: (n, t)."""
    rows = [torch.tensor([*(number.get(word, UNKNOWN) for word in text), END]) for text in texts]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD).to(device)


def short(russian: Sequence[str], english: Sequence[str]) -> list[tuple[list[str], list[str]]]:
    """Pairs of a source and its translation, both of few words."""
    pairs = [(stems(r), words(e)) for e, r in zip(english, russian, strict=True)]
    return [pair for pair in pairs if max(map(len, pair)) <= settings["longest"]]


pairs = short(tatoeba.y_train, tatoeba.x_train)
judged = short(tatoeba.y_test, tatoeba.x_test)[: settings["judged"]]
russian = numbered([r for r, _ in pairs], 5 * settings["known"] // 2)
english = numbered([e for _, e in pairs], settings["known"])
spoken = {i: word for word, i in english.items()}
print(f"{len(pairs)} pairs to learn from, such as {' '.join(pairs[0][0])} | {' '.join(pairs[0][1])}; {len(judged)} to be judged by")


@cache
def translator() -> Seq2Seq:
    """A network that has learned to translate."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = Seq2Seq(4 + len(russian), 4 + len(english), 96, settings["width"], 0.3).to(device)

    def loss_of() -> torch.Tensor:
        some = [pairs[i] for i in rng.integers(len(pairs), size=32)]
        target = batch_of([e for _, e in some], english)
        keys, mask, state = model.encode(batch_of([r for r, _ in some], russian))
        logits = teacher_forced(model.step(keys, mask), state, target)
        return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PAD)

    print(f"loss at the end: {train(model, loss_of, settings['translate'], 5e-3):.2f}")
    model.head.bias.data[[PAD, START, UNKNOWN]] = -1e4  # these are never written
    return model.eval()


_ = translator()

# %% [markdown]
# ## 4. Searching for the best translation
# The network gives each next token a probability. To take the most probable one each time is greedy: a good beginning can have no good end. To look at all sequences is impossible. [Beam search](glossary:beam-search) keeps the `width` best beginnings:
#
# 1. At first the empty sequence is the only live one, with $\log p = 0$.
# 2. A step extends every live sequence by every token and keeps, of all these extensions together, the `width` with the largest $\log p$ (the sum over their tokens). Of those kept, the ones that end with `end` are **finished**: they are put aside and never extended; the others are the new live ones.
# 3. It stops after `max_length` steps, or when none is live. Returned are all that are finished and all that are still live, the most probable first.
#
# Extensions with $\log p = -\infty$ are never kept. Of equally probable ones, that whose tokens come first in Python's order of tuples is the better one, in step 2 and in the answer.
#
# {{task:beam_search}}

# %% [markdown] lang="ru"
# ## 4. Поиск лучшего перевода
# Сеть даёт вероятность каждого следующего токена. Брать каждый раз самый вероятный — жадность: у хорошего начала может не быть хорошего конца. Перебрать все последовательности невозможно. [Лучевой поиск](glossary:beam-search) (beam search) хранит `width` лучших начал:
#
# 1. Сначала жива только пустая последовательность, её $\log p = 0$.
# 2. Шаг продолжает каждую живую последовательность каждым токеном и из всех продолжений вместе оставляет `width` с наибольшим $\log p$ (суммой по токенам). Те из оставленных, что кончаются на `end`, **завершены**: они откладываются и больше не продолжаются; остальные — новые живые.
# 3. Поиск кончается после `max_length` шагов или когда живых нет. Возвращаются все завершённые и все ещё живые, самая вероятная — первой.
#
# Продолжения с $\log p = -\infty$ не оставляют никогда. Из равновероятных лучше та, чьи токены идут раньше в порядке кортежей Python, — и на шаге 2, и в ответе.
#
# {{task:beam_search}}


# %% solution="beam_search"
def beam_search(
    next_log_p: Callable, end: int, width: int, max_length: int
) -> list[tuple[tuple[int, ...], float]]:
    """Sequences with their log-probabilities, best first.

    next_log_p(list of k tuples of tokens) -> an array (k, v): log p of each next token. It is called
    once a step, with all live sequences. end: from 0 to v - 1. width >= 1. max_length >= 0.
    """
    ### BEGIN SOLUTION
    live, done = [((), 0.0)], []
    for _ in range(max_length):
        if not live:
            break
        live.sort()  # so that places in the table are in the order of tuples
        steps = np.asarray(next_log_p([tokens for tokens, _ in live]), dtype=float)
        totals = steps + np.array([[total] for _, total in live])
        best = np.argsort(-totals, axis=None, kind="stable")[:width]
        grown = []
        for row, token in zip(*np.unravel_index(best, totals.shape), strict=True):
            if totals[row, token] > -np.inf:
                grown.append(((*live[row][0], int(token)), float(totals[row, token])))
        done += [one for one in grown if one[0][-1] == end]
        live = [one for one in grown if one[0][-1] != end]
    return sorted(done + live, key=lambda one: (-one[1], one[0]))
    ### END SOLUTION


# %% test="beam_search" points=0.75 difficulty=4 minutes=40
def garden(prefixes):
    """Token 0 ends. The best first token is 1, but the best sequence begins with 2."""
    table = {(): [-4.0, -0.5, -1.0], (1,): [-3.0, -2.5, -2.0], (2,): [-0.25, -5.0, -3.5]}
    return np.array([table.get(p, [-0.125, -6.0, -7.0]) for p in prefixes])


for wide, most, want in (
    (1, 2, [((1, 2), -2.5)]),
    (2, 2, [((2, 0), -1.25), ((1, 2), -2.5)]),
    (2, 3, [((2, 0), -1.25), ((1, 2, 0), -2.625), ((1, 2, 1), -8.5)]),
):
    call = f"beam_search(garden, 0, {wide}, {most})"
    found = check.answer(beam_search, garden, 0, wide, most, call=call)
    check.equal([tuple(tokens) for tokens, _ in found], [tokens for tokens, _ in want], f"the sequences of {call}")
    check.close([p for _, p in found], [p for _, p in want], f"the log-probabilities of {call}")
### BEGIN HIDDEN TESTS
rng = check.rng("beam_search")


def slow_beam(law, end, width, most):
    """The statement, word for word."""
    live, done = [((), 0.0)], []
    for _ in range(most):
        if live:
            rows = law([t for t, _ in live])
            grown = [((*t, w), p + float(q)) for (t, p), row in zip(live, rows, strict=True) for w, q in enumerate(row)]
            grown = sorted((g for g in grown if g[1] > -math.inf), key=lambda g: (-g[1], g[0]))[:width]
            done += [g for g in grown if g[0][-1] == end]
            live = [g for g in grown if g[0][-1] != end]
    return sorted(done + live, key=lambda g: (-g[1], g[0]))


def law_of(v, most, seed, coarse=False, closed=()):
    """A random table: log p of the next token after each beginning. coarse: whole numbers, so ties."""
    draw, table = np.random.default_rng(seed), {}
    for size in range(most):
        for prefix in product(range(v), repeat=size):
            row = -draw.integers(1, 3, size=v).astype(float) if coarse else np.log(draw.dirichlet(np.ones(v)))
            row[list(closed)] = -np.inf
            table[prefix] = row
    return lambda prefixes: np.array([table[tuple(p)] for p in prefixes])


def judge_beam(law, end, width, most, why, call="beam_search(next_log_p, …)"):
    call = f"{call} with end={end}, width={width}, max_length={most}"
    want = slow_beam(law, end, width, most)
    found = check.answer(beam_search, law, end, width, most, call=call)
    check.equal([tuple(t) for t, _ in found], [t for t, _ in want], f"the sequences of {call}", why=why)
    check.close([p for _, p in found], [p for _, p in want], f"the log-probabilities of {call}", rtol=1e-9, why="be sums over the tokens")


seed = int(rng.integers(1_000_000))
judge_beam(law_of(3, 4, seed), 2, 1, 4, "take the best token each time where the width is 1")
for v, most in ((2, 4), (3, 3), (4, 3)):
    for width in (1, 2, 3, 5, 8):
        judge_beam(law_of(v, most, seed + v + width), width % v, width, most, "keep the best extensions of all live sequences together")
    law = law_of(v, most, seed - v)
    every = slow_beam(law, 0, v**most + 1, most)
    exact = max(
        (sum(float(law([s[:i]])[0][s[i]]) for i in range(len(s))), s)
        for size in range(1, most + 1) for s in product(range(v), repeat=size)
        if 0 not in s[:-1] and (s[-1] == 0 or size == most)
    )
    call = f"beam_search as wide as there are sequences of {v} tokens"
    found = check.answer(beam_search, law, 0, v**most, most, call=call)
    check.equal(tuple(found[0][0]), exact[1], f"the best one of {call}", why="be the best of all")
    check.equal(len(found), len(every), f"the number of sequences of {call}", why="be all of them")
for turn in range(12):
    judge_beam(law_of(3, 3, seed + turn, coarse=True), turn % 3, 1 + turn % 4, 3, "take the first in the order of tuples among equal ones")
crossed = {(): [-2.0, -1.0, -9.0], (0,): [-2.0, -1.0, -9.0], (1,): [-3.0, -9.0, -9.0]}
judge_beam(lambda ps: np.array([crossed[tuple(p)] for p in ps]), 2, 2, 2, "take the first in the order of tuples among equal ones")
judge_beam(law_of(3, 3, seed, closed=(1,)), 2, 6, 3, "never keep what is impossible")
judge_beam(law_of(3, 3, seed, closed=(0, 1, 2)), 2, 2, 3, "return nothing where nothing is possible")
judge_beam(law_of(3, 1, seed), 2, 2, 0, "give the empty sequence for max_length 0")
judge_beam(lambda ps: np.array([[-0.1, -3.0, -4.0]] * len(ps)), 0, 3, 6, "never extend what is finished")
judge_beam(lambda ps: np.array([[-0.1, -3.0, -4.0]] * len(ps)), 0, 1, 6, "stop when none is live")
judge_beam(lambda ps: np.array([[-3.0, -0.5, -0.6]] * len(ps), dtype=np.float32), 0, 2, 4, "return also what is live at the end")
for end in (0, 1):
    judge_beam(lambda ps: np.array([[-2e6, -3e6, -4e6]] * len(ps)), end, 2, 3, "keep what is very improbable, but possible")
judge_beam(lambda ps: np.array([[0.0, -1.0, -np.inf]] * len(ps)), 1, 2, 2, "keep a token that is sure")
judge_beam(lambda ps: np.array([[-1.000002, -1.000001]] * len(ps)), 0, 1, 1, "take the more probable one, however little it is")
asked, kinds = [], set()


def noted(prefixes):
    asked.append(sorted(tuple(p) for p in prefixes))
    return garden(prefixes)


def of_tuples(prefixes):
    kinds.update(isinstance(p, tuple) for p in prefixes)
    return np.array([[-1.0, -1.25, -1.5, -1.75]] * len(prefixes))


check.answer(beam_search, of_tuples, 0, 4, 4, call="beam_search(next_log_p, 0, 4, 4)")
check.equal(kinds, {True}, "whether next_log_p is asked about tuples", why="be so for all live sequences")


check.answer(beam_search, noted, 0, 2, 3, call="beam_search(next_log_p, 0, 2, 3)")
check.equal(asked, [[()], [(1,), (2,)], [(1, 2)]], "what next_log_p is asked, step by step", why="be all live sequences at once")
### END HIDDEN TESTS

# %% mutant="beam_search" why="keeps finished ones alive"
# - live = [one for one in grown if one[0][-1] != end]
# + live = grown

# %% mutant="beam_search" why="the best extensions of each sequence by itself"
# - best = np.argsort(-totals, axis=None, kind="stable")[:width]
# + best = np.concatenate([i * totals.shape[1] + np.argsort(-row, kind="stable")[:width] for i, row in enumerate(totals)])

# %% mutant="beam_search" why="the last token's probability alone"
# - totals = steps + np.array([[total] for _, total in live])
# + totals = steps

# %% mutant="beam_search" why="stops at the first finished one"
# - live = [one for one in grown if one[0][-1] != end]
# + live = [one for one in grown if one[0][-1] != end]
# + if done:
# +     break

# %% mutant="beam_search" why="forgets what is not finished"
# - return sorted(done + live, key=lambda one: (-one[1], one[0]))
# + return sorted(done, key=lambda one: (-one[1], one[0]))

# %% mutant="beam_search" why="greedy"
# - best = np.argsort(-totals, axis=None, kind="stable")[:width]
# + best = np.argsort(-totals, axis=None, kind="stable")[:1]

# %% mutant="beam_search" why="the last of equal ones"
# - best = np.argsort(-totals, axis=None, kind="stable")[:width]
# + best = totals.size - 1 - np.argsort(-totals.ravel()[::-1], kind="stable")[:width]

# %% mutant="beam_search" why="the order of the live ones decides between equal ones"
# - live.sort()  # so that places in the table are in the order of tuples
# + pass

# %% mutant="beam_search" why="the very improbable counts as impossible"
# - if totals[row, token] > -np.inf:
# + if totals[row, token] > -1e5:

# %% mutant="beam_search" why="a sure token counts as impossible"
# - if totals[row, token] > -np.inf:
# + if totals[row, token]:

# %% mutant="beam_search" why="almost equal ones count as equal"
# - best = np.argsort(-totals, axis=None, kind="stable")[:width]
# + best = np.argsort(-totals.round(3), axis=None, kind="stable")[:width]

# %% mutant="beam_search" why="asks about lists"
# - steps = np.asarray(next_log_p([tokens for tokens, _ in live]), dtype=float)
# + steps = np.asarray(next_log_p([list(tokens) if len(live) > 2 else tokens for tokens, _ in live]), dtype=float)

# %% mutant="beam_search" why="keeps the impossible"
# - if totals[row, token] > -np.inf:
# + if True:

# %% mutant="beam_search" why="the worst first"
# - return sorted(done + live, key=lambda one: (-one[1], one[0]))
# + return sorted(done + live, key=lambda one: (one[1], one[0]))

# %% mutant="beam_search" why="a step too many"
# - for _ in range(max_length):
# + for _ in range(max_length + 1):

# %% mutant="beam_search" why="normalises by length on the way"
# - return sorted(done + live, key=lambda one: (-one[1], one[0]))
# + return sorted(done + live, key=lambda one: (-one[1] / len(one[0]), one[0]))


# %% alternative="beam_search" why="a heap, lists of candidates"
def beam_search(next_log_p, end, width, max_length):
    import heapq

    live, done = [(0.0, ())], []
    while live and max_length > 0:
        max_length -= 1
        table = next_log_p([tokens for _, tokens in live])
        candidates = [
            (cost - float(table[i][w]), (*tokens, w))
            for i, (cost, tokens) in enumerate(live)
            for w in range(len(table[i]))
            if table[i][w] != -np.inf
        ]
        live = []
        for candidate in heapq.nsmallest(width, candidates):
            (done if candidate[1][-1] == end else live).append(candidate)
    return [(tokens, -cost) for cost, tokens in sorted(done + live)]


# %% [markdown]
# Each further token makes a sequence less probable, so a comparison by $\log p$ favours the short ones. The cure compares $\log p / L^\alpha$, with $L$ the number of tokens, `end` included; $\alpha = 0$ changes nothing, $\alpha = 1$ is the mean per token. Sort again, the best first; where two are equal, keep the order in which they came. An empty sequence counts as if $L = 1$.
#
# {{task:ranked}}

# %% [markdown] lang="ru"
# Каждый новый токен делает последовательность менее вероятной, и сравнение по $\log p$ выгодно коротким. Лекарство — сравнивать $\log p / L^\alpha$, где $L$ — число токенов вместе с `end`; $\alpha = 0$ ничего не меняет, $\alpha = 1$ — среднее на токен. Отсортируйте заново, лучшую — первой; равные оставьте в том порядке, в каком они пришли. Пустую последовательность считайте так, будто $L = 1$.
#
# {{task:ranked}}


# %% solution="ranked"
def ranked(
    hypotheses: Sequence[tuple[tuple[int, ...], float]], alpha: float = 1.0
) -> list[tuple[tuple[int, ...], float]]:
    """The same pairs (tokens, log p), in the order of log p / length ** alpha, best first."""
    ### BEGIN SOLUTION
    return sorted(hypotheses, key=lambda one: -one[1] / max(1, len(one[0])) ** alpha)
    ### END SOLUTION


# %% test="ranked" points=0.25 difficulty=1 minutes=5
three = [((3, 2), -2.0), ((5, 4, 6, 2), -3.0), ((2,), -1.5)]
check.equal(check.answer(ranked, three, call="ranked(three)"), [three[1], three[0], three[2]], "ranked(three)")
check.equal(check.answer(ranked, three, 0.0, call="ranked(three, 0.0)"), [three[2], three[0], three[1]], "ranked(three, 0.0)")
### BEGIN HIDDEN TESTS
rng = check.rng("ranked")
for alpha in (0.0, 0.6, 1.0, 2.0):
    many = [(tuple(rng.integers(0, 9, size=rng.integers(1, 9)).tolist()), -float(rng.uniform(0.1, 9))) for _ in range(12)]
    want = sorted(many, key=lambda h, alpha=alpha: h[1] / len(h[0]) ** alpha, reverse=True)
    call = f"ranked(hypotheses, {alpha})"
    found = check.answer(ranked, many, alpha, call=call)
    check.equal([(tuple(t), p) for t, p in found], want, call, why="sort by log p / length ** alpha, and leave log p as it is")
    if alpha == 1.0:
        check.equal(check.answer(ranked, many, call="ranked(hypotheses)"), want, "ranked(hypotheses)", why="take alpha = 1 where none is given")
tied = [((9, 1), -4.0), ((4,), -2.0), ((7, 7, 7), -6.0), ((1, 2), -4.0)]
check.equal(check.answer(ranked, tied, call="ranked of equal ones"), tied, "ranked of equal ones", why="keep their order")
check.equal(check.answer(ranked, [((), -3.0), ((4, 4), -4.0)], call="ranked with an empty one"), [((4, 4), -4.0), ((), -3.0)], "ranked with an empty one", why="count it as of length 1")
empty = [((4, 4), -4.0), ((), -0.5), ((7,), -1.0)]
check.equal(check.answer(ranked, empty, call="ranked with an empty one in front"), [empty[1], empty[2], empty[0]], "ranked with an empty one in front", why="count it as of length 1")
twice = [((4, 2), -3.0), ((4, 2), -1.0), ((4, 2), -3.0)]
check.equal(check.answer(ranked, twice, call="ranked of equal tokens"), [twice[1], twice[0], twice[2]], "ranked of equal tokens", why="give all the pairs")
near = [((1,), -1.00000002), ((2,), -1.00000001)]
check.equal(check.answer(ranked, near, call="ranked of pairs that hardly differ"), near[::-1], "ranked of pairs that hardly differ", why="put the better one first, however little it is")
check.equal(check.answer(ranked, [], call="ranked([])"), [], "ranked([])", why="be empty, too")
### END HIDDEN TESTS

# %% mutant="ranked" why="compares different lengths"
# - return sorted(hypotheses, key=lambda one: -one[1] / max(1, len(one[0])) ** alpha)
# + return sorted(hypotheses, key=lambda one: -one[1])

# %% mutant="ranked" why="always the mean"
# - return sorted(hypotheses, key=lambda one: -one[1] / max(1, len(one[0])) ** alpha)
# + return sorted(hypotheses, key=lambda one: -one[1] / max(1, len(one[0])))

# %% mutant="ranked" why="the worst first"
# - return sorted(hypotheses, key=lambda one: -one[1] / max(1, len(one[0])) ** alpha)
# + return sorted(hypotheses, key=lambda one: one[1] / max(1, len(one[0])) ** alpha)

# %% mutant="ranked" why="another default"
# - hypotheses: Sequence[tuple[tuple[int, ...], float]], alpha: float = 1.0
# + hypotheses: Sequence[tuple[tuple[int, ...], float]], alpha: float = 0.6

# %% mutant="ranked" why="gives the scores in place of log p"
# - return sorted(hypotheses, key=lambda one: -one[1] / max(1, len(one[0])) ** alpha)
# + pairs = [(t, p / max(1, len(t)) ** alpha) for t, p in hypotheses]
# + return sorted(pairs, key=lambda one: -one[1])

# %% mutant="ranked" why="without the end"
# - return sorted(hypotheses, key=lambda one: -one[1] / max(1, len(one[0])) ** alpha)
# + return sorted(hypotheses, key=lambda one: -one[1] / max(1, len(one[0]) - 1) ** alpha)

# %% mutant="ranked" why="an empty one is always last"
# - return sorted(hypotheses, key=lambda one: -one[1] / max(1, len(one[0])) ** alpha)
# + return sorted(hypotheses, key=lambda one: -one[1] / max(1, len(one[0])) ** alpha if one[0] else math.inf)

# %% mutant="ranked" why="pairs of the same tokens are lost"
# - return sorted(hypotheses, key=lambda one: -one[1] / max(1, len(one[0])) ** alpha)
# + return sorted(dict(hypotheses).items(), key=lambda one: -one[1] / max(1, len(one[0])) ** alpha)

# %% mutant="ranked" why="multiplies by the length"
# - return sorted(hypotheses, key=lambda one: -one[1] / max(1, len(one[0])) ** alpha)
# + return sorted(hypotheses, key=lambda one: -one[1] * max(1, len(one[0])) ** alpha)

# %% mutant="ranked" why="equal ones in the order of their tokens"
# - return sorted(hypotheses, key=lambda one: -one[1] / max(1, len(one[0])) ** alpha)
# + return sorted(hypotheses, key=lambda one: (-one[1] / max(1, len(one[0])) ** alpha, one[0]))


# %% alternative="ranked" why="argsort"
def ranked(hypotheses, alpha=1.0):
    scores = np.array([p / (len(t) or 1) ** alpha for t, p in hypotheses])
    return [hypotheses[i] for i in np.argsort(-scores, kind="stable")]


# %% [markdown]
# Ask your translator with beams of many widths. Here is what the search makes of one sentence.

# %% [markdown] lang="ru"
# Спросите свой переводчик лучами разной ширины. Вот что поиск делает с одним предложением.


# %%
@torch.no_grad()
def searched(source: Sequence[str], width: int) -> list[tuple[tuple[int, ...], float]]:
    """What a beam finds for a source; the decoder's states are kept by the sequence."""
    model = translator()
    keys, mask, state = model.encode(batch_of([source], russian))
    states = {None: state[0]}

    def next_log_p(prefixes: list[tuple[int, ...]]) -> np.ndarray:
        k = len(prefixes)
        tokens = torch.tensor([p[-1] if p else START for p in prefixes], device=device)
        before = torch.stack([states[p[:-1] if p else None] for p in prefixes])
        logits, after = model.step(keys.expand(k, -1, -1), mask.expand(k, -1))(tokens, before)
        states.update(zip(prefixes, after, strict=True))
        return logits.log_softmax(1).cpu().numpy()

    return beam_search(next_log_p, END, width, 2 * settings["longest"])


def said(tokens: Sequence[int]) -> list[str]:
    """The words of a sequence."""
    return [spoken.get(token, "?") for token in tokens if token != END]


def translation(source: Sequence[str], width: int = 4, alpha: float = 1.0) -> list[str]:
    return said(ranked(searched(source, width), alpha)[0][0])


source, reference = judged[0]
print("source:", " ".join(source), "| reference:", " ".join(reference))
for tokens, log_p in searched(source, 3)[:5]:
    print(f"{log_p:7.2f}  {log_p / len(tokens):6.2f} a token  {' '.join(said(tokens))}")

# %% [markdown]
# ## 5. BLEU
# Is it a good translation? [BLEU](glossary:BLEU) (Papineni et al., 2002, §2) counts n-grams that references have, too. Two guards against cheating. First, **clipping**: *the the the* does not match three times a reference with one *the*; an n-gram of the hypothesis counts at most as often as it occurs in the reference that has it most often.
#
# Count for one sentence: how many n-grams of the hypothesis match, clipped, and how many there are at all (0 where it is shorter than $n$).
#
# {{task:matches}}

# %% [markdown] lang="ru"
# ## 5. BLEU
# Хорош ли перевод? [BLEU](glossary:BLEU) (Papineni et al., 2002, §2) считает n-граммы, которые есть и в эталонах. От жульничества две защиты. Первая — **усечение** (clipping): *the the the* не совпадает трижды с эталоном, где *the* одно; n-грамма гипотезы засчитывается не чаще, чем она встречается в том эталоне, где её больше всего.
#
# Посчитайте для одного предложения: сколько n-грамм гипотезы совпало (с усечением) и сколько их всего (0, если гипотеза короче $n$).
#
# {{task:matches}}


# %% solution="matches"
def matches(
    hypothesis: Sequence[Hashable], references: Sequence[Sequence[Hashable]], n: int
) -> tuple[int, int]:
    """(clipped matches, n-grams of the hypothesis). n >= 1; at least one reference.

    Tokens are anything that can be compared: the number 1 is not the text "1".
    matches("a a b a".split(), ["a b c".split(), "b a a".split()], 1) -> (3, 4)
    """
    ### BEGIN SOLUTION

    def grams(tokens: Sequence[Hashable]) -> Counter:
        return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))

    most = Counter()
    for reference in references:
        most |= grams(reference)
    ours = grams(hypothesis)
    return sum((ours & most).values()), sum(ours.values())
    ### END SOLUTION


# %% test="matches" points=0.25 difficulty=2 minutes=10
for n, want in ((1, (3, 4)), (2, (3, 3)), (3, (0, 2)), (5, (0, 0))):
    call = f'matches("a a b a".split(), ["a b c".split(), "b a a".split()], {n})'
    check.equal(check.answer(matches, ["a", "a", "b", "a"], [["a", "b", "c"], ["b", "a", "a"]], n, call=call), want, call)
### BEGIN HIDDEN TESTS
rng = check.rng("matches")


def slow_matches(hypothesis, references, n):
    def listed(t):
        return [list(t[i : i + n]) for i in range(len(t)) if i + n <= len(t)]

    total, kinds = 0, []
    for gram in listed(hypothesis):
        if gram not in kinds:
            kinds.append(gram)
            here = listed(hypothesis).count(gram)
            total += min(here, max([listed(r).count(gram) for r in references], default=0))
    return total, len(listed(hypothesis))


def judge_matches(hypothesis, references, n, why):
    call = f"matches of {len(hypothesis)} tokens, {len(references)} references, n = {n}"
    check.equal(check.answer(matches, hypothesis, references, n, call=call), slow_matches(hypothesis, references, n), call, why=why)


judge_matches(["the", "the", "the", "the"], [["the", "cat", "is", "the", "best"], ["a", "the"]], 1, "clip by the one reference that has it most often")
judge_matches(["a", "b", "a", "b"], [["b", "a", "x", "a", "b"]], 2, "keep the order within an n-gram")
judge_matches(["a", "b"], [["a", "b"]], 3, "count no n-grams in a shorter hypothesis")
judge_matches([], [["a"]], 1, "bear an empty hypothesis")
judge_matches(["a", "b"], [[]], 1, "bear an empty reference")
judge_matches(["a"], [["a", "b"]], 3, "count no n-grams in a shorter hypothesis")
judge_matches([], [["a"]], 4, "count no n-grams in a shorter hypothesis")
judge_matches(["a", "b", "a", "b"], [["a"], ["a", "b", "a"]], 3, "bear a reference that is shorter than n")
judge_matches(["a"] * 5, [["a"] * 4], 3, "count an n-gram as often as it stands there")
judge_matches([3, 1, 3], [[3, 3, 1]], 1, "take tokens of any kind")
judge_matches([0, 7, 0], [[0, 7]], 1, "take tokens of any kind, 0 too")
judge_matches(["", "b"], [["", "b"]], 2, "take tokens of any kind")
judge_matches([1, "2"], [["1", 2]], 1, "tell a number from a text")
judge_matches(["Yes", "no"], [["yes", "no"]], 1, "compare tokens as they are")
judge_matches(["a b", "c"], [["a", "b c"]], 2, "not glue tokens together")
judge_matches(["ab", "c"], [["a", "bc"]], 2, "not glue tokens together")
for size, count, n in ((9, 1, 1), (12, 2, 2), (15, 3, 2), (14, 2, 3), (7, 1, 4), (20, 4, 1)):
    hypothesis = rng.choice(list("abc"), size=size).tolist()
    references = [rng.choice(list("abc"), size=rng.integers(3, 2 * size)).tolist() for _ in range(count)]
    judge_matches(hypothesis, references, n, "count each n-gram at most as often as a reference has it")
### END HIDDEN TESTS

# %% mutant="matches" why="no clipping"
# - return sum((ours & most).values()), sum(ours.values())
# + return sum(c for gram, c in ours.items() if gram in most), sum(ours.values())

# %% mutant="matches" why="clips over the sum of the references"
# - most |= grams(reference)
# + most += grams(reference)

# %% mutant="matches" why="each n-gram once"
# - return sum((ours & most).values()), sum(ours.values())
# + return len(ours & most), len(ours)

# %% mutant="matches" why="the first reference alone"
# - for reference in references:
# + for reference in references[:1]:

# %% mutant="matches" why="counts those of the reference"
# - return sum((ours & most).values()), sum(ours.values())
# + return sum((ours & most).values()), sum(most.values())

# %% mutant="matches" why="n-grams without an order"
# - return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
# + return Counter(tuple(sorted(tokens[i : i + n])) for i in range(len(tokens) - n + 1))

# %% mutant="matches" why="pieces that are too short count"
# - return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
# + return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens)))

# %% mutant="matches" why="a negative number of n-grams"
# - return sum((ours & most).values()), sum(ours.values())
# + return sum((ours & most).values()), len(hypothesis) - n + 1

# %% mutant="matches" why="words glued without a space"
# - return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
# + return Counter("".join(map(str, tokens[i : i + n])) for i in range(len(tokens) - n + 1))

# %% mutant="matches" why="tokens as texts"
# - return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
# + return Counter(tuple(map(str, tokens[i : i + n])) for i in range(len(tokens) - n + 1))

# %% mutant="matches" why="padding is left out: 0 is a token, too"
# - return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
# + tokens = [token for token in tokens if token]
# + return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))

# %% mutant="matches" why="words glued to a text"
# - return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
# + return Counter(" ".join(map(str, tokens[i : i + n])) for i in range(len(tokens) - n + 1))


# %% alternative="matches" why="takes from a list"
def matches(hypothesis, references, n):
    ours = [tuple(hypothesis[i : i + n]) for i in range(max(0, len(hypothesis) - n + 1))]
    hits = 0
    for gram in set(ours):
        best = 0
        for r in references:
            best = max(best, sum(tuple(r[j : j + n]) == gram for j in range(len(r) - n + 1)))
        hits += min(best, ours.count(gram))
    return hits, len(ours)


# %% [markdown]
# Second, the **brevity penalty**: a hypothesis of the one word that is certainly right would have a precision of 1. For a whole corpus, with the matches $m_n$ and the n-grams $t_n$ of all its sentences **added up** before anything is divided,
#
# $$\mathrm{BLEU} = \min\left(1,\, e^{1 - r / c}\right) \cdot \Big(\prod_{n=1}^N \frac{m_n}{t_n}\Big)^{1/N}.$$
#
# $c$ is the length of all hypotheses. $r$ adds, for each sentence, the length of the reference whose length is closest to the hypothesis's (of two equally close ones the shorter). A geometric mean is 0 if one precision is: BLEU is 0 as soon as some $m_n = 0$, and also without any hypothesis. Papers give it times 100; here it lies between 0 and 1.
#
# {{task:bleu}}

# %% [markdown] lang="ru"
# Вторая — **штраф за краткость** (brevity penalty): у гипотезы из одного заведомо верного слова точность была бы 1. Для целого корпуса, где совпадения $m_n$ и числа n-грамм $t_n$ всех предложений **сначала складываются** и только потом делятся,
#
# $$\mathrm{BLEU} = \min\left(1,\, e^{1 - r / c}\right) \cdot \Big(\prod_{n=1}^N \frac{m_n}{t_n}\Big)^{1/N}.$$
#
# $c$ — длина всех гипотез. В $r$ каждое предложение вносит длину того эталона, который по длине ближе всего к гипотезе (из двух одинаково близких — более короткого). Среднее геометрическое равно 0, если одна из точностей 0: BLEU — ноль, как только какое-то $m_n = 0$, и ещё если гипотез нет. В статьях его умножают на 100; здесь он от 0 до 1.
#
# {{task:bleu}}


# %% solution="bleu"
def bleu(
    hypotheses: Sequence[Sequence[Hashable]],
    references: Sequence[Sequence[Sequence[Hashable]]],
    order: int = 4,
) -> float:
    """BLEU of a corpus, from 0 to 1. references: for each hypothesis one or more. order: N."""
    ### BEGIN SOLUTION
    logs = 0.0
    for n in range(1, order + 1):
        counts = [matches(h, r, n) for h, r in zip(hypotheses, references, strict=True)]
        hits, total = sum(m for m, _ in counts), sum(t for _, t in counts)
        if hits == 0:
            return 0.0
        logs += math.log(hits / total) / order
    c, r = 0, 0
    for hypothesis, several in zip(hypotheses, references, strict=True):
        c += len(hypothesis)
        r += min((abs(len(one) - len(hypothesis)), len(one)) for one in several)[1]
    return math.exp(logs + min(0.0, 1 - r / c))
    ### END SOLUTION


# %% test="bleu" points=0.5 difficulty=3 minutes=25
hyp, ref = ["the", "cat", "sat", "on", "the", "mat"], ["the", "cat", "sat", "on", "a", "red", "mat"]
check.close(check.answer(bleu, [hyp], [[ref]], 2, call="bleu([hyp], [[ref]], 2)"), 0.59855297, "bleu([hyp], [[ref]], 2)", why="be a geometric mean, with the penalty")
check.close(check.answer(bleu, [ref], [[hyp, ref]], call="bleu([ref], [[hyp, ref]])"), 1.0, "bleu([ref], [[hyp, ref]])")
### BEGIN HIDDEN TESTS
rng = check.rng("bleu")


def slow_bleu(hyps, refs, order):
    """From the definition, with counts of its own."""
    value = 1.0
    for n in range(1, order + 1):
        hit = total = 0
        for h, several in zip(hyps, refs, strict=True):
            def listed(t, n=n):
                return [tuple(t[i : i + n]) for i in range(len(t) - n + 1)]

            for gram in {*listed(h)}:
                hit += min(listed(h).count(gram), max(listed(r).count(gram) for r in several))
            total += len(listed(h))
        value *= (hit / total if total else 0.0) ** (1 / order)
    c = sum(len(h) for h in hyps)
    r = sum(len(sorted(several, key=lambda one, h=h: (abs(len(one) - len(h)), len(one)))[0]) for h, several in zip(hyps, refs, strict=True))
    return value * (math.exp(min(0.0, 1 - r / c)) if c else 0.0)


def judge_bleu(hyps, refs, order, why):
    call = f"bleu of {len(hyps)} sentences, order {order}"
    found = check.answer(bleu, hyps, refs, order, call=call)
    check.close(found, slow_bleu(hyps, refs, order), call, rtol=1e-9, why=why)


def made_up(size, count, kinds="abcd"):
    def sentence(low, high):
        return rng.choice(list(kinds), size=rng.integers(low, high)).tolist()

    return [sentence(4, 12) for _ in range(size)], [[sentence(4, 12) for _ in range(count)] for _ in range(size)]


same = ["a", "b", "c", "d", "e", "f", "g", "h"]
judge_bleu([same[:5]], [[same]], 1, "punish what is shorter than the reference")
judge_bleu([same + same], [[same]], 1, "not punish what is longer, but for its precision")
judge_bleu([same[:4]], [[same[:5], same[:3]]], 1, "take the shorter of two references that are equally close")
judge_bleu([same[:6]], [[same, same[:7], same[:2]]], 1, "take the reference of the closest length")
judge_bleu([same[:3], same], [[same[:6]], [same[:4]]], 1, "compare the lengths of the whole corpus")
judge_bleu([list("abxd"), list("ab")], [[list("abcd")], [list("ab")]], 2, "add up the counts of all sentences before dividing")
judge_bleu([list("abcde")], [[list("edcba")]], 2, "be 0 where nothing of some order matches")
judge_bleu([list("ab")], [[list("ab")]], 4, "be 0 where there are no n-grams of some order")
judge_bleu([[]], [[list("ab")]], 1, "be 0 for an empty hypothesis")
judge_bleu([list("abcd"), []], [[list("abcd")], [list("ab")]], 4, "bear an empty hypothesis among others")
check.equal(check.answer(bleu, [], [], call="bleu([], [])"), 0.0, "bleu([], [])", why="be 0 without hypotheses")
for order in (1, 2, 3, 4):
    for size, count in ((1, 1), (5, 2), (9, 3)):
        hyps, refs = made_up(size, count, "abc")
        judge_bleu(hyps, refs, order, "follow the formula")
for order in (5, 6):
    judge_bleu([list("abcdefgh")], [[list("abcdefxh"), list("gh")]], order, "follow the formula for any order")
judge_bleu([list("abcdef")], [[list("abcdxf")]], 5, "be 0 where nothing of some order matches")
judge_bleu([["ab", "c"]], [[["a", "bc"], ["ab"], ["c"]]], 2, "not glue tokens together")
judge_bleu([[0, 1, 0, 2]], [[[0, 1, 0, 3]]], 2, "take tokens of any kind, 0 too")
judge_bleu([[1, "2", 3]], [[["1", 2, 3]]], 1, "tell a number from a text")
hyps, refs = made_up(8, 2, "ab")
check.close(check.answer(bleu, hyps, refs, call="bleu without an order"), slow_bleu(hyps, refs, 4), "bleu without an order", rtol=1e-9, why="take n-grams up to 4 where no order is given")
hyps = [t.split() for t in ("the cat sat on the mat today", "a dog runs in the park", "he is not here", "yes")]
refs = [[t.split() for t in several] for several in (
    ("the cat sat on a mat", "there is a cat on the mat today"), ("a dog is running in the park", "the dog runs in a park now"),
    ("he is not at home", "she is not here at all"), ("yes", "oh yes indeed"),
)]
for order, want in ((4, 60.89420437389436), (2, 91.93073596114594)):  # of sacrebleu 2.6.0, without smoothing
    call = f"100 * bleu of four sentences, order {order}"
    check.close(100 * check.answer(bleu, hyps, refs, order, call=call), want, call, rtol=1e-9, why="be what sacrebleu says")
### END HIDDEN TESTS

# %% mutant="bleu" why="an arithmetic mean"
# - logs += math.log(hits / total) / order
# + logs = math.log(math.exp(logs) * (n > 1) + hits / total / order)

# %% mutant="bleu" why="the product without its root"
# - logs += math.log(hits / total) / order
# + logs += math.log(hits / total)

# %% mutant="bleu" why="the mean over sentences"
# - logs = 0.0
# + if len(hypotheses) > 1:
# +     return sum(bleu([h], [r], order) for h, r in zip(hypotheses, references, strict=True)) / len(hypotheses)
# + logs = 0.0

# %% mutant="bleu" why="no brevity penalty"
# - return math.exp(logs + min(0.0, 1 - r / c))
# + return math.exp(logs)

# %% mutant="bleu" why="punishes length, too"
# - return math.exp(logs + min(0.0, 1 - r / c))
# + return math.exp(logs - abs(1 - r / c))

# %% mutant="bleu" why="the penalty upside down"
# - return math.exp(logs + min(0.0, 1 - r / c))
# + return math.exp(logs + min(0.0, 1 - c / r))

# %% mutant="bleu" why="a ratio, not its exponential"
# - return math.exp(logs + min(0.0, 1 - r / c))
# + return math.exp(logs) * min(1.0, c / r)

# %% mutant="bleu" why="the shortest reference"
# - r += min((abs(len(one) - len(hypothesis)), len(one)) for one in several)[1]
# + r += min(len(one) for one in several)

# %% mutant="bleu" why="the longer of two that are equally close"
# - r += min((abs(len(one) - len(hypothesis)), len(one)) for one in several)[1]
# + r += -min((abs(len(one) - len(hypothesis)), -len(one)) for one in several)[1]

# %% mutant="bleu" why="the first reference's length"
# - r += min((abs(len(one) - len(hypothesis)), len(one)) for one in several)[1]
# + r += len(several[0])

# %% mutant="bleu" why="no order above 4"
# - for n in range(1, order + 1):
# + order = min(order, 4)
# + for n in range(1, order + 1):

# %% mutant="bleu" why="tokens glued to a text"
# - counts = [matches(h, r, n) for h, r in zip(hypotheses, references, strict=True)]
# + def glued(t):
# +     return ["".join(map(str, t[i : i + n])) for i in range(len(t) - n + 1)]
# +
# + counts = [matches(glued(h), [glued(one) for one in r], 1) for h, r in zip(hypotheses, references, strict=True)]

# %% mutant="bleu" why="smoothed"
# - if hits == 0:
# -     return 0.0
# + if hits == 0:
# +     hits, total = 1, max(1, 2 * total)

# %% mutant="bleu" why="times 100"
# - return math.exp(logs + min(0.0, 1 - r / c))
# + return 100 * math.exp(logs + min(0.0, 1 - r / c))

# %% mutant="bleu" why="another default"
# - order: int = 4,
# + order: int = 2,


# %% alternative="bleu" why="counts of its own, a root at the end"
def bleu(hypotheses, references, order=4):
    def grams(t, n):
        return Counter(zip(*(t[i:] for i in range(n)), strict=False))

    hit, total, c, r = [0] * order, [0] * order, 0, 0
    for h, several in zip(hypotheses, references, strict=True):
        c += len(h)
        r += sorted((len(x) for x in several), key=lambda size: (abs(size - len(h)), size))[0]
        for n in range(order):
            have = grams(h, n + 1)
            total[n] += sum(have.values())
            tables = [grams(x, n + 1) for x in several]
            hit[n] += sum(min(k, max(t[g] for t in tables)) for g, k in have.items())
    if not all(hit):
        return 0.0
    value = math.prod(a / b for a, b in zip(hit, total, strict=True)) ** (1 / order)
    return value if c >= r else value * math.exp(1 - r / c)


# %% [markdown]
# Now the question of section 4: does a wider beam translate better? It does find more probable sequences. The grade is BLEU, of 2-grams beside the usual 4, since on sentences of five words few 4-grams match.

# %% [markdown] lang="ru"
# Теперь вопрос из раздела 4: переводит ли более широкий луч лучше? Более вероятные последовательности он находит. Оценка — BLEU, и кроме обычных 4-грамм мы считаем его по 2-граммам: в предложениях из пяти слов совпадает мало 4-грамм.

# %%
widths = [1, 2, 4, 8, 16]


@cache
def answers(width: int) -> list[list[tuple[tuple[int, ...], float]]]:
    """What a beam finds for each sentence."""
    return [searched(source, width) for source, _ in judged]


rules = {"by log p": 0.0, "by log p a token": 1.0}
lengths = {name: [] for name in rules}
grades = {name: [] for name in rules}
one_each = [[reference] for _, reference in judged]
for width in widths:
    for name, alpha in rules.items():
        spoken_now = [said(ranked(found, alpha)[0][0]) for found in answers(width)]
        lengths[name].append(np.mean([len(text) for text in spoken_now]))
        grades[name].append(100 * bleu(spoken_now, one_each, 2))
        four = 100 * bleu(spoken_now, one_each)
        print(f"width {width:2}, {name:16}: BLEU-2 {grades[name][-1]:5.1f}, BLEU-4 {four:4.1f}, {lengths[name][-1]:.2f} words")
best = {width: np.mean([found[0][1] for found in answers(width)]) for width in widths}
week07.beams(widths, {"log p of the most probable": {"by log p": list(best.values())}, "words a translation": lengths, "BLEU-2": grades},
             {"words a translation": np.mean([len(r) for _, r in judged])})
plots.show(
    "Three pictures by width of the beam from 1 to 16: the log-probability of the best sequence rises, the "
    "translations chosen by it get shorter, those chosen by the mean per token keep their length; BLEU-2 hardly moves."
)

# %% [markdown]
# The search gets better and better at its own aim, and the translations get shorter: **the most probable text is not the best one**. This is the beam-search curse (Koehn & Knowles, 2017, §3.6; Stahlberg & Byrne, 2019, found the *empty* translation to be the most probable one for half of the sentences of a strong system). On so few sentences BLEU's differences of a point are noise; the fall of the length is not.

# %% [markdown] lang="ru"
# Поиск всё лучше достигает своей собственной цели, а переводы становятся короче: **самый вероятный текст — не самый лучший**. Это и есть проклятие лучевого поиска (beam-search curse; Koehn & Knowles, 2017, §3.6; Stahlberg & Byrne, 2019: у сильной системы для половины предложений самым вероятным оказался *пустой* перевод). На столь малом числе предложений разница BLEU в один пункт — шум; сокращение длины — нет.

# %% [markdown]
# ## 6. Two more rulers
# BLEU asks how much of the hypothesis is right. **ROUGE-L** ([ROUGE](glossary:ROUGE); Lin, 2004, §3.1) was made for summaries: its n-grams are replaced by the longest common **subsequence**, words in the same order, with gaps allowed. With its length $l$, precision is $P = l / \lvert h\rvert$, recall $R = l / \lvert r\rvert$, and the grade is $F = 2PR/(P + R)$; 0 where $l = 0$. Texts may have a hundred words: too many to try all subsequences.
#
# {{task:rouge_l}}

# %% [markdown] lang="ru"
# ## 6. Ещё две линейки
# BLEU спрашивает, какая часть гипотезы верна. **ROUGE-L** ([ROUGE](glossary:ROUGE); Lin, 2004, §3.1) придумана для рефератов: вместо n-грамм — наибольшая общая **подпоследовательность**, слова в том же порядке, пропуски разрешены. Если её длина $l$, то точность $P = l / \lvert h\rvert$, полнота $R = l / \lvert r\rvert$, а оценка $F = 2PR/(P + R)$; при $l = 0$ она 0. В тексте может быть и сотня слов: перебрать все подпоследовательности не удастся.
#
# {{task:rouge_l}}


# %% solution="rouge_l"
def rouge_l(hypothesis: Sequence[Hashable], reference: Sequence[Hashable]) -> float:
    """F of the longest common subsequence, from 0 to 1. Both may be empty.

    rouge_l("a x c d y".split(), "a b c d e f".split()): the subsequence is a c d.
    """
    ### BEGIN SOLUTION
    row = [0] * (len(reference) + 1)  # of all beginnings of the reference
    for word in hypothesis:
        before = row[:]
        for j, other in enumerate(reference):
            row[j + 1] = before[j] + 1 if word == other else max(before[j + 1], row[j])
    common = row[-1]
    return 2 * common / (len(hypothesis) + len(reference)) if common else 0.0
    ### END SOLUTION


# %% test="rouge_l" points=0.4 difficulty=3 minutes=20
call = 'rouge_l("a x c d y".split(), "a b c d e f".split())'
check.close(check.answer(rouge_l, ["a", "x", "c", "d", "y"], ["a", "b", "c", "d", "e", "f"], call=call), 6 / 11, call)
call = 'rouge_l("нет меня дома сейчас".split(), "меня сейчас нет дома".split())'
check.close(check.answer(rouge_l, ["нет", "меня", "дома", "сейчас"], ["меня", "сейчас", "нет", "дома"], call=call), 0.5, call)
### BEGIN HIDDEN TESTS
rng = check.rng("rouge_l")


def slow_rouge(h, r):
    """All subsequences of the hypothesis, the longest first."""
    for size in range(len(h), 0, -1):
        for start in product((0, 1), repeat=len(h)):
            if sum(start) == size:
                rest = iter(r)
                if all(any(w == x for x in rest) for w, kept in zip(h, start, strict=True) if kept):
                    p, q = size / len(h), size / len(r)
                    return 2 * p * q / (p + q)
    return 0.0


def judge_rouge(h, r, why):
    call = f"rouge_l of {len(h)} and {len(r)} tokens"
    check.close(check.answer(rouge_l, h, r, call=call), slow_rouge(h, r), call, rtol=1e-9, why=why)


judge_rouge(list("abcdef"), list("axbycz"), "allow gaps")
judge_rouge(list("cba"), list("abc"), "keep the order")
judge_rouge(list("aaab"), list("ab"), "use each word of the reference once")
judge_rouge(list("ab"), list("abab"), "use each word of the hypothesis once")
judge_rouge(list("abc"), list("abcdefg"), "divide by both lengths")
judge_rouge(list("abcdefg"), list("bf"), "divide by both lengths")
judge_rouge(list("abc"), list("xyz"), "be 0 without a common word")
for h, r in (([], list("ab")), (list("ab"), []), ([], [])):
    judge_rouge(h, r, "be 0 for an empty text")
judge_rouge([4, 1, 5], [1, 5, 9, 2], "take tokens of any kind")
for _ in range(12):
    h, r = (rng.choice(list("abc"), size=rng.integers(1, 8)).tolist() for _ in range(2))
    judge_rouge(h, r, "find the longest subsequence")
for a, b, want in (("a b c d e f", "a x c d y f g", 8 / 13), ("one two two three", "two one two four three two", 0.6)):  # of rouge-score 0.1.2
    call = f'rouge_l("{a}".split(), "{b}".split())'
    check.close(check.answer(rouge_l, a.split(), b.split(), call=call), want, call, why="be what rouge-score says")
for h, r in (([0, 5, 0, 7], [5, 0, 0]), (["", "a", ""], ["a", "", "b"])):
    judge_rouge(h, r, "take tokens of any kind, empty ones too")
judge_rouge([1, "2", 3], ["1", 2, 3], "tell a number from a text")
judge_rouge(["Yes", "no"], ["yes", "no"], "compare tokens as they are")


def by_table(h, r):
    """The grade by lengths for all beginnings of both."""
    table = {}
    for i, j in product(range(len(h) + 1), range(len(r) + 1)):
        if i and j:
            table[i, j] = max(table[i - 1, j], table[i, j - 1], table[i - 1, j - 1] + (h[i - 1] == r[j - 1]))
        else:
            table[i, j] = 0
    return 2 * table[len(h), len(r)] / (len(h) + len(r))


fixed = ("efa afdae", "cabc ac", "ac cabc", "cbdaed ceddafbd", "abcdefg gfedcba", "abcab cabac", "acbdabdc bdcabacd")
drawn = [[rng.choice(list("abcd"[: 3 + turn % 2]), size=rng.integers(8, 13)).tolist() for _ in range(2)] for turn in range(60)]
for h, r in [*(map(list, pair.split()) for pair in fixed), *drawn]:
    call = f"rouge_l of {len(h)} and {len(r)} tokens"
    check.close(check.answer(rouge_l, h, r, call=call), by_table(h, r), call, rtol=1e-9, why="find the longest subsequence")
h, r = (rng.choice(list("abcd"), size=size).tolist() for size in (90, 70))
check.close(check.answer(rouge_l, h, r, call="rouge_l of 90 and 70 tokens"), by_table(h, r), "rouge_l of 90 and 70 tokens", rtol=1e-9, why="find the longest subsequence of long texts")
### END HIDDEN TESTS

# %% mutant="rouge_l" why="the longest substring"
# - row[j + 1] = before[j] + 1 if word == other else max(before[j + 1], row[j])
# + row[j + 1] = before[j] + 1 if word == other else 0
# + best = max(best, row[j + 1])
# - row = [0] * (len(reference) + 1)  # of all beginnings of the reference
# + best, row = 0, [0] * (len(reference) + 1)
# - common = row[-1]
# + common = best

# %% mutant="rouge_l" why="common words in any order"
# - common = row[-1]
# + common = sum((Counter(hypothesis) & Counter(reference)).values())

# %% mutant="rouge_l" why="blocks that difflib finds"
# - common = row[-1]
# + from difflib import SequenceMatcher
# +
# + common = sum(b.size for b in SequenceMatcher(None, hypothesis, reference, False).get_matching_blocks())

# %% mutant="rouge_l" why="greedy, the better of two ways"
# - common = row[-1]
# + def greedy(a, b):
# +     at = found = 0
# +     for word in a:
# +         if word in b[at:]:
# +             at, found = b.index(word, at) + 1, found + 1
# +     return found
# +
# + common = max(greedy(hypothesis, reference), greedy(reference, hypothesis))

# %% mutant="rouge_l" why="tokens as texts"
# - row[j + 1] = before[j] + 1 if word == other else max(before[j + 1], row[j])
# + row[j + 1] = before[j] + 1 if str(word) == str(other) else max(before[j + 1], row[j])

# %% mutant="rouge_l" why="the recall alone"
# - return 2 * common / (len(hypothesis) + len(reference)) if common else 0.0
# + return common / len(reference) if common else 0.0

# %% mutant="rouge_l" why="the precision alone"
# - return 2 * common / (len(hypothesis) + len(reference)) if common else 0.0
# + return common / len(hypothesis) if common else 0.0

# %% mutant="rouge_l" why="divides by zero"
# - return 2 * common / (len(hypothesis) + len(reference)) if common else 0.0
# + return 2 * common / (len(hypothesis) + len(reference))

# %% mutant="rouge_l" why="a word is used twice"
# - row[j + 1] = before[j] + 1 if word == other else max(before[j + 1], row[j])
# + row[j + 1] = row[j] + 1 if word == other else max(before[j + 1], row[j])

# %% mutant="rouge_l" why="the geometric mean"
# - return 2 * common / (len(hypothesis) + len(reference)) if common else 0.0
# + return common / (len(hypothesis) * len(reference)) ** 0.5 if common else 0.0

# %% mutant="rouge_l" why="half the value"
# - return 2 * common / (len(hypothesis) + len(reference)) if common else 0.0
# + return common / (len(hypothesis) + len(reference)) if common else 0.0


# %% alternative="rouge_l" why="a recursion that remembers"
def rouge_l(hypothesis, reference):
    @cache
    def longest(i, j):
        if i == len(hypothesis) or j == len(reference):
            return 0
        if hypothesis[i] == reference[j]:
            return 1 + longest(i + 1, j + 1)
        return max(longest(i + 1, j), longest(i, j + 1))

    both = len(hypothesis) + len(reference)
    return 2 * longest(0, 0) / both if both else 0.0


# %% alternative="rouge_l" why="a table, precision and recall"
def rouge_l(hypothesis, reference):
    table = np.zeros((len(hypothesis) + 1, len(reference) + 1), dtype=int)
    for i, a in enumerate(hypothesis, 1):
        for j, b in enumerate(reference, 1):
            table[i, j] = table[i - 1, j - 1] + 1 if a == b else max(table[i - 1, j], table[i, j - 1])
    if not table[-1, -1]:
        return 0.0
    p, r = table[-1, -1] / len(hypothesis), table[-1, -1] / len(reference)
    return float(2 * p * r / (p + r))


# %% [markdown]
# **METEOR** (Banerjee & Lavie, 2005, §2.2) aligns single words, weighs recall nine times as much as precision, and punishes disorder. The full one also matches stems and synonyms; yours, *lite*, matches equal words only:
#
# 1. **Align**: go through the hypothesis from its last word to its first; each takes the last equal word of the reference that is still free, if there is one. That makes $m$ pairs.
# 2. $P = m / \lvert h\rvert$, $R = m / \lvert r\rvert$, $F = 10 PR / (R + 9P)$.
# 3. **Chunks**: two pairs whose words are neighbours in the hypothesis belong to one chunk if their partners are neighbours in the reference, in the same order; $k$ is the number of chunks. The grade is $F \cdot (1 - 0.5\,(k/m)^3)$, and 0 where $m = 0$.
#
# {{task:meteor_lite}}

# %% [markdown] lang="ru"
# **METEOR** (Banerjee & Lavie, 2005, §2.2) сопоставляет отдельные слова, ценит полноту в девять раз больше точности и штрафует за беспорядок. Полная версия находит ещё общие основы и синонимы; ваша, *lite*, — только равные слова:
#
# 1. **Сопоставление**: идём по гипотезе от последнего слова к первому; каждое берёт последнее из равных ему и ещё свободных слов эталона, если такое есть. Получается $m$ пар.
# 2. $P = m / \lvert h\rvert$, $R = m / \lvert r\rvert$, $F = 10 PR / (R + 9P)$.
# 3. **Куски** (chunks): две пары, чьи слова стоят в гипотезе рядом, лежат в одном куске, если и партнёры стоят рядом в эталоне, в том же порядке; $k$ — число кусков. Оценка — $F \cdot (1 - 0{,}5\,(k/m)^3)$, а при $m = 0$ — ноль.
#
# {{task:meteor_lite}}


# %% solution="meteor_lite"
def meteor_lite(hypothesis: Sequence[Hashable], reference: Sequence[Hashable]) -> float:
    """The grade of the statement, from 0 to 1. Both may be empty."""
    ### BEGIN SOLUTION
    free, partner = set(range(len(reference))), {}
    for i in reversed(range(len(hypothesis))):
        equal = [j for j in free if reference[j] == hypothesis[i]]
        if equal:
            partner[i] = max(equal)
            free.remove(partner[i])
    if not partner:
        return 0.0
    chunks = sum(partner.get(i - 1, -2) + 1 != j for i, j in partner.items())
    p, r = len(partner) / len(hypothesis), len(partner) / len(reference)
    return 10 * p * r / (r + 9 * p) * (1 - 0.5 * (chunks / len(partner)) ** 3)
    ### END SOLUTION


# %% test="meteor_lite" points=0.35 difficulty=3 minutes=20
call = 'meteor_lite("a b x c d".split(), "c d a b e f".split())'
check.close(check.answer(meteor_lite, ["a", "b", "x", "c", "d"], ["c", "d", "a", "b", "e", "f"], call=call), 0.6779661 * 0.9375, call)
### BEGIN HIDDEN TESTS
rng = check.rng("meteor_lite")


def slow_meteor(h, r):
    """The alignment by a table of what is taken, chunks counted from left to right."""
    taken, pairs_found = [False] * len(r), []
    for i in range(len(h) - 1, -1, -1):
        for j in range(len(r) - 1, -1, -1):
            if not taken[j] and h[i] == r[j]:
                taken[j] = True
                pairs_found.insert(0, (i, j))
                break
    m = len(pairs_found)
    if m == 0:
        return 0.0
    k = 1
    for (i, j), (x, y) in pairwise(pairs_found):
        k += not (x == i + 1 and y == j + 1)
    return 10 * (m / len(h)) * (m / len(r)) / (m / len(r) + 9 * m / len(h)) * (1 - 0.5 * (k / m) ** 3)


def judge_meteor(h, r, why):
    call = f"meteor_lite of {len(h)} and {len(r)} tokens"
    check.close(check.answer(meteor_lite, h, r, call=call), slow_meteor(h, r), call, rtol=1e-9, why=why)


judge_meteor(list("abcdef"), list("abcdef"), "count one chunk where all is in order")
judge_meteor(list("abcd"), list("abcdwxyz"), "weigh recall more than precision")
judge_meteor(list("abcdwxyz"), list("abcd"), "weigh recall more than precision")
judge_meteor(list("dcba"), list("abcd"), "count a chunk for each word where the order is turned")
judge_meteor(list("abxcd"), list("abcd"), "end a chunk where a word of the hypothesis lies between")
judge_meteor(list("abcd"), list("abxcd"), "end a chunk where a word of the reference lies between")
judge_meteor(list("cdab"), list("abcd"), "begin a chunk where the order jumps back")
judge_meteor(list("aab"), list("ab"), "use a word of the reference once")
judge_meteor(list("ab"), list("aba"), "take the last of the equal words that are free")
judge_meteor(list("aba"), list("a"), "let the last word of the hypothesis choose first")
judge_meteor(list("abc"), list("xyz"), "be 0 without a common word")
for h, r in (([], list("ab")), (list("ab"), []), ([], [])):
    judge_meteor(h, r, "be 0 for an empty text")
judge_meteor([7, 8, 9], [8, 9, 7, 7], "take tokens of any kind")
judge_meteor([0, 4], [4, 0, 5], "take tokens of any kind, 0 too")
judge_meteor(["", "b"], ["b", ""], "take tokens of any kind, empty ones too")
judge_meteor([1, "2", 3], ["1", 2, 3], "tell a number from a text")
judge_meteor(["Yes", "no"], ["yes", "no"], "compare tokens as they are")
for _ in range(20):
    h, r = (rng.choice(list("abcd"), size=rng.integers(1, 10)).tolist() for _ in range(2))
    judge_meteor(h, r, "follow the three steps")
for a, b, want in (  # of nltk 3.10.4 without stems that differ and without WordNet
    ("the cat sat on the mat", "the mat on the cat sat", 0.8518518518518519), ("one two two three", "two one two four three two", 0.5441810344827586),
    ("he does not like it", "it he does like not", 0.744),
):
    call = f'meteor_lite("{a}".split(), "{b}".split())'
    check.close(check.answer(meteor_lite, a.split(), b.split(), call=call), want, call, why="be what nltk says")
### END HIDDEN TESTS

# %% mutant="meteor_lite" why="from the first word on"
# - for i in reversed(range(len(hypothesis))):
# + for i in range(len(hypothesis)):

# %% mutant="meteor_lite" why="the first of the equal words"
# - partner[i] = max(equal)
# + partner[i] = min(equal)

# %% mutant="meteor_lite" why="a word of the reference is used twice"
# - free.remove(partner[i])
# + pass

# %% mutant="meteor_lite" why="tokens as texts"
# - equal = [j for j in free if reference[j] == hypothesis[i]]
# + equal = [j for j in free if str(reference[j]) == str(hypothesis[i])]

# %% mutant="meteor_lite" why="the token 0 is nobody's"
# - equal = [j for j in free if reference[j] == hypothesis[i]]
# + equal = [j for j in free if hypothesis[i] and reference[j] == hypothesis[i]]

# %% mutant="meteor_lite" why="precision weighs more"
# - return 10 * p * r / (r + 9 * p) * (1 - 0.5 * (chunks / len(partner)) ** 3)
# + return 10 * p * r / (p + 9 * r) * (1 - 0.5 * (chunks / len(partner)) ** 3)

# %% mutant="meteor_lite" why="F1"
# - return 10 * p * r / (r + 9 * p) * (1 - 0.5 * (chunks / len(partner)) ** 3)
# + return 2 * p * r / (r + p) * (1 - 0.5 * (chunks / len(partner)) ** 3)

# %% mutant="meteor_lite" why="no punishment of disorder"
# - return 10 * p * r / (r + 9 * p) * (1 - 0.5 * (chunks / len(partner)) ** 3)
# + return 10 * p * r / (r + 9 * p)

# %% mutant="meteor_lite" why="not to the third power"
# - return 10 * p * r / (r + 9 * p) * (1 - 0.5 * (chunks / len(partner)) ** 3)
# + return 10 * p * r / (r + 9 * p) * (1 - 0.5 * chunks / len(partner))

# %% mutant="meteor_lite" why="jumps count, not chunks"
# - chunks = sum(partner.get(i - 1, -2) + 1 != j for i, j in partner.items())
# + chunks = sum(partner.get(i - 1, -2) + 1 != j for i, j in partner.items()) - 1

# %% mutant="meteor_lite" why="gaps in the hypothesis don't end a chunk"
# - chunks = sum(partner.get(i - 1, -2) + 1 != j for i, j in partner.items())
# + placed = [partner[i] for i in sorted(partner)]
# + chunks = 1 + sum(b != a + 1 for a, b in pairwise(placed))

# %% mutant="meteor_lite" why="gaps in the reference don't end a chunk"
# - chunks = sum(partner.get(i - 1, -2) + 1 != j for i, j in partner.items())
# + chunks = sum(not 0 <= partner.get(i - 1, 10**9) < j for i, j in partner.items())

# %% mutant="meteor_lite" why="chunks over the length of the hypothesis"
# - return 10 * p * r / (r + 9 * p) * (1 - 0.5 * (chunks / len(partner)) ** 3)
# + return 10 * p * r / (r + 9 * p) * (1 - 0.5 * (chunks / len(hypothesis)) ** 3)


# %% alternative="meteor_lite" why="both turned round, places by word"
def meteor_lite(hypothesis, reference):
    places = {}
    for j, word in enumerate(reference):
        places.setdefault(word, []).append(j)
    where = [places[w].pop() if places.get(w) else None for w in reversed(hypothesis)][::-1]
    m = sum(j is not None for j in where)
    if m == 0:
        return 0.0
    k, last = 0, None
    for j in where:
        k += j is not None and (last is None or j != last + 1)
        last = j
    f = 10 * m / (len(reference) * 9 + len(hypothesis))
    return f * (1 - (k / m) ** 3 / 2)


# %% [markdown]
# What do they see? One reference, six hypotheses, three rulers (BLEU of 2-grams).

# %% [markdown] lang="ru"
# Что они видят? Один эталон, шесть гипотез, три линейки (BLEU по 2-граммам).

# %%
reference = ["the", "old", "man", "did", "not", "sell", "his", "boat", "to", "the", "stranger"]
hypotheses = {
    "as the reference": " ".join(reference),
    "not left out": "the old man did sell his boat to the stranger",
    "other words": "the grandfather refused to let a foreigner buy his boat",
    "turned round": "to the stranger the old man did not sell his boat",
    "half of it": "the old man did not",
    "shuffled": "boat the did man stranger his not the to sell old",
}
texts = [text.split() for text in hypotheses.values()]
week07.bars([name.replace(" ", "\n", 1) for name in hypotheses], {
    "BLEU-2": [bleu([text], [[reference]], 2) for text in texts],
    "ROUGE-L": [rouge_l(text, reference) for text in texts],
    "METEOR-lite": [meteor_lite(text, reference) for text in texts],
}, "What three rulers make of six hypotheses", "grade")
plots.show(
    "Bars of three grades for six hypotheses: where 'not' is left out, all three stay high; a right translation "
    "in other words gets 0.3 at most; of two halves that change places only ROUGE-L takes notice; shuffled words have no 2-gram in common."
)
for name, text in hypotheses.items():
    print(f"{name:16} {text}")

# %% [markdown]
# **The opposite of the truth gets a better grade than the truth in other words.** All three compare words, none knows what they mean; they tell systems apart on thousands of sentences, not good sentences from bad ones.
#
# Your translator's best and worst sentences by METEOR-lite, and the suspicion to check: the words it got wrong, how often had it seen them?

# %% [markdown] lang="ru"
# **Противоположное по смыслу получает оценку выше, чем верное, но сказанное другими словами.** Все три сравнивают слова и ни одна не знает, что они значат; различать они умеют системы на тысячах предложений, а не хорошие предложения и плохие.
#
# Лучшие и худшие предложения вашего переводчика по METEOR-lite — и подозрение, которое стоит проверить: как часто он видел слова, на которых споткнулся?

# %%
seen = Counter(word for source, _ in pairs for word in set(source))
ours = [said(ranked(found)[0][0]) for found in answers(4)]
grade = np.array([meteor_lite(mine, right) for mine, (_, right) in zip(ours, judged, strict=True)])
rarest = np.array([min(seen[word] for word in source) for source, _ in judged])
order = np.argsort(-grade, kind="stable")
first_of = {tuple(judged[i][0]): i for i in order[::-1]}  # each source once
long_ones = [i for i in order if len(judged[i][0]) >= 4 and first_of[tuple(judged[i][0])] == i]
for i in [*long_ones[:3], *long_ones[-3:]]:
    source, right = judged[i]
    rare = min(source, key=lambda word: seen[word])
    print(f"{grade[i]:.2f}  {' '.join(source)}  ->  {' '.join(ours[i])}\n      reference: {' '.join(right)}; '{rare}' was seen in {seen[rare]} sentences")
groups = {"never": (0, 0), "1 to 3 times": (1, 3), "more often": (4, 10**9)}
of_group = {name: (rarest >= low) & (rarest <= high) for name, (low, high) in groups.items()}
week07.bars([f"{name}\n({chosen.sum()} sentences)" for name, chosen in of_group.items()],
            {"METEOR-lite": [grade[chosen].mean() if chosen.any() else 0.0 for chosen in of_group.values()]},
            "How often the rarest word of a sentence was seen in training", "mean grade", (7.5, 3.4))
plots.show(
    "Bars of the mean METEOR-lite grade by how often the rarest source word was seen: lowest where it was "
    "never seen, higher with every group."
)

# %% [markdown]
# ## 7. One tag for each sign
# *deeplearningforsegmentation*: where are the words? Many languages are written so. Give each letter one of four tags: **B** begins a word, **M** is in its middle, **E** ends it, **S** is a word by itself. The network is many-to-many, without a decoder: an `nn.Embedding` of signs (number 0 is padding), one `nn.LSTM` in both directions, one `nn.Linear` to the scores of the tags. In PyTorch, padding at the end would be read **first** by the direction that runs backwards: it must not change anything (`nn.utils.rnn.pack_padded_sequence` is one way). Scores at padding are 0. Padding stands at the end of a row only, and no row is empty.
#
# {{task:tagger}}

# %% [markdown] lang="ru"
# ## 7. По метке на каждый знак
# *глубокоеобучениедлясегментации*: где здесь слова? На многих языках так и пишут. Дадим каждой букве одну из четырёх меток: **B** начинает слово, **M** — внутри него, **E** кончает, **S** — слово из одной буквы. Сеть — «многие ко многим», без декодера: `nn.Embedding` знаков (номер 0 — дополнение), один `nn.LSTM` в обе стороны, один `nn.Linear`, дающий оценки меток. В PyTorch направление, идущее с конца, прочло бы дополнение **первым**: оно не должно ничего менять (один из способов — `nn.utils.rnn.pack_padded_sequence`). Оценки на местах дополнения — 0. Дополнение стоит только в конце строки, пустых строк нет.
#
# {{task:tagger}}


# %% solution="tagger"
class Tagger(nn.Module):
    """Numbers (n, t), 0 is padding -> scores (n, t, tags)."""

    def __init__(self, signs: int, dim: int, width: int, tags: int) -> None:
        """signs: the rows of the embedding, that of the padding included. width: of each direction."""
        super().__init__()
        ### BEGIN SOLUTION
        self.embed = nn.Embedding(signs, dim)
        self.lstm = nn.LSTM(dim, width, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * width, tags)
        ### END SOLUTION

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        there = ids != 0
        packed = nn.utils.rnn.pack_padded_sequence(
            self.embed(ids), there.sum(1).cpu(), batch_first=True, enforce_sorted=False
        )
        hidden, _ = nn.utils.rnn.pad_packed_sequence(
            self.lstm(packed)[0], batch_first=True, total_length=ids.shape[1]
        )
        return self.out(hidden) * there[..., None]
        ### END SOLUTION


# %% test="tagger" points=0.25 difficulty=3 minutes=20
torch.manual_seed(0)
small_tagger, rows = Tagger(9, 5, 3, 4), torch.tensor([[4, 2, 8, 1, 7], [3, 6, 0, 0, 0]])
check.equal(check.layers_of(small_tagger, "Tagger(9, 5, 3, 4)"), ["Embedding", "LSTM", "Linear"], "the layers of Tagger(9, 5, 3, 4)")
both = check.answer(small_tagger, rows, call="Tagger(9, 5, 3, 4) of two rows")
check.equal(both.shape, (2, 5, 4), "the shape of Tagger(9, 5, 3, 4) of two rows")
alone = check.answer(small_tagger, torch.tensor([[3, 6]]), call="Tagger(9, 5, 3, 4) of the second row alone")
check.close(both[1, :2], alone[0], "the scores of the second row", rtol=1e-4, atol=1e-6, why="not depend on padding")
### BEGIN HIDDEN TESTS
rng = check.rng("tagger")


class Tags(nn.Module):
    """Row by row, without padding at all."""

    def __init__(self, signs, dim, width, tags):
        super().__init__()
        self.table, self.net = nn.Embedding(signs, dim), nn.LSTM(dim, width, batch_first=True, bidirectional=True)
        self.top = nn.Linear(2 * width, tags)

    def forward(self, ids):
        answers_of_rows = []
        for row in ids:
            n = int((row != 0).sum())
            z = self.top(self.net(self.table(row[None, :n]))[0])[0]
            answers_of_rows.append(F.pad(z, (0, 0, 0, len(row) - n)))
        return torch.stack(answers_of_rows)


for signs, dim, width, tags, sizes in ((7, 4, 3, 5, (4, 6, 1)), (12, 3, 5, 2, (5, 5)), (5, 6, 2, 4, (3, 1, 2, 3))):
    ids = torch.zeros(len(sizes), max(sizes), dtype=torch.long)
    for i, size in enumerate(sizes):
        ids[i, :size] = torch.from_numpy(rng.integers(1, signs, size=size))
    call = f"Tagger({signs}, {dim}, {width}, {tags})"
    torch.manual_seed(int(rng.integers(1000)))
    made = Tagger(signs, dim, width, tags).double()
    shapes = [value.shape for value in check.parameters_of(made, call).values()]
    for shape, times, why in (
        ((signs, dim), 1, "have a row of the embedding for each number, that of the padding included"),
        ((4 * width, dim), 2, "have an LSTM with that width in each of two directions"),
        ((tags, 2 * width), 1, "have a linear layer from both directions to the tags"),
    ):
        check.that(shapes.count(shape) >= times, f"{why}, {call}")
    check.same_network(made, Tags(signs, dim, width, tags).double(), ids, call=call, rtol=1e-6, atol=1e-8, why="read both ways, and pass over padding")
    wide = F.pad(ids, (0, 3))
    found = check.answer(made, wide, call=f"{call} of rows that all end with padding")
    check.equal(found.shape, (*wide.shape, tags), f"the shape of {call} of rows that all end with padding", why="have a place for each number")
    check.close(found[:, -3:], np.zeros((len(sizes), 3, tags)), f"the scores of {call} at padding", why="be 0")
    check.close(found[:, :-3], check.answer(made, ids, call=call), f"the scores of {call} with more padding", rtol=1e-6, atol=1e-9, why="stay as they were")
one, rows = Tagger(6, 3, 2, 4), torch.tensor([[1, 2, 3]])
before = check.answer(one, rows, call="a first tagger beside a second one")
check.equal(check.attribute(one, "training", "a tagger"), True, "whether a tagger is in training mode after a call", why="be what it was")
theirs = check.answer(Tagger(6, 3, 2, 4), rows, call="a second tagger")
check.that(bool(np.abs(theirs - before).max() > 1e-6), "begin with random weights, others in each tagger")
check.close(check.answer(one, rows, call="a first tagger beside a second one"), before, "a first tagger beside a second one", why="have weights of its own")
### END HIDDEN TESTS

# %% mutant="tagger" why="padding is read"
# - hidden, _ = nn.utils.rnn.pad_packed_sequence(
# -     self.lstm(packed)[0], batch_first=True, total_length=ids.shape[1]
# - )
# + hidden, _ = self.lstm(self.embed(ids))

# %% mutant="tagger" why="one direction"
# - self.lstm = nn.LSTM(dim, width, batch_first=True, bidirectional=True)
# - self.out = nn.Linear(2 * width, tags)
# + self.lstm = nn.LSTM(dim, width, batch_first=True)
# + self.out = nn.Linear(width, tags)

# %% mutant="tagger" why="half the width in each direction"
# - self.lstm = nn.LSTM(dim, width, batch_first=True, bidirectional=True)
# - self.out = nn.Linear(2 * width, tags)
# + self.lstm = nn.LSTM(dim, max(1, width // 2), batch_first=True, bidirectional=True)
# + self.out = nn.Linear(2 * max(1, width // 2), tags)

# %% mutant="tagger" why="a row of the embedding too many"
# - self.embed = nn.Embedding(signs, dim)
# + self.embed = nn.Embedding(signs + 1, dim)

# %% mutant="tagger" why="leaves itself in eval mode"
# - there = ids != 0
# + self.eval()
# + there = ids != 0

# %% mutant="tagger" why="scores at padding"
# - return self.out(hidden) * there[..., None]
# + return self.out(hidden)

# %% mutant="tagger" why="shorter than the rows"
# - self.lstm(packed)[0], batch_first=True, total_length=ids.shape[1]
# + self.lstm(packed)[0], batch_first=True
# - return self.out(hidden) * there[..., None]
# + return self.out(hidden) * there[:, : hidden.shape[1], None]

# %% mutant="tagger" why="time before the batch"
# - self.lstm = nn.LSTM(dim, width, batch_first=True, bidirectional=True)
# + self.lstm = nn.LSTM(dim, width, bidirectional=True)
# - hidden, _ = nn.utils.rnn.pad_packed_sequence(
# -     self.lstm(packed)[0], batch_first=True, total_length=ids.shape[1]
# - )
# + hidden = self.lstm(self.embed(ids))[0]

# %% mutant="tagger" why="probabilities in place of scores"
# - return self.out(hidden) * there[..., None]
# + return self.out(hidden).softmax(-1) * there[..., None]


# %% alternative="tagger" why="row by row"
class Tagger(nn.Module):
    def __init__(self, signs, dim, width, tags):
        super().__init__()
        self.body = nn.ModuleList([nn.Embedding(signs, dim), nn.LSTM(dim, width, bidirectional=True), nn.Linear(2 * width, tags)])

    def forward(self, ids):
        embed, lstm, head = self.body
        rows = []
        for row in ids:
            n = int((row > 0).sum())
            scores = head(lstm(embed(row[:n]))[0])
            rows.append(torch.cat([scores, scores.new_zeros(len(row) - n, scores.shape[1])]))
        return torch.stack(rows)


# %% [markdown]
# Tags depend on each other: after B comes M or E, never S. Whoever takes the best tag at each place by itself writes sequences that cannot be. Let a **path** $y_1 \dots y_t$ have the score
#
# $$S(y) = \sum_{i=1}^t e_i(y_i) + \sum_{i=2}^t a(y_{i-1}, y_i),$$
#
# $e$ are the network's scores (emissions, finite), $a$ the transitions; $a = -\infty$ forbids. There are $K^t$ paths, but the best one that ends in tag $j$ at place $i$ has as its beginning the best one that ends in some tag at place $i - 1$: [Viterbi's algorithm](glossary:viterbi) keeps for each place and tag that one number, and where it came from. Of equally good paths take the one with the smallest last tag; if that is the same, with the smallest last but one, and so on. At least one path is possible.
#
# {{task:viterbi}}

# %% [markdown] lang="ru"
# Метки зависят друг от друга: за B идёт M или E, но никогда S. Кто берёт лучшую метку на каждом месте саму по себе, пишет последовательности, каких не бывает. Пусть у **пути** $y_1 \dots y_t$ будет оценка
#
# $$S(y) = \sum_{i=1}^t e_i(y_i) + \sum_{i=2}^t a(y_{i-1}, y_i),$$
#
# где $e$ — оценки сети (эмиссии, все конечны), $a$ — переходы; $a = -\infty$ запрещает переход. Путей $K^t$, но у лучшего пути, который на месте $i$ кончается меткой $j$, начало — тоже лучший путь до одной из меток на месте $i - 1$: [алгоритм Витерби](glossary:viterbi) (Viterbi) хранит для каждого места и каждой метки одно это число и откуда оно взялось. Из равных путей возьмите тот, у которого меньше последняя метка; если и она одна и та же — предпоследняя, и так далее. Хотя бы один путь возможен.
#
# {{task:viterbi}}


# %% solution="viterbi"
def viterbi(emissions: np.ndarray, transitions: np.ndarray) -> tuple[list[int], float]:
    """The best path and its score. emissions: (t, k), t >= 1; transitions: (k, k), from row to column."""
    ### BEGIN SOLUTION
    best, came = np.asarray(emissions[0], dtype=float), []
    for scores in emissions[1:]:
        through = best[:, None] + transitions
        came.append(through.argmax(axis=0))
        best = through.max(axis=0) + scores
    path = [int(best.argmax())]
    for back in reversed(came):
        path.append(int(back[path[-1]]))
    return path[::-1], float(best.max())
    ### END SOLUTION


# %% test="viterbi" points=0.5 difficulty=3 minutes=25
e, a = np.array([[1.0, 3.0], [2.5, 2.0], [0.5, 4.0]]), np.array([[0.25, -1.0], [-4.0, 1.5]])
path, score = check.answer(viterbi, e, a, call="viterbi(e, a)")
check.equal(list(path), [1, 1, 1], "the path of viterbi(e, a)")
check.close(score, 12.0, "the score of viterbi(e, a)")
path, score = check.answer(viterbi, e, np.array([[0.25, 6.0], [-0.5, -3.0]]), call="viterbi(e, b)")
check.equal(list(path), [1, 0, 1], "the path of viterbi(e, b)")
check.close(score, 15.0, "the score of viterbi(e, b)")
### BEGIN HIDDEN TESTS
rng = check.rng("viterbi")


def all_paths(e, a):
    """The best of all paths; of equal ones the first by its tags from behind."""
    t, k = e.shape
    found = []
    for y in product(range(k), repeat=t):
        s = sum(e[i, y[i]] for i in range(t)) + sum(a[i, j] for i, j in pairwise(y))
        found.append((-s, y[::-1]))
    s, y = min(found)
    return list(y[::-1]), -s


def judge_viterbi(e, a, why, exact=False):
    call = f"viterbi of t, k = {e.shape[0]}, {e.shape[1]}"
    want, best = all_paths(np.asarray(e, dtype=float), np.asarray(a, dtype=float))
    found = check.answer(viterbi, e, a, call=call)
    check.equal(len(found), 2, f"len of {call}", why="be two: path and score")
    check.equal([int(y) for y in check.array(found[0], f"the path of {call}")], want, f"the path of {call}", why=why)
    check.close(found[1], best, f"the score of {call}", rtol=1e-9, why=why)


for t, k in ((1, 3), (2, 3), (5, 2), (4, 3), (3, 5), (6, 3), (7, 2)):
    for _ in range(3):
        judge_viterbi(rng.normal(size=(t, k)), 2 * rng.normal(size=(k, k)), "be the best of all paths")
for _ in range(12):
    t, k = int(rng.integers(2, 6)), int(rng.integers(2, 4))
    judge_viterbi(rng.integers(0, 2, size=(t, k)), rng.integers(0, 2, size=(k, k)), "take the smallest tags from behind where paths are equal")
judge_viterbi(np.zeros((4, 3)), np.zeros((3, 3)), "take the smallest tags from behind where paths are equal")
for _ in range(6):
    a = rng.normal(size=(3, 3))
    a[0, 1] = a[2, 2] = a[1, 0] = -np.inf
    judge_viterbi(3 * rng.normal(size=(5, 3)), a, "never take a forbidden step")
judge_viterbi(1e4 * rng.normal(size=(4, 3)), rng.normal(size=(3, 3)), "bear large scores")
judge_viterbi(-50 - rng.random((4, 3)), -50 - rng.random((3, 3)), "bear scores that are all negative")
judge_viterbi(-1e12 * (1 + rng.random((3, 3))), -1e12 * rng.random((3, 3)), "bear scores that are all very negative")
judge_viterbi(np.array([[1e12, 0.0], [1e12, 0.0]]), np.array([[-np.inf, 0.0], [0.0, 0.0]]), "never take a forbidden step, whatever it would bring")
judge_viterbi(rng.integers(0, 3, size=(4, 3)), 0.5 + rng.random((3, 3)), "bear whole numbers beside others")
judge_viterbi(0.5 + rng.random((4, 3)), rng.integers(0, 3, size=(3, 3)), "bear whole numbers beside others")
judge_viterbi(np.array([[1.0, 1.000001]]), np.zeros((2, 2)), "be the best of all paths, however little it is")
long_e, long_a = rng.normal(size=(100, 4)), rng.normal(size=(4, 4))
path, score = check.answer(viterbi, long_e, long_a, call="viterbi of t, k = 100, 4")
check.equal(len(path), 100, "the length of the path of viterbi of t, k = 100, 4", why="be t")
total = sum(long_e[i, y] for i, y in enumerate(path)) + sum(long_a[i, j] for i, j in pairwise(path))
check.close(score, total, "the score of viterbi of t, k = 100, 4", rtol=1e-9, why="be that of the path")
top = long_e[0]
for row in long_e[1:]:
    top = (top[:, None] + long_a).max(axis=0) + row
check.close(score, top.max(), "the score of viterbi of t, k = 100, 4", rtol=1e-9, why="be the best of all paths")
### END HIDDEN TESTS

# %% mutant="viterbi" why="the best tag at each place"
# - path = [int(best.argmax())]
# - for back in reversed(came):
# -     path.append(int(back[path[-1]]))
# - return path[::-1], float(best.max())
# + return [int(y) for y in np.argmax(emissions, axis=1)], float(best.max())

# %% mutant="viterbi" why="greedy from left to right"
# - through = best[:, None] + transitions
# + through = np.where(np.arange(len(best))[:, None] == best.argmax(), best[:, None], -np.inf) + transitions

# %% mutant="viterbi" why="transitions the other way round"
# - through = best[:, None] + transitions
# + through = best[:, None] + transitions.T

# %% mutant="viterbi" why="the backpointers off by one"
# - for back in reversed(came):
# + for back in reversed([*came[1:], came[0]] if came else []):

# %% mutant="viterbi" why="the path from behind"
# - return path[::-1], float(best.max())
# + return path, float(best.max())

# %% mutant="viterbi" why="the largest of equal tags"
# - came.append(through.argmax(axis=0))
# + came.append(len(through) - 1 - through[::-1].argmax(axis=0))

# %% mutant="viterbi" why="the largest of equal last tags"
# - path = [int(best.argmax())]
# + path = [int(len(best) - 1 - best[::-1].argmax())]

# %% mutant="viterbi" why="backpointers look at the emissions, too early"
# - came.append(through.argmax(axis=0))
# + came.append((through + scores[:, None]).argmax(axis=0))

# %% mutant="viterbi" why="the first place does not count"
# - best, came = np.asarray(emissions[0], dtype=float), []
# + best, came = np.zeros(emissions.shape[1]), []

# %% mutant="viterbi" why="begins with 0: a maximum over negative numbers"
# - best = through.max(axis=0) + scores
# + best = np.maximum(through.max(axis=0), 0) + scores

# %% mutant="viterbi" why="a forbidden step costs much, but may be worth it"
# - best, came = np.asarray(emissions[0], dtype=float), []
# + transitions = np.maximum(transitions, -1e6)
# + best, came = np.asarray(emissions[0], dtype=float), []

# %% mutant="viterbi" why="cut to whole numbers where the emissions are whole"
# - best = through.max(axis=0) + scores
# + best = (through.max(axis=0) + scores).astype(np.asarray(emissions).dtype)

# %% mutant="viterbi" why="the maximum begins at a number that is not small enough"
# - best = through.max(axis=0) + scores
# + best = np.maximum(through.max(axis=0), -1e9) + scores

# %% mutant="viterbi" why="half the score"
# - return path[::-1], float(best.max())
# + return path[::-1], float(best.max()) / 2


# %% alternative="viterbi" why="a recursion that remembers"
def viterbi(emissions, transitions):
    k = emissions.shape[1]

    @cache
    def best(i, j):
        if i == 0:
            return float(emissions[0, j]), None
        totals = [best(i - 1, q)[0] + float(transitions[q, j]) for q in range(k)]
        at = totals.index(max(totals))
        return totals[at] + float(emissions[i, j]), at

    last = len(emissions) - 1
    path = [max(range(k), key=lambda j: best(last, j)[0])]
    score = best(last, path[0])[0]
    for i in range(last, 0, -1):
        path.insert(0, best(i, path[0])[1])
    return path, score


# %% alternative="viterbi" why="whole paths, kept as tuples"
def viterbi(emissions, transitions):
    k = len(transitions)
    paths = {j: (float(emissions[0][j]), (j,)) for j in range(k)}
    for row in emissions[1:]:
        new = {}
        for j in range(k):
            i = min(range(k), key=lambda i, j=j: (-(paths[i][0] + float(transitions[i][j])), i))
            new[j] = (paths[i][0] + float(transitions[i][j]) + float(row[j]), (*paths[i][1], j))
        paths = new
    last = min(range(k), key=lambda j: (-paths[j][0], j))
    return list(paths[last][1]), paths[last][0]


# %% [markdown]
# Can the network learn the transitions, too? A **conditional random field** (Lample et al., 2016, §2.2) gives a path the probability $e^{S(y)} / Z$, where $Z = \sum_y e^{S(y)}$ runs over all paths. Its logarithm is Viterbi's algorithm once more, with $\log \sum \exp$ in place of the maximum:
#
# $$\alpha_1(j) = e_1(j), \qquad \alpha_i(j) = e_i(j) + \log \sum_k e^{\alpha_{i-1}(k) + a(k, j)}, \qquad \log Z = \log \sum_j e^{\alpha_t(j)}.$$
#
# Here for a batch: of each row only the places where the mask is true count; they stand at its beginning, at least one.
#
# {{task:log_z}}

# %% [markdown] lang="ru"
# А может ли сеть выучить и переходы? **Условное случайное поле** (conditional random field, CRF; Lample et al., 2016, §2.2) даёт пути вероятность $e^{S(y)} / Z$, где $Z = \sum_y e^{S(y)}$ — по всем путям. Логарифм $Z$ — снова алгоритм Витерби, только вместо максимума стоит $\log \sum \exp$:
#
# $$\alpha_1(j) = e_1(j), \qquad \alpha_i(j) = e_i(j) + \log \sum_k e^{\alpha_{i-1}(k) + a(k, j)}, \qquad \log Z = \log \sum_j e^{\alpha_t(j)}.$$
#
# Здесь — для батча: в каждой строке считаются только места, где маска истинна; они стоят в её начале, хотя бы одно.
#
# {{task:log_z}}


# %% solution="log_z"
def log_z(
    emissions: torch.Tensor, transitions: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """emissions: (n, t, k), transitions: (k, k), from row to column, all finite; mask: (n, t) -> (n,)."""
    ### BEGIN SOLUTION
    alpha = emissions[:, 0]
    for i in range(1, emissions.shape[1]):
        new = emissions[:, i] + (alpha[:, :, None] + transitions).logsumexp(1)
        alpha = torch.where(mask[:, i, None], new, alpha)
    return alpha.logsumexp(1)
    ### END SOLUTION


# %% test="log_z" points=0.25 difficulty=3 minutes=15
e = torch.tensor([[[1.0, 3.0], [2.5, 2.0], [9.0, 9.0]]])
a = torch.tensor([[0.25, -1.0], [-4.0, 1.5]])
call = "log_z(e, a, tensor([[True, True, False]]))"
want = math.log(math.exp(3.75) + math.exp(2.0) + math.exp(1.5) + math.exp(6.5))
check.close(check.answer(log_z, e, a, torch.tensor([[True, True, False]]), call=call), [want], call, why="sum over the four paths of the first two places")
### BEGIN HIDDEN TESTS
rng = check.rng("log_z")


def by_all_paths(e, a, m):
    """Sum over every path, as torch sees it."""
    rows = []
    for row, there in zip(e, m, strict=True):
        t = int(there.sum())
        scores = [
            sum(row[i, y[i]] for i in range(t)) + sum((a[i, j] for i, j in pairwise(y)), start=row.new_zeros(()))
            for y in product(range(len(a)), repeat=t)
        ]
        rows.append(torch.stack(scores).logsumexp(0))
    return torch.stack(rows)


for n, t, k, sizes, why in (
    (2, 1, 3, (1, 1), "begin with the emissions of the first place"), (2, 2, 3, (2, 2), "go from row to column"),
    (3, 4, 2, (4, 4, 4), "sum over all paths"), (1, 3, 4, (3,), "sum over all paths"), (4, 5, 2, (5, 1, 3, 2), "stop in each row where its mask ends"),
    (2, 4, 3, (2, 3), "stop in each row where its mask ends"),
):
    e, a = torch.from_numpy(rng.normal(size=(n, t, k))), torch.from_numpy(2 * rng.normal(size=(k, k)))
    m = torch.arange(t) < torch.tensor(sizes)[:, None]
    call = f"log_z of n, t, k = {n}, {t}, {k}"
    check.close(check.answer(log_z, e, a, m, call=call), by_all_paths(e, a, m), call, rtol=1e-9, why=why)
    slopes = check.gradient_of(lambda e, a, m=m: log_z(e, a, m), e, a, call=f"gradients through {call}")
    wanted = check.gradient_of(lambda e, a, m=m: by_all_paths(e, a, m), e, a, call="the reference")
    for name, slope, one in zip(("emissions", "transitions"), slopes, wanted, strict=True):
        check.close(slope, one, f"the gradient by {name} through {call}", rtol=1e-6, atol=1e-9, why="be the probabilities of tags and of steps")
far = torch.tensor([[[900.0, 899.0], [-900.0, 901.0]]]).double()
check.close(check.answer(log_z, far, torch.zeros(2, 2).double(), torch.ones(1, 2, dtype=torch.bool), call="log_z of large scores"), [1801 + math.log(1 + math.exp(-1))], "log_z of large scores", rtol=1e-9, why="bear large scores")
apart = torch.tensor([[[-1000.0, -1000.0]], [[0.0, 0.0]], [[1000.0, 999.0]]]).double()
check.close(check.answer(log_z, apart, torch.zeros(2, 2).double(), torch.ones(3, 1, dtype=torch.bool), call="log_z of rows far apart"), apart.logsumexp(2)[:, 0], "log_z of rows far apart", rtol=1e-9, why="bear rows of very different size side by side")
low, a = torch.from_numpy(rng.normal(size=(2, 3, 2)) - 1000), torch.from_numpy(rng.normal(size=(2, 2)))
full = torch.ones(2, 3, dtype=torch.bool)
check.close(check.answer(log_z, low, a, full, call="log_z of very negative scores"), by_all_paths(low, a, full), "log_z of very negative scores", rtol=1e-9, why="bear very negative scores")
e, a, m = torch.from_numpy(rng.normal(size=(1, 40, 4))), torch.from_numpy(rng.normal(size=(4, 4))), torch.ones(1, 40, dtype=torch.bool)
p, scale = np.ones(4), 0.0
for i, row in enumerate(e[0].numpy()):
    p = (p if i == 0 else p @ np.exp(a.numpy())) * np.exp(row)
    p, scale = p / p.sum(), scale + math.log(p.sum())
check.close(check.answer(log_z, e, a, m, call="log_z of 40 places, 4 tags"), [scale], "log_z of 40 places, 4 tags", rtol=1e-9, why="bear long rows, of which nobody can go through all paths")
found = check.answer(log_z, e.float(), a.float(), m, call="log_z in float32")
check.equal(str(found.dtype), "float32", "the dtype of log_z in float32", why="be that of the emissions")
### END HIDDEN TESTS

# %% mutant="log_z" why="the best path alone"
# - new = emissions[:, i] + (alpha[:, :, None] + transitions).logsumexp(1)
# + new = emissions[:, i] + (alpha[:, :, None] + transitions).amax(1)

# %% mutant="log_z" why="transitions the other way round"
# - new = emissions[:, i] + (alpha[:, :, None] + transitions).logsumexp(1)
# + new = emissions[:, i] + (alpha[:, :, None] + transitions.T).logsumexp(1)

# %% mutant="log_z" why="sums over the wrong axis"
# - new = emissions[:, i] + (alpha[:, :, None] + transitions).logsumexp(1)
# + new = emissions[:, i] + (alpha[:, :, None] + transitions).logsumexp(2)

# %% mutant="log_z" why="padding counts"
# - alpha = torch.where(mask[:, i, None], new, alpha)
# + alpha = new

# %% mutant="log_z" why="no emissions after the first"
# - new = emissions[:, i] + (alpha[:, :, None] + transitions).logsumexp(1)
# + new = (alpha[:, :, None] + transitions).logsumexp(1)

# %% mutant="log_z" why="exp without a guard"
# - return alpha.logsumexp(1)
# + return alpha.exp().sum(1).log()

# %% mutant="log_z" why="one maximum for all rows"
# - return alpha.logsumexp(1)
# + return (alpha - alpha.max()).exp().sum(1).log() + alpha.max()

# %% mutant="log_z" why="guards against large scores alone"
# - return alpha.logsumexp(1)
# + top = alpha.amax(1, keepdim=True).clamp_min(0)
# + return (alpha - top).exp().sum(1).log() + top[:, 0]

# %% mutant="log_z" why="Z, not its logarithm"
# - return alpha.logsumexp(1)
# + return alpha.exp().sum(1)

# %% mutant="log_z" why="the mean over the batch"
# - return alpha.logsumexp(1)
# + return alpha.logsumexp(1).mean()

# %% mutant="log_z" why="places by themselves"
# - new = emissions[:, i] + (alpha[:, :, None] + transitions).logsumexp(1)
# + new = emissions[:, i] + alpha.logsumexp(1, keepdim=True)


# %% alternative="log_z" why="a product of matrices, row by row"
def log_z(emissions, transitions, mask):
    answers = []
    for e, m in zip(emissions, mask, strict=True):
        e, top = e[m], e[m].max(1).values
        p, scale = (e[0] - top[0]).exp(), top.sum()
        step = (transitions - transitions.max()).exp()
        scale = scale + (len(e) - 1) * transitions.max()
        for row, high in zip(e[1:], top[1:], strict=True):
            p = (p @ step) * (row - high).exp()
        answers.append(p.sum().log() + scale)
    return torch.stack(answers)


# %% [markdown]
# Titles of articles from arXiv, their spaces taken out. One network learns each tag by itself (cross-entropy), the other whole paths ($\log Z - S(y)$), with transitions of its own. Three ways to read them out.

# %% [markdown] lang="ru"
# Заголовки статей с arXiv, из которых убраны пробелы. Одна сеть учит каждую метку отдельно (перекрёстная энтропия), другая — путь целиком ($\log Z - S(y)$) и собственные переходы. Прочесть метки можно тремя способами.


# %%
def plain_titles(texts: Sequence[str]) -> list[str]:
    """Titles in small letters and single spaces, none too long."""
    found = [" ".join(re.sub(r"[^a-z]+", " ", text.lower()).split()) for text in texts]
    return [text for text in found if 15 < len(text) <= settings["title"]]


def tags_of(title: str) -> list[int]:
    """0 B, 1 M, 2 E, 3 S for each letter."""
    return [tag for word in title.split() for tag in ([3] if len(word) == 1 else [0, *[1] * (len(word) - 2), 2])]


def spaced(letters: str, tags: Sequence[int]) -> str:
    """Letters with a space after each E and S, and before each B and S."""
    begins = [i > 0 and (tags[i] in (0, 3) or tags[i - 1] in (2, 3)) for i in range(len(tags))]
    return "".join(" " * begin + letter for begin, letter in zip(begins, letters, strict=True))


known_titles, new_titles = plain_titles(titles.x_train), plain_titles(titles.x_test)[:300]
possible = np.array([[0, 1, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 0, 1]], dtype=bool)
forbidding = np.where(possible, 0.0, -np.inf)


def rows_of(some: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers of letters and tags, padded with 0: (n, t) each."""
    made = [[torch.tensor([ord(c) - 96 for c in s.replace(" ", "")]) for s in some], [torch.tensor(tags_of(s)) for s in some]]
    return tuple(nn.utils.rnn.pad_sequence(part, batch_first=True).to(device) for part in made)


@cache
def segmenter(paths: bool) -> tuple[Tagger, np.ndarray]:
    """A tagger, trained on whole paths or on single tags, and its transitions."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = Tagger(27, 32, 64 if profile == "small" else 256, 4).to(device)
    model.register_parameter("transitions", nn.Parameter(torch.zeros(4, 4, device=device)))

    def loss_of() -> torch.Tensor:
        x, y = rows_of([known_titles[i] for i in rng.integers(len(known_titles), size=32)])
        e, there = model(x), x != 0
        if not paths:
            return F.cross_entropy(e[there], y[there])
        a = model.transitions
        right = (e.gather(2, y[..., None])[..., 0] * there).sum(1) + (a[y[:, :-1], y[:, 1:]] * there[:, 1:]).sum(1)
        return ((log_z(e, a, there) - right) / there.sum(1)).mean()

    train(model, loss_of, settings["tag"], 6e-3)
    return model.eval(), model.transitions.detach().cpu().numpy().astype(float)


@torch.no_grad()
def emissions_of(model: Tagger, title: str) -> np.ndarray:
    return model(rows_of([title])[0])[0].cpu().numpy().astype(float)


ways = {}
for name, paths in (("tags by themselves", False), ("whole paths (CRF)", True)):
    model, learned = segmenter(paths)
    scores = [emissions_of(model, title) for title in new_titles]
    own = learned if paths else np.zeros((4, 4))
    if not paths:
        ways[f"{name}:\nbest tag at each place"] = [e.argmax(1).tolist() for e in scores]
    ways[f"{name}:\nViterbi"] = [viterbi(e, own + forbidding)[0] for e in scores]
measured = {"impossible": [], "all words right": []}
for found in ways.values():
    measured["impossible"].append(np.mean([any(not possible[i, j] for i, j in pairwise(y)) for y in found]))
    measured["all words right"].append(np.mean([spaced(t.replace(" ", ""), y) == t for t, y in zip(new_titles, found, strict=True)]))
week07.bars(list(ways), measured, f"{len(new_titles)} titles that no network has read", "share of the titles")
plots.show(
    "Bars for three ways to tag: the best tag at each place gives impossible sequences for many titles, Viterbi for "
    "none; the share of titles with all words right is a little higher with Viterbi and with whole paths."
)
taken = list(ways.values())
worth = [i for i in range(len(new_titles)) if taken[0][i] != taken[2][i]][:6]
for i in worth:
    letters_only = new_titles[i].replace(" ", "")
    print(f"single tags: {spaced(letters_only, taken[0][i])}\nwhole paths: {spaced(letters_only, taken[2][i])}\nthe title:   {new_titles[i]}\n")

# %% [markdown]
# ## 8. The exam: read dates as people write them
# "Sun 03.03.19", "the third of March 2019", «третье марта 2019 года» all mean 2019-03-03. Build a network that takes a **list of n texts** and gives a list of n texts `YYYY-MM-DD`; with the right dates as second argument it gives its mean loss, a scalar with a gradient. The next cell trains it on dates from 1950 to 2049 in 16 forms (two digits: 50 to 99 belong to the 1900s) and saves `model.safetensors`. One date in ten is **withheld**: the exam asks for 1,500 of those, among some public ones, and only an exact match counts.
#
# Milestones: more than 20 % exact gives 0.2 points, more than 60 % and more than 90 % each 0.15 more. For comparison, on these 1,500, three seeds each: a network that always says one date 0 %, this network without attention (the decoder sees the mean of the keys) 41 to 43 %, with attention 98 to 99 %, each after 300 steps.
#
# - `Seq2Seq` with your attention and your decoder is a start. How many steps are worth their time is yours to choose.
# - The list is any texts: empty ones, of any length, in any alphabet; a list of no texts gives an empty list. What a text gives does not depend on its neighbours. The network is handed in, not a parser: what it knows is in its weights.
# - In the exam there are your imports, functions, classes and constants, the cell of `dater` and the file; no data, no files opened.
#
# {{task:dater}}

# %% [markdown] lang="ru"
# ## 8. Экзамен: прочитать даты так, как их пишут люди
# "Sun 03.03.19", "the third of March 2019", «третье марта 2019 года» — всё это 2019-03-03. Постройте сеть, которая берёт **список из n текстов** и даёт список из n текстов `YYYY-MM-DD`; если вторым аргументом поданы верные даты, она даёт свою среднюю ошибку — скаляр с градиентом. Следующая ячейка учит её на датах с 1950 по 2049 год в 16 видах записи (две цифры: от 50 до 99 — это XX век) и сохраняет `model.safetensors`. Каждая десятая дата **утаена**: на экзамене спрашивают 1500 таких, вперемешку с открытыми, и засчитывается только точное совпадение.
#
# Рубежи: больше 20 % точных — 0,2 балла, больше 60 % и больше 90 % — ещё по 0,15. Для сравнения, на этих же 1500, по три запуска: сеть, называющая всегда одну дату, — 0 %, такая же сеть без внимания (декодер видит среднее ключей) — от 41 до 43 %, с вниманием — от 98 до 99 %, каждая после 300 шагов.
#
# - Начать можно с `Seq2Seq` с вашим вниманием и вашим декодером. Сколько шагов стоят своего времени, решаете вы.
# - В списке — любые тексты: пустые, любой длины, на любом алфавите; на список без текстов ответ — пустой список. Ответ на текст не зависит от соседей. Сдаётся сеть, а не разбор по правилам: всё, что она знает, лежит в её весах.
# - На экзамене есть ваши импорты, функции, классы и константы, ячейка `dater` и файл; никаких данных, никаких открытых файлов.
#
# {{task:dater}}


# %%
LETTERS = " ,-./0123456789abcdefghijklmnopqrstuvwxyzабвгдеёжзийклмнопрстуфхцчшщъыьэюя"
SIGNS = "0123456789-"


def spelt(texts: Sequence[str]) -> torch.Tensor:
    """Numbers of the letters of texts, 0 for padding, 1 for others: (n, t), t from 1 to 60."""
    if not texts:
        return torch.zeros(0, 1, dtype=torch.long)
    rows = [[2 + LETTERS.find(c) if c in LETTERS else 1 for c in text.lower()[:60]] or [1] for text in texts]
    return nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


# %% solution="dater"
def dater() -> nn.Module:
    """A new, untrained network: n texts -> n texts YYYY-MM-DD; with n dates as well, its mean loss.

    Its weights lie on the CPU or on a GPU; the texts' numbers go to where the weights are.
    """
    ### BEGIN SOLUTION

    class Dater(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Seq2Seq(2 + len(LETTERS), 3 + len(SIGNS), 32, 64)

        def forward(self, texts: Sequence[str], dates: Sequence[str] | None = None):
            keys, mask, state = self.net.encode(spelt(texts).to(self.net.v.device))
            step = self.net.step(keys, mask)
            if dates is not None:
                right = torch.tensor([[3 + SIGNS.index(c) for c in day] for day in dates]).to(state.device)
                logits = teacher_forced(step, state, right)
                return F.cross_entropy(logits.flatten(0, 1), right.flatten())
            token, written = torch.full_like(mask[:, 0], START, dtype=torch.long), []
            for _ in range(10):
                logits, state = step(token, state)
                token = logits[:, 3:].argmax(1) + 3
                written.append(token - 3)
            return ["".join(SIGNS[i] for i in row) for row in torch.stack(written, 1).tolist()]

    return Dater()
    ### END SOLUTION


# %% tags=["training"]
seed_everything(0)
trained = week07.READER.build(dater).to(device).train()
known_texts, known_days = week07.dates(20_000, 0)
draw = np.random.default_rng(0)


def date_loss() -> torch.Tensor:
    """The loss on 32 dates by chance."""
    some = draw.integers(len(known_texts), size=32)
    return trained([known_texts[i] for i in some], [known_days[i] for i in some])


print(f"loss at the end: {train(trained, date_loss, settings['dates'], 5e-3):.3f}")
print(f"saved: {week07.READER.save(trained).name}")

# %% test="dater" points=0.5 difficulty=3 minutes=40 exam=true
week07.READER.check(week07.READER.build(dater), check.rng("dater"))


def unread(make):
    """The loss of a new network on two dates; equal code gives equal numbers."""
    torch.manual_seed(0)
    model = week07.READER.build(make)
    with torch.no_grad():
        return float(model(["March 3, 2019", "7 мая 1961"], ["2019-03-03", "1961-05-07"]))


check.stands_alone(dater, "dater", unread)
loaded = week07.READER.load(week07.READER.build(dater))
week07.READER.check(loaded, check.rng("dater"))
check.equal(check.answer(loaded, [], call="your network of a list of no texts"), [], "your network of a list of no texts", why="be an empty list")
### BEGIN HIDDEN TESTS
check.hand_in("dater", week07.READER.predict(loaded, check.private("dater")["texts"]))
### END HIDDEN TESTS

# %% mutant="dater" why="another width than it was trained with"
# - self.net = Seq2Seq(2 + len(LETTERS), 3 + len(SIGNS), 32, 64)
# + self.net = Seq2Seq(2 + len(LETTERS), 3 + len(SIGNS), 32, 48)

# %% mutant="dater" why="reads from the end: another order than in training"
# - keys, mask, state = self.net.encode(spelt(texts).to(self.net.v.device))
# + keys, mask, state = self.net.encode(spelt([text[::-1] for text in texts]).to(self.net.v.device))

# %% mutant="dater" why="says the start token each time"
# - written.append(token - 3)
# + written.append(token - 3)
# + token = torch.full_like(token, START)

# %% mutant="dater" why="the state stays as it was"
# - logits, state = step(token, state)
# + logits, _ = step(token, state)

# %% mutant="dater" why="the mean over the batch"
# - step = self.net.step(keys, mask)
# + state = state - state.mean(0)
# + step = self.net.step(keys, mask)

# %% mutant="dater" why="eleven signs"
# - for _ in range(10):
# + for _ in range(11):

# %% mutant="dater" why="signs one number off"
# - return ["".join(SIGNS[i] for i in row) for row in torch.stack(written, 1).tolist()]
# + return ["".join(SIGNS[i - 1] for i in row) for row in torch.stack(written, 1).tolist()]


# %% alternative="dater" why="a class of its own, days that grow by a sign"
class Reads(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = Seq2Seq(2 + len(LETTERS), 3 + len(SIGNS), 32, 64)

    def read(self, texts):
        keys, mask, state = self.net.encode(spelt(texts).to(self.net.v.device))
        days, token = [""] * len(texts), torch.full((len(texts),), START, device=keys.device)
        for _ in range(10):
            logits, state, _ = decode_step(self.net, token, state, keys, mask)
            token = 3 + logits[:, 3:].argmax(1)
            days = [day + SIGNS[i - 3] for day, i in zip(days, token.tolist(), strict=True)]
        return days

    def forward(self, texts, dates=None):
        if dates is None:
            return self.read(texts)
        keys, mask, state = self.net.encode(spelt(texts).to(self.net.v.device))
        right = torch.tensor([[3 + SIGNS.index(c) for c in day] for day in dates], device=keys.device)
        logits = teacher_forced(self.net.step(keys, mask), state, right)
        return F.cross_entropy(logits.transpose(1, 2), right)


def dater():
    return Reads()


# %% [markdown]
# How good is it on public dates, of which it has seen few, and which ones does it misread?

# %% [markdown] lang="ru"
# Насколько она хороша на открытых датах, из которых видела немногие, — и какие читает неверно?

# %% tags=["training"]
trained = week07.READER.load(dater()).to(device)
new_texts, new_days = week07.dates(600, 1)
right = week07.READER.predict(trained, new_texts) == week07.numbers(new_days)
print(week07.SCALE.table(float(right.mean()), profile), "\n(on public dates)")
wrong = [i for i in np.flatnonzero(~right)][:5]
for i in wrong:
    print(f"{new_texts[i]} -> {trained([new_texts[i]])[0]}, right: {new_days[i]}")

# %% [markdown]
# The last picture is yours to show to a friend: a row for each sign that is written, a column for each letter that was read, dark where the network looked. Nobody told it which word is the month.

# %% [markdown] lang="ru"
# Последнюю картинку можно показать другу: строка — знак, который сеть пишет, столбец — буква, которую она прочла; темно там, куда она смотрела. Какое слово — месяц, ей никто не говорил.

# %% tags=["training"]
@torch.no_grad()
def looked_at(net: Seq2Seq, text: str) -> tuple[np.ndarray, str]:
    """The weights of attention for each sign that is written (10, t), and the date."""
    keys, mask, state = net.encode(spelt([text]).to(net.v.device))
    token, rows, day = torch.tensor([START], device=keys.device), [], ""
    for _ in range(10):
        logits, state, weights = decode_step(net, token, state, keys, mask)
        token = logits[:, 3:].argmax(1) + 3
        rows.append(weights[0].cpu().numpy())
        day += SIGNS[int(token) - 3]
    return np.array(rows), day


net = getattr(week07.READER.load(dater()), "net", None)
if isinstance(net, Seq2Seq):
    for text in ("вторник, 9 июля 1985 г.", "the twenty-first of October 2015"):
        weights, day = looked_at(net, text)
        week07.attention_map(weights, text, day, f"{text}  →  {day}")
        plots.show(
            f"A map of the weights with which the network read '{text}' and wrote {day}: the year's digits look at the "
            "year at the end, the month's at letters of the month's name, the day's at the day."
        )

# %% [markdown]
# Reading, noting, looking back: all that is left of a recurrent network in a transformer is this map. Week 08 takes the recurrence out and lets every word look at every other one.

# %% [markdown] lang="ru"
# Прочитать, отметить, оглянуться: от рекуррентной сети в трансформере осталась именно эта карта. На неделе 08 мы уберём рекуррентность, и каждое слово будет смотреть на все остальные.
