import subprocess
import sys

# In its own process, because a failure kills it.
SCRIPT = """
import gc, os, signal
import openvino
import torch
from secateur.runtimes.openvino_runtime import compile_model

layer = torch.nn.Conv2d(3, 4, 3).eval()
model = openvino.convert_model(layer, example_input=torch.zeros(1, 3, 8, 8))
first, second = (compile_model(model, 1, single=True) for _ in range(2))
del first
gc.collect()
del second, model
gc.collect()
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_signals_are_handled_after_networks_are_destroyed() -> None:
    command = [sys.executable, "-c", SCRIPT]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "handled\n"), found.stderr
