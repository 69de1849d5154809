"""What a source file asks of TensorRT, pycuda and cuda-python, held to their surfaces.

The sources are read as syntax trees, once for each generation of TensorRT. A chain like
``trt.BuilderFlag.FP16`` must exist wherever it can be reached: under ``if generation(trt) == 8:``,
in a ``case 10:``, behind ``hasattr(trt, "IProgressMonitor")``, or behind an early return of such a
check, only the generations that get there count. What a call gives is followed through the return
types of the real signatures, so that methods of builders, configurations, engines and contexts are
checked as well, with the number and the names of their arguments.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from doubles import surface as surfaces
from doubles.reach import Node, Reach
from doubles.strict import parameters
from doubles.surface_cuda import BINDINGS, PYCUDA

MODULES = {"trt": "tensorrt", "tensorrt": "tensorrt", "cuda": "pycuda", "nvrtc": "nvrtc"}
MEMBERS = {"cuda": "pycuda", "_cuda": "pycuda", "_trt": "tensorrt"}
PARAMETERS = {"config": "object:IBuilderConfig", "parser": "object:OnnxParser"}
"""Parameters of functions whose type their name tells."""

RESULTS = {
    "pyfunction:module_from_buffer": "py:Module",
    "pyfunction:mem_alloc": "py:DeviceAllocation",
    "pymethod:Module.get_function": "py:Function",
    "pymethod:Device.retain_primary_context": "py:Context",
}
"""What calls of pycuda give, as its sources do not say it."""


class Usage(Reach):
    """One source file against one generation. ``faults`` are lines of what does not exist."""

    def __init__(self, path: Path, generation: int, source: str | None = None) -> None:
        self.path, self.generation = path, generation
        self.tensorrt = surfaces.load(surfaces.path_of(generation))
        self.pycuda = surfaces.load(PYCUDA)
        self.bindings = surfaces.load(BINDINGS)
        self.tree = ast.parse(path.read_text(encoding="utf-8") if source is None else source)
        self.parents = {
            child: parent
            for parent in ast.walk(self.tree)
            for child in ast.iter_child_nodes(parent)
        }
        self.names: dict[tuple[Node | None, str], str] = {}
        self.returns: dict[str, str] = {}
        self.used: set[str] = set()
        self.faults: list[str] = []
        for _ in range(3):  # what is assigned from what is assigned
            self._bind()
        for node in ast.walk(self.tree):
            self._check(node)

    # Types: "tensorrt", "class:X", "enum:X", "object:X", "method:X.y", "pycuda", "py:X" ...

    def resolve(self, node: Node) -> str:
        """Return what an expression is; empty where that is not known."""
        if isinstance(node, ast.Name):
            return self._lookup(node, node.id)
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            if known := self._lookup(node, text):
                return known
            if node.attr in MEMBERS and "torch" not in ast.unparse(node.value):
                return MEMBERS[node.attr]
            return self._member(self.resolve(node.value), node.attr) or ""
        if isinstance(node, ast.Call):
            return self._result(node)
        if isinstance(node, ast.NamedExpr):
            return self.resolve(node.value)
        return ""

    def _lookup(self, node: Node, text: str) -> str:
        scope: Node | None = node
        while scope is not None:
            scope = self.parents.get(scope)
            if (scope, text) in self.names:
                return self.names[scope, text]
            taken = scope.args.args if isinstance(scope, ast.FunctionDef) else []
            if text in PARAMETERS and any(argument.arg == text for argument in taken):
                return PARAMETERS[text]
        return MODULES.get(text, "")

    def _member(self, owner: str, name: str) -> str | None:
        """Return what ``owner.name`` is; None where the owner is known and lacks it."""
        kind, _, which = owner.partition(":")
        if kind == "tensorrt":
            return self._of_module(name)
        if kind == "enum":
            members = (*self.tensorrt["enums"][which]["members"], "__members__")
            return f"member:{which}" if name in members else None
        if kind == "member":
            return "value" if name in ("name", "value", "itemsize") else None
        if kind in ("class", "object"):
            return self._of_class(which, name)
        if kind == "pycuda":
            return self._of_pycuda(name)
        if kind == "py":
            known = self.pycuda["classes"].get(which, []) + self.pycuda["added"].get(which, [])
            return f"pymethod:{which}.{name}" if name in known else None
        if kind == "pyenum":
            return "value" if name in self.pycuda["enums"][which] else None
        if kind in ("runtime", "nvrtc"):
            groups = self.bindings[kind]
            found = [group for group, names in groups.items() if name in names]
            return (f"{kind}enum:{name}" if found[0] == "enums" else "value") if found else None
        if kind in ("runtimeenum", "nvrtcenum"):
            return "value" if name in self.bindings[kind[:-4]]["enums"][which] else None
        return ""

    def has(self, owner: str, name: str) -> bool:
        """Whether ``owner`` is known to have an attribute."""
        return self._member(owner, name) is not None

    def _of_module(self, name: str) -> str | None:
        for group, kind in (("classes", "class"), ("enums", "enum"), ("functions", "function")):
            if name in self.tensorrt[group]:
                return f"{kind}:{name}"
        return "value" if name in (*self.tensorrt["values"], "__version__", "__name__") else None

    def _of_class(self, which: str, name: str) -> str | None:
        if which not in self.tensorrt["classes"]:
            return ""
        if which in ("ILogger", "Logger") and name == "Severity":
            return "enum:ILogger.Severity"
        found = self.tensorrt["classes"][which]
        if name in found["methods"] or name == "__init__":
            return f"method:{which}.{name}"
        if name in found["properties"]:
            return f"object:{found['properties'][name][0]}"
        if name in found["values"]:
            return "value"
        for base in found["bases"]:
            if (inherited := self._of_class(base, name)) is not None:
                return inherited
        return None

    def _of_pycuda(self, name: str) -> str | None:
        if name in self.pycuda["classes"] and name not in self.pycuda["enums"]:
            return f"pyclass:{name}"
        if name in self.pycuda["enums"]:
            return f"pyenum:{name}"
        if name in self.pycuda["functions"] or name in self.pycuda["python"]:
            return f"pyfunction:{name}"
        return "value" if name in self.pycuda["errors"] else None

    def _result(self, call: ast.Call) -> str:
        called = self.resolve(call.func)
        if ast.unparse(call.func).split(".")[-1] == "create" and len(call.args) > 1:
            called = self.resolve(call.args[1])  # bindings.create(trt, trt.Builder, ...)
        kind, _, which = called.partition(":")
        if kind == "class":
            return f"object:{which}"
        if kind == "pyclass":
            return f"py:{which}"
        if kind == "method":
            owner, _, name = which.partition(".")
            signatures = self.tensorrt["classes"][owner]["methods"].get(name, [])
            given = signatures[0].rpartition(" -> ")[2] if signatures else ""
            given = given.replace("nvonnxparser::I", "")  # of get_error(): a type of C++
            return f"object:{given}" if given in self.tensorrt["classes"] else ""
        name = ast.unparse(call.func).split(".")[-1]
        loads = {
            "load_runtime": "runtime", "load_driver": "pycuda", "import_tensorrt": "tensorrt",
            "generation": "generation",
        }  # fmt: skip
        return RESULTS.get(called) or loads.get(name) or self.returns.get(name, "")

    def _bind(self) -> None:
        for node in ast.walk(self.tree):
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if isinstance(target, (ast.Name, ast.Attribute)):
                        self._learn(target, self.resolve(node.value))
            if isinstance(node, ast.NamedExpr):
                self._learn(node.target, self.resolve(node.value))
            if isinstance(node, ast.FunctionDef) and not self._nested(node):
                for inner in ast.walk(node):
                    if isinstance(inner, ast.Return) and inner.value is not None:
                        kind = self.resolve(inner.value)
                        if kind.startswith(("object:", "py:")):
                            self.returns[node.name] = kind

    def _nested(self, node: Node) -> bool:
        outer = self.parents.get(node)
        while outer is not None and not isinstance(outer, ast.FunctionDef):
            outer = self.parents.get(outer)
        return outer is not None

    def _learn(self, target: ast.Name | ast.Attribute, kind: str) -> None:
        wanted = ast.FunctionDef if isinstance(target, ast.Name) else ast.ClassDef
        scope: Node | None = self.parents.get(target)
        while scope is not None and not isinstance(scope, wanted):
            scope = self.parents.get(scope)
        key = (scope or self.tree, ast.unparse(target))
        if kind or key not in self.names:
            self.names[key] = kind or self.names.get(key, "")

    # The checks.

    def _check(self, node: Node) -> None:
        if isinstance(node, ast.Attribute):
            owner = self.resolve(node.value)
            if owner and owner.partition(":")[0] in CHECKED:
                if self._member(owner, node.attr) is None and node.attr not in self._own(owner):
                    self._fault(node, f"{owner} has no {node.attr}")
                else:
                    self.used.add(f"{owner}.{node.attr}")
            if isinstance(node.ctx, ast.Store) and owner.startswith("object:"):
                properties = self.tensorrt["classes"].get(owner[7:], {}).get("properties", {})
                if node.attr in properties and not properties[node.attr][1]:
                    self._fault(node, f"{owner}.{node.attr} cannot be set")
        elif isinstance(node, ast.Call):
            self._check_call(node)

    def _own(self, owner: str) -> set[str]:
        """Return the names that pure Python adds: what every object has."""
        return set(dir(object)) if owner.startswith(("object:", "py:", "class:")) else set()

    def _check_call(self, call: ast.Call) -> None:
        first = call.args[0] if call.args else None
        if isinstance(first, ast.Constant) and str(first.value).startswith(("cuda", "nvrtc")):
            self._check_named(call, str(first.value))
        kind, _, which = self.resolve(call.func).partition(":")
        if any(isinstance(argument, ast.Starred) for argument in call.args):
            return
        count, keywords = len(call.args), {k.arg for k in call.keywords}
        if kind == "method":
            owner, _, name = which.partition(".")
            known = self.tensorrt["classes"][owner]
            signatures = known["init"] if name == "__init__" else known["methods"][name]
            unbound = self.resolve(getattr(call.func, "value", call)).startswith("class:")
            accepted = [parameters(signature) for signature in signatures]
            if not any(takes(a, count - unbound, keywords) for a in accepted):
                self._fault(call, f"{which} takes {signatures}")
        elif kind == "class":
            accepted = [parameters(s) for s in self.tensorrt["classes"][which]["init"] or ()]
            if not any(takes(a, count, keywords) for a in accepted):
                self._fault(call, f"{which} takes {self.tensorrt['classes'][which]['init']}")
        elif kind == "pyfunction":
            wanted = self.pycuda["functions"].get(which) or self.pycuda["python"].get(which)
            known_names = {name.rstrip("=") for name in wanted or ()}
            if wanted and (count + len(keywords) > len(wanted) or not keywords <= known_names):
                self._fault(call, f"{which} takes {wanted}")

    def _check_named(self, call: ast.Call, name: str) -> None:
        """Check ``self._call("cudaGraphLaunch", ...)``: the function by its name."""
        for module in ("runtime", "nvrtc"):
            if name in self.bindings[module]["functions"]:
                wanted = self.bindings[module]["functions"][name]
                self.used.add(f"{module}.{name}")
                if len(call.args) - 1 != len(wanted):
                    self._fault(call, f"{name} takes {wanted}")
                return
        if name.isidentifier() and any(char.isupper() for char in name):
            self._fault(call, f"cuda-python has no {name}")

    def _fault(self, node: Any, text: str) -> None:
        if self.generation not in self.reaching(node):
            return
        where = f"{self.path.name}:{node.lineno}"
        self.faults.append(f"{where}: {text} in TensorRT {self.tensorrt['version']}")


CHECKED = ("tensorrt", "enum", "class", "object", "pycuda", "py", "pyenum", "runtime", "runtimeenum",
           "nvrtc", "nvrtcenum")  # fmt: skip


def takes(accepted: list[Any], count: int, keywords: set[str | None]) -> bool:
    """Whether parameters take so many positional arguments and these keywords."""
    names = [parameter.name for parameter in accepted]
    if None in keywords:
        return True
    needed = {p.name for p in accepted[count:] if not p.optional}
    return count <= len(names) and keywords <= set(names[count:]) and needed <= keywords
