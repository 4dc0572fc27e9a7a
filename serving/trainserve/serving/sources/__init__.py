"""From an address to a servable model: its origin, the node's cache, checked bytes."""
