"""The whole system under load while everything that can die is killed; then everything that must hold is checked."""
