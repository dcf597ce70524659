"""Kills ppm before every change that it makes on disk, and checks what is left.

    python benchmarks/kills.py [--commands install upgrade rollback prune sync add hold unhold remove] [--every 1]

Each command is run with real patches on the lab's base, two of them composed with `routed`, again and again, and gets
SIGKILL before its first, second, third... change of the disk: a file opened for writing, a flush, a rename, a new or
removed file or folder. Then what is deployed must be the old or the new state, whole and with every digest right, and
the same command, run once more, must work and leave nothing behind. Exits with 1 at the first fault.
"""

import argparse
import contextlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from ppm.audit.model import Audit
from ppm.base import identify, locate
from ppm.environment.deployment import Environment
from ppm.environment.garbage import UNTOUCHED_FOR
from ppm.environment.holds import read_holds
from ppm.environment.store import Store
from ppm.lock import Lock
from ppm.package import read_package, write_package
from ppm.project import Project
from ppm.resources import lab_data

CHANGES = (
    "os.rename",
    "os.mkdir",
    "os.remove",
    "os.rmdir",
    "os.utime",
    "os.truncate",
    "os.link",
    "os.symlink",
    "os.chmod",
)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
State = tuple[tuple[str, ...], tuple[str, ...]] | None
"""The patches in force and those that are held, or where nothing is deployed those that are locked; else None."""


@dataclass(frozen=True)
class Scenario:
    """A command, what is there before it, and what must be there after it.

    `again` is the command after it was killed, where it is another one, when the new state was reached already.
    """

    arguments: tuple[str, ...]
    prepare: Callable[["World"], None]
    old: State
    new: State
    again: tuple[str, ...] = ()
    after: State = None


@dataclass(frozen=True)
class World:
    """A PPM_HOME, a project folder, and a source in which there is a newer version of a patch."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def run(self, *arguments: str, kill_at: int = 0) -> int:
        """Run ppm in a process of its own; minus the signal when it was killed before a change of the disk."""
        child = os.fork()
        if child == 0:
            try:
                self._be_ppm(arguments, kill_at)
            finally:
                os._exit(99)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status)

    def _be_ppm(self, arguments: tuple[str, ...], kill_at: int) -> None:
        from ppm.cli.main import run

        os.environ["PPM_HOME"] = str(self.home)
        os.chdir(self.folder / "project")
        with (self.folder / "output").open("ab") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        if kill_at:
            kill_before_change(kill_at)
        try:
            run(list(arguments))
        except SystemExit as error:
            sys.stdout.flush()
            os._exit(error.code if isinstance(error.code, int) else 1)

    def state(self) -> State:
        """What is there, after every file of every deployment was read and verified, with all that it needs."""
        found = Environment.all(self.home)
        if not found:
            return self._locked()
        for deployment in found[0].deployments():
            deployment.files()
            for package in deployment.lock.packages:
                read_package(found[0].store.get(package.sha256), expected_sha256=package.sha256)
            made = deployment.lock.composition
            if made is not None:
                composed = read_package(found[0].store.get(made.sha256), expected_sha256=made.sha256)
                assert composed.bank.arrangement == "routed"
                Audit.parse(found[0].store.get(made.audit), "the audit")
        current = found[0].current()
        assert current is not None
        holds = tuple(hold.name for hold in read_holds(found[0]))
        return tuple(package.pin for package in current.lock.packages), holds

    def _locked(self) -> State:
        project = self.folder / "project"
        if not (project / "ppm.lock").exists():
            return None
        Project.find(project)
        return tuple(package.pin for package in Lock.read(project / "ppm.lock").packages), ()

    def leftovers(self) -> list[str]:
        """What does not belong into the home or the project when nobody is at work."""
        found = [path for folder in (self.home, self.folder / "project") for path in folder.rglob(".*")]
        return [str(path) for path in found if path.name.startswith((".staging", ".partial"))]

    def copy(self, folder: Path) -> "World":
        """The same again; the caches, which only ever grow, are shared."""
        made = World(folder)
        shutil.copytree(self.folder, folder, symlinks=True)
        return made


def kill_before_change(step: int, by: signal.Signals = signal.SIGKILL) -> None:
    """From now on this process gets a signal before its step-th change of the disk."""
    left = step
    flush = os.fsync

    def count_down() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), by)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES):
            count_down()

    def flush_or_die(fd: Any) -> None:
        count_down()
        flush(fd)

    # Python announces every change of the disk to audit hooks except a flush.
    os.fsync = flush_or_die
    sys.addaudithook(watch)


def nothing(world: World) -> None:
    """A home without anything but caches."""


def installed(world: World) -> None:
    expect(world, *INSTALL)


def upgraded(world: World) -> None:
    installed(world)
    expect(world, "upgrade", "--base", "lab", "-f", "../source")


def littered(world: World) -> None:
    """Upgraded, with much that nothing needs, all of it old."""
    upgraded(world)
    store = Store(world.home)
    for i in range(3):
        store.put(f"nothing needs this, {i}".encode())
    long_ago = time.time() - 2 * UNTOUCHED_FOR
    for _, path in store.contents():
        os.utime(path, (long_ago, long_ago))


def locked(world: World) -> None:
    """The newer version is deployed and locked with its composition; then back to the older one."""
    installed(world)
    text = 'base = "lab"\npatches = ["toxicity>1", "gender-bias"]\nsources = ["../source"]\n'
    (world.folder / "project" / "ppm.toml").write_text(text)
    expect(world, "lock")
    expect(world, "sync")
    expect(world, "rollback", "1", "--base", "lab")


def project(world: World) -> None:
    """A project with a lock, and nothing that is deployed."""
    text = 'base = "lab"\npatches = ["toxicity<=1", "gender-bias"]\nsources = ["../source"]\n'
    (world.folder / "project" / "ppm.toml").write_text(text)
    expect(world, "lock")


def held(world: World) -> None:
    installed(world)
    expect(world, *HOLD)


def expect(world: World, *arguments: str) -> None:
    code = world.run(*arguments)
    if code != 0:
        sys.exit(f"{' '.join(arguments)} exits {code}:\n{(world.folder / 'output').read_text()[-2000:]}")


OLD = (("gender-bias==1.0.0", "toxicity==1.0.0"), ())
NEW = (("gender-bias==1.0.0", "toxicity==1.0.1"), ())
HELD = (OLD[0], ("toxicity",))
REMOVE = ("env", "remove", identify(locate("lab"), name="lab").tag, "--yes")
HOLD = ("hold", "toxicity", "--base", "lab")
INSTALL = ("install", "toxicity", "gender-bias", "--base", "lab", "--strategy", "routed")
SCENARIOS = {
    "install": Scenario(INSTALL, nothing, None, OLD),
    "upgrade": Scenario(("upgrade", "--base", "lab", "-f", "../source"), installed, OLD, NEW),
    "rollback": Scenario(("rollback", "1", "--base", "lab"), upgraded, NEW, OLD),
    "prune": Scenario(("cache", "prune", "sources"), littered, NEW, NEW),
    "sync": Scenario(("sync",), locked, OLD, NEW),
    "add": Scenario(("add", "toxicity>1"), project, OLD, NEW),
    "hold": Scenario(HOLD, installed, OLD, HELD),
    "unhold": Scenario(("unhold", "toxicity", "--base", "lab"), held, HELD, OLD, HOLD, HELD),
    "remove": Scenario(REMOVE, held, HELD, None, INSTALL, OLD),
}


def make_world(folder: Path) -> World:
    """An empty home, and a source with the lab's toxicity patch as version 1.0.1."""
    world = World(folder)
    for name in ("home", "project", "source"):
        (folder / name).mkdir(parents=True)
    package = read_package(next((lab_data() / "packages").glob("toxicity-*.ppm")))
    manifest = replace(package.manifest, patch=replace(package.manifest.patch, version="1.0.1"))
    write_package(replace(package, manifest=manifest), folder / "source")
    return world


def share_caches(world: World, folder: Path) -> None:
    """Keep what is cached in one place for all copies of a world."""
    (folder / "cache").mkdir(exist_ok=True)
    (world.home / "cache").symlink_to(folder / "cache")


def attempts(scenario: Scenario, before: World, scratch: Path, every: int) -> Iterator[tuple[int, str]]:
    """(step, what is wrong or "") for each change before which the command is killed."""
    for step in count(1, every):
        world = before.copy(scratch / str(step))
        code = world.run(*scenario.arguments, kill_at=step)
        if code != -signal.SIGKILL:
            yield step, "" if code == 0 else f"exits {code} though it was not killed"
            return
        yield step, fault(scenario, world)
        shutil.rmtree(world.folder)


def fault(scenario: Scenario, world: World) -> str:
    """What is wrong with a world in which the command was killed, or ""."""
    found = world.state()
    if found not in (scenario.old, scenario.new):
        return f"{found} is there"
    done = bool(scenario.again) and found == scenario.new
    code = world.run(*(scenario.again if done else scenario.arguments))
    if code != 0:
        return f"the next command exits {code}: {(world.folder / 'output').read_text()[-500:]}"
    if world.state() != (scenario.after if done else scenario.new):
        return f"after the next command {world.state()} is there"
    left = world.leftovers()
    return f"left behind: {left}" if left else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commands", nargs="+", choices=list(SCENARIOS), default=list(SCENARIOS))
    parser.add_argument("--every", type=int, default=1, help="Kill before every so many changes only.")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # What an install needs, imported once for all. Nothing may be computed here: threads do not survive a fork.
    for module in (
        "ppm.install.install",
        "ppm.install.choose",
        "ppm.audit.run",
        "ppm.composition.compose",
        "ppm.cli.main",
    ):
        __import__(module)
    print("| command | changes of the disk | killed | faults | seconds |\n| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        shared = Path(name) / "shared"
        shared.mkdir()
        for command in options.commands:
            scenario = SCENARIOS[command]
            before = make_world(Path(name) / command)
            share_caches(before, shared)
            scenario.prepare(before)
            expect(before.copy(Path(name) / f"{command}-whole"), *scenario.arguments)  # so that all results are kept
            started, killed, last = time.perf_counter(), 0, 0
            for step, wrong in attempts(scenario, before, Path(name) / f"{command}-killed", options.every):
                if wrong:
                    sys.exit(f"{command}, killed before change {step}: {wrong}")
                killed, last = killed + 1, step
            seconds = time.perf_counter() - started
            print(f"| {command} | {last - 1} | {killed - 1} | 0 | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
