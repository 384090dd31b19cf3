"""Mutation: small wrong changes of the source, each of which some test must notice.

A mutant is an exact replacement of text in one file. It is applied in a copy of the tree, never in
the tree itself, and a named selection of tests has to fail. `scripts/mutate` runs them.
"""

from ecfs.testing.mutation.catalogue import MUTANTS
from ecfs.testing.mutation.mutant import Mutant, StaleMutant
from ecfs.testing.mutation.running import Verdict, Workshop, run_mutants, without_mutants

__all__ = ["MUTANTS", "Mutant", "StaleMutant", "Verdict", "Workshop", "run_mutants",
           "without_mutants"]
