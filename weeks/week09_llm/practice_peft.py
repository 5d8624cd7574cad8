# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Teaching a model that is already there
# A pretrained language model knows a lot and obeys little. Here you teach it: which tokens of a conversation count, how two thin matrices stand in for a large one, what vectors in front of a text can do, how people's choices become a loss, and how a program that checks answers becomes a teacher. You write each method in a few lines, prove it on tiny models, and then let it work: LoRA on a real instruct model of 135 million numbers, GRPO on a small transformer that learns to add. At the end a table says what each has gained, with intervals.
#
# The checks that you see are public ones: passing them is no promise of full marks. Your functions leave their arguments as they were unless the statement says otherwise, take float32 and float64, give back the same dtype, and let gradients through unless the statement says otherwise.

# %% [markdown] lang="ru"
# # Учим модель, которая уже есть
# Предобученная языковая модель много знает и плохо слушается. Здесь вы её учите: какие токены диалога входят в ошибку, как две тонкие матрицы заменяют большую, что умеют векторы перед текстом, как выбор людей становится ошибкой и как учителем становится программа, проверяющая ответы. Каждый метод — несколько строк; вы доказываете его на крошечных моделях, а потом он работает: LoRA — на настоящей модели из 135 миллионов чисел, GRPO — на маленьком трансформере, который учится складывать. В конце таблица показывает, сколько дал каждый, — с интервалами.
#
# Видимые проверки — открытая часть: пройти их ещё не значит получить полный балл. Если в условии не сказано иное, ваши функции не меняют аргументов, принимают float32 и float64, возвращают тот же тип и пропускают градиенты.

# %% tags=["parameters"]
profile = "small"

# %%
import copy
import math
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from practical_dl import check, data, models, plots, seed_everything
from practical_dl.weeks import week09

seed_everything(0)
device = "cuda" if torch.cuda.is_available() else "cpu"
if profile == "small":
    torch.set_num_threads(1)
settings = {
    "small": {
        "hub": None,  # a model of the hub in place of the course's own
        "first_layer": 15,  # adapters from this layer on
        "items": 80,
        "steps": 30,
        "batch": 4,
        "seeds": 3,
        "warm_up": 180,
        "rl_steps": 200,
        "prompts": 32,
        "width": 48,
    },
    "full": {
        "hub": "HuggingFaceTB/SmolLM2-1.7B-Instruct",
        "first_layer": 0,
        "items": 1000,
        "steps": 300,
        "batch": 16,
        "seeds": 5,
        "warm_up": 180,
        "rl_steps": 1000,
        "prompts": 128,
        "width": 48,
    },
}[profile]

# %%
reviews = data.load("sentence_polarity", profile)

# %% [markdown]
# ## 1. Which tokens count
# [Instruction tuning](glossary:instruction-tuning) is language modelling on conversations, with one difference: the model is to learn to *answer*, not to ask. So only the tokens of its own turns count in the loss, each with the token that ends the turn: a model that never learned to end talks on for ever.
#
# A turn is its role's head, its content, the token `end` and a `tail`: in the template of our model `<|im_start|>assistant⏎`, the content, `<|im_end|>`, `⏎`. A label is the token itself where it counts, and $-100$, which torch's losses skip, elsewhere. Whose token it is, its place says and not its value: a user may write anything, the assistant's head too.
#
# {{task:chat_labels}}

# %% [markdown] lang="ru"
# ## 1. Какие токены считаются
# [Обучение на инструкциях](glossary:instruction-tuning) (instruction tuning) — то же языковое моделирование, но на диалогах и с одним отличием: модель должна научиться *отвечать*, а не спрашивать. Поэтому в ошибку входят только токены её собственных реплик, и каждой — вместе с токеном конца: модель, которая не научилась заканчивать, говорит без остановки.
#
# Реплика — это заголовок роли, содержание, токен `end` и хвост `tail`: в шаблоне нашей модели `<|im_start|>assistant⏎`, содержание, `<|im_end|>`, `⏎`. Метка — сам токен, если он считается, и $-100$ (такие метки функции ошибки в torch пропускают), если нет. Чей это токен, решает место, а не значение: пользователь может написать что угодно, хоть заголовок ассистента.
#
# {{task:chat_labels}}


# %% solution="chat_labels"
def chat_labels(
    turns: Sequence[tuple[str, Sequence[int]]],
    heads: dict[str, Sequence[int]],
    end: int,
    tail: Sequence[int] = (),
) -> tuple[list[int], list[int]]:
    """The tokens of a conversation, and their labels: two lists of one length.

    turns: (role, content). Each becomes heads[role], content, end, tail. The content and the end of
    the turns of "assistant" count; all else is -100.

    chat_labels([("user", [5]), ("assistant", [6, 7])], {"user": [1], "assistant": [2, 3]}, 9)
    -> [1, 5, 9, 2, 3, 6, 7, 9], [-100, -100, -100, -100, -100, 6, 7, 9]
    """
    ### BEGIN SOLUTION
    ids: list[int] = []
    labels: list[int] = []
    for role, content in turns:
        said = [*content, end]
        ids += [*heads[role], *said, *tail]
        counts = said if role == "assistant" else [-100] * len(said)
        labels += [-100] * len(heads[role]) + counts + [-100] * len(tail)
    return ids, labels
    ### END SOLUTION


# %% test="chat_labels" points=0.25 difficulty=1 minutes=10
some_heads = {"user": [1], "assistant": [2, 3]}
check.equal(
    check.answer(chat_labels, [("user", [5]), ("assistant", [6, 7])], some_heads, 9, call="chat_labels"),
    ([1, 5, 9, 2, 3, 6, 7, 9], [-100, -100, -100, -100, -100, 6, 7, 9]),
    'chat_labels([("user", [5]), ("assistant", [6, 7])], heads, 9)',
)
### BEGIN HIDDEN TESTS
rng = check.rng("chat_labels")


def one_by_one(turns, heads, end, tail):
    """Each token with a word that says what it is."""
    marked = []
    for role, content in turns:
        marked += [(v, "head") for v in heads[role]]
        marked += [(v, role) for v in content] + [(end, role)] + [(v, "tail") for v in tail]
    return [v for v, _ in marked], [v if w == "assistant" else -100 for v, w in marked]


def words(n):
    return [int(v) for v in rng.integers(20, 90, size=n)]


own = {"system": [3, 11, 4], "user": [3, 12], "assistant": [3, 13, 5, 6]}
for turns, tail, why in [
    ([("assistant", words(3))], (), "count the answer and the end"),
    ([("user", words(4)), ("assistant", words(2))], (), "not count what the user says, its end neither"),
    ([("system", words(2)), ("user", words(1)), ("assistant", words(2))], (), "not count the system's turn"),
    ([("user", words(2)), ("assistant", words(3))], (8, 10), "put the tail behind the end, and not count it"),
    ([("user", words(2)), ("assistant", words(3)), ("user", words(1)), ("assistant", words(4))], (8,),
     "count each of the assistant's turns"),
    ([("assistant", words(3)), ("user", words(2))], (8,), "let the user have the last word"),
    ([("user", [3, 13, 5, 6, *words(2), 7]), ("assistant", words(2))], (8,),
     "go by places: a user may write the assistant's head"),
    ([("user", words(2)), ("assistant", [7, 8, *words(1), -100, 7])], (8,), "go by places, not by values"),
    ([("user", []), ("assistant", [])], (8,), "count the end of an empty answer"),
    ([], (8,), "give two empty lists for no turns"),
]:
    want = one_by_one(turns, own, 7, tail)
    options = {"tail": list(tail)} if tail else {}
    call = f"chat_labels({turns}, {own}, 7, {options})"
    made = check.answer(chat_labels, turns, own, 7, call=call, **options)
    check.equal(tuple(made), want, call, why=why)
### END HIDDEN TESTS

# %% mutant="chat_labels" why="the prompt is trained"
# - counts = said if role == "assistant" else [-100] * len(said)
# + counts = said

# %% mutant="chat_labels" why="the system's turn is trained"
# - counts = said if role == "assistant" else [-100] * len(said)
# + counts = said if role != "user" else [-100] * len(said)

# %% mutant="chat_labels" why="the end is not trained"
# - counts = said if role == "assistant" else [-100] * len(said)
# + counts = [*content, -100] if role == "assistant" else [-100] * len(said)

# %% mutant="chat_labels" why="the user's end is trained"
# - counts = said if role == "assistant" else [-100] * len(said)
# + counts = said if role == "assistant" else [-100] * len(content) + [end]

# %% mutant="chat_labels" why="the head is trained"
# - labels += [-100] * len(heads[role]) + counts + [-100] * len(tail)
# + labels += (list(heads[role]) if role == "assistant" else [-100] * len(heads[role])) + counts + [-100] * len(tail)

# %% mutant="chat_labels" why="the tail is trained"
# - labels += [-100] * len(heads[role]) + counts + [-100] * len(tail)
# + labels += [-100] * len(heads[role]) + counts + (list(tail) if role == "assistant" else [-100] * len(tail))

# %% mutant="chat_labels" why="only the last turn is trained"
# - return ids, labels
# + last = len(turns[-1][1]) + 1 + len(tail) if turns else 0
# + return ids, [-100] * (len(ids) - last) + labels[len(ids) - last :]

# %% mutant="chat_labels" why="everything after the first answer is trained"
# - return ids, labels
# + first = next((i for i, v in enumerate(labels) if v != -100), len(ids))
# + return ids, labels[:first] + ids[first:]

# %% mutant="chat_labels" why="looks for the assistant's head"
# - return ids, labels
# + head = list(heads["assistant"])
# + at = next((i for i in range(len(ids)) if ids[i : i + len(head)] == head), None)
# + return ids, labels if at is None else [-100] * (at + len(head)) + ids[at + len(head) : at + len(head) + 1] + labels[at + len(head) + 1 :]

# %% mutant="chat_labels" why="hides by zeros"
# - labels += [-100] * len(heads[role]) + counts + [-100] * len(tail)
# + labels += [0] * len(heads[role]) + counts + [0] * len(tail)

# %% mutant="chat_labels" why="labels are shifted here already"
# - return ids, labels
# + return ids, labels[1:] + [-100] if labels else labels

# %% mutant="chat_labels" why="the tail is forgotten"
# - ids += [*heads[role], *said, *tail]
# - labels += [-100] * len(heads[role]) + counts + [-100] * len(tail)
# + ids += [*heads[role], *said]
# + labels += [-100] * len(heads[role]) + counts


# %% alternative="chat_labels" why="pieces with a flag"
def chat_labels(turns, heads, end, tail=()):
    pieces = []
    for role, content in turns:
        pieces.append((heads[role], False))
        pieces.append((list(content) + [end], role == "assistant"))
        pieces.append((tail, False))
    ids = [token for piece, _ in pieces for token in piece]
    flags = [flag for piece, flag in pieces for _ in piece]
    return ids, [token if flag else -100 for token, flag in zip(ids, flags, strict=True)]


# %% [markdown]
# A model's logits at place $t$ speak of the token at $t+1$. So the label of a token meets the logits *one place before* it, and the first token is predicted by nobody. The mean goes over all tokens that count in the whole batch; where none counts, the loss is 0, and not the NaN that torch would give.
#
# $$\text{loss} = -\frac{1}{N}\sum_{i,\,t:\; y_{i,t}\neq -100,\; t\ge 1} \log \operatorname{softmax}(z_{i,\,t-1})_{\,y_{i,t}}$$
#
# {{task:answer_loss}}

# %% [markdown] lang="ru"
# Логиты модели на месте $t$ говорят о токене $t+1$. Поэтому метка токена встречается с логитами *на одно место раньше*, а первый токен никто не предсказывает. Среднее берётся по всем считаемым токенам всего батча; если их нет, ошибка равна 0, а не NaN, который вернул бы torch.
#
# $$\text{loss} = -\frac{1}{N}\sum_{i,\,t:\; y_{i,t}\neq -100,\; t\ge 1} \log \operatorname{softmax}(z_{i,\,t-1})_{\,y_{i,t}}$$
#
# {{task:answer_loss}}


# %% solution="answer_loss"
def answer_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The mean loss of the tokens that count. logits: (n, t, vocab), labels: (n, t), -100 or a token.

    The labels are those of the very tokens whose logits these are: not shifted yet. A scalar.
    """
    ### BEGIN SOLUTION
    y = labels[:, 1:]
    counts = y != -100
    logp = logits[:, :-1].log_softmax(-1)
    picked = logp.gather(-1, y.clamp_min(0)[..., None])[..., 0]
    return -(picked * counts).sum() / counts.sum().clamp_min(1)
    ### END SOLUTION


# %% test="answer_loss" points=0.25 difficulty=2 minutes=10
some_logits = torch.tensor([[[1.0, 3.0, 0.5], [2.0, 0.0, 4.0], [0.3, 0.1, 0.9]]])
check.close(
    check.answer(answer_loss, some_logits, torch.tensor([[-100, 0, 1]]), call="answer_loss"),
    (2.196068 + 4.142932) / 2,
    "answer_loss(logits, [[-100, 0, 1]])",
    rtol=1e-4,
    why="judge token 0 by the first logits, token 1 by the second",
)
### BEGIN HIDDEN TESTS
rng = check.rng("answer_loss")


def slow_loss(z, y):
    """Token by token."""
    terms = []
    for i in range(z.shape[0]):
        for t in range(1, z.shape[1]):
            if y[i, t] != -100:
                row = z[i, t - 1]
                terms.append(row.max() + math.log(np.exp(row - row.max()).sum()) - row[y[i, t]])
    return float(np.mean(terms)) if terms else 0.0


for n, t, vocab, share, scale, why in [
    (1, 2, 4, 1.0, 1, "let each label meet the logits one place before it"),
    (1, 7, 5, 1.0, 1, "give the mean over the tokens"),
    (1, 9, 5, 0.4, 1, "divide by the number of tokens that count"),
    (3, 8, 6, 0.5, 1, "take the mean over all tokens of the batch, not a row's"),
    (2, 6, 7, 0.5, 300, "take large logits"),
]:
    z = rng.normal(size=(n, t, vocab)) * scale
    y = np.where(rng.random((n, t)) < share, rng.integers(0, vocab, size=(n, t)), -100)
    y[0, 1] = vocab - 1
    if n > 1:  # rows of different weight
        y[1] = -100
        y[1, 2] = 1
    for dtype, rtol in ((torch.float64, 1e-8), (torch.float32, 1e-4)):
        call = f"answer_loss(logits {z.shape}, labels), {dtype}"
        got = check.answer(answer_loss, torch.tensor(z, dtype=dtype), torch.tensor(y), call=call)
        check.close(got, slow_loss(z, y), call, rtol=rtol, why=why)
        check.equal(str(check.array(got, call).dtype), str(dtype)[6:], f"the dtype of {call}", why="keep the dtype")
y = np.full((2, 4), -100)
y[1, 0] = 2
z = torch.tensor(rng.normal(size=(2, 4, 5)))
call = "answer_loss where no token that anything predicts counts"
check.close(check.answer(answer_loss, z, torch.tensor(y), call=call), 0, call, why="be 0, not NaN")
y[0, 2], y[1, 3] = 3, 0
slopes = check.gradient_of(lambda v: answer_loss(v, torch.tensor(y)), z, call="answer_loss(logits, labels)")
want = check.numerical_gradient(lambda v: slow_loss(v, y), z.numpy())
check.close(slopes[0], want, "the gradient of answer_loss", rtol=1e-4, atol=1e-7, why="let gradients through to the logits")
### END HIDDEN TESTS

# %% mutant="answer_loss" why="no shift"
# - y = labels[:, 1:]
# - logp = logits[:, :-1].log_softmax(-1)
# + y = labels
# + logp = logits.log_softmax(-1)

# %% mutant="answer_loss" why="shifted the wrong way"
# - y = labels[:, 1:]
# - logp = logits[:, :-1].log_softmax(-1)
# + y = labels[:, :-1]
# + logp = logits[:, 1:].log_softmax(-1)

# %% mutant="answer_loss" why="divides by all tokens"
# - return -(picked * counts).sum() / counts.sum().clamp_min(1)
# + return -(picked * counts).mean()

# %% mutant="answer_loss" why="the mean of the rows' means"
# - return -(picked * counts).sum() / counts.sum().clamp_min(1)
# + return -((picked * counts).sum(1) / counts.sum(1).clamp_min(1)).mean()

# %% mutant="answer_loss" why="a sum"
# - return -(picked * counts).sum() / counts.sum().clamp_min(1)
# + return -(picked * counts).sum()

# %% mutant="answer_loss" why="NaN where nothing counts"
# - return -(picked * counts).sum() / counts.sum().clamp_min(1)
# + return -(picked * counts).sum() / counts.sum()

# %% mutant="answer_loss" why="the sign"
# - return -(picked * counts).sum() / counts.sum().clamp_min(1)
# + return (picked * counts).sum() / counts.sum().clamp_min(1)

# %% mutant="answer_loss" why="hidden tokens count as token 0"
# - counts = y != -100
# + counts = torch.ones_like(y, dtype=torch.bool)

# %% mutant="answer_loss" why="token 0 does not count"
# - counts = y != -100
# + counts = y > 0

# %% mutant="answer_loss" why="softmax, then the logarithm"
# - logp = logits[:, :-1].log_softmax(-1)
# + logp = logits[:, :-1].softmax(-1).log()

# %% mutant="answer_loss" why="counts the first label, too"
# - return -(picked * counts).sum() / counts.sum().clamp_min(1)
# + return -(picked * counts).sum() / (labels != -100).sum().clamp_min(1)


# %% alternative="answer_loss" why="torch's own loss, as a sum"
def answer_loss(logits, labels):
    rows, y = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    total = F.cross_entropy(rows, y, ignore_index=-100, reduction="sum")
    return total / max(int((y != -100).sum()), 1)


# %% alternative="answer_loss" why="only the rows that count"
def answer_loss(logits, labels):
    y = labels[:, 1:]
    rows = logits[:, :-1][y != -100]
    if len(rows) == 0:
        return 0 * logits.sum()
    y = y[y != -100]
    return (rows.logsumexp(-1) - rows[torch.arange(len(y)), y]).mean()


# %% [markdown]
# Now the model that you will teach: SmolLM2-135M-Instruct (Hugging Face, Apache 2.0), a small Llama that answers in English. Below, a conversation as the model reads it: blue is what counts in the loss.

# %% [markdown] lang="ru"
# А вот и модель, которую вы будете учить: SmolLM2-135M-Instruct (Hugging Face, Apache 2.0), маленькая Llama, отвечает по-английски. Ниже — диалог, как его читает модель: голубым отмечено то, что входит в ошибку.

# %% tags=["training"]
model, encode, decode = week09.instruct_model(models, settings["hub"], device)
HEADS = {role: encode(f"<|im_start|>{role}\n") for role in ("system", "user", "assistant")}
[END], NEWLINE = encode("<|im_end|>"), encode("\n")
talk = [
    ("user", encode("Is this review positive or negative? Answer with one word.\nWhat a lovely film.")),
    ("assistant", encode("positive")),
    ("user", encode("And this?\nI want my money back.")),
    ("assistant", encode("negative")),
]
ids, labels = chat_labels(talk, HEADS, END, NEWLINE)
week09.mask_picture([decode([i]) for i in ids], labels)
plots.show(
    "A conversation of four turns cut into tokens. Grey are heads, questions and their ends; blue are the "
    "two words of the assistant and the two tokens that end its turns."
)

# %% [markdown]
# ## 2. LoRA
# To change a matrix $W$ of $d_{out} \times d_{in}$ numbers you would have to store a gradient and two moments for each of them. [LoRA](glossary:lora) (Hu et al., 2021) is the best-known way of [parameter-efficient fine-tuning](glossary:peft): it freezes $W$ and learns a change of low rank,
#
# $$y = W x + b + \frac{\alpha}{r}\, B A\, x, \qquad A: r \times d_{in},\quad B: d_{out} \times r.$$
#
# $A$ starts at random (independent normal numbers of deviation $1/\sqrt{d_{in}}$), $B$ at zero: so the first answer is the old one, and yet gradients flow to $B$. Were both zero, neither would ever move. $\alpha / r$ keeps the size of a step when you try another rank.
#
# `merge` adds $\frac{\alpha}{r} BA$ to the base's weight in place, after which a call costs what it did before; `unmerge` takes it off again. A second `merge` in a row does nothing, nor does `unmerge` of what isn't merged. Keep the attributes' names. $A$ and $B$ have the base's dtype; the base is frozen, with its bias, and is the very layer that was handed in.
#
# {{task:LoRALinear}}

# %% [markdown] lang="ru"
# ## 2. LoRA
# Чтобы менять матрицу $W$ из $d_{out} \times d_{in}$ чисел, пришлось бы хранить для каждого числа градиент и два момента. [LoRA](glossary:lora) (Hu и др., 2021) — самый известный способ [экономного дообучения](glossary:peft) (PEFT): $W$ замораживается, а учится добавка низкого ранга,
#
# $$y = W x + b + \frac{\alpha}{r}\, B A\, x, \qquad A: r \times d_{in},\quad B: d_{out} \times r.$$
#
# $A$ в начале случайна (независимые нормальные числа с отклонением $1/\sqrt{d_{in}}$), $B$ — нулевая: первый ответ совпадает со старым, но градиенты до $B$ доходят. Будь обе нулевыми, ни одна не сдвинулась бы никогда. Множитель $\alpha / r$ сохраняет размер шага, когда вы пробуете другой ранг.
#
# `merge` прибавляет $\frac{\alpha}{r} BA$ к весам основы на месте, и вызов снова стоит столько, сколько раньше; `unmerge` вычитает её обратно. Второй `merge` подряд ничего не делает, как и `unmerge` того, что не влито. Имена атрибутов сохраните. У $A$ и $B$ тот же тип, что у основы; основа заморожена вместе со сдвигом, и это тот самый слой, который вам передали.
#
# {{task:LoRALinear}}


# %% solution="LoRALinear"
class LoRALinear(nn.Module):
    """A frozen linear layer `base` with the trained `A` (r, in) and `B` (out, r)."""

    def __init__(self, base: nn.Linear, r: int, alpha: float) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.base = base.requires_grad_(False)
        like = {"dtype": base.weight.dtype, "device": base.weight.device}
        self.A = nn.Parameter(torch.randn(r, base.in_features, **like) / math.sqrt(base.in_features))
        self.B = nn.Parameter(torch.zeros(base.out_features, r, **like))
        self.scale, self.merged = alpha / r, False
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (..., in) -> (..., out)."""
        ### BEGIN SOLUTION
        y = self.base(x)
        return y if self.merged else y + x @ self.A.T @ self.B.T * self.scale
        ### END SOLUTION

    def merge(self) -> None:
        """Add the change to the base's weight, unless it is there already."""
        ### BEGIN SOLUTION
        if not self.merged:
            self.base.weight.data += self.scale * self.B.data @ self.A.data
            self.merged = True
        ### END SOLUTION

    def unmerge(self) -> None:
        """Take the change off the base's weight, if it is there."""
        ### BEGIN SOLUTION
        if self.merged:
            self.base.weight.data -= self.scale * self.B.data @ self.A.data
            self.merged = False
        ### END SOLUTION


# %% test="LoRALinear" points=0.6 difficulty=3 minutes=25
torch.manual_seed(1)
plain = nn.Linear(3, 2)
weight, bias = plain.weight.detach().numpy().copy(), plain.bias.detach().numpy().copy()
layer = LoRALinear(plain, r=1, alpha=3)
check.fill(layer, "A", value=np.array([[0.5, -1.0, 2.0]]), call="layer.A")
check.fill(layer, "B", value=np.array([[0.7], [-0.4]]), call="layer.B")
x = torch.tensor([[1.0, 2.0, 4.0]])  # A x = 6.5, times alpha / r: 19.5
check.close(
    check.answer(layer.forward, x, call="layer(x)"),
    x.numpy() @ weight.T + bias + [[13.65, -7.8]],
    "LoRALinear(nn.Linear(3, 2), r=1, alpha=3)(x)",
    rtol=1e-4,
)
### BEGIN HIDDEN TESTS
rng = check.rng("LoRALinear")
for size_in, size_out, r, alpha, with_bias, dtype in [
    (5, 3, 1, 1.0, True, torch.float64),
    (4, 7, 2, 3.0, True, torch.float64),
    (6, 5, 3, 12, False, torch.float64),
    (3, 8, 4, 2, True, torch.float32),  # a rank above the width in
]:
    plain = nn.Linear(size_in, size_out, bias=with_bias).to(dtype)
    w = rng.normal(size=(size_out, size_in))
    b = rng.normal(size=size_out) if with_bias else np.zeros(size_out)
    with torch.no_grad():
        plain.weight.copy_(torch.tensor(w))
        if with_bias:
            plain.bias.copy_(torch.tensor(b))
    text = f"LoRALinear(nn.Linear({size_in}, {size_out}, bias={with_bias}), r={r}, alpha={alpha})"
    layer = LoRALinear(plain, r, alpha)
    rtol = 1e-8 if dtype is torch.float64 else 1e-4
    x = torch.tensor(rng.normal(size=(2, 4, size_in)), dtype=dtype)
    want = x.numpy() @ w.T + b
    check.close(check.answer(layer.forward, x, call=f"{text}(x)"), want, f"{text}(x)",
                rtol=rtol, atol=rtol, why="give the base's answer at the start")
    start = check.parameters_of(layer, text)
    check.equal({k: v.shape for k, v in start.items() if k in ("A", "B")},
                {"A": (r, size_in), "B": (size_out, r)}, f"the shapes of A and B of {text}")
    check.equal({str(start[k].dtype) for k in ("A", "B")}, {str(dtype)[6:]},
                f"the dtype of A and B of {text}", why="have the dtype of the base")
    check.that(np.all(start["A"] != 0) and np.unique(start["A"]).size == r * size_in,
               "let A start at random")
    check.that(not start["B"].any(), "let B start at zero")
    a2, b2 = rng.normal(size=(r, size_in)), rng.normal(size=(size_out, r))
    check.fill(layer, "A", value=a2, call="layer.A")
    check.fill(layer, "B", value=b2, call="layer.B")
    change = alpha / r * b2 @ a2
    want = x.numpy() @ (w + change).T + b
    got = check.answer(layer.forward, x, call=f"{text}(x)")
    check.close(got, want, f"{text}(x) with other A and B", rtol=rtol, atol=10 * rtol,
                why="add alpha / r times B A x")
    check.equal(str(got.dtype), str(dtype)[6:], f"the dtype of {text}(x)", why="keep the dtype")
    one = check.answer(layer.forward, x[0, 0], call=f"{text} of one vector")
    check.close(one, want[0, 0], f"{text} of one vector", rtol=rtol, atol=10 * rtol, why="take any axes before the last")
    slopes = week09.slopes_of(layer, x, call=text)
    up = np.linspace(-1, 1.3, want.size).reshape(-1, size_out)
    rows = x.numpy().reshape(-1, size_in)
    check.equal(sorted(k for k, v in slopes.items() if v is not None), ["A", "B"],
                f"what {text} trains", why="train A and B, and freeze the base")
    check.close(slopes["A"], alpha / r * b2.T @ up.T @ rows, f"the gradient of A of {text}",
                rtol=10 * rtol, atol=10 * rtol, why="let gradients through to A")
    check.close(slopes["B"], alpha / r * up.T @ (rows @ a2.T), f"the gradient of B of {text}",
                rtol=10 * rtol, atol=10 * rtol, why="let gradients through to B")
    to_x = check.gradient_of(layer.forward, x, call=f"{text}(x)", upstream=up.reshape(want.shape))[0]
    check.close(to_x, (up @ (w + change)).reshape(x.shape), f"the gradient to x of {text}",
                rtol=10 * rtol, atol=10 * rtol, why="let gradients through to x")
    for action, merged in [("unmerge", 0), ("merge", 1), ("merge", 1), ("unmerge", 0), ("unmerge", 0), ("merge", 1)]:
        check.answer({"merge": layer.merge, "unmerge": layer.unmerge}[action], call=f"layer.{action}()")
        now = check.parameters_of(layer, text)
        said = f"after {action}: "
        check.close(now["base.weight"], w + merged * change, said + "the base's weight", rtol=10 * rtol, atol=10 * rtol,
                    why="add the change once, and take off only what was added")
        check.close(plain.weight, w + merged * change, said + "the weight of the layer handed in", rtol=10 * rtol,
                    atol=10 * rtol, why="hold the very layer, not a copy")
        check.close(check.answer(layer.forward, x, call=f"{said}{text}(x)"), want, f"{said}{text}(x)",
                    rtol=10 * rtol, atol=100 * rtol, why="answer the same, merged or not")
        check.close(now["A"], a2, said + "A", rtol=1e-6, why="leave A as it was")
    if with_bias:
        check.close(now["base.bias"], b, f"the bias of {text}", rtol=rtol, why="leave the bias as it was")
first, second = (LoRALinear(nn.Linear(40, 30), 20, 8) for _ in range(2))
a1, a2 = (check.parameters_of(one, "layer")["A"] for one in (first, second))
check.that(not np.allclose(a1, a2), "let two layers start at different A")
# 800 numbers: the deviation of their deviation is 1/40 of it; seven of these
check.close(a1.std() * math.sqrt(40), 1, "the deviation of A times the root of in", rtol=7 / 40, why="be 1")
check.close(a1.mean() * math.sqrt(40), 0, "the mean of A times the root of in", atol=7 / 28, why="be 0")
check.fill(first, "B", value=np.ones((30, 20)), call="layer.B")
check.answer(first.merge, call="layer.merge()")
x = torch.tensor(rng.normal(size=(2, 40)), dtype=torch.float32)
base = check.parameters_of(second, "layer")
check.close(check.answer(second.forward, x, call="the other layer(x)"),
            x.numpy() @ base["base.weight"].T + base["base.bias"], "the other layer(x)", rtol=1e-3, atol=1e-4,
            why="share nothing between two layers")
### END HIDDEN TESTS

# %% mutant="LoRALinear" why="A and B exchanged at the start"
# - self.A = nn.Parameter(torch.randn(r, base.in_features, **like) / math.sqrt(base.in_features))
# - self.B = nn.Parameter(torch.zeros(base.out_features, r, **like))
# + self.A = nn.Parameter(torch.zeros(r, base.in_features, **like))
# + self.B = nn.Parameter(torch.randn(base.out_features, r, **like) / math.sqrt(base.in_features))

# %% mutant="LoRALinear" why="both zero"
# - self.A = nn.Parameter(torch.randn(r, base.in_features, **like) / math.sqrt(base.in_features))
# + self.A = nn.Parameter(torch.zeros(r, base.in_features, **like))

# %% mutant="LoRALinear" why="both at random"
# - self.B = nn.Parameter(torch.zeros(base.out_features, r, **like))
# + self.B = nn.Parameter(torch.randn(base.out_features, r, **like) / math.sqrt(base.in_features))

# %% mutant="LoRALinear" why="merged twice"
# - if not self.merged:
# -     self.base.weight.data += self.scale * self.B.data @ self.A.data
# -     self.merged = True
# + self.base.weight.data += self.scale * self.B.data @ self.A.data
# + self.merged = True

# %% mutant="LoRALinear" why="unmerges what is not merged"
# - if self.merged:
# -     self.base.weight.data -= self.scale * self.B.data @ self.A.data
# -     self.merged = False
# + self.base.weight.data -= self.scale * self.B.data @ self.A.data
# + self.merged = False

# %% mutant="LoRALinear" why="merged, and added once more in each call"
# - return y if self.merged else y + x @ self.A.T @ self.B.T * self.scale
# + return y + x @ self.A.T @ self.B.T * self.scale

# %% mutant="LoRALinear" why="alpha without r"
# - self.scale, self.merged = alpha / r, False
# + self.scale, self.merged = alpha, False

# %% mutant="LoRALinear" why="alpha by the root of r"
# - self.scale, self.merged = alpha / r, False
# + self.scale, self.merged = alpha / math.sqrt(r), False

# %% mutant="LoRALinear" why="the base is not frozen"
# - self.base = base.requires_grad_(False)
# + self.base = base

# %% mutant="LoRALinear" why="only the weight is frozen"
# - self.base = base.requires_grad_(False)
# + self.base = base
# + base.weight.requires_grad_(False)

# %% mutant="LoRALinear" why="a copy of the base"
# - self.base = base.requires_grad_(False)
# + self.base = copy.deepcopy(base).requires_grad_(False)

# %% mutant="LoRALinear" why="A is no parameter"
# - self.A = nn.Parameter(torch.randn(r, base.in_features, **like) / math.sqrt(base.in_features))
# + self.register_buffer("A", torch.randn(r, base.in_features, **like) / math.sqrt(base.in_features))

# %% mutant="LoRALinear" why="A is too large"
# - self.A = nn.Parameter(torch.randn(r, base.in_features, **like) / math.sqrt(base.in_features))
# + self.A = nn.Parameter(torch.randn(r, base.in_features, **like))

# %% mutant="LoRALinear" why="always float32"
# - like = {"dtype": base.weight.dtype, "device": base.weight.device}
# + like = {}

# %% mutant="LoRALinear" why="the bias twice"
# - return y if self.merged else y + x @ self.A.T @ self.B.T * self.scale
# + y = y if self.base.bias is None or self.merged else y + self.base.bias
# + return y if self.merged else y + x @ self.A.T @ self.B.T * self.scale

# %% mutant="LoRALinear" why="unmerge forgets the scale"
# - self.base.weight.data -= self.scale * self.B.data @ self.A.data
# + self.base.weight.data -= self.B.data @ self.A.data


# %% alternative="LoRALinear" why="the sum of the matrices in each call, a copy kept for unmerge"
class LoRALinear(nn.Module):
    def __init__(self, base, r, alpha):
        super().__init__()
        self.base, self.r, self.alpha, self.kept = base, r, alpha, None
        for p in base.parameters():
            p.requires_grad = False
        self.A = nn.Parameter(torch.empty_like(base.weight[:1].expand(r, -1)).contiguous())
        nn.init.normal_(self.A, std=base.in_features**-0.5)
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, r))

    def change(self):
        return torch.einsum("or,ri->oi", self.B, self.A) * (self.alpha / self.r)

    def forward(self, x):
        weight = self.base.weight
        if self.kept is None:
            weight = weight + self.change()
        return F.linear(x, weight, self.base.bias)

    @torch.no_grad()
    def merge(self):
        if self.kept is None:
            self.kept = self.base.weight.clone()
            self.base.weight.copy_(self.kept + self.change())

    @torch.no_grad()
    def unmerge(self):
        if self.kept is not None:
            self.base.weight.copy_(self.kept)
            self.kept = None


# %% [markdown]
# Which rank is enough? It depends on the change that is needed. Here a layer has to learn a planted change of rank 4 plus a little noise. The best that rank $r$ can do is what singular values beyond $r$ leave (Eckart and Young): the dotted lines. An adapter of rank 1 or 2 stops at its floor, however long it trains.

# %% [markdown] lang="ru"
# Какого ранга хватит? Зависит от нужной добавки. Здесь слой должен выучить добавку ранга 4 и немного шума. Лучшее, что может ранг $r$, — оставить сингулярные числа после $r$-го (Эккарт и Янг): это пунктир. Добавка ранга 1 или 2 останавливается на своём уровне, сколько её ни учи.

# %%
generator = torch.Generator().manual_seed(0)


def noise_of(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=generator)


planted = noise_of(24, 4) @ noise_of(4, 32) / 4 + 0.05 * noise_of(24, 32)
values = torch.linalg.svdvals(planted)
losses, floors = {}, {}
for rank in (1, 2, 4, 8):
    layer = LoRALinear(nn.Linear(32, 24), rank, alpha=rank)
    target = layer.base.weight.detach() + planted
    optimizer = torch.optim.Adam([layer.A, layer.B], lr=0.03)
    losses[rank], floors[rank] = [], float((values[rank:] ** 2).sum())
    for _ in range(250):
        error = ((layer(torch.eye(32)) - layer.base.bias - target.T) ** 2).sum()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        losses[rank].append(error.item())
    print(f"rank {rank}: {losses[rank][-1]:8.3f} after training, floor {floors[rank]:8.3f}")
week09.rank_picture(losses, floors)
plots.show(
    "The squared error by step for ranks 1, 2, 4 and 8 on a log axis. Ranks 1 and 2 fall onto their dotted "
    "floors and stay there; ranks 4 and 8 fall by orders of magnitude further."
)

# %% [markdown]
# **Into a whole model.** Walk through its modules, and where an `nn.Linear` has a name that is asked for, put what `make` gives for it in its place. Before that, freeze everything: embeddings, norms, heads. Only what `make` adds is trained.
#
# A layer's name is its own, without those above it: `q_proj`, not `layers.3.q_proj`. What has such a name and is no `nn.Linear` stays.
#
# {{task:add_lora}}

# %% [markdown] lang="ru"
# **В целую модель.** Обойдите её модули и там, где `nn.Linear` носит нужное имя, поставьте вместо него то, что вернёт для него `make`. Перед этим заморозьте всё: эмбеддинги, нормы, головы. Обучается лишь то, что добавит `make`.
#
# Имя слоя — его собственное, без имён над ним: `q_proj`, а не `layers.3.q_proj`. То, что носит такое имя, но не является `nn.Linear`, остаётся.
#
# {{task:add_lora}}


# %% solution="add_lora"
def add_lora(
    model: nn.Module, names: Sequence[str], make: Callable[[nn.Linear], nn.Module]
) -> int:
    """Freeze the model and replace its linear layers of these names, in place.

    make: is called with the frozen layer, once for each. Returns how many numbers are trained now.
    """
    ### BEGIN SOLUTION
    model.requires_grad_(False)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if name in names and isinstance(child, nn.Linear):
                setattr(module, name, make(child))
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
    ### END SOLUTION


# %% test="add_lora" points=0.4 difficulty=2 minutes=15
class Scaled(nn.Module):
    """What the checks put in: a frozen layer, and a number for each of its outputs."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear, self.g = linear, nn.Parameter(torch.full((linear.out_features,), 2.0).double())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x) * self.g


def replaced(network: nn.Module) -> list[str]:
    """The names of the layers that were replaced."""
    return [name for name, module in network.named_modules() if isinstance(module, Scaled)]


small_model = week09.tiny_projections(2, 4, seed=0)
count = check.plain(add_lora(small_model, ["q_proj"], Scaled), 'add_lora(model, ["q_proj"], make)')
check.equal(count, 10, 'add_lora(model, ["q_proj"], make)', why="count what is trained: 2 layers of 5 numbers")
check.equal(replaced(small_model), ["layers.0.q_proj", "layers.1.q_proj"], "the layers replaced")
### BEGIN HIDDEN TESTS
rng = check.rng("add_lora")
for layers, d, names, own, why in [
    (1, 3, ["v_proj"], ["layers.0.v_proj"], "replace the layer of this name, and no other"),
    (3, 5, ["q_proj", "out"], [f"layers.{i}.{n}" for i in range(3) for n in ("q_proj", "out")],
     "replace all layers of these names, and leave what is no nn.Linear"),
    (2, 4, ("proj", "v"), [], "compare whole names, not parts of them"),
    (2, 4, ["layers", "norm"], [], "leave what is no nn.Linear"),
    (2, 6, [], [], "replace nothing where no name is given"),
]:
    seed = int(rng.integers(10**6))
    fresh, kept = (week09.tiny_projections(layers, d, seed) for _ in range(2))
    shared = {name: module for name, module in fresh.named_modules() if name in own}
    calls = []

    def noting(linear, calls=calls):
        calls.append(all(not p.requires_grad for p in linear.parameters()))
        return Scaled(linear)

    call = f"add_lora(a model of {layers} layers, {names}, make)"
    count = check.plain(add_lora(fresh, names, noting), call)
    check.equal(sorted(replaced(fresh)), sorted(own), f"the layers replaced by {call}", why=why)
    check.equal(len(calls), len(own), f"how often {call} calls make", why="call it once for each layer")
    check.that(all(calls), "freeze the layers before make gets them")
    check.equal([n for n, p in fresh.named_parameters() if p.requires_grad],
                [n for n, _ in fresh.named_parameters() if n.endswith(".g")],
                f"what is trained after {call}", why="freeze everything else")
    size = sum(d if n.endswith("out") else d + 1 for n in own)
    check.equal(count, size, call, why="count the numbers that are trained, as a whole number")
    check.equal(type(count).__name__, "int", f"the type of {call}", why="be a whole number")
    check.that(all(fresh.get_submodule(n).linear is module for n, module in shared.items()),
               "give make the very layers, not copies")
    x = torch.tensor(rng.normal(size=(2, 3, d)))
    with torch.no_grad():
        for name in own:  # twice the output: the same as weights twice as large
            for p in kept.get_submodule(name).parameters():
                p.mul_(2)
        check.close(fresh(x), kept(x), f"the model after {call}", rtol=1e-9, atol=1e-9, why="use what make gives")
row = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double()
count = check.plain(add_lora(row, ["2"], Scaled), 'add_lora(nn.Sequential(...), ["2"], make)')
check.equal((count, replaced(row)), (2, ["2"]), 'add_lora(nn.Sequential(...), ["2"], make)',
            why="replace layers of the model itself, too")
deep = nn.ModuleDict({"head": nn.Linear(3, 2), "body": nn.ModuleDict({"head": nn.Linear(3, 5)})}).double()
deep["body"]["head"].bias.requires_grad_(False)
count = check.plain(add_lora(deep, ["head"], lambda linear: nn.Sequential(linear, nn.Linear(2, 7))), "add_lora")
check.equal(count, 42, "add_lora on layers in layers", why="find layers at every depth, and count all that make adds")
### END HIDDEN TESTS

# %% mutant="add_lora" why="nothing is frozen"
# - model.requires_grad_(False)

# %% mutant="add_lora" why="freezes at the end, the adapters too"
# - model.requires_grad_(False)
# - return sum(p.numel() for p in model.parameters() if p.requires_grad)
# + trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
# + model.requires_grad_(False)
# + return trained

# %% mutant="add_lora" why="compares parts of names"
# - if name in names and isinstance(child, nn.Linear):
# + if any(one in name for one in names) and isinstance(child, nn.Linear):

# %% mutant="add_lora" why="whatever the name is"
# - if name in names and isinstance(child, nn.Linear):
# + if isinstance(child, nn.Linear):

# %% mutant="add_lora" why="norms of that name, too"
# - if name in names and isinstance(child, nn.Linear):
# + if name in names and isinstance(child, nn.Linear | nn.LayerNorm):

# %% mutant="add_lora" why="only the first name"
# - if name in names and isinstance(child, nn.Linear):
# + if name in names[:1] and isinstance(child, nn.Linear):

# %% mutant="add_lora" why="counts layers, not numbers"
# - return sum(p.numel() for p in model.parameters() if p.requires_grad)
# + return sum(p.requires_grad for p in model.parameters())

# %% mutant="add_lora" why="counts all numbers"
# - return sum(p.numel() for p in model.parameters() if p.requires_grad)
# + return sum(p.numel() for p in model.parameters())

# %% mutant="add_lora" why="make gets a copy"
# - setattr(module, name, make(child))
# + setattr(module, name, make(copy.deepcopy(child)))

# %% mutant="add_lora" why="only one level deep"
# - for module in list(model.modules()):
# + for module in [model, *model.children()]:

# %% mutant="add_lora" why="makes adapters and leaves them aside"
# - setattr(module, name, make(child))
# + module.add_module(name + "_lora", make(child))

# %% mutant="add_lora" why="the model itself is not looked at"
# - for module in list(model.modules()):
# + for module in list(model.modules())[1:]:


# %% alternative="add_lora" why="by full names"
def add_lora(model, names, make):
    for p in model.parameters():
        p.requires_grad = False
    found = [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and n.split(".")[-1] in names]
    trained = 0
    for full in found:
        above, _, last = full.rpartition(".")
        made = make(model.get_submodule(full))
        model.get_submodule(above)._modules[last] = made
        trained += sum(p.numel() for p in made.parameters() if p.requires_grad)
    return trained


# %% [markdown]
# **The same by the library.** In practice you write `peft`, and now you know what it does. Build its LoRA with weights that are given, so that it can be compared with yours number by number. You need `LoraConfig` (`r`, `lora_alpha`, `target_modules`; no dropout), `get_peft_model`, and to find where the library keeps its matrices: adapted layers have `lora_A` and `lora_B`, tables by the adapter's name, `"default"`.
#
# {{task:with_peft}}

# %% [markdown] lang="ru"
# **То же библиотекой.** На практике пишут `peft` — и теперь вы знаете, что она делает. Постройте её LoRA с заданными весами, чтобы сравнить с вашей до последней цифры. Понадобятся `LoraConfig` (`r`, `lora_alpha`, `target_modules`; без dropout), `get_peft_model` и место, где библиотека держит матрицы: у изменённых слоёв есть `lora_A` и `lora_B` — таблицы по имени адаптера, `"default"`.
#
# {{task:with_peft}}


# %%
from peft import LoraConfig, get_peft_model  # noqa: E402

# %% solution="with_peft"
def with_peft(
    model: nn.Module, pairs: dict[str, tuple[torch.Tensor, torch.Tensor]], r: int, alpha: int
) -> nn.Module:
    """The model with LoRA by the library `peft`; the model itself is changed.

    pairs: by the full name of a linear layer, such as "layers.0.q_proj", its A (r, in) and B (out, r).
    """
    ### BEGIN SOLUTION
    config = LoraConfig(r=r, lora_alpha=alpha, target_modules=list(pairs), lora_dropout=0.0)
    made = get_peft_model(model, config)
    for name, (a, b) in pairs.items():
        layer = made.base_model.model.get_submodule(name)
        layer.lora_A["default"].weight.data.copy_(a)
        layer.lora_B["default"].weight.data.copy_(b)
    return made
    ### END SOLUTION


# %% test="with_peft" points=0.25 difficulty=2 minutes=15
one_pair = {"layers.0.v_proj": (torch.full((1, 4), 0.3).double(), torch.full((5, 1), 0.7).double())}
made = with_peft(week09.tiny_projections(1, 4, seed=0), one_pair, r=1, alpha=3)
check.equal(check.kind_of(made), "PeftModel", "what with_peft gives", why="be a model of the library's")
### BEGIN HIDDEN TESTS
rng = check.rng("with_peft")
for layers, d, names, r, alpha, why in [
    (1, 4, ["layers.0.v_proj"], 1, 3, "put A and B into the layer named"),
    (2, 5, ["layers.1.q_proj"], 2, 7, "change the layer of the full name, and leave the others"),
    (2, 3, ["layers.0.q_proj", "layers.0.out", "layers.1.v_proj"], 2, 1, "change all layers that are named"),
    (2, 6, ["layers.1.out"], 4, 4, "change the layer of the full name, and leave the others"),
]:
    seed = int(rng.integers(10**6))
    fresh, merged = (week09.tiny_projections(layers, d, seed) for _ in range(2))
    sizes = {name: merged.get_submodule(name).weight.shape for name in names}
    pairs = {
        name: (torch.tensor(rng.normal(size=(r, n))), torch.tensor(rng.normal(size=(m, r))))
        for name, (m, n) in sizes.items()
    }
    with torch.no_grad():
        for name, (a, b) in pairs.items():  # the oracle: weights with the change added
            merged.get_submodule(name).weight += alpha / r * b @ a
    x = torch.tensor(rng.normal(size=(2, 3, d)))
    call = f"with_peft(model, A and B of {names}, r={r}, alpha={alpha})"
    with check.unchanged(call, **{f"pairs[{n!r}]": [a, b] for n, (a, b) in pairs.items()}):
        made = with_peft(fresh, pairs, r, alpha)
    check.equal(check.kind_of(made), "PeftModel", call, why="be a model of the library's")
    got = check.answer(made.forward, x, call=f"{call}(x)")
    check.close(got, merged(x), f"{call}(x)", rtol=1e-9, atol=1e-9, why=why)
    slopes = week09.slopes_of(made, x, call=call)
    trained = [value.size for value in slopes.values() if value is not None]
    check.equal(sum(trained), sum(r * (m + n) for m, n in sizes.values()), f"how many numbers {call} trains",
                why="train A and B of these layers alone")
### END HIDDEN TESTS

# %% mutant="with_peft" why="A and B exchanged"
# - layer.lora_A["default"].weight.data.copy_(a)
# - layer.lora_B["default"].weight.data.copy_(b)
# + layer.lora_A["default"].weight.data = b.T.clone()
# + layer.lora_B["default"].weight.data = a.T.clone()

# %% mutant="with_peft" why="the library's own start"
# - layer.lora_A["default"].weight.data.copy_(a)
# - layer.lora_B["default"].weight.data.copy_(b)
# + pass

# %% mutant="with_peft" why="only B"
# - layer.lora_A["default"].weight.data.copy_(a)

# %% mutant="with_peft" why="only A"
# - layer.lora_B["default"].weight.data.copy_(b)

# %% mutant="with_peft" why="the library's own alpha"
# - config = LoraConfig(r=r, lora_alpha=alpha, target_modules=list(pairs), lora_dropout=0.0)
# + config = LoraConfig(r=r, target_modules=list(pairs), lora_dropout=0.0)

# %% mutant="with_peft" why="alpha by the root of r"
# - config = LoraConfig(r=r, lora_alpha=alpha, target_modules=list(pairs), lora_dropout=0.0)
# + config = LoraConfig(r=r, lora_alpha=alpha, target_modules=list(pairs), use_rslora=True)

# %% mutant="with_peft" why="the same layers in all blocks"
# - config = LoraConfig(r=r, lora_alpha=alpha, target_modules=list(pairs), lora_dropout=0.0)
# + last = sorted({name.split(".")[-1] for name in pairs} - {"q_proj"}) + [n for n in pairs if "q_proj" in n]
# + config = LoraConfig(r=r, lora_alpha=alpha, target_modules=last, lora_dropout=0.0)

# %% mutant="with_peft" why="drops a half while it trains"
# - config = LoraConfig(r=r, lora_alpha=alpha, target_modules=list(pairs), lora_dropout=0.0)
# + config = LoraConfig(r=r, lora_alpha=alpha, target_modules=list(pairs), lora_dropout=0.5)

# %% mutant="with_peft" why="trains the biases, too"
# - config = LoraConfig(r=r, lora_alpha=alpha, target_modules=list(pairs), lora_dropout=0.0)
# + config = LoraConfig(r=r, lora_alpha=alpha, target_modules=list(pairs), bias="all")

# %% mutant="with_peft" why="added to the weights, without the library"
# - return made
# + return made.merge_and_unload()


# %% alternative="with_peft" why="by the names of the state"
def with_peft(model, pairs, r, alpha):
    made = get_peft_model(model, LoraConfig(target_modules=[*pairs], lora_alpha=alpha, r=r))
    state = made.state_dict()
    with torch.no_grad():
        for name, (a, b) in pairs.items():
            state[f"base_model.model.{name}.lora_A.default.weight"][:] = a
            state[f"base_model.model.{name}.lora_B.default.weight"][:] = b
    return made


# %% [markdown]
# Yours and the library's with the same weights, on a small network. What is left is rounding.

# %% [markdown] lang="ru"
# Ваша LoRA и библиотечная с одними и теми же весами на маленькой сети. Остаётся только округление.

# %%
ours, theirs = (week09.tiny_projections(3, 16, seed=1, dtype=torch.float32) for _ in range(2))
trained = add_lora(ours, ["q_proj", "v_proj"], lambda linear: LoRALinear(linear, 4, alpha=8))
pairs = {}
for name, module in ours.named_modules():
    if isinstance(module, LoRALinear):
        nn.init.normal_(module.B, std=0.3)
        pairs[name] = (module.A.detach().clone(), module.B.detach().clone())
x = torch.randn(2, 5, 16)
with torch.no_grad():
    before = week09.tiny_projections(3, 16, seed=1, dtype=torch.float32)(x)
    mine, library = ours(x), with_peft(theirs, pairs, 4, 8)(x)
print(f"{trained} numbers are trained; LoRA changes the answer by up to {(mine - before).abs().max():.2f}")
print(f"largest difference between yours and peft's: {(mine - library).abs().max():.1e}")

# %% [markdown]
# ## 3. Prompts that are trained
# The cheapest handle of all: leave each weight, and put $p$ vectors in front of the embedded text. They are no words; gradients find them. This is [prompt tuning](glossary:prompt-tuning) (Lester et al., 2021): $p \times d$ numbers.
#
# Whoever puts something in front has to move everything that counts places: the mask (the prompt is seen), the labels (it is not trained to be said), and the positions. A row may have padding, at either end; the mask says where. A real token's position is the number of prompt vectors and real tokens before it; a padding token's position does not matter.
#
# {{task:prompt_inputs}}

# %% [markdown] lang="ru"
# ## 3. Обучаемые подсказки
# Самый дешёвый рычаг: не трогать ни одного веса, а поставить перед текстом $p$ векторов. Это не слова: их находят градиенты. Так устроена [обучаемая подсказка](glossary:prompt-tuning) (prompt tuning; Lester и др., 2021): $p \times d$ чисел.
#
# Кто ставит что-то впереди, должен сдвинуть всё, что считает места: маску (подсказка видна), метки (произносить её не учат) и позиции. В строке может быть дополнение, с любого края; где оно, говорит маска. Позиция настоящего токена — число векторов подсказки и настоящих токенов перед ним; позиция дополнения не важна.
#
# {{task:prompt_inputs}}


# %% solution="prompt_inputs"
def prompt_inputs(
    prompt: torch.Tensor, embedded: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor
) -> dict[str, torch.Tensor]:
    """What a model gets when prompt (p, d) stands in front of each of n texts.

    embedded: (n, t, d), mask: (n, t) of 1 and 0 (padding), labels: (n, t), -100 where nothing counts.
    Returns inputs_embeds (n, p + t, d), attention_mask, position_ids and labels (n, p + t), the last
    three with whole numbers.
    """
    ### BEGIN SOLUTION
    n, p = len(embedded), len(prompt)
    seen = torch.cat([mask.new_ones(n, p), mask], 1)
    return {
        "inputs_embeds": torch.cat([prompt.expand(n, -1, -1), embedded], 1),
        "attention_mask": seen,
        "position_ids": (seen.cumsum(1) - 1).clamp_min(0),
        "labels": torch.cat([labels.new_full((n, p), -100), labels], 1),
    }
    ### END SOLUTION


# %% test="prompt_inputs" points=0.3 difficulty=2 minutes=15
made = check.answer(
    prompt_inputs,
    torch.tensor([[7.0], [8.0]]),
    torch.tensor([[[1.0], [2.0], [3.0]]]),
    torch.tensor([[1, 1, 0]]),
    torch.tensor([[-100, 5, -100]]),
    call="prompt_inputs",
)
check.equal(made["inputs_embeds"][0, :, 0], np.array([7.0, 8, 1, 2, 3]), "inputs_embeds of a prompt of two")
check.equal(made["attention_mask"], np.array([[1, 1, 1, 1, 0]]), "attention_mask of a prompt of two")
check.equal(made["position_ids"][0, :4], np.array([0, 1, 2, 3]), "position_ids of the prompt and the real tokens")
check.equal(made["labels"], np.array([[-100, -100, -100, 5, -100]]), "labels of a prompt of two")
### BEGIN HIDDEN TESTS
rng = check.rng("prompt_inputs")
for n, p, t, d, padding, why in [
    (1, 3, 4, 2, "none", "put the prompt in front"),
    (3, 2, 5, 4, "none", "give each text the same prompt"),
    (3, 2, 5, 4, "right", "count real tokens alone"),
    (3, 4, 6, 3, "left", "count real tokens alone, also where padding comes first"),
    (2, 1, 7, 5, "both", "count real tokens alone, also where padding stands at both ends"),
]:
    prompt, embedded = rng.normal(size=(p, d)), rng.normal(size=(n, t, d))
    mask = np.ones((n, t), dtype=np.int64)
    for i in range(n):
        if padding in ("left", "both"):
            mask[i, : i + 1] = 0
        if padding in ("right", "both"):
            mask[i, t - i - 1 :] = 0
    labels = np.where((rng.random((n, t)) < 0.6) & (mask == 1), rng.integers(0, 50, size=(n, t)), -100)
    for dtype in (torch.float64, torch.float32):
        given = [torch.tensor(v, dtype=dtype) for v in (prompt, embedded)] + [torch.tensor(v) for v in (mask, labels)]
        call = f"prompt_inputs(prompt {(p, d)}, embedded {(n, t, d)}, padding: {padding})"
        made = check.answer(prompt_inputs, *given, call=call)
        check.equal(sorted(made), ["attention_mask", "inputs_embeds", "labels", "position_ids"], f"the keys of {call}")
        rows = np.stack([np.vstack([given[0].numpy(), one]) for one in given[1].numpy()])
        check.equal(made["inputs_embeds"], rows, f"inputs_embeds of {call}", why=why)
        check.equal(str(made["inputs_embeds"].dtype), str(dtype)[6:], f"the dtype of inputs_embeds of {call}")
        want = np.array([[1] * p + list(row) for row in mask])
        check.equal(made["attention_mask"], want, f"attention_mask of {call}", why="let the prompt be seen")
        for key in ("attention_mask", "position_ids", "labels"):
            check.equal(made[key].dtype.kind, "i", f"the kind of {key}", why="hold whole numbers")
        check.equal(made["labels"], np.array([[-100] * p + list(row) for row in labels]), f"labels of {call}",
                    why="not train the prompt to be said")
        place = np.array([[sum(row[:j]) for j in range(p + t)] for row in want])
        check.equal(np.where(want, made["position_ids"], -1), np.where(want, place, -1), f"position_ids of {call}", why=why)
prompt, embedded = torch.tensor(rng.normal(size=(2, 3))), torch.tensor(rng.normal(size=(4, 5, 3)))
up = rng.normal(size=(4, 7, 3))
ones, none = torch.ones(4, 5, dtype=torch.long), torch.full((4, 5), -100)
slopes = check.gradient_of(lambda a, b: prompt_inputs(a, b, ones, none)["inputs_embeds"], prompt, embedded,
                           call="inputs_embeds", upstream=up)
check.close(slopes[0], up[:, :2].sum(0), "the gradient of the prompt", why="sum over the texts")
check.close(slopes[1], up[:, 2:], "the gradient of the embedded texts")
### END HIDDEN TESTS

# %% mutant="prompt_inputs" why="the prompt is masked out"
# - seen = torch.cat([mask.new_ones(n, p), mask], 1)
# + seen = torch.cat([mask.new_zeros(n, p), mask], 1)

# %% mutant="prompt_inputs" why="the prompt behind the text"
# - "inputs_embeds": torch.cat([prompt.expand(n, -1, -1), embedded], 1),
# + "inputs_embeds": torch.cat([embedded, prompt.expand(n, -1, -1)], 1),

# %% mutant="prompt_inputs" why="positions do not see padding"
# - "position_ids": (seen.cumsum(1) - 1).clamp_min(0),
# + "position_ids": torch.arange(seen.shape[1]).expand(n, -1),

# %% mutant="prompt_inputs" why="positions of the text begin at 0"
# - "position_ids": (seen.cumsum(1) - 1).clamp_min(0),
# + "position_ids": torch.cat([torch.arange(p).expand(n, -1), (mask.cumsum(1) - 1).clamp_min(0)], 1),

# %% mutant="prompt_inputs" why="positions begin at 1"
# - "position_ids": (seen.cumsum(1) - 1).clamp_min(0),
# + "position_ids": seen.cumsum(1),

# %% mutant="prompt_inputs" why="the prompt is trained to be said"
# - "labels": torch.cat([labels.new_full((n, p), -100), labels], 1),
# + "labels": torch.cat([labels.new_zeros((n, p)), labels], 1),

# %% mutant="prompt_inputs" why="labels not moved"
# - "labels": torch.cat([labels.new_full((n, p), -100), labels], 1),
# + "labels": torch.cat([labels, labels.new_full((n, p), -100)], 1),

# %% mutant="prompt_inputs" why="the prompt learns nothing"
# - "inputs_embeds": torch.cat([prompt.expand(n, -1, -1), embedded], 1),
# + "inputs_embeds": torch.cat([prompt.detach().expand(n, -1, -1), embedded], 1),

# %% mutant="prompt_inputs" why="only the first text has a prompt"
# - "inputs_embeds": torch.cat([prompt.expand(n, -1, -1), embedded], 1),
# + "inputs_embeds": torch.cat([torch.cat([prompt[None], torch.zeros_like(prompt).expand(n - 1, -1, -1)]), embedded], 1),


# %% alternative="prompt_inputs" why="padding on the left of whole tensors"
def prompt_inputs(prompt, embedded, mask, labels):
    p = prompt.shape[0]
    seen = F.pad(mask, (p, 0), value=1)
    before = torch.stack([seen[:, :j].sum(1) for j in range(seen.shape[1])], dim=1)
    rows = torch.stack([torch.vstack([prompt, one]) for one in embedded])
    return dict(inputs_embeds=rows, attention_mask=seen, position_ids=before, labels=F.pad(labels, (p, 0), value=-100))


# %% [markdown]
# **A prefix in each layer** (Li & Liang, 2021) reaches deeper: each layer's attention gets $p$ trained keys and values of its own, for each head. Nothing asks on their behalf: a prefix has no queries, and gives no answers. All queries see all of it; among the text itself nobody looks ahead or at padding:
#
# $$\text{out}_i = \operatorname{softmax}\!\Big(\frac{q_i\,[K_{\text{prefix}};\, K_{\text{real},\,j\le i}]^\top}{\sqrt d}\Big)\,[V_{\text{prefix}};\, V_{\text{real},\,j \le i}].$$
#
# What stands in the rows of padding queries does not matter.
#
# {{task:prefix_attention}}

# %% [markdown] lang="ru"
# **Префикс в каждом слое** (Li, Liang, 2021) действует глубже: внимание каждого слоя получает $p$ собственных обучаемых ключей и значений на каждую голову. От их имени никто не спрашивает: у префикса нет запросов, и ответов он не даёт. Все запросы видят его целиком; в самом тексте никто не смотрит ни вперёд, ни на дополнение:
#
# $$\text{out}_i = \operatorname{softmax}\!\Big(\frac{q_i\,[K_{\text{prefix}};\, K_{\text{real},\,j\le i}]^\top}{\sqrt d}\Big)\,[V_{\text{prefix}};\, V_{\text{real},\,j \le i}].$$
#
# Что стоит в строках запросов-дополнений, не важно.
#
# {{task:prefix_attention}}


# %% solution="prefix_attention"
def prefix_attention(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    prefix_k: torch.Tensor,
    prefix_v: torch.Tensor,
    mask: torch.Tensor,
) -> torch.Tensor:
    """q, k: (n, heads, t, d), v: (n, heads, t, e), the prefix (heads, p, d) and (heads, p, e), p >= 1.

    mask: (n, t), 1 for real tokens, 0 for padding -> (n, heads, t, e).
    """
    ### BEGIN SOLUTION
    n, _, t, d = q.shape
    p = prefix_k.shape[1]
    k = torch.cat([prefix_k.expand(n, -1, -1, -1), k], 2)
    v = torch.cat([prefix_v.expand(n, -1, -1, -1), v], 2)
    seen = torch.ones(t, t, dtype=torch.bool, device=q.device).tril() & mask.bool()[:, None]
    seen = F.pad(seen, (p, 0), value=True)[:, None]
    scores = (q @ k.mT / math.sqrt(d)).masked_fill(~seen, -torch.inf)
    return scores.softmax(-1) @ v
    ### END SOLUTION


# %% test="prefix_attention" points=0.45 difficulty=3 minutes=25
q = torch.tensor([[[[1.0], [2.0]]]])  # one text, one head, two tokens
k, v = torch.tensor([[[[0.3], [0.7]]]]), torch.tensor([[[[5.0], [-4.0]]]])
made = check.answer(
    prefix_attention, q, k, v, torch.tensor([[[0.4]]]), torch.tensor([[[9.0]]]), torch.tensor([[1, 1]]),
    call="prefix_attention",
)
# weights of token 0: of scores 0.4 and 0.3; of token 1: of 0.8, 0.6 and 1.4
check.close(made[0, 0, :, 0], [7.0999167, 1.5803353], "prefix_attention(q, k, v, ...)", rtol=1e-4,
            why="let both tokens see the prefix, and token 0 not token 1")
### BEGIN HIDDEN TESTS
rng = check.rng("prefix_attention")


def slow_prefix(q, k, v, pk, pv, mask):
    """Query by query, head by head; NaN for padding queries."""
    out = np.full((*q.shape[:3], v.shape[-1]), np.nan)
    for n, h, i in np.ndindex(q.shape[:3]):
        if not mask[n, i]:
            continue
        keys = [*pk[h], *(k[n, h, j] for j in range(i + 1) if mask[n, j])]
        worth = [*pv[h], *(v[n, h, j] for j in range(i + 1) if mask[n, j])]
        scores = np.array([q[n, h, i] @ one for one in keys]) / math.sqrt(q.shape[-1])
        w = np.exp(scores - scores.max())
        out[n, h, i] = sum(a * b for a, b in zip(w / w.sum(), worth, strict=True))
    return out


for n, heads, t, d, e, p, padding, scale, why in [
    (1, 1, 1, 3, 3, 2, "none", 1, "let one token see the prefix and itself"),
    (1, 1, 4, 5, 5, 1, "none", 1, "divide by the root of d, and never look ahead"),
    (1, 3, 4, 2, 2, 2, "none", 1, "give each head its own prefix"),
    (3, 2, 4, 3, 3, 2, "none", 1, "give each text the same prefix"),
    (3, 2, 5, 4, 4, 3, "right", 1, "not look at padding"),
    (3, 2, 5, 4, 4, 3, "left", 1, "not look at padding, also where it comes first"),
    (2, 3, 4, 2, 7, 6, "none", 1, "take values of another width, and a prefix longer than the text"),
    (2, 2, 4, 3, 3, 2, "left", 60, "take scores of any size"),
]:
    q, k = (rng.normal(size=(n, heads, t, d)) * scale for _ in range(2))
    v = rng.normal(size=(n, heads, t, e))
    pk, pv = rng.normal(size=(heads, p, d)) * scale, rng.normal(size=(heads, p, e))
    mask = np.ones((n, t), dtype=np.int64)
    for i in range(n):
        if padding == "left":
            mask[i, :i] = 0
        if padding == "right":
            mask[i, t - i :] = 0
    want = slow_prefix(q, k, v, pk, pv, mask)
    real = ~np.isnan(want)
    for dtype, tolerance in ((torch.float64, 1e-8), (torch.float32, 2e-3)):
        given = [torch.tensor(x, dtype=dtype) for x in (q, k, v, pk, pv)] + [torch.tensor(mask)]
        call = f"prefix_attention(q {q.shape}, v {v.shape}, a prefix of {p}, padding: {padding})"
        got = check.answer(prefix_attention, *given, call=call)
        check.equal(got.shape, want.shape, f"the shape of {call}", why="answer the text's queries alone")
        check.close(got[real], want[real], call, rtol=tolerance, atol=tolerance, why=why)
        check.equal(str(got.dtype), str(dtype)[6:], f"the dtype of {call}", why="keep the dtype")
got = check.answer(prefix_attention, *given[:5], torch.tensor(mask).bool(), call="prefix_attention, mask of truth values")
check.close(got[real], want[real], "prefix_attention, mask of truth values", rtol=2e-3, atol=2e-3)


def with_torch(q, k, v, pk, pv):
    """torch's attention, one text after the other."""
    rows = []
    for one in range(len(q)):
        keys, worth = torch.cat([pk, k[one]], 1), torch.cat([pv, v[one]], 1)
        seen = torch.ones(q.shape[2], keys.shape[1], dtype=torch.bool).tril(pk.shape[1])
        rows.append(F.scaled_dot_product_attention(q[one], keys, worth, attn_mask=seen))
    return torch.stack(rows)


given = [torch.tensor(rng.normal(size=s)) for s in ((2, 3, 4, 5), (2, 3, 4, 5), (2, 3, 4, 2), (3, 2, 5), (3, 2, 2))]
up = torch.tensor(rng.normal(size=(2, 3, 4, 2)))
got = check.gradient_of(lambda *five: prefix_attention(*five, torch.ones(2, 4, dtype=torch.long)), *given,
                        call="prefix_attention", upstream=up)
want = check.gradient_of(with_torch, *given, call="prefix_attention", upstream=up)
for name, a, b in zip(("q", "k", "v", "prefix_k", "prefix_v"), got, want, strict=True):
    check.close(a, b, f"the gradient to {name}", rtol=1e-6, atol=1e-8, why="let gradients through to its inputs")
### END HIDDEN TESTS

# %% mutant="prefix_attention" why="the prefix is masked out"
# - seen = F.pad(seen, (p, 0), value=True)[:, None]
# + seen = F.pad(seen, (p, 0), value=False)[:, None] | ~mask.bool()[:, None, :, None]

# %% mutant="prefix_attention" why="the causal mask counts the prefix: sees ahead"
# - seen = F.pad(seen, (p, 0), value=True)[:, None]
# + ahead = torch.ones(t, p + t, dtype=torch.bool).tril(p + 1)
# + seen = (ahead & F.pad(mask.bool(), (p, 0), value=True)[:, None])[:, None]

# %% mutant="prefix_attention" why="the causal mask is not moved"
# - seen = F.pad(seen, (p, 0), value=True)[:, None]
# + seen = (torch.ones(t, p + t, dtype=torch.bool).tril() & F.pad(mask.bool(), (p, 0), value=True)[:, None])[:, None]

# %% mutant="prefix_attention" why="looks at padding"
# - seen = torch.ones(t, t, dtype=torch.bool, device=q.device).tril() & mask.bool()[:, None]
# + seen = torch.ones(t, t, dtype=torch.bool, device=q.device).tril().expand(n, t, t)

# %% mutant="prefix_attention" why="padding hides queries, not keys"
# - seen = torch.ones(t, t, dtype=torch.bool, device=q.device).tril() & mask.bool()[:, None]
# + seen = torch.ones(t, t, dtype=torch.bool, device=q.device).tril() & mask.bool()[:, :, None]

# %% mutant="prefix_attention" why="looks ahead"
# - seen = torch.ones(t, t, dtype=torch.bool, device=q.device).tril() & mask.bool()[:, None]
# + seen = torch.ones(t, t, dtype=torch.bool, device=q.device) & mask.bool()[:, None]

# %% mutant="prefix_attention" why="two attentions added, each with a softmax of its own"
# - return scores.softmax(-1) @ v
# + return scores[..., :p].softmax(-1) @ v[:, :, :p] + scores[..., p:].softmax(-1).nan_to_num() @ v[:, :, p:]

# %% mutant="prefix_attention" why="does not divide"
# - scores = (q @ k.mT / math.sqrt(d)).masked_fill(~seen, -torch.inf)
# + scores = (q @ k.mT).masked_fill(~seen, -torch.inf)

# %% mutant="prefix_attention" why="masked by zeros"
# - scores = (q @ k.mT / math.sqrt(d)).masked_fill(~seen, -torch.inf)
# + scores = (q @ k.mT / math.sqrt(d)).masked_fill(~seen, 0)

# %% mutant="prefix_attention" why="the prefix after the text in the values"
# - v = torch.cat([prefix_v.expand(n, -1, -1, -1), v], 2)
# + v = torch.cat([v, prefix_v.expand(n, -1, -1, -1)], 2)

# %% mutant="prefix_attention" why="the first head's prefix for all"
# - k = torch.cat([prefix_k.expand(n, -1, -1, -1), k], 2)
# + k = torch.cat([prefix_k[:1].expand(n, q.shape[1], -1, -1), k], 2)

# %% mutant="prefix_attention" why="the prefix learns nothing"
# - k = torch.cat([prefix_k.expand(n, -1, -1, -1), k], 2)
# + k = torch.cat([prefix_k.detach().expand(n, -1, -1, -1), k], 2)


# %% alternative="prefix_attention" why="two parts, with one sum of exponents"
def prefix_attention(q, k, v, prefix_k, prefix_v, mask):
    scale = q.shape[-1] ** -0.5
    first = torch.einsum("nhtd,hpd->nhtp", q, prefix_k) * scale
    own = torch.einsum("nhtd,nhsd->nhts", q, k) * scale
    future = torch.triu(torch.ones(q.shape[2], q.shape[2], dtype=torch.bool), 1)
    own = own.masked_fill(future | (mask == 0)[:, None, None, :], -float("inf"))
    total = torch.logaddexp(first.logsumexp(-1), own.logsumexp(-1))[..., None]
    return torch.einsum("nhtp,hpe->nhte", (first - total).exp(), prefix_v) + (own - total).exp() @ v


# %% alternative="prefix_attention" why="torch's attention"
def prefix_attention(q, k, v, prefix_k, prefix_v, mask):
    p, (n, _, t, _) = prefix_k.size(1), q.shape
    whole = torch.cat([torch.ones(n, p, dtype=torch.bool), mask > 0], 1)
    seen = torch.tril(torch.ones(t, p + t, dtype=torch.bool), p) & whole[:, None]
    keys, worth = (torch.cat([a.repeat(n, 1, 1, 1), b], 2) for a, b in ((prefix_k, k), (prefix_v, v)))
    return F.scaled_dot_product_attention(q, keys, worth, attn_mask=seen[:, None])


# %% [markdown]
# To see the weights, let the values be unit vectors: then the answer *is* the weights. The triangle of a causal mask, and left of the line the prefix, which everybody sees, the first token too.

# %% [markdown] lang="ru"
# Чтобы увидеть веса, возьмём значениями единичные векторы: тогда ответ и *есть* веса. Треугольник причинной маски, а слева от черты — префикс, который видят все, даже первый токен.

# %%
generator = torch.Generator().manual_seed(2)
p, t, d = 3, 7, 8
q, k = (torch.randn(1, 1, t, d, generator=generator) for _ in range(2))
units = torch.eye(p + t)
seen_weights = prefix_attention(
    q, k, units[None, None, p:], torch.randn(1, p, d, generator=generator), units[None, :p], torch.ones(1, t).long()
)[0, 0]
print(f"weight on the prefix, by query: {[round(v, 2) for v in seen_weights[:, :p].sum(1).tolist()]}")
week09.prefix_picture(seen_weights.numpy(), p)
plots.show(
    "Attention weights of seven queries over three prefix keys and seven of the text. Left of an orange "
    "line all cells have weight; right of it the upper triangle is empty."
)
