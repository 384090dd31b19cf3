"""All mutants, room by room."""

from ecfs.testing.mutation.of_commands import COMMAND_MUTANTS
from ecfs.testing.mutation.of_content import CONTENT_MUTANTS
from ecfs.testing.mutation.of_driver import DRIVER_MUTANTS
from ecfs.testing.mutation.of_formats import FORMAT_MUTANTS
from ecfs.testing.mutation.of_keys import KEY_MUTANTS
from ecfs.testing.mutation.of_log import LOG_MUTANTS
from ecfs.testing.mutation.of_logged import LOGGED_MUTANTS
from ecfs.testing.mutation.of_memory import MEMORY_MUTANTS
from ecfs.testing.mutation.of_opening import OPENING_MUTANTS
from ecfs.testing.mutation.of_promises import PROMISE_MUTANTS
from ecfs.testing.mutation.of_replacing import REPLACING_MUTANTS
from ecfs.testing.mutation.of_room import ROOM_MUTANTS
from ecfs.testing.mutation.of_slow import SLOW_MUTANTS
from ecfs.testing.mutation.of_stripes import STRIPE_MUTANTS

MUTANTS = (*KEY_MUTANTS, *FORMAT_MUTANTS, *STRIPE_MUTANTS, *LOG_MUTANTS, *OPENING_MUTANTS,
           *CONTENT_MUTANTS, *DRIVER_MUTANTS, *PROMISE_MUTANTS, *LOGGED_MUTANTS, *ROOM_MUTANTS,
           *COMMAND_MUTANTS, *REPLACING_MUTANTS, *SLOW_MUTANTS, *MEMORY_MUTANTS)
