"""An engine in memory: gone with the process, for tests and for trying things out."""

from usermeta_server.store.memory.engine import MemoryEngine

__all__ = ["MemoryEngine"]
