"""Threads, forks, waiting and memory: what every other package runs on."""
