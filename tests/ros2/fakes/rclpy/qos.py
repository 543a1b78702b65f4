from dataclasses import dataclass
from enum import Enum


class HistoryPolicy(Enum):
    KEEP_LAST = 1


class ReliabilityPolicy(Enum):
    RELIABLE = 1
    BEST_EFFORT = 2


@dataclass(frozen=True, kw_only=True)
class QoSProfile:
    history: HistoryPolicy
    depth: int
    reliability: ReliabilityPolicy
