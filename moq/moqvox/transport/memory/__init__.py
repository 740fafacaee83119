"""The reference implementation of the transport contract, without a network.

Everything happens on the running loop's clock and one seed decides every packet's fate; on a
loop with virtual time hours of bad network pass in no time and the same way each time.

```python
client, server = pair(link=LinkSettings(delay_ms=30, loss=5), seed=7)
client.link.outage(2.0)
```
"""

from moqvox.transport.memory.connection import MemoryConnection
from moqvox.transport.memory.handshake import ConnectFailed
from moqvox.transport.memory.link import Direction, Link
from moqvox.transport.memory.network import Listener, Network, pair
from moqvox.transport.memory.route import Route
from moqvox.transport.memory.settings import Limits, LinkSettings

__all__ = [
    "ConnectFailed",
    "Direction",
    "Limits",
    "Link",
    "LinkSettings",
    "Listener",
    "MemoryConnection",
    "Network",
    "Route",
    "pair",
]
