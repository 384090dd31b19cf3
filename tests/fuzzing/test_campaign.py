"""The campaign's bookkeeping; the fuzzing itself is left to campaigns."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from ecfs.base.errors import Damage
from ecfs.testing.fuzzing import campaign
from ecfs.testing.fuzzing.target import Breach, FuzzTarget


class FakeWorker:
    """Finds something in the targets that are told to have it; notes what it ran."""

    ran: tuple[str, ...] = ()
    finds: tuple[str, ...] = ()

    def run(self, job: dict[str, Any]) -> int:
        FakeWorker.ran += (job["name"],)
        Path(job["log"]).write_text("#9 cov: 12 ft: 3\nstat::number_of_executed_units: 77\n")
        if job["name"] in FakeWorker.finds:
            (Path(job["findings"]) / "KeyError-1").write_bytes(b"x")
        return 0

    def close(self) -> None:
        """Nothing."""


def begun(monkeypatch: pytest.MonkeyPatch, *finds: str) -> None:
    monkeypatch.setattr(campaign, "Worker", FakeWorker)
    FakeWorker.ran, FakeWorker.finds = (), finds


def test_a_campaign_reports_and_goes_on_where_it_ended(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(monkeypatch)
    arguments = ["--out", str(tmp_path), "--minutes", "0", "--seed", "7",
                 "--target", "claim", "--target", "names"]
    monkeypatch.setattr(campaign, "SHARE_S_MIN", 0)
    assert campaign.main(arguments) == 0
    assert campaign.main(arguments) == 0
    assert "-".join(FakeWorker.ran) == "claim-names"
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["seed"] == 7 and summary["targets"]["names"]["run_count"] == 77
    assert campaign.main([*arguments, "--seed", "8"]) == 0
    assert "-".join(FakeWorker.ran) == "claim-names-claim-names"


def test_a_campaign_that_found_something_does_not_exit_with_0(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun(monkeypatch, "names")
    assert campaign.main(["--out", str(tmp_path), "--minutes", "0", "--target", "names"]) == 1


def target_of(function: Any) -> FuzzTarget:
    return FuzzTarget("made up", function, list, seconds_max=0.2, memory_len_max=1 << 20)


def test_a_target_passes_refusals_and_nothing_else() -> None:
    def raise_it(error: Exception) -> None:
        raise error

    assert not target_of(lambda data: raise_it(Damage("rotten"))).run(b"")
    assert target_of(lambda data: None).run(b"")
    for error in (KeyError("a"), RecursionError(), MemoryError()):
        with pytest.raises(type(error)):
            target_of(lambda data, error=error: raise_it(error)).run(b"")
    with pytest.raises(Breach, match="without a word"):
        target_of(lambda data: raise_it(Damage(""))).run(b"")


def test_a_target_is_held_to_its_bounds() -> None:
    def dawdle(data: bytes) -> None:
        until_s = time.process_time() + 0.3
        while time.process_time() < until_s:
            pass

    with pytest.raises(Breach, match="s for 0 bytes"):
        target_of(dawdle).run(b"")
    with pytest.raises(Breach, match="bytes of heap"):
        target_of(lambda data: bytes(2 << 20)).measure(b"")
