"""Jupyter kernels in a sandbox: a kernel provisioner, and managers that are ready to use."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager, KernelManager
from jupyter_client.provisioning import LocalProvisioner
from traitlets import Dict, Unicode

from autograder.execution import sandbox
from autograder.execution.sandbox import Limits, SandboxError

Manager = TypeVar("Manager", bound=KernelManager)
NAME = "practical-dl-sandbox"  # as pyproject.toml registers it


class SandboxProvisioner(LocalProvisioner):
    """Starts a kernel inside bubblewrap; it is spoken to through sockets in one private folder.

    limits: the fields of `Limits`. work: a folder whose files are copied to where the kernel
    starts, "" for none. Both come from the kernel spec's `kernel_provisioner.config`.
    """

    limits = Dict()
    work = Unicode("")

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Move the connection to the private folder, then wrap the kernel's command."""
        manager = self.parent
        if manager is None:
            raise SandboxError("a sandboxed kernel needs a kernel manager")
        folder = use_private_sockets(manager)
        kwargs = await super().pre_launch(**kwargs)
        kwargs["cmd"] = sandbox.command(
            kwargs["cmd"],
            work=Path(self.work) if self.work else None,
            connection_dir=folder,
            limits=Limits(**self.limits),
        )
        kwargs["cwd"] = "/"  # where the host's side waits; the kernel starts elsewhere
        return kwargs

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


def use_private_sockets(manager: KernelManager) -> Path:
    """Have the manager speak through Unix sockets in a folder of its own; return the folder.

    Has no effect the second time (a restart keeps the folder).
    """
    folder = getattr(manager, "_private_folder", None)
    if folder is None or not folder.is_dir():
        base = tempfile.gettempdir()
        # A Unix socket's path has at most 107 bytes.
        folder = Path(tempfile.mkdtemp(prefix="k", dir=base if len(base) < 60 else "/tmp"))
        folder = Path(os.path.realpath(folder))
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
) -> Manager:
    """A manager of a Python kernel of this very environment, ready for nbclient or to start.

    sandboxed: False runs the kernel as the caller, with the limits of `prlimit` alone.
    work: a folder whose files the sandboxed kernel finds where it starts; without a sandbox, give
    it as `cwd` when you start the kernel.
    """
    limits = limits or Limits()
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = KernelSpec(display_name="Python 3", language="python", interrupt_mode="message")
    if sandboxed:
        spec.argv = argv
        config = {"limits": asdict(limits), "work": str(work or "")}
        spec.metadata = {"kernel_provisioner": {"provisioner_name": NAME, "config": config}}
    else:
        spec.argv = sandbox.limited(argv, limits)
    manager = manager_class(kernel_name="python3")
    manager._kernel_spec = spec
    use_private_sockets(manager)
    return manager
