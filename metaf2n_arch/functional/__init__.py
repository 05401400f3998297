"""Floor 1: the mathematics of losses and metrics as pure functions of tensors."""
