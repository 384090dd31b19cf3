"""Databases that trust fsync, and what is left of them after a kill."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

from ecfs.testing.programs.running import Stage, require, run

KILLS_COUNT = 4
ROWS_BEFORE_KILL_COUNT = 25
# Commits one row after the other, and says so only after each commit. EXTRA: else the removal of a
# rollback journal, which is the commit, is not synced, and a crash may undo the last row.
_WRITER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=30)
connection.execute("PRAGMA journal_mode=" + sys.argv[2])
connection.execute("PRAGMA synchronous=EXTRA")
connection.execute("CREATE TABLE IF NOT EXISTS t(n INTEGER PRIMARY KEY, data BLOB)")
connection.commit()
start = connection.execute("SELECT ifnull(max(n), 0) FROM t").fetchone()[0]
for number in range(start + 1, start + 100000):
    connection.execute("INSERT INTO t VALUES(?, zeroblob(?))", (number, number * 37 % 5000))
    if number % 5 == 0:
        connection.execute("DELETE FROM t WHERE n=?", (number - 4,))
    connection.commit()
    print(number, flush=True)
"""


def _start(database: Path, mode: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", _WRITER, str(database), mode],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def _told(writer: subprocess.Popen[str], count: int) -> int:
    """The number of the last of `count` rows of which the writer said that they are committed."""
    number = 0
    for _ in range(count):
        line = writer.stdout.readline() if writer.stdout else ""
        require(line != "", "the writer ended early")
        number = int(line)
    return number


def _end(writer: subprocess.Popen[str]) -> None:
    writer.send_signal(signal.SIGKILL)
    if writer.stdout:
        writer.stdout.close()
    writer.wait()


def _check(database: Path, number: int) -> None:
    """The database is whole and has everything up to a committed row."""
    connection = sqlite3.connect(database)
    try:
        found = connection.execute("PRAGMA integrity_check").fetchall()
        require(found == [("ok",)], f"integrity: {found[:3]}")
        newest = connection.execute("SELECT max(n) FROM t").fetchone()[0]
        require(newest >= number,
                f"{database.name}: row {number} was committed, {newest} is the newest")
    finally:
        connection.close()


def _killed_client(stage: Stage, mode: str) -> None:
    database = stage.mounted / f"{mode}.db"
    for _ in range(KILLS_COUNT * stage.scale):
        writer = _start(database, mode)
        try:
            number = _told(writer, ROWS_BEFORE_KILL_COUNT)
        finally:
            _end(writer)
        _check(database, number)


def _killed_mount(stage: Stage, mode: str) -> None:
    database = stage.mounted / f"mount-{mode}.db"
    for _ in range(stage.scale):
        writer = _start(database, mode)
        try:
            number = _told(writer, ROWS_BEFORE_KILL_COUNT)
            stage.pool.kill()
        finally:
            _end(writer)
        stage.pool.mount()
        _check(database, number)


def sqlite_killed(stage: Stage) -> None:
    """Clients are killed in the middle of their work, in both journal modes."""
    for mode in ("WAL", "DELETE"):
        _killed_client(stage, mode)


def sqlite_mount_killed(stage: Stage) -> None:
    """The mount itself is killed; what was committed is there after the next one."""
    for mode in ("WAL", "DELETE"):
        _killed_mount(stage, mode)


def postgres(stage: Stage) -> None:
    """initdb, pgbench, an immediate stop, recovery, and every checksum right."""
    data, sockets = stage.mounted / "postgres", stage.plain / "sockets"
    for path in (data, sockets):
        path.mkdir()
        shutil.chown(path, "postgres", "postgres")
    data.chmod(0o700)
    server = ("pg_ctl", "-D", data, "-w", "-l", stage.plain / "sockets" / "log", "-o",
              f"-k {sockets} -h '' -p 5499 -c shared_buffers=16MB -c max_wal_size=64MB")
    client = ("-h", sockets, "-p", "5499")

    def as_postgres(*command: object) -> str:
        return run(*command, cwd=stage.plain, user="postgres")

    as_postgres("initdb", "-D", data, "--data-checksums", "-A", "trust")
    as_postgres(*server, "start")
    as_postgres("createdb", *client, "bench")
    as_postgres("pgbench", *client, "-q", "-i", "-s", stage.scale, "bench")
    as_postgres("pgbench", *client, "-c", "4", "-j", "2", "-t", 100 * stage.scale, "bench")
    total = as_postgres("psql", *client, "-Atc", "SELECT count(*) FROM pgbench_history", "bench")
    require(total.strip() == str(400 * stage.scale), f"{total.strip()} transactions")
    as_postgres(*server, "-m", "immediate", "stop")
    as_postgres(*server, "start")
    again = as_postgres("psql", *client, "-Atc", "SELECT count(*) FROM pgbench_history", "bench")
    require(again == total, "transactions are lost after recovery")
    as_postgres(*server, "-m", "fast", "stop")
    as_postgres("pg_checksums", "--check", "-D", data)
    require(os.path.isdir(data / "base"), "the cluster is gone")
