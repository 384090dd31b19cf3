"""A server of NFS over a mount: it knows files by handles, and reads directories by cookies."""

import hashlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ecfs.base.units import MIB
from ecfs.testing.programs.running import Stage, require, run, search_path

NAMES_COUNT = 2000
PASSING_COUNT = 300
BIG_LEN = 8 * MIB
START_WAIT_S = 60.0
PORTS = {"NFS_Port": 12049, "MNT_Port": 12050, "NLM_Port": 12051, "Rquota_Port": 12052}
QUERY = "nfsport={NFS_Port}&mountport={MNT_Port}".format(**PORTS)
_CONFIGURATION = """
NFS_CORE_PARAM {{ Protocols = 3, 4; {ports} Enable_NLM = false; Enable_RQUOTA = false; }}
NFSv4 {{ Graceless = true; }}
EXPORT {{ Export_Id = 7; Path = {path}; Pseudo = /pool; Access_Type = RW;
    Squash = No_Root_Squash; SecType = sys; Filesystem_Id = 7.7; FSAL {{ Name = VFS; }} }}
"""


def nfs(stage: Stage) -> None:
    """NFS-Ganesha serves a directory of the mount: listed while it changes, read, and written.

    By version 3, and what is read by version 4 too. The client writes by version 3 alone, since
    its version 4 cannot write through this server, whatever it exports.
    """
    base = stage.mounted / "export"
    base.mkdir()
    many = base / "many"
    many.mkdir()
    names = {f"stay{number:05d}" for number in range(NAMES_COUNT * stage.scale)}
    for name in names:
        (many / name).write_text(name)
    content = random.Random(1).randbytes(BIG_LEN * stage.scale)
    (base / "big").write_bytes(content)
    sent = stage.plain / "sent"
    sent.write_bytes(content[::-1])
    with _server(base, stage.plain):
        _check_listing(base, many, names)
        for version, path in ((3, str(base)), (4, "/pool")):
            got = subprocess.run(["nfs-cat", _url(version, f"{path}/big")], check=True,
                                 stdout=subprocess.PIPE).stdout
            require(hashlib.sha256(got).digest() == hashlib.sha256(content).digest(),
                    f"version {version} shows other bytes")
        run("nfs-cp", sent, _url(3, f"{base}/sent"))
        require((base / "sent").read_bytes() == sent.read_bytes(), "what was sent did not arrive")
    # The next server begins with nothing but the handles that its clients have.
    with _server(base, stage.plain):
        run("nfs-cp", _url(3, f"{base}/sent"), stage.plain / "back")
        require((stage.plain / "back").read_bytes() == sent.read_bytes(), "it came back otherwise")


def _check_listing(base: Path, many: Path, names: set[str]) -> None:
    for version, path in ((3, str(base)), (4, "/pool")):
        with subprocess.Popen(["nfs-ls", _url(version, f"{path}/many")], text=True,
                              stdout=subprocess.PIPE) as listing:
            for number in range(PASSING_COUNT):
                (many / f"passing{number}").touch()
            for number in range(PASSING_COUNT):
                (many / f"passing{number}").unlink()
            shown, _ = listing.communicate()
        require(listing.returncode == 0, f"version {version} lists nothing")
        stayed = [word for line in shown.splitlines()
                  if (word := line.split()[-1]).startswith("stay")]
        require(sorted(stayed) == sorted(names),
                f"version {version} lists {len(stayed)} of {len(names)} names, "
                f"{len(set(stayed))} of them different")


def _url(version: int, path: str) -> str:
    return f"nfs://127.0.0.1{path}?version={version}&{QUERY}"


@contextmanager
def _server(base: Path, folder: Path) -> Iterator[None]:
    """NFS-Ganesha, and the port mapper that it wants, for as long as the block runs."""
    configuration, log = folder / "ganesha.conf", folder / "ganesha.log"
    configuration.write_text(_CONFIGURATION.format(
        path=base, ports=" ".join(f"{name} = {port};" for name, port in PORTS.items())))
    log.write_text("")
    environment = {**os.environ, "PATH": search_path()}
    mapper = subprocess.Popen(["rpcbind", "-f", "-w"], env=environment, stderr=subprocess.DEVNULL)
    server = subprocess.Popen(
        ["ganesha.nfsd", "-F", "-f", str(configuration), "-L", str(log), "-p",
         str(folder / "ganesha.pid")], env=environment)
    try:
        until = time.monotonic() + START_WAIT_S
        while "NFS SERVER INITIALIZED" not in log.read_text():
            require(server.poll() is None and time.monotonic() < until,
                    f"the server does not start: {log.read_text()[-2000:]}")
            with suppress(subprocess.TimeoutExpired):
                server.wait(0.05)
        yield
    finally:
        for process in (server, mapper):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(START_WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
