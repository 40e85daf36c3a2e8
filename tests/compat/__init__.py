"""Every kind of DSPy program, under every adapter, on one simulated LM."""
