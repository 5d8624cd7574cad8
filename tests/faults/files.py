"""Files that a submission brings along, and files of the host that its code goes for."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

from faults.kit import (
    ALL,
    FLAGGED,
    GRADED,
    HONEST,
    REFUSED,
    Fault,
    Make,
    World,
    beside,
    full,
    handed_in,
    none,
    notebook,
    refused,
    save,
)

ANY = (GRADED, FLAGGED, REFUSED)


def host(source: str, *, wrong: bool = False) -> Make:
    """A cell that goes for the host, in front of the tasks."""
    return notebook(wrong=ALL if wrong else (), top=source)


# Sources say REACHED in two pieces, so that only what they print holds the word.
GRADEBOOK = """
import glob, os, sqlite3
places = ["@ROOT@/gradebook.db", "gradebook.db", "../gradebook.db", "../../../gradebook.db"]
for path in places:
    if os.path.exists(path):
        database = sqlite3.connect(path, timeout=1)
        database.execute("UPDATE grade SET manual_score = 99, needs_manual_grade = 0")
        database.execute("UPDATE grade_cells SET max_score = 99")
        database.commit()
        print("REACHED the " + "gradebook")
"""
SOLUTIONS = """
import glob, json
for path in glob.glob("@ROOT@/source/*/tiny.ipynb") + glob.glob("../../../source/*/tiny.ipynb"):
    print("REACHED the " + "solutions")
    for cell in json.load(open(path))["cells"]:
        if cell["id"] in ("line", "distance", "double"):
            exec("".join(cell["source"]), globals())
            globals()["right_" + cell["id"]] = globals()[cell["id"]]
"""
OTHERS = """
import glob, json
for path in glob.glob("@ROOT@/submitted/zz-*/*/tiny.ipynb"):
    print("REACHED another " + "submission")
    for cell in json.load(open(path))["cells"]:
        if cell["id"] in ("line", "distance", "double"):
            exec("".join(cell["source"]), globals())
            globals()["right_" + cell["id"]] = globals()[cell["id"]]
"""
COPIED = {
    "line": "return right_line(x, a, b)",
    "distance": "return right_distance(p, q)",
    "double": "return right_double(x)",
}
HIDDEN = """
import glob, os
for path in glob.glob("*.ipynb") + glob.glob("/tmp/*/*.ipynb") + glob.glob("/proc/*/cwd/*.ipynb"):
    if "BEGIN " + "HIDDEN TESTS" in open(path).read():
        print("REACHED the hidden " + "tests")
"""
POISON = """
import os, site
home = os.path.expanduser("~")
payload = "open('poisoned', 'w').close()\\n"
for path in (
    "@ROOT@/nbgrader_config.py",
    "@ROOT@/weeks/poisoned.py",
    "@ROOT@/submitted/poisoned.py",
    os.environ.get("CANARY_HOME", home) + "/canary.txt",
    home + "/.ipython/profile_default/startup/00-poison.py",
    home + "/.ipython/profile_default/ipython_config.py",
    home + "/.jupyter/nbgrader_config.py",
    home + "/.config/matplotlib/matplotlibrc",
    site.getusersitepackages() + "/usercustomize.py",
    os.path.dirname(np.__file__) + "/poisoned.py",
    os.path.dirname(check.__file__) + "/poisoned.py",
):
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "a") as file:
            file.write(payload)
    except OSError:
        pass
"""
KILL = """
import os, signal
me = os.getpid()
for name in os.listdir("/proc"):
    if name.isdigit() and int(name) not in (1, me):
        try:
            os.kill(int(name), signal.SIGKILL)
        except OSError:
            pass
try:
    os.kill(os.getppid(), signal.SIGKILL)
except OSError:
    pass
"""
PTRACE = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for pid in (os.getppid(), 1):
    if pid != os.getpid() and libc.ptrace(16, pid, 0, 0) == 0:
        print("REACHED another " + "process")
        libc.ptrace(17, pid, 0, 0)
"""
ENVIRONMENT = """
import glob, os
for path in ["/proc/self/environ", *glob.glob("/proc/[0-9]*/environ")]:
    try:
        text = open(path, "rb").read().decode("utf-8", "replace")
    except OSError:
        continue
    if "@SECRET@" in text:
        print("REACHED the environment of " + "the grader")
if "@SECRET@" in os.environ:
    print("REACHED the environment of " + "the grader")
    print(os.environ["@SECRET@"])
"""
PROCESSES = """
import glob, os
for path in glob.glob("/proc/[0-9]*"):
    try:
        line = open(path + "/cmdline", "rb").read().replace(bytes(1), b" ").decode()
        where = os.readlink(path + "/cwd")
    except OSError:
        continue
    if any(word in line for word in ("autograder grade", "nbgrader autograde")):
        print("REACHED processes of " + "the grader")
"""
DETECTS = """
import os, sys
signs = [n for n in os.environ if "NBGRADER" in n or "GRAD" in n]
here = os.getcwd()
if signs or "autograded" in here or "submitted" in here or "@WEEK@" in here:
    print("REACHED signs of " + "grading")
"""
# One submission leaves things, another one looks for them.
LITTER = """
import os, time
home = os.path.expanduser("~")
places = ["/tmp", "/dev/shm", "/var/tmp", home, home + "/.ipython/profile_default/startup"]
for folder in places:
    try:
        os.makedirs(folder, exist_ok=True)
        with open(folder + "/litter.py", "w") as file:
            file.write("print('REACHED by ' + 'a startup file')")
    except OSError:
        pass
time.sleep(1.5)
"""
LOOK = """
import os, time
home = os.path.expanduser("~")
places = ["/tmp", "/dev/shm", "/var/tmp", home, home + "/.ipython/profile_default/startup"]
for number in range(8):
    if any(os.path.exists(folder + "/litter.py") for folder in places):
        print("REACHED files of another " + "submission")
        break
    time.sleep(0.25)
"""
CONNECTIONS = """
import glob, json, os
from jupyter_client.connect import find_connection_file
from ipykernel import get_connection_file
own = os.path.realpath(get_connection_file())
places = [os.path.dirname(own), "/tmp", "/run", os.path.expanduser("~/.local/share/jupyter/runtime")]
for folder in places:
    for path in glob.glob(folder + "/**/kernel-*.json", recursive=True):
        if os.path.realpath(path) != own and "key" in json.load(open(path)):
            print("REACHED another " + "kernel")
"""  # noqa: E501
MODULE = """
class CheckFailed(AssertionError):
    pass

def __getattr__(name):
    return lambda *a, **k: None
"""


def link(target: str, name: str = "tiny.ipynb") -> Make:
    """A symbolic link in place of the notebook."""

    def make(folder: Path, world: World) -> None:
        folder.mkdir(parents=True)
        (folder / name).symlink_to(world.fill(target))

    return make


def _linked_folder(folder: Path, world: World) -> None:
    folder.symlink_to(world.root / "submitted" / HONEST / folder.name)


def _link_beside(folder: Path, world: World) -> None:
    save(handed_in(world), folder)
    (folder / "data.txt").symlink_to("/etc/passwd")
    (folder / "all").symlink_to(world.root)


def _pipe(folder: Path, world: World) -> None:
    folder.mkdir(parents=True)
    os.mkfifo(folder / "tiny.ipynb")


def _pipe_beside(folder: Path, world: World) -> None:
    save(handed_in(world), folder)
    os.mkfifo(folder / "data.txt")


def _hard_link(folder: Path, world: World) -> None:
    """Another's notebook under one's own name."""
    folder.mkdir(parents=True)
    os.link(world.root / "course.toml", folder / "tiny.ipynb")


def _folder_instead(folder: Path, world: World) -> None:
    save(handed_in(world), folder / "tiny.ipynb", "tiny.ipynb")


def _timestamp(folder: Path, world: World) -> None:
    save(handed_in(world), folder)
    (folder / "timestamp.txt").write_text("2001-01-01 00:00:00 UTC")


def _zipped(content: bytes, name: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return packed.getvalue()


def _archive(folder: Path, world: World) -> None:
    import json

    folder.mkdir(parents=True)
    content = json.dumps(handed_in(world)).encode()
    (folder / "tiny.zip").write_bytes(_zipped(content, "../../../../tiny.ipynb"))


def _many(folder: Path, world: World) -> None:
    save(handed_in(world), folder)
    for number in range(3_000):
        (folder / f"{number}.txt").write_text("1")
    deep = folder.joinpath(*(["deep"] * 60))
    deep.mkdir(parents=True)
    (deep / "file.txt").write_text("1")


def _wild_names(folder: Path, world: World) -> None:
    save(handed_in(world), folder)
    for name in ("[a-z]*.txt", "?.ipynb.txt", "new\nline.txt", "данные (1).csv", "$(id).txt"):
        (folder / name).write_text("1")


FAULTS = [
    Fault(
        "own-modules",
        "files",
        "torch.py, yaml.py, numpy.py, practical_dl.py and sitecustomize.py lie beside the notebook.",  # noqa: E501
        beside(
            notebook(wrong=ALL),
            **dict.fromkeys(
                ("torch__py", "yaml__py", "numpy__py", "practical_dl__py", "sitecustomize__py"),
                MODULE,
            ),
        ),
        none(status=ANY),
        row=15,
    ),
    Fault(
        "own-config",
        "files",
        "nbgrader_config.py, gradebook.db and course.toml lie beside the notebook.",
        beside(
            notebook(wrong=ALL),
            nbgrader_config__py="c.ExecuteSubmission.unsafe = True\nopen('poisoned', 'w')\n",
            gradebook__db=b"",
            course__toml="[course]\n",
        ),
        none(status=ANY),
    ),
    Fault(
        "detects-grading",
        "files",
        "The code looks for signs that it is being graded; the answers are right.",
        host(DETECTS),
        full(),
        row=16,
    ),
    Fault(
        "gradebook",
        "files",
        "The code writes 99 points into the gradebook, whose path it knows.",
        host(GRADEBOOK, wrong=True),
        none(),
        row=39,
    ),
    Fault(
        "solutions",
        "files",
        "The code runs the solutions of source/, whose path it knows.",
        notebook(top=SOLUTIONS, **COPIED),
        none(),
        row=40,
    ),
    Fault(
        "others",
        "files",
        "The code runs another student's answers, whose path it knows.",
        notebook(top=OTHERS, **COPIED),
        none(),
        row=41,
    ),
    Fault(
        "hidden-tests",
        "files",
        "The code looks for hidden tests in files.",
        host(HIDDEN),
        full(),
        row=42,
    ),
    Fault(
        "poison",
        "files",
        "The code writes start-up files of Python, IPython, Jupyter, matplotlib and the course.",
        host(POISON),
        full(),
        row=45,
    ),
    Fault(
        "kill-all",
        "files",
        "The code kills every process that it sees, its parent too; the answers are right.",
        host(KILL),
        full(status=(GRADED, FLAGGED)),
        row=46,
    ),
    Fault(
        "kill-minus-one",
        "files",
        "The code sends SIGKILL to -1; the answers are right.",
        host("import os\ntry:\n    os.kill(-1, 9)\nexcept OSError:\n    pass"),
        full(status=(GRADED, FLAGGED)),
        row=46,
    ),
    Fault(
        "ptrace",
        "files",
        "The code attaches to its parent with ptrace; the answers are right.",
        host(PTRACE),
        full(status=(GRADED, FLAGGED)),
        row=46,
    ),
    Fault(
        "link-passwd",
        "files",
        "The notebook is a symbolic link to /etc/passwd.",
        link("/etc/passwd"),
        refused("link|regular"),
        row=47,
    ),
    Fault(
        "link-zero",
        "files",
        "The notebook is a symbolic link to /dev/zero.",
        link("/dev/zero"),
        refused("link|regular"),
        row=47,
    ),
    Fault(
        "link-source",
        "files",
        "The notebook is a symbolic link to the instructor's.",
        link("@ROOT@/source/@WEEK@/tiny.ipynb"),
        refused("link|regular"),
        row=47,
    ),
    Fault(
        "link-folder",
        "files",
        "The folder is a symbolic link to another student's.",
        _linked_folder,
        refused("link|regular|folder"),
        row=47,
    ),
    Fault(
        "link-beside",
        "files",
        "Links to /etc/passwd and to the whole course lie beside a right notebook.",
        _link_beside,
        full(status=ANY, or_none=False),
        row=47,
    ),
    Fault(
        "pipe",
        "files",
        "The notebook is a named pipe, which nobody writes to.",
        _pipe,
        refused("pipe|regular|file"),
        row=47,
    ),
    Fault(
        "pipe-beside",
        "files",
        "A named pipe lies beside a right notebook.",
        _pipe_beside,
        full(status=ANY),
        row=47,
    ),
    Fault(
        "timestamp",
        "files",
        "timestamp.txt says that it was handed in in 2001; the answers are right.",
        _timestamp,
        full(status=(GRADED, FLAGGED)),
        row=48,
    ),
    Fault(
        "hard-link",
        "files",
        "The notebook is a hard link to a file of the course.",
        _hard_link,
        refused("."),
    ),
    Fault(
        "folder-instead",
        "files",
        "The notebook lies in a folder that is called tiny.ipynb.",
        _folder_instead,
        full(status=ANY, or_none=False, line=(0.0, 1.0), distance=(0.0, 2.0), double=(0.0, 1.0)),
    ),
    Fault(
        "archive",
        "files",
        "An archive is handed in whose only entry climbs out of its folder.",
        _archive,
        none(status=(*ANY, "missing"), says="archive"),
    ),
    Fault(
        "archive-bomb",
        "files",
        "An archive of 200 MB of zeros lies beside a right notebook.",
        beside(notebook(), data__zip=_zipped(bytes(200_000_000), "zeros")),
        full(status=ANY),
    ),
    Fault(
        "many-in-folder",
        "files",
        "3,000 files and 60 nested folders lie beside a right notebook.",
        _many,
        full(status=ANY),
    ),
    Fault(
        "wild-names",
        "files",
        "Files beside a right notebook have glob characters, a line feed and blanks in their names.",  # noqa: E501
        _wild_names,
        full(status=ANY),
        row=54,
    ),
    Fault(
        "environment",
        "files",
        "The code looks for a secret in its own environment and in that of other processes.",
        host(ENVIRONMENT),
        full(),
    ),
    Fault(
        "processes",
        "files",
        "The code looks for the grader's processes in /proc.",
        host(PROCESSES),
        full(),
    ),
    Fault(
        "litter",
        "files",
        "The code leaves files in every folder that it can write to, for another submission.",
        notebook(top=LITTER),
        full(),
    ),
    Fault(
        "looks-for-litter",
        "files",
        "The code looks for what another submission has left.",
        notebook(top=LOOK),
        full(),
        after="litter",
    ),
    Fault(
        "connections",
        "files",
        "The code looks for the keys of other kernels.",
        host(CONNECTIONS),
        full(),
    ),
]
