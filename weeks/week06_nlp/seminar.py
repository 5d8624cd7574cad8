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
from functools import cache

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
# 2. A **word** is a run of letters (`str.isalpha`: no ² and no ½). To a letter belong all combining marks after it (U+0300 to U+036F): the stress in *за́мок* must not cut the word; a mark without a letter before it is left out. One apostrophe or hyphen *between two letters* belongs to the word, too: `don't`, `кто-то`; two in a row do not.
# 3. A **number** is a run of the digits 0 to 9; letters and digits don't mix: `2nd` is `2`, `nd`.
# 4. All else separates and is left out: spaces, punctuation, `_`, emoji.

# %% [markdown] lang="ru"
# ## 1. Что такое слово?
# {{task:tokenize}}
#
# Прежде чем что-то считать, текст надо разрезать. После `text.split()` слова `king,` и `King` окажутся разными. Наши правила — для любого алфавита:
#
# 1. Привести текст к форме NFC стандарта Unicode (`unicodedata.normalize`), чтобы `é` было одним символом, как бы его ни набрали; затем — к нижнему регистру. `’` превращается в `'`, а `ё` — в `е`, как и пишут в большинстве русских текстов. `й` остаётся `й`.
# 2. **Слово** — подряд идущие буквы (`str.isalpha`: ² и ½ — не буквы). К букве относятся и все комбинируемые знаки после неё (U+0300 … U+036F): ударение в слове *за́мок* не должно его разрезать; знак, перед которым нет буквы, отбрасывается. Один апостроф или дефис *между двумя буквами* тоже часть слова: `don't`, `кто-то`; два подряд — уже нет.
# 3. **Число** — подряд идущие цифры от 0 до 9; буквы с цифрами не смешиваются: `2nd` — это `2`, `nd`.
# 4. Всё прочее разделяет и отбрасывается: пробелы, знаки препинания, `_`, эмодзи.


# %% solution="tokenize"
def tokenize(text: str) -> list[str]:
    """The words and numbers of a text, in their order, in lower case.

    tokenize("Don't panic: ёлка, 2nd!") -> ["don't", "panic", "елка", "2", "nd"]
    """
    ### BEGIN SOLUTION
    text = unicodedata.normalize("NFC", text).lower().replace("ё", "е").replace("’", "'")
    # Python's \w takes ², ½ and digits of all alphabets, too.
    text = "".join(" " if c.isalnum() and not c.isalpha() and c not in "0123456789" else c for c in text)
    letters = r"(?:[^\W\d_][\u0300-\u036f]*)+"
    return re.findall(rf"{letters}(?:['-]{letters})*|[0-9]+", text)
    ### END SOLUTION


# %% test="tokenize" points=0.25 difficulty=2 minutes=10
call = 'tokenize("Don\'t panic: ёлка, 2nd!")'
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
    (
        "rock'n'roll mother-in-law",
        ["rock'n'roll", "mother-in-law"],
        "keep several joints in a word",
    ),
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
    ("3.14 10,000", ["3", "14", "10", "000"], "cut a number at a point or a comma"),
    ("m² ½ ٣ 2", ["m", "2"], "take the digits 0 to 9 alone for numbers, and no other for letters"),
    ("a‘b “c”", ["a", "b", "c"], "take the right quote alone for an apostrophe"),
    ("кто—то a–b", ["кто", "то", "a", "b"], "let dashes separate: they are no hyphens"),
    ("\u0301а б", ["а", "б"], "leave out a mark without a letter before it"),
    ("а\u0302\u0301б х\u0302ор", ["а\u0302\u0301б", "х\u0302ор"], "keep all marks of a letter, of any kind"),
    ("кто\u0301-то o\u0302'k", ["кто\u0301-то", "o\u0302'k".replace("o\u0302", "ô")], "join after a letter with a mark, too"),
    ("а\u0483б", ["а", "б"], "know the marks U+0300 to U+036F, and no others"),
    ("\ufb01n", ["\ufb01n"], "bring texts to NFC, not to NFKC"),
]:
    call = f"tokenize({text!r})"
    check.equal(check.answer(tokenize, text, call=call), want, call, why=why)
### END HIDDEN TESTS

# %% mutant="tokenize" why="splits at spaces"
# - letters = r"(?:[^\W\d_][\u0300-\u036f]*)+"
# - return re.findall(rf"{letters}(?:['-]{letters})*|[0-9]+", text)
# + return [t.strip(".,:;!?") for t in text.split()]

# %% mutant="tokenize" why="takes ² and ½ for letters"
# - text = "".join(" " if c.isalnum() and not c.isalpha() and c not in "0123456789" else c for c in text)
# + pass

# %% mutant="tokenize" why="NFKC"
# - text = unicodedata.normalize("NFC", text).lower().replace("ё", "е").replace("’", "'")
# + text = unicodedata.normalize("NFKC", text).lower().replace("ё", "е").replace("’", "'")

# %% mutant="tokenize" why="a stress mark alone may be a letter"
# - letters = r"(?:[^\W\d_][\u0300-\u036f]*)+"
# + letters = r"(?:[^\W\d_]|[\u0300-\u036f])+"

# %% mutant="tokenize" why="a long dash joins"
# - return re.findall(rf"{letters}(?:['-]{letters})*|[0-9]+", text)
# + return re.findall(rf"{letters}(?:['—-]{letters})*|[0-9]+", text)

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
# Остальные номера получают слова, встреченные не меньше `min_count` раз: сначала самые частые, а среди одинаково частых — меньшее как строка (так, как строки сравнивает Python). Без твёрдого порядка для равных два запуска дадут два разных словаря, и сохранённые векторы достанутся не тем словам. Токен, который случайно пишется как `<pad>` или `<unk>`, пришёл из текста, а не от вас: это неизвестное слово.


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
    check.equal(
        found, want, f"{call}.encode(tokens)", why="give each word its place in words, or 1"
    )
    found = check.answer(made.decode, [4, 0, 1, 2, 2], call=f"{call}.decode([4, 0, 1, 2, 2])")
    want = ["ёж", "<pad>", "<unk>", "a", "a"]
    check.equal(found, want, f"{call}.decode([4, 0, 1, 2, 2])", why="give the word of each number")
    found = check.answer(made.encode, [], call=f"{call}.encode([])")
    check.equal(found, [], f"{call}.encode([])", why="be empty for no tokens")
strange = [["<pad>", "a", "<unk>", "<pad>", "<pad>"], ["a"]]
made, call = Vocabulary(strange), "Vocabulary of a text that spells <pad> and <unk>"
why = "take them for unknown words"
check.equal(
    check.attribute(made, "words", call), ["<pad>", "<unk>", "a"], f"{call}: words", why=why
)
check.equal(check.attribute(made, "counts", call), [0, 4, 2], f"{call}: counts", why=why)
found = check.answer(made.encode, ["<pad>", "a", "<unk>"], call=f"{call}: encode")
check.equal(found, [1, 2, 1], f"{call}: encode", why=why)
empty, call = Vocabulary([]), "Vocabulary([])"
why = "know no words but the specials"
check.equal(check.attribute(empty, "words", call), ["<pad>", "<unk>"], f"{call}.words", why=why)
found = check.answer(empty.encode, ["a"], call=f"{call}.encode(['a'])")
check.equal(found, [1], f"{call}.encode(['a'])", why=why)
one, two = Vocabulary([["p", "q"]]), Vocabulary([["q"]])
found = check.answer(one.encode, ["p", "q"], call="encode of a first vocabulary beside a second")
check.equal(found, [2, 3], "encode of a first vocabulary beside a second", why="be its own")
made, call = Vocabulary([["a", "B", "a", "B", "A"]]), "Vocabulary of A, a and B"
found = check.attribute(made, "words", call)
why = "take tokens as they are, and compare them as Python does"
check.equal(found, ["<pad>", "<unk>", "B", "a", "A"], f"{call}: words", why=why)
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
@cache
def read_plays() -> tuple[list[list[str]], Vocabulary]:
    """The speeches as lists of words, and their vocabulary."""
    speeches = [tokenize(speech) for speech in plays.text.split("\n\n")]
    return speeches, Vocabulary(speeches)


_, vocabulary = read_plays()
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
    *(
        "How much of the text the first words cover",
        "size of the vocabulary",
        "share of all tokens",
    ),
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
# Пунктир — ровно «единица, делённая на ранг» ([закон Ципфа](https://ru.wikipedia.org/wiki/Закон_Ципфа)). Из него следуют две вещи: короткий список слов покрывает большую часть текста, а огромная часть слов встречается всего раз, и о них как о целых ничего не узнать. К ним мы вернёмся в разделе 4.

# %% [markdown]
# ## 2. Who stands next to whom
# {{task:count_pairs}}
#
# "You shall know a word by the company it keeps" ([Firth, 1957](https://en.wikipedia.org/wiki/Distributional_semantics)). So count the company: for every ordered pair of *different places* of one sentence, at most `window` places apart, add 1 at [word at one place, word at the other]. The table is symmetric. At the ends of a sentence the window is cut; **it never reaches into the next sentence**: the last word of one speaker says little about the first of another. A word that stands twice within a window is its own neighbour, once each way.

# %% [markdown] lang="ru"
# ## 2. Кто с кем стоит рядом
# {{task:count_pairs}}
#
# «Слово узнаётся по компании, в которой оно бывает» ([Фёрс, 1957](https://ru.wikipedia.org/wiki/Дистрибутивная_семантика)). Посчитаем компанию: для каждой упорядоченной пары *разных мест* одного предложения на расстоянии не больше `window` прибавим 1 в клетку [слово на одном месте, слово на другом]. Таблица симметрична. На концах предложения окно обрезается и **никогда не заходит в следующее предложение**: последнее слово одного персонажа мало что говорит о первом слове другого. Слово, которое стоит в окне дважды, — сосед самому себе, по разу в каждую сторону.


# %% solution="count_pairs"
def count_pairs(sentences: Sequence[Sequence[int]], n_words: int, window: int = 2) -> np.ndarray:
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
check.close(
    check.answer(count_pairs, [], 2, call="count_pairs([], 2)"),
    np.zeros((2, 2)),
    "count_pairs([], 2)",
    why="be a table of zeros for no sentences",
)
call = "count_pairs of two words, 400 times in turn"
found = check.answer(count_pairs, [[0, 1] * 400], 2, window=1, call=call)
check.close(found, [[0, 799], [799, 0]], call, why="bear large counts")
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
for options in ({}, {"alpha": 1.0}, {"alpha": 0.75}, {"alpha": 0.5}, {"alpha": 1.6}):
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
        check.close(
            found, want, call, rtol=1e-9, atol=1e-12, why="agree with the formula, cell by cell"
        )
table = np.array([[0, 0, 0], [4, 0, 1], [1, 0, 3]])
for alpha in (1.0, 0.75):
    call = f"ppmi of counts with an empty row and an empty column, alpha={alpha}"
    found = check.answer(ppmi, table, alpha=alpha, call=call)
    check.close(
        found, ppmi_by_loops(table, alpha), call, why="be 0 where there is no count, not NaN"
    )
call = "ppmi of a table of zeros"
check.close(check.answer(ppmi, np.zeros((2, 3)), call=call), np.zeros((2, 3)), call, why="be zeros")
table = rng.integers(1, 9, size=(3, 5)) * 10_000_000
call = "ppmi of counts in the millions"
check.close(
    check.answer(ppmi, table, call=call), ppmi_by_loops(table, 1.0), call, why="not overflow"
)
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
week06.heat(
    ppmi(toy_counts), toy_words.words[2:], "PPMI: how much more often than by chance", right
)
plots.show(
    "Two tables of the words of four short sentences: in the counts the largest number is that of "
    "'the' and 'drinks'; in the PPMI it is that of a rare pair, 'king' and 'wine'."
)

# %% [markdown]
# ### Few numbers in place of many
# {{task:svd_vectors}}
#
# A row of that table is already a vector of the word, but a long and sparse one. Keep the directions in which the table varies most: with the singular value decomposition $M = U S V^\top$, singular values falling, the vectors are the rows of the first $d$ columns of $U \sqrt S$. The sign of a column is arbitrary, and another library or machine may choose another one; so turn each column such that **its entry of largest absolute value is positive**. *Truncated* means that the rest is dropped, and the noise with it: two words whose neighbours are alike, but not the same, come to lie together.

# %% [markdown] lang="ru"
# ### Мало чисел вместо многих
# {{task:svd_vectors}}
#
# Строка этой таблицы — уже вектор слова, но длинный и разреженный. Оставим направления, в которых таблица меняется сильнее всего: если $M = U S V^\top$ — сингулярное разложение и сингулярные числа идут по убыванию, то векторы — строки первых $d$ столбцов матрицы $U \sqrt S$. Знак столбца произволен, и на другой машине или в другой библиотеке он может выйти другим; поэтому поверните каждый столбец так, чтобы **наибольшее по модулю число в нём было положительным**. Разложение *усечённое*: остальное отбрасывается, а вместе с ним и шум, и слова с похожими, но не одинаковыми соседями оказываются рядом.


# %% solution="svd_vectors"
def svd_vectors(matrix: np.ndarray, dim: int) -> np.ndarray:
    """The first dim columns of U sqrt(S), signs made definite. matrix: (n, m) -> (n, dim).

    1 <= dim <= min(n, m). svd_vectors([[-9, 0], [0, 4]], 1) -> [[3], [0]]
    """
    ### BEGIN SOLUTION
    u, s, _ = np.linalg.svd(np.asarray(matrix, dtype=float), full_matrices=False)
    largest = np.abs(u).argmax(axis=0)
    signs = np.sign(u[largest, np.arange(u.shape[1])])
    return (signs * u)[:, :dim] * np.sqrt(s[:dim])
    ### END SOLUTION


# %% test="svd_vectors" points=0.25 difficulty=1 minutes=5
call = "svd_vectors([[-9, 0, 0], [0, 4, 0]], 2)"
found = check.answer(svd_vectors, np.array([[-9, 0, 0], [0, 4, 0]]), 2, call=call)
check.close(found, [[3, 0], [0, 2]], call, why="be U times the root of S, the largest positive")
### BEGIN HIDDEN TESTS
rng = check.rng("svd_vectors")
for n, m, dim in [(5, 7, 3), (7, 5, 2), (6, 4, 4), (4, 6, 1), (5, 3, 3), (1, 4, 1)]:
    left = np.linalg.qr(rng.normal(size=(n, min(n, m))))[0]
    right = np.linalg.qr(rng.normal(size=(m, min(n, m))))[0]
    s = np.arange(min(n, m), 0, -1) * rng.uniform(1.0, 1.2) + 0.3
    call = f"svd_vectors(matrix of shape {(n, m)}, {dim})"
    found = check.array(check.answer(svd_vectors, left * s @ right.T, dim, call=call), call)
    check.equal(
        found.shape, (n, dim), f"shape of {call}", why="give a row a word, dim numbers each"
    )
    why = "have squared columns that add up to the largest singular values, falling"
    check.close((found**2).sum(axis=0), s[:dim], call, rtol=1e-9, why=why)
    want = (left * s)[:, :dim] @ left[:, :dim].T
    check.close(
        found @ found.T,
        want,
        f"products of rows of {call}",
        rtol=1e-8,
        atol=1e-10,
        why="belong to the first columns of U",
    )
    largest = np.take_along_axis(found, np.abs(found).argmax(axis=0)[None], axis=0)
    check.that((largest > 0).all(), "have in each column a positive entry of largest absolute value")
call = "svd_vectors([[0, 0.09], [0.25, 0]], 2)"
found = check.answer(svd_vectors, np.array([[0, 0.09], [0.25, 0]]), 2, call=call)
check.close(found, [[0, 0.3], [0.5, 0]], call, rtol=1e-9, why="keep small singular values, too")
call, low = "svd_vectors of a matrix of rank 1", np.outer([1.0, 2.0, 2.0], [3.0, 4.0])
found = check.array(check.answer(svd_vectors, low, 2, call=call), call)
check.close(
    found @ found.T,
    np.outer([1, 2, 2], [1, 2, 2]) * 5 / 3,
    call,
    atol=1e-6,
    why="have no NaN, nor more than there is",
)
### END HIDDEN TESTS

# %% mutant="svd_vectors" why="forgets the root"
# - return (signs * u)[:, :dim] * np.sqrt(s[:dim])
# + return (signs * u)[:, :dim] * s[:dim]

# %% mutant="svd_vectors" why="forgets the singular values"
# - return (signs * u)[:, :dim] * np.sqrt(s[:dim])
# + return (signs * u)[:, :dim]

# %% mutant="svd_vectors" why="the smallest ones"
# - return (signs * u)[:, :dim] * np.sqrt(s[:dim])
# + return (signs * u)[:, -dim:] * np.sqrt(s[-dim:])

# %% mutant="svd_vectors" why="rows of U"
# - return (signs * u)[:, :dim] * np.sqrt(s[:dim])
# + return (signs * u)[:dim].T * np.sqrt(s[:1])

# %% mutant="svd_vectors" why="vectors of the neighbours"
# - u, s, _ = np.linalg.svd(np.asarray(matrix, dtype=float), full_matrices=False)
# + u, s, _ = np.linalg.svd(np.asarray(matrix, dtype=float).T, full_matrices=False)

# %% mutant="svd_vectors" why="centres the columns, as PCA does"
# - u, s, _ = np.linalg.svd(np.asarray(matrix, dtype=float), full_matrices=False)
# + u, s, _ = np.linalg.svd(matrix - np.mean(matrix, axis=0), full_matrices=False)

# %% mutant="svd_vectors" why="signs as they come"
# - return (signs * u)[:, :dim] * np.sqrt(s[:dim])
# + return u[:, :dim] * np.sqrt(s[:dim])

# %% mutant="svd_vectors" why="a positive sum in place of a positive largest entry"
# - signs = np.sign(u[largest, np.arange(u.shape[1])])
# + signs = np.sign(u.sum(axis=0))

# %% mutant="svd_vectors" why="absolute values"
# - return (signs * u)[:, :dim] * np.sqrt(s[:dim])
# + return np.abs(u)[:, :dim] * np.sqrt(s[:dim])


# %% alternative="svd_vectors" why="eigenvectors of M Mᵀ"
def svd_vectors(matrix, dim):
    matrix = np.asarray(matrix, dtype=float)
    values, vectors = np.linalg.eigh(matrix @ matrix.T)
    found = vectors[:, ::-1][:, :dim] * np.maximum(values[::-1][:dim], 0) ** 0.25
    for column in found.T:
        if column.max() < -column.min():
            column *= -1
    return found


# %%
n_words = settings["words"]
asked = ["king", "romeo", "father", "blood", "night", "heaven", "two"]
casts = {
    "Romeo and Juliet": "romeo juliet tybalt mercutio benvolio nurse capulet laurence friar paris",
    "The Taming of the Shrew": "petruchio katharina hortensio gremio tranio lucentio baptista bianca",
    "Richard III, Henry VI": "richard gloucester edward clarence warwick margaret buckingham york",
}
people = [(name, i) for i, names in enumerate(casts.values()) for name in names.split()]


@cache
def plays_in_numbers() -> list[list[int]]:
    """The speeches; the n_words first words have numbers of their own, all others are unknown."""
    speeches, vocabulary = read_plays()
    return [[n if n < n_words else 1 for n in vocabulary.encode(speech)] for speech in speeches]


def plays_table() -> np.ndarray:
    """Meetings in the plays; those with unknown words don't count."""
    table = count_pairs(plays_in_numbers(), n_words, window=4)
    table[:2] = table[:, :2] = 0
    return table


def neighbours_of(word: str, vectors: np.ndarray, k: int = 5) -> list[str]:
    """The words of the plays with the largest cosine to one."""
    words = read_plays()[1].words
    rows = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    order = np.argsort(-rows @ rows[words.index(word)])
    return [words[i] for i in order if words[i] != word][:k]


def rows_of_people(vectors: np.ndarray) -> np.ndarray:
    """The vectors of the speakers, of length 1."""
    words = read_plays()[1].words
    rows = vectors[[words.index(name) for name, _ in people]]
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@cache
def counted_vectors() -> np.ndarray:
    """The vectors by counting, found once."""
    return svd_vectors(ppmi(plays_table(), alpha=0.75), 50)


start = time.perf_counter()
counted = counted_vectors()
print(f"{len(counted)} words, 50 numbers each, in {time.perf_counter() - start:.1f} s")
for word in asked:
    print(f"{word:>8}: {', '.join(neighbours_of(word, counted))}")

# %% [markdown]
# No dictionary, no grammar, a moment of linear algebra, and *night* lies beside *day*, *two* beside *three*. And the names tell who belongs to whom. Here are speakers of three plays, coloured by the play, in the two directions in which they differ most. Nobody has told the vectors that there are plays.

# %% [markdown] lang="ru"
# Ни словаря, ни грамматики, чуть-чуть линейной алгебры — и *night* стоит рядом с *day*, а *two* — рядом с *three*. Имена же рассказывают, кто с кем связан. Вот действующие лица трёх пьес — цвет обозначает пьесу — в двух направлениях, по которым они различаются сильнее всего. О том, что пьесы вообще существуют, векторам никто не говорил.

# %%
cloud = rows_of_people(counted_vectors())
cloud -= cloud.mean(axis=0)
flat = cloud @ np.linalg.svd(cloud, full_matrices=False)[2][:2].T
fig, ax = plt.subplots(figsize=(8.5, 5.2))
week06.words(flat, [n for n, _ in people], [i for _, i in people], "Who belongs to whom", ax)
for i, play in enumerate(casts):
    ax.scatter([], [], color=plots.PALETTE[i], label=play)
ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=3, fontsize=9)
plots.show(
    "Names of speakers in the plane of the two main directions of their vectors: those of each of "
    "three plays lie together, apart from the other two plays."
)

# %% [markdown]
# ## 3. Learning to guess the neighbours
# {{task:noise_distribution}}
#
# [Word2Vec](glossary:Word2Vec) needs no table. It goes through the text and learns to tell a real neighbour from $k$ words drawn at random, the *negatives* ([Mikolov et al., 2013, §2.2](https://arxiv.org/abs/1310.4546)). From which distribution? By frequency, most negatives would be *the* and *and*; uniformly, mostly words that hardly occur. The authors took the counts to the power 3/4, in between. A word of count 0 (the padding) is never drawn, whatever the power.

# %% [markdown] lang="ru"
# ## 3. Научиться угадывать соседей
# {{task:noise_distribution}}
#
# [Word2Vec](glossary:Word2Vec) обходится без таблицы. Он идёт по тексту и учится отличать настоящего соседа от $k$ случайных слов — *отрицательных примеров* (negatives) ([Mikolov et al., 2013, §2.2](https://arxiv.org/abs/1310.4546)). Из какого распределения их брать? Если по частоте, почти все они будут *the* и *and*; если равномерно — чаще всего слова, которых почти нет в тексте. Авторы взяли частоты в степени 3/4, посередине. Слово с нулевым счётчиком (заполнение) не выпадает никогда, какой бы ни была степень.


# %% solution="noise_distribution"
def noise_distribution(counts: np.ndarray, power: float = 0.75) -> np.ndarray:
    """The probability of each word to be drawn as a negative. counts: (n,), >= 0 -> (n,).

    At least one count is not 0; power >= 0 (0: all words that occur alike).
    noise_distribution([0, 1, 16]) -> [0, 1/9, 8/9]
    """
    ### BEGIN SOLUTION
    counts = np.array(counts, dtype=float)
    weights = np.where(counts > 0, counts**power, 0)
    return weights / weights.sum()
    ### END SOLUTION


# %% test="noise_distribution" points=0.25 difficulty=1 minutes=5
call = "noise_distribution([0, 1, 16])"
found = check.answer(noise_distribution, np.array([0, 1, 16]), call=call)
check.close(found, [0, 1 / 9, 8 / 9], call, why="be counts to the power 3/4, as shares")
### BEGIN HIDDEN TESTS
rng = check.rng("noise_distribution")
for options in (
    {},
    {"power": 1.0},
    {"power": 0.5},
    {"power": 0.75},
    {"power": 0.0},
    {"power": 2.0},
):
    for n in (1, 4, 9):
        table = rng.integers(1, 500, size=n)
        if n > 1:
            table[rng.integers(0, n)] = 0
        weights = [float(c) ** options.get("power", 0.75) if c else 0.0 for c in table]
        call = (
            f"noise_distribution(counts{', power=' if options else ''}{options.get('power', '')})"
        )
        found = check.answer(noise_distribution, table, call=call, **options)
        why = "be shares of the powers, 0 where the count is 0"
        check.close(found, np.array(weights) / sum(weights), call, rtol=1e-9, atol=0, why=why)
call, table = "noise_distribution of real numbers", rng.uniform(0.2, 3, size=5)
found = check.answer(noise_distribution, table, call=call)
check.close(found, table**0.75 / (table**0.75).sum(), call, why="not round")
### END HIDDEN TESTS

# %% mutant="noise_distribution" why="by frequency"
# - weights = np.where(counts > 0, counts**power, 0)
# + weights = counts

# %% mutant="noise_distribution" why="uniform"
# - weights = np.where(counts > 0, counts**power, 0)
# + weights = (counts > 0).astype(float)

# %% mutant="noise_distribution" why="draws the padding where the power is 0"
# - weights = np.where(counts > 0, counts**power, 0)
# + weights = counts**power

# %% mutant="noise_distribution" why="3/4 whatever the power"
# - weights = np.where(counts > 0, counts**power, 0)
# + weights = np.where(counts > 0, counts**0.75, 0)

# %% mutant="noise_distribution" why="no shares"
# - return weights / weights.sum()
# + return weights

# %% mutant="noise_distribution" why="the power of shares, not made shares again"
# - return weights / weights.sum()
# + return np.where(counts > 0, (counts / counts.sum()) ** power, 0)

# %% mutant="noise_distribution" why="a soft maximum"
# - return weights / weights.sum()
# + return np.exp(weights - weights.max()) / np.exp(weights - weights.max()).sum()


# %% alternative="noise_distribution" why="a loop"
def noise_distribution(counts, power=0.75):
    weights = [float(c) ** power if c > 0 else 0.0 for c in counts]
    return [w / sum(weights) for w in weights]


# %% [markdown]
# ### The loss and its gradients
# {{task:sgns}}
#
# Each word has two vectors: $v$ as the centre of a window, $u$ as a neighbour. For a batch of $B$ pairs (centre $c$, neighbour $o$), each with $k$ negatives $n_1, \dots, n_k$,
#
# $$L = -\frac1B \sum_{\text{pairs}} \Bigl[ \ln \sigma(u_o^\top v_c) + \sum_{j:\, n_j \ne o} \ln \sigma(-u_{n_j}^\top v_c) \Bigr].$$
#
# A negative that happens to *be* the neighbour is left out of its pair: else it would be pulled and pushed at once. The derivative of $-\ln\sigma(s)$ is $\sigma(s) - 1$, that of $-\ln\sigma(-s)$ is $\sigma(s)$; the rest is the chain rule. Two traps. A word can stand in a batch many times, also twice among the negatives of one pair, and **its gradients add up**: `grad[rows] += g` keeps only the last one, `np.add.at` adds. And $\ln\sigma(-1000)$ is $-1000$, not $-\infty$: `np.logaddexp(0, x)` is $\ln(1 + e^x)$ without overflow.

# %% [markdown] lang="ru"
# ### Функция потерь и её градиенты
# {{task:sgns}}
#
# У каждого слова два вектора: $v$ — когда оно в центре окна, $u$ — когда оно сосед. Для батча из $B$ пар (центр $c$, сосед $o$), у каждой из которых $k$ отрицательных примеров $n_1, \dots, n_k$,
#
# $$L = -\frac1B \sum_{\text{пары}} \Bigl[ \ln \sigma(u_o^\top v_c) + \sum_{j:\, n_j \ne o} \ln \sigma(-u_{n_j}^\top v_c) \Bigr].$$
#
# Отрицательный пример, который случайно *совпал* с соседом, в своей паре не участвует: иначе его тянули бы и толкали одновременно. Производная $-\ln\sigma(s)$ равна $\sigma(s) - 1$, производная $-\ln\sigma(-s)$ — $\sigma(s)$; дальше — производная сложной функции. Ловушек две. Слово может стоять в батче много раз, в том числе дважды среди отрицательных примеров одной пары, и **его градиенты складываются**: `grad[rows] += g` оставит только последний, а `np.add.at` сложит все. И $\ln\sigma(-1000)$ — это $-1000$, а не $-\infty$: `np.logaddexp(0, x)` считает $\ln(1 + e^x)$ без переполнения.


# %% solution="sgns"
def sgns(
    inner: np.ndarray,
    outer: np.ndarray,
    centres: np.ndarray,
    neighbours: np.ndarray,
    negatives: np.ndarray,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Loss of skip-gram with negative sampling, and its gradients by inner and outer.

    inner: (n, d), the vectors v; outer: (n, d), the vectors u; centres, neighbours: (B,), negatives:
    (B, k), numbers of words, k >= 0 -> a number, (n, d), (n, d): zeros for words not in the batch.
    """
    ### BEGIN SOLUTION
    v, u, w = inner[centres], outer[neighbours], outer[negatives]  # (B, d), (B, d), (B, k, d)
    real = (v * u).sum(axis=1)
    noise = (v[:, None] * w).sum(axis=2)
    counted = negatives != neighbours[:, None]
    loss = np.logaddexp(0, -real).sum() + np.logaddexp(0, noise)[counted].sum()
    pull = -np.exp(-np.logaddexp(0, real))[:, None]  # sigmoid(real) - 1
    push = (np.exp(-np.logaddexp(0, -noise)) * counted)[:, :, None]
    grad_inner, grad_outer = np.zeros(inner.shape), np.zeros(outer.shape)
    np.add.at(grad_inner, centres, pull * u + (push * w).sum(axis=1))
    np.add.at(grad_outer, neighbours, pull * v)
    np.add.at(grad_outer, negatives, push * v[:, None])
    return loss / len(centres), grad_inner / len(centres), grad_outer / len(centres)
    ### END SOLUTION


# %% test="sgns" points=0.75 difficulty=3 minutes=30
def sgns_by_loops(inner, outer, centres, neighbours, negatives):
    """The loss alone, slow and obvious."""
    total = 0.0
    for c, o, drawn in zip(centres, neighbours, negatives, strict=True):
        total += np.log(1 + np.exp(-inner[c] @ outer[o]))
        total += sum(np.log(1 + np.exp(inner[c] @ outer[n])) for n in drawn if n != o)
    return total / len(centres)


def judge_sgns(inner, outer, batch, call, why):
    """Loss and both gradients against the loops and central differences."""
    want = sgns_by_loops(inner, outer, *batch)
    found = check.answer(sgns, inner, outer, *batch, call=call)
    check.equal(len(found), 3, f"len of {call}", why="be three: the loss and two gradients")
    check.close(found[0], want, f"loss of {call}", rtol=1e-8, why=why)
    slopes = check.numerical_gradient(lambda x: sgns_by_loops(x, outer, *batch), inner)
    check.close(found[1], slopes, f"gradient by inner of {call}", rtol=1e-5, atol=1e-8, why=why)
    slopes = check.numerical_gradient(lambda x: sgns_by_loops(inner, x, *batch), outer)
    check.close(found[2], slopes, f"gradient by outer of {call}", rtol=1e-5, atol=1e-8, why=why)


rng = check.rng("sgns")
inner, outer = rng.normal(size=(2, 6, 3))
batch = np.array([0, 2]), np.array([1, 3]), np.array([[4], [5]])
judge_sgns(inner, outer, batch, "sgns of two pairs", "be the mean over pairs, and its slopes")
batch = np.array([0, 0]), np.array([1, 1]), np.array([[4, 4], [4, 2]])
judge_sgns(inner, outer, batch, "sgns of words that repeat", "add up what a word gets")
### BEGIN HIDDEN TESTS
why = "leave a negative out where it is its pair's own neighbour"
batch = np.array([0, 3]), np.array([1, 2]), np.array([[1, 4, 2], [2, 2, 1]])
judge_sgns(inner, outer, batch, "sgns with the neighbour among the negatives", why)
batch = np.array([2, 4]), np.array([2, 0]), np.array([[4, 2], [4, 1]])
why = "treat a word that is its own neighbour, or its own negative, like others"
judge_sgns(inner, outer, batch, "sgns where the centre is drawn", why)
for n, d, b, k in [(5, 2, 7, 3), (3, 4, 8, 2), (9, 3, 1, 5), (4, 1, 5, 1), (6, 5, 4, 6)]:
    inner, outer = rng.normal(size=(2, n, d))
    batch = [rng.integers(0, n, size=shape) for shape in (b, b, (b, k))]
    judge_sgns(
        inner, outer, batch, f"sgns of {b} pairs with {k} negatives each", "agree with loops"
    )
inner, outer = rng.normal(size=(2, 5, 3))
batch = np.array([1, 4, 1]), np.array([0, 0, 3]), np.zeros((3, 0), dtype=int)
judge_sgns(inner, outer, batch, "sgns without negatives", "be the first term alone")
call = "sgns of scores of 1,000 and -1,000"
inner, outer = np.array([[1000.0], [-1000.0], [0.0]]), np.array([[1.0], [-1.0], [0.0]])
batch = np.array([0, 1]), np.array([1, 1]), np.array([[0], [0]])
found = check.answer(sgns, inner, outer, *batch, call=call)
check.close(found[0], 1000.0, f"loss of {call}", why="not overflow")
check.close(found[1], [[1], [0], [0]], f"gradient by inner of {call}", why="not overflow")
check.close(found[2], [[500], [-500], [0]], f"gradient by outer of {call}", why="not overflow")
call, whole = "sgns of whole numbers", np.array([[1, 0], [2, 1], [0, 3]])
batch = np.array([0, 1]), np.array([1, 2]), np.array([[2], [0]])
judge_sgns(whole, whole[::-1].copy(), batch, call, "not round the gradients")
### END HIDDEN TESTS

# %% mutant="sgns" why="a positive among the negatives"
# - counted = negatives != neighbours[:, None]
# + counted = np.full(negatives.shape, True)

# %% mutant="sgns" why="duplicates overwrite each other in outer"
# - np.add.at(grad_outer, negatives, push * v[:, None])
# + grad_outer[negatives] += push * v[:, None]

# %% mutant="sgns" why="duplicates overwrite each other in inner"
# - np.add.at(grad_inner, centres, pull * u + (push * w).sum(axis=1))
# + grad_inner[centres] += pull * u + (push * w).sum(axis=1)

# %% mutant="sgns" why="leaves out negatives that equal the centre"
# - counted = negatives != neighbours[:, None]
# + counted = (negatives != neighbours[:, None]) & (negatives != centres[:, None])

# %% mutant="sgns" why="the sum over the batch"
# - return loss / len(centres), grad_inner / len(centres), grad_outer / len(centres)
# + return loss, grad_inner, grad_outer

# %% mutant="sgns" why="the mean of the negatives"
# - loss = np.logaddexp(0, -real).sum() + np.logaddexp(0, noise)[counted].sum()
# + loss = np.logaddexp(0, -real).sum() + np.logaddexp(0, noise)[counted].sum() / max(1, negatives.shape[1])

# %% mutant="sgns" why="pulls negatives, too"
# - loss = np.logaddexp(0, -real).sum() + np.logaddexp(0, noise)[counted].sum()
# + loss = np.logaddexp(0, -real).sum() + np.logaddexp(0, -noise)[counted].sum()

# %% mutant="sgns" why="the wrong sign of the pull"
# - pull = -np.exp(-np.logaddexp(0, real))[:, None]  # sigmoid(real) - 1
# + pull = np.exp(-np.logaddexp(0, real))[:, None]

# %% mutant="sgns" why="overflow in the logarithm"
# - loss = np.logaddexp(0, -real).sum() + np.logaddexp(0, noise)[counted].sum()
# + loss = np.log(1 + np.exp(-real)).sum() + np.log(1 + np.exp(noise))[counted].sum()

# %% mutant="sgns" why="the neighbours' gradient goes to the centres' table"
# - np.add.at(grad_outer, neighbours, pull * v)
# + np.add.at(grad_inner, neighbours, pull * v)

# %% mutant="sgns" why="the left-out negatives still push"
# - push = (np.exp(-np.logaddexp(0, -noise)) * counted)[:, :, None]
# + push = np.exp(-np.logaddexp(0, -noise))[:, :, None]

# %% mutant="sgns" why="gradients in the type of the vectors"
# - grad_inner, grad_outer = np.zeros(inner.shape), np.zeros(outer.shape)
# + grad_inner, grad_outer = np.zeros(inner.shape).astype(inner.dtype), np.zeros(outer.shape).astype(outer.dtype)


# %% alternative="sgns" why="pair by pair"
def sgns(inner, outer, centres, neighbours, negatives):
    loss, grad_inner, grad_outer = 0.0, np.zeros(inner.shape), np.zeros(outer.shape)
    for c, o, drawn in zip(centres, neighbours, negatives, strict=True):
        for word, target in [(o, 1)] + [(n, 0) for n in drawn if n != o]:
            score = float(inner[c] @ outer[word])
            answer = 0.5 * (1 + np.tanh(score / 2))
            loss += np.logaddexp(0, -score if target else score)
            grad_inner[c] += (answer - target) * outer[word]
            grad_outer[word] += (answer - target) * inner[c]
    b = len(centres)
    return loss / b, grad_inner / b, grad_outer / b


# %%
def training_pairs(rng: np.random.Generator, window: int = 4) -> np.ndarray:
    """(m, 2) centres and neighbours of the plays; very frequent words are thinned out."""
    found = []
    for speech in map(np.array, plays_in_numbers()):
        for distance in range(1, window + 1):
            found.append(np.stack([speech[distance:], speech[:-distance]], axis=1))
    pairs = np.concatenate([pair.astype(int) for pair in found])
    pairs = np.concatenate([pairs, pairs[:, ::-1]])
    pairs = pairs[(pairs > 1).all(axis=1)]
    share = np.bincount(pairs[:, 0], minlength=n_words) / len(pairs)
    stays = np.minimum(1, np.sqrt(1e-3 / np.maximum(share, 1e-9)))
    return pairs[(rng.random(pairs.shape) < stays[pairs]).all(axis=1)]


def train_sgns(passes: int, k: int = 5, batch: int = 512) -> tuple[np.ndarray, list[float]]:
    """Vectors by gradient descent, and the loss of each hundred steps."""
    rng = np.random.default_rng(0)
    pairs = training_pairs(rng)
    noise = noise_distribution(np.bincount(pairs[:, 0], minlength=n_words))
    inner, outer = 0.1 * rng.normal(size=(n_words, 50)), np.zeros((n_words, 50))
    steps = passes * (len(pairs) // batch)
    losses = []
    for step in progress(range(steps), "skip-gram"):
        if step % (len(pairs) // batch) == 0:
            order = rng.permutation(len(pairs))
        some = pairs[order[:batch]]
        order = np.roll(order, -batch)
        drawn = rng.choice(n_words, size=(batch, k), p=noise)
        loss, grad_inner, grad_outer = sgns(inner, outer, some[:, 0], some[:, 1], drawn)
        rate = 100 * (1 - step / steps)  # large: the loss is a mean over the batch
        inner -= rate * grad_inner
        outer -= rate * grad_outer
        losses.append(loss)
    return inner, [float(np.mean(part)) for part in np.array_split(losses, steps // 100)]


# %%
learned, losses = train_sgns(settings["passes"])
hundreds = 100 * np.arange(1, len(losses) + 1)
chance = 6 * np.log(2)  # six answers of 1/2: one neighbour, five negatives
ax = plots.curves(
    {"skip-gram": (hundreds, losses)}, "Telling neighbours from noise", "step", "loss"
)
ax.axhline(chance, linestyle="--", color="0.5")
ax.annotate("knows nothing: 6 ln 2", (hundreds[-1], chance), ha="right", va="bottom", fontsize=9)
plots.show(
    "The loss of skip-gram falls fast at first, far below the value of knowing nothing, and goes on falling."
)
counted = counted_vectors()
for word in asked:
    print(f"{word:>8}  counted: {', '.join(neighbours_of(word, counted, 4))}")
    print(f"{'':>8}  learned: {', '.join(neighbours_of(word, learned, 4))}")


def same_play(vectors: np.ndarray) -> float:
    """The share of the speakers above whose nearest fellow is of the same play."""
    some = rows_of_people(vectors)
    likeness = some @ some.T - 2 * np.eye(len(some))
    return float(np.mean([people[i][1] == people[j][1] for i, j in enumerate(likeness.argmax(1))]))


print(
    f"nearest fellow of the same play: counted {same_play(counted):.2f}, learned {same_play(learned):.2f}"
)

# %% [markdown]
# Both look at the same windows, and skip-gram factorises nearly the same table as PPMI ([Levy & Goldberg, 2014](https://papers.nips.cc/paper/5477-neural-word-embedding-as-implicit-matrix-factorization)). Here neither is plainly better: both know who belongs to which play, and each list has its odd words. What differs is the price. The table grows with the square of the vocabulary and is factorised as a whole; descent holds nothing but the vectors, sees one batch at a time, and can go on through billions of words. That is why it won.

# %% [markdown] lang="ru"
# Оба способа смотрят в одни и те же окна, и skip-gram раскладывает почти ту же таблицу, что PPMI ([Levy & Goldberg, 2014](https://papers.nips.cc/paper/5477-neural-word-embedding-as-implicit-matrix-factorization)). Явного победителя нет: оба знают, кто из какой пьесы, и в каждом списке есть странные слова. Разница в цене. Таблица растёт как квадрат словаря, и раскладывать её надо целиком; спуск хранит одни векторы, видит один батч за раз и может обработать миллиарды слов. Поэтому он и победил.

# %% [markdown]
# ## 4. Words that nobody has seen
# {{task:hashed_subwords}}
#
# *Самолётик*, a little plane, is in no list; its pieces are. [fastText](https://aclanthology.org/Q17-1010/) (Bojanowski et al., 2017, §3.2) gives a vector to each piece and takes the mean. Put `<` and `>` around the word, so that *the beginning* and *the end* can be told from the middle, and take all runs of `shortest` to `longest` **characters**: from left to right, at each place the shorter ones first, a repeated one each time. For `cat` and 3 to 4: `<ca`, `<cat`, `cat`, `cat>`, `at>`. A word too short has none.
#
# There are millions of pieces, so each gets the row of its hash, modulo the number of buckets. Python's own `hash` of a text is salted anew in each process: saved vectors would be worthless tomorrow. Take 32-bit [FNV-1a](https://datatracker.ietf.org/doc/html/draft-eastlake-fnv): begin with $h = 2166136261$; for each byte $b$ of the piece in UTF-8, $h \leftarrow (h \oplus b) \cdot 16777619 \bmod 2^{32}$. For `a` that is 3826002220.

# %% [markdown] lang="ru"
# ## 4. Слова, которых никто не видел
# {{task:hashed_subwords}}
#
# Слова «самолётик» в списке нет, но есть его кусочки. [fastText](https://aclanthology.org/Q17-1010/) (Bojanowski et al., 2017, §3.2) даёт вектор каждому кусочку и берёт среднее. Окружите слово знаками `<` и `>`, чтобы начало и конец отличались от середины, и возьмите все отрезки длиной от `shortest` до `longest` **символов**: слева направо, в каждом месте сначала короткие, повторяющийся — каждый раз. Для `cat` и длин 3–4: `<ca`, `<cat`, `cat`, `cat>`, `at>`. У слишком короткого слова кусочков нет.
#
# Кусочков миллионы, поэтому каждому достаётся строка по его хешу — остатку от деления на число корзин. Встроенная функция `hash` для строк в каждом процессе своя: сохранённые векторы завтра ничего бы не стоили. Возьмите 32-битный [FNV-1a](https://datatracker.ietf.org/doc/html/draft-eastlake-fnv): сначала $h = 2166136261$, затем для каждого байта $b$ кусочка в UTF-8 $h \leftarrow (h \oplus b) \cdot 16777619 \bmod 2^{32}$. Для `a` получится 3826002220.


# %% solution="hashed_subwords"
def hashed_subwords(word: str, buckets: int, shortest: int = 3, longest: int = 6) -> list[int]:
    """The buckets, 0 to buckets - 1, of the pieces of a word, in their order.

    1 <= shortest <= longest. hashed_subwords("я", 1000) -> one bucket, that of "<я>".
    """
    ### BEGIN SOLUTION
    framed, found = f"<{word}>", []
    for start in range(len(framed)):
        for end in range(start + shortest, min(start + longest, len(framed)) + 1):
            h = 2166136261
            for byte in framed[start:end].encode():
                h = (h ^ byte) * 16777619 % 2**32
            found.append(h % buckets)
    return found
    ### END SOLUTION


# %% test="hashed_subwords" points=0.5 difficulty=2 minutes=15
call = 'hashed_subwords("cat", 1000, 3, 4)'
found = check.answer(hashed_subwords, "cat", 1000, 3, 4, call=call)
why = "be the buckets of <ca, <cat, cat, cat>, at>"
check.equal(check.array(found, call), np.array([747, 973, 31, 995, 106]), call, why=why)
call = 'hashed_subwords("я", 1000)'
found = check.answer(hashed_subwords, "я", 1000, call=call)
check.equal(
    check.array(found, call),
    np.array([119]),
    call,
    why="be the bucket of <я>: three characters, four bytes",
)


### BEGIN HIDDEN TESTS
def bucket_of(piece, buckets):
    h = 0x811C9DC5
    for byte in piece.encode("utf-8"):
        h ^= byte
        h = (h * 0x01000193) & 0xFFFFFFFF
    return h % buckets


def pieces_of(word, shortest, longest):
    framed = "<" + word + ">"
    every = [(i, j) for i in range(len(framed)) for j in range(i + 1, len(framed) + 1)]
    return [framed[i:j] for i, j in every if shortest <= j - i <= longest]


for word in [
    "where",
    "ёжик",
    "a",
    "",
    "aaaaaa",
    "кто-то",
    "naïve",
    "за\u0301мок",
    "Cafe\u0301",
    "👍🏽🙂",
    "программирование",
]:
    for options in (
        *({}, {"shortest": 2}, {"longest": 4}, {"shortest": 1, "longest": 1}),
        *(
            {"shortest": 4, "longest": 5},
            {"shortest": 3, "longest": 3},
            {"shortest": 5, "longest": 30},
        ),
    ):
        text = "".join(f", {name}={n}" for name, n in options.items())
        for buckets in (97, 2_000_003):
            call = f"hashed_subwords({word!r}, {buckets}{text})"
            want = pieces_of(word, options.get("shortest", 3), options.get("longest", 6))
            want = [bucket_of(piece, buckets) for piece in want]
            found = check.answer(hashed_subwords, word, buckets, call=call, **options)
            check.equal(
                check.array(found, call),
                np.array(want),
                call,
                why="be the buckets of its pieces, in order",
            )
call = "hashed_subwords of the same word, called again"
found = check.answer(hashed_subwords, "where", 97, call=call)
want = [bucket_of(piece, 97) for piece in pieces_of("where", 3, 6)]
check.equal(
    check.array(found, call), np.array(want), call, why="give the same word the same buckets"
)
### END HIDDEN TESTS

# %% mutant="hashed_subwords" why="Python's salted hash"
# - found.append(h % buckets)
# + found.append(hash(framed[start:end]) % buckets)

# %% mutant="hashed_subwords" why="no boundaries"
# - framed, found = f"<{word}>", []
# + framed, found = word, []

# %% mutant="hashed_subwords" why="bytes in place of characters"
# - framed, found = f"<{word}>", []
# + framed, found = f"<{word}>".encode().decode("latin-1"), []

# %% mutant="hashed_subwords" why="code points in place of bytes"
# - for byte in framed[start:end].encode():
# + for byte in map(ord, framed[start:end]):

# %% mutant="hashed_subwords" why="FNV-1: multiplies first"
# - h = (h ^ byte) * 16777619 % 2**32
# + h = (h * 16777619 % 2**32) ^ byte

# %% mutant="hashed_subwords" why="64 bits"
# - h = (h ^ byte) * 16777619 % 2**32
# + h = (h ^ byte) * 16777619 % 2**64

# %% mutant="hashed_subwords" why="longest left out"
# - for end in range(start + shortest, min(start + longest, len(framed)) + 1):
# + for end in range(start + shortest, min(start + longest, len(framed) + 1)):

# %% mutant="hashed_subwords" why="each bucket once"
# - return found
# + return sorted(set(found))

# %% mutant="hashed_subwords" why="the whole word besides"
# - return found
# + return found + [bucket for bucket in found[:1] if len(framed) > longest]

# %% mutant="hashed_subwords" why="lowers the word"
# - framed, found = f"<{word}>", []
# + framed, found = f"<{word}>".replace("\u0301", ""), []


# %% alternative="hashed_subwords" why="bits and slices"
def hashed_subwords(word, buckets, shortest=3, longest=6):
    text = "<" + word + ">"
    result = []
    for i in range(len(text)):
        for piece in [text[i : i + n] for n in range(shortest, longest + 1) if i + n <= len(text)]:
            code = 0x811C9DC5
            for b in bytes(piece, "utf-8"):
                code = ((code ^ b) * 0x01000193) & 0xFFFFFFFF
            result.append(code % buckets)
    return tuple(result)


# %%
english, russian = data.load("glove", profile, quiet=True), data.load("navec", profile, quiet=True)
print(english, russian, sep="\n\n")


# %%
def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1; zeros stay."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


centred = russian.vectors - russian.vectors.mean(axis=0)
directions = np.linalg.svd(centred[::5], full_matrices=False)[2][:50]
russian_50 = unit(centred.astype(float) @ directions.T)  # as many numbers as GloVe has
english_50 = unit(english.vectors.astype(float))
english_row = {word: i for i, word in enumerate(english.words)}
russian_row = {word: i for i, word in enumerate(russian.words)}
kept = np.square(centred @ directions.T).sum() / np.square(centred).sum()
print(f"50 of the 300 directions of Navec keep {kept:.0%} of the variance")

# %% [markdown]
# To see it work, find a table of pieces for *known* Russian words such that the mean of a word's pieces is near its Navec vector: a least-squares problem. A twentieth of the words is kept out. Then ask for the vectors of words that were kept out, and of words that Navec's list does not have at all.

# %% [markdown] lang="ru"
# Посмотрим, как это работает: подберём для *известных* русских слов такую таблицу кусочков, чтобы среднее кусочков слова было близко к его вектору из Navec; это задача наименьших квадратов. Двадцатую часть слов отложим. Затем спросим векторы у отложенных слов и у тех, которых в списке Navec нет вовсе.


# %%
def fit_subwords(words: Sequence[str], vectors: np.ndarray, buckets: int = 30_000) -> np.ndarray:
    """A vector for each bucket: least squares with a small penalty, by conjugate gradients."""
    mean = mean_of_pieces(words, buckets)
    table = np.zeros((buckets, vectors.shape[1]))
    rest = mean.T @ vectors
    step, size = rest.copy(), (rest**2).sum(axis=0)
    for _ in progress(range(25), "subwords"):
        through = mean.T @ (mean @ step) + 0.003 * step
        rate = size / (step * through).sum(axis=0)
        table += rate * step
        rest -= rate * through
        before, size = size, (rest**2).sum(axis=0)
        step = rest + size / before * step
    return table


def mean_of_pieces(words: Sequence[str], buckets: int = 30_000) -> csr_matrix:
    """A sparse matrix that takes the mean of the rows of each word's pieces: (words, buckets)."""
    pieces = [hashed_subwords(word, buckets) for word in words]
    weights = np.concatenate([np.full(len(p), 1 / max(1, len(p))) for p in pieces])
    rows = np.repeat(np.arange(len(words)), [len(p) for p in pieces])
    return csr_matrix((weights, (rows, np.concatenate(pieces))), (len(words), buckets))


order = np.random.default_rng(0).permutation(settings["subwords"])
hidden, shown = np.split(order, [len(order) // 20])
table = fit_subwords([russian.words[i] for i in shown], russian_50[shown])
guessed = unit(mean_of_pieces([russian.words[i] for i in hidden]) @ table)
agreement = (guessed * russian_50[hidden]).sum(axis=1)
control = (guessed * russian_50[np.roll(hidden, 1)]).sum(axis=1)
print(f"cosine to the true vector: {agreement.mean():.2f}; to another word's: {control.mean():.2f}")
for word in ["самолетик", "президентша", "москвички", "программируемый", "котики"]:
    place = "in the list" if word in russian_row else "not in the list"
    vector = unit(mean_of_pieces([word]) @ table)[0]
    near = np.argsort(-russian_50[: settings["subwords"]] @ vector)[:5]
    print(f"{word} ({place}): {', '.join(russian.words[i] for i in near)}")
fig, ax = plt.subplots(figsize=(8, 3.2))
bins = np.linspace(-0.6, 1, 41)
ax.hist(control, bins, alpha=0.6, label="another word's vector (control)", color="0.5")
ax.hist(agreement, bins, alpha=0.7, label="its own vector", color=plots.VALUE)
ax.set(title="Words that were kept out: guessed from their pieces", xlabel="cosine", ylabel="words")
ax.legend(frameon=False, loc="upper left")
plots.show(
    "Two histograms of cosines: with the word's own vector most lie between 0.4 and 0.9, with "
    "another word's around 0."
)

# %% [markdown]
# A Russian word shows in its pieces what it means: the root, and by the ending its role. Where pieces deceive, so does the vector: look at *котики* (kittens), which contains most of *наркотики*.

# %% [markdown] lang="ru"
# По кусочкам русского слова видно, что оно значит (корень) и какова его роль (окончание). А где кусочки обманывают, обманет и вектор: посмотрите на «котиков», которые почти целиком сидят в «наркотиках».

# %% [markdown]
# ## 5. Phrases and neighbours
# {{task:phrase_vector}}
#
# The simplest vector of a phrase, and a baseline hard to beat: the mean of its words' vectors, **each brought to length 1 first**, since the length of a word's vector often says more of its frequency than of its meaning. Words without a row are left out, repeated ones count each time; where no word is known, the answer is zeros, not NaN.

# %% [markdown] lang="ru"
# ## 5. Фразы и соседи
# {{task:phrase_vector}}
#
# Самый простой вектор фразы — и базовый уровень, который трудно превзойти: среднее векторов её слов, **сначала приведённых к длине 1**: длина вектора часто говорит больше о частоте слова, чем о его смысле. Слова без строки пропускаются, повторённое слово считается каждый раз; если не известно ни одно, ответ — нули, а не NaN.


# %% solution="phrase_vector"
def phrase_vector(
    tokens: Sequence[str], rows: Mapping[str, int], vectors: np.ndarray
) -> np.ndarray:
    """The mean of the known words' unit vectors. rows: the row of each known word.

    vectors: (n, d), none of them zero -> (d,).
    phrase_vector(["a", "b", "?"], {"a": 0, "b": 1}, [[3, 4], [0, 9]]) -> [0.3, 0.9]
    """
    ### BEGIN SOLUTION
    known = [rows[token] for token in tokens if token in rows]
    if not known:
        return np.zeros(vectors.shape[1])
    chosen = vectors[known]
    return (chosen / np.linalg.norm(chosen, axis=1, keepdims=True)).mean(axis=0)
    ### END SOLUTION


# %% test="phrase_vector" points=0.25 difficulty=1 minutes=5
call = 'phrase_vector(["a", "b", "?"], {"a": 0, "b": 1}, [[3, 4], [0, 9]])'
two = np.array([[3, 4], [0, 9]])
found = check.answer(phrase_vector, ["a", "b", "?"], {"a": 0, "b": 1}, two, call=call)
check.close(found, [0.3, 0.9], call, why="be the mean of the known words' unit vectors")
### BEGIN HIDDEN TESTS
rng = check.rng("phrase_vector")
table, rows = (
    rng.normal(size=(5, 3)) * [[1], [9], [0.1], [3], [20]],
    {"ёж": 3, "a": 0, "🙂": 4, "b": 1},
)
for tokens, why in [
    (["a"], "have length 1 for one word"),
    (["ёж", "b"], "bring each word to length 1 first"),
    (["b", "a", "b", "b"], "count a repeated word each time"),
    (["?", "ёж", "!", "🙂"], "leave unknown words out of the mean"),
    ([], "be zeros where there is no word"),
    (["?", "!"], "be zeros where no word is known"),
]:
    known = [table[rows[t]] / np.sqrt((table[rows[t]] ** 2).sum()) for t in tokens if t in rows]
    want = sum(known) / len(known) if known else np.zeros(3)
    call = f"phrase_vector({tokens}, rows, vectors)"
    found = check.answer(phrase_vector, tokens, rows, table, call=call)
    check.close(found, want, call, rtol=1e-9, atol=1e-12, why=why)
### END HIDDEN TESTS

# %% mutant="phrase_vector" why="frequent words, which are longer, weigh more"
# - return (chosen / np.linalg.norm(chosen, axis=1, keepdims=True)).mean(axis=0)
# + return chosen.mean(axis=0)

# %% mutant="phrase_vector" why="brings the mean to length 1"
# - return (chosen / np.linalg.norm(chosen, axis=1, keepdims=True)).mean(axis=0)
# + return chosen.mean(axis=0) / np.linalg.norm(chosen.mean(axis=0))

# %% mutant="phrase_vector" why="the sum"
# - return (chosen / np.linalg.norm(chosen, axis=1, keepdims=True)).mean(axis=0)
# + return (chosen / np.linalg.norm(chosen, axis=1, keepdims=True)).sum(axis=0)

# %% mutant="phrase_vector" why="unknown words count as zeros"
# - return (chosen / np.linalg.norm(chosen, axis=1, keepdims=True)).mean(axis=0)
# + return (chosen / np.linalg.norm(chosen, axis=1, keepdims=True)).sum(axis=0) / len(tokens)

# %% mutant="phrase_vector" why="unknown words take row 0"
# - known = [rows[token] for token in tokens if token in rows]
# + known = [rows.get(token, 0) for token in tokens]

# %% mutant="phrase_vector" why="each word once"
# - known = [rows[token] for token in tokens if token in rows]
# + known = [rows[token] for token in set(tokens) if token in rows]

# %% mutant="phrase_vector" why="NaN for no words"
# - if not known:
# -     return np.zeros(vectors.shape[1])


# %% alternative="phrase_vector" why="a running sum"
def phrase_vector(tokens, rows, vectors):
    total, n = np.zeros(vectors.shape[1]), 0
    for token in tokens:
        if token in rows:
            v = vectors[rows[token]]
            total, n = total + v / np.sqrt(v @ v), n + 1
    return total / max(n, 1)


# %% [markdown]
# ### Nearest
# {{task:nearest}}
#
# The neighbours of a vector are the rows with the largest **cosine** $\frac{q^\top v}{\lVert q \rVert \lVert v \rVert}$; a dot product would prefer long vectors to near ones. The nearest to *king* is *king*: rows in `exclude` must never be in the answer. Of equal cosines the smaller row comes first. The cosine with a vector of zeros is 0. Where fewer than `k` rows are left, give those.

# %% [markdown] lang="ru"
# ### Ближайшие
# {{task:nearest}}
#
# Соседи вектора — строки с наибольшим **косинусом** $\frac{q^\top v}{\lVert q \rVert \lVert v \rVert}$; скалярное произведение предпочло бы длинные векторы близким. Ближе всего к слову *king* само слово *king*: строк из `exclude` в ответе быть не должно. При равных косинусах раньше идёт меньший номер строки. Косинус с нулевым вектором равен 0. Если осталось меньше `k` строк, верните их все.


# %% solution="nearest"
def nearest(
    query: np.ndarray, vectors: np.ndarray, k: int = 5, exclude: Iterable[int] = ()
) -> np.ndarray:
    """The k rows with the largest cosine to the query, the nearest first. query: (d,), vectors: (n, d).

    exclude: rows that are no answer -> (at most k,) whole numbers.
    nearest([1, 1], [[8, 0], [1, 1], [0, 1], [2, 3]], k=2, exclude=[1]) -> [3, 0]
    """
    ### BEGIN SOLUTION
    query, vectors = np.asarray(query, dtype=float), np.asarray(vectors, dtype=float)
    lengths = np.linalg.norm(query) * np.linalg.norm(vectors, axis=1)
    cosine = vectors @ query / np.where(lengths > 0, lengths, 1)
    left_out = set(exclude)
    order = [i for i in np.argsort(-cosine, kind="stable") if i not in left_out]
    return np.array(order[:k], dtype=int)
    ### END SOLUTION


# %% test="nearest" points=0.25 difficulty=2 minutes=10
few, query = np.array([[8, 0], [1, 1], [0, 1], [2, 3]]), np.array([1, 1])
call = "nearest([1, 1], [[8, 0], [1, 1], [0, 1], [2, 3]], k=2, exclude=[1])"
found = check.answer(nearest, query, few, k=2, exclude=[1], call=call)
check.equal(found, np.array([3, 0]), call, why="go by cosine, ties by row, without row 1")
### BEGIN HIDDEN TESTS
rng = check.rng("nearest")


def nearest_by_loops(query, table, k, left_out):
    scores = []
    for i, v in enumerate(table):
        size = np.sqrt((query**2).sum()) * np.sqrt((v**2).sum())
        if i not in left_out:
            scores.append((-(query * v).sum() / size, i))
    return np.array([i for _, i in sorted(scores)[:k]], dtype=int)


def judge_nearest(query, table, call, why, **options):
    want = nearest_by_loops(query, table, options.get("k", 5), options.get("exclude", ()))
    found = check.array(check.answer(nearest, query, table, call=call, **options), call)
    check.equal(found.astype(int), want, call, why=why)


table = rng.normal(size=(12, 4)) * rng.uniform(0.1, 30, size=(12, 1))
query = rng.normal(size=4)
judge_nearest(query, table, "nearest(query, vectors), k left out", "give five")
for k in (1, 3, 12):
    judge_nearest(query, table, f"nearest(query, vectors, k={k})", "go by cosine", k=k)
for n, d in [(7, 3), (3, 7), (9, 9)]:
    table, query = rng.normal(size=(n, d)) * rng.uniform(0.1, 30, size=(n, 1)), rng.normal(size=d)
    for scale in (9, 0.01):
        call = f"nearest({scale} * query, vectors, k=2)"
        judge_nearest(scale * query, table, call, "not depend on lengths", k=2)
    judge_nearest(table[1], table, "nearest(vectors[1], vectors, k=2)", "find the row itself", k=2)
    why, call = "have no excluded row", "nearest(vectors[1], vectors, k=2, exclude=[1])"
    judge_nearest(table[1], table, call, why, k=2, exclude=[1])
    call = "nearest(vectors[1], vectors, k=50, exclude=(2, 0))"
    judge_nearest(table[1], table, call, "give all rows that are left", k=50, exclude=(2, 0))
ties = np.array(
    [[0.0, 3.0], [4.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [8.0, 0.0], [0.0, 0.0], [0.0, 1.0]]
)
found = check.answer(nearest, np.array([1.0, 0.0]), ties, k=7, call="nearest with ties")
why = "go by cosine, of equal ones the smaller row first; a zero vector has cosine 0"
check.equal(found, np.array([1, 2, 4, 0, 5, 6, 3]), "nearest with ties", why=why)
call = "nearest of a query of zeros"
found = check.answer(nearest, np.zeros(2), ties, k=3, exclude={1}, call=call)
check.equal(found, np.array([0, 2, 3]), call, why="have cosine 0 with every row, so go by row")
close = np.array([[1, 1.1e-4], [1, 1e-4], [1, 1.2e-4]])
call = "nearest of rows whose cosines differ by 1e-9"
found = check.answer(nearest, np.array([1.0, 0.0]), close, k=3, call=call)
check.equal(found, np.array([1, 0, 2]), call, why="compute in float64, and not round")
large = np.array([[300, 1], [1, 300], [100, 101]], dtype=np.int16)
call = "nearest of rows of int16"
found = check.answer(nearest, np.array([250, 240], dtype=np.int16), large, k=3, call=call)
check.equal(found, np.array([2, 0, 1]), call, why="bear products beyond the rows' own type")
call = "nearest, exclude an iterator"
found = check.array(nearest(np.array([1.0, 0.0]), ties, k=2, exclude=iter([1, 4])), call)
check.equal(found, np.array([2, 0]), call, why="take any iterable")
check.that(found.dtype.kind in "iu", "give whole numbers, which can be used as rows")
found = check.answer(nearest, query, table, exclude=range(9), call="nearest, all excluded")
check.equal(np.asarray(found).shape, (0,), "shape of nearest, all rows excluded", why="be empty")
### END HIDDEN TESTS

# %% mutant="nearest" why="in the type of whole numbers that came in"
# - query, vectors = np.asarray(query, dtype=float), np.asarray(vectors, dtype=float)
# + query, vectors = np.asarray(query), np.asarray(vectors)

# %% mutant="nearest" why="float32"
# - cosine = vectors @ query / np.where(lengths > 0, lengths, 1)
# + cosine = (vectors @ query / np.where(lengths > 0, lengths, 1)).astype(np.float32)

# %% mutant="nearest" why="dot for cosine"
# - cosine = vectors @ query / np.where(lengths > 0, lengths, 1)
# + cosine = vectors @ query

# %% mutant="nearest" why="distance for cosine"
# - cosine = vectors @ query / np.where(lengths > 0, lengths, 1)
# + cosine = -np.linalg.norm(vectors - query, axis=1)

# %% mutant="nearest" why="the query itself is not excluded"
# - order = [i for i in np.argsort(-cosine, kind="stable") if i not in left_out]
# + order = list(np.argsort(-cosine, kind="stable"))

# %% mutant="nearest" why="excludes what is nearest, whatever it is"
# - order = [i for i in np.argsort(-cosine, kind="stable") if i not in left_out]
# + order = list(np.argsort(-cosine, kind="stable"))[len(left_out):]

# %% mutant="nearest" why="excludes after k are taken"
# - order = [i for i in np.argsort(-cosine, kind="stable") if i not in left_out]
# + order = [i for i in np.argsort(-cosine, kind="stable")[:k] if i not in left_out]

# %% mutant="nearest" why="ties from the end"
# - order = [i for i in np.argsort(-cosine, kind="stable") if i not in left_out]
# + order = [i for i in np.argsort(cosine, kind="stable")[::-1] if i not in left_out]

# %% mutant="nearest" why="farthest first"
# - order = [i for i in np.argsort(-cosine, kind="stable") if i not in left_out]
# + order = [i for i in np.argsort(cosine, kind="stable") if i not in left_out]

# %% mutant="nearest" why="opposite words are near, too"
# - cosine = vectors @ query / np.where(lengths > 0, lengths, 1)
# + cosine = np.abs(vectors @ query / np.where(lengths > 0, lengths, 1))

# %% mutant="nearest" why="NaN for zeros"
# - cosine = vectors @ query / np.where(lengths > 0, lengths, 1)
# + cosine = vectors @ query / lengths

# %% mutant="nearest" why="excluded rows get cosine 0"
# - order = [i for i in np.argsort(-cosine, kind="stable") if i not in left_out]
# + cosine[list(left_out)] = 0
# + order = list(np.argsort(-cosine, kind="stable"))


# %% alternative="nearest" why="excluded rows at minus infinity"
def nearest(query, vectors, k=5, exclude=()):
    norms = np.linalg.norm(vectors, axis=1)
    safe = vectors / np.where(norms == 0, 1, norms)[:, None]
    scores = safe @ (query / (np.linalg.norm(query) or 1))
    rows = np.lexsort((np.arange(len(scores)), -np.round(scores, 12)))
    exclude = list(exclude)
    return [int(i) for i in rows if i not in exclude][:k]


# %%
for phrase in [
    "the river of the city",
    "cheese with bread and a glass of wine",
    "he was a king and she was a queen",
]:
    tokens = tokenize(phrase)
    own = [english_row[t] for t in tokens if t in english_row]
    content = [t for t in tokens if english_row.get(t, 0) >= 200]  # not the 200 most frequent words
    for name, chosen in [("all words", tokens), ("content words", content)]:
        vector = phrase_vector(chosen, english_row, english_50)
        found = nearest(vector, english_50[:20_000], exclude=own)
        print(f"{phrase} ({name}): {', '.join(english.words[i] for i in found)}")

# %% [markdown]
# Small words are in every sentence, and the mean is full of them. Leaving the most frequent ones out is a crude cure; in the homework words are weighed by how rare they are.

# %% [markdown] lang="ru"
# Служебные слова есть в каждом предложении, и среднее состоит в основном из них. Выбросить самые частые — грубое лекарство; в домашнем задании слова получат веса по тому, насколько они редки.

# %% [markdown]
# ### Analogies, counted
# *king − man + woman = queen* is the most quoted example of the field. It is told less often that the three words of the question are excluded from the answer, and that *king* itself often wins without that. So count: for six relations, every question that two pairs give, once with the three words excluded and once without.

# %% [markdown] lang="ru"
# ### Аналогии, посчитанные честно
# *king − man + woman = queen* — самый известный пример во всей области. Реже рассказывают, что три слова из вопроса исключаются из ответа, а иначе часто побеждает само *king*. Поэтому посчитаем: шесть отношений, все вопросы, которые можно задать по двум парам, — один раз с исключением трёх слов и один раз без.

# %%
english_frequent = english_50[:20_000]


def analogy(a: str, b: str, c: str, honest: bool) -> str:
    """What is to c as b is to a? honest: a, b and c may be answers."""
    rows = [english_row[word] for word in (a, b, c)]
    vector = english_50[rows[1]] - english_50[rows[0]] + english_50[rows[2]]
    (found,) = nearest(vector, english_frequent, k=1, exclude=() if honest else rows)
    return english.words[int(found)]


shares = {"the three words excluded": [], "nothing excluded": []}
for pairs in week06.analogies().values():
    pairs = pairs[:5] if profile == "small" else pairs
    asked_pairs = [(p, q) for p in pairs for q in pairs if p != q]
    for name, honest in zip(shares, (False, True), strict=True):
        right = [analogy(*p, q[0], honest) == q[1] for p, q in asked_pairs]
        shares[name].append(float(np.mean(right)))
week06.bars(
    *(list(week06.analogies()), shares, "Analogies: how many come out right", "share of questions")
)
plots.show(
    "Bars of six relations: capitals, gender and comparatives mostly come out right, opposites "
    "hardly ever; where nothing is excluded no bar is higher, and some fall by half."
)
for a, b, c in [("man", "woman", "king"), ("france", "paris", "italy"), ("hot", "cold", "big")]:
    print(
        f"{a} : {b} = {c} : {analogy(a, b, c, False)} (nothing excluded: {analogy(a, b, c, True)})"
    )

# %% [markdown]
# Some relations are nearly a direction in space, others are not: opposites stand in the *same* company, so *hot* and *cold* are neighbours, and which way leads from one to the other depends on the pair.

# %% [markdown] lang="ru"
# Одни отношения — почти направление в пространстве, другие нет: антонимы бывают в *одной и той же* компании, поэтому *hot* и *cold* — соседи, а в какую сторону от одного к другому, зависит от пары.

# %% [markdown]
# ## 6. One rotation is a dictionary
# {{task:procrustes}}
#
# English vectors and Russian ones were learnt from different texts. Their axes have nothing to do with each other. But *cat* stands to *dog* much as *кошка* to *собака*: if the shapes of the two clouds are alike, a rotation and a shift bring one onto the other ([Mikolov et al., 2013](https://arxiv.org/abs/1309.4168); [Xing et al., 2015](https://aclanthology.org/N15-1104/)). For pairs of rows $x_i, y_i$, find the orthogonal matrix $R$ ($R^\top R = I$; reflections are allowed) and the shift $t$ with the least
#
# $$\sum_i \lVert x_i R + t - y_i \rVert^2 .$$
#
# The answer is closed ([Schönemann, 1966](https://doi.org/10.1007/BF02289451)): take the means off, $\tilde x_i = x_i - \bar x$, $\tilde y_i = y_i - \bar y$; with the decomposition $\tilde X^\top \tilde Y = U S V^\top$, $R = U V^\top$ and $t = \bar y - \bar x R$. No step, no learning rate. Why orthogonal? It can't bend: lengths and angles stay, so words outside of the dictionary come along.

# %% [markdown] lang="ru"
# ## 6. Словарь из одного поворота
# {{task:procrustes}}
#
# Английские и русские векторы обучены на разных текстах, и оси у них никак не связаны. Но *cat* относится к *dog* примерно так же, как «кошка» к «собаке»: если облака похожи по форме, то поворот и сдвиг переведут одно в другое ([Mikolov et al., 2013](https://arxiv.org/abs/1309.4168); [Xing et al., 2015](https://aclanthology.org/N15-1104/)). Для пар строк $x_i, y_i$ найдите ортогональную матрицу $R$ ($R^\top R = I$; отражения разрешены) и сдвиг $t$, при которых сумма
#
# $$\sum_i \lVert x_i R + t - y_i \rVert^2$$
#
# наименьшая. Ответ известен в явном виде ([Schönemann, 1966](https://doi.org/10.1007/BF02289451)): вычтем средние, $\tilde x_i = x_i - \bar x$, $\tilde y_i = y_i - \bar y$; если $\tilde X^\top \tilde Y = U S V^\top$ — сингулярное разложение, то $R = U V^\top$ и $t = \bar y - \bar x R$. Ни итераций, ни шага обучения. Почему матрица ортогональная? Она не умеет гнуть: длины и углы сохраняются, поэтому слова, которых в словаре пар не было, поворачиваются вместе с остальными.


# %% solution="procrustes"
def procrustes(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The orthogonal matrix R and the shift t with the least squared error of x R + t against y.

    x, y: (n, d), row i of one belongs to row i of the other -> (d, d), (d,).
    procrustes([[1, 0], [0, 0], [0, 2]], [[5, 6], [5, 5], [3, 5]]) -> [[0, 1], [-1, 0]], [5, 5]
    """
    ### BEGIN SOLUTION
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    u, _, vt = np.linalg.svd((x - mean_x).T @ (y - mean_y))
    rotation = u @ vt
    return rotation, mean_y - mean_x @ rotation
    ### END SOLUTION


# %% test="procrustes" points=0.5 difficulty=2 minutes=15
x, y = np.array([[1, 0], [0, 0], [0, 2]]), np.array([[5, 6], [5, 5], [3, 5]])
call = "procrustes([[1, 0], [0, 0], [0, 2]], [[5, 6], [5, 5], [3, 5]])"
found = check.answer(procrustes, x, y, call=call)
check.equal(len(found), 2, f"len of {call}", why="be two: the matrix and the shift")
check.close(found[0], [[0, 1], [-1, 0]], f"R of {call}", atol=1e-9, why="turn by a right angle")
check.close(found[1], [5, 5], f"t of {call}", why="bring the means together")
### BEGIN HIDDEN TESTS
rng = check.rng("procrustes")


def best_error(x, y):
    """Of the least squares over orthogonal matrices: by the trace of the singular values."""
    a, b = x - x.mean(axis=0), y - y.mean(axis=0)
    return (a**2).sum() + (b**2).sum() - 2 * np.linalg.svd(a.T @ b, compute_uv=False).sum()


for n, d in [(9, 3), (30, 5), (12, 2), (6, 1)]:
    turn = np.linalg.qr(rng.normal(size=(d, d)))[0]
    x, shift = rng.normal(size=(n, d)) + 3, rng.normal(size=d) * 4
    call = f"procrustes(x, x R + t), x of shape {(n, d)}"
    found = check.answer(procrustes, x, x @ turn + shift, call=call)
    check.close(
        found[0], turn, f"R of {call}", rtol=1e-7, atol=1e-9, why="find the planted rotation"
    )
    check.close(found[1], shift, f"t of {call}", rtol=1e-7, atol=1e-8, why="find the planted shift")
    y = 2.5 * x @ turn + shift + 0.5 * rng.normal(size=(n, d))
    call = f"procrustes(x, y) with noise and another scale, x of shape {(n, d)}"
    rotation, moved = (
        check.array(part, call) for part in check.answer(procrustes, x, y, call=call)
    )
    check.close(
        rotation.T @ rotation, np.eye(d), f"R'R of {call}", atol=1e-8, why="be the identity"
    )
    error = ((x @ rotation + moved - y) ** 2).sum()
    check.close(error, best_error(x, y), f"error of {call}", rtol=1e-7, why="be the least there is")
for flip in (1, -1):  # a reflection and none
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    turn[:, 0] *= flip * np.sign(np.linalg.det(turn))
    x, call = rng.normal(size=(8, 4)), f"procrustes where R has the determinant {flip}"
    found = check.answer(procrustes, x, x @ turn, call=call)
    check.close(found[0], turn, f"R of {call}", atol=1e-8, why="find it, reflection or not")
x, y, call = (
    rng.normal(size=(3, 6)),
    rng.normal(size=(3, 6)),
    "procrustes of fewer pairs than numbers",
)
rotation, moved = (check.array(part, call) for part in check.answer(procrustes, x, y, call=call))
check.close(rotation.T @ rotation, np.eye(6), f"R'R of {call}", atol=1e-8, why="be the identity")
error = ((x @ rotation + moved - y) ** 2).sum()
check.close(error, best_error(x, y), f"error of {call}", rtol=1e-6, atol=1e-8, why="be the least")
### END HIDDEN TESTS

# %% mutant="procrustes" why="no centring"
# - mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
# + mean_x, mean_y = np.zeros(x.shape[1]), np.zeros(x.shape[1])

# %% mutant="procrustes" why="transposed"
# - rotation = u @ vt
# + rotation = (u @ vt).T

# %% mutant="procrustes" why="turns y onto x"
# - u, _, vt = np.linalg.svd((x - mean_x).T @ (y - mean_y))
# + u, _, vt = np.linalg.svd((y - mean_y).T @ (x - mean_x))

# %% mutant="procrustes" why="takes V for its transpose"
# - rotation = u @ vt
# + rotation = u @ vt.T

# %% mutant="procrustes" why="keeps the singular values: not orthogonal"
# - u, _, vt = np.linalg.svd((x - mean_x).T @ (y - mean_y))
# - rotation = u @ vt
# + rotation = np.linalg.lstsq(x - mean_x, y - mean_y, rcond=None)[0]

# %% mutant="procrustes" why="the shift forgets to turn the mean"
# - return rotation, mean_y - mean_x @ rotation
# + return rotation, mean_y - mean_x

# %% mutant="procrustes" why="centres, then forgets the shift"
# - return rotation, mean_y - mean_x @ rotation
# + return rotation, np.zeros(x.shape[1])

# %% mutant="procrustes" why="no reflections"
# - rotation = u @ vt
# + u[:, -1] *= np.sign(np.linalg.det(u @ vt))
# + rotation = u @ vt


# %% alternative="procrustes" why="scipy"
def procrustes(x, y):
    from scipy.linalg import orthogonal_procrustes

    rotation, _ = orthogonal_procrustes(x - x.mean(0), y - y.mean(0))
    return rotation, (y - x @ rotation).mean(axis=0)


# %% [markdown]
# Now the dictionary. It was written by hand for this notebook: 619 pairs, each word once. A fifth is kept out to be translated. A word counts as translated if the nearest of the 20,000 most frequent Russian words (all words of Navec in `full`) is exactly the one of the dictionary: a synonym or another case of the same noun counts as wrong. What else could be done with the same pairs? The controls: a random rotation; the right rotation without centring; any linear map by least squares, which may bend; the rotation fitted to pairs that were shuffled.

# %% [markdown] lang="ru"
# Теперь словарь. Он составлен вручную для этой тетради: 619 пар, каждое слово по одному разу. Пятая часть отложена — её и будем переводить. Слово считается переведённым, если ближайшее из 20 000 самых частых русских слов (в `full` — из всех слов Navec) — ровно то, что в словаре: синоним или другой падеж того же слова — ошибка. Что ещё можно сделать с теми же парами? Вот с чем сравнить: случайный поворот; поворот без центрирования; любое линейное отображение по наименьшим квадратам, которое умеет гнуть; поворот, подогнанный под перемешанные пары.

# %%
search = russian_50[: settings["search"]]
known_pairs = [
    (english_row[a], russian_row[b])
    for a, b in week06.dictionary()
    if a in english_row and russian_row.get(b, settings["search"]) < settings["search"]
]
shuffled = np.random.default_rng(0).permutation(known_pairs)
test_pairs, train_pairs = np.split(shuffled, [len(shuffled) // 5])
source, target = english_50[train_pairs[:, 0]], russian_50[train_pairs[:, 1]]


def precision(matrix: np.ndarray, shift: np.ndarray, k: int = 1) -> float:
    """The share of the words kept out whose translation is among the k nearest."""
    moved = unit(english_50[test_pairs[:, 0]] @ matrix + shift)
    best = np.argsort(-moved @ search.T, axis=1)[:, :k]
    return float((best == test_pairs[:, 1:]).any(axis=1).mean())


def maps() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By name: a matrix and a shift."""
    rng, nothing = np.random.default_rng(1), np.zeros(50)
    with_one = np.hstack([source, np.ones((len(source), 1))])
    linear = np.linalg.lstsq(with_one, target, rcond=None)[0]
    u, _, vt = np.linalg.svd(source.T @ target)
    return {
        "rotation": procrustes(source, target),
        "without\ncentring": (u @ vt, nothing),
        "any linear\nmap": (linear[:-1], linear[-1]),
        "shuffled\npairs": procrustes(source, target[rng.permutation(len(target))]),
        "random\nrotation": (np.linalg.qr(rng.normal(size=(50, 50)))[0], nothing),
    }


tried = maps()
scores = {f"precision@{k}": [precision(*tried[name], k) for name in tried] for k in (1, 5)}
week06.bars(
    list(tried), scores, f"{len(test_pairs)} words kept out, translated", "share found", top=0.7
)
plots.show(
    "Bars for five maps: the rotation finds a good quarter of the translations at once and more than "
    "half among five; shuffled pairs and a random rotation find almost none."
)
for name, one, five in zip(tried, *scores.values(), strict=True):
    print(f"{name.replace(chr(10), ' '):18} precision@1 {one:.3f}   precision@5 {five:.3f}")
print(f"guessing: {1 / len(search):.5f}; {len(train_pairs)} pairs were learnt from")

# %% [markdown]
# The first three differ by a few words of a hundred: don't read much into that. What counts is the distance to the last two. Read the answers themselves, too. Many "mistakes" are near: another month, another case of the same noun. Vectors of 50 numbers know the kind of a thing better than the thing.

# %% [markdown] lang="ru"
# Первые три отличаются на несколько слов из сотни, и значения этому придавать не стоит; важно расстояние до двух последних. Прочтите и сами ответы. Многие «ошибки» близки к истине: другой месяц, другой падеж того же слова. Векторы из 50 чисел знают род вещи лучше, чем саму вещь.

# %%
rotation, shift = procrustes(source, target)
for i, j in test_pairs[:14]:
    found = nearest(english_50[i] @ rotation + shift, search, k=4)
    mark = "+" if found[0] == j else " "
    print(f"{mark} {english.words[i]:>12} -> {', '.join(russian.words[n] for n in found)}")

# %% [markdown]
# How many pairs does it take? And why do a few Russian words turn up again and again as somebody's neighbour? In many dimensions there are *hubs*, rows close to everything. [CSLS](https://arxiv.org/abs/1710.04087) (Conneau et al., 2018, §2.3) takes off from each Russian word its mean cosine to its ten nearest English ones: a hub is near to all, so being near to it says little.

# %% [markdown] lang="ru"
# Сколько пар нужно? И почему одни и те же русские слова снова и снова оказываются чьими-то соседями? В пространстве многих измерений есть *хабы* (hubs) — строки, близкие ко всему на свете. [CSLS](https://arxiv.org/abs/1710.04087) (Conneau et al., 2018, §2.3) вычитает у каждого русского слова средний косинус с десятью ближайшими английскими: хаб близок ко всем, поэтому близость к нему мало о чём говорит.


# %%
def hubness(matrix: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The mean cosine of each Russian word to its ten nearest of 5,000 frequent English ones."""
    moved = unit(english_50[:5_000] @ matrix + shift).astype(np.float32)
    parts = np.array_split(search.astype(np.float32), 10)  # a table of all would be large
    return np.concatenate([np.partition(p @ moved.T, -10)[:, -10:].mean(axis=1) for p in parts])


def precision_csls(matrix: np.ndarray, shift: np.ndarray) -> float:
    """Precision@1 after hubs were pushed away."""
    moved = unit(english_50[test_pairs[:, 0]] @ matrix + shift)
    scores = 2 * moved @ search.T - hubness(matrix, shift)
    return float((scores.argmax(axis=1) == test_pairs[:, 1]).mean())


sizes = [n for n in (10, 40, 100, 200) if n < len(source)] + [len(source)]
fitted = [procrustes(source[:n], target[:n]) for n in sizes]
plain = [precision(*map_) for map_ in fitted]
without_hubs = [precision_csls(*map_) for map_ in fitted]
plots.curves(
    {"nearest": (sizes, plain), "nearest, hubs pushed away (CSLS)": (sizes, without_hubs)},
    *("How many pairs a dictionary takes", "pairs learnt from", "precision@1"),
)
plots.show(
    "Precision@1 against the number of pairs: with forty pairs next to nothing, then both curves "
    "rise; with many pairs the one with hubs pushed away is higher."
)
print(f"all {len(source)} pairs: {plain[-1]:.3f}, with CSLS {without_hubs[-1]:.3f}")

# %% [markdown]
# The whole week in one picture: words of both languages before the rotation and after it, in the two main directions of the Russian ones. A grey line joins an English word with its translation. **None of these words was among the pairs** that the rotation was found from: they are left out here, and it is found anew.

# %% [markdown] lang="ru"
# Вся неделя на одной картинке: слова двух языков до поворота и после него, в двух главных направлениях русских слов. Серая линия соединяет английское слово с его переводом. **Ни одного из этих слов не было среди пар**, по которым найден поворот: здесь они исключены, и поворот найден заново.

# %%
topics = "king queen prince soldier general dog cat horse bird river sea mountain lake bread milk "
topics += "cheese tea doctor hospital disease football team champion monday friday january august "
topics += "moscow london paris berlin"
translated = dict(week06.dictionary())
drawn = [
    w for w in topics.split() if russian_row.get(translated.get(w, ""), len(search)) < len(search)
]
places = np.array([(english_row[w], russian_row[translated[w]]) for w in drawn])
others = np.array([pair for pair in known_pairs if pair[0] not in places[:, 0]])
before, theirs = english_50[places[:, 0]], russian_50[places[:, 1]]
middle = theirs.mean(axis=0)
axes_of = np.linalg.svd(theirs - middle, full_matrices=False)[2][:2].T
names = [russian.words[j] for j in places[:, 1]]
rotation, shift = procrustes(english_50[others[:, 0]], russian_50[others[:, 1]])
after = unit(before @ rotation + shift)
figure = week06.two_languages(
    *((before - middle) @ axes_of, (after - middle) @ axes_of, (theirs - middle) @ axes_of),
    *(drawn, names, ("before: two languages, two clouds", "after one rotation (PCA)")),
)
plots.show(
    "Two clouds of words, English in blue and Russian in orange, joined by lines: before the rotation "
    "the lines cross the picture in all directions, after it they are shorter, and topics lie together.",
    figure,
)


# %%
def in_the_plane(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """t-SNE of two sets together."""
    both = np.concatenate([one, other])
    flat = TSNE(metric="cosine", init="pca", perplexity=8, random_state=0).fit_transform(both)
    return flat[: len(one)], flat[len(one) :]


rotation, shift = procrustes(english_50[others[:, 0]], russian_50[others[:, 1]])
pictures = [in_the_plane(x, theirs) for x in (before, unit(before @ rotation + shift))]
figure = week06.two_languages(
    *(pictures[0][0], pictures[1][0], np.stack([pictures[0][1], pictures[1][1]])),
    *(drawn, names, ("before (t-SNE)", "after one rotation (t-SNE)")),
)
plots.show(
    "The same words by t-SNE: before the rotation English and Russian words lie apart; after it most "
    "pairs are neighbours, in groups such as months, animals, cities.",
    figure,
)
gap = [float((unit(x) * theirs).sum(axis=1).mean()) for x in (before, before @ rotation + shift)]
control = float((unit(before @ rotation + shift) * np.roll(theirs, 1, axis=0)).sum(axis=1).mean())
print(f"mean cosine of a word and its translation: {gap[0]:.2f} before, {gap[1]:.2f} after")
print(f"after it, of a word and the translation of another one: {control:.2f}")

# %% [markdown]
# PCA is a shadow: a linear view in which distances can only shrink. t-SNE bends the space to keep neighbours together; how far apart its groups lie means nothing. That both tell the same story is the reason to believe it. And the rotation needed pairs only to *find* it: Conneau et al. (2018) found it without a single pair, from the shapes of the two clouds alone. In the homework you go on with texts: their tokens, their price, their classes, and how to find one among thousands.

# %% [markdown] lang="ru"
# PCA — это тень: линейный взгляд, при котором расстояния могут только сократиться. t-SNE гнёт пространство, чтобы соседи остались рядом; расстояния между его группами не значат ничего. Верить картинке стоит потому, что оба способа рассказывают одно и то же. А пары нужны были лишь для того, чтобы *найти* поворот: Conneau et al. (2018) нашли его без единой пары, по одной только форме облаков. В домашнем задании вы займётесь текстами: их токенами, их ценой, их классами и тем, как найти один среди тысяч.
