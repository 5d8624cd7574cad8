# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Guess the next character
# A language model does one thing: it says how probable each next token is. That is enough to write text, to compress it, and to tell authors apart. You write the oldest model that still works, counts with a clever way to share out probability, and then the cells of recurrent networks, which replaced it. Both are measured with one ruler, bits per byte, on the same text. The winner may surprise you. At the end six authors are read by six models, and the models say who is who.

# %% [markdown] lang="ru"
# # Угадай следующий символ
# Языковая модель делает одно: говорит, насколько вероятен каждый следующий токен. Этого хватает, чтобы писать тексты, сжимать их и различать авторов. Вы напишете самую старую модель, которая всё ещё работает, — счётчики с умным дележом вероятности, — а потом ячейки рекуррентных сетей, которые её сменили. Измерим тех и других одной линейкой, битами на байт, на одном и том же тексте. Победитель может вас удивить. В конце шесть моделей прочитают шестерых писателей и скажут, кто есть кто.

# %% tags=["parameters"]
profile = "small"

# %%
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from practical_dl import check, data, plots, seed_everything
from practical_dl.weeks import week07

seed_everything(0)
device = "cuda" if torch.cuda.is_available() else "cpu"
settings = {
    "small": {"train": 1_000_000, "test": 20_000, "order": 5, "seconds": 7, "width": 128, "author": 200_000},
    "full": {"train": 1_000_000, "test": 100_000, "order": 6, "seconds": 240, "width": 512, "author": 350_000},
}[profile]

# %% [markdown]
# **Rules.** Fill the cells that raise `NotImplementedError`, run the check below each, look at *your* result. The checks that you see are public ones: a good sign, not a promise. Eight tasks, 3 points together; each can be solved without the others. Functions leave their arguments as they were. The text is a million characters of Shakespeare, and a token is a character; nothing below depends on that.

# %% [markdown] lang="ru"
# **Правила.** Заполните ячейки с `NotImplementedError`, запустите проверку под каждой и посмотрите на *свой* результат. Видимые проверки — открытые: пройти их — хороший знак, но не гарантия. Заданий восемь, вместе 3 балла; каждое можно решить без остальных. Функции не меняют своих аргументов. Текст — миллион символов Шекспира, токен — символ; но дальше от этого ничего не зависит.

# %%
text = data.load("shakespeare", profile).text
alphabet = sorted(set(text))
number = {character: i for i, character in enumerate(alphabet)}


def encode(text: str) -> list[int]:
    """The number of each character."""
    return [number[character] for character in text]


train_text, test_text = text[: settings["train"]], text[-settings["test"] :]
train_ids, test_ids = encode(train_text), encode(test_text)
print(f"{len(alphabet)} characters; {len(train_ids)} to learn from, {len(test_ids)} to be judged by")

# %% [markdown]
# ## 1. Counting
# The probability of a text is that of its first token, times that of the second given the first, and so on. An **n-gram** model (a [Markov chain](glossary:markov-chain)) looks back at the last $n - 1$ tokens only, the context $h$, and counts:
#
# $$p(w \mid h) = \frac{c(h w) + k}{c(h) + k V}.$$
#
# $c(hw)$ is how often token $w$ followed $h$, $c(h) = \sum_w c(hw)$, and $V$ is the size of the vocabulary. Without the $k$ a single pair that was never seen would make the whole text impossible. Before the first token of a sequence stand $n - 1$ start marks: a sign of their own that is no token of the vocabulary, is part of contexts, and is never predicted. So the first tokens have a context, too.
#
# {{task:add_k}}

# %% [markdown] lang="ru"
# ## 1. Считать
# Вероятность текста — это вероятность первого токена, умноженная на вероятность второго при известном первом, и так далее. **n-граммная** модель ([цепь Маркова](glossary:markov-chain)) оглядывается только на последние $n - 1$ токенов — контекст $h$ — и считает:
#
# $$p(w \mid h) = \frac{c(h w) + k}{c(h) + k V}.$$
#
# $c(hw)$ — сколько раз токен $w$ шёл за $h$, $c(h) = \sum_w c(hw)$, $V$ — размер словаря. Без $k$ одна-единственная невиданная пара сделала бы невозможным весь текст. Перед первым токеном последовательности стоят $n - 1$ начальных меток: это особый знак, который не входит в словарь, бывает в контекстах и никогда не предсказывается. Так контекст есть и у первых токенов.
#
# {{task:add_k}}


# %% solution="add_k"
class AddK:
    """An n-gram model with k added to each count.

    sequences: of tokens from 0 to vocab - 1. n >= 1. k > 0.
    """

    def __init__(
        self, sequences: Sequence[Sequence[int]], n: int, vocab: int, k: float = 1.0
    ) -> None:
        ### BEGIN SOLUTION
        self.n, self.vocab, self.k = n, vocab, k
        self.counts = defaultdict(Counter)
        for sequence in sequences:
            marked = [-1] * (n - 1) + list(sequence)
            for i in range(n - 1, len(marked)):
                self.counts[tuple(marked[i - n + 1 : i])][marked[i]] += 1
        ### END SOLUTION

    def probabilities(self, context: Sequence[int]) -> np.ndarray:
        """Of each next token after all tokens so far, of which the last n - 1 count -> (vocab,).

        context: from the beginning of a sequence on, so it may be shorter than n - 1, or empty.
        """
        ### BEGIN SOLUTION
        marked = [-1] * (self.n - 1) + list(context)
        seen = self.counts.get(tuple(marked[len(marked) - self.n + 1 :]), Counter())
        counts = np.array([seen[w] for w in range(self.vocab)], dtype=float)
        return (counts + self.k) / (counts.sum() + self.k * self.vocab)
        ### END SOLUTION


# %% test="add_k" points=0.25 difficulty=2 minutes=15
model, made = AddK([[0, 1, 0, 2], [0, 1]], 2, 3, k=0.5), "AddK([[0, 1, 0, 2], [0, 1]], 2, 3, k=0.5)"
for context, want in [([0], [0.5 / 4.5, 2.5 / 4.5, 1.5 / 4.5]), ([], [2.5 / 3.5, 0.5 / 3.5, 0.5 / 3.5])]:
    call = f"{made}.probabilities({context})"
    check.close(check.answer(model.probabilities, context, call=call), want, call, why="follow the formula")
### BEGIN HIDDEN TESTS
rng = check.rng("add_k")


def by_counting(sequences, n, vocab, k, context):
    """Count each time anew, in the most obvious way."""
    start = ["start"] * (n - 1)
    h = (start + list(context))[len(context) :]
    follows = [0] * vocab
    for sequence in sequences:
        marked = start + list(sequence)
        for i in range(len(marked) - n + 1):
            if marked[i : i + n - 1] == h:
                follows[marked[i + n - 1]] += 1
    return (np.array(follows) + k) / (sum(follows) + k * vocab)


def judge_add_k(sequences, n, vocab, contexts, why, **options):
    call = f"AddK(sequences, {n}, {vocab}{''.join(f', {o}={v}' for o, v in options.items())})"
    model = AddK(sequences, n, vocab, **options)
    for context in contexts:
        want = by_counting(sequences, n, vocab, options.get("k", 1.0), context)
        said = f"{call}.probabilities({context})"
        found = check.answer(model.probabilities, context, call=said)
        check.close(found, want, said, rtol=1e-7, why=why)


corpus = [rng.integers(0, 4, size=m).tolist() for m in (9, 1, 14, 2)]
judge_add_k(corpus, 2, 4, [[0], [1], [2], [3]], "follow the formula", k=0.3)
judge_add_k(corpus, 1, 4, [[], [2], [1, 3]], "look at no context for n = 1", k=0.3)
judge_add_k([[0, 1], [0, 1], [0, 0], [0, 1]], 2, 2, [[0], []], "count equal sequences each time", k=0.3)
judge_add_k(corpus, 2, 4, [[3, 1, 2], [0, 0, 0, 1]], "look at the last n - 1 tokens alone", k=0.3)
judge_add_k(corpus, 3, 4, [[0, 1], [1, 0], [2, 2, 1]], "keep the order of a context", k=0.3)
judge_add_k(corpus, 3, 4, [[], [0], [1], [2], [3]], "put n - 1 start marks before a sequence", k=0.3)
judge_add_k(corpus, 4, 4, [[], [2], [1, 1], [3, 3, 3]], "put n - 1 start marks before a sequence", k=2)
judge_add_k(corpus, 3, 6, [[5, 5], [4, 0]], "be even where a context was never seen", k=0.3)
judge_add_k(corpus, 2, 7, [[1], [6]], "share out to words that were never seen", k=0.01)
judge_add_k(corpus, 2, 4, [[1], []], "add 1 where no k is given")
judge_add_k([[3, 3, 3, 3]], 2, 4, [[3], []], "count the last token of a sequence", k=0.5)
judge_add_k([[1, 11, 5], [11, 1, 6]], 3, 12, [[1, 11], [11, 1]], "tell tokens of several digits apart", k=0.3)
judge_add_k([[0, 1], [256, 2], [70000, 3]], 2, 70001, [[0], [256], [70000]], "bear a large vocabulary", k=0.3)
judge_add_k([[1, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]], 5, 3, [[1, 0, 0, 0], [2, 0, 0, 0]], "look back n - 1 tokens for larger n", k=0.3)
judge_add_k([[1, 0, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 0, 1]], 7, 3, [[1, 0, 0, 0, 0, 0]], "look back n - 1 tokens for larger n", k=0.3)
judge_add_k([rng.integers(0, 4, size=3000).tolist()], 2, 4, [[1], [2]], "count all of a long sequence", k=0.3)
judge_add_k([[], [1]], 2, 2, [[], [1]], "bear an empty sequence", k=0.5)
judge_add_k([], 2, 3, [[], [1]], "be even where nothing was seen", k=0.5)
one, other = AddK([[0, 0, 0, 1]], 2, 2, k=0.1), AddK([[1, 1, 2]], 3, 3, k=7.0)
call = "AddK(…).probabilities, where a second model was made, of other sequences and options"
want = by_counting([[0, 0, 0, 1]], 2, 2, 0.1, [0])
first = check.answer(one.probabilities, [0], call=call)
check.close(first, want, call, why="keep its own counts and options")
one.probabilities([1]), one.probabilities([7, 7])
check.close(check.answer(one.probabilities, [0], call=call), want, call, why="be the same when asked again")
arrays = [np.array([0, 1, 1]), np.array([1, 0])]
call = "AddK of arrays, for a context that is an array"
found = check.answer(AddK(arrays, 2, 2).probabilities, np.array([0, 1]), call=call)
check.close(found, by_counting([[0, 1, 1], [1, 0]], 2, 2, 1.0, [0, 1]), call, why="take arrays, too")
### END HIDDEN TESTS

# %% mutant="add_k" why="k is not shared out"
# - return (counts + self.k) / (counts.sum() + self.k * self.vocab)
# + return (counts + self.k) / (counts.sum() + self.k)

# %% mutant="add_k" why="always adds one"
# - return (counts + self.k) / (counts.sum() + self.k * self.vocab)
# + return (counts + 1) / (counts.sum() + self.vocab)

# %% mutant="add_k" why="another default"
# - self, sequences: Sequence[Sequence[int]], n: int, vocab: int, k: float = 1.0
# + self, sequences: Sequence[Sequence[int]], n: int, vocab: int, k: float = 0.5

# %% mutant="add_k" why="one start mark"
# - marked = [-1] * (n - 1) + list(sequence)
# + marked = [-1] * min(n - 1, 1) + list(sequence)

# %% mutant="add_k" why="no start marks when it counts"
# - marked = [-1] * (n - 1) + list(sequence)
# + marked = list(sequence)

# %% mutant="add_k" why="the first tokens of the context"
# - seen = self.counts.get(tuple(marked[len(marked) - self.n + 1 :]), Counter())
# + seen = self.counts.get(tuple(marked[: self.n - 1]), Counter())

# %% mutant="add_k" why="n tokens of context"
# - seen = self.counts.get(tuple(marked[len(marked) - self.n + 1 :]), Counter())
# + seen = self.counts.get(tuple(marked[-self.n :]), Counter())

# %% mutant="add_k" why="zeros for a context that was never seen"
# - return (counts + self.k) / (counts.sum() + self.k * self.vocab)
# + return (counts + self.k * (counts.sum() > 0)) / (counts.sum() + self.k * self.vocab)

# %% mutant="add_k" why="contexts run over the end of a sequence"
# - for sequence in sequences:
# -     marked = [-1] * (n - 1) + list(sequence)
# + for sequence in [[token for sequence in sequences for token in sequence]]:
# +     marked = [-1] * (n - 1) + list(sequence)

# %% mutant="add_k" why="forgets the last token"
# - for i in range(n - 1, len(marked)):
# + for i in range(n - 1, len(marked) - 1):

# %% mutant="add_k" why="contexts without an order"
# - self.counts[tuple(marked[i - n + 1 : i])][marked[i]] += 1
# + self.counts[tuple(sorted(marked[i - n + 1 : i]))][marked[i]] += 1
# - seen = self.counts.get(tuple(marked[len(marked) - self.n + 1 :]), Counter())
# + seen = self.counts.get(tuple(sorted(marked[len(marked) - self.n + 1 :])), Counter())

# %% mutant="add_k" why="counts of the class"
# - self.counts = defaultdict(Counter)
# + AddK.counts = getattr(AddK, "counts", defaultdict(Counter))

# %% mutant="add_k" why="equal sequences count once"
# - for sequence in sequences:
# + for sequence in {tuple(map(int, sequence)) for sequence in sequences}:

# %% mutant="add_k" why="contexts are digits, joined"
# - self.counts[tuple(marked[i - n + 1 : i])][marked[i]] += 1
# + self.counts["".join(map(str, marked[i - n + 1 : i]))][marked[i]] += 1
# - seen = self.counts.get(tuple(marked[len(marked) - self.n + 1 :]), Counter())
# + seen = self.counts.get("".join(map(str, marked[len(marked) - self.n + 1 :])), Counter())

# %% mutant="add_k" why="options of the class"
# - self.n, self.vocab, self.k = n, vocab, k
# + AddK.n, AddK.vocab, AddK.k = n, vocab, k

# %% mutant="add_k" why="at most three tokens of context"
# - self.n, self.vocab, self.k = n, vocab, k
# + n = min(n, 4)
# + self.n, self.vocab, self.k = n, vocab, k

# %% mutant="add_k" why="tokens as bytes"
# - self.counts[tuple(marked[i - n + 1 : i])][marked[i]] += 1
# + self.counts[tuple(t % 256 for t in marked[i - n + 1 : i])][marked[i]] += 1
# - seen = self.counts.get(tuple(marked[len(marked) - self.n + 1 :]), Counter())
# + seen = self.counts.get(tuple(t % 256 for t in marked[len(marked) - self.n + 1 :]), Counter())


# %% alternative="add_k" why="a table of arrays, start marks as vocab"
class AddK:
    def __init__(self, sequences, n, vocab, k=1.0):
        self.table, self.size, self.vocab, self.k = {}, n - 1, vocab, k
        for sequence in sequences:
            context = (vocab,) * self.size
            for token in map(int, sequence):
                self.table.setdefault(context, np.zeros(vocab))[token] += 1
                context = (*context, token)[1:] if self.size else ()

    def probabilities(self, context):
        context = ((self.vocab,) * self.size + tuple(map(int, context)))[len(context) :]
        row = self.table.get(context, np.zeros(self.vocab)) + self.k
        return row / row.sum()


# %% [markdown]
# ## 2. Sharing out probability well
# Adding $k$ treats all unseen tokens alike: after *Sir Francis* it holds *Kong* for as likely as *Bacon*, if both are frequent. **Kneser–Ney** smoothing ([Kneser & Ney, 1995](https://doi.org/10.1109/ICASSP.1995.479394); interpolated as in [Chen & Goodman, 1999](https://doi.org/10.1006/csla.1999.0128), §2.7) has two ideas. Take a fixed discount $D$ off every count, and give what was saved to a model of one token less context. And ask that shorter model another question: not how often $w$ occurs, but **after how many different tokens**. *Kong* follows one word only, so it is no good guess after another.
#
# $$p_m(w \mid h) = \frac{\max(c_m(hw) - D,\, 0)}{c_m(h)} + \frac{D\, N_m(h)}{c_m(h)}\; p_{m-1}(w \mid h'), \qquad p_0(w) = \frac1V.$$
#
# $m = n, \dots, 1$ is the order; $h$ has $m - 1$ tokens, $h'$ is $h$ without its first one. $c_n$ are the counts of section 1, start marks included; for $m < n$, $c_m(hw)$ is the number of *different* tokens (a start mark is one) that were seen before $hw$. $c_m(h) = \sum_w c_m(hw)$, and $N_m(h)$ is the number of different $w$ with $c_m(hw) > 0$. If $c_m(h) = 0$, then $p_m(w \mid h) = p_{m-1}(w \mid h')$.
#
# {{task:kneser_ney}}

# %% [markdown] lang="ru"
# ## 2. Хорошо делить вероятность
# Прибавка $k$ равняет все невиданные токены: после *Нижний* слово *мороз* для неё не хуже, чем *Новгород*, если оба частые. У сглаживания **Кнезера — Нея** ([Kneser, Ney, 1995](https://doi.org/10.1109/ICASSP.1995.479394); в интерполированном виде — [Chen, Goodman, 1999](https://doi.org/10.1006/csla.1999.0128), §2.7) две идеи. От каждого счётчика отнять постоянную $D$, а сбережённое отдать модели с контекстом на токен короче. И спросить эту короткую модель о другом: не как часто встречается $w$, а **после скольких разных токенов**. *Новгород* идёт чуть ли не за одним словом, поэтому после других слов это плохая догадка.
#
# $$p_m(w \mid h) = \frac{\max(c_m(hw) - D,\, 0)}{c_m(h)} + \frac{D\, N_m(h)}{c_m(h)}\; p_{m-1}(w \mid h'), \qquad p_0(w) = \frac1V.$$
#
# $m = n, \dots, 1$ — порядок; в $h$ стоит $m - 1$ токенов, $h'$ — это $h$ без первого. $c_n$ — счётчики из раздела 1, с начальными метками; при $m < n$ число $c_m(hw)$ — сколько *разных* токенов (начальная метка — тоже один из них) встретилось перед $hw$. $c_m(h) = \sum_w c_m(hw)$, а $N_m(h)$ — число разных $w$, у которых $c_m(hw) > 0$. Если $c_m(h) = 0$, то $p_m(w \mid h) = p_{m-1}(w \mid h')$.
#
# {{task:kneser_ney}}


# %% solution="kneser_ney"
class KneserNey:
    """An interpolated Kneser–Ney model of order n.

    sequences: of tokens from 0 to vocab - 1. n >= 1. 0 <= discount <= 1.
    """

    def __init__(
        self, sequences: Sequence[Sequence[int]], n: int, vocab: int, discount: float = 0.75
    ) -> None:
        ### BEGIN SOLUTION
        self.n, self.vocab, self.discount = n, vocab, discount
        self.tables = [defaultdict(Counter) for _ in range(n)]  # by the length of the context
        for sequence in sequences:
            marked = [-1] * (n - 1) + list(sequence)
            for i in range(n - 1, len(marked)):
                self.tables[-1][tuple(marked[i - n + 1 : i])][marked[i]] += 1
        for longer, shorter in zip(self.tables[:0:-1], self.tables[-2::-1], strict=True):
            for context, seen in longer.items():
                shorter[context[1:]].update(seen.keys())  # each different one once
        ### END SOLUTION

    def probabilities(self, context: Sequence[int]) -> np.ndarray:
        """Of each next token after all tokens so far, of which the last n - 1 count -> (vocab,)."""
        ### BEGIN SOLUTION
        marked = ([-1] * (self.n - 1) + list(context))[len(context) :]
        p = np.full(self.vocab, 1 / self.vocab)
        for m, table in enumerate(self.tables):
            seen = table.get(tuple(marked[self.n - 1 - m :]))
            if seen:
                total = seen.total()
                p = p * self.discount * len(seen) / total
                for token, count in seen.items():
                    p[token] += max(count - self.discount, 0) / total
        return p
        ### END SOLUTION


# %% test="kneser_ney" points=0.5 difficulty=4 minutes=35
model, made = KneserNey([[0, 1, 0, 2, 0, 1]], 2, 4, discount=0.5), "KneserNey([[0, 1, 0, 2, 0, 1]], 2, 4, discount=0.5)"
lower = np.array([2.5, 0.5, 0.5, 0]) / 5 + 0.5 * 3 / 5 / 4
for context, want in [([0], np.array([0, 1.5, 0.5, 0]) / 3 + lower / 3), ([3], lower)]:
    call = f"{made}.probabilities({context})"
    check.close(check.answer(model.probabilities, context, call=call), want, call, why="follow the formula")
### BEGIN HIDDEN TESTS
rng = check.rng("kneser_ney")


def by_definition(sequences, n, vocab, d, context):
    """Each count anew, from sets of n-grams."""
    marked = [["start"] * (n - 1) + list(s) for s in sequences]
    grams = [tuple(s[i : i + n]) for s in marked for i in range(len(s) - n + 1)]

    def count(m):
        pieces = grams if m == n else {g[n - m - 1 :] for g in grams}
        return Counter(g[-m:] for g in pieces)

    h, p = (["start"] * (n - 1) + list(context))[len(context) :], [1 / vocab] * vocab
    for m in range(1, n + 1):
        seen, own = count(m), tuple(h[n - m :])
        values = [seen[(*own, w)] for w in range(vocab)]
        if total := sum(values):
            rest = d * sum(v > 0 for v in values) / total
            p = [max(v - d, 0) / total + rest * q for v, q in zip(values, p, strict=True)]
    return np.array(p)


def judge_kn(sequences, n, vocab, contexts, why, **options):
    call = f"KneserNey(sequences, {n}, {vocab}{''.join(f', {o}={v}' for o, v in options.items())})"
    model = KneserNey(sequences, n, vocab, **options)
    for context in contexts:
        want = by_definition(sequences, n, vocab, options.get("discount", 0.75), context)
        said = f"{call}.probabilities({context})"
        found = check.answer(model.probabilities, context, call=said)
        check.close(found, want, said, rtol=1e-7, why=why)
        check.close(np.sum(found), 1, f"the sum of {said}", rtol=1e-9, why="be 1")


corpus = [rng.integers(0, 4, size=m).tolist() for m in (25, 1, 18, 2)]
judge_kn(corpus, 1, 6, [[], [2]], "be counts with a discount, and an even share, for n = 1", discount=0.4)
judge_kn(corpus, 2, 4, [[0], [1], [2], [3]], "use numbers of different tokens in the shorter model", discount=0.4)
judge_kn(corpus, 2, 4, [[3, 1, 2], [0, 0, 1]], "look at the last n - 1 tokens alone", discount=0.4)
judge_kn(corpus, 3, 4, [[0, 1], [1, 0], [2, 2], [3, 1]], "go down one order after the other", discount=0.4)
judge_kn(corpus, 2, 7, [[6], [5]], "be the shorter model where a context was never seen", discount=0.4)
judge_kn(corpus, 3, 7, [[6, 1], [6, 6], [1, 6]], "be the shorter model where a context was never seen", discount=0.9)
judge_kn(corpus, 3, 4, [[], [0], [3]], "know start marks", discount=0.4)
judge_kn(corpus, 4, 5, [[], [1], [2, 1], [0, 1, 2], [3, 3, 3]], "be right for longer contexts", discount=0.6)
judge_kn(corpus, 3, 4, [[1, 2], []], "take 0.75 off where no discount is given")
judge_kn(corpus, 2, 4, [[1], [2]], "be right for a discount of 1", discount=1.0)
judge_kn(corpus, 2, 4, [[1], [2]], "be plain counts for a discount of 0", discount=0.0)
judge_kn([[0, 1], [0, 1], [0, 0], [0, 1]], 2, 2, [[0], []], "count equal sequences each time", discount=0.4)
judge_kn([[1, 11, 5], [11, 1, 6]], 3, 12, [[1, 11], [11, 1]], "tell tokens of several digits apart", discount=0.4)
judge_kn([[0, 1], [256, 2], [700, 3]], 2, 701, [[0], [256], [700]], "bear a large vocabulary", discount=0.4)
judge_kn([[1, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]], 5, 3, [[1, 0, 0, 0], [2, 0, 0, 0]], "be right for longer contexts", discount=0.4)
judge_kn([[1, 0, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 0, 1]], 7, 3, [[1, 0, 0, 0, 0, 0]], "be right for longer contexts", discount=0.4)
judge_kn([], 2, 3, [[], [1]], "be even where nothing was seen", discount=0.5)
judge_kn([[], [1, 0]], 3, 3, [[], [1]], "bear an empty sequence", discount=0.5)
one, other = KneserNey([[0, 0, 0, 1, 2]], 2, 3), KneserNey([[2, 2, 1, 3]], 3, 4, discount=0.1)
call = "KneserNey(…).probabilities([0]), where a second model was made, of other sequences and options"
want = by_definition([[0, 0, 0, 1, 2]], 2, 3, 0.75, [0])
check.close(check.answer(one.probabilities, [0], call=call), want, call, why="keep its own counts and options")
one.probabilities([2]), one.probabilities([])
check.close(check.answer(one.probabilities, [0], call=call), want, call, why="be the same when asked again")
### END HIDDEN TESTS

# %% mutant="kneser_ney" why="plain counts in the shorter models"
# - shorter[context[1:]].update(seen.keys())  # each different one once
# + shorter[context[1:]].update(seen)

# %% mutant="kneser_ney" why="the discount is not given on"
# - p = p * self.discount * len(seen) / total
# + p = p * self.discount / total

# %% mutant="kneser_ney" why="negative where the discount is larger"
# - p[token] += max(count - self.discount, 0) / total
# + p[token] += (count - 2 * self.discount) / total

# %% mutant="kneser_ney" why="the discount is taken from the total"
# - total = seen.total()
# + total = seen.total() - self.discount * (len(seen) > 5)
# - p[token] += max(count - self.discount, 0) / total
# + p[token] += count / total

# %% mutant="kneser_ney" why="backs off only where nothing was seen"
# - p = p * self.discount * len(seen) / total
# + p = np.zeros(self.vocab)

# %% mutant="kneser_ney" why="does not end in the even distribution"
# - p = np.full(self.vocab, 1 / self.vocab)
# + p = np.zeros(self.vocab)

# %% mutant="kneser_ney" why="drops the nearest token of the context"
# - shorter[context[1:]].update(seen.keys())  # each different one once
# + shorter[context[:-1]].update(seen.keys())

# %% mutant="kneser_ney" why="skips to single tokens"
# - for m, table in enumerate(self.tables):
# + for m, table in [(m, t) for m, t in enumerate(self.tables) if m in (0, self.n - 1)]:

# %% mutant="kneser_ney" why="another default"
# - self, sequences: Sequence[Sequence[int]], n: int, vocab: int, discount: float = 0.75
# + self, sequences: Sequence[Sequence[int]], n: int, vocab: int, discount: float = 0.5

# %% mutant="kneser_ney" why="ignores the discount"
# - self.n, self.vocab, self.discount = n, vocab, discount
# + self.n, self.vocab, self.discount = n, vocab, 0.75

# %% mutant="kneser_ney" why="no start marks"
# - marked = [-1] * (n - 1) + list(sequence)
# + marked = list(sequence)

# %% mutant="kneser_ney" why="an unseen context is even"
# - if seen:
# + if not seen:
# +     p = np.full(self.vocab, 1 / self.vocab)
# + if seen:

# %% mutant="kneser_ney" why="equal sequences count once"
# - for sequence in sequences:
# + for sequence in {tuple(sequence) for sequence in sequences}:

# %% mutant="kneser_ney" why="options of the class"
# - self.n, self.vocab, self.discount = n, vocab, discount
# + KneserNey.n, KneserNey.vocab, KneserNey.discount = n, vocab, discount

# %% mutant="kneser_ney" why="at most three tokens of context"
# - self.n, self.vocab, self.discount = n, vocab, discount
# + n = min(n, 4)
# + self.n, self.vocab, self.discount = n, vocab, discount

# %% mutant="kneser_ney" why="contexts by the last digits of their tokens"
# - self.tables[-1][tuple(marked[i - n + 1 : i])][marked[i]] += 1
# + self.tables[-1][tuple(t % 10 for t in marked[i - n + 1 : i])][marked[i]] += 1
# - seen = table.get(tuple(marked[self.n - 1 - m :]))
# + seen = table.get(tuple(t % 10 for t in marked[self.n - 1 - m :]))


# %% alternative="kneser_ney" why="sets of what stands before, a recursion"
class KneserNey:
    def __init__(self, sequences, n, vocab, discount=0.75):
        self.n, self.v, self.d = n, vocab, discount
        self.before, self.count = {}, {}
        for s in sequences:
            s = ("^",) * (n - 1) + tuple(int(t) for t in s)
            for i in range(n - 1, len(s)):
                gram = s[i - n + 1 : i + 1]
                self.count[gram] = self.count.get(gram, 0) + 1
                for m in range(1, n):
                    self.before.setdefault(gram[n - m :], set()).add(gram[n - m - 1])
        self.rows = {}
        for gram, c in [*self.count.items(), *((g, len(b)) for g, b in self.before.items())]:
            self.rows.setdefault(gram[:-1], {})[gram[-1]] = c

    def _p(self, h):
        lower = self._p(h[1:]) if h else np.ones(self.v) / self.v
        row = self.rows.get(h)
        if row is None:
            return lower
        values = np.zeros(self.v)
        values[list(row)] = list(row.values())
        return (np.maximum(values - self.d, 0) + self.d * len(row) * lower) / values.sum()

    def probabilities(self, context):
        full = ("^",) * (self.n - 1) + tuple(int(t) for t in context)
        return self._p(full[len(full) - self.n + 1 :])


# %% [markdown]
# ## 3. One ruler for all models
# {{task:bits_per_byte}}
#
# A model that gives the right token the probability $p$ needs $-\log_2 p$ bits to write it down (an arithmetic coder does just that). **Perplexity** is the number of equally likely tokens that would be as hard to guess: $\exp$ of the mean of $-\ln p$ over the tokens. It can't compare models with different tokens: one who reads whole words has fewer and harder guesses. So count all bits of the text and divide by something that belongs to the *text*, its bytes in UTF-8:
#
# $$\text{perplexity} = \exp\Big(-\frac1T \sum_{t=1}^{T} \ln p_t\Big), \qquad \text{bits per byte} = \frac{-\sum_t \log_2 p_t}{\text{number of bytes}}.$$
#
# Without a token perplexity is 1, and there are 0 bits per byte, even where there is no byte. If a token got the probability 0, both are infinite.

# %% [markdown] lang="ru"
# ## 3. Одна линейка для всех
# {{task:bits_per_byte}}
#
# Модели, которая даёт верному токену вероятность $p$, нужно $-\log_2 p$ бит, чтобы его записать (именно это делает арифметический кодер). **Перплексия** — число равновероятных токенов, угадывать среди которых было бы так же трудно: $\exp$ от среднего $-\ln p$ по токенам. Модели с разными токенами ею не сравнить: кто читает целыми словами, угадывает реже, но труднее. Поэтому сложим все биты текста и разделим на то, что принадлежит самому *тексту*, — на число его байтов в UTF-8:
#
# $$\text{перплексия} = \exp\Big(-\frac1T \sum_{t=1}^{T} \ln p_t\Big), \qquad \text{биты на байт} = \frac{-\sum_t \log_2 p_t}{\text{число байтов}}.$$
#
# Если токенов нет, перплексия равна 1, а битов на байт 0, даже если нет и байтов. Если какой-то токен получил вероятность 0, обе величины бесконечны.


# %% solution="bits_per_byte"
def perplexity(probabilities: np.ndarray) -> float:
    """Of the probabilities (t,) that the right tokens got. perplexity([0.5, 0.125]) -> 4"""
    ### BEGIN SOLUTION
    with np.errstate(divide="ignore"):
        surprise = -np.log(np.asarray(probabilities, dtype=float))
    return float(np.exp(surprise.mean())) if len(surprise) else 1.0
    ### END SOLUTION


def bits_per_byte(probabilities: np.ndarray, text: str) -> float:
    """Bits of a text, whose tokens got these probabilities (t,), for each of its bytes in UTF-8.

    bits_per_byte([0.5, 0.125], "я!") -> 4 / 3
    """
    ### BEGIN SOLUTION
    with np.errstate(divide="ignore"):
        bits = -np.log2(np.asarray(probabilities, dtype=float)).sum()
    return float(bits / max(len(text.encode()), 1))
    ### END SOLUTION


# %% test="bits_per_byte" points=0.5 difficulty=1 minutes=10
given = np.array([0.5, 0.125])
call = "perplexity([0.5, 0.125])"
check.close(check.answer(perplexity, given, call=call), 4, call, why="be the geometric mean of 1 / p")
call = 'bits_per_byte([0.5, 0.125], "я!")'
check.close(check.answer(bits_per_byte, given, "я!", call=call), 4 / 3, call, why="divide by bytes")
### BEGIN HIDDEN TESTS
rng = check.rng("bits_per_byte")
for size in (1, 3, 40, 3000):
    p = rng.uniform(0.001, 1, size=size)
    call = f"perplexity of {size} probabilities"
    want = math.exp(-sum(map(math.log, p.tolist())) / size)
    check.close(check.answer(perplexity, p, call=call), want, call, rtol=1e-8, why="be the geometric mean of 1 / p")
for sample in ("plain", "Ёжик в тумане", "né 👍🏽", "日本語", " \n", "e\u0301"):
    p = rng.uniform(0.001, 1, size=int(rng.integers(1, 9)))
    want = -sum(math.log2(q) for q in p.tolist()) / len(bytearray(sample, "utf-8"))
    call = f"bits_per_byte(p, {sample!r})"
    check.close(check.answer(bits_per_byte, p, sample, call=call), want, call, rtol=1e-8, why="count bytes of UTF-8")
tiny = np.full(5000, 1e-3)
call = "perplexity of 5000 probabilities of 0.001"
check.close(check.answer(perplexity, tiny, call=call), 1000, call, rtol=1e-8, why="bear long texts")
call = "bits_per_byte of 5000 probabilities of 0.001"
want = 5000 * math.log2(1000) / 10000
check.close(check.answer(bits_per_byte, tiny, "ы" * 5000, call=call), want, call, rtol=1e-8, why="bear long texts")
check.close(check.answer(perplexity, np.array([]), call="perplexity([])"), 1, "perplexity([])", why="be 1")
check.close(check.answer(bits_per_byte, np.array([]), "", call='bits_per_byte([], "")'), 0, 'bits_per_byte([], "")', why="be 0")
holes, call = np.array([0.5, 0.0, 0.25]), "perplexity([0.5, 0, 0.25])"
check.that(check.answer(perplexity, holes, call=call) == np.inf, f"be infinite where a token had no chance: {call}")
call = 'bits_per_byte([0.5, 0, 0.25], "ab")'
check.that(check.answer(bits_per_byte, holes, "ab", call=call) == np.inf, f"be infinite where a token had no chance: {call}")
whole = np.array([1, 1, 1])
check.close(check.answer(perplexity, whole, call="perplexity([1, 1, 1])"), 1, "perplexity([1, 1, 1])", why="take whole numbers")
call = 'bits_per_byte([], "x")'
check.close(check.answer(bits_per_byte, np.array([]), "x", call=call), 0, call, why="be 0 without a token")
### END HIDDEN TESTS

# %% mutant="bits_per_byte" why="characters in place of bytes"
# - return float(bits / max(len(text.encode()), 1))
# + return float(bits / max(len(text), 1))

# %% mutant="bits_per_byte" why="tokens in place of bytes"
# - return float(bits / max(len(text.encode()), 1))
# + return float(bits / max(len(probabilities), 1))

# %% mutant="bits_per_byte" why="nats"
# - bits = -np.log2(np.asarray(probabilities, dtype=float)).sum()
# + bits = -np.log(np.asarray(probabilities, dtype=float)).sum()

# %% mutant="bits_per_byte" why="two to the mean of nats"
# - return float(np.exp(surprise.mean())) if len(surprise) else 1.0
# + return float(2 ** surprise.mean()) if len(surprise) else 1.0

# %% mutant="bits_per_byte" why="no mean"
# - return float(np.exp(surprise.mean())) if len(surprise) else 1.0
# + return float(np.exp(surprise.sum())) if len(surprise) else 1.0

# %% mutant="bits_per_byte" why="one over the mean probability"
# - return float(np.exp(surprise.mean())) if len(surprise) else 1.0
# + return float(1 / np.mean(probabilities)) if len(surprise) else 1.0

# %% mutant="bits_per_byte" why="the product first: 0 for long texts"
# - bits = -np.log2(np.asarray(probabilities, dtype=float)).sum()
# + bits = -np.log2(np.prod(np.asarray(probabilities, dtype=float)))

# %% mutant="bits_per_byte" why="NaN without tokens"
# - return float(np.exp(surprise.mean())) if len(surprise) else 1.0
# + return float(np.exp(surprise.mean()))

# %% mutant="bits_per_byte" why="a small number in the logarithm"
# - surprise = -np.log(np.asarray(probabilities, dtype=float))
# + surprise = -np.log(np.asarray(probabilities, dtype=float) + 1e-9)

# %% mutant="bits_per_byte" why="UTF-16"
# - return float(bits / max(len(text.encode()), 1))
# + return float(bits / max(len(text.encode("utf-16-le")), 1))

# %% mutant="bits_per_byte" why="characters put together before they are counted"
# - return float(bits / max(len(text.encode()), 1))
# + import unicodedata
# + return float(bits / max(len(unicodedata.normalize("NFC", text).encode()), 1))


# %% alternative="bits_per_byte" why="arrays alone"
def perplexity(probabilities):
    if probabilities.size == 0:
        return 1.0
    with np.errstate(divide="ignore"):
        return float(2 ** -np.log2(probabilities.astype(float)).mean())


def bits_per_byte(probabilities, text):
    with np.errstate(divide="ignore"):
        total = np.log2(1 / probabilities.astype(float)).sum()
    return float(total / len(bytes(text, "utf8"))) if text else 0.0


# %% alternative="bits_per_byte" why="plain Python"
def perplexity(probabilities):
    values = [float(p) for p in probabilities]
    if not values:
        return 1.0
    if min(values) == 0:
        return math.inf
    return 2 ** (-sum(math.log2(p) for p in values) / len(values))


def bits_per_byte(probabilities, text):
    total = 0.0
    for p in probabilities:
        total += -math.log2(p) if p > 0 else math.inf
    size = len(text.encode("utf-8"))
    return total / size if size else 0.0


# %%
def judged(model: AddK | KneserNey, ids: Sequence[int], back: int = 8) -> np.ndarray:
    """The probability that a counting model gives to each token of a sequence."""
    return np.array(
        [model.probabilities(ids[max(0, i - back) : i])[token] for i, token in enumerate(ids)]
    )


judges = {"add 1": lambda n: AddK([train_ids], n, len(alphabet))}
judges["add 0.01"] = lambda n: AddK([train_ids], n, len(alphabet), k=0.01)
judges["Kneser–Ney"] = lambda n: KneserNey([train_ids], n, len(alphabet))
orders, part = range(1, settings["order"] + 1), settings["test"] // 4
bits = {name: [] for name in judges}
for name, build in judges.items():
    for n in orders:
        bits[name].append(bits_per_byte(judged(build(n), test_ids[:part]), test_text[:part]))
    print(f"{name:12}", "  ".join(f"n={n}: {b:.2f}" for n, b in zip(orders, bits[name], strict=True)))
plots.curves({name: (list(orders), b) for name, b in bits.items()}, "The same counts, shared out in three ways", "order n", "bits per byte")
plots.show(
    "Bits per byte against the order: with 1 added the curve turns and rises from order 4 on, with 0.01 "
    "later; Kneser–Ney falls to the end and lies below both."
)

# %% [markdown]
# The counts of the three curves are the same. The longer the context, the more of its continuations were never seen, and the more it matters what the model says of those: with 1 added to 65 counts a context that was seen ten times is nearly forgotten.

# %% [markdown] lang="ru"
# Счётчики у всех трёх кривых одни и те же. Чем длиннее контекст, тем больше его продолжений никто не видел и тем важнее, что модель говорит о них: если прибавить 1 к 65 счётчикам, контекст, встреченный десять раз, почти забыт.

# %% [markdown]
# ## 4. A memory of fixed size
# A table of counts grows with the context and knows nothing of *similar* contexts. A recurrent network ([RNN](glossary:rnn)) reads one token after the other and keeps what it has read in a vector $h$ of fixed size, its state. One function is applied again and again:
#
# $$h' = \tanh\big(W_{ih}\, x + b_{ih} + W_{hh}\, h + b_{hh}\big).$$
#
# The three cells of this section have the weights of PyTorch's, in its layout: $x$ is a batch $(n, d)$, $h$ a batch $(n, m)$, $W_{ih}$ has the shape $(k\,m, d)$ and $W_{hh}$ $(k\,m, m)$, the biases $(k\,m,)$, where $k$ is the number of blocks of rows: 1 here, 3 and 4 in the next two. The new states have the dtype of the old. Write them without PyTorch's recurrent and linear layers and cells and their functions (`nn.RNNCell`, `torch.lstm`, `nn.Linear`, `F.linear` and the like); its sigmoid and tanh are free.
#
# {{task:rnn_cell}}

# %% [markdown] lang="ru"
# ## 4. Память постоянного размера
# Таблица счётчиков растёт вместе с контекстом и ничего не знает о *похожих* контекстах. Рекуррентная сеть ([RNN](glossary:rnn)) читает токены по одному и хранит прочитанное в векторе $h$ постоянного размера — в состоянии. Снова и снова применяется одна и та же функция:
#
# $$h' = \tanh\big(W_{ih}\, x + b_{ih} + W_{hh}\, h + b_{hh}\big).$$
#
# У трёх ячеек этого раздела веса PyTorch, в его раскладке: $x$ — батч $(n, d)$, $h$ — батч $(n, m)$, $W_{ih}$ имеет форму $(k\,m, d)$, $W_{hh}$ — $(k\,m, m)$, смещения — $(k\,m,)$, где $k$ — число блоков строк: здесь 1, в двух следующих ячейках 3 и 4. У новых состояний тот же dtype, что у старых. Напишите их без рекуррентных и линейных слоёв и ячеек PyTorch и без их функций (`nn.RNNCell`, `torch.lstm`, `nn.Linear`, `F.linear` и подобных); сигмоиду и tanh брать можно.
#
# {{task:rnn_cell}}


# %% solution="rnn_cell"
def rnn_cell(
    x: torch.Tensor,
    h: torch.Tensor,
    w_ih: torch.Tensor,
    w_hh: torch.Tensor,
    b_ih: torch.Tensor,
    b_hh: torch.Tensor,
) -> torch.Tensor:
    """The next state (n, m). x: (n, d), h: (n, m), weights (m, d), (m, m), biases (m,)."""
    ### BEGIN SOLUTION
    return torch.tanh(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh)
    ### END SOLUTION


# %% test="rnn_cell" points=0.25 difficulty=1 minutes=5
x, h = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.4]])
weights = [torch.tensor([[0.3, -0.1]]), torch.tensor([[0.5]]), torch.tensor([0.2]), torch.tensor([-0.6])]
call = "rnn_cell(x, h, w_ih, w_hh, b_ih, b_hh) of one number"
check.close(check.answer(rnn_cell, x, h, *weights, call=call), [[math.tanh(-0.1)]], call, why="follow the formula")
### BEGIN HIDDEN TESTS
rng = check.rng("rnn_cell")
for sizes in [(1, 1, 1), (3, 2, 4), (4, 5, 2), (2, 3, 3)]:
    week07.same_cell(rnn_cell, nn.RNNCell, "rnn_cell", sizes, rng)
week07.same_cell(rnn_cell, nn.RNNCell, "rnn_cell", (3, 2, 5), rng, torch.float32, 1e-4)
week07.same_cell(rnn_cell, nn.RNNCell, "rnn_cell", (4, 3, 6), rng, large=3000.0)
### END HIDDEN TESTS

# %% mutant="rnn_cell" why="weights not turned"
# - return torch.tanh(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh)
# + return torch.tanh(x @ w_ih.T + b_ih + h @ w_hh + b_hh)

# %% mutant="rnn_cell" why="one bias"
# - return torch.tanh(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh)
# + return torch.tanh(x @ w_ih.T + b_ih + h @ w_hh.T)

# %% mutant="rnn_cell" why="no memory"
# - return torch.tanh(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh)
# + return torch.tanh(x @ w_ih.T + b_ih + b_hh)

# %% mutant="rnn_cell" why="another activation"
# - return torch.tanh(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh)
# + return torch.sigmoid(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh)

# %% mutant="rnn_cell" why="the state is cut from the graph"
# - return torch.tanh(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh)
# + return torch.tanh(x @ w_ih.T + b_ih + h.detach() @ w_hh.T + b_hh)

# %% mutant="rnn_cell" why="torch does it"
# - return torch.tanh(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh)
# + return torch.rnn_tanh_cell(x, h, w_ih, w_hh, b_ih, b_hh)

# %% mutant="rnn_cell" why="torch's linear function"
# - return torch.tanh(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh)
# + return torch.tanh(F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh))

# %% mutant="rnn_cell" why="a tanh that overflows"
# - return torch.tanh(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh)
# + a = x @ w_ih.T + b_ih + h @ w_hh.T + b_hh
# + return (a.exp() - (-a).exp()) / (a.exp() + (-a).exp())

# %% mutant="rnn_cell" why="by way of float32"
# - return torch.tanh(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh)
# + a = x.float() @ w_ih.T.float() + b_ih.float() + h.float() @ w_hh.T.float() + b_hh.float()
# + return torch.tanh(a).to(h.dtype)


# %% alternative="rnn_cell" why="one matrix for both"
def rnn_cell(x, h, w_ih, w_hh, b_ih, b_hh):
    weights = torch.cat([w_ih, w_hh], dim=1)
    return torch.einsum("nk,mk->nm", torch.cat([x, h], dim=1), weights).add(b_ih + b_hh).tanh()


# %% [markdown]
# ### Gates
# Each step multiplies the state, and in the backward pass its gradient, by the same matrix and by slopes of tanh below 1: after twenty steps little is left (week 02's signal, along time). A **[gate](glossary:gating-mechanism)** is a number between 0 and 1 for each unit that says how much passes. In the [GRU](glossary:gru) (Cho et al., 2014) the update gate $z$ mixes the old state with a new one, so the old one can pass unchanged; the reset gate $r$ says how much of it the new one looks at:
#
# $$r = \sigma(W_{ir} x + b_{ir} + W_{hr} h + b_{hr}), \qquad z = \sigma(W_{iz} x + b_{iz} + W_{hz} h + b_{hz}),$$
# $$n = \tanh\big(W_{in} x + b_{in} + r \odot (W_{hn} h + b_{hn})\big), \qquad h' = (1 - z) \odot n + z \odot h.$$
#
# The rows of the weights come in the order $r, z, n$ (PyTorch's).
#
# {{task:gru_cell}}

# %% [markdown] lang="ru"
# ### Вентили
# Каждый шаг умножает состояние, а на обратном пути его градиент, на одну и ту же матрицу и на наклоны tanh, меньшие 1: через двадцать шагов мало что остаётся (сигнал из недели 02, только вдоль времени). **[Вентиль](glossary:gating-mechanism)** (gate) — число от 0 до 1 для каждого нейрона, которое говорит, сколько пропустить. В [GRU](glossary:gru) (Cho et al., 2014) вентиль обновления $z$ смешивает старое состояние с новым, так что старое может пройти нетронутым, а вентиль сброса $r$ говорит, насколько новое на него смотрит:
#
# $$r = \sigma(W_{ir} x + b_{ir} + W_{hr} h + b_{hr}), \qquad z = \sigma(W_{iz} x + b_{iz} + W_{hz} h + b_{hz}),$$
# $$n = \tanh\big(W_{in} x + b_{in} + r \odot (W_{hn} h + b_{hn})\big), \qquad h' = (1 - z) \odot n + z \odot h.$$
#
# Строки весов идут в порядке $r, z, n$ (как в PyTorch).
#
# {{task:gru_cell}}


# %% solution="gru_cell"
def gru_cell(
    x: torch.Tensor,
    h: torch.Tensor,
    w_ih: torch.Tensor,
    w_hh: torch.Tensor,
    b_ih: torch.Tensor,
    b_hh: torch.Tensor,
) -> torch.Tensor:
    """The next state (n, m). x: (n, d), h: (n, m), weights (3 m, d), (3 m, m), biases (3 m,)."""
    ### BEGIN SOLUTION
    from_x = (x @ w_ih.T + b_ih).chunk(3, dim=1)
    from_h = (h @ w_hh.T + b_hh).chunk(3, dim=1)
    r = torch.sigmoid(from_x[0] + from_h[0])
    z = torch.sigmoid(from_x[1] + from_h[1])
    new = torch.tanh(from_x[2] + r * from_h[2])
    return (1 - z) * new + z * h
    ### END SOLUTION


# %% test="gru_cell" points=0.25 difficulty=2 minutes=10
x, h = torch.tensor([[2.0]]), torch.tensor([[0.5]])
weights = [torch.tensor([[0.1], [0.2], [0.3]]), torch.tensor([[0.4], [-0.6], [0.8]])]
weights += [torch.tensor([0.1, 0.3, -0.2]), torch.tensor([-0.2, 0.1, 0.6])]
call = "gru_cell of one number"
check.close(check.answer(gru_cell, x, h, *weights, call=call), [[0.594631]], call, rtol=1e-4, why="follow the formula")
### BEGIN HIDDEN TESTS
rng = check.rng("gru_cell")
for sizes in [(1, 1, 1), (3, 2, 4), (4, 5, 2), (2, 3, 3)]:
    week07.same_cell(gru_cell, nn.GRUCell, "gru_cell", sizes, rng)
week07.same_cell(gru_cell, nn.GRUCell, "gru_cell", (3, 2, 5), rng, torch.float32, 1e-4)
week07.same_cell(gru_cell, nn.GRUCell, "gru_cell", (4, 3, 6), rng, large=3000.0)
### END HIDDEN TESTS

# %% mutant="gru_cell" why="gates exchanged"
# - r = torch.sigmoid(from_x[0] + from_h[0])
# - z = torch.sigmoid(from_x[1] + from_h[1])
# + z = torch.sigmoid(from_x[0] + from_h[0])
# + r = torch.sigmoid(from_x[1] + from_h[1])

# %% mutant="gru_cell" why="the update gate the other way round"
# - return (1 - z) * new + z * h
# + return z * new + (1 - z) * h

# %% mutant="gru_cell" why="reset before the matrix, as in the paper"
# - new = torch.tanh(from_x[2] + r * from_h[2])
# + last = len(b_hh) // 3 * 2
# + new = torch.tanh(from_x[2] + (r * h) @ w_hh[last:].T + b_hh[last:])

# %% mutant="gru_cell" why="the bias is outside of the reset gate"
# - new = torch.tanh(from_x[2] + r * from_h[2])
# + bias = b_hh.chunk(3)[2]
# + new = torch.tanh(from_x[2] + r * (from_h[2] - bias) + bias)

# %% mutant="gru_cell" why="no reset"
# - new = torch.tanh(from_x[2] + r * from_h[2])
# + new = torch.tanh(from_x[2] + from_h[2])

# %% mutant="gru_cell" why="tanh for gates"
# - z = torch.sigmoid(from_x[1] + from_h[1])
# + z = torch.tanh(from_x[1] + from_h[1])

# %% mutant="gru_cell" why="the old state is cut from the graph"
# - return (1 - z) * new + z * h
# + return (1 - z) * new + z * h.detach()

# %% mutant="gru_cell" why="torch does it"
# - return (1 - z) * new + z * h
# + return torch.gru_cell(x, h, w_ih, w_hh, b_ih, b_hh)

# %% mutant="gru_cell" why="a sigmoid that overflows"
# - z = torch.sigmoid(from_x[1] + from_h[1])
# + z = torch.exp(from_x[1] + from_h[1])
# + z = z / (1 + z)

# %% mutant="gru_cell" why="what goes into the gates is cut"
# - z = torch.sigmoid(from_x[1] + from_h[1])
# + z = torch.sigmoid((from_x[1] + from_h[1]).clamp(-8, 8))

# %% mutant="gru_cell" why="torch's linear layers"
# - from_x = (x @ w_ih.T + b_ih).chunk(3, dim=1)
# + from_x = F.linear(x, w_ih, b_ih).chunk(3, dim=1)


# %% alternative="gru_cell" why="six products"
def gru_cell(x, h, w_ih, w_hh, b_ih, b_hh):
    m = h.shape[1]
    i_r, i_z, i_n = (x.matmul(w_ih[k * m : (k + 1) * m].t()) + b_ih[k * m : (k + 1) * m] for k in range(3))
    h_r, h_z, h_n = (h.matmul(w_hh[k * m : (k + 1) * m].t()) + b_hh[k * m : (k + 1) * m] for k in range(3))
    reset, update = 1 / (1 + torch.exp(-(i_r + h_r))), (i_z + h_z).sigmoid()
    candidate = (i_n + reset * h_n).tanh()
    return candidate + update * (h - candidate)


# %% [markdown]
# The [LSTM](glossary:lstm) ([Hochreiter & Schmidhuber, 1997](https://doi.org/10.1162/neco.1997.9.8.1735)) has a second state $c$, the cell, on which nothing acts but a gate and a sum: a path for the gradient through time. With $i$ the input gate, $f$ the forget gate, $g$ the new content, $o$ the output gate:
#
# $$i, f, o = \sigma(\ldots), \qquad g = \tanh(\ldots), \qquad c' = f \odot c + i \odot g, \qquad h' = o \odot \tanh(c'),$$
#
# where each $\ldots$ is $W_{i\cdot}\, x + b_{i\cdot} + W_{h\cdot}\, h + b_{h\cdot}$. The rows come in the order $i, f, g, o$.
#
# {{task:lstm_cell}}

# %% [markdown] lang="ru"
# У [LSTM](glossary:lstm) ([Hochreiter, Schmidhuber, 1997](https://doi.org/10.1162/neco.1997.9.8.1735)) есть второе состояние $c$, ячейка памяти, на которую действуют только вентиль и сложение: это путь для градиента сквозь время. Пусть $i$ — входной вентиль, $f$ — вентиль забывания, $g$ — новое содержимое, $o$ — выходной вентиль:
#
# $$i, f, o = \sigma(\ldots), \qquad g = \tanh(\ldots), \qquad c' = f \odot c + i \odot g, \qquad h' = o \odot \tanh(c'),$$
#
# где каждое $\ldots$ — это $W_{i\cdot}\, x + b_{i\cdot} + W_{h\cdot}\, h + b_{h\cdot}$. Строки идут в порядке $i, f, g, o$.
#
# {{task:lstm_cell}}


# %% solution="lstm_cell"
def lstm_cell(
    x: torch.Tensor,
    h: torch.Tensor,
    c: torch.Tensor,
    w_ih: torch.Tensor,
    w_hh: torch.Tensor,
    b_ih: torch.Tensor,
    b_hh: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The next h and c, (n, m) each. x: (n, d), weights (4 m, d), (4 m, m), biases (4 m,)."""
    ### BEGIN SOLUTION
    i, f, g, o = (x @ w_ih.T + b_ih + h @ w_hh.T + b_hh).chunk(4, dim=1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c
    ### END SOLUTION


# %% test="lstm_cell" points=0.25 difficulty=2 minutes=10
x, h, c = torch.tensor([[2.0]]), torch.tensor([[0.5]]), torch.tensor([[-0.7]])
weights = [torch.tensor([[0.1], [0.2], [0.3], [-0.4]]), torch.tensor([[0.4], [-0.6], [0.8], [0.2]])]
weights += [torch.tensor([0.1, 0.3, -0.2, 0.5]), torch.tensor([-0.2, 0.1, 0.6, -0.3])]
call = "lstm_cell of one number"
found = check.answer(lstm_cell, x, h, c, *weights, call=call)
check.equal(len(found), 2, f"len of {call}", why="be two: h and c")
check.close(found[1], [[0.072862]], f"c of {call}", rtol=1e-4, why="follow the formula")
check.close(found[0], [[0.027460]], f"h of {call}", rtol=1e-4, why="follow the formula")
### BEGIN HIDDEN TESTS
rng = check.rng("lstm_cell")
for sizes in [(1, 1, 1), (3, 2, 4), (4, 5, 2), (2, 3, 3)]:
    week07.same_cell(lstm_cell, nn.LSTMCell, "lstm_cell", sizes, rng)
week07.same_cell(lstm_cell, nn.LSTMCell, "lstm_cell", (3, 2, 5), rng, torch.float32, 1e-4)
week07.same_cell(lstm_cell, nn.LSTMCell, "lstm_cell", (4, 3, 6), rng, large=3000.0)
### END HIDDEN TESTS

# %% mutant="lstm_cell" why="gates in the order of another library"
# - i, f, g, o = (x @ w_ih.T + b_ih + h @ w_hh.T + b_hh).chunk(4, dim=1)
# + i, g, f, o = (x @ w_ih.T + b_ih + h @ w_hh.T + b_hh).chunk(4, dim=1)

# %% mutant="lstm_cell" why="c and h exchanged"
# - return torch.sigmoid(o) * torch.tanh(c), c
# + return c, torch.sigmoid(o) * torch.tanh(c)

# %% mutant="lstm_cell" why="no tanh on the way out"
# - return torch.sigmoid(o) * torch.tanh(c), c
# + return torch.sigmoid(o) * c, c

# %% mutant="lstm_cell" why="the output of the old cell"
# - c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
# - return torch.sigmoid(o) * torch.tanh(c), c
# + new = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
# + return torch.sigmoid(o) * torch.tanh(c), new

# %% mutant="lstm_cell" why="what is forgotten is let in"
# - c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
# + c = torch.sigmoid(f) * c + (1 - torch.sigmoid(f)) * torch.tanh(g)

# %% mutant="lstm_cell" why="one bias"
# - i, f, g, o = (x @ w_ih.T + b_ih + h @ w_hh.T + b_hh).chunk(4, dim=1)
# + i, f, g, o = (x @ w_ih.T + b_ih + h @ w_hh.T).chunk(4, dim=1)

# %% mutant="lstm_cell" why="sigmoid for the content"
# - c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
# + c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.sigmoid(g)

# %% mutant="lstm_cell" why="the cell is changed in place"
# - c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
# + with torch.no_grad():
# +     c.mul_(torch.sigmoid(f))
# + c = c + torch.sigmoid(i) * torch.tanh(g)

# %% mutant="lstm_cell" why="the cell is cut from the graph"
# - c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
# + c = torch.sigmoid(f) * c.detach() + torch.sigmoid(i) * torch.tanh(g)

# %% mutant="lstm_cell" why="the cell is cut"
# - return torch.sigmoid(o) * torch.tanh(c), c
# + return torch.sigmoid(o) * torch.tanh(c), c.clamp(-50, 50)

# %% mutant="lstm_cell" why="a sigmoid that overflows"
# - return torch.sigmoid(o) * torch.tanh(c), c
# + return o.exp() / (1 + o.exp()) * torch.tanh(c), c

# %% mutant="lstm_cell" why="torch's linear layers"
# - i, f, g, o = (x @ w_ih.T + b_ih + h @ w_hh.T + b_hh).chunk(4, dim=1)
# + i, f, g, o = (F.linear(x, w_ih, b_ih) + h @ w_hh.T + b_hh).chunk(4, dim=1)


# %% alternative="lstm_cell" why="slices, one matrix"
def lstm_cell(x, h, c, w_ih, w_hh, b_ih, b_hh):
    m = c.size(1)
    all_gates = torch.cat([x, h], 1) @ torch.cat([w_ih, w_hh], 1).t() + (b_ih + b_hh)
    gates = all_gates[:, : 2 * m].sigmoid()
    content, out = all_gates[:, 2 * m : 3 * m].tanh(), all_gates[:, 3 * m :].sigmoid()
    cell = gates[:, m:] * c + gates[:, :m] * content
    return out * cell.tanh(), cell


# %% [markdown]
# **How long does a memory last?** Run the three cells, with random weights of PyTorch's own start, over 60 steps and ask how strongly the last state depends on an early input: the norm of the gradient, against the distance.

# %% [markdown] lang="ru"
# **Сколько живёт память?** Прогоним все три ячейки со случайными весами, какими их начинает PyTorch, через 60 шагов и спросим, насколько последнее состояние зависит от раннего входа: норма градиента в зависимости от расстояния.


# %%
def reach(cell: Callable, kind: type[nn.Module], states: int, forget: float = 0.0) -> np.ndarray:
    """The norm of the gradient of the last state by each of 60 inputs, over 10 starts."""
    norms = np.zeros((10, 60))
    for seed in range(10):
        torch.manual_seed(seed)
        module = kind(32, 64)
        weights = [p.detach() for p in module.parameters()]
        if forget:
            weights[2][64:128] += forget
        x = torch.randn(60, 1, 32, requires_grad=True)
        state = [torch.zeros(1, 64) for _ in range(states)]
        for step in x:
            made = cell(step, *state, *weights)
            state = [made] if states == 1 else list(made)
        (gradient,) = torch.autograd.grad((state[0] * torch.randn(1, 64)).sum(), x)
        norms[seed] = gradient.norm(dim=(1, 2))
    return np.exp(np.log(norms + 1e-30).mean(0))[::-1]


reaches = {
    "RNN": reach(rnn_cell, nn.RNNCell, 1),
    "GRU": reach(gru_cell, nn.GRUCell, 1),
    "LSTM": reach(lstm_cell, nn.LSTMCell, 2),
    "LSTM, forget gate + 2": reach(lstm_cell, nn.LSTMCell, 2, forget=2.0),
}
plots.curves(reaches, "What is left of an input after some steps, before any training", "steps ago", "norm of the gradient", log_y=True)
plots.show(
    "Gradients against the distance, on a logarithmic axis: all fall along straight lines, the plain "
    "RNN's fastest, GRU's and LSTM's by half of that, the LSTM's whose forget gate starts open hardly."
)
for name, values in reaches.items():
    print(f"{name:22} after 1 step {values[1]:.1e}, after 20 {values[20]:.1e}, after 50 {values[50]:.1e}")

# %% [markdown]
# An LSTM alone is no cure: with gates at a half, its start, a memory halves at each step. It is the *open* forget gate that lets the gradient through, and whether it opens is learned, or given as a start ([Jozefowicz et al., 2015](https://proceedings.mlr.press/v37/jozefowicz15.html), §4.3, put a bias of 1 there).

# %% [markdown] lang="ru"
# Сама по себе LSTM не лечит: когда вентили открыты наполовину, как вначале, память вдвое слабеет на каждом шаге. Градиент пропускает *открытый* вентиль забывания, а откроется ли он — выучивается или задаётся с самого начала ([Jozefowicz et al., 2015](https://proceedings.mlr.press/v37/jozefowicz15.html), §4.3, ставят там смещение 1).

# %% [markdown]
# ## 5. A loss that padding can't touch
# Texts of a batch have different lengths and are filled up. What the model says at a place of padding must not count, neither in the sum nor in the number of tokens; a model that is praised for guessing padding looks better with every longer neighbour. The mean is taken over the **tokens** of the batch: not over texts, whose means would give a short one as much say as a long one.
#
# $$L = \frac{1}{\sum_i \ell_i} \sum_i \sum_{t < \ell_i} -\ln \operatorname{softmax}(z_{i,t})_{y_{i,t}}.$$
#
# {{task:masked_loss}}

# %% [markdown] lang="ru"
# ## 5. Ошибка, которой не касается дополнение
# Тексты в батче разной длины, и короткие дополняют. Что модель говорит на месте дополнения, считаться не должно — ни в сумме, ни в числе токенов: модель, которую хвалят за угаданное дополнение, с каждым длинным соседом выглядит лучше. Среднее берётся по **токенам** батча, а не по текстам: иначе короткий текст весил бы столько же, сколько длинный.
#
# $$L = \frac{1}{\sum_i \ell_i} \sum_i \sum_{t < \ell_i} -\ln \operatorname{softmax}(z_{i,t})_{y_{i,t}}.$$
#
# {{task:masked_loss}}


# %% solution="masked_loss"
def masked_loss(
    logits: torch.Tensor, targets: torch.Tensor, lengths: torch.Tensor
) -> torch.Tensor:
    """The mean loss of a token: a scalar, through which gradients flow; 0 where there is no token.

    logits: (n, t, v), of the dtype of the loss. targets: (n, t), token numbers; after the first lengths[i] of row i anything
    may stand, also numbers that are none. lengths: (n,), 0 to t.
    """
    ### BEGIN SOLUTION
    there = torch.arange(targets.shape[1], device=targets.device) < lengths[:, None]
    loss = F.cross_entropy(logits[there], targets[there], reduction="sum")
    return loss / there.sum().clamp(min=1)
    ### END SOLUTION


# %% test="masked_loss" points=0.5 difficulty=2 minutes=15
logits = torch.tensor([[[0.0, math.log(3.0)], [0.0, 0.0]], [[math.log(4.0), 0.0], [9.0, -9.0]]])
targets = torch.tensor([[1, 0], [0, -1]])
call = "masked_loss of two texts, of 2 tokens and of 1"
want = (math.log(4 / 3) + math.log(2) + math.log(5 / 4)) / 3
found = check.answer(masked_loss, logits, targets, torch.tensor([2, 1]), call=call)
check.close(found, want, call, rtol=1e-4, why="be the mean over the three tokens")
### BEGIN HIDDEN TESTS
rng = check.rng("masked_loss")


def judge_loss(n, t, v, lengths, why, dtype=torch.float64, scale=1.0, filler=0, turned=False):
    """Against a loop over the tokens; the gradient, too."""
    logits = torch.from_numpy(scale * rng.normal(size=(n, t, v))).to(dtype)
    targets = torch.from_numpy(rng.integers(0, v, size=(n, t)))
    if turned:  # the same batch, with time first in memory
        logits, targets = logits.transpose(0, 1).contiguous().transpose(0, 1), targets.T.contiguous().T
    lengths = torch.tensor(lengths)
    want, slope, count = 0.0, np.zeros((n, t, v)), max(int(lengths.sum()), 1)
    for i, length in enumerate(lengths.tolist()):
        targets[i, length:] = filler
        for j in range(length):
            z = logits[i, j].double().numpy()
            p = np.exp(z - z.max())
            p /= p.sum()
            want += -(z[targets[i, j]] - z.max() - np.log(np.exp(z - z.max()).sum())) / count
            slope[i, j] = p / count
            slope[i, j, targets[i, j]] -= 1 / count
    call = f"masked_loss of logits ({n}, {t}, {v}) and lengths {lengths.tolist()}"
    rtol = 1e-9 if dtype == torch.float64 else 1e-4
    found = check.answer(masked_loss, logits, targets, lengths, call=call)
    check.equal(np.shape(found), (), f"shape of {call}", why="be a scalar")
    check.equal(str(np.asarray(found).dtype), str(dtype).split(".")[1], f"dtype of {call}", why="be that of the logits")
    check.close(found, want, call, rtol=rtol, why=why)
    said = f"the gradient through {call}"
    through = lambda z: masked_loss(z, targets, lengths)  # noqa: E731
    (found,) = check.gradient_of(through, logits, call=said)
    check.close(found, slope, said, rtol=rtol, atol=rtol, why="be 0 at padding, and that of the mean elsewhere")


judge_loss(1, 4, 3, [4], "be the mean over the tokens")
judge_loss(3, 5, 4, [5, 2, 3], "leave padding out")
judge_loss(3, 5, 4, [5, 2, 3], "leave padding out whatever stands there", filler=3)
judge_loss(2, 6, 5, [1, 6], "be the mean over tokens, not over texts")
judge_loss(3, 4, 3, [4, 0, 2], "bear a text without a token")
judge_loss(2, 3, 4, [0, 1], "be that of the one token where there is one")
judge_loss(2, 3, 4, [0, 0], "be 0 where there is no token")
judge_loss(2, 5, 3, [3, 2], "bear target numbers outside of the vocabulary at padding", filler=-1)
judge_loss(2, 5, 3, [3, 2], "bear target numbers outside of the vocabulary at padding", filler=99)
judge_loss(2, 4, 6, [4, 3], "bear large logits", scale=300.0)
judge_loss(2, 4, 3, [4, 3], "be right in float32, too", dtype=torch.float32)
judge_loss(4, 3, 7, [1, 2, 3, 1], "count token 0 like any other")
judge_loss(3, 5, 4, [5, 2, 3], "take tensors that lie in memory in another order, such as turned ones and slices", turned=True)
z, y = torch.from_numpy(rng.normal(size=(2, 3, 4))), torch.zeros(2, 3, dtype=torch.int64)
want = check.answer(masked_loss, z, y, torch.tensor([2, 3]), call="masked_loss of two texts")
for strange in (torch.inf, torch.nan):
    call = f"masked_loss where the logits at padding are {strange}"
    z[0, 2] = strange
    found = check.answer(masked_loss, z, y, torch.tensor([2, 3]), call=call)
    check.close(found, want, call, rtol=1e-9, why="not look at padding at all")
### END HIDDEN TESTS

# %% mutant="masked_loss" why="counts places in place of tokens"
# - return loss / there.sum().clamp(min=1)
# + return loss / there.numel()

# %% mutant="masked_loss" why="the mean of the texts' means"
# - loss = F.cross_entropy(logits[there], targets[there], reduction="sum")
# - return loss / there.sum().clamp(min=1)
# + each = [F.cross_entropy(z[: int(m)], y[: int(m)]) for z, y, m in zip(logits, targets, lengths, strict=True) if m]
# + return torch.stack(each).mean() if each else 0 * logits[there].sum()

# %% mutant="masked_loss" why="NaN without a token"
# - return loss / there.sum().clamp(min=1)
# + return loss / there.sum()

# %% mutant="masked_loss" why="token 0 is taken for padding"
# - there = torch.arange(targets.shape[1], device=targets.device) < lengths[:, None]
# + there = (torch.arange(targets.shape[1], device=targets.device) < lengths[:, None]) & (targets != 0)

# %% mutant="masked_loss" why="one token too many"
# - there = torch.arange(targets.shape[1], device=targets.device) < lengths[:, None]
# + there = torch.arange(targets.shape[1], device=targets.device) <= lengths[:, None]

# %% mutant="masked_loss" why="the sum"
# - return loss / there.sum().clamp(min=1)
# + return loss

# %% mutant="masked_loss" why="multiplies by the mask afterwards"
# - loss = F.cross_entropy(logits[there], targets[there], reduction="sum")
# + loss = (F.cross_entropy(logits.transpose(1, 2), targets.clamp(0, logits.shape[2] - 1), reduction="none") * there).sum()

# %% mutant="masked_loss" why="ignores numbers below 0 alone"
# - there = torch.arange(targets.shape[1], device=targets.device) < lengths[:, None]
# + there = targets >= 0

# %% mutant="masked_loss" why="logarithm of a softmax that underflows"
# - loss = F.cross_entropy(logits[there], targets[there], reduction="sum")
# + loss = -(logits[there].softmax(-1) + 1e-12).log().gather(-1, targets[there][:, None]).sum()

# %% mutant="masked_loss" why="bits"
# - return loss / there.sum().clamp(min=1)
# + return loss / there.sum().clamp(min=1) / math.log(2)

# %% mutant="masked_loss" why="asks for one piece of memory"
# - loss = F.cross_entropy(logits[there], targets[there], reduction="sum")
# + flat = there.reshape(-1)
# + loss = F.cross_entropy(logits.view(-1, logits.shape[2])[flat], targets.view(-1)[flat], reduction="sum")

# %% mutant="masked_loss" why="always float32"
# - loss = F.cross_entropy(logits[there], targets[there], reduction="sum")
# + loss = F.cross_entropy(logits[there].float(), targets[there], reduction="sum")


# %% alternative="masked_loss" why="ignore_index"
def masked_loss(logits, targets, lengths):
    n, t, v = logits.shape
    marked = targets.clone()
    for row, length in zip(marked, lengths.tolist(), strict=True):
        row[length:] = -100
    if int(lengths.sum()) == 0:
        return logits.sum() * 0.0
    return F.cross_entropy(logits.reshape(n * t, v), marked.reshape(-1), ignore_index=-100)


# %% alternative="masked_loss" why="a loop over the texts"
def masked_loss(logits, targets, lengths):
    total = logits.new_zeros(())
    for z, y, m in zip(logits, targets, lengths.tolist(), strict=True):
        rows = z[:m].log_softmax(-1)
        total = total - rows[torch.arange(m), y[:m]].sum()
    return total / max(1, int(lengths.sum()))


# %%
speeches = [s for s in train_text[:60_000].split("\n\n") if len(s) > 20][:64]
lengths = torch.tensor([len(s) for s in speeches])
even = torch.zeros(1, 1, len(alphabet) + 1)
even[..., -1] = 4.0  # a model that knows padding, and nothing else
shares, honest, flattered = [], [], []
for longest in (40, 80, 160, 320, 640):
    some = [i for i, s in enumerate(speeches) if len(s) <= longest]
    width = max(len(speeches[i]) for i in some)
    rows = torch.full((len(some), width), len(alphabet))
    for row, i in zip(rows, some, strict=True):
        row[: len(speeches[i])] = torch.tensor(encode(speeches[i]))
    z = even.expand(len(some), width, -1)
    shares.append(float((rows == len(alphabet)).float().mean()))
    honest.append(float(masked_loss(z, rows, lengths[some])))
    flattered.append(float(F.cross_entropy(z.flatten(0, 1), rows.flatten())))
plots.curves(
    {"over tokens": (shares, honest), "padding counted": (shares, flattered)},
    "A model that knows nothing but padding", "share of padding in the batch", "mean loss",
)
plots.show(
    "Loss against the share of padding for a model that can only guess padding: over the tokens it stays "
    "where it is, with padding counted it falls far below, though nothing was learned."
)

# %% [markdown]
# ## 6. How to choose the next token
# {{task:next_token}}
#
# From probabilities a text is made by drawing. Three knobs, applied in this order to the logits of one step:
#
# 1. **Temperature** $T > 0$: divide the logits by it. Below 1 the likely becomes likelier, above 1 all become alike. $T = 0$ means the limit: the largest logit gets 1; of several equal ones the first.
# 2. **Top-k**: only the `top_k` most probable tokens stay. 0 means no limit; of equal ones the smaller number stays first.
# 3. **Top-p** (nucleus; [Holtzman et al., 2020](https://arxiv.org/abs/1904.09751), §3.1): sort what is left by probability, equal ones by number, and keep the shortest beginning whose probabilities, **among what was left by top-k**, sum to at least `top_p`. The most probable token always stays. 1 means all.
#
# What stays is divided by its sum; the rest is exactly 0.

# %% [markdown] lang="ru"
# ## 6. Как выбрать следующий токен
# {{task:next_token}}
#
# Чтобы из вероятностей получился текст, токены вытягивают случайно. Три ручки применяются к логитам одного шага в таком порядке:
#
# 1. **Температура** $T > 0$: логиты делят на неё. Ниже 1 вероятное становится ещё вероятнее, выше 1 всё уравнивается. $T = 0$ — это предел: наибольший логит получает 1, из нескольких равных — первый.
# 2. **Top-k**: остаются только `top_k` самых вероятных токенов. 0 — без ограничения; из равных раньше остаётся токен с меньшим номером.
# 3. **Top-p** (nucleus; [Holtzman et al., 2020](https://arxiv.org/abs/1904.09751), §3.1): оставшееся сортируют по вероятности, равные — по номеру, и берут самое короткое начало, у которого сумма вероятностей **среди оставленного top-k** не меньше `top_p`. Самый вероятный токен остаётся всегда. 1 — оставить всё.
#
# Оставшееся делят на его сумму; у остальных ровно 0.


# %% solution="next_token"
def next_token(
    logits: torch.Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> torch.Tensor:
    """The probabilities from which the next token is drawn. logits: (v,), in float32 or float64 -> (v,), of the same dtype.

    next_token(log [8, 4, 2, 2], top_p=0.7) -> [2/3, 1/3, 0, 0]
    """
    ### BEGIN SOLUTION
    if temperature == 0:
        return F.one_hot(logits.argmax(), len(logits)).to(logits.dtype)
    p, order = (logits / temperature).softmax(0).sort(descending=True, stable=True)
    if top_k:
        p[top_k:] = 0
    p = p / p.sum()
    if top_p < 1:
        before = p.cumsum(0) - p  # what the more probable ones sum to
        p[(before >= top_p - 1e-9) & (torch.arange(len(p)) > 0)] = 0
    return torch.zeros_like(p).scatter(0, order, p / p.sum())
    ### END SOLUTION


# %% test="next_token" points=0.5 difficulty=3 minutes=20
logits = torch.tensor([2.0, 8.0, 4.0, 2.0]).log()
for options, want in [({}, [2, 8, 4, 2]), ({"temperature": 0.5}, [4, 64, 16, 4]), ({"temperature": 0}, [0, 1, 0, 0]),
                      ({"top_k": 3}, [2, 8, 4, 0]), ({"top_p": 0.7}, [0, 8, 4, 0]), ({"top_p": 0.3}, [0, 1, 0, 0])]:  # fmt: skip
    call = f"next_token(log [2, 8, 4, 2]{''.join(f', {o}={v}' for o, v in options.items())})"
    found = check.answer(next_token, logits, **options, call=call)
    check.close(found, np.array(want) / sum(want), call, rtol=1e-4, why="be what stays, divided by its sum")
### BEGIN HIDDEN TESTS
rng = check.rng("next_token")


def by_sorting(logits, temperature=1.0, top_k=0, top_p=1.0):
    """Step by step, in plain Python."""
    z = [float(v) for v in logits]
    if temperature == 0:
        return [float(i == z.index(max(z))) for i in range(len(z))]
    top = max(z)
    e = [math.exp((v - top) / temperature) for v in z]
    order = sorted(range(len(e)), key=lambda i: (-e[i], i))
    if top_k:
        order = order[:top_k]
    total, kept, reached = sum(e[i] for i in order), [], 0.0
    for i in order:
        if kept and top_p < 1 and reached >= top_p - 1e-9:
            break
        kept.append(i)
        reached += e[i] / total
    whole = sum(e[i] for i in kept)
    return [e[i] / whole if i in kept else 0.0 for i in range(len(e))]


def judge_next(logits, why, **options):
    call = f"next_token(logits of {len(logits)}{''.join(f', {o}={v}' for o, v in options.items())})"
    want = by_sorting(logits.tolist(), **options)
    found = check.answer(next_token, logits, **options, call=call)
    check.close(found, want, call, rtol=1e-5, atol=1e-9, why=why)
    check.equal((np.asarray(found) == 0).tolist(), [p == 0 for p in want], f"which tokens are left out of {call}", why=why)


for size in (1, 2, 5, 30):
    z = torch.from_numpy(2 * rng.normal(size=size))
    judge_next(z, "be the softmax where nothing is asked for")
    for t in (0.3, 0.8, 2.5):
        judge_next(z, "divide the logits by the temperature", temperature=t)
    judge_next(z, "put all on the largest logit at temperature 0", temperature=0)
    judge_next(z, "put all on the largest logit at temperature 0", temperature=0.0, top_k=3, top_p=0.5)
    for k in (1, 2, 4, 100):
        judge_next(z, "keep the most probable ones", top_k=k)
    for p in (0.05, 0.35, 0.62, 0.9):
        judge_next(z, "keep the shortest beginning that reaches top_p", top_p=p)
        judge_next(z, "take the share among what top-k has left", top_k=3, top_p=p)
        judge_next(z, "apply the temperature first", temperature=0.4, top_p=p)
        judge_next(z, "do all three in their order", temperature=1.7, top_k=4, top_p=p)
judge_next(torch.tensor([1.0, 3.0, 3.0, 0.0]), "take the first of equal logits at temperature 0", temperature=0)
judge_next(torch.tensor([1.0, 3.0, 1.0, 1.0, 3.0]), "prefer the smaller number among equal ones", top_k=3)
judge_next(torch.zeros(7), "prefer the smaller number among equal ones", top_p=0.5)
judge_next(torch.zeros(40), "prefer the smaller number among equal ones", top_k=11)
judge_next(torch.tensor([5.0, 1.0, 0.0]), "keep the most probable token, however small top_p is", top_p=0.0)
for size in (4, 8):
    judge_next(torch.zeros(size), "stop where the sum is just top_p", top_p=0.5)
    judge_next(torch.zeros(size), "stop where the sum is just top_p", top_p=0.25)
    judge_next(torch.zeros(size), "stop where the sum is just top_p", top_k=2, top_p=0.5)
for first in (0.6995, 0.70005):
    z = torch.tensor([first, 0.9 - first, 0.1], dtype=torch.float64).log()
    judge_next(z, "stop at top_p, neither earlier nor later", top_p=0.7)
long = torch.from_numpy(5 * rng.normal(size=1000))
for z in (torch.tensor([0.0, -20.0]), torch.tensor([-45.0, 3.0, -17.5]), long.float(), long):
    judge_next(z, "keep all where top_p is 1, also the least probable", top_p=1.0)
    judge_next(z, "keep all where top_p is 1, also the least probable", top_p=1, top_k=2)
for t in (0.05, 1e-3, 1e-5):
    judge_next(torch.tensor([0.0, t, -t]).double(), "divide by a temperature that is low", temperature=t)
for t in (100.0, 5000.0):
    judge_next(torch.tensor([0.0, -2 * t, t]), "divide by a temperature that is high", temperature=t)
judge_next(torch.tensor([1.0, 1 + 1e-9, 1.0], dtype=torch.float64), "tell logits apart that are nearly equal", top_k=1)
judge_next(torch.tensor([900.0, 899.0, -900.0]).double(), "bear large logits")
judge_next(torch.tensor([900.0, 899.0, -900.0]).double(), "bear large logits", temperature=0.1, top_p=0.99)
for dtype in (torch.float32, torch.float64):
    call = f"the dtype of next_token(logits in {dtype})"
    for options in ({}, {"temperature": 0}, {"top_k": 2, "top_p": 0.5}):
        found = check.answer(next_token, torch.tensor([1.0, 2.0, 0.5], dtype=dtype), **options, call=call)
        check.equal(str(np.asarray(found).dtype), str(dtype).split(".")[1], call, why="be that of the logits")
### END HIDDEN TESTS

# %% mutant="next_token" why="multiplies by the temperature"
# - p, order = (logits / temperature).softmax(0).sort(descending=True, stable=True)
# + p, order = (logits * temperature).softmax(0).sort(descending=True, stable=True)

# %% mutant="next_token" why="a power of what the softmax gives, not normalised"
# - p, order = (logits / temperature).softmax(0).sort(descending=True, stable=True)
# + p, order = (logits.softmax(0) / temperature).softmax(0).sort(descending=True, stable=True)

# %% mutant="next_token" why="leaves out the token that crosses the border"
# - before = p.cumsum(0) - p  # what the more probable ones sum to
# + before = p.cumsum(0)

# %% mutant="next_token" why="nothing stays for a small top_p"
# - p[(before >= top_p - 1e-9) & (torch.arange(len(p)) > 0)] = 0
# + p[before >= top_p - 1e-9] = 0

# %% mutant="next_token" why="one token too many"
# - p[(before >= top_p - 1e-9) & (torch.arange(len(p)) > 0)] = 0
# + p[1:][before[:-1] >= top_p - 1e-9] = 0

# %% mutant="next_token" why="top-p of all tokens"
# - p = p / p.sum()
# + pass

# %% mutant="next_token" why="not divided by the sum"
# - return torch.zeros_like(p).scatter(0, order, p / p.sum())
# + return torch.zeros_like(p).scatter(0, order, p)

# %% mutant="next_token" why="stays sorted"
# - return torch.zeros_like(p).scatter(0, order, p / p.sum())
# + return p / p.sum()

# %% mutant="next_token" why="the order undone the wrong way"
# - return torch.zeros_like(p).scatter(0, order, p / p.sum())
# + return (p / p.sum())[order]

# %% mutant="next_token" why="all of equal logits stay"
# - p[top_k:] = 0
# + p[p < p[min(top_k, len(p)) - 1]] = 0

# %% mutant="next_token" why="temperature 0 shares among equal ones"
# - return F.one_hot(logits.argmax(), len(logits)).to(logits.dtype)
# + best = (logits == logits.max()).to(logits.dtype)
# + return best / best.sum()

# %% mutant="next_token" why="temperature 0 divides by a small number"
# - if temperature == 0:
# -     return F.one_hot(logits.argmax(), len(logits)).to(logits.dtype)
# + temperature = max(temperature, 1e-2)

# %% mutant="next_token" why="another default"
# - logits: torch.Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
# + logits: torch.Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 0.95

# %% mutant="next_token" why="always float32"
# - return torch.zeros_like(p).scatter(0, order, p / p.sum())
# + return torch.zeros_like(p).scatter(0, order, p / p.sum()).float()

# %% mutant="next_token" why="goes on where the sum is just top_p"
# - p[(before >= top_p - 1e-9) & (torch.arange(len(p)) > 0)] = 0
# + p[(before > top_p) & (torch.arange(len(p)) > 0)] = 0

# %% mutant="next_token" why="the tail is lost to rounding where top_p is 1"
# - if top_p < 1:
# + if top_p <= 1:

# %% mutant="next_token" why="a low temperature is taken for 0"
# - if temperature == 0:
# + if temperature < 0.1:

# %% mutant="next_token" why="a power of the probabilities: 0 stays 0"
# - p, order = (logits / temperature).softmax(0).sort(descending=True, stable=True)
# + p, order = (logits.softmax(0) ** (1 / temperature)).sort(descending=True, stable=True)

# %% mutant="next_token" why="a generous border"
# - p[(before >= top_p - 1e-9) & (torch.arange(len(p)) > 0)] = 0
# + p[(before >= top_p - 1e-3) & (torch.arange(len(p)) > 0)] = 0

# %% mutant="next_token" why="by way of float32"
# - p, order = (logits / temperature).softmax(0).sort(descending=True, stable=True)
# + p, order = (logits.float() / temperature).softmax(0).to(logits.dtype).sort(descending=True, stable=True)


# %% alternative="next_token" why="masks of logits, a loop for the nucleus"
def next_token(logits, temperature=1.0, top_k=0, top_p=1.0):
    z = logits.clone()
    if temperature == 0:
        out = torch.zeros_like(z)
        out[int(z.argmax())] = 1
        return out
    z = z / temperature
    order = torch.argsort(-z, stable=True)
    if 0 < top_k < len(z):
        z[order[top_k:]] = -torch.inf
        order = order[:top_k]
    p, keep, total = torch.softmax(z, -1), [], 0.0
    for i in order.tolist():
        if keep and top_p < 1 and total >= top_p - 1e-9:
            break
        keep.append(i)
        total += float(p[i])
    mask = torch.zeros(len(z), dtype=torch.bool)
    mask[keep] = True
    return torch.where(mask, p, 0) / p[mask].sum()


# %%
law = KneserNey([train_ids], settings["order"], len(alphabet))
for knobs in ({"temperature": 0.0}, {"temperature": 0.5}, {}, {"top_p": 0.9}, {"temperature": 1.5}):
    generator, ids = torch.Generator().manual_seed(1), encode("\n\nROMEO:\n")
    for _ in range(160):
        p = next_token(torch.from_numpy(np.log(law.probabilities(ids[-8:]))), **knobs)
        ids.append(int(torch.multinomial(p, 1, generator=generator)))
    written = "".join(alphabet[i] for i in ids[2:])
    print(f"--- {knobs or 'as it comes'}\n{written}\n")

# %% [markdown]
# At temperature 0 it runs in a circle: the most probable next character, again and again, is not a probable text. At 1.5 it forgets how words are spelt. Between them, cutting the tail off (`top_p`) costs nothing that one would miss: most blunders come from the many improbable tokens together.

# %% [markdown] lang="ru"
# При температуре 0 модель ходит по кругу: самый вероятный следующий символ, раз за разом, — это ещё не вероятный текст. При 1,5 она забывает, как пишутся слова. Между ними обрезать хвост (`top_p`) почти ничего не стоит: большинство промахов — от множества маловероятных токенов, взятых вместе.

# %% [markdown]
# ## 7. The ladder
# The same text, the same split, one ruler. The counting models read the million characters once. The networks (PyTorch's layers with your cells' formulas) get a fixed time, printed below; they see streams of 64 characters and learn with your `masked_loss`. Under each rung stands what it writes.

# %% [markdown] lang="ru"
# ## 7. Лестница
# Тот же текст, то же разбиение, одна линейка. Счётные модели читают миллион символов один раз. Сети (слои PyTorch по формулам ваших ячеек) получают фиксированное время — оно напечатано ниже; они видят отрезки по 64 символа и учатся на вашей `masked_loss`. Под каждой ступенью — то, что она пишет.


# %%
class Reader(nn.Module):
    """Token numbers (n, t) -> logits (n, t, v), and the state."""

    def __init__(self, kind: type[nn.Module], vocab: int, width: int) -> None:
        super().__init__()
        self.embed, self.layer = nn.Embedding(vocab, 32), kind(32, width, batch_first=True)
        self.out = nn.Linear(width, vocab)

    def forward(self, ids: torch.Tensor, state=None):
        hidden, state = self.layer(self.embed(ids), state)
        return self.out(hidden), state


def train(kind: type[nn.Module], seconds: float) -> tuple[Reader, int]:
    """A network that read as many pieces of the text as fit into the time. -> it, steps."""
    torch.manual_seed(0)
    model = Reader(kind, len(alphabet), settings["width"]).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), 4e-3, weight_decay=0.01)
    ids, steps = torch.tensor(train_ids), 0
    lengths = torch.full((32,), 64, device=device)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        starts = torch.randint(len(ids) - 65, (32, 1))
        rows = ids[starts + torch.arange(65)].to(device)
        loss = masked_loss(model(rows[:, :-1])[0], rows[:, 1:], lengths)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        steps += 1
    return model.eval(), steps


@torch.no_grad()
def read(model: Reader, ids: Sequence[int]) -> np.ndarray:
    """The probability that a network gives to each token of a text; a newline goes before it."""
    row = torch.tensor([[number["\n"], *ids]], device=device)
    p = model(row[:, :-1])[0].softmax(-1)
    return p[0].gather(1, row[0, 1:, None])[:, 0].double().cpu().numpy()


@torch.no_grad()
def written_by(model: Reader | KneserNey, start: str, size: int = 110) -> str:
    """What a model writes after a start, drawn with top_p = 0.9."""
    generator, ids, state = torch.Generator().manual_seed(2), encode(start), None
    fresh = list(ids)
    for _ in range(size):
        if isinstance(model, KneserNey):
            logits = torch.from_numpy(np.log(model.probabilities(ids[-8:])))
        else:
            z, state = model(torch.tensor([fresh], device=device), state)
            logits = z[0, -1].cpu()
        fresh = [int(torch.multinomial(next_token(logits, top_p=0.9), 1, generator=generator))]
        ids += fresh
    return "".join(alphabet[i] for i in ids[len(start) :])


ladder = {}
for n in (1, 3, settings["order"]):
    counts = KneserNey([train_ids], n, len(alphabet))
    ladder[f"Kneser–Ney {n}"] = bits_per_byte(judged(counts, test_ids), test_text), written_by(counts, "\n\nROMEO:\n")
for name, kind in (("RNN", nn.RNN), ("LSTM", nn.LSTM)):
    network, steps = train(kind, settings["seconds"])
    ladder[name] = bits_per_byte(read(network, test_ids), test_text), written_by(network, "\n\nROMEO:\n")
    print(f"{name}: {sum(p.numel() for p in network.parameters()):,} numbers, {steps} steps in {settings['seconds']} s")
plots.ladder(ladder, f"{len(test_text):,} characters of Shakespeare that no model has read")
plots.show(
    "Bars of bits per byte, each with a line of what the model writes: single characters near 4.9, then "
    "lower with the order of Kneser–Ney; the networks after a few seconds stand above its longest."
)

# %% [markdown]
# In seconds the counts win, and by much: they have read all of the text, each context is a table of its own, and nothing had to be learned by small steps. What networks get for their time is another thing: they go on falling, with more time and width, where counts of longer contexts end (in `full` you see the crossing; week 08's transformer continues the ladder). **What a model can reach and what it reaches for your money are two questions.**

# %% [markdown] lang="ru"
# За секунды побеждают счётчики, и с большим отрывом: они прочли весь текст, у каждого контекста своя таблица, и ничего не пришлось выучивать мелкими шагами. Сети за своё время получают другое: с ростом времени и ширины они продолжают спускаться там, где счётчики длинных контекстов останавливаются (в `full` видно, где линии пересекутся; трансформер недели 08 продолжит лестницу). **Чего модель может достичь и чего она достигнет за ваши деньги — два разных вопроса.**

# %% [markdown]
# ## 8. Who wrote this?
# Six models, each a Kneser–Ney model of characters of one Russian author; six texts, each by one of them, that no model has read: every tenth piece of 5,000 characters was held out. Each model reads each text. In every row, the least perplexity names the author.

# %% [markdown] lang="ru"
# ## 8. Кто это написал?
# Шесть моделей Кнезера — Нея по символам, каждая училась на одном писателе; шесть текстов, по одному каждого, которых не читала ни одна модель: в сторону отложен каждый десятый кусок в 5000 символов. Каждая модель читает каждый текст. В каждой строке автора называет наименьшая перплексия.

# %%
library = data.load("russian_authors", profile)
works = {author: "\n".join(w.values())[: settings["author"]] for author, w in library.works.items()}
letters = {c: i for i, c in enumerate(sorted(set("".join(works.values()))))}


def split(text: str, size: int = 5_000) -> tuple[list[list[int]], list[list[int]]]:
    """Pieces of a text to learn from, and every tenth to be judged by."""
    pieces = [[letters[c] for c in text[i : i + size]] for i in range(0, len(text), size)]
    return [p for i, p in enumerate(pieces) if i % 10], pieces[::10]


parts = {author: split(text) for author, text in works.items()}


@cache
def readers() -> dict[str, KneserNey]:
    """A model of each author."""
    return {author: KneserNey(kept, 5, len(letters)) for author, (kept, _) in parts.items()}


matrix = np.zeros((6, 6))
for i, (_, pieces) in enumerate(parts.values()):
    sample = [piece[:400] for piece in pieces]
    for j, reader in enumerate(readers().values()):
        matrix[i, j] = perplexity(np.concatenate([judged(reader, piece, 4) for piece in sample]))
week07.who(matrix, [author.capitalize() for author in works])
plots.show(
    "A table of six texts by six models with perplexities: in every row the smallest stands on the "
    "diagonal, framed; the verses of Pushkin and Lermontov are hard for the models of prose."
)
right = int(sum(matrix[i].argmin() == i for i in range(6)))
gap = np.log2(np.sort(matrix, axis=1)[:, 1] / matrix.diagonal())
print(f"{right} of 6 authors named; the second best model needs {gap.min():.2f} to {gap.max():.2f} bits more a character")

# %% [markdown]
# Compare within a row only: a text can be easier than another for everybody. And ask what was tested. The held-out pieces come from the **same works** as the training text, with the same names and the same scenes. So let the models read a work that none of them knows a line of: Pushkin's prose, after a model of Pushkin that has read mostly verse.

# %% [markdown] lang="ru"
# Сравнивайте только внутри строки: текст может быть легче другого для всех. И спросите, что именно проверено. Отложенные куски взяты из **тех же произведений**, что и обучающий текст: те же имена, те же сцены. Поэтому пусть модели прочтут произведение, из которого ни одна не видела ни строчки: прозу Пушкина — после модели Пушкина, читавшей в основном стихи.

# %%
title = "Капитанская дочка"
assert library.works["pushkin"][title][:2_000] not in works["pushkin"]
prose = [letters[c] for c in library.works["pushkin"][title] if c in letters][:4_000]
read_by = {author: perplexity(judged(reader, prose, 4)) for author, reader in readers().items()}
for author, value in sorted(read_by.items(), key=lambda item: item[1]):
    print(f"{author:12} {value:6.2f}")

# %% [markdown]
# Genre beats author: models of prose read Pushkin's prose better than the model of Pushkin does. Which part of the world you hold out decides what your number means; week 05's planted corner was the same lesson.
#
# Next: `homework`, where a network reads a whole sentence before it writes one.

# %% [markdown] lang="ru"
# Жанр побеждает автора: модели прозы читают прозу Пушкина лучше, чем модель самого Пушкина. Какую часть мира вы отложили, то и значит ваше число; подложенный угол из недели 05 учил тому же.
#
# Дальше — `homework`: там сеть прочитает целое предложение, прежде чем написать своё.
