"""What Modin's engine on Ray defines and names, ours does too: read from Modin's own sources.

Ray need not be installed. A new release of Modin that gives Ray another hook fails here.
"""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from integration.modin_support import mpd

__all__ = ["mpd"]

spec = find_spec("modin")
assert spec is not None
assert spec.origin is not None
MODIN = Path(spec.origin).parent
RAY = "core/execution/ray"
PANDAS = f"{RAY}/implementations/pandas_on_ray"

#: Ray's class in a file -> ours
COUNTERPARTS = {
    (f"{PANDAS}/io/io.py", "PandasOnRayIO"): "io.PandasOnMillpondIO",
    (f"{PANDAS}/dataframe/dataframe.py", "PandasOnRayDataframe"): (
        "dataframe.PandasOnMillpondDataframe"
    ),
    (f"{PANDAS}/partitioning/partition_manager.py", "PandasOnRayDataframePartitionManager"): (
        "partition_manager.PandasOnMillpondDataframePartitionManager"
    ),
    (f"{RAY}/generic/partitioning/partition_manager.py", "GenericRayDataframePartitionManager"): (
        "partition_manager.PandasOnMillpondDataframePartitionManager"
    ),
    (f"{PANDAS}/partitioning/partition.py", "PandasOnRayDataframePartition"): (
        "block_partition.PandasOnMillpondDataframePartition"
    ),
    (f"{PANDAS}/partitioning/virtual_partition.py", "PandasOnRayDataframeVirtualPartition"): (
        "axis_partition.PandasOnMillpondDataframeVirtualPartition"
    ),
    (f"{RAY}/common/engine_wrapper.py", "RayWrapper"): "engine_wrapper.MillpondWrapper",
}

#: What ours has no need of, and why.
NOT_NEEDED = {
    "build_args": "what dispatchers are made of; a constant of the module",
    "from_ray": "a Ray dataset needs Ray",
    "to_ray": "a Ray dataset needs Ray",
    "split_pandas_df_into_partitions": "parts are written to the store once, none of them twice",
    "execution_wrapper": "of the class of blocks",
}

#: Where Modin names its engines outside of their folders -> what that means for ours
NAMES = {
    "config/envvars.py": "registration.register_engine",
    "core/execution/modin_aqp.py": "progress.watched",
    "core/execution/utils.py": "functions are pickled once by `functions`, without this cache",
    "core/storage_formats/base/query_compiler_calculator.py": "registration.keep_from_switching",
    "experimental/xgboost/xgboost.py": "for Ray alone",
    "pandas/__init__.py": "started by `factory`",
}


def public_names(body: list[ast.stmt]) -> set[str]:
    names: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(each.id for each in node.targets if isinstance(each, ast.Name))
    return {name for name in names if not name.startswith("_")}


def tree_of(path: str) -> ast.Module:
    return ast.parse((MODIN / path).read_text())


def class_of(tree: ast.Module, name: str) -> ast.ClassDef:
    (found,) = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name]
    return found


def our_class(name: str) -> Any:
    module, _, attribute = name.partition(".")
    return getattr(__import__(f"millpond.adapters.modin.{module}", fromlist=[attribute]), attribute)


def defined_by_us(kind: Any) -> set[str]:
    ours = [each for each in kind.__mro__ if each.__module__.startswith("millpond.")]
    return {name for each in ours for name in vars(each)}


@pytest.mark.usefixtures("mpd")
@pytest.mark.parametrize("theirs", COUNTERPARTS, ids=lambda theirs: theirs[1])
def test_every_hook_of_ray_has_a_counterpart(theirs: tuple[str, str]) -> None:
    path, name = theirs
    hooks = public_names(class_of(tree_of(path), name).body) - set(NOT_NEEDED)
    assert hooks - defined_by_us(our_class(COUNTERPARTS[theirs])) == set()


@pytest.mark.usefixtures("mpd")
def test_the_same_operations_show_progress() -> None:
    from millpond.adapters.modin.partition_manager import PandasOnMillpondDataframePartitionManager

    tree = tree_of(f"{PANDAS}/partitioning/partition_manager.py")
    (loop,) = [node for node in tree.body if isinstance(node, ast.For)]
    wrapped = set(ast.literal_eval(loop.iter))
    # This one makes one row or column of the result of another of them.
    wrapped.remove("_apply_func_to_list_of_partitions")
    assert wrapped <= defined_by_us(PandasOnMillpondDataframePartitionManager)


def test_every_place_that_names_engines_is_known() -> None:
    found = {
        str(path.relative_to(MODIN))
        for path in MODIN.rglob("*.py")
        if '"Ray"' in path.read_text() and not {"tests", "ray"} & set(path.parts)
    }
    assert found == set(NAMES)


@pytest.mark.usefixtures("mpd")
def test_modin_does_not_move_frames_here_by_itself() -> None:
    from modin.core.storage_formats.base.query_compiler_calculator import all_switchable_backends
    from modin.core.storage_formats.pandas import query_compiler_caster

    assert "Millpond" not in all_switchable_backends()
    assert query_compiler_caster.all_switchable_backends is all_switchable_backends
    assert "Pandas" in all_switchable_backends()
