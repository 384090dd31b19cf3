"""A pool, its disks and the machines that reach them; what happens to it is told elsewhere."""

from pathlib import Path

from ecfs.base.ids import ID_LEN
from ecfs.observe import Event
from ecfs.testing.pools import QUICK_KDF, SECRET
from ecfs.testing.simulation.determinism import SeededEntropy, source_of
from ecfs.testing.simulation.disks import Disk
from ecfs.testing.simulation.finding import Failure
from ecfs.testing.simulation.hosts import Machine
from ecfs.testing.simulation.judging import LOST_KINDS, check_event
from ecfs.testing.simulation.lanes import Traffic
from ecfs.testing.simulation.ledger import SealLedger
from ecfs.testing.simulation.lies import make_lie
from ecfs.testing.simulation.plans import Contest, Plan
from ecfs.testing.simulation.trace import Trace
from ecfs.testing.simulation.troubles import end_troubles
from ecfs.volume import OpenOptions, PoolOrder, open_volume
from ecfs.volume.creating import lay_out


class World:
    """One pool and all that reaches it. `lenient`: evidence of loss is no failure now."""

    def __init__(self, plan: Plan | Contest, base: Path, trace: Trace) -> None:
        self.plan = plan
        self.base = base
        self.trace = trace
        self.seals = SealLedger()
        self.ids: dict[bytes, str] = {}
        self.failure: Failure | None = None
        self.lenient = False
        self.traffic = Traffic()
        self.disks: dict[str, Disk] = {}
        for number in range(1, plan.targets_count + 1):
            path = f"/simulated/target{number}"
            self.disks[path] = Disk(path, trace, source_of("disk", plan.seed, number))

    def new_machine(self, name: str, disks: dict[str, Disk] | None = None, *,
                    folder: str = "") -> Machine:
        """One more machine that reaches these disks; its state is in `folder`, else by its name.
        Two of one name are the same machine, twice."""
        return Machine(name, self.base / (folder or name), self.disks if disks is None else disks,
                       self.trace, SeededEntropy((self.plan.seed, name)),
                       source_of("machine", self.plan.seed, name), self.judge,
                       traffic=self.traffic)

    def judge(self, machine: Machine, event: Event) -> None:
        """Look at an event; the first that must not be is the world's failure."""
        if machine.power.is_out:
            return
        self.trace.say(f"event {event.kind}", f"{machine.name}: {event.text()}")
        try:
            check_event(event, machine.disks, self.ids)
            if event.kind in LOST_KINDS and not self.lenient:
                raise Failure(f"within the budget: {event.text()}")
        except Failure as failure:
            self.failure = self.failure or failure

    def check(self) -> None:
        """Raise what failed in the background."""
        if self.failure is not None:
            raise self.failure
        if self.seals.violation is not None:
            raise self.seals.violation

    async def make_pool(self, machine: Machine) -> None:
        """As mkfs does, without the thread. The disks are as slow as planned from now on."""
        environment = machine.environment()
        order = PoolOrder(machine.paths, self.plan.geometry, SECRET, QUICK_KDF)
        _, paths = lay_out(order, environment, environment.entropy.token(ID_LEN))
        async with open_volume(paths, SECRET, environment, OpenOptions(fresh=True)) as volume:
            volume.tree.format_root(0, 0, 0o755)
            self.ids = {member.id: member.path for member in volume.fleet}
        for disk in self.disks.values():
            end_troubles(disk, self.plan.delay_s)

    def tell_lies(self, lies: tuple[tuple[int, str], ...]) -> None:
        """From now on these disks, by number, lie in these ways."""
        disks = list(self.disks.values())
        for number, name in lies:
            disk = disks[number]
            files = {file: disk.content(file) for file in disk.files()}
            foreign = {file: disk.source.randbytes(len(data)) for file, data in files.items()
                       if file.endswith(".col")}
            disk.lies.append(make_lie(name, disk.source, files, foreign))
            disk.harm.add(f"lie: {name}")
            self.trace.say("lie", f"{disk.name} {name}")

    def behave(self) -> None:
        """All disks answer, and tell the truth, from now on."""
        for disk in self.disks.values():
            end_troubles(disk, self.plan.delay_s)
            disk.lies.clear()

    def replace_disk(self, old: Disk) -> Disk:
        """An empty disk at another path, in the same place of the order."""
        spare = Disk(f"{old.path}x", self.trace, old.source, mood=old.mood)
        disks = [spare if disk is old else disk for disk in self.disks.values()]
        self.disks.clear()
        self.disks.update({disk.path: disk for disk in disks})
        return spare
