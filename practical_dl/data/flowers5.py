"""Flowers of five kinds: 120 photographs of each, cut square and brought to one size.

They are drawn from TensorFlow's `flower_photos`, which holds wrong labels; none was corrected. The
photographers are found by the number that Flickr has given to each photograph (`ids`):
https://www.flickr.com/photo.gne?id=NUMBER. `small`: 128 x 128, `full`: 224 x 224 (the short side of
what is kept). The last 100 test photographs, 20 of each kind, are withheld.
"""

from __future__ import annotations

import io
import random
import tempfile
import zipfile
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pooch
import requests
from PIL import Image

from practical_dl.data import Card, DataError, Dataset, File, Repository, cache, register

CLASSES = ("daisy", "dandelion", "rose", "sunflower", "tulip")
_FOLDERS = ("daisy", "dandelion", "roses", "sunflowers", "tulips")
SHORT_SIDE = 224  # of the photographs that are kept
WITHHELD = 100


def ids(part: str) -> list[str]:
    """The numbers that Flickr gave to the photographs of "train" or "test", in their order."""
    return [number for number, _ in _ordered(part)]


def _ordered(part: str) -> list[tuple[str, int]]:
    """(number, class) of the photographs of "train", mixed up, or "test", the classes in turn."""
    kept = "train" if part == "train" else "val"
    by_class = [[(n, k) for n in _IDS[kept, f].split()] for k, f in enumerate(_FOLDERS)]
    if part == "train":
        every = list(chain.from_iterable(by_class))
        random.Random(0).shuffle(every)
        return every
    return list(chain.from_iterable(zip(*by_class, strict=True)))


def _read(paths: list[Path], side: int) -> Dataset:
    (path,) = paths
    parts = []
    with zipfile.ZipFile(path) as archive:
        members = {tuple(_place(name)): name for name in archive.namelist() if name.endswith("jpg")}
        for part, kept in (("train", "train"), ("test", "val")):
            chosen = _ordered(part)
            pictures = [archive.read(members[kept, _FOLDERS[k], n]) for n, k in chosen]
            parts.append(np.stack([_square(picture, side) for picture in pictures]))
            parts.append(np.array([k for _, k in chosen], np.int64))
    return Dataset(*parts, classes=CLASSES)


def _place(path: str) -> list[str]:
    """(part, folder, number) of a photograph's path."""
    *_, part, folder, name = path.split("/")
    return [part, folder, name.partition("_")[0]]


def _square(content: bytes, side: int) -> np.ndarray:
    """The middle square of a photograph: (side, side, 3)."""
    with Image.open(io.BytesIO(content)) as picture:
        width, height = picture.size
        short = min(width, height)
        left, top = (width - short) // 2, (height - short) // 2
        box = (left, top, left + short, top + short)
        rgb = picture.convert("RGB")
        return np.asarray(rgb.resize((side, side), Image.Resampling.BICUBIC, box=box))


# -- The file: the one that is known, or the same photographs from the repository -----------------
#
# What is built anew can't have a known checksum: other versions of the libraries make other bytes
# of a photograph made smaller. So it says of what commit it was built, and the checksums inside the
# archive tell whether it is whole.

_FILE = File(
    "flowers5/flowers5.zip",
    "3376181f45a3bcd422bbb13c9e9594a31518e66b87c5edf9158c677bb1154f43",
    14_103_516,
)


def _build(files: dict[str, bytes]) -> list[bytes]:
    """The chosen photographs with a short side of 224 pixels; smaller ones as they are."""
    found = {tuple(_place(path)): path for path in files if path.endswith(".jpg")}
    members = {}
    for (part, folder), numbers in _IDS.items():
        for number in numbers.split():
            path = found[part, folder, number]
            members[f"{part}/{folder}/{Path(path).name}"] = _smaller(files[path])
    out = io.BytesIO(cache.pack(members))
    with zipfile.ZipFile(out, "a") as archive:
        archive.comment = _comment()
    return [out.getvalue()]


def _smaller(content: bytes) -> bytes:
    with Image.open(io.BytesIO(content)) as picture:
        factor = SHORT_SIDE / min(picture.size)
        if factor >= 1:
            return content
        size = tuple(round(factor * side) for side in picture.size)
        out = io.BytesIO()
        picture.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(out, "JPEG", quality=88)
        return out.getvalue()


_REPOSITORY = Repository("Oldpel/flower_photos", "140ff6f3beb2173715002984c2bd58dc3506d4c9", _build)


def _comment() -> bytes:
    return f"built of {_REPOSITORY.name} at {_REPOSITORY.commit}".encode()


def _get() -> list[Path]:
    target, size = cache.folder() / _FILE.path, cache.size([_FILE])
    with cache.errors("flowers5", target.parent, size):
        if target.is_file():
            content = target.read_bytes()
            if cache.sha256(content) != _FILE.sha256 and not _is_built(content):
                raise cache.damaged(target, "flowers5")
            return [target]
        cache.folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache.folder()) as parts:
            archive = Path(parts) / "archive.zip"
            try:
                pooch.HTTPDownloader(progressbar=True)(_REPOSITORY.url, str(archive), None)
            except requests.RequestException as error:
                raise cache.absent("flowers5", size, [type(error).__name__]) from error
            try:
                (content,) = _build(cache._read_archive(archive))
            except Exception as error:  # whatever a damaged archive makes its readers raise
                raise DataError(
                    f"flowers5: {_REPOSITORY.url} is cut short, damaged or another archive "
                    f"({type(error).__name__}: {error})"
                ) from error
        target.parent.mkdir(exist_ok=True)
        return [cache.write(target, content)]


def _is_built(content: bytes) -> bool:
    """Whether `_build` made it and it is whole."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.comment == _comment() and archive.testzip() is None
    except Exception:  # whatever a damaged archive makes its readers raise
        return False


# By part and folder: the numbers of the photographs on Flickr.
_IDS = {
    ("train", "daisy"): """
        10140303196 105806915 107592979 11023214096 11642632 11870378973 14147016029 14330343061
        14354051035 144099102 147068564 15853110333 16020253176 16161045294 16360180712
        16527403771 171972704 172967318 18400014056 18474740346 18622672908 1879567877 19177263840
        19544831049 19865728236 20619292635 2077865117 22244161124 2349640101 2454280135
        2513618768 2520369272 2538504987 2561352120 2607132536 2642408410 2666572212 267148092
        2838487505 3025866885 3285641623 3450822975 3713290261 3758221664 3957488431 3963330924
        3975010332 3999978867 4222584034 4281102584 4318007511 433837534 435283392 4496202781
        4538877108 4565255237 4753134939 476856232 488202750 498159452 5087720485 5110105726
        525780443 534547364 5435521200 5512287917 5561775629 5577555349 5608389827 5626784099
        5679288570 5765646947 5809489674 5811226952 5973491805 5981645737 6089825811 6529588249
        6884975451 7191221492 7416083788 7630517248 8706810197 8718637649 8740807508 9146733107
        9180706736 9350942387 9489270024 9529916092
    """,
    ("train", "dandelion"): """
        10617162044 1128626197 13290033 13560152823 136011860 139124974 14019781123 14171812905
        14283011 144040769 1443259657 14457225751 145173479 14728922673 14829055 14884028290
        151385302 15139657325 15297244181 16237158409 163702807 16656127943 16699732794
        16953818045 17482158576 1776290427 177851662 17903104293 18304194360 20165867412
        2303491518 2319777940 2392273474 2443192475 2457473644 2473862606 2512148749 2521827947
        2628514700 2637883118 2780702427 2938040169 2963905796 3372748508 3459346147 3469112805
        3483575184 3513200808 3581252194 3688128868 3823142577 3998927705 4082856478 4164845062
        4254850910 4258272073 4496277750 4510938552 4512569988 4523862714 4558562689 4571923094
        4606893762 4607183665 461632542 4632757134 4633792226 480621885 493696003 5607256228
        5607983792 5757012454 5776879272 5862288632 6229634119 6994938270 7132482331 7193058132
        7218569994 7247192002 7469617666 7843447416 8223968 8737699225 8739657154 8842482175
        8963359346 8980266062 8980273068 9152356642
    """,
    ("train", "roses"): """
        102501987 12243069253 12323085443 12434194695 12562723334 13264214185 13279526615
        13342823005 1446097778 15011625580 15104537437 15222804561 15255964274 15312360171
        15319767030 15498482197 15820572326 160954292 16155980245 16258946661 16424992340
        16643944275 172311368 17305246720 174109630 17449165090 1757822526 1775233884 17990320484
        19271410704 19919867648 20825078671 2225411981 22506717337 23232710191 2331651885
        2414954629 2501297526 2535466143 2609353769 2682566502 2756028421 2949945463 2973256732
        3026375835 3179751458 353897245 3576488381 3630246240 3667366832 3705716290 3871586333
        4242976586 4248222578 4356781875 4413509121 4503599544 4609166128 4702438868 4713531680
        4809566219 4900231976 505517255 515121050 5182167964 5223191368 5273722065 5292988046
        5360769702 537207677 537625768 5398974188 5529341024 5578760521 5602220566 6125332325
        6363976189 6950609394 7376471712 7865295712 8036594516 8394286483 8523394349 8644003462
        8692040971 9337528427 9338237628 9406573080 9433167170 99383371
    """,
    ("train", "sunflowers"): """
        1244774242 14646282112 14741812319 1484598527 14925397651 14969295739 15054750690
        15054866658 15072973261 15081164641 151898652 15241052342 15495579081 15683877266
        18766965343 18828283553 18972803569 19710076021 19710925313 20022771089 200557977
        20078409301 20258015499 2067882323 21728822928 22183521655 22203670478 2307673262
        23204123212 23247483352 23356825566 2442985637 2697194548 2706304885 2706736074 2723995667
        2729206569 274846229 2803725948 2816503473 2823659190 2894191705 3001531316 3568925290
        3766264038 3832945398 3846717708 3865206264 3883895985 3922005347 4080112931 4191299785
        4664767140 4821232343 4831577091 4895122831 4895721242 4932143849 4933230247 4933821940
        4933823194 4933823300 5015462205 5139969871 5231868667 5437996076 5917253022 5923085671
        5955475577 5967283168 6080086410 6122711533 6145005439 6239758929 6250692311 6495559397
        6606749757 6606815161 7176729016 7369484298 7654774598 7804213238 8014735546 8041242566
        8249000137 8929274876 9206376642 9431890901 9448615838 9599534035
    """,
    ("train", "tulips"): """
        10686568196 112951022 12557176134 12916135413 13176576813 132538272 132538273 133858239
        13472387874 13531007054 13562266594 13562271714 13923539227 13953090784 14064731501
        14067761295 14087425312 14087792403 14087860553 14093565032 14099204939 14254839301
        14275234071 155097272 16062072523 16644790896 16904202259 17189456156 17202535346
        176458518 17908793211 18245124970 18406629611 19413898445 2402342888 2431737309 2434178332
        2481827798 2489638840 3011223301 3447650747 391477275 3990746027 4263272885 4516198427
        4520577328 4562423077 4573822295 4574785121 4579128789 4624404489 4679869990 5012813078
        518256494 5388013398 5430796647 5524946579 5631861819 5653364300 5674125303 5674132053
        5680695867 5719416820 5738195260 6227136683 6770436217 7002703410 7046815693 7144016605
        7166554924 7166626128 7177682195 7247182064 8554190977 8614237582 8673412732 8681825637
        8687675254 8695372372 8706523526 8708856019 8712269349 8713389178 8713390684 8713396140
        8713397358 8713407768 8757486380 924782410 9444202147
    """,
    ("val", "daisy"): """
        10994032453 1140299375 11439894966 1374193928 14167543177 14264136211 14591326135
        14716799982 15327813273 17101762155 2408024540 2454280137 2479956481 2578695910 2619413565
        286875003 3386988684 3440366251 3661613900 3703643767 413815348 4144275653 4333085242
        4432271543 6207492986 6596277835 7377004908 7538403124 8085329197 8932490012
    """,
    ("val", "dandelion"): """
        14093744313 14128835667 14845607659 148698493 14914603395 15987457 17220096449 17322195031
        18001393975 18687587599 19621170705 2395009660 2516714633 2569516382 3005677730 3365850019
        3487229452 3501368412 4560613196 468749497 5629940298 5681951567 7099259755 7998106328
        8681420404 8780964418 8969938579 9188647508 9818247 9939430464
    """,
    ("val", "roses"): """
        12406418663 13231224664 14414123198 1461381091 15172358234 15174615529 15255964454
        15738649506 18599603859 22093190909 2258973326 2300959680 2409069862 2471103806 269037241
        2713683760 3500121696 3560426426 3971662839 4910094611 494803274 5060519573 5398569540
        5419629292 5570018782 5777669976 7376473742 8209458141 8241471746 8562144481
    """,
    ("val", "sunflowers"): """
        12471791574 14244273988 14814264272 14925398441 15026703621 15054751430 15118397087
        15218871222 15472217046 200557979 20481273479 20704967595 20871601265 20905163782
        20972862281 22183529245 2425164088 3665455426 4804434999 4933229095 5067864967 6265084065
        6606820461 8478248531 877083343 8928658373 9302733302 9381481549 9399711558 9699724719
    """,
    ("val", "tulips"): """
        116343334 12025042086 13472393854 13509973805 13529687904 13539827514 13954659583
        14087439392 15516736553 164578909 16765283686 17159349572 2271507463 2333321040 2425067141
        2440874162 4353419275 4599815420 4644110077 4890786831 5644061265 5674127693 5700394524
        5704726114 6958342976 7069622551 7166570828 8711277462 8713388322 8908062479
    """,
}


def _card(side: int) -> Card:
    return Card(
        title="Flowers",
        licence="CC BY 2.0, by the photographers of these numbers on Flickr: "
        "practical_dl.data.flowers5.ids",
        source=f"600 photographs of TensorFlow's flower_photos, cut to {side} x {side}, "
        "in {cache}/flowers5/flowers5.zip",
        read=partial(_read, side=side),
        files=(_FILE,),
        repository=_REPOSITORY,
        get=_get,
        withhold=WITHHELD,
    )


register("flowers5", small=_card(128), full=_card(SHORT_SIDE))
