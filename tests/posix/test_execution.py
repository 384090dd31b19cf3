"""Programs that run from the mount: what is busy, what set-id means, what a script needs."""

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest

USER = 61001


def test_a_running_program_is_not_written_to(root: Path) -> None:
    program = root / "sleep"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    running = subprocess.Popen([program, "60"])
    try:
        for action in (lambda: os.open(program, os.O_WRONLY), lambda: os.truncate(program, 0)):
            with pytest.raises(OSError) as caught:
                action()
            assert caught.value.errno == errno.ETXTBSY
        os.rename(program, root / "moved")
        (root / "moved").unlink()
        assert running.poll() is None
    finally:
        running.kill()
        running.wait()


def test_a_program_that_is_written_to_does_not_run(root: Path) -> None:
    program = root / "true"
    shutil.copy(shutil.which("true") or "/bin/true", program)
    with program.open("r+b"), pytest.raises(OSError) as caught:
        subprocess.run([program], check=True)
    assert caught.value.errno == errno.ETXTBSY
    subprocess.run([program], check=True)


@pytest.mark.others
def test_set_user_id_holds_until_the_program_is_changed(root: Path) -> None:
    root.chmod(0o755)
    program = root / "id"
    shutil.copy(shutil.which("id") or "/usr/bin/id", program)
    os.chown(program, USER, USER)
    program.chmod(0o4777)

    def effective() -> str:
        return subprocess.run([program, "-u"], user=USER + 1, group=USER + 1, extra_groups=[],
                              check=True, capture_output=True, text=True).stdout

    assert effective() == f"{USER}\n"
    subprocess.run(["sh", "-c", f"printf x >> {program}"], user=USER + 1, group=USER + 1,
                   extra_groups=[], check=True)
    assert program.stat().st_mode & 0o7777 == 0o777
    assert effective() == f"{USER + 1}\n"


def test_a_script_runs_and_needs_its_mode(root: Path) -> None:
    script = root / "script"
    script.write_text("#!/bin/sh\necho from the mount\n")
    script.chmod(0o755)
    assert subprocess.run([script], check=True, capture_output=True).stdout == b"from the mount\n"
    script.chmod(0o644)
    with pytest.raises(PermissionError):
        subprocess.run([script], check=True)
