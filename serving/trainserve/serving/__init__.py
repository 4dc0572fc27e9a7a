"""Everything around Triton: the model repository, the development runtime, verification, the client."""
