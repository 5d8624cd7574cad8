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
# Предобученная языковая модель много знает и плохо слушается. Здесь вы её учите: какие токены диалога входят в ошибку, как две тонкие матрицы заменяют большую, что умеют векторы перед текстом, как выбор людей становится функцией ошибки и как учителем становится программа, проверяющая ответы. Каждый метод — несколько строк; вы доказываете его на крошечных моделях, а потом он работает: LoRA — на настоящей модели из 135 миллионов чисел, GRPO — на маленьком трансформере, который учится складывать. В конце таблица показывает, сколько дал каждый, — с интервалами.
#
# Видимые проверки — открытая часть: пройти их ещё не значит получить полный балл. Если в условии не сказано иное, ваши функции не меняют аргументов, принимают float32 и float64, возвращают тот же тип и пропускают градиенты.

# %% tags=["parameters"]
profile = "small"

# %%
import copy
import math
import time
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from torch import nn

from practical_dl import check, data, models, plots, seed_everything
from practical_dl.models import smollm2
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
        "steps": 24,
        "batch": 4,
        "seeds": 3,
        "warm_up": 180,
        "rl_steps": 160,
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
# ## 1. Какие токены учитываются
# [Обучение на инструкциях](glossary:instruction-tuning) (instruction tuning) — то же языковое моделирование, но на диалогах и с одним отличием: модель должна научиться *отвечать*, а не спрашивать. Поэтому в ошибку входят только токены её собственных реплик, и каждой — вместе с токеном конца: модель, которая не научилась заканчивать, говорит без остановки.
#
# Реплика — это заголовок роли, содержание, токен `end` и хвост `tail`: в шаблоне нашей модели `<|im_start|>assistant⏎`, содержание, `<|im_end|>`, `⏎`. Метка — сам токен, если он учитывается, и $-100$ (такие метки функции ошибки в torch пропускают), если нет. Чей это токен, решает место, а не значение: пользователь может написать что угодно, хоть заголовок ассистента.
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
    the turns of "assistant" count; all else is -100. Tokens come in lists or tuples, and 0 is one.

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
zeros = [("user", [0, *words(1)]), ("assistant", [*words(1), 0, *words(1)])]
call = f"chat_labels({zeros}, {own}, 0)"
check.equal(tuple(check.answer(chat_labels, zeros, own, 0, call=call)), one_by_one(zeros, own, 0, ()), call,
            why="treat token 0 like any other")
tuples = tuple((role, tuple(content)) for role, content in [("user", words(2)), ("assistant", words(3))])
tuple_heads = {role: tuple(head) for role, head in own.items()}
call = f"chat_labels({tuples}, {tuple_heads}, 7, (8, 10))"
check.equal(tuple(check.answer(chat_labels, tuples, tuple_heads, 7, (8, 10), call=call)),
            one_by_one(tuples, own, 7, (8, 10)), call, why="take tuples as well as lists")
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
# + ids += [*heads[role], *said]
# - labels += [-100] * len(heads[role]) + counts + [-100] * len(tail)
# + labels += [-100] * len(heads[role]) + counts

# %% mutant="chat_labels" why="token 0 does not count"
# - counts = said if role == "assistant" else [-100] * len(said)
# + counts = [v or -100 for v in said] if role == "assistant" else [-100] * len(said)

# %% mutant="chat_labels" why="takes lists alone"
# - said = [*content, end]
# + said = content + [end]


# %% alternative="chat_labels" why="pieces with a flag"
def chat_labels(turns, heads, end, tail=()):
    pieces = []
    for role, content in turns:
        pieces.append((heads[role], False))
        pieces.append(([*content, end], role == "assistant"))
        pieces.append((tail, False))
    ids = [token for piece, _ in pieces for token in piece]
    flags = [flag for piece, flag in pieces for _ in piece]
    return ids, [token if flag else -100 for token, flag in zip(ids, flags, strict=True)]


# %% [markdown]
# A model's logits at place $t$ speak of the token at $t+1$. So the label of a token meets the logits *one place before* it, and the first token is predicted by nobody. The mean goes over all tokens that count in the whole batch; where none counts, the loss is 0 and its gradient is 0, and not the NaN that torch would give. Logits may be $-\infty$ (a token that is ruled out): at a place that does not count even this has no influence.
#
# $$\text{loss} = -\frac{1}{N}\sum_{i,\,t:\; y_{i,t}\neq -100,\; t\ge 1} \log \operatorname{softmax}(z_{i,\,t-1})_{\,y_{i,t}}$$
#
# {{task:answer_loss}}

# %% [markdown] lang="ru"
# Логиты модели на месте $t$ говорят о токене $t+1$. Поэтому метка токена встречается с логитами *на одно место раньше*, а первый токен никто не предсказывает. Среднее берётся по всем учитываемым токенам всего батча; если их нет, ошибка и её градиент равны 0, а не NaN, который вернул бы torch. Логиты бывают равны $-\infty$ (токен исключён): на месте, которое не учитывается, и это ни на что не влияет.
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
    return -picked.where(counts, 0).sum() / counts.sum().clamp_min(1)
    ### END SOLUTION


# %% test="answer_loss" points=0.25 difficulty=2 minutes=10
some_logits = torch.tensor([[[1.0, 3.0, 0.5], [2.0, 0.0, 4.0], [0.3, 0.1, 0.9]]])
check.close(
    check.answer(answer_loss, some_logits, torch.tensor([[-100, 0, 1]]), call="answer_loss"),
    (2.196734 + 4.142932) / 2,
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
        check.equal(str(check.array(got, call).dtype), str(dtype)[6:], f"the dtype of {call}", why="keep the dtype")
        check.close(got, slow_loss(z, y), call, rtol=rtol, why=why)
y = np.full((2, 4), -100)
y[1, 0] = 2
z = torch.tensor(rng.normal(size=(2, 4, 5)))
call = "answer_loss where no token that anything predicts counts"
got = check.answer(answer_loss, z, torch.tensor(y), call=call)
check.close(got, 0, call, why="be 0, not NaN")
check.equal(str(check.array(got, call).dtype), "float64", f"the dtype of {call}", why="keep the dtype")
slopes = check.gradient_of(lambda v: answer_loss(v, torch.tensor(y)), z, call=call)
check.close(slopes[0], np.zeros(z.shape), f"the gradient of {call}", atol=0, why="let a backward pass through, which gives 0")
y[0, 2], y[1, 3] = 3, 0
slopes = check.gradient_of(lambda v: answer_loss(v, torch.tensor(y)), z, call="answer_loss(logits, labels)")
want = check.numerical_gradient(lambda v: slow_loss(v, y), z.numpy())
check.close(slopes[0], want, "the gradient of answer_loss", rtol=1e-4, atol=1e-7, why="let gradients through to the logits")
ruled_out = z.clone()
ruled_out[0, 0, 0] = ruled_out[1, 0, 0] = -torch.inf
call = "answer_loss where a logit is infinite at a place that does not count"
want = slow_loss(ruled_out.numpy(), y)
check.close(check.answer(answer_loss, ruled_out, torch.tensor(y), call=call), want, call, rtol=1e-8,
            why="be untouched by what does not count")
slopes = check.gradient_of(lambda v: answer_loss(v, torch.tensor(y)), ruled_out, call=call)
check.that(np.isfinite(slopes[0]).all(), "have a finite gradient where a logit that does not count is infinite")
few = np.full((2, 6), -100)
few[0, 1], few[1, 0], few[1, 4] = 2, 1, 3
call = "answer_loss where a row's first token has a label, too"
z = torch.tensor(rng.normal(size=(2, 6, 5)))
check.close(check.answer(answer_loss, z, torch.tensor(few), call=call), slow_loss(z.numpy(), few), call, rtol=1e-8,
            why="divide by the number of labels that something predicts")
### END HIDDEN TESTS

# %% mutant="answer_loss" why="no shift"
# - y = labels[:, 1:]
# + y = labels
# - logp = logits[:, :-1].log_softmax(-1)
# + logp = logits.log_softmax(-1)

# %% mutant="answer_loss" why="shifted the wrong way"
# - y = labels[:, 1:]
# + y = labels[:, :-1]
# - logp = logits[:, :-1].log_softmax(-1)
# + logp = logits[:, 1:].log_softmax(-1)

# %% mutant="answer_loss" why="divides by all tokens"
# - return -picked.where(counts, 0).sum() / counts.sum().clamp_min(1)
# + return -(picked * counts).mean()

# %% mutant="answer_loss" why="the mean of the rows' means"
# - return -picked.where(counts, 0).sum() / counts.sum().clamp_min(1)
# + return -((picked * counts).sum(1) / counts.sum(1).clamp_min(1)).mean()

# %% mutant="answer_loss" why="a sum"
# - return -picked.where(counts, 0).sum() / counts.sum().clamp_min(1)
# + return -(picked * counts).sum()

# %% mutant="answer_loss" why="NaN where nothing counts"
# - return -picked.where(counts, 0).sum() / counts.sum().clamp_min(1)
# + return -(picked * counts).sum() / counts.sum()

# %% mutant="answer_loss" why="the sign"
# - return -picked.where(counts, 0).sum() / counts.sum().clamp_min(1)
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
# - return -picked.where(counts, 0).sum() / counts.sum().clamp_min(1)
# + return -(picked * counts).sum() / (labels != -100).sum().clamp_min(1)

# %% mutant="answer_loss" why="a fresh zero where nothing counts"
# - y = labels[:, 1:]
# + y = labels[:, 1:]
# + if (y == -100).all():
# +     return torch.tensor(0.0)

# %% mutant="answer_loss" why="multiplies by the mask: infinity times 0"
# - return -picked.where(counts, 0).sum() / counts.sum().clamp_min(1)
# + return -(picked * counts).sum() / counts.sum().clamp_min(1)


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
        return rows.sum()
    y = y[y != -100]
    return (rows.logsumexp(-1) - rows[torch.arange(len(y)), y]).mean()


# %% [markdown]
# Now the model that you will teach: SmolLM2-135M-Instruct (Hugging Face, Apache 2.0), a small Llama that answers in English. Below, a conversation as the model reads it: blue is what counts in the loss.

# %% [markdown] lang="ru"
# А вот и модель, которую вы будете учить: SmolLM2-135M-Instruct (Hugging Face, Apache 2.0), маленькая Llama, отвечает по-английски. Ниже — диалог, как его читает модель: голубым отмечено то, что входит в ошибку.

# %% tags=["training"]
if settings["hub"] is None:
    model, tokens = models.load("smollm2"), smollm2.tokenizer()
else:
    model, tokens = week09.hub_model(settings["hub"])
model = model.to(device)
originals = week09.Originals(model, ("q_proj", "v_proj"))  # LoRA is to take their place: then back to the start is one line

# %% tags=["training"]
HEADS = {
    role: tokens.encode(f"<|im_start|>{role}\n", add_special_tokens=False)
    for role in ("system", "user", "assistant")
}
[END] = tokens.encode("<|im_end|>", add_special_tokens=False)
NEWLINE = tokens.encode("\n", add_special_tokens=False)


def encode(text: str) -> list[int]:
    return tokens.encode(text, add_special_tokens=False)


talk = [
    ("user", encode("Is this review positive or negative? Answer with one word.\nWhat a lovely film.")),
    ("assistant", encode("positive")),
    ("user", encode("And this?\nI want my money back.")),
    ("assistant", encode("negative")),
]
ids, labels = chat_labels(talk, HEADS, END, NEWLINE)
week09.mask_picture([tokens.decode([i]) for i in ids], labels)
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
# `merge` adds $\frac{\alpha}{r} BA$ to the base's weight as it is by then, in place: it stays the same frozen parameter, and a call costs what it did before. `unmerge` takes the change off again. A second `merge` in a row does nothing, nor does `unmerge` of what isn't merged. Keep the attributes' names. $A$ and $B$ have the base's dtype; the base is frozen, with its bias, and is the very layer that was handed in.
#
# {{task:lora_linear}}

# %% [markdown] lang="ru"
# ## 2. LoRA
# Чтобы менять матрицу $W$ из $d_{out} \times d_{in}$ чисел, пришлось бы хранить для каждого числа градиент и два момента. [LoRA](glossary:lora) (Hu и др., 2021) — самый известный способ [экономного дообучения](glossary:peft) (PEFT): $W$ замораживается, а учится добавка низкого ранга,
#
# $$y = W x + b + \frac{\alpha}{r}\, B A\, x, \qquad A: r \times d_{in},\quad B: d_{out} \times r.$$
#
# $A$ в начале случайна (независимые нормальные числа с отклонением $1/\sqrt{d_{in}}$), $B$ — нулевая: первый ответ совпадает со старым, но градиенты до $B$ доходят. Будь обе нулевыми, ни одна не сдвинулась бы никогда. Множитель $\alpha / r$ сохраняет размер шага, когда вы пробуете другой ранг.
#
# `merge` прибавляет $\frac{\alpha}{r} BA$ к весам основы — таким, каковы они к этому моменту, — на месте: это остаётся тот же замороженный параметр, и вызов снова стоит столько, сколько раньше. `unmerge` вычитает добавку обратно. Второй `merge` подряд ничего не делает, как и `unmerge` того, что не влито. Имена атрибутов сохраните. У $A$ и $B$ тот же тип, что у основы; основа заморожена вместе со сдвигом, и это тот самый слой, который вам передали.
#
# {{task:lora_linear}}


# %% solution="lora_linear"
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


# %% test="lora_linear" points=0.6 difficulty=3 minutes=25
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
rng = check.rng("lora_linear")
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
    own_weight = plain.weight
    layer = LoRALinear(plain, r, alpha)
    rtol = 1e-8 if dtype is torch.float64 else 1e-4
    x = torch.tensor(rng.normal(size=(2, 4, size_in)), dtype=dtype)
    want = x.numpy() @ w.T + b
    check.close(check.answer(layer.forward, x, call=f"{text}(x)"), want, f"{text}(x)",
                rtol=rtol, atol=rtol, why="give the base's answer at the start")
    start = check.parameters_of(layer, text)
    check.equal({k: v.shape for k, v in start.items() if k in ("A", "B")},
                {"A": (r, size_in), "B": (size_out, r)}, f"the shapes of A and B of {text}",
                why="have A of (r, in) and B of (out, r)")
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
    check.equal(str(check.array(got, text).dtype), str(dtype)[6:], f"the dtype of {text}(x)", why="keep the dtype")
    check.close(got, want, f"{text}(x) with other A and B", rtol=rtol, atol=10 * rtol,
                why="add alpha / r times B A x")
    one = check.answer(layer.forward, x[0, 0], call=f"{text} of one vector")
    check.close(one, want[0, 0], f"{text} of one vector", rtol=rtol, atol=10 * rtol, why="take any axes before the last")
    resting = week09.answer_in_eval(lambda layer=layer: layer, x, call=f"{text}(x) in eval mode")
    check.close(resting, want, f"{text}(x) in eval mode", rtol=rtol, atol=10 * rtol, why="answer the same in both modes")
    slopes = week09.slopes_of(lambda layer=layer: layer, x, call=text)
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
        if action == "merge":
            check.answer(layer.merge, call="layer.merge()")
        else:
            check.answer(layer.unmerge, call="layer.unmerge()")
        now = check.parameters_of(layer, text)
        said = f"after {action}: "
        check.close(now["base.weight"], w + merged * change, said + "the base's weight", rtol=10 * rtol, atol=10 * rtol,
                    why="add the change once, and take off only what was added")
        check.close(plain.weight, w + merged * change, said + "the weight of the layer handed in", rtol=10 * rtol,
                    atol=10 * rtol, why="hold the very layer, not a copy")
        check.that(plain.weight is own_weight, f"{said}keep the base's parameter, and change its numbers in place")
        check.that(not own_weight.requires_grad, f"{said}keep the base's weight frozen")
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
# The largest of 800 normal numbers is beyond 1.8 but for one case in 10 ** 25; uniform ones end at 1.73.
check.that(np.abs(a1).max() * math.sqrt(40) > 1.8, "draw A from a normal distribution")
check.fill(first, "B", value=np.ones((30, 20)), call="layer.B")
check.answer(first.merge, call="layer.merge()")
x = torch.tensor(rng.normal(size=(2, 40)), dtype=torch.float32)
base = check.parameters_of(second, "layer")
check.close(check.answer(second.forward, x, call="the other layer(x)"),
            x.numpy() @ base["base.weight"].T + base["base.bias"], "the other layer(x)", rtol=1e-3, atol=1e-4,
            why="share nothing between two layers")
plain = nn.Linear(3, 4).double()
layer = LoRALinear(plain, 2, 5)
a, b, w = (rng.normal(size=size) for size in ((2, 3), (4, 2), (4, 3)))
check.fill(layer, "A", value=a, call="layer.A")
check.fill(layer, "B", value=b, call="layer.B")
for weight in (w, w - 1.5):  # as a checkpoint does that is loaded into the model
    with torch.no_grad():
        plain.weight.copy_(torch.tensor(weight))
    check.answer(layer.merge, call="layer.merge()")
    check.close(plain.weight, weight + 2.5 * b @ a, "merge after the base has got other weights", rtol=1e-8, atol=1e-8,
                why="add to the weight as it is by then")
    check.answer(layer.unmerge, call="layer.unmerge()")
    check.close(plain.weight, weight, "unmerge after the base has got other weights", rtol=1e-8, atol=1e-8,
                why="take off the change alone")
### END HIDDEN TESTS

# %% mutant="lora_linear" why="A and B exchanged at the start"
# - self.A = nn.Parameter(torch.randn(r, base.in_features, **like) / math.sqrt(base.in_features))
# - self.B = nn.Parameter(torch.zeros(base.out_features, r, **like))
# + self.A = nn.Parameter(torch.zeros(r, base.in_features, **like))
# + self.B = nn.Parameter(torch.randn(base.out_features, r, **like) / math.sqrt(base.in_features))

# %% mutant="lora_linear" why="both zero"
# - self.A = nn.Parameter(torch.randn(r, base.in_features, **like) / math.sqrt(base.in_features))
# + self.A = nn.Parameter(torch.zeros(r, base.in_features, **like))

# %% mutant="lora_linear" why="both at random"
# - self.B = nn.Parameter(torch.zeros(base.out_features, r, **like))
# + self.B = nn.Parameter(torch.randn(base.out_features, r, **like) / math.sqrt(base.in_features))

# %% mutant="lora_linear" why="merged twice"
# - if not self.merged:
# -     self.base.weight.data += self.scale * self.B.data @ self.A.data
# -     self.merged = True
# + self.base.weight.data += self.scale * self.B.data @ self.A.data
# + self.merged = True

# %% mutant="lora_linear" why="unmerges what is not merged"
# - if self.merged:
# -     self.base.weight.data -= self.scale * self.B.data @ self.A.data
# -     self.merged = False
# + self.base.weight.data -= self.scale * self.B.data @ self.A.data
# + self.merged = False

# %% mutant="lora_linear" why="merged, and added once more in each call"
# - return y if self.merged else y + x @ self.A.T @ self.B.T * self.scale
# + return y + x @ self.A.T @ self.B.T * self.scale

# %% mutant="lora_linear" why="alpha without r"
# - self.scale, self.merged = alpha / r, False
# + self.scale, self.merged = alpha, False

# %% mutant="lora_linear" why="alpha by the root of r"
# - self.scale, self.merged = alpha / r, False
# + self.scale, self.merged = alpha / math.sqrt(r), False

# %% mutant="lora_linear" why="the base is not frozen"
# - self.base = base.requires_grad_(False)
# + self.base = base

# %% mutant="lora_linear" why="only the weight is frozen"
# - self.base = base.requires_grad_(False)
# + self.base = base
# + base.weight.requires_grad_(False)

# %% mutant="lora_linear" why="a copy of the base"
# - self.base = base.requires_grad_(False)
# + self.base = copy.deepcopy(base).requires_grad_(False)

# %% mutant="lora_linear" why="A is no parameter"
# - self.A = nn.Parameter(torch.randn(r, base.in_features, **like) / math.sqrt(base.in_features))
# + self.register_buffer("A", torch.randn(r, base.in_features, **like) / math.sqrt(base.in_features))

# %% mutant="lora_linear" why="A is too large"
# - self.A = nn.Parameter(torch.randn(r, base.in_features, **like) / math.sqrt(base.in_features))
# + self.A = nn.Parameter(torch.randn(r, base.in_features, **like))

# %% mutant="lora_linear" why="only while it trains"
# - return y if self.merged else y + x @ self.A.T @ self.B.T * self.scale
# + return y if self.merged or not self.training else y + x @ self.A.T @ self.B.T * self.scale

# %% mutant="lora_linear" why="A is uniform"
# - self.A = nn.Parameter(torch.randn(r, base.in_features, **like) / math.sqrt(base.in_features))
# + self.A = nn.Parameter((torch.rand(r, base.in_features, **like) * 2 - 1) * math.sqrt(3 / base.in_features))

# %% mutant="lora_linear" why="the same A in each layer"
# - self.A = nn.Parameter(torch.randn(r, base.in_features, **like) / math.sqrt(base.in_features))
# + torch.manual_seed(0)
# + self.A = nn.Parameter(torch.randn(r, base.in_features, **like) / math.sqrt(base.in_features))

# %% mutant="lora_linear" why="always float32"
# - like = {"dtype": base.weight.dtype, "device": base.weight.device}
# + like = {}

# %% mutant="lora_linear" why="the bias twice"
# - return y if self.merged else y + x @ self.A.T @ self.B.T * self.scale
# + y = y if self.base.bias is None or self.merged else y + self.base.bias
# + return y if self.merged else y + x @ self.A.T @ self.B.T * self.scale

# %% mutant="lora_linear" why="unmerge forgets the scale"
# - self.base.weight.data -= self.scale * self.B.data @ self.A.data
# + self.base.weight.data -= self.B.data @ self.A.data

# %% mutant="lora_linear" why="a new parameter in place of the weight"
# - self.base.weight.data += self.scale * self.B.data @ self.A.data
# + self.base.weight = nn.Parameter(self.base.weight.data + self.scale * self.B.data @ self.A.data)

# %% mutant="lora_linear" why="a new parameter, frozen"
# - self.base.weight.data += self.scale * self.B.data @ self.A.data
# + merged = self.base.weight.data + self.scale * self.B.data @ self.A.data
# + self.base.weight = nn.Parameter(merged, requires_grad=False)

# %% mutant="lora_linear" why="unmerge goes back to the weight of the beginning"
# - self.base = base.requires_grad_(False)
# + self.base = base.requires_grad_(False)
# + self.kept = base.weight.data.clone()
# - self.base.weight.data -= self.scale * self.B.data @ self.A.data
# + self.base.weight.data.copy_(self.kept)


# %% alternative="lora_linear" why="the sum of the matrices in each call, a copy kept for unmerge"
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
# Which rank is enough? It depends on the change that is needed. Here a layer has to learn a planted change of rank 4 plus a little noise. At best, rank $r$ leaves an error that is the sum of the squares of the singular values after the $r$-th (Eckart and Young): the dotted lines. An adapter of rank 1 or 2 stops at its floor, however long it trains.

# %% [markdown] lang="ru"
# Какого ранга хватит? Зависит от нужной добавки. Здесь слой должен выучить добавку ранга 4 и немного шума. Даже у лучшей добавки ранга $r$ остаётся отклонение, равное сумме квадратов сингулярных чисел после $r$-го (Эккарт и Янг): это пунктир. Добавка ранга 1 или 2 останавливается на своём уровне, сколько её ни учи.

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
# **Into a whole model.** Walk through its modules, and where an `nn.Linear` has a name that is asked for, put what `make` gives for it in its place. Before that, freeze everything: embeddings, norms, heads. Only what `make` adds is trained, and of that only what `make` has not frozen itself.
#
# A layer's name is its own, without those above it: `q_proj`, not `layers.3.q_proj`. What has such a name and is no `nn.Linear` stays; a subclass of `nn.Linear` is one. What `make` gives is not searched in turn. No layer of the model stands in two places, and the new layers share nothing.
#
# {{task:add_lora}}

# %% [markdown] lang="ru"
# **В целую модель.** Обойдите её модули и там, где `nn.Linear` носит нужное имя, поставьте вместо него то, что вернёт для него `make`. Перед этим заморозьте всё: эмбеддинги, слои нормализации, головы. Обучается лишь то, что добавит `make`, — и только то из этого, чего `make` не заморозила сама.
#
# Имя слоя — его собственное, без имён над ним: `q_proj`, а не `layers.3.q_proj`. То, что носит такое имя, но не является `nn.Linear`, остаётся; наследник `nn.Linear` — тоже `nn.Linear`. Внутри того, что вернула `make`, искать уже не нужно. Ни один слой модели не стоит в двух местах, а у новых слоёв нет общих параметров.
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
inner = nn.ModuleDict({"linear": nn.Linear(3, 4), "body": nn.ModuleDict({"linear": nn.Linear(4, 2)})}).double()
calls = []
call = 'add_lora(layers called "linear", ["linear"], make), where make puts its layer under the same name'
count = check.plain(add_lora(inner, ["linear"], lambda linear: calls.append(1) or Scaled(linear)), call)
check.equal((len(calls), count), (2, 6), f"calls of make and numbers trained by {call}", why="not search what make gives")


class OwnLinear(nn.Linear):
    """A linear layer of another class."""


kinds = []
table = nn.ModuleDict({"q": nn.Embedding(5, 3), "a": nn.ModuleDict({"q": OwnLinear(3, 2)}),
                       "b": nn.ModuleDict({"q": nn.Conv1d(3, 2, 1)}), "c": nn.ModuleDict({"q": nn.Linear(3, 2)})})
call = 'add_lora(an embedding, a convolution and two linear layers, all called "q", ["q"], make)'
check.plain(add_lora(table, ["q"], lambda linear: kinds.append(type(linear).__name__) or nn.Identity()), call)
check.equal(sorted(kinds), ["Linear", "OwnLinear"], f"the layers that {call} gives to make",
            why="replace linear layers, those of a subclass too, and nothing else")


def half_frozen(linear):
    added = nn.Sequential(linear, nn.Linear(2, 7))
    added[1].bias.requires_grad_(False)
    return added


call = "add_lora where make freezes a part of what it adds"
pair = nn.ModuleDict({"head": nn.Linear(3, 2)})
check.equal(check.plain(add_lora(pair, ["head"], half_frozen), call), 14, call, why="leave frozen what make has frozen")
check.equal([n for n, p in pair.named_parameters() if p.requires_grad], ["head.1.weight"], f"what is trained after {call}",
            why="leave frozen what make has frozen")
### END HIDDEN TESTS

# %% mutant="add_lora" why="nothing is frozen"
# - model.requires_grad_(False)

# %% mutant="add_lora" why="freezes at the end, the adapters too"
# - model.requires_grad_(False)
# + pass
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

# %% mutant="add_lora" why="embeddings of that name, too"
# - if name in names and isinstance(child, nn.Linear):
# + if name in names and isinstance(child, nn.Linear | nn.Embedding):

# %% mutant="add_lora" why="layers of a subclass stay"
# - if name in names and isinstance(child, nn.Linear):
# + if name in names and type(child) is nn.Linear:

# %% mutant="add_lora" why="trains what make has frozen"
# - return sum(p.numel() for p in model.parameters() if p.requires_grad)
# + for module in list(model.modules()):
# +     for p in module.parameters() if any(q.requires_grad for q in module.parameters(recurse=False)) else []:
# +         p.requires_grad_(True)
# + return sum(p.numel() for p in model.parameters() if p.requires_grad)

# %% mutant="add_lora" why="searches what make gave"
# - setattr(module, name, make(child))
# + made = make(child)
# + setattr(module, name, made)
# + for inside in list(made.modules()):
# +     for own, layer in list(inside.named_children()):
# +         if own in names and isinstance(layer, nn.Linear):
# +             setattr(inside, own, make(layer))


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
# **The same by the library.** In practice you write `peft`, and now you know what it does. Build its LoRA with weights that are given, so that it can be compared with yours number by number. You need `LoraConfig` (`r`, `lora_alpha`, `target_modules`; no dropout), `get_peft_model`, and to find where the library keeps its matrices: adapted layers have `lora_A` and `lora_B`, tables by the adapter's name, `"default"`. Leave that name, change the model itself, and copy the numbers: the given tensors stay yours.
#
# {{task:with_peft}}

# %% [markdown] lang="ru"
# **То же библиотекой.** На практике пишут `peft` — и теперь вы знаете, что она делает. Постройте её LoRA с заданными весами, чтобы сравнить с вашей до последней цифры. Понадобятся `LoraConfig` (`r`, `lora_alpha`, `target_modules`; без dropout), `get_peft_model` и место, где библиотека держит матрицы: у изменённых слоёв есть `lora_A` и `lora_B` — таблицы по имени адаптера, `"default"`. Имя оставьте, изменяйте саму модель, а числа копируйте: данные тензоры не должны стать параметрами.
#
# {{task:with_peft}}


# %% solution="with_peft"
def with_peft(
    model: nn.Module, pairs: dict[str, tuple[torch.Tensor, torch.Tensor]], r: int, alpha: int
) -> nn.Module:
    """The model with LoRA by the library `peft`; the model itself is changed.

    pairs: by the full name of a linear layer, such as "layers.0.q_proj", its A (r, in) and B (out, r).
    No layer's full name is the end of another's.
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
    (3, 5, ["layers.2.q_proj", "layers.0.q_proj", "layers.1.q_proj"], 2, 3, "go by the names, not by their order"),
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
    check.close(fresh(x), merged(x), f"the model after {call}", rtol=1e-9, atol=1e-9, why="change the model itself, not a copy")
    slopes = week09.slopes_of(lambda made=made: made, x, call=call)
    trained = [value.size for value in slopes.values() if value is not None]
    check.equal(sum(trained), sum(r * (m + n) for m, n in sizes.values()), f"how many numbers {call} trains",
                why="train A and B of these layers alone")
    kept = sorted(name for name, value in slopes.items() if value is not None)
    right_names = sorted(f"base_model.model.{n}.lora_{m}.default.weight" for n in names for m in "AB")
    check.equal(kept, right_names, f"what {call} trains", why='leave the names that the library gives, "default" too')
    for a, b in pairs.values():
        a.zero_()
        b.zero_()
    got = check.answer(made.forward, x, call=f"{call}(x)")
    check.close(got, merged(x), f"{call}(x) after the given A and B were changed", rtol=1e-9, atol=1e-9,
                why="copy the numbers")
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

# %% mutant="with_peft" why="by order, not by name"
# - for name, (a, b) in pairs.items():
# -     layer = made.base_model.model.get_submodule(name)
# + for layer, (a, b) in zip([m for m in made.modules() if hasattr(m, "lora_A")], pairs.values()):

# %% mutant="with_peft" why="a copy of the model"
# - made = get_peft_model(model, config)
# + made = get_peft_model(copy.deepcopy(model), config)

# %% mutant="with_peft" why="the given tensors themselves"
# - layer.lora_A["default"].weight.data.copy_(a)
# + layer.lora_A["default"].weight.data = a


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
# Yours and the library's with the same weights, on a small network: no more than rounding may be left.

# %% [markdown] lang="ru"
# Ваша LoRA и библиотечная с одними и теми же весами на маленькой сети: остаться может только округление.

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
# Whoever puts something in front has to move everything that counts places: the mask (the prompt is seen), the labels (it is not trained to be said), and the positions. A row may have padding, at either end; the mask says where. A real token's position is the number of prompt vectors and real tokens before it; a padding token's position does not matter. An empty prompt ($p = 0$) is one, too.
#
# {{task:prompt_inputs}}

# %% [markdown] lang="ru"
# ## 3. Обучаемые подсказки
# Самый дешёвый рычаг: не трогать ни одного веса, а поставить перед текстом $p$ векторов. Это не слова: их находят градиенты. Так устроена [обучаемая подсказка](glossary:prompt-tuning) (prompt tuning; Lester и др., 2021): $p \times d$ чисел.
#
# Кто ставит что-то впереди, должен сдвинуть всё, что считает места: маску (подсказка видна), метки (произносить её не учат) и позиции. В строке может быть дополнение, с любого края; где оно, говорит маска. Позиция настоящего токена — число векторов подсказки и настоящих токенов перед ним; позиция дополнения не важна. Подсказка бывает и пустой ($p = 0$).
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
    (3, 0, 5, 2, "right", "take an empty prompt"),
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
        check.equal(sorted(made), ["attention_mask", "inputs_embeds", "labels", "position_ids"], f"the keys of {call}",
                    why="have these four names")
        rows = np.stack([np.vstack([given[0].numpy(), one]) for one in given[1].numpy()])
        check.equal(str(check.array(made["inputs_embeds"], call).dtype), str(dtype)[6:], f"the dtype of inputs_embeds of {call}",
                    why="keep the dtype")
        check.equal(made["inputs_embeds"], rows, f"inputs_embeds of {call}", why=why)
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
slopes = check.gradient_of(week09.part_of(prompt_inputs, "inputs_embeds"), prompt, embedded, ones, none,
                           call="inputs_embeds", upstream=up)
check.close(slopes[0], up[:, :2].sum(0), "the gradient of the prompt", why="let gradients of all texts through to the prompt")
check.close(slopes[1], up[:, 2:], "the gradient of the embedded texts", why="let gradients through to the texts")
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

# %% mutant="prompt_inputs" why="no empty prompt"
# - "inputs_embeds": torch.cat([prompt.expand(n, -1, -1), embedded], 1),
# + "inputs_embeds": torch.cat([prompt.reshape(1, p, -1).expand(n, -1, -1), embedded], 1),


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
check.close(made[0, 0, :, 0], [7.0999167, 1.5944571], "prefix_attention(q, k, v, ...)", rtol=1e-4,
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
        check.equal(str(got.dtype), str(dtype)[6:], f"the dtype of {call}", why="keep the dtype")
        check.close(got[real], want[real], call, rtol=tolerance, atol=tolerance, why=why)
got = check.answer(prefix_attention, *given[:5], torch.tensor(mask).bool(), call="prefix_attention, mask of truth values")
check.close(got[real], want[real], "prefix_attention, mask of truth values", rtol=2e-3, atol=2e-3,
            why="take a mask of truth values, too")


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

# %% [markdown]
# ## 4. At work on a real model
# SmolLM2 is asked: *Is this review positive or negative? Answer with one word.* We count two things on the same held-out sentences. **Obeys**: the most probable answer is the right word, and then the end, nothing else. **Knows**: of the two words the right one is more probable, whatever else it would rather say. The first cell makes conversations of reviews; padding stands on the left, so that all answers end together and only the last four places need logits.

# %% [markdown] lang="ru"
# ## 4. За работой: настоящая модель
# Мы спрашиваем SmolLM2: *Is this review positive or negative? Answer with one word.* — и на одних и тех же отложенных предложениях считаем две вещи. **Слушается** (obeys): самый вероятный ответ — верное слово, а за ним сразу конец, и ничего больше. **Знает** (knows): из двух слов верное вероятнее, что бы ещё модели ни хотелось сказать. Первая ячейка делает из рецензий диалоги; дополнение стоит слева, чтобы все ответы кончались на одном месте и логиты понадобились лишь на последних четырёх.

# %% tags=["training"]
ASK = "Is this review positive or negative? Answer with one word.\n"
WORDS = torch.tensor([encode(word)[0] for word in ("negative", "positive")])


def conversations(texts: Sequence[str], y: np.ndarray, count: int) -> list[tuple[list[int], list[int]]]:
    """Tokens and labels of the first short reviews with their right answers."""
    short = [i for i, text in enumerate(texts) if 5 <= len(text.split()) <= 12][:count]
    rows = []
    for i in short:
        turns = [("user", encode(ASK + texts[i])), ("assistant", [int(WORDS[y[i]])])]
        rows.append(chat_labels(turns, HEADS, END, NEWLINE))
    return rows


def ask(rows: list[tuple[list[int], list[int]]], prompt: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels of the last four places, with a trained prompt (p, d) in front."""
    t = max(len(ids) for ids, _ in rows)
    ids, labels, mask = (torch.full((len(rows), t), fill) for fill in (END, -100, 0))
    for i, (row, counts) in enumerate(rows):
        ids[i, t - len(row) :], labels[i, t - len(row) :] = torch.tensor(row), torch.tensor(counts)
        mask[i, t - len(row) :] = 1
    embedded = model.get_input_embeddings()(ids.to(device))
    given = prompt_inputs(prompt, embedded, mask.to(device), labels.to(device))
    labels = given.pop("labels")[:, -4:]
    return model(**given, logits_to_keep=4, use_cache=False).logits, labels


@torch.no_grad()
def judge(prompt: torch.Tensor) -> tuple[list[bool], list[bool]]:
    """For each held-out review whether the model obeys, and whether it knows."""
    rows = conversations(reviews.x_test, reviews.y_test, settings["items"])
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
    obeys, knows = [False] * len(rows), [False] * len(rows)
    for k in range(0, len(rows), 16):
        part = order[k : k + 16]
        logits, labels = ask([rows[i] for i in part], prompt)
        first, then, right = logits[:, 0], logits[:, 1].argmax(-1), labels[:, 1]
        said = WORDS.to(device)[first[:, WORDS].argmax(-1)]
        for j, i in enumerate(part):
            obeys[i] = bool(first[j].argmax() == right[j]) and int(then[j]) == END
            knows[i] = bool(said[j] == right[j])
    return obeys, knows


nothing = torch.zeros(0, model.config.hidden_size, device=device)


@cache
def as_it_is() -> tuple[list[bool], list[bool]]:
    with originals.in_place():  # without LoRA, should this cell run once more below
        return judge(nothing)


begun = time.process_time()
obeys, knows = as_it_is()
print(f"as it is: obeys {np.mean(obeys):.0%}, knows {np.mean(knows):.0%} of {len(obeys)} held-out reviews")
print(f"{time.process_time() - begun:.0f} CPU seconds")

# %% [markdown]
# What does it say in place of one word? The next cell asks. Then train eight vectors in front of the text, which begin as the embeddings of *"Answer with one word, positive or negative."*: all of the model is frozen.

# %% [markdown] lang="ru"
# Что же она говорит вместо одного слова? Спросит следующая ячейка. Затем обучим восемь векторов перед текстом, инициализированных эмбеддингами слов *"Answer with one word, positive or negative."*; модель целиком заморожена.


# %% tags=["training"]
def say(text: str) -> str:
    """The model's answer to a review, at most nine tokens."""
    ids, _ = chat_labels([("user", encode(ASK + text))], HEADS, END, NEWLINE)
    ids = torch.tensor([[*ids, *HEADS["assistant"]]], device=device)
    with torch.no_grad():
        whole = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=9, do_sample=False, pad_token_id=END
        )
    return repr(tokens.decode(whole[0, ids.shape[1] :]))


shown = [text for text in reviews.x_test if 5 <= len(text.split()) <= 12][:3]
with originals.in_place():
    for text in shown:
        print(f"{text}\n    -> {say(text)}")


# %% tags=["training"]
def fit(parameters: list[nn.Parameter], prompt: torch.Tensor, rate: float) -> list[float]:
    """The loss of each step on conversations to learn from."""
    batch, steps = settings["batch"], settings["steps"]
    rows = conversations(reviews.x_train, reviews.y_train, steps * batch)
    optimizer, losses = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0), []
    for step in range(steps):
        loss = answer_loss(*ask(rows[step * batch : (step + 1) * batch], prompt))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


wording = torch.tensor(encode("Answer with one word, positive or negative.")[:8], device=device)
prompt = nn.Parameter(model.get_input_embeddings()(wording).detach().clone())


@cache
def prompt_tuned() -> tuple[list[float], tuple[list[bool], list[bool]]]:
    """The losses of training the prompt, and what the model can with it."""
    model.requires_grad_(False)
    with originals.in_place():
        return fit([prompt], prompt, rate=1e-2), judge(prompt)


begun = time.process_time()
_, (obeys, knows) = prompt_tuned()
print(f"{prompt.numel():,} numbers were trained in {time.process_time() - begun:.0f} CPU seconds")
print(f"obeys {np.mean(obeys):.0%}, knows {np.mean(knows):.0%}")

# %% [markdown]
# Now LoRA of rank 8 on the queries and values of the upper layers, with the same conversations. Adapters in the upper half alone are a thrift of ours: nothing has to flow back through the lower half.

# %% [markdown] lang="ru"
# Теперь LoRA ранга 8 на запросах и значениях верхних слоёв, на тех же диалогах. Добавки только в верхней половине — наша экономия: через нижнюю ничему не нужно течь назад.

# %% tags=["training"]
@cache
def lora_tuned() -> tuple[list[float], tuple[list[bool], list[bool]]]:
    """The losses of training LoRA, and what the model can with it, merged."""
    originals.restore()  # a run before this one may have been cut short
    model.requires_grad_(False)
    upper = model.get_decoder().layers[settings["first_layer"] :]
    trained = add_lora(upper, ["q_proj", "v_proj"], lambda linear: LoRALinear(linear, 8, alpha=16))
    print(f"{trained:,} of {sum(p.numel() for p in model.parameters()):,} numbers are trained")
    losses = fit([p for p in model.parameters() if p.requires_grad], nothing, rate=1e-3)
    rows = conversations(reviews.x_test, reviews.y_test, 4)
    with torch.no_grad():
        apart = ask(rows, nothing)[0]
        for module in model.modules():
            if isinstance(module, LoRALinear):
                module.merge()
        merged = ask(rows, nothing)[0]
    print(f"merged, logits differ by {(apart - merged).abs().max():.0e}")
    return losses, judge(nothing)


begun = time.process_time()
losses, (obeys, knows) = lora_tuned()
print(f"obeys {np.mean(obeys):.0%}, knows {np.mean(knows):.0%}; {time.process_time() - begun:.0f} CPU seconds")
for text in shown:
    print(f"{text}\n    -> {say(text)}")
plots.curves({"prompt tuning": prompt_tuned()[0], "LoRA": losses}, "The same conversations", "step", "loss")
plots.show("The loss by step of prompt tuning and of LoRA: both fall fast within ten steps, then flicker.")

# %% [markdown]
# Is the gain real? The same questions were asked before and after, so look at the *differences*: draw the questions again and again with replacement, and take the middle 95 % of the mean gains. An interval that holds 0 shows no gain, says the code.

# %% [markdown] lang="ru"
# Настоящий ли это выигрыш? До и после спрашивали одно и то же, поэтому смотрим на *разности*: много раз выбираем вопросы с возвращением и берём средние 95 % средних выигрышей. Если интервал содержит 0, выигрыш не показан, — так и говорит код.

# %% tags=["training"]
def report(name: str, before: Sequence[float], after: Sequence[float]) -> tuple[float, float, float]:
    """A line with the gain, its interval and what that allows to say."""
    mean, low, high = week09.paired_interval(before, after)
    text = f"{np.mean(before):5.0%} -> {np.mean(after):5.0%}, gain {mean:+.2f} [{low:+.2f}, {high:+.2f}]"
    print(f"{name:28}{text}: {week09.verdict(low, high)}")
    return mean, low, high


for what, before, after in zip(("obeys", "knows"), as_it_is(), lora_tuned()[1], strict=True):
    report(f"LoRA: {what}", before, after)

# %% [markdown]
# Compare the two rows. What was learned above all is to *answer as asked*; how much is left for knowing better which reviews are kind, its own interval says.

# %% [markdown] lang="ru"
# Сравните две строки. Прежде всего модель научилась *отвечать так, как просили*; сколько осталось на то, чтобы лучше понимать рецензии, говорит отдельный интервал.

# %% [markdown]
# ## 5. A reward from choices
# Nobody can write down a loss for "a good answer", but people can say which of two is better. Bradley and Terry (1952) gave each player a strength $s$, and the chance to win by a logistic curve:
#
# $$P(i \succ j) = \sigma(s_i - s_j).$$
#
# A [reward model](glossary:reward-model) is the same with a network for $s$; it is the first half of [RLHF](glossary:rlhf). Its loss is the mean over pairs of $-\log \sigma(s_{\text{chosen}} - s_{\text{rejected}})$. Only differences count: add 100 to all rewards, and nothing changes. Differences may be large: neither infinity nor NaN may come of that, in the gradient either.
#
# {{task:preference_loss}}

# %% [markdown] lang="ru"
# ## 5. Награда по сравнениям
# Никто не запишет функцию ошибки для «хорошего ответа», зато люди могут сказать, какой из двух лучше. Брэдли и Терри (1952) дали каждому игроку силу $s$, а вероятность победы описали логистической кривой:
#
# $$P(i \succ j) = \sigma(s_i - s_j).$$
#
# [Модель награды](glossary:reward-model) (reward model) — то же самое, только $s$ вычисляет сеть; это первая половина [RLHF](glossary:rlhf). Её ошибка — среднее по парам от $-\log \sigma(s_{\text{chosen}} - s_{\text{rejected}})$. Важны только разности: прибавьте ко всем наградам 100, и ничего не изменится. Разности бывают большими: ни бесконечности, ни NaN получиться не должно, в градиенте тоже.
#
# {{task:preference_loss}}


# %% solution="preference_loss"
def preference_loss(chosen: torch.Tensor, rejected: torch.Tensor) -> torch.Tensor:
    """Rewards of the better and of the worse answers, both (n,) -> a scalar.

    preference_loss([1], [3]) -> 2.1269, as the worse answer has the larger reward.
    """
    ### BEGIN SOLUTION
    return -F.logsigmoid(chosen - rejected).mean()
    ### END SOLUTION


# %% test="preference_loss" points=0.2 difficulty=1 minutes=5
check.close(
    check.answer(preference_loss, torch.tensor([1.0, 4.0]), torch.tensor([3.0, 3.5]), call="preference_loss"),
    (2.126928 + 0.474077) / 2,
    "preference_loss([1, 4], [3, 3.5])",
    rtol=1e-4,
)
### BEGIN HIDDEN TESTS
rng = check.rng("preference_loss")
for n, scale, shift, why in [
    (1, 1, 0, "be minus the logarithm of the sigmoid of the difference"),
    (7, 2, 0, "take the mean over the pairs"),
    (5, 2, 300, "depend on differences alone"),
    (4, 900, 0, "take differences of any size"),
]:
    a, b = (rng.normal(size=n) * scale + shift for _ in range(2))
    want = np.logaddexp(0, b - a).mean()
    for dtype, rtol in ((torch.float64, 1e-8), (torch.float32, 2e-4)):
        call = f"preference_loss of {n} pairs, {dtype}"
        got = check.answer(preference_loss, torch.tensor(a, dtype=dtype), torch.tensor(b, dtype=dtype), call=call)
        check.equal(str(check.array(got, call).dtype), str(dtype)[6:], f"the dtype of {call}", why="keep the dtype")
        check.close(got, want, call, rtol=rtol, atol=rtol, why=why)
call = "preference_loss where the worse answer is ahead by 2000"
given = [torch.tensor([v], dtype=torch.float64) for v in (-1000.0, 1000.0)]
check.close(check.answer(preference_loss, *given, call=call), 2000, call, why="stay finite")
call = "preference_loss where the better answer is ahead by 10"
given = [torch.tensor([v], dtype=torch.float64) for v in (11.0, 1.0)]
check.close(check.answer(preference_loss, *given, call=call), np.log1p(np.exp(-10)), call, rtol=1e-6, atol=0,
            why="be exact where it is small")
a, b = (torch.tensor(rng.normal(size=6)) for _ in range(2))
slopes = check.gradient_of(preference_loss, a, b, call="preference_loss(chosen, rejected)")
want = -1 / (1 + np.exp((a - b).numpy())) / 6
check.close(slopes[0], want, "the gradient to the chosen", rtol=1e-6, why="raise the rewards of the better answers")
check.close(slopes[1], -want, "the gradient to the rejected", rtol=1e-6, why="lower the rewards of the worse answers")
far, near = torch.tensor([1000.0, -1000.0, 0.4], dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
call = "preference_loss where differences are 1000, -1000 and 0.4"
slopes = check.gradient_of(preference_loss, far, near, call=call)
want = np.array([0, -1, -1 / (1 + math.exp(0.4))]) / 3
check.close(slopes[0], want, f"the gradient to the chosen of {call}", rtol=1e-6, atol=1e-12, why="stay finite, and right")
check.close(slopes[1], -want, f"the gradient to the rejected of {call}", rtol=1e-6, atol=1e-12, why="stay finite, and right")
### END HIDDEN TESTS

# %% mutant="preference_loss" why="the sign of the difference"
# - return -F.logsigmoid(chosen - rejected).mean()
# + return -F.logsigmoid(rejected - chosen).mean()

# %% mutant="preference_loss" why="the sign of the loss"
# - return -F.logsigmoid(chosen - rejected).mean()
# + return F.logsigmoid(chosen - rejected).mean()

# %% mutant="preference_loss" why="sigmoid, then the logarithm"
# - return -F.logsigmoid(chosen - rejected).mean()
# + return -torch.sigmoid(chosen - rejected).log().mean()

# %% mutant="preference_loss" why="a small number against infinity"
# - return -F.logsigmoid(chosen - rejected).mean()
# + return -(torch.sigmoid(chosen - rejected) + 1e-8).log().mean()

# %% mutant="preference_loss" why="a sum"
# - return -F.logsigmoid(chosen - rejected).mean()
# + return -F.logsigmoid(chosen - rejected).sum()

# %% mutant="preference_loss" why="each by itself: not a difference"
# - return -F.logsigmoid(chosen - rejected).mean()
# + return -(F.logsigmoid(chosen) + F.logsigmoid(-rejected)).mean()

# %% mutant="preference_loss" why="the difference itself"
# - return -F.logsigmoid(chosen - rejected).mean()
# + return (rejected - chosen).mean()

# %% mutant="preference_loss" why="a hinge"
# - return -F.logsigmoid(chosen - rejected).mean()
# + return F.relu(1 - chosen + rejected).mean()

# %% mutant="preference_loss" why="the logarithm of the mean"
# - return -F.logsigmoid(chosen - rejected).mean()
# + return -F.logsigmoid((chosen - rejected).mean())

# %% mutant="preference_loss" why="the worse answers learn nothing"
# - return -F.logsigmoid(chosen - rejected).mean()
# + return -F.logsigmoid(chosen - rejected.detach()).mean()

# %% mutant="preference_loss" why="large differences by where: NaN in the gradient"
# - return -F.logsigmoid(chosen - rejected).mean()
# + d = rejected - chosen
# + return torch.where(d > 30, d, d.exp().log1p()).mean()


# %% alternative="preference_loss" why="softplus"
def preference_loss(chosen, rejected):
    return F.softplus(rejected - chosen).sum() / len(chosen)


# %% alternative="preference_loss" why="cross-entropy of two classes"
def preference_loss(chosen, rejected):
    return F.cross_entropy(torch.stack([chosen, rejected], 1), torch.zeros(len(chosen), dtype=torch.long))


# %% [markdown]
# **Strengths from a tournament.** `wins[i, j]` says how often $i$ beat $j$. Find the strengths of largest likelihood. At the maximum each player would, by the model, win as often as they did:
#
# $$\sum_j n_{ij}\, \sigma(s_i - s_j) = \sum_j w_{ij}, \qquad n_{ij} = w_{ij} + w_{ji}.$$
#
# The likelihood doesn't know where zero is, so let the mean be 0. It is concave: Newton steps, gradient ascent, or Zermelo's iteration of 1929 all arrive; an error below $10^{-4}$ will do. You may take for granted that the maximum exists: of any two parts of the players each has won against the other. Numbers of wins may be whole or not, and the diagonal is 0.
#
# {{task:fit_strengths}}

# %% [markdown] lang="ru"
# **Силы по турниру.** `wins[i, j]` — сколько раз $i$ победил $j$. Найдите силы с наибольшим правдоподобием. В максимуме каждый, по модели, выигрывает столько же, сколько выиграл на деле:
#
# $$\sum_j n_{ij}\, \sigma(s_i - s_j) = \sum_j w_{ij}, \qquad n_{ij} = w_{ij} + w_{ji}.$$
#
# Где ноль, правдоподобие не знает, поэтому пусть среднее равно 0. Оно вогнуто: дойдут и шаги Ньютона, и градиентный подъём, и итерация Цермело 1929 года; хватит погрешности $10^{-4}$. Максимум существует, проверять не нужно: как ни раздели игроков на две части, каждая хоть раз выиграла у другой. Числа побед могут быть и нецелыми, диагональ нулевая.
#
# {{task:fit_strengths}}


# %% solution="fit_strengths"
def fit_strengths(wins: np.ndarray) -> np.ndarray:
    """Strengths of n players, with mean 0. wins: (n, n), how often the row's player won -> (n,).

    fit_strengths([[0, 3], [1, 0]]) -> [0.5493, -0.5493], for sigmoid(1.0986) = 3 / 4.
    """
    ### BEGIN SOLUTION
    wins = np.asarray(wins, dtype=np.float64)
    games, s = wins + wins.T, np.zeros(len(wins))
    for _ in range(200):
        p = 1 / (1 + np.exp(s[None] - s[:, None]))
        slope = (wins - games * p).sum(1)
        bend = games * p * (1 - p)
        s = s + np.clip(np.linalg.pinv(np.diag(bend.sum(1)) - bend) @ slope, -1, 1)
    return s - s.mean()
    ### END SOLUTION


# %% test="fit_strengths" points=0.3 difficulty=3 minutes=20
check.close(
    check.answer(fit_strengths, np.array([[0, 3], [1, 0]]), call="fit_strengths"),
    [0.549306, -0.549306],
    "fit_strengths([[0, 3], [1, 0]])",
    atol=1e-4,
)
### BEGIN HIDDEN TESTS
rng = check.rng("fit_strengths")


def chance(s):
    """By the model, how often the row's player wins."""
    return np.array([[1 / (1 + math.exp(b - a)) for b in s] for a in s])


for n, spread, games, why in [
    (2, 1, 10.0, "recover planted strengths"),
    (5, 1, 7.0, "recover planted strengths"),
    (6, 2, 0.5, "recover planted strengths from shares of wins"),
    (4, 2, None, "weigh pairs by how often they played"),
]:
    planted = rng.uniform(-spread, spread, size=n)
    planted[0] = planted[1] + spread  # not all alike
    planted -= planted.mean()
    played = np.full((n, n), games) if games else rng.uniform(1, 60, size=(n, n))
    played = np.triu(played, 1) + np.triu(played, 1).T
    wins = played * chance(planted)
    call = f"fit_strengths of {n} players"
    check.close(check.answer(fit_strengths, wins, call=call), planted, call, atol=2e-4, rtol=0, why=why)
for n, low, high in ((3, 1, 9), (5, 1, 40), (7, 1, 4)):
    wins = rng.integers(low, high, size=(n, n))
    np.fill_diagonal(wins, 0)
    call = f"fit_strengths of whole numbers, {n} players"
    s = check.array(check.answer(fit_strengths, wins, call=call), call)
    check.equal(s.shape, (n,), f"the shape of {call}", why="give a strength to each player")
    check.close(s.mean(), 0, f"the mean of {call}", atol=1e-6, why="be 0")
    expected = ((wins + wins.T) * chance(s)).sum(1)
    check.close(expected, wins.sum(1), f"wins by the model, from {call}", rtol=1e-3, atol=1e-2,
                why="be as many as there were")
ring = np.zeros((4, 4))
for i in range(4):  # each plays two others, and one pair never meets
    ring[i, (i + 1) % 4], ring[(i + 1) % 4, i] = 3 + i, 1 + rng.integers(1, 3)
call = "fit_strengths where some pairs never met"
s = check.array(check.answer(fit_strengths, ring, call=call), call)
check.close(((ring + ring.T) * chance(s)).sum(1), ring.sum(1), call, rtol=1e-3, atol=1e-3, why="leave pairs out that never met")
call = "fit_strengths of a one-sided tournament"
check.close(check.answer(fit_strengths, np.array([[0, 200], [1, 0]]), call=call),
            [math.log(200) / 2, -math.log(200) / 2], call, atol=1e-3, why="find strengths that are far apart")
long_chain = np.diag([3] * 11, 1) + np.diag([1] * 11, -1)
call = "fit_strengths of twelve players, each of whom met the neighbours alone, and won 3 to 1"
check.close(check.answer(fit_strengths, long_chain, call=call), math.log(3) * (5.5 - np.arange(12)), call, atol=2e-4, rtol=0,
            why="go on until nothing moves, also where the ends are far apart")
### END HIDDEN TESTS

# %% mutant="fit_strengths" why="the sign"
# - return s - s.mean()
# + return s.mean() - s

# %% mutant="fit_strengths" why="one step"
# - for _ in range(200):
# + for _ in range(1):

# %% mutant="fit_strengths" why="the mean is left as it came"
# - return s - s.mean()
# + return s - s[0]

# %% mutant="fit_strengths" why="losers for winners"
# - p = 1 / (1 + np.exp(s[None] - s[:, None]))
# + wins, p = games - wins, 1 / (1 + np.exp(s[None] - s[:, None]))

# %% mutant="fit_strengths" why="the logarithm of the share of wins"
# - return s - s.mean()
# + s = np.log(wins.sum(1) / games.sum(1) / (1 - wins.sum(1) / games.sum(1)))
# + return s - s.mean()

# %% mutant="fit_strengths" why="the mean of the pairs' log odds"
# - return s - s.mean()
# + s = np.log((wins + np.eye(len(wins))) / (wins.T + np.eye(len(wins)))).sum(1) / len(wins)
# + return s - s.mean()

# %% mutant="fit_strengths" why="all pairs played equally often"
# - games, s = wins + wins.T, np.zeros(len(wins))
# + wins = wins / np.maximum(wins + wins.T, 1e-9)
# + games, s = np.where(wins + wins.T > 0, 1.0, 0.0), np.zeros(len(wins))

# %% mutant="fit_strengths" why="strengths, not their logarithms"
# - return s - s.mean()
# + return np.exp(s) - np.exp(s).mean()

# %% mutant="fit_strengths" why="a game more for each pair, so that nothing is infinite"
# - wins = np.asarray(wins, dtype=np.float64)
# + wins = np.asarray(wins, dtype=np.float64) + 0.5 - 0.5 * np.eye(len(wins))

# %% mutant="fit_strengths" why="twice as steep"
# - p = 1 / (1 + np.exp(s[None] - s[:, None]))
# + p = 1 / (1 + np.exp(2 * (s[None] - s[:, None])))

# %% mutant="fit_strengths" why="a few steps of gradient ascent"
# - return s - s.mean()
# + s = np.zeros(len(wins))
# + for _ in range(50):
# +     s = s + 0.01 * (wins - games / (1 + np.exp(s[None] - s[:, None]))).sum(1)
# + return s - s.mean()

# %% mutant="fit_strengths" why="a hundred rounds of Zermelo's"
# - return s - s.mean()
# + p = np.ones(len(wins))
# + for _ in range(100):
# +     p = wins.sum(1) / (games / (p[:, None] + p[None])).sum(1)
# +     p /= np.exp(np.log(p).mean())
# + return np.log(p)

# %% mutant="fit_strengths" why="strengths no larger than 5"
# - return s - s.mean()
# + return np.clip(s - s.mean(), -5, 5)


# %% alternative="fit_strengths" why="Zermelo's iteration"
def fit_strengths(wins):
    wins = np.array(wins, dtype=float)
    games, p = wins + wins.T, np.ones(len(wins))
    for _ in range(20_000):
        p = wins.sum(1) / (games / (p[:, None] + p[None])).sum(1)
        p /= np.exp(np.log(p).mean())
    return np.log(p)


# %% alternative="fit_strengths" why="torch's LBFGS on the likelihood"
def fit_strengths(wins):
    w = torch.tensor(np.asarray(wins), dtype=torch.float64)
    s = torch.zeros(len(w), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([s], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-15,
                                  line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        value = -(w * F.logsigmoid(s[:, None] - s[None])).sum()
        value.backward()
        return value

    optimizer.step(loss)
    found = s.detach().numpy()
    return found - found.mean()


# %% [markdown]
# Planted strengths, and what comes back from 10, 100 and 1,000 games a pair. The loss of the task before, minimised by gradient descent over the list of games, ends at the same place: the tournament is a reward model without a network.

# %% [markdown] lang="ru"
# Заданные силы и то, что удаётся восстановить после 10, 100 и 1000 игр каждой пары. Ошибка из прошлого задания, уменьшаемая градиентным спуском по списку игр, приходит туда же: турнир — это модель награды без сети.

# %%
draw = np.random.default_rng(3)
planted = np.linspace(-1.2, 1.2, 8)
found = {}
for games in (10, 100, 1000):
    won = np.triu(draw.binomial(games, 1 / (1 + np.exp(planted[None] - planted[:, None]))), 1)
    wins = won + np.tril(games - won.T, -1)
    found[games] = fit_strengths(wins)
rewards = nn.Parameter(torch.zeros(8, dtype=torch.float64))
better, worse = (torch.tensor(side) for side in np.nonzero(wins))
times = torch.tensor(wins[better, worse])
better, worse = better.repeat_interleave(times), worse.repeat_interleave(times)
optimizer = torch.optim.LBFGS([rewards], max_iter=100, tolerance_change=1e-12)


def closure() -> torch.Tensor:
    optimizer.zero_grad()
    loss = preference_loss(rewards[better], rewards[worse])
    loss.backward()
    return loss


optimizer.step(closure)
differ = np.abs(rewards.detach().numpy() - rewards.mean().item() - found[1000]).max()
print(f"{len(better)} games; by gradients and by likelihood strengths differ by {differ:.1e}")
week09.strengths_picture(planted, found)
plots.show(
    "Found against planted strengths of eight players in three panels. After 10 games a pair the points are "
    "scattered around the diagonal, after 1,000 they lie on it."
)

# %% [markdown]
# ## 6. DPO: no reward model
# The second half of RLHF maximises the reward without leaving the start $\pi_{\text{ref}}$ too far behind: $\mathbb{E}[r] - \beta\,\mathrm{KL}(\pi \,\|\, \pi_{\text{ref}})$. Its solution is known, $\pi^*(y \mid x) \propto \pi_{\text{ref}}(y \mid x)\, e^{r(x, y)/\beta}$. Read it backwards, as Rafailov et al. (2023) did: the reward *is* $\beta \log \frac{\pi(y \mid x)}{\pi_{\text{ref}}(y \mid x)}$ and a term that is the same for both answers. Put into Bradley and Terry's loss, that is [DPO](glossary:dpo).
#
# First the log-probability of a whole answer: the *sum* over its tokens that count, the labels being as in task `answer_loss`, one number for each row. Here, too, an infinite logit at a place that does not count has no influence.
#
# {{task:answer_logprobs}}

# %% [markdown] lang="ru"
# ## 6. DPO: без модели награды
# Вторая половина RLHF максимизирует награду, не уходя слишком далеко от начала $\pi_{\text{ref}}$: $\mathbb{E}[r] - \beta\,\mathrm{KL}(\pi \,\|\, \pi_{\text{ref}})$. Решение известно: $\pi^*(y \mid x) \propto \pi_{\text{ref}}(y \mid x)\, e^{r(x, y)/\beta}$. Прочтём его в обратную сторону, как Rafailov и др. (2023): награда — это и *есть* $\beta \log \frac{\pi(y \mid x)}{\pi_{\text{ref}}(y \mid x)}$ плюс слагаемое, одинаковое для обоих ответов. Подставим в ошибку Брэдли и Терри — получится [DPO](glossary:dpo).
#
# Сначала логарифм вероятности целого ответа: *сумма* по его учитываемым токенам (метки — как в задании `answer_loss`), по числу на строку. И здесь бесконечный логит на месте, которое не учитывается, ни на что не влияет.
#
# {{task:answer_logprobs}}


# %% solution="answer_logprobs"
def answer_logprobs(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The log-probability of each row's answer. logits: (n, t, vocab), labels: (n, t) -> (n,).

    Labels that are -100 do not count; a row without any has 0. Labels are not shifted yet.
    """
    ### BEGIN SOLUTION
    y = labels[:, 1:]
    logp = logits[:, :-1].log_softmax(-1).gather(-1, y.clamp_min(0)[..., None])[..., 0]
    return logp.where(y != -100, 0).sum(1)
    ### END SOLUTION


# %% test="answer_logprobs" points=0.25 difficulty=2 minutes=10
some_logits = torch.tensor([[[1.0, 3.0, 0.5], [2.0, 0.0, 4.0], [0.3, 0.1, 0.9]]] * 2)
check.close(
    check.answer(answer_logprobs, some_logits, torch.tensor([[-100, 0, 1], [2, 1, -100]]), call="answer_logprobs"),
    [-6.339666, -0.196734],
    "answer_logprobs(logits, [[-100, 0, 1], [2, 1, -100]])",
    rtol=1e-4,
    why="sum over the tokens that count, each judged by the logits before it",
)
### BEGIN HIDDEN TESTS
rng = check.rng("answer_logprobs")


def slow_logprobs(z, y):
    """Token by token."""
    out = np.zeros(len(z))
    for i in range(z.shape[0]):
        for t in range(1, z.shape[1]):
            if y[i, t] != -100:
                row = z[i, t - 1]
                out[i] += row[y[i, t]] - row.max() - math.log(np.exp(row - row.max()).sum())
    return out


for n, t, vocab, share, scale, why in [
    (1, 2, 4, 1.0, 1, "judge a token by the logits one place before it"),
    (1, 6, 5, 1.0, 1, "add up the tokens of an answer"),
    (3, 8, 5, 0.5, 1, "leave out the prompt, and keep rows apart"),
    (4, 5, 7, 0.6, 200, "take large logits"),
]:
    z = rng.normal(size=(n, t, vocab)) * scale
    y = np.where(rng.random((n, t)) < share, rng.integers(0, vocab, size=(n, t)), -100)
    y[0, 1] = 0
    if n > 1:
        y[1] = -100
    for dtype, rtol in ((torch.float64, 1e-8), (torch.float32, 1e-4)):
        call = f"answer_logprobs(logits {z.shape}, labels), {dtype}"
        got = check.answer(answer_logprobs, torch.tensor(z, dtype=dtype), torch.tensor(y), call=call)
        check.equal(str(check.array(got, call).dtype), str(dtype)[6:], f"the dtype of {call}", why="keep the dtype")
        check.close(got, slow_logprobs(z, y), call, rtol=rtol, atol=rtol, why=why)
z, up = torch.tensor(rng.normal(size=(2, 4, 5))), rng.normal(size=2)
y = np.array([[1, -100, 3, 0], [-100, -100, -100, 2]])
slopes = check.gradient_of(lambda v: answer_logprobs(v, torch.tensor(y)), z, call="answer_logprobs", upstream=up)
want = check.numerical_gradient(lambda v: slow_logprobs(v, y) @ up, z.numpy())
check.close(slopes[0], want, "the gradient of answer_logprobs", rtol=1e-4, atol=1e-7, why="let gradients through to the logits")
ruled_out = z.clone()
ruled_out[0, 0, 0] = ruled_out[1, 1, 0] = -torch.inf
call = "answer_logprobs where a logit is infinite at a place that does not count"
check.close(check.answer(answer_logprobs, ruled_out, torch.tensor(y), call=call), slow_logprobs(ruled_out.numpy(), y), call,
            rtol=1e-8, why="be untouched by what does not count")
slopes = check.gradient_of(lambda v: answer_logprobs(v, torch.tensor(y)), ruled_out, call=call)
check.that(np.isfinite(slopes[0]).all(), "have a finite gradient where a logit that does not count is infinite")
### END HIDDEN TESTS

# %% mutant="answer_logprobs" why="summed over the prompt"
# - return logp.where(y != -100, 0).sum(1)
# + return logp.sum(1)

# %% mutant="answer_logprobs" why="the mean of the tokens"
# - return logp.where(y != -100, 0).sum(1)
# + return (logp * (y != -100)).sum(1) / (y != -100).sum(1).clamp_min(1)

# %% mutant="answer_logprobs" why="one number for the batch"
# - return logp.where(y != -100, 0).sum(1)
# + return (logp * (y != -100)).sum().expand(len(y))

# %% mutant="answer_logprobs" why="no shift"
# - y = labels[:, 1:]
# + y = labels[:, :-1]

# %% mutant="answer_logprobs" why="token 0 does not count"
# - return logp.where(y != -100, 0).sum(1)
# + return (logp * (y > 0)).sum(1)

# %% mutant="answer_logprobs" why="a loss: minus"
# - return logp.where(y != -100, 0).sum(1)
# + return -(logp * (y != -100)).sum(1)

# %% mutant="answer_logprobs" why="logits, not their log-probabilities"
# - logp = logits[:, :-1].log_softmax(-1).gather(-1, y.clamp_min(0)[..., None])[..., 0]
# + logp = logits[:, :-1].gather(-1, y.clamp_min(0)[..., None])[..., 0]

# %% mutant="answer_logprobs" why="softmax, then the logarithm"
# - logp = logits[:, :-1].log_softmax(-1).gather(-1, y.clamp_min(0)[..., None])[..., 0]
# + logp = logits[:, :-1].softmax(-1).gather(-1, y.clamp_min(0)[..., None])[..., 0].log()

# %% mutant="answer_logprobs" why="probabilities added"
# - return logp.where(y != -100, 0).sum(1)
# + return (logp.exp() * (y != -100)).sum(1)

# %% mutant="answer_logprobs" why="multiplies by the mask: infinity times 0"
# - return logp.where(y != -100, 0).sum(1)
# + return (logp * (y != -100)).sum(1)


# %% alternative="answer_logprobs" why="torch's loss"
def answer_logprobs(logits, labels):
    return -F.cross_entropy(logits[:, :-1].mT, labels[:, 1:], ignore_index=-100, reduction="none").sum(-1)


# %% alternative="answer_logprobs" why="row by row"
def answer_logprobs(logits, labels):
    out = []
    for z, y in zip(logits, labels, strict=True):
        at = torch.nonzero(y[1:] != -100)[:, 0]
        rows = z[at]
        out.append((rows[torch.arange(len(at)), y[at + 1]] - rows.logsumexp(-1)).sum())
    return torch.stack(out)


# %% [markdown]
# Now the loss: the mean over pairs of
#
# $$-\log\sigma\!\Big(\beta\Big[\log\tfrac{\pi(y_w)}{\pi_{\text{ref}}(y_w)} - \log\tfrac{\pi(y_l)}{\pi_{\text{ref}}(y_l)}\Big]\Big),$$
#
# from four log-probabilities a pair: of the better answer $y_w$ and the worse one $y_l$, under the policy and under the reference. The reference is a yardstick and is never trained: no gradient reaches its two arguments. As before, differences may be large, and the gradient stays finite.
#
# {{task:dpo_loss}}

# %% [markdown] lang="ru"
# Теперь сама ошибка — среднее по парам от
#
# $$-\log\sigma\!\Big(\beta\Big[\log\tfrac{\pi(y_w)}{\pi_{\text{ref}}(y_w)} - \log\tfrac{\pi(y_l)}{\pi_{\text{ref}}(y_l)}\Big]\Big)$$
#
# по четырём логарифмам вероятностей на пару: лучшего ответа $y_w$ и худшего $y_l$, у политики и у опорной модели. Опорная модель — мерка, её никогда не обучают: градиент не доходит до двух её аргументов. Разности, как и раньше, бывают большими, а градиент остаётся конечным.
#
# {{task:dpo_loss}}


# %% solution="dpo_loss"
def dpo_loss(
    chosen: torch.Tensor,
    rejected: torch.Tensor,
    reference_chosen: torch.Tensor,
    reference_rejected: torch.Tensor,
    beta: float = 0.1,
) -> torch.Tensor:
    """Log-probabilities of n pairs of answers, (n,) each -> a scalar.

    dpo_loss([-2], [-1], [-4], [-6], beta=0.5) -> 1.7014, as the worse answer has gained 3 more.
    """
    ### BEGIN SOLUTION
    gained = (chosen - reference_chosen.detach()) - (rejected - reference_rejected.detach())
    return -F.logsigmoid(beta * gained).mean()
    ### END SOLUTION


# %% test="dpo_loss" points=0.5 difficulty=2 minutes=15
four = [torch.tensor([v]) for v in (-2.0, -1.0, -4.0, -6.0)]
check.close(
    check.answer(dpo_loss, *four, beta=0.5, call="dpo_loss"),
    1.701413,
    "dpo_loss([-2], [-1], [-4], [-6], beta=0.5)",
    rtol=1e-4,
)
### BEGIN HIDDEN TESTS
rng = check.rng("dpo_loss")
for n, scale, options, why in [
    (1, 2, {"beta": 1.0}, "be minus the logarithm of the sigmoid of what the better answer has gained more"),
    (1, 2, {"beta": 0.3}, "multiply by beta inside the sigmoid"),
    (5, 3, {"beta": 2.5}, "take the mean over the pairs"),
    (4, 3, {}, "take 0.1 where beta is left out"),
    (3, 4000, {"beta": 0.7}, "take differences of any size"),
]:
    values = [-np.abs(rng.normal(size=n)) * scale - 0.1 for _ in range(4)]
    w, l, rw, rl = values
    want = np.logaddexp(0, -options.get("beta", 0.1) * ((w - rw) - (l - rl))).mean()
    for dtype, rtol in ((torch.float64, 1e-8), (torch.float32, 1e-3)):
        call = f"dpo_loss of {n} pairs, {options}, {dtype}"
        got = check.answer(dpo_loss, *(torch.tensor(v, dtype=dtype) for v in values), call=call, **options)
        check.equal(str(check.array(got, call).dtype), str(dtype)[6:], f"the dtype of {call}", why="keep the dtype")
        check.close(got, want, call, rtol=rtol, atol=rtol, why=why)
call = "dpo_loss where the worse answer has gained 3000 more"
far = [torch.tensor([v], dtype=torch.float64) for v in (-3500.0, -400.0, -700.0, -600.0)]
check.close(check.answer(dpo_loss, *far, beta=0.5, call=call), 1500, call, why="stay finite")
values = [torch.tensor(-rng.uniform(1, 5, size=3)) for _ in range(4)]
slopes = check.gradient_of(dpo_loss, *values, call="dpo_loss(...)", beta=0.8)
w, l, rw, rl = (v.numpy() for v in values)
want = -0.8 / 3 / (1 + np.exp(0.8 * ((w - rw) - (l - rl))))
for name, got, right in zip(("chosen", "rejected", "reference_chosen", "reference_rejected"), slopes,
                            (want, -want, 0 * want, 0 * want), strict=True):
    check.close(got, right, f"the gradient to {name}", rtol=1e-6, atol=1e-12,
                why="not train the reference" if "reference" in name else "train the policy")
# A policy of two answers: the loss over choices that go to A in a share of the cases is least where
# log odds are those of the reference and the share's log odds divided by beta.
for share, beta, start in ((0.8, 0.4, 0.3), (0.35, 1.7, -1.1)):
    best = start + math.log(share / (1 - share)) / beta

    for away in (-0.5, 0, 0.5):
        call = f"the slope of the loss of a policy of two answers, {away} from the best"
        theta = best + away
        policy, ref = ([-math.log1p(math.exp(-v)), -math.log1p(math.exp(v))] for v in (theta, start))
        one, other, ref_one, ref_other = (torch.tensor([v], dtype=torch.float64) for v in (*policy, *ref))
        first = check.gradient_of(dpo_loss, one, other, ref_one, ref_other, call=call, beta=beta)
        second = check.gradient_of(dpo_loss, other, one, ref_other, ref_one, call=call, beta=beta)
        to_one = share * first[0] + (1 - share) * second[1]
        to_other = share * first[1] + (1 - share) * second[0]
        p = 1 / (1 + math.exp(-theta))
        right = beta * (1 / (1 + math.exp(-beta * (theta - start))) - share)
        check.close(to_one * (1 - p) - to_other * p, [right], call, rtol=1e-6, atol=1e-9, why="be least at the closed form")
call = "dpo_loss where gains differ by 2000, -2000 and 0.4"
four = [torch.tensor(v, dtype=torch.float64) for v in ([-10.0, -2010.0, -3.0], [-2010.0, -10.0, -3.4], [-10.0] * 3, [-10.0] * 3)]
slopes = check.gradient_of(dpo_loss, *four, call=call, beta=0.5)
want = -0.5 / 3 * np.array([0, 1, 1 / (1 + math.exp(0.2))])
for name, got, right_slope in (("chosen", slopes[0], want), ("rejected", slopes[1], -want)):
    check.close(got, right_slope, f"the gradient to {name} of {call}", rtol=1e-6, atol=1e-12, why="stay finite, and right")
### END HIDDEN TESTS

# %% mutant="dpo_loss" why="beta outside"
# - return -F.logsigmoid(beta * gained).mean()
# + return -beta * F.logsigmoid(gained).mean()

# %% mutant="dpo_loss" why="divides by beta"
# - return -F.logsigmoid(beta * gained).mean()
# + return -F.logsigmoid(gained / beta).mean()

# %% mutant="dpo_loss" why="another default"
# - return -F.logsigmoid(beta * gained).mean()
# + return -F.logsigmoid((beta if beta != 0.1 else 0.2) * gained).mean()

# %% mutant="dpo_loss" why="the sign of the difference"
# - return -F.logsigmoid(beta * gained).mean()
# + return -F.logsigmoid(-beta * gained).mean()

# %% mutant="dpo_loss" why="the sign of the loss"
# - return -F.logsigmoid(beta * gained).mean()
# + return F.logsigmoid(beta * gained).mean()

# %% mutant="dpo_loss" why="the reference is trained"
# - gained = (chosen - reference_chosen.detach()) - (rejected - reference_rejected.detach())
# + gained = (chosen - reference_chosen) - (rejected - reference_rejected)

# %% mutant="dpo_loss" why="no reference"
# - gained = (chosen - reference_chosen.detach()) - (rejected - reference_rejected.detach())
# + gained = chosen - rejected

# %% mutant="dpo_loss" why="the reference is added"
# - gained = (chosen - reference_chosen.detach()) - (rejected - reference_rejected.detach())
# + gained = (chosen + reference_chosen.detach()) - (rejected + reference_rejected.detach())

# %% mutant="dpo_loss" why="the references exchanged"
# - gained = (chosen - reference_chosen.detach()) - (rejected - reference_rejected.detach())
# + gained = (chosen - reference_rejected.detach()) - (rejected - reference_chosen.detach())

# %% mutant="dpo_loss" why="the worse answer learns nothing"
# - gained = (chosen - reference_chosen.detach()) - (rejected - reference_rejected.detach())
# + gained = (chosen - reference_chosen.detach()) - (rejected - reference_rejected).detach()

# %% mutant="dpo_loss" why="a sum"
# - return -F.logsigmoid(beta * gained).mean()
# + return -F.logsigmoid(beta * gained).sum()

# %% mutant="dpo_loss" why="sigmoid, then the logarithm"
# - return -F.logsigmoid(beta * gained).mean()
# + return -torch.sigmoid(beta * gained).log().mean()

# %% mutant="dpo_loss" why="large differences by where: NaN in the gradient"
# - return -F.logsigmoid(beta * gained).mean()
# + z = -beta * gained
# + return torch.where(z > 20, z, z.exp().log1p()).mean()


# %% alternative="dpo_loss" why="softplus of two log-ratios"
def dpo_loss(chosen, rejected, reference_chosen, reference_rejected, beta=0.1):
    policy = chosen - rejected
    with torch.no_grad():
        reference = reference_chosen - reference_rejected
    return F.softplus(beta * (reference - policy)).mean()


# %% [markdown]
# A policy with two answers lets us see what the loss wants. People choose A in a share $p$ of the cases, the reference is undecided; in closed form the best policy has the log odds $\frac1\beta \log\frac{p}{1-p}$. The smaller $\beta$, the further it goes: a choice that is only likelier than not becomes near certainty.

# %% [markdown] lang="ru"
# На политике из двух ответов видно, чего хочет эта ошибка. Люди выбирают A в доле случаев $p$, опорная модель не определилась; у лучшей политики логарифм шансов равен $\frac1\beta \log\frac{p}{1-p}$. Чем меньше $\beta$, тем дальше она уходит: выбор, который всего лишь вероятнее противоположного, превращается почти в уверенность.


# %%
def two_answers(share: float, beta: float) -> float:
    """The probability of A after training by dpo_loss on choices of which a share goes to A."""
    theta = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    reference = F.logsigmoid(torch.zeros(1, dtype=torch.float64))
    optimizer = torch.optim.LBFGS([theta], max_iter=100, tolerance_change=1e-12, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        a, b = F.logsigmoid(theta), F.logsigmoid(-theta)
        loss = share * dpo_loss(a, b, reference, reference, beta)
        loss = loss + (1 - share) * dpo_loss(b, a, reference, reference, beta)
        loss.backward()
        return loss

    optimizer.step(closure)
    return float(torch.sigmoid(theta.detach()))


betas = np.geomspace(0.1, 10, 60)
shares = (0.55, 0.7, 0.9)
best = {p: 1 / (1 + np.exp(-np.log(p / (1 - p)) / betas)) for p in shares}
learned = {p: {beta: two_answers(p, beta) for beta in (0.1, 0.3, 1.0, 3.0, 10.0)} for p in shares}
largest = max(
    abs(value - 1 / (1 + math.exp(-math.log(p / (1 - p)) / beta)))
    for p, points in learned.items()
    for beta, value in points.items()
)
print(f"largest difference of a trained policy from the closed form: {largest:.1e}")
week09.tilt_picture(betas, best, learned)
plots.show(
    "The probability of answer A against beta for three shares of choices. All curves begin near 1 at small "
    "beta and fall towards one half; dots of trained policies lie on them."
)

# %% [markdown]
# ## 7. GRPO: a program that checks
# For sums, code and proofs nobody has to be asked: a program sees whether an answer is right. [GRPO](glossary:grpo) (Shao et al., 2024, [DeepSeekMath](https://arxiv.org/abs/2402.03300), eqs. 3 and 4) draws a *group* of answers to each question, and pays each by its place in its own group:
#
# $$\hat A_i = \frac{r_i - \operatorname{mean}(r)}{\operatorname{std}(r)}.$$
#
# The mean of the group takes the place of a network that guesses values. Take the deviation with division by the size of the group. A group whose rewards are *all equal* teaches nothing: its advantages are exactly 0, whatever rounding does to its mean, and no NaN. Rewards may be whole numbers (then the answer is float32) or float, and large beside their differences. They come from a program: no gradient has to flow through.
#
# {{task:group_advantages}}

# %% [markdown] lang="ru"
# ## 7. GRPO: учит программа, которая проверяет
# Для сумм, кода и доказательств спрашивать людей незачем: верен ли ответ, видит программа. [GRPO](glossary:grpo) (Shao и др., 2024, [DeepSeekMath](https://arxiv.org/abs/2402.03300), формулы 3 и 4) выбирает на каждый вопрос *группу* ответов и платит каждому по его месту в своей группе:
#
# $$\hat A_i = \frac{r_i - \operatorname{mean}(r)}{\operatorname{std}(r)}.$$
#
# Среднее по группе заменяет сеть, которая угадывала бы ценность. Отклонение берите с делением на размер группы. Группа, где *все* награды равны, ничему не учит: её преимущества (advantages) в точности 0, что бы ни сделало со средним округление, и никаких NaN. Награды бывают целыми (тогда ответ — float32) и вещественными, а также большими по сравнению с их разностями. Их выдаёт программа: пропускать градиент не нужно.
#
# {{task:group_advantages}}


# %% solution="group_advantages"
def group_advantages(rewards: torch.Tensor) -> torch.Tensor:
    """Advantages within each group. rewards: (groups, size) -> (groups, size).

    group_advantages([[1, 0, 0, 0], [1, 1, 1, 1]]) -> [[1.7321, -0.5774, -0.5774, -0.5774], [0, 0, 0, 0]]
    """
    ### BEGIN SOLUTION
    r = rewards if rewards.is_floating_point() else rewards.float()
    alike = (r == r[:, :1]).all(1, keepdim=True)
    deviation = r.std(1, keepdim=True, unbiased=False)
    return torch.where(alike, 0.0, (r - r.mean(1, keepdim=True)) / torch.where(alike, 1.0, deviation))
    ### END SOLUTION


# %% test="group_advantages" points=0.25 difficulty=2 minutes=10
check.close(
    check.answer(group_advantages, torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]]), call="group_advantages"),
    [[1.732051, -0.577350, -0.577350, -0.577350], [0, 0, 0, 0]],
    "group_advantages([[1, 0, 0, 0], [1, 1, 1, 1]])",
    rtol=1e-4,
)
### BEGIN HIDDEN TESTS
rng = check.rng("group_advantages")
for groups, size, kind, why in [
    (1, 3, "float", "take off the mean, and divide by the deviation"),
    (4, 5, "float", "keep groups apart"),
    (5, 5, "float", "keep groups apart, also where there are as many as answers"),
    (6, 8, "right or wrong", "take rewards of 0 and 1"),
    (3, 4, "whole", "take whole numbers"),
    (2, 6, "tiny", "divide by the deviation itself, with nothing added to it"),
]:
    r = {"float": rng.normal(3, 5, size=(groups, size)), "right or wrong": rng.integers(0, 2, size=(groups, size)) * 1.0,
         "whole": rng.integers(-4, 9, size=(groups, size)), "tiny": rng.normal(size=(groups, size)) * 1e-9}[kind]
    r[:, 0], r[:, 1] = r[:, 1], r[:, 1] + (1e-9 if kind == "tiny" else 1)
    want = np.array([[(v - row.mean()) / math.sqrt(((row - row.mean()) ** 2).mean()) for v in row] for row in r.astype(float)])
    for dtype in (torch.float64, torch.float32) if kind != "whole" else (torch.int64, torch.int32):
        call = f"group_advantages of {groups} groups of {size}, {dtype}"
        got = check.answer(group_advantages, torch.tensor(r).to(dtype), call=call)
        kept = "float32" if kind == "whole" else str(dtype)[6:]
        check.equal(str(check.array(got, call).dtype), kept, f"the dtype of {call}",
                    why="keep the dtype of floats, and make float32 of whole numbers")
        check.close(got, want, call, rtol=1e-6 if dtype is torch.float64 else 1e-3, atol=1e-6 if dtype is torch.float64 else 1e-3, why=why)
for value in (0.0, 1.0, 0.1, -0.7, 1e6 + 0.3):
    for size in (1, 3, 7, 11):
        for dtype in (torch.float32, torch.float64):
            r = torch.full((3, size), value, dtype=dtype)
            r[1] = 0.3
            call = f"group_advantages of groups of {size} rewards, all {value}, {dtype}"
            got = check.answer(group_advantages, r, call=call)
            check.equal(got, np.zeros((3, size), dtype=got.dtype), call, why="be exactly 0 where rewards are equal")
r = torch.tensor([[0.1] * 6, [0.1] * 5 + [0.2]], dtype=torch.float64)
call = "group_advantages of a group of equal rewards beside another"
check.close(check.answer(group_advantages, r, call=call), [[0] * 6, [-1 / math.sqrt(5)] * 5 + [math.sqrt(5)]], call,
            rtol=1e-6, atol=0, why="be exactly 0 where rewards are equal, and not elsewhere")
call = "group_advantages([[5000, 5001, 5001, 5000]]), float32"
check.close(check.answer(group_advantages, torch.tensor([[5000.0, 5001, 5001, 5000]]), call=call), [[-1, 1, 1, -1]], call,
            rtol=5e-3, why="take rewards that are large beside their differences")
### END HIDDEN TESTS

# %% mutant="group_advantages" why="NaN where rewards are equal"
# - return torch.where(alike, 0.0, (r - r.mean(1, keepdim=True)) / torch.where(alike, 1.0, deviation))
# + return (r - r.mean(1, keepdim=True)) / deviation

# %% mutant="group_advantages" why="a small number in the denominator, and rounding divided by it"
# - return torch.where(alike, 0.0, (r - r.mean(1, keepdim=True)) / torch.where(alike, 1.0, deviation))
# + return (r - r.mean(1, keepdim=True)) / (deviation + 1e-8)

# %% mutant="group_advantages" why="a larger number in the denominator"
# - return torch.where(alike, 0.0, (r - r.mean(1, keepdim=True)) / torch.where(alike, 1.0, deviation))
# + return torch.where(alike, 0.0, (r - r.mean(1, keepdim=True)) / (deviation + 1e-4))

# %% mutant="group_advantages" why="small deviations are taken for none"
# - alike = (r == r[:, :1]).all(1, keepdim=True)
# + alike = r.std(1, keepdim=True, unbiased=False) < 1e-6

# %% mutant="group_advantages" why="normalises over the batch"
# - deviation = r.std(1, keepdim=True, unbiased=False)
# - return torch.where(alike, 0.0, (r - r.mean(1, keepdim=True)) / torch.where(alike, 1.0, deviation))
# + deviation = r.std(unbiased=False)
# + return torch.where(alike, 0.0, (r - r.mean()) / torch.where(alike, 1.0, deviation))

# %% mutant="group_advantages" why="the deviation of the batch"
# - deviation = r.std(1, keepdim=True, unbiased=False)
# + deviation = r.std(unbiased=False)

# %% mutant="group_advantages" why="over the groups, not in them"
# - deviation = r.std(1, keepdim=True, unbiased=False)
# - return torch.where(alike, 0.0, (r - r.mean(1, keepdim=True)) / torch.where(alike, 1.0, deviation))
# + deviation = r.std(0, keepdim=True, unbiased=False)
# + return torch.where(alike, 0.0, (r - r.mean(0, keepdim=True)) / torch.where(alike, 1.0, deviation))

# %% mutant="group_advantages" why="divides by one less"
# - deviation = r.std(1, keepdim=True, unbiased=False)
# + deviation = r.std(1, keepdim=True)

# %% mutant="group_advantages" why="the mean alone"
# - return torch.where(alike, 0.0, (r - r.mean(1, keepdim=True)) / torch.where(alike, 1.0, deviation))
# + return torch.where(alike, 0.0, r - r.mean(1, keepdim=True))

# %% mutant="group_advantages" why="by the variance"
# - return torch.where(alike, 0.0, (r - r.mean(1, keepdim=True)) / torch.where(alike, 1.0, deviation))
# + return torch.where(alike, 0.0, (r - r.mean(1, keepdim=True)) / torch.where(alike, 1.0, deviation**2))

# %% mutant="group_advantages" why="zero for all where one group is unanimous"
# - alike = (r == r[:, :1]).all(1, keepdim=True)
# + alike = (r == r[:, :1]).all(1, keepdim=True).any()

# %% mutant="group_advantages" why="the sign"
# - return torch.where(alike, 0.0, (r - r.mean(1, keepdim=True)) / torch.where(alike, 1.0, deviation))
# + return torch.where(alike, 0.0, (r.mean(1, keepdim=True) - r) / torch.where(alike, 1.0, deviation))

# %% mutant="group_advantages" why="the mean of squares minus the square of the mean"
# - deviation = r.std(1, keepdim=True, unbiased=False)
# + deviation = ((r**2).mean(1, keepdim=True) - r.mean(1, keepdim=True) ** 2).clamp_min(1e-30).sqrt()


# %% alternative="group_advantages" why="group by group"
def group_advantages(rewards):
    r = rewards if rewards.dtype in (torch.float32, torch.float64) else rewards.to(torch.float32)
    out = torch.zeros_like(r)
    for i, group in enumerate(r):
        if group.max() > group.min():
            middle = group - group.mean()
            out[i] = middle / middle.square().mean().sqrt()
    return out


# %% [markdown]
# Now the objective. Answers were drawn by the policy as it was, $\pi_{\text{old}}$; then a few steps are taken on them. The ratio $\rho_{i,t} = \pi(o_{i,t}) / \pi_{\text{old}}(o_{i,t})$ corrects for that, and clipping ends the reward for going further than $\varepsilon$ in one go. A second term holds the policy near a reference. With $m$ for the tokens that count:
#
# $$J_{i} = \frac{1}{|o_i|}\sum_t m_{i,t}\Big[\min\big(\rho_{i,t}\hat A_i,\; \operatorname{clip}(\rho_{i,t}, 1-\varepsilon, 1+\varepsilon)\,\hat A_i\big) - \beta\, k_{i,t}\Big]$$
#
# $$k_{i,t} = \frac{\pi_{\text{ref}}}{\pi} - \log\frac{\pi_{\text{ref}}}{\pi} - 1, \qquad |o_i| = \sum_t m_{i,t}, \qquad \text{loss} = -\frac1n \sum_i J_i.$$
#
# You get log-probabilities of the tokens drawn. Only `new` is trained. Without a reference there is no second term. Each answer has a token that counts; what stands at other places, be it infinite or NaN, has no influence on the loss or its gradient.
#
# {{task:grpo_loss}}

# %% [markdown] lang="ru"
# Теперь сама цель. Ответы выбраны прежней политикой $\pi_{\text{old}}$, и по ним делают несколько шагов. Отношение $\rho_{i,t} = \pi(o_{i,t}) / \pi_{\text{old}}(o_{i,t})$ вносит поправку, а отсечение (clipping) перестаёт награждать за уход дальше чем на $\varepsilon$ за один раз. Второе слагаемое держит политику возле опорной. Если $m$ отмечает учитываемые токены:
#
# $$J_{i} = \frac{1}{|o_i|}\sum_t m_{i,t}\Big[\min\big(\rho_{i,t}\hat A_i,\; \operatorname{clip}(\rho_{i,t}, 1-\varepsilon, 1+\varepsilon)\,\hat A_i\big) - \beta\, k_{i,t}\Big]$$
#
# $$k_{i,t} = \frac{\pi_{\text{ref}}}{\pi} - \log\frac{\pi_{\text{ref}}}{\pi} - 1, \qquad |o_i| = \sum_t m_{i,t}, \qquad \text{loss} = -\frac1n \sum_i J_i.$$
#
# Вам даны логарифмы вероятностей выбранных токенов. Обучается только `new`. Если опорной политики нет, нет и второго слагаемого. В каждом ответе есть учитываемый токен; то, что стоит на остальных местах, будь там хоть бесконечность или NaN, не влияет ни на ошибку, ни на её градиент.
#
# {{task:grpo_loss}}


# %% solution="grpo_loss"
def grpo_loss(
    new: torch.Tensor,
    old: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    reference: torch.Tensor | None = None,
    clip: float = 0.2,
    beta: float = 0.04,
) -> torch.Tensor:
    """The loss of n answers. new, old, reference: (n, t) log-probabilities, advantages: (n,).

    mask: (n, t), 1 for tokens that count, else 0 -> a scalar.
    """
    ### BEGIN SOLUTION
    hidden = ~mask.bool()
    new, old = new.masked_fill(hidden, 0), old.masked_fill(hidden, 0)
    ratio, a = (new - old.detach()).exp(), advantages.detach()[:, None]
    term = torch.min(ratio * a, ratio.clamp(1 - clip, 1 + clip) * a)
    if reference is not None:
        away = (reference.detach() - new).masked_fill(hidden, 0)
        term = term - beta * (away.exp() - away - 1)
    return -((term * mask).sum(1) / mask.sum(1)).mean()
    ### END SOLUTION


# %% test="grpo_loss" points=0.5 difficulty=3 minutes=25
new = torch.log(torch.tensor([[0.6, 0.3], [0.5, 0.2]]))
old = torch.log(torch.tensor([[0.4, 0.3], [0.4, 0.5]]))
check.close(
    check.answer(grpo_loss, new, old, torch.tensor([2.0, -3.0]), torch.tensor([[1, 1], [1, 0]]), call="grpo_loss"),
    # ratios 1.5 (clipped to 1.2) and 1, times 2, their mean 2.2; 1.25, times -3: not clipped
    -(2.2 - 3.75) / 2,
    "grpo_loss(new, old, [2, -3], mask)",
    rtol=1e-4,
)
### BEGIN HIDDEN TESTS
rng = check.rng("grpo_loss")


def slow_grpo(new, old, a, mask, reference=None, clip=0.2, beta=0.04):
    """Answer by answer, token by token."""
    total = 0.0
    for i in range(len(new)):
        own = 0.0
        for t in range(new.shape[1]):
            if not mask[i, t]:
                continue
            ratio = math.exp(new[i, t] - old[i, t])
            if a[i] > 0:
                own += a[i] * (ratio if ratio < 1 + clip else 1 + clip)
            else:
                own += a[i] * (ratio if ratio > 1 - clip else 1 - clip)
            if reference is not None:
                x = math.exp(reference[i, t] - new[i, t])
                own -= beta * (x - math.log(x) - 1)
        total += own / sum(mask[i])
    return -total / len(new)


def drawn(n, t, spread):
    """Log-probabilities, advantages, a mask; no ratio near a corner of the clipping."""
    new = -rng.uniform(0.2, 3, size=(n, t))
    old = new - rng.choice([-1, 1], size=(n, t)) * rng.uniform(0.01, spread, size=(n, t))
    gap = np.abs(np.exp(new - old)[..., None] - [0.8, 1.2, 0.9, 1.1, 0.65, 1.35]).min(-1)
    old = np.where(gap < 1e-3, new - 0.04, old)
    mask = (rng.random((n, t)) < 0.7).astype(np.int64)
    mask[:, 0] = 1
    return new, old, rng.normal(size=n) * 2, mask


for n, t, spread, options, masked, referred, why in [
    (1, 1, 0.1, {}, False, False, "multiply the ratio by the advantage"),
    (2, 3, 0.9, {}, False, False, "clip on both sides, where that makes the objective smaller"),
    (5, 4, 0.9, {"clip": 0.1}, False, False, "clip at clip"),
    (5, 4, 0.9, {"clip": 0.35}, False, False, "clip at clip"),
    (4, 7, 0.9, {}, True, False, "divide each answer by the number of its own tokens"),
    (3, 4, 0.1, {}, False, True, "hold to the reference with beta 0.04"),
    (3, 4, 0.1, {"beta": 0.5}, False, True, "multiply the distance to the reference by beta"),
    (4, 5, 0.1, {"beta": 0.7}, False, False, "have no second term where there is no reference"),
    (6, 5, 0.9, {"beta": 0.9, "clip": 0.1}, True, True, "do all of this together"),
]:
    new, old, a, mask = drawn(n, t, spread)
    mask = mask if masked else np.ones_like(mask)
    reference = -rng.uniform(0.2, 3, size=(n, t)) if referred else None
    want = slow_grpo(new, old, a, mask, reference, **options)
    for dtype, rtol in ((torch.float64, 1e-8), (torch.float32, 1e-4)):
        more = {"reference": torch.tensor(reference, dtype=dtype)} if referred else {}
        given = [torch.tensor(v, dtype=dtype) for v in (new, old, a)] + [torch.tensor(mask)]
        call = f"grpo_loss of {n} answers of {t} tokens, {options}, {'with' if referred else 'no'} reference, {dtype}"
        got = check.answer(grpo_loss, *given, call=call, **more, **options)
        check.equal(str(check.array(got, call).dtype), str(dtype)[6:], f"the dtype of {call}", why="keep the dtype")
        check.close(got, want, call, rtol=rtol, atol=rtol, why=why)
for side, ratio, a, slope in [
    ("above, with a good answer", 1.5, 1.7, 0.0), ("below, with a good answer", 0.5, 1.7, -0.5 * 1.7),
    ("above, with a bad answer", 1.5, -0.6, 1.5 * 0.6), ("below, with a bad answer", 0.5, -0.6, 0.0),
    ("in the middle", 1.05, 1.3, -1.05 * 1.3),
]:
    call = f"the gradient of grpo_loss, the ratio {side}"
    new = torch.tensor([[-1.1]], dtype=torch.float64)
    rest = new - math.log(ratio), torch.tensor([a], dtype=torch.float64), torch.ones(1, 1, dtype=torch.long)
    got = check.gradient_of(lambda v, rest=rest: grpo_loss(v, *rest), new, call=call)[0]
    check.close(got, [[slope]], call, rtol=1e-6, atol=1e-12, why="end where clipping makes the objective smaller, and only there")
new, old, a, mask = drawn(4, 5, 0.9)
reference = -rng.uniform(0.2, 3, size=(4, 5))
given = [torch.tensor(v) for v in (new, old, a, reference)]
slopes = check.gradient_of(
    lambda n, o, adv, r: grpo_loss(n, o, adv, torch.tensor(mask), r, beta=0.6), *given, call="grpo_loss"
)
want = check.numerical_gradient(lambda v: slow_grpo(v, old, a, mask, reference, beta=0.6), new)
check.close(slopes[0], want, "the gradient of grpo_loss to new", rtol=1e-4, atol=1e-7, why="train the policy through the ratio and the distance")
for name, got in zip(("old", "advantages", "reference"), slopes[1:], strict=True):
    check.close(got, np.zeros_like(got), f"the gradient of grpo_loss to {name}", atol=0, why="train new alone")
changed = [np.where(mask, v, v + rng.normal(size=v.shape)) for v in (new, old)]
call = "grpo_loss with other numbers where the mask is 0"
got = check.answer(grpo_loss, *(torch.tensor(v) for v in changed), torch.tensor(a), torch.tensor(mask), call=call)
check.close(got, slow_grpo(new, old, a, mask), call, rtol=1e-8, why="count what the mask says alone")
got = check.answer(grpo_loss, *(torch.tensor(v) for v in (new, old, 0 * a)), torch.tensor(mask), call="grpo_loss, advantages 0")
check.close(got, 0, "grpo_loss where all advantages are 0", atol=0, why="be exactly 0")
mask[1, 2] = mask[3, 4] = 0
clean = [torch.tensor(v) for v in (new, old, reference)]
covered = torch.tensor(mask)
want = slow_grpo(new, old, a, mask, reference)
want_slope = check.numerical_gradient(lambda v: slow_grpo(v, old, a, mask, reference), new)
for place, name in enumerate(("new", "old", "the reference")):
    for strange in (1000.0, -1000.0, -math.inf, math.nan):
        call = f"grpo_loss with {strange} in {name} where the mask is 0"
        one, two, three = (v.where(covered == 1, strange) if i == place else v for i, v in enumerate(clean))
        with torch.no_grad():
            got = check.array(grpo_loss(one, two, torch.tensor(a), covered, three), call)
        check.close(got, want, call, rtol=1e-8, why="be untouched by what does not count")
        slope = check.gradient_of(lambda v, rest=(two, three): grpo_loss(v, rest[0], torch.tensor(a), covered, rest[1]), one, call=call)[0]
        check.close(slope, want_slope, f"the gradient of {call}", rtol=1e-4, atol=1e-7, why="be untouched by what does not count")
### END HIDDEN TESTS

# %% mutant="grpo_loss" why="the ratio is detached"
# - ratio, a = (new - old.detach()).exp(), advantages.detach()[:, None]
# + ratio, a = (new - old).detach().exp(), advantages.detach()[:, None]

# %% mutant="grpo_loss" why="the ratio upside down"
# - ratio, a = (new - old.detach()).exp(), advantages.detach()[:, None]
# + ratio, a = (old.detach() - new).exp(), advantages.detach()[:, None]

# %% mutant="grpo_loss" why="no clipping"
# - term = torch.min(ratio * a, ratio.clamp(1 - clip, 1 + clip) * a)
# + term = ratio * a

# %% mutant="grpo_loss" why="always the clipped ratio"
# - term = torch.min(ratio * a, ratio.clamp(1 - clip, 1 + clip) * a)
# + term = ratio.clamp(1 - clip, 1 + clip) * a

# %% mutant="grpo_loss" why="clipped above alone"
# - term = torch.min(ratio * a, ratio.clamp(1 - clip, 1 + clip) * a)
# + term = torch.min(ratio * a, ratio.clamp(max=1 + clip) * a)

# %% mutant="grpo_loss" why="clipped below alone"
# - term = torch.min(ratio * a, ratio.clamp(1 - clip, 1 + clip) * a)
# + term = torch.min(ratio * a, ratio.clamp(min=1 - clip) * a)

# %% mutant="grpo_loss" why="the larger of the two"
# - term = torch.min(ratio * a, ratio.clamp(1 - clip, 1 + clip) * a)
# + term = torch.max(ratio * a, ratio.clamp(1 - clip, 1 + clip) * a)

# %% mutant="grpo_loss" why="the minimum of the ratios, then the advantage"
# - term = torch.min(ratio * a, ratio.clamp(1 - clip, 1 + clip) * a)
# + term = torch.min(ratio, ratio.clamp(1 - clip, 1 + clip)) * a

# %% mutant="grpo_loss" why="the mean over all tokens of the batch"
# - return -((term * mask).sum(1) / mask.sum(1)).mean()
# + return -(term * mask).sum() / mask.sum()

# %% mutant="grpo_loss" why="divides by the longest answer"
# - return -((term * mask).sum(1) / mask.sum(1)).mean()
# + return -(term * mask).mean()

# %% mutant="grpo_loss" why="tokens that do not count do"
# - return -((term * mask).sum(1) / mask.sum(1)).mean()
# + return -term.mean()

# %% mutant="grpo_loss" why="the sign"
# - return -((term * mask).sum(1) / mask.sum(1)).mean()
# + return ((term * mask).sum(1) / mask.sum(1)).mean()

# %% mutant="grpo_loss" why="the distance the other way round"
# - away = (reference.detach() - new).masked_fill(hidden, 0)
# + away = (new - reference.detach()).masked_fill(hidden, 0)

# %% mutant="grpo_loss" why="the plain difference for the distance"
# - term = term - beta * (away.exp() - away - 1)
# + term = term + beta * away

# %% mutant="grpo_loss" why="the distance is rewarded"
# - term = term - beta * (away.exp() - away - 1)
# + term = term + beta * (away.exp() - away - 1)

# %% mutant="grpo_loss" why="the reference is trained"
# - away = (reference.detach() - new).masked_fill(hidden, 0)
# + away = (reference - new).masked_fill(hidden, 0)

# %% mutant="grpo_loss" why="the answers' draw is trained"
# - ratio, a = (new - old.detach()).exp(), advantages.detach()[:, None]
# + ratio, a = (new - old).exp(), advantages.detach()[:, None]

# %% mutant="grpo_loss" why="multiplied by the mask at the end alone: infinity times 0"
# - new, old = new.masked_fill(hidden, 0), old.masked_fill(hidden, 0)
# + pass

# %% mutant="grpo_loss" why="the distance at hidden places: NaN times 0"
# - away = (reference.detach() - new).masked_fill(hidden, 0)
# + away = reference.detach() - new

# %% mutant="grpo_loss" why="put aside at the end alone: NaN in the gradient"
# - new, old = new.masked_fill(hidden, 0), old.masked_fill(hidden, 0)
# + pass
# - return -((term * mask).sum(1) / mask.sum(1)).mean()
# + return -(term.masked_fill(hidden, 0).sum(1) / mask.sum(1)).mean()


# %% alternative="grpo_loss" why="by cases, answer by answer"
def grpo_loss(new, old, advantages, mask, reference=None, clip=0.2, beta=0.04):
    losses = []
    for i in range(len(new)):
        keep = mask[i].bool()
        ratio = torch.exp(new[i][keep] - old[i][keep].detach())
        a = float(advantages[i])
        gain = a * (ratio.clamp(max=1 + clip) if a >= 0 else ratio.clamp(min=1 - clip))
        if reference is not None:
            log = reference[i][keep].detach() - new[i][keep]
            gain = gain - beta * (torch.expm1(log) - log)
        losses.append(-gain.mean())
    return torch.stack(losses).mean()


# %% [markdown]
# A warning about tests, ours too. The GRPO test of a well-known course (CS336, [assignment 5](https://github.com/stanford-cs336/assignment5-alignment)) compares losses with stored ones through a helper whose default tolerance is `atol=1e-2` (`tests/conftest.py`). The stored loss is about 0.0044. What else would pass?

# %% [markdown] lang="ru"
# Предостережение о проверках, и о наших тоже. Тест GRPO известного курса (CS336, [задание 5](https://github.com/stanford-cs336/assignment5-alignment)) сравнивает значения функции ошибки с сохранёнными через сравнение, у которого по умолчанию `atol=1e-2` (`tests/conftest.py`). Сохранённое значение — около 0,0044. Что ещё прошло бы?

# %%
stored = 0.0044
for name, answer in {"zero": 0.0, "half of it": stored / 2, "the other sign": -stored, "the right one": stored}.items():
    loose = np.allclose(answer, stored, rtol=1e-4, atol=1e-2)
    strict = np.allclose(answer, stored, rtol=1e-4, atol=1e-8)
    print(f"{name:15} passes with atol=1e-2: {loose!s:5}   with atol=1e-8: {strict}")

# %% [markdown]
# What one token adds to the objective, drawn with your function: for a good answer the curve is flat above $1 + \varepsilon$, nothing more is to be won there; for a bad one it is flat below $1 - \varepsilon$. On the other sides it goes on: mistakes may be undone at any distance.

# %% [markdown] lang="ru"
# Сколько добавляет к цели один токен, нарисовано вашей функцией: для хорошего ответа кривая выше $1 + \varepsilon$ плоская — больше там не выиграть; для плохого она плоская ниже $1 - \varepsilon$. С других сторон она продолжается: промах можно исправить с любого расстояния.

# %%
ratios = np.linspace(0.4, 1.6, 121)
ones = torch.ones(1, 1)


def objective(ratio: float, advantage: float) -> float:
    return -float(grpo_loss(ones * math.log(ratio), 0 * ones, torch.tensor([advantage]), ones))


terms = {
    f"advantage {a:+.0f}": np.array([objective(ratio, a) for ratio in ratios]) for a in (1.0, -1.0)
}
week09.clip_picture(ratios, terms, 0.2)
plots.show(
    "The objective of one token against its ratio of probabilities. With advantage +1 it rises and is flat "
    "beyond the shaded band; with -1 it is flat before the band, and falls from there on."
)

# %% [markdown]
# **The policy.** A transformer of two layers reads the digits of two numbers, the last ones first, and writes three digits of the sum, from its end. It is first taught a little by right answers, until about a third of its drawn answers are right. From then on it sees no right answer any more: it draws eight answers to each question, the program says right or wrong, and your two functions do the rest.

# %% [markdown] lang="ru"
# **Политика.** Трансформер из двух слоёв читает цифры двух чисел, начиная с последних, и пишет три цифры суммы, с конца. Сначала его немного учат на верных ответах, пока верной не станет примерно треть выбранных им ответов. С этого места верных ответов он больше не видит: на каждый вопрос он выбирает восемь ответов, программа говорит, верно или нет, остальное делают две ваши функции.


# %%
class Adder(nn.Module):
    """Digits of a question, and of an answer so far: (n, 4 + k) -> logits of the next ones, (n, k + 1, 10)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.digit, self.place = nn.Embedding(10, width), nn.Parameter(torch.randn(6, width) * 0.1)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
            for _ in range(2)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 10)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        t = ids.shape[1]
        x = self.digit(ids) + self.place[:t]
        future = torch.full((t, t), -torch.inf, device=ids.device).triu(1)
        for layer in self.layers:
            x = layer(x, src_mask=future)
        return self.head(self.norm(x[:, 3:]))


def logprobs(policy: nn.Module, questions: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """Of each digit of the answers: (n, 3)."""
    logits = policy(torch.cat([questions, answers[:, :-1]], 1))
    return logits.log_softmax(-1).gather(-1, answers[..., None])[..., 0]


@torch.no_grad()
def answer(policy: nn.Module, questions: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """Three digits for each question: drawn, or the most probable ones where there is no generator."""
    ids = questions
    for _ in range(3):
        p = policy(ids)[:, -1].softmax(-1)
        nxt = p.argmax(-1, keepdim=True) if generator is None else torch.multinomial(p, 1, generator=generator)
        ids = torch.cat([ids, nxt], 1)
    return ids[:, 4:]


sums = week09.Sums()


def verify(questions: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """The verifier: 1 where the whole answer is right, else 0."""
    return (answers == sums.answers(questions)).all(1).float()


print(sums.text([7, 5, 4, 8], [2, 3, 1]), "is asked as 7 5 4 8 and answered as 2 3 1")


# %% tags=["training"]
def right(policy: nn.Module, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """On sums that nobody learned from: whether drawn answers are right, and the most probable ones."""
    asked = sums.held_out()
    drawn = verify(asked, answer(policy, asked, torch.Generator().manual_seed(seed)))
    return drawn.numpy(), verify(asked, answer(policy, asked, None)).numpy()


def learn_to_add(seed: int) -> dict[str, object]:
    """A policy taught a little, then reinforced: curves, and what it could before and after."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    policy = Adder(settings["width"])
    optimizer = torch.optim.AdamW(policy.parameters(), lr=3e-3)
    for _ in range(settings["warm_up"]):
        questions = sums.draw(128, generator)
        loss = -logprobs(policy, questions, sums.answers(questions)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    before, rewards, useful = right(policy, seed), [], []
    optimizer = torch.optim.AdamW(policy.parameters(), lr=5e-4)
    for _ in range(settings["rl_steps"]):
        questions = sums.draw(settings["prompts"], generator).repeat_interleave(8, 0)
        answers = answer(policy, questions, generator)
        reward = verify(questions, answers).view(-1, 8)
        advantages = group_advantages(reward).flatten()
        rewards.append(float(reward.mean()))
        some = advantages != 0  # unanimous groups teach nothing
        useful.append(float(some.view(-1, 8).any(1).float().mean()))
        if not some.any():
            continue
        questions, answers, advantages = questions[some], answers[some], advantages[some]
        with torch.no_grad():
            old = logprobs(policy, questions, answers)
        for _ in range(2):
            loss = grpo_loss(logprobs(policy, questions, answers), old, advantages, torch.ones_like(old))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return {"before": before, "after": right(policy, seed), "rewards": rewards, "useful": useful, "policy": policy}


@cache
def reinforced() -> dict[int, dict[str, object]]:
    return {seed: learn_to_add(seed) for seed in range(settings["seeds"])}


begun = time.process_time()
runs = reinforced()
for seed, run in runs.items():
    (drawn, most), (drawn_after, most_after) = run["before"], run["after"]
    print(f"seed {seed}: drawn {drawn.mean():.2f} -> {drawn_after.mean():.2f}, "
          f"most probable {most.mean():.2f} -> {most_after.mean():.2f} right of {len(drawn)} held-out sums")
print(f"{sum(p.numel() for p in runs[0]['policy'].parameters()):,} numbers; {time.process_time() - begun:.0f} CPU seconds")
week09.reward_picture({s: r["rewards"] for s, r in runs.items()}, {s: r["useful"] for s, r in runs.items()})
plots.show(
    "Left: the mean reward by step of each seed, which rises steadily by a third or more in all of them. Right: "
    "the share of groups that are not unanimous, which falls as the policy gets better."
)

# %% [markdown]
# Two honest remarks. The most probable answer was right far more often than the drawn ones from the start: a good part of the gain is that the policy has become *surer* of what it knew. And the right panel shows why such training slows down: where all eight answers are right, there is nothing to compare.

# %% [markdown] lang="ru"
# Два честных замечания. Самый вероятный ответ с самого начала бывал верен куда чаще выбранных случайно: заметная часть выигрыша в том, что политика стала *увереннее* в том, что уже знала. А правый график показывает, почему такое обучение замедляется: где верны все восемь ответов, сравнивать нечего.

# %% [markdown]
# ## 8. What it costs
# Training needs memory for four things: the weights, a gradient for each trained number, the optimiser's states (AdamW keeps two moments for each), and the activations that wait for the backward pass. The first three are counted from the model alone, in bytes:
#
# - `weights`: all parameters; one that stands in two places (as tied embeddings do) counts once, two that are merely equal count twice;
# - `gradients`: those of all that is trained, in its own dtype, whether they are there yet or not;
# - `states`: `moments` numbers for each trained one, in its dtype.
#
# {{task:training_memory}}

# %% [markdown] lang="ru"
# ## 8. Сколько это стоит
# Память при обучении нужна для четырёх вещей: весов, градиента каждого обучаемого числа, состояний оптимизатора (AdamW хранит по два момента) и активаций, которые ждут обратного прохода. Первые три считаются по одной модели, в байтах:
#
# - `weights`: все параметры; стоящий в двух местах (как общие эмбеддинги) считается один раз, два просто равных — дважды;
# - `gradients`: градиенты всего обучаемого, в его собственном типе, есть они уже или ещё нет;
# - `states`: по `moments` чисел на каждое обучаемое, в его типе.
#
# {{task:training_memory}}


# %% solution="training_memory"
def training_memory(model: nn.Module, moments: int = 2) -> dict[str, int]:
    """Bytes of "weights", "gradients" and "states", whole numbers.

    training_memory(nn.Linear(3, 2)) -> {"weights": 32, "gradients": 32, "states": 64}
    """
    ### BEGIN SOLUTION
    sizes = [(p.numel() * p.element_size(), p.requires_grad) for p in model.parameters()]
    trained = sum(size for size, trains in sizes if trains)
    return {"weights": sum(size for size, _ in sizes), "gradients": trained, "states": moments * trained}
    ### END SOLUTION


# %% test="training_memory" points=0.25 difficulty=1 minutes=10
check.equal(
    check.answer(training_memory, nn.Linear(3, 2), call="training_memory(nn.Linear(3, 2))"),
    {"weights": 32, "gradients": 32, "states": 64},
    "training_memory(nn.Linear(3, 2))",
)
### BEGIN HIDDEN TESTS
rng = check.rng("training_memory")


def measured(network, kind, **options):
    """The bytes that are there after one step."""
    optimizer = kind(network.parameters(), lr=0.1, **options)
    for p in network.parameters():
        if p.requires_grad:
            p.grad = torch.ones_like(p)
    optimizer.step()
    states = [v for state in optimizer.state.values() for v in state.values()]
    found = {
        "weights": sum(p.nbytes for p in {id(p): p for p in network.parameters()}.values()),
        "gradients": sum(p.grad.nbytes for p in network.parameters() if p.grad is not None),
        "states": sum(v.nbytes for v in states if isinstance(v, torch.Tensor) and v.ndim),
    }
    for p in network.parameters():
        p.grad = None
    return found


def bottle(a, b, c):
    return nn.Sequential(nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU(), nn.Linear(b, c, bias=False))


def frozen(network):
    network[0].requires_grad_(False)
    return network


def tied(network):
    network.append(nn.Linear(network[3].out_features, network[3].in_features))
    network.append(nn.Linear(network[3].in_features, network[3].out_features, bias=False))
    network[5].weight = network[3].weight
    return network


def mixed(network):
    network[3].to(torch.bfloat16)
    network[0].double()
    return network


for change, why in [
    (lambda n: n, "count all parameters, and no buffers"),
    (frozen, "count gradients and states of what is trained alone"),
    (tied, "count a parameter that stands twice once"),
    (mixed, "take each parameter's own dtype"),
    (lambda n: frozen(tied(mixed(n))), "do all of this together"),
    (lambda n: n.requires_grad_(False), "need neither gradients nor states where all is frozen"),
]:
    network = change(bottle(*(int(v) for v in rng.choice(np.arange(2, 30), size=3, replace=False))))
    copied = copy.deepcopy(network)
    for options, kind, more in (({}, torch.optim.AdamW, {}), ({"moments": 1}, torch.optim.SGD, {"momentum": 0.9}),
                                ({"moments": 0}, torch.optim.SGD, {})):
        want = measured(copied, kind, **more) if any(p.requires_grad for p in network.parameters()) else {
            "weights": sum(p.nbytes for p in network.parameters()), "gradients": 0, "states": 0}
        call = f"training_memory of a network, {options}"
        got = check.answer(training_memory, network, call=call, **options)
        check.equal(got, want, call, why="count as many states for each trained number as moments says" if options else why)
        check.equal({check.kind_of(v) for v in got.values()}, {"int"}, f"the kinds of numbers of {call}", why="be whole numbers")
check.that(all(p.grad is None for p in network.parameters()), "count, and leave the model as it was")
alike = nn.Sequential(nn.LayerNorm(5), nn.LayerNorm(5))
call = "training_memory of two equal layers"
check.equal(check.answer(training_memory, alike, call=call), {"weights": 80, "gradients": 80, "states": 160}, call,
            why="count equal parameters apart where they are not one and the same")
alike[0].weight.grad = torch.ones(5)
call = "training_memory where one gradient is there already"
check.equal(check.answer(training_memory, alike, call=call), {"weights": 80, "gradients": 80, "states": 160}, call,
            why="go by what is trained, not by what is there")
### END HIDDEN TESTS

# %% mutant="training_memory" why="always four bytes"
# - sizes = [(p.numel() * p.element_size(), p.requires_grad) for p in model.parameters()]
# + sizes = [(p.numel() * 4, p.requires_grad) for p in model.parameters()]

# %% mutant="training_memory" why="numbers, not bytes"
# - sizes = [(p.numel() * p.element_size(), p.requires_grad) for p in model.parameters()]
# + sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]

# %% mutant="training_memory" why="frozen weights have gradients"
# - trained = sum(size for size, trains in sizes if trains)
# + trained = sum(size for size, _ in sizes)

# %% mutant="training_memory" why="weights without the frozen ones"
# - return {"weights": sum(size for size, _ in sizes), "gradients": trained, "states": moments * trained}
# + return {"weights": trained, "gradients": trained, "states": moments * trained}

# %% mutant="training_memory" why="states for all weights"
# - return {"weights": sum(size for size, _ in sizes), "gradients": trained, "states": moments * trained}
# + whole = sum(size for size, _ in sizes)
# + return {"weights": whole, "gradients": trained, "states": moments * whole}

# %% mutant="training_memory" why="one moment"
# - return {"weights": sum(size for size, _ in sizes), "gradients": trained, "states": moments * trained}
# + return {"weights": sum(size for size, _ in sizes), "gradients": trained, "states": trained}

# %% mutant="training_memory" why="always two moments"
# - return {"weights": sum(size for size, _ in sizes), "gradients": trained, "states": moments * trained}
# + return {"weights": sum(size for size, _ in sizes), "gradients": trained, "states": 2 * trained}

# %% mutant="training_memory" why="tied weights twice"
# - sizes = [(p.numel() * p.element_size(), p.requires_grad) for p in model.parameters()]
# + sizes = [(p.nbytes, p.requires_grad) for _, p in model.named_parameters(remove_duplicate=False)]

# %% mutant="training_memory" why="buffers, too"
# - return {"weights": sum(size for size, _ in sizes), "gradients": trained, "states": moments * trained}
# + buffers = sum(b.nbytes for b in model.buffers())
# + return {"weights": buffers + sum(size for size, _ in sizes), "gradients": trained, "states": moments * trained}

# %% mutant="training_memory" why="states in float32, whatever the dtype"
# - return {"weights": sum(size for size, _ in sizes), "gradients": trained, "states": moments * trained}
# + numbers = sum(p.numel() for p in model.parameters() if p.requires_grad)
# + return {"weights": sum(size for size, _ in sizes), "gradients": trained, "states": 4 * moments * numbers}

# %% mutant="training_memory" why="equal ones count once"
# - sizes = [(p.numel() * p.element_size(), p.requires_grad) for p in model.parameters()]
# + sizes = [(p.nbytes, p.requires_grad) for p in {tuple(p.flatten().tolist()): p for p in model.parameters()}.values()]

# %% mutant="training_memory" why="gradients that are there"
# - trained = sum(size for size, trains in sizes if trains)
# + trained = sum(size for size, trains in sizes if trains)
# + trained = sum(p.grad.nbytes for p in model.parameters() if p.grad is not None) or trained


# %% alternative="training_memory" why="by identity"
def training_memory(model, moments=2):
    made = {"weights": 0, "gradients": 0, "states": 0}
    for p in {id(p): p for m in model.modules() for p in m.parameters(recurse=False)}.values():
        made["weights"] += p.nbytes
        if p.requires_grad:
            made["gradients"] += p.nbytes
            made["states"] += moments * p.nbytes
    return made


# %% [markdown]
# **Activations** can't be read off the weights: what waits for the backward pass depends on the operations. Torch will tell: inside `torch.autograd.graph.saved_tensors_hooks(pack, unpack)` each tensor that is saved goes through `pack`. Count the bytes of their storages:
#
# - a storage that is saved several times, by whatever views, counts once and whole (`untyped_storage()` has `data_ptr()` and `nbytes()`);
# - the storages of the model's parameters, trained or frozen, do not count: they are there anyway; all else that is saved does, indices and buffers too;
# - all that the function has saved counts, even what it throws away before its end; so hold what you have seen until you have counted, or a freed storage's place is given to the next one.
#
# Call the function once, inside; its answer has to stay fit for `backward`, and the model in its mode.
#
# {{task:activation_bytes}}

# %% [markdown] lang="ru"
# **Активации** по весам не посчитать: что ждёт обратного прохода, зависит от операций. Torch расскажет сам: внутри `torch.autograd.graph.saved_tensors_hooks(pack, unpack)` каждый сохраняемый тензор проходит через `pack`. Посчитайте байты их хранилищ:
#
# - хранилище, сохранённое несколько раз, какими бы ни были виды на него, считается один раз и целиком (у `untyped_storage()` есть `data_ptr()` и `nbytes()`);
# - хранилища параметров модели, обучаемых и замороженных, не считаются: они есть и так; всё остальное сохранённое считается, индексы и буферы тоже;
# - считается всё, что функция сохранила, даже то, что она успела выбросить; поэтому держите увиденное, пока не посчитали, иначе место освобождённого хранилища достанется следующему.
#
# Вызовите функцию один раз, внутри; её ответ должен остаться пригодным для `backward`, а модель — в своём режиме.
#
# {{task:activation_bytes}}


# %% solution="activation_bytes"
def activation_bytes(function: Callable[[], torch.Tensor], model: nn.Module) -> int:
    """The bytes that function(), a forward pass of the model, keeps for the backward pass."""
    ### BEGIN SOLUTION
    kept: list[torch.Tensor] = []

    def pack(x: torch.Tensor) -> torch.Tensor:
        kept.append(x)
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        result = function()
    kept.append(result)
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    storages = [x.untyped_storage() for x in kept[:-1]]
    return sum({s.data_ptr(): s.nbytes() for s in storages if s.data_ptr() not in own}.values())
    ### END SOLUTION


# %% test="activation_bytes" points=0.25 difficulty=3 minutes=20
two_layers = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
found_bytes = check.answer(activation_bytes, lambda: two_layers(torch.ones(4, 5)), two_layers, call="activation_bytes")
check.equal(found_bytes, 4 * 4 * (5 + 7), "activation_bytes of Linear(5, 7), ReLU, Linear(7, 3) on (4, 5)",
            why="count the input and what ReLU gave, four bytes a number")
### BEGIN HIDDEN TESTS
rng = check.rng("activation_bytes")
a, b, c, n = (int(v) for v in rng.choice(np.arange(3, 25), size=4, replace=False))


def chain(dtype=torch.float32):
    return nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Linear(b, c)).to(dtype)


class Held(nn.Module):
    """A weight of a student's model, used in some way."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(rng.normal(size=(a, b))))


class Moody(nn.Module):
    """Saves a tensor while it trains, and none at rest; a buffer is saved always."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(a, b)
        self.register_buffer("scale", torch.rand(b))

    def forward(self, x):
        h = self.linear(x) * self.scale
        return h.exp() if self.training else h


plain, half, upper, doubled, held = chain(), chain(), chain(), chain(torch.float64), Held()
half[0].requires_grad_(False)
upper[2].requires_grad_(False)
moody, rest, embed = Moody(), Moody().eval(), nn.Embedding(10, c)
x, long, ids = torch.randn(n, a), torch.randn(n + 5, a, dtype=torch.float64), torch.arange(n) % 10


def wasteful():
    """Twenty forward passes that are dropped, and one that is not."""
    for _ in range(20):
        plain[0](torch.ones(64, a)).sin().sum()
    return plain[0](torch.ones(64, a)).sin().sum()


cases = [
    ("two layers and a ReLU", lambda: plain(x), plain, 4 * n * (a + b), "count inputs and hidden values, not the weights"),
    ("the same in float64", lambda: doubled(x.double()), doubled, 8 * n * (a + b), "count bytes"),
    ("a frozen layer, then a trained one", lambda: half(x), half, 4 * n * b,
     "count what is saved: a frozen first layer needs no input"),
    ("a trained layer, then a frozen one", lambda: upper(x), upper, 4 * n * (a + b), "leave out frozen parameters, too"),
    ("h * h for h = exp(x W)", lambda: (lambda y: y * y)((x.double() @ held.w).exp()), held, 8 * n * (a + b),
     "count a storage once"),
    ("h * h.T.T for h = exp(x W)", lambda: (lambda y: y * y.T.T)((x.double() @ held.w).exp()), held, 8 * n * (a + b),
     "count a storage once, also in another view"),
    ("h[1:] * h[:-1] for h = exp(x W)", lambda: (lambda y: y[1:] * y[:-1])((x.double() @ held.w).exp()), held,
     8 * n * (a + b), "count a storage once, also in a view that begins elsewhere"),
    ("the first two rows of a longer tensor, times W", lambda: long[:2] @ held.w, held, 8 * (n + 5) * a,
     "count a storage whole, of which a part is used"),
    ("views of W, and exp(W)", lambda: (held.w.T * 1.0).sum() + (held.w[1:] ** 2).sum() + held.w.exp().sum(), held, 8 * a * b,
     "leave out the parameters' storages, also in other views"),
    ("two calls of the model", lambda: plain(x) * 0 + plain(2 * x), plain, 4 * (2 * n * (a + b)),
     "count what all parts of the function save"),
    ("an embedding", lambda: embed(ids), embed, 8 * n, "count whole numbers that are saved, such as indices"),
    ("a model in training mode, with a buffer", lambda: moody(x), moody, 4 * (n * (a + b) + b),
     "leave the model in its mode, and count a buffer that is saved"),
    ("a model in eval mode, with a buffer", lambda: rest(x), rest, 4 * (n * a + b),
     "leave the model in its mode, and count a buffer that is saved"),
    ("twenty passes that are dropped, and one more", wasteful, plain, 21 * 4 * 64 * (a + b),
     "hold what was saved until all is counted"),
    ("a function without a trained number", lambda: x.sum(), plain, 0, "count nothing where nothing is trained"),
]
for name, function, network, want, why in cases:
    called = []

    def once(function=function, called=called):
        called.append(1)
        return function()

    call = f"activation_bytes of {name}"
    got = check.answer(activation_bytes, once, network, call=call)
    check.equal(got, want, call, why=why)
    check.equal(len(called), 1, f"calls of the function by {call}", why="call the function once")
    check.equal(type(got).__name__, "int", f"the type of {call}", why="be a whole number")
check.equal((moody.training, rest.training), (True, False), "the modes of two models after activation_bytes",
            why="leave the model in its mode")
deep = nn.Sequential(*(layer for _ in range(6) for layer in (nn.Linear(c, c), nn.Tanh())))
call = "activation_bytes of six layers"
check.equal(check.answer(activation_bytes, lambda: deep(torch.ones(n, c)), deep, call=call), 4 * n * c * 7, call,
            why="count each layer's values")
results = []
check.answer(activation_bytes, lambda: results.append(plain(x).sum()) or results[-1], plain, call="activation_bytes")
results[0].backward()
right_slope = torch.autograd.grad(plain(x).sum(), plain[0].weight)[0]
check.close(plain[0].weight.grad, right_slope, "the gradient after activation_bytes", rtol=1e-5, why="leave the answer fit for backward")
with torch.no_grad():
    call = "activation_bytes without gradients"
    check.equal(check.answer(activation_bytes, lambda: plain(x), plain, call=call), 0, call, why="be 0 where nothing is saved")
### END HIDDEN TESTS

# %% mutant="activation_bytes" why="the parameters, too"
# - return sum({s.data_ptr(): s.nbytes() for s in storages if s.data_ptr() not in own}.values())
# + return sum({s.data_ptr(): s.nbytes() for s in storages}.values())

# %% mutant="activation_bytes" why="a storage as often as it is saved"
# - return sum({s.data_ptr(): s.nbytes() for s in storages if s.data_ptr() not in own}.values())
# + return sum(s.nbytes() for s in storages if s.data_ptr() not in own)

# %% mutant="activation_bytes" why="by the tensor, not by its storage"
# - return sum({s.data_ptr(): s.nbytes() for s in storages if s.data_ptr() not in own}.values())
# + return sum({id(x): x.nbytes for x in kept[:-1] if x.untyped_storage().data_ptr() not in own}.values())

# %% mutant="activation_bytes" why="the view's bytes"
# - return sum({s.data_ptr(): s.nbytes() for s in storages if s.data_ptr() not in own}.values())
# + return sum({x.untyped_storage().data_ptr(): x.nbytes for x in kept[:-1] if x.untyped_storage().data_ptr() not in own}.values())

# %% mutant="activation_bytes" why="parameters are known by identity: views of them count"
# - own = {p.untyped_storage().data_ptr() for p in model.parameters()}
# + kept = [x for x in kept if not any(x is p for p in model.parameters())]
# + own = set()

# %% mutant="activation_bytes" why="numbers, not bytes"
# - return sum({s.data_ptr(): s.nbytes() for s in storages if s.data_ptr() not in own}.values())
# + return sum({s.data_ptr(): s.nbytes() // 4 for s in storages if s.data_ptr() not in own}.values())

# %% mutant="activation_bytes" why="the answer, too"
# - storages = [x.untyped_storage() for x in kept[:-1]]
# + storages = [x.untyped_storage() for x in kept]

# %% mutant="activation_bytes" why="what is trained, not all parameters, is left out"
# - own = {p.untyped_storage().data_ptr() for p in model.parameters()}
# + own = {p.untyped_storage().data_ptr() for p in model.parameters() if not p.requires_grad}

# %% mutant="activation_bytes" why="saves zeros"
# - return x
# + return torch.zeros_like(x)

# %% mutant="activation_bytes" why="calls the function twice"
# - result = function()
# + result = function() if function() is not None else None

# %% mutant="activation_bytes" why="frozen parameters count"
# - own = {p.untyped_storage().data_ptr() for p in model.parameters()}
# + own = {p.untyped_storage().data_ptr() for p in model.parameters() if p.requires_grad}

# %% mutant="activation_bytes" why="nothing is held"
# - kept: list[torch.Tensor] = []
# + kept: list[torch.Tensor] = []
# + seen = {}
# - kept.append(x)
# + seen[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
# - storages = [x.untyped_storage() for x in kept[:-1]]
# - return sum({s.data_ptr(): s.nbytes() for s in storages if s.data_ptr() not in own}.values())
# + return sum(size for at, size in seen.items() if at not in own)

# %% mutant="activation_bytes" why="told apart by where a view begins"
# - return sum({s.data_ptr(): s.nbytes() for s in storages if s.data_ptr() not in own}.values())
# + return sum({x.data_ptr(): s.nbytes() for x, s in zip(kept, storages) if s.data_ptr() not in own}.values())

# %% mutant="activation_bytes" why="in eval mode"
# - result = function()
# + result = (model.eval(), function())[1]

# %% mutant="activation_bytes" why="indices do not count"
# - storages = [x.untyped_storage() for x in kept[:-1]]
# + storages = [x.untyped_storage() for x in kept[:-1] if x.is_floating_point()]

# %% mutant="activation_bytes" why="buffers do not count"
# - own = {p.untyped_storage().data_ptr() for p in model.parameters()}
# + own = {p.untyped_storage().data_ptr() for p in [*model.parameters(), *model.buffers()]}


# %% alternative="activation_bytes" why="storages in a table, as they come"
def activation_bytes(function, model):
    table = {}

    def pack(x):
        storage = x.untyped_storage()
        table[storage.data_ptr()] = (storage.nbytes(), x)
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        made = function()
    for p in model.parameters():
        table.pop(p.untyped_storage().data_ptr(), None)
    total = sum(size for size, _ in table.values())
    del made
    return total


# %% [markdown]
# The bill of the real model: a batch of four conversations and AdamW, for three ways to train. Before the picture, a comparison: the states that your count foretold for LoRA, and those that AdamW keeps after a step. Look at the last part of the bars: freezing takes away gradients and states, but the activations of all that lies between a trained number and the loss have to stay. Of the two thrifty ways the prompt trains fewer numbers and yet keeps more activations: it stands below all layers, our LoRA in the upper half alone.

# %% [markdown] lang="ru"
# Счёт настоящей модели: батч из четырёх диалогов и AdamW, три способа обучения. Перед рисунком сверка: состояния, которые предсказал для LoRA ваш подсчёт, и те, что AdamW хранит после шага. Посмотрите на последнюю часть полос: заморозка убирает градиенты и состояния, но активации всего, что лежит между обучаемым числом и ошибкой, должны оставаться. Из двух экономных способов подсказка обучает меньше чисел, а активаций держит больше: она стоит под всеми слоями, а наша LoRA — только в верхней половине.

# %% tags=["training"]
def bill(prompt: torch.Tensor) -> dict[str, int]:
    """Bytes of all four parts, for a batch of four and the model as it is trained now."""
    whole = training_memory(model)
    if prompt.requires_grad:
        own = training_memory(nn.ParameterList([prompt]))
        whole = {part: whole[part] + own[part] for part in whole}
    rows = conversations(reviews.x_train, reviews.y_train, 4)
    return whole | {"activations": activation_bytes(lambda: answer_loss(*ask(rows, prompt)), model)}


lora_tuned()
adapters = [module for module in model.modules() if isinstance(module, LoRALinear)]
model.requires_grad_(False)
for adapter in adapters:
    adapter.unmerge()
    adapter.A.requires_grad_(True)
    adapter.B.requires_grad_(True)
counted = bill(nothing)
adam = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.0)
answer_loss(*ask(conversations(reviews.x_train, reviews.y_train, 4), nothing)).backward()
adam.step()
there = {
    "gradients": sum(p.grad.nbytes for p in model.parameters() if p.grad is not None),
    "states": sum(v.nbytes for state in adam.state.values() for v in state.values() if v.ndim),
}
for part, size in there.items():
    print(f"{part:10} counted {counted[part]:>10,}, measured {size:>10,} bytes")
model.zero_grad(set_to_none=True)
del adam

table = {f"LoRA, layers from {settings['first_layer']}": counted}
model.requires_grad_(False)
table["prompt of 8"] = bill(prompt)
model.requires_grad_(True)
for adapter in adapters:
    adapter.A.requires_grad_(False)
    adapter.B.requires_grad_(False)
table["everything"] = bill(nothing)
model.requires_grad_(False)
for name, parts in table.items():
    print(f"{name:22}" + "".join(f"{part} {size / 2**20:8.1f} MiB  " for part, size in parts.items()))
week09.memory_picture(table)
plots.show(
    "Stacked bars of mebibytes. Training everything needs about four times the weights, and activations. "
    "LoRA and a prompt leave the weights and activations; gradients and states are too thin to be seen."
)

# %% [markdown]
# ## 9. What each has gained
# The last table: each method against its own start, on questions that it never learned from, with paired 95 % intervals. GRPO's rows pool the seeds. Grey is what shows no gain.

# %% [markdown] lang="ru"
# ## 9. Кто сколько выиграл
# Последняя таблица: каждый метод против собственного начала, на вопросах, на которых он не учился, с парными 95-процентными интервалами. В строках GRPO все запуски вместе. Серым — то, где выигрыш не показан.

# %% tags=["training"]
def of_seeds(part: int) -> tuple[np.ndarray, np.ndarray]:
    """The same sums for each seed: whether they are right, as a mean over the seeds."""
    runs = reinforced().values()
    before, after = (np.mean([run[when][part] for run in runs], axis=0) for when in ("before", "after"))
    return before, after


methods = {
    "prompt tuning: obeys": lambda: (as_it_is()[0], prompt_tuned()[1][0]),
    "prompt tuning: knows": lambda: (as_it_is()[1], prompt_tuned()[1][1]),
    "LoRA: obeys": lambda: (as_it_is()[0], lora_tuned()[1][0]),
    "LoRA: knows": lambda: (as_it_is()[1], lora_tuned()[1][1]),
    "GRPO: drawn answers": lambda: of_seeds(0),
    "GRPO: most probable answer": lambda: of_seeds(1),
}
gains = {}
for name, measure in methods.items():
    try:
        gains[name] = report(name, *measure())
    except NotImplementedError as task:
        print(f"{name:28}waits for your {task}")
week09.gains_picture(gains)
plots.show(
    "Gains in the share of right answers with intervals. Prompt tuning and LoRA gain most in obeying, less or "
    "nothing in knowing; reinforcement gains most in drawn answers, less in the most probable one."
)
