"""The system call filter: read by an interpreter for both architectures, then used for real."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from autograder.execution.inside import seccomp

X86, ARM = seccomp.ARCHITECTURES["x86_64"][1], seccomp.ARCHITECTURES["aarch64"][1]
MACHINES = ["x86_64", "aarch64"]
HERE = os.uname().machine

# From the kernel's tables (arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic), for
# a machine without the headers that the other test reads.
KNOWN = {
    "ptrace": (101, 117),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "keyctl": (250, 219),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "mount": (165, 40),
    "unshare": (272, 97),
    "setns": (308, 268),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "finit_module": (313, 273),
    "clone": (56, 220),
    "clone3": (435, 435),
    "ioctl": (16, 29),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "personality": (135, 92),
    "seccomp": (317, 277),
}
OTHERS = ("clone", "clone3", "ioctl", "socket", "socketpair", "personality", "seccomp")


def numbers() -> dict[str, tuple[int, int | None]]:
    """All numbers that the filter knows."""
    return seccomp.DENIED | {name: getattr(seccomp, name.upper()) for name in OTHERS}


# -- The numbers ------------------------------------------------------------------------------


def test_numbers_are_those_of_the_kernel() -> None:
    assert {name: numbers()[name] for name in KNOWN} == KNOWN
    for column in (0, 1):
        found = [n[column] for n in numbers().values() if n[column] is not None]
        assert len(found) == len(set(found)), "two names of one number"
        assert max(found) <= seccomp.LAST


@pytest.mark.parametrize(
    ("column", "headers"),
    [
        (0, ["x86_64-linux-gnu/asm/unistd_64.h", "asm/unistd_64.h"] if HERE == "x86_64" else []),
        (1, ["asm-generic/unistd.h"]),
    ],
    ids=MACHINES,
)
def test_numbers_are_those_of_the_headers(column: int, headers: list[str]) -> None:
    there = [p for p in (Path("/usr/include", h) for h in headers) if p.is_file()]
    if not there:  # the table above has been compared
        return
    known = {
        name: int(number)
        for name, number in re.findall(r"#define __NR_(\w+)\s+(\d+)", there[0].read_text())
    }
    for name, both in numbers().items():
        # A name may have been added to or dropped from the headers; its number never changes.
        assert known.get(name, both[column]) == both[column], name
    assert len(numbers().keys() & known.keys()) > 50


# -- The program, interpreted -----------------------------------------------------------------


def decide(code: bytes, number: int, architecture: int, *arguments: int) -> int:
    """What the kernel would do: 0 to allow, else the error number.

    Raises where the kernel would not take the program: a jump leads out, or a load is not whole.
    """
    padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("<IIQ6Q", number, architecture, 0, *(a % 2**64 for a in padded))
    lines = list(struct.iter_unpack("=HBBI", code))
    at = value = 0
    while True:
        operation, if_true, if_false, k = lines[at]
        at += 1
        if operation == seccomp.RETURN:
            assert k & 0xFFFF_0000 in (seccomp.ALLOW, seccomp.ERROR)
            return k & 0xFFFF
        if operation == seccomp.LOAD:
            assert k % 4 == 0
            (value,) = struct.unpack_from("<I", data, k)
            continue
        true = {
            seccomp.EQUAL: value == k,
            seccomp.GREATER: value > k,
            seccomp.ANY_BIT: value & k != 0,
        }[operation]
        at += if_true if true else if_false


@pytest.mark.parametrize("machine", MACHINES)
def test_the_program_is_one_the_kernel_takes(machine: str) -> None:
    code = seccomp.program(machine)
    assert code is not None and code == seccomp.program(machine)
    lines = list(struct.iter_unpack("=HBBI", code))
    assert len(lines) < 4096
    assert lines[-1] == (seccomp.RETURN, 0, 0, seccomp.ALLOW)
    for at, (operation, if_true, if_false, _) in enumerate(lines):
        known = {seccomp.LOAD, seccomp.EQUAL, seccomp.GREATER, seccomp.ANY_BIT, seccomp.RETURN}
        assert operation in known
        assert at + 1 + max(if_true, if_false) < len(lines) or operation == seccomp.RETURN


@pytest.mark.parametrize("machine", MACHINES)
def test_the_policy(machine: str) -> None:
    column, here = seccomp.ARCHITECTURES[machine]
    code = seccomp.program(machine)
    assert code is not None

    def said(call: tuple[int, int | None] | int, *arguments: int) -> int:
        number = call if isinstance(call, int) else call[column]
        assert number is not None
        return decide(code, number, here, *arguments)

    denied = {n[column] for n in seccomp.DENIED.values()} - {None}
    special = {numbers()[name][column] for name in OTHERS}
    for number in range(seccomp.LAST + 1):
        if number not in special:
            assert said(number) == (errno.EPERM if number in denied else 0), number
    assert said(seccomp.LAST + 1) == said(2**32 - 1) == errno.ENOSYS
    assert said(0x4000_0000 | numbers()["seccomp"][0]) == errno.ENOSYS  # the x32 ABI
    assert decide(code, 20, 0x4000_0003) == errno.ENOSYS  # i386
    assert decide(code, 20, ARM if here == X86 else X86) == errno.ENOSYS

    threads, fork = 0x3D0F00, 0x1200011  # what libc gives
    assert said(seccomp.CLONE, threads) == said(seccomp.CLONE, fork) == 0
    for bit in (17, 25, 26, 27, 28, 29, 30):
        assert said(seccomp.CLONE, fork | 1 << bit) == errno.EPERM
        assert said(seccomp.CLONE, 1 << bit | 1 << 40) == errno.EPERM
    assert said(seccomp.CLONE3) == errno.ENOSYS

    assert said(seccomp.IOCTL, 0, 0x5401) == 0  # TCGETS
    for request in (0x5412, 0x541C):
        assert said(seccomp.IOCTL, 0, request) == errno.EPERM
        assert said(seccomp.IOCTL, 0, request | 1 << 32) == errno.EPERM  # the kernel drops the bit
    for call in (seccomp.SOCKET, seccomp.SOCKETPAIR):
        allowed = {family for family in range(64) if said(call, family) == 0}
        assert allowed == {1, 2, 10, 16}
        assert said(call, 17) == errno.EAFNOSUPPORT  # AF_PACKET
    allowed = {p for p in (0, 8, 0x4_0000, 0x2_0000, 2**32 - 1) if not said(seccomp.PERSONALITY, p)}
    assert allowed == {0, 0x4_0000, 2**32 - 1}
    assert said(seccomp.SECCOMP, 1) == 0  # a stricter filter may follow


def test_other_machines_have_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seccomp.program("riscv64") is None
    monkeypatch.setattr(seccomp.sys, "maxsize", 2**31 - 1)
    assert seccomp.program() is None
    with pytest.raises(OSError, match="no seccomp filter for this architecture"):
        seccomp.install()
    assert HERE in seccomp.trouble()


# -- The program, used ------------------------------------------------------------------------

LOADED = f"""
import ctypes, errno, importlib.util, json, os, sys, threading
spec = importlib.util.spec_from_file_location("walls", {seccomp.__file__!r})
walls = importlib.util.module_from_spec(spec)
spec.loader.exec_module(walls)
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    done = libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
    return ctypes.get_errno() if done == -1 else 0
"""


def child(source: str, *flags: str) -> Any:
    """What a process of its own prints, read as JSON."""
    line = [sys.executable, *flags, "-c", LOADED + source]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def column() -> int:
    assert HERE in MACHINES, f"the filter is for {' and '.join(MACHINES)}, and this is {HERE}"
    return MACHINES.index(HERE)


def test_the_filter_works_here() -> None:
    assert seccomp.trouble() == ""


def test_denied_calls_fail(column: int) -> None:
    """With arguments that no call accepts: without the filter they do no harm, either."""
    source = f"""
if FILTER: walls.install()
print(json.dumps({{name: call(both[{column}], -1, -1, -1, -1, -1, -1)
    for name, both in walls.DENIED.items() if both[{column}] is not None}}))
"""
    flags = ("-I", "-S")  # the file alone, as inside the sandbox
    found = child(source.replace("FILTER", "True"), *flags)
    assert found == dict.fromkeys(found, errno.EPERM)
    without = child(source.replace("FILTER", "False"), *flags)
    assert sum(code != errno.EPERM for code in without.values()) > 20, "the kernel itself says no"


def test_calls_denied_for_an_argument(column: int) -> None:
    source = f"""
walls.install()
c = {column}
new_user, fork = 0x10000000, 17
child = libc.syscall(ctypes.c_long(walls.CLONE[c]), *map(ctypes.c_long, (fork, 0, 0, 0, 0)))
if child == 0: os._exit(0)
os.waitpid(child, 0)
print(json.dumps({{
    "namespace": call(walls.CLONE[c], new_user | fork, 0, 0, 0, 0),
    "clone3": call(walls.CLONE3[c], 0, 0),
    "newer": call(walls.LAST + 1, -1, -1, -1),
    "x32": call(0x40000000 | 39),
    "TIOCSTI": call(walls.IOCTL[c], 0, 0x5412, 0),
    "TIOCSTI and a bit": call(walls.IOCTL[c], 0, 1 << 32 | 0x5412, 0),
    "TIOCLINUX": call(walls.IOCTL[c], 0, 0x541C, 0),
    "AF_PACKET": call(walls.SOCKET[c], 17, 3, 0),
    "AF_ALG": call(walls.SOCKET[c], 38, 5, 0),
    "AF_VSOCK": call(walls.SOCKET[c], 40, 1, 0),
    "AF_UNIX": call(walls.SOCKET[c], 1, 1, 0),
    "AF_INET6": call(walls.SOCKET[c], 10, 1, 0),
    "READ_IMPLIES_EXEC": call(walls.PERSONALITY[c], 0x400000),
    "personality": call(walls.PERSONALITY[c], 0xFFFFFFFF),
    "fork": 0 if child > 0 else -1,
}}))
"""
    found = child(source, "-I", "-S")
    for name in ("namespace", "TIOCSTI", "TIOCSTI and a bit", "TIOCLINUX", "READ_IMPLIES_EXEC"):
        assert found.pop(name) == errno.EPERM, name
    for name in ("clone3", "newer", "x32"):
        assert found.pop(name) == errno.ENOSYS, name
    for name in ("AF_PACKET", "AF_ALG", "AF_VSOCK"):
        assert found.pop(name) == errno.EAFNOSUPPORT, name
    assert found == dict.fromkeys(["AF_UNIX", "AF_INET6", "personality", "fork"], 0)


def test_32_bit_calls_fail(column: int) -> None:
    """The kernel numbers them otherwise, so they would pass by the table."""
    if HERE != "x86_64":
        return  # read by the interpreter above: this Python can't make such a call
    source = """
import mmap
walls.install()
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex("b814000000cd80c3"))  # mov eax, 20 (getpid); int 0x80; ret
at = ctypes.addressof(ctypes.c_char.from_buffer(code))
print(ctypes.CFUNCTYPE(ctypes.c_int)(at)())
"""
    line = [sys.executable, "-I", "-S", "-c", LOADED + source]
    done = subprocess.run(line, capture_output=True, text=True)
    # A kernel without 32-bit calls ends the process.
    assert done.returncode == -11 or done.stdout == f"{-errno.ENOSYS}\n", done


def test_threads_that_run_already_are_filtered_too(column: int) -> None:
    source = f"""
go, found = threading.Event(), []
def late():
    go.wait()
    found.append(call(walls.DENIED["unshare"][{column}], 1))
thread = threading.Thread(target=late)
thread.start()
walls.install()
go.set()
thread.join()
print(json.dumps(found))
"""
    assert child(source, "-I", "-S") == [errno.EPERM]


def test_a_filter_on_one_thread_alone_is_told(column: int) -> None:
    source = f"""
go, ready = threading.Event(), threading.Event()
argument = walls._Program(len(walls.program()) // 8, walls.program())
def own():
    libc.prctl(38, *map(ctypes.c_ulong, (1, 0, 0, 0)))
    libc.syscall(*map(ctypes.c_long, (walls.SECCOMP[{column}], 1, 0)), ctypes.byref(argument))
    ready.set()
    go.wait()
thread = threading.Thread(target=own)
thread.start()
ready.wait()
try: walls.install()
except OSError as error: print(json.dumps([error.errno, str(error)]))
go.set()
"""
    code, message = child(source, "-I", "-S")
    assert code == errno.EBUSY and "refuses the seccomp filter" in message


WORK = """
walls.install()
import io, multiprocessing, pathlib, signal, socket, subprocess, tempfile, time
import numpy as np
import torch
import matplotlib
matplotlib.use("agg")
import matplotlib.pyplot as plt
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import shared_memory

def double(x): return 2 * x

def fill(tensor): tensor.fill_(7)

class Numbers(torch.utils.data.Dataset):
    def __len__(self): return 8
    def __getitem__(self, i): return torch.tensor(i)

if __name__ == "__main__":
    found = {}
    model = torch.nn.Linear(4, 2)
    model(torch.ones(3, 4)).sum().backward()
    found["torch"] = list(model.weight.grad.shape)
    for kind in ("fork", "spawn"):
        loader = torch.utils.data.DataLoader(
            Numbers(), batch_size=4, num_workers=1, multiprocessing_context=kind)
        found["DataLoader " + kind] = sum(int(batch.sum()) for batch in loader)
    shared = torch.zeros(3).share_memory_()
    process = multiprocessing.get_context("fork").Process(target=fill, args=(shared,))
    process.start(); process.join()
    found["shared tensor"] = shared.tolist()
    block = shared_memory.SharedMemory(create=True, size=16)
    np.ndarray(2, buffer=block.buf)[:] = 1
    block.close(); block.unlink()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        found["pool"] = pool.map(double, [1, 2])
    with ThreadPoolExecutor(2) as threads:
        found["threads"] = list(threads.map(double, [1, 2]))
    found["numpy"] = float(np.linalg.norm(np.ones((200, 200)) @ np.ones(200)) > 0)
    figure, axis = plt.subplots()
    axis.plot([1, 2]); figure.savefig(io.BytesIO(), format="png")
    found["subprocess"] = subprocess.run(["sh", "-c", "echo a | cat"], capture_output=True,
                                         text=True).stdout
    a, b = socket.socketpair(); a.send(b"x"); found["socketpair"] = b.recv(1).decode()
    found["interfaces"] = len(socket.if_nameindex()) > 0
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "x").write_text("x")
    signal.signal(signal.SIGALRM, lambda *_: found.update(alarm=True))
    signal.setitimer(signal.ITIMER_REAL, 0.01); time.sleep(0.1)
    print(json.dumps(found))
"""


def test_a_notebooks_work_goes_on(tmp_path: Path) -> None:
    script = tmp_path / "work.py"  # spawn needs a file
    script.write_text(LOADED + WORK)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "torch": [2, 4],
        "DataLoader fork": 28,
        "DataLoader spawn": 28,
        "shared tensor": [7.0, 7.0, 7.0],
        "pool": [2, 4],
        "threads": [2, 4],
        "numpy": 1.0,
        "subprocess": "a\n",
        "socketpair": "x",
        "interfaces": True,
        "alarm": True,
    }


def test_bubblewrap_takes_the_program(column: int) -> None:
    bwrap = shutil.which("bwrap")
    assert bwrap is not None, "no bubblewrap: run scripts/setup"
    code = seccomp.program()
    assert code is not None
    with tempfile.TemporaryFile() as file:
        file.write(code)
        file.seek(0)
        line = [bwrap, "--ro-bind", "/", "/", "--unshare-user", "--seccomp", str(file.fileno())]
        source = f"print(json.dumps(call(walls.DENIED['unshare'][{column}], 1)))"
        done = subprocess.run(
            [*line, sys.executable, "-I", "-S", "-c", LOADED + source],
            capture_output=True,
            text=True,
            pass_fds=[file.fileno()],
        )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == errno.EPERM
