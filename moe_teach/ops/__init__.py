"""Pure functions on tensors: no parameters, no modules, no hidden state."""
