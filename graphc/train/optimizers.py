"""Optimizers: how gradients change variables.

An optimizer's state per variable is a variable of its own, a slot, named after both: the momentum
of ``W`` is ``W/Momentum``. All updates of a step see the values at its start.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from graphc.autodiff import gradients
from graphc.ir.dtypes import DType
from graphc.ir.errors import DTypeError, GraphError
from graphc.ir.graph import Node, Tensor, TensorLike
from graphc.ir.scope import control_dependencies, name_scope
from graphc.ir.source import located, user_source
from graphc.ops import cast, convert, multiply, sqrt, square, zeros
from graphc.ops.control import group
from graphc.ops.partitioned import flattened
from graphc.ops.variables import Assignable, Variable, exactly_on, trainable_variables

GradientAndVariable = tuple[Tensor | None, Variable]


class Optimizer:
    """What all optimizers do; a subclass says in ``update`` how one variable changes.

    Args:
        learning_rate: a number or a scalar tensor.
        name: of the operations, and of the slots.
    """

    def __init__(self, learning_rate: TensorLike, name: str) -> None:
        self._learning_rate = learning_rate
        self._name = name
        self._slots: dict[tuple[str, Tensor], Variable] = {}

    def minimize(
        self,
        loss: TensorLike,
        global_step: Variable | None = None,
        var_list: Sequence[Assignable] | None = None,
        name: str | None = None,
    ) -> Node:
        """An operation that changes ``var_list`` (all trainable variables) to lower ``loss``.

        Raises:
            GraphError: the loss depends on none of the variables.
        """
        found = self.compute_gradients(loss, var_list)
        if all(gradient is None for gradient, _ in found):
            names = [variable.name for _, variable in found]
            message = f"the loss {loss!r} depends on none of the variables {names}"
            raise GraphError(located(message, user_source()))
        return self.apply_gradients(found, global_step, name)

    def compute_gradients(
        self,
        loss: TensorLike,
        var_list: Sequence[Assignable] | None = None,
        grad_loss: TensorLike | None = None,
    ) -> list[GradientAndVariable]:
        """Pairs of gradient (None: the loss does not depend on it) and variable.

        A variable that is cut gives a pair for each part.
        """
        variables = trainable_variables() if var_list is None else _variables(var_list)
        floats = [variable for variable in variables if variable.dtype.is_float]
        found = gradients(loss, floats, None if grad_loss is None else [grad_loss])
        by_handle = {v.handle: grad for v, grad in zip(floats, found, strict=True)}
        return [(by_handle.get(variable.handle), variable) for variable in variables]

    def apply_gradients(
        self,
        grads_and_vars: Iterable[GradientAndVariable],
        global_step: Variable | None = None,
        name: str | None = None,
    ) -> Node:
        """An operation that changes each variable by its gradient, then counts the step.

        Raises:
            GraphError: there is no gradient at all.
            DTypeError: a gradient that is not of its variable's dtype.
        """
        pairs = [(_gradient(g, v), v) for g, v in grads_and_vars if g is not None]
        if not pairs:
            message = "there are no gradients to apply"
            raise GraphError(located(message, user_source()))
        with name_scope(name or self._name):
            self.prepare([variable for _, variable in pairs])
            updates = [self._updated(gradient, variable) for gradient, variable in pairs]
            updates += self.finish()
            if global_step is None:
                return group(*updates, name="update")
            with control_dependencies([group(*updates, name="update")]):
                return global_step.assign_add(1, name="count").node

    def get_slot(self, variable: Variable, name: str) -> Variable | None:
        """The slot called ``name`` of ``variable``, or None if there is none."""
        return self._slots.get((name, variable.handle))

    def get_slot_names(self) -> list[str]:
        """The names of all kinds of slots that exist."""
        return sorted({name for name, _ in self._slots})

    def variables(self) -> list[Variable]:
        """Everything that the optimizer remembers from step to step."""
        return list(self._slots.values())

    def prepare(self, variables: Sequence[Variable]) -> None:
        """Make what the updates of ``variables`` share."""

    def update(self, gradient: Tensor, variable: Variable) -> Tensor | Node:
        """Change one variable; runs on the variable's device."""
        raise NotImplementedError

    def finish(self) -> list[Tensor]:
        """Further updates of the step."""
        return []

    def slot(self, variable: Variable, name: str) -> Variable:
        """The slot ``name`` of ``variable``, zeros of its shape and on its device at first."""
        key = (name, variable.handle)
        if key not in self._slots:
            with exactly_on(variable.device), name_scope(None):
                self._slots[key] = Variable(
                    lambda: zeros(variable.shape, variable.dtype),
                    trainable=False,
                    name=f"{variable.node.name}/{name}",
                )
        return self._slots[key]

    def rate(self, variable: Variable) -> Tensor:
        """The learning rate in the dtype of ``variable``."""
        return in_dtype_of(variable, self._learning_rate)

    def _updated(self, gradient: Tensor, variable: Variable) -> Tensor | Node:
        with exactly_on(variable.device), name_scope(f"update_{variable.node.name}"):
            return self.update(gradient, variable)


class GradientDescentOptimizer(Optimizer):
    """``variable -= learning_rate * gradient``."""

    def __init__(self, learning_rate: TensorLike, name: str = "GradientDescent") -> None:
        super().__init__(learning_rate, name)

    def update(self, gradient: Tensor, variable: Variable) -> Tensor:
        return variable.assign_sub(self.rate(variable) * gradient)


class MomentumOptimizer(Optimizer):
    """``m = momentum * m + gradient; variable -= learning_rate * m``.

    With ``use_nesterov`` the variable moves by ``gradient + momentum * m`` instead: Sutskever,
    Martens, Dahl and Hinton, ICML 2013.
    """

    def __init__(
        self,
        learning_rate: TensorLike,
        momentum: TensorLike,
        use_nesterov: bool = False,
        name: str = "Momentum",
    ) -> None:
        super().__init__(learning_rate, name)
        self._momentum = momentum
        self._use_nesterov = use_nesterov

    def update(self, gradient: Tensor, variable: Variable) -> Tensor:
        slot = self.slot(variable, self._name)
        momentum = in_dtype_of(variable, self._momentum)
        moved = slot.assign(slot.value() * momentum + gradient)
        if self._use_nesterov:
            moved = gradient + momentum * moved
        return variable.assign_sub(self.rate(variable) * moved)


class AdamOptimizer(Optimizer):
    """Kingma and Ba, ICLR 2015, in the form that ends section 2: the rate is corrected, once.

    ``m = beta1 * m + (1 - beta1) * g``, ``v = beta2 * v + (1 - beta2) * g * g``,
    ``variable -= rate * m / (sqrt(v) + epsilon)`` with
    ``rate = learning_rate * sqrt(1 - beta2 ** t) / (1 - beta1 ** t)``.
    """

    def __init__(
        self,
        learning_rate: TensorLike = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        name: str = "Adam",
    ) -> None:
        super().__init__(learning_rate, name)
        self._betas = (beta1, beta2)
        self._epsilon = epsilon
        self._powers: list[Variable] = []
        self._correction: Tensor | None = None

    def prepare(self, variables: Sequence[Variable]) -> None:
        first = min(variables, key=lambda variable: variable.name)
        with exactly_on(first.device):
            if not self._powers or self._powers[0].graph is not first.graph:
                self._powers = [
                    self._power(beta, first.dtype, f"beta{n}_power")
                    for n, beta in enumerate(self._betas, 1)
                ]
            power1, power2 = (power.value() for power in self._powers)
            self._correction = sqrt(1.0 - power2) / (1.0 - power1)

    def update(self, gradient: Tensor, variable: Variable) -> Tensor:
        beta1, beta2 = self._betas
        m_slot, v_slot = self.slot(variable, "Adam"), self.slot(variable, "Adam_1")
        rate = self.rate(variable) * in_dtype_of(variable, self._correction)
        m = m_slot.assign(m_slot.value() * beta1 + gradient * (1.0 - beta1))
        v = v_slot.assign(v_slot.value() * beta2 + square(gradient) * (1.0 - beta2))
        return variable.assign_sub(rate * m / (sqrt(v) + self._epsilon))

    def finish(self) -> list[Tensor]:
        return [
            power.assign(multiply(power.value(), beta))
            for power, beta in zip(self._powers, self._betas, strict=True)
        ]

    def variables(self) -> list[Variable]:
        return [*self._powers, *super().variables()]

    def _power(self, beta: float, dtype: DType, name: str) -> Variable:
        """beta ** t, where t counts from 1."""
        with name_scope(None):
            return Variable(lambda: convert(beta, dtype), trainable=False, name=name)


def in_dtype_of(variable: Variable, value: TensorLike) -> Tensor:
    """A number or tensor in the dtype of ``variable``."""
    found: Any = convert(value, like=variable.handle)
    return found if found.dtype is variable.dtype else cast(found, variable.dtype)


def _variables(var_list: Any) -> list[Variable]:
    """The variables that a user listed, those that are cut by their parts; a single one will do."""
    found = list(var_list) if isinstance(var_list, list | tuple) else [var_list]
    for variable in found:
        if not isinstance(variable, Assignable):
            _check_variable(variable)
    return flattened(found)


def _gradient(gradient: TensorLike, variable: Variable) -> Tensor:
    """``gradient`` as a tensor of the dtype of ``variable``."""
    _check_variable(variable)
    found = convert(gradient, like=variable.handle)
    if found.dtype is not variable.dtype:
        message = f"the gradient {found!r} is not of the dtype of {variable!r}"
        raise DTypeError(located(message, user_source()))
    return found


def _check_variable(value: Any) -> None:
    if not isinstance(value, Variable):
        message = f"{value!r} is no variable: an optimizer changes variables only"
        raise GraphError(located(message, user_source()))
