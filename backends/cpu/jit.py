"""LLVM IR to machine code, and machine code into this process.

Code is optimised lightly: schedules have already vectorised, unrolled and hoisted, so LLVM's own
loop passes would find little and take as long as all the rest. Objects are position-independent
and refer to nothing outside, so one object serves this process as well as a library or an
artifact.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import TYPE_CHECKING, Any

from graphc.ir.errors import CompileError
from graphc.ir.target import Target

if TYPE_CHECKING:
    import llvmlite.binding as llvm

_PASSES = ("sroa", "instruction_combine", "simplify_cfg")
_CODE_GENERATION_LEVEL = 2


def compile_object(ir: str, target: Target) -> bytes:
    """A module of LLVM IR as a relocatable object of ``target``.

    Raises:
        CompileError: LLVM does not take the text, or cannot generate code for the target.
    """
    return Compiler(target).object(ir)


class Compiler:
    """Compiles for one target, for one thread at a time.

    Raises:
        CompileError: this build of LLVM does not know the target.
    """

    def __init__(self, target: Target) -> None:
        import llvmlite.binding as llvm

        _initialize()
        try:
            self._machine = llvm.Target.from_triple(target.triple).create_target_machine(
                cpu=target.cpu,
                features=target.features,
                opt=_CODE_GENERATION_LEVEL,
                reloc="pic",
                codemodel="small",
            )
        except RuntimeError as error:
            raise CompileError(f"no code can be generated for {target.name}: {error}") from None
        layout = str(self._machine.target_data)
        self._head = f'target datalayout = "{layout}"\ntarget triple = "{target.triple}"\n'

    def object(self, ir: str) -> bytes:
        """The module ``ir`` as an object.

        Raises:
            CompileError: as ``compile_object``.
        """
        return _emit_object(self._machine, self._optimized(ir))

    def assembly(self, ir: str) -> str:
        """The module ``ir`` as the target's assembly, for people."""
        return str(self._machine.emit_assembly(self._optimized(ir)))

    def _optimized(self, ir: str) -> llvm.ModuleRef:
        import llvmlite.binding as llvm

        try:
            # A context of its own: the global one keeps every constant it has ever seen, and
            # threads cannot share one.
            module = llvm.parse_assembly(self._head + ir, llvm.create_context())
            module.verify()
        except RuntimeError as error:
            raise CompileError(f"LLVM refuses generated code, a bug of graphc: {error}") from None
        builder = llvm.create_pass_builder(self._machine, llvm.create_pipeline_tuning_options())
        passes = llvm.create_new_module_pass_manager()
        for name in _PASSES:
            getattr(passes, f"add_{name}_pass")()
        passes.run(module, builder)
        return module


class Library:
    """Machine code in this process for as long as this object lives; made by ``link``."""

    def __init__(self, objects: Mapping[str, bytes], exports: Iterable[str]) -> None:
        import llvmlite.binding as llvm

        builder = llvm.JITLibraryBuilder()
        for data in objects.values():
            builder.add_object_img(data)
        for name in (*objects, *exports):
            builder.export_symbol(name)
        self._engine = _engine()
        try:
            self._tracker = builder.link(self._engine.jit, f"library{next(self._engine.numbers)}")
        except RuntimeError as error:
            raise CompileError(f"machine code cannot be loaded: {error}") from None

    def address(self, name: str) -> int:
        """Where the function ``name`` is."""
        return int(self._tracker[name])


def link(objects: Mapping[str, bytes], exports: Iterable[str] = ()) -> Library:
    """Load objects, each of which defines the function that it is listed under.

    Many at once load several times faster than one after the other. ``exports`` are further
    functions whose addresses are wanted.

    Raises:
        CompileError: an object is damaged, is not for this process, or lacks a symbol.
    """
    return Library(objects, exports)


@dataclass(frozen=True)
class _Engine:
    """LLVM's dynamic linker in this process; a library's name cannot be used twice."""

    jit: llvm.LLJIT
    numbers: count[int]


@cache
def _engine() -> _Engine:
    import llvmlite.binding as llvm

    _initialize()
    return _Engine(llvm.create_lljit_compiler(use_jit_link=True, suppress_errors=True), count())


@cache
def _initialize() -> None:
    """Make all of LLVM's targets known."""
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


def _emit_object(machine: llvm.TargetMachine, module: llvm.ModuleRef) -> bytes:
    """Machine code of ``module``, without llvmlite's lock, so that threads can share the work.

    The lock guards the context that llvmlite shares; here, module and machine belong to one
    thread alone. A llvmlite that wraps its functions otherwise is called as it is, under its lock.
    """
    from llvmlite.binding import ffi

    locked: Any = ffi.lib.LLVMPY_TargetMachineEmitToMemory
    emit = getattr(locked, "_cfn", locked)
    with ffi.OutputString() as error:
        memory = emit(machine, module, 1, error)
        if not memory:
            raise CompileError(f"LLVM generates no code: {error}")
    try:
        start, size = (getattr(ffi.lib, f"LLVMPY_GetBuffer{what}") for what in ("Start", "Size"))
        return ctypes.string_at(start(memory), size(memory))
    finally:
        ffi.lib.LLVMPY_DisposeMemoryBuffer(memory)
