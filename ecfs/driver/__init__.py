"""The mount: requests of the kernel become calls of the tree and of the bytes of files.

Owns open handles, lookup counts, errnos, and all that is known of FUSE. `requests` says what each
request means; two transports carry them: `kernel_*` and `fuse_*` speak the kernel's protocol on
/dev/fuse, `pyfuse3_*` use that library. Knows a volume only through `volume_protocol`, so it can
serve a real one or one in memory; it stores nothing.
"""

from ecfs.driver.options import MountOptions, Transport
from ecfs.driver.orphans import sweep_orphans
from ecfs.driver.requests import Requests
from ecfs.driver.serving import serve, stop
from ecfs.driver.volume_protocol import Files, Mounted, VolumeSpace

__all__ = ["Files", "MountOptions", "Mounted", "Requests", "Transport", "VolumeSpace", "serve",
           "stop", "sweep_orphans"]
