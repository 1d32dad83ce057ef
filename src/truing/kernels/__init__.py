"""How a processor computes what models ask for: fast layers, packed rows, decoding steps."""
