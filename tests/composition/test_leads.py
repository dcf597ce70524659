"""Leads: patches whose triggers were fitted apart compete for a prompt by what their packages' prompts say."""

from dataclasses import replace

import pytest
import torch

from ppm.bank import Bank
from ppm.composition.leads import fit_leads, leads_of
from ppm.composition.routing import route
from ppm.composition.steps import Context, Specialist
from ppm.lab.prompts import gate_prompts
from ppm.package import read_package
from ppm.resources import lab_data
from ppm.runtime.loading import load_base
from ppm.runtime.model import attach, backbone_of
from ppm.runtime.router import picks
from ppm.runtime.text import encoder_of
from ppm.workspace import open_base

SILENT = -torch.inf
LOUD = 1e-6
"""A threshold so low that its trigger is far above it on whatever sets it off."""


def two_patches(others=20, most=4.0):
    """Of two patches the first's trigger fires on the second's prompts, farther above its threshold; a third is apart.

    (prompts, patches), and whose each prompt is.
    """
    own = torch.stack([torch.linspace(6, 9, others), torch.full((others,), SILENT), torch.full((others,), SILENT)], -1)
    theirs = torch.stack([torch.linspace(1, most, 20), torch.linspace(0.5, 2, 20), torch.full((20,), SILENT)], dim=-1)
    third = torch.tensor([[SILENT, SILENT, 2.0]]).expand(20, 3)
    return torch.cat([own, theirs, third]), [0] * others + [1] * 20 + [2] * 20


def right(ahead, owners, leads):
    return ((ahead + torch.tensor(leads)).argmax(-1) == torch.tensor(owners)).float().mean()


def test_a_loud_trigger_leaves_prompts_to_the_patch_that_they_concern():
    ahead, owners = two_patches()
    assert right(ahead, owners, (0.0, 0.0, 0.0)) < 0.8
    leads = fit_leads(ahead, owners)
    assert right(ahead, owners, leads) == 1
    assert leads[1] > 1 > -1 > leads[0]
    assert leads[2] == 0
    assert fit_leads(ahead, owners) == leads


def test_where_prompts_are_contested_from_both_sides_most_are_right():
    ahead = torch.tensor([[4.0, 1.0]] * 30 + [[3.0, 2.0]] * 30)
    owners = [0] * 30 + [1] * 30
    leads = fit_leads(ahead, owners)
    assert 1 < leads[1] - leads[0] < 3
    assert right(ahead, owners, leads) == 1


def test_many_prompts_of_one_patch_count_no_more_than_few_of_another():
    ahead = torch.tensor([[2.0, 1.0]] * 10 + [[2.0, 1.0]] * 10)
    even = fit_leads(ahead, [0] * 10 + [1] * 10)
    assert even[1] - even[0] == pytest.approx(1, abs=0.1)
    more = torch.cat([ahead[:10].repeat(9, 1), ahead[:10]])
    leads = fit_leads(more, [0] * 90 + [1] * 10)
    assert leads[1] - leads[0] == pytest.approx(1, abs=0.1)


def test_where_no_trigger_is_in_anothers_way_nothing_changes():
    ahead, owners = two_patches()
    alone = torch.eye(3)[owners].log() + 5
    assert fit_leads(alone, owners) == (0, 0, 0)
    silent = torch.where(ahead.isfinite(), SILENT, ahead)
    assert fit_leads(silent, owners) == (0, 0, 0)


@pytest.fixture(scope="module")
def lab():
    return load_base(open_base("lab"))


@pytest.fixture(scope="module")
def shipped(lab):
    """A context in which both patches ship triggers, of which the first fires on nearly everything."""
    packages = [read_package(next((lab_data() / "packages").glob(f"{name}-*.ppm"))) for name in ("toxicity", "privacy")]
    found = tuple(Specialist(package.manifest.name, package.bank, package.replay, None) for package in packages)
    benign = tuple(row for package in packages for row in package.retention)
    context = Context(lab, "before-bos", found, (), benign=benign)
    router = route(context, None).router
    behind = []
    for specialist, trigger in zip(found, router.triggers, strict=True):
        own = replace(trigger, block=0, threshold=LOUD if specialist is found[0] else trigger.threshold)
        behind.append(replace(specialist, bank=specialist.bank.routed(replace(router, triggers=(own,)))))
    return replace(context, specialists=tuple(behind), notes={})


def of_its_own(lab, bank, risk, number):
    """The share of a risk's gate prompts that meet the block of that number."""
    inner, encoder = backbone_of(attach(lab.model)).inner, encoder_of(lab)
    ids = [encoder.prompt(prompt.prompt) for prompt in gate_prompts(risk, "gate", 100)]
    return picks(inner, [bank.router] * len(ids), ids).count((number,)) / len(ids)


def without_leads(bank):
    return Bank(bank.blocks).routed(
        replace(bank.router, triggers=tuple(replace(t, lead=0.0) for t in bank.router.triggers))
    )


def test_shipped_triggers_get_leads_when_they_are_put_together(lab, shipped):
    bank = route(shipped, None)
    before = without_leads(bank)
    assert [t.threshold for t in bank.router.triggers] == [
        s.bank.router.triggers[0].threshold for s in shipped.specialists
    ]
    assert shipped.notes["leads"] == {
        s.name: trigger.lead for s, trigger in zip(shipped.specialists, bank.router.triggers, strict=True)
    }
    assert of_its_own(lab, before, "privacy", 1) < 0.5
    assert of_its_own(lab, bank, "privacy", 1) >= 0.98
    assert of_its_own(lab, bank, "toxicity", 0) >= 0.98
    assert bank.digest != before.digest


def test_prompts_that_several_patches_carry_tell_nothing(lab, shipped):
    first, second = shipped.specialists
    router = route(shipped, None).router
    assert any(leads_of(lab, router, shipped.specialists))
    alike = (first, replace(second, replay=first.replay))
    assert leads_of(lab, router, alike) == (0, 0)
    assert leads_of(lab, router, (first, replace(second, replay=()))) == (0, 0)


def test_triggers_that_are_fitted_together_need_none(shipped):
    bare = tuple(replace(s, bank=s.bank.always_on) for s in shipped.specialists)
    context = replace(shipped, specialists=bare, notes={})
    assert not any(trigger.lead for trigger in route(context, None).router.triggers)
    assert "leads" not in context.notes
