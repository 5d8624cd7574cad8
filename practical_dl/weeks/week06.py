"""What week 06 draws, and the small dictionary that its seminar learns from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from practical_dl.plots import PALETTE

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
