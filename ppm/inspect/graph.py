"""The graph of what is deployed: which patch needs which, drawn as a tree, and why one is there."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NotRequired, TypedDict

from ppm.errors import RequestError, did_you_mean
from ppm.lock import Lock, LockedPackage
from ppm.manifest import Manifest
from ppm.requirement import Requirement, parse_name, phrase

if TYPE_CHECKING:
    from networkx import DiGraph

__all__ = ["Branch", "Chain", "Graph", "Step", "drawn", "reasons"]


@dataclass(frozen=True)
class Branch:
    """A patch in a tree. `again` is a patch that is drawn elsewhere already, with what is below it."""

    package: LockedPackage
    below: tuple["Branch", ...]
    again: bool = False

    def to_table(self) -> dict[str, object]:
        """Plain data."""
        table: dict[str, object] = {"name": self.package.name, "version": self.package.version}
        if self.again:
            return {**table, "again": True}
        return {**table, "requested": self.package.requested, "needs": [branch.to_table() for branch in self.below]}


class Step(TypedDict):
    """One patch that needs the next; `overridden` is the requirement in place of what it asks for."""

    patch: str
    needs: str
    overridden: NotRequired[str]


class Chain(TypedDict):
    """What was asked for, and the steps from there to a patch."""

    asked: str
    steps: list[Step]


class Graph:
    """The patches of a lock; an edge leads from a patch to one that it needs."""

    def __init__(self, lock: Lock) -> None:
        import networkx

        self.packages: Mapping[str, LockedPackage] = {package.name: package for package in lock.packages}
        self._asked = {requirement.name: requirement.text for requirement in lock.requirements}
        self._graph = networkx.DiGraph()
        self._graph.add_nodes_from(self.packages)
        self._graph.add_edges_from((p.name, needed) for p in lock.packages for needed in p.dependencies)

    def package(self, text: str) -> LockedPackage:
        """A deployed patch by what the user calls it. Raises RequestError."""
        name = parse_name(text)
        if name not in self.packages:
            otherwise = f"deployed patches are {', '.join(self.packages)}" if self.packages else "nothing is deployed"
            raise RequestError(f"{name} is not deployed", hint=did_you_mean(name, self.packages, otherwise))
        return self.packages[name]

    def tree(self, *, invert: bool = False, root: str | None = None) -> list[Branch]:
        """What needs what, from the patches that nothing needs; inverted, what is needed by what."""
        graph = self._graph.reverse() if invert else self._graph
        seen: set[str] = set()
        if root is not None:
            return [self._branch(graph, root, seen)]
        tops = [name for name in sorted(graph) if not graph.in_degree(name)]
        branches = [self._branch(graph, name, seen) for name in tops]
        while rest := sorted(set(graph) - seen):  # only cycles are left: each begins at its first name
            branches.append(self._branch(graph, rest[0], seen))
        return branches

    def _branch(self, graph: "DiGraph", name: str, seen: set[str]) -> Branch:
        if name in seen:
            return Branch(self.packages[name], (), again=bool(graph.out_degree(name)))
        seen.add(name)
        below = tuple(self._branch(graph, other, seen) for other in sorted(graph.successors(name)))
        return Branch(self.packages[name], below)

    def why(self, name: str) -> list[list[str]]:
        """The shortest chain of names to a patch from each one that is asked for, the patch itself included."""
        import networkx

        chains = []
        for asked, package in self.packages.items():
            if package.requested and networkx.has_path(self._graph, asked, name):
                chains.append(list(networkx.shortest_path(self._graph, asked, name)))
        return sorted(chains, key=lambda chain: (len(chain), chain))

    def asked_as(self, package: LockedPackage, provided: Mapping[str, Sequence[str]]) -> str:
        """The requirement that a requested patch answers to, as the user typed it; `provided` are names by patch."""
        names = (package.name, *provided.get(package.name, ()))
        return next((self._asked[name] for name in names if name in self._asked), package.name)


def reasons(
    graph: Graph, name: str, manifests: Iterable[Manifest], overrides: Sequence[Requirement] = ()
) -> list[Chain]:
    """Why a patch is deployed, as plain data: what was asked for, and each step that leads from there to it.

    `manifests` are those of all patches in the graph, `overrides` requirements that took the place of what they ask.
    """
    known = {manifest.name: manifest for manifest in manifests}
    provided = {key: (*m.patch.provides, *m.patch.replaces) for key, m in known.items()}
    overridden = {override.name: override.text for override in overrides}
    chains: list[Chain] = []
    for chain in graph.why(name):
        steps: list[Step] = []
        for user, needed in pairwise(chain):
            wish = next(key for key in (needed, *provided[needed]) if key in known[user].dependencies)
            step: Step = {"patch": known[user].pin, "needs": phrase(wish, known[user].dependencies[wish])}
            if wish in overridden:
                step["overridden"] = overridden[wish]
            steps.append(step)
        chains.append({"asked": graph.asked_as(graph.packages[chain[0]], provided), "steps": steps})
    return chains


def drawn(branches: Sequence[Branch], lead: str = "") -> Iterator[tuple[str, Branch]]:
    """Each branch with the line art in front of it, from the top."""
    for i, branch in enumerate(branches):
        last = i == len(branches) - 1
        yield (lead + ("└── " if last else "├── "), branch)
        yield from drawn(branch.below, lead + ("    " if last else "│   "))
