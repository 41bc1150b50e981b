"""What every other package runs on: threads, forks, waiting, memory; values in messages, times as numbers."""
