"""The C header of an artifact: written for the person who links it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping

from graphc.artifact import Manifest, Port
from graphc.ir.dtypes import as_dtype

_C_TYPES = {
    "bool": "uint8_t", "int8": "int8_t", "int16": "int16_t", "int32": "int32_t",
    "int64": "int64_t", "uint8": "uint8_t", "uint16": "uint16_t", "uint32": "uint32_t",
    "uint64": "uint64_t", "float16": "uint16_t", "bfloat16": "uint16_t", "float32": "float",
    "float64": "double",
}  # fmt: skip

_TEMPLATE = """\
/* {name}: compiled by graphc {version}. Include this and link {name}-TARGET.o, where TARGET is
   {targets}.

   A call is reentrant: it has no globals, allocates nothing and throws nothing. The caller owns
   all memory. Pointers are to dense, row-major arrays, aligned to their elements; constants and
   workspace are aligned to 64 bytes. No two arrays of a call overlap.

{ports}{dims_text}*/
#ifndef GRAPHC_{upper}_H
#define GRAPHC_{upper}_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

#ifndef GRAPHC_PARALLEL
#define GRAPHC_PARALLEL
/* How work is spread: run() calls body(env, 0) ... body(env, tasks - 1), each once, in any order
   and on any threads, and returns when all have returned. NULL instead of it: one thread. */
typedef struct {{
  void (*run)(void *pool, void (*body)(void *env, int64_t task), void *env, int64_t tasks);
  void *pool;
}} graphc_parallel;

/* An optional pool, in pool-TARGET.o (needs POSIX threads). threads counts the calling one; NULL
   if none could be started. To use it: graphc_parallel parallel = {{graphc_pool_parallel, pool}};
   the results have the same bits for any number of threads. */
void *graphc_pool_create(int64_t threads);
void graphc_pool_destroy(void *pool);
void graphc_pool_parallel(void *pool, void (*body)(void *env, int64_t task), void *env,
                          int64_t tasks);
#endif

enum {{
  {upper}_INPUTS = {inputs},
  {upper}_OUTPUTS = {outputs},
  {upper}_VARIABLES = {variables},
  {upper}_DIMS = {dims}
}};

/* How many bytes of constants-TARGET.bin to load or map, at a multiple of 64. */
{constants}{variable_lists}
/* How many bytes of workspace a call needs. */
int64_t {name}_workspace_size(const int64_t *dims);

/* Runs the program. Returns 0, or a status word: its upper 16 bits are the number of an error
   below, its lower 48 bits the element at which it occurred; variables are unchanged then.
{errors}*/
int64_t {name}_run(const void *constants, void *const *variables, void *workspace,
{pad}const void *const *inputs, void *const *outputs, const int64_t *dims,
{pad}const graphc_parallel *parallel);

#ifdef __cplusplus
}}
#endif
#endif
"""


def header_text(manifest: Manifest, constant_bytes: Mapping[str, int]) -> str:
    """The header for all targets of an artifact, and the sizes of their constants."""
    groups = (
        ("inputs", manifest.inputs), ("outputs", manifest.outputs),
        ("variables", manifest.variables),
    )  # fmt: skip
    ports = "".join(_port_lines(title, ports) for title, ports in groups)
    errors = "".join(
        f"     {i}: {_comment(message)}\n" for i, message in enumerate(manifest.errors, 1)
    )
    upper = manifest.name.upper()
    sizes = "".join(
        f"#define {upper}_CONSTANT_BYTES_{re.sub(r'[^A-Z0-9]', '_', t.upper())} {size}\n"
        for t, size in constant_bytes.items()
    )
    return _TEMPLATE.format(
        name=manifest.name, upper=upper, version=manifest.graphc, ports=ports,
        targets=", ".join(constant_bytes), inputs=len(manifest.inputs),
        outputs=len(manifest.outputs), variables=len(manifest.variables),
        dims=len(manifest.dims), dims_text=_dims_text(manifest),
        errors=errors or "     This program has no errors in data.\n", constants=sizes,
        variable_lists=_variable_lists(upper, manifest.variables),
        pad=" " * (len(manifest.name) + 13),
    )  # fmt: skip


def _variable_lists(upper: str, variables: tuple[Port, ...]) -> str:
    """Names and bytes of the variables, to fetch their values from the file or to make room."""
    if not variables:
        return ""
    lists = {
        "NAMES": ("names in variables.safetensors", [json.dumps(v.name) for v in variables]),
        "BYTES": ("sizes", [str(_bytes(v)) for v in variables]),
    }
    return "".join(
        f"\n/* The variables' {what}, in order. */\n#define {upper}_VARIABLE_{key} \\\n"
        + "".join(f"  {lead} {item}{end} \\\n" for lead, item, end in _braced(items))[:-3]
        + "\n"
        for key, (what, items) in lists.items()
    )


def _braced(items: list[str]) -> Iterator[tuple[str, str, str]]:
    """The lines of a C initialiser."""
    for i, item in enumerate(items):
        yield "{" if i == 0 else " ", item, "}" if i == len(items) - 1 else ","


def _bytes(variable: Port) -> int:
    return math.prod(map(int, variable.shape)) * as_dtype(variable.dtype).size


def _dims_text(manifest: Manifest) -> str:
    """What each of the sizes is, and what callers must see to: a call does not check it."""
    if not manifest.dims:
        return "   dims: none, NULL may be passed\n"
    lines = ["dims:", *(f"  [{i}] {_size(manifest, d)}" for i, d in enumerate(manifest.dims))]
    if manifest.rules:
        signs = {False: "==", True: ">="}
        lines += ["the caller makes sure that:"]
        lines += [f"  {r.left} {signs[r.at_least]} {r.right}" for r in manifest.rules]
    return "".join(f"   {line}\n" for line in lines)


def _size(manifest: Manifest, name: str) -> str:
    told = (
        (dim, f"axis {axis} of {_comment(port.name)}")
        for port in manifest.inputs
        for axis, dim in enumerate(port.shape)
        if re.search(rf"\b{re.escape(name)}\b", dim)
    )
    dim, place = min(told, key=lambda found: found[0] != name)
    return f"{name}: {place}" + ("" if dim == name else f" is {dim}")


def _port_lines(title: str, ports: tuple[Port, ...]) -> str:
    lines = "".join(
        f"     [{i}] {_comment(p.name)}: {_C_TYPES[as_dtype(p.dtype).name]}"
        f"[{']['.join(p.shape) if p.shape else '1'}]\n"
        for i, p in enumerate(ports)
    )
    return f"   {title}:\n{lines}" if ports else ""


def _comment(text: str) -> str:
    """Text as part of a comment: it ends none, begins none, and its lines are lines."""
    for sign in ("*/", "/*", "??/"):  # the last is a backslash to C, which would join lines
        text = text.replace(sign, f"{sign[:-1]} {sign[-1]}")
    shown = "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
    return shown.replace("\n", "\n        ")
