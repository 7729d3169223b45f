import json
import subprocess
import sys

import pytest
from running import REPOSITORY

# What a step does to memory, without torch: activations are allocated and filled one after the other, then freed.
STEPS = """
import json, resource, sys
from cifar_lit.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        activations = [bytearray(8 << 20) for _ in range(12)]
        for activation in activations:
            activation[::4096] = b"1" * 2048
        del activations, activation
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
print(json.dumps([faults(), keep_freed_memory(), (faults(), faults())[1]]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="page faults are counted differently elsewhere")
def test_freed_memory_is_not_asked_for_again():
    ran = subprocess.run([sys.executable, "-c", STEPS], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    before, done, after = json.loads(ran.stdout)
    if not done:
        pytest.skip("this C library has no mallopt")
    assert before > 20 * 10_000
    assert after < before / 100
