"""Mounting, serving until unmounted, unmounting."""

from collections.abc import Callable
from dataclasses import dataclass

import trio

from ecfs.base.limits import REQUESTS_AT_ONCE_MAX
from ecfs.base.units import MIB
from ecfs.driver import kernel_serving, pyfuse3_serving
from ecfs.driver.kernel import set_io_flusher
from ecfs.driver.options import MountOptions
