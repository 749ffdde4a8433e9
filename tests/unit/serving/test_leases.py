"""Which run loads and which unloads an adapter, with runs that are processes of their own."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from capgate.common.user_cache import private_folder
from capgate.serving.adapters.leases import Lease, end_left_over, left_over

HOLD = """
import sys
from capgate.serving.adapters.leases import Lease, end_left_over, left_over
lease = Lease("http://server/v1", "mine")
if "loads" in sys.argv:
    lease.claim()
print("looking", flush=True)
for line in sys.stdin:
    match line.strip():
        case "settle":
            lease.settle()
            print("settled", flush=True)
        case "end":
            with lease.ending() as last:
                print(last, flush=True)
                sys.stdin.readline()
            print("over", flush=True)
"""


class Holder:
    """A process that holds the lease."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLD, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hears(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, word: str) -> None:
        """Sends it a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def ask(self, word: str) -> str:
        """Sends it a line; its answer."""
        self.tell(word)
        return self.hears()


@contextmanager
def holder(*arguments: str) -> Iterator[Holder]:
    """A process that holds the lease; killed at the end."""
    one = Holder(*arguments)
    try:
        yield one
    finally:
        one.process.kill()
        one.process.communicate()


def ending(lease: Lease) -> bool:
    """Gives a lease up; whether the adapter is to be unloaded."""
    with lease.ending() as last:
        return last


def mine() -> Lease:
    """This process's lease on the same adapter."""
    return Lease("http://server/v1", "mine")


def test_the_last_one_unloads() -> None:
    """Of two runs the one that ends later unloads, also when it found the adapter loaded."""
    with holder("loads") as one:
        assert one.hears() == "looking"
        assert one.ask("settle") == "settled"
        lease = mine()
        lease.settle()
        assert one.ask("end") == "False"
        one.tell("")
        assert one.hears() == "over"
        assert ending(lease)
    again = mine()
    assert not ending(again)


def test_a_killed_run_holds_nothing() -> None:
    """After SIGKILL the next run is the last user, and knows that capgate had loaded it."""
    with holder("loads") as one:
        assert one.hears() == "looking"
        one.ask("settle")
    assert ending(mine())


def test_what_capgate_did_not_load_is_left() -> None:
    """Without a note that it was loaded from here nobody unloads it."""
    assert not ending(mine())
    lease = mine()
    lease.claim()
    lease.disclaim()
    assert not ending(lease)


def test_one_looks_or_loads_at_a_time() -> None:
    """A run that comes while another loads waits until that is settled."""
    with holder("loads") as one:
        assert one.hears() == "looking"
        with holder() as two:
            one.tell("settle")
            assert one.hears() == "settled"
            assert two.hears() == "looking"


def test_nobody_looks_while_another_unloads() -> None:
    """A run that comes while the last one unloads finds the adapter gone, not going."""
    with holder("loads") as one:
        assert one.hears() == "looking"
        assert one.ask("settle") == "settled"
        assert one.ask("end") == "True"
        with holder() as three:
            # It can't have printed yet: whatever it prints comes after this line was read.
            one.tell("")
            assert one.hears() == "over"
            assert three.hears() == "looking"
            three.ask("settle")
            assert three.ask("end") == "False"


def test_a_failed_unloading_is_remembered() -> None:
    """What could not be unloaded is still capgate's, for the next run to unload."""
    lease = mine()
    lease.claim()
    try:
        with lease.ending() as last:
            assert last
            raise OSError
    except OSError:
        pass
    assert ending(mine())


def test_leases_are_the_users_own() -> None:
    """Nobody else may look into the folder of leases or put one there."""
    mine().settle()
    assert stat.S_IMODE(private_folder("leases").stat().st_mode) == 0o700


def test_what_a_killed_run_left_is_known_by_name() -> None:
    """The adapters that killed runs have left on a server are known; those in use are not named."""
    unloaded: list[str] = []
    with holder("loads") as one:
        assert one.hears() == "looking"
        one.ask("settle")
        assert left_over("http://server/v1") == []
        end_left_over("http://server/v1", lambda name: not unloaded.append(name))
    assert unloaded == []
    assert left_over("http://server/v1") == ["mine"]
    assert left_over("http://other/v1") == []
    end_left_over("http://server/v1", lambda name: bool(unloaded.append(name)))
    assert left_over("http://server/v1") == ["mine"], "it could not be unloaded"
    end_left_over("http://server/v1", lambda name: not unloaded.append(name))
    assert unloaded == ["mine", "mine"]
    assert left_over("http://server/v1") == []
