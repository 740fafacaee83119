"""Where core and I/O meet: one session run over one connection, bridged to an origin."""

from moqvox.driver.driver import Driver

__all__ = ["Driver"]
