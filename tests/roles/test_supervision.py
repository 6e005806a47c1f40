from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from aegis.embedded.tether import Tethered, spawn
from aegis.embedded.trouble import CannotStart
from aegis.roles.supervision import LONGEST_WAIT_S, Kept, Supervision


def _sleeper() -> Tethered:
    return spawn(["sleep", "600"], on_parent_death=signal.SIGTERM)


def test_a_child_that_was_killed_is_started_again(capfd: pytest.CaptureFixture[str]) -> None:
    supervision = Supervision()
    kept = Kept("sleeper", _sleeper)
    with supervision.signals():
        supervision.add(kept)
        assert kept.child is not None
        first = kept.child.pid
        os.kill(first, signal.SIGKILL)
        supervision.run(until=lambda: kept.child is not None and kept.child.pid != first)
        supervision.stop(lambda name: True, 5)
    assert kept.child is None
    assert "sleeper was ended by signal 9; sleeper is started again in 0.1 s" in capfd.readouterr().err


def test_the_waits_grow_and_have_an_end() -> None:
    waits = [Kept("x", _sleeper, failures=failures).wait_s() for failures in (0, 1, 2, 30)]
    assert waits == [0.1, 0.2, 0.4, LONGEST_WAIT_S]


def test_a_launch_that_fails_is_tried_again(capfd: pytest.CaptureFixture[str]) -> None:
    tries = []

    def launch() -> Tethered:
        tries.append(1)
        if len(tries) < 3:
            raise CannotStart("couldn't start it: no reason")
        return _sleeper()

    supervision = Supervision()
    kept = Kept("it", launch)
    with supervision.signals():
        supervision.add(kept)
        supervision.run(until=lambda: kept.child is not None)
        supervision.stop(lambda name: True, 5)
    assert len(tries) == 3
    assert "couldn't start it: no reason" in capfd.readouterr().err


def test_sigterm_ends_the_run_and_restores_who_handled_it_before() -> None:
    supervision = Supervision()
    before = signal.getsignal(signal.SIGTERM)
    with supervision.signals():
        supervision.call_later(0.01, lambda: os.kill(os.getpid(), signal.SIGTERM))
        supervision.run()
        assert supervision.stopping == 1
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_child_that_will_not_end_is_killed_after_its_time(tmp_path: Path) -> None:
    code = "import signal, sys, time; signal.signal(15, signal.SIG_IGN); open(sys.argv[1], 'w'); time.sleep(600)"
    supervision = Supervision()
    mark = tmp_path / "deaf"
    child = spawn([sys.executable, "-c", code, mark], on_parent_death=signal.SIGKILL)
    kept = Kept("deaf", lambda: child)
    with supervision.signals():
        supervision.add(kept)
        supervision.call_later(0.01, lambda: None)
        while not mark.exists():
            supervision.turn(restart=False, longest_s=0.05)
        supervision.stop(lambda name: True, 0.2)
    assert child.ended() == -signal.SIGKILL
