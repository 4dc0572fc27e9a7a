"""docs/metrics.md, generated from the definitions of all metrics and a template with prose and queries."""
