# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # Words as points, and a dictionary made of one rotation
# A computer knows nothing of the word *king* but its letters. You give it a place among other words: first by counting who stands next to whom, then by learning to guess neighbours, then by the pieces of which a word is made. At the end you take vectors of English words and vectors of Russian words, which were learnt apart, from different texts, by different people, and turn one cloud until it lies on the other. One matrix, found in closed form from a few hundred pairs, then translates words that it has never seen.

# %% [markdown] lang="ru"
# # Слова как точки и словарь из одного поворота
# О слове «король» компьютер не знает ничего, кроме букв. Вы найдёте ему место среди других слов: сначала подсчётом того, кто с кем стоит рядом, потом обучением угадывать соседей, потом по кусочкам, из которых слово состоит. А в конце возьмёте векторы английских слов и векторы русских — их обучали порознь, на разных текстах и разные люди — и повернёте одно облако так, чтобы оно легло на другое. Одна матрица, найденная по нескольким сотням пар без всякого обучения, станет переводить слова, которых никогда не видела.

# %% tags=["parameters"]
profile = "small"

# %%
import re
import time
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from scipy.sparse import csr_matrix
from sklearn.manifold import TSNE

from practical_dl import check, data, plots, progress, seed_everything
from practical_dl.weeks import week06

seed_everything(0)
settings = {
    "small": {"words": 1_500, "passes": 3, "subwords": 20_000, "search": 20_000},
    "full": {"words": 3_000, "passes": 15, "subwords": 40_000, "search": 50_000},
}[profile]

# %% [markdown]
# **Rules.** Fill the cells that raise `NotImplementedError`, run the check below each, look at *your* result. The checks that you see are public ones: a good sign, not a promise. Eleven short tasks, 4 points together; each can be solved without the others. Functions leave their arguments as they were and compute in `float64`; whole numbers may come in. NumPy is all you need, and no GPU. The texts are plays of Shakespeare; the vectors of the second half are [GloVe](https://aclanthology.org/D14-1162/) (English) and [Navec](https://github.com/natasha/navec) (Russian).

# %% [markdown] lang="ru"
# **Правила.** Заполните ячейки с `NotImplementedError`, запустите проверку под каждой и посмотрите на *свой* результат. Видимые проверки — открытые: пройти их — хороший знак, но не гарантия. Одиннадцать коротких заданий, вместе 4 балла; каждое можно решить без остальных. Функции не меняют своих аргументов и считают в `float64`; на вход могут прийти и целые числа. Хватит NumPy, видеокарта не нужна. Тексты — пьесы Шекспира; векторы второй половины — [GloVe](https://aclanthology.org/D14-1162/) (английские слова) и [Navec](https://github.com/natasha/navec) (русские).

# %%
plays = data.load("shakespeare", profile)
print()
print(plays.text[:330])

# %% [markdown]
# ## 1. What is a word?
# {{task:tokenize}}
#
# Before anything can be counted, a text has to be cut. `text.split()` leaves `king,` and `King` as words of their own. The rules here, for any alphabet:
#
# 1. Bring the text to Unicode's form NFC (`unicodedata.normalize`), so that `é` is one character however it was typed; then to lower case. `’` becomes `'`, and `ё` becomes `е`, as most Russian texts write it. `й` stays `й`.
# 2. A **word** is a run of letters. To a letter belong the combining marks after it (U+0300 to U+036F): the stress in *за́мок* must not cut the word. One apostrophe or hyphen *between two letters* belongs to the word, too: `don't`, `кто-то`; two in a row do not.
# 3. A **number** is a run of the digits 0 to 9; letters and digits don't mix: `2nd` is `2`, `nd`.
# 4. All else separates and is left out: spaces, punctuation, `_`, emoji.

# %% [markdown] lang="ru"
# ## 1. Что такое слово?
# {{task:tokenize}}
#
# Прежде чем что-то считать, текст надо разрезать. После `text.split()` слова `king,` и `King` окажутся разными. Наши правила — для любого алфавита:
#
# 1. Привести текст к форме NFC стандарта Unicode (`unicodedata.normalize`), чтобы `é` было одним символом, как бы его ни набрали; затем — к нижнему регистру. `’` превращается в `'`, а `ё` — в `е`, как и пишут в большинстве русских текстов. `й` остаётся `й`.
# 2. **Слово** — подряд идущие буквы. К букве относятся и комбинируемые знаки после неё (U+0300 … U+036F): ударение в слове *за́мок* не должно его разрезать. Один апостроф или дефис *между двумя буквами* тоже часть слова: `don't`, `кто-то`; два подряд — уже нет.
# 3. **Число** — подряд идущие цифры от 0 до 9; буквы с цифрами не смешиваются: `2nd` — это `2`, `nd`.
# 4. Всё прочее разделяет и отбрасывается: пробелы, знаки препинания, `_`, эмодзи.


# %% solution="tokenize"
def tokenize(text: str) -> list[str]:
    """The words and numbers of a text, in their order, in lower case.

    tokenize("Don't panic: ёлка, 2nd!") -> ["don't", "panic", "елка", "2", "nd"]
    """
    ### BEGIN SOLUTION
    text = unicodedata.normalize("NFC", text).lower().replace("ё", "е").replace("’", "'")
    letters = r"(?:[^\W\d_][\u0300-\u036f]*)+"
    return re.findall(rf"{letters}(?:['-]{letters})*|[0-9]+", text)
    ### END SOLUTION


# %% test="tokenize" points=0.25 difficulty=2 minutes=10
call = "tokenize(\"Don't panic: ёлка, 2nd!\")"
found = check.answer(tokenize, "Don't panic: ёлка, 2nd!", call=call)
check.equal(found, ["don't", "panic", "елка", "2", "nd"], call, why="follow the four rules")
call = "tokenize('Кто-то — в за\\u0301мке')"
found = check.answer(tokenize, "Кто-то — в за\u0301мке", call=call)
check.equal(found, ["кто-то", "в", "за\u0301мке"], call, why="keep a hyphen and a stress inside")
### BEGIN HIDDEN TESTS
for text, want, why in [
    ("", [], "give nothing for an empty text"),
    (" \n\t", [], "give nothing for spaces alone"),
    ("🙂👍🏽 …!?", [], "leave emoji and punctuation out"),
    ("Да🙂нет", ["да", "нет"], "let an emoji separate two words"),
    ("KING Romeo's", ["king", "romeo's"], "have lower case, the apostrophe inside kept"),
    ("'tis the lords' 'Tis", ["tis", "the", "lords", "tis"], "drop apostrophes at the ends"),
    ("it’s l’été", ["it's", "l'été"], "write both apostrophes as '"),
    ("rock'n'roll mother-in-law", ["rock'n'roll", "mother-in-law"], "keep several joints in a word"),
    ("one--two a-'b", ["one", "two", "a", "b"], "let two joints in a row separate"),
    ("-a- b", ["a", "b"], "drop hyphens at the ends"),
    ("Ещё ёж, её ЁЖ", ["еще", "еж", "ее", "еж"], "write ё as е, in capitals too"),
    ("е\u0308лка", ["елка"], "know ё that is typed as two characters"),
    ("мои\u0306 Йод", ["мой", "йод"], "keep й, however it is typed"),
    ("cafe\u0301 café", ["café", "café"], "take é for one word, however it is typed"),
    ("при\u0301зрак-то", ["при\u0301зрак-то"], "keep a stress mark with its letter"),
    ("a1b22 3-4 5'6 x-2", ["a", "1", "b", "22", "3", "4", "5", "6", "x", "2"], "not mix digits in"),
    ("snake_case __init__", ["snake", "case", "init"], "let _ separate"),
    ("Straße ÑANDÚ Žižek", ["straße", "ñandú", "žižek"], "know letters of other alphabets"),
    ("один,два.три", ["один", "два", "три"], "let punctuation separate without a space"),
]:
    call = f"tokenize({text!r})"
    check.equal(check.answer(tokenize, text, call=call), want, call, why=why)
### END HIDDEN TESTS

# %% mutant="tokenize" why="splits at spaces"
# - letters = r"(?:[^\W\d_][\u0300-\u036f]*)+"
# - return re.findall(rf"{letters}(?:['-]{letters})*|[0-9]+", text)
# + return [t.strip(".,:;!?") for t in text.split()]

# %% mutant="tokenize" why="Python's \w: digits, underscore, no marks"
# - letters = r"(?:[^\W\d_][\u0300-\u036f]*)+"
# + letters = r"\w+"

# %% mutant="tokenize" why="English letters only"
# - letters = r"(?:[^\W\d_][\u0300-\u036f]*)+"
# + letters = r"[a-z]+"

# %% mutant="tokenize" why="a stress mark cuts the word"
# - letters = r"(?:[^\W\d_][\u0300-\u036f]*)+"
# + letters = r"[^\W\d_]+"

# %% mutant="tokenize" why="Russian and English letters, nothing else"
# - letters = r"(?:[^\W\d_][\u0300-\u036f]*)+"
# + letters = r"(?:[a-zа-я][\u0300-\u036f]*)+"

# %% mutant="tokenize" why="takes all marks off: й becomes и"
# - text = unicodedata.normalize("NFC", text).lower().replace("ё", "е").replace("’", "'")
# + text = unicodedata.normalize("NFD", text).lower().replace("’", "'")
# + text = "".join(c for c in text if not unicodedata.combining(c))

# %% mutant="tokenize" why="replaces ё before the text is brought to NFC"
# - text = unicodedata.normalize("NFC", text).lower().replace("ё", "е").replace("’", "'")
# + text = unicodedata.normalize("NFC", text.lower().replace("ё", "е").replace("’", "'"))

# %% mutant="tokenize" why="keeps ё"
# - text = unicodedata.normalize("NFC", text).lower().replace("ё", "е").replace("’", "'")
# + text = unicodedata.normalize("NFC", text).lower().replace("’", "'")

# %% mutant="tokenize" why="forgets capital Ё: replaces before it lowers"
# - text = unicodedata.normalize("NFC", text).lower().replace("ё", "е").replace("’", "'")
# + text = unicodedata.normalize("NFC", text).replace("ё", "е").lower().replace("’", "'")

# %% mutant="tokenize" why="apostrophes cut words"
# - return re.findall(rf"{letters}(?:['-]{letters})*|[0-9]+", text)
# + return re.findall(rf"{letters}(?:-{letters})*|[0-9]+", text)

# %% mutant="tokenize" why="one joint at most"
# - return re.findall(rf"{letters}(?:['-]{letters})*|[0-9]+", text)
# + return re.findall(rf"{letters}(?:['-]{letters})?|[0-9]+", text)

# %% mutant="tokenize" why="several joints in a row"
# - return re.findall(rf"{letters}(?:['-]{letters})*|[0-9]+", text)
# + return re.findall(rf"{letters}(?:['-]+{letters})*|[0-9]+", text)


# %% alternative="tokenize" why="character by character"
def tokenize(text):
    text = unicodedata.normalize("NFC", text.replace("\u2019", "'")).lower().replace("ё", "е")
    tokens, kind, i = [], None, 0
    while i < len(text):
        c = text[i]
        if c.isalpha():
            if kind == "word":
                tokens[-1] += c
            else:
                tokens.append(c)
            kind = "word"
        elif "\u0300" <= c <= "\u036f" and kind == "word":
            tokens[-1] += c
        elif c in "0123456789":
            if kind == "number":
                tokens[-1] += c
            else:
                tokens.append(c)
            kind = "number"
        elif c in "'-" and kind == "word" and text[i + 1 : i + 2].isalpha():
            tokens[-1] += c
        else:
            kind = None
        i += 1
    return tokens


# %% [markdown]
# ### Numbers for words
# {{task:vocabulary}}
#
# A model needs numbers. Two of them are special: **0** is `<pad>`, which later fills short texts up, and **1** is `<unk>`, for every word out of the vocabulary. They must differ: if an unknown word were 0, the padding would become a word.
#
# The other numbers go to words seen at least `min_count` times, the most frequent first; of equally frequent ones the smaller text first, as Python compares texts. Without a fixed order for ties two runs give two vocabularies, and saved vectors belong to the wrong words. A token that happens to spell `<pad>` or `<unk>` comes from the text, not from you: it is an unknown word.

# %% [markdown] lang="ru"
# ### Числа вместо слов
# {{task:vocabulary}}
#
# Модели нужны числа. Два из них особые: **0** — это `<pad>`, которым потом дополняют короткие тексты, а **1** — `<unk>`, любое слово вне словаря. Они обязаны различаться: будь неизвестное слово нулём, заполнение стало бы словом.
#
# Остальные номера получают слова, встреченные не меньше `min_count` раз: сначала самые частые, а среди одинаково частых — меньшее как строка (так, как строки сравнивает Python). Без твёрдого порядка для ничьих два запуска дадут два разных словаря, и сохранённые векторы достанутся не тем словам. Токен, который случайно пишется как `<pad>` или `<unk>`, пришёл из текста, а не от вас: это неизвестное слово.


# %% solution="vocabulary"
class Vocabulary:
    """Numbers for words. sentences: lists of tokens.

    words: list of texts by number, ["<pad>", "<unk>", ...]. counts: list of how often each was seen:
    0 for <pad>, for <unk> all tokens that have no number of their own.
    Vocabulary([["b", "a"], ["b", "c"]], min_count=1).words -> ["<pad>", "<unk>", "b", "a", "c"]
    """

    def __init__(self, sentences: Iterable[Sequence[str]], min_count: int = 1) -> None:
        ### BEGIN SOLUTION
        seen = Counter(token for sentence in sentences for token in sentence)
        special = ["<pad>", "<unk>"]
        kept = [word for word, n in seen.items() if n >= min_count and word not in special]
        kept.sort(key=lambda word: (-seen[word], word))
        self.words = special + kept
        others = seen.total() - sum(seen[word] for word in kept)
        self.counts = [0, others] + [seen[word] for word in kept]
        self._numbers = {word: i for i, word in enumerate(kept, start=2)}
        ### END SOLUTION

    def encode(self, tokens: Sequence[str]) -> list[int]:
        """The number of each token; 1 for unknown ones."""
        ### BEGIN SOLUTION
        return [self._numbers.get(token, 1) for token in tokens]
        ### END SOLUTION

    def decode(self, numbers: Iterable[int]) -> list[str]:
        """The word of each number."""
        ### BEGIN SOLUTION
        return [self.words[number] for number in numbers]
        ### END SOLUTION


# %% test="vocabulary" points=0.25 difficulty=2 minutes=10
made, call = Vocabulary([["b", "a"], ["b", "c"]]), 'Vocabulary([["b", "a"], ["b", "c"]])'
words = check.attribute(made, "words", call)
check.equal(words, ["<pad>", "<unk>", "b", "a", "c"], f"{call}.words", why="go by count, then word")
found = check.answer(made.encode, ["c", "z", "b"], call=f'{call}.encode(["c", "z", "b"])')
check.equal(found, [4, 1, 2], f'{call}.encode(["c", "z", "b"])', why="give 1 to unknown words")
### BEGIN HIDDEN TESTS
sentences = [["ёж", "b", "a", "b"], [], ["я", "a", "🙂", "ёж", "b"], ["a", "z", "ёж", "z", "x"]]
order = ["a", "b", "ёж", "z", "x", "я", "🙂"]
for options, kept in [({}, 7), ({"min_count": 1}, 7), ({"min_count": 2}, 4), ({"min_count": 3}, 3)]:
    call = f"Vocabulary(sentences{', ' if options else ''}{options.get('min_count', '')})"
    made = Vocabulary([list(s) for s in sentences], **options)
    want = ["<pad>", "<unk>", *order[:kept]]
    why = "hold the specials, then words by falling count, then by text"
    check.equal(check.attribute(made, "words", call), want, f"{call}.words", why=why)
    want = [0, sum([3, 3, 3, 2, 1, 1, 1][kept:]), *[3, 3, 3, 2, 1, 1, 1][:kept]]
    why = "count each word, and for <unk> all tokens without a number"
    check.equal(check.attribute(made, "counts", call), want, f"{call}.counts", why=why)
    found = check.answer(made.encode, ["я", "ёж", "nobody", "z", ""], call=f"{call}.encode(tokens)")
    want = [7 if kept == 7 else 1, 4, 1, 5 if kept > 3 else 1, 1]
    check.equal(found, want, f"{call}.encode(tokens)", why="give each word its place in words, or 1")
    found = check.answer(made.decode, [4, 0, 1, 2, 2], call=f"{call}.decode([4, 0, 1, 2, 2])")
    want = ["ёж", "<pad>", "<unk>", "a", "a"]
    check.equal(found, want, f"{call}.decode([4, 0, 1, 2, 2])", why="give the word of each number")
    found = check.answer(made.encode, [], call=f"{call}.encode([])")
    check.equal(found, [], f"{call}.encode([])", why="be empty for no tokens")
strange = [["<pad>", "a", "<unk>", "<pad>", "<pad>"], ["a"]]
made, call = Vocabulary(strange), "Vocabulary of a text that spells <pad> and <unk>"
why = "take them for unknown words"
check.equal(check.attribute(made, "words", call), ["<pad>", "<unk>", "a"], f"{call}: words", why=why)
check.equal(check.attribute(made, "counts", call), [0, 4, 2], f"{call}: counts", why=why)
found = check.answer(made.encode, ["<pad>", "a", "<unk>"], call=f"{call}: encode")
check.equal(found, [1, 2, 1], f"{call}: encode", why=why)
empty, call = Vocabulary([]), "Vocabulary([])"
check.equal(check.attribute(empty, "words", call), ["<pad>", "<unk>"], f"{call}.words")
check.equal(check.answer(empty.encode, ["a"], call=f"{call}.encode"), [1], f"{call}.encode(['a'])")
one, two = Vocabulary([["p", "q"]]), Vocabulary([["q"]])
found = check.answer(one.encode, ["p", "q"], call="encode of a first vocabulary beside a second")
check.equal(found, [2, 3], "encode of a first vocabulary beside a second", why="be its own")
made = Vocabulary(iter([["p", "q"], ["q"]]))
found = check.attribute(made, "counts", "Vocabulary(a generator)")
check.equal(found, [0, 0, 2, 1], "Vocabulary(a generator).counts", why="go over sentences once")
### END HIDDEN TESTS

# %% mutant="vocabulary" why="an unknown word collides with the padding"
# - return [self._numbers.get(token, 1) for token in tokens]
# + return [self._numbers.get(token, 0) for token in tokens]

# %% mutant="vocabulary" why="leaves unknown words out"
# - return [self._numbers.get(token, 1) for token in tokens]
# + return [self._numbers[token] for token in tokens if token in self._numbers]

# %% mutant="vocabulary" why="ties in the order of first sight"
# - kept.sort(key=lambda word: (-seen[word], word))
# + kept.sort(key=lambda word: -seen[word])

# %% mutant="vocabulary" why="ties from z to a"
# - kept.sort(key=lambda word: (-seen[word], word))
# + kept.sort(key=lambda word: (seen[word], word), reverse=True)

# %% mutant="vocabulary" why="rare words first"
# - kept.sort(key=lambda word: (-seen[word], word))
# + kept.sort(key=lambda word: (seen[word], word))

# %% mutant="vocabulary" why="alphabetical"
# - kept.sort(key=lambda word: (-seen[word], word))
# + kept.sort()

# %% mutant="vocabulary" why="more than min_count"
# - kept = [word for word, n in seen.items() if n >= min_count and word not in special]
# + kept = [word for word, n in seen.items() if n > min_count - (min_count == 1) and word not in special]

# %% mutant="vocabulary" why="a text can spell the padding"
# - self._numbers = {word: i for i, word in enumerate(kept, start=2)}
# + self._numbers = {word: i for i, word in enumerate(self.words)}

# %% mutant="vocabulary" why="counts nobody as unknown"
# - self.counts = [0, others] + [seen[word] for word in kept]
# + self.counts = [0, 0] + [seen[word] for word in kept]

# %% mutant="vocabulary" why="numbers shared by all vocabularies"
# - self._numbers = {word: i for i, word in enumerate(kept, start=2)}
# + Vocabulary._numbers = {word: i for i, word in enumerate(kept, start=2)}

# %% mutant="vocabulary" why="a default of its own"
# - def __init__(self, sentences: Iterable[Sequence[str]], min_count: int = 1) -> None:
# + def __init__(self, sentences: Iterable[Sequence[str]], min_count: int = 2) -> None:


# %% alternative="vocabulary" why="sorted pairs, numbers looked up in the list of words"
class Vocabulary:
    def __init__(self, sentences, min_count=1):
        self.table, total = {}, 0
        for sentence in sentences:
            for token in sentence:
                total += 1
                self.table[token] = self.table.get(token, 0) + 1
        self.table.pop("<pad>", None)
        self.table.pop("<unk>", None)
        pairs = sorted((-n, word) for word, n in self.table.items() if n >= min_count)
        self.words = ["<pad>", "<unk>"] + [word for _, word in pairs]
        self.counts = [0, total + sum(n for n, _ in pairs)] + [-n for n, _ in pairs]

    def encode(self, tokens):
        return [self.words.index(t, 2) if t in self.words[2:] else 1 for t in tokens]

    def decode(self, numbers):
        return [self.words[i] for i in numbers]


# %%
speeches = [tokenize(speech) for speech in plays.text.split("\n\n")]
vocabulary = Vocabulary(speeches)
counts = np.array(vocabulary.counts, dtype=float)[2:]
covered = np.cumsum(counts) / counts.sum()
fig, (left, right) = plt.subplots(1, 2, figsize=(11, 3.6))
plots.curves(
    {"words": (np.arange(1, len(counts) + 1), counts)},
    *("Zipf's law: frequency falls like one over rank", "rank of the word", "times seen"),
    log_x=True,
    log_y=True,
    ax=left,
)
left.plot([1, len(counts)], [counts[0], counts[0] / len(counts)], "--", color="0.5")
for rank in (1, 10, 100, 1000):
    word = vocabulary.words[rank + 1]
    left.annotate(
        word, (rank, counts[rank - 1]), xytext=(4, 5), textcoords="offset points", fontsize=9
    )
plots.curves(
    {"share": (np.arange(1, len(counts) + 1), covered)},
    *("How much of the text the first words cover", "size of the vocabulary", "share of all tokens"),
    log_x=True,
    ax=right,
)
right.axvline(settings["words"], linestyle="--", color="0.5")
plots.show(
    "Left: the frequency of words against their rank, nearly a straight line on logarithmic axes. "
    "Right: the share of the text that the most frequent words cover rises slowly to 1."
)
print(f"{len(counts)} different words; {np.mean(counts == 1):.0%} of them are seen once")
print(f"the first {settings['words']} cover {covered[settings['words'] - 1]:.0%} of the text")

# %% [markdown]
# The dashed line is exactly one over rank ([Zipf, 1935](https://en.wikipedia.org/wiki/Zipf%27s_law)). Two things follow for the rest of the week: a short list of words covers most of a text, and a large part of all words is seen once, so nothing can be learnt of them as wholes. Section 4 comes back to those.

# %% [markdown] lang="ru"
# Пунктир — ровно «единица, делённая на ранг» ([закон Ципфа](https://ru.wikipedia.org/wiki/Закон_Ципфа)). Из него следуют две вещи: короткий список слов покрывает почти весь текст, а огромная часть слов встречается всего раз, и о них как о целых ничему не научишься. К ним мы вернёмся в разделе 4.

# %% [markdown]
# ## 2. Who stands next to whom
# {{task:count_pairs}}
#
# "You shall know a word by the company it keeps" ([Firth, 1957](https://en.wikipedia.org/wiki/Distributional_semantics)). So count the company: for every ordered pair of *different places* of one sentence, at most `window` places apart, add 1 at [word there, word here]. The table is symmetric. At the ends of a sentence the window is cut; **it never reaches into the next sentence**: the last word of one speaker says little about the first of another. A word that stands twice within a window is its own neighbour, once each way.

# %% [markdown] lang="ru"
# ## 2. Кто с кем стоит рядом
# {{task:count_pairs}}
#
# «Слово узнаётся по компании, в которой оно бывает» ([Фёрс, 1957](https://ru.wikipedia.org/wiki/Дистрибутивная_семантика)). Посчитаем компанию: для каждой упорядоченной пары *разных мест* одного предложения на расстоянии не больше `window` прибавим 1 в клетку [слово там, слово здесь]. Таблица симметрична. На концах предложения окно обрезается и **никогда не заходит в следующее предложение**: последнее слово одного персонажа мало что говорит о первом слове другого. Слово, которое стоит в окне дважды, — сосед самому себе, по разу в каждую сторону.


# %% solution="count_pairs"
def count_pairs(
    sentences: Sequence[Sequence[int]], n_words: int, window: int = 2
) -> np.ndarray:
    """How often each word stands near each other one. sentences: lists of numbers < n_words.

    Returns (n_words, n_words). window >= 1.
    count_pairs([[0, 1, 2]], 3, window=1) -> [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    """
    ### BEGIN SOLUTION
    counts = np.zeros((n_words, n_words))
    for sentence in sentences:
        row = np.array(sentence, dtype=int)
        for distance in range(1, window + 1):
            np.add.at(counts, (row[distance:], row[:-distance]), 1)
            np.add.at(counts, (row[:-distance], row[distance:]), 1)
    return counts
    ### END SOLUTION


# %% test="count_pairs" points=0.25 difficulty=2 minutes=10
call = "count_pairs([[0, 1, 2], [3]], 4, window=1)"
found = check.answer(count_pairs, [[0, 1, 2], [3]], 4, window=1, call=call)
want = [[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]
check.close(found, want, call, why="count both neighbours, within a sentence")
### BEGIN HIDDEN TESTS
rng = check.rng("count_pairs")


def pairs_by_loops(sentences, n, window):
    table = np.zeros((n, n))
    for s in sentences:
        for i in range(len(s)):
            for j in range(len(s)):
                if i != j and abs(i - j) <= window:
                    table[s[i], s[j]] += 1
    return table


call = "count_pairs([[0, 1, 2, 3, 4]], 5), window left out"
found = check.answer(count_pairs, [[0, 1, 2, 3, 4]], 5, call=call)
check.close(found, pairs_by_loops([[0, 1, 2, 3, 4]], 5, 2), call, why="reach two places each way")
call = "count_pairs([[1, 1]], 3, window=3)"
found = check.answer(count_pairs, [[1, 1]], 3, window=3, call=call)
check.close(found, np.diag([0, 2, 0]), call, why="count a word beside itself once each way")
call = "count_pairs([[0, 1], [2, 3]], 4, window=3)"
found = check.answer(count_pairs, [[0, 1], [2, 3]], 4, window=3, call=call)
want = pairs_by_loops([[0, 1], [2, 3]], 4, 3)
check.close(found, want, call, why="stay within a sentence")
call = "count_pairs([[], [2], []], 3)"
found = check.answer(count_pairs, [[], [2], []], 3, call=call)
check.close(found, np.zeros((3, 3)), call, why="find no pairs in sentences of no or one word")
check.close(check.answer(count_pairs, [], 2, call="count_pairs([], 2)"), np.zeros((2, 2)), "count_pairs([], 2)")
for window in (1, 2, 3, 5, 9):
    lengths = rng.integers(0, 9, size=6)
    sentences = [rng.integers(0, 7, size=n).tolist() for n in (*lengths, 8)]
    call = f"count_pairs(sentences, 8, window={window})"
    found = check.answer(count_pairs, sentences, 8, window=window, call=call)
    why = "agree with a loop over pairs of places"
    check.close(found, pairs_by_loops(sentences, 8, window), call, why=why)
### END HIDDEN TESTS

# %% mutant="count_pairs" why="looks to the left only"
# - np.add.at(counts, (row[:-distance], row[distance:]), 1)

# %% mutant="count_pairs" why="repeated pairs of a sentence count once"
# - np.add.at(counts, (row[distance:], row[:-distance]), 1)
# - np.add.at(counts, (row[:-distance], row[distance:]), 1)
# + counts[row[distance:], row[:-distance]] += 1
# + counts[row[:-distance], row[distance:]] += 1

# %% mutant="count_pairs" why="the window crosses sentences"
# - for sentence in sentences:
# + for sentence in [[w for s in sentences for w in s]]:

# %% mutant="count_pairs" why="the window is one too short"
# - for distance in range(1, window + 1):
# + for distance in range(1, max(2, window)):

# %% mutant="count_pairs" why="each word is its own neighbour"
# - for distance in range(1, window + 1):
# + np.add.at(counts, (row, row), 1)
# + for distance in range(1, window + 1):

# %% mutant="count_pairs" why="yes or no in place of how often"
# - return counts
# + return (counts > 0).astype(float)

# %% mutant="count_pairs" why="only places exactly window apart"
# - for distance in range(1, window + 1):
# + for distance in [window]:

# %% mutant="count_pairs" why="near neighbours weigh more"
# - np.add.at(counts, (row[distance:], row[:-distance]), 1)
# - np.add.at(counts, (row[:-distance], row[distance:]), 1)
# + np.add.at(counts, (row[distance:], row[:-distance]), 1 / distance)
# + np.add.at(counts, (row[:-distance], row[distance:]), 1 / distance)


# %% alternative="count_pairs" why="a Counter of pairs, whole numbers"
def count_pairs(sentences, n_words, window=2):
    seen = Counter()
    for s in sentences:
        for i, word in enumerate(s):
            for other in s[max(0, i - window) : i] + s[i + 1 : i + 1 + window]:
                seen[word, other] += 1
    table = np.zeros((n_words, n_words), dtype=int)
    for (a, b), n in seen.items():
        table[a, b] = n
    return table


# %% [markdown]
# ### Surprise in place of frequency
# {{task:ppmi}}
#
# In the raw table everybody's best friend is *the*. What tells something is not how often two words meet, but how much more often than chance would have it. With $n_{ij}$ meetings of word $i$ with neighbour $j$, $p_{ij} = n_{ij} / \sum n$, and $p_i$, $q_j$ the shares of its row and column sums,
#
# $$\mathrm{PPMI}_{ij} = \max\Bigl(0,\ \ln \frac{p_{ij}}{p_i\, q_j^{(\alpha)}}\Bigr), \qquad q_j^{(\alpha)} = \frac{n_{\cdot j}^{\alpha}}{\sum_k n_{\cdot k}^{\alpha}}.$$
#
# Pairs that never meet have $\ln 0 = -\infty$; they get 0, as do pairs that meet less than by chance. With $\alpha = 0.75$ rare neighbours look less rare: without that, two words that met once by accident would be the greatest surprise of all ([Levy et al., 2015, §3](https://aclanthology.org/Q15-1016/)). Rows or columns without any count give 0, and so does a table of zeros; no NaN, no infinity.

# %% [markdown] lang="ru"
# ### Неожиданность вместо частоты
# {{task:ppmi}}
#
# В таблице счётчиков лучший друг у всех один — артикль *the*. Важно не то, как часто слова встречаются, а насколько чаще, чем вышло бы случайно. Пусть $n_{ij}$ — число встреч слова $i$ с соседом $j$, $p_{ij} = n_{ij} / \sum n$, а $p_i$ и $q_j$ — доли сумм его строки и столбца. Тогда
#
# $$\mathrm{PPMI}_{ij} = \max\Bigl(0,\ \ln \frac{p_{ij}}{p_i\, q_j^{(\alpha)}}\Bigr), \qquad q_j^{(\alpha)} = \frac{n_{\cdot j}^{\alpha}}{\sum_k n_{\cdot k}^{\alpha}}.$$
#
# У пар, которые не встретились ни разу, $\ln 0 = -\infty$; им достаётся 0, как и парам, которые встречаются реже случайного. При $\alpha = 0{,}75$ редкие соседи кажутся не такими редкими: иначе самой большой неожиданностью оказались бы два слова, случайно встретившиеся один раз ([Levy et al., 2015, §3](https://aclanthology.org/Q15-1016/)). Строки и столбцы без единой встречи дают 0, таблица из нулей — тоже; ни NaN, ни бесконечностей.


# %% solution="ppmi"
def ppmi(counts: np.ndarray, alpha: float = 1.0) -> np.ndarray:
    """Positive pointwise mutual information. counts: (n, m), >= 0, words by neighbours -> (n, m).

    alpha > 0: the power of the neighbours' counts.
    ppmi([[3, 1], [0, 4]]) -> [[ln 2, 0], [0, ln 1.6]]
    """
    ### BEGIN SOLUTION
    counts = np.array(counts, dtype=float)
    neighbours = counts.sum(axis=0) ** alpha
    i, j = np.nonzero(counts)
    chance = counts.sum(axis=1)[i] * neighbours[j] / neighbours.sum()
    surprise = np.zeros_like(counts)
    surprise[i, j] = np.log(counts[i, j] / chance)
    return np.maximum(surprise, 0)
    ### END SOLUTION


# %% test="ppmi" points=0.5 difficulty=2 minutes=15
call = "ppmi([[3, 1], [0, 4]])"
found = check.answer(ppmi, np.array([[3, 1], [0, 4]]), call=call)
want = [[np.log(2), 0], [0, np.log(1.6)]]
check.close(found, want, call, why="be the logarithm of counts over chance, and never below 0")
### BEGIN HIDDEN TESTS
rng = check.rng("ppmi")


def ppmi_by_loops(table, alpha):
    """One cell at a time."""
    out = np.zeros(table.shape)
    powers = [table[:, j].sum() ** alpha for j in range(table.shape[1])]
    for i, j in np.ndindex(table.shape):
        if table[i, j] > 0:
            p, row = table[i, j] / table.sum(), table[i].sum() / table.sum()
            out[i, j] = max(0.0, np.log(p / row / (powers[j] / sum(powers))))
    return out


table = np.array([[7.0, 1.0, 0.0], [2.0, 0.0, 9.0]])
for options in ({}, {"alpha": 1.0}, {"alpha": 0.75}, {"alpha": 0.5}):
    call = f"ppmi([[7, 1, 0], [2, 0, 9]]{', alpha=' if options else ''}{options.get('alpha', '')})"
    found = check.answer(ppmi, table, call=call, **options)
    why = "take the power of the neighbours' counts, which are sums of columns"
    check.close(found, ppmi_by_loops(table, options.get("alpha", 1.0)), call, why=why)
for shape in [(4, 6), (6, 4), (1, 5), (5, 1), (3, 3)]:
    for options in ({}, {"alpha": 0.75}, {"alpha": 0.3}):
        table = rng.poisson(1.5, size=shape)
        table[0, 0] = 3
        call = f"ppmi(counts{', alpha=' if options else ''}{options.get('alpha', '')}) of shape {shape}"
        found = check.answer(ppmi, table, call=call, **options)
        want = ppmi_by_loops(table, options.get("alpha", 1.0))
        check.close(found, want, call, rtol=1e-9, atol=1e-12, why="agree with the formula, cell by cell")
table = np.array([[0, 0, 0], [4, 0, 1], [1, 0, 3]])
for alpha in (1.0, 0.75):
    call = f"ppmi of counts with an empty row and an empty column, alpha={alpha}"
    found = check.answer(ppmi, table, alpha=alpha, call=call)
    check.close(found, ppmi_by_loops(table, alpha), call, why="be 0 where there is no count, not NaN")
call = "ppmi of a table of zeros"
check.close(check.answer(ppmi, np.zeros((2, 3)), call=call), np.zeros((2, 3)), call, why="be zeros")
table = rng.integers(1, 9, size=(3, 5)) * 10_000_000
call = "ppmi of counts in the millions"
check.close(check.answer(ppmi, table, call=call), ppmi_by_loops(table, 1.0), call, why="not overflow")
call, table = "ppmi of counts that are no whole numbers", rng.uniform(0.1, 2, size=(3, 4))
check.close(check.answer(ppmi, table, call=call), ppmi_by_loops(table, 1.0), call, why="not round")
### END HIDDEN TESTS

# %% mutant="ppmi" why="log 0: minus infinity and NaN"
# - i, j = np.nonzero(counts)
# + i, j = np.indices(counts.shape).reshape(2, -1)
# - return np.maximum(surprise, 0)
# + return surprise

# %% mutant="ppmi" why="keeps negative values"
# - return np.maximum(surprise, 0)
# + return surprise

# %% mutant="ppmi" why="adds one to every count against log 0"
# - counts = np.array(counts, dtype=float)
# + counts = np.array(counts, dtype=float) + 1

# %% mutant="ppmi" why="binary logarithm"
# - surprise[i, j] = np.log(counts[i, j] / chance)
# + surprise[i, j] = np.log2(counts[i, j] / chance)

# %% mutant="ppmi" why="the power of the words, not of their neighbours"
# - chance = counts.sum(axis=1)[i] * neighbours[j] / neighbours.sum()
# + words = counts.sum(axis=1) ** alpha
# + chance = words[i] / words.sum() * counts.sum(axis=0)[j]

# %% mutant="ppmi" why="the powers are not made shares again"
# - chance = counts.sum(axis=1)[i] * neighbours[j] / neighbours.sum()
# + chance = counts.sum(axis=1)[i] * neighbours[j] / counts.sum()

# %% mutant="ppmi" why="the power of the shares, which do not add up to 1"
# - chance = counts.sum(axis=1)[i] * neighbours[j] / neighbours.sum()
# + chance = counts.sum(axis=1)[i] * (counts.sum(axis=0)[j] / counts.sum()) ** alpha

# %% mutant="ppmi" why="alpha ignored"
# - neighbours = counts.sum(axis=0) ** alpha
# + neighbours = counts.sum(axis=0)

# %% mutant="ppmi" why="a default of 0.75"
# - def ppmi(counts: np.ndarray, alpha: float = 1.0) -> np.ndarray:
# + def ppmi(counts: np.ndarray, alpha: float = 0.75) -> np.ndarray:

# %% mutant="ppmi" why="the sums of rows and columns change places"
# - chance = counts.sum(axis=1)[i] * neighbours[j] / neighbours.sum()
# + chance = counts.sum(axis=1)[j % len(counts)] * neighbours[i % len(neighbours)] / neighbours.sum()


# %% alternative="ppmi" why="differences of logarithms, infinities replaced"
def ppmi(counts, alpha=1.0):
    counts = np.asarray(counts, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        rows, columns = np.log(counts.sum(1, keepdims=True)), np.log(counts.sum(0))
        # The total of the p cancels with that of the rows.
        total = np.log(np.sum(counts.sum(0) ** alpha))
        result = np.log(counts) - rows - (alpha * columns - total)
    return np.clip(np.nan_to_num(result, nan=0.0, neginf=0.0, posinf=0.0), 0, None)


# %%
toy = "the cat drinks milk . the dog drinks water . a cat and a dog sleep . the king drinks wine"
toy_sentences = [sentence.split() for sentence in toy.split(" . ")]
toy_words = Vocabulary(toy_sentences)
toy_numbers = [[n - 2 for n in toy_words.encode(s)] for s in toy_sentences]
toy_counts = count_pairs(toy_numbers, len(toy_words.words) - 2)
fig, (left, right) = plt.subplots(1, 2, figsize=(12, 5))
week06.heat(toy_counts, toy_words.words[2:], "counts: how often they meet", left)
week06.heat(ppmi(toy_counts), toy_words.words[2:], "PPMI: how much more often than by chance", right)
plots.show(
    "Two tables of the words of four short sentences: in the counts the largest numbers stand beside "
    "'drinks' and 'the'; in the PPMI they stand at rare pairs such as 'sleep' and 'dog'."
)
