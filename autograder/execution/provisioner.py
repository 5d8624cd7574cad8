"""Jupyter kernels in a sandbox: a kernel provisioner, and managers that are ready to use."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager, KernelManager
from jupyter_client.provisioning import LocalProvisioner
from traitlets import Bool, Dict, List, Unicode

from autograder.execution import parent, sandbox
from autograder.execution.parent import USUAL, ParentError
from autograder.execution.sandbox import Limits, SandboxError

Manager = TypeVar("Manager", bound=KernelManager)
NAME = "practical-dl-sandbox"  # as pyproject.toml registers it


class SandboxProvisioner(LocalProvisioner):
    """Starts a kernel in a sandbox; it is spoken to through sockets in one private folder.

    A Python kernel of this environment is forked from the process's preloaded parent. Any other
    one, and all of them where that can't be had, start cold, each in a bubblewrap of its own:
    `cold` tells why. limits: the fields of `Limits`. work: a folder whose files are copied to where
    the kernel starts, "" for none. preload: modules that the notebook is going to import, by
    default all that any may. data: whether the data cache is there to be read. They come from the
    kernel spec's `kernel_provisioner.config`.
    """

    limits = Dict()
    work = Unicode("")
    preload = List(Unicode(), default_value=USUAL)
    data = Bool(True)
    cold = ""

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Move the connection to the private folder and make the command of a cold start."""
        manager = self.parent
        if manager is None:
            raise SandboxError("a sandboxed kernel needs a kernel manager")
        self._warm = self._current_parent()
        folder = use_private_sockets(manager, self._warm.base if self._warm else None)
        kwargs = await super().pre_launch(**kwargs)
        self._arguments = _ipykernel_arguments(kwargs["cmd"])
        if self._arguments is None:
            self._warm, self.cold = None, "it is no Python kernel of this environment"
        kwargs["cmd"] = sandbox.command(
            kwargs["cmd"] if self._arguments is None else self._cold_command(),
            work=Path(self.work) if self.work else None,
            connection_dir=folder,
            limits=Limits(**self.limits),
            data=self.data,
        )
        kwargs["cwd"] = "/"  # where the host's side waits; the kernel starts elsewhere
        return kwargs

    def _cold_command(self) -> list[str]:
        launcher = [sys.executable, "/run/inside/launcher.py", "cold"]
        return [*launcher, json.dumps(list(self.preload)), *self._arguments]

    def _current_parent(self) -> parent.Parent | None:
        try:
            return parent.current()
        except ParentError as error:
            self.cold = str(error)
            return None

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> dict[str, Any]:
        """Fork; where that fails, start the command, and from then on do so at once."""
        enter = getattr(self.parent, "_enter", None)
        if self._warm is not None:
            folder = self.parent._private_folder
            files = None
            if self.work:
                files = shutil.copytree(self.work, folder / "files", dirs_exist_ok=True)
            try:
                limits = Limits(**self.limits)
                self.process = self._warm.fork(
                    folder,
                    self._arguments,
                    limits,
                    files,
                    self.preload,
                    enter or (lambda pid: None),
                    data=self.data,
                )
                self.pid = self.process.pid
                return self.connection_info
            except ParentError as error:
                self.cold = str(error)
                parent.give_up(self.cold)
                if files is not None:
                    shutil.rmtree(files)
        return await super().launch_kernel(cmd, **kwargs)

    async def send_signal(self, signum: int) -> None:
        """Interrupt by message: a signal would reach bubblewrap, not the kernel behind it."""
        if self.process is None:
            return
        if signum == signal.SIGINT:
            manager = self.parent
            manager._connect_control_socket()
            manager.session.send(
                manager._control_socket, manager.session.msg("interrupt_request", content={})
            )
        elif signum == 0 or self.process.poll() is None:
            os.kill(self.process.pid, signum)

    async def kill(self, restart: bool = False) -> None:
        """Kill bubblewrap; its PID namespace dies with it."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()

    async def terminate(self, restart: bool = False) -> None:
        """The same as kill: nothing in there is worth waiting for."""
        await self.kill(restart=restart)

    async def wait(self) -> int | None:
        """Wait for the end, looking more often than the parent class does."""
        while self.process is not None and self.process.poll() is None:
            await asyncio.sleep(0.005)
        return await super().wait()

    async def cleanup(self, restart: bool = False) -> None:
        """Remove the private folder."""
        await super().cleanup(restart=restart)
        if not restart and self.parent is not None:
            remove_private_sockets(self.parent)


def _ipykernel_arguments(command: list[str]) -> list[str] | None:
    """The arguments of this environment's ipykernel; None for another command."""
    ours = os.path.dirname(command[0]) in ("", os.path.dirname(sys.executable))
    if ours and os.path.basename(command[0]).startswith("python"):
        for number, word in enumerate(command[1:], 1):
            if word in ("ipykernel_launcher", "ipykernel"):
                return command[number + 1 :]
    return None


def use_private_sockets(manager: KernelManager, base: Path | None = None) -> Path:
    """Have the manager speak through Unix sockets in a folder of its own; return the folder.

    base: where to make it. Has no effect the second time (a restart keeps the folder).
    """
    folder = getattr(manager, "_private_folder", None)
    if folder is None or not folder.is_dir():
        base = base or Path(tempfile.gettempdir())
        # A Unix socket's path has at most 107 bytes.
        base = base if len(str(base)) < 60 else Path("/tmp")
        folder = Path(os.path.realpath(tempfile.mkdtemp(prefix="k", dir=base)))
        manager._private_folder = folder
        manager.transport = "ipc"
        manager.cache_ports = False
        manager.connection_file = str(folder / "k.json")
        manager.ip = str(folder / "s")
    return folder


def remove_private_sockets(manager: KernelManager) -> None:
    """Undo `use_private_sockets`."""
    folder = getattr(manager, "_private_folder", None)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def kernel_manager(
    manager_class: type[Manager] = AsyncKernelManager,
    *,
    sandboxed: bool = True,
    limits: Limits | None = None,
    work: Path | None = None,
    preload: Sequence[str] = USUAL,
    data: bool = True,
    enter: Callable[[int], None] | None = None,
) -> Manager:
    """A manager of a Python kernel of this very environment, ready for nbclient or to start.

    sandboxed: False runs the kernel as the caller, with the limits of `prlimit` alone.
    work: a folder whose files the sandboxed kernel finds where it starts; without a sandbox, give
    it as `cwd` when you start the kernel. preload: modules that it is going to import. data:
    whether a sandboxed kernel sees the data cache. enter: called with the number of the kernel's
    first process before that does anything.
    """
    limits = limits or Limits()
    connection = ["-f", "{connection_file}"]
    spec = KernelSpec(display_name="Python 3", language="python", interrupt_mode="message")
    if sandboxed:
        spec.argv = [sys.executable, "-m", "ipykernel_launcher", *connection]
        config = {"limits": asdict(limits), "work": str(work or "")}
        config |= {"preload": list(preload), "data": data}
        spec.metadata = {"kernel_provisioner": {"provisioner_name": NAME, "config": config}}
    else:
        launcher = [sys.executable, str(sandbox.LAUNCHER), "unsafe", "[]"]
        spec.argv = sandbox.limited([*launcher, *connection], limits)
    manager = manager_class(kernel_name="python3")
    manager._kernel_spec = spec
    manager._enter = enter
    if not sandboxed:
        use_private_sockets(manager)
    return manager
