"""No step of the pipeline starts the threads of NumPy's BLAS, which would take cores from the networks."""

import os
import pathlib
import subprocess
import sys

import pytest

CODE = """
import os, time
import numpy as np
from hand_recon_ros import TwoHandReconstructor


def runs():
    '''How often each thread but this one has got a processor.'''
    counts = {}
    for thread in set(os.listdir("/proc/self/task")) - {str(os.getpid())}:
        with open(f"/proc/self/task/{thread}/schedstat") as file:
            counts[thread] = int(file.read().split()[2])
    return counts


def increase(call):
    time.sleep(0.3)  # BLAS threads that wait for work are asleep by then
    before = runs()
    call()
    time.sleep(0.3)
    return {thread: count - before.get(thread, 0) for thread, count in runs().items()}


reconstructor = TwoHandReconstructor.from_config()
reconstructor.warm_up()
large = np.ones((600, 600))
blas = [thread for thread, count in increase(lambda: [large @ large for _ in range(20)]).items() if count]
after = increase(reconstructor.warm_up)
print(len(blas), sum(after[thread] for thread in blas))
"""


@pytest.mark.skipif(not pathlib.Path("/proc/self/schedstat").exists(), reason="only Linux counts the runs of threads")
def test_the_pipeline_leaves_blas_threads_asleep():
    """The two hands of the warm-up are in the same place: it refines them, and poses their meshes."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    threads, runs = map(int, done.stdout.split())
    if threads == 0:
        pytest.skip("NumPy's BLAS has no threads here")
    assert runs == 0
