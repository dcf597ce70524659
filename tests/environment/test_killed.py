"""A process killed at any point leaves what was deployed in force, and nothing that the next one can't clean."""

from itertools import count
from shutil import copytree
from signal import SIGINT, SIGKILL

import pytest
from environment.samples import deployed_version, environment_at, install, leftovers, run_killed_at

from ppm.environment.store import Store
from ppm.environment.transaction import rollback, writer


def roll_back(environment):
    with writer(environment, command="ppm rollback") as held:
        return rollback(held)


@pytest.fixture
def killed_at_each_step(tmp_path):
    """Yields a copy of `before` for each point at which `change` can be killed, after it was killed there."""

    def attempts(before, change, by=SIGKILL):
        for step in count(1):
            home = tmp_path / "attempts" / str(step)
            if before.home.exists():
                copytree(before.home, home)
            environment = environment_at(home)
            if not run_killed_at(step, lambda environment=environment: change(environment), by):
                break
            yield environment
        assert step > 15

    return attempts


def test_killed_first_install(tmp_path, killed_at_each_step):
    versions = []
    for environment in killed_at_each_step(environment_at(tmp_path / "new"), install):
        versions.append(deployed_version(environment))
        assert len(environment.deployments()) == (versions[-1] is not None)
        install(environment, "2.0.0")
        assert environment.current().manifest.version == "2.0.0"
        assert not leftovers(environment)
    assert versions == sorted(versions, key=bool)
    assert set(versions) == {None, "1.0.0"}


def test_killed_install(tmp_path, killed_at_each_step):
    before = environment_at(tmp_path / "before")
    install(before, "1.0.0")
    versions = []
    for environment in killed_at_each_step(before, lambda environment: install(environment, "2.0.0")):
        versions.append(deployed_version(environment))
        assert len(environment.deployments()) == (1 if versions[-1] == "1.0.0" else 2)
        install(environment, "3.0.0")
        assert environment.current().manifest.version == "3.0.0"
        assert not leftovers(environment)
    assert versions == sorted(versions)
    assert set(versions) == {"1.0.0", "2.0.0"}


def test_interrupted_install_cleans_up_by_itself(tmp_path, killed_at_each_step):
    before = environment_at(tmp_path / "before")
    install(before, "1.0.0")
    versions = []
    for environment in killed_at_each_step(before, lambda environment: install(environment, "2.0.0"), SIGINT):
        versions.append(deployed_version(environment))
        assert leftovers(environment) <= {"lock.holder"}
    assert versions == sorted(versions)
    assert set(versions) == {"1.0.0", "2.0.0"}


def test_killed_rollback(tmp_path, killed_at_each_step):
    before = environment_at(tmp_path / "before")
    install(before, "1.0.0")
    install(before, "2.0.0")
    versions = []
    for environment in killed_at_each_step(before, roll_back):
        versions.append(deployed_version(environment))
        roll_back(environment)
        assert environment.current().manifest.version == ("1.0.0" if versions[-1] == "2.0.0" else "2.0.0")
        assert not leftovers(environment)
    assert versions == sorted(versions, reverse=True)
    assert set(versions) == {"1.0.0", "2.0.0"}


def test_killed_while_cleaning_up_after_killed_ones(tmp_path, killed_at_each_step):
    before = environment_at(tmp_path / "before")
    install(before, "1.0.0")
    killed = killed_at_each_step(before, lambda environment: install(environment, "2.0.0"))
    staged = next(environment for environment in killed if [*environment.path.glob(".staging-*/deployment.toml")])
    orphaned = next(environment for environment in killed if environment.stored_numbers() == (1, 2))
    copytree(next(staged.path.glob(".staging-*")), orphaned.path / ".staging-of-another")
    (orphaned.path / ".partial-of-another").write_bytes(b"0000")
    for step in count(1):
        environment = environment_at(tmp_path / "again" / str(step))
        copytree(orphaned.home, environment.home)
        assert run_killed_at(step, lambda environment=environment: install(environment, "3.0.0"))
        assert deployed_version(environment) == "1.0.0"
        assert environment.numbers() == (1,)
        left = leftovers(environment)
        install(environment, "4.0.0")
        assert environment.current().manifest.version == "4.0.0"
        assert not leftovers(environment)
        if left <= {"lock.holder"}:
            break
    assert step > 10


def test_killed_while_storing(tmp_path):
    data = b"a package file"
    for step in count(1):
        store = Store(tmp_path / str(step))
        if not run_killed_at(step, lambda store=store: store.put(data)):
            break
        digest = Store(tmp_path / "other").put(data)
        assert not store.has(digest) or store.get(digest) == data
        assert store.get(store.put(data)) == data
    assert step > 5
