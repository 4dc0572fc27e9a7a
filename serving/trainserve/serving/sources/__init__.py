"""The way of a model: an address, its origin, the node's cache, checked bytes, a servable model."""
