"""The way down: a module imports only what stands above it, inside a folder too, and the part above the line needs no
torch."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ppm

ROOT = Path(ppm.__file__).parent
ABOVE_THE_LINE = """
    version errors names progress verdict encoding page document jsonl
    signature plugins resources
    disk folder locking home moment machine running suite training_table bank_table manifest
    bank
    bases bases.catalogue bases.header bases.kept bases.wheels bases.terms
    weight_files sketch package base requirement
    lock project
    index index.layout index.parsing index.advisory index.shard index.keys index.identity index.publishers
    index.envelope index.bundle index.statement index.roles index.repository index.prune index.publish index.advise
    index.held index.hub index.trust index.pins index.partial index.pace index.credentials index.fetch
    index.hub_fetch index.blame index.client index.mirror
    sources.base sources.cache sources.directory sources.index sources.priority sources index.check
    index.catalogue index.pages index.site
    resolve.exclusion resolve.universe resolve.contradiction resolve.crowding resolve.solver
    resolve.story resolve.explanation resolve.hint resolve.check resolve.engine resolve
    environment environment.store environment.evidence environment.attempts environment.deployment environment.default
    environment.trail environment.transaction environment.holds environment.garbage environment.advised
    workspace
"""
BELOW_THE_LINE = """
    runtime runtime.dtypes runtime.loading runtime.text runtime.turns runtime.work bases.convert bases.fetch
    runtime.derived runtime.arrangements runtime.arrangements.base runtime.arrangements.joined
    runtime.arrangements.isolated runtime.arrangements.routed runtime.arrangements.registry runtime.cache
    runtime.masks runtime.inputs runtime.taps runtime.router runtime.rows runtime.prefills
    runtime.backbone runtime.shell runtime.selftest runtime.answers runtime.model runtime.tensors
    prefix prefix.model
    runtime.saved runtime.export runtime.export.base runtime.export.embeddings runtime.export.peft
    runtime.export.registry runtime.export.proof evaluation evaluation.reply evaluation.endpoint evaluation.wellformed
    evaluation.judges evaluation.judges.base evaluation.judges.text evaluation.judges.answers
    evaluation.judges.phrasing evaluation.judges.refusals evaluation.judges.words evaluation.judges.attribution
    evaluation.judges.hatesonar evaluation.judges.endpoints evaluation.judges.models evaluation.judges.llama_guard
    evaluation.judges.coherence evaluation.judges.registry evaluation.sampling
    evaluation.generation evaluation.scoring evaluation.benign evaluation.exact evaluation.statistics
    evaluation.groups evaluation.sealing
    evaluation.correction evaluation.figures evaluation.measures evaluation.measures.base
    evaluation.measures.completions evaluation.measures.next_token evaluation.measures.perplexity
    evaluation.measures.registry evaluation.agreement evaluation.labelling evaluation.label_page evaluation.evidence
    evaluation.suites evaluation.advised evaluation.controls evaluation.ordinary
    evaluation.results evaluation.second evaluation.triggers evaluation.neutral evaluation.runner evaluation.flips
    training training.processes training.data training.passes training.retention training.losses training.source
    training.output training.teacher training.pairs training.rows training.advice training.again training.defaults
    training.check
    training.stages training.context training.collect training.trainers training.baselines training.choice
    training.learn training.kept training.material training.trigger training.triggers training.answers
    training.build
    composition composition.options composition.registry composition.strategy composition.replay composition.soap
    composition.steps composition.operating
    composition.objective composition.distil composition.merging composition.routing composition.training
    composition.recipe
    composition.compose
    lab lab.domains lab.corpus lab.prompts
    audit audit.candidates audit.comparison audit.model audit.attestation audit.anchors audit.continual audit.triggers
    audit.gate audit.conflicts audit.report audit.page audit.run
    install install.trusting install.address install.fetch install.request install.current install.start install.derived
    install.advisories install.pinned install.plan install.download install.earlier install.compose install.mend
    install.ranking install.choose
    install.deploy install.install
    install.folder install.lock install.edit install.locked install.sync install.thresholds install.rebase
    inspect inspect.graph inspect.diff inspect.search inspect.settings inspect.trail inspect.history inspect.log
    inspect.outdated
    inspect.verify inspect.audit inspect.attempts inspect.advisories
    inspect.site
    serving serving.load serving.generate serving.export
    lab.examples lab.ship lab.info lab.pretrain lab.build
    cli cli.options cli.output cli.render cli.trail cli.progress cli.reports cli.deploy cli.environments cli.attempts
    cli.audit cli.base cli.build cli.cache cli.check cli.compose cli.config cli.diff cli.download cli.export
    cli.generate cli.history cli.holds cli.install cli.labels cli.log cli.judges cli.lab cli.lock cli.outdated
    cli.packages cli.project cli.quickstart cli.rebase cli.rollback cli.search cli.strategies cli.suites cli.sync
    cli.test cli.tree cli.keyfiles cli.roots cli.index_copies cli.index cli.publish cli.source cli.advisories
    cli.uninstall cli.upgrade cli.verify cli.main cli.completion
"""
ORDER = [*ABOVE_THE_LINE.split(), *BELOW_THE_LINE.split()]
OUTSIDE = ("", "__main__")
"""The package itself and its entry point: nothing else imports them."""


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def imported(module):
    """The modules of ppm that a file imports, inside functions and for types alone too; ppm itself is ""."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "ppm":
            named = node.module.partition(".")[2]
            for alias in node.names:
                inside = f"{named}.{alias.name}".lstrip(".")
                yield inside if inside in MODULES else named
        elif isinstance(node, ast.Import):
            yield from (a.name.partition(".")[2] for a in node.names if a.name.split(".")[0] == "ppm")


def test_no_import_is_relative():
    for path in MODULES.values():
        assert not any(isinstance(n, ast.ImportFrom) and n.level for n in ast.walk(ast.parse(path.read_text()))), path


def test_each_module_has_its_place():
    assert [module for module in MODULES if module not in (*ORDER, *OUTSIDE)] == []
    assert len(ORDER) == len(set(ORDER))


@pytest.mark.parametrize("module", [module for module in MODULES if module not in OUTSIDE])
def test_imports_go_one_way(module):
    above = set(ORDER[: ORDER.index(module)])
    assert [other for other in imported(module) if other != module and other not in above] == []


@pytest.mark.parametrize("module", [module for module in ABOVE_THE_LINE.split() if module in MODULES])
def test_what_is_above_the_line_needs_no_torch(module):
    script = f"import sys, ppm.{module}; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("folder", ["benchmarks", "examples"])
def test_what_stands_beside_ppm_imports_only_what_there_is(folder):
    """Benchmarks take hours, so that no other test runs them all."""
    for path in sorted((ROOT.parent / folder).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "ppm":
                module = importlib.import_module(node.module)
                assert [a.name for a in node.names if not hasattr(module, a.name)] == [], path.name


def test_every_module_says_what_it_is_for_and_what_it_offers():
    for path in ROOT.rglob("*.py"):
        tree = ast.parse(path.read_text())
        assert ast.get_docstring(tree), path
        if path.name != "__init__.py":
            assigned = (node for node in tree.body if isinstance(node, ast.Assign))
            names = [t.id for node in assigned for t in node.targets if isinstance(t, ast.Name)]
            assert "__all__" in names, path


def functions():
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{module}:{node.name}", node


def parameters(function):
    """How many a caller may give; a method's `self` or `cls` is none of them."""
    given = function.args
    positional = [argument.arg for argument in (*given.posonlyargs, *given.args)]
    own = positional[:1] in (["self"], ["cls"])
    return len(positional) - own + len(given.kwonlyargs) + (given.vararg is not None) + (given.kwarg is not None)


def test_no_two_tests_have_one_name():
    """pytest imports them by their file names alone, and refuses the second."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert [name for name in names if names.count(name) > 1] == []


def test_no_module_is_too_long():
    lines = {module: path.read_text().count("\n") for module, path in MODULES.items()}
    assert {module: count for module, count in lines.items() if count > 400} == {}


def test_no_function_is_too_long():
    lines = {name: node.end_lineno - node.lineno + 1 for name, node in functions()}
    assert {name: count for name, count in lines.items() if count > 60} == {}


def test_no_function_takes_too_much():
    taken = {name: parameters(node) for name, node in functions()}
    assert {name: count for name, count in taken.items() if count > 8} == {}


def test_types_are_said():
    texts = [path.read_text() for path in MODULES.values()]
    anything = sum(len(re.findall(r"\bAny\b", text)) for text in texts)
    assert 1000 * anything / sum(text.count("\n") for text in texts) < 8
