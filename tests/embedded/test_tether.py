from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from aegis.embedded.tether import HAS_PDEATHSIG, spawn
from tests.embedded.conftest import eventually, is_running

PARENT = """
import signal, sys, time
from aegis.embedded.tether import spawn
child = spawn(["sleep", "600"], on_parent_death=signal.SIGTERM, pdeathsig=sys.argv[1] == "kernel")
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("kernel", id="the kernel's death signal", marks=pytest.mark.needs_linux),
        pytest.param("pipe", id="the end of a pipe"),
    ],
)
def test_a_child_ends_when_its_parent_is_killed(how: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, how], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_running(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    eventually(lambda: not is_running(child), "the child ended")


@pytest.mark.parametrize("pdeathsig", [HAS_PDEATHSIG, False], ids=["kernel", "pipe"])
def test_a_child_that_ended_takes_its_watcher_along(pdeathsig: bool) -> None:
    child = spawn(["true"], on_parent_death=signal.SIGTERM, pdeathsig=pdeathsig)
    assert child.wait(10) == 0
    assert child.watcher is None


def test_a_child_that_ignores_the_signal_is_killed() -> None:
    child = spawn(["sh", "-c", "trap '' TERM; echo ready; sleep 600"], on_parent_death=signal.SIGTERM, output=-1)
    assert child.process.stdout is not None
    assert child.process.stdout.readline() == b"ready\n"
    assert child.stop(signal.SIGTERM, 0.2) == -signal.SIGKILL
    child.process.stdout.close()


def test_a_child_is_out_of_reach_of_the_terminals_interrupt() -> None:
    child = spawn(["sleep", "600"], on_parent_death=signal.SIGTERM)
    assert os.getsid(child.pid) == child.pid
    child.stop(signal.SIGTERM, 5)
