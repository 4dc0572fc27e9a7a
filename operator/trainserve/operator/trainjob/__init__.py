"""TrainJob: attempts, their pods, and what became of them."""
