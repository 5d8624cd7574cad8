"""The system calls that a notebook may not make, as a seccomp filter in classic BPF.

All is allowed but what a notebook never needs and kernels have been broken through. This file is
also loaded alone, inside the sandbox, so it imports nothing but the standard library.

Run as a program it puts the filter on itself and exits with 0 where the filter works.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import subprocess
import sys

# Numbers on x86_64 and aarch64, None where the call does not exist there.
DENIED: dict[str, tuple[int, int | None]] = {
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    # large and young parts of the kernel
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "userfaultfd": (323, 282),
    "vmsplice": (278, 75),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "fanotify_init": (300, 262),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
    "modify_ldt": (154, None),
    # namespaces and mounts
    "unshare": (272, 97),
    "setns": (308, 268),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "mount": (165, 40),
    "umount2": (166, 39),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    # the machine as a whole
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "acct": (163, 89),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "iopl": (172, None),
    "ioperm": (173, None),
}
# Denied for some values of an argument.
CLONE, CLONE3 = (56, 220), (435, 435)
IOCTL = (16, 29)
SOCKET, SOCKETPAIR = (41, 198), (53, 199)
PERSONALITY = (135, 92)
SECCOMP = (317, 277)

LAST = 462  # mseal, Linux 6.10: calls made after this list was are not there for a notebook
NEW_NAMESPACES = 0x7E02_0000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
TERMINAL_REQUESTS = (0x5412, 0x541C)  # TIOCSTI and TIOCLINUX type for the user of a terminal
FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK
PERSONALITIES = (0, 0x004_0000, 0xFFFF_FFFF)  # Linux's own, ADDR_NO_RANDOMIZE, "which is it?"

# uname's machine -> column of the tables above, AUDIT_ARCH_*
ARCHITECTURES = {"x86_64": (0, 0xC000_003E), "aarch64": (1, 0xC000_00B7)}

LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
EQUAL, GREATER, ANY_BIT = 0x15, 0x25, 0x45  # BPF_JMP | BPF_K | BPF_JEQ, BPF_JGT, BPF_JSET
RETURN = 0x06  # BPF_RET | BPF_K
ALLOW, ERROR = 0x7FFF_0000, 0x0005_0000  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO
NUMBER, ARCHITECTURE, ARGUMENT_0, ARGUMENT_1 = 0, 4, 16, 24  # offsets in struct seccomp_data

Line = tuple[int, int, int, int]  # code, lines to skip if true, lines to skip if false, value


def program(machine: str | None = None) -> bytes | None:
    """The filter as an array of struct sock_filter; None where it is not made for the machine.

    machine: as os.uname() says it, by default this one. It is what `bwrap --seccomp` reads.
    """
    if machine is None:
        # A 32-bit Python on a 64-bit kernel makes other calls than the kernel's name tells.
        machine = os.uname().machine if sys.maxsize > 2**32 and sys.platform == "linux" else ""
    if machine not in ARCHITECTURES:
        return None
    column, architecture = ARCHITECTURES[machine]
    deny = [(RETURN, 0, 0, ERROR | errno.EPERM)]
    absent = [(RETURN, 0, 0, ERROR | errno.ENOSYS)]
    code: list[Line] = [
        (LOAD, 0, 0, ARCHITECTURE),
        (EQUAL, 1, 0, architecture),  # 32-bit calls have other numbers
        *absent,
        (LOAD, 0, 0, NUMBER),
        (GREATER, 0, 1, LAST),  # the x32 ABI, too: it sets bit 30
        *absent,
    ]
    for numbers in DENIED.values():
        number = numbers[column]
        if number is not None:
            code += [(EQUAL, 0, 1, number), *deny]
    # libc takes clone where there is no clone3, whose flags a filter can't see.
    code += [(EQUAL, 0, 1, CLONE3[column]), *absent]
    # The kernel reads these arguments as 32 bits, so the filter does, too.
    code += _on(CLONE[column], ARGUMENT_0, [(ANY_BIT, 0, 1, NEW_NAMESPACES), *deny])
    terminal = [line for r in TERMINAL_REQUESTS for line in [(EQUAL, 0, 1, r), *deny]]
    code += _on(IOCTL[column], ARGUMENT_1, terminal)
    family = [(RETURN, 0, 0, ERROR | errno.EAFNOSUPPORT)]
    for call in (SOCKET, SOCKETPAIR):
        code += _on(call[column], ARGUMENT_0, [*_unless(FAMILIES), *family])
    code += _on(PERSONALITY[column], ARGUMENT_0, [*_unless(PERSONALITIES), *deny])
    code.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("=HBBI", *line) for line in code)


def _on(number: int, argument: int, then: list[Line]) -> list[Line]:
    """Lines that look at an argument of one call; what they don't return is allowed."""
    body = [(LOAD, 0, 0, argument), *then, (RETURN, 0, 0, ALLOW)]
    return [(EQUAL, 0, len(body), number), *body]


def _unless(values: tuple[int, ...]) -> list[Line]:
    """Allow these values."""
    return [line for v in values for line in [(EQUAL, 0, 1, v), (RETURN, 0, 0, ALLOW)]]


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install() -> None:
    """Put the filter on this process, all its threads, and all that they start, for good.

    Raises OSError where there is no filter for this machine or its kernel takes none.
    """
    code = program()
    if code is None:
        raise OSError(errno.ENOSYS, "there is no seccomp filter for this architecture")
    libc = ctypes.CDLL(None, use_errno=True)
    number = SECCOMP[ARCHITECTURES[os.uname().machine][0]]
    if libc.prctl(38, *map(ctypes.c_ulong, (1, 0, 0, 0))):  # PR_SET_NO_NEW_PRIVS
        raise OSError(ctypes.get_errno(), "the kernel refuses PR_SET_NO_NEW_PRIVS")
    argument = _Program(len(code) // 8, code)
    # SECCOMP_SET_MODE_FILTER with SECCOMP_FILTER_FLAG_TSYNC
    done = libc.syscall(*map(ctypes.c_long, (number, 1, 1)), ctypes.byref(argument))
    if done:  # above 0 it is a thread that has a filter of its own
        why = ctypes.get_errno() if done < 0 else errno.EBUSY
        raise OSError(why, f"the kernel refuses the seccomp filter ({os.strerror(why)})")


def trouble() -> str:
    """Try the filter in a process of its own: "" if it works there, else why not."""
    if program() is None:
        name = os.uname().machine if hasattr(os, "uname") else sys.platform
        return f"there is no filter for {name} on {sys.platform}"
    line = [sys.executable, "-I", "-S", os.path.abspath(__file__)]
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    said = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
    return "" if done.returncode == 0 else said[-1]


def _main() -> int:
    install()
    libc = ctypes.CDLL(None, use_errno=True)
    # Without the filter this would be EINVAL.
    return 0 if libc.unshare(0x1) == -1 and ctypes.get_errno() == errno.EPERM else 1


if __name__ == "__main__":
    sys.exit(_main())
