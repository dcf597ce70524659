"""The way of an install: requirements -> resolve -> fetch -> verify -> compose -> audit -> deploy.

Modules here import torch and what needs it only inside the functions that do, so that commands without a model
start at once.
"""

from ppm.install.bases import environment_for, find_environment, open_base
from ppm.install.plan import Plan, plan_install, plan_uninstall
from ppm.install.run import Events, InstallResult, apply_package, audit_deployed, install, load_deployed

__all__ = [
    "Events",
    "InstallResult",
    "Plan",
    "apply_package",
    "audit_deployed",
    "environment_for",
    "find_environment",
    "install",
    "load_deployed",
    "open_base",
    "plan_install",
    "plan_uninstall",
]
