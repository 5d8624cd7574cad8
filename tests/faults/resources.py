"""Code that does not end, takes all there is, or ends its kernel."""

from __future__ import annotations

from faults.kit import (
    DAEMON,
    FLAGGED,
    GRADED,
    RIGHT,
    Fault,
    Make,
    full,
    notebook,
    stopped,
)

DEAD = r"ended|crash|died|signal|stopped|killed"
LATE = r"second|interrupt|time| s\b"
# All of them give up by themselves somewhere, for the sake of graders without limits.
FORKS = """
import os, time
for number in range(600):
    if os.fork() == 0:
        time.sleep(30)
        os._exit(0)
raise SystemExit("600 processes")
"""
MEMORY = """
pieces = []
for number in range(64):
    pieces.append(np.ones(8 * 2**20))
"""
THREADS = """
import threading, time
for number in range(1500):
    threading.Thread(target=time.sleep, args=(30,), daemon=True).start()
"""
DISK = """
import os
for folder in (".", "/tmp", "/dev/shm", os.path.expanduser("~")):
    try:
        with open(f"{folder}/fill", "wb") as file:
            for number in range(700):
                file.write(bytes(2**20))
    except OSError:
        pass
"""
INODES = """
import os
os.makedirs("many", exist_ok=True)
try:
    for number in range(60_000):
        open(f"many/{number}", "w").close()
except OSError:
    pass
"""
DESCRIPTORS = """
import os
kept = []
try:
    for number in range(200_000):
        kept.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
"""
DAEMONIZE = f"""
import os, subprocess
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        subprocess.Popen({DAEMON}, start_new_session=True)
    os._exit(0)
os.wait()
"""
NO_INTERRUPT = """
import signal
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
    signal.signal(number, signal.SIG_IGN)
while True:
    pass
"""
CAUGHT_INTERRUPT = """
import time
while True:
    try:
        time.sleep(60)
    except BaseException:
        pass
"""
C_SLEEP = """
import ctypes
libc = ctypes.PyDLL(None)
while True:
    libc.sleep(60)
"""
LOCK = """
import threading
lock = threading.Lock()
lock.acquire()
lock.acquire()
"""
PRINTS = "while True:\n    print('x' * 1000)"
REPR = """
class Deep:
    def __repr__(self):
        return repr(Deep())

return Deep()
"""
ENDLESS_REPR = """
class Slow:
    def __repr__(self):
        while True:
            pass

return Slow()
"""
FIGURE = """
import matplotlib.pyplot as plt
plt.figure(figsize=(400, 400), dpi=100)
plt.plot([1, 2])
plt.show()
"""
RAISE_LIMITS = """
import resource
for name in ("DATA", "AS", "NPROC", "FSIZE"):
    kind = getattr(resource, f"RLIMIT_{name}")
    before = resource.getrlimit(kind)[1]
    try:
        resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (ValueError, OSError):
        continue
    if before != resource.RLIM_INFINITY:
        print("REACHED higher " + "limits")
"""


def one(body: str) -> Make:
    """The second of three tasks does it; the others are right."""
    return notebook(distance=f"{body.strip()}\n{RIGHT['distance']}")


FAULTS = [
    Fault(
        "endless-loop",
        "resources",
        "A function never ends.",
        one("while True:\n    pass"),
        stopped("distance", LATE),
        row=29,
    ),
    Fault(
        "no-interrupt",
        "resources",
        "An endless loop ignores every signal that can be ignored.",
        one(NO_INTERRUPT),
        stopped("distance", LATE),
        row=30,
    ),
    Fault(
        "interrupt-caught",
        "resources",
        "An endless loop catches the interrupt and goes on.",
        one(CAUGHT_INTERRUPT),
        stopped("distance", LATE),
        row=30,
    ),
    Fault(
        "os-exit",
        "resources",
        "A function ends Python with os._exit.",
        one("import os\nos._exit(0)"),
        stopped("distance", DEAD),
        row=31,
    ),
    Fault(
        "segfault",
        "resources",
        "A function reads address 0.",
        one("import ctypes\nctypes.string_at(0)"),
        stopped("distance", DEAD),
        row=31,
    ),
    Fault(
        "two-deaths",
        "resources",
        "Two of three functions end Python.",
        notebook(line="import os\nos.kill(os.getpid(), 9)", double="import os\nos.abort()"),
        full(status=(FLAGGED,), says=DEAD, line=0, double=0),
        row=31,
    ),
    Fault(
        "fork-bomb",
        "resources",
        "A function starts processes until it may not.",
        one(FORKS),
        full(status=(GRADED, FLAGGED), distance=0),
        row=32,
    ),
    Fault(
        "memory",
        "resources",
        "A function takes 4 GiB, more than its limit.",
        one(MEMORY),
        full(status=(GRADED, FLAGGED), distance=0),
        row=33,
    ),
    Fault(
        "many-prints",
        "resources",
        "20,000 lines are printed; the answers are right.",
        one("for number in range(20_000):\n    print(number)"),
        full(),
        row=34,
    ),
    Fault(
        "one-line",
        "resources",
        "One line of 60 MB is printed; the answers are right.",
        notebook(top="print('x' * 60_000_000)"),
        full(),
        row=34,
    ),
    Fault(
        "endless-print",
        "resources",
        "A function prints for ever.",
        one(PRINTS),
        stopped("distance", LATE),
        row=34,
    ),
    Fault(
        "disk",
        "resources",
        "All folders that can be written to are filled; the answers are right.",
        notebook(top=DISK),
        full(or_none=True),
        row=35,
    ),
    Fault(
        "threads",
        "resources",
        "A function starts 1,500 threads.",
        one(THREADS),
        full(status=(GRADED, FLAGGED), distance=(0.0, 2.0)),
        row=36,
    ),
    Fault(
        "input",
        "resources",
        "A cell asks for input; the answers are right.",
        notebook(top="name = input('Your name: ')"),
        full(),
        row=37,
    ),
    Fault(
        "daemon",
        "resources",
        "A process, started by a grandchild in a session of its own, should outlive the kernel.",
        notebook(top=DAEMONIZE),
        full(),
        row=38,
    ),
    Fault(
        "kill-9",
        "resources",
        "A function kills its own process.",
        one("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"),
        stopped("distance", DEAD),
    ),
    Fault(
        "sigstop",
        "resources",
        "A function stops its own process, which then neither runs nor ends.",
        one("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)"),
        stopped("distance"),
    ),
    Fault(
        "sleep-in-c",
        "resources",
        "A function sleeps in C and holds Python's lock.",
        one(C_SLEEP),
        stopped("distance", LATE),
    ),
    Fault(
        "deadlock",
        "resources",
        "A function waits for a lock that it holds.",
        one(LOCK),
        stopped("distance", LATE),
    ),
    Fault(
        "sys-exit",
        "resources",
        "The functions leave by sys.exit(0), KeyboardInterrupt and GeneratorExit.",
        notebook(
            line="import sys\nsys.exit(0)",
            distance="raise KeyboardInterrupt",
            double="raise GeneratorExit",
        ),
        full(status=(GRADED, FLAGGED), line=0, distance=0, double=0),
    ),
    Fault(
        "exit-cell",
        "resources",
        "A further cell says exit(); the answers are right.",
        notebook(top="exit()"),
        full(status=(GRADED, FLAGGED)),
    ),
    Fault(
        "recursion",
        "resources",
        "A function calls itself for ever.",
        one("return distance(p, q)"),
        full(status=(GRADED, FLAGGED), distance=0),  # the traceback takes its time
    ),
    Fault(
        "recursion-unlimited",
        "resources",
        "A function calls itself without Python's limit, until the stack ends.",
        one(
            "import sys\nsys.setrecursionlimit(10**9)\nsorted([1, 2], key=lambda v: distance(p, q))"
        ),
        full(status=(GRADED, FLAGGED), distance=0),
    ),
    Fault(
        "deep-repr",
        "resources",
        "A function returns an object whose repr never comes to an end.",
        one(REPR),
        full(distance=0),
    ),
    Fault(
        "endless-repr",
        "resources",
        "A function returns an object whose repr runs for ever.",
        one(ENDLESS_REPR),
        full(status=(GRADED, FLAGGED), distance=0),
    ),
    Fault(
        "memory-error",
        "resources",
        "A function asks for 8 TB at once.",
        one("np.zeros(10**12)\nnp.ones(10**12)"),
        full(status=(GRADED, FLAGGED), distance=0),
    ),
    Fault(
        "endless-generator",
        "resources",
        "A function returns a generator without an end.",
        one("import itertools\nreturn itertools.count()"),
        full(distance=0),
    ),
    Fault(
        "giant-figure",
        "resources",
        "A figure of 40,000 by 40,000 pixels; the answers are right.",
        notebook(top=FIGURE),
        full(status=(GRADED, FLAGGED)),
    ),
    Fault(
        "giant-result",
        "resources",
        "A cell shows an array of 3,000,000 numbers in full; the answers are right.",
        notebook(top="'[' + ', '.join(map(str, range(3_000_000))) + ']'"),
        full(),
    ),
    Fault(
        "many-figures",
        "resources",
        "A cell displays 300 tables of 20 kB; the answers are right.",
        notebook(
            top="from IPython.display import HTML, display\n"
            "for number in range(300):\n    display(HTML('<b>1</b>' * 2_500))"
        ),
        full(),
    ),
    Fault(
        "files-open",
        "resources",
        "A cell opens files until it may not; the answers are right.",
        notebook(top=DESCRIPTORS),
        full(or_none=True),
    ),
    Fault(
        "many-files",
        "resources",
        "A cell makes 60,000 empty files; the answers are right.",
        notebook(top=INODES),
        full(or_none=True),
    ),
    Fault(
        "limits-raised",
        "resources",
        "A cell lifts its own limits; the answers are right.",
        notebook(top=RAISE_LIMITS),
        full(),
    ),
]
