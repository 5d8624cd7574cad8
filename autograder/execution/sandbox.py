"""What untrusted code may see and use: one bubblewrap command line and the limits around it.

bubblewrap is the tool, its arguments are the policy. Inside there is no network, no file of the
host but the system, the Python environment, the `practical_dl` package and the data cache (all
read-only), an empty home, and memory-backed folders of a fixed size to write to. The process tree
is its own PID namespace: nothing outlives it.

Where the caller is root, the code inside runs as uid 1000 without any capability, but the kernel
still counts it as the host's root for files that are bound in; so nothing secret is bound, and
RLIMIT_NPROC, which the kernel does not hold against root, is backed by the watchdog in `kernel`.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

HOME = "/home/student"
WORK = f"{HOME}/work"
# What of this package runs in the sandbox.
# What is shown to a sandbox and runs in it.
LAUNCHER, *_ = INSIDE = [
    Path(__file__).with_name("inside") / f"{name}.py" for name in ("launcher", "referee", "seccomp")
]
# Shared libraries count for RLIMIT_AS but use little memory: `import torch` (the CUDA build)
# maps 3.1 GiB, of which 0.75 GiB count for RLIMIT_DATA. So RLIMIT_DATA holds the limit on memory,
# and RLIMIT_AS, with this much on top, only stops absurd mappings.
ADDRESS_SPACE_EXTRA_MIB = 16 * 1024


class SandboxError(Exception):
    """The sandbox can't do what was asked; the message says why and what to do."""


@dataclass(frozen=True)
class Limits:
    """What a notebook may use.

    cell_seconds, notebook_seconds, exam_seconds: wall time. memory_mib: of one process; all of a
    notebook's processes together may hold a quarter more (`together_mib`). file_mib: of one file.
    work_mib: each of the home with the working folder, /tmp and /dev/shm. processes: processes
    and threads together. output_bytes: kept of one cell's output; shown_bytes: of all cells'.
    """

    cell_seconds: float = 60
    notebook_seconds: float = 600
    exam_seconds: float = 300  # its inputs go through a student's network, on one core
    memory_mib: int = 4096
    file_mib: int = 256
    work_mib: int = 512
    processes: int = 256
    output_bytes: int = 1_000_000
    shown_bytes: int = 20_000_000

    @property
    def together_mib(self) -> float:
        """Resident memory of all processes together, shared libraries counted in each."""
        return 1.25 * self.memory_mib + 256


@dataclass(frozen=True)
class Probe:
    """Whether this machine can sandbox; if not, why, and what to do about it."""

    available: bool
    reason: str
    remedy: str


@functools.cache
def probe() -> Probe:
    """Try a real sandbox with a real command in it. The answer is kept for the process."""
    if shutil.which("bwrap") is None:
        return Probe(False, "bubblewrap (bwrap) is not installed", "apt install bubblewrap")
    if shutil.which("prlimit") is None:
        return Probe(False, "prlimit is not installed", "apt install util-linux")
    with tempfile.TemporaryDirectory() as folder:
        try:
            line = command(["true"], work=None, connection_dir=Path(folder), limits=Limits())
            done = subprocess.run(line, capture_output=True, text=True, timeout=30)
        except (OSError, SandboxError, subprocess.TimeoutExpired) as error:
            return Probe(False, str(error), "run `bwrap --help` to see whether bubblewrap works")
    if done.returncode == 0:
        return Probe(True, "", "")
    reason = done.stderr.strip() or f"bwrap ended with {done.returncode}"
    return Probe(False, reason, _remedy(reason))


def _remedy(reason: str) -> str:
    if "uid map" in reason or "namespace" in reason or "RTM_NEWADDR" in reason:
        return (
            "this system forbids unprivileged user namespaces: give bwrap an AppArmor profile "
            "that allows `userns`, or, on a machine of your own, run "
            "`sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0` "
            "(older systems: kernel.unprivileged_userns_clone=1)"
        )
    if "mount" in reason:
        return (
            "this container forbids mounts: start it with --security-opt seccomp=unconfined "
            "--security-opt systempaths=unconfined, or grade outside the container"
        )
    return "run `bwrap --ro-bind / / --unshare-all true` by hand to see what it says"


def rlimits(limits: Limits) -> dict[str, int]:
    """The limits that the kernel holds each process to, by their names in `resource`."""
    mib = 2**20
    return {
        "data": limits.memory_mib * mib,
        "as": (limits.memory_mib + ADDRESS_SPACE_EXTRA_MIB) * mib,
        "fsize": limits.file_mib * mib,
        "nproc": limits.processes,
        "core": 0,
    }


def limited(argv: Sequence[str], limits: Limits) -> list[str]:
    """argv under those limits."""
    return ["prlimit", *(f"--{n}={v}" for n, v in rlimits(limits).items()), "--", *argv]


def threads(number: int) -> dict[str, str]:
    """The variables that give NumPy and torch so many threads.

    Threads that wait for each other sleep: where cores are busy, one that spins takes the core from
    the one that it waits for.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {**dict.fromkeys(names, str(number)), "OMP_WAIT_POLICY": "PASSIVE"}


def environment() -> dict[str, str]:
    """All of the variables that code in the sandbox sees."""
    variables = {
        "PATH": f"{sys.prefix}/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": HOME,
        "LANG": "C.UTF-8",
        **threads(1),  # as many notebooks run at once as there are cores
        "PYTHONDONTWRITEBYTECODE": "1",
        "PIP_NO_INDEX": "1",  # there is no network: pip says so at once
    }
    cache = data_folder()
    if cache is not None:
        variables["PRACTICAL_DL_DATA"] = str(cache)
    return variables


def command(
    argv: Sequence[str],
    *,
    work: Path | None,
    connection_dir: Path,
    limits: Limits,
    data: bool = True,
) -> list[str]:
    """The command that runs argv in a sandbox.

    work: a folder whose files are copied into the working folder; it is not itself writable from
    inside. connection_dir: the one folder of the host that is; it must exist and hold nothing else.
    data: whether the data cache is there to be read. Raises SandboxError.
    """
    line = [*_walls(), "--dev", "/dev"]
    if _has_option(line[0], "--disable-userns"):
        line += ["--disable-userns"]
    line += _mounts(limits.work_mib, connection_dir)
    if not data and data_folder() is not None:
        line += ["--tmpfs", str(data_folder()), "--remount-ro", str(data_folder())]
    inner = limited(argv, limits)
    if work is not None:
        line += ["--ro-bind", str(work), "/run/files"]
        inner = ["sh", "-c", 'cp -R /run/files/. . && exec "$@"', "sh", *inner]
    line += ["--chdir", WORK, "--remount-ro", "/dev", "--remount-ro", "/"]
    return [*line, "--", *inner]


def parent_command(argv: Sequence[str], *, base: Path) -> list[str]:
    """The command that runs the parent of forked kernels in a sandbox.

    It keeps three capabilities over its own namespaces, to give each fork new ones; the forks keep
    none. base: a folder of the host that holds a folder for each kernel's connection.
    Raises SandboxError.
    """
    line = _walls()
    for capability in ("SYS_ADMIN", "NET_ADMIN", "SETPCAP"):
        line += ["--cap-add", f"CAP_{capability}"]
    # bubblewrap's own --dev would put the mounts into the hands of another user namespace than the
    # one that the forks belong to.
    for name in ("null", "zero", "full", "random", "urandom"):
        line += ["--dev-bind", f"/dev/{name}", f"/dev/{name}"]
    for name, target in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        line += ["--symlink", f"/proc/self/fd{target}", f"/dev/{name}"]
    line += ["--dir", "/dev/pts", "--symlink", "pts/ptmx", "/dev/ptmx"]  # each fork mounts its own
    line += _mounts(64, base)
    return [*line, "--chdir", WORK, "--remount-ro", "/", "--", *argv]


def _walls() -> list[str]:
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise SandboxError("bubblewrap (bwrap) is not installed: apt install bubblewrap")
    line = [bwrap, "--unshare-all", "--unshare-user", "--uid", "1000", "--gid", "1000"]
    line += ["--cap-drop", "ALL", "--die-with-parent", "--new-session", "--hostname", "localhost"]
    line += ["--clearenv"]
    for name, value in environment().items():
        line += ["--setenv", name, value]
    return [*line, "--proc", "/proc"]


def _mounts(work_mib: int, connection_dir: Path) -> list[str]:
    """What there is to read, and where to write."""
    line = []
    # Before the binds: a checkout or an environment may itself lie below one of these.
    for folder in ("/dev/shm", "/tmp", HOME):
        line += ["--size", str(work_mib * 2**20), "--tmpfs", folder]
    line += ["--dir", WORK]
    line += _system()
    for path in binds():
        line += ["--ro-bind", str(path), str(path)]
    fonts = _font_cache()
    if fonts is not None:  # without it, matplotlib looks through all fonts at its first import
        line += ["--ro-bind", str(fonts), _fonts_inside(fonts)]
    for path in INSIDE:
        line += ["--ro-bind", str(path), f"/run/inside/{path.name}"]
    return [*line, "--bind", str(connection_dir), str(connection_dir)]


def binds() -> list[Path]:
    """The folders of the host that code inside may read, besides the system's."""
    paths = [Path(sys.base_prefix), Path(sys.prefix), package_folder(), data_folder()]
    return _outermost(paths)


def below_writable() -> list[str]:
    """Those paths inside that lie below a folder which each fork gets anew."""
    fonts = _font_cache()
    paths = [str(p) for p in binds()] + ([_fonts_inside(fonts)] if fonts else [])
    return [p for p in paths if p.startswith(("/tmp/", "/dev/shm/", f"{HOME}/"))]


def _fonts_inside(fonts: Path) -> str:
    return f"{HOME}/.cache/matplotlib/{fonts.name}"


def _system() -> list[str]:
    """The system's programs and libraries, and the few files of /etc that they read."""
    line = ["--ro-bind", "/usr", "/usr"]
    for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"):
        path = Path(name)
        if path.is_symlink():
            line += ["--symlink", os.readlink(path), name]
        elif path.is_dir():
            line += ["--ro-bind", name, name]
    for name in (
        "/etc/ld.so.cache",
        "/etc/alternatives",
        "/etc/fonts",
        "/etc/ssl/certs",
        "/etc/localtime",
        "/sys/devices/system/cpu",  # torch asks it which processor this is
    ):
        line += ["--ro-bind-try", name, name]
    for path in sorted(_generated_etc().iterdir()):
        line += ["--ro-bind", str(path), f"/etc/{path.name}"]
    return line


_etc: tempfile.TemporaryDirectory[str] | None = None


def _generated_etc() -> Path:
    """Files of /etc that name no user and no machine of the host."""
    global _etc
    if _etc is None or not Path(_etc.name).is_dir():
        _etc = tempfile.TemporaryDirectory()
        for name, text in {
            "passwd": f"student:x:1000:1000::{HOME}:/bin/sh\n",
            "group": "student:x:1000:\n",
            "hosts": "127.0.0.1 localhost\n::1 localhost\n",
            "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
        }.items():
            Path(_etc.name, name).write_text(text)
    return Path(_etc.name)


def package_folder() -> Path | None:
    """The folder of `practical_dl`, and nothing beside it: its repository holds the answers."""
    spec = importlib.util.find_spec("practical_dl")
    return Path(spec.origin).parent if spec and spec.origin else None


@functools.cache
def data_folder() -> Path | None:
    """The data cache, where there is one."""
    import pooch  # here: it is slow to import

    path = Path(os.environ.get("PRACTICAL_DL_DATA") or pooch.os_cache("practical_dl")).absolute()
    if not path.is_dir():
        return None
    inside = [Path.home(), *([package_folder()] if package_folder() else [])]
    if any(p.is_relative_to(path) for p in inside):
        raise SandboxError(
            f"PRACTICAL_DL_DATA is {path}, which holds more than data; name a folder of its own"
        )
    return path


@functools.cache
def _font_cache() -> Path | None:
    """matplotlib's list of fonts, made now where it is missing."""
    try:
        import matplotlib
        from matplotlib import font_manager
    except ImportError:
        return None
    name = f"fontlist-v{font_manager.FontManager.__version__}.json"
    path = Path(matplotlib.get_cachedir(), name)
    return path if path.is_file() else None


@functools.cache
def _has_option(bwrap: str, option: str) -> bool:
    return option in subprocess.run([bwrap, "--help"], capture_output=True, text=True).stdout


def _outermost(paths: Iterable[Path | None]) -> list[Path]:
    """The paths without those below another one or below /usr, which is there already."""
    found = [Path("/usr")]
    for path in sorted({p for p in paths if p is not None}, key=lambda p: len(p.parts)):
        if not any(path.is_relative_to(f) for f in found):
            found.append(path)
    return found[1:]


@functools.cache
def versions() -> str:
    """The versions that a result depends on: Python's, torch's, NumPy's."""
    parts = [f"python {sys.version.split()[0]}"]
    for name in ("torch", "numpy"):
        try:
            parts.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            parts.append(f"{name} none")
    return ", ".join(parts)
