"""Random graphs in a session, against the ops' references and against themselves.

Every tensor of a graph is fetched, and each node held against its reference over the very operands
that it had (``tests.native.bounds``). Then a few are fetched alone, so that all else may be fused
away, and with passes switched off: bits must be the same where no sum lies on the path, and
within a forward error bound where one does (``tests.native.spread``).
"""

from random import Random

import numpy as np
import pytest

import graphc as gx
from graphc.backends.cpu.executable import address_of
from graphc.backends.cpu.targets import target_named
from graphc.backends.reference.state import look
from graphc.ir.target import Target
from graphc.ir.text import print_graph
from graphc.passes.pipeline import REQUIRED, default_pipeline
from tests.native.bounds import difference, misfit
from tests.native.random_graphs import LARGE, SMALL, random_graph
from tests.native.spread import spread

PASSES = sorted({step.name for step in default_pipeline(Target("cpu", "any"))} - REQUIRED)


@pytest.mark.random_cases(quick=24, soak=1000)
def test_native_equals_reference(case_seed):
    Trial(case_seed, size=(20, 50, 100)[case_seed % 3]).run()


@pytest.mark.random_cases(quick=3, soak=50)
def test_native_equals_reference_where_threads_share_the_work(case_seed):
    Trial(case_seed, size=20, sizes=LARGE).run()


class Trial:
    """One graph in sessions of its own."""

    def __init__(self, seed, size, sizes=SMALL, target="host"):
        self.made = random_graph(seed, size, sizes)
        self.rng = Random(seed)
        self.target = target
        self.fused = target_named(target).has_fma

    def run(self):
        """All comparisons; what fails shows the graph."""
        try:
            values = self.check_nodes()
            errors = self.errors(values)
            deep = sorted(self.made.tensors, key=lambda t: len(self.needed([t.node])))[-8:]
            fetches = self.rng.sample(
                deep if self.rng.random() < 0.7 else self.made.tensors, self.rng.randint(1, 4)
            )
            count = self.rng.randint(0, len(self.made.effects))
            effects = self.rng.sample(self.made.effects, count)
            for disabled in [[], *(self.rng.sample(PASSES, 3) for _ in range(3))]:
                self.check_part(fetches, effects, disabled, values, errors)
        except Exception as error:
            text = print_graph(self.made.graph)
            raise AssertionError(f"{type(error).__name__}: {error}\n\n{text}") from error

    def native(self, fetches, effects, disabled=()):
        """Values of ``fetches``, and what the variables hold after the step."""
        options = gx.CompileOptions(disabled_passes=frozenset(disabled), target=self.target)
        graph = self.made.graph
        reads = {
            node.inputs[0].node.attrs["shared_name"]: node.outputs[0]
            for node in graph.nodes
            if node.op.name == "read_variable" and not node.controls
        }
        with gx.Session(graph=graph, options=options) as session:
            found, _ = session.run([list(fetches), list(effects)], self.made.feeds)
            found = [np.asarray(value) for value in found]
            state = session.run(reads)
            executor = session.executor([list(fetches), list(effects)], list(self.made.feeds))
            if not executor.writes:
                self.check_replay(executor, found)
        return dict(zip(fetches, found, strict=True)), state

    def check_replay(self, executor, found):
        """Memory that is poisoned after its last use is not read again."""
        feeds = list(self.made.feeds.values())
        replayed = executor.binding(feeds).replay([address_of(x) for x in feeds])
        for value, again in zip(found, replayed, strict=True):
            problem = difference(again, value, 0)
            assert problem is None, f"with poisoned memory, {problem}"

    def needed(self, roots):
        """The nodes that run for ``roots``, in order."""
        found, stack = set(), list(roots)
        while stack:
            node = stack.pop()
            if node not in found:
                found.add(node)
                stack += [*(t.node for t in node.inputs), *node.controls]
        return [node for node in self.made.graph.nodes if node in found]

    def check_nodes(self):
        """Each node against its reference; gives the values of all tensors."""
        values, state = self.native(self.made.tensors, self.made.effects)
        nodes = self.needed([*(t.node for t in values), *self.made.effects])
        sight = look(nodes)
        for node in nodes:
            if node.op.name == "variable":
                continue
            outputs = [values[t] for t in node.outputs]
            if node.op.name == "placeholder":
                problem = difference(outputs[0], self.made.feeds[node.outputs[0]], 0)
            else:
                problem = misfit(node, self.operands(node, sight, values), outputs, self.fused)
            assert problem is None, node.error(problem)
        self.check_state(state, sight, values, {})
        return values

    def operands(self, node, sight, values):
        """What a node was given; for a variable, the value that it sees."""
        seen = [sight.seen[node] if t.type.resource else t for t in node.inputs]
        return [
            self.made.start[t.node.attrs["shared_name"]] if s is None else values[s]
            for t, s in zip(node.inputs, seen, strict=True)
        ]

    def errors(self, values):
        """How far each tensor may move; None: not a bit."""
        nodes = self.needed([*(t.node for t in values), *self.made.effects])
        sight, errors = look(nodes), {None: None}
        for node in nodes:
            if not node.inputs:
                errors |= dict.fromkeys(node.outputs)
                continue
            given = [errors[sight.seen[node] if t.type.resource else t] for t in node.inputs]
            inputs, outputs = self.operands(node, sight, values), [values[t] for t in node.outputs]
            errors |= zip(node.outputs, spread(node, inputs, outputs, given), strict=True)
        return errors

    def check_part(self, fetches, effects, disabled, values, errors):
        """A few tensors alone, some passes switched off."""
        found, state = self.native(fetches, effects, disabled)
        for tensor in fetches:
            bound = 0 if errors[tensor] is None else errors[tensor]
            problem = difference(found[tensor], values[tensor], bound)
            assert problem is None, f"{tensor.name} alone, without {disabled}: {problem}"
        sight = look(self.needed([*(t.node for t in fetches), *effects]))
        self.check_state(state, sight, values, errors)

    def check_state(self, state, sight, values, errors):
        for name, found in state.items():
            last = sight.last.get(name)
            wanted = self.made.start[name] if last is None else values[last]
            bound = errors.get(last)
            problem = difference(np.asarray(found), wanted, 0 if bound is None else bound)
            assert problem is None, f"variable {name}: {problem}"
