# ---
# jupyter:
#   kernelspec: {display_name: Python 3, language: python, name: python3}
# ---

# %% [markdown]
# # A machine that speaks
# Text to speech is a chain: from a text to words that can be spoken, from words to a spectrogram of the right length, from a spectrogram to samples; and then somebody has to say how good it is. Here you build a small link of each kind, and at the end a voice made of your own parts says numbers that nobody has recorded in one piece.

# %% [markdown] lang="ru"
# # Машина, которая говорит
# Синтез речи — цепочка: от текста к словам, которые можно произнести, от слов к спектрограмме нужной длины, от спектрограммы к отсчётам; а потом кто-то должен сказать, насколько это хорошо. Здесь вы построите по маленькому звену каждого рода, и в конце голос, собранный из ваших частей, прочтёт числа, которых никто целиком не записывал.

# %% tags=["parameters"]
profile = "small"

# %%
import time
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from practical_dl import check, data, plots, seed_everything
from practical_dl.weeks import week14

seed_everything(0)
settings = {
    "small": {"rounds": 6, "iterations": 60, "wave_steps": 150, "channels": 24, "seconds": 0.5},
    "full": {"rounds": 20, "iterations": 300, "wave_steps": 20_000, "channels": 64, "seconds": 2.0},
}[profile]

# %%
digits = data.load("fsdd")
speech = data.load("speech")

# %% [markdown]
# **Rules.** Fill the cells that raise `NotImplementedError`, run the check below each, look at *your* result. The checks that you see are public ones: a good sign, not a promise. Each task can be solved without the others, but where it names a function of an earlier one; these may be written anew. Functions leave their arguments as they were. `full` trains longer on the same data; nobody has run it here.

# %% [markdown] lang="ru"
# **Правила.** Заполните ячейки с `NotImplementedError`, запустите проверку под каждой и посмотрите на *свой* результат. Видимые проверки — открытые: пройти их — хороший знак, но не гарантия. Каждое задание можно решить без остальных, кроме случаев, когда оно называет функцию из прежнего; её можно написать заново. Функции не меняют своих аргументов. В `full` учатся дольше на тех же данных; здесь его никто не запускал.

# %% [markdown]
# ## 1. What is to be said
# "1305" is no word. A text frontend writes it out. `week14.NUMBERS` has the words of both languages: `"ones"` 0 to 19, `"tens"` 0, 10, … 90 (the first two are empty), `"hundreds"` 0, 100, … 900, `"thousand"`: its forms. Whole numbers from 0 to 999,999:
#
# - English: "twenty-one" with a hyphen; no "and"; "one hundred", "one thousand": `125306` is "one hundred twenty-five thousand three hundred six";
# - Russian: thousands are feminine, "одна тысяча", "две тысячи" (`"feminine"` has 1 and 2), and agree with the number before: 1 тысяча, 2 to 4 тысячи, else тысяч; the last digit decides, but 11 to 14 take тысяч. `21000` is "двадцать одна тысяча"; `1000` is "одна тысяча".
#
# Words are separated by one space.
#
# {{task:number_words}}

# %% [markdown] lang="ru"
# ## 1. Что сказать
# «1305» — не слово. Текстовая часть (text frontend) записывает его словами. В `week14.NUMBERS` — слова обоих языков: `"ones"` от 0 до 19, `"tens"` 0, 10, … 90 (первые два пустые), `"hundreds"` 0, 100, … 900, `"thousand"` — его формы. Целые числа от 0 до 999 999:
#
# - по-английски: «twenty-one» через дефис; без «and»; «one hundred», «one thousand»: `125306` — «one hundred twenty-five thousand three hundred six»;
# - по-русски: тысяча — женского рода, «одна тысяча», «две тысячи» (1 и 2 есть в `"feminine"`), и согласуется с числом перед ней: 1 тысяча, от 2 до 4 тысячи, иначе тысяч; решает последняя цифра, но после 11–14 — тысяч. `21000` — «двадцать одна тысяча»; `1000` — «одна тысяча».
#
# Слова разделены одним пробелом.
#
# {{task:number_words}}


# %% solution="number_words"
def number_words(n: int, language: str) -> str:
    """A whole number, 0 <= n < 1,000,000, in words. language: "en" or "ru"."""
    ### BEGIN SOLUTION
    table = week14.NUMBERS[language]

    def below_thousand(k: int, ones: Sequence[str]) -> list[str]:
        words = [table["hundreds"][k // 100]] if k >= 100 else []
        tens, rest = divmod(k % 100, 10)
        if tens < 2:
            return words + ([ones[k % 100]] if k % 100 else [])
        parts = [table["tens"][tens]] + ([ones[rest]] if rest else [])
        return words + (["-".join(parts)] if language == "en" else parts)

    thousands, rest = divmod(n, 1000)
    words = []
    if thousands:
        feminine = [*table["ones"][:1], *table["feminine"], *table["ones"][3:]]
        last = 0 if thousands % 100 in (11, 12, 13, 14) else thousands % 10
        form = 0 if last == 1 else 1 if last in (2, 3, 4) else 2
        words += [*below_thousand(thousands, feminine), table["thousand"][form]]
    return " ".join(words + below_thousand(rest, table["ones"])) or table["ones"][0]
    ### END SOLUTION


# %% test="number_words" points=0.5 bonus=true difficulty=2 minutes=25
for n, language, want in (
    (125306, "en", "one hundred twenty-five thousand three hundred six"),
    (90, "en", "ninety"),
    (21000, "ru", "двадцать одна тысяча"),
    (112384, "ru", "сто двенадцать тысяч триста восемьдесят четыре"),
):
    check.equal(check.answer(number_words, n, language, call=f"number_words({n}, {language!r})"), want, f"number_words({n}, {language!r})")
### BEGIN HIDDEN TESTS
rng = check.rng("number_words")
EN = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
RU = ["ноль", "один", "два", "три", "четыре", "пять", "шесть", "семь", "восемь", "девять", "десять", "одиннадцать", "двенадцать", "тринадцать", "четырнадцать", "пятнадцать", "шестнадцать", "семнадцать", "восемнадцать", "девятнадцать"]
RU_TENS = ["двадцать", "тридцать", "сорок", "пятьдесят", "шестьдесят", "семьдесят", "восемьдесят", "девяносто"]
RU_HUNDREDS = ["сто", "двести", "триста", "четыреста", "пятьсот", "шестьсот", "семьсот", "восемьсот", "девятьсот"]


def english(n: int) -> str:
    """In words, by recursion."""
    if n < 20:
        return EN[n]
    if n < 100:
        tens = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"][n // 10 - 2]
        return tens + (f"-{EN[n % 10]}" if n % 10 else "")
    size, name = (1000, "thousand") if n >= 1000 else (100, "hundred")
    return f"{english(n // size)} {name}" + (f" {english(n % size)}" if n % size else "")


def russian(n: int) -> str:
    """In words, by recursion."""
    if n < 20:
        return RU[n]
    if n < 100:
        return RU_TENS[n // 10 - 2] + (f" {RU[n % 10]}" if n % 10 else "")
    if n < 1000:
        return RU_HUNDREDS[n // 100 - 1] + (f" {russian(n % 100)}" if n % 100 else "")
    count = russian(n // 1000).split(" ")
    count[-1] = {"один": "одна", "два": "две"}.get(count[-1], count[-1])
    form = {"одна": "тысяча", "две": "тысячи", "три": "тысячи", "четыре": "тысячи"}.get(count[-1], "тысяч")
    return " ".join([*count, form]) + (f" {russian(n % 1000)}" if n % 1000 else "")


numbers = [*range(0, 131), 200, 319, 500, 612, 999, 1000, 1001, 2000, 3040, 4000, 5000, 10000, 11000, 11012, 12000, 13000, 14002, 113_013, 20000, 21001, 22022, 100000, 111000, 112113, 201000, 300_003, 512_512, 999_999, *rng.integers(0, 10**6, size=80).tolist(), *rng.integers(0, 1000, size=30).tolist()]
for language, oracle in (("en", english), ("ru", russian)):
    for n in numbers:
        call = f"number_words({n}, {language!r})"
        check.equal(check.answer(number_words, n, language, call=call), oracle(n), call, why="follow the rules of the language")
### END HIDDEN TESTS

# %% mutant="number_words" why="one thousand is masculine"
# - feminine = [*table["ones"][:1], *table["feminine"], *table["ones"][3:]]
# + feminine = table["ones"]

# %% mutant="number_words" why="the last digit decides for 11 to 14, too"
# - last = 0 if thousands % 100 in (11, 12, 13, 14) else thousands % 10
# + last = thousands % 10

# %% mutant="number_words" why="11 to 14, but not 111 to 114"
# - last = 0 if thousands % 100 in (11, 12, 13, 14) else thousands % 10
# + last = 0 if thousands in (11, 12, 13, 14) else thousands % 10

# %% mutant="number_words" why="no agreement"
# - form = 0 if last == 1 else 1 if last in (2, 3, 4) else 2
# + form = 0 if thousands == 1 else 2

# %% mutant="number_words" why="thousands beyond ten are always many"
# - form = 0 if last == 1 else 1 if last in (2, 3, 4) else 2
# + form = 0 if thousands == 1 else 1 if thousands in (2, 3, 4) else 2

# %% mutant="number_words" why="no zero"
# - return " ".join(words + below_thousand(rest, table["ones"])) or table["ones"][0]
# + return " ".join(words + below_thousand(rest, table["ones"]))

# %% mutant="number_words" why="zero after each round number"
# - return " ".join(words + below_thousand(rest, table["ones"])) or table["ones"][0]
# + return " ".join(words + (below_thousand(rest, table["ones"]) or [table["ones"][0]]))

# %% mutant="number_words" why="a hyphen in Russian, too"
# - return words + (["-".join(parts)] if language == "en" else parts)
# + return words + ["-".join(parts)]

# %% mutant="number_words" why="no hyphen"
# - return words + (["-".join(parts)] if language == "en" else parts)
# + return words + parts

# %% mutant="number_words" why="a hundred without one hundred"
# - words = [table["hundreds"][k // 100]] if k >= 100 else []
# + words = [table["hundreds"][k // 100].removeprefix("one ")] if k >= 100 else []

# %% mutant="number_words" why="a thousand without one"
# - words += [*below_thousand(thousands, feminine), table["thousand"][form]]
# + words += [*(below_thousand(thousands, feminine) if thousands > 1 else []), table["thousand"][form]]

# %% mutant="number_words" why="feminine in the whole number"
# - return " ".join(words + below_thousand(rest, table["ones"])) or table["ones"][0]
# + ones = [*table["ones"][:1], *table["feminine"], *table["ones"][3:]]
# + return " ".join(words + below_thousand(rest, ones)) or table["ones"][0]


# %% alternative="number_words" why="digit by digit"
def number_words(n, language):
    table = week14.NUMBERS[language]
    text, groups = [], [(n // 1000, True), (n % 1000, False)]
    for value, thousands in groups:
        if value == 0:
            continue
        ones = list(table["ones"])
        if thousands:
            ones[1:3] = table["feminine"]
        if value // 100:
            text.append(table["hundreds"][value // 100])
        small = value % 100
        if small >= 20:
            word = table["tens"][small // 10]
            if small % 10:
                word += ("-" if language == "en" else " ") + ones[small % 10]
            text.append(word)
        elif small:
            text.append(ones[small])
        if thousands:
            many = 10 < small < 20 or small % 10 == 0 or small % 10 > 4
            text.append(table["thousand"][2 if many else min(small % 10 - 1, 1)])
    return " ".join(text) if text else table["ones"][0]


# %%
for n in (0, 13, 1305, 21_002, 112_014):
    print(f"{n:>7}  {number_words(n, 'en')}; {number_words(n, 'ru')}")

# %% [markdown]
# Where is the stress? In Russian it decides what is said (за́мок is a castle, замо́к a lock) and nobody marks it. A frontend writes `+` before the stressed vowel. The vowels: in Russian each of `аеёиоуыэюя` by itself; in English a run of letters of `aeiouy` counts as one ("ea"). The rules, the first that fits; words are in lower case:
#
# 1. `lexicon`, a dictionary, has the word: its value says which vowel, counted from 0.
# 2. Russian: there is an "ё": the last one.
# 3. There is no vowel: the word stays as it is. There is one: that.
# 4. English: the word ends in `tion`, `sion`, `ic` or `ity`: the last vowel of what stands before that ending, if there is one.
# 5. English: the first vowel. Russian: the word stays as it is; one can't know.
#
# {{task:stress}}

# %% [markdown] lang="ru"
# Куда падает ударение? В русском от него зависит смысл (за́мок, замо́к), и никто его не отмечает. Текстовая часть пишет `+` перед ударной гласной. Гласные: по-русски каждая из `аеёиоуыэюя` сама по себе; по-английски несколько букв из `aeiouy` подряд считаются за одну («ea»). Правила, по первому подходящему; слова в нижнем регистре:
#
# 1. Слово есть в словаре `lexicon`: значение говорит, какая гласная, считая с 0.
# 2. По-русски: есть «ё» — последняя из них.
# 3. Гласных нет: слово остаётся как есть. Гласная одна: она.
# 4. По-английски: слово кончается на `tion`, `sion`, `ic` или `ity` — последняя гласная того, что стоит перед этим окончанием, если она там есть.
# 5. По-английски: первая гласная. По-русски: слово остаётся как есть; знать нельзя.
#
# {{task:stress}}


# %% solution="stress"
def stress(word: str, lexicon: Mapping[str, int], language: str) -> str:
    """The word with a + before its stressed vowel, where one is known."""
    ### BEGIN SOLUTION
    def vowels(part: str) -> list[int]:
        letters = "aeiouy" if language == "en" else "аеёиоуыэюя"
        places = [i for i, letter in enumerate(part) if letter in letters]
        return [i for i in places if language == "ru" or i - 1 not in places]

    places = vowels(word)
    ending = next((e for e in ("tion", "sion", "ic", "ity") if word.endswith(e)), "")
    stem = vowels(word.removesuffix(ending)) if ending else []
    if word in lexicon:
        place = places[lexicon[word]]
    elif language == "ru" and "ё" in word:
        place = word.rindex("ё")
    elif not places or (language == "ru" and len(places) > 1):
        return word
    else:
        place = stem[-1] if stem and language == "en" and len(places) > 1 else places[0]
    return word[:place] + "+" + word[place:]
    ### END SOLUTION


# %% test="stress" points=0.25 bonus=true difficulty=2 minutes=15
for word, lexicon, language, want in (
    ("heroic", {}, "en", "her+oic"),
    ("machine", {"machine": 1}, "en", "mach+ine"),
    ("city", {}, "en", "c+ity"),
    ("замок", {"замок": 0}, "ru", "з+амок"),
    ("жёлтый", {}, "ru", "ж+ёлтый"),
    ("окно", {}, "ru", "окно"),
    ("два", {}, "ru", "дв+а"),
):
    call = f"stress({word!r}, {lexicon}, {language!r})"
    check.equal(check.answer(stress, word, lexicon, language, call=call), want, call)
### BEGIN HIDDEN TESTS
import re

rng = check.rng("stress")


def by_rules(word: str, lexicon: dict[str, int], language: str) -> str:
    """By regular expressions."""
    pattern = "[aeiouy]+" if language == "en" else "[аеёиоуыэюя]"
    starts = [found.start() for found in re.finditer(pattern, word)]
    if word in lexicon:
        place = starts[lexicon[word]]
    elif language == "ru" and "ё" in word:
        place = len(word) - 1 - word[::-1].index("ё")
    elif len(starts) == 0:
        return word
    elif len(starts) == 1:
        place = starts[0]
    elif language == "ru":
        return word
    else:
        ending = re.search("(tion|sion|ic|ity)$", word)
        before = [found.start() for found in re.finditer(pattern, word[: ending.start()])] if ending else []
        place = before[-1] if before else starts[0]
    return f"{word[:place]}+{word[place:]}"


known = {"машина": 1, "дорога": 1, "река": 1, "ёлка": 0, "ёлочка": 0, "hotel": 1, "tomorrow": 1, "music": 1, "tion": 0, "nation": 1, "трёхзначный": 1}
fixed = [("en", w) for w in ("nation", "station", "tension", "ability", "electricity", "music", "basic", "panic", "radiation", "people", "hotel", "tomorrow", "try", "hmm", "eighteen", "ion", "tion", "ic", "ity", "icon", "action", "poetic", "queue", "seven", "beautiful", "cubic", "unity", "nice", "companion", "religion")]
fixed += [("ru", w) for w in ("машина", "дорога", "три", "взгляд", "в", "ёж", "ёлка", "ёлочка", "трёхзначный", "трёхколёсный", "полёт", "река", "молоко", "семь", "восемь", "она", "мотоцикл")]
for _ in range(40):
    fixed.append(("ru", "".join(rng.choice(list("абвеёикоуя"), size=rng.integers(1, 7)))))
    fixed.append(("en", "".join(rng.choice(list("abeiosty"), size=rng.integers(1, 6))) + str(rng.choice(["", "tion", "ic", "ity", "sion"]))))
for language, word in fixed:
    for lexicon in ({}, known):
        call = f"stress({word!r}, {'lexicon' if lexicon else '{}'}, {language!r})"
        check.equal(check.answer(stress, word, lexicon, language, call=call), by_rules(word, lexicon, language), call, why="follow the first rule that fits")
### END HIDDEN TESTS

# %% mutant="stress" why="the lexicon comes last"
# - if word in lexicon:
# + if word in lexicon and not stem and "ё" not in word:

# %% mutant="stress" why="does not look into the lexicon"
# - if word in lexicon:
# + if False:

# %% mutant="stress" why="each English vowel letter by itself"
# - return [i for i in places if language == "ru" or i - 1 not in places]
# + return places

# %% mutant="stress" why="runs of vowels in Russian, too"
# - return [i for i in places if language == "ru" or i - 1 not in places]
# + return [i for i in places if i - 1 not in places]

# %% mutant="stress" why="the first ё"
# - place = word.rindex("ё")
# + place = word.index("ё")

# %% mutant="stress" why="knows nothing of ё"
# - elif language == "ru" and "ё" in word:
# + elif False:

# %% mutant="stress" why="guesses in Russian"
# - elif not places or (language == "ru" and len(places) > 1):
# + elif not places:

# %% mutant="stress" why="forgets one ending"
# - ending = next((e for e in ("tion", "sion", "ic", "ity") if word.endswith(e)), "")
# + ending = next((e for e in ("tion", "ic", "ity") if word.endswith(e)), "")

# %% mutant="stress" why="the ending's own vowel"
# - stem = vowels(word.removesuffix(ending)) if ending else []
# + stem = vowels(word) if ending else []

# %% mutant="stress" why="the first vowel before the ending"
# - place = stem[-1] if stem and language == "en" and len(places) > 1 else places[0]
# + place = stem[0] if stem and language == "en" and len(places) > 1 else places[0]

# %% mutant="stress" why="the mark after the vowel"
# - return word[:place] + "+" + word[place:]
# + return word[: place + 1] + "+" + word[place + 1 :]

# %% mutant="stress" why="no y among the vowels"
# - letters = "aeiouy" if language == "en" else "аеёиоуыэюя"
# + letters = "aeiou" if language == "en" else "аеёиоуыэюя"


# %% alternative="stress" why="regular expressions"
def stress(word, lexicon, language):
    import re

    pattern = r"[aeiouy]+" if language == "en" else r"[аеёиоуыэюя]"
    groups = list(re.finditer(pattern, word))
    if word in lexicon:
        chosen = groups[lexicon[word]].start()
    elif language == "ru" and word.count("ё"):
        chosen = word.rfind("ё")
    elif not groups:
        return word
    elif len(groups) == 1 or language == "en":
        chosen = groups[0].start()
        match = re.match(r"^(.*?)(tion|sion|ic|ity)$", word)
        if len(groups) > 1 and match:
            inside = list(re.finditer(pattern, match[1]))
            chosen = inside[-1].start() if inside else chosen
    else:
        return word
    return word[:chosen] + "+" + word[chosen:]


# %%
lexicon = {"тысяча": 0, "тысячи": 0, "тысяч": 0, "двадцать": 0, "одна": 1, "пятьдесят": 1, "hundred": 0}
for n in (21_053, 2_021):
    for language in ("en", "ru"):
        words = number_words(n, language).replace("-", " ").split(" ")
        print(f"{n:>6}  {' '.join(stress(word, lexicon, language) for word in words)}")

# %% [markdown]
# ## 2. How long does each letter last?
# A text has letters, a spectrogram has frames, and there are more of these. Before a network can learn how long letters last, they have to be found in recordings. Given how well each frame suits each letter, $s_{i,t}$, the best alignment gives the frames to the letters **in order**, **at least one frame each**, every frame to exactly one, and maximises the sum of scores (*monotonic alignment search*, [Kim et al., 2020](https://arxiv.org/abs/2005.11129), algorithm 1):
#
# $$Q_{i,t} = s_{i,t} + \max(Q_{i,t-1},\ Q_{i-1,t-1}).$$
#
# Go back from the last letter and the last frame, and count.
#
# {{task:align}}

# %% [markdown] lang="ru"
# ## 2. Сколько длится каждая буква?
# В тексте буквы, в спектрограмме кадры, и кадров больше. Прежде чем сеть научится предсказывать длительности, буквы надо найти в записях. Пусть известно, насколько каждый кадр подходит каждой букве, $s_{i,t}$. Лучшее выравнивание отдаёт кадры буквам **по порядку**, **каждой хотя бы один**, каждый кадр — ровно одной, и сумма оценок наибольшая (*monotonic alignment search*, [Kim и др., 2020](https://arxiv.org/abs/2005.11129), алгоритм 1):
#
# $$Q_{i,t} = s_{i,t} + \max(Q_{i,t-1},\ Q_{i-1,t-1}).$$
#
# Идите назад от последней буквы и последнего кадра и считайте.
#
# {{task:align}}


# %% solution="align"
def align(scores: np.ndarray) -> np.ndarray:
    """How many frames each letter gets in the best alignment. scores: (n, frames), n <= frames -> int (n,)."""
    ### BEGIN SOLUTION
    n, frames = scores.shape
    best = np.full((n + 1, frames + 1), -np.inf)  # row and column 0: nothing yet
    best[0, 0] = 0
    for t in range(frames):
        best[1:, t + 1] = scores[:, t] + np.maximum(best[1:, t], best[:-1, t])
    durations, i = np.zeros(n, dtype=int), n
    for t in range(frames, 0, -1):
        durations[i - 1] += 1
        if best[i - 1, t - 1] > best[i, t - 1]:
            i -= 1
    return durations
    ### END SOLUTION


# %% test="align" points=0.5 bonus=true difficulty=3 minutes=25
scores = np.array([[5.0, 1.0, 2.0, 9.0, 0.0], [4.0, 3.0, 1.0, 0.0, 2.0], [9.0, 2.0, 6.0, 1.0, 1.5]])
check.equal(check.answer(align, scores, call="align(scores)"), np.array([1, 1, 3]), "align(scores)")
### BEGIN HIDDEN TESTS
from itertools import combinations

rng = check.rng("align")
for n, frames in ((3, 7), (1, 4), (4, 4), (2, 9), (5, 8), (1, 1), (3, 10)):
    for _ in range(3):
        scores = rng.normal(size=(n, frames)) * 3 - 5
        options = []
        for cuts in combinations(range(1, frames), n - 1):
            edges = [0, *cuts, frames]
            lengths = np.diff(edges)
            options.append((sum(scores[i, edges[i] : edges[i + 1]].sum() for i in range(n)), lengths.tolist()))
        call = f"align of {n} letters to {frames} frames"
        found = check.answer(align, scores, call=call)
        check.equal(int(np.sum(found)), frames, f"the sum of {call}", why="give every frame to one letter")
        check.equal(np.asarray(found), np.array(max(options)[1]), call, why="be the best of all alignments")
check.that(np.asarray(check.answer(align, np.ones((2, 5)), call="align of equal scores")).dtype.kind in "iu", "align of equal scores: be whole numbers")
scores = np.array([[-4e6, -9e6, -8e6, -9e6], [-5e6, -7e6, -1e6, -2e6], [-1e6, -2e6, -3e6, -6e6]])
check.equal(np.asarray(check.answer(align, scores, call="align of scores of millions")), np.array([1, 2, 1]), "align of scores of millions", why="be the best alignment, however small the scores are")
scores = rng.normal(size=(40, 300))
found = check.answer(align, scores, call="align of 40 letters to 300 frames")
check.that(bool((np.asarray(found) >= 1).all()) and int(np.sum(found)) == 300, "align of 40 letters to 300 frames: give each letter a frame, and each frame a letter")
### END HIDDEN TESTS

# %% mutant="align" why="each frame to its best letter"
# - return durations
# + return np.bincount(scores.argmax(0), minlength=n)

# %% mutant="align" why="may end before the last letter"
# - durations, i = np.zeros(n, dtype=int), n
# + durations, i = np.zeros(n, dtype=int), int(best[1:, -1].argmax()) + 1

# %% mutant="align" why="the worst alignment"
# - n, frames = scores.shape
# + scores = -scores
# + n, frames = scores.shape

# %% mutant="align" why="may skip letters"
# - best[1:, t + 1] = scores[:, t] + np.maximum(best[1:, t], best[:-1, t])
# + best[1:, t + 1] = scores[:, t] + np.maximum.accumulate(np.maximum(best[1:, t], best[:-1, t]))

# %% mutant="align" why="looks at the next frame's scores alone on its way back"
# - if best[i - 1, t - 1] > best[i, t - 1]:
# + if i > 1 and t > 1 and (scores[i - 2, t - 2] > scores[i - 1, t - 2] or t == i):

# %% mutant="align" why="evenly"
# - return durations
# + return np.diff(np.round(np.linspace(0, frames, n + 1))).astype(int)

# %% mutant="align" why="from the end: durations turned round"
# - return durations
# + return durations[::-1]

# %% mutant="align" why="where letters end, not how long they are"
# - return durations
# + return durations.cumsum()

# %% mutant="align" why="loses the first frame"
# - for t in range(frames, 0, -1):
# + for t in range(frames, 1, -1):

# %% mutant="align" why="what can't be has -1000: more than bad frames"
# - best = np.full((n + 1, frames + 1), -np.inf)  # row and column 0: nothing yet
# + best = np.full((n + 1, frames + 1), -1000.0)

# %% mutant="align" why="durations that are no whole numbers"
# - durations, i = np.zeros(n, dtype=int), n
# + durations, i = np.zeros(n), n

# %% mutant="align" why="begins in any letter"
# - best[0, 0] = 0
# + best[:, 0] = 0


# %% alternative="align" why="loops, a table of steps"
def align(scores):
    n, frames = scores.shape
    value = [[float("-inf")] * frames for _ in range(n)]
    came = [[0] * frames for _ in range(n)]
    for t in range(frames):
        for i in range(min(n, t + 1)):
            if t == 0:
                value[i][t] = float(scores[i, t])
                continue
            stay, move = value[i][t - 1], value[i - 1][t - 1] if i else float("-inf")
            came[i][t] = int(move > stay)
            value[i][t] = float(scores[i, t]) + max(stay, move)
    lengths, i = [0] * n, n - 1
    for t in reversed(range(frames)):
        lengths[i] += 1
        i -= came[i][t]
    return np.array(lengths)


# %% [markdown]
# The other way round works the [length regulator](glossary:length-regulator) of FastSpeech ([Ren et al., 2019](https://arxiv.org/abs/1905.09263), §3.2): it repeats the vector of each letter as many times as it lasts, and `pace` makes all speech longer or shorter. To round each duration by itself would lose frames: a sentence of fifty letters could be a second short. So round the **ends**:
#
# $$e_i = \lfloor \text{pace} \cdot (d_1 + \dots + d_i) + \tfrac12 \rfloor, \qquad \text{letter } i \text{ lasts } e_i - e_{i-1} \text{ frames}.$$
#
# {{task:regulate}}

# %% [markdown] lang="ru"
# Обратное делает [регулятор длины](glossary:length-regulator) (length regulator) из FastSpeech ([Ren и др., 2019](https://arxiv.org/abs/1905.09263), §3.2): повторяет вектор каждой буквы столько раз, сколько она длится, а `pace` растягивает или сжимает всю речь. Если округлять каждую длительность саму по себе, кадры теряются: предложение из пятидесяти букв могло бы стать на секунду короче. Поэтому округляйте **концы**:
#
# $$e_i = \lfloor \text{pace} \cdot (d_1 + \dots + d_i) + \tfrac12 \rfloor, \qquad \text{буква } i \text{ длится } e_i - e_{i-1} \text{ кадров}.$$
#
# {{task:regulate}}


# %% solution="regulate"
def regulate(x: torch.Tensor, durations: torch.Tensor, pace: float = 1.0) -> torch.Tensor:
    """Vectors (n, d) repeated by durations (n,), floats or whole numbers >= 0, -> (frames, d). Gradients pass to x."""
    ### BEGIN SOLUTION
    ends = torch.floor(pace * durations.double().cumsum(0) + 0.5).long()
    return x.repeat_interleave(torch.diff(ends, prepend=torch.zeros(1, dtype=torch.long)), dim=0)
    ### END SOLUTION


# %% test="regulate" points=0.5 bonus=true difficulty=2 minutes=15
x = torch.tensor([[1.0, -1.0], [2.0, 5.0], [3.0, 7.0]])
call = "regulate(x, tensor([2, 0, 3]))"
check.close(check.answer(regulate, x, torch.tensor([2, 0, 3]), call=call), x[[0, 0, 2, 2, 2]], call)
call = "regulate(x, tensor([1.4, 1.4, 1.4]))"
check.close(check.answer(regulate, x, torch.tensor([1.4, 1.4, 1.4]), call=call), x[[0, 1, 1, 2]], call)
call = "regulate(x, tensor([3, 1, 2]), pace=1.5)"
check.close(check.answer(regulate, x, torch.tensor([3, 1, 2]), pace=1.5, call=call), x[[0, 0, 0, 0, 0, 1, 2, 2, 2]], call)
### BEGIN HIDDEN TESTS
rng = check.rng("regulate")
for n, d, whole, pace in ((5, 3, True, None), (8, 2, True, 0.75), (6, 4, False, None), (30, 1, False, 0.37), (7, 2, True, 2.25), (1, 3, False, 1.6), (12, 2, True, 0.2)):
    x = torch.from_numpy(rng.normal(size=(n, d)))
    lengths = rng.integers(0, 6, size=n) if whole else rng.uniform(0, 5, size=n)
    durations = torch.from_numpy(lengths)
    rate, rows, done, sofar = pace or 1.0, [], 0, 0.0
    for i, one in enumerate(lengths.tolist()):
        sofar += one
        end = int(np.floor(rate * sofar + 0.5))
        rows += [i] * (end - done)
        done = end
    call = f"regulate(x, durations{f', pace={pace}' if pace else ''}) of {n} letters"
    found = check.answer(regulate, x, durations, call=call, **({"pace": pace} if pace else {}))
    check.equal(found.shape, (len(rows), d), f"the shape of {call}", why="last as long as all durations together")
    check.close(found, x[rows].numpy(), call, rtol=1e-12, why="repeat each letter up to its rounded end")
    check.that(found.dtype == np.float64, f"{call}: have the precision of x")
x, durations = torch.from_numpy(rng.normal(size=(501, 1))), torch.full((501,), 7.0)
call = "regulate of 501 letters of 7 frames each"
check.close(check.answer(regulate, x, durations, call=call), np.repeat(x.numpy(), 7, axis=0), call, rtol=1e-12, why="not drift in long texts")
x, durations = torch.from_numpy(rng.normal(size=(4, 2))), torch.tensor([2, 0, 3, 1])
upstream = torch.from_numpy(rng.normal(size=(6, 2)))
(slopes,) = check.gradient_of(lambda values: regulate(values, durations), x, upstream=upstream, call="regulate(x, tensor([2, 0, 3, 1]))")
want = np.stack([upstream[:2].sum(0), np.zeros(2), upstream[2:5].sum(0), upstream[5]])
check.close(slopes, want, "the gradient of regulate(x, tensor([2, 0, 3, 1]))", rtol=1e-9, atol=1e-12, why="add up over the frames of a letter")
### END HIDDEN TESTS

# %% mutant="regulate" why="rounds each duration by itself"
# - ends = torch.floor(pace * durations.double().cumsum(0) + 0.5).long()
# + ends = torch.floor(pace * durations.double() + 0.5).long().cumsum(0)

# %% mutant="regulate" why="no pace"
# - ends = torch.floor(pace * durations.double().cumsum(0) + 0.5).long()
# + ends = torch.floor(durations.double().cumsum(0) + 0.5).long()

# %% mutant="regulate" why="divides by the pace"
# - ends = torch.floor(pace * durations.double().cumsum(0) + 0.5).long()
# + ends = torch.floor(durations.double().cumsum(0) / pace + 0.5).long()

# %% mutant="regulate" why="cuts, does not round"
# - ends = torch.floor(pace * durations.double().cumsum(0) + 0.5).long()
# + ends = torch.floor(pace * durations.double().cumsum(0)).long()

# %% mutant="regulate" why="rounds up"
# - ends = torch.floor(pace * durations.double().cumsum(0) + 0.5).long()
# + ends = torch.ceil(pace * durations.double().cumsum(0)).long()

# %% mutant="regulate" why="half to even"
# - ends = torch.floor(pace * durations.double().cumsum(0) + 0.5).long()
# + ends = torch.round(pace * durations.double().cumsum(0)).long()

# %% mutant="regulate" why="at least one frame a letter"
# - return x.repeat_interleave(torch.diff(ends, prepend=torch.zeros(1, dtype=torch.long)), dim=0)
# + return x.repeat_interleave(torch.diff(ends, prepend=torch.zeros(1, dtype=torch.long)).clamp(min=1), dim=0)

# %% mutant="regulate" why="without gradients"
# - return x.repeat_interleave(torch.diff(ends, prepend=torch.zeros(1, dtype=torch.long)), dim=0)
# + return x.detach().repeat_interleave(torch.diff(ends, prepend=torch.zeros(1, dtype=torch.long)), dim=0)

# %% mutant="regulate" why="all letters in turn, again and again"
# - return x.repeat_interleave(torch.diff(ends, prepend=torch.zeros(1, dtype=torch.long)), dim=0)
# + return x[torch.arange(int(ends[-1])) % len(x)]


# %% alternative="regulate" why="a letter for each frame"
def regulate(x, durations, pace=1.0):
    ends, total = [], 0.0
    for one in durations.tolist():
        total += one
        ends.append(int(total * pace + 0.5))
    owner = [next(i for i, end in enumerate(ends) if end > t) for t in range(ends[-1])]
    return x[torch.tensor(owner, dtype=torch.long)]


# %% [markdown]
# Now both on a voice. Of theo's recordings of each word we learn, for each third of a letter, a mean spectrum: begin with equal parts; then align, average, and align again, as k-means does. No network yet, but the very chain of one. (Letters are not sounds, and nobody has told it where a vowel begins: a piece settles where frames are alike.)

# %% [markdown] lang="ru"
# Теперь то и другое — на голосе. По записям, где theo говорит каждое слово, найдём для каждой трети буквы средний спектр: начнём с равных частей, затем выравнивание, усреднение и снова выравнивание — как в k-средних. Сети ещё нет, но цепочка ровно та же. (Буквы — не звуки, и никто не сказал, где начинается гласная: кусок оседает там, где кадры похожи.)

# %%
HOP, SIZE = 64, 256
WINDOW = torch.hann_window(SIZE, dtype=torch.float64)


def analyse(x: torch.Tensor, window: torch.Tensor, hop: int) -> torch.Tensor:
    """The spectra of a sound (n,), complex (w // 2 + 1, 1 + n // hop)."""
    return torch.stft(x, len(window), hop, window=window, center=True, pad_mode="constant", return_complex=True)


def synthesise(spectra: torch.Tensor, window: torch.Tensor, hop: int, length: int) -> torch.Tensor:
    """The sound (length,) whose spectra are nearest to these."""
    return torch.istft(spectra, len(window), hop, window=window, center=True, length=length)


def log_spectra(sound: np.ndarray) -> np.ndarray:
    """ln of the magnitudes (129, frames) of a sound at full loudness."""
    x = torch.tensor(sound, dtype=torch.float64)
    return (analyse(x / x.abs().max(), WINDOW, HOP).abs() + 1e-3).log().numpy()


# %%
@cache
def learn_word(word: str) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], list[float]]:
    """Theo's mean spectra of a word (states, 129), mean durations (states,), alignments, and errors by round."""
    number, states = week14.WORDS.index(word), 3 * len(word)
    takes = np.flatnonzero((digits.y_train[:, :2] == [number, 3]).all(1))
    spectra = [log_spectra(digits.x_train[i]) for i in takes]
    lengths = [np.diff(np.round(np.linspace(0, one.shape[1], states + 1))).astype(int) for one in spectra]
    frames, errors = np.concatenate(spectra, axis=1), []
    for _ in range(settings["rounds"]):
        owner = np.concatenate([np.repeat(np.arange(states), one) for one in lengths])
        means = np.stack([frames[:, owner == k].mean(1) for k in range(states)])
        errors.append(float(((frames - means[owner].T) ** 2).sum(0).mean()))
        lengths = [align(-((means[:, :, None] - one) ** 2).sum(1)) for one in spectra]
    return means, np.mean(lengths, axis=0), lengths, errors


by_round = np.mean([learn_word(word)[3] for word in week14.WORDS], axis=0)
print("mean squared distance of a frame to its state, round by round:", " ".join(f"{value:.1f}" for value in by_round))
take = digits.x_train[int(np.flatnonzero((digits.y_train[:, :2] == [7, 3]).all(1))[0])]
week14.segments(log_spectra(take), learn_word("seven")[2][0].reshape(-1, 3).sum(1), "seven")
plots.show("A spectrogram of the word seven, cut by white lines into five pieces of different lengths, one a letter: s covers the hiss, e and v share the loud tones of the first vowel, e and n the fainter rest.")

# %% [markdown]
# ## 3. A sound from magnitudes
# A spectrogram made by a machine has no phases, and without phases there is no sound. [Griffin and Lim](glossary:griffin-lim) ([1984](https://doi.org/10.1109/TASSP.1984.1164317)) look for a sound whose magnitudes come close. How close? Here $X$ are the spectra of a sound; rows that stand for two frequencies, a positive and a negative one, count twice: all but the first and the last, $v_k = 1, 2, \dots, 2, 1$,
#
# $$\operatorname{inconsistency} = \sqrt{\frac{\sum_{k,t} v_k \bigl(|X_{k,t}| - M_{k,t}\bigr)^2}{\sum_{k,t} v_k M_{k,t}^2}}.$$
#
# `analyse(x, window, hop)` above gives spectra.
#
# {{task:inconsistency}}

# %% [markdown] lang="ru"
# ## 3. Звук из модулей
# У спектрограммы, сделанной машиной, нет фаз, а без фаз нет звука. [Алгоритм Гриффина — Лима](glossary:griffin-lim) (Griffin–Lim, [1984](https://doi.org/10.1109/TASSP.1984.1164317)) ищет звук с близкими модулями. Насколько близкими? Здесь $X$ — спектры звука; строки, за которыми стоят две частоты, положительная и отрицательная, считаются дважды — все, кроме первой и последней, $v_k = 1, 2, \dots, 2, 1$,
#
# $$\operatorname{inconsistency} = \sqrt{\frac{\sum_{k,t} v_k \bigl(|X_{k,t}| - M_{k,t}\bigr)^2}{\sum_{k,t} v_k M_{k,t}^2}}.$$
#
# Спектры даёт `analyse(x, window, hop)` выше.
#
# {{task:inconsistency}}


# %% solution="inconsistency"
def inconsistency(magnitude: torch.Tensor, sound: torch.Tensor, window: torch.Tensor, hop: int) -> torch.Tensor:
    """How far the magnitudes of a sound (n,) are from others (w // 2 + 1, 1 + n // hop), a scalar."""
    ### BEGIN SOLUTION
    twice = torch.full((len(magnitude), 1), 2.0, dtype=magnitude.dtype)
    twice[[0, -1]] = 1
    error = analyse(sound, window, hop).abs() - magnitude
    return ((twice * error**2).sum() / (twice * magnitude**2).sum()).sqrt()
    ### END SOLUTION


# %% test="inconsistency" points=0.25 bonus=true difficulty=1 minutes=10
sound, window = torch.tensor([1.0, 3.0, -2.0, 5.0]), torch.tensor([0.5, 1.0, 2.0, 1.5])
magnitude = torch.tensor([[1.0, 4.0, 2.0], [3.0, 0.5, 1.0], [2.0, 6.0, 3.0]])
call = "inconsistency(magnitude, [1, 3, -2, 5], [0.5, 1, 2, 1.5], hop=2)"
check.close(check.answer(inconsistency, magnitude, sound, window, 2, call=call), 1.58125362, call)
### BEGIN HIDDEN TESTS
rng = check.rng("inconsistency")
for n, size, hop in ((20, 8, 3), (31, 6, 2), (9, 10, 5)):
    sound, window = torch.from_numpy(rng.normal(size=n)), torch.from_numpy(rng.uniform(0.3, 2, size=size))
    padded = np.pad(sound.numpy(), size // 2)
    full = np.stack([np.abs(np.fft.fft(padded[t : t + size] * window.numpy())) for t in range(0, n + 1, hop)], axis=1)
    wanted = rng.uniform(0, 3, size=full.shape)
    wanted[size // 2 + 1 :] = wanted[1 : size // 2][::-1]  # negative frequencies, as positive ones
    want = np.sqrt(((full - wanted) ** 2).sum() / (wanted**2).sum())
    call = f"inconsistency of {n} samples, {size} to a frame, hop {hop}"
    found = check.answer(inconsistency, torch.from_numpy(wanted[: size // 2 + 1]), sound, window, hop, call=call)
    check.close(found, want, call, rtol=1e-8, why="be the distance over all frequencies, negative ones too")
own = torch.stft(sound, 10, 5, window=window, center=True, pad_mode="constant", return_complex=True).abs()
check.close(check.answer(inconsistency, own, sound, window, 5, call="inconsistency of a sound's own magnitudes"), 0.0, "inconsistency of a sound's own magnitudes", atol=1e-9, why="be 0")
### END HIDDEN TESTS

# %% mutant="inconsistency" why="counts every row once"
# - twice[[0, -1]] = 1
# + twice[:] = 1

# %% mutant="inconsistency" why="counts every row twice"
# - twice[[0, -1]] = 1
# + twice[[0, -1]] = 2

# %% mutant="inconsistency" why="the last row twice"
# - twice[[0, -1]] = 1
# + twice[0] = 1

# %% mutant="inconsistency" why="no root"
# - return ((twice * error**2).sum() / (twice * magnitude**2).sum()).sqrt()
# + return (twice * error**2).sum() / (twice * magnitude**2).sum()

# %% mutant="inconsistency" why="compares with the sound's own loudness"
# - return ((twice * error**2).sum() / (twice * magnitude**2).sum()).sqrt()
# + return ((twice * error**2).sum() / (twice * (error + magnitude) ** 2).sum()).sqrt()

# %% mutant="inconsistency" why="an absolute distance"
# - return ((twice * error**2).sum() / (twice * magnitude**2).sum()).sqrt()
# + return (twice * error**2).sum().sqrt()

# %% mutant="inconsistency" why="the difference of complex spectra"
# - error = analyse(sound, window, hop).abs() - magnitude
# + error = (analyse(sound, window, hop) - magnitude).abs()

# %% mutant="inconsistency" why="absolute errors"
# - return ((twice * error**2).sum() / (twice * magnitude**2).sum()).sqrt()
# + return (twice * error.abs()).sum() / (twice * magnitude).sum()


# %% alternative="inconsistency" why="inner rows added again"
def inconsistency(magnitude, sound, window, hop):
    mine = analyse(sound, window, hop).abs()
    above = (mine - magnitude).square()
    below = magnitude.square()
    return torch.sqrt((above.sum() + above[1:-1].sum()) / (below.sum() + below[1:-1].sum()))


# %% [markdown]
# The algorithm goes back and forth. Begin with the given phases $\varphi$, $S = M e^{\mathrm i \varphi}$. One step: the sound nearest to $S$ (`synthesise(S, window, hop, length)`); its `inconsistency` (of the task before) is noted; its spectra's **phases** are kept and the wanted magnitudes $M$ put in again, for the next step. (The phase of 0 is 0.) After `steps` steps the last sound is the answer. Each half of a step is the best one can do with the other half held, so the inconsistency **never rises**; it needs not reach 0, as most arrays of magnitudes belong to no sound.
#
# {{task:griffin_lim}}

# %% [markdown] lang="ru"
# Алгоритм ходит туда и обратно. Начните с данных фаз $\varphi$, $S = M e^{\mathrm i \varphi}$. Один шаг: звук, ближайший к $S$ (`synthesise(S, window, hop, length)`); его `inconsistency` (из прошлого задания) записывают; **фазы** его спектров оставляют, а модули снова ставят нужные, $M$, — для следующего шага. (Фаза нуля — 0.) После `steps` шагов ответ — последний звук. Каждая половина шага — лучшее, что можно сделать при неизменной другой, поэтому рассогласование **никогда не растёт**; нуля оно достигать не обязано: большинство массивов модулей не принадлежит ни одному звуку.
#
# {{task:griffin_lim}}


# %% solution="griffin_lim"
def griffin_lim(
    magnitude: torch.Tensor, phases: torch.Tensor, window: torch.Tensor, hop: int, length: int, steps: int
) -> tuple[torch.Tensor, list[float]]:
    """A sound (length,) of magnitudes and first phases (w // 2 + 1, 1 + length // hop), after steps >= 1,

    and the inconsistency after each step.
    """
    ### BEGIN SOLUTION
    noted = []
    for _ in range(steps):
        sound = synthesise(magnitude * torch.exp(1j * phases), window, hop, length)
        noted.append(float(inconsistency(magnitude, sound, window, hop)))
        phases = analyse(sound, window, hop).angle()
    return sound, noted
    ### END SOLUTION


# %% test="griffin_lim" points=0.75 bonus=true difficulty=3 minutes=25
sound = torch.sin(torch.arange(60, dtype=torch.float64) / 3) * torch.linspace(1, 0.2, 60).double()
window = torch.hann_window(12, dtype=torch.float64)
spectra = torch.stft(sound, 12, 3, window=window, center=True, pad_mode="constant", return_complex=True)
found, noted = check.answer(griffin_lim, spectra.abs(), spectra.angle(), window, 3, 60, 1, call="griffin_lim with the right phases, 1 step")
check.close(found, sound, "the sound of griffin_lim with the right phases, 1 step", atol=1e-9)
found, noted = check.answer(griffin_lim, spectra.abs(), torch.zeros_like(spectra.abs()), window, 3, 60, 4, call="griffin_lim with phases 0, 4 steps")
check.close(noted, [0.94864678, 0.29678216, 0.27943078, 0.27384228], "the inconsistencies of griffin_lim with phases 0, 4 steps", rtol=1e-4)
### BEGIN HIDDEN TESTS
rng = check.rng("griffin_lim")


def spectra_of(x: torch.Tensor, window: torch.Tensor, hop: int) -> torch.Tensor:
    """By the library."""
    return torch.stft(x, len(window), hop, window=window, center=True, pad_mode="constant", return_complex=True)


def distance(x: torch.Tensor, wanted: torch.Tensor, window: torch.Tensor, hop: int) -> float:
    """The inconsistency, with inner rows added once more."""
    error = (spectra_of(x, window, hop).abs() - wanted) ** 2
    return float(torch.sqrt((error.sum() + error[1:-1].sum()) / (wanted.square().sum() + wanted[1:-1].square().sum())))


for n, size, hop, steps in ((50, 8, 2, 6), (41, 12, 5, 12), (30, 6, 3, 1), (64, 16, 4, 25)):
    window = torch.from_numpy(rng.uniform(0.3, 2, size=size))
    wanted = torch.from_numpy(rng.uniform(0, 3, size=(size // 2 + 1, 1 + n // hop)))
    phases = torch.from_numpy(rng.uniform(-3, 3, size=wanted.shape))
    spectra, want = torch.polar(wanted, phases), []
    for _ in range(steps):
        x = torch.istft(spectra, size, hop, window=window, center=True, length=n)
        want.append(distance(x, wanted, window, hop))
        own = spectra_of(x, window, hop)
        spectra = own * wanted / own.abs().clamp(min=1e-30)
    call = f"griffin_lim of {n} samples, {size} to a frame, hop {hop}, {steps} steps"
    found, noted = check.answer(griffin_lim, wanted, phases, window, hop, n, steps, call=call)
    check.equal(len(noted), steps, f"the number of inconsistencies of {call}", why="note one after each step")
    check.close(noted, want, f"the inconsistencies of {call}", rtol=1e-6, why="keep the phases, and put the magnitudes in again")
    check.that(bool((np.diff(noted) <= 1e-9).all()), f"{call}: never rise")
    check.close(found, x, f"the sound of {call}", rtol=1e-5, atol=1e-7, why="be that of the last step")
level, turned = torch.zeros(5, 9, dtype=torch.float64), torch.zeros(5, 9, dtype=torch.float64)
level[0], turned[0] = 2.0, np.pi / 2  # the mean of a frame can't be imaginary: the first sound is silence
window = torch.from_numpy(rng.uniform(0.3, 2, size=8))
want = torch.istft(level.to(torch.complex128), 8, 2, window=window, center=True, length=16)
call = "griffin_lim of phases that give silence, 2 steps"
found, _ = check.answer(griffin_lim, level, turned, window, 2, 16, 2, call=call)
check.close(found, want, f"the sound of {call}", rtol=1e-6, atol=1e-9, why="put the magnitudes in again, even where nothing sounds: the phase of 0 is 0")
silent = torch.zeros(5, 9, dtype=torch.float64)
silent[:, 4] = 1.0
found, _ = check.answer(griffin_lim, silent, torch.zeros_like(silent), torch.from_numpy(rng.uniform(0.3, 2, size=8)), 2, 16, 3, call="griffin_lim of one frame among silence")
check.that(bool(np.isfinite(found).all()), "griffin_lim of one frame among silence: be finite")
### END HIDDEN TESTS

# %% mutant="griffin_lim" why="keeps its magnitudes, too: stands still"
# - sound = synthesise(magnitude * torch.exp(1j * phases), window, hop, length)
# + sound = synthesise(magnitude * torch.exp(1j * phases), window, hop, length) if not noted else sound

# %% mutant="griffin_lim" why="the given phases at each step"
# - phases = analyse(sound, window, hop).angle()
# + phases = phases + 0

# %% mutant="griffin_lim" why="begins with phases 0"
# - noted = []
# + noted, phases = [], 0 * phases

# %% mutant="griffin_lim" why="one step too many"
# - return sound, noted
# + return synthesise(magnitude * torch.exp(1j * phases), window, hop, length), noted

# %% mutant="griffin_lim" why="notes before the step"
# - return sound, noted
# + return sound, [1.0, *noted[:-1]]

# %% mutant="griffin_lim" why="phases turned round"
# - phases = analyse(sound, window, hop).angle()
# + phases = -analyse(sound, window, hop).angle()

# %% mutant="griffin_lim" why="the square root of the magnitudes"
# - sound = synthesise(magnitude * torch.exp(1j * phases), window, hop, length)
# + sound = synthesise(magnitude.sqrt() * torch.exp(1j * phases), window, hop, length)

# %% mutant="griffin_lim" why="the last inconsistency alone"
# - return sound, noted
# + return sound, noted[-1:]

# %% mutant="griffin_lim" why="nothing where nothing sounds"
# - phases = analyse(sound, window, hop).angle()
# + own = analyse(sound, window, hop)
# + magnitude = torch.where(own.abs() < 1e-9, torch.zeros_like(magnitude), magnitude)
# + phases = own.angle()

# %% mutant="griffin_lim" why="divides by magnitudes of 0"
# - phases = analyse(sound, window, hop).angle()
# + own = analyse(sound, window, hop)
# + phases = torch.where(own.abs() > 0, own.angle(), torch.nan)


# %% alternative="griffin_lim" why="complex spectra, divided by their size"
def griffin_lim(magnitude, phases, window, hop, length, steps):
    spectra, distances = torch.polar(magnitude, phases), []
    while len(distances) < steps:
        sound = synthesise(spectra, window, hop, length)
        own = analyse(sound, window, hop)
        distances.append(inconsistency(magnitude, sound, window, hop).item())
        size = own.abs()
        unit = torch.where(size > 0, own / size.clamp(min=1e-300), torch.ones_like(own))
        spectra = magnitude * unit
    return sound, distances


# %%
clip = torch.from_numpy(np.ascontiguousarray(speech.sound[: 3 * speech.rate : 4])).double()
magnitude = analyse(clip, WINDOW, HOP).abs()
first = torch.from_numpy(np.random.default_rng(0).uniform(-np.pi, np.pi, size=magnitude.shape))
heard, noted = {}, []
for steps in (1, 5, settings["iterations"]):
    sound, noted = griffin_lim(magnitude, first, WINDOW, HOP, len(clip), steps)
    heard[f"random phases, {steps} step{'s' * (steps > 1)}: inconsistency {noted[-1]:.3f}"] = sound.numpy()
week14.play(heard, 11025)
print(f"from {noted[0]:.3f} to {noted[-1]:.3f}; largest rise in a step {max(np.diff(noted)):.1e}")
plots.curves({"inconsistency": (range(1, len(noted) + 1), noted)}, "Griffin–Lim never rises", "step", "inconsistency", log_y=True)
plots.show("The inconsistency against the step, on a log axis: it falls steeply in the first steps, then ever more slowly, and never rises.")

# %% [markdown]
# After one step the words are there, as if out of a tin; listen to what the further steps change. Now the whole chain: a number, its digits, the spectra of each letter's thirds, lengthened, smoothed over time, and Griffin–Lim.

# %% [markdown] lang="ru"
# После одного шага слова уже есть, но как из жестянки; послушайте, что меняют следующие. Теперь вся цепочка: число, его цифры, спектры третей каждой буквы, растянутые во времени, сглаженные, и Гриффин — Лим.

# %%
def speak(words: Sequence[str], pace: float = 1.0) -> np.ndarray:
    """A sound of digits' words, said by mean spectra."""
    parts = []
    for word in words:
        means, lasting = (torch.from_numpy(part) for part in learn_word(word)[:2])
        frames = regulate(means, lasting, pace)
        smooth = torch.tensor([1.0, 2.0, 3.0, 2.0, 1.0]).double()[None, None] / 9
        frames = F.conv1d(F.pad(frames.T[:, None], (2, 2), mode="replicate"), smooth)[:, 0]
        parts += [frames.exp(), torch.full((129, 12), 1e-3, dtype=torch.float64)]
    magnitude = torch.cat(parts, dim=1)
    phases = torch.from_numpy(np.random.default_rng(0).uniform(-np.pi, np.pi, size=magnitude.shape))
    length = HOP * (magnitude.shape[1] - 1)
    return griffin_lim(magnitude, phases, WINDOW, HOP, length, settings["iterations"])[0].numpy()


said = {f"{' '.join(words)}, pace {pace}": speak(words, pace) for words, pace in (
    (["two", "zero", "two", "six"], 1.0), (["two", "zero", "two", "six"], 1.5), (["three", "one", "four", "one", "five", "nine"], 0.9),
)}  # fmt: skip
week14.play(said)
first_said = next(iter(said.values()))
week14.spectrograms({"2026, a machine": (analyse(torch.from_numpy(first_said), WINDOW, HOP).abs().numpy(), len(first_said) / week14.RATE)})
plots.show("A spectrogram of four synthetic words, two zero two six: bright stripes of vowels, pale hiss of t, z and s, dark pauses between the words.")

# %% [markdown]
# Compare with the spectrogram of a recording above: a mean over 25 recordings has lost what differs between them, and the stripes of the harmonics are smeared; hear how hoarse that is. That is why networks learn to draw from a distribution instead.
#
# ## 4. Sample by sample
# [WaveNet](glossary:wavenet) ([van den Oord et al., 2016](https://arxiv.org/abs/1609.03499)) predicts each sample from those before it. Its convolution is **causal**: the output at $t$ sees inputs up to $t$ only; and **dilated**: it skips, so that few layers see far,
#
# $$y_t = b + \sum_{i=0}^{k-1} W_i\, x_{t - (k-1-i)\,d}, \qquad x_t = 0 \text{ for } t < 0.$$
#
# {{task:causal_conv}}

# %% [markdown] lang="ru"
# Сравните со спектрограммой записи выше: среднее по 25 записям потеряло всё, чем они различаются, и полосы гармоник смазаны; слышно, как это хрипит. Поэтому сети учатся не среднему, а распределению.
#
# ## 4. Отсчёт за отсчётом
# [WaveNet](glossary:wavenet) ([van den Oord и др., 2016](https://arxiv.org/abs/1609.03499)) предсказывает каждый отсчёт по предыдущим. Свёртка у него **причинная** (causal): выход в момент $t$ видит входы только до $t$; и **разреженная** (dilated): она шагает через несколько отсчётов, и немногие слои видят далеко,
#
# $$y_t = b + \sum_{i=0}^{k-1} W_i\, x_{t - (k-1-i)\,d}, \qquad x_t = 0 \text{ при } t < 0.$$
#
# {{task:causal_conv}}


# %% solution="causal_conv"
def causal_conv(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, dilation: int = 1) -> torch.Tensor:
    """x: (n, c, t), weight: (o, c, k), bias: (o,) -> (n, o, t). Gradients pass to all three.

    torch's convolutions may be used.
    """
    ### BEGIN SOLUTION
    padded = F.pad(x, (dilation * (weight.shape[2] - 1), 0))
    return F.conv1d(padded, weight, bias, dilation=dilation)
    ### END SOLUTION


# %% test="causal_conv" points=0.25 bonus=true difficulty=1 minutes=10
x, weight, bias = torch.tensor([[[1.0, 2.0, 4.0, -1.0, 3.0]]]), torch.tensor([[[0.5, 3.0]]]), torch.tensor([0.25])
call = "causal_conv([1, 2, 4, -1, 3], [0.5, 3], 0.25"
check.close(check.answer(causal_conv, x, weight, bias, call=call + ")"), [[[3.25, 6.75, 13.25, -0.75, 8.75]]], call + ")")
check.close(check.answer(causal_conv, x, weight, bias, 2, call=call + ", dilation=2)"), [[[3.25, 6.25, 12.75, -1.75, 11.25]]], call + ", dilation=2)")
### BEGIN HIDDEN TESTS
rng = check.rng("causal_conv")
for n, c, o, k, t, d in ((2, 3, 4, 2, 9, 1), (1, 2, 3, 3, 11, 2), (3, 1, 2, 4, 6, 3), (2, 2, 5, 1, 4, 4), (1, 3, 1, 2, 3, 7)):
    x, weight, bias = (torch.from_numpy(rng.normal(size=shape)) for shape in ((n, c, t), (o, c, k), (o,)))
    want = np.zeros((n, o, t)) + bias.numpy()[:, None]
    for time_ in range(t):
        for i in range(k):
            before = time_ - (k - 1 - i) * d
            if before >= 0:
                want[:, :, time_] += x[:, :, before].numpy() @ weight[:, :, i].numpy().T
    call = f"causal_conv of {c} channels, kernel {k}, dilation {d}"
    found = check.answer(causal_conv, x, weight, bias, call=call, **({"dilation": d} if d > 1 else {}))
    check.close(found, want, call, rtol=1e-8, atol=1e-10, why="sum over what came before, as far apart as the dilation says")
    now = torch.zeros(n, o, t, dtype=torch.float64)
    now[:, :, t // 2] = 1
    slopes, *others = check.gradient_of(causal_conv, x, weight, bias, upstream=now, dilation=d, call=call)
    past = F.pad(x, ((k - 1) * d, 0))[:, :, t // 2 : t // 2 + (k - 1) * d + 1 : d].sum(0)
    for name, got, slope in zip(("weight", "bias"), others, (past.expand(o, c, k), torch.full((o,), float(n))), strict=True):
        check.close(got, slope, f"the gradient of an output of {call} for {name}", rtol=1e-8, atol=1e-10, why="reach what is learnt")
    check.close(slopes[:, :, t // 2 + 1 :], np.zeros((n, c, t - t // 2 - 1)), f"the gradient of an output of {call} for later inputs", why="be 0: nothing hears the future")
### END HIDDEN TESTS

# %% mutant="causal_conv" why="pads on the right: hears the future"
# - padded = F.pad(x, (dilation * (weight.shape[2] - 1), 0))
# + padded = F.pad(x, (0, dilation * (weight.shape[2] - 1)))

# %% mutant="causal_conv" why="pads without the dilation"
# - padded = F.pad(x, (dilation * (weight.shape[2] - 1), 0))
# + padded = F.pad(x, (weight.shape[2] - 1, 0))

# %% mutant="causal_conv" why="no dilation"
# - return F.conv1d(padded, weight, bias, dilation=dilation)
# + return F.conv1d(padded, weight, bias)

# %% mutant="causal_conv" why="shifted by one: does not hear the present"
# - padded = F.pad(x, (dilation * (weight.shape[2] - 1), 0))
# + padded = F.pad(x, (dilation * (weight.shape[2] - 1) + 1, -1))

# %% mutant="causal_conv" why="filters turned round"
# - return F.conv1d(padded, weight, bias, dilation=dilation)
# + return F.conv1d(padded, weight.flip(2), bias, dilation=dilation)

# %% mutant="causal_conv" why="no bias"
# - return F.conv1d(padded, weight, bias, dilation=dilation)
# + return F.conv1d(padded, weight, dilation=dilation)

# %% mutant="causal_conv" why="no padding"
# - padded = F.pad(x, (dilation * (weight.shape[2] - 1), 0))
# + padded = x

# %% mutant="causal_conv" why="weights that do not learn"
# - return F.conv1d(padded, weight, bias, dilation=dilation)
# + return F.conv1d(padded, weight.detach(), bias.detach(), dilation=dilation)

# %% mutant="causal_conv" why="pads on both sides"
# - padded = F.pad(x, (dilation * (weight.shape[2] - 1), 0))
# + half = dilation * (weight.shape[2] - 1)
# + padded = F.pad(x, (half // 2, half - half // 2))

# %% mutant="causal_conv" why="continues the first sample"
# - padded = F.pad(x, (dilation * (weight.shape[2] - 1), 0))
# + padded = F.pad(x, (dilation * (weight.shape[2] - 1), 0), mode="replicate")


# %% alternative="causal_conv" why="a sum of shifted inputs"
def causal_conv(x, weight, bias, dilation=1):
    k, t = weight.shape[-1], x.shape[-1]
    total = bias[None, :, None].expand(len(x), -1, t)
    for i in range(k):
        shift = (k - 1 - i) * dilation
        if shift < t:
            part = torch.einsum("oc,nct->not", weight[:, :, i], x[:, :, : t - shift])
            total = total + F.pad(part, (shift, 0))
    return total


# %% [markdown]
# How many samples, its own time included, does a stack of such layers see?
#
# {{task:receptive_field}}

# %% [markdown] lang="ru"
# Сколько отсчётов, считая текущий, видит стопка таких слоёв?
#
# {{task:receptive_field}}


# %% solution="receptive_field"
def receptive_field(kernel: int, dilations: Sequence[int]) -> int:
    """The number of inputs on which one output of causal layers, one after the other, depends."""
    ### BEGIN SOLUTION
    return 1 + (kernel - 1) * sum(dilations)
    ### END SOLUTION


# %% test="receptive_field" points=0.25 bonus=true difficulty=1 minutes=5
check.equal(check.answer(receptive_field, 2, [1, 2, 4], call="receptive_field(2, [1, 2, 4])"), 8, "receptive_field(2, [1, 2, 4])")
check.equal(check.answer(receptive_field, 3, [5], call="receptive_field(3, [5])"), 11, "receptive_field(3, [5])")
### BEGIN HIDDEN TESTS
rng = check.rng("receptive_field")
for kernel, count in ((2, 4), (3, 3), (5, 2), (1, 3), (4, 1), (2, 0)):
    dilations = rng.integers(1, 6, size=count).tolist()
    x = torch.zeros(1, 1, 120, requires_grad=True)
    y = x
    for d in dilations:
        y = F.conv1d(F.pad(y, (d * (kernel - 1), 0)), torch.ones(1, 1, kernel), dilation=d)
    y[0, 0, -1].backward()
    reached = torch.nonzero(x.grad[0, 0])
    call = f"receptive_field({kernel}, {dilations})"
    found = check.answer(receptive_field, kernel, dilations, call=call)
    check.equal(found, 120 - int(reached.min()), call, why="reach as far as gradients do")
    check.that(isinstance(found, (int, np.integer)) or np.asarray(found).dtype.kind in "iu", f"{call}: be a whole number")
### END HIDDEN TESTS

# %% mutant="receptive_field" why="forgets the present"
# - return 1 + (kernel - 1) * sum(dilations)
# + return (kernel - 1) * sum(dilations)

# %% mutant="receptive_field" why="the kernel in place of its gaps"
# - return 1 + (kernel - 1) * sum(dilations)
# + return 1 + kernel * sum(dilations)

# %% mutant="receptive_field" why="multiplies dilations"
# - return 1 + (kernel - 1) * sum(dilations)
# + return 1 + (kernel - 1) * int(np.prod(dilations))

# %% mutant="receptive_field" why="no dilations"
# - return 1 + (kernel - 1) * sum(dilations)
# + return 1 + (kernel - 1) * len(dilations)

# %% mutant="receptive_field" why="the last layer alone"
# - return 1 + (kernel - 1) * sum(dilations)
# + return 1 + (kernel - 1) * max(dilations, default=0)

# %% mutant="receptive_field" why="a float"
# - return 1 + (kernel - 1) * sum(dilations)
# + return 1 + (kernel - 1) * float(sum(dilations))

# %% mutant="receptive_field" why="counts the present in each layer"
# - return 1 + (kernel - 1) * sum(dilations)
# + return sum(1 + (kernel - 1) * d for d in dilations) or 1

# %% mutant="receptive_field" why="doubling dilations, whatever they are"
# - return 1 + (kernel - 1) * sum(dilations)
# + return 1 + (kernel - 1) * (2 ** len(dilations) - 1)


# %% alternative="receptive_field" why="layer by layer"
def receptive_field(kernel, dilations):
    oldest = 0
    for d in dilations:
        oldest -= d * (kernel - 1)
    return 1 - oldest


# %% [markdown]
# The block: a *filter* and a *gate* look at the same past, the gate says how much of the filter passes, $z = \tanh(W_f * x) \odot \sigma(W_g * x)$. From $z$ one convolution of kernel 1 goes to the **residual**, $x + W_r z$, which the next block gets, and one to the **skip** connection, $W_s z$, which goes right to the output. The layers are four `nn.Conv1d`, called `filter`, `gate`, `residual`, `skip`, all with biases; `causal_conv(x, self.filter.weight, self.filter.bias, dilation)` makes the first two causal.
#
# {{task:wavenet_block}}

# %% [markdown] lang="ru"
# Блок: *фильтр* и *вентиль* смотрят на одно прошлое, и вентиль говорит, сколько пропустить: $z = \tanh(W_f * x) \odot \sigma(W_g * x)$. Из $z$ одна свёртка с ядром 1 идёт в **остаточный** путь, $x + W_r z$, его получает следующий блок, другая — в **обходной** (skip), $W_s z$, он идёт прямо к выходу. Слои — четыре `nn.Conv1d` с именами `filter`, `gate`, `residual`, `skip`, все со сдвигами; первые два делает причинными `causal_conv(x, self.filter.weight, self.filter.bias, dilation)`.
#
# {{task:wavenet_block}}


# %% solution="wavenet_block"
class WaveNetBlock(nn.Module):
    """x (n, channels, t) -> what the next block gets (n, channels, t), and the skip (n, skips, t)."""

    def __init__(self, channels: int, skips: int, kernel: int = 2, dilation: int = 1) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.dilation = dilation
        self.filter = nn.Conv1d(channels, channels, kernel)
        self.gate = nn.Conv1d(channels, channels, kernel)
        self.residual = nn.Conv1d(channels, channels, 1)
        self.skip = nn.Conv1d(channels, skips, 1)
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        ### BEGIN SOLUTION
        passed = torch.tanh(causal_conv(x, self.filter.weight, self.filter.bias, self.dilation))
        opened = torch.sigmoid(causal_conv(x, self.gate.weight, self.gate.bias, self.dilation))
        z = passed * opened
        return x + self.residual(z), self.skip(z)
        ### END SOLUTION


# %% test="wavenet_block" points=0.25 bonus=true difficulty=2 minutes=15
block = WaveNetBlock(3, 5, dilation=4)
shapes = {name: value.shape for name, value in check.parameters_of(block, "WaveNetBlock(3, 5, dilation=4)").items()}
want = {"filter": (3, 3, 2), "gate": (3, 3, 2), "residual": (3, 3, 1), "skip": (5, 3, 1)}
for name, shape in want.items():
    check.equal(tuple(shapes.get(f"{name}.weight", ())), shape, f"the shape of WaveNetBlock(3, 5, dilation=4).{name}.weight")
    check.equal(tuple(shapes.get(f"{name}.bias", ())), shape[:1], f"the shape of WaveNetBlock(3, 5, dilation=4).{name}.bias")
after, skip = check.answer(block, torch.ones(2, 3, 7), call="block(x)")
check.equal([after.shape, skip.shape], [(2, 3, 7), (2, 5, 7)], "the shapes of block(x)")
### BEGIN HIDDEN TESTS
rng = check.rng("wavenet_block")
for channels, skips, options in ((3, 4, {}), (2, 6, {"dilation": 3}), (4, 2, {"kernel": 3, "dilation": 2}), (1, 2, {"kernel": 4})):
    call = f"WaveNetBlock({channels}, {skips}, {', '.join(f'{k}={v}' for k, v in options.items())})"
    block = WaveNetBlock(channels, skips, **options)
    kernel, d = options.get("kernel", 2), options.get("dilation", 1)
    w = {name: torch.from_numpy(value) for name, value in check.parameters_of(block, call).items()}
    check.equal(sorted(w), sorted(f"{a}.{b}" for a in ("filter", "gate", "residual", "skip") for b in ("weight", "bias")), f"the parameters of {call}", why="be those of four convolutions")
    x = torch.from_numpy(rng.normal(size=(2, channels, 11))).float()
    past = F.pad(x, (d * (kernel - 1), 0))
    parts = [F.conv1d(past, w[f"{name}.weight"], w[f"{name}.bias"], dilation=d) for name in ("filter", "gate")]
    z = parts[0].tanh() * parts[1].sigmoid()
    after, skip = check.answer(block, x, call=f"{call}(x)")
    check.close(skip, F.conv1d(z, w["skip.weight"], w["skip.bias"]), f"the skip of {call}(x)", rtol=1e-4, atol=1e-6, why="be a convolution of what the gate has let pass")
    check.close(after, x + F.conv1d(z, w["residual.weight"], w["residual.bias"]), f"the residual of {call}(x)", rtol=1e-4, atol=1e-6, why="be the input plus a convolution of what the gate has let pass")
    later = x.clone()
    later[:, :, 6:] += 1
    parts = check.answer(block, later, call=f"{call} of x with another future")
    for name, old, new in zip(("residual", "skip"), (after, skip), parts, strict=True):
        check.close(new[:, :, :6], old[:, :, :6], f"the {name} of {call} before the inputs change", rtol=1e-5, atol=1e-6, why="not hear the future")
earlier = WaveNetBlock(2, 3, dilation=1)
WaveNetBlock(2, 3, dilation=5)
call = "a block of dilation 1, after another one was made"
w = {name: torch.from_numpy(value) for name, value in check.parameters_of(earlier, call).items()}
x = torch.from_numpy(rng.normal(size=(1, 2, 9))).float()
parts = [F.conv1d(F.pad(x, (1, 0)), w[f"{name}.weight"], w[f"{name}.bias"]) for name in ("filter", "gate")]
want = F.conv1d(parts[0].tanh() * parts[1].sigmoid(), w["skip.weight"], w["skip.bias"])
after, skip = check.answer(earlier, x, call=f"{call}, (x)")
check.close(skip, want, f"the skip of {call}", rtol=1e-4, atol=1e-6, why="have a dilation of its own")
check.that(not np.array_equal(w["filter.weight"], w["gate.weight"]), f"{call}: have weights of its own in the gate, not those of the filter")
x = torch.from_numpy(rng.normal(size=(2, 1, 11))).float()
w, slopes = week14.block_gradient(WaveNetBlock, x, 3, 2)
leaf, w = x.clone().requires_grad_(), {name: torch.from_numpy(value) for name, value in w.items()}
past = F.pad(leaf, (2, 0))
parts = [F.conv1d(past, w[f"{name}.weight"], w[f"{name}.bias"], dilation=2) for name in ("filter", "gate")]
z = parts[0].tanh() * parts[1].sigmoid()
total = leaf.sum() + F.conv1d(z, w["residual.weight"]).sum() + F.conv1d(z, w["skip.weight"]).sum()
call = "the gradient of WaveNetBlock(1, 3, dilation=2)(x)"
check.close(slopes, torch.autograd.grad(total, leaf)[0], call, rtol=1e-3, atol=1e-5, why="pass through filter and gate to the input")
### END HIDDEN TESTS

# %% mutant="wavenet_block" why="no gate"
# - z = passed * opened
# + z = passed

# %% mutant="wavenet_block" why="a gate of tanh"
# - opened = torch.sigmoid(causal_conv(x, self.gate.weight, self.gate.bias, self.dilation))
# + opened = torch.tanh(causal_conv(x, self.gate.weight, self.gate.bias, self.dilation))

# %% mutant="wavenet_block" why="a filter of ReLU"
# - passed = torch.tanh(causal_conv(x, self.filter.weight, self.filter.bias, self.dilation))
# + passed = torch.relu(causal_conv(x, self.filter.weight, self.filter.bias, self.dilation))

# %% mutant="wavenet_block" why="no residual"
# - return x + self.residual(z), self.skip(z)
# + return self.residual(z), self.skip(z)

# %% mutant="wavenet_block" why="the skip of the sum"
# - return x + self.residual(z), self.skip(z)
# + return x + self.residual(z), self.skip(x + self.residual(z))

# %% mutant="wavenet_block" why="adds z itself"
# - return x + self.residual(z), self.skip(z)
# + return x + z + 0 * self.residual(z), self.skip(z)

# %% mutant="wavenet_block" why="the dilation is forgotten"
# - self.dilation = dilation
# + self.dilation = 1

# %% mutant="wavenet_block" why="filter and gate the same"
# - opened = torch.sigmoid(causal_conv(x, self.gate.weight, self.gate.bias, self.dilation))
# + opened = torch.sigmoid(causal_conv(x, self.filter.weight, self.filter.bias, self.dilation))

# %% mutant="wavenet_block" why="skip first"
# - return x + self.residual(z), self.skip(z)
# + return self.skip(z), x + self.residual(z)

# %% mutant="wavenet_block" why="the dilation of the last block that was made"
# - self.dilation = dilation
# + WaveNetBlock.dilation = dilation

# %% mutant="wavenet_block" why="gate and filter share their weights"
# - self.gate = nn.Conv1d(channels, channels, kernel)
# + self.gate = nn.Conv1d(channels, channels, kernel)
# + self.gate.weight = self.filter.weight

# %% mutant="wavenet_block" why="the gate without dilation"
# - opened = torch.sigmoid(causal_conv(x, self.gate.weight, self.gate.bias, self.dilation))
# + opened = torch.sigmoid(causal_conv(x, self.gate.weight, self.gate.bias))


# %% alternative="wavenet_block" why="both convolutions at once"
class WaveNetBlock(nn.Module):
    def __init__(self, channels, skips, kernel=2, dilation=1):
        super().__init__()
        self.reach, self.step = (kernel - 1) * dilation, dilation
        self.filter, self.gate = (nn.Conv1d(channels, channels, kernel, dilation=dilation) for _ in range(2))
        self.residual, self.skip = nn.Conv1d(channels, channels, 1), nn.Conv1d(channels, skips, 1)

    def forward(self, x):
        weight = torch.cat([self.filter.weight, self.gate.weight])
        bias = torch.cat([self.filter.bias, self.gate.bias])
        both = F.conv1d(F.pad(x, (self.reach, 0)), weight, bias, dilation=self.step)
        f, g = both.chunk(2, dim=1)
        z = f.tanh() * g.sigmoid()
        return self.residual(z) + x, self.skip(z)


# %%
DILATIONS = [1, 2, 4, 8, 16, 32, 64, 128, 256]
torch.manual_seed(0)
x = torch.randn(1, 4, 700, requires_grad=True)
y = x
for block in [WaveNetBlock(4, 4, dilation=d) for d in DILATIONS]:
    y = block(y)[0]
y[0, :, 600].sum().backward()
reached = torch.nonzero(x.grad.abs().sum((0, 1)))[:, 0]
print(f"output 600 depends on inputs {reached.min()} to {reached.max()}: {600 - reached.min() + 1} of them; by your formula {receptive_field(2, DILATIONS)}")
plots.curves({"gradient": x.grad.abs().sum((0, 1)).clamp(min=1e-9).numpy()}, "What output 600 hears", "input", "size of its gradient", log_y=True)
plots.show("The gradient of output 600 for each input: nothing before input 89, a ragged rise up to input 600, nothing after it.")

# %% [markdown]
# In training all outputs are computed at once. When the network *speaks*, each sample is the input for the next, and a full pass for each would compute everything again and again. Nothing old changes, so a layer only has to remember its last inputs, $(k-1)\,d$ of them (*Fast WaveNet*, [Paine et al., 2016](https://arxiv.org/abs/1611.09482)). `CachedConv(weight, bias, dilation)` gets one time step after the other, `step(x)`, $x$ of $(n, c)$, and returns what `causal_conv` would have at that time, $(n, o)$; before the first step there were zeros.
#
# {{task:cached_conv}}

# %% [markdown] lang="ru"
# При обучении все выходы считаются разом. Когда же сеть *говорит*, каждый отсчёт служит входом для следующего, и полный проход ради каждого считал бы всё снова и снова. Старое не меняется, поэтому слою достаточно помнить последние входы — $(k-1)\,d$ штук (*Fast WaveNet*, [Paine и др., 2016](https://arxiv.org/abs/1611.09482)). `CachedConv(weight, bias, dilation)` получает один момент за другим, `step(x)`, $x$ размера $(n, c)$, и возвращает то, что в этот момент дала бы `causal_conv`, $(n, o)$; до первого шага были нули.
#
# {{task:cached_conv}}


# %% solution="cached_conv"
class CachedConv:
    """A causal convolution, one step at a time. weight: (o, c, k), bias: (o,)."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, dilation: int = 1) -> None:
        ### BEGIN SOLUTION
        self.weight, self.bias, self.dilation = weight, bias, dilation
        self.past: torch.Tensor | None = None
        ### END SOLUTION

    def step(self, x: torch.Tensor) -> torch.Tensor:
        """The next output (n, o) for the next input (n, c)."""
        ### BEGIN SOLUTION
        if self.past is None:
            reach = (self.weight.shape[2] - 1) * self.dilation
            self.past = x.new_zeros(*x.shape, reach)
        window = torch.cat([self.past, x[:, :, None]], dim=2)
        self.past = window[:, :, 1:]
        return torch.einsum("nck,ock->no", window[:, :, :: self.dilation], self.weight) + self.bias
        ### END SOLUTION


# %% test="cached_conv" points=0.5 bonus=true difficulty=3 minutes=25
weight, bias = torch.tensor([[[0.5, 3.0]]]), torch.tensor([0.25])
layer = CachedConv(weight, bias, dilation=2)
outputs = [check.answer(layer.step, torch.tensor([[value]]), call=f"step([[{value}]])") for value in (1.0, 2.0, 4.0, -1.0, 3.0)]
check.close(np.concatenate(outputs)[:, 0], [3.25, 6.25, 12.75, -1.75, 11.25], "five steps of CachedConv([0.5, 3], 0.25, dilation=2)")
### BEGIN HIDDEN TESTS
rng = check.rng("cached_conv")
layers, sounds, wants, calls = [], [], [], []
for n, c, o, k, d in ((2, 3, 4, 2, None), (1, 2, 3, 3, 2), (3, 1, 2, 4, 3), (2, 2, 5, 1, 4), (1, 3, 1, 2, 7)):
    x, weight, bias = (torch.from_numpy(rng.normal(size=shape)) for shape in ((n, c, 12), (o, c, k), (o,)))
    layers.append(CachedConv(weight, bias) if d is None else CachedConv(weight, bias, d))
    wants.append(F.conv1d(F.pad(x, ((k - 1) * (d or 1), 0)), weight, bias, dilation=d or 1).numpy())
    sounds.append(x)
    calls.append(f"CachedConv of {c} channels, kernel {k}{f', dilation {d}' if d else ''}")
for t in range(12):  # all of them in turn: each has a memory of its own
    for layer, x, want, call in zip(layers, sounds, wants, calls, strict=True):
        found = check.answer(layer.step, x[:, :, t], call=f"step {t} of {call}")
        check.close(found, want[:, :, t], f"step {t} of {call}", rtol=1e-8, atol=1e-10, why="be what the full pass gives")
buffer = torch.zeros(1, 1, dtype=torch.float64)
weight, bias = torch.from_numpy(rng.normal(size=(2, 1, 2))), torch.from_numpy(rng.normal(size=2))
layer, series = CachedConv(weight, bias, 1), rng.normal(size=5)
want = F.conv1d(F.pad(torch.from_numpy(series)[None, None], (1, 0)), weight, bias).numpy()
for t, value in enumerate(series):
    buffer[0, 0] = value
    check.close(check.answer(layer.step, buffer, call=f"step {t} with one tensor that is filled anew"), want[:, :, t], f"step {t} with one tensor that is filled anew", rtol=1e-8, atol=1e-10, why="remember numbers, not the tensor")
### END HIDDEN TESTS

# %% mutant="cached_conv" why="forgets the past"
# - self.past = window[:, :, 1:]
# + self.past = 0 * window[:, :, 1:]

# %% mutant="cached_conv" why="no dilation"
# - return torch.einsum("nck,ock->no", window[:, :, :: self.dilation], self.weight) + self.bias
# + return torch.einsum("nck,ock->no", window[:, :, -self.weight.shape[2] :], self.weight) + self.bias

# %% mutant="cached_conv" why="filters turned round"
# - return torch.einsum("nck,ock->no", window[:, :, :: self.dilation], self.weight) + self.bias
# + return torch.einsum("nck,ock->no", window[:, :, :: self.dilation], self.weight.flip(2)) + self.bias

# %% mutant="cached_conv" why="no bias"
# - return torch.einsum("nck,ock->no", window[:, :, :: self.dilation], self.weight) + self.bias
# + return torch.einsum("nck,ock->no", window[:, :, :: self.dilation], self.weight)

# %% mutant="cached_conv" why="a memory without the dilation"
# - reach = (self.weight.shape[2] - 1) * self.dilation
# + reach = self.weight.shape[2] - 1
# - return torch.einsum("nck,ock->no", window[:, :, :: self.dilation], self.weight) + self.bias
# + return torch.einsum("nck,ock->no", window, self.weight) + self.bias

# %% mutant="cached_conv" why="one memory for all layers"
# - self.past: torch.Tensor | None = None
# + CachedConv.past = None
# - self.past = window[:, :, 1:]
# + CachedConv.past = window[:, :, 1:]
# - self.past = x.new_zeros(*x.shape, reach)
# + CachedConv.past = x.new_zeros(*x.shape, reach)

# %% mutant="cached_conv" why="continues the first input into the past"
# - self.past = x.new_zeros(*x.shape, reach)
# + self.past = x[:, :, None].repeat(1, 1, reach)

# %% mutant="cached_conv" why="a step late"
# - return torch.einsum("nck,ock->no", window[:, :, :: self.dilation], self.weight) + self.bias
# + window = torch.cat([torch.zeros_like(window[:, :, :1]), window[:, :, :-1]], dim=2)
# + return torch.einsum("nck,ock->no", window[:, :, :: self.dilation], self.weight) + self.bias

# %% mutant="cached_conv" why="always a dilation of 1 where none is asked, else 2"
# - self.weight, self.bias, self.dilation = weight, bias, dilation
# + self.weight, self.bias, self.dilation = weight, bias, min(dilation, 2)


# %% alternative="cached_conv" why="a queue"
class CachedConv:
    def __init__(self, weight, bias, dilation=1):
        from collections import deque

        self.w, self.b, self.d = weight, bias, dilation
        self.queue = deque(maxlen=(weight.shape[-1] - 1) * dilation + 1)

    def step(self, x):
        self.queue.append(x.clone())
        total = self.b.expand(len(x), -1)
        for i in range(self.w.shape[-1]):
            back = (self.w.shape[-1] - 1 - i) * self.d
            if back < len(self.queue):
                total = total + self.queue[-1 - back] @ self.w[:, :, i].T
        return total


# %% [markdown]
# A small WaveNet on theo's voice: 64 levels on a logarithmic scale, nine blocks. In so short a time it learns the sound of a voice, not words. Then the same sample-by-sample generation twice: with full passes, and with your caches.

# %% [markdown] lang="ru"
# Маленький WaveNet на голосе theo: 64 уровня на логарифмической шкале, девять блоков. За такое короткое время он выучит звучание голоса, но не слова. Затем одна и та же генерация, отсчёт за отсчётом, дважды: полными проходами и с вашими кэшами.

# %% tags=["training"]
LEVELS = 64


def to_levels(x: np.ndarray) -> torch.Tensor:
    """Samples in [-1, 1] -> whole numbers, finer near 0."""
    squeezed = np.sign(x) * np.log1p(255 * np.abs(x)) / np.log(256)
    return torch.from_numpy(np.clip((squeezed + 1) / 2 * LEVELS, 0, LEVELS - 1).astype(np.int64))


def from_levels(levels: torch.Tensor) -> np.ndarray:
    """The middle of each level."""
    squeezed = 2 * (levels.numpy() + 0.5) / LEVELS - 1
    return np.sign(squeezed) * np.expm1(np.abs(squeezed) * np.log(256)) / 255


class WaveNet(nn.Module):
    """Levels (n, t) -> logits of the next one (n, LEVELS, t)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.table = nn.Embedding(LEVELS, channels)
        self.blocks = nn.ModuleList(WaveNetBlock(channels, channels, dilation=d) for d in DILATIONS)
        self.head = nn.Sequential(nn.ReLU(), nn.Conv1d(channels, LEVELS, 1))

    def forward(self, levels: torch.Tensor) -> torch.Tensor:
        x, total = self.table(levels).transpose(1, 2), 0
        for block in self.blocks:
            x, skip = block(x)
            total = total + skip
        return self.head(total)


sounds = [np.pad(s / np.abs(s).max(), (300, 0)) for s, y in zip(digits.x_train, digits.y_train, strict=True) if y[1] == 3]
levels = to_levels(np.concatenate(sounds))


@cache
def trained() -> tuple[WaveNet, list[float]]:
    """A WaveNet of theo's voice, and its loss step by step."""
    seed_everything(0)
    model, losses = WaveNet(settings["channels"]), []
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(settings["wave_steps"]):
        starts = torch.randint(len(levels) - 1025, (8,))
        batch = torch.stack([levels[a : a + 1025] for a in starts])
        loss = F.cross_entropy(model(batch[:, :-1]), batch[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model, losses


share = torch.bincount(levels, minlength=LEVELS) / len(levels)
blind = float(torch.special.entr(share).sum())
print(f"nats a sample: without context {blind:.2f}, the last 20 steps {np.mean(trained()[1][-20:]):.2f}")

# %% tags=["training"]
class Speaker:
    """A WaveNet that is asked one sample at a time."""

    def __init__(self, model: WaveNet) -> None:
        self.model = model
        self.caches = [
            tuple(CachedConv(layer.weight, layer.bias, d) for layer in (block.filter, block.gate))
            for block, d in zip(model.blocks, DILATIONS, strict=True)
        ]

    def step(self, level: torch.Tensor) -> torch.Tensor:
        """Logits (1, LEVELS) after one more level (1,)."""
        x, total = self.model.table(level), 0
        for block, (passed, opened) in zip(self.model.blocks, self.caches, strict=True):
            z = torch.tanh(passed.step(x)) * torch.sigmoid(opened.step(x))
            x = x + block.residual(z[:, :, None])[:, :, 0]
            total = total + block.skip(z[:, :, None])
        return self.model.head(total)[:, :, 0]


wavenet = trained()[0]
with torch.no_grad():
    sample = levels[5000:5120][None]
    full = wavenet(sample)
    speaker = Speaker(wavenet)
    stepwise = torch.stack([speaker.step(sample[:, t]) for t in range(120)], dim=2)
    print(f"full pass and caches differ by at most {(full - stepwise).abs().max():.1e}")
    seconds = {}
    for name in ("full passes", "caches"):
        start, speaker, line = time.process_time(), Speaker(wavenet), [LEVELS // 2]
        generator = torch.Generator().manual_seed(0)
        for _ in range(200):
            last = torch.tensor(line[-receptive_field(2, DILATIONS) :])[None]
            logits = wavenet(last)[:, :, -1] if name == "full passes" else speaker.step(last[:, -1])
            line.append(int(torch.multinomial(logits.softmax(1), 1, generator=generator)))
        seconds[name] = time.process_time() - start
    print(", ".join(f"{name} {1000 * value / 200:.1f} ms a sample" for name, value in seconds.items()))
    begun = to_levels(take / np.abs(take).max())[1200:1900].tolist()  # out of a vowel
    speaker, line, generator = Speaker(wavenet), list(begun), torch.Generator().manual_seed(0)
    for level in begun:
        logits = speaker.step(torch.tensor([level]))
    for _ in range(int(settings["seconds"] * week14.RATE)):
        line.append(int(torch.multinomial(logits.softmax(1), 1, generator=generator)))
        logits = speaker.step(torch.tensor(line[-1:]))
wave = from_levels(torch.tensor(line))
week14.play({"700 samples of a vowel, then a small WaveNet that talks on": wave})
ax = plots.curves({"a recording": wave[:700], "a WaveNet": (range(700, len(wave)), wave[700:])}, "Sampled one by one", "sample", "amplitude")
ax.lines[1].set_linewidth(0.7)
plots.show("Seven hundred samples of a voice, a regular wave, and what a small network has drawn after them sample by sample: ragged bursts, smaller than the vowel, and silence between them.")

# %% [markdown]
# ## 5. How good is it?
# Listeners judge best and cost most. A machine compares with a recording; but two people, or one person twice, never speak at the same pace. [Dynamic time warping](glossary:dynamic-time-warping) pairs the frames of both. A path begins with both first frames and ends with both last ones; each step goes on by one frame in the first, in the second, or in both. Of all paths that with the least **sum of costs** over its pairs counts.
#
# {{task:dtw}}

# %% [markdown] lang="ru"
# ## 5. Насколько это хорошо?
# Лучше всех судят слушатели, и стоят дороже всех. Машина сравнивает с записью; но два человека, да и один дважды, никогда не говорят в одном темпе. [Динамическое выравнивание времени](glossary:dynamic-time-warping) (dynamic time warping, DTW) составляет пары из кадров обеих записей. Путь начинается с обоих первых кадров и кончается обоими последними; каждый шаг — на один кадр вперёд в первой, во второй или в обеих. Из всех путей годится тот, у которого **сумма стоимостей** по парам наименьшая.
#
# {{task:dtw}}


# %% solution="dtw"
def dtw(cost: np.ndarray) -> tuple[float, list[tuple[int, int]]]:
    """The least sum of costs (n, m) along a path, and a path that has it: pairs from (0, 0) to (n - 1, m - 1)."""
    ### BEGIN SOLUTION
    n, m = cost.shape
    total = np.full((n + 1, m + 1), np.inf)
    total[0, 0] = 0
    for i in range(n):
        for j in range(m):
            total[i + 1, j + 1] = cost[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
    i, j = n, m
    path = [(n - 1, m - 1)]
    while (i, j) != (1, 1):
        i, j = min(((i - 1, j - 1), (i - 1, j), (i, j - 1)), key=lambda place: total[place])
        path.append((i - 1, j - 1))
    return float(total[n, m]), path[::-1]
    ### END SOLUTION


# %% test="dtw" points=0.5 bonus=true difficulty=3 minutes=20
cost = np.array([[1.0, 9.0, 5.0, 7.0], [2.0, 3.0, 8.0, 6.0], [9.0, 4.0, 2.5, 3.5]])
found, path = check.answer(dtw, cost, call="dtw(cost)")
check.close(found, 10.0, "the total of dtw(cost)")
check.equal([tuple(pair) for pair in path], [(0, 0), (1, 1), (2, 2), (2, 3)], "the path of dtw(cost)")
### BEGIN HIDDEN TESTS
rng = check.rng("dtw")


def paths(i: int, j: int) -> list[list[tuple[int, int]]]:
    """All paths from (0, 0) to (i, j)."""
    if i == j == 0:
        return [[(0, 0)]]
    before = [(a, b) for a, b in ((i - 1, j), (i, j - 1), (i - 1, j - 1)) if a >= 0 and b >= 0]
    return [[*path, (i, j)] for a, b in before for path in paths(a, b)]


for n, m in ((3, 5), (4, 4), (1, 6), (5, 1), (1, 1), (5, 3)):
    for scale in (1.0, -1.0):
        cost = scale * rng.uniform(0.1, 4, size=(n, m)) + rng.normal(size=(n, m))
        totals = {tuple(path): sum(cost[pair] for pair in path) for path in paths(n - 1, m - 1)}
        best = min(totals, key=totals.get)
        call = f"dtw of costs ({n}, {m})"
        found, path = check.answer(dtw, cost, call=call)
        check.close(found, totals[best], f"the total of {call}", rtol=1e-9, why="be the least of all paths")
        check.equal([tuple(pair) for pair in path], list(best), f"the path of {call}", why="be the one with the least total, from first to last")
far = np.ones((9, 9))
far[0], far[:, -1] = 0, 0
found, path = check.answer(dtw, far, call="dtw of costs that lead along the edge")
check.close(found, 0.0, "the total of dtw of costs that lead along the edge", why="be the least of all paths, far from the diagonal, too")
cost = 1e6 * rng.uniform(1, 4, size=(3, 4))
found, path = check.answer(dtw, cost, call="dtw of costs of millions")
check.close(found, min(sum(cost[pair] for pair in path) for path in paths(2, 3)), "the total of dtw of costs of millions", why="be the least of all paths from (0, 0)")
found, path = check.answer(dtw, np.ones((3, 3)), call="dtw of equal costs")
check.close([found, len(path)], [3.0, 3.0], "the total and length of dtw of equal costs", why="take the short way")
### END HIDDEN TESTS

# %% mutant="dtw" why="no diagonal steps"
# - total[i + 1, j + 1] = cost[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
# + total[i + 1, j + 1] = cost[i, j] + min(total[i, j] if i + j == 0 else np.inf, total[i, j + 1], total[i + 1, j])
# - i, j = min(((i - 1, j - 1), (i - 1, j), (i, j - 1)), key=lambda place: total[place])
# + i, j = min(((i - 1, j), (i, j - 1)), key=lambda place: total[place])

# %% mutant="dtw" why="a diagonal step costs twice"
# - total[i + 1, j + 1] = cost[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
# + twice = total[i, j] + (cost[i, j] if i + j else 0)
# + total[i + 1, j + 1] = cost[i, j] + min(twice, total[i, j + 1], total[i + 1, j])

# %% mutant="dtw" why="may end anywhere in the last row"
# - return float(total[n, m]), path[::-1]
# + return float(total[n, 1:].min()), path[::-1]

# %% mutant="dtw" why="may begin anywhere in the first row"
# - total[0, 0] = 0
# + total[0, :] = 0

# %% mutant="dtw" why="goes greedily from cell to cell"
# - i, j = min(((i - 1, j - 1), (i - 1, j), (i, j - 1)), key=lambda place: total[place])
# + steps = [(a, b) for a, b in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if a and b]
# + i, j = min(steps, key=lambda place: cost[place[0] - 1, place[1] - 1])

# %% mutant="dtw" why="the path from last to first"
# - return float(total[n, m]), path[::-1]
# + return float(total[n, m]), path

# %% mutant="dtw" why="the path lacks its first pair"
# - return float(total[n, m]), path[::-1]
# + return float(total[n, m]), path[-2::-1]

# %% mutant="dtw" why="counts from 1"
# - path.append((i - 1, j - 1))
# + path.append((i, j))

# %% mutant="dtw" why="what can't be costs 1000: less than bad frames"
# - total = np.full((n + 1, m + 1), np.inf)
# + total = np.full((n + 1, m + 1), 1000.0)

# %% mutant="dtw" why="near the diagonal only"
# - for j in range(m):
# + for j in range(max(0, i - abs(n - m) - 2), min(m, i + abs(n - m) + 3)):

# %% mutant="dtw" why="a mean in place of the sum"
# - return float(total[n, m]), path[::-1]
# + return float(total[n, m]) / len(path), path[::-1]

# %% mutant="dtw" why="frames of the second may be skipped"
# - total[i + 1, j + 1] = cost[i, j] + min(total[i, j], total[i, j + 1], total[i + 1, j])
# + total[i + 1, j + 1] = cost[i, j] + min(total[i, : j + 1].min(), total[i, j + 1], total[i + 1, j])


# %% alternative="dtw" why="recursion with a memory"
def dtw(cost):
    from functools import cache

    @cache
    def best(i, j):
        if i == 0 and j == 0:
            return float(cost[0, 0]), None
        options = [(a, b) for a, b in ((i - 1, j - 1), (i, j - 1), (i - 1, j)) if min(a, b) >= 0]
        before = min(options, key=lambda place: best(*place)[0])
        return float(cost[i, j]) + best(*before)[0], before

    place, way = (cost.shape[0] - 1, cost.shape[1] - 1), []
    total = best(*place)[0]
    while place is not None:
        way.insert(0, place)
        place = best(*place)[1]
    return total, way


# %% [markdown]
# The usual measure of a synthetic voice is [mel-cepstral distortion](glossary:mel-cepstral-distortion) (R. Kubichek, 1993): cepstra (MFCC) of both, paired by DTW, compared in decibels. Number 0 of a frame, its loudness, is left out. The cost of a pair of frames, and the distortion, the **mean** over the pairs of the path that has the least sum:
#
# $$d_{ij} = \frac{10}{\ln 10} \sqrt{2 \sum_{k \ge 1} (a_{ik} - b_{jk})^2}, \qquad \operatorname{MCD} = \frac1{|P|} \sum_{(i,j) \in P} d_{ij}.$$
#
# {{task:mel_cepstral_distortion}}

# %% [markdown] lang="ru"
# Обычная мера синтетического голоса — [мел-кепстральное искажение](glossary:mel-cepstral-distortion) (mel-cepstral distortion; R. Kubichek, 1993): кепстры (MFCC) обоих, соединённые в пары через DTW, сравнивают в децибелах. Число 0 каждого кадра, громкость, пропускают. Стоимость пары кадров и искажение — **среднее** по парам пути с наименьшей суммой:
#
# $$d_{ij} = \frac{10}{\ln 10} \sqrt{2 \sum_{k \ge 1} (a_{ik} - b_{jk})^2}, \qquad \operatorname{MCD} = \frac1{|P|} \sum_{(i,j) \in P} d_{ij}.$$
#
# {{task:mel_cepstral_distortion}}


# %% solution="mel_cepstral_distortion"
def mel_cepstral_distortion(a: np.ndarray, b: np.ndarray) -> float:
    """In decibels, between cepstra (frames, k) of two sounds, of different lengths."""
    ### BEGIN SOLUTION
    gaps = a[:, None, 1:] - b[None, :, 1:]
    total, path = dtw(10 / np.log(10) * np.sqrt(2 * (gaps**2).sum(2)))
    return total / len(path)
    ### END SOLUTION


# %% test="mel_cepstral_distortion" points=0.5 bonus=true difficulty=2 minutes=15
a = np.array([[9.0, 1.0, 2.0], [3.0, 0.5, -1.0]])
b = np.array([[1.0, 1.5, 2.5], [7.0, 1.0, 1.0], [0.0, 0.0, -1.5]])
call = "mel_cepstral_distortion(a, b)"
check.close(check.answer(mel_cepstral_distortion, a, b, call=call), 4.94258037, call)
### BEGIN HIDDEN TESTS
from itertools import product as all_of

rng = check.rng("mel_cepstral_distortion")
for n, m, k in ((3, 5, 4), (6, 4, 13), (1, 4, 2), (7, 7, 5), (5, 1, 3)):
    a, b = 2 * rng.normal(size=(n, k)), 2 * rng.normal(size=(m, k))
    a[:, 0] += 20

    least = {}  # by pair (least sum, number of pairs) of the paths that end there
    for i, j in all_of(range(n), range(m)):
        here = 10 / np.log(10) * np.sqrt(2) * float(np.linalg.norm(a[i, 1:] - b[j, 1:]))
        before = [least[place] for place in ((i - 1, j), (i, j - 1), (i - 1, j - 1)) if place in least]
        total, pairs = min(before, default=(0.0, 0))
        least[i, j] = total + here, pairs + 1
    total, pairs = least[n - 1, m - 1]
    call = f"mel_cepstral_distortion of {n} and {m} frames of {k} numbers"
    check.close(check.answer(mel_cepstral_distortion, a, b, call=call), total / pairs, call, rtol=1e-8, why="be the mean over the best path, in decibels")
slow = np.repeat(a, 3, axis=0)
check.close(check.answer(mel_cepstral_distortion, a, slow, call="mel_cepstral_distortion of a sound and itself, slower"), 0.0, "mel_cepstral_distortion of a sound and itself, slower", atol=1e-9, why="be 0")
louder = a + np.array([5.0] + [0.0] * (a.shape[1] - 1))
check.close(check.answer(mel_cepstral_distortion, a, louder, call="mel_cepstral_distortion of a sound and itself, louder"), 0.0, "mel_cepstral_distortion of a sound and itself, louder", atol=1e-9, why="be 0")
### END HIDDEN TESTS

# %% mutant="mel_cepstral_distortion" why="the loudness, too"
# - gaps = a[:, None, 1:] - b[None, :, 1:]
# + gaps = a[:, None] - b[None]

# %% mutant="mel_cepstral_distortion" why="the sum in place of the mean"
# - return total / len(path)
# + return total

# %% mutant="mel_cepstral_distortion" why="a mean over the frames of the first"
# - return total / len(path)
# + return total / len(a)

# %% mutant="mel_cepstral_distortion" why="forgets the 2"
# - total, path = dtw(10 / np.log(10) * np.sqrt(2 * (gaps**2).sum(2)))
# + total, path = dtw(10 / np.log(10) * np.sqrt((gaps**2).sum(2)))

# %% mutant="mel_cepstral_distortion" why="the 2 outside the root"
# - total, path = dtw(10 / np.log(10) * np.sqrt(2 * (gaps**2).sum(2)))
# + total, path = dtw(10 / np.log(10) * 2 * np.sqrt((gaps**2).sum(2)))

# %% mutant="mel_cepstral_distortion" why="no decibels"
# - total, path = dtw(10 / np.log(10) * np.sqrt(2 * (gaps**2).sum(2)))
# + total, path = dtw(np.sqrt(2 * (gaps**2).sum(2)))

# %% mutant="mel_cepstral_distortion" why="no root"
# - total, path = dtw(10 / np.log(10) * np.sqrt(2 * (gaps**2).sum(2)))
# + total, path = dtw(10 / np.log(10) * 2 * (gaps**2).sum(2))

# %% mutant="mel_cepstral_distortion" why="a mean over the numbers"
# - total, path = dtw(10 / np.log(10) * np.sqrt(2 * (gaps**2).sum(2)))
# + total, path = dtw(10 / np.log(10) * np.sqrt(2 * (gaps**2).mean(2)))

# %% mutant="mel_cepstral_distortion" why="frame by frame, without warping"
# - return total / len(path)
# + n = min(len(a), len(b))
# + return float(np.mean(10 / np.log(10) * np.sqrt(2 * (gaps[np.arange(n), np.arange(n)] ** 2).sum(1))))


# %% alternative="mel_cepstral_distortion" why="scipy's distances"
def mel_cepstral_distortion(a, b):
    from scipy.spatial.distance import cdist

    cost = cdist(a[:, 1:], b[:, 1:]) * 10 * np.sqrt(2) / np.log(10)
    _, path = dtw(cost)
    return float(np.mean([cost[i, j] for i, j in path]))


# %%
from scipy.fft import dct


def cepstra(sound: np.ndarray) -> np.ndarray:
    """13 mel cepstra (frames, 13) of a sound, without silence at its ends: ln |H| = c_0 + 2 sum c_k cos."""
    x = sound / np.abs(sound).max()
    loud = np.flatnonzero(np.abs(x) > 0.05)
    log_magnitude = week14.decibels(x[loud[0] : loud[-1] + 1]) * week14.FLOOR * np.log(10) / 20
    return (dct(log_magnitude, norm="ortho", axis=0)[:13] / np.sqrt(2 * week14.BANDS)).T


new = {word: cepstra(digits.x_test[int(np.flatnonzero((digits.y_test == [i, 3, 0]).all(1))[0])]) for i, word in enumerate(week14.WORDS)}
other = {word: cepstra(digits.x_test[int(np.flatnonzero((digits.y_test == [i, 3, 1]).all(1))[0])]) for i, word in enumerate(week14.WORDS)}
made = {word: cepstra(speak([word])) for word in week14.WORDS}
tables = {}
for name, ours in (("another recording", other), ("the machine", made)):
    tables[name] = np.array([[mel_cepstral_distortion(ours[said], new[word]) for word in week14.WORDS] for said in week14.WORDS])
    same = tables[name][np.eye(10, dtype=bool)]
    right = (tables[name].argmin(1) == np.arange(10)).sum()
    print(f"{name:18} against a recording of the same word {same.mean():.1f} dB, of another {tables[name][~np.eye(10, dtype=bool)].mean():.1f} dB; nearest is the right word for {right} of 10")
week14.distortions(tables, week14.WORDS)
plots.show("Two tables of distortions, ten words against ten: of another recording and of the machine. In both the diagonal is darker than the rest.")

# %% [markdown]
# The distance knows words, a recogniser of the 1970s: count how often the least distortion is to the same word. But compare the two distortions of the same word: a mean spectrum is near to everything, so a hoarse machine can come out nearer than a second recording by the very same person. A small distortion is not a pleasant voice: ask a listener.
#
# Modern systems have the same links, each a network: a frontend, an encoder with a length regulator (FastSpeech) or attention (Tacotron), a vocoder (HiFi-GAN in place of Griffin–Lim), or codes of a neural codec in place of the spectrogram.

# %% [markdown] lang="ru"
# Расстояние знает слова — это распознаватель 1970-х: посчитайте, как часто наименьшее искажение у того же слова. Но сравните оба искажения для одного и того же слова: средний спектр близок ко всему, и хриплая машина может оказаться ближе, чем вторая запись того же человека. Малое искажение — ещё не приятный голос: спросите слушателя.
#
# В современных системах те же звенья, но каждое — сеть: текстовая часть, кодировщик с регулятором длины (FastSpeech) или вниманием (Tacotron), вокодер (HiFi-GAN вместо Гриффина — Лима) или коды нейронного кодека вместо спектрограммы.
