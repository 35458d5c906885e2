"""Rules for the tests themselves: public names only, no measured times, and no parameter that is not used."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

FILES = sorted(Path(__file__).parent.glob("*.py"))

# Exceptions, as the failing test prints them, each with its reason in a comment.
ALLOWED: set[str] = set()

NAMED_TUPLE = {"_asdict", "_fields", "_make", "_replace"}  # documented, in spite of the underscore
STOPWATCHES = {"perf_counter", "perf_counter_ns", "process_time", "process_time_ns", "thread_time", "thread_time_ns"}
CLOCKS = {"monotonic", "monotonic_ns", "time", "time_ns"}


def private(name: object) -> bool:
    return isinstance(name, str) and name.startswith("_") and not name.startswith("__") and name not in NAMED_TUPLE


def private_names(tree: ast.AST) -> Iterator[str]:
    """What is taken from another module or object though its name starts with an underscore."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                yield ast.unparse(node)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names if private(alias.name))
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("getattr", "setattr", "delattr")):
            for argument in node.args[:2]:  # an object and a name, or monkeypatch's dotted name
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield from (ast.unparse(node) for part in argument.value.split(".") if private(part))


def measured_times(tree: ast.AST) -> Iterator[str]:
    """Stopwatches and differences of clock readings; a deadline, which only ends a test that hangs, is compared."""

    def reads_clock(node: ast.AST) -> bool:
        return any(
            isinstance(part, ast.Call)
            and isinstance(part.func, ast.Attribute)
            and part.func.attr in CLOCKS
            and ast.unparse(part.func.value) == "time"
            for part in ast.walk(node)
        )

    readings = {
        name.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and reads_clock(node.value)
        for target in node.targets
        for name in ast.walk(target)
        if isinstance(name, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in STOPWATCHES:
            yield ast.unparse(node)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
            if reads_clock(node.right) or (reads_clock(node.left) and readings & set(names_in(node.right))):
                yield ast.unparse(node)


def names_in(node: ast.AST) -> Iterator[str]:
    return (part.id for part in ast.walk(node) if isinstance(part, ast.Name))


def unused_parameters(tree: ast.AST) -> Iterator[str]:
    """Arguments that a test is parametrised with and does not use."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        used = {name for statement in function.body for name in names_in(statement)}
        for decorator in function.decorator_list:
            if isinstance(decorator, ast.Call) and ast.unparse(decorator.func).endswith("mark.parametrize"):
                names = ast.literal_eval(decorator.args[0])
                for name in [part.strip() for part in names.split(",")] if isinstance(names, str) else names:
                    if name not in used:
                        yield f"{function.name}({name})"


def violations(source: str) -> list[str]:
    tree = ast.parse(source)
    return [
        *(f"private: {name}" for name in private_names(tree)),
        *(f"measures time: {text}" for text in measured_times(tree)),
        *(f"unused parameter: {name}" for name in unused_parameters(tree)),
    ]


def test_tests_follow_the_rules() -> None:
    found = {f"{path.name}: {text}" for path in FILES for text in violations(path.read_text(encoding="utf-8"))}
    assert not found - ALLOWED, "\n".join(sorted(found - ALLOWED))
    assert ALLOWED <= found, f"no longer needed: {sorted(ALLOWED - found)}"


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("assert module._counter == 1", 1),
        ("assert thing().part._counter", 1),
        ("from package.module import _helper", 1),
        ("monkeypatch.setattr(module, '_helper', None)", 1),
        ("monkeypatch.setattr('package.module._helper', None)", 1),
        ("assert module.counter == self._counter", 0),
        ("output._asdict(), module.__name__", 0),
        ("begin = time.perf_counter()", 1),
        ("begin = time.monotonic()\nrun()\nassert time.monotonic() - begin < 1.0", 1),
        ("assert abs(message.stamp - time.time()) < 60.0", 1),
        ("end = time.monotonic() + 5.0\nwhile not done() and time.monotonic() < end: wait()", 0),
        ("process(stamp=time.time() - 5.0)", 0),
        ("@pytest.mark.parametrize('side', Side)\ndef test_x(side): assert run(Side.RIGHT)", 1),
        ("@pytest.mark.parametrize(('a', 'b'), [])\ndef test_x(a, b): assert a == b", 0),
    ],
)
def test_the_rules_themselves(source: str, count: int) -> None:
    assert len(violations(source)) == count
