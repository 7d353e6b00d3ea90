"""`leadline monitor`: what goes on, live in the terminal (auto-assign's `run_monitor`)."""
