"""A development cluster: a real control plane, and a node whose pods are processes."""
