import json
import logging

import click
import pytest

from ecfs.base import errors
from ecfs.base.errors import Bug, EcfsError, InUse, Refusal, UsageRefusal, WrongPassphrase
from ecfs.cli.outcome import Family, concluded, exit_for, failure_of
from tests.unit.cli.fakes import OddError

# The exit codes that people's scripts rely on.
PROMISED = {
    "E-USAGE": 2,
    "E-PASSPHRASE": 10,
    "E-NOT-A-POOL": 11,
    "E-TOO-FEW-REACHABLE": 12,
    "E-FOREIGN": 13,
    "E-CLONES": 14,
    "E-FORMAT": 15,
    "E-IN-USE": 16,
    "E-MOUNTPOINT": 17,
    "E-POOL-EXISTS": 18,
    "E-TOO-FEW-TARGETS": 19,
    "E-SAME-TARGET": 20,
    "E-TARGET-INSIDE": 21,
    "E-ROLLED-BACK": 22,
    "E-FORKED": 23,
    "E-ANCHOR": 1,
    "E-LOG": 1,
    "E-KEY-FILE": 1,
    "E-MOUNT": 1,
}


def refusals() -> list[type[Refusal]]:
    found = [item for item in vars(errors).values() if isinstance(item, type)]
    return [item for item in found if issubclass(item, Refusal) and item is not Refusal]


@pytest.mark.parametrize("kind", refusals())
def test_each_refusal_has_its_promised_code(kind: type[Refusal]) -> None:
    failure = failure_of(kind("why"))
    assert exit_for(failure, Family.PLAIN) == PROMISED[failure.id]
    usage = kind is UsageRefusal
    assert exit_for(failure, Family.FSCK) == (16 if usage else 8)
    assert exit_for(failure, Family.MOUNT) == (1 if usage else 32)


def test_every_promised_code_has_its_refusal() -> None:
    assert {kind.id for kind in refusals()} == set(PROMISED)


def end(error: BaseException, family: Family = Family.PLAIN, wants_json: bool = False) -> int:
    def work() -> int:
        raise error

    return concluded(work, program="ecfs", family=family, wants_json=wants_json)


def test_the_id_ends_the_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert end(WrongPassphrase("no key slot opens")) == 10
    out, err = capsys.readouterr()
    assert (out, err) == ("", "ecfs: no key slot opens [E-PASSPHRASE]\n")


def test_json_tells_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert end(InUse('held by "us"'), wants_json=True) == 16
    document = json.loads(capsys.readouterr().out)
    assert document == {
        "schema": "ecfs.error/1",
        "id": "E-IN-USE",
        "message": 'held by "us"',
        "exit_code": 16,
    }
    assert next(iter(document)) == "schema"


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("error", [InUse("held"), UsageRefusal("odd"), KeyboardInterrupt()])
def test_the_exit_code_in_json_is_the_exit_code(
    family: Family, error: BaseException, capsys: pytest.CaptureFixture[str]
) -> None:
    code = end(error, family, wants_json=True)
    assert json.loads(capsys.readouterr().out)["exit_code"] == code


def test_what_is_not_ours_is_a_bug_of_ours(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "ecfs"):
        codes = [end(KeyError("x"), family) for family in Family]
        assert codes == [70, 8, 4]
        assert end(Bug("an invariant")) == 70
    err = capsys.readouterr().err
    assert "this is a bug in ecfs (KeyError: 'x')" in err
    assert "Traceback" not in err
    assert all(record.exc_info for record in caplog.records)


def test_an_error_of_the_system_is_told_by_its_path(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "ecfs"):
        assert end(FileNotFoundError(2, "No such file or directory", "/no/pass\nfile")) == 1
    assert capsys.readouterr().err.startswith("ecfs: /no/pass\n  file: No such file")


def test_a_group_is_told_by_its_most_telling_member() -> None:
    group = BaseExceptionGroup(
        "several",
        [EcfsError("a lane ended"), BaseExceptionGroup("inner", [InUse("held"), OddError("odd")])],
    )
    assert failure_of(group).id == "E-IN-USE"


def test_a_bug_is_never_hidden_by_a_refusal(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "ecfs"):
        assert failure_of(ExceptionGroup("both", [InUse("held"), KeyError("x")])).exit_code == 70


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_interrupted(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    assert [end(error, family) for family in Family] == [1, 32, 8]
    assert "interrupted [E-INTERRUPTED]" in capsys.readouterr().err
