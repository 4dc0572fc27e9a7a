"""Single values of the API: durations, quantities, names, addresses, numbers. Each is read in one place."""
