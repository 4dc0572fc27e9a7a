"""ModelServe: which version is meant, its Deployment, and when it takes traffic."""
