"""Go: TinyGo, or Go itself."""
