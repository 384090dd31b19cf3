"""The encrypted file systems that ecfs is compared with, as Debian has them."""

import os

from scripts.bench_stores import PASSPHRASE, Served, run


class Gocryptfs(Served):
    """gocryptfs with its defaults."""

    name = "gocryptfs"

    def make(self) -> None:
        """Makes it with a cheap key derivation, which is not what is measured."""
        super().make()
        (self.top / "pass").write_text(PASSPHRASE)
        passfile = str(self.top / "pass")
        run("gocryptfs", "-init", "-q", "-scryptn", "10", "-passfile", passfile, str(self.backing))

    def command(self) -> list[str]:
        """The mount."""
        return ["gocryptfs", "-fg", "-q", "-passfile", str(self.top / "pass"), str(self.backing),
                str(self.root)]  # fmt: skip

    @classmethod
    def version(cls) -> str:
        """Its own word."""
        return run("gocryptfs", "-version").split(";")[0].strip()


class Securefs(Served):
    """securefs with its defaults."""

    name = "securefs"

    def make(self) -> None:
        """Makes it with a single round of key derivation."""
        super().make()
        run("securefs", "create", "--pass", PASSPHRASE, "-r", "1", str(self.backing))

    def command(self) -> list[str]:
        """The mount."""
        return ["securefs", "mount", "--pass", PASSPHRASE, str(self.backing), str(self.root)]

    @classmethod
    def version(cls) -> str:
        """Debian's: its own word names no number there."""
        return f"securefs {run('dpkg-query', '-W', '-f', '${Version}', 'securefs')}"


class Cryfs(Served):
    """CryFS with its defaults. It is much slower than the others: rates come from less work."""

    name = "cryfs"
    share = 8

    def environ(self) -> dict[str, str]:
        """No questions, nothing from the network, and its state beside the store."""
        return {
            **os.environ,
            "CRYFS_FRONTEND": "noninteractive",
            "CRYFS_NO_UPDATE_CHECK": "true",
            "CRYFS_LOCAL_STATE_DIR": str(self.top / "state"),
        }

    def make(self) -> None:
        """Leaves an empty directory, which the first mount makes a file system of."""
        super().make()
        (self.top / "pass").write_text(PASSPHRASE + "\n")

    def command(self) -> list[str]:
        """The mount; the passphrase comes through the standard input, which the shell opens."""
        return ["sh", "-c", 'exec cryfs -f "$1" "$2" <"$3"', "sh", str(self.backing),
                str(self.root), str(self.top / "pass")]  # fmt: skip

    @classmethod
    def version(cls) -> str:
        """Its own word."""
        return run("cryfs", "--version").splitlines()[0].replace(" Version", "")
