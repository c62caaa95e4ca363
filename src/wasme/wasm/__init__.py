"""What a module says: bytes in, facts out. Knows neither files nor network."""
