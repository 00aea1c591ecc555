"""Every message of the engine, defined once and used on every transport.

Messages are msgspec Structs encoded as msgpack arrays with an integer tag. ``PROTOCOL`` opens
every connection (in `Hello`) and grows with every change of this package. Requests that have an
answer carry ``request``, a number the sender chose; the answer repeats it.
"""

from __future__ import annotations

from . import actors, calls, cluster, environments, memory, objects, scheduling, session, values
from .actors import *
from .calls import *
from .cluster import *
from .environments import *
from .memory import *
from .objects import *
from .scheduling import *
from .session import *
from .values import *

__all__ = ["PROTOCOL", "Message"]
__all__ += actors.__all__
__all__ += calls.__all__
__all__ += cluster.__all__
__all__ += environments.__all__
__all__ += memory.__all__
__all__ += objects.__all__
__all__ += scheduling.__all__
__all__ += session.__all__
__all__ += values.__all__

PROTOCOL = 6

Message = (
    calls.CallMessage
    | objects.ObjectMessage
    | scheduling.SchedulingMessage
    | actors.ActorMessage
    | session.SessionMessage
    | cluster.ClusterMessage
    | environments.EnvironmentMessage
    | memory.MemoryMessage
)
