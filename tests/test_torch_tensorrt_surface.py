"""What is asked of torch-tensorrt exists in its published releases, and is heeded there.

Its ``compile`` takes any keyword and passes over those that it does not know. So every one that the
build gives is looked for in the real signatures, which are read from the packages' sources.
"""

import ast
import inspect
import types
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch-tensorrt builds from a checkpoint (extra train)")

import torch
from doubles import surface

from rtseg.engine import torch_tensorrt_build as building

# Before explicit typing, with it as a choice, and with nothing else; the first is the lower bound.
RELEASES = ("2.4.0", "2.10.0", "2.14.0")


def function(archive, ending, name):
    """The parameters of a function in a package's sources, as ``inspect`` has them."""
    (file,) = [n for n in archive.namelist() if n.endswith(ending)]
    (found,) = [
        node
        for node in ast.parse(archive.read(file)).body
        if isinstance(node, ast.FunctionDef) and node.name == name
    ]
    positional = [a.arg for a in (*found.args.posonlyargs, *found.args.args)]
    kinds = inspect.Parameter
    made = [kinds(n, kinds.POSITIONAL_OR_KEYWORD, default=None) for n in positional]
    made += [kinds(a.arg, kinds.KEYWORD_ONLY, default=None) for a in found.args.kwonlyargs]
    if found.args.kwarg is not None:
        made.append(kinds(found.args.kwarg.arg, kinds.VAR_KEYWORD))
    return inspect.Signature(made)


class Played:
    """A function of torch-tensorrt with its real signature: keeps the keywords it is called with."""

    def __init__(self, signature, play):
        self.__signature__ = signature
        self._play = play
        self.given = {}

    def __call__(self, *args, **given):
        self.given = given
        return self._play(*args, **given)


@pytest.fixture(scope="module", params=RELEASES)
def release(request, tmp_path_factory):
    try:
        wheel = surface.fetch(
            "torch_tensorrt", request.param, tmp_path_factory.mktemp("wheel"), None
        )
    except surface.CannotReadError as error:
        pytest.skip(f"the package cannot be read here: {error}")
    with zipfile.ZipFile(wheel) as archive:
        return types.SimpleNamespace(
            version=request.param,
            compile=function(archive, "torch_tensorrt/dynamo/_compiler.py", "compile"),
            save=function(archive, "torch_tensorrt/_compile.py", "save"),
        )


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_every_setting_is_one_that_the_release_heeds(release, precision, monkeypatch):
    monkeypatch.setattr(building, "_export", lambda *args: ("program", "example"))
    checked = {}

    def check(torch, module, precision, *, typed):
        checked["typed"] = typed

    monkeypatch.setattr(building, "require_precision", check)
    compile_ = Played(release.compile, lambda *args, **given: "module")
    save = Played(release.save, lambda module, path, **given: Path(path).write_bytes(b"saved"))
    module = types.SimpleNamespace(save=save, dynamo=types.SimpleNamespace(compile=compile_))
    assert building.build(torch, module, None, precision, 1) == b"saved"
    for played in (compile_, save):
        named = {
            name
            for name, parameter in played.__signature__.parameters.items()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        }
        assert set(played.given) <= named
    old = release.version == "2.4.0"
    assert checked["typed"] is not old
    assert ("enabled_precisions" in compile_.given) == (old and precision == "fp16")
