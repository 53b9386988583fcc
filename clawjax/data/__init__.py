"""What people and judges prefer, as records and files, wherever it came from."""
