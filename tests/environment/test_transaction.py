import multiprocessing
import os
import signal
import time

import pytest
from environment.samples import (
    deployed_version,
    environment_at,
    files_of,
    folder_of_another,
    install,
    leftovers,
    small_disk,
)
from packages import FINGERPRINT, make_package

from ppm.environment.transaction import Made, deploy, rollback, writer
from ppm.errors import EnvironmentStateError, IntegrityError, RequestError

FORK = multiprocessing.get_context("fork")


def roll_back(environment, number=None):
    with writer(environment, command="ppm rollback") as held:
        return rollback(held, number)


def hold(environment, held_event, seconds):
    with writer(environment, command="ppm upgrade --all"):
        held_event.set()
        time.sleep(seconds)


@pytest.fixture
def holder():
    """Starts a process that holds an environment; returns it once it does."""
    processes = []

    def start(environment, seconds=60.0):
        event = FORK.Event()
        processes.append(FORK.Process(target=hold, args=(environment, event, seconds)))
        processes[-1].start()
        assert event.wait(10)
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.join()


def test_each_change_gets_the_next_number(tmp_path):
    environment = environment_at(tmp_path)
    assert [install(environment, version).number for version in ("1.0.0", "2.0.0", "2.0.0")] == [1, 2, 3]
    assert (environment.path / "current").read_text().splitlines()[0] == "000003"
    assert not leftovers(environment)


def test_a_second_writer_waits_for_the_first(tmp_path, holder):
    environment = environment_at(tmp_path)
    holder(environment, seconds=0.3)
    start = time.monotonic()
    install(environment)
    assert time.monotonic() - start > 0.2
    assert deployed_version(environment) == "1.0.0"


def test_the_time_out_names_who_holds_the_environment(tmp_path, holder):
    environment = environment_at(tmp_path)
    process = holder(environment)
    with pytest.raises(EnvironmentStateError) as caught:
        install(environment, timeout=0.1)
    assert f"process {process.pid} (`ppm upgrade --all`, since 20" in caught.value.message
    assert caught.value.context == environment.label
    assert caught.value.hint


def test_another_environment_is_not_held(tmp_path, holder):
    holder(environment_at(tmp_path))
    assert install(environment_at(tmp_path, "staging"), timeout=0.1).number == 1


def test_a_killed_holder_holds_nothing(tmp_path, holder):
    environment = environment_at(tmp_path)
    process = holder(environment)
    process.kill()
    process.join()
    assert install(environment, timeout=0.1).number == 1
    assert not leftovers(environment)


def test_reading_needs_no_lock(tmp_path, holder):
    environment = environment_at(tmp_path)
    install(environment)
    holder(environment)
    assert deployed_version(environment) == "1.0.0"


def install_some(environment):
    for _ in range(4):
        install(environment)


def test_many_writers_and_a_reader_get_along(tmp_path):
    environment = environment_at(tmp_path)
    install(environment)
    processes = [FORK.Process(target=install_some, args=(environment,)) for _ in range(3)]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        assert deployed_version(environment) == "1.0.0"
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert [deployment.number for deployment in environment.deployments()] == list(range(1, 14))
    assert not leftovers(environment)


def test_rollback_undoes_the_last_change_and_a_rollback_of_it_redoes_it(tmp_path):
    environment = environment_at(tmp_path)
    for version in ("1.0.0", "2.0.0", "3.0.0"):
        install(environment, version, strategy="concat", base_model=f"model-{version}")
    back = roll_back(environment)
    assert deployed_version(environment) == "2.0.0"
    assert (back.number, back.record.rolled_back_from, back.record.command) == (4, 2, "ppm rollback")
    assert (back.record.strategy, back.record.base_model) == ("concat", "model-2.0.0")
    roll_back(environment)
    assert deployed_version(environment) == "3.0.0"
    history = [(d.number, d.manifest.version, d.record.rolled_back_from) for d in environment.deployments()]
    assert history[3:] == [(4, "2.0.0", 2), (5, "3.0.0", 3)]
    roll_back(environment, 1)
    assert deployed_version(environment) == "1.0.0"


def test_rollback_without_an_earlier_deployment(tmp_path):
    environment = environment_at(tmp_path)
    with pytest.raises(RequestError, match="nothing is deployed"):
        roll_back(environment)
    install(environment)
    with pytest.raises(RequestError, match="no earlier deployment") as caught:
        roll_back(environment)
    assert "ppm uninstall" in caught.value.hint
    assert deployed_version(environment) == "1.0.0"


def test_rollback_to_the_current_or_an_unknown_one(tmp_path):
    environment = environment_at(tmp_path)
    install(environment)
    with pytest.raises(RequestError, match="already the current one"):
        roll_back(environment, 1)
    with pytest.raises(RequestError, match="no deployment 5"):
        roll_back(environment, 5)


def test_rollback_leaves_a_damaged_deployment(tmp_path):
    environment = environment_at(tmp_path)
    install(environment, "1.0.0")
    damaged = install(environment, "2.0.0")
    (damaged.path / "deployment.toml").unlink()
    roll_back(environment)
    assert deployed_version(environment) == "1.0.0"


def test_rollback_to_a_changed_deployment_is_refused(tmp_path):
    environment = environment_at(tmp_path)
    old = install(environment, "1.0.0")
    install(environment, "2.0.0")
    (old.path / "prefix.safetensors").write_bytes(make_package(value=9.0).bank.to_bytes())
    with pytest.raises(IntegrityError, match="was changed"):
        roll_back(environment)
    assert deployed_version(environment) == "2.0.0"
    assert not leftovers(environment)


def test_a_full_disk_keeps_the_old_deployment(tmp_path):
    environment = environment_at(tmp_path)
    install(environment)
    files = {**files_of("2.0.0"), "audit.json": bytes(200_000)}
    with (
        writer(environment, command="ppm upgrade") as held,
        small_disk(100_000),
        pytest.raises(EnvironmentStateError, match="can't be written") as caught,
    ):
        deploy(held, files, Made("acme/tiny", FINGERPRINT, "pass"))
    assert "free some space" in caught.value.hint
    assert deployed_version(environment) == "1.0.0"
    assert not leftovers(environment)


@pytest.mark.parametrize("blocked", ["deployments", "current", "lock"])
def test_something_else_in_the_way_is_named(tmp_path, blocked):
    environment = environment_at(tmp_path)
    environment.path.mkdir(parents=True)
    path = environment.path / blocked
    path.write_text("") if blocked == "deployments" else path.mkdir()
    with pytest.raises(EnvironmentStateError) as caught:
        install(environment)
    assert "move it away" in caught.value.hint
    assert {entry.name for entry in environment.path.iterdir()} <= {"current", "deployments", "lock"}


def test_a_home_of_another_user_is_not_changed():
    with folder_of_another() as home:
        environment = environment_at(home)
        assert environment.current() is None
        with pytest.raises(EnvironmentStateError, match="Permission denied") as caught:
            install(environment)
        assert "owner and permissions" in caught.value.hint
        assert list(home.iterdir()) == []


def test_an_interrupt_keeps_the_old_deployment(tmp_path):
    environment = environment_at(tmp_path)
    install(environment)
    files = files_of("2.0.0")

    class Interrupting(dict):
        """Ctrl-C arrives after the first file was written."""

        def items(self):
            yield "ppm.lock", files["ppm.lock"]
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)

    with writer(environment, command="ppm upgrade") as held, pytest.raises(KeyboardInterrupt):
        deploy(held, Interrupting(files), Made("acme/tiny", FINGERPRINT, "pass"))
    assert deployed_version(environment) == "1.0.0"
    assert not leftovers(environment)
    assert install(environment, "2.0.0").number == 2


def test_only_a_complete_set_of_plain_files_can_be_deployed(tmp_path):
    lock = files_of()["ppm.lock"]
    made = Made("acme/tiny", FINGERPRINT, "pass")
    with writer(environment_at(tmp_path), command="ppm install") as held:
        for files in ({}, {"ppm.lock": lock, "../up": b""}, {"ppm.lock": lock, "deployment.toml": b""}):
            with pytest.raises(ValueError):
                deploy(held, files, made)
    with pytest.raises(ValueError, match="after it was closed"):
        deploy(held, {"ppm.lock": lock}, made)
