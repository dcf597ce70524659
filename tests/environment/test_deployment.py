import json

import pytest
from environment.samples import environment_at, install
from packages import FINGERPRINT, make_package

from ppm.environment.deployment import Environment
from ppm.environment.transaction import Made, deploy, rollback, writer
from ppm.errors import EnvironmentStateError, IntegrityError, RequestError
from ppm.verdict import Waiver


def test_nothing_is_deployed_in_a_new_home(tmp_path):
    environment = environment_at(tmp_path)
    assert environment.current() is None
    assert environment.deployments() == ()
    assert Environment.all(tmp_path) == ()
    assert list(tmp_path.iterdir()) == []


def test_reads_back_what_was_deployed(tmp_path):
    waiver = Waiver("bias", 'known issue, see "the ticket"', "Ada", "2026-01-01T00:00:00Z")
    install(environment_at(tmp_path), strategy="distilled", verdict="waived", waivers=(waiver,), base_revision="main")
    deployment = environment_at(tmp_path).current()
    package = make_package()
    assert deployment.manifest == package.manifest
    assert deployment.bank == package.bank
    assert deployment.audit == {"verdict": "pass"}
    assert deployment.lock.packages[0].sha256 == package.sha256
    record = deployment.record
    assert (record.number, record.command) == (1, "ppm install toxicity==1.0.0")
    assert (record.base_model, record.fingerprint, record.base_revision) == ("acme/tiny", FINGERPRINT, "main")
    assert (record.strategy, record.verdict, record.waivers) == ("distilled", "waived", (waiver,))
    assert record.created.endswith("Z")
    assert record.user


def test_an_environment_without_patches_is_deployed_too(tmp_path):
    environment = environment_at(tmp_path)
    lock = b'schema = 1\nbase = { model = "acme/tiny", fingerprint = "' + FINGERPRINT.encode() + b'" }\n'
    with writer(environment, command="ppm uninstall toxicity") as held:
        deploy(held, {"ppm.lock": lock}, Made("acme/tiny", FINGERPRINT, "none"))
    deployment = environment.current()
    assert (deployment.manifest, bool(deployment.bank), deployment.audit) == (None, False, None)
    assert deployment.lock.packages == ()


def test_packages_are_reached_through_the_lock(tmp_path):
    environment = environment_at(tmp_path)
    environment.store.put(make_package().to_bytes())
    install(environment)
    locked = environment.current().lock.packages[0]
    assert environment.store.get(locked.sha256) == make_package().to_bytes()


def test_history_is_in_order_of_numbers(tmp_path):
    environment = environment_at(tmp_path)
    for version in ("1.0.0", "3.0.0", "2.0.0"):
        install(environment, version)
    history = environment.deployments()
    assert [(d.number, d.manifest.version) for d in history] == [(1, "1.0.0"), (2, "3.0.0"), (3, "2.0.0")]
    assert environment.deployment(2).manifest.version == "3.0.0"


def test_an_unknown_number_names_the_known_ones(tmp_path):
    environment = environment_at(tmp_path)
    with pytest.raises(RequestError) as caught:
        environment.deployment(1)
    assert "nothing has been deployed" in caught.value.hint
    install(environment)
    install(environment)
    with pytest.raises(RequestError, match="no deployment 7") as caught:
        environment.deployment(7)
    assert "1, 2" in caught.value.hint


def test_named_environments_stand_beside_the_unnamed_one(tmp_path):
    install(environment_at(tmp_path, "Staging"), "2.0.0")
    assert Environment.all(tmp_path) == (environment_at(tmp_path, "staging"),)
    install(environment_at(tmp_path), "1.0.0")
    install(Environment(tmp_path, "other-0123456789ab"))
    assert [environment.label for environment in Environment.all(tmp_path)] == [
        "other-0123456789ab",
        "tiny-0123456789ab",
        "tiny-0123456789ab/staging",
    ]
    assert environment_at(tmp_path, "staging").current().manifest.version == "2.0.0"
    assert environment_at(tmp_path).current().manifest.version == "1.0.0"


@pytest.mark.parametrize("name", ["current", "Deployments", "lock", "..", "a/b", "", "staging.", "x" * 200])
def test_unusable_environment_names_are_refused(tmp_path, name):
    with pytest.raises(RequestError) as caught:
        environment_at(tmp_path, name)
    assert caught.value.hint


@pytest.mark.parametrize("tag", ["", "..", "a/b", "Tiny", ".hidden"])
def test_unusable_tags_are_refused(tmp_path, tag):
    with pytest.raises(RequestError):
        Environment(tmp_path, tag)


@pytest.mark.parametrize("file", ["patch.toml", "prefix.safetensors", "ppm.lock", "audit.json"])
def test_a_changed_file_is_refused(tmp_path, file):
    environment = environment_at(tmp_path)
    path = install(environment).path / file
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(IntegrityError, match="was changed") as caught:
        environment.current().files()
    assert "ppm rollback" in caught.value.hint
    assert file in caught.value.context


def test_a_deleted_file_is_noticed(tmp_path):
    environment = environment_at(tmp_path)
    (install(environment).path / "prefix.safetensors").unlink()
    deployment = environment.current()
    assert deployment.manifest is not None
    with pytest.raises(IntegrityError, match="was deleted"):
        _ = deployment.bank


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("number = 1", "number = 2"),
        ("number = 1", 'number = "1"'),
        ("[files]", '[files]\n"../../up" = ""'),
        ("=", ""),
        ("number = 1", "number = 2026-01-01"),
    ],
)
def test_a_damaged_record_is_refused(tmp_path, before, after):
    environment = environment_at(tmp_path)
    record = install(environment).path / "deployment.toml"
    record.write_text(record.read_text().replace(before, after, 1))
    with pytest.raises(IntegrityError) as caught:
        environment.current()
    assert "deployment.toml" in caught.value.context
    assert "ppm rollback" in caught.value.hint


def test_a_deployment_of_a_newer_ppm_is_named_as_such(tmp_path):
    environment = environment_at(tmp_path)
    record = install(environment).path / "deployment.toml"
    record.write_text(record.read_text().replace("schema = 2", "schema = 3"))
    with pytest.raises(EnvironmentStateError, match="schema 3") as caught:
        environment.current()
    assert "newer ppm" in caught.value.hint


@pytest.mark.parametrize(
    "damage", [None, "", "garbage\0", "000009", "000001\n" + "0" * 16, "000002\n0", "000001 000002"]
)
def test_a_lost_or_damaged_current_costs_no_deployment(tmp_path, damage):
    environment = environment_at(tmp_path)
    install(environment, "1.0.0")
    install(environment, "2.0.0")
    current = environment.path / "current"
    if damage is None:
        current.unlink()
    else:
        current.write_text(damage)
    with pytest.raises(EnvironmentStateError) as caught:
        environment.current()
    assert "ppm rollback NUMBER" in caught.value.hint
    assert Environment.all(tmp_path) == (environment,)
    assert [d.manifest.version for d in environment.deployments()] == ["1.0.0", "2.0.0"]
    with writer(environment, command="ppm rollback 2") as held:
        rollback(held, 2)
    assert environment.current().manifest.version == "2.0.0"


def test_a_file_where_the_environment_should_be(tmp_path):
    (tmp_path / "environments").write_text("")
    environment = environment_at(tmp_path)
    for read in (environment.current, lambda: Environment.all(tmp_path), lambda: install(environment)):
        with pytest.raises(EnvironmentStateError) as caught:
            read()
        assert "move it away" in caught.value.hint


def test_the_record_is_a_document_that_people_can_read(tmp_path):
    record = (install(environment_at(tmp_path)).path / "deployment.toml").read_text()
    assert 'command = "ppm install toxicity==1.0.0"' in record
    assert '"ppm.lock" = "sha256:' in record
    assert json.dumps("acme/tiny") in record


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('command = "ppm install', 'command = "ppm instalt'),
        ('verdict = "pass"', 'verdict = "waived"'),
        ('"audit.json" = ', '"audit.jsom" = '),
        ("digest = ", "# digest = "),
    ],
)
def test_a_record_that_was_edited_is_refused(tmp_path, before, after):
    environment = environment_at(tmp_path)
    record = install(environment).path / "deployment.toml"
    assert before in record.read_text()
    record.write_text(record.read_text().replace(before, after))
    with pytest.raises(IntegrityError, match=r"changed after it was deployed|can't be the name"):
        environment.current()


def test_a_record_from_before_there_were_digests_is_read(tmp_path):
    environment = environment_at(tmp_path)
    record = install(environment).path / "deployment.toml"
    lines = record.read_text().replace("schema = 2", "schema = 1").splitlines()
    record.write_text("\n".join(line for line in lines if not line.startswith("digest = ")))
    (environment.path / "current").write_text("000001\n")
    assert environment.current().files()
    install(environment, "2.0.0")
    with writer(environment, command="ppm rollback 1") as held:
        rollback(held, 1)
    assert environment.current().record.schema == 2


def test_a_command_that_is_no_text_is_recorded_all_the_same(tmp_path):
    environment = environment_at(tmp_path)
    with writer(environment, command="ppm install caf\udce9.ppm") as held:
        deploy(held, install(environment_at(tmp_path, "other")).files(), Made("b", "f", "none"))
    assert "caf" in environment.current().record.command
