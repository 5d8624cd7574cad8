"""What honest students do. Nobody loses a point by it, and few need a teacher's eye."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from faults.kit import (
    FLAGGED,
    GRADED,
    RIGHT,
    Fault,
    Make,
    World,
    cell_of,
    full,
    function,
    handed_in,
    notebook,
    save,
)

TOLD = (GRADED, FLAGGED)


def _as_version_3(made: NotebookNode) -> bytes:
    made = copy.deepcopy(made)
    for cell in made.cells:
        cell.pop("id", None)
    made.nbformat_minor = 4
    return json.dumps(nbformat.convert(made, 3)).encode()


def _as_version_4_0(made: NotebookNode) -> None:
    for cell in made.cells:
        cell.pop("id", None)
    made.nbformat_minor = 0


def renamed(name: str) -> Make:
    """The notebook under another name."""
    return notebook(file=name)


def _checkpoint(folder: Path, world: World) -> None:
    save(handed_in(world), folder)
    old = handed_in(world, wrong=("line", "distance"))
    save(old, folder / ".ipynb_checkpoints", "tiny-checkpoint.ipynb")
    (folder / ".DS_Store").write_bytes(bytes(100))
    (folder / "Thumbs.db").write_bytes(bytes(100))


def _copy_beside(folder: Path, world: World) -> None:
    save(handed_in(world), folder)
    save(world.released("tiny"), folder, "tiny-Copy1.ipynb")


def after(grade_id: str, *sources: str) -> Callable[[NotebookNode], None]:
    """Further cells behind a cell."""

    def changed(made: NotebookNode) -> None:
        place = made.cells.index(cell_of(made, grade_id)) + 1
        made.cells[place:place] = [new_code_cell(s, id=f"own{i}") for i, s in enumerate(sources)]

    return changed


def _stub_left(made: NotebookNode) -> None:
    """The answer stands in a cell of its own, the stub is as it was."""
    cell = cell_of(made, "line")
    answer = cell.source
    cell.source = 'def line(x, a, b):\n    raise NotImplementedError("line")'
    made.cells.insert(made.cells.index(cell) + 1, new_code_cell(answer, id="mine"))


def _split(made: NotebookNode) -> None:
    cell = cell_of(made, "distance")
    helper = "def squared(v):\n    return float(np.sum(v * v))"
    made.cells.insert(made.cells.index(cell), new_code_cell(helper, id="helper"))
    cell.source = "def distance(p, q):\n    return squared(p - q) ** 0.5"


def _retyped(made: NotebookNode) -> None:
    for name in ("line", "double"):
        cell = cell_of(made, name)
        cell["cell_type"] = "markdown" if name == "line" else "raw"
        cell.pop("outputs", None)
        cell.pop("execution_count", None)


def _without_imports(made: NotebookNode) -> None:
    made.cells = [c for c in made.cells if not c.source.startswith("import numpy")]


def _imports_changed(made: NotebookNode) -> None:
    cell = next(c for c in made.cells if c.source.startswith("import numpy"))
    cell.source += "\nimport math\nimport matplotlib.pyplot as plt\nfrom pathlib import Path"


def on_top(text: str) -> Callable[[NotebookNode], None]:
    """Something on top of the instructor's cell with the imports."""

    def changed(made: NotebookNode) -> None:
        cell = next(c for c in made.cells if c.source.startswith("import numpy"))
        cell.source = f"{text}\n{cell.source}"

    return changed


def _prose_changed(made: NotebookNode) -> None:
    for cell in made.cells:
        if cell.cell_type == "markdown":
            cell.source = "My notes: " + cell.source[::-1]
    made.cells = [c for i, c in enumerate(made.cells) if c.cell_type == "code" or i % 2]
    made.cells.append(new_markdown_cell("Thank you!", id="thanks"))


def _merged(folder: Path, world: World) -> None:
    """Both languages in one file: two tasks were done in one, one in the other."""
    made = handed_in(world)
    russian = nbformat.read(
        world.root / "release" / "ru" / folder.name / "tiny.ipynb", as_version=4
    )
    cell_of(russian, "distance").source = cell_of(made, "distance").source
    cell_of(made, "distance").source = cell_of(world.released("tiny"), "distance").source
    made.cells += russian.cells
    save(made, folder)


def _old_outputs(made: NotebookNode) -> None:
    for cell in made.cells:
        if cell.cell_type == "code":
            cell["execution_count"] = 7
            cell["outputs"] = [
                {
                    "output_type": "error",
                    "ename": "AssertionError",
                    "evalue": "old",
                    "traceback": ["old"],
                }
            ]


def _sources_as_lists(made: NotebookNode) -> None:
    for cell in made.cells:
        cell["source"] = cell["source"].splitlines(keepends=True)


def _carriage_returns(made: NotebookNode) -> None:
    for cell in made.cells:
        cell["source"] = cell["source"].replace("\n", "\r\n")


def _surrogate(made: NotebookNode) -> None:
    made.cells.append(new_markdown_cell("half of a smiley: \ud83d", id="smiley"))
    cell_of(made, "line").source += "\n# half of a smiley: \ud83d"


def _nul(made: NotebookNode) -> None:
    made.cells.append(new_markdown_cell("a \x00 byte and \x1b[31mred", id="nul"))


def _ids_twice(made: NotebookNode) -> None:
    for cell in made.cells:
        cell["id"] = "same"


def _long_ids(made: NotebookNode) -> None:
    for number, cell in enumerate(made.cells):
        cell["id"] = f"a cell's id, longer than Jupyter allows and with blanks {number}" * 3


def _no_nbgrader(made: NotebookNode) -> None:
    """Colab and others drop metadata that they do not know; ids stay."""
    for cell in made.cells:
        cell["metadata"] = {}
    made.metadata = {"colab": {"provenance": []}}


def _essay(made: NotebookNode, cell_type: str = "markdown") -> None:
    cell = cell_of(made, "essay")
    cell["cell_type"] = cell_type
    cell.source = "Because relu(-x) is not -relu(x)."


def _without_essay(made: NotebookNode) -> None:
    made.cells.remove(cell_of(made, "essay"))


def _essay_below(made: NotebookNode) -> None:
    """The answer is typed into a code cell below its own, which is empty."""
    report = new_code_cell("# relu(-x) is not -relu(x),\n# as a drawing tells.", id="report")
    made.cells.insert(made.cells.index(cell_of(made, "essay")) + 1, report)


def _reference(made: NotebookNode) -> None:
    cell = cell_of(made, "line")
    cell.source = (
        "def line(x, a, b):\n    ### BEGIN SOLUTION\n    return a * x + b\n    ### END SOLUTION"
    )


def looked_at(name: str, what: str, needs: str, file: str = "tiny", **options: object) -> Fault:
    """A right answer that can't run here, line or relu: a person has to look at it."""
    task = {"tiny": "line", "mixed": "relu"}[file]
    expected = full(file, status=(FLAGGED,), says=f"{task} needs {needs}", **{task: 0})
    return Fault(name, "honest", what, notebook(file, **options), expected)


def one(name: str, what: str, make: Make, **expected: object) -> Fault:
    """An honest submission that gets all points."""
    return Fault(name, "honest", what, make, full(**expected))


PROGRESS = """
from tqdm.auto import tqdm
import time
for number in tqdm(range(50)):
    time.sleep(0.001)
"""
STYLE = """
import matplotlib.pyplot as plt
plt.style.use("ggplot")
plt.rcParams["figure.dpi"] = 200
plt.plot([1, 2, 3])
plt.show()
"""
SHADOWED = "list = [1, 2]\nsum = max = min = 0\nid = input = 'mine'\nx = y = p = q = None\nlen = 3"
LOADER = """
from torch.utils.data import DataLoader, TensorDataset
data = TensorDataset(torch.arange(64.0))
total = sum(batch[0].sum().item() for batch in DataLoader(data, batch_size=16, num_workers=2))
print(total)
"""
TRAINING = """
torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
model = torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(20):
    loss = model(torch.ones(8, 4)).pow(2).mean()
    optimizer.zero_grad(); loss.backward(); optimizer.step()
torch.use_deterministic_algorithms(True)
torch.set_grad_enabled(False)
"""
THREAD = """
import threading, concurrent.futures, multiprocessing
worker = threading.Thread(target=lambda: print("from a thread"))
worker.start(); worker.join()
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    print(sum(pool.map(abs, range(100))))
"""
INPUT = """
try:
    name = input("Your name: ")
except Exception:
    name = "nobody"
print(name)
"""
STATE = """
import locale, logging, os, random, sys, warnings
np.random.seed(0); random.seed(0)
np.seterr(all="raise")
np.set_printoptions(precision=2)
warnings.simplefilter("error")
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, force=True)
os.chdir("/tmp")
sys.path.insert(0, ".")
sys.setrecursionlimit(5_000)
"""
MAGICS = """
%matplotlib inline
%config InlineBackend.figure_format = "retina"
%load_ext autoreload
%autoreload 2
%time sum(range(10))
!echo hello
"""

FAULTS = [
    Fault("nothing-special", "honest", "A plain right submission.", notebook(), full()),
    Fault(
        "all-right-mixed",
        "honest",
        "A right notebook with torch.",
        notebook("mixed"),
        full("mixed"),
    ),
    Fault(
        "half-right",
        "honest",
        "One answer is right, one wrong, one missing; half of a score.",
        notebook(
            "mixed",
            leap="return year % 4 == 0",
            wrong=("unit",),
            relu='raise NotImplementedError("relu")',
        ),
        full("mixed", leap=1.0, unit=0, relu=0),
    ),
    Fault(
        "syntax-error",
        "honest",
        "One answer does not compile; the others are right.",
        notebook(line="return a * x +"),
        full(line=0),
    ),
    Fault(
        "slow",
        "honest",
        "A cell takes half of its time; the answers are right.",
        notebook(top="import time\ntime.sleep(2)"),
        full(),
    ),
    Fault(
        "kernel-death-in-own-cell",
        "honest",
        "A further cell uses too much and ends the kernel; the answers are right.",
        notebook(top="import os\nos._exit(137)"),
        full(status=TOLD),
        row=31,
    ),
    one(
        "slow-answer",
        "A function needs a third of the time limit at each of its two calls.",
        notebook(line="import time\ntime.sleep(1.3)\nreturn a * x + b"),
    ),
    one(
        "remembers",
        "A function counts its calls, logs them and keeps results in a cache.",
        notebook(
            top="import functools, logging\ncalls = []\n\n"
            "@functools.lru_cache\ndef twice(v):\n    calls.append(v)\n    return 2 * v",
            line="calls.append(x)\nlogging.warning('call %d', len(calls))\nreturn a * x + b",
            double="if len(calls) == 0:\n    return None\nreturn twice(x)",
        ),
    ),
    one(
        "introspection",
        "A function uses dataclasses, named tuples, warnings with a stack level and tracebacks.",
        notebook(
            line="import dataclasses, collections, traceback, warnings\n"
            "Point = collections.namedtuple('Point', 'x y')\n"
            "Pair = dataclasses.make_dataclass('Pair', ['a', 'b'])\n"
            "warnings.warn('slowly', stacklevel=2)\n"
            "try:\n    1 / 0\nexcept ZeroDivisionError:\n    traceback.print_exc()\n"
            "pair = Pair(a, b)\nreturn pair.a * Point(x, 0).x + pair.b"
        ),
    ),
    one("bar", "A progress bar on stderr.", notebook(top=PROGRESS)),
    one("style", "A matplotlib style and figures of one's own.", notebook(top=STYLE)),
    one("shadowed", "Builtins and the tests' names are used as variables.", notebook(top=SHADOWED)),
    one("threads-that-end", "Threads that come to an end.", notebook(top=THREAD)),
    one("input-caught", "input() with a default.", notebook(top=INPUT)),
    one("state", "Seeds, warnings as errors, logging, another folder.", notebook(top=STATE)),
    one("magics", "Magics and a shell command.", notebook(top=MAGICS)),
    one(
        "pip-install", "`!pip install` that finds no network.", notebook(first="!pip install rich")
    ),
    one(
        "installs-first",
        "The imports' cell begins with lines that install packages.",
        notebook(change=on_top("!pip install -q seaborn\n!apt-get install -y graphviz")),
        says="not run, since there is no network",
    ),
    one(
        "package-first",
        "The imports' cell begins with a package that the grader lacks.",
        notebook(change=on_top("import package_of_mine")),
        says="No module named 'package_of_mine'",
    ),
    one(
        "colab-first",
        "The imports' cell begins with Colab's drive.",
        notebook(change=on_top("from google.colab import drive\ndrive.mount('/content/drive')")),
    ),
    one("typo-first", "The imports' cell has a typo.", notebook(change=on_top("improt math"))),
    one(
        "window-first",
        "The imports' cell asks for a window to draw in.",
        notebook(change=on_top("import matplotlib\nmatplotlib.use('TkAgg')\n%matplotlib widget")),
    ),
    looked_at(
        "package-in-answer",
        "An answer imports a package that the grader lacks.",
        "the package package_of_mine",
        line="import package_of_mine\nreturn a * x + b",
    ),
    looked_at(
        "package-above-answer",
        "A cell of the student's own, on which an answer rests, begins with such an import.",
        "the package package_of_mine",
        top="import package_of_mine\nscale = 1",
        line="return scale * a * x + b",
    ),
    looked_at(
        "gpu",
        "An answer needs a GPU.",
        "a GPU",
        "mixed",
        relu="return x.cuda().clamp(min=0).cpu()",
    ),
    looked_at(
        "network-in-answer",
        "An answer needs the network.",
        "the network",
        line="import urllib.request\nurllib.request.urlopen('https://example.org')\n"
        "return a * x + b",
    ),
    one("reset", "A cell in front of all says %reset -f.", notebook(first="%reset -f")),
    one(
        "timed-solution",
        "A solution cell starts with %%time.",
        notebook(cells={"line": "%%time\n" + function("line", RIGHT["line"])}),
    ),
    one(
        "timed-twice",
        "A solution cell starts with %%capture and %%timeit.",
        notebook(cells={"line": "%%capture\n%%timeit\n" + function("line", RIGHT["line"])}),
    ),
    one(
        "future-import",
        "A solution cell starts with a __future__ import and a decorator.",
        notebook(
            cells={
                "line": "from __future__ import annotations\nimport functools\n\n\n"
                "def logged(f):\n    @functools.wraps(f)\n    def run(*a):\n"
                "        print(f.__name__)\n        return f(*a)\n    return run\n\n\n@logged\n"
                + function("line", RIGHT["line"])
            }
        ),
    ),
    one(
        "await",
        "A cell awaits at its top level.",
        notebook(top="import asyncio\nawait asyncio.sleep(0)"),
    ),
    one("broken-extra", "Further cells fail.", notebook(top="1 / 0", end="undefined")),
    one(
        "own-results",
        "The answers print, plot and show results while they are tested.",
        notebook(
            line="import matplotlib.pyplot as plt\nplt.plot(x)\nplt.show()\n"
            "print(x)\nreturn a * x + b",
            double="display(x)\nreturn 2 * x",
        ),
    ),
    one(
        "numpy-scalars",
        "The answers are NumPy's scalars and lists.",
        notebook(
            line="return [float(a * v + b) for v in x]",
            distance="return np.linalg.norm(p - q)",
            double="return np.float64(2 * x)",
        ),
    ),
    one(
        "cached-answers",
        "The answers are computed with a cache, a class and a generator.",
        notebook(
            cells={
                "double": "class Double:\n    def __call__(self, x):\n"
                "        return next(v for v in [x + x])\n\n\ndouble = Double()"
            }
        ),
    ),
    Fault(
        "essay",
        "honest",
        "An answer in words, which a person has to grade.",
        notebook("mixed", change=_essay),
        full("mixed", essay=(None,)),
    ),
    Fault(
        "essay-as-code",
        "honest",
        "The cell of an answer in words has become code.",
        notebook("mixed", change=lambda made: _essay(made, "code")),
        full("mixed", status=TOLD, essay=(None,)),
    ),
    Fault(
        "essay-deleted",
        "honest",
        "The cell of an answer in words is deleted.",
        notebook("mixed", change=_without_essay),
        full("mixed", status=TOLD, essay=0),
    ),
    Fault(
        "essay-in-code-below",
        "honest",
        "The answer in words stands in a code cell below its own.",
        notebook("mixed", change=_essay_below),
        full("mixed", status=TOLD, essay=(None,)),
    ),
    Fault(
        "loader",
        "honest",
        "A DataLoader with two workers.",
        notebook("mixed", top=LOADER),
        full("mixed"),
    ),
    Fault(
        "training",
        "honest",
        "A small training that changes torch's settings.",
        notebook("mixed", top=TRAINING),
        full("mixed"),
    ),
    one("version-3", "A notebook of format 3.", notebook(change=_as_version_3)),
    one("version-4-0", "A notebook of format 4.0.", notebook(change=_as_version_4_0)),
    one("renamed", "The file is called `tiny (1).ipynb`.", renamed("tiny (1).ipynb"), status=TOLD),
    one("renamed-upper", "The file is called `Tiny.ipynb`.", renamed("Tiny.ipynb"), status=TOLD),
    one(
        "renamed-own",
        "The file is called by the student's name.",
        renamed("homework_Ivanova.ipynb"),
        status=TOLD,
    ),
    one("checkpoints", "Old checkpoints and an editor's files lie beside.", _checkpoint),
    one("copy-beside", "An untouched copy lies beside.", _copy_beside, status=TOLD),
    one(
        "answer-in-own-cell",
        "The answer stands in a cell after the stub.",
        notebook(change=_stub_left),
    ),
    one("helper-cell", "A helper stands in a cell of its own.", notebook(change=_split)),
    one(
        "retyped",
        "Solution cells have become markdown and raw.",
        notebook(change=_retyped),
        status=TOLD,
    ),
    one(
        "no-imports",
        "The cell with the imports is deleted.",
        notebook(change=_without_imports),
        status=TOLD,
    ),
    one(
        "more-imports",
        "The cell with the imports has more of them.",
        notebook(change=_imports_changed),
    ),
    one(
        "own-prose", "The prose is changed, deleted and added to.", notebook(change=_prose_changed)
    ),
    one(
        "both-languages",
        "Both languages in one file, the answers here and there.",
        _merged,
        status=TOLD,
    ),
    one("old-outputs", "Old outputs with errors are in the file.", notebook(change=_old_outputs)),
    one("sources-as-lists", "Sources are lists of lines.", notebook(change=_sources_as_lists)),
    one("carriage-returns", "Lines end as on Windows.", notebook(change=_carriage_returns)),
    one("half-smiley", "Half of a surrogate pair is in the text.", notebook(change=_surrogate)),
    one("control-characters", "Control characters are in the text.", notebook(change=_nul)),
    one("ids-twice", "All cells have the same id.", notebook(change=_ids_twice)),
    one("long-ids", "The ids are longer than they may be.", notebook(change=_long_ids)),
    one(
        "no-metadata",
        "All metadata are gone, the ids are there.",
        notebook(change=_no_nbgrader),
        status=TOLD,
    ),
    one("markers-kept", "The answer stands between solution markers.", notebook(change=_reference)),
    one(
        "more-cells",
        "Experiments stand between all cells.",
        notebook(
            change=after(
                "line", "line(np.ones(2), 1, 2)", "%timeit -n 1 -r 1 line(np.ones(2), 1, 2)"
            )
        ),
    ),
]
