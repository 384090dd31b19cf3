"""All programs, by name."""

from ecfs.testing.programs.building import archives, git, make, rsync, venv
from ecfs.testing.programs.databases import postgres, sqlite_killed, sqlite_mount_killed
from ecfs.testing.programs.exporting import nfs
from ecfs.testing.programs.running import Program
from ecfs.testing.programs.stressing import crowd, dbench, fio, many_names, stress_ng

CATALOGUE = {program.name: program for program in (
    Program("git", git, ("git",), ("git",)),
    Program("make", make, ("make", "gcc"), ("make", "gcc")),
    Program("venv", venv),
    Program("rsync", rsync, ("rsync", "setfacl"), ("rsync", "acl")),
    Program("archives", archives, ("tar",), ("tar",)),
    Program("sqlite-killed", sqlite_killed),
    Program("sqlite-mount-killed", sqlite_mount_killed),
    Program("crowd", crowd),
    Program("many-names", many_names),
    Program("postgres", postgres, ("initdb", "pgbench", "pg_checksums"),
            ("postgresql", "postgresql-contrib"), quick=False),
    Program("nfs", nfs, ("ganesha.nfsd", "rpcbind", "nfs-ls", "nfs-cat", "nfs-cp"),
            ("nfs-ganesha-vfs", "rpcbind", "libnfs-utils"), quick=False),
    Program("fio", fio, ("fio",), ("fio",), quick=False),
    Program("stress-ng", stress_ng, ("stress-ng",), ("stress-ng",), quick=False),
    Program("dbench", dbench, ("dbench",), ("dbench",), quick=False),
)}
