"""Works of six Russian authors of the nineteenth century, whole, in the spelling of our time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from practical_dl.data import Card, File, Repository, register

AUTHORS = ("pushkin", "lermontov", "gogol", "dostoevsky", "tolstoy", "chekhov")
_TITLE = re.compile(r"^=== (.*) ===\n\n", re.MULTILINE)


@dataclass(frozen=True)
class Library:
    """By author the works: title and text, the best-known novel first, then by title.

    name, licence, source: as the card says; `load` fills them in.
    """

    works: dict[str, dict[str, str]]
    name: str = ""
    licence: str = ""
    source: str = ""

    def __repr__(self) -> str:
        count = sum(map(len, self.works.values()))
        size = sum(len(text) for works in self.works.values() for text in works.values())
        return (
            f"{self.name}: {count} works, {size / 1e6:.1f} million characters\n"
            f"source: {self.source}\nlicence: {self.licence}"
        )


def _read(paths: list[Path]) -> Library:
    texts = (path.read_text(encoding="utf-8") for path in paths)
    return Library(dict(zip(AUTHORS, map(_works, texts), strict=True)))


def _works(text: str) -> dict[str, str]:
    """The works of a file in which a line `=== title ===` stands before each."""
    _, *parts = _TITLE.split(text)
    return {title: body.rstrip("\n") for title, body in zip(parts[::2], parts[1::2], strict=True)}


# -- The files: those that are known, or the same ones of the repository ---------------------------
#
# A file has a known order of works: by author, those of the folder `poems`, those of `prose`.

_CHOSEN = {
    "Pushkin": (
        "poems/Евгений Онегин|19 октября|Анчар|Борис Годунов|Во глубине сибирских "
        "руд...|Деревня|Зимнее утро|К Чаадаеву|К морю|К|Каменный гость|Медный "
        "всадник|Моцарт и Сальери|На холмах Грузии лежит ночная мгла...|Песнь о вещем "
        "Олеге|Пир во время чумы|Поэт|Пророк|Руслан и Людмила|Сказка о золотом "
        "петушке|Сказка о медведихе|Сказка о мёртвой царевне|Сказка о попе и работнике его "
        "Балде|Сказка о рыбаке и рыбке|Сказка о царе Салтане|Скупой рыцарь|Узник|Элегия "
        "(Безумных лет угасшее веселье...)|Элегия (Воспоминаньем упоенный...)|Элегия (Опять"
        " я ваш, о юные друзья...)|Элегия (Счастлив, кто в страсти сам себе...)|Элегия (Я "
        "думал, что любовь погасла навсегда...)|Элегия на смерть Анны Львовны|Я вас любил "
        "любовь ещё, быть может,...|Я памятник себе воздвиг нерукотворный",
        "prose/Арап Петра Великого|Дубровский|Египетские ночи|История Пугачёва|История села"
        " Горюхина|Капитанская дочка|Кирджали|Пиковая дама|Повести Белкина",
    ),
    "Lermontov": (
        "prose/Герой нашего времени",
        "poems/А. О. Смирновой|Аминт твой на глупца походит...|Ангел|Ах! сокрылась в мрак "
        "ненастный...|Бородино|Валерик|Выхожу один я на дорогу|Дума|И скучно и "
        "грустно|Из-под таинственной холодной полумаски|Молитва (В минуту жизни "
        "трудную...)|Молитва (Я, матерь божия, ныне с "
        "молитвою...)|Мцыри|Парус|Пророк|Родина|Смерть поэта|Тучи",
        "prose/Ашик-Кериб|Штосс",
    ),
    "Gogol": (
        "prose/Мёртвые души|Вечера на хуторе близ Диканьки|Вий|Записки "
        "сумасшедшего|Коляска|Невский проспект|Нос|Ночи на вилле",
    ),
    "Dostoevsky": (
        "prose/Ёлка и свадьба|Бедные люди|Белые ночи|Бесы|Бобок|Господин Прохарчин|Два "
        "самоубийства|Домовой|Мальчик у Христа на ёлке",
    ),
    "Tolstoy": (
        "prose/Детство|Альберт|Алёша горшок|Божеское и человеческое|Война и мир. Том 1|Два "
        "гусара|Декабристы|Дьявол|Записки маркера|Записки сумасшедшего|Из записок князя Д. "
        "Нехлюдова (Люцерн)|Кавказский пленник|Казаки|Корней Васильев|После бала|Праведный "
        "судья",
    ),
    "Chekhov": (
        "prose/Агафья|Альбом|Анна на шее|Анюта|Аптекарша|Ариадна|Архиерей|Ах, "
        "зубы|Бабы|Баран и барышня|Барыня|Беглец|Беда 1886|Беда 1887|Беззащитное "
        "существо|Белолобый|Беседа пьяного с трезвым чёртом|Брак по расчёту|Брожение "
        "умов|Бумажник|В аптеке|В вагоне|В овраге|В потёмках|В ссылке|В "
        "суде|Ванька|Ведьма|Верочка|Винт|Вишнёвый сад|Водевиль|Володя|Восклицательный "
        "знак|Враги|Встреча весны|Выигрышный билет|Глупый француз|Горе|Гость|Грешник из "
        "Толедо|Гриша|Гусев|Дама с собачкой|Дачники|Дачница|Два скандала|Двадцать девятое "
        "июня|День за городом|Детвора|Дипломат|Добрый знакомый|Дом с "
        "мезонином|Дома|Дополнительные вопросы|Дорогая собака|Дорогие уроки|Дочь "
        "Альбиона|Драма на охоте|Душечка|Дуэль|Злоумышленник|Лошадиная фамилия|Пересолил",
    ),
}


def _build(files: dict[str, bytes]) -> list[bytes]:
    """The chosen works of each author, each below a line with its title."""
    found = []
    for author, groups in _CHOSEN.items():
        works = []
        for kind, _, titles in (group.partition("/") for group in groups):
            for title in titles.split("|"):
                text = files[f"{kind}/{author}/{title}.txt"].decode("utf-8-sig")
                works.append(f"=== {title} ===\n\n{text.strip()}\n\n")
        found.append("".join(works).encode())
    return found


def _file(author: str, sha256: str, size: int) -> File:
    return File(f"text_ru/ruslit/{author}.txt", sha256, size, built=sha256)


_REPOSITORY = Repository("d0rj/RusLit", "4509680428729da225a73a22008133660f92bb7e", _build)


CARD = Card(
    title="Works of Pushkin, Lermontov, Gogol, Dostoevsky, Tolstoy and Chekhov",
    licence="public domain",
    source="{cache}/text_ru/ruslit",
    read=_read,
    files=(
        _file(
            "pushkin", "8f6d047dfc3634222f28694b62cfd892cbd86dd3327e87d224ade124bc22dc4c", 2_583_725
        ),
        _file(
            "lermontov", "5850391ff9b30e3a592efeb1f7e17a354585350459ed654ea1d6b6d954c05de6", 636_854
        ),
        _file(
            "gogol", "cd1ddf86da7b88752c401c3a569fa1cec304aa6aa90a85abd5ca01df0d88175b", 2_575_085
        ),
        _file(
            "dostoevsky",
            "bfa0402e8c6a08d5997cce0928ed55440b820c8b5630d1018eeb205240075ad9",
            3_186_456,
        ),
        _file(
            "tolstoy", "0a75e490c258c0c33f040fa60c591dbc5e5916b58670e87789f3ea3b7f0a86fe", 3_400_332
        ),
        _file(
            "chekhov", "edc85567c92a71ca953e4c359fb04631c7948d14ff2f7956f33a576534ad39bc", 2_601_346
        ),
    ),
    repository=_REPOSITORY,
)
register("russian_authors", small=CARD, full=CARD)
