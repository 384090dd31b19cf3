from ecfs.base.world import SystemClock, SystemThreads
from ecfs.targets import AnyLane, InlineLane, Lane
from ecfs.testing.lane_contract import LaneContract


class TestLane(LaneContract):
    def make_lane(self, name: str) -> AnyLane:
        return Lane(name, SystemThreads(), SystemClock())


class TestLaneWithAShortQueue(LaneContract):
    def make_lane(self, name: str) -> AnyLane:
        return Lane(name, SystemThreads(), SystemClock(), queue_len_max=1)


class TestInlineLane(LaneContract):
    def make_lane(self, name: str) -> AnyLane:
        return InlineLane(name)
