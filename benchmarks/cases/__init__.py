"""The cases, by group. Importing this package fills the catalogue, in the order of the report."""

from . import (  # noqa: I001
    startup,  # noqa: F401
    tasks,  # noqa: F401
    actors,  # noqa: F401
    objects,  # noqa: F401
    transfer,  # noqa: F401
    refs,  # noqa: F401
    shuffle,  # noqa: F401
    sort,  # noqa: F401
    dask,  # noqa: F401
    tpch,  # noqa: F401
    modin,  # noqa: F401
    modin_small,  # noqa: F401
    modin_startup,  # noqa: F401
    modin_out_of_core,  # noqa: F401
)
