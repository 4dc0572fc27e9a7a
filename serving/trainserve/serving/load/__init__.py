"""Load on a running server: requests, their latencies, and a chart of them."""
