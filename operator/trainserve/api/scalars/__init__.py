"""Single values of the API: durations, quantities, names, addresses, numbers. Each is parsed in one place."""
