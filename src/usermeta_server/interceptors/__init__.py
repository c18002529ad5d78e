"""What every call passes before its handler, and after it."""
