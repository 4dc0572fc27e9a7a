"""Programs of a ModelServe's pods: init container, probe and resolver (docs/contracts.md)."""
