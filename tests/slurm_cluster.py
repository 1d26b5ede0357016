"""A Slurm of one node, this machine, for as long as a test takes: Debian's slurm-wlm and munge."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "sinfo")
CONFIGURATION = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge.sock
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def lacking() -> str:
    """Why there can be no Slurm here; "" where there can."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        return f"no {', '.join(missing)} (Debian: slurm-wlm, munge)"
    return "" if os.geteuid() == 0 else "slurmd wants to be root"


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def slurm(root: Path) -> Iterator[dict[str, str]]:
    """The environment in which sbatch and squeue speak to it. root: a short path, for a socket."""
    host = socket.gethostname().partition(".")[0]
    for name in ("state", "spool"):
        (root / name).mkdir()
    text = CONFIGURATION.format(
        host=host, root=root, ports=free_ports(2), cores=len(os.sched_getaffinity(0))
    )
    (root / "slurm.conf").write_text(text)
    key = root / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o600)
    environment = os.environ | {"SLURM_CONF": str(root / "slurm.conf")}
    commands = (
        [
            *("munged", "--foreground", "--force", f"--socket={root}/munge.sock"),
            *(f"--key-file={key}", f"--pid-file={root}/munged.pid"),
            *(f"--log-file={root}/munged.log", f"--seed-file={root}/munge.seed"),
        ],
        ["slurmctld", "-D", "-L", str(root / "slurmctld.log")],
        ["slurmd", "-D", "-L", str(root / "slurmd.log")],
    )
    started: list[subprocess.Popen[bytes]] = []
    quiet = subprocess.DEVNULL
    try:
        for command in commands:
            started.append(subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet))
            time.sleep(0.5)
        wait_for_node(environment)
        yield environment
    finally:
        for process in reversed(started):
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()


def wait_for_node(environment: dict[str, str], seconds: float = 60) -> None:
    """Until the node takes jobs. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done = subprocess.run(
            ["sinfo", "-h", "-o", "%t"], env=environment, capture_output=True, text=True
        )
        if done.stdout.strip() == "idle":
            return
        time.sleep(0.2)
    raise TimeoutError("the node takes no jobs")


def submitted(script: str, environment: dict[str, str], folder: Path) -> None:
    """Hand a script to sbatch, in a folder, and wait until all its tasks have ended."""
    done = subprocess.run(
        ["sbatch", "--parsable"],
        input=script,
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    number = done.stdout.strip().partition(";")[0]
    end = time.monotonic() + 300
    while time.monotonic() < end:
        left = subprocess.run(
            ["squeue", "-h", "-j", number], env=environment, capture_output=True, text=True
        )
        if not left.stdout.strip():
            return
        time.sleep(0.3)
    raise TimeoutError("the job has not ended after 300 s")
