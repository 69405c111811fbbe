"""One thin file a rule: reads arguments, calls one function of a package; runs alone (see --help)."""

import os

# Before anything imports a numerical library: alone, a step computes what it computes under Snakemake, which
# sets these to the rule's threads. Another number of threads may round differently.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
